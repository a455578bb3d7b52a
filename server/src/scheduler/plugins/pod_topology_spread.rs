//! PodTopologySpread: spreads the Pods of a group evenly over zones, nodes, or whatever a label names.
//!
//! How many Pods of the group are in each place is counted once per group and kept up to date
//! ([`counts::Places`]). Pods without constraints of their own that belong to a Service or an owner
//! are spread by the defaults, softly.

mod counts;

use std::sync::Arc;

use self::counts::Places;
use crate::projection::LabelSelector;
use crate::scheduler::affinity::SpreadConstraint;
use crate::scheduler::cluster::{Cluster, NodeInfo, PodChange};
use crate::scheduler::framework::{Cycle, Event, Filter, MAX_SCORE, NODE_REMOVED, NODES, POD_PLACED};
use crate::scheduler::framework::{POD_REMOVED, Plugin, Prepared, Rejection, Score, Scored, UPDATED};
use crate::scheduler::memo::{Counts as _, Memo, fingerprint};
use crate::scheduler::node::Node;
use crate::scheduler::pod::Pod;

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";
const MISMATCH: &str = "node(s) didn't match pod topology spread constraints";
const UNLABELED: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

/// The plugin as a profile configures it.
pub(super) struct PodTopologySpread {
    /// Constraints of Pods that have none; selectors come from what the Pod belongs to.
    defaults: Vec<SpreadConstraint>,
    /// Whether those are the built-in ones, which leave out no node for lack of a label.
    builtin: bool,
    memo: Memo<Places>,
}

impl PodTopologySpread {
    /// With these default constraints, or the built-in ones.
    pub(super) fn new(defaults: Option<Vec<SpreadConstraint>>) -> Self {
        let builtin = |(key, max_skew): (&str, i64)| SpreadConstraint {
            topology_key: key.into(),
            max_skew,
            min_domains: 1,
            hard: false,
            honor_affinity: true,
            honor_taints: false,
            selector: None,
        };
        Self {
            builtin: defaults.is_none(),
            defaults: defaults.unwrap_or_else(|| [(HOSTNAME, 3), (ZONE, 5)].map(builtin).into()),
            memo: Memo::default(),
        }
    }

    /// The Pod's hard or soft constraints, and whether nodes must have all their labels.
    fn constraints(&self, cycle: Cycle<'_>, hard: bool) -> (Vec<SpreadConstraint>, bool) {
        let of = |all: &[SpreadConstraint]| all.iter().filter(|c| c.hard == hard).cloned().collect();
        if !cycle.pod.spread.is_empty() {
            return (of(&cycle.pod.spread), true);
        }
        let mut constraints: Vec<SpreadConstraint> = of(&self.defaults);
        if constraints.is_empty() {
            return (constraints, false);
        }
        let Some(selector) = cycle.cluster.groups.selector(cycle.pod) else {
            return (Vec::new(), false);
        };
        for constraint in &mut constraints {
            constraint.selector = Some(selector.clone());
        }
        (constraints, hard || !self.builtin)
    }

    fn places(&self, cycle: Cycle<'_>, constraints: Vec<SpreadConstraint>, all_labels: bool) -> Arc<Places> {
        let pod = cycle.pod;
        let question = (
            (&pod.metadata.namespace, &constraints, all_labels),
            (&pod.node_selector, &pod.node_affinity, &pod.tolerations),
        );
        let question = fingerprint(&question);
        let count = || Places::count(cycle, constraints, all_labels);
        self.memo.get(cycle.cluster, question, count)
    }
}

#[derive(Clone)]
struct Hard {
    places: Arc<Places>,
    /// By constraint: whether the Pod counts for it.
    own: Vec<i64>,
}

impl<'a> Filter<'a> for Hard {
    fn check(&self, _cycle: Cycle<'a>, info: &NodeInfo) -> Result<(), Rejection> {
        for (constraint, own) in self.places.constraints.iter().zip(&self.own) {
            let Some(place) = constraint.topology.place(info.slot) else {
                return Err(Rejection::unresolvable(UNLABELED));
            };
            if constraint.counts[place] + own - constraint.least() > constraint.rule.max_skew {
                return Err(Rejection::new(MISMATCH));
            }
        }
        Ok(())
    }

