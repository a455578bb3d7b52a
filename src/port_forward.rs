//! `mizzen port-forward`: local ports that lead into a Pod.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use mizzen_api::client::forward::{Event, Forward, LOCALHOST, Mapping};
use mizzen_api::client::pods::Target;

use crate::cli::error::{Failure, fail};
use crate::cli::{self, Connect, Session, say, tell};

/// Forward local ports to a Pod, and to its successor when it goes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// POD or TYPE/NAME.
    #[arg(value_name = "POD")]
    pod: String,
    /// [LOCAL:]REMOTE; `:REMOTE` takes any free local port.
    #[arg(value_name = "PORT", required = true)]
    ports: Vec<Mapping>,
    /// Addresses to listen on, or localhost.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', default_value = "localhost")]
    address: Vec<String>,
    /// How long to wait for a Pod that runs.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = cli::wait_time)]
    pod_running_timeout: Duration,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |session| self.forward(&session).await)
    }

    async fn forward(&self, session: &Session) -> anyhow::Result<ExitCode> {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in &self.address {
            match (address.as_str(), address.parse()) {
                ("localhost", _) => addresses.extend(LOCALHOST),
                (_, Ok(address)) => addresses.push(address),
                (other, Err(_)) => return fail(format!("{other:?} is not a valid IP address or localhost")),
            }
        }
        let rest = session.rest();
        let target = self.target(session).await?;
        let selection = cli::pods::running(&rest, &target, self.pod_running_timeout).await?;
        let opened = Forward::open(&rest, selection, &addresses, &self.ports).await;
        let mut forward = opened.map_err(cli::error::of_pods)?;
        for (address, remote) in &forward.listening {
            say(format!("Forwarding from {} -> {remote}", shown(*address)))?;
        }
        while let Some(event) = forward.next().await {
            match event {
                Event::Connection(port) => say(format!("Handling connection for {port}"))?,
                Event::Moved(pod) => tell(format!("Forwarding to pod/{pod} from now on")),
                Event::Alone => tell("The pod is gone; waiting for its successor"),
                Event::Failed(error) => tell(format!("error: {error}")),
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn target(&self, session: &Session) -> anyhow::Result<Target> {
        let (kind, name) = self.pod.split_once('/').unwrap_or(("pods", &self.pod));
        let resource = session.resource(kind).await?;
        if name.is_empty() {
            return Err(Failure("name of the pod is missing".to_owned()).into());
        }
        Ok(Target::new(&session.namespace, &resource.group, &resource.kind, name))
    }
}

fn shown(address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) => format!("{ip}:{}", address.port()),
        IpAddr::V6(ip) => format!("[{ip}]:{}", address.port()),
    }
}
