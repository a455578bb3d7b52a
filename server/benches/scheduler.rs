//! The scheduler without I/O: Pods per second on 5,000 nodes with the default plugins, and how long
//! single decisions take, against the figures promised. Beside the clock's figure stands that of the
//! processor time used, which says more on a machine that is busy with other things.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mizzen_server::scheduler::{Core, Decision};
use serde_json::{Value, json};

const NODES: usize = 5000;
const ZONES: usize = 3;
/// A debug build only checks that it works.
const PODS: usize = if cfg!(debug_assertions) { 500 } else { 10_000 };
/// The longest that 99 of 100 decisions may take.
const P99: Duration = Duration::from_millis(5);

fn core() -> Core {
    let mut core = Core::default();
    let now = tokio::time::Instant::now();
    for n in 0..NODES {
        let name = format!("node-{n}");
        let node = json!({
            "metadata": {"name": name, "labels": {
                "kubernetes.io/hostname": name,
                "topology.kubernetes.io/zone": format!("zone-{}", n % ZONES),
            }},
            "status": {"allocatable": {"cpu": "64", "memory": "256Gi", "pods": "110"}},
        });
        let node = Arc::new(serde_json::from_value(node).expect("a Node"));
        core.node_changed(None, Some(&node), now);
    }
    core
}

/// Processor time that this thread has used.
fn used() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

/// Schedules all Pods, created ahead. Returns the time of each decision, and the processor time of all.
fn run(spec: impl Fn(usize) -> (Value, Value)) -> (Vec<Duration>, Duration) {
    let mut core = core();
    let now = tokio::time::Instant::now();
    for n in 0..PODS {
        let (labels, mut spec) = spec(n);
        spec["schedulerName"] = json!("default-scheduler");
        spec["containers"] = json!([{"image": "app", "resources": {"requests": {"cpu": "100m", "memory": "100Mi"}}}]);
        let meta = json!({"name": format!("p{n}"), "namespace": "default", "uid": format!("u{n}"), "labels": labels});
        let pod = serde_json::from_value(json!({"metadata": meta, "spec": spec})).expect("a Pod");
        core.pod_changed(None, Some(&Arc::new(pod)), now);
    }
    let mut times = Vec::with_capacity(PODS);
    let before = used();
    for _ in 0..PODS {
        let started = Instant::now();
        let decision = core.step(now);
        times.push(started.elapsed());
        if let Some(Decision::Reject(pod, failure)) = &decision {
            panic!("{} got no node: {failure}", pod.metadata.name);
        }
        assert!(decision.is_some(), "all Pods wait");
    }
    (times, used() - before)
}

fn report(name: &str, least_per_second: f64, spec: impl Fn(usize) -> (Value, Value)) -> bool {
    let (mut times, used) = run(spec);
    let total: Duration = times.iter().sum();
    times.sort_unstable();
    let p99 = times[times.len() * 99 / 100];
    let per_second = times.len() as f64 / total.as_secs_f64();
    let met = per_second >= least_per_second && p99 <= P99;
    let unhindered = times.len() as f64 / used.as_secs_f64();
    println!(
        "{name:<18} {per_second:>8.0}/s (at least {least_per_second:.0}: {:>5.2} times)   {unhindered:>8.0}/s of processor time   p99 {p99:>9.1?} (at most {P99:?})   {}",
        per_second / least_per_second,
        if met { "ok" } else { "MISSED" }
    );
    met
}

fn main() -> ExitCode {
    println!("{PODS} Pods on {NODES} nodes, default plugins");
    let selector = |group: &str| json!({"matchLabels": {"group": group}});
    let group = |n: usize, groups: usize| format!("g{}", n % groups);
    let met = [
        report("plain", 5000.0, |_| (json!({}), json!({}))),
        report("topology spread", 3000.0, |n| {
            let group = group(n, 10);
            let constraint = json!({"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 1,
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector(&group)});
            (
                json!({"group": group}),
                json!({"topologySpreadConstraints": [constraint]}),
            )
        }),
        report("Pod affinity", 1000.0, |n| {
            let group = group(n, 10);
            let term = json!({"topologyKey": "topology.kubernetes.io/zone", "labelSelector": selector(&group)});
            let affinity = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
            (json!({"group": group}), json!({"affinity": affinity}))
        }),
        report("Pod anti-affinity", 1000.0, |n| {
            let group = group(n, 4);
            let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": selector(&group)});
            let affinity = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
            (json!({"group": group}), json!({"affinity": affinity}))
        }),
    ];
    match !cfg!(debug_assertions) && met.contains(&false) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}
