//! How many Pods of a group are in each place.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::scheduler::affinity::SpreadConstraint;
use crate::scheduler::cluster::{Cluster, PodChange, Topology};
use crate::scheduler::framework::Cycle;
use crate::scheduler::memo::Counts;
use crate::scheduler::node::Node;
use crate::scheduler::plugins::node_affinity;
use crate::scheduler::pod::Pod;

/// One constraint with its counts.
#[derive(Clone)]
pub(super) struct Constraint {
    pub(super) rule: SpreadConstraint,
    pub(super) topology: Arc<Topology>,
    /// Pods by place.
    pub(super) counts: Vec<i64>,
    /// By slot: whether Pods there count.
    eligible: Arc<[bool]>,
    /// By number of Pods: how many of the places with an eligible node have it.
    levels: BTreeMap<i64, usize>,
    /// By place: whether it has an eligible node, and how many have.
    open: Arc<[bool]>,
    places: i64,
}

impl Constraint {
    fn new(cycle: Cycle<'_>, rule: SpreadConstraint, eligible: impl Fn(&Node) -> bool) -> Self {
        let topology = cycle.cluster.topology(&rule.topology_key);
        let mut all = vec![false; cycle.cluster.slots()];
        let mut open = vec![false; topology.count];
        for &slot in cycle.cluster.order() {
            if let Some(place) = topology.place(slot)
                && eligible(cycle.cluster.info(slot).node())
            {
                (all[slot], open[place]) = (true, true);
            }
        }
        let places = open.iter().filter(|open| **open).count();
        Self {
            counts: vec![0; topology.count],
            levels: BTreeMap::from([(0, places)]),
            eligible: all.into(),
            open: open.into(),
            places: i64::try_from(places).unwrap_or(i64::MAX),
            topology,
            rule,
        }
    }

    fn counts(&self, pod: &Pod, slot: usize) -> bool {
        let selector = self.rule.selector.as_ref();
        self.eligible.get(slot) == Some(&true) && selector.is_some_and(|s| s.matches(&pod.metadata.labels))
    }

    fn add(&mut self, slot: usize, by: i64) {
        let Some(place) = self.topology.place(slot) else { return };
        let before = self.counts[place];
        self.counts[place] += by;
        if self.open[place] {
            if let Some(many) = self.levels.get_mut(&before) {
                *many -= 1;
                if *many == 0 {
                    self.levels.remove(&before);
                }
            }
            *self.levels.entry(before + by).or_default() += 1;
        }
    }

    /// Pods in the emptiest place.
    pub(super) fn least(&self) -> i64 {
        match self.places < self.rule.min_domains {
            true => 0,
            false => self.levels.first_key_value().map_or(0, |(least, _)| *least),
        }
    }
}

/// The counts of all constraints of a Pod.
#[derive(Clone)]
pub(super) struct Places {
    namespace: Box<str>,
    pub(super) constraints: Vec<Constraint>,
    /// By slot: whether the node lacks a label that it must have.
    left_out: Option<Arc<[bool]>>,
}

impl Places {
    /// Counts the Pods on all nodes; with `all_labels`, on those that have the labels of all constraints.
    pub(super) fn count(cycle: Cycle<'_>, rules: Vec<SpreadConstraint>, all_labels: bool) -> Self {
        let keys: Vec<_> = rules.iter().map(|rule| rule.topology_key.clone()).collect();
        let labeled = |node: &Node| keys.iter().all(|key| node.metadata.labels.get(key).is_some());
        let constraint = |rule: SpreadConstraint| {
            let (affinity, taints) = (rule.honor_affinity, rule.honor_taints);
            Constraint::new(cycle, rule, |node| {
                (!all_labels || labeled(node))
                    && (!affinity || node_affinity::fits(cycle.pod, node))
                    && (!taints || node.hard_taints().all(|taint| cycle.pod.tolerates(taint)))
            })
        };
        let left_out = |slot: usize| cycle.cluster.info(slot).node.as_ref().is_none_or(|node| !labeled(node));
        let mut places = Self {
            namespace: cycle.pod.metadata.namespace.clone(),
            left_out: all_labels.then(|| (0..cycle.cluster.slots()).map(left_out).collect()),
            constraints: rules.into_iter().map(constraint).collect(),
        };
        for (slot, pod) in cycle.cluster.pods() {
            places.add(slot, pod, 1);
        }
        places
    }

    /// Whether a node gets no score.
    pub(super) fn leaves_out(&self, slot: usize) -> bool {
        self.left_out.as_ref().is_some_and(|left_out| left_out[slot])
    }

    fn add(&mut self, slot: usize, pod: &Pod, by: i64) {
        if pod.metadata.namespace != self.namespace || pod.metadata.is_deleting() {
            return;
        }
        for constraint in &mut self.constraints {
            if constraint.counts(pod, slot) {
                constraint.add(slot, by);
            }
        }
    }
}

impl Counts for Places {
    fn apply(&mut self, _cluster: &Cluster, change: &PodChange) {
        self.add(change.slot, &change.pod, if change.added { 1 } else { -1 });
    }
}
