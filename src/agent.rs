//! `mizzen agent`: joins a cluster as a node, or simulates many nodes.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use mizzen_api::join_token::JoinToken;
use mizzen_node::join::{self, Settings};
use mizzen_node::names::DEFAULT_DATA_DIR;
use mizzen_node::simulate::{self, Simulation};
use mizzen_node::{Agent, AgentConfig};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::{self, Connect};
use crate::node_flags::{self, NodeFlags, supervise};

/// Take part in a cluster as a node.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Configuration file: flags as YAML keys; `FILE.d/*.yaml` are read after it
    #[arg(short, long, env = "MIZZEN_CONFIG_FILE", default_value = "/etc/mizzen/config.yaml")]
    config: PathBuf,
    /// Folder for all state
    #[arg(short, long, env = "MIZZEN_DATA_DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    /// Server to join, https://HOST:6443
    #[arg(short, long, value_name = "URL", env = "MIZZEN_URL")]
    server: Option<String>,
    /// Token to join with, from the server's node-token file or `mizzen token create`
    #[arg(short, long, env = "MIZZEN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File with the token
    #[arg(long, env = "MIZZEN_TOKEN_FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    node: NodeFlags,
    /// Log more
    #[arg(long, env = "MIZZEN_DEBUG")]
    debug: bool,
    #[command(flatten)]
    simulate: SimulateFlags,
}

/// Flags about simulated nodes.
#[derive(clap::Args)]
#[command(next_help_heading = "Simulation")]
struct SimulateFlags {
    /// Register this many nodes that run no containers, through the kubeconfig: their Pods become Ready at once
    #[arg(long, value_name = "N")]
    simulate: Option<usize>,
    /// What the names of simulated nodes begin with
    #[arg(long, value_name = "TEXT", default_value = "sim-")]
    simulate_prefix: String,
    /// Cores of a simulated node
    #[arg(long, value_name = "QUANTITY", default_value = "32")]
    simulate_cpu: String,
    /// Memory of a simulated node
    #[arg(long, value_name = "QUANTITY", default_value = "256Gi")]
    simulate_memory: String,
    /// How many Pods a simulated node takes
    #[arg(long, value_name = "N", default_value_t = 110)]
    simulate_pods: u32,
    /// How many zones the simulated nodes are in
    #[arg(long, value_name = "N", default_value_t = 3)]
    simulate_zones: usize,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs until asked to stop.
    pub(crate) fn run(self) -> Result<ExitCode> {
        crate::logging::start(self.debug);
        if let Some(nodes) = self.simulate.simulate {
            return self.simulate.run(nodes);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(self.join())?;
        Ok(ExitCode::SUCCESS)
    }

    async fn join(self) -> Result<()> {
        let server = self.server.context("no server is given: set --server or MIZZEN_URL")?;
        let token = node_flags::secret(self.token.as_ref(), self.token_file.as_ref())?;
        let settings = Settings {
            server,
            token: token.map(|text| text.parse::<JoinToken>()).transpose()?,
            node_name: self.node.name(&self.data_dir)?,
            node_ip: self.node.ip()?,
            data_dir: self.data_dir.clone(),
        };
        let stop = CancellationToken::new();
        let mut components = JoinSet::new();
        let running = stop.clone();
        components.spawn(async move {
            let started = running.run_until_cancelled(start(&self.node, &settings));
            let Some(started) = started.await else { return Ok(()) };
            let (joined, config) = started?;
            let agent = Agent::new(config, joined.client.clone(), joined.proxy_client());
            let certificates = joined.run(running.child_token());
            tokio::try_join!(agent.run(running.child_token()), certificates).map(drop)
        });
        supervise(components, &stop).await
    }
}

/// Joins, and finds out what the node agent has to be told.
async fn start(flags: &NodeFlags, settings: &Settings) -> Result<(join::Joined, AgentConfig)> {
    let joined = join::join(settings).await?;
    let cluster = joined.cluster.clone();
    let config = AgentConfig {
        cluster_cidr: cluster.cluster_cidr,
        service_cidr: cluster.service_cidr,
        dns: cluster.disable_dns != "true",
        network_policy: cluster.disable_network_policy != "true",
        kubelet_trust: Some(joined.trust.clone()),
        cluster_dns: vec![cluster.cluster_dns],
        cluster_domain: cluster.cluster_domain,
        ..flags.config(&settings.node_name, settings.node_ip, &settings.data_dir)?
    };
    Ok((joined, config))
}

impl SimulateFlags {
    /// The nodes stay registered, as those of a machine that is switched off.
    fn run(self, nodes: usize) -> Result<ExitCode> {
        let settings = simulate::Settings {
            nodes,
            prefix: self.simulate_prefix,
            cpu: self.simulate_cpu,
            memory: self.simulate_memory,
            pods: self.simulate_pods,
            zones: self.simulate_zones,
        };
        cli::run(self.connect, async |session| {
            let stop = CancellationToken::new();
            let mut components = JoinSet::new();
            components.spawn(Simulation::new(settings, session.client.clone()).run(stop.clone()));
            supervise(components, &stop).await?;
            Ok(ExitCode::SUCCESS)
        })
    }
}
