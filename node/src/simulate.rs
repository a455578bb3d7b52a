//! Simulated nodes: registered, kept alive by Leases, and with Pods that become Ready without a
//! container. For trying schedulers, controllers and consoles at scale.
//!
//! Entry point: [`Simulation::run`]. Tasks: one watch over all bound Pods, which hands those that have
//! to start or to go to a bounded number of requests at a time; one heartbeat that takes the nodes in
//! turn, so that their Leases are spread over the period. What a Pod needs next is seen in the Pod
//! itself; beyond the watch's small copies nothing is kept.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use kube::core::params::{DeleteParams, Patch, PatchParams, Preconditions};
use mizzen_api::client::reflector::{Change, Projection, Reflector, Selector};
use mizzen_api::client::rest::{self, Gvr, Rest};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const AGENT: &str = "mizzen-simulate";
const PODS: Gvr<'static> = Gvr::new("", "v1", "pods");
const NODES: Gvr<'static> = Gvr::new("", "v1", "nodes");
const LEASES: Gvr<'static> = Gvr::new("coordination.k8s.io", "v1", "leases");
const LEASE_NAMESPACE: &str = "kube-node-lease";
const LEASE_SECONDS: u32 = 40;
const LEASE_PERIOD: Duration = Duration::from_secs(10);
/// How many requests are under way at once: enough to share the server's commits.
const AT_ONCE: usize = 64;
/// The label by which simulated nodes are told apart.
pub const LABEL: &str = "mizzen.io/simulated";
/// How often a heartbeat takes the next nodes.
const TURNS: u32 = 100;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many nodes.
    pub nodes: usize,
    /// What their names begin with.
    pub prefix: String,
    /// Cores of each.
    pub cpu: String,
    /// Memory of each.
    pub memory: String,
    /// How many Pods each takes.
    pub pods: u32,
    /// How many zones they are in.
    pub zones: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nodes: 1,
            prefix: "sim-".to_owned(),
            cpu: "32".to_owned(),
            memory: "256Gi".to_owned(),
            pods: 110,
            zones: 3,
        }
    }
}

impl Settings {
    fn name(&self, number: usize) -> String {
        format!("{}{number}", self.prefix)
    }

    fn is_ours(&self, node: &str) -> bool {
        let number = node.strip_prefix(&self.prefix).and_then(|number| number.parse().ok());
        number.is_some_and(|number: usize| number < self.nodes)
    }

    fn node(&self, number: usize) -> Value {
        let name = self.name(number);
        let resources = json!({"cpu": self.cpu, "memory": self.memory, "pods": self.pods.to_string(),
            "ephemeral-storage": "1Ti"});
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {
                LABEL: "true", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/zone": format!("zone-{}", number % self.zones.max(1)),
            }},
            "status": {
                "capacity": resources, "allocatable": resources,
                "conditions": [condition("Ready", "KubeletReady"), calm("MemoryPressure"), calm("DiskPressure"),
                    calm("PIDPressure")],
                "addresses": [{"type": "InternalIP", "address": address(11, number)}, {"type": "Hostname", "address": name}],
                "nodeInfo": {
                    "kubeletVersion": concat!("v1.37.0+mizzen", env!("CARGO_PKG_VERSION")), "kubeProxyVersion": "",
                    "operatingSystem": "linux", "architecture": "amd64", "osImage": "simulated", "kernelVersion": "",
                    "containerRuntimeVersion": "simulated://1", "machineID": "", "systemUUID": "", "bootID": "",
                },
            },
        })
    }
}

/// The address of this number, in a network that nobody routes.
fn address(network: u8, number: usize) -> Ipv4Addr {
    let number = u32::try_from(number).unwrap_or_default() + 1;
    Ipv4Addr::from((u32::from(network) << 24) | (number & 0x00ff_ffff))
}

fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn condition(kind: &str, reason: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": reason, "message": "simulated",
        "lastHeartbeatTime": now(), "lastTransitionTime": now()})
}

fn calm(kind: &str) -> Value {
    json!({"type": kind, "status": "False", "reason": "Simulated", "message": "simulated",
        "lastHeartbeatTime": now(), "lastTransitionTime": now()})
}

/// What the simulation reads of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    namespace: Box<str>,
    name: Box<str>,
    uid: Box<str>,
    resource_version: Box<str>,
    deletion_timestamp: Option<Timestamp>,
    generation: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Box<str>,
    containers: Box<[Container]>,
    init_containers: Box<[Container]>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    name: Box<str>,
    image: Box<str>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: Box<str>,
}

