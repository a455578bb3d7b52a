//! What to do about a Job: which Pods to delete or create, and whether it is at its end. Pure.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::backoff;
use super::facts::{Facts, View, count, index_of, marks};
use super::policy::{Verdict, enough, is_failed, verdict};
use crate::controllers::kinds::batch::{Job, JobCondition};
use crate::controllers::kinds::{JobMarks, Pod};
use crate::controllers::replicas::ranking::Ranked;

/// How many Pods are created or deleted in one go (upstream's).
const BURST: i64 = 500;

/// How a Job ends: the condition that says that it will, and the one that says that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finish {
    /// `FailureTarget` or `SuccessCriteriaMet`, unless it is written already.
    pub(super) announced: Option<JobCondition>,
    /// `Failed` or `Complete`.
    pub(super) last: JobCondition,
}

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Pods that are too many.
    pub(super) delete: Vec<Arc<Pod>>,
    /// Pods to create: what the Job notes on each, nothing without indexes.
    pub(super) create: Vec<JobMarks>,
    /// How the Job ends, once the Pods to delete are going.
    pub(super) finish: Option<Finish>,
    /// Whether the number of Pods was looked after, so that conditions may follow.
    pub(super) managed: bool,
    /// When to look again.
    pub(super) next: Option<Duration>,
}

impl Finish {
    /// The end that was announced in the status before.
    fn resume(announced: &JobCondition, kind: &'static str, now: Timestamp) -> Self {
        Self {
            announced: None,
            last: condition(kind, "True", announced.reason.clone(), announced.message.clone(), now),
        }
    }

