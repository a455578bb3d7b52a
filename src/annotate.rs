//! `mizzen annotate`: sets and removes annotations.

use std::process::ExitCode;

use crate::cli::marks::{Marks, Words};
use crate::cli::{self, Connect};

/// Set or remove annotations of objects.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    marks: Marks,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let words = Words {
            field: "annotations",
            done: "annotated",
            undone: "annotated",
            unchanged: "annotated",
        };
        cli::run(self.connect, async |session| self.marks.run(session, words).await)
    }
}
