//! What containers and the node use: `/stats/summary` and `/metrics/resource`.
//!
//! The runtime and the kernel count anyway; they are asked when somebody asks us, and at no other time.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{ContainerStats, ListContainerStatsRequest, ListContainersRequest, UInt64Value};
use serde_json::{Value, json};

use super::Failure;
use super::lookup::Lookup;
use crate::kubelet::runtime::keys;

/// Counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    at: Timestamp,
    /// Time on processors since the beginning, in nanoseconds.
    cpu_ns: u64,
    /// Memory that cannot be taken back without loss.
    working_set: u64,
    memory: u64,
    rss: u64,
}

/// A running container.
#[derive(Debug)]
struct Reading {
    name: String,
    started: Timestamp,
    counters: Counters,
    written: u64,
}

/// Name, namespace and UID of a Pod.
type PodKey = [String; 3];

/// All that is read for one answer.
pub(super) struct Readings {
    node_name: String,
    node: Counters,
    available: u64,
    booted: Timestamp,
    pods: BTreeMap<PodKey, Vec<Reading>>,
}

/// Asks the kernel and the runtime.
pub(super) async fn read(lookup: &Lookup, node_name: &str) -> Result<Readings, Failure> {
    let mut runtime = RuntimeServiceClient::new(lookup.containerd.clone()).max_decoding_message_size(16 << 20);
    let stats = runtime
        .list_container_stats(ListContainerStatsRequest::default())
        .await?;
    let containers = runtime.list_containers(ListContainersRequest::default()).await?;
    let made: BTreeMap<_, _> = containers
        .into_inner()
        .containers
        .into_iter()
        .map(|container| (container.id, container.created_at))
        .collect();
    let mut pods: BTreeMap<PodKey, Vec<Reading>> = BTreeMap::new();
    for stats in stats.into_inner().stats {
        let started = stats.attributes.as_ref().and_then(|about| made.get(&about.id));
        if let Some((pod, reading)) = started.and_then(|started| reading(&stats, *started)) {
            pods.entry(pod).or_default().push(reading);
        }
    }
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (stat, memory) = (file("/proc/stat"), file("/proc/meminfo"));
    Ok(Readings {
        node_name: node_name.to_owned(),
        node: node(&stat, &memory, ticks_per_second()),
        available: kibibytes(&memory, "MemAvailable"),
        booted: booted(&stat),
        pods,
    })
}

/// What a container uses; `None` for one that does not run or that no kubelet made.
fn reading(stats: &ContainerStats, started: i64) -> Option<(PodKey, Reading)> {
    let about = stats.attributes.as_ref()?;
    let label = |key: &str| about.labels.get(key).cloned();
    let pod = [
        label(keys::POD_NAME)?,
        label(keys::POD_NAMESPACE)?,
        label(keys::POD_UID)?,
    ];
    let number = |value: &Option<UInt64Value>| value.as_ref().map_or(0, |value| value.value);
    let (cpu, memory) = (stats.cpu.as_ref()?, stats.memory.as_ref()?);
    let counters = Counters {
        at: Timestamp::from_nanosecond(cpu.timestamp.into()).ok()?,
        cpu_ns: cpu.usage_core_nano_seconds.as_ref()?.value,
        working_set: number(&memory.working_set_bytes),
        memory: number(&memory.usage_bytes),
        rss: number(&memory.rss_bytes),
    };
    let reading = Reading {
        name: label(keys::CONTAINER_NAME)?,
        started: Timestamp::from_nanosecond(started.into()).ok()?,
        counters,
        written: stats
            .writable_layer
            .as_ref()
            .map_or(0, |layer| number(&layer.used_bytes)),
    };
    Some((pod, reading))
}

