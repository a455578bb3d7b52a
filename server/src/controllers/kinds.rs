//! The projections that controllers share.

pub mod batch;
pub mod policy;
pub mod sets;
pub mod storage;

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::projection::{LabelSelector, Labels, Meta, projection};
use crate::scheduler::pod::NodeAffinity;

/// A Pod as controllers see it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Metadata.
    pub metadata: Meta<PodAnnotations>,
    /// Spec.
    pub spec: PodSpec,
    /// Status.
    pub status: PodStatus,
}
projection!(Pod, "", "v1", "pods");

/// The annotations of Pods that matter here.
#[derive(Clone, Debug, Default)]
pub struct PodAnnotations {
    /// How dear the Pod is when replicas are removed; a text, because people write it.
    pub deletion_cost: Option<Box<str>>,
    /// What a Job notes on its Pods; most Pods have none of it.
    pub job: Option<Box<JobMarks>>,
}

/// What a Job notes on its Pods.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobMarks {
    /// Which of the completions this Pod works for.
    pub index: Option<i64>,
    /// Earlier failures of that index.
    pub failures: i64,
    /// Earlier failures of that index that do not count.
    pub ignored_failures: i64,
}

impl<'de> Deserialize<'de> for PodAnnotations {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Form {
            #[serde(rename = "controller.kubernetes.io/pod-deletion-cost")]
            deletion_cost: Option<Box<str>>,
            #[serde(rename = "batch.kubernetes.io/job-completion-index")]
            index: Option<Box<str>>,
            #[serde(rename = "batch.kubernetes.io/job-index-failure-count")]
            failures: Option<Box<str>>,
            #[serde(rename = "batch.kubernetes.io/job-index-ignored-failure-count")]
            ignored_failures: Option<Box<str>>,
        }
        let form = Option::<Form>::deserialize(deserializer)?.unwrap_or_default();
        let number = |text: Option<Box<str>>| text.and_then(|text| text.parse::<u32>().ok()).map(i64::from);
        let marks = JobMarks {
            index: number(form.index),
            failures: number(form.failures).unwrap_or_default(),
            ignored_failures: number(form.ignored_failures).unwrap_or_default(),
        };
        Ok(Self {
            deletion_cost: form.deletion_cost,
            job: marks.index.map(|_| Box::new(marks)),
        })
    }
}

/// Spec of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Node it is bound to; empty before.
    pub node_name: Box<str>,
    /// Host name.
    pub hostname: Box<str>,
    /// Subdomain: the headless Service that gives it a DNS name.
    pub subdomain: Box<str>,
    /// Restart policy.
    pub restart_policy: Box<str>,
    /// Containers.
    pub containers: Box<[Container]>,
    /// Init containers; those that restart always are sidecars.
    pub init_containers: Box<[Container]>,
    /// The claims among its volumes.
    #[serde(rename = "volumes", deserialize_with = "storage::used_claims")]
    pub claims: Box<[storage::UsedClaim]>,
    /// The node that its affinity names, as a DaemonSet's Pods do.
    #[serde(rename = "affinity", deserialize_with = "target_node")]
    pub target: Option<Box<str>>,
}

/// Reads of an affinity only the one node that it names.
fn target_node<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<str>>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Affinity {
        node_affinity: Option<NodeAffinity>,
    }
    let affinity = Option::<Affinity>::deserialize(deserializer)?;
    let required = affinity.and_then(|affinity| affinity.node_affinity?.required);
    let terms = required
        .map(|required| required.node_selector_terms)
        .unwrap_or_default();
    let mut fields = terms.iter().flat_map(|term| &term.match_fields);
    let named = fields.find(|field| &*field.key == "metadata.name" && &*field.operator == "In");
    Ok(named.and_then(|field| field.values.first().cloned()))
}

/// A container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// `Always` makes an init container a sidecar.
    pub restart_policy: Option<Box<str>>,
    /// Ports.
    pub ports: Box<[ContainerPort]>,
}

/// A container's port.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// Name.
    pub name: Box<str>,
    /// Number.
    pub container_port: i32,
    /// Protocol; `TCP` when empty.
    pub protocol: Box<str>,
}

/// Status of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Phase.
    pub phase: Box<str>,
    /// Conditions.
    pub conditions: Box<[PodCondition]>,
    /// First address.
    #[serde(rename = "podIP")]
    pub pod_ip: Box<str>,
    /// All addresses.
    #[serde(rename = "podIPs")]
    pub pod_ips: Box<[PodIp]>,
    /// Containers.
    pub container_statuses: Box<[ContainerStatus]>,
    /// Init containers.
    pub init_container_statuses: Box<[ContainerStatus]>,
}

