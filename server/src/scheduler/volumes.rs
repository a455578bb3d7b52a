//! Claims, volumes and what provides them, as the scheduler sees them.

use std::collections::BTreeMap;
use std::sync::Arc;

use mizzen_api::quantity::Quantity;
use serde::Deserialize;

use super::cluster::table::Table;
use super::node::Node;
use super::pod::{NodeSelector, Pod};
use crate::projection::{LabelSelector, Labels, Meta, projection};

/// Where the scheduler tells the provisioner which node a claim is for.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Says that a claim and its volume know of each other.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The provisioner of classes whose volumes are made by hand.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Claim {
    /// Metadata.
    pub metadata: Meta<Labels>,
    /// What is wanted.
    pub spec: ClaimSpec,
    /// What it got.
    pub status: Phase,
}
projection!(Claim, "", "v1", "persistentvolumeclaims");

/// What a claim wants.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSpec {
    /// Its volume, once it has one.
    pub volume_name: Box<str>,
    storage_class_name: Option<Box<str>>,
    access_modes: Box<[Box<str>]>,
    volume_mode: Option<Box<str>>,
    selector: Option<LabelSelector>,
    resources: ClaimResources,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ClaimResources {
    requests: BTreeMap<Box<str>, Box<str>>,
}

/// A phase.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Phase {
    /// `Pending`, `Bound`, `Lost`, `Available`, …
    pub phase: Box<str>,
}

impl Claim {
    /// Whether it has its volume for good.
    pub fn is_bound(&self) -> bool {
        let told = self.metadata.annotations.get(BIND_COMPLETED).is_some();
        !self.spec.volume_name.is_empty() && (told || &*self.status.phase == "Bound")
    }

    /// Whether only one Pod may use it.
    pub fn is_exclusive(&self) -> bool {
        self.spec.access_modes.iter().any(|mode| &**mode == "ReadWriteOncePod")
    }

    /// Its class; empty for none.
    pub fn class(&self) -> &str {
        self.spec.storage_class_name.as_deref().unwrap_or_default()
    }

    fn size(&self) -> i64 {
        bytes(&self.spec.resources.requests)
    }
}

fn bytes(amounts: &BTreeMap<Box<str>, Box<str>>) -> i64 {
    let storage = amounts.get("storage").and_then(|text| text.parse::<Quantity>().ok());
    storage.map_or(0, Quantity::value)
}

/// A PersistentVolume.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Metadata.
    pub metadata: Meta,
    /// What it is.
    pub spec: VolumeSpec,
    status: Phase,
}
projection!(Volume, "", "v1", "persistentvolumes");

