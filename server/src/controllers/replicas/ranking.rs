//! Which of several Pods is given up first: upstream's order, the first differing line decides.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;

use crate::controllers::kinds::{Pod, PodStatus};

/// A Pod's place in the order; the least is deleted first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::controllers) struct Ranked {
    /// Not yet on a node, before those that are.
    assigned: bool,
    /// Pending, unknown, running.
    phase: u8,
    /// Not ready before ready.
    ready: bool,
    /// The cost that its owner gave it.
    cost: i32,
    /// Sharing the node with more relatives first.
    colocated: Reverse<usize>,
    /// Ready for a shorter time first, in powers of two so that ages do not decide alone.
    ready_age: u32,
    /// Restarted more often first.
    restarts: Reverse<i64>,
    /// Younger first, in powers of two.
    age: u32,
    /// Otherwise by an arbitrary but fixed order.
    uid: Box<str>,
}

impl Ranked {
    /// Ranks a Pod that shares its node with this many relatives.
    pub(in crate::controllers) fn new(pod: &Pod, colocated: usize, now: Timestamp) -> Self {
        Self {
            assigned: !pod.spec.node_name.is_empty(),
            phase: match &*pod.status.phase {
                "Pending" => 0,
                "Unknown" => 1,
                _ => 2,
            },
            ready: pod.is_ready(),
            cost: cost(pod),
            colocated: Reverse(colocated),
            ready_age: pod.ready_since().map_or(0, |since| magnitude(since, now)),
            restarts: Reverse(restarts(&pod.status)),
            age: pod.metadata.creation_timestamp.map_or(0, |at| magnitude(at, now)),
            uid: pod.metadata.uid.clone(),
        }
    }
}

/// The cost annotation; what is not a number costs nothing.
fn cost(pod: &Pod) -> i32 {
    let text = pod.metadata.annotations.deletion_cost.as_deref().unwrap_or("0");
    text.parse().unwrap_or(0)
}

fn restarts(status: &PodStatus) -> i64 {
    let all = status.container_statuses.iter().chain(&status.init_container_statuses);
    all.map(|container| container.restart_count).max().unwrap_or(0)
}

/// The logarithm of an age, with everything unborn at zero.
fn magnitude(since: Timestamp, now: Timestamp) -> u32 {
    let age = now.duration_since(since).as_nanos();
    u128::try_from(age)
        .ok()
        .and_then(u128::checked_ilog2)
        .map_or(0, |log| log + 1)
}

/// How many of the relatives run on the Pod's node.
pub(super) fn colocated(pod: &Pod, relatives: &[Arc<Pod>]) -> usize {
    let on_same_node = |other: &&Arc<Pod>| other.spec.node_name == pod.spec.node_name;
    match pod.spec.node_name.is_empty() {
        true => 0,
        false => relatives.iter().filter(on_same_node).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rank(pod: Value, colocated: usize) -> Ranked {
        let pod: Pod = serde_json::from_value(pod).expect("a Pod");
        let now = "2026-01-01T12:00:00Z".parse().expect("a time");
        Ranked::new(&pod, colocated, now)
    }

    fn pod(uid: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut pod = json!({
            "metadata": {"uid": uid, "creationTimestamp": "2026-01-01T08:00:00Z"},
            "spec": {"nodeName": "n1"},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T08:00:00Z"},
            ], "containerStatuses": [{"restartCount": 0}]},
        });
        change(&mut pod);
        pod
    }

    #[test]
    fn every_line_of_the_order_decides() {
        let plain = || rank(pod("m", |_| {}), 1);
        let earlier = [
            rank(pod("z", |p| p["spec"]["nodeName"] = json!("")), 0),
            rank(pod("z", |p| p["status"]["phase"] = json!("Pending")), 1),
            rank(pod("z", |p| p["status"]["conditions"] = json!([])), 1),
            rank(
                pod("z", |p| {
                    p["metadata"]["annotations"] = json!({"controller.kubernetes.io/pod-deletion-cost": "-5"});
                }),
                1,
            ),
            rank(pod("z", |_| {}), 2),
            rank(
                pod("z", |p| {
                    p["status"]["conditions"][0]["lastTransitionTime"] = json!("2026-01-01T11:59:00Z");
                }),
                1,
            ),
            rank(
                pod("z", |p| p["status"]["containerStatuses"][0]["restartCount"] = json!(3)),
                1,
            ),
            rank(
                pod("z", |p| {
                    p["metadata"]["creationTimestamp"] = json!("2026-01-01T11:59:00Z")
                }),
                1,
            ),
            rank(pod("a", |_| {}), 1),
        ];
        for (at, one) in earlier.iter().enumerate() {
            assert!(*one < plain(), "line {at}");
        }
        // Each line outweighs all that follow.
        assert!(earlier.is_sorted());
    }
}
