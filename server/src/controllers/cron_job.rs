//! CronJob: a Job whenever the schedule says so.
//!
//! A CronJob is looked at when it or one of its Jobs changes, and when its next time comes ([`due`]). The
//! name of a Job follows from its time, so that no time has two.

mod due;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::params::{DeleteParams, PropagationPolicy};
use mizzen_api::client::events::{Recorder, Severity};
use mizzen_api::client::reflector::{Key, Reflector};
use mizzen_api::client::rest::{self, Rest};
use serde_json::{Value, json};

use super::kinds::batch::{CronJob, CronJobStatus, Job, Reference};
use super::{Context, Controller, Next};
use crate::cron::{Schedule, zone};
use crate::projection::{Watched, update};

const KIND: (&str, &str) = ("batch/v1", "CronJob");
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

struct CronJobs {
    rest: Rest,
    crons: Arc<Reflector<CronJob>>,
    jobs: Arc<Reflector<Job>>,
    events: Recorder,
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = CronJobs {
        rest: context.rest.clone(),
        crons: context.caches.of(),
        jobs: context.caches.of(),
        events: context.events.clone(),
    };
    let queue = context.queue.clone();
    controller.crons.subscribe(move |change| {
        let meta = &change.latest().metadata;
        queue.add(Key::new(&meta.namespace, &meta.name));
    });
    let queue = context.queue.clone();
    controller.jobs.subscribe(move |change| {
        for job in [change.old, change.new].into_iter().flatten() {
            if let Some(owner) = job.metadata.controller().filter(|owner| &*owner.kind == KIND.1) {
                queue.add(Key::new(&job.metadata.namespace, &owner.name));
            }
        }
    });
    Arc::new(controller)
}

/// One look at a CronJob: the status grows while it is worked on, and is written once at the end.
struct Look<'a> {
    controller: &'a CronJobs,
    cron: &'a CronJob,
    about: ObjectReference,
    status: CronJobStatus,
    now: Timestamp,
}

#[async_trait]
impl Controller for CronJobs {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(cron) = self.crons.get(&key.namespace, &key.name) else {
            return Ok(Next::Change);
        };
        let uid = &cron.metadata.uid;
        let jobs = self.jobs.children(&key.namespace, uid, |_| true);
        let mut look = Look {
            controller: self,
            cron: &cron,
            about: cron.metadata.reference(KIND.0, KIND.1),
            status: cron.status.clone(),
            now: Timestamp::now(),
        };
        look.review(&jobs).await?;
        let next = look.start().await;
        look.clean(&jobs).await;
        let status = look.status;
        if status != cron.status {
            update(&self.rest, &CronJob::AT, &cron.metadata, "status", |live| {
                live["status"] = json!(status);
            })
            .await?;
        }
        next
    }
}

