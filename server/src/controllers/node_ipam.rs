//! Node addresses: every node gets a block of the cluster's Pod addresses.
//!
//! A node that brings its block keeps it. One worker hands out blocks, and remembers what it gave until
//! the nodes show it.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use ipnet::Ipv4Net;
use kube::core::params::{Patch, PatchParams};
use mizzen_api::client::events::{Recorder, Severity};
use mizzen_api::client::reflector::{Key, Projection, Reflector};
use mizzen_api::client::rest::Rest;
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use serde_json::json;

use super::kinds::Node;
use super::{Context, Controller, Next};
use crate::projection::Watched;

/// Size of a node's block.
const BLOCK: u8 = 24;

struct NodeIpam {
    rest: Rest,
    nodes: Arc<Reflector<Node>>,
    cluster: Option<Ipv4Net>,
    given: Arc<Mutex<HashMap<Box<str>, Ipv4Net>>>,
    events: Recorder,
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = NodeIpam {
        rest: context.rest.clone(),
        nodes: context.caches.of(),
        cluster: context.config.cluster_cidr,
        given: Arc::default(),
        events: context.events.clone(),
    };
    let (given, queue) = (controller.given.clone(), context.queue.clone());
    controller.nodes.subscribe(move |change| {
        let node = change.latest();
        if change.new.is_none() || !node.spec.pod_cidr.is_empty() {
            given.lock().remove(&node.metadata.name);
        }
        if change.new.is_some() && node.spec.pod_cidr.is_empty() {
            queue.add(node.key());
        }
    });
    Arc::new(controller)
}

/// The first block that overlaps nothing that is taken.
fn free(cluster: Ipv4Net, taken: &[Ipv4Net]) -> Option<Ipv4Net> {
    let overlaps = |a: &Ipv4Net, b: &Ipv4Net| a.contains(&b.network()) || b.contains(&a.network());
    let mut blocks = cluster.subnets(BLOCK.max(cluster.prefix_len())).ok()?;
    blocks.find(|block| !taken.iter().any(|other| overlaps(block, other)))
}

#[async_trait]
impl Controller for NodeIpam {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let (Some(node), Some(cluster)) = (self.nodes.get("", &key.name), self.cluster) else {
            return Ok(Next::Change);
        };
        if !node.spec.pod_cidr.is_empty() || self.given.lock().contains_key(&node.metadata.name) {
            return Ok(Next::Change);
        }
        let nodes = self.nodes.all();
        let known = nodes.iter().filter_map(|node| node.spec.pod_cidr.parse().ok());
        let taken: Vec<Ipv4Net> = known.chain(self.given.lock().values().copied()).collect();
        let Some(block) = free(cluster, &taken) else {
            let about = node.metadata.reference("v1", "Node");
            let message = format!("Node {} status is now: CIDRNotAvailable", key.name);
            self.events.event(&about, Severity::Normal, "CIDRNotAvailable", message);
            return Ok(Next::Change);
        };
        self.given.lock().insert(node.metadata.name.clone(), block);
        let text = block.to_string();
        let patch = json!({"metadata": {"uid": node.metadata.uid}, "spec": {"podCIDR": text, "podCIDRs": [text]}});
        let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
        let patched = self
            .rest
            .patch::<IgnoredAny>(&Node::AT, ("", &key.name), "", &params, &patch)
            .await;
        if patched.is_err() {
            self.given.lock().remove(&node.metadata.name);
        }
        patched?;
        Ok(Next::Change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_given_once() {
        let net = |text: &str| text.parse::<Ipv4Net>().unwrap();
        let cluster = net("10.42.0.0/16");
        let mut taken = vec![net("10.42.0.0/24"), net("10.42.2.0/23")];
        for expect in ["10.42.1.0/24", "10.42.4.0/24", "10.42.5.0/24"] {
            let block = free(cluster, &taken).unwrap();
            assert_eq!(block, net(expect));
            taken.push(block);
        }
        assert_eq!(free(net("10.0.0.0/24"), &[net("10.0.0.0/24")]), None);
    }
}