    fn new(kinds: [&'static str; 2], reason: &'static str, message: impl Into<String>, now: Timestamp) -> Self {
        let message = message.into();
        Self {
            announced: Some(condition(kinds[0], "True", reason.into(), message.clone(), now)),
            last: condition(kinds[1], "True", reason.into(), message, now),
        }
    }

    fn failure(reason: &'static str, message: impl Into<String>, now: Timestamp) -> Self {
        Self::new(["FailureTarget", "Failed"], reason, message, now)
    }

    fn success(reason: &'static str, message: impl Into<String>, now: Timestamp) -> Self {
        Self::new(["SuccessCriteriaMet", "Complete"], reason, message, now)
    }

    /// Whether it is a good end.
    pub(super) fn is_success(&self) -> bool {
        self.last.kind == "Complete"
    }
}

/// A condition that changed now.
pub(super) fn condition(
    kind: &'static str,
    status: &'static str,
    reason: Cow<'static, str>,
    message: String,
    now: Timestamp,
) -> JobCondition {
    JobCondition {
        kind: Cow::Borrowed(kind),
        status: Cow::Borrowed(status),
        last_probe_time: Some(now),
        last_transition_time: Some(now),
        reason,
        message,
    }
}

/// Decides.
pub(super) fn plan(view: &View<'_>, facts: &Facts) -> Plan {
    let mut plan = Plan::default();
    plan.finish = ending(view, facts, &mut plan.next);
    if plan.finish.is_some() {
        plan.delete = facts.active.clone();
        return plan;
    }
    if view.settled && !view.job.metadata.is_deleting() {
        plan.managed = true;
        manage(view, facts, &mut plan);
    }
    plan
}

/// Whether the Job is complete by the number of its successes, with this many Pods left.
pub(super) fn complete(view: &View<'_>, facts: &Facts, active: i64) -> Option<Finish> {
    let complete = match view.job.spec.completions {
        None => facts.succeeded > 0 && active == 0,
        Some(completions) => facts.succeeded >= completions && active == 0,
    };
    complete.then(|| {
        Finish::success(
            "CompletionsReached",
            "Reached expected number of succeeded pods",
            view.now,
        )
    })
}

/// Whether the Job has to end whatever its Pods do.
fn ending(view: &View<'_>, facts: &Facts, next: &mut Option<Duration>) -> Option<Finish> {
    let (job, now) = (view.job, view.now);
    if let Some(met) = job.status.condition("SuccessCriteriaMet") {
        return Some(Finish::resume(met, "Complete", now));
    }
    if let Some(target) = job.status.condition("FailureTarget") {
        return Some(Finish::resume(target, "Failed", now));
    }
    let mut failed = view.pods.iter().filter(|pod| is_failed(job, pod));
    if let Some(message) = failed.find_map(|pod| match verdict(job, pod) {
        Verdict::FailJob(message) => Some(message),
        _ => None,
    }) {
        return Some(Finish::failure("PodFailurePolicy", message, now));
    }
    let limit = job.spec.backoff_limit.unwrap_or(6);
    if facts.failed > limit || restarts_exceed(job, view.pods, limit) {
        let message = "Job has reached the specified backoff limit";
        return Some(Finish::failure("BackoffLimitExceeded", message, now));
    }
    if let Some(left) = deadline(job, now) {
        if left.is_zero() {
            let message = "Job was active longer than specified deadline";
            return Some(Finish::failure("DeadlineExceeded", message, now));
        }
        *next = Some(left);
    }
    if let Some(lost) = &facts.lost {
        let total = lost.total();
        if job.spec.max_failed_indexes.is_some_and(|most| total > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return Some(Finish::failure("MaxFailedIndexesExceeded", message, now));
        }
        if total > 0 && total + facts.done.total() >= view.completions() {
            return Some(Finish::failure("FailedIndexes", "Job has failed indexes", now));
        }
    }
    enough(job, &facts.done).map(|message| Finish::success("SuccessPolicy", message, now))
}

/// How much time the Job has left, when it has a deadline and runs.
fn deadline(job: &Job, now: Timestamp) -> Option<Duration> {
    let seconds = job.spec.active_deadline_seconds.filter(|_| !job.spec.suspend)?;
    let end = job.status.start_time.unwrap_or(now) + SignedDuration::from_secs(seconds);
    Some(Duration::try_from(now.duration_until(end)).unwrap_or_default())
}

/// Whether containers that restart in place have failed too often.
fn restarts_exceed(job: &Job, pods: &[Arc<Pod>], limit: i64) -> bool {
    let on_failure = |pod: &&Arc<Pod>| {
        &*pod.spec.restart_policy == "OnFailure" && matches!(&*pod.status.phase, "Running" | "Pending")
    };
    if job.spec.suspend {
        return false;
    }
    let mut any = false;
    let restarts: i64 = pods
        .iter()
        .filter(on_failure)
        .inspect(|_| any = true)
        .flat_map(|pod| {
            pod.status
                .container_statuses
                .iter()
                .chain(&pod.status.init_container_statuses)
        })
        .map(|container| container.restart_count)
        .sum();
    any && if limit == 0 { restarts > 0 } else { restarts >= limit }
}

/// Brings the number of Pods nearer to what it should be.
fn manage(view: &View<'_>, facts: &Facts, plan: &mut Plan) {
    let (job, active) = (view.job, count(&facts.active));
    if job.spec.suspend {
        plan.delete = facts.active.clone();
        return;
    }
    let parallelism = job.parallelism();
    let wanted = match job.spec.completions {
        None if facts.succeeded > 0 => active,
        None => parallelism,
        Some(completions) => (completions - facts.succeeded).clamp(0, parallelism),
    };
    plan.delete = surplus(view, facts, (active - wanted).max(0));
    plan.delete.truncate(BURST as usize);
    if !plan.delete.is_empty() {
        return;
    }
    // A Pod on its way out keeps its place when it is to be replaced only after its end.
    let leaving = if job.replaces_ended_only() {
        facts.terminating
    } else {
        0
    };
    let missing = (wanted - active - leaving).min(BURST);
    if missing > 0 {
        create(view, facts, missing, plan);
    }
}

fn create(view: &View<'_>, facts: &Facts, missing: i64, plan: &mut Plan) {
    let per_index = view.job.spec.backoff_limit_per_index.is_some();
    let wait = facts.backoff.remaining(view.now);
    if !per_index && wait.is_positive() {
        plan.next = sooner(plan.next, wait);
        return;
    }
    if !view.job.is_indexed() {
        plan.create = (0..missing).map(|_| JobMarks::default()).collect();
        return;
    }
    let pending = pending(view, facts, missing);
    if !per_index {
        let marked = |index| JobMarks {
            index: Some(index),
            ..JobMarks::default()
        };
        plan.create = pending.into_iter().map(marked).collect();
        return;
    }
    let mut waits = Vec::new();
    for index in pending {
        let (marks, wait) = after_failure(view, index, facts.last_failed.get(&index));
        if wait.is_positive() {
            waits.push(wait);
        } else {
            plan.create.push(marks);
        }
    }
    if let Some(wait) = waits.into_iter().min() {
        plan.next = sooner(plan.next, wait);
    }
}

/// The notes on the next Pod of an index, and how long it has to wait.
fn after_failure(view: &View<'_>, index: i64, last: Option<&Arc<Pod>>) -> (JobMarks, SignedDuration) {
    let mut next = JobMarks {
        index: Some(index),
        ..JobMarks::default()
    };
    let Some(last) = last else {
        return (next, SignedDuration::ZERO);
    };
    let before = marks(last);
    let ignored = verdict(view.job, last) == Verdict::Ignore;
    next.failures = before.failures + i64::from(!ignored);
    next.ignored_failures = before.ignored_failures + i64::from(ignored);
    let failures = u32::try_from(next.failures + next.ignored_failures).unwrap_or(u32::MAX);
    let ended = backoff::ended_at(last, view.now);
    (next, backoff::remaining(failures, Some(ended), view.now))
}

fn sooner(known: Option<Duration>, wait: SignedDuration) -> Option<Duration> {
    let wait = Duration::try_from(wait).unwrap_or_default();
    Some(known.map_or(wait, |known| known.min(wait)))
}

/// The first indexes that nothing works for and that are not done.
fn pending(view: &View<'_>, facts: &Facts, most: i64) -> Vec<i64> {
    let mut taken: HashSet<i64> = facts.active.iter().filter_map(|pod| index_of(pod)).collect();
    if view.job.replaces_ended_only() {
        let leaving = view.pods.iter().filter(|pod| pod.is_terminating());
        taken.extend(leaving.filter_map(|pod| index_of(pod)));
    }
    let lost = |index: i64| facts.lost.as_ref().is_some_and(|lost| lost.has(index));
    let free =
        (0..view.completions()).filter(|index| !taken.contains(index) && !facts.done.has(*index) && !lost(*index));
    free.take(usize::try_from(most).unwrap_or_default()).collect()
}

/// The Pods to give up: second Pods of an index and such as have none, then the least dear.
fn surplus(view: &View<'_>, facts: &Facts, least: i64) -> Vec<Arc<Pod>> {
    let mut ranked: Vec<&Arc<Pod>> = facts.active.iter().collect();
    let mut ranks: HashMap<&str, Ranked> = HashMap::new();
    for pod in &ranked {
        ranks.insert(&pod.metadata.uid, Ranked::new(pod, 0, view.now));
    }
    ranked.sort_by(|a, b| ranks[&*a.metadata.uid].cmp(&ranks[&*b.metadata.uid]));
    let (mut given_up, mut kept) = (Vec::new(), Vec::new());
    if view.job.is_indexed() {
        let mut dearest: BTreeMap<i64, &Arc<Pod>> = BTreeMap::new();
        for pod in &ranked {
            match index_of(pod).filter(|index| *index < view.completions()) {
                None => given_up.push((*pod).clone()),
                Some(index) => given_up.extend(dearest.insert(index, pod).cloned()),
            }
        }
        kept.extend(
            ranked
                .iter()
                .filter(|pod| !given_up.iter().any(|up| up.metadata.uid == pod.metadata.uid)),
        );
    } else {
        kept = ranked.iter().collect();
    }
    let more = usize::try_from(least)
        .unwrap_or_default()
        .saturating_sub(given_up.len());
    given_up.extend(kept.into_iter().take(more).map(|pod| (*pod).clone()));
    given_up
}
