//! The agent: one value that assembles and runs everything a node needs.
//!
//! Entry point: [`Agent::run`]. Tasks: one per component (containerd's supervisor, the kubelet, and
//! what the network side adds); they share nothing but the configuration, the client and the stop
//! token, and the first that fails stops the others.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Taint;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::containerd::{Containerd, Settings};
use crate::dns::{self, Dns};
use crate::kubelet::{Kubelet, paths};
use crate::kubelet_api::{self, KubeletApi};
use crate::names::Names;
use crate::network::{self, PodNetwork};
use crate::proxy::Proxy;
use crate::services::Services;

const DNS_PORT: u16 = 53;

/// What a node has to be told. Everything else it finds out by itself.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The Node object's name; the client's identity must be `system:node:` plus this name.
    pub node_name: String,
    /// The address that other nodes and clients reach this node at.
    pub node_ip: IpAddr,
    /// Mizzen's data directory; the agent lives in `agent/` below it.
    pub data_dir: PathBuf,
    /// The socket of somebody else's containerd; ours is started when there is none.
    pub runtime_endpoint: Option<PathBuf>,
    /// Where container logs go (`/var/log/pods`).
    pub pod_log_dir: PathBuf,
    /// The node's part of the Pod network that it registers with; otherwise a controller assigns `spec.podCIDR`.
    pub pod_cidr: Option<ipnet::Ipv4Net>,
    /// The addresses of all Pods of the cluster.
    pub cluster_cidr: ipnet::Ipv4Net,
    /// The addresses of Services.
    pub service_cidr: ipnet::Ipv4Net,
    /// Whether Services are ours to carry; otherwise another proxy does.
    pub proxy: bool,
    /// Whether NetworkPolicies are ours to enforce.
    pub network_policy: bool,
    /// Whether cluster DNS is ours to answer; otherwise a Service of the cluster does.
    pub dns: bool,
    /// Certificates for the kubelet API, which is not served without.
    pub kubelet_trust: Option<kubelet_api::Trust>,
    /// The cluster DNS addresses that Pods are given.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's DNS domain (`cluster.local`).
    pub cluster_domain: String,
    /// The host's resolver configuration, for Pods with `dnsPolicy: Default`.
    pub resolv_conf: PathBuf,
    /// The port of the kubelet API, as published in the Node's status.
    pub kubelet_port: u16,
    /// Labels to register the node with, beside the usual ones.
    pub node_labels: BTreeMap<String, String>,
    /// Taints to register the node with.
    pub node_taints: Vec<Taint>,
    /// How many Pods the node takes.
    pub max_pods: u32,
    /// The cgroup under which all Pods live (`kubepods`).
    pub cgroup_root: String,
}

