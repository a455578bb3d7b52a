//! Deletes Jobs some time after their end, where they ask for it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use kube::core::params::{DeleteParams, Preconditions, PropagationPolicy};
use mizzen_api::client::reflector::{Key, Projection, Reflector};
use mizzen_api::client::rest::Rest;

use super::kinds::batch::Job;
use super::{Context, Controller, Next};
use crate::projection::Watched;

struct TtlAfterFinished {
    rest: Rest,
    jobs: Arc<Reflector<Job>>,
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = TtlAfterFinished {
        rest: context.rest.clone(),
        jobs: context.caches.of(),
    };
    let queue = context.queue.clone();
    controller.jobs.subscribe(move |change| {
        if change.new.is_some_and(|job| expiry(job).is_some()) {
            queue.add(change.latest().key());
        }
    });
    Arc::new(controller)
}

/// When a Job goes, if it ever does by itself.
fn expiry(job: &Job) -> Option<Timestamp> {
    let seconds = job.spec.ttl_seconds_after_finished?;
    let ended = job.status.finished()?.last_transition_time?;
    (!job.metadata.is_deleting()).then(|| ended + SignedDuration::from_secs(seconds))
}

#[async_trait]
impl Controller for TtlAfterFinished {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let left = |job: &Job| expiry(job).map(|at| at.duration_since(Timestamp::now()));
        let Some(job) = self.jobs.get(&key.namespace, &key.name) else {
            return Ok(Next::Change);
        };
        match left(&job) {
            None => return Ok(Next::Change),
            Some(wait) if wait.is_positive() => return Ok(Next::After(Duration::try_from(wait)?)),
            Some(_) => {}
        }
        // The TTL may have been raised a moment ago: the live object decides.
        let live: Option<Job> = self.rest.get(&Job::AT, &key.namespace, &key.name).await?;
        let Some(live) = live.filter(|live| left(live).is_some_and(|wait| !wait.is_positive())) else {
            return Ok(Next::Change);
        };
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Foreground),
            preconditions: Some(Preconditions {
                uid: Some(live.metadata.uid.to_string()),
                resource_version: Some(live.metadata.resource_version.to_string()),
            }),
            ..DeleteParams::default()
        };
        self.rest.delete(&Job::AT, &key.namespace, &key.name, &params).await?;
        Ok(Next::Change)
    }
}
