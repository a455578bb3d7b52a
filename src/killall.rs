//! `mizzen killall`: ends everything of ours, Pods included; files stay.

use std::process::ExitCode;

/// End the server and all Pods, and take down network, mounts and cgroups.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    uninstall: crate::uninstall::Args,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        self.uninstall.run_killall()
    }
}