/// The node as the kernel tells of it: all processors' busy time, and memory that is neither free nor idle cache.
fn node(stat: &str, memory: &str, ticks_per_second: u64) -> Counters {
    let total = stat.lines().next().unwrap_or_default();
    // user nice system idle iowait irq softirq steal
    let ticks: Vec<u64> = total
        .split_whitespace()
        .skip(1)
        .filter_map(|n| n.parse().ok())
        .collect();
    let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|at| ticks.get(*at)).sum();
    let used = kibibytes(memory, "MemTotal").saturating_sub(kibibytes(memory, "MemFree"));
    Counters {
        at: Timestamp::now(),
        cpu_ns: busy * (1_000_000_000 / ticks_per_second.max(1)),
        working_set: used.saturating_sub(kibibytes(memory, "Inactive(file)")),
        memory: used,
        rss: kibibytes(memory, "AnonPages"),
    }
}

/// A line of `/proc/meminfo`, in bytes.
fn kibibytes(memory: &str, name: &str) -> u64 {
    let line = memory
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or_default() * 1024
}

fn booted(stat: &str) -> Timestamp {
    let seconds = stat
        .lines()
        .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
    Timestamp::from_second(seconds.unwrap_or_default()).unwrap_or_default()
}

fn ticks_per_second() -> u64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
    ticks.map_or(100, i64::unsigned_abs)
}

impl Counters {
    fn cpu(&self) -> Value {
        json!({"time": self.at, "usageCoreNanoSeconds": self.cpu_ns})
    }

    fn memory(&self) -> Value {
        json!({"time": self.at, "usageBytes": self.memory, "workingSetBytes": self.working_set, "rssBytes": self.rss})
    }

    /// Of several containers together, at the time of the first.
    fn sum<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        all.copied()
            .reduce(|sum, one| Self {
                at: sum.at,
                cpu_ns: sum.cpu_ns + one.cpu_ns,
                working_set: sum.working_set + one.working_set,
                memory: sum.memory + one.memory,
                rss: sum.rss + one.rss,
            })
            .unwrap_or_default()
    }
}

impl Readings {
    /// The body of `/stats/summary`.
    pub(super) fn summary(&self) -> Value {
        let mut memory = self.node.memory();
        memory["availableBytes"] = json!(self.available);
        let pods = self.pods.iter().map(|([name, namespace, uid], containers)| {
            let total = Counters::sum(containers.iter().map(|each| &each.counters));
            let started = containers.iter().map(|each| each.started).min();
            let containers: Vec<_> = containers
                .iter()
                .map(|each| {
                    json!({
                        "name": each.name, "startTime": each.started,
                        "cpu": each.counters.cpu(), "memory": each.counters.memory(),
                        "rootfs": {"time": each.counters.at, "usedBytes": each.written},
                    })
                })
                .collect();
            json!({
                "podRef": {"name": name, "namespace": namespace, "uid": uid},
                "startTime": started, "containers": containers, "cpu": total.cpu(), "memory": total.memory(),
            })
        });
        let pods: Vec<_> = pods.collect();
        json!({
            "node": {"nodeName": self.node_name, "startTime": self.booted, "cpu": self.node.cpu(), "memory": memory},
            "pods": pods,
        })
    }

    /// The body of `/metrics/resource`: Prometheus' text with upstream's names.
    pub(super) fn prometheus(&self) -> String {
        let pods: Vec<_> = self
            .pods
            .iter()
            .map(|([pod, namespace, _], containers)| {
                let labels = format!("namespace=\"{namespace}\",pod=\"{pod}\"");
                (labels, Counters::sum(containers.iter().map(|each| &each.counters)))
            })
            .collect();
        let containers: Vec<_> = self
            .pods
            .iter()
            .flat_map(|([pod, namespace, _], containers)| {
                containers.iter().map(move |each| {
                    let labels = format!("container=\"{}\",namespace=\"{namespace}\",pod=\"{pod}\"", each.name);
                    (labels, each)
                })
            })
            .collect();
        let counters: Vec<_> = containers
            .iter()
            .map(|(labels, each)| (labels.clone(), each.counters))
            .collect();
        let node = [(String::new(), self.node)];
        let mut text = String::new();
        family(&mut text, "container", &counters);
        let _ = writeln!(text, "# TYPE container_start_time_seconds gauge");
        for (labels, each) in &containers {
            let started = each.started.as_millisecond() as f64 / 1e3;
            let _ = writeln!(text, "container_start_time_seconds{{{labels}}} {started}");
        }
        family(&mut text, "node", &node);
        family(&mut text, "pod", &pods);
        text.push_str("# TYPE resource_scrape_error gauge\nresource_scrape_error 0\n");
        text
    }
}

