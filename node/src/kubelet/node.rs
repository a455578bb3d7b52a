//! The node itself: its registration, status and Lease.
//!
//! Entry point: [`Heartbeat::run`], one task. It renews the Lease every ten seconds, writes the
//! status when something changed or every five minutes, and looks at the runtime when the
//! dispatcher forwards an event of it. It watches its Node object, for what others write there:
//! labels and taints that Pods are admitted by, and resources that are not ours.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus,
    NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use mizzen_api::client::events::Severity;
use mizzen_api::client::feed::{self, News, Selector};
use mizzen_api::client::rest::{Gvr, Rest};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::runtime::LocalImage;
use super::runtime::events::RuntimeEvent;
use super::shared::Shared;
use crate::agent::AgentConfig;

const NODES: Gvr<'static> = Gvr::new("", "v1", "nodes");
const LEASE_NAMESPACE: &str = "kube-node-lease";
const LEASE_SECONDS: i32 = 40;
const LEASE_PERIOD: Duration = Duration::from_secs(10);
/// The status is written this often even when nothing changed.
const STATUS_PERIOD: Duration = Duration::from_secs(300);
/// After such a silence the node says anew how it is: its conditions may have been marked unknown.
const SILENCE: Duration = Duration::from_secs(25);
/// As long as the API does not take the registration.
const REGISTER_RETRY: Duration = Duration::from_millis(200);
/// The most images that the status names.
const MAX_IMAGES: usize = 50;
/// Below these the node is under pressure: upstream's and k3s's eviction thresholds.
const LEAST_MEMORY: u64 = 100 << 20;
const LEAST_DISK_PERCENT: u64 = 5;
const LEAST_INODES_PERCENT: u64 = 5;

/// What does not change while the kubelet runs.
#[derive(Clone, Debug)]
pub struct Machine {
    /// CPUs.
    pub cpus: i64,
    /// Memory in bytes.
    pub memory: i64,
    info: NodeSystemInfo,
}

/// Describes the machine.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn machine() -> anyhow::Result<Machine> {
    let memory = meminfo("MemTotal:").ok_or_else(|| anyhow::anyhow!("/proc/meminfo does not tell the memory"))?;
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .unwrap_or_default()
    };
    let system = nix::sys::utsname::uname()?;
    let os = read("/etc/os-release");
    let name = os
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .unwrap_or("Linux")
        .trim_matches('"')
        .to_owned();
    let machine_id = [read("/etc/machine-id"), read("/var/lib/dbus/machine-id")]
        .into_iter()
        .find(|id| !id.is_empty());
    let version = concat!("v1.37.0+mizzen", env!("CARGO_PKG_VERSION")).to_owned();
    let info = NodeSystemInfo {
        architecture: architecture().to_owned(),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        kernel_version: system.release().to_string_lossy().into_owned(),
        kube_proxy_version: version.clone(),
        kubelet_version: version,
        machine_id: machine_id.unwrap_or_default(),
        operating_system: "linux".to_owned(),
        os_image: name,
        system_uuid: read("/sys/class/dmi/id/product_uuid"),
        ..Default::default()
    };
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| i64::try_from(cpus.get()).unwrap_or(1));
    Ok(Machine {
        cpus,
        memory: i64::try_from(memory)?,
        info,
    })
}