impl Projection for Pod {
    fn namespace(&self) -> &str {
        &self.metadata.namespace
    }
    fn name(&self) -> &str {
        &self.metadata.name
    }
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl Container {
    fn running(&self, since: &str) -> Value {
        json!({"name": self.name, "image": self.image, "imageID": self.image, "ready": true, "started": true,
            "restartCount": 0, "containerID": "simulated://1", "state": {"running": {"startedAt": since}}})
    }

    fn done(&self, since: &str) -> Value {
        let ended = json!({"exitCode": 0, "reason": "Completed", "startedAt": since, "finishedAt": since,
            "containerID": "simulated://1"});
        json!({"name": self.name, "image": self.image, "imageID": self.image, "ready": true, "started": false,
            "restartCount": 0, "containerID": "simulated://1", "state": {"terminated": ended}})
    }
}

/// What a Pod needs next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Start,
    Go,
}

impl Pod {
    fn next(&self) -> Option<Next> {
        match (&self.metadata.deletion_timestamp, &*self.status.phase) {
            (Some(_), _) => Some(Next::Go),
            (None, "Pending" | "") => Some(Next::Start),
            _ => None,
        }
    }

    /// The status of a Pod that runs.
    fn running(&self, ip: Ipv4Addr) -> Value {
        let since = now();
        let met = |kind: &str| {
            json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": since,
                "observedGeneration": self.metadata.generation})
        };
        let conditions = [
            "PodReadyToStartContainers",
            "Initialized",
            "Ready",
            "ContainersReady",
            "PodScheduled",
        ];
        let mut status = json!({
            "phase": "Running", "startTime": since, "podIP": ip, "podIPs": [{"ip": ip}],
            "hostIP": "11.0.0.1", "hostIPs": [{"ip": "11.0.0.1"}],
            "conditions": conditions.map(met),
            "containerStatuses": self.spec.containers.iter().map(|c| c.running(&since)).collect::<Vec<_>>(),
        });
        if !self.spec.init_containers.is_empty() {
            let done = self.spec.init_containers.iter().map(|c| c.done(&since));
            status["initContainerStatuses"] = done.collect();
        }
        json!({"metadata": {"uid": self.metadata.uid}, "status": status})
    }
}

/// A number of nodes that only exist in the API.
#[derive(Debug)]
pub struct Simulation {
    settings: Settings,
    rest: Rest,
    addresses: AtomicU32,
}

impl Simulation {
    /// A simulation that acts through `client`, which may do whatever nodes may.
    #[must_use]
    pub fn new(settings: Settings, client: kube::Client) -> Arc<Self> {
        Arc::new(Self {
            settings,
            rest: Rest::new(client, AGENT),
            addresses: AtomicU32::default(),
        })
    }

