//! The core against results known from upstream.

mod groups;
mod overcommit;
mod preemption;
mod storage;

use super::framework::failure::Failure;
use super::*;
use serde_json::{Value, json};
use tokio::time::Instant;

struct World {
    core: Core,
    now: Instant,
}

impl World {
    fn new(nodes: &[Value]) -> Self {
        let mut world = Self {
            core: Core::new(&Configuration::default(), 7),
            now: Instant::now(),
        };
        for node in nodes {
            let node = Arc::new(serde_json::from_value(node.clone()).expect("a Node"));
            world.core.node_changed(None, Some(&node), world.now);
        }
        world
    }

    /// The node that a Pod gets, or why it gets none.
    fn schedule(&mut self, pod: Value) -> Result<String, String> {
        match self.decide(pod) {
            Decision::Bind(_, node) => Ok(node.to_string()),
            Decision::Reject(_, failure) => Err(failure.to_string()),
        }
    }

    /// Why a Pod gets no node.
    fn reject(&mut self, pod: Value) -> Box<Failure> {
        match self.decide(pod) {
            Decision::Bind(pod, node) => panic!("{} got {node}", pod.metadata.name),
            Decision::Reject(_, failure) => failure,
        }
    }

    fn decide(&mut self, pod: Value) -> Decision {
        let pod = Arc::new(serde_json::from_value(pod).expect("a Pod"));
        self.core.pod_changed(None, Some(&pod), self.now);
        self.core.step(self.now).expect("a decision")
    }

    /// The Pod of that name, and uid, goes.
    fn remove(&mut self, name: &str) {
        let gone = Arc::new(serde_json::from_value(pod(name, |_| {})).expect("a Pod"));
        self.core.pod_changed(Some(&gone), None, self.now);
    }
}

fn node(name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "3"}},
    });
    change(&mut node);
    node
}

fn pod(name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"schedulerName": "default-scheduler", "containers": [{"resources": {"requests": {"cpu": "1"}}}]},
    });
    change(&mut pod["spec"]);
    pod
}

fn cpu(amount: &str) -> impl FnOnce(&mut Value) {
    move |spec| spec["containers"][0]["resources"]["requests"]["cpu"] = json!(amount)
}

#[test]
fn words_are_upstreams() {
    let check = |nodes: &[Value], pod: Value, expect: &str| {
        assert_eq!(World::new(nodes).schedule(pod).expect_err("rejected"), expect);
    };
    check(&[], pod("a", |_| {}), "no nodes available to schedule pods");
    check(
        &[node("n1", |_| {})],
        pod("a", cpu("5")),
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: \
         0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
    );
    check(
        &[
            node("n1", |n| {
                n["spec"] = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]})
            }),
            node("n2", |n| n["spec"] = json!({"unschedulable": true})),
            node("n3", |n| n["status"]["allocatable"]["pods"] = json!("0")),
        ],
        pod("a", |_| {}),
        "0/3 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint(s), \
         1 node(s) were unschedulable. no new claims to deallocate, preemption: 0/3 nodes are available: \
         1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling.",
    );
    check(
        &[node("n1", |_| {})],
        pod("a", |spec| {
            spec["nodeSelector"] = json!({"disk": "ssd"});
            spec["preemptionPolicy"] = json!("Never");
        }),
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. \
         no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never.",
    );
}

#[test]
fn resources_are_taken_and_given_back() {
    let mut world = World::new(&[node("n1", |_| {})]);
    assert_eq!(world.schedule(pod("a", cpu("3"))), Ok("n1".into()));
    assert_eq!(
        world.schedule(pod("b", cpu("2"))),
        Err(
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: \
             0/1 nodes are available: 1 No preemption victims found for incoming pod."
                .into()
        )
    );
    // The first Pod goes: the second is tried again after its backoff.
    let gone = Arc::new(serde_json::from_value(pod("a", |_| {})).expect("a Pod"));
    world.core.pod_changed(Some(&gone), None, world.now);
    assert!(world.core.step(world.now).is_none());
    let later = world.core.queue.next_due().expect("a backoff");
    assert!(
        matches!(world.core.step(later), Some(Decision::Bind(pod, node)) if &*node == "n1" && &*pod.metadata.name == "b")
    );
}

#[test]
fn ports_are_taken_once() {
    let port = |spec: &mut Value| spec["containers"][0]["ports"] = json!([{"hostPort": 80, "containerPort": 80}]);
    let mut world = World::new(&[node("n1", |_| {}), node("n2", |_| {})]);
    let mut nodes = [world.schedule(pod("a", port)), world.schedule(pod("b", port))];
    nodes.sort();
    assert_eq!(nodes, [Ok("n1".to_owned()), Ok("n2".to_owned())]);
    assert!(
        world
            .schedule(pod("c", port))
            .expect_err("taken")
            .contains("2 node(s) didn't have free ports")
    );
}

#[test]
fn the_better_node_wins() {
    let check = |nodes: &[Value], pod: Value, expect: &str| {
        assert_eq!(World::new(nodes).schedule(pod).as_deref(), Ok(expect));
    };
    // LeastAllocated: the bigger node keeps more free.
    check(
        &[
            node("n1", |_| {}),
            node("n2", |n| {
                n["status"]["allocatable"] = json!({"cpu": "16", "memory": "32Gi", "pods": "3"})
            }),
        ],
        pod("a", |_| {}),
        "n2",
    );
    // A soft taint weighs more than a little room.
    check(
        &[
            node("n1", |n| {
                n["spec"] = json!({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]})
            }),
            node("n2", |_| {}),
        ],
        pod("a", |_| {}),
        "n2",
    );
    check(
        &[
            node("n1", |_| {}),
            node("n2", |n| n["metadata"]["labels"]["disk"] = json!("ssd")),
        ],
        pod("a", |spec| {
            spec["affinity"] = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}}]}});
        }),
        "n2",
    );
    check(
        &[node("n1", |_| {}), node("n2", |_| {})],
        pod("a", |spec| {
            spec["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}]}}});
        }),
        "n2",
    );
}

#[test]
fn equal_nodes_share_the_load() {
    let nodes: Vec<_> = (0..4)
        .map(|n| node(&format!("n{n}"), |n| n["status"]["allocatable"]["pods"] = json!("110")))
        .collect();
    let mut world = World::new(&nodes);
    let mut counts = std::collections::BTreeMap::new();
    for n in 0..12 {
        let node = world.schedule(pod(&format!("p{n}"), cpu("100m"))).expect("room");
        *counts.entry(node).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [3, 3, 3, 3]);
}

#[test]
fn a_failed_binding_frees_the_node() {
    let mut world = World::new(&[node("n1", |n| n["status"]["allocatable"]["pods"] = json!("1"))]);
    let a = Arc::new(serde_json::from_value(pod("a", |_| {})).expect("a Pod"));
    world.core.pod_changed(None, Some(&a), world.now);
    assert!(matches!(world.core.step(world.now), Some(Decision::Bind(..))));
    world.core.bind_failed(&a, "n1", world.now);
    let later = world.core.queue.next_due().expect("a backoff");
    assert!(matches!(world.core.step(later), Some(Decision::Bind(..))));
}