/// The machine's architecture by Go's name.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// A value of `/proc/meminfo` in bytes.
fn meminfo(key: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

/// Annotation that says where a node has its local volumes.
const LOCAL_PATH: &str = "mizzen.local/local-path";

/// Keeps the API informed of the node.
pub struct Heartbeat {
    config: AgentConfig,
    shared: Arc<Shared>,
    machine: Machine,
    nodes: Api<Node>,
    leases: Api<Lease>,
    /// The status as the API has it.
    written: NodeStatus,
    /// The revision at which it has it.
    revision: u64,
    lease: Option<Lease>,
    /// When the Lease was last renewed.
    renewed: tokio::time::Instant,
    /// Whether the node was silent for so long that others may take it for lost.
    was_silent: bool,
    node_uid: String,
    images: Vec<LocalImage>,
    /// What keeps the runtime from running Pods.
    trouble: Option<String>,
    was_ready: bool,
}

impl Heartbeat {
    /// The heartbeat of the node in `config`.
    #[must_use]
    pub fn new(config: AgentConfig, shared: Arc<Shared>, machine: Machine) -> Self {
        Self {
            nodes: Api::all(shared.client.clone()),
            leases: Api::namespaced(shared.client.clone(), LEASE_NAMESPACE),
            config,
            shared,
            machine,
            written: NodeStatus::default(),
            revision: 0,
            lease: None,
            renewed: tokio::time::Instant::now(),
            was_silent: false,
            node_uid: String::new(),
            images: Vec::new(),
            trouble: Some("container runtime status check may not have completed yet".to_owned()),
            was_ready: false,
        }
    }

    /// Registers the node and keeps it alive until `stop`.
    pub async fn run(mut self, mut news: mpsc::Receiver<RuntimeEvent>, doubts: Arc<Notify>, stop: CancellationToken) {
        let life = async {
            self.shared
                .events
                .node(Severity::Normal, "Starting", "Starting kubelet.");
            while let Err(error) = self.register().await {
                tracing::debug!(%error, "node not registered, trying again");
                tokio::time::sleep(REGISTER_RETRY).await;
            }
            self.look(true).await;
            self.write_status(true).await;
            self.renew().await;
            let mut lease = tokio::time::interval(LEASE_PERIOD);
            lease.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            lease.reset();
            let mut last_write = tokio::time::Instant::now();
            // The runtime lists an image a little after it tells of it, and tells nobody who was not there yet: the
            // beat after looks again.
            let mut look_again = true;
            let (own, rest) = (Selector::named("", &self.config.node_name), self.shared.client.clone());
            let mut own = feed::follow::<Node>(NODES, own, Rest::new(rest, "kubelet"), stop.child_token());
            loop {
                let mut images = false;
                tokio::select! {
                    _ = lease.tick() => {
                        self.renew().await;
                        images = std::mem::take(&mut look_again);
                    }
                    Some(news) = own.recv() => {
                        if let News::Listed(nodes) = news {
                            nodes.into_iter().for_each(|node| self.saw(node));
                        } else if let News::Changed(node) = news {
                            self.saw(node);
                        }
                        // What has to be written for it is written with the next beat: two who disagree do not race.
                        continue;
                    }
                    // What they wrote in its place is not ours.
                    () = doubts.notified() => self.written.conditions = None,
                    Some(event) = news.recv() => {
                        images = event != RuntimeEvent::Lost;
                        // A burst of image events is one look.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        while let Ok(event) = news.try_recv() {
                            images |= event != RuntimeEvent::Lost;
                        }
                        look_again |= images;
                    }
                }
                self.look(images).await;
                let due = self.was_silent || last_write.elapsed() >= STATUS_PERIOD;
                if self.write_status(due).await {
                    self.was_silent = false;
                    last_write = tokio::time::Instant::now();
                }
            }
        };
        tokio::select! {
            () = life => {}
            () = stop.cancelled() => {}
        }
    }

    /// Makes the Node object, or brings the labels of the one that is there to what they should be.
    async fn register(&mut self) -> kube::Result<()> {
        let name = &self.config.node_name;
        let wanted = labels(&self.config);
        let node = match self.nodes.get_opt(name).await? {
            Some(node) => {
                let labels = node.metadata.labels.clone().unwrap_or_default();
                let annotations = node.metadata.annotations.clone().unwrap_or_default();
                let storage = self.storage();
                let offers = annotations.get(LOCAL_PATH) == Some(&storage);
                if offers && wanted.iter().all(|(key, value)| labels.get(key) == Some(value)) {
                    node
                } else {
                    let patch = json!({ "metadata": { "labels": wanted, "annotations": { LOCAL_PATH: storage } } });
                    self.nodes
                        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                        .await?
                }
            }
            None => {
                let mut node = registration(&self.config, &self.storage());
                let cidr = self.config.pod_cidr.map(|cidr| cidr.to_string());
                let spec = node.spec.get_or_insert_default();
                (spec.pod_cidr, spec.pod_cidrs) = (cidr.clone(), cidr.map(|cidr| vec![cidr]));
                self.nodes.create(&PostParams::default(), &node).await?
            }
        };
        self.node_uid = node.metadata.uid.clone().unwrap_or_default();
        self.revision = 0;
        self.saw(node);
        Ok(())
    }

    /// Takes note of the Node object, unless something as new is known.
    fn saw(&mut self, mut node: Node) {
        let revision = node.metadata.resource_version.as_deref();
        let revision = revision.and_then(|revision| revision.parse().ok()).unwrap_or_default();
        if revision <= self.revision {
            return;
        }
        self.revision = revision;
        self.written = node.status.clone().unwrap_or_default();
        // Nobody reads these.
        node.metadata.managed_fields = None;
        node.status.get_or_insert_default().images = None;
        self.shared.node_object.send_replace(Some(Arc::new(node)));
    }

    /// Where this node has its local volumes, as the provisioner learns it.
    fn storage(&self) -> String {
        self.shared.paths.storage().display().to_string()
    }

    /// Asks the runtime how it is.
    async fn look(&mut self, images: bool) {
        self.trouble = match self.shared.runtime.trouble().await {
            Ok(trouble) => trouble,
            Err(status) => Some(format!("container runtime is down: {}", status.message())),
        };
        if self.trouble.is_some() || !images {
            return;
        }
        if let Ok(images) = self.shared.runtime.list_images().await {
            self.images = images;
        }
        if let Ok((name, version)) = self.shared.runtime.version().await {
            self.machine.info.container_runtime_version = format!("{name}://{version}");
        }
    }

    async fn renew(&mut self) {
        let now = MicroTime(Timestamp::now());
        let name = self.config.node_name.as_str();
        let spec = |old: Option<LeaseSpec>| LeaseSpec {
            holder_identity: Some(name.to_owned()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(now.clone()),
            ..old.unwrap_or_default()
        };
        let outcome = match self.lease.take() {
            Some(mut lease) => {
                lease.spec = Some(spec(lease.spec.take()));
                self.leases.replace(name, &PostParams::default(), &lease).await
            }
            None => match self.leases.get_opt(name).await {
                Ok(Some(mut lease)) => {
                    lease.spec = Some(spec(lease.spec.take()));
                    self.leases.replace(name, &PostParams::default(), &lease).await
                }
                Ok(None) => {
                    self.leases
                        .create(&PostParams::default(), &self.new_lease(spec(None)))
                        .await
                }
                Err(error) => Err(error),
            },
        };
        match outcome {
            Ok(mut lease) => {
                lease.metadata.managed_fields = None;
                self.lease = Some(lease);
                self.was_silent |= self.renewed.elapsed() > SILENCE;
                self.renewed = tokio::time::Instant::now();
            }
            // The next renewal reads it anew.
            Err(error) => tracing::debug!(%error, "lease not renewed"),
        }
    }

    fn new_lease(&self, spec: LeaseSpec) -> Lease {
        let name = self.config.node_name.clone();
        let owner = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: name.clone(),
            uid: self.node_uid.clone(),
            ..Default::default()
        };
        let metadata = ObjectMeta {
            name: Some(name),
            namespace: Some(LEASE_NAMESPACE.to_owned()),
            owner_references: Some(vec![owner]),
            ..Default::default()
        };
        Lease {
            metadata,
            spec: Some(spec),
        }
    }

    /// Writes the status if it changed, or in any case if it is `due`. True when it was written.
    async fn write_status(&mut self, due: bool) -> bool {
        let status = self.status();
        let Some(patch) = patch(&self.written, &status, due) else {
            return false;
        };
        let name = self.config.node_name.clone();
        match self
            .nodes
            .patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
        {
            Ok(node) => {
                self.saw(node);
                let ready = self.trouble.is_none();
                if ready != self.was_ready {
                    self.was_ready = ready;
                    let (reason, word) = if ready {
                        ("NodeReady", "NodeReady")
                    } else {
                        ("NodeNotReady", "NodeNotReady")
                    };
                    self.shared
                        .events
                        .node(Severity::Normal, reason, format!("Node {name} status is now: {word}"));
                }
                true
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                // Somebody deleted the node; it comes back as long as the kubelet runs.
                let _ = self.register().await;
                false
            }
            Err(error) => {
                tracing::warn!(%error, "node status not written, trying again");
                false
            }
        }
    }

    fn status(&self) -> NodeStatus {
        let quantity = |value: String| Quantity(value);
        let disk = Disk::of(&self.config.data_dir);
        let resources: BTreeMap<String, Quantity> = [
            ("cpu", self.machine.cpus.to_string()),
            ("memory", format!("{}Ki", self.machine.memory / 1024)),
            ("pods", self.config.max_pods.to_string()),
            ("ephemeral-storage", format!("{}Ki", disk.total / 1024)),
            ("hugepages-1Gi", "0".to_owned()),
            ("hugepages-2Mi", "0".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), quantity(value)))
        .into();
        // What others say that the node has can be used up as it is.
        let mut allocatable = self.written.capacity.clone().unwrap_or_default();
        allocatable.extend(resources.clone());
        let address = |type_: &str, address: &str| NodeAddress {
            type_: type_.to_owned(),
            address: address.to_owned(),
        };
        let internal = self.shared.node.ips.iter().map(|ip| address("InternalIP", ip));
        NodeStatus {
            addresses: Some(internal.chain([address("Hostname", &self.config.node_name)]).collect()),
            allocatable: Some(allocatable),
            capacity: Some(resources),
            conditions: Some(self.conditions(disk)),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint {
                    port: i32::from(self.config.kubelet_port),
                }),
            }),
            images: Some(self.image_list()),
            node_info: Some(self.machine.info.clone()),
            ..Default::default()
        }
    }

    fn image_list(&self) -> Vec<ContainerImage> {
        let mut images: Vec<&LocalImage> = self.images.iter().collect();
        images.sort_by(|a, b| (b.size, &a.names).cmp(&(a.size, &b.names)));
        let image = |image: &&LocalImage| ContainerImage {
            names: Some(image.names.clone()),
            size_bytes: i64::try_from(image.size).ok(),
        };
        images.iter().take(MAX_IMAGES).map(image).collect()
    }

    fn conditions(&self, disk: Disk) -> Vec<NodeCondition> {
        let memory = meminfo("MemAvailable:").is_some_and(|free| free < LEAST_MEMORY);
        let now = Timestamp::now();
        let old = self.written.conditions.as_deref().unwrap_or_default();
        let condition = |type_: &str, holds: bool, reason: &str, message: &str| {
            let status = if holds { "True" } else { "False" };
            let since = old.iter().find(|old| old.type_ == type_ && old.status == status);
            NodeCondition {
                last_heartbeat_time: Some(Time(now)),
                last_transition_time: since
                    .and_then(|old| old.last_transition_time.clone())
                    .or(Some(Time(now))),
                message: Some(message.to_owned()),
                reason: Some(reason.to_owned()),
                status: status.to_owned(),
                type_: type_.to_owned(),
            }
        };
        let pressure = |type_: &str, holds: bool, bad: &str, good: &str, words: [&str; 2]| {
            let (reason, message) = if holds { (bad, words[0]) } else { (good, words[1]) };
            condition(type_, holds, reason, message)
        };
        vec![
            pressure(
                "MemoryPressure",
                memory,
                "KubeletHasInsufficientMemory",
                "KubeletHasSufficientMemory",
                [
                    "kubelet has insufficient memory available",
                    "kubelet has sufficient memory available",
                ],
            ),
            pressure(
                "DiskPressure",
                disk.pressure,
                "KubeletHasDiskPressure",
                "KubeletHasNoDiskPressure",
                ["kubelet has disk pressure", "kubelet has no disk pressure"],
            ),
            condition(
                "PIDPressure",
                false,
                "KubeletHasSufficientPID",
                "kubelet has sufficient PID available",
            ),
            match &self.trouble {
                None => condition("Ready", true, "KubeletReady", "kubelet is posting ready status"),
                Some(trouble) => condition("Ready", false, "KubeletNotReady", trouble),
            },
        ]
    }
}

