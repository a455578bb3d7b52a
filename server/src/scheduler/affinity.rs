//! What a Pod says about being near other Pods, and about being spread among them.
//!
//! Keys taken from the Pod's own labels (`matchLabelKeys`, `mismatchLabelKeys`) are conditions of the
//! selector already.

use serde::Deserialize;

use super::pod::Pod;
use crate::projection::{LabelSelector, Labels, Meta, Requirement};

/// A group of Pods, and the kind of place that they share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    /// Node label whose values are the places.
    pub topology_key: Box<str>,
    /// Namespaces of the Pods.
    namespaces: Box<[Box<str>]>,
    /// Further namespaces, by their labels.
    namespace_selector: Option<LabelSelector>,
    /// Their labels; nothing without a selector.
    selector: Option<LabelSelector>,
}

impl Term {
    /// Whether a Pod is of the group; `namespace` holds the labels of its namespace.
    pub fn matches(&self, pod: &Pod, namespace: &Labels) -> bool {
        let named = self.namespaces.contains(&pod.metadata.namespace);
        (named || self.namespace_selector.as_ref().is_some_and(|s| s.matches(namespace))) && self.selects_labels(pod)
    }

    /// Whether a Pod has the labels of the group, whatever its namespace.
    pub fn selects_labels(&self, pod: &Pod) -> bool {
        self.selector.as_ref().is_some_and(|s| s.matches(&pod.metadata.labels))
    }
}

/// What a Pod requires or prefers about other Pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PodAffinities {
    /// It must share places with all of these.
    pub near: Box<[Term]>,
    /// It likes to share places with these.
    pub rather_near: Box<[(i64, Term)]>,
    /// It must not share a place with any of these.
    pub far: Box<[Term]>,
    /// It would rather not share places with these.
    pub rather_far: Box<[(i64, Term)]>,
}

impl PodAffinities {
    /// The affinities of a Pod with this metadata; `None` if it has none.
    pub(super) fn new<A>(meta: &Meta<A>, near: PodAffinityForm, far: PodAffinityForm) -> Option<Box<Self>> {
        let terms = |forms: Vec<TermForm>| forms.into_iter().map(|form| form.term(meta)).collect();
        let weighted = |forms: Vec<WeightedForm>| {
            let each = forms.into_iter();
            each.map(|form| (form.weight, form.pod_affinity_term.term(meta)))
                .collect()
        };
        let affinities = Self {
            near: terms(near.required),
            rather_near: weighted(near.preferred),
            far: terms(far.required),
            rather_far: weighted(far.preferred),
        };
        (affinities != Self::default()).then(|| Box::new(affinities))
    }
}

/// How Pods are to be spread over places.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpreadConstraint {
    /// Node label whose values are the places.
    pub topology_key: Box<str>,
    /// How many more Pods than the emptiest a place may have.
    pub max_skew: i64,
    /// Below this many places, the emptiest counts as having none.
    pub min_domains: i64,
    /// Whether the Pod rather waits than break it.
    pub hard: bool,
    /// Whether nodes that the Pod's node affinity excludes are left out.
    pub honor_affinity: bool,
    /// Whether nodes whose taints the Pod does not bear are left out.
    pub honor_taints: bool,
    /// Pods that count; none without a selector.
    pub selector: Option<LabelSelector>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PodAffinityForm {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    required: Vec<TermForm>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    preferred: Vec<WeightedForm>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WeightedForm {
    weight: i64,
    pod_affinity_term: TermForm,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TermForm {
    topology_key: Box<str>,
    namespaces: Box<[Box<str>]>,
    namespace_selector: Option<LabelSelector>,
    label_selector: Option<LabelSelector>,
    match_label_keys: Vec<Box<str>>,
    mismatch_label_keys: Vec<Box<str>>,
}

impl TermForm {
    fn term<A>(self, meta: &Meta<A>) -> Term {
        let own = self.namespaces.is_empty() && self.namespace_selector.is_none();
        let with = own_values(&self.match_label_keys, "In", meta);
        let without = own_values(&self.mismatch_label_keys, "NotIn", meta);
        Term {
            topology_key: self.topology_key,
            namespaces: match own {
                true => [meta.namespace.clone()].into(),
                false => self.namespaces,
            },
            namespace_selector: self.namespace_selector,
            selector: self.label_selector.map(|s| s.and(with).and(without)),
        }
    }
}

/// Conditions that compare keys with the Pod's own values of them.
fn own_values<A>(keys: &[Box<str>], operator: &str, meta: &Meta<A>) -> Vec<Requirement> {
    let condition = |key: &str| {
        let value = meta.labels.get(key)?;
        Some(Requirement {
            key: key.into(),
            operator: operator.into(),
            values: [value.into()].into(),
        })
    };
    keys.iter().filter_map(|key| condition(key)).collect()
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SpreadForm {
    topology_key: Box<str>,
    max_skew: i64,
    min_domains: Option<i64>,
    when_unsatisfiable: Box<str>,
    node_affinity_policy: Option<Box<str>>,
    node_taints_policy: Option<Box<str>>,
    label_selector: Option<LabelSelector>,
    match_label_keys: Vec<Box<str>>,
}

impl SpreadForm {
    /// The constraints of a Pod with this metadata.
    pub(super) fn all<A>(forms: Vec<Self>, meta: &Meta<A>) -> Box<[SpreadConstraint]> {
        let each = forms.into_iter();
        each.map(|form| form.constraint(meta)).collect()
    }

    fn constraint<A>(self, meta: &Meta<A>) -> SpreadConstraint {
        let with = own_values(&self.match_label_keys, "In", meta);
        SpreadConstraint {
            topology_key: self.topology_key,
            max_skew: self.max_skew,
            min_domains: self.min_domains.unwrap_or(1),
            hard: &*self.when_unsatisfiable != "ScheduleAnyway",
            honor_affinity: self.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: self.node_taints_policy.as_deref() == Some("Honor"),
            selector: self.label_selector.map(|s| s.and(with)),
        }
    }
}
