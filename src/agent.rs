//! `mizzen agent`: nodes that join a cluster. So far only simulated ones.

use std::process::ExitCode;

use mizzen_node::simulate::{Settings, Simulation};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{self, Connect};

/// Take part in a cluster as a node.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Register this many nodes that run no containers, through the kubeconfig: their Pods become Ready at once
    #[arg(long, value_name = "N", required = true)]
    simulate: usize,
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
    /// Log more
    #[arg(long, env = "MIZZEN_DEBUG")]
    debug: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs until asked to stop. The nodes stay registered, as those of a machine that is switched off.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        crate::logging::start(self.debug);
        let settings = Settings {
            nodes: self.simulate,
            prefix: self.simulate_prefix,
            cpu: self.simulate_cpu,
            memory: self.simulate_memory,
            pods: self.simulate_pods,
            zones: self.simulate_zones,
        };
        cli::run(self.connect, async |session| {
            let stop = CancellationToken::new();
            let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            let mut simulation = tokio::spawn(Simulation::new(settings, session.client.clone()).run(stop.clone()));
            tokio::select! {
                ended = &mut simulation => ended??,
                _ = terminate.recv() => stop.cancel(),
                _ = interrupt.recv() => stop.cancel(),
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}
