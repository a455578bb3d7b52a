//! Claims and volumes stay as long as they are used: a finalizer on each, taken away when it may go.
//!
//! Two controllers: of claims that no placed Pod uses, and of volumes that are not bound.

use std::sync::Arc;

use async_trait::async_trait;
use kube::core::params::ListParams;
use mizzen_api::client::reflector::{Key, Projection, Reflector};
use mizzen_api::client::rest::{self, Rest};
use serde_json::json;

use super::kinds::Pod;
use super::kinds::storage::{Claim, Volume};
use super::{Context, Controller, Next};
use crate::apiserver::admission::storage_object_in_use_protection::{CLAIM_FINALIZER, VOLUME_FINALIZER};
use crate::projection::{Meta, Watched, update};

struct Claims {
    rest: Rest,
    claims: Arc<Reflector<Claim>>,
    pods: Arc<Reflector<Pod>>,
}

struct Volumes {
    rest: Rest,
    volumes: Arc<Reflector<Volume>>,
}

/// Builds the controller of claims.
pub(super) fn build_claims(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = Claims {
        rest: context.rest.clone(),
        claims: context.caches.of(),
        pods: context.caches.of(),
    };
    let queue = context.queue.clone();
    controller.claims.subscribe(move |change| {
        if change
            .new
            .is_some_and(|claim| step(&claim.metadata, CLAIM_FINALIZER) != Step::Rest)
        {
            queue.add(change.latest().key());
        }
    });
    let (claims, queue) = (controller.claims.clone(), context.queue.clone());
    controller.pods.subscribe(move |change| {
        let pod = change.latest();
        if change.new.is_none() || pod.is_finished() {
            for used in &pod.spec.claims {
                let claim = claims.get(pod.namespace(), &used.name(pod.name()));
                claim
                    .filter(|claim| claim.metadata.is_deleting())
                    .into_iter()
                    .for_each(|claim| queue.add(claim.key()));
            }
        }
    });
    Arc::new(controller)
}

/// Builds the controller of volumes.
pub(super) fn build_volumes(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = Volumes {
        rest: context.rest.clone(),
        volumes: context.caches.of(),
    };
    let queue = context.queue.clone();
    controller.volumes.subscribe(move |change| {
        if change
            .new
            .is_some_and(|volume| step(&volume.metadata, VOLUME_FINALIZER) != Step::Rest)
        {
            queue.add(change.latest().key());
        }
    });
    Arc::new(controller)
}

/// What an object's own state asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Rest,
    /// It was made without the finalizer.
    Protect,
    /// It goes as soon as nobody uses it.
    LetGo,
}

fn step<A>(meta: &Meta<A>, finalizer: &str) -> Step {
    let protected = meta.finalizers.iter().any(|own| **own == *finalizer);
    match (meta.is_deleting(), protected) {
        (false, false) => Step::Protect,
        (true, true) => Step::LetGo,
        _ => Step::Rest,
    }
}

/// Adds or takes away the finalizer.
async fn take<T: Watched, A>(rest: &Rest, meta: &Meta<A>, finalizer: &str, step: Step) -> rest::Result<()> {
    update(rest, &T::AT, meta, "", |live| {
        let list = &mut live["metadata"]["finalizers"];
        if !list.is_array() {
            *list = json!([]);
        }
        let finalizers = list.as_array_mut().expect("just made a list");
        match step {
            Step::Protect => finalizers.push(finalizer.into()),
            _ => finalizers.retain(|own| own != finalizer),
        }
    })
    .await
}

/// Whether a Pod keeps a claim from going. One that has no node will be refused by its kubelet; one that
/// ended has let go.
fn uses(pod: &Pod, claim: &str) -> bool {
    !pod.spec.node_name.is_empty()
        && !pod.is_finished()
        && pod.spec.claims.iter().any(|used| used.name(pod.name()) == claim)
}

#[async_trait]
impl Controller for Claims {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(claim) = self.claims.get(&key.namespace, &key.name) else {
            return Ok(Next::Change);
        };
        let step = step(&claim.metadata, CLAIM_FINALIZER);
        let in_use = step == Step::LetGo && self.in_use(&claim).await?;
        if step != Step::Rest && !in_use {
            take::<Claim, _>(&self.rest, &claim.metadata, CLAIM_FINALIZER, step).await?;
        }
        Ok(Next::Change)
    }
}

impl Claims {
    /// Whether a Pod uses the claim, by the cache and, since there is no way back, by the server.
    async fn in_use(&self, claim: &Claim) -> rest::Result<bool> {
        let (namespace, name) = (&claim.metadata.namespace, &claim.metadata.name);
        if !self.pods.select(namespace, |pod| uses(pod, name)).is_empty() {
            return Ok(true);
        }
        let live = self
            .rest
            .list::<Pod>(&Pod::AT, namespace, &ListParams::default())
            .await?;
        Ok(live.items.iter().any(|pod| uses(pod, name)))
    }
}

#[async_trait]
impl Controller for Volumes {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(volume) = self.volumes.get("", &key.name) else {
            return Ok(Next::Change);
        };
        let step = step(&volume.metadata, VOLUME_FINALIZER);
        let in_use = step == Step::LetGo && &*volume.status.phase == "Bound";
        if step != Step::Rest && !in_use {
            take::<Volume, _>(&self.rest, &volume.metadata, VOLUME_FINALIZER, step).await?;
        }
        Ok(Next::Change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: serde_json::Value, phase: &str, expect: bool) {
        let pod = json!({"metadata": {"name": "p"}, "spec": spec, "status": {"phase": phase}});
        let pod: Pod = serde_json::from_str(&pod.to_string()).expect("a Pod");
        assert_eq!(uses(&pod, "p-data"), expect, "{pod:?}");
    }

    #[test]
    fn a_placed_pod_that_runs_uses_its_claims() {
        let claim = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "p-data"}}]);
        check(json!({"nodeName": "n", "volumes": claim}), "Running", true);
        check(json!({"nodeName": "n", "volumes": claim}), "Succeeded", false);
        check(json!({"volumes": claim}), "Pending", false);
        check(
            json!({"nodeName": "n", "volumes": [{"name": "data", "ephemeral": {}}]}),
            "Running",
            true,
        );
        check(
            json!({"nodeName": "n", "volumes": [{"name": "data", "emptyDir": {}}]}),
            "Running",
            false,
        );
    }
}
