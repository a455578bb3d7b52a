//! What a Job's Pods say, counted. Pure.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::backoff::{Backoff, ended_at};
use super::indexes::Indexes;
use super::policy::{Verdict, is_failed, verdict};
use crate::controllers::kinds::batch::{Job, Uncounted};
use crate::controllers::kinds::{JobMarks, Pod};

/// Keeps an ended Pod until it is counted.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

/// What is known when a Job is looked at.
#[derive(Clone, Debug)]
pub(super) struct View<'a> {
    /// The Job.
    pub(super) job: &'a Job,
    /// Its Pods.
    pub(super) pods: &'a [Arc<Pod>],
    /// Pods whose finalizers were removed and may still be seen with them.
    pub(super) stripped: &'a HashSet<Box<str>>,
    /// Whether everything that was created and deleted has been seen.
    pub(super) settled: bool,
    /// Failures known before.
    pub(super) backoff: Backoff,
    /// The time.
    pub(super) now: Timestamp,
}

/// What the Pods say.
#[derive(Debug)]
pub(super) struct Facts {
    /// Pods that run or are about to.
    pub(super) active: Vec<Arc<Pod>>,
    /// How many are being deleted.
    pub(super) terminating: i64,
    /// Successes, counted or not.
    pub(super) succeeded: i64,
    /// Failures, counted or not.
    pub(super) failed: i64,
    /// Indexes that succeeded.
    pub(super) done: Indexes,
    /// Indexes that failed for good; `None` when indexes do not fail by themselves.
    pub(super) lost: Option<Indexes>,
    /// The last failed Pod of each index that waits for another: it stays until that one is there, since it
    /// carries the count of failures.
    pub(super) last_failed: BTreeMap<i64, Arc<Pod>>,
    /// Failures since the last success.
    pub(super) backoff: Backoff,
}

/// What the Job noted on a Pod.
pub(super) fn marks(pod: &Pod) -> JobMarks {
    pod.metadata.annotations.job.as_deref().copied().unwrap_or_default()
}

/// The index that a Pod works for.
pub(super) fn index_of(pod: &Pod) -> Option<i64> {
    marks(pod).index
}

impl View<'_> {
    /// Whether a Pod is still to be counted, as far as finalizers tell.
    pub(super) fn is_tracked(&self, pod: &Pod) -> bool {
        has_finalizer(pod) && !self.stripped.contains(&pod.metadata.uid)
    }

    /// How many completions an Indexed Job has.
    pub(super) fn completions(&self) -> i64 {
        self.job.spec.completions.unwrap_or_default()
    }

    /// Whether a Pod can count: of an Indexed Job only one with an index that exists.
    pub(super) fn is_countable(&self, pod: &Pod) -> bool {
        !self.job.is_indexed() || index_of(pod).is_some_and(|index| index < self.completions())
    }

    /// Uids written down already.
    pub(super) fn uncounted(&self) -> Uncounted {
        self.job.status.uncounted_terminated_pods.clone().unwrap_or_default()
    }
}

/// Whether a Pod waits to be counted.
pub(super) fn has_finalizer(pod: &Pod) -> bool {
    pod.metadata
        .finalizers
        .iter()
        .any(|finalizer| &**finalizer == FINALIZER)
}

impl Facts {
    /// Counts.
    pub(super) fn of(view: &View<'_>) -> Self {
        let job = view.job;
        let uncounted = view.uncounted();
        let fresh = |is: &dyn Fn(&Pod) -> bool, known: &[Box<str>]| -> Vec<Arc<Pod>> {
            let pods = view.pods.iter();
            pods.filter(|pod| {
                view.is_tracked(pod) && view.is_countable(pod) && !known.contains(&pod.metadata.uid) && is(pod)
            })
            .cloned()
            .collect()
        };
        let succeeded = fresh(&|pod| &*pod.status.phase == "Succeeded", &uncounted.succeeded);
        let failed = fresh(&|pod| is_failed(job, pod), &uncounted.failed);
        let counted_failures = failed.iter().filter(|pod| verdict(job, pod) != Verdict::Ignore).count();
        let mut facts = Self {
            active: view.pods.iter().filter(|pod| pod.is_active()).cloned().collect(),
            terminating: count(view.pods.iter().filter(|pod| pod.is_terminating())),
            succeeded: job.status.succeeded + count(&succeeded) + count(&uncounted.succeeded),
            failed: job.status.failed + count(0..counted_failures) + count(&uncounted.failed),
            done: Indexes::default(),
            lost: None,
            last_failed: BTreeMap::new(),
            backoff: view.backoff.after(&succeeded, &failed, view.now),
        };
        if job.is_indexed() {
            facts.count_indexes(view);
        }
        facts
    }

    fn count_indexes(&mut self, view: &View<'_>) {
        let job = view.job;
        self.done = Indexes::read(&job.status.completed_indexes, view.completions());
        let tracked = || {
            view.pods
                .iter()
                .filter(|pod| view.is_tracked(pod) && view.is_countable(pod))
        };
        for pod in tracked().filter(|pod| &*pod.status.phase == "Succeeded") {
            self.done.insert(index_of(pod).unwrap_or_default());
        }
        self.succeeded = self.done.total();
        let Some(limit) = job.spec.backoff_limit_per_index else {
            return;
        };
        let known = job.status.failed_indexes.as_deref().unwrap_or_default();
        let mut lost = Indexes::read(known, view.completions());
        for pod in tracked().filter(|pod| is_failed(job, pod)) {
            let failed = match verdict(job, pod) {
                Verdict::FailIndex => true,
                Verdict::Ignore => false,
                _ => marks(pod).failures >= limit,
            };
            if failed {
                lost.insert(index_of(pod).unwrap_or_default());
            }
        }
        let running: HashSet<_> = self.active.iter().filter_map(|pod| index_of(pod)).collect();
        for pod in tracked().filter(|pod| is_failed(job, pod)) {
            let index = index_of(pod).unwrap_or_default();
            if running.contains(&index) || self.done.has(index) || lost.has(index) {
                continue;
            }
            let rank = |pod: &Pod| {
                let marks = marks(pod);
                (marks.failures + marks.ignored_failures, ended_at(pod, view.now))
            };
            let last = self.last_failed.entry(index).or_insert_with(|| pod.clone());
            if rank(pod) > rank(last) {
                *last = pod.clone();
            }
        }
        self.lost = Some(lost);
    }
}

/// A count in the form in which the API has it.
pub(super) fn count(items: impl IntoIterator) -> i64 {
    i64::try_from(items.into_iter().count()).unwrap_or(i64::MAX)
}
