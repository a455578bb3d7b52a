//! `metrics.k8s.io`: what nodes and Pods use, asked of kubelets when somebody asks us.
//!
//! A processor's use is a rate, so two samples make an answer. The latest of every container is kept
//! ([`Samples`]) and taken anew when it is older than [`FRESH`]; who comes after a long silence waits for two
//! samples [`APART`] from each other. Nobody is asked while nobody asks: there is no task here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use futures::StreamExt as _;
use futures::stream;
use http::Response;
use jiff::{SignedDuration, Timestamp};
use mizzen_api::object::Object;
use mizzen_api::status::{ApiError, ApiResult};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex, MutexGuard};

use super::{computed, kubelet};
use crate::apiserver::authorization::builtin_row;
use crate::apiserver::call::Call;
use crate::apiserver::connect;
use crate::apiserver::decode;
use crate::cache::{Entry, Reader};

/// How old a sample may be that is still told.
const FRESH: Duration = Duration::from_secs(10);
/// A sample that is older than this says nothing of the present.
const STALE: Duration = Duration::from_secs(60);
/// Between two samples when there was none to compare with.
const APART: Duration = Duration::from_secs(1);
/// How many kubelets are asked at once.
const AT_ONCE: usize = 32;
/// How long a kubelet may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The latest samples, shared by all who ask.
#[derive(Default)]
pub struct Usage {
    samples: Mutex<Samples>,
}

/// A container and what it used.
type Named = (Box<str>, Point);

#[derive(Default)]
struct Samples {
    taken: Option<(Instant, Timestamp)>,
    nodes: HashMap<Box<str>, Point>,
    /// By namespace and name.
    pods: HashMap<(Box<str>, Box<str>), Vec<Named>>,
}

/// A sample, and what it says compared with the one before.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    at: Timestamp,
    cpu_ns: u64,
    memory: u64,
    rate: Option<Rate>,
}

/// Billionths of a processor, on average over a window.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rate {
    nanos: u64,
    window: SignedDuration,
}

