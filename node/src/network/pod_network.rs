//! The Pod network as the Node objects describe it.
//!
//! Entry point: [`PodNetwork::run`]. One reflector copies what matters of all Nodes. The one task waits until this node's
//! own object says which addresses its Pods have, brings up bridge and CNI configuration with them, says so through
//! [`PodNetwork::ready`], and from then on brings the overlay in step whenever a node comes, moves or goes.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ipnet::Ipv4Net;
use mizzen_api::client::reflector::{Projection as _, Reflector};
use mizzen_api::client::rest::{Gvr, Rest};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::overlay::{self, Peer, kernel};
use super::{Settings, link};

const NODES: Gvr<'static> = Gvr::new("", "v1", "nodes");
/// Pause after the kernel refused something.
const RETRY: Duration = Duration::from_secs(5);
/// The largest packet of the network between nodes, when it cannot be seen.
const USUAL_MTU: u32 = 1_500;

/// The Pod network of one node.
pub struct PodNetwork {
    settings: Settings,
    client: kube::Client,
    nodes: Arc<Reflector<Peer>>,
    changed: Arc<Notify>,
    ready: watch::Sender<bool>,
    doubts: Arc<Notify>,
}

impl PodNetwork {
    /// The network that `settings` describe, but for the addresses of the Pods: those the Node object has.
    pub fn new(settings: Settings, client: kube::Client) -> Self {
        let nodes = Reflector::<Peer>::new(NODES);
        let changed = Arc::<Notify>::default();
        let doubts = Arc::<Notify>::default();
        let (notify, doubt, own) = (changed.clone(), doubts.clone(), settings.node_name.clone());
        nodes.subscribe(move |change| {
            let is_unknown = |peer: Option<&Arc<Peer>>| peer.is_some_and(|peer| peer.is_unknown);
            if change.latest().name() == own && is_unknown(change.new) && !is_unknown(change.old) {
                doubt.notify_one();
            }
            let same = matches!((change.old, change.new), (Some(old), Some(new)) if old.same_place(new));
            if !same {
                notify.notify_one();
            }
        });
        Self {
            settings,
            client,
            nodes,
            changed,
            ready: watch::Sender::new(false),
            doubts,
        }
    }

    /// Tells when Pods can have a network.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Tells when others no longer know how this node is: the Node objects are watched here and nowhere else.
    pub fn doubts(&self) -> Arc<Notify> {
        self.doubts.clone()
    }

    /// Keeps the network in step until `stop`, and leaves it in place then.
    ///
    /// # Errors
    /// When the bridge cannot be made.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let rest = Rest::new(self.client.clone(), "mizzen-network");
        let watch = self.nodes.clone().run(rest, stop.clone());
        tokio::select! {
            () = watch => Ok(()),
            outcome = self.follow() => outcome,
            () = stop.cancelled() => Ok(()),
        }
    }

    async fn follow(mut self) -> anyhow::Result<()> {
        self.settings.pod_cidr = self.own_cidr().await;
        if let Some(ip) = self.settings.node_ip
            && self.settings.mtu.is_none()
        {
            let underlay = link::underlay_mtu(ip).await?.unwrap_or(USUAL_MTU);
            self.settings.mtu = Some(underlay.saturating_sub(overlay::OVERHEAD_BYTES));
        }
        super::setup(&self.settings).await.context("pod network")?;
        tracing::info!(pods = %self.settings.pod_cidr, "the Pod network is up");
        self.ready.send_replace(true);
        self.nodes.synced().await;
        loop {
            match self.connect().await {
                Ok(()) => self.changed.notified().await,
                Err(error) => {
                    tracing::error!("the way to the Pods of other nodes is not complete: {error:#}");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Waits for the addresses of this node's Pods.
    async fn own_cidr(&self) -> Ipv4Net {
        loop {
            let own = self.nodes.get("", &self.settings.node_name);
            if let Some(cidr) = own.and_then(|node| node.pod_cidr) {
                return cidr;
            }
            self.changed.notified().await;
        }
    }

    /// Brings the overlay in step with the Nodes.
    async fn connect(&self) -> anyhow::Result<()> {
        let nodes = self.nodes.all();
        let own = nodes.iter().find(|node| *node.name() == *self.settings.node_name);
        if let Some(cidr) = own.and_then(|node| node.pod_cidr)
            && cidr != self.settings.pod_cidr
        {
            tracing::error!(
                "this node's Pods were moved from {} to {cidr}; that takes effect when the agent is started anew",
                self.settings.pod_cidr
            );
        }
        let others = nodes.iter().filter(|node| *node.name() != *self.settings.node_name);
        let address = self.settings.node_ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let desired = overlay::desired(address, self.settings.pod_cidr, others.map(|node| &**node));
        let changes = kernel::apply(&self.settings, &desired)
            .await
            .with_context(|| format!("link {}", self.settings.overlay))?;
        if changes > 0 {
            tracing::info!(changes, peers = desired.len() / 3, "the overlay follows the nodes");
        }
        Ok(())
    }
}