impl Look<'_> {
    fn tell(&self, severity: Severity, reason: &'static str, message: impl Into<String>) {
        self.controller.events.event(&self.about, severity, reason, message);
    }

    fn is_active(&self, uid: &str) -> bool {
        self.status.active.iter().any(|active| *active.uid == *uid)
    }

    /// Compares what the status says is running with the Jobs that there are.
    async fn review(&mut self, jobs: &[Arc<Job>]) -> rest::Result<()> {
        for job in jobs {
            let (name, uid) = (&job.metadata.name, &job.metadata.uid);
            match job.status.finished() {
                None if !self.is_active(uid) => {
                    let message = format!("Saw a job that the controller did not create or forgot: {name}");
                    // Just created and not yet in the status that is seen here: not a surprise.
                    if self.status.last_schedule_time < job.metadata.creation_timestamp
                        && !self.is_ours_live(uid).await?
                    {
                        self.tell(Severity::Warning, "UnexpectedJob", message);
                    }
                }
                None => {}
                Some(condition) => {
                    if self.is_active(uid) {
                        self.status.active.retain(|active| active.uid != *uid);
                        let message = format!("Saw completed job: {name}, condition: {}", condition.kind);
                        self.tell(Severity::Normal, "SawCompletedJob", message);
                    }
                    if condition.kind == "Complete" {
                        let last = &mut self.status.last_successful_time;
                        *last = (*last).max(job.status.completion_time);
                    }
                }
            }
        }
        let lost: Vec<_> = self
            .status
            .active
            .iter()
            .filter(|active| !jobs.iter().any(|job| job.metadata.uid == active.uid))
            .cloned()
            .collect();
        for active in lost {
            // The cache may not show it yet.
            let live: Option<Value> = self
                .controller
                .rest
                .get(&Job::AT, &active.namespace, &active.name)
                .await?;
            if live.is_none() {
                self.status.active.retain(|other| other.uid != active.uid);
                let message = format!("Active job went missing: {}", active.name);
                self.tell(Severity::Normal, "MissingJob", message);
            }
        }
        Ok(())
    }

    /// Whether the CronJob as it is now knows the Job.
    async fn is_ours_live(&self, uid: &str) -> rest::Result<bool> {
        let meta = &self.cron.metadata;
        let live: Option<CronJob> = self
            .controller
            .rest
            .get(&CronJob::AT, &meta.namespace, &meta.name)
            .await?;
        Ok(live.is_none_or(|live| live.status.active.iter().any(|active| *active.uid == *uid)))
    }

    /// Starts what is due; when to look again.
    async fn start(&mut self) -> anyhow::Result<Next> {
        let spec = &self.cron.spec;
        if self.cron.metadata.is_deleting() || spec.suspend {
            return Ok(Next::Change);
        }
        let zone = match zone(spec.time_zone.as_deref()) {
            Ok(zone) => zone,
            Err(problem) => {
                let name = spec.time_zone.as_deref().unwrap_or_default();
                self.tell(
                    Severity::Warning,
                    "UnknownTimeZone",
                    format!("invalid timeZone: {name:?}: {problem}"),
                );
                return Ok(Next::Change);
            }
        };
        let schedule = match Schedule::parse(&spec.schedule) {
            Ok(schedule) => schedule,
            Err(problem) => {
                let message = format!("unparseable schedule: {:?} : {problem}", spec.schedule);
                self.tell(Severity::Warning, "UnparseableSchedule", message);
                return Ok(Next::Change);
            }
        };
        let missed = due::missed(self.cron, &schedule, &zone, self.now, true);
        if missed.are_many() {
            let message =
                "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.tell(Severity::Warning, "TooManyMissedTimes", message);
        }
        if let Some(time) = missed.latest {
            self.start_at(time, &zone).await?;
        }
        let wait = due::wait(self.cron, &schedule, &zone, self.now);
        Ok(wait.map_or(Next::Change, Next::After))
    }

    async fn start_at(&mut self, time: Timestamp, zone: &TimeZone) -> rest::Result<()> {
        let spec = &self.cron.spec;
        let deadline = spec.starting_deadline_seconds.map(SignedDuration::from_secs);
        if deadline.is_some_and(|deadline| time + deadline < self.now) {
            let shown = time.to_zoned(zone.clone()).strftime("%a, %d %b %Y %H:%M:%S %z");
            let message = format!("Missed scheduled time to start a job: {shown}");
            self.tell(Severity::Warning, "MissSchedule", message);
            return Ok(());
        }
        let name = job_name(&self.cron.metadata.name, time);
        let known = self.status.active.iter().any(|active| *active.name == *name);
        if known || self.status.last_schedule_time == Some(time) {
            return Ok(());
        }
        match &*spec.concurrency_policy {
            "Forbid" if !self.status.active.is_empty() => {
                let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
                self.tell(Severity::Normal, "JobAlreadyActive", message);
                return Ok(());
            }
            "Replace" => {
                for active in self.status.active.clone() {
                    self.delete(&active.name).await?;
                    self.status.active.retain(|other| other.uid != active.uid);
                }
            }
            _ => {}
        }
        let Some(created) = self.create(&name, time, zone).await? else {
            return Ok(());
        };
        self.status.active.push(created);
        self.status.last_schedule_time = Some(time);
        Ok(())
    }

    /// Creates the Job of that time; `None` when there is nothing to remember of it.
    async fn create(&self, name: &str, time: Timestamp, zone: &TimeZone) -> rest::Result<Option<Reference>> {
        let namespace = &self.cron.metadata.namespace;
        let job = job(self.cron, name, time, zone);
        let rest = &self.controller.rest;
        let created: rest::Result<Job> = rest.create(&Job::AT, namespace, &job).await;
        match created {
            Ok(created) => {
                self.tell(Severity::Normal, "SuccessfulCreate", format!("Created job {name}"));
                Ok(Some(reference(&created)))
            }
            // Ours, of a look that did not come to write it down.
            Err(error) if rest::is_already_exists(&error) => {
                let live: Option<Job> = rest.get(&Job::AT, namespace, name).await?;
                let uid = &self.cron.metadata.uid;
                let ours = live.filter(|job| job.metadata.is_controlled_by(uid) && job.status.finished().is_none());
                Ok(ours.map(|job| reference(&job)))
            }
            Err(error) if rest::is_namespace_terminating(&error) => Ok(None),
            Err(error) => {
                let message = format!("Error creating job: {}", rest::message(&error));
                self.tell(Severity::Warning, "FailedCreate", message);
                Err(error)
            }
        }
    }

    async fn delete(&self, name: &str) -> rest::Result<()> {
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let namespace = &self.cron.metadata.namespace;
        match self.controller.rest.delete(&Job::AT, namespace, name, &params).await {
            Ok(()) => {
                self.tell(Severity::Normal, "SuccessfulDelete", format!("Deleted job {name}"));
                Ok(())
            }
            Err(error) => {
                let message = format!("Deleted job: {}", rest::message(&error));
                self.tell(Severity::Warning, "FailedDelete", message);
                Err(error)
            }
        }
    }

    /// Deletes Jobs above the limits of the history.
    async fn clean(&self, jobs: &[Arc<Job>]) {
        let spec = &self.cron.spec;
        for (kind, limit) in [
            ("Complete", spec.successful_jobs_history_limit),
            ("Failed", spec.failed_jobs_history_limit),
        ] {
            let Some(limit) = limit else { continue };
            for job in surplus(jobs, kind, limit) {
                if let Err(error) = self.delete(&job.metadata.name).await {
                    tracing::debug!(job = %job.metadata.name, error = %rest::message(&error), "cannot delete an old job");
                }
            }
        }
    }
}

