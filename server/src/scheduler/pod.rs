//! Pods as the scheduler keeps them: read once, with requests already summed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::affinity::{PodAffinities, PodAffinityForm, SpreadConstraint, SpreadForm};
use super::node::Node;
pub use super::node::Taint;
use super::resources::Resources;
use crate::projection::{Labels, Meta, Requirement};

/// A Pod as the scheduler sees it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "PodForm")]
pub struct Pod {
    /// Metadata.
    pub metadata: Meta,
    /// Node it is bound to; empty before.
    pub node_name: Box<str>,
    /// Who schedules it.
    pub scheduler_name: Box<str>,
    /// Higher goes first.
    pub priority: i32,
    /// Whether it may take the place of others.
    pub never_preempts: bool,
    /// Names of gates that hold it back.
    pub gates: Box<[Box<str>]>,
    /// Sum of its requests.
    pub requests: Resources,
    /// The same with defaults, for scores.
    pub scored: Resources,
    /// Ports that it takes on its node.
    pub host_ports: Box<[HostPort]>,
    /// Labels that its node must have.
    pub node_selector: Labels,
    /// Nodes that it requires or prefers.
    pub node_affinity: Option<Box<NodeAffinity>>,
    /// Pods that it wants or does not want near.
    pub affinities: Option<Box<PodAffinities>>,
    /// How Pods like it are to be spread.
    pub spread: Box<[SpreadConstraint]>,
    /// Taints that it bears.
    pub tolerations: Box<[Toleration]>,
    /// Images of its containers, those that start it included.
    pub images: Box<[Box<str>]>,
    /// PersistentVolumeClaims that it mounts.
    pub claims: Box<[Claim]>,
    /// Node on which room is being made for it.
    pub nominated: Box<str>,
    /// When its node took it up.
    pub start_time: Option<Timestamp>,
    /// Whether it was told to go for a more important Pod.
    pub preempted: bool,
    /// `Succeeded`, `Failed`: no longer uses anything.
    pub finished: bool,
    /// Reason and message that it was last told, when it could not be scheduled.
    pub verdict: Option<Box<(Box<str>, Box<str>)>>,
}

impl mizzen_api::client::reflector::Projection for Pod {
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

impl Pod {
    /// Whether it has a say in where other Pods go, or others in where it goes.
    pub fn has_affinity(&self) -> bool {
        self.affinities.is_some()
    }

    /// Whether both count alike on a node: what differs otherwise is status.
    pub fn counts_as(&self, other: &Self) -> bool {
        self.metadata.labels == other.metadata.labels
            && self.metadata.is_deleting() == other.metadata.is_deleting()
            && self.requests == other.requests
            && self.preempted == other.preempted
    }

    /// Whether a taint is borne.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.tolerations.iter().any(|toleration| toleration.tolerates(taint))
    }
}

/// A claim that a Pod mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Name of the PersistentVolumeClaim.
    pub name: Box<str>,
    /// Whether it is made for the Pod and goes with it.
    pub ephemeral: bool,
}

/// A port taken on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostPort {
    /// Port on the node; zero when none is taken.
    #[serde(rename = "hostPort")]
    pub port: i32,
    /// `TCP`, `UDP`, `SCTP`; `TCP` when empty.
    pub protocol: Box<str>,
    /// Address on the node; empty or `0.0.0.0` for all.
    #[serde(rename = "hostIP")]
    pub ip: Box<str>,
}

/// Nodes that a Pod requires or prefers.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeAffinity {
    /// The node must match one of these terms.
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeSelector>,
    /// Each matching term adds its weight.
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    pub preferred: Box<[PreferredTerm]>,
}

/// Alternatives.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    /// One of them must match.
    pub node_selector_terms: Box<[NodeSelectorTerm]>,
}

/// Conditions that must all hold.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelectorTerm {
    /// Of labels.
    pub match_expressions: Box<[Requirement]>,
    /// Of fields; only `metadata.name` exists.
    pub match_fields: Box<[Requirement]>,
}

impl NodeSelectorTerm {
    /// Whether a node meets the term; an empty term meets none.
    pub fn matches(&self, node: &Node) -> bool {
        self.matches_metadata(&node.metadata)
    }