impl AgentConfig {
    /// The usual configuration of a node named `node_name`, under `data_dir`.
    #[must_use]
    pub fn new(node_name: &str, node_ip: IpAddr, data_dir: PathBuf) -> Self {
        let names = Names::of(&data_dir);
        Self {
            node_name: node_name.to_owned(),
            node_ip,
            data_dir,
            runtime_endpoint: None,
            pod_log_dir: names.pod_logs,
            pod_cidr: None,
            cluster_cidr: ipnet::Ipv4Net::new_assert([10, 42, 0, 0].into(), 16),
            service_cidr: ipnet::Ipv4Net::new_assert([10, 43, 0, 0].into(), 16),
            proxy: true,
            network_policy: true,
            dns: true,
            kubelet_trust: None,
            cluster_dns: vec![IpAddr::from([10, 43, 0, 10])],
            cluster_domain: "cluster.local".to_owned(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            kubelet_port: 10250,
            node_labels: BTreeMap::new(),
            node_taints: Vec::new(),
            max_pods: 110,
            cgroup_root: format!("{}/kubepods", names.cgroup),
        }
    }

    /// The node's part of the cluster network.
    fn network(&self) -> network::Settings {
        let mut network = network::Settings::new(&self.node_name, &self.data_dir);
        if let IpAddr::V4(ip) = self.node_ip {
            network.node_ip = Some(ip);
        }
        (network.cluster_cidr, network.service_cidr) = (self.cluster_cidr, self.service_cidr);
        let dns = self
            .cluster_dns
            .iter()
            .find_map(|ip| if let IpAddr::V4(ip) = ip { Some(*ip) } else { None });
        network.dns_ip = dns.filter(|_| self.dns);
        network
    }

    fn dns_settings(&self, network: &network::Settings) -> Option<dns::Settings> {
        Some(dns::Settings {
            listen: SocketAddr::from((network.dns_ip?, DNS_PORT)),
            domain: self.cluster_domain.clone(),
            resolv_conf: self.resolv_conf.clone(),
        })
    }

    /// The agent's part of the data directory.
    #[must_use]
    pub fn agent_dir(&self) -> PathBuf {
        self.data_dir.join("agent")
    }
}

/// The node agent.
pub struct Agent {
    config: AgentConfig,
    client: kube::Client,
    proxy_client: kube::Client,
}

impl Agent {
    /// An agent that acts through `client` as the node in `config`, and through `proxy_client` as
    /// `system:kube-proxy`: a node by itself may not see other nodes and how Services reach Pods.
    #[must_use]
    pub fn new(config: AgentConfig, client: kube::Client, proxy_client: kube::Client) -> Self {
        Self {
            config,
            client,
            proxy_client,
        }
    }

    /// Runs until `stop` is cancelled. Pods keep running: the next start adopts them.
    ///
    /// # Errors
    /// When a component cannot go on.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self {
            config,
            client,
            proxy_client,
        } = self;
        let settings = Settings {
            data_dir: config.data_dir.clone(),
            endpoint: config.runtime_endpoint.clone(),
        };
        let socket = settings.socket();
        let network = config.network();
        let pod_network = PodNetwork::new(network.clone(), proxy_client.clone());
        let (network_ready, doubts) = (pod_network.ready(), pod_network.doubts());
        let services = Services::default();
        let carried = config.proxy.then(|| services.clone());
        let mut components = JoinSet::new();
        components.spawn(pod_network.run(stop.child_token()));
        let mut proxy = Proxy::new(&network, client.clone(), carried);
        if config.network_policy {
            proxy = proxy.enforcing(proxy_client.clone());
        }
        components.spawn(proxy.run(stop.child_token()));
        if let Some(settings) = config.dns_settings(&network) {
            let dns = Dns::new(settings, services.clone());
            let (mut ready, stop) = (network_ready.clone(), stop.child_token());
            // The address that it answers on comes with the network.
            components.spawn(async move {
                tokio::select! {
                    up = ready.wait_for(|ready| *ready) => { up?; }
                    () = stop.cancelled() => return Ok(()),
                }
                dns.run(stop).await
            });
        }
        if let Some(trust) = config.kubelet_trust.clone() {
            let settings = kubelet_api::Settings {
                listen: SocketAddr::from(([0, 0, 0, 0], config.kubelet_port)),
                trust,
                runtime: socket.clone(),
                state_dir: Names::of(&config.data_dir).run,
                storage: paths::storage(&config.agent_dir()),
                node_name: config.node_name.clone(),
            };
            components.spawn(KubeletApi::new(settings).run(stop.child_token()));
        }
        components.spawn(Containerd::new(settings).run(stop.child_token()));
        components.spawn(services.clone().run(proxy_client, stop.child_token()));
        components.spawn(
            Kubelet::new(config, client, &socket, services)
                .on_network(network_ready)
                .answering(doubts)
                .run(stop.child_token()),
        );
        let mut outcome = Ok(());
        while let Some(ended) = components.join_next().await {
            let ended = ended.map_err(anyhow::Error::from).and_then(|ended| ended);
            if outcome.is_ok() {
                outcome = ended;
            }
            // One that ends takes the others along; after `stop` they all end by themselves.
            stop.cancel();
        }
        outcome
    }
}
