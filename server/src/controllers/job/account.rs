//! How ended Pods come into the counters, each once, over crashes at any moment. Pure.
//!
//! 1. [`account`] writes the uids of ended Pods down in the status (indexes instead, where they tell).
//! 2. Their finalizers go: from then on they may vanish.
//! 3. [`fold`] moves those that have no finalizer any more from the list into the counters.
//!
//! A status is written only over the one that was read, so whoever comes back after a crash, or sees
//! Pods late, finds each Pod either with its finalizer (it is in the list or gets there once) or without
//! (it is in the list and is counted, or was counted before).

use std::collections::HashSet;
use std::sync::Arc;

use super::facts::{Facts, View, index_of};
use super::plan::Finish;
use super::policy::{Verdict, is_failed, verdict};
use crate::controllers::kinds::Pod;
use crate::controllers::kinds::batch::{JobStatus, Uncounted};

/// How many uids stand in a status at most (upstream's).
const MOST_UNCOUNTED: usize = 500;

/// The first step.
#[derive(Debug)]
pub(super) struct Account {
    /// The status to write before any finalizer goes.
    pub(super) status: JobStatus,
    /// Pods whose finalizers may go then.
    pub(super) strip: Vec<Arc<Pod>>,
    /// Whether there are more than could be written down at once.
    pub(super) more: bool,
}

/// Writes ended Pods down. `status` is the one that is to be written anyway.
pub(super) fn account(view: &View<'_>, facts: &Facts, mut status: JobStatus, finish: Option<&Finish>) -> Account {
    let job = view.job;
    let mut uncounted = view.uncounted();
    drop_untracked(&mut status, &mut uncounted, &tracked(view));
    let (mut strip, mut more, mut new_indexes) = (Vec::new(), false, 0);
    let known = (view.uncounted(), job.status.completed_indexes.clone());
    let done_before = super::indexes::Indexes::read(&known.1, view.completions());
    let mut done = done_before.clone();
    let mut pods: Vec<_> = view.pods.iter().filter(|pod| view.is_tracked(pod)).collect();
    pods.sort_by(|a, b| (index_of(a), &a.metadata.uid).cmp(&(index_of(b), &b.metadata.uid)));
    for pod in pods {
        let failed = is_failed(job, pod);
        if !may_go(view, facts, finish, pod, failed) {
            continue;
        }
        if new_indexes + uncounted.succeeded.len() + uncounted.failed.len() >= MOST_UNCOUNTED {
            more = true;
            break;
        }
        strip.push(pod.clone());
        let uid = &pod.metadata.uid;
        let given_up = finish.is_some_and(|finish| !finish.is_success());
        if &*pod.status.phase == "Succeeded" && !uncounted.failed.contains(uid) {
            if !job.is_indexed() {
                if !uncounted.succeeded.contains(uid) {
                    uncounted.succeeded.push(uid.clone());
                }
            } else if view.is_countable(pod) && done.insert(index_of(pod).unwrap_or_default()) {
                new_indexes += 1;
            }
        } else if failed || given_up {
            let ignored = job.spec.pod_failure_policy.is_some() && verdict(job, pod) == Verdict::Ignore;
            let listed = uncounted.failed.contains(uid) || uncounted.succeeded.contains(uid);
            if view.is_countable(pod) && !listed && !ignored {
                uncounted.failed.push(uid.clone());
            }
        }
    }
    if job.is_indexed() {
        status.succeeded = done.total();
        status.completed_indexes = done.to_string();
        status.failed_indexes = facts.lost.as_ref().map(ToString::to_string);
    }
    status.uncounted_terminated_pods = Some(uncounted);
    if let Some(announced) = finish.and_then(|finish| finish.announced.clone()) {
        set(&mut status, announced);
    }
    Account { status, strip, more }
}

/// Whether a Pod's finalizer may go once it is written down.
fn may_go(view: &View<'_>, facts: &Facts, finish: Option<&Finish>, pod: &Pod, failed: bool) -> bool {
    if view.job.metadata.is_deleting() || finish.is_some() || &*pod.status.phase == "Succeeded" {
        return true;
    }
    let waits = || {
        let index = index_of(pod).unwrap_or(-1);
        let last = facts.last_failed.get(&index);
        last.is_some_and(|last| last.metadata.uid == pod.metadata.uid)
    };
    failed && !waits()
}

/// The third step: counts those of the list that are not tracked any more; whether there were any.
pub(super) fn fold(status: &mut JobStatus, tracked: &HashSet<Box<str>>) -> bool {
    let mut uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
    let folded = drop_untracked(status, &mut uncounted, tracked);
    status.uncounted_terminated_pods = Some(uncounted);
    folded
}

fn drop_untracked(status: &mut JobStatus, uncounted: &mut Uncounted, tracked: &HashSet<Box<str>>) -> bool {
    let mut folded = false;
    for (list, counter) in [
        (&mut uncounted.succeeded, &mut status.succeeded),
        (&mut uncounted.failed, &mut status.failed),
    ] {
        list.retain(|uid| {
            let stays = tracked.contains(uid);
            *counter += i64::from(!stays);
            folded |= !stays;
            stays
        });
    }
    folded
}

/// Uids of the Pods that wait to be counted.
pub(super) fn tracked(view: &View<'_>) -> HashSet<Box<str>> {
    let pods = view.pods.iter().filter(|pod| view.is_tracked(pod));
    pods.map(|pod| pod.metadata.uid.clone()).collect()
}

/// Ends the Job when everything is counted and everybody gone; whether it did.
pub(super) fn end(status: &mut JobStatus, finish: &Finish) -> bool {
    let waiting = status.uncounted_terminated_pods.clone().unwrap_or_default();
    if waiting != Uncounted::default() || status.terminating.unwrap_or_default() > 0 {
        return false;
    }
    if finish.is_success() {
        status.completion_time = finish.last.last_transition_time;
    }
    set(status, finish.last.clone());
    true
}

/// Puts a condition into the status, in the place of one of its type.
pub(super) fn set(status: &mut JobStatus, condition: crate::controllers::kinds::batch::JobCondition) {
    match status.conditions.iter_mut().find(|known| known.kind == condition.kind) {
        Some(known) if known.status == condition.status => {}
        Some(known) => *known = condition,
        None => status.conditions.push(condition),
    }
}
