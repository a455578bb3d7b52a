//! What `mizzen server` and `mizzen agent` have in common: the flags about the node, and how they end.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Taint;
use mizzen_node::AgentConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Flags about the node.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Node")]
pub struct NodeFlags {
    /// Name of the node (default: the host's name)
    #[arg(long, env = "MIZZEN_NODE_NAME")]
    pub node_name: Option<String>,
    /// Append an id to the node's name that this installation keeps
    #[arg(long, env = "MIZZEN_WITH_NODE_ID")]
    pub with_node_id: bool,
    /// Address of the node (default: that of the default route)
    #[arg(short = 'i', long, env = "MIZZEN_NODE_IP")]
    pub node_ip: Option<IpAddr>,
    /// Labels for the node, KEY=VALUE
    #[arg(long, env = "MIZZEN_NODE_LABEL", value_delimiter = ',')]
    pub node_label: Vec<String>,
    /// Taints for the node, KEY=VALUE:EFFECT
    #[arg(long, env = "MIZZEN_NODE_TAINT", value_delimiter = ',')]
    pub node_taint: Vec<String>,
    /// Port of the kubelet's API
    #[arg(long, env = "MIZZEN_KUBELET_PORT", default_value_t = 10250)]
    pub kubelet_port: u16,
    /// Socket of a container runtime to use instead of our own containerd
    #[arg(long, env = "MIZZEN_CONTAINER_RUNTIME_ENDPOINT")]
    pub container_runtime_endpoint: Option<String>,
    /// resolv.conf that Pods with the default DNS policy and forwarded queries use
    #[arg(long, env = "MIZZEN_RESOLV_CONF", default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// Do not run the Service proxy
    #[arg(long, alias = "disable-kube-proxy", env = "MIZZEN_DISABLE_PROXY")]
    pub disable_proxy: bool,
}

impl NodeFlags {
    /// The node's name.
    pub fn name(&self, data_dir: &Path) -> Result<String> {
        let name = match &self.node_name {
            Some(name) => name.clone(),
            None => host_name()?,
        };
        match self.with_node_id {
            true => Ok(format!("{name}-{}", mizzen_node::join::id(data_dir)?)),
            false => Ok(name),
        }
    }

    /// The node's address.
    pub fn ip(&self) -> Result<IpAddr> {
        match self.node_ip {
            Some(ip) => Ok(ip),
            None => mizzen_node::network::host_address().context("cannot find this host's address: set --node-ip"),
        }
    }

    /// What the flags say of the node agent.
    pub fn config(&self, name: &str, ip: IpAddr, data_dir: &Path) -> Result<AgentConfig> {
        let labels = self.node_label.iter().map(|label| {
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            (key.to_owned(), value.to_owned())
        });
        let endpoint = self.container_runtime_endpoint.as_ref();
        Ok(AgentConfig {
            runtime_endpoint: endpoint.map(|endpoint| endpoint.trim_start_matches("unix://").into()),
            proxy: !self.disable_proxy,
            resolv_conf: self.resolv_conf.clone(),
            kubelet_port: self.kubelet_port,
            node_labels: labels.collect(),
            node_taints: self.node_taint.iter().map(|t| parse_taint(t)).collect::<Result<_>>()?,
            ..AgentConfig::new(name, ip, data_dir.to_owned())
        })
    }
}

/// The host's name, as nodes are named.
pub fn host_name() -> Result<String> {
    Ok(nix::unistd::gethostname()?.to_string_lossy().to_lowercase())
}

/// A secret that is given or in a file.
pub fn secret(given: Option<&String>, file: Option<&PathBuf>) -> Result<Option<String>> {
    match (given, file) {
        (Some(given), _) => Ok(Some(given.clone())),
        (None, Some(file)) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            Ok(Some(text.trim().to_owned()))
        }
        (None, None) => Ok(None),
    }
}

/// `KEY=VALUE:EFFECT` or `KEY:EFFECT`.
fn parse_taint(text: &str) -> Result<Taint> {
    let (pair, effect) = text
        .rsplit_once(':')
        .with_context(|| format!("--node-taint={text}: expected KEY=VALUE:EFFECT"))?;
    let (key, value) = pair
        .split_once('=')
        .map_or((pair, None), |(key, value)| (key, Some(value.to_owned())));
    Ok(Taint {
        key: key.to_owned(),
        value,
        effect: effect.to_owned(),
        time_added: None,
    })
}

/// Waits until asked to stop, or until a component fails; then stops the others.
pub async fn supervise(mut components: JoinSet<Result<()>>, stop: &CancellationToken) -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let failed = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ended = components.join_next() => ended,
    };
    stop.cancel();
    let result = failed.map_or(Ok(()), |ended| ended?);
    while components.join_next().await.is_some() {}
    result
}
