//! The whole server with simulated nodes: how long many Pods of Deployments take to run and to go, how
//! quick single-object calls are meanwhile, and what an idle node costs (`load`); and what becomes of a cluster whose
//! server is killed and started again (`restart`).
//!
//! `cargo bench -p mizzen-tests --bench scale -- load` takes 1,000 nodes and 50,000 Pods; `MIZZEN_SCALE_NODES`
//! and `MIZZEN_SCALE_PODS` choose other numbers. `… -- restart` takes 100 and 10,000.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PartialObjectMeta};
use kube::core::Request;
use mizzen_tests::Cluster;
use mizzen_tests::measure::{NAMESPACE, asked, client, count, namespace, number, process, run, until};
use serde_json::json;

/// In how long a server that was killed serves again.
const SERVING: Duration = Duration::from_secs(2);
/// How long nobody is heard of without being missed.
const SILENCE: Duration = Duration::from_secs(20);
/// How long the cluster rests before its cost is read: three heartbeats.
const REST: Duration = Duration::from_secs(30);

fn main() {
    let is_asked = asked();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    if is_asked("load") {
        runtime.block_on(load());
    }
    if is_asked("restart") {
        runtime.block_on(restart());
    }
}

fn rss_kib(cluster: &Cluster) -> u64 {
    process(cluster.pid(), "status", "VmRSS:")
}

fn written_bytes(cluster: &Cluster) -> u64 {
    process(cluster.pid(), "io", "write_bytes:")
}

/// Reads and changes single objects until told to stop. Returns how long each call took.
async fn probe(client: Client, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let namespaces = Api::<Namespace>::all(client);
    let mut times = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let began = Instant::now();
        if n % 2 == 0 {
            namespaces.get(NAMESPACE).await.expect("the namespace");
        } else {
            let patch = json!({"metadata": {"annotations": {"probe": n.to_string()}}});
            let patch = kube::api::Patch::Merge(patch);
            namespaces
                .patch(NAMESPACE, &Default::default(), &patch)
                .await
                .expect("the namespace");
        }
        times.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    times
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() * 99 / 100).copied().unwrap_or_default()
}

async fn load() {
    let (nodes, pods) = (number("MIZZEN_SCALE_NODES", 1000), number("MIZZEN_SCALE_PODS", 50_000));
    // A range of Pod addresses for each of the nodes.
    let cluster = Cluster::start_with(&["--disable-agent", "--cluster-cidr=100.64.0.0/10"]);
    let client = client(&cluster).await;
    let registered = async |all: usize| {
        let client = &client;
        until("nodes", || async move { count(client, "/api/v1/nodes").await == all }).await
    };
    // The first nodes pay for what all have in common: code that is read from disk, buffers, windows of events (which
    // a tenth of them does not fill).
    let first = nodes / 2;
    let _first = cluster.simulate_as("first-", first);
    registered(first).await;
    tokio::time::sleep(REST).await;
    let before = rss_kib(&cluster);
    let _others = cluster.simulate(nodes - first);
    let took = registered(nodes).await;
    println!("{} nodes registered in {took:.1?}", nodes - first);
    tokio::time::sleep(REST).await;
    let each = rss_kib(&cluster).saturating_sub(before) as f64 / (nodes - first) as f64;
    let (before, began) = (written_bytes(&cluster), Instant::now());
    tokio::time::sleep(REST).await;
    let written = (written_bytes(&cluster) - before) as f64 / began.elapsed().as_secs_f64();
    println!("an idle node: {each:.1} KiB of memory (at most 30); all of them write {written:.0} bytes/s");

    let deployments = namespace(&client).await;
    let stop = Arc::new(AtomicBool::new(false));
    let probing = tokio::spawn(probe(client.clone(), stop.clone()));
    let began = Instant::now();
    run(&deployments, pods).await;
    let running = began.elapsed();
    let rss = rss_kib(&cluster) / 1024;
    println!("{pods} Pods run after {running:.1?} (at most 60 s); the server takes {rss} MiB (at most 1228)");
    let began = Instant::now();
    let background = DeleteParams::background();
    deployments
        .delete_collection(&background, &ListParams::default())
        .await
        .expect("deleted");
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    until("all Pods to go", || async { count(&client, &path).await == 0 }).await;
    println!("all are gone after {:.1?} (at most 60 s)", began.elapsed());
    stop.store(true, Ordering::Relaxed);
    let times = probing.await.expect("the probe ends");
    println!(
        "single-object calls: {} made, p99 {:.1?} (at most 100 ms)",
        times.len(),
        p99(times)
    );
}

/// The revision that the store is at.
async fn revision(client: &Client) -> Option<u64> {
    let request = Request::new("/api/v1/namespaces");
    let request = request.list(&ListParams::default().limit(1)).expect("a request");
    let list: kube::core::ObjectList<PartialObjectMeta> = client.request(request).await.ok()?;
    list.metadata.resource_version?.parse().ok()
}

/// Every Pod's id and revision.
async fn pods_of(client: &Client) -> BTreeMap<String, (Option<String>, Option<String>)> {
    let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
    let list = pods.list_metadata(&ListParams::default()).await.expect("Pods");
    let facts = list.items.into_iter().map(|pod| {
        let meta = pod.metadata;
        (meta.name.unwrap_or_default(), (meta.uid, meta.resource_version))
    });
    facts.collect()
}

/// Waits until nothing was written for three seconds; the revision then.
async fn settled(client: &Client) -> u64 {
    let (mut last, mut since) = (revision(client).await, Instant::now());
    while since.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = revision(client).await;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last.expect("a revision")
}

async fn restart() {
    let (nodes, pods) = (number("MIZZEN_SCALE_NODES", 100), number("MIZZEN_SCALE_PODS", 10_000));
    let mut cluster = Cluster::start_with(&["--disable-agent"]);
    let client = client(&cluster).await;
    let simulation = cluster.simulate(nodes);
    until("all nodes", || async { count(&client, "/api/v1/nodes").await == nodes }).await;
    let deployments = namespace(&client).await;
    run(&deployments, pods).await;

    // Without heartbeats whatever is written is written by the server itself.
    simulation.hold(true);
    let before = settled(&client).await;
    let was = pods_of(&client).await;
    assert_eq!(was.len(), pods);
    cluster.kill();
    let began = Instant::now();
    let launching = tokio::task::spawn_blocking(move || {
        cluster.launch();
        cluster
    });
    let serving = loop {
        if revision(&client).await.is_some() {
            break began.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let cluster = launching.await.expect("it starts");
    println!("{pods} Pods on record: serving {serving:.2?} after the start (at most {SERVING:?})");
    tokio::time::sleep(SILENCE).await;
    let written = revision(&client).await.expect("a revision") - before;
    println!("written by itself in {SILENCE:?}: {written} (at most 0)");
    simulation.hold(false);
    tokio::time::sleep(REST).await;
    let is = pods_of(&client).await;
    let disturbed = was.iter().filter(|(name, facts)| is.get(*name) != Some(facts)).count();
    println!(
        "Pods that are gone or changed {:?} later: {disturbed} (at most 0)",
        REST
    );
    drop(cluster);
    assert_eq!((written, disturbed, is.len()), (0, 0, pods));
}