/// Ended Jobs above a limit, the oldest.
fn surplus<'a>(jobs: &'a [Arc<Job>], kind: &str, limit: i64) -> Vec<&'a Arc<Job>> {
    let ended = jobs.iter().filter(|job| !job.metadata.is_deleting());
    let mut ended: Vec<_> = ended.filter(|job| job.status.condition(kind).is_some()).collect();
    let limit = usize::try_from(limit).unwrap_or_default();
    ended.sort_by_key(|job| {
        let started = job.status.start_time;
        (started.is_none(), started, job.metadata.name.clone())
    });
    ended.truncate(ended.len().saturating_sub(limit));
    ended
}

fn job_name(cron: &str, time: Timestamp) -> String {
    format!("{cron}-{}", time.as_second() / 60)
}

fn job(cron: &CronJob, name: &str, time: Timestamp, zone: &TimeZone) -> Value {
    let template = cron.spec.job_template.as_ref();
    let template: Value = template
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default();
    let mut annotations = template["metadata"]["annotations"].clone();
    let local = time.to_zoned(zone.clone());
    let shown = match local.offset().is_zero() {
        true => local.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        false => local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
    };
    annotations[SCHEDULED] = json!(shown);
    json!({
        "apiVersion": KIND.0, "kind": "Job",
        "metadata": {
            "name": name,
            "labels": template["metadata"]["labels"],
            "annotations": annotations,
            "creationTimestamp": time,
            "ownerReferences": [cron.metadata.controller_reference(KIND.0, KIND.1)],
        },
        "spec": template["spec"],
    })
}

fn reference(job: &Job) -> Reference {
    let meta = &job.metadata;
    Reference {
        api_version: "batch/v1".into(),
        kind: "Job".into(),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_named_after_its_minute_and_knows_its_time() {
        let cron: CronJob = serde_json::from_value(json!({
            "metadata": {"name": "c", "namespace": "n", "uid": "u"},
            "spec": {"jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"parallelism": 2}}},
        }))
        .unwrap();
        let time: Timestamp = "2026-01-01T12:34:00Z".parse().unwrap();
        let tokyo = TimeZone::get("Asia/Tokyo").unwrap();
        let job = job(&cron, &job_name("c", time), time, &tokyo);
        assert_eq!(job["metadata"]["name"], "c-29454514");
        assert_eq!(job["metadata"]["annotations"][SCHEDULED], "2026-01-01T21:34:00+09:00");
        assert_eq!(job["metadata"]["labels"]["a"], "b");
        assert_eq!(job["spec"]["parallelism"], 2);
    }

    #[test]
    fn the_oldest_of_too_many_go() {
        let job = |name: &str, started: &str, kind: &str| {
            let conditions = json!([{"type": kind, "status": "True"}]);
            let job = json!({"metadata": {"name": name}, "status": {"startTime": started, "conditions": conditions}});
            Arc::new(serde_json::from_value::<Job>(job).unwrap())
        };
        let jobs = [
            job("b", "2026-01-02T00:00:00Z", "Complete"),
            job("a", "2026-01-01T00:00:00Z", "Complete"),
            job("f", "2026-01-01T00:00:00Z", "Failed"),
            job("c", "2026-01-03T00:00:00Z", "Complete"),
        ];
        let names = |kind: &str, limit: i64| -> Vec<String> {
            let surplus = surplus(&jobs, kind, limit);
            surplus.iter().map(|job| job.metadata.name.to_string()).collect()
        };
        assert_eq!(names("Complete", 1), ["a", "b"]);
        assert_eq!(names("Failed", 1), [""; 0]);
        assert_eq!(names("Failed", 0), ["f"]);
    }
}
