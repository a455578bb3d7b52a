//! Counts by place: who is near, who keeps away, who is liked.

use std::sync::Arc;

use crate::projection::Labels;
use crate::scheduler::affinity::{PodAffinities, Term};
use crate::scheduler::cluster::{Cluster, PodChange, Topology};
use crate::scheduler::framework::Cycle;
use crate::scheduler::memo::Counts;
use crate::scheduler::pod::Pod;

/// What the counts are made for: all Pods like this one.
#[derive(Clone)]
pub(super) struct Question {
    /// As [`Pod`] for what terms of others look at, and for its own terms.
    pod: Arc<Pod>,
    namespace: Labels,
}

impl Question {
    pub(super) fn of(cycle: Cycle<'_>) -> Self {
        Self {
            pod: Arc::new(Pod {
                metadata: cycle.pod.metadata.clone(),
                affinities: cycle.pod.affinities.clone(),
                ..Pod::default()
            }),
            namespace: cycle.cluster.namespace(&cycle.pod.metadata.namespace).clone(),
        }
    }

    /// Whether a term of another Pod means this one.
    fn is_meant(&self, term: &Term) -> bool {
        term.matches(&self.pod, &self.namespace)
    }

    fn own(&self) -> Option<&PodAffinities> {
        self.pod.affinities.as_deref()
    }
}

/// A number per place.
#[derive(Clone)]
pub(super) struct Places {
    key: Box<str>,
    topology: Arc<Topology>,
    numbers: Vec<i64>,
}

impl Places {
    fn new(cluster: &Cluster, key: &str) -> Self {
        let topology = cluster.topology(key);
        Self {
            key: key.into(),
            numbers: vec![0; topology.count],
            topology,
        }
    }

    /// The number of the place of a node, unless it lacks the label.
    pub(super) fn at(&self, slot: usize) -> Option<i64> {
        self.topology.place(slot).map(|place| self.numbers[place])
    }

    /// Returns whether the node is in a place.
    fn add(&mut self, slot: usize, by: i64) -> bool {
        let place = self.topology.place(slot);
        if let Some(place) = place {
            self.numbers[place] += by;
        }
        place.is_some()
    }
}

/// The numbers for a label, which may be new.
fn for_key<'a>(all: &'a mut Vec<Places>, cluster: &Cluster, key: &str) -> &'a mut Places {
    let at = all.iter().position(|places| *places.key == *key).unwrap_or_else(|| {
        all.push(Places::new(cluster, key));
        all.len() - 1
    });
    &mut all[at]
}

/// What decides where Pods like this one can be.
#[derive(Clone)]
pub(super) struct Required {
    question: Question,
    /// By required term: how many Pods that meet all terms there are.
    pub(super) near: Vec<Places>,
    /// How many pairs of such a Pod and a term of which it is in a place there are.
    pub(super) found: i64,
    /// By term of anti-affinity: how many Pods meet it.
    pub(super) far: Vec<Places>,
    /// By label: how many terms of Pods there keep this one away.
    pub(super) kept_away: Vec<Places>,
}

impl Required {
    pub(super) fn count(cluster: &Cluster, question: Question) -> Self {
        let places = |terms: &[Term]| {
            terms
                .iter()
                .map(|term| Places::new(cluster, &term.topology_key))
                .collect()
        };
        let own = question.own();
        let mut required = Self {
            near: own.map_or_else(Vec::new, |own| places(&own.near)),
            found: 0,
            far: own.map_or_else(Vec::new, |own| places(&own.far)),
            kept_away: Vec::new(),
            question,
        };
        match required.near.is_empty() && required.far.is_empty() {
            true => cluster
                .pods_with_affinity()
                .for_each(|(slot, pod)| required.add(cluster, slot, pod, 1)),
            false => cluster
                .pods()
                .for_each(|(slot, pod)| required.add(cluster, slot, pod, 1)),
        }
        required
    }

