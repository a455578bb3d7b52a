//! `mizzen uncordon`: lets nodes take Pods again.

use std::process::ExitCode;

use crate::cli::{self, Connect};
use crate::cordon::Nodes;

/// Let nodes take new Pods again.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    nodes: Nodes,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        cli::run(self.connect, async |session| self.nodes.mark(&session, false).await)
    }
}
