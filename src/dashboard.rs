//! `mizzen dashboard`: opens the dashboard in a browser, logged in as who the kubeconfig says.

use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;

use anyhow::Context as _;
use http::Method;
use mizzen_server::apiserver::dashboard::Asset;

use crate::cli::{self, Call, Connect, say, tell};

/// Open the dashboard in a browser.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only print the address.
    #[arg(long)]
    no_browser: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let no_browser = self.no_browser;
        cli::run(self.connect, async |session| {
            let answer = session.call(Call::new(Method::POST, "/dashboard/code")).await;
            let answer =
                answer.context("this server gives no code: is it Mizzen, and does the kubeconfig identify you?")?;
            let code = answer["code"].as_str().context("the server's answer holds no code")?;
            // The code stands after the #, which browsers do not send and proxies do not log.
            let url = format!("{}/dashboard/overview#code={code}", session.server);
            say(&url)?;
            tell("good once, for two minutes; the browser may ask whether to trust the cluster's own CA");
            if !no_browser {
                open(&url);
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Opens an address in the desktop's browser, where there is a desktop.
fn open(url: &str) {
    let desktop = ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    if cfg!(target_os = "linux") && !desktop {
        return;
    }
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    command
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Err(error) = command.spawn() {
        tell(format_args!("cannot start {program}: {error}"));
    }
}

/// The dashboard's files, as the server takes them.
pub(crate) fn assets() -> &'static [Asset] {
    static ASSETS: OnceLock<Vec<Asset>> = OnceLock::new();
    ASSETS.get_or_init(|| {
        let files = mizzen_web::ASSETS.iter();
        let same = |file: &mizzen_web::Asset| Asset {
            path: file.path,
            content_type: file.content_type,
            brotli: file.brotli,
        };
        files.map(same).collect()
    })
}
