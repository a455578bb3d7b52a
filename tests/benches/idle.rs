//! What a cluster on one machine costs: how long it takes from the start of the process to a Ready node, and
//! what it uses when nothing happens.
//!
//! `cargo bench -p mizzen-tests --bench idle` rests for five minutes and measures for two;
//! `MIZZEN_IDLE_REST` and `MIZZEN_IDLE_SECONDS` choose other numbers of seconds.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams};
use mizzen_tests::measure::{client, process, ticks};
use mizzen_tests::{Cluster, program};

fn seconds(variable: &str, default: u64) -> Duration {
    let given = std::env::var(variable).ok();
    Duration::from_secs(given.map_or(default, |text| text.parse().expect("a number of seconds")))
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(measure());
}

/// Starts the server and waits until its node is Ready and has said so since.
async fn launched(cluster: &mut Cluster) -> Duration {
    let (began, since) = (Instant::now(), Timestamp::now());
    cluster.launch();
    let client = client(cluster).await;
    let nodes = Api::<Node>::all(client.clone());
    let leases = Api::<Lease>::namespaced(client, "kube-node-lease");
    loop {
        assert!(began.elapsed() < Duration::from_mins(1), "waited for a node");
        let renewed = |lease: Lease| lease.spec.and_then(|s| s.renew_time).is_some_and(|at| at.0 > since);
        let ready = |node: &Node| {
            let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
        };
        let list = nodes.list(&ListParams::default()).await.expect("nodes");
        if let Some(node) = list.items.iter().find(|node| ready(node)) {
            let name = node.metadata.name.as_deref().expect("a name");
            if leases.get_opt(name).await.expect("leases").is_some_and(renewed) {
                return began.elapsed();
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn measure() {
    let mut cluster = Cluster::prepare(&[]);
    println!(
        "start to Ready, containerd starting: {:?}",
        launched(&mut cluster).await
    );
    cluster.kill();
    println!("start to Ready, containerd running: {:?}", launched(&mut cluster).await);
    let size = std::fs::metadata(program()).expect("a program").len();
    println!("program: {size} bytes");

    let (rest, span) = (seconds("MIZZEN_IDLE_REST", 300), seconds("MIZZEN_IDLE_SECONDS", 120));
    tokio::time::sleep(rest).await;
    let pid = cluster.pid();
    let written = || process(pid, "io", "write_bytes:");
    let (ticks_before, written_before) = (ticks(pid), written());
    tokio::time::sleep(span).await;
    let (ticks, written) = (ticks(pid) - ticks_before, written() - written_before);
    let (length, rss) = (span.as_secs_f64(), process(pid, "status", "VmRSS:"));
    println!(
        "after {rest:?} of rest, in {span:?}: {:.3} % of a processor, {written} bytes written ({:.2} KiB/s)",
        ticks as f64 / length,
        written as f64 / 1024.0 / length,
    );
    println!(
        "RSS {rss} KiB, of which anonymous {} KiB",
        process(pid, "status", "RssAnon:")
    );
}
