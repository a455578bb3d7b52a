//! Lets Pods go whose Job will not count them: it is gone, has ended, or never was.

use std::sync::Arc;

use async_trait::async_trait;
use mizzen_api::client::reflector::{Key, Projection, Reflector};
use mizzen_api::client::rest::Rest;
use serde_json::Value;

use super::{Job, Pod, has_finalizer, job_key, strip};
use crate::controllers::{Context, Controller, Next};
use crate::projection::Watched;

struct Orphans {
    rest: Rest,
    jobs: Arc<Reflector<Job>>,
    pods: Arc<Reflector<Pod>>,
}

/// Builds the controller; its keys are Pods.
pub(in crate::controllers) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = Orphans {
        rest: context.rest.clone(),
        jobs: context.caches.of(),
        pods: context.caches.of(),
    };
    let (jobs, queue) = (controller.jobs.clone(), context.queue.clone());
    controller.pods.subscribe(move |change| {
        if let Some(pod) = change.new
            && has_finalizer(pod)
            && !is_counted(&jobs, pod)
        {
            queue.add(pod.key());
        }
    });
    let (pods, queue) = (controller.pods.clone(), context.queue.clone());
    controller.jobs.subscribe(move |change| {
        let job = change.latest();
        if change.new.is_some_and(|job| job.status.finished().is_none()) {
            return;
        }
        let uid = &job.metadata.uid;
        let left = pods.children(&job.metadata.namespace, uid, has_finalizer);
        left.iter().for_each(|pod| queue.add(pod.key()));
    });
    Arc::new(controller)
}

/// Whether there is a Job that counts the Pod.
fn is_counted(jobs: &Reflector<Job>, pod: &Pod) -> bool {
    let Some(key) = job_key(pod) else { return false };
    let job = jobs.get(&key.namespace, &key.name);
    job.is_some_and(|job| pod.metadata.is_controlled_by(&job.metadata.uid) && job.status.finished().is_none())
}

#[async_trait]
impl Controller for Orphans {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(pod) = self.pods.get(&key.namespace, &key.name) else {
            return Ok(Next::Change);
        };
        if !has_finalizer(&pod) || is_counted(&self.jobs, &pod) {
            return Ok(Next::Change);
        }
        // The cache may be behind: only a Job that is not there lets its Pods go.
        if let Some(job) = job_key(&pod) {
            let live: Option<Value> = self.rest.get(&Job::AT, &job.namespace, &job.name).await?;
            let job = live.and_then(|live| serde_json::from_value::<Job>(live).ok());
            let counts =
                |job: &Job| pod.metadata.is_controlled_by(&job.metadata.uid) && job.status.finished().is_none();
            if job.as_ref().is_some_and(counts) {
                return Ok(Next::Change);
            }
        }
        strip(&self.rest, &pod).await?;
        Ok(Next::Change)
    }
}
