//! Volumes, claims and classes.

use jiff::Timestamp;
use mizzen_api::quantity::Quantity;
use serde::Deserialize;
use serde::de::Deserializer;

use crate::projection::{LabelSelector, Meta, projection};

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Claim {
    /// Metadata.
    pub metadata: Meta<ClaimAnnotations>,
    /// Spec.
    pub spec: ClaimSpec,
    /// Status.
    pub status: ClaimStatus,
}
projection!(Claim, "", "v1", "persistentvolumeclaims");

/// Annotations by which binder, scheduler and provisioners talk.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct ClaimAnnotations {
    /// Binding is complete.
    #[serde(rename = "pv.kubernetes.io/bind-completed")]
    pub bind_completed: Option<Box<str>>,
    /// The node for which the scheduler wants the volume.
    #[serde(rename = "volume.kubernetes.io/selected-node")]
    pub selected_node: Option<Box<str>>,
    /// Who is to make the volume.
    #[serde(rename = "volume.kubernetes.io/storage-provisioner")]
    pub provisioner: Option<Box<str>>,
    /// The class, as it was written long ago.
    #[serde(rename = "volume.beta.kubernetes.io/storage-class")]
    pub beta_class: Option<Box<str>>,
}

/// Spec of a claim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSpec {
    /// How it is to be mounted.
    pub access_modes: Box<[Box<str>]>,
    /// What is asked for.
    pub resources: ClaimResources,
    /// The volume.
    pub volume_name: Box<str>,
    /// The class; none at all asks for the default.
    pub storage_class_name: Option<Box<str>>,
    /// `Filesystem` (also when empty) or `Block`.
    pub volume_mode: Box<str>,
    /// Labels that the volume must have.
    pub selector: Option<LabelSelector>,
}

/// What a claim asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClaimResources {
    /// At least.
    pub requests: Storage,
}

/// An amount of storage.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Storage {
    /// As it was written.
    pub storage: Option<Box<str>>,
}

impl Storage {
    /// In bytes.
    pub fn bytes(&self) -> i64 {
        let quantity = self.storage.as_deref().and_then(|text| text.parse::<Quantity>().ok());
        quantity.map_or(0, Quantity::value)
    }
}

/// Status of a claim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimStatus {
    /// Phase.
    pub phase: Box<str>,
    /// How the volume may be mounted.
    pub access_modes: Box<[Box<str>]>,
    /// How large the volume is.
    pub capacity: Storage,
}

impl Claim {
    /// The class; empty for none.
    pub fn class(&self) -> &str {
        let annotated = self.metadata.annotations.beta_class.as_deref();
        annotated
            .or(self.spec.storage_class_name.as_deref())
            .unwrap_or_default()
    }

    /// Whether the claim says nothing about its class.
    pub fn wants_default_class(&self) -> bool {
        self.spec.storage_class_name.is_none() && self.metadata.annotations.beta_class.is_none()
    }
}

/// A PersistentVolume.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Metadata.
    pub metadata: Meta<VolumeAnnotations>,
    /// Spec.
    pub spec: VolumeSpec,
    /// Status.
    pub status: VolumeStatus,
}
projection!(Volume, "", "v1", "persistentvolumes");

/// Annotations by which binder and provisioners talk.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct VolumeAnnotations {
    /// The binder and not a person chose the claim.
    #[serde(rename = "pv.kubernetes.io/bound-by-controller")]
    pub bound_by_controller: Option<Box<str>>,
    /// Who made it.
    #[serde(rename = "pv.kubernetes.io/provisioned-by")]
    pub provisioned_by: Option<Box<str>>,
    /// The node whose directory it is.
    #[serde(rename = "mizzen.local/node")]
    pub node: Option<Box<str>>,
    /// The class, as it was written long ago.
    #[serde(rename = "volume.beta.kubernetes.io/storage-class")]
    pub beta_class: Option<Box<str>>,
}

