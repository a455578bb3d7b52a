//! InterPodAffinity: Pods that must or would rather run near others, or away from them. Both sides
//! have a say: what a running Pod keeps away may not come, and whom it likes is drawn to it.
//!
//! Filtering and scoring count by place; the counts are kept per kind of Pod and follow what comes and
//! goes ([`counts`]).

mod counts;

use std::sync::Arc;

use self::counts::{Question, Required, Wished};
use crate::scheduler::affinity::{PodAffinities, Term};
use crate::scheduler::cluster::{Cluster, NodeInfo, PodChange};
use crate::scheduler::framework::{Cycle, Event, Filter, MAX_SCORE, NAMESPACE_CHANGED, NODES, POD_PLACED};
use crate::scheduler::framework::{POD_REMOVED, Plugin, Prepared, Rejection, Score, Scored, UPDATED};
use crate::scheduler::memo::{Counts as _, Memo, fingerprint};
use crate::scheduler::pod::Pod;

const AFFINITY: &str = "node(s) didn't match pod affinity rules";
const ANTI_AFFINITY: &str = "node(s) didn't match pod anti-affinity rules";
const OTHERS: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

/// The plugin as a profile configures it.
pub(super) struct InterPodAffinity {
    /// How much the required affinity of a running Pod draws others to it.
    hard_weight: i64,
    /// Whether Pods that prefer nothing themselves are left alone.
    ignore_preferred_of_others: bool,
    required: Memo<Required>,
    wished: Memo<Wished>,
}

impl InterPodAffinity {
    pub(super) fn new(hard_weight: i64, ignore_preferred_of_others: bool) -> Self {
        Self {
            hard_weight,
            ignore_preferred_of_others,
            required: Memo::default(),
            wished: Memo::default(),
        }
    }
}

fn question<'a>(pod: &'a Pod) -> impl std::hash::Hash + 'a {
    (&pod.metadata.namespace, &pod.metadata.labels, &pod.affinities)
}

#[derive(Clone)]
struct Near {
    counts: Arc<Required>,
    /// Whether the Pod is one of those that it wants to be near.
    among_them: bool,
}

impl Near {
    /// Whether all that the Pod requires is near. The first of a group that wants itself near is let in.
    fn all_near(&self, slot: usize) -> bool {
        let mut found = true;
        for place in &self.counts.near {
            match place.at(slot) {
                None => return false,
                Some(count) => found &= count > 0,
            }
        }
        found || (self.counts.found == 0 && self.among_them)
    }
}

impl<'a> Filter<'a> for Near {
    fn check(&self, _cycle: Cycle<'a>, info: &NodeInfo) -> Result<(), Rejection> {
        let any = |counts: &[counts::Places]| counts.iter().any(|p| p.at(info.slot).is_some_and(|n| n > 0));
        if !self.all_near(info.slot) {
            return Err(Rejection::unresolvable(AFFINITY));
        }
        if any(&self.counts.far) {
            return Err(Rejection::new(ANTI_AFFINITY));
        }
        match any(&self.counts.kept_away) {
            true => Err(Rejection::new(OTHERS)),
            false => Ok(()),
        }
    }

    fn suppose(&mut self, cluster: &Cluster, change: &PodChange) {
        Arc::make_mut(&mut self.counts).apply(cluster, change);
    }

    fn fork(&self) -> Box<dyn Filter<'a> + 'a> {
        Box::new(self.clone())
    }
}

struct Wishes(Arc<Wished>);

impl Score for Wishes {
    fn score(&self, info: &NodeInfo) -> i64 {
        self.0.places.iter().filter_map(|place| place.at(info.slot)).sum()
    }

    fn normalize(&self, _slots: &[usize], scores: &mut [i64]) {
        let least = scores.iter().min().copied().unwrap_or(0);
        let most = scores.iter().max().copied().unwrap_or(0);
        for score in scores {
            *score = match most > least {
                true => (MAX_SCORE as f64 * ((*score - least) as f64 / (most - least) as f64)) as i64,
                false => 0,
            };
        }
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        let own = cycle.pod.affinities.as_deref();
        let wants = own.is_some_and(|own| !own.near.is_empty() || !own.far.is_empty());
        let (_, others_keep_away) = cycle.cluster.has_affinity();
        if !wants && !others_keep_away {
            return Ok(Prepared::Skip);
        }
        let count = || Required::count(cycle.cluster, Question::of(cycle));
        let counts = self
            .required
            .get(cycle.cluster, fingerprint(&question(cycle.pod)), count);
        if !wants && !counts.keeps_away() {
            return Ok(Prepared::Skip);
        }
        let namespace = cycle.cluster.namespace(&cycle.pod.metadata.namespace);
        let among_them = own.is_some_and(|own| own.near.iter().all(|term| term.matches(cycle.pod, namespace)));
        Ok(Prepared::State(Box::new(Near { counts, among_them })))
    }

    fn prepare_scores<'a>(&'a self, cycle: Cycle<'a>, _slots: &[usize]) -> Scored<'a> {
        let own = cycle.pod.affinities.as_deref();
        let wishes = own.is_some_and(|own| !own.rather_near.is_empty() || !own.rather_far.is_empty());
        let (others, _) = cycle.cluster.has_affinity();
        if !wishes && (self.ignore_preferred_of_others || !others) {
            return Scored::Skip;
        }
        let count = || Wished::count(cycle.cluster, Question::of(cycle), self.hard_weight);
        let wished = self.wished.get(cycle.cluster, fingerprint(&question(cycle.pod)), count);
        match wished.is_indifferent() {
            true => Scored::Skip,
            false => Scored::State(Box::new(Wishes(wished))),
        }
    }

    fn events(&self) -> u16 {
        NODES | POD_PLACED | POD_REMOVED | NAMESPACE_CHANGED | UPDATED
    }

    fn may_help(&self, pod: &Pod, event: &Event<'_>) -> bool {
        // Which namespaces are meant is not known here: any is assumed to be.
        let own = pod.affinities.as_deref();
        let named = |terms: fn(&PodAffinities) -> &[Term], of: Option<&PodAffinities>, other: &Pod| {
            of.is_some_and(|of| terms(of).iter().any(|term| term.selects_labels(other)))
        };
        match event {
            Event::PodPlaced(other) => named(|a| &a.near, own, other),
            Event::PodRemoved(other) => {
                named(|a| &a.far, own, other) || named(|a| &a.far, other.affinities.as_deref(), pod)
            }
            Event::NodeChanged { old, new } => old.metadata.labels != new.metadata.labels,
            _ => true,
        }
    }
}