    fn suppose(&mut self, cluster: &Cluster, change: &PodChange) {
        Arc::make_mut(&mut self.places).apply(cluster, change);
    }

    fn fork(&self) -> Box<dyn Filter<'a> + 'a> {
        Box::new(self.clone())
    }
}

struct Soft {
    places: Arc<Places>,
    /// By constraint: how much one Pod weighs.
    weights: Vec<f64>,
}

impl Score for Soft {
    fn score(&self, info: &NodeInfo) -> i64 {
        if self.places.leaves_out(info.slot) {
            return -1;
        }
        let mut score = 0.0;
        for (constraint, weight) in self.places.constraints.iter().zip(&self.weights) {
            if let Some(place) = constraint.topology.place(info.slot) {
                let slack = (constraint.rule.max_skew - 1) as f64;
                score += constraint.counts[place] as f64 * weight + slack;
            }
        }
        score.round() as i64
    }

    /// The fewer, the better; nodes that are left out get nothing.
    fn normalize(&self, _slots: &[usize], scores: &mut [i64]) {
        let counted = || scores.iter().copied().filter(|score| *score >= 0);
        let (least, most) = (counted().min().unwrap_or(0), counted().max().unwrap_or(0));
        for score in scores.iter_mut() {
            *score = match *score {
                ..0 => 0,
                _ if most == 0 => MAX_SCORE,
                score => MAX_SCORE * (most + least - score) / most,
            };
        }
    }
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        let (constraints, _) = self.constraints(cycle, true);
        if constraints.is_empty() {
            return Ok(Prepared::Skip);
        }
        let labels = &cycle.pod.metadata.labels;
        let counts = |selector: &Option<LabelSelector>| selector.as_ref().is_some_and(|s| s.matches(labels));
        let own = constraints.iter().map(|c| i64::from(counts(&c.selector))).collect();
        let places = self.places(cycle, constraints, true);
        Ok(Prepared::State(Box::new(Hard { places, own })))
    }

    fn prepare_scores<'a>(&'a self, cycle: Cycle<'a>, slots: &[usize]) -> Scored<'a> {
        let (constraints, all_labels) = self.constraints(cycle, false);
        if constraints.is_empty() {
            return Scored::Skip;
        }
        let places = self.places(cycle, constraints, all_labels);
        let counted: Vec<usize> = slots.iter().copied().filter(|slot| !places.leaves_out(*slot)).collect();
        let weight = |constraint: &counts::Constraint| {
            let size = match &*constraint.rule.topology_key {
                HOSTNAME => counted.len(),
                _ => constraint.topology.distinct(&counted),
            };
            (size as f64 + 2.0).ln()
        };
        let weights = places.constraints.iter().map(weight).collect();
        Scored::State(Box::new(Soft { places, weights }))
    }

    fn events(&self) -> u16 {
        NODES | NODE_REMOVED | POD_PLACED | POD_REMOVED | UPDATED
    }

    fn may_help(&self, pod: &Pod, event: &Event<'_>) -> bool {
        let rules = || pod.spread.iter().filter(|rule| rule.hard);
        let counts = |other: &Pod| {
            let counted = |s: &Option<LabelSelector>| s.as_ref().is_some_and(|s| s.matches(&other.metadata.labels));
            pod.metadata.namespace == other.metadata.namespace && rules().any(|rule| counted(&rule.selector))
        };
        let has_labels = |node: &Node| rules().all(|rule| node.metadata.labels.get(&rule.topology_key).is_some());
        match event {
            // Default constraints may be hard in a profile; what they select is not known here.
            _ if pod.spread.is_empty() => true,
            Event::PodPlaced(other) | Event::PodRemoved(other) => counts(other),
            Event::NodeAdded(node) | Event::NodeRemoved(node) => has_labels(node),
            Event::NodeChanged { old, new } => old.moves(new) && (has_labels(old) || has_labels(new)),
            _ => true,
        }
    }
}
