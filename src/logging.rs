//! Where log lines go: stderr, at the level that was asked for.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging. `MIZZEN_LOG` overrides the level, in tracing's filter syntax.
pub fn start(debug: bool) {
    let level = if debug {
        "debug,h2=info,hyper=info,rustls=info,tower=info"
    } else {
        "info"
    };
    let filter = EnvFilter::try_from_env("MIZZEN_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