/// Spec of a volume.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSpec {
    /// How large it is.
    pub capacity: Storage,
    /// How it may be mounted.
    pub access_modes: Box<[Box<str>]>,
    /// The claim that has it.
    pub claim_ref: Option<ClaimReference>,
    /// What becomes of it when the claim is gone: `Retain` (also when empty), `Delete`, `Recycle`.
    pub persistent_volume_reclaim_policy: Box<str>,
    /// Its class.
    pub storage_class_name: Box<str>,
    /// `Filesystem` (also when empty) or `Block`.
    pub volume_mode: Box<str>,
    /// A directory of a node, when it is one.
    pub host_path: Option<HostPath>,
}

/// A directory of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HostPath {
    /// Where.
    pub path: Box<str>,
}

/// The claim that has a volume.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct ClaimReference {
    /// Namespace.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// Which incarnation; empty when a person reserved the volume.
    pub uid: Box<str>,
}

/// Status of a volume.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct VolumeStatus {
    /// Phase.
    pub phase: Box<str>,
}

impl Volume {
    /// The class; empty for none.
    pub fn class(&self) -> &str {
        let annotated = self.metadata.annotations.beta_class.as_deref();
        annotated.unwrap_or(&self.spec.storage_class_name)
    }
}

/// A StorageClass.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageClass {
    /// Metadata.
    pub metadata: Meta<ClassAnnotations>,
    /// Who makes volumes.
    pub provisioner: Box<str>,
    /// What becomes of them; `Delete` when absent.
    pub reclaim_policy: Option<Box<str>>,
    /// `Immediate` or `WaitForFirstConsumer`.
    pub volume_binding_mode: Box<str>,
}
projection!(StorageClass, "storage.k8s.io", "v1", "storageclasses");

/// The one annotation of classes that is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClassAnnotations {
    /// `true` makes it the default.
    #[serde(rename = "storageclass.kubernetes.io/is-default-class")]
    pub is_default: Option<Box<str>>,
}

impl StorageClass {
    /// Whether volumes wait for the node of their first Pod.
    pub fn waits(&self) -> bool {
        &*self.volume_binding_mode == "WaitForFirstConsumer"
    }

    /// The default class: of several the newest, then the first by name.
    pub fn default_of<T: AsRef<Self>>(classes: &[T]) -> Option<&Self> {
        let age = |class: &Self| class.metadata.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
        let defaults = classes
            .iter()
            .map(AsRef::as_ref)
            .filter(|class| class.metadata.annotations.is_default.as_deref() == Some("true"));
        defaults.min_by(|a, b| age(b).cmp(&age(a)).then_with(|| a.metadata.name.cmp(&b.metadata.name)))
    }
}

/// A claim that a Pod uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsedClaim {
    /// Name of the claim, or of the volume from whose template it is made.
    name: Box<str>,
    ephemeral: bool,
}

impl UsedClaim {
    /// The claim's name in a Pod of this name.
    pub fn name(&self, pod: &str) -> String {
        match self.ephemeral {
            true => format!("{pod}-{}", self.name),
            false => self.name.to_string(),
        }
    }

    /// Whether the claim is made from the Pod's own template.
    pub fn is_ephemeral(&self) -> bool {
        self.ephemeral
    }
}

/// Reads of a Pod's volumes only which claims they use.
pub(super) fn used_claims<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<[UsedClaim]>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct PodVolume {
        name: Box<str>,
        persistent_volume_claim: Option<Source>,
        ephemeral: Option<serde::de::IgnoredAny>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Source {
        claim_name: Box<str>,
    }
    let volumes = Option::<Vec<PodVolume>>::deserialize(deserializer)?.unwrap_or_default();
    let used = volumes
        .into_iter()
        .filter_map(|volume| match (volume.persistent_volume_claim, volume.ephemeral) {
            (Some(source), _) => Some(UsedClaim {
                name: source.claim_name,
                ephemeral: false,
            }),
            (None, Some(_)) => Some(UsedClaim {
                name: volume.name,
                ephemeral: true,
            }),
            (None, None) => None,
        });
    Ok(used.collect())
}
