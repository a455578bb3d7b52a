//! `mizzen label`: sets and removes labels.

use std::process::ExitCode;

use crate::cli::marks::{Marks, Words};
use crate::cli::{self, Connect};

/// Set or remove labels of objects.
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
            field: "labels",
            done: "labeled",
            undone: "unlabeled",
            unchanged: "not labeled",
        };
        cli::run(self.connect, async |session| self.marks.run(session, words).await)
    }
}