    /// Whether any running Pod keeps this one away from somewhere.
    pub(super) fn keeps_away(&self) -> bool {
        self.kept_away
            .iter()
            .any(|places| places.numbers.iter().any(|n| *n > 0))
    }

    fn add(&mut self, cluster: &Cluster, slot: usize, pod: &Pod, by: i64) {
        if let Some(own) = self.question.own() {
            let namespace = cluster.namespace(&pod.metadata.namespace);
            if !own.near.is_empty() && own.near.iter().all(|term| term.matches(pod, namespace)) {
                for places in &mut self.near {
                    self.found += if places.add(slot, by) { by } else { 0 };
                }
            }
            for (term, places) in own.far.iter().zip(&mut self.far) {
                if term.matches(pod, namespace) {
                    places.add(slot, by);
                }
            }
        }
        for term in pod.affinities.iter().flat_map(|theirs| &theirs.far) {
            if self.question.is_meant(term) {
                for_key(&mut self.kept_away, cluster, &term.topology_key).add(slot, by);
            }
        }
    }
}

impl Counts for Required {
    fn apply(&mut self, cluster: &Cluster, change: &PodChange) {
        self.add(cluster, change.slot, &change.pod, if change.added { 1 } else { -1 });
    }
}

/// How much Pods like this one and those that run would like to be near each other.
#[derive(Clone)]
pub(super) struct Wished {
    question: Question,
    hard_weight: i64,
    /// By label: the sum of weights.
    pub(super) places: Vec<Places>,
}

impl Wished {
    pub(super) fn count(cluster: &Cluster, question: Question, hard_weight: i64) -> Self {
        let own = question.own();
        let wishes = own.is_some_and(|own| !own.rather_near.is_empty() || !own.rather_far.is_empty());
        let mut wished = Self {
            question,
            hard_weight,
            places: Vec::new(),
        };
        match wishes {
            true => cluster.pods().for_each(|(slot, pod)| wished.add(cluster, slot, pod, 1)),
            false => cluster
                .pods_with_affinity()
                .for_each(|(slot, pod)| wished.add(cluster, slot, pod, 1)),
        }
        wished
    }

    /// Whether no place is liked or disliked.
    pub(super) fn is_indifferent(&self) -> bool {
        self.places.iter().all(|places| places.numbers.iter().all(|n| *n == 0))
    }

    fn add(&mut self, cluster: &Cluster, slot: usize, pod: &Pod, by: i64) {
        let (question, places) = (&self.question, &mut self.places);
        let mut add = |term: &Term, weight: i64| {
            for_key(places, cluster, &term.topology_key).add(slot, weight * by);
        };
        if let Some(own) = question.own() {
            let namespace = cluster.namespace(&pod.metadata.namespace);
            let meant = |terms: &'_ (i64, Term)| terms.1.matches(pod, namespace);
            own.rather_near
                .iter()
                .filter(|t| meant(t))
                .for_each(|(weight, term)| add(term, *weight));
            own.rather_far
                .iter()
                .filter(|t| meant(t))
                .for_each(|(weight, term)| add(term, -weight));
        }
        let Some(theirs) = &pod.affinities else { return };
        if self.hard_weight > 0 {
            let near = theirs.near.iter().filter(|term| question.is_meant(term));
            near.for_each(|term| add(term, self.hard_weight));
        }
        let near = theirs.rather_near.iter().filter(|(_, term)| question.is_meant(term));
        near.for_each(|(weight, term)| add(term, *weight));
        let far = theirs.rather_far.iter().filter(|(_, term)| question.is_meant(term));
        far.for_each(|(weight, term)| add(term, -weight));
    }
}

impl Counts for Wished {
    fn apply(&mut self, cluster: &Cluster, change: &PodChange) {
        self.add(cluster, change.slot, &change.pod, if change.added { 1 } else { -1 });
    }
}
