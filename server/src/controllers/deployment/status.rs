//! Status and conditions of a Deployment, in upstream's reasons and words. Pure.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::rollout::Bounds;
use crate::controllers::kinds::{Condition, Deployment, DeploymentStatus, ReplicaSet};

/// No deadline: what clients write who want none.
const NO_DEADLINE: i64 = i32::MAX as i64;

/// The ReplicaSets of a Deployment.
#[derive(Debug)]
pub(super) struct Family {
    /// The one of the present template.
    pub(super) new: Option<Arc<ReplicaSet>>,
    /// All others, oldest first.
    pub(super) old: Vec<Arc<ReplicaSet>>,
}

impl Family {
    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.old.iter().chain(&self.new)
    }
}

impl Deployment {
    /// Wanted replicas.
    pub(super) fn replicas(&self) -> i64 {
        self.spec.replicas.unwrap_or(1)
    }

    /// Whether updates are rolled out gradually.
    pub(super) fn is_rolling(&self) -> bool {
        &*self.spec.strategy.kind != "Recreate"
    }

    fn deadline(&self) -> Option<SignedDuration> {
        let seconds = self.spec.progress_deadline_seconds.filter(|s| *s != NO_DEADLINE)?;
        Some(SignedDuration::from_secs(seconds))
    }

    /// Whether a status says that everything is rolled out.
    pub(super) fn is_complete(&self, status: &DeploymentStatus) -> bool {
        let wanted = self.replicas();
        status.updated_replicas == wanted
            && status.replicas == wanted
            && status.available_replicas == wanted
            && status.observed_generation >= self.metadata.generation
    }

    fn is_progressing(&self, status: &DeploymentStatus) -> bool {
        let before = &self.status;
        status.updated_replicas > before.updated_replicas
            || status.replicas - status.updated_replicas < before.replicas - before.updated_replicas
            || status.ready_replicas > before.ready_replicas
            || status.available_replicas > before.available_replicas
    }

    fn is_timed_out(&self, status: &DeploymentStatus, now: Timestamp) -> bool {
        let Some((deadline, condition)) = self.deadline().zip(find(status, "Progressing")) else {
            return false;
        };
        match &*condition.reason {
            "NewReplicaSetAvailable" => false,
            "ProgressDeadlineExceeded" => true,
            _ => condition.last_update_time.is_some_and(|since| since + deadline < now),
        }
    }
}

fn find<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.kind == kind)
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    status.conditions.retain(|condition| condition.kind != kind);
}

/// Makes a condition.
pub(super) fn condition(
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
    now: Timestamp,
) -> Condition {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Condition {
        kind: Cow::Borrowed(kind),
        status: Cow::Borrowed(status),
        reason: Cow::Borrowed(reason),
        last_update_time: Some(now),
        last_transition_time: Some(now),
        message,
    }
}

/// Puts a condition in place unless one of the same status and reason stands there.
pub(super) fn set(status: &mut DeploymentStatus, mut condition: Condition) {
    if let Some(present) = find(status, &condition.kind) {
        if present.status == condition.status && present.reason == condition.reason {
            return;
        }
        if present.status == condition.status {
            condition.last_transition_time = present.last_transition_time;
        }
    }
    remove(status, &condition.kind.clone());
    status.conditions.push(condition);
}

/// Sets the Progressing condition, if the Deployment has a deadline at all.
pub(super) fn set_progressing(
    deployment: &Deployment,
    status: &mut DeploymentStatus,
    (state, reason): (&'static str, &'static str),
    message: String,
    now: Timestamp,
) {
    if deployment.deadline().is_some() {
        set(status, condition("Progressing", state, reason, message, now));
    }
}

/// The reason of the Progressing condition.
pub(super) fn progress_reason(status: &DeploymentStatus) -> Option<&str> {
    find(status, "Progressing").map(|condition| &*condition.reason)
}

