//! Node taints: a node's conditions become taints, so that only Pods that bear them are put there.
//!
//! A node registers tainted as not ready (admission sees to that); this is what takes the taint away
//! once its kubelet says that it is ready, and brings it back when it no longer is.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use mizzen_api::client::reflector::{Key, Projection, Reflector};
use mizzen_api::client::rest::Rest;
use serde_json::{Value, json};

use super::kinds::{Node, Taint};
use super::{Context, Controller, Next};
use crate::projection::{Watched, update};

const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";
/// Condition, the status that is bad, and the taint that says so.
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", "node.kubernetes.io/not-ready"),
    ("Ready", "Unknown", "node.kubernetes.io/unreachable"),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

struct NodeTaints {
    rest: Rest,
    nodes: Arc<Reflector<Node>>,
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = NodeTaints {
        rest: context.rest.clone(),
        nodes: context.caches.of(),
    };
    let (nodes, queue) = (controller.nodes.clone(), context.queue.clone());
    controller.nodes.subscribe(move |change| {
        queue.add(change.latest().key());
        // Whether Pods are driven away depends on whether they have somewhere to go.
        let ready = |node: Option<&Arc<Node>>| node.is_some_and(|node| is_ready(node));
        if ready(change.old) != ready(change.new) {
            let troubled = nodes.all().into_iter().filter(|node| !is_ready(node));
            troubled.for_each(|node| queue.add(node.key()));
        }
    });
    Arc::new(controller)
}

#[async_trait]
impl Controller for NodeTaints {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(node) = self.nodes.get("", &key.name) else {
            return Ok(Next::Change);
        };
        let refuge = self.nodes.all().iter().any(|node| is_ready(node));
        let wanted = wanted(&node, refuge, Timestamp::now());
        if wanted != *node.spec.taints {
            update(&self.rest, &Node::AT, &node.metadata, "", |live| {
                live["spec"]["taints"] = match wanted.is_empty() {
                    true => Value::Null,
                    false => json!(wanted),
                };
            })
            .await?;
        }
        Ok(Next::Change)
    }
}

fn is_ready(node: &Node) -> bool {
    let mut conditions = node.status.conditions.iter();
    conditions.any(|c| c.kind == "Ready" && c.status == "True")
}

/// The taint that drives Pods away: when the node is not ready and others are. When none is, the fault
/// lies elsewhere, and Pods stay where they are.
fn driving(node: &Node, refuge: bool) -> Option<&'static str> {
    let ready = node.status.conditions.iter().find(|c| c.kind == "Ready")?;
    let found = TAINTS.iter().find(|t| t.0 == "Ready" && t.1 == ready.status)?;
    refuge.then_some(found.2)
}

/// The taints that should stand: those of others as they are, ours by the conditions; `refuge` is whether
/// any node is ready.
fn wanted(node: &Node, refuge: bool, now: Timestamp) -> Vec<Taint> {
    let status = |kind: &str| {
        let condition = node.status.conditions.iter().find(|c| &*c.kind == kind);
        condition.map(|c| &*c.status)
    };
    // A node that has not said anything yet is not ready.
    let bad = |kind: &str, bad: &str| status(kind).unwrap_or(if kind == "Ready" { "False" } else { "" }) == bad;
    let standing = TAINTS.iter().filter(|t| bad(t.0, t.1)).map(|t| t.2);
    let standing = standing.chain(node.spec.unschedulable.then_some(UNSCHEDULABLE));
    let mut ours: Vec<(&'static str, &'static str)> = standing.map(|key| (key, NO_SCHEDULE)).collect();
    ours.extend(driving(node, refuge).map(|key| (key, NO_EXECUTE)));
    let is_ours = |taint: &Taint| match &*taint.effect {
        NO_SCHEDULE => taint.key == UNSCHEDULABLE || TAINTS.iter().any(|t| t.2 == taint.key),
        NO_EXECUTE => TAINTS.iter().any(|t| t.0 == "Ready" && t.2 == taint.key),
        _ => false,
    };
    let present = &node.spec.taints;
    let stays = |taint: &&Taint| !is_ours(taint) || ours.contains(&(&*taint.key, &*taint.effect));
    let mut wanted: Vec<Taint> = present.iter().filter(stays).cloned().collect();
    for (key, effect) in ours {
        if !wanted.iter().any(|taint| taint.key == key && taint.effect == effect) {
            wanted.push(Taint {
                key: Cow::Borrowed(key),
                effect: Cow::Borrowed(effect),
                time_added: Timestamp::from_second(now.as_second()).ok(),
                ..Taint::default()
            });
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(conditions: &[(&str, &str)], unschedulable: bool, present: &[(&str, &str)], expect: &[&str]) {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(k, s)| json!({"type": k, "status": s}))
            .collect();
        let taints: Vec<_> = present.iter().map(|(k, e)| json!({"key": k, "effect": e})).collect();
        let node =
            json!({"spec": {"unschedulable": unschedulable, "taints": taints}, "status": {"conditions": conditions}});
        let node: Node = serde_json::from_value(node).expect("a Node");
        let keys: Vec<_> = wanted(&node, false, Timestamp::UNIX_EPOCH)
            .iter()
            .map(|t| t.key.to_string())
            .collect();
        assert_eq!(keys, expect);
    }

    #[test]
    fn pods_are_driven_away_only_where_others_are_ready() {
        let node = |ready: &str| -> Node {
            let conditions = json!([{"type": "Ready", "status": ready}]);
            serde_json::from_value(json!({"status": {"conditions": conditions}})).expect("a Node")
        };
        for (ready, refuge, expect) in [
            ("True", true, None),
            ("False", true, Some("node.kubernetes.io/not-ready")),
            ("Unknown", true, Some("node.kubernetes.io/unreachable")),
            ("Unknown", false, None),
        ] {
            let taints = wanted(&node(ready), refuge, Timestamp::UNIX_EPOCH);
            let driving: Vec<_> = taints
                .iter()
                .filter(|t| t.effect == NO_EXECUTE)
                .map(|t| &*t.key)
                .collect();
            assert_eq!(driving, expect.into_iter().collect::<Vec<_>>(), "{ready} {refuge}");
        }
    }

    #[test]
    fn taints_follow_conditions() {
        const NOT_READY: &str = "node.kubernetes.io/not-ready";
        check(&[], false, &[], &[NOT_READY]);
        check(&[("Ready", "True")], false, &[(NOT_READY, "NoSchedule")], &[]);
        check(
            &[("Ready", "True")],
            true,
            &[("mine", "NoSchedule"), (NOT_READY, "NoExecute")],
            &["mine", UNSCHEDULABLE],
        );
        check(
            &[("Ready", "Unknown"), ("DiskPressure", "True")],
            false,
            &[],
            &["node.kubernetes.io/unreachable", "node.kubernetes.io/disk-pressure"],
        );
    }
}
