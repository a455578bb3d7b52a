//! `mizzen attach`: connects to what a container runs.

use std::io::{IsTerminal as _, stdin};
use std::process::ExitCode;

use mizzen_api::client::exec::{self, Exit, Streams};
use mizzen_api::view;
use serde_json::Value;

use crate::cli::error::fail;
use crate::cli::{self, Connect, Session, pods, process, tell};

/// Connect to what a container runs.
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
    /// The container's input is a terminal.
    #[arg(short, long)]
    tty: bool,
    /// Print nothing of our own.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |session| {
            let meant = pods::container(&session, &self.pod, self.container.as_deref(), "attach a container").await?;
            Ok(
                match attach(&session, &meant, self.tty, self.stdin, self.quiet).await? {
                    // Whoever leaves, or whose container ends, did not fail.
                    Exit::Lost => ExitCode::SUCCESS,
                    exit => process::conclude(exit, self.quiet),
                },
            )
        })
    }
}

/// Connects to the container of a Pod that has one.
pub(crate) async fn connect(session: &Session, pod: &str, tty: bool, stdin: bool, quiet: bool) -> anyhow::Result<Exit> {
    let meant = pods::container(session, pod, None, "attach a container").await?;
    attach(session, &meant, tty, stdin, quiet).await
}

async fn attach(
    session: &Session,
    (pod, name): &(Value, String),
    want_tty: bool,
    want_stdin: bool,
    quiet: bool,
) -> anyhow::Result<Exit> {
    let Some(container) = container(pod, name) else {
        return fail(format!("container not found ({name})"));
    };
    let stdin_open = want_stdin && view::flag(container, "/stdin");
    if want_stdin && !stdin_open {
        tell(format!(
            "error: Unable to pass input on - container {name} did not allocate one"
        ));
    }
    let tty = view::flag(container, "/tty");
    if want_tty && !tty {
        tell(format!(
            "error: Unable to use a TTY - container {name} did not allocate one"
        ));
    }
    let terminal = tty && stdin_open && want_tty && stdin().is_terminal();
    if !quiet && (terminal || stdin_open) {
        tell("If you don't see a command prompt, try pressing enter.");
    }
    let streams = Streams {
        container: Some(name.clone()),
        stdin: stdin_open,
        // The container has one terminal or none, whatever we have.
        tty,
    };
    let at = (view::namespace(pod), view::name(pod));
    let running = exec::attach(&session.client, at, &streams).await?;
    process::connect(running, terminal).await
}

fn container<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"]
        .iter()
        .flat_map(|path| view::list(pod, path))
        .find(|container| view::text(container, "/name") == name)
}
