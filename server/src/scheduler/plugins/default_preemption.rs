//! DefaultPreemption: makes room for a Pod by sending less important ones away.
//!
//! For every node where that could help it supposes all less important Pods gone and, if the Pod then
//! fits, spares as many of them as it can, those first whose budget allows no disruption. Among the
//! nodes that remain it takes the one where the least is lost.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::scheduler::cluster::Cluster;
use crate::scheduler::framework::cycle::Attempt;
use crate::scheduler::framework::failure::{Failure, Nomination, verdict};
use crate::scheduler::framework::{After, Plugin, Rejection};
use crate::scheduler::pod::Pod;

/// At least this share of nodes, and this many, are tried before the best is taken (upstream's).
const LEAST_PERCENT: usize = 10;
const LEAST_NODES: usize = 100;
const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

pub(super) struct DefaultPreemption {
    pub(super) least_percent: usize,
    pub(super) least_nodes: usize,
}

impl Default for DefaultPreemption {
    fn default() -> Self {
        Self {
            least_percent: LEAST_PERCENT,
            least_nodes: LEAST_NODES,
        }
    }
}

/// A node on which the Pod would fit without these.
struct Candidate {
    slot: usize,
    victims: Vec<Arc<Pod>>,
    /// How many of them go though their budget does not allow it.
    violations: usize,
}

impl Candidate {
    /// The candidate whose key is least loses least.
    fn loss(&self) -> (usize, i32, i64, usize, Reverse<Option<Timestamp>>) {
        let highest = self.victims.iter().map(|pod| pod.priority).max().unwrap_or(i32::MIN);
        // Each victim counts for more than nothing, whatever its priority.
        let each = |pod: &Arc<Pod>| i64::from(pod.priority) + i64::from(i32::MAX) + 1;
        let sum: i64 = self.victims.iter().map(each).sum();
        let important = self.victims.iter().filter(|pod| pod.priority == highest);
        let earliest = important.map(|pod| started(pod)).min();
        (self.violations, highest, sum, self.victims.len(), Reverse(earliest))
    }
}

/// When a Pod started; one that has not yet, later than any.
fn started(pod: &Pod) -> Timestamp {
    pod.start_time.unwrap_or(Timestamp::MAX)
}

/// Most important first.
fn by_importance(pods: &mut [Arc<Pod>]) {
    pods.sort_by_key(|pod| (Reverse(pod.priority), started(pod)));
}

/// Splits Pods into those whose budgets do not allow them to go, and others.
fn by_budgets(cluster: &Cluster, pods: Vec<Arc<Pod>>) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>) {
    let mut left: HashMap<(Box<str>, Box<str>), i64> = HashMap::new();
    pods.into_iter().partition(|pod| {
        let mut violates = false;
        for budget in cluster
            .budgets
            .within(&pod.metadata.namespace)
            .filter(|b| b.counts(pod))
        {
            let name = (budget.metadata.namespace.clone(), budget.metadata.name.clone());
            let left = left.entry(name).or_insert_with(|| budget.allowed());
            *left -= 1;
            violates |= *left < 0;
        }
        violates
    })
}

/// Whom a node would lose for the Pod.
fn victims(attempt: &Attempt<'_>, slot: usize) -> Result<Candidate, Rejection> {
    let (cluster, pod) = (attempt.cycle.cluster, attempt.cycle.pod);
    let running = cluster.info(slot).pods.iter();
    let mut lesser: Vec<_> = running.filter(|p| p.priority < pod.priority).cloned().collect();
    if lesser.is_empty() {
        return Err(Rejection::unresolvable(NO_VICTIMS));
    }
    let (mut supposed, mut info) = (attempt.fork(), cluster.info(slot).clone());
    lesser.iter().for_each(|victim| supposed.remove(&mut info, victim));
    supposed.check_expecting(&info).map_err(|(_, rejection)| rejection)?;
    by_importance(&mut lesser);
    let (violating, allowed) = by_budgets(cluster, lesser);
    let mut spare = |pods: Vec<Arc<Pod>>| -> Vec<Arc<Pod>> {
        let gone = pods.into_iter().filter(|pod| {
            supposed.add(&mut info, pod);
            let fits = supposed.check_expecting(&info).is_ok();
            if !fits {
                supposed.remove(&mut info, pod);
            }
            !fits
        });
        gone.collect()
    };
    let mut gone = spare(violating);
    let violations = gone.len();
    gone.extend(spare(allowed));
    Ok(Candidate {
        slot,
        victims: gone,
        violations,
    })
}

