//! StatefulSet, DaemonSet, and the ControllerRevisions that both keep.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Condition, IntOrPercent, is_zero};
use crate::projection::{LabelSelector, Meta, projection};

/// A ControllerRevision.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ControllerRevision {
    /// Metadata.
    pub metadata: Meta,
    /// Its place in the history.
    pub revision: i64,
    /// A patch that brings its owner back to it.
    pub data: Option<Box<RawValue>>,
}
projection!(ControllerRevision, "apps", "v1", "controllerrevisions");

/// A StatefulSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StatefulSet {
    /// Metadata.
    pub metadata: Meta,
    /// Spec.
    pub spec: StatefulSetSpec,
    /// Status.
    pub status: StatefulSetStatus,
}
projection!(StatefulSet, "apps", "v1", "statefulsets");

/// Spec of a StatefulSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatefulSetSpec {
    /// Wanted replicas; one when absent.
    pub replicas: Option<i64>,
    /// The headless Service that gives Pods their names.
    pub service_name: Box<str>,
    /// Which Pods are its own.
    pub selector: LabelSelector,
    /// What Pods are made from, as it was written.
    pub template: Option<Box<RawValue>>,
    /// What claims are made from, as they were written.
    pub volume_claim_templates: Option<Box<RawValue>>,
    /// `OrderedReady` or `Parallel`.
    pub pod_management_policy: Box<str>,
    /// How Pods are replaced.
    pub update_strategy: UpdateStrategy,
    /// How many old revisions are kept; 10 when absent.
    pub revision_history_limit: Option<i64>,
    /// How long a Pod must be ready to count as available.
    pub min_ready_seconds: i64,
    /// What becomes of claims.
    pub persistent_volume_claim_retention_policy: RetentionPolicy,
    /// How Pods are numbered.
    pub ordinals: Ordinals,
}

/// How Pods are replaced.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateStrategy {
    /// `RollingUpdate` or `OnDelete`.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// Bounds of a rolling update.
    pub rolling_update: UpdateBounds,
}

/// Bounds of a rolling update.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateBounds {
    /// Ordinals below this one are left as they are.
    pub partition: i64,
    /// How many Pods may be unavailable.
    pub max_unavailable: Option<IntOrPercent>,
    /// How many nodes may have a second Pod meanwhile.
    pub max_surge: Option<IntOrPercent>,
}

/// What becomes of a StatefulSet's claims: `Retain` (also when empty) or `Delete`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetentionPolicy {
    /// When the set is deleted.
    pub when_deleted: Box<str>,
    /// When their Pod is scaled away.
    pub when_scaled: Box<str>,
}

/// How Pods are numbered.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ordinals {
    /// The first number.
    pub start: i64,
}

/// Status of a StatefulSet.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct StatefulSetStatus {
    /// Generation that this status is about.
    #[serde(skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// Pods.
    pub replicas: i64,
    /// Ready Pods.
    #[serde(skip_serializing_if = "is_zero")]
    pub ready_replicas: i64,
    /// Pods of the revision that is being left.
    #[serde(skip_serializing_if = "is_zero")]
    pub current_replicas: i64,
    /// Pods of the newest revision.
    #[serde(skip_serializing_if = "is_zero")]
    pub updated_replicas: i64,
    /// Available Pods.
    pub available_replicas: i64,
    /// The revision that is being left.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub current_revision: Box<str>,
    /// The newest revision.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub update_revision: Box<str>,
    /// How often the hash of a template met a foreign revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i64>,
    /// Conditions, which are others'.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl StatefulSet {
    /// Wanted replicas.
    pub fn replicas(&self) -> i64 {
        self.spec.replicas.unwrap_or(1)
    }
}

/// A DaemonSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DaemonSet {
    /// Metadata.
    pub metadata: Meta<DaemonSetAnnotations>,
    /// Spec.
    pub spec: DaemonSetSpec,
    /// Status.
    pub status: DaemonSetStatus,
}
projection!(DaemonSet, "apps", "v1", "daemonsets");

/// The one annotation of DaemonSets that is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DaemonSetAnnotations {
    /// How often the template was changed, which Pods carry as a label.
    #[serde(rename = "deprecated.daemonset.template.generation")]
    pub template_generation: Option<Box<str>>,
}

/// Spec of a DaemonSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonSetSpec {
    /// Which Pods are its own.
    pub selector: LabelSelector,
    /// What Pods are made from, as it was written.
    pub template: Option<Box<RawValue>>,
    /// How Pods are replaced.
    pub update_strategy: UpdateStrategy,
    /// How long a Pod must be ready to count as available.
    pub min_ready_seconds: i64,
    /// How many old revisions are kept; 10 when absent.
    pub revision_history_limit: Option<i64>,
}

/// Status of a DaemonSet.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonSetStatus {
    /// Nodes that should have a Pod and have one.
    pub current_number_scheduled: i64,
    /// Nodes that have a Pod and should not.
    pub number_misscheduled: i64,
    /// Nodes that should have a Pod.
    pub desired_number_scheduled: i64,
    /// Those whose Pod is ready.
    pub number_ready: i64,
    /// Generation that this status is about.
    #[serde(skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// Those whose Pod is of the newest template.
    #[serde(skip_serializing_if = "is_zero")]
    pub updated_number_scheduled: i64,
    /// Those whose Pod is available.
    #[serde(skip_serializing_if = "is_zero")]
    pub number_available: i64,
    /// Those without an available Pod.
    #[serde(skip_serializing_if = "is_zero")]
    pub number_unavailable: i64,
    /// How often the hash of a template met a foreign revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i64>,
    /// Conditions, which are others'.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
