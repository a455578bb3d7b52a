//! Job: Pods that run to their end, a wanted number of times.
//!
//! Observe ([`facts`]) → decide ([`plan`]) → create or delete Pods → count those that ended ([`account`]),
//! all but the calls pure. The key of a Job is looked at when it or one of its Pods changes, and when a
//! pause or its deadline is over.

mod account;
mod backoff;
mod facts;
mod indexes;
mod orphans;
mod plan;
mod policy;
mod template;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::params::{Patch, PatchParams};
use mizzen_api::client::events::{Recorder, Severity};
use mizzen_api::client::reflector::{Key, Projection, Reflector};
use mizzen_api::client::rest::{self, Rest};
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

pub(super) use self::orphans::build as build_orphans;

use self::backoff::Backoff;
use self::facts::{FINALIZER, Facts, View, count, has_finalizer};
use self::plan::{Finish, Plan, condition};
use super::expectations::Expectations;
use super::kinds::batch::{Job, JobStatus};
use super::kinds::{JobMarks, Pod};
use super::ownership::{Parent, owner_key, pod_changed};
use super::pod_control::{PodControl, in_batches};
use super::{Context, Controller, Next};
use crate::projection::{Labels, Meta, Watched};

const KIND: (&str, &str) = ("batch/v1", "Job");
/// The name under which Jobs may be given to us explicitly.
const MANAGER: &str = "kubernetes.io/job-controller";

struct Jobs {
    rest: Rest,
    jobs: Arc<Reflector<Job>>,
    pods: Arc<Reflector<Pod>>,
    expectations: Arc<Expectations>,
    memory: Arc<Memory>,
    control: PodControl,
    events: Recorder,
}

/// What is known beside the caches.
#[derive(Default)]
struct Memory(Mutex<HashMap<Key, Remembered>>);

#[derive(Default)]
struct Remembered {
    /// Pods whose finalizers were removed and that were not seen without them yet.
    stripped: HashSet<Box<str>>,
    /// Failures in a row.
    backoff: Backoff,
    /// Revision of the last status written: the cache is behind until it shows that.
    written: u64,
}

impl Memory {
    fn with<T>(&self, key: &Key, then: impl FnOnce(&mut Remembered) -> T) -> T {
        then(self.0.lock().entry(key.clone()).or_default())
    }

    fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = Jobs {
        rest: context.rest.clone(),
        jobs: context.caches.of(),
        pods: context.caches.of(),
        expectations: Arc::default(),
        memory: Arc::default(),
        control: PodControl::new(context),
        events: context.events.clone(),
    };
    let queue = context.queue.clone();
    controller
        .jobs
        .subscribe(move |change| queue.add(change.latest().key()));
    let (jobs, expectations) = (controller.jobs.clone(), controller.expectations.clone());
    let (memory, queue) = (controller.memory.clone(), context.queue.clone());
    controller.pods.subscribe(move |change| {
        let pod = change.latest();
        if let Some(key) = job_key(pod).filter(|_| change.new.is_none_or(|pod| !has_finalizer(pod))) {
            memory.with(&key, |known| known.stripped.remove(&pod.metadata.uid));
        }
        let adopters = |labels: &_| selecting(&jobs, &pod.metadata.namespace, labels);
        pod_changed(change, KIND, &expectations, &queue, adopters);
    });
    Arc::new(controller)
}

/// The key of the Job that a Pod belongs to.
fn job_key(pod: &Pod) -> Option<Key> {
    owner_key(&pod.metadata, KIND)
}

fn selecting(jobs: &Reflector<Job>, namespace: &str, labels: &Labels) -> Vec<Key> {
    let found = jobs.select(namespace, |job| job.spec.selector.matches(labels));
    found.iter().map(|job| job.key()).collect()
}

/// What became of the Pods to create and delete.
#[derive(Default)]
struct Done {
    created: i64,
    deleted: Vec<Arc<Pod>>,
    error: Option<kube::Error>,
}

#[async_trait]
impl Controller for Jobs {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(job) = self.jobs.get(&key.namespace, &key.name) else {
            self.expectations.forget(key);
            self.memory.forget(key);
            return Ok(Next::Change);
        };
        let foreign = job.spec.managed_by.as_deref().is_some_and(|manager| manager != MANAGER);
        if foreign || job.status.finished().is_some() || self.is_behind(key, &job) {
            return Ok(Next::Change);
        }
        // Asked before reading Pods: whatever satisfied it is then among what is read.
        let settled = self.expectations.satisfied(key);
        let (stripped, backoff) = self.memory.with(key, |known| (known.stripped.clone(), known.backoff));
        let pods = self.claim(&job).await?;
        let view = View {
            job: &job,
            pods: &pods,
            stripped: &stripped,
            settled,
            backoff,
            now: now(),
        };
        let facts = Facts::of(&view);
        let plan = plan::plan(&view, &facts);
        let done = self.carry_out(key, &job, &plan).await;
        let next = plan.next;
        let (status, finish) = conclude(&view, &facts, plan, &done);
        self.tell_suspension(&job, &status);
        self.count(key, &view, &facts, status, finish).await?;
        match done.error {
            Some(error) if !rest::is_namespace_terminating(&error) => Err(error.into()),
            _ => Ok(next.map_or(Next::Change, Next::After)),
        }
    }
}

fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

impl Jobs {
    /// Whether the cache does not show yet what was written last.
    fn is_behind(&self, key: &Key, job: &Job) -> bool {
        let seen: u64 = job.metadata.resource_version.parse().unwrap_or(u64::MAX);
        self.memory.with(key, |known| known.written > seen)
    }

    async fn claim(&self, job: &Job) -> rest::Result<Vec<Arc<Pod>>> {
        let claims = Parent {
            rest: &self.rest,
            meta: &job.metadata,
            selector: &job.spec.selector,
            at: Job::AT,
            kind: KIND,
        };
        claims.claim(&self.pods, |_| true, |pod| &pod.metadata).await
    }

    async fn carry_out(&self, key: &Key, job: &Job, plan: &Plan) -> Done {
        if !plan.delete.is_empty() {
            return self.delete(key, job, plan).await;
        }
        if !plan.create.is_empty() {
            return self.create(key, job, &plan.create).await;
        }
        Done::default()
    }

    async fn delete(&self, key: &Key, job: &Job, plan: &Plan) -> Done {
        let uids = plan.delete.iter().map(|pod| &*pod.metadata.uid);
        self.expectations.expect(key, 0, uids);
        let about = about(job);
        // Pods that are merely too many do not count; those of a Job at its end do.
        let strip = plan.finish.is_none();
        let results = join_all(plan.delete.iter().map(|pod| self.delete_one(key, &about, pod, strip))).await;
        let mut done = Done::default();
        for (pod, result) in plan.delete.iter().zip(results) {
            match result {
                Ok(()) => done.deleted.push(pod.clone()),
                Err(error) => {
                    self.expectations.deleted(key, &pod.metadata.uid);
                    done.error = Some(error);
                }
            }
        }
        done
    }

    async fn delete_one(&self, key: &Key, about: &ObjectReference, pod: &Pod, strip: bool) -> rest::Result<()> {
        if strip && has_finalizer(pod) {
            self.strip(key, pod).await?;
        }
        self.control.delete(about, &pod.metadata).await
    }

    async fn create(&self, key: &Key, job: &Job, all: &[JobMarks]) -> Done {
        let (about, namespace) = (about(job), &job.metadata.namespace);
        self.expectations.expect(key, all.len(), []);
        let create = |marks| {
            let pod = template::pod(job, marks);
            let about = &about;
            async move { self.control.create(namespace, about, &pod).await }
        };
        let batches = in_batches(all, create).await;
        // What failed or was not even tried will not be seen.
        self.expectations.created(key, all.len() - batches.done);
        Done {
            created: count(0..batches.done),
            error: batches.error,
            ..Done::default()
        }
    }

    /// Writes down, lets go, counts.
    async fn count(
        &self,
        key: &Key,
        view: &View<'_>,
        facts: &Facts,
        status: JobStatus,
        finish: Option<Finish>,
    ) -> rest::Result<()> {
        let first = account::account(view, facts, status, finish.as_ref());
        let mut status = first.status;
        let mut revision = view.job.metadata.resource_version.clone();
        if status != view.job.status {
            revision = self.write(key, view.job, &revision, &status).await?;
        }
        self.memory.with(key, |known| known.backoff = facts.backoff);
        let mut tracked = account::tracked(view);
        let results = join_all(first.strip.iter().map(|pod| self.strip(key, pod))).await;
        let mut error = None;
        for (pod, result) in first.strip.iter().zip(results) {
            match result {
                Ok(()) => drop(tracked.remove(&pod.metadata.uid)),
                Err(failed) => error = Some(failed),
            }
        }
        let before = status.clone();
        account::fold(&mut status, &tracked);
        let ended = !first.more && finish.as_ref().is_some_and(|finish| account::end(&mut status, finish));
        if status != before {
            self.write(key, view.job, &revision, &status).await?;
        }
        if ended && let Some(finish) = &finish {
            self.tell_end(view.job, finish);
        }
        error.map_or(Ok(()), Err)
    }