/// The part of a kubelet's `/stats/summary` that is read.
#[derive(Debug, Deserialize)]
struct Summary {
    node: Stats,
    #[serde(default)]
    pods: Vec<PodStats>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodStats {
    pod_ref: PodRef,
    #[serde(default)]
    containers: Vec<Stats>,
}

#[derive(Debug, Deserialize)]
struct PodRef {
    name: Box<str>,
    namespace: Box<str>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    #[serde(default)]
    name: Box<str>,
    start_time: Option<Timestamp>,
    cpu: Option<CpuStats>,
    memory: Option<MemoryStats>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CpuStats {
    time: Timestamp,
    usage_core_nano_seconds: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MemoryStats {
    working_set_bytes: Option<u64>,
}

/// Answers `get` and `list` of NodeMetrics and PodMetrics.
pub(super) async fn answer(call: Arc<Call>) -> ApiResult<Response<Body>> {
    let filter = call.filter()?;
    let of_pods = call.resource.plural == "pods";
    let row = builtin_row("", if of_pods { "pods" } else { "nodes" });
    let samples = call.server.usage.ask(&call).await;
    let metrics = |entry: &Entry| match of_pods {
        true => samples.pod(&call, entry),
        false => samples.node(&call, entry),
    };
    if call.info.attributes.verb == "list" {
        let entries = call.server.cache.list(&row, filter.namespace());
        let some = entries.iter().filter(|entry| filter.matches(entry));
        return computed::list(&call, &some.filter_map(|entry| metrics(entry)).collect::<Vec<_>>());
    }
    let entry = call.server.cache.get(&row, call.namespace(), call.name());
    let found = entry.as_deref().and_then(metrics);
    computed::object(
        &call,
        &found.ok_or_else(|| ApiError::not_found(&call.resource, call.name()))?,
    )
}

impl Usage {
    /// Samples that are fresh, or as fresh as can be had.
    async fn ask(&self, call: &Call) -> MutexGuard<'_, Samples> {
        // Who asks while samples are being taken waits for them here.
        let mut samples = self.samples.lock().await;
        let age = samples.taken.map(|(taken, _)| taken.elapsed());
        if age.is_some_and(|age| age < FRESH) {
            return samples;
        }
        if age.is_none_or(|age| age > STALE) {
            *samples = Samples::default();
            samples.take(summaries(call).await);
            tokio::time::sleep(APART).await;
        }
        samples.take(summaries(call).await);
        samples
    }
}

/// What all kubelets tell. Nodes without one, such as simulated ones, tell nothing.
async fn summaries(call: &Call) -> Vec<(Box<str>, Summary)> {
    let nodes = call.server.cache.list(&builtin_row("", "nodes"), None);
    let asked = stream::iter(nodes).map(async |node| {
        let object = decode::stored(&node.json).ok().filter(has_kubelet)?;
        match tokio::time::timeout(PATIENCE, summary(call, &object, &node.name)).await {
            Ok(Ok(summary)) => Some((node.name.clone(), summary)),
            Ok(Err(error)) => {
                tracing::debug!(node = &*node.name, %error, "no metrics");
                None
            }
            Err(_) => None,
        }
    });
    asked
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await
}

fn has_kubelet(node: &Object) -> bool {
    let port = node
        .get("status")
        .and_then(|status| status.pointer("/daemonEndpoints/kubeletEndpoint/Port"));
    port.and_then(Value::as_u64).is_some_and(|port| port > 0)
}

async fn summary(call: &Call, node: &Object, name: &str) -> anyhow::Result<Summary> {
    let target = kubelet::target_of(call, node, name, "/stats/summary".to_owned());
    let target = target.map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(serde_json::from_slice(&connect::fetch(target).await?)?)
}

impl Samples {
    /// Replaces all samples by newer ones.
    fn take(&mut self, summaries: Vec<(Box<str>, Summary)>) {
        let before = std::mem::take(self);
        let last = before.taken.map(|(_, at)| at);
        for (node, summary) in summaries {
            if let Some(point) = point(&summary.node, before.nodes.get(&node), None) {
                self.nodes.insert(node, point);
            }
            for pod in summary.pods {
                let key = (pod.pod_ref.namespace, pod.pod_ref.name);
                let old = before.pods.get(&key).map_or(&[][..], Vec::as_slice);
                let points = pod.containers.iter().filter_map(|stats| {
                    let old = old.iter().find(|(name, _)| *name == stats.name);
                    Some((stats.name.clone(), point(stats, old.map(|(_, point)| point), last)?))
                });
                self.pods.insert(key, points.collect());
            }
        }
        self.taken = Some((Instant::now(), Timestamp::now()));
    }

    fn node(&self, call: &Call, entry: &Entry) -> Option<Value> {
        let point = self.nodes.get(&entry.name)?;
        let mut metrics = base(call, entry, point.at, point.rate?.window);
        metrics["usage"] = point.usage()?;
        Some(metrics)
    }