/// A condition of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCondition {
    /// Type.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// `True`, `False` or `Unknown`.
    pub status: Box<str>,
    /// When the status last changed.
    pub last_transition_time: Option<Timestamp>,
}

/// An address of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodIp {
    /// The address.
    pub ip: Box<str>,
}

/// Status of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "ContainerStatusForm")]
pub struct ContainerStatus {
    /// How often it was restarted.
    pub restart_count: i64,
    /// How it ended, once it has.
    pub terminated: Option<Box<Terminated>>,
}

/// How a container ended.
#[derive(Clone, Debug, Default)]
pub struct Terminated {
    /// Its name.
    pub container: Box<str>,
    /// Its exit code.
    pub exit_code: i64,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatusForm {
    name: Box<str>,
    restart_count: i64,
    state: ContainerStateForm,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ContainerStateForm {
    terminated: Option<TerminatedForm>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TerminatedForm {
    exit_code: i64,
    finished_at: Option<Timestamp>,
}

impl From<ContainerStatusForm> for ContainerStatus {
    fn from(form: ContainerStatusForm) -> Self {
        let ended = |state: TerminatedForm| Terminated {
            container: form.name,
            exit_code: state.exit_code,
            finished_at: state.finished_at,
        };
        Self {
            restart_count: form.restart_count,
            terminated: form.state.terminated.map(|state| Box::new(ended(state))),
        }
    }
}

impl Pod {
    fn condition(&self, kind: &str) -> Option<&PodCondition> {
        self.status.conditions.iter().find(|c| &*c.kind == kind)
    }

    /// The node that it is on, or the one that it is meant for.
    pub fn node(&self) -> Option<&str> {
        match &*self.spec.node_name {
            "" => self.spec.target.as_deref(),
            name => Some(name),
        }
    }

    /// Whether the Pod passed its readiness.
    pub fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(|c| &*c.status == "True")
    }

    /// Since when the Pod is ready.
    pub fn ready_since(&self) -> Option<Timestamp> {
        self.condition("Ready")
            .filter(|c| &*c.status == "True")?
            .last_transition_time
    }

    /// Whether the Pod ended for good.
    pub fn is_finished(&self) -> bool {
        matches!(&*self.status.phase, "Succeeded" | "Failed")
    }

    /// Whether the Pod counts as a replica: neither ended nor being deleted.
    pub fn is_active(&self) -> bool {
        !self.is_finished() && !self.metadata.is_deleting()
    }

    /// Whether the Pod is being deleted and has not ended.
    pub fn is_terminating(&self) -> bool {
        !self.is_finished() && self.metadata.is_deleting()
    }

    /// When the Pod counts as available (`None`: not before something changes).
    pub fn available_at(&self, min_ready_seconds: i64) -> Option<Timestamp> {
        if !self.is_ready() {
            return None;
        }
        if min_ready_seconds == 0 {
            return Some(Timestamp::UNIX_EPOCH);
        }
        Some(self.ready_since()? + jiff::SignedDuration::from_secs(min_ready_seconds))
    }
}

/// ReplicaSet, and ReplicationController, whose selector is written as a map.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReplicaSet {
    /// Metadata.
    pub metadata: Meta<Labels>,
    /// Spec.
    pub spec: ReplicaSetSpec,
    /// Status.
    pub status: ReplicaSetStatus,
}
projection!(ReplicaSet, "apps", "v1", "replicasets");

/// Spec of a ReplicaSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetSpec {
    /// Wanted replicas; one when absent.
    pub replicas: Option<i64>,
    /// How long a Pod must be ready to count as available.
    pub min_ready_seconds: i64,
    /// Which Pods are its own.
    pub selector: LabelSelector,
    /// What Pods are made from, as it was written.
    pub template: Option<Box<RawValue>>,
}

/// Status of a ReplicaSet.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetStatus {
    /// Active Pods.
    pub replicas: i64,
    /// Those that carry all labels of the template.
    pub fully_labeled_replicas: i64,
    /// Those that are ready.
    pub ready_replicas: i64,
    /// Those that are available.
    pub available_replicas: i64,
    /// Pods that are being deleted, when the writer counts them.
    pub terminating_replicas: Option<i64>,
    /// Generation that this status is about.
    pub observed_generation: i64,
    /// Conditions.
    pub conditions: Box<[Condition]>,
}

