//! What benchmarks of the whole system share: a client without a process of its own, and what a process costs.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::Cluster;

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
