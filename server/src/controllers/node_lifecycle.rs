//! Node lifecycle: a node that is not heard of any more is marked so, and its Pods with it.
//!
//! A heartbeat is a renewed Lease or a new status. What counts is when it was seen here, by this clock:
//! nodes whose clocks are wrong, and a controller that was away, do no harm. The timer of a node runs
//! from its last heartbeat; nothing is written while nodes are well. What follows from the conditions is
//! others' work: [`super::node_taints`] and [`super::taint_eviction`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use kube::core::params::{Patch, PatchParams};
use mizzen_api::client::events::{Recorder, Severity};
use mizzen_api::client::reflector::{Key, Projection as _, Reflector};
use mizzen_api::client::rest::{self, Gvr, Rest};
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::kinds::{Node, Pod};
use super::{Context, Controller, Next};
use crate::projection::{Meta, Watched, projection};

/// How long a node may be silent (upstream's `--node-monitor-grace-period`).
const GRACE: Duration = Duration::from_secs(50);
/// Conditions of a node that only its kubelet knows.
const KUBELETS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// The Lease of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeLease {
    metadata: Meta,
}

projection!(NodeLease, "coordination.k8s.io", "v1", "leases", fields: "metadata.namespace=kube-node-lease");

struct NodeLifecycle {
    rest: Rest,
    nodes: Arc<Reflector<Node>>,
    pods: Arc<Reflector<Pod>>,
    /// When each node was last heard of.
    heard: Arc<Mutex<HashMap<Box<str>, Instant>>>,
    events: Recorder,
}

/// Builds the controller; its keys are Nodes.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = NodeLifecycle {
        rest: context.rest.clone(),
        nodes: context.caches.of(),
        pods: context.caches.of(),
        heard: Arc::default(),
        events: context.events.clone(),
    };
    let (heard, queue) = (controller.heard.clone(), context.queue.clone());
    controller.nodes.subscribe(move |change| {
        let node = change.latest();
        if change.new.is_none() {
            heard.lock().remove(&node.metadata.name);
        } else if change.old.is_none_or(|old| beats(old, node)) {
            heard.lock().insert(node.metadata.name.clone(), Instant::now());
        }
        queue.add(node.key());
    });
    let heard = controller.heard.clone();
    let leases = context.caches.of::<NodeLease>();
    // A renewed Lease writes nothing and wakes nobody: the timer finds it when it is due.
    leases.subscribe(move |change| {
        if let Some(lease) = change.new
            && let Some(heard) = heard.lock().get_mut(&lease.metadata.name)
        {
            *heard = Instant::now();
        }
    });
    Arc::new(controller)
}

/// Whether a change of a node is a sign of life: one of its status that we did not write.
fn beats(old: &Node, new: &Node) -> bool {
    let ready = |node: &Node| node.status.conditions.iter().find(|c| c.kind == "Ready").cloned();
    let (before, after) = (ready(old), ready(new));
    before != after && after.is_some_and(|after| after.status != "Unknown")
}

fn is_ready(node: &Node) -> bool {
    node.status
        .conditions
        .iter()
        .any(|c| c.kind == "Ready" && c.status == "True")
}

#[async_trait]
impl Controller for NodeLifecycle {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(node) = self.nodes.get("", &key.name) else {
            return Ok(Next::Change);
        };
        let heard = self.heard.lock().get(&*key.name).copied().unwrap_or_else(Instant::now);
        let left = GRACE.saturating_sub(heard.elapsed());
        let silent = left.is_zero();
        if silent {
            self.mark_unknown(&node).await?;
        }
        if silent || !is_ready(&node) {
            self.mark_pods(&node).await?;
        }
        Ok(if silent { Next::Change } else { Next::After(left) })
    }
}

impl NodeLifecycle {
    async fn mark_unknown(&self, node: &Node) -> rest::Result<()> {
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        let conditions = unknown(node, now);
        if conditions.is_empty() {
            return Ok(());
        }
        let name = &node.metadata.name;
        let patch = json!({"metadata": {"uid": node.metadata.uid}, "status": {"conditions": conditions}});
        self.patch(&Node::AT, ("", name), patch).await?;
        let about = node.metadata.reference("v1", "Node");
        let message = format!("Node {name} status is now: NodeNotReady");
        self.events.event(&about, Severity::Normal, "NodeNotReady", message);
        Ok(())
    }

    /// Pods of a node that is not ready are not either: Services must not lead to them.
    async fn mark_pods(&self, node: &Node) -> rest::Result<()> {
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        let ours = |pod: &Arc<Pod>| pod.spec.node_name == node.metadata.name && pod.is_ready() && !pod.is_finished();
        for pod in self.pods.all().into_iter().filter(ours) {
            let meta = &pod.metadata;
            let condition = json!({"type": "Ready", "status": "False", "lastTransitionTime": now});
            let patch = json!({"metadata": {"uid": meta.uid}, "status": {"conditions": [condition]}});
            self.patch(&Pod::AT, (&meta.namespace, &meta.name), patch).await?;
            let about = meta.reference("v1", "Pod");
            self.events
                .event(&about, Severity::Warning, "NodeNotReady", "Node is not ready");
        }
        Ok(())
    }

    async fn patch(&self, at: &Gvr<'_>, target: (&str, &str), patch: Value) -> rest::Result<()> {
        let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
        match self
            .rest
            .patch::<IgnoredAny>(at, target, "status", &params, &patch)
            .await
        {
            Err(error) if !rest::is_not_found(&error) && !rest::is_conflict(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// The conditions to put in the place of what a silent node said last.
fn unknown(node: &Node, now: Timestamp) -> Vec<Value> {
    let known = |kind: &str| node.status.conditions.iter().find(|c| c.kind == kind);
    let wrong = KUBELETS
        .iter()
        .filter(|kind| known(kind).is_none_or(|c| c.status != "Unknown"));
    wrong
        .map(|kind| {
            let (reason, message) = match known(kind) {
                Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
                None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
            };
            json!({"type": kind, "status": "Unknown", "reason": reason, "message": message, "lastTransitionTime": now})
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_silent_node_said_is_no_longer_known() {
        let node = json!({"status": {"conditions": [
            {"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "Unknown"}, {"type": "Mine", "status": "True"}]}});
        let node: Node = serde_json::from_value(node).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let found: Vec<_> = unknown(&node, now)
            .iter()
            .map(|c| format!("{} {}", c["type"].as_str().unwrap(), c["reason"].as_str().unwrap()))
            .collect();
        assert_eq!(
            found,
            [
                "Ready NodeStatusUnknown",
                "MemoryPressure NodeStatusNeverUpdated",
                "PIDPressure NodeStatusNeverUpdated"
            ]
        );
    }
}