/// A condition of a workload.
#[derive(Clone, Debug, Default, Deserialize, serde::Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Type.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// `True`, `False` or `Unknown`.
    pub status: Cow<'static, str>,
    /// When anything was last said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<Timestamp>,
    /// When the status last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Timestamp>,
    /// Reason in one word.
    pub reason: Cow<'static, str>,
    /// Reason in a sentence.
    pub message: String,
}

impl ReplicaSet {
    /// Wanted replicas.
    pub fn replicas(&self) -> i64 {
        self.spec.replicas.unwrap_or(1)
    }
}

/// A ReplicationController, read into the form of a ReplicaSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "ReplicationControllerForm")]
pub struct ReplicationController(pub ReplicaSet);

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReplicationControllerForm {
    metadata: Meta<Labels>,
    spec: ReplicationControllerSpec,
    status: ReplicaSetStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReplicationControllerSpec {
    replicas: Option<i64>,
    min_ready_seconds: i64,
    selector: Labels,
    template: Option<Box<RawValue>>,
}

impl From<ReplicationControllerForm> for ReplicationController {
    fn from(form: ReplicationControllerForm) -> Self {
        Self(ReplicaSet {
            metadata: form.metadata,
            spec: ReplicaSetSpec {
                replicas: form.spec.replicas,
                min_ready_seconds: form.spec.min_ready_seconds,
                selector: LabelSelector::equalities(form.spec.selector),
                template: form.spec.template,
            },
            status: form.status,
        })
    }
}

impl mizzen_api::client::reflector::Projection for ReplicationController {
    fn namespace(&self) -> &str {
        &self.0.metadata.namespace
    }
    fn name(&self) -> &str {
        &self.0.metadata.name
    }
    fn resource_version(&self) -> &str {
        &self.0.metadata.resource_version
    }
}
impl crate::projection::Watched for ReplicationController {
    const AT: mizzen_api::client::rest::Gvr<'static> =
        mizzen_api::client::rest::Gvr::new("", "v1", "replicationcontrollers");
}

/// A Deployment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Deployment {
    /// Metadata.
    pub metadata: Meta<Labels>,
    /// Spec.
    pub spec: DeploymentSpec,
    /// Status.
    pub status: DeploymentStatus,
}
projection!(Deployment, "apps", "v1", "deployments");

/// Spec of a Deployment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentSpec {
    /// Wanted replicas; one when absent.
    pub replicas: Option<i64>,
    /// Whether rollouts are held.
    pub paused: bool,
    /// How Pods are replaced.
    pub strategy: Strategy,
    /// How long a Pod must be ready to count as available.
    pub min_ready_seconds: i64,
    /// How many old ReplicaSets are kept; 10 when absent.
    pub revision_history_limit: Option<i64>,
    /// How long a rollout may stand still; the API defaults it to 600.
    pub progress_deadline_seconds: Option<i64>,
    /// Which ReplicaSets and Pods are its own.
    pub selector: LabelSelector,
    /// What Pods are made from, as it was written.
    pub template: Option<Box<RawValue>>,
}

/// How Pods are replaced.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Strategy {
    /// `Recreate` or `RollingUpdate`.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// Bounds of a rolling update.
    pub rolling_update: Option<RollingUpdate>,
}

/// Bounds of a rolling update.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdate {
    /// How many Pods may exist above the wanted number.
    pub max_surge: Option<IntOrPercent>,
    /// How many Pods may be unavailable.
    pub max_unavailable: Option<IntOrPercent>,
}

/// A number or a percentage.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum IntOrPercent {
    /// The number.
    Int(i64),
    /// `"25%"`.
    Percent(Box<str>),
}

impl IntOrPercent {
    /// The number, or the percentage of `total` rounded up or down.
    pub fn of(&self, total: i64, up: bool) -> i64 {
        match self {
            Self::Int(number) => *number,
            Self::Percent(text) => {
                let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
                (percent * total + if up { 99 } else { 0 }) / 100
            }
        }
    }
}