    /// A Pod of which every container has a rate.
    fn pod(&self, call: &Call, entry: &Entry) -> Option<Value> {
        let points = self.pods.get(&(entry.namespace.clone(), entry.name.clone()))?;
        let containers: Option<Vec<_>> = points
            .iter()
            .map(|(name, point)| Some(json!({"name": name, "usage": point.usage()?})))
            .collect();
        let (_, first) = points.first()?;
        let mut metrics = base(call, entry, first.at, first.rate?.window);
        metrics["containers"] = containers?.into();
        Some(metrics)
    }
}

/// A sample of a container or node. One that began after `last`, the samples before, is measured from its
/// beginning.
fn point(stats: &Stats, before: Option<&Point>, last: Option<Timestamp>) -> Option<Point> {
    let cpu = stats.cpu.as_ref()?;
    let mut point = Point {
        at: cpu.time,
        cpu_ns: cpu.usage_core_nano_seconds?,
        memory: stats.memory.as_ref()?.working_set_bytes?,
        rate: None,
    };
    let began = stats.start_time.filter(|start| last.is_some_and(|last| *start >= last));
    point.rate = match (before, began) {
        // The runtime has not counted anew since.
        (Some(before), _) if before.at == point.at => before.rate,
        (Some(before), _) if before.cpu_ns <= point.cpu_ns => rate(point.cpu_ns - before.cpu_ns, before.at, point.at),
        (_, Some(start)) => rate(point.cpu_ns, start, point.at),
        _ => None,
    };
    Some(point)
}

fn rate(cpu_ns: u64, from: Timestamp, to: Timestamp) -> Option<Rate> {
    let window = to.duration_since(from);
    let window_ns = u128::try_from(window.as_nanos()).ok().filter(|ns| *ns > 0)?;
    let nanos = u128::from(cpu_ns) * 1_000_000_000 / window_ns;
    Some(Rate {
        nanos: u64::try_from(nanos).ok()?,
        window,
    })
}

impl Point {
    /// As metrics-server writes it: in billionths of a processor and in kibibytes.
    fn usage(&self) -> Option<Value> {
        Some(json!({"cpu": format!("{}n", self.rate?.nanos), "memory": format!("{}Ki", self.memory >> 10)}))
    }
}

/// What both kinds have.
fn base(call: &Call, entry: &Entry, at: Timestamp, window: SignedDuration) -> Value {
    let second = |at: Timestamp| Timestamp::from_second(at.as_second()).unwrap_or(at);
    let mut metadata = json!({"name": entry.name, "creationTimestamp": second(Timestamp::now())});
    if !entry.namespace.is_empty() {
        metadata["namespace"] = json!(entry.namespace);
    }
    let labels: Map<String, Value> = entry.labels.iter().map(|(k, v)| (k.to_string(), json!(v))).collect();
    if !labels.is_empty() {
        metadata["labels"] = labels.into();
    }
    let window = SignedDuration::from_millis(i64::try_from(window.as_millis()).unwrap_or_default());
    json!({
        "kind": call.resource.kind, "apiVersion": call.resource.api_version(), "metadata": metadata,
        "timestamp": second(at), "window": mizzen_api::duration::go(window),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(seconds: i64, cpu_ms: u64, start: Option<i64>) -> Stats {
        let at = |second| Timestamp::from_second(second).expect("a time");
        Stats {
            name: "main".into(),
            start_time: start.map(at),
            cpu: Some(CpuStats {
                time: at(seconds),
                usage_core_nano_seconds: Some(cpu_ms * 1_000_000),
            }),
            memory: Some(MemoryStats {
                working_set_bytes: Some(3 << 20),
            }),
        }
    }

    fn check(before: Option<(i64, u64)>, now: Stats, last: Option<i64>) -> String {
        let before = before.and_then(|(at, cpu)| point(&stats(at, cpu, None), None, None));
        let last = last.and_then(|at| Timestamp::from_second(at).ok());
        let usage = point(&now, before.as_ref(), last).and_then(|point| point.usage());
        usage.map_or("none".to_owned(), |usage| usage.to_string())
    }

    #[test]
    fn a_rate_needs_two_samples_or_a_beginning() {
        let half = r#"{"cpu":"500000000n","memory":"3072Ki"}"#;
        assert_eq!(check(None, stats(10, 5_000, None), None), "none");
        assert_eq!(check(Some((0, 1_000)), stats(10, 6_000, None), Some(0)), half);
        // Began since the last samples.
        assert_eq!(check(None, stats(10, 4_000, Some(2)), Some(1)), half);
        assert_eq!(check(None, stats(10, 4_000, Some(2)), Some(3)), "none");
        // Restarted: its counter began anew.
        assert_eq!(check(Some((0, 9_000)), stats(10, 1_000, Some(8)), Some(5)), half);
        assert_eq!(check(Some((0, 9_000)), stats(10, 1_000, None), Some(5)), "none");
    }

    #[test]
    fn samples_replace_each_other() {
        let summary = |at, cpu| {
            let pod_ref = PodRef {
                name: "web".into(),
                namespace: "default".into(),
            };
            let containers = vec![stats(at, cpu, None)];
            let summary = Summary {
                node: stats(at, cpu * 2, None),
                pods: vec![PodStats { pod_ref, containers }],
            };
            vec![("one".into(), summary)]
        };
        let mut samples = Samples::default();
        samples.take(summary(0, 0));
        samples.take(summary(10, 5_000));
        assert_eq!(samples.nodes["one"].rate.map(|rate| rate.nanos), Some(1_000_000_000));
        // Nothing new was counted: what was known stays.
        samples.take(summary(10, 5_000));
        assert_eq!(samples.nodes["one"].rate.map(|rate| rate.nanos), Some(1_000_000_000));
        samples.take(Vec::new());
        assert!(samples.nodes.is_empty() && samples.pods.is_empty());
    }
}