/// What a volume is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSpec {
    capacity: BTreeMap<Box<str>, Box<str>>,
    access_modes: Box<[Box<str>]>,
    storage_class_name: Box<str>,
    volume_mode: Option<Box<str>>,
    claim_ref: Option<ClaimRef>,
    node_affinity: RequiredNodes,
    csi: Option<Csi>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ClaimRef {
    namespace: Box<str>,
    name: Box<str>,
    uid: Box<str>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RequiredNodes {
    required: Option<NodeSelector>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Csi {
    driver: Box<str>,
    volume_handle: Box<str>,
}

impl Volume {
    /// Whether it can be reached from a node.
    pub fn reaches(&self, node: &Node) -> bool {
        let required = self.spec.node_affinity.required.as_ref();
        required.is_none_or(|r| r.node_selector_terms.iter().any(|term| term.matches(node)))
    }

    /// Driver and handle, if a CSI driver provides it.
    pub fn csi(&self) -> Option<(&str, &str)> {
        let csi = self.spec.csi.as_ref()?;
        Some((&csi.driver, &csi.volume_handle))
    }

    /// Whether it is kept for this claim.
    fn is_kept_for(&self, claim: &Claim) -> bool {
        self.spec.claim_ref.as_ref().is_some_and(|r| {
            (&r.namespace, &r.name) == (&claim.metadata.namespace, &claim.metadata.name)
                && (r.uid.is_empty() || r.uid == claim.metadata.uid)
        })
    }

    /// Whether it could serve a claim, wherever.
    fn suits(&self, claim: &Claim) -> bool {
        let mode = |mode: &Option<Box<str>>| mode.as_deref().unwrap_or("Filesystem").to_owned();
        let (spec, wanted) = (&self.spec, &claim.spec);
        let free = spec.claim_ref.is_none() && matches!(&*self.status.phase, "Available" | "");
        (free || self.is_kept_for(claim))
            && !self.metadata.is_deleting()
            && *spec.storage_class_name == *claim.class()
            && mode(&spec.volume_mode) == mode(&wanted.volume_mode)
            && wanted.access_modes.iter().all(|mode| spec.access_modes.contains(mode))
            && wanted
                .selector
                .as_ref()
                .is_none_or(|s| s.matches(&self.metadata.labels))
            && bytes(&spec.capacity) >= claim.size()
    }
}

/// A StorageClass.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Class {
    /// Metadata.
    pub metadata: Meta,
    provisioner: Box<str>,
    volume_binding_mode: Box<str>,
    allowed_topologies: Box<[TopologyTerm]>,
}
projection!(Class, "storage.k8s.io", "v1", "storageclasses");

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TopologyTerm {
    match_label_expressions: Box<[TopologyExpression]>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct TopologyExpression {
    key: Box<str>,
    values: Box<[Box<str>]>,
}

impl Class {
    /// Whether volumes wait for the first Pod.
    pub fn waits(&self) -> bool {
        &*self.volume_binding_mode == "WaitForFirstConsumer"
    }

    /// Whether volumes can be made for a node.
    fn provides_for(&self, node: &Node) -> bool {
        let meets = |term: &TopologyTerm| {
            let meets = |e: &TopologyExpression| {
                let value = node.metadata.labels.get(&e.key);
                value.is_some_and(|value| e.values.iter().any(|v| **v == *value))
            };
            term.match_label_expressions.iter().all(meets)
        };
        !self.provisioner.is_empty()
            && &*self.provisioner != NO_PROVISIONER
            && (self.allowed_topologies.is_empty() || self.allowed_topologies.iter().any(meets))
    }
}

/// A CSINode: how many volumes of each driver a node takes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CsiNode {
    /// Metadata.
    pub metadata: Meta,
    spec: CsiNodeSpec,
}
projection!(CsiNode, "storage.k8s.io", "v1", "csinodes");

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct CsiNodeSpec {
    drivers: Box<[CsiDriver]>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct CsiDriver {
    name: Box<str>,
    allocatable: CsiAllocatable,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct CsiAllocatable {
    count: Option<usize>,
}

impl CsiNode {
    /// How many volumes of a driver the node takes, if that is limited.
    pub fn limit(&self, driver: &str) -> Option<usize> {
        let driver = self.spec.drivers.iter().find(|d| &*d.name == driver)?;
        driver.allocatable.count
    }
}

/// What there is of storage.
#[derive(Debug, Default)]
pub struct Volumes {
    /// Claims.
    pub claims: Table<Claim>,
    /// Volumes.
    pub volumes: Table<Volume>,
    /// Classes.
    pub classes: Table<Class>,
    /// What nodes take.
    pub csi_nodes: Table<CsiNode>,
}

impl Volumes {
    /// The claims that a Pod mounts, or why it cannot.
    pub fn of(&self, pod: &Pod) -> Result<Vec<Arc<Claim>>, String> {
        let namespace = &pod.metadata.namespace;
        let mut claims = Vec::new();
        for mounted in &pod.claims {
            let name = &mounted.name;
            let Some(claim) = self.claims.get(namespace, name) else {
                return Err(match mounted.ephemeral {
                    true => {
                        format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}")
                    }
                    false => format!("persistentvolumeclaim {name:?} not found"),
                });
            };
            if &*claim.status.phase == "Lost" {
                let volume = &claim.spec.volume_name;
                return Err(format!(
                    "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
                ));
            }
            if claim.metadata.is_deleting() {
                return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
            }
            if mounted.ephemeral && !claim.metadata.is_controlled_by(&pod.metadata.uid) {
                return Err(format!(
                    "PVC {namespace}/{name} was not created for pod {namespace}/{} (pod is not owner)",
                    pod.metadata.name
                ));
            }
            claims.push(claim.clone());
        }
        Ok(claims)
    }

    /// The volume of a claim, when it has one.
    pub fn volume(&self, claim: &Claim) -> Option<&Arc<Volume>> {
        self.volumes.get("", &claim.spec.volume_name)
    }

    /// The class of a claim.
    pub fn class(&self, claim: &Claim) -> Option<&Arc<Class>> {
        self.classes.get("", claim.class())
    }

    /// The smallest volume on a node that suits a claim and is not `taken`; one kept for it first.
    pub fn matching(&self, claim: &Claim, node: &Node, taken: impl Fn(&str) -> bool) -> Option<&Arc<Volume>> {
        let all = self.volumes.within("");
        let suiting = all.filter(|v| v.suits(claim) && v.reaches(node) && !taken(&v.metadata.name));
        suiting.min_by(|a, b| {
            let key = |v: &Volume| (!v.is_kept_for(claim), bytes(&v.spec.capacity));
            (key(a), &a.metadata.name).cmp(&(key(b), &b.metadata.name))
        })
    }

    /// Whether a volume for the claim can be made for the node.
    pub fn can_provide(&self, claim: &Claim, node: &Node) -> bool {
        self.class(claim).is_some_and(|class| class.provides_for(node))
    }
}
