//! PodDisruptionBudget.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Condition, IntOrPercent};
use crate::projection::{LabelSelector, Meta, projection};

/// A PodDisruptionBudget.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodDisruptionBudget {
    /// Metadata.
    pub metadata: Meta,
    /// Spec.
    pub spec: BudgetSpec,
    /// Status.
    pub status: BudgetStatus,
}
projection!(PodDisruptionBudget, "policy", "v1", "poddisruptionbudgets");

/// Spec of a budget.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetSpec {
    /// How many must stay.
    pub min_available: Option<IntOrPercent>,
    /// How many may be missing.
    pub max_unavailable: Option<IntOrPercent>,
    /// Which Pods; none when absent, all of the namespace when empty.
    pub selector: Option<LabelSelector>,
}

/// Status of a budget.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetStatus {
    /// Generation that this status is about.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub observed_generation: i64,
    /// Pods whose eviction was granted and has not been seen.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub disrupted_pods: BTreeMap<Box<str>, Timestamp>,
    /// How many may be evicted now.
    pub disruptions_allowed: i64,
    /// How many are healthy.
    pub current_healthy: i64,
    /// How many must be.
    pub desired_healthy: i64,
    /// How many there should be.
    pub expected_pods: i64,
    /// Conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<BudgetCondition>,
}

/// A condition of a budget.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetCondition {
    /// As any condition.
    #[serde(flatten)]
    pub condition: Condition,
    /// Generation that this is about.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub observed_generation: i64,
}