/// Processor and memory of one level.
fn family(text: &mut String, level: &str, all: &[(String, Counters)]) {
    let mut metric = |name: &str, kind: &str, value: fn(&Counters) -> String| {
        let _ = writeln!(text, "# TYPE {level}_{name} {kind}");
        for (labels, counters) in all {
            let labels = if labels.is_empty() {
                String::new()
            } else {
                format!("{{{labels}}}")
            };
            let _ = writeln!(
                text,
                "{level}_{name}{labels} {} {}",
                value(counters),
                counters.at.as_millisecond()
            );
        }
    };
    metric("cpu_usage_seconds_total", "counter", |c| {
        (c.cpu_ns as f64 / 1e9).to_string()
    });
    metric("memory_working_set_bytes", "gauge", |c| c.working_set.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_is_what_the_kernel_counts() {
        let stat = "cpu  100 20 30 4000 500 6 7 8 0 0\ncpu0 1 2 3\nbtime 1700000000\n";
        let memory =
            "MemTotal:       1000 kB\nMemFree:         300 kB\nMemAvailable:    600 kB\nInactive(file):  200 kB\n";
        let node = node(stat, memory, 100);
        assert_eq!(node.cpu_ns, 1_710_000_000);
        assert_eq!((node.memory, node.working_set), (700 << 10, 500 << 10));
        assert_eq!(booted(stat).as_second(), 1_700_000_000);
    }

    #[test]
    fn readings_are_told_in_both_forms() {
        let at = Timestamp::from_second(1_700_000_000).expect("a time");
        let counters = |cpu_ns| Counters {
            at,
            cpu_ns,
            working_set: 10,
            memory: 20,
            rss: 5,
        };
        let of = |name: &str, cpu_ns| Reading {
            name: name.into(),
            started: at,
            counters: counters(cpu_ns),
            written: 1,
        };
        let key = ["web".to_owned(), "default".to_owned(), "u".to_owned()];
        let readings = Readings {
            node_name: "one".into(),
            node: counters(9_000_000_000),
            available: 7,
            booted: at,
            pods: [(key, vec![of("a", 1_500_000_000), of("b", 500_000_000)])].into(),
        };
        insta::assert_snapshot!(readings.prometheus(), @r#"
        # TYPE container_cpu_usage_seconds_total counter
        container_cpu_usage_seconds_total{container="a",namespace="default",pod="web"} 1.5 1700000000000
        container_cpu_usage_seconds_total{container="b",namespace="default",pod="web"} 0.5 1700000000000
        # TYPE container_memory_working_set_bytes gauge
        container_memory_working_set_bytes{container="a",namespace="default",pod="web"} 10 1700000000000
        container_memory_working_set_bytes{container="b",namespace="default",pod="web"} 10 1700000000000
        # TYPE container_start_time_seconds gauge
        container_start_time_seconds{container="a",namespace="default",pod="web"} 1700000000
        container_start_time_seconds{container="b",namespace="default",pod="web"} 1700000000
        # TYPE node_cpu_usage_seconds_total counter
        node_cpu_usage_seconds_total 9 1700000000000
        # TYPE node_memory_working_set_bytes gauge
        node_memory_working_set_bytes 10 1700000000000
        # TYPE pod_cpu_usage_seconds_total counter
        pod_cpu_usage_seconds_total{namespace="default",pod="web"} 2 1700000000000
        # TYPE pod_memory_working_set_bytes gauge
        pod_memory_working_set_bytes{namespace="default",pod="web"} 20 1700000000000
        # TYPE resource_scrape_error gauge
        resource_scrape_error 0
        "#);
        let pod = &readings.summary()["pods"][0];
        assert_eq!(pod["cpu"]["usageCoreNanoSeconds"], 2_000_000_000u64);
        assert_eq!(pod["containers"][1]["name"], "b");
    }
}
