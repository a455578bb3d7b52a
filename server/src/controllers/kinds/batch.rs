//! Jobs and CronJobs as controllers see them.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::projection::{LabelSelector, Meta, projection};

/// A Job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Job {
    /// Metadata.
    pub metadata: Meta,
    /// Spec.
    pub spec: JobSpec,
    /// Status.
    pub status: JobStatus,
}
projection!(Job, "batch", "v1", "jobs");

/// Spec of a Job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobSpec {
    /// How many Pods may run at once.
    pub parallelism: Option<i64>,
    /// How many successes are wanted; without it one success ends the Job.
    pub completions: Option<i64>,
    /// How long it may run.
    pub active_deadline_seconds: Option<i64>,
    /// How many failures it bears.
    pub backoff_limit: Option<i64>,
    /// How many failures each index bears.
    pub backoff_limit_per_index: Option<i64>,
    /// How many indexes may fail.
    pub max_failed_indexes: Option<i64>,
    /// `Indexed` or `NonIndexed`.
    pub completion_mode: Box<str>,
    /// Whether it is held.
    pub suspend: bool,
    /// When a Pod is replaced: once it is going, or once it has ended.
    pub pod_replacement_policy: Box<str>,
    /// What a failure means.
    pub pod_failure_policy: Option<Box<PodFailurePolicy>>,
    /// Which successes are enough.
    pub success_policy: Option<Box<SuccessPolicy>>,
    /// How long it is kept after its end.
    pub ttl_seconds_after_finished: Option<i64>,
    /// Whose it is, when not ours.
    pub managed_by: Option<Box<str>>,
    /// Which Pods are its own.
    pub selector: LabelSelector,
    /// What Pods are made from, as it was written.
    pub template: Option<Box<RawValue>>,
}

/// What failures of Pods mean: the first rule that matches decides.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodFailurePolicy {
    /// The rules.
    pub rules: Box<[FailureRule]>,
}

/// One rule: an action, and what it is for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FailureRule {
    /// `Count`, `FailIndex`, `FailJob`, `Ignore`.
    pub action: Box<str>,
    /// Matches exit codes.
    pub on_exit_codes: Option<ExitCodes>,
    /// Matches conditions.
    pub on_pod_conditions: Box<[PodPattern]>,
}

/// Exit codes that a rule is for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExitCodes {
    /// Container; any when absent.
    pub container_name: Option<Box<str>>,
    /// `In` or `NotIn`.
    pub operator: Box<str>,
    /// The codes.
    pub values: Box<[i64]>,
}

/// A condition that a rule is for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodPattern {
    /// Type.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// Status.
    pub status: Box<str>,
}

/// Which successes are enough: any rule will do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SuccessPolicy {
    /// The rules.
    pub rules: Box<[SuccessRule]>,
}

/// One rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SuccessRule {
    /// Indexes of which all (or the count below) must succeed.
    pub succeeded_indexes: Option<Box<str>>,
    /// How many must succeed.
    pub succeeded_count: Option<i64>,
}

/// Status of a Job.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct JobStatus {
    /// Conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<JobCondition>,
    /// When it was started, or last resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// When it was complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Timestamp>,
    /// Pods that run or are about to.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub active: i64,
    /// Successes counted.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub succeeded: i64,
    /// Failures counted.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub failed: i64,
    /// Pods that are being deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating: Option<i64>,
    /// Indexes that succeeded.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub completed_indexes: String,
    /// Indexes that failed for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_indexes: Option<String>,
    /// Pods that ended and are not in the counters yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncounted_terminated_pods: Option<Uncounted>,
    /// Pods that are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<i64>,
}

/// Uids of Pods that ended, written down before their finalizers go and counted after.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default)]
pub struct Uncounted {
    /// Those that succeeded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub succeeded: Vec<Box<str>>,
    /// Those that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Box<str>>,
}

/// A condition of a Job.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct JobCondition {
    /// Type.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// `True`, `False` or `Unknown`.
    pub status: Cow<'static, str>,
    /// When it was last looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_probe_time: Option<Timestamp>,
    /// When the status last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Timestamp>,
    /// Reason in one word.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: Cow<'static, str>,
    /// Reason in a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl JobStatus {
    /// The condition of that type, when it is true.
    pub fn condition(&self, kind: &str) -> Option<&JobCondition> {
        self.conditions.iter().find(|c| c.kind == kind && c.status == "True")
    }

    /// The condition that says how the Job ended.
    pub fn finished(&self) -> Option<&JobCondition> {
        self.condition("Complete").or_else(|| self.condition("Failed"))
    }
}

impl Job {
    /// Whether each success has an index of its own.
    pub fn is_indexed(&self) -> bool {
        &*self.spec.completion_mode == "Indexed"
    }

    /// Whether a Pod is replaced only once it has ended.
    pub fn replaces_ended_only(&self) -> bool {
        &*self.spec.pod_replacement_policy == "Failed" || self.spec.pod_failure_policy.is_some()
    }

    /// How many Pods may run at once.
    pub fn parallelism(&self) -> i64 {
        self.spec.parallelism.unwrap_or(1)
    }
}

/// A CronJob.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CronJob {
    /// Metadata.
    pub metadata: Meta,
    /// Spec.
    pub spec: CronJobSpec,
    /// Status.
    pub status: CronJobStatus,
}
projection!(CronJob, "batch", "v1", "cronjobs");

/// Spec of a CronJob.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CronJobSpec {
    /// When Jobs are due.
    pub schedule: Box<str>,
    /// Zone that the schedule is in.
    pub time_zone: Option<Box<str>>,
    /// How late a Job may still be started.
    pub starting_deadline_seconds: Option<i64>,
    /// `Allow`, `Forbid` or `Replace`.
    pub concurrency_policy: Box<str>,
    /// Whether it is held.
    pub suspend: bool,
    /// How many Jobs that succeeded are kept.
    pub successful_jobs_history_limit: Option<i64>,
    /// How many Jobs that failed are kept.
    pub failed_jobs_history_limit: Option<i64>,
    /// What Jobs are made from, as it was written.
    pub job_template: Option<Box<RawValue>>,
}

/// Status of a CronJob.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CronJobStatus {
    /// Jobs that run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub active: Vec<Reference>,
    /// When a Job was last due and started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<Timestamp>,
    /// When a Job last succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_successful_time: Option<Timestamp>,
}

/// A reference to a Job.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Reference {
    /// Group and version.
    pub api_version: Box<str>,
    /// Kind.
    pub kind: Box<str>,
    /// Namespace.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// Unique id.
    pub uid: Box<str>,
    /// Revision when it was made.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub resource_version: Box<str>,
}
