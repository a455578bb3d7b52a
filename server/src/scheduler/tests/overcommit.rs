//! Whatever comes in whatever order, no node takes more than it has, and counts that were kept equal
//! counts made anew.

use proptest::prelude::*;

use super::*;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A Pod comes: cores in tenths, priority, group, and what it says of others.
    Pod(u32, i32, u8, u8),
    /// The Pod of this number goes.
    Gone(usize),
    /// The Binding of this Pod fails.
    BindFails(usize),
    /// A node comes, or goes if it is there.
    Node(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u32..25, 0i32..3, 0u8..3, 0u8..5).prop_map(|(c, p, g, k)| Step::Pod(c, p, g, k)),
        2 => (0usize..60).prop_map(Step::Gone),
        1 => (0usize..60).prop_map(Step::BindFails),
        1 => (0u8..6).prop_map(Step::Node),
    ];
    proptest::collection::vec(step, 1..60)
}

fn describe(n: usize, cores: u32, priority: i32, group: u8, kind: u8) -> Value {
    let mut pod = pod(&format!("p{n}"), cpu(&format!("{}m", cores * 100)));
    pod["metadata"]["labels"] = json!({"group": format!("g{group}")});
    pod["spec"]["priority"] = json!(priority);
    let selector = json!({"matchLabels": {"group": format!("g{group}")}});
    let term = json!({"topologyKey": "zone", "labelSelector": selector});
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
    match kind {
        1 => {
            pod["spec"]["topologySpreadConstraints"] = json!([{"topologyKey": "zone", "maxSkew": 1,
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}]);
        }
        2 => pod["spec"]["affinity"] = json!({"podAffinity": required}),
        3 => pod["spec"]["affinity"] = json!({"podAntiAffinity": required}),
        4 => pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 1, "hostPort": 80 + i32::from(group)}]),
        _ => {}
    }
    pod
}

/// Checks every node's books against its Pods.
fn audit(core: &mut Core) {
    core.cluster.settle();
    for slot in core.cluster.order() {
        let info = core.cluster.info(*slot);
        let (node, sum) = (info.node(), info.pods.iter().map(|p| p.requests.milli_cpu).sum::<i64>());
        assert_eq!(info.requested.milli_cpu, sum, "the sum of {}", info.name);
        assert!(sum <= node.allocatable.milli_cpu, "{} gives {sum}", info.name);
        assert!(
            info.pods.len() as i64 <= node.max_pods,
            "{} holds {}",
            info.name,
            info.pods.len()
        );
        let mut ports: Vec<_> = info.ports.iter().map(|port| port.port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), info.ports.len(), "ports of {}", info.name);
    }
}

/// Whether a Pod fits nowhere, decided by plugins that remember nothing.
fn fits_anew(core: &Core, pod: &Arc<Pod>) -> bool {
    let fresh = Configuration::default();
    let mut search = framework::cycle::Search::new(1);
    fresh.profiles.of(pod).schedule(pod, &core.cluster, &mut search).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn nodes_never_give_more_than_they_have(steps in steps()) {
        let zoned = |n: u8| node(&format!("n{n}"), |v| v["metadata"]["labels"]["zone"] = json!(format!("z{}", n % 3)));
        let parsed = |n: u8| -> Arc<node::Node> { Arc::new(serde_json::from_value(zoned(n)).expect("a Node")) };
        let mut world = World::new(&[zoned(0), zoned(1)]);
        let mut there = [true, true, false, false, false, false];
        let mut pods: Vec<Arc<Pod>> = Vec::new();
        let mut bound: Vec<(Arc<Pod>, Box<str>)> = Vec::new();
        for step in steps {
            match step {
                Step::Pod(cores, priority, group, kind) => {
                    let pod = describe(pods.len(), cores, priority, group, kind);
                    pods.push(Arc::new(serde_json::from_value(pod).expect("a Pod")));
                    world.core.pod_changed(None, pods.last(), world.now);
                }
                Step::Gone(n) if n < pods.len() => {
                    world.core.pod_changed(Some(&pods[n]), None, world.now);
                    bound.retain(|(pod, _)| pod.metadata.uid != pods[n].metadata.uid);
                }
                Step::BindFails(n) if n < bound.len() => {
                    let (pod, node) = bound.remove(n);
                    world.core.bind_failed(&pod, &node, world.now);
                }
                Step::Node(n) => {
                    let (node, at) = (parsed(n), usize::from(n));
                    there[at] = !there[at];
                    match there[at] {
                        false => world.core.node_changed(Some(&node), None, world.now),
                        true => world.core.node_changed(None, Some(&node), world.now),
                    }
                }
                _ => {}
            }
            world.now += std::time::Duration::from_secs(11);
            while let Some(decision) = world.core.step(world.now) {
                match decision {
                    Decision::Bind(pod, node) => bound.push((pod, node)),
                    Decision::Reject(pod, _) => {
                        world.core.cluster.unnominate(&pod.metadata.uid);
                        prop_assert!(!fits_anew(&world.core, &pod), "{} fits after all", pod.metadata.name);
                    }
                }
                audit(&mut world.core);
            }
            audit(&mut world.core);
        }
    }
}