    /// Removes the finalizer of a Pod; one that is gone has none.
    async fn strip(&self, key: &Key, pod: &Pod) -> rest::Result<()> {
        self.memory
            .with(key, |known| known.stripped.insert(pod.metadata.uid.clone()));
        let result = strip(&self.rest, pod).await;
        if result.is_err() {
            self.memory.with(key, |known| known.stripped.remove(&pod.metadata.uid));
        }
        result
    }

    /// Writes a status over the state of that revision; the revision it gets.
    async fn write(&self, key: &Key, job: &Job, revision: &str, status: &JobStatus) -> rest::Result<Box<str>> {
        let Meta { namespace, name, .. } = &job.metadata;
        let live: Option<Value> = self.rest.get(&Job::AT, namespace, name).await?;
        let Some(mut live) = live else {
            return Ok(revision.into());
        };
        // What was decided was decided on that revision: over another one the write is a conflict.
        live["metadata"]["resourceVersion"] = json!(revision);
        live["status"] = json!(status);
        let written: Value = self.rest.replace(&Job::AT, (namespace, name), "status", &live).await?;
        let revision = written["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        self.memory
            .with(key, |known| known.written = revision.parse().unwrap_or_default());
        Ok(revision.into())
    }

    fn tell_suspension(&self, job: &Job, status: &JobStatus) {
        let about = about(job);
        let state = |status: &JobStatus| {
            let known = status.conditions.iter().find(|c| c.kind == "Suspended");
            known.map(|condition| condition.status == "True")
        };
        match (state(&job.status), state(status)) {
            (before, Some(true)) if before != Some(true) => {
                self.events
                    .event(&about, Severity::Normal, "Suspended", "Job suspended");
            }
            (Some(true), Some(false)) => {
                self.events.event(&about, Severity::Normal, "Resumed", "Job resumed");
            }
            _ => {}
        }
    }

    fn tell_end(&self, job: &Job, finish: &Finish) {
        let about = about(job);
        match finish.is_success() {
            true => self
                .events
                .event(&about, Severity::Normal, "Completed", "Job completed"),
            false => self.events.event(
                &about,
                Severity::Warning,
                finish.last.reason.to_string(),
                finish.last.message.clone(),
            ),
        }
    }
}

fn about(job: &Job) -> ObjectReference {
    job.metadata.reference(KIND.0, KIND.1)
}

/// Removes the finalizer of a Pod.
async fn strip(rest: &Rest, pod: &Pod) -> rest::Result<()> {
    let Meta {
        namespace, name, uid, ..
    } = &pod.metadata;
    let patch = json!({"metadata": {"uid": uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
    let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
    let patched = rest.patch::<IgnoredAny>(&Pod::AT, (namespace, name), "", &params, &patch);
    match patched.await {
        Err(error) if !rest::is_not_found(&error) && !rest::is_conflict(&error) => Err(error),
        // A conflict is about the uid: another Pod has the name now.
        _ => Ok(()),
    }
}

/// The status after what was done, and how the Job ends if it does now.
fn conclude(view: &View<'_>, facts: &Facts, plan: Plan, done: &Done) -> (JobStatus, Option<Finish>) {
    let (job, now) = (view.job, view.now);
    let mut status = job.status.clone();
    let deleted = count(&done.deleted);
    let active = count(&facts.active) - deleted + done.created;
    let ready = |pods: &[Arc<Pod>]| count(pods.iter().filter(|pod| pod.is_ready()));
    status.active = active;
    status.ready = Some(ready(&facts.active) - ready(&done.deleted));
    status.terminating = Some(facts.terminating + deleted);
    if status.start_time.is_none() && !job.spec.suspend {
        status.start_time = Some(now);
    }
    if plan.finish.is_some() {
        // Pods that are not seen yet, or could not be deleted, keep the Job from ending.
        let all_gone = deleted == count(&facts.active) && view.settled;
        return (status, plan.finish.filter(|_| all_gone));
    }
    let finish = plan::complete(view, facts, active);
    if finish.is_none() && plan.managed {
        follow_suspension(&mut status, job, now);
    }
    (status, finish)
}

fn follow_suspension(status: &mut JobStatus, job: &Job, now: Timestamp) {
    let was = status.condition("Suspended").is_some();
    if job.spec.suspend && !was {
        let message = "Job suspended".to_owned();
        account::set(
            status,
            condition("Suspended", "True", "JobSuspended".into(), message, now),
        );
    } else if !job.spec.suspend && was {
        let message = "Job resumed".to_owned();
        account::set(
            status,
            condition("Suspended", "False", "JobResumed".into(), message, now),
        );
        // The deadline does not run while the Job is held.
        status.start_time = Some(now);
    }
}