/// Status of a Deployment.
#[derive(Clone, Debug, Default, Deserialize, serde::Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatus {
    /// Generation that this status is about.
    #[serde(skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// Active Pods.
    #[serde(skip_serializing_if = "is_zero")]
    pub replicas: i64,
    /// Active Pods of the newest template.
    #[serde(skip_serializing_if = "is_zero")]
    pub updated_replicas: i64,
    /// Ready Pods.
    #[serde(skip_serializing_if = "is_zero")]
    pub ready_replicas: i64,
    /// Available Pods.
    #[serde(skip_serializing_if = "is_zero")]
    pub available_replicas: i64,
    /// Wanted Pods that are not available.
    #[serde(skip_serializing_if = "is_zero")]
    pub unavailable_replicas: i64,
    /// Pods that are being deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating_replicas: Option<i64>,
    /// Conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// How often the hash of a template met a foreign ReplicaSet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it by reference")]
pub(super) fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A Namespace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// Metadata.
    pub metadata: Meta,
    /// Spec.
    pub spec: NamespaceSpec,
    /// Status.
    pub status: NamespaceStatus,
}
projection!(Namespace, "", "v1", "namespaces");

/// Spec of a Namespace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceSpec {
    /// What must be done before it may vanish.
    pub finalizers: Box<[Box<str>]>,
}

/// Status of a Namespace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceStatus {
    /// `Active` or `Terminating`.
    pub phase: Box<str>,
}

/// A ServiceAccount.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceAccount {
    /// Metadata.
    pub metadata: Meta,
}
projection!(ServiceAccount, "", "v1", "serviceaccounts");

/// A Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Metadata.
    pub metadata: Meta<NodeAnnotations>,
    /// Spec.
    pub spec: NodeSpec,
    /// Status.
    pub status: NodeStatus,
}
projection!(Node, "", "v1", "nodes");

/// The one annotation of Nodes that is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeAnnotations {
    /// Where the node has its local volumes.
    #[serde(rename = "mizzen.local/local-path")]
    pub local_path: Option<Box<str>>,
}

/// Spec of a Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// Its Pods' addresses.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: Box<str>,
    /// Whether it was cordoned.
    pub unschedulable: bool,
    /// Its taints.
    pub taints: Box<[Taint]>,
}

/// A taint.
#[derive(Clone, Debug, Default, Deserialize, serde::Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    /// Key.
    pub key: Cow<'static, str>,
    /// Value.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub value: Box<str>,
    /// Effect.
    pub effect: Cow<'static, str>,
    /// When it was put there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_added: Option<Timestamp>,
}

/// Status of a Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Conditions.
    pub conditions: Box<[Condition]>,
    /// Addresses.
    pub addresses: Box<[NodeAddress]>,
}

/// An address of a Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, `Hostname`.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// Address.
    pub address: Box<str>,
}

/// A Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Metadata.
    pub metadata: Meta<Labels>,
    /// Spec.
    pub spec: ServiceSpec,
    /// Status.
    pub status: ServiceStatus,
}
projection!(Service, "", "v1", "services");

/// Spec of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// Type.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// `None` for headless Services.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Box<str>,
    /// Whose load balancer it asks for; ours when absent.
    pub load_balancer_class: Option<Box<str>>,
    /// Which Pods stand behind it; absent when somebody else keeps its endpoints.
    pub selector: Option<Labels>,
    /// Ports.
    pub ports: Box<[ServicePort]>,
    /// `IPv4`, `IPv6`.
    pub ip_families: Box<[Box<str>]>,
    /// Whether Pods that are not ready are endpoints too.
    pub publish_not_ready_addresses: bool,
}

/// Status of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// Where it is reached from outside.
    pub load_balancer: LoadBalancer,
}

/// Where a Service is reached from outside.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    /// Addresses.
    pub ingress: Box<[Ingress]>,
}

/// One address of a load balancer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ingress {
    /// Address.
    pub ip: Box<str>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// Name.
    pub name: Box<str>,
    /// Protocol; `TCP` when empty.
    pub protocol: Box<str>,
    /// Application protocol.
    pub app_protocol: Option<Box<str>>,
    /// Port of the Service.
    pub port: i64,
    /// Port of the Pods, by number or name; the Service's when absent.
    pub target_port: Option<IntOrPercent>,
}

/// A ClusterRole, for aggregation.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterRole {
    /// Metadata.
    pub metadata: Meta,
    /// Rules as they were written.
    pub rules: serde_json::Value,
    /// Which roles it is made of.
    pub aggregation_rule: Option<AggregationRule>,
}
projection!(ClusterRole, "rbac.authorization.k8s.io", "v1", "clusterroles");

/// Which roles a role is made of.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AggregationRule {
    /// A role that matches any of these is taken in.
    pub cluster_role_selectors: Box<[LabelSelector]>,
}