    /// Whether the node of this metadata meets the term.
    pub fn matches_metadata<A>(&self, node: &Meta<A>) -> bool {
        let empty = self.match_expressions.is_empty() && self.match_fields.is_empty();
        let labels = &node.labels;
        !empty
            && self.match_expressions.iter().all(|r| r.matches(labels.get(&r.key)))
            && self.match_fields.iter().all(|r| {
                let value = (&*r.key == "metadata.name").then_some(&*node.name);
                r.matches(value)
            })
    }
}

/// A term with its weight.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PreferredTerm {
    /// 1 to 100.
    pub weight: i64,
    /// The term.
    pub preference: NodeSelectorTerm,
}

/// A taint that a Pod bears.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Toleration {
    key: Box<str>,
    operator: Box<str>,
    value: Box<str>,
    /// Effect that is borne; empty for all.
    pub effect: Box<str>,
}

impl Toleration {
    /// Whether a taint is borne.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        (self.effect.is_empty() || self.effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && self.matches_value(taint)
    }

    fn matches_value(&self, taint: &Taint) -> bool {
        let compared = |is: fn(&i64, &i64) -> bool| {
            let pair = taint.value.parse().ok().zip(self.value.parse().ok());
            pair.is_some_and(|(taint, own)| is(&taint, &own))
        };
        match &*self.operator {
            "" | "Equal" => self.value == taint.value,
            "Exists" => true,
            "Lt" => compared(i64::lt),
            "Gt" => compared(i64::gt),
            _ => false,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodForm {
    metadata: Meta,
    spec: SpecForm,
    status: StatusForm,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpecForm {
    node_name: Box<str>,
    scheduler_name: Box<str>,
    priority: i32,
    preemption_policy: Box<str>,
    scheduling_gates: Vec<NameForm>,
    containers: Vec<ContainerForm>,
    init_containers: Vec<ContainerForm>,
    overhead: BTreeMap<Box<str>, Box<str>>,
    resources: ResourcesForm,
    node_selector: Labels,
    affinity: AffinityForm,
    tolerations: Box<[Toleration]>,
    topology_spread_constraints: Vec<SpreadForm>,
    volumes: Vec<VolumeForm>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AffinityForm {
    node_affinity: Option<Box<NodeAffinity>>,
    pod_affinity: PodAffinityForm,
    pod_anti_affinity: PodAffinityForm,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VolumeForm {
    name: Box<str>,
    persistent_volume_claim: Option<ClaimForm>,
    ephemeral: Option<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClaimForm {
    claim_name: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NameForm {
    name: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerForm {
    image: Box<str>,
    resources: ResourcesForm,
    ports: Vec<HostPort>,
    restart_policy: Option<Box<str>>,
}

impl ContainerForm {
    fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResourcesForm {
    requests: BTreeMap<Box<str>, Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StatusForm {
    phase: Box<str>,
    nominated_node_name: Box<str>,
    start_time: Option<Timestamp>,
    conditions: Vec<ConditionForm>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ConditionForm {
    #[serde(rename = "type")]
    kind: Box<str>,
    status: Box<str>,
    reason: Box<str>,
    message: Box<str>,
}

impl From<PodForm> for Pod {
    fn from(form: PodForm) -> Self {
        let spec = form.spec;
        let preempted =
            form.status.conditions.iter().any(|c| {
                &*c.kind == "DisruptionTarget" && &*c.status == "True" && &*c.reason == "PreemptionByScheduler"
            });
        let verdict = form.status.conditions.into_iter().find(|c| &*c.kind == "PodScheduled");
        let ports = spec
            .containers
            .iter()
            .chain(spec.init_containers.iter().filter(|c| c.is_sidecar()));
        Self {
            requests: total(&spec, |r| r),
            scored: total(&spec, |r| r.or_default()),
            host_ports: ports.flat_map(|c| &c.ports).filter(|p| p.port > 0).cloned().collect(),
            images: all(&spec).map(|c| image_name(&c.image)).collect(),
            affinities: PodAffinities::new(
                &form.metadata,
                spec.affinity.pod_affinity,
                spec.affinity.pod_anti_affinity,
            ),
            spread: SpreadForm::all(spec.topology_spread_constraints, &form.metadata),
            claims: claims(&spec.volumes, &form.metadata.name),
            nominated: form.status.nominated_node_name,
            start_time: form.status.start_time,
            preempted,
            metadata: form.metadata,
            node_name: spec.node_name,
            scheduler_name: spec.scheduler_name,
            priority: spec.priority,
            never_preempts: &*spec.preemption_policy == "Never",
            gates: spec.scheduling_gates.into_iter().map(|gate| gate.name).collect(),
            node_selector: spec.node_selector,
            node_affinity: spec.affinity.node_affinity,
            tolerations: spec.tolerations,
            finished: matches!(&*form.status.phase, "Succeeded" | "Failed"),
            verdict: verdict
                .filter(|c| &*c.status == "False")
                .map(|c| Box::new((c.reason, c.message))),
        }
    }
}

fn all(spec: &SpecForm) -> impl Iterator<Item = &ContainerForm> {
    spec.init_containers.iter().chain(&spec.containers)
}

/// The name under which nodes list an image: with a tag.
fn image_name(image: &str) -> Box<str> {
    match image.rfind(':') <= image.rfind('/') {
        true => format!("{image}:latest").into(),
        false => image.into(),
    }
}

fn claims(volumes: &[VolumeForm], pod: &str) -> Box<[Claim]> {
    let claim = |volume: &VolumeForm| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(Claim {
            name: claim.claim_name.clone(),
            ephemeral: false,
        }),
        (None, Some(_)) => Some(Claim {
            name: format!("{pod}-{}", volume.name).into(),
            ephemeral: true,
        }),
        (None, None) => None,
    };
    volumes.iter().filter_map(claim).collect()
}

/// What a Pod needs at its most: its containers and sidecars together, or any init container with the
/// sidecars started before it, whichever is more; requests of the Pod itself override; then overhead.
fn total(spec: &SpecForm, of: impl Fn(Resources) -> Resources) -> Resources {
    let request = |container: &ContainerForm| of(Resources::read(&container.resources.requests));
    let mut running = Resources::default();
    for container in &spec.containers {
        running.add(&request(container));
    }
    let (mut sidecars, mut starting) = (Resources::default(), Resources::default());
    for container in &spec.init_containers {
        let needs = request(container);
        if container.is_sidecar() {
            running.add(&needs);
            sidecars.add(&needs);
            starting.raise(&sidecars);
        } else {
            let mut peak = sidecars.clone();
            peak.add(&needs);
            starting.raise(&peak);
        }
    }
    running.raise(&starting);
    let whole = Resources::read(&spec.resources.requests);
    for name in spec.resources.requests.keys() {
        match &**name {
            "cpu" => running.milli_cpu = whole.milli_cpu,
            "memory" => running.memory = whole.memory,
            _ => {}
        }
    }
    running.add(&Resources::read(&spec.overhead));
    running
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(spec: serde_json::Value, cpu: i64, memory: i64) {
        let pod: Pod = serde_json::from_value(json!({"spec": spec})).expect("a Pod");
        assert_eq!((pod.requests.milli_cpu, pod.requests.memory), (cpu, memory));
    }

    fn container(cpu: &str, restart: Option<&str>) -> serde_json::Value {
        json!({"resources": {"requests": {"cpu": cpu}}, "restartPolicy": restart})
    }

    #[test]
    fn requests_are_summed_as_upstream() {
        check(
            json!({"containers": [container("1", None), container("500m", None)]}),
            1500,
            0,
        );
        check(
            json!({"containers": [container("1", None)], "initContainers": [container("3", None), container("2", None)]}),
            3000,
            0,
        );
        // A sidecar runs beside the init containers after it and beside the containers.
        check(
            json!({"containers": [container("1", None)],
                   "initContainers": [container("2", Some("Always")), container("3", None)]}),
            5000,
            0,
        );
        check(
            json!({"containers": [container("1", None)], "overhead": {"cpu": "250m", "memory": "1Mi"}}),
            1250,
            1 << 20,
        );
        check(
            json!({"containers": [container("1", None)], "resources": {"requests": {"cpu": "2"}}}),
            2000,
            0,
        );
    }
}