/// Slots of the nodes where others leaving may help.
fn worth_trying(attempt: &Attempt<'_>, failure: &Failure) -> Vec<usize> {
    let seen = failure
        .verdicts
        .iter()
        .filter(|verdict| !verdict.rejection.unresolvable);
    let mut slots: Vec<_> = seen.map(|verdict| verdict.slot).collect();
    if failure.others.as_ref().is_some_and(|rejection| !rejection.unresolvable) {
        let known: std::collections::HashSet<_> = failure.verdicts.iter().map(|verdict| verdict.slot).collect();
        let all = attempt.cycle.cluster.order().iter();
        slots.extend(all.filter(|slot| !known.contains(slot)));
    }
    slots
}

/// Whether somebody leaves for the Pod already, where it was nominated.
fn is_being_helped(attempt: &Attempt<'_>, failure: &Failure) -> bool {
    let (cluster, pod) = (attempt.cycle.cluster, attempt.cycle.pod);
    let Some(slot) = cluster.nomination(&pod.metadata.uid) else {
        return false;
    };
    let hopeless = failure
        .verdicts
        .iter()
        .any(|v| v.slot == slot && v.rejection.unresolvable);
    let mut others = cluster.info(slot).pods.iter();
    !hopeless && others.any(|other| other.priority < pod.priority && cluster.is_leaving_for_another(other))
}

impl DefaultPreemption {
    fn preempt(&self, attempt: &Attempt<'_>, failure: &Failure) -> Result<Nomination, String> {
        let slots = worth_trying(attempt, failure);
        let enough = (slots.len() * self.least_percent / 100).max(self.least_nodes);
        let (mut candidates, mut reasons) = (Vec::new(), HashMap::<String, usize>::new());
        reasons.insert(NOT_HELPFUL.into(), failure.nodes - slots.len());
        for slot in slots {
            match victims(attempt, slot) {
                Ok(candidate) => candidates.push(candidate),
                Err(rejection) => rejection
                    .reasons()
                    .for_each(|reason| *reasons.entry(reason.to_string()).or_default() += 1),
            }
            if candidates.len() == enough {
                break;
            }
        }
        let Some(best) = candidates.into_iter().min_by(|a, b| a.loss().cmp(&b.loss())) else {
            let reasons = reasons.iter().map(|(reason, count)| (&**reason, *count));
            return Err(verdict(failure.nodes, reasons));
        };
        let cluster = attempt.cycle.cluster;
        let nominated = cluster.nominated(best.slot).iter();
        let displaced = nominated.filter(|other| other.priority < attempt.cycle.pod.priority);
        Ok(Nomination {
            node: cluster.info(best.slot).name.clone(),
            victims: best.victims,
            displaced: displaced.cloned().collect(),
        })
    }
}

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        "DefaultPreemption"
    }

    fn post_filter(&self, attempt: &Attempt<'_>, failure: &Failure) -> Option<After> {
        // The first part comes from upstream's DynamicResources, which runs before and says so of
        // every Pod without claims.
        let after = |words: &str, keep_nomination| After {
            words: format!("no new claims to deallocate, preemption: {words}"),
            nomination: None,
            keep_nomination,
        };
        if attempt.cycle.pod.never_preempts {
            return Some(after("not eligible due to preemptionPolicy=Never.", true));
        }
        if is_being_helped(attempt, failure) {
            return Some(after(
                "not eligible due to a terminating pod on the nominated node.",
                true,
            ));
        }
        Some(match self.preempt(attempt, failure) {
            Err(words) => after(&words, false),
            Ok(nomination) => After {
                words: String::new(),
                nomination: Some(nomination),
                keep_nomination: true,
            },
        })
    }
}
