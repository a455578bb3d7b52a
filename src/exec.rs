//! `mizzen exec`: runs a command in a container.

use std::io::{IsTerminal as _, stdin};
use std::process::ExitCode;

use mizzen_api::client::exec::{self, Streams};
use mizzen_api::view;

use crate::cli::{self, Connect, Session, pods, process, tell};

/// Run a command in a container.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// POD or TYPE/NAME.
    #[arg(value_name = "POD")]
    pod: String,
    /// Container, where the Pod has several.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Pass standard input on.
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give the command a terminal.
    #[arg(short, long)]
    tty: bool,
    /// Print nothing of our own.
    #[arg(short, long)]
    quiet: bool,
    /// The command and its arguments, after --.
    #[arg(value_name = "COMMAND", last = true, required = true)]
    command: Vec<String>,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |session| self.exec(&session).await)
    }

    async fn exec(&self, session: &Session) -> anyhow::Result<ExitCode> {
        let (pod, container) =
            pods::container(session, &self.pod, self.container.as_deref(), "exec into a container").await?;
        let terminal = self.tty && self.stdin && stdin().is_terminal();
        if self.tty && !terminal && !self.quiet {
            tell("Unable to use a TTY - input is not a terminal or the right kind of file");
        }
        let streams = Streams {
            container: Some(container),
            stdin: self.stdin,
            tty: terminal,
        };
        let at = (view::namespace(&pod), view::name(&pod));
        let running = exec::exec(&session.client, at, &self.command, &streams).await?;
        let exit = process::connect(running, terminal).await?;
        Ok(process::conclude(exit, self.quiet))
    }
}
