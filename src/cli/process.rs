//! A process in a container, connected to our own input, output and terminal.
//!
//! With a terminal the local one is put into raw mode and its size is passed on; it is put back by
//! [`RawMode`]'s drop, however the process ends.

use std::io::stdin;
use std::process::ExitCode;

use mizzen_api::client::exec::{Exit, Process, Size};
use nix::sys::termios::{self, SetArg, Termios};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};

use super::tell;

/// Passes everything both ways until the process has ended.
pub(crate) async fn connect(mut process: Process, terminal: bool) -> anyhow::Result<Exit> {
    let raw = if terminal { Some(RawMode::enter()?) } else { None };
    if let Some(size) = process.size().filter(|_| terminal) {
        tokio::spawn(pass_sizes(size));
    }
    if let Some(input) = process.stdin() {
        tokio::spawn(pass_input(input));
    }
    let exit = process.exit();
    let output = process.stdout().map(|from| pass(from, tokio::io::stdout()));
    let errors = process.stderr().map(|from| pass(from, tokio::io::stderr()));
    let (output, errors) = tokio::join!(maybe(output), maybe(errors));
    drop(raw);
    output?;
    errors?;
    Ok(exit.await)
}

/// Says how a process ended, and gives our own exit code.
pub(crate) fn conclude(exit: Exit, quiet: bool) -> ExitCode {
    match exit {
        Exit::Code(0) => ExitCode::SUCCESS,
        Exit::Code(code) => {
            if !quiet {
                tell(format!("command terminated with exit code {code}"));
            }
            ExitCode::from(code)
        }
        Exit::Failed(reason) => {
            tell(format!("error: {reason}"));
            ExitCode::FAILURE
        }
        Exit::Lost => {
            tell("error: the connection ended without a result");
            ExitCode::FAILURE
        }
    }
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
        let read = from.read(&mut buffer).await?;
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
async fn pass_sizes(mut to: Size) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else {
        return;
    };
    loop {
        if let Some((width, height)) = terminal_size::terminal_size()
            && !to.set(width.0, height.0).await
        {
            return;
        }
        if changes.recv().await.is_none() {
            return;
        }
    }
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
