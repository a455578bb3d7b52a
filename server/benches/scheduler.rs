//! The scheduling cycle without I/O: how long it takes to give one Pod a node, by number of nodes.

use std::sync::Arc;

use mizzen_server::scheduler::framework::Framework;
use mizzen_server::scheduler::{Core, Decision, plugins};
use serde_json::json;
use tokio::time::Instant;

fn main() {
    divan::main();
}

fn core(nodes: usize) -> Core {
    let mut core = Core::new(Framework::new(plugins::default_profile(), 1));
    for n in 0..nodes {
        let node = json!({
            "metadata": {"name": format!("node-{n}"), "labels": {"zone": format!("z{}", n % 3)}},
            "status": {"allocatable": {"cpu": "64", "memory": "256Gi", "pods": "110"}},
        });
        let node = Arc::new(serde_json::from_value(node).expect("a Node"));
        core.node_changed(None, Some(&node), Instant::now());
    }
    core
}

/// Schedules 1,000 Pods one after the other on an empty cluster.
#[divan::bench(args = [1, 100, 1000, 5000], sample_count = 10)]
fn thousand_pods(bencher: divan::Bencher<'_, '_>, nodes: usize) {
    let pods: Vec<_> = (0..1000)
        .map(|n| {
            let pod = json!({
                "metadata": {"name": format!("p{n}"), "namespace": "default", "uid": format!("u{n}")},
                "spec": {"schedulerName": "default-scheduler",
                         "containers": [{"resources": {"requests": {"cpu": "10m", "memory": "10Mi"}}}]},
            });
            Arc::new(serde_json::from_value(pod).expect("a Pod"))
        })
        .collect();
    bencher
        .counter(divan::counter::ItemsCount::new(pods.len()))
        .with_inputs(|| core(nodes))
        .bench_local_values(|mut core| {
            let now = Instant::now();
            for pod in &pods {
                core.pod_changed(None, Some(pod), now);
                let decision = core.step(now);
                assert!(nodes == 1 || matches!(decision, Some(Decision::Bind(..))));
            }
            core
        });
}