/// The node as it is registered; controllers give it a Pod network.
fn registration(config: &AgentConfig, storage: &str) -> Node {
    let annotations = [
        ("volumes.kubernetes.io/controller-managed-attach-detach", "true"),
        (LOCAL_PATH, storage),
    ];
    let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Node {
        metadata: ObjectMeta {
            name: Some(config.node_name.clone()),
            labels: Some(labels(config)),
            annotations: Some(annotations.into()),
            ..Default::default()
        },
        spec: Some(NodeSpec {
            taints: (!config.node_taints.is_empty()).then(|| config.node_taints.clone()),
            ..Default::default()
        }),
        status: None,
    }
}

fn labels(config: &AgentConfig) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = [
        ("beta.kubernetes.io/arch", architecture()),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/hostname", &config.node_name),
        ("node.kubernetes.io/instance-type", "mizzen"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    labels.extend(config.node_labels.clone());
    labels
}

/// The disk that the data directory is on.
#[derive(Clone, Copy, Debug, Default)]
struct Disk {
    total: u64,
    pressure: bool,
}

impl Disk {
    fn of(path: &std::path::Path) -> Self {
        let Ok(stat) = nix::sys::statvfs::statvfs(path) else {
            return Self::default();
        };
        let few = |free: u64, all: u64, percent: u64| all > 0 && free * 100 < all * percent;
        Self {
            total: stat.blocks() * stat.fragment_size(),
            pressure: few(stat.blocks_available(), stat.blocks(), LEAST_DISK_PERCENT)
                || few(stat.files_available(), stat.files(), LEAST_INODES_PERCENT),
        }
    }
}

/// The strategic merge patch from `old` to `new`; heartbeat times alone are no change.
fn patch(old: &NodeStatus, new: &NodeStatus, due: bool) -> Option<Value> {
    let bare = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        serde_json::to_value(status).unwrap_or_default()
    };
    let (before, after) = (bare(old), bare(new));
    let full = serde_json::to_value(new).unwrap_or_default();
    let mut changes = serde_json::Map::new();
    for (field, value) in after.as_object().into_iter().flatten() {
        if matches!(field.as_str(), "capacity" | "allocatable") {
            let empty = serde_json::Map::new();
            let [known, wanted] =
                [before.get(field), Some(value)].map(|map| map.and_then(Value::as_object).unwrap_or(&empty));
            let differs = |(name, amount): &(&String, &Value)| known.get(*name) != Some(*amount);
            let mut amounts: serde_json::Map<String, Value> = wanted
                .iter()
                .filter(differs)
                .map(|(name, amount)| (name.clone(), amount.clone()))
                .collect();
            // Capacity of others is theirs; what can be used of what is not there is nothing.
            let lost = known
                .keys()
                .filter(|name| field == "allocatable" && name.contains('/') && !wanted.contains_key(*name));
            amounts.extend(lost.map(|name| (name.clone(), Value::Null)));
            if !amounts.is_empty() {
                changes.insert(field.clone(), amounts.into());
            }
            continue;
        }
        let changed = if field == "conditions" {
            // Conditions of others stay, so only ours are compared.
            let known = before.get(field).and_then(Value::as_array);
            let all = value.as_array().into_iter().flatten();
            due || all
                .clone()
                .any(|condition| !known.is_some_and(|known| known.contains(condition)))
        } else {
            before.get(field) != Some(value)
        };
        if changed {
            let value = match field.as_str() {
                "addresses" if before.get(field).is_some() => {
                    let all = full[field].as_array().cloned().unwrap_or_default();
                    std::iter::once(json!({ "$patch": "replace" })).chain(all).collect()
                }
                _ => full[field].clone(),
            };
            changes.insert(field.clone(), value);
        }
    }
    (!changes.is_empty()).then(|| json!({ "status": changes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(heartbeat: i64, status: &str) -> NodeCondition {
        NodeCondition {
            type_: "Ready".into(),
            status: status.into(),
            last_heartbeat_time: Some(Time(Timestamp::from_second(heartbeat).expect("a time"))),
            ..Default::default()
        }
    }

    #[test]
    fn resources_of_others_are_left_alone() {
        let status = |capacity: Value, allocatable: Value| -> NodeStatus {
            serde_json::from_value(json!({ "capacity": capacity, "allocatable": allocatable })).expect("a status")
        };
        let both = json!({ "cpu": "2", "example.com/dongle": "4" });
        let ours = status(json!({ "cpu": "2" }), both.clone());
        assert_eq!(patch(&status(both.clone(), both.clone()), &ours, false), None);
        let changes =
            |old: &NodeStatus, new: &NodeStatus| patch(old, new, false).unwrap_or_default()["status"].to_string();
        let announced = status(both.clone(), json!({ "cpu": "2" }));
        assert_eq!(
            changes(&announced, &ours),
            r#"{"allocatable":{"example.com/dongle":"4"}}"#
        );
        let withdrawn = status(json!({ "cpu": "2" }), both.clone());
        let alone = status(json!({ "cpu": "2" }), json!({ "cpu": "2" }));
        assert_eq!(
            changes(&withdrawn, &alone),
            r#"{"allocatable":{"example.com/dongle":null}}"#
        );
        let grown = status(json!({ "cpu": "4" }), both.clone());
        assert_eq!(
            changes(&status(both.clone(), both), &grown),
            r#"{"capacity":{"cpu":"4"}}"#
        );
    }

    #[test]
    fn heartbeats_alone_are_written_only_when_due() {
        let status = |heartbeat, word: &str| NodeStatus {
            conditions: Some(vec![condition(heartbeat, word)]),
            ..Default::default()
        };
        assert_eq!(patch(&status(1, "True"), &status(2, "True"), false), None);
        assert!(patch(&status(1, "True"), &status(2, "True"), true).is_some());
        let changed = patch(&status(1, "True"), &status(2, "False"), false).expect("a patch");
        assert_eq!(changed["status"]["conditions"][0]["status"], "False");
    }
}
