//! What tells which Pods belong together: Services, owners, budgets, namespaces.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::cluster::table::Table;
use super::pod::Pod;
use crate::projection::{LabelSelector, Labels, Meta, projection};

/// A Service: the Pods it selects.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Metadata.
    pub metadata: Meta,
    spec: EqualityForm,
}
projection!(Service, "", "v1", "services");

/// A ReplicationController: the Pods it selects.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReplicationController {
    /// Metadata.
    pub metadata: Meta,
    spec: EqualityForm,
}
projection!(ReplicationController, "", "v1", "replicationcontrollers");

/// A ReplicaSet: the Pods it selects.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReplicaSet {
    /// Metadata.
    pub metadata: Meta,
    spec: SelectorForm,
}
projection!(ReplicaSet, "apps", "v1", "replicasets");

/// A StatefulSet: the Pods it selects.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StatefulSet {
    /// Metadata.
    pub metadata: Meta,
    spec: SelectorForm,
}
projection!(StatefulSet, "apps", "v1", "statefulsets");

/// A namespace: its labels.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// Metadata.
    pub metadata: Meta,
}
projection!(Namespace, "", "v1", "namespaces");

/// A PodDisruptionBudget: how many of its Pods may still go.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// Metadata.
    pub metadata: Meta,
    spec: SelectorForm,
    status: BudgetStatus,
}
projection!(Budget, "policy", "v1", "poddisruptionbudgets");

impl Budget {
    /// How many Pods may go.
    pub fn allowed(&self) -> i64 {
        self.status.disruptions_allowed
    }

    /// Whether the budget counts a Pod that has not been let go yet.
    pub fn counts(&self, pod: &Pod) -> bool {
        let selector = self.spec.selector.as_ref();
        !self.status.disrupted_pods.contains_key(&pod.metadata.name)
            && selector.is_some_and(|s| !s.is_empty() && s.matches(&pod.metadata.labels))
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct EqualityForm {
    selector: Labels,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct SelectorForm {
    selector: Option<LabelSelector>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BudgetStatus {
    disruptions_allowed: i64,
    disrupted_pods: BTreeMap<Box<str>, IgnoredAny>,
}

/// What selects Pods.
#[derive(Debug, Default)]
pub struct Groups {
    /// Services.
    pub services: Table<Service>,
    /// ReplicationControllers.
    pub controllers: Table<ReplicationController>,
    /// ReplicaSets.
    pub replica_sets: Table<ReplicaSet>,
    /// StatefulSets.
    pub stateful_sets: Table<StatefulSet>,
}

impl Groups {
    /// What selects the Pods that serve together with this one: its Services and its owner. `None` when
    /// it belongs to nothing.
    pub fn selector(&self, pod: &Pod) -> Option<LabelSelector> {
        let meta = &pod.metadata;
        let mut equal: BTreeMap<&str, &str> = BTreeMap::new();
        for service in self.services.within(&meta.namespace) {
            let wanted = &service.spec.selector;
            let mut pairs = wanted.iter();
            if wanted.iter().next().is_some() && pairs.all(|(k, v)| meta.labels.get(k) == Some(v)) {
                equal.extend(wanted.iter());
            }
        }
        let owner = meta.controller();
        let named = |kind: &str, group: &str| {
            owner
                .filter(|owner| &*owner.kind == kind && owner.api_version.starts_with(group))
                .map(|owner| &*owner.name)
        };
        if let Some(owner) = named("ReplicationController", "v1")
            && let Some(found) = self.controllers.get(&meta.namespace, owner)
        {
            equal.extend(found.spec.selector.iter());
        }
        let selector = LabelSelector::equalities(equal.into_iter().collect());
        let set: Option<&LabelSelector> = match (named("ReplicaSet", "apps/"), named("StatefulSet", "apps/")) {
            (Some(name), _) => selected(&self.replica_sets, &meta.namespace, name, |set| &set.spec),
            (_, Some(name)) => selected(&self.stateful_sets, &meta.namespace, name, |set| &set.spec),
            _ => None,
        };
        let selector = match set {
            Some(set) => selector.and_all(set),
            None => selector,
        };
        (!selector.is_empty()).then_some(selector)
    }
}

fn selected<'a, T: mizzen_api::client::reflector::Projection>(
    table: &'a Table<T>,
    namespace: &str,
    name: &str,
    spec: fn(&'a T) -> &'a SelectorForm,
) -> Option<&'a LabelSelector> {
    let found: &'a Arc<T> = table.get(namespace, name)?;
    spec(found).selector.as_ref()
}