/// Counts replicas and says whether enough are available.
pub(super) fn counted(deployment: &Deployment, family: &Family, now: Timestamp) -> DeploymentStatus {
    let sum = |of: fn(&ReplicaSet) -> i64| family.all().map(|rs| of(rs)).sum::<i64>();
    let available = sum(|rs| rs.status.available_replicas);
    let terminating = |rs: &Arc<ReplicaSet>| rs.status.terminating_replicas.unwrap_or(0);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: sum(|rs| rs.status.replicas),
        updated_replicas: family.new.as_ref().map_or(0, |rs| rs.status.replicas),
        ready_replicas: sum(|rs| rs.status.ready_replicas),
        available_replicas: available,
        unavailable_replicas: (sum(ReplicaSet::replicas) - available).max(0),
        terminating_replicas: Some(family.all().map(terminating).sum()),
        conditions: deployment.status.conditions.clone(),
        collision_count: deployment.status.collision_count,
    };
    let enough = available >= deployment.replicas() - Bounds::of(deployment).unavailable;
    let (state, reason, message) = match enough {
        true => (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        ),
        false => (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        ),
    };
    set(
        &mut status,
        condition("Available", state, reason, message.to_owned(), now),
    );
    status
}

/// The status of a Deployment that is being rolled out, with its progress.
pub(super) fn rolled(deployment: &Deployment, family: &Family, now: Timestamp) -> DeploymentStatus {
    let mut status = counted(deployment, family, now);
    if deployment.deadline().is_none() {
        remove(&mut status, "Progressing");
    }
    let done = status.replicas == status.updated_replicas && progress_reason(&status) == Some("NewReplicaSetAvailable");
    if deployment.deadline().is_some() && !done {
        progress(deployment, family, &mut status, now);
    }
    match failure(family) {
        Some(failure) => set(&mut status, failure),
        None => remove(&mut status, "ReplicaFailure"),
    }
    status
}

fn progress(deployment: &Deployment, family: &Family, status: &mut DeploymentStatus, now: Timestamp) {
    let who = match &family.new {
        Some(new) => format!("ReplicaSet {:?}", new.metadata.name),
        None => format!("Deployment {:?}", deployment.metadata.name),
    };
    let say = |state, reason, words: &str| condition("Progressing", state, reason, format!("{who} {words}."), now);
    if deployment.is_complete(status) {
        set(
            status,
            say("True", "NewReplicaSetAvailable", "has successfully progressed"),
        );
    } else if deployment.is_progressing(status) {
        // Every step renews the time from which the deadline counts.
        let mut step = say("True", "ReplicaSetUpdated", "is progressing");
        if let Some(present) = find(status, "Progressing")
            && present.status == "True"
        {
            step.last_transition_time = present.last_transition_time;
        }
        remove(status, "Progressing");
        status.conditions.push(step);
    } else if deployment.is_timed_out(status, now) {
        set(
            status,
            say("False", "ProgressDeadlineExceeded", "has timed out progressing"),
        );
    }
}

/// The failure of the new ReplicaSet, else of any.
fn failure(family: &Family) -> Option<Condition> {
    let of = |rs: &Arc<ReplicaSet>| {
        let mut failures = rs.status.conditions.iter().filter(|c| c.kind == "ReplicaFailure");
        failures.next().cloned()
    };
    let mut failure = family
        .new
        .as_ref()
        .and_then(of)
        .or_else(|| family.old.iter().find_map(of))?;
    failure.last_update_time = failure.last_transition_time;
    Some(failure)
}

/// When the progress has to be looked at again though nothing changes.
pub(super) fn next_deadline(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> Option<Duration> {
    let deadline = deployment.deadline()?;
    let condition = find(status, "Progressing")?;
    if deployment.is_complete(status) || condition.reason == "ProgressDeadlineExceeded" {
        return None;
    }
    let due = condition.last_update_time? + deadline + SignedDuration::from_secs(1);
    Some(due.duration_since(now).try_into().unwrap_or(Duration::from_secs(1)))
}
