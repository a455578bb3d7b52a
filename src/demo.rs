//! `mizzen demo`: deploys a small application and says how to reach it.

use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::cli::{self, Connect, Session, say};

/// What is applied.
const MANIFEST: &str = include_str!("../examples/demo.yaml");
const NAMESPACE: &str = "demo";

/// Deploy a small application to try the cluster with.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode> {
        command(&["apply", "-f", "-"], MANIFEST)?;
        command(
            &[
                "rollout",
                "status",
                "deployment/hello",
                "-n",
                NAMESPACE,
                "--timeout=60s",
            ],
            "",
        )?;
        cli::run(self.connect, async |session| {
            say(reach(&session).await?)?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Runs another of our commands, which finds the cluster the way that this one does.
fn command(arguments: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    match child.wait()?.success() {
        true => Ok(()),
        false => bail!("mizzen {} failed", arguments.join(" ")),
    }
}

/// How the demo can be reached.
async fn reach(session: &Session) -> Result<String> {
    let services = session.resource("services").await?;
    let service = session.get(&services, NAMESPACE, "hello").await?;
    let nodes = session.resource("nodes").await?;
    let nodes = session.list(&nodes, "", None).await?;
    let cluster_ip = service["spec"]["clusterIP"]
        .as_str()
        .context("the Service has no address yet")?;
    let port = &service["spec"]["ports"][0]["nodePort"];
    let addresses = nodes
        .iter()
        .flat_map(|node| node["status"]["addresses"].as_array().into_iter().flatten());
    let internal = addresses
        .filter(|address| address["type"] == "InternalIP")
        .find_map(|a| a["address"].as_str());
    let node_ip = internal.context("no node has an address yet")?;
    Ok(format!(
        "\nThe demo runs: three Pods behind one Service. Try:\n\
         \n  curl http://{cluster_ip}/                 the Service's cluster address: a different Pod each time\
         \n  curl http://{node_ip}:{port}/             the same on the node's port\
         \n  mizzen get pods -n demo -o wide\
         \n  mizzen logs -n demo deploy/hello -f\
         \n  mizzen scale -n demo deploy/hello --replicas=5\
         \n  mizzen rollout restart -n demo deploy/hello\
         \n  mizzen delete namespace demo              when you are done\n"
    ))
}
