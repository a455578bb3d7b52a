//! What the client commands share: the connection, naming of objects, manifests, output, errors.
//!
//! A command runs on a runtime of one thread, which is dropped without waiting for it: a read from a
//! terminal would otherwise hold the program until the next key.

pub(crate) mod applying;
pub(crate) mod chosen;
pub(crate) mod error;
pub(crate) mod follow;
pub(crate) mod manifest;
pub(crate) mod marks;
pub(crate) mod output;
pub(crate) mod pods;
pub(crate) mod process;
pub(crate) mod session;
pub(crate) mod targets;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::pin::Pin;
use std::process::ExitCode;

pub(crate) use session::{Call, Connect, Session};

/// Runs a command with a connection to the cluster.
pub(crate) fn run(
    connect: Connect,
    command: impl AsyncFnOnce(Session) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let command = async move { command(Session::connect(connect).await?).await };
    let result = drive(&runtime, Box::pin(command));
    runtime.shutdown_background();
    result
}

/// One driver for all commands: the runtime's own code is not compiled again for each.
fn drive(
    runtime: &tokio::runtime::Runtime,
    command: Pin<Box<dyn Future<Output = anyhow::Result<ExitCode>> + '_>>,
) -> anyhow::Result<ExitCode> {
    runtime.block_on(command)
}

/// Prints a line of data.
pub(crate) fn say(line: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// Prints a line of talk.
pub(crate) fn tell(line: impl Display) {
    // Whoever closed stderr does not want to know.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Reads a span of time from the command line; below zero means for ever, as zero does.
pub(crate) fn wait_time(text: &str) -> Result<std::time::Duration, String> {
    let span = mizzen_api::duration::parse(text)?;
    Ok(std::time::Duration::try_from(span).unwrap_or_default())
}
