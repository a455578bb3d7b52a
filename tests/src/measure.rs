//! What benchmarks of the whole system share: a client without a process of its own, and what a process costs.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams, PartialObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Request;
use kube::{Client, Config};
use serde_json::json;

use crate::Cluster;

/// Where Pods are made.
pub const NAMESPACE: &str = "scale";
/// How many Pods one Deployment makes.
const REPLICAS: usize = 500;

/// Whether a part of a benchmark was asked for by its name; all are without a word.
pub fn asked() -> impl Fn(&str) -> bool {
    let asked: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    move |what| asked.is_empty() || asked.iter().any(|word| word == what)
}

/// An administrator's client.
pub async fn client(cluster: &Cluster) -> Client {
    let file = Kubeconfig::read_from(cluster.kubeconfig()).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("a configuration")).expect("a client")
}

/// A field of `/proc/PID/FILE`, by the start of its line, in the unit that it has there.
pub fn process(pid: u32, file: &str, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a running process");
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let value = line.and_then(|line| line.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).expect("a number")
}

/// Processor time that a process has used, in ticks, which are hundredths of a second.
pub fn ticks(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    // The name, in brackets, may hold anything.
    let fields: Vec<_> = text.rsplit(')').next().expect("fields").split_whitespace().collect();
    let field = |n: usize| fields[n].parse::<u64>().expect("a number");
    field(11) + field(12)
}

/// A number from the environment.
pub fn number(variable: &str, default: usize) -> usize {
    let given = std::env::var(variable).ok();
    given.map_or(default, |text| text.parse().expect("a number"))
}

/// Waits for something to hold, and gives how long that took.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) -> Duration {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_mins(20), "waited for {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    began.elapsed()
}

fn deployment(number: usize, replicas: usize) -> Deployment {
    let name = format!("d{number}");
    let deployment = json!({
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "app", "image": "example.com/app:1",
                "resources": {"requests": {"cpu": "100m", "memory": "100Mi"}}}]},
        }},
    });
    serde_json::from_value(deployment).expect("a Deployment")
}

/// How many objects there are, without reading them.
pub async fn count(client: &Client, path: &str) -> usize {
    let request = Request::new(path)
        .list(&ListParams::default().limit(1))
        .expect("a request");
    let list: kube::core::ObjectList<PartialObjectMeta> = client.request(request).await.expect("a list");
    let rest = list.metadata.remaining_item_count.unwrap_or_default();
    list.items.len() + usize::try_from(rest).unwrap_or_default()
}

/// How many Pods of Deployments are available.
pub async fn available(deployments: &Api<Deployment>) -> usize {
    let all = deployments.list(&ListParams::default()).await.expect("Deployments");
    let ready = |d: &Deployment| d.status.as_ref().and_then(|s| s.available_replicas).unwrap_or_default();
    all.items
        .iter()
        .map(|d| usize::try_from(ready(d)).unwrap_or_default())
        .sum()
}

/// Makes the namespace that everything is in.
pub async fn namespace(client: &Client) -> Api<Deployment> {
    let namespace = json!({"metadata": {"name": NAMESPACE}});
    let namespace: Namespace = serde_json::from_value(namespace).expect("a namespace");
    let created = Api::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await;
    created.expect("created");
    Api::namespaced(client.clone(), NAMESPACE)
}

/// Makes Deployments of so many Pods, and waits until all of them run.
pub async fn run(deployments: &Api<Deployment>, pods: usize) {
    let mut left = pods;
    for n in 0..pods.div_ceil(REPLICAS) {
        let replicas = left.min(REPLICAS);
        left -= replicas;
        let made = deployments
            .create(&PostParams::default(), &deployment(n, replicas))
            .await;
        made.expect("created");
    }
    until("all Pods to run", || async { available(deployments).await == pods }).await;
}
