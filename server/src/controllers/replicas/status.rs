//! The status of a ReplicaSet, computed from its Pods.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mizzen_api::client::rest;
use serde_json::{Value, json};

use super::{Plan, plan};
use crate::controllers::kinds::{Condition, Pod, ReplicaSet, ReplicaSetStatus};
use crate::projection::LabelSelector;

/// The status that should stand; equal to the present one when there is nothing to write.
pub(super) fn wanted(
    parent: &ReplicaSet,
    active: &[Arc<Pod>],
    terminating: usize,
    failure: Option<&rest::Error>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let template = template_labels(parent);
    let count = |keep: &dyn Fn(&Pod) -> bool| number(active.iter().filter(|pod| keep(pod)).count());
    ReplicaSetStatus {
        replicas: number(active.len()),
        fully_labeled_replicas: count(&|pod| template.matches(&pod.metadata.labels)),
        ready_replicas: count(&Pod::is_ready),
        available_replicas: count(&|pod| {
            pod.available_at(parent.spec.min_ready_seconds)
                .is_some_and(|at| at <= now)
        }),
        terminating_replicas: Some(number(terminating)),
        observed_generation: parent.metadata.generation,
        conditions: conditions(parent, active.len(), failure, now),
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A selector of exactly the template's labels.
fn template_labels(parent: &ReplicaSet) -> LabelSelector {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Template {
        metadata: crate::projection::Meta,
    }
    let template = parent.spec.template.as_ref();
    let template: Template = template
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default();
    LabelSelector::equalities(template.metadata.labels)
}

fn conditions(parent: &ReplicaSet, active: usize, failure: Option<&rest::Error>, now: Timestamp) -> Box<[Condition]> {
    let is_failure = |condition: &&Condition| condition.kind == "ReplicaFailure";
    let present = parent.status.conditions.iter().find(is_failure);
    let others = parent.status.conditions.iter().filter(|c| !is_failure(c)).cloned();
    let failed = failure.map(|error| {
        present.cloned().unwrap_or_else(|| Condition {
            kind: Cow::Borrowed("ReplicaFailure"),
            status: Cow::Borrowed("True"),
            reason: Cow::Borrowed(match plan(parent.replicas(), active) {
                Plan::Delete(_) => "FailedDelete",
                _ => "FailedCreate",
            }),
            message: rest::message(error),
            last_transition_time: Some(whole_second(now)),
            last_update_time: None,
        })
    });
    others.chain(failed).collect()
}

/// Times in statuses have whole seconds; comparing with more precision would never find them equal.
fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// Writes a status into the live one, zeroes left out where upstream leaves them out.
pub(super) fn write(live: &mut Value, status: &ReplicaSetStatus) {
    let mut written = json!({"replicas": status.replicas});
    for (field, value) in [
        ("fullyLabeledReplicas", status.fully_labeled_replicas),
        ("readyReplicas", status.ready_replicas),
        ("availableReplicas", status.available_replicas),
        ("observedGeneration", status.observed_generation),
    ] {
        if value != 0 {
            written[field] = json!(value);
        }
    }
    if let Some(terminating) = status.terminating_replicas {
        written["terminatingReplicas"] = json!(terminating);
    }
    if !status.conditions.is_empty() {
        written["conditions"] = json!(status.conditions);
    }
    *live = written;
}

/// How long until the next Pod that is ready counts as available.
pub(super) fn next_available(parent: &ReplicaSet, active: &[Arc<Pod>], now: Timestamp) -> Option<Duration> {
    let times = active
        .iter()
        .filter_map(|pod| pod.available_at(parent.spec.min_ready_seconds));
    let next = times.filter(|at| *at > now).min()?;
    next.duration_since(now).try_into().ok()
}
