//! `mizzen version`: of this program, and of the server.

use std::process::ExitCode;

use http::Method;
use mizzen_api::yaml;
use serde_json::{Value, json};

use crate::cli::output::{Format, json_text};
use crate::cli::{self, Call, Connect, say};

/// Show the versions of client and server.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Of the client only; the server is not asked.
    #[arg(long)]
    client: bool,
    /// Form of the output: json or yaml.
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let client = json!({"gitVersion": concat!("v", env!("CARGO_PKG_VERSION")), "platform": platform()});
        if self.client {
            return print(&json!({"clientVersion": client}), self.output.as_ref());
        }
        cli::run(self.connect, async |session| {
            let server = session.call(Call::new(Method::GET, "/version")).await;
            let mut versions = json!({"clientVersion": client});
            if let Ok(server) = &server {
                versions["serverVersion"] = server.clone();
            }
            print(&versions, self.output.as_ref())?;
            server.map(|_| ExitCode::SUCCESS)
        })
    }
}

fn platform() -> String {
    format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH)
}

fn print(versions: &Value, format: Option<&Format>) -> anyhow::Result<ExitCode> {
    match format {
        Some(Format::Json) => say(json_text(versions))?,
        Some(Format::Yaml) => say(yaml::to_string(versions).trim_end())?,
        _ => {
            for (name, key) in [("Client", "clientVersion"), ("Server", "serverVersion")] {
                if let Some(version) = versions[key]["gitVersion"].as_str() {
                    say(format!("{name} Version: {version}"))?;
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
