//! `mizzen exec`: runs a command in a container.
//!
//! With a terminal (`-t`) the local one is put into raw mode and its size is passed on; it is put back
//! by [`RawMode`]'s drop, however the command ends.

use std::io::{IsTerminal as _, stdin};
use std::process::ExitCode;

use futures::SinkExt as _;
use futures::channel::mpsc::Sender;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::{AttachParams, TerminalSize};
use mizzen_api::view;
use nix::sys::termios::{self, SetArg, Termios};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::error::fail;
use crate::cli::{self, Connect, Session, pods, tell};

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
        let pod = pods::one(session, &self.pod).await?;
        let phase = view::text(&pod, "/status/phase");
        if matches!(phase, "Succeeded" | "Failed") {
            return fail(format!(
                "cannot exec into a container in a completed pod; current phase is {phase}"
            ));
        }
        let container = match &self.container {
            Some(name) => name.clone(),
            None => pods::default_container(&pod)?,
        };
        let terminal = self.tty && self.stdin && stdin().is_terminal();
        if self.tty && !terminal && !self.quiet {
            tell("Unable to use a TTY - input is not a terminal or the right kind of file");
        }
        let parameters = AttachParams::default()
            .container(container)
            .stdin(self.stdin)
            .stdout(true)
            .stderr(!terminal)
            .tty(terminal);
        let api: Api<Pod> = Api::namespaced(session.client.clone(), view::namespace(&pod));
        let mut process = api.exec(view::name(&pod), &self.command, &parameters).await?;
        let raw = if terminal { Some(RawMode::enter()?) } else { None };
        if let Some(sizes) = process.terminal_size().filter(|_| terminal) {
            tokio::spawn(pass_sizes(sizes));
        }
        if let Some(input) = process.stdin() {
            tokio::spawn(pass_input(input));
        }
        let status = process.take_status();
        let output = process.stdout().map(|from| pass(from, tokio::io::stdout()));
        let errors = process.stderr().map(|from| pass(from, tokio::io::stderr()));
        let (output, errors) = tokio::join!(maybe(output), maybe(errors));
        drop(raw);
        output?;
        errors?;
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        Ok(self.conclude(status.as_ref()))
    }

    fn conclude(&self, status: Option<&Status>) -> ExitCode {
        match exit_code(status) {
            Some(0) => ExitCode::SUCCESS,
            Some(code) => {
                if !self.quiet {
                    tell(format!("command terminated with exit code {code}"));
                }
                ExitCode::from(code)
            }
            None => {
                let message = status.and_then(|s| s.message.as_deref());
                let message = message.unwrap_or("the connection ended without a result");
                tell(format!("error: {message}"));
                ExitCode::FAILURE
            }
        }
    }
}

/// The exit code that a final status tells, if it tells one.
fn exit_code(status: Option<&Status>) -> Option<u8> {
    let status = status?;
    if status.reason.as_deref() == Some("NonZeroExitCode") {
        let causes = status.details.as_ref()?.causes.as_deref()?;
        let code = causes.iter().find(|c| c.reason.as_deref() == Some("ExitCode"))?;
        return code.message.as_deref()?.parse().ok();
    }
    (status.status.as_deref() == Some("Success")).then_some(0)
}

async fn maybe(work: Option<impl Future<Output = std::io::Result<()>>>) -> std::io::Result<()> {
    match work {
        Some(work) => work.await,
        None => Ok(()),
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let read = tokio::io::AsyncReadExt::read(&mut from, &mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
    }
}

/// Passes standard input on; its end closes the other side's.
async fn pass_input(mut to: impl AsyncWrite + Unpin) {
    // The command may end before it has read everything.
    let _ = pass(tokio::io::stdin(), &mut to).await;
    let _ = to.shutdown().await;
}

/// Sends the terminal's size now and whenever it changes.
async fn pass_sizes(mut to: Sender<TerminalSize>) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else {
        return;
    };
    loop {
        if let Some((width, height)) = terminal_size()
            && to.send(TerminalSize { width, height }).await.is_err()
        {
            return;
        }
        if changes.recv().await.is_none() {
            return;
        }
    }
}

fn terminal_size() -> Option<(u16, u16)> {
    terminal_size::terminal_size().map(|(width, height)| (width.0, height.0))
}

/// The terminal in raw mode, for as long as this lives.
struct RawMode {
    before: Termios,
}

impl RawMode {
    fn enter() -> anyhow::Result<Self> {
        let before = termios::tcgetattr(stdin())?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(stdin(), SetArg::TCSANOW, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nothing else can be done for a terminal that is gone.
        let _ = termios::tcsetattr(stdin(), SetArg::TCSANOW, &self.before);
    }
}