    /// Registers the nodes and keeps them and their Pods alive until `stop`.
    ///
    /// # Errors
    /// When the nodes cannot be registered.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            registered = self.register() => registered?,
            () = stop.cancelled() => return Ok(()),
        }
        tracing::info!(nodes = self.settings.nodes, "simulating");
        let (sender, pods) = mpsc::unbounded_channel();
        let selector = Selector {
            fields: "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed".to_owned(),
            ..Selector::default()
        };
        let reflector = Reflector::<Pod>::selected(PODS, selector);
        let settings = self.settings.clone();
        reflector.subscribe(move |change: &Change<'_, Pod>| {
            let Some(pod) = change.new else { return };
            if pod.next().is_some() && settings.is_ours(&pod.spec.node_name) {
                // Nobody listens only while the simulation ends.
                let _ = sender.send(pod.clone());
            }
        });
        let watch = reflector.run(self.rest.clone(), stop.child_token());
        let life = async { tokio::join!(watch, self.work(pods), self.beat()) };
        tokio::select! {
            _ = life => {}
            () = stop.cancelled() => {}
        }
        Ok(())
    }

    async fn register(&self) -> anyhow::Result<()> {
        let all = futures::stream::iter(0..self.settings.nodes);
        all.map(Ok)
            .try_for_each_concurrent(AT_ONCE, |number| async move {
                let (name, node) = (self.settings.name(number), self.settings.node(number));
                match self.rest.create::<IgnoredAny>(&NODES, "", &node).await {
                    Err(error) if !rest::is_already_exists(&error) => Err(error),
                    _ => Ok(()),
                }
                .with_context(|| format!("cannot register node {name}"))?;
                // Nodes from an earlier run come back to life.
                let status = json!({"status": node["status"]});
                let patched = self.patch(&NODES, ("", &name), "status", status).await;
                patched.with_context(|| format!("cannot report the status of node {name}"))?;
                self.renew(number)
                    .await
                    .with_context(|| format!("cannot renew the Lease of node {name}"))
            })
            .await
    }

    async fn patch(&self, at: &Gvr<'_>, name: (&str, &str), sub: &str, patch: Value) -> rest::Result<()> {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched = self.rest.patch::<IgnoredAny>(at, name, sub, &params, &patch).await;
        patched.map(drop)
    }

    async fn renew(&self, number: usize) -> rest::Result<()> {
        let name = self.settings.name(number);
        let renewed = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        let patch = json!({"spec": {"renewTime": renewed}});
        match self.patch(&LEASES, (LEASE_NAMESPACE, &name), "", patch).await {
            Err(error) if rest::is_not_found(&error) => {
                let lease = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": name, "namespace": LEASE_NAMESPACE},
                    "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": renewed},
                });
                let made = self.rest.create::<IgnoredAny>(&LEASES, LEASE_NAMESPACE, &lease).await;
                made.map(drop)
            }
            done => done,
        }
    }

    /// Renews the Leases, a share of the nodes at every turn.
    async fn beat(&self) {
        let mut turns = tokio::time::interval(LEASE_PERIOD / TURNS);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let share = self.settings.nodes.div_ceil(TURNS as usize);
        let mut next = 0;
        loop {
            turns.tick().await;
            if next >= self.settings.nodes.max(share * TURNS as usize) {
                next = 0;
            }
            let nodes = next..(next + share).min(self.settings.nodes).max(next);
            next += share;
            let renewed = futures::stream::iter(nodes).for_each_concurrent(AT_ONCE, |number| async move {
                if let Err(error) = self.renew(number).await {
                    tracing::warn!(node = number, error = %rest::message(&error), "cannot renew a Lease");
                }
            });
            renewed.await;
        }
    }

    /// Starts Pods and lets them go.
    async fn work(&self, pods: mpsc::UnboundedReceiver<Arc<Pod>>) {
        let pods = tokio_stream::wrappers::UnboundedReceiverStream::new(pods);
        let each = |pod: Arc<Pod>| async move {
            let done = match pod.next() {
                Some(Next::Start) => self.start(&pod).await,
                Some(Next::Go) => self.end(&pod).await,
                None => Ok(()),
            };
            match done {
                Err(error) if !rest::is_not_found(&error) && !rest::is_conflict(&error) => {
                    let (namespace, name) = (pod.namespace(), pod.name());
                    tracing::warn!(namespace, name, error = %rest::message(&error), "a simulated pod stays as it is");
                }
                _ => {}
            }
        };
        pods.for_each_concurrent(AT_ONCE, each).await;
    }

    async fn start(&self, pod: &Pod) -> rest::Result<()> {
        let number = self.addresses.fetch_add(1, Ordering::Relaxed) as usize;
        let status = pod.running(address(12, number));
        self.patch(&PODS, (pod.namespace(), pod.name()), "status", status).await
    }

    async fn end(&self, pod: &Pod) -> rest::Result<()> {
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(pod.metadata.uid.to_string()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        self.rest.delete(&PODS, pod.namespace(), pod.name(), &params).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_says_what_it_needs() {
        let check = |pod: Value, next: Option<Next>| {
            let pod: Pod = serde_json::from_value(pod).expect("a Pod");
            assert_eq!(pod.next(), next);
        };
        check(json!({"status": {"phase": "Pending"}}), Some(Next::Start));
        check(json!({"status": {"phase": "Running"}}), None);
        check(
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}}),
            Some(Next::Go),
        );
    }

    #[test]
    fn nodes_are_known_by_name_and_number() {
        let settings = Settings {
            nodes: 20,
            ..Settings::default()
        };
        for (name, ours) in [
            ("sim-0", true),
            ("sim-19", true),
            ("sim-20", false),
            ("sim-x", false),
            ("n1", false),
        ] {
            assert_eq!(settings.is_ours(name), ours, "{name}");
        }
        assert_eq!(address(12, 255).to_string(), "12.0.1.0");
        assert_eq!(
            settings.node(4)["metadata"]["labels"]["topology.kubernetes.io/zone"],
            "zone-1"
        );
    }
}
