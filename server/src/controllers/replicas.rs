//! The core of ReplicaSet and ReplicationController: keep a number of Pods.
//!
//! Observe ([`Replicas::reconcile`]) → decide ([`plan`], pure) → create in growing batches or delete the
//! least dear ([`ranking`]) → write status. [`super::expectations`] keeps a cache that is behind from
//! making it act twice.

pub(super) mod ranking;
mod status;

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use mizzen_api::client::reflector::{Change, Key, Reflector};
use mizzen_api::client::rest::{self, Rest};
use serde_json::Value;

use self::ranking::Ranked;
use super::expectations::Expectations;
use super::kinds::{Pod, ReplicaSet};
use super::ownership::{Parent, pod_changed};
use super::pod_control::{AT_ONCE, PodControl, in_batches};
use super::{Context, Controller, Next, template};
use crate::projection::{Labels, Watched, update};

/// How many Pods are created or deleted in one go (upstream's burst).
const BURST: usize = 500;

/// A kind that keeps Pods as a ReplicaSet does.
pub(super) trait Family: Watched {
    /// `apiVersion` and `kind`.
    const KIND: (&'static str, &'static str);

    /// The object in the form of a ReplicaSet.
    fn form(&self) -> &ReplicaSet;
}

/// The controller of one family.
pub(super) struct Replicas<F> {
    rest: Rest,
    parents: Arc<Reflector<F>>,
    pods: Arc<Reflector<Pod>>,
    expectations: Arc<Expectations>,
    pods_of: PodControl,
    family: PhantomData<F>,
}

impl<F: Family> Replicas<F> {
    /// Builds the controller and subscribes it.
    pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
        let controller = Self {
            rest: context.rest.clone(),
            parents: context.caches.of(),
            pods: context.caches.of(),
            expectations: Arc::default(),
            pods_of: PodControl::new(context),
            family: PhantomData,
        };
        let queue = context.queue.clone();
        controller
            .parents
            .subscribe(move |change| queue.add(parent_key(change)));
        let (parents, expectations) = (controller.parents.clone(), controller.expectations.clone());
        let queue = context.queue.clone();
        controller.pods.subscribe(move |change| {
            let adopters = |labels: &_| selecting(&parents, &change.latest().metadata.namespace, labels);
            pod_changed(change, F::KIND, &expectations, &queue, adopters);
        });
        Arc::new(controller)
    }

    async fn manage(&self, key: &Key, parent: &ReplicaSet, active: &[Arc<Pod>]) -> rest::Result<()> {
        match plan(parent.replicas(), active.len()) {
            Plan::Rest => Ok(()),
            Plan::Create(count) => self.create(key, parent, count).await,
            Plan::Delete(count) => self.delete(key, parent, active, count).await,
        }
    }

    /// Creates Pods in batches that double: a quota or a bad template costs one refusal, not hundreds.
    async fn create(&self, key: &Key, parent: &ReplicaSet, count: usize) -> rest::Result<()> {
        let about = reference::<F>(parent);
        let pod = pod_from_template(parent, F::KIND);
        self.expectations.expect(key, count, []);
        let namespace = &parent.metadata.namespace;
        let created = in_batches(0..count, |_| self.pods_of.create(namespace, &about, &pod)).await;
        // What failed, or was not even tried, will not be seen.
        self.expectations.created(key, count - created.done);
        match created.error {
            Some(error) if !rest::is_namespace_terminating(&error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn delete(&self, key: &Key, parent: &ReplicaSet, active: &[Arc<Pod>], count: usize) -> rest::Result<()> {
        let victims = self.victims(parent, active, count);
        let uids = victims.iter().map(|pod| &*pod.metadata.uid);
        self.expectations.expect(key, 0, uids);
        let about = reference::<F>(parent);
        let mut results = Vec::with_capacity(victims.len());
        // All are tried; the first failure is told.
        for some in victims.chunks(AT_ONCE) {
            let deleted = some.iter().map(|pod| async {
                let deleted = self.pods_of.delete(&about, &pod.metadata).await;
                if deleted.is_err() {
                    self.expectations.deleted(key, &pod.metadata.uid);
                }
                deleted
            });
            results.extend(join_all(deleted).await);
        }
        results.into_iter().collect()
    }

    /// The Pods to delete: all that are too many, the least dear first.
    fn victims(&self, parent: &ReplicaSet, active: &[Arc<Pod>], count: usize) -> Vec<Arc<Pod>> {
        if count >= active.len() {
            return active.to_vec();
        }
        let relatives = self.relatives(parent);
        let now = Timestamp::now();
        let mut ranked: Vec<_> = active
            .iter()
            .map(|pod| (Ranked::new(pod, ranking::colocated(pod, &relatives), now), pod))
            .collect();
        ranked.sort_by(|(a, _), (b, _)| a.cmp(b));
        ranked.into_iter().take(count).map(|(_, pod)| pod.clone()).collect()
    }

    /// Active Pods of all parents under the same owner: a Deployment's other ReplicaSets count when
    /// asking on which node replicas are doubled up.
    fn relatives(&self, parent: &ReplicaSet) -> Vec<Arc<Pod>> {
        let namespace = &parent.metadata.namespace;
        let pods = |of: &ReplicaSet| self.pods.children(namespace, &of.metadata.uid, Pod::is_active);
        match parent.metadata.controller() {
            Some(owner) => {
                let siblings = self.parents.children(namespace, &owner.uid, |_| true);
                siblings.iter().flat_map(|sibling| pods(sibling.form())).collect()
            }
            None => pods(parent),
        }
    }
}

#[async_trait]
impl<F: Family> Controller for Replicas<F> {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(parent) = self.parents.get(&key.namespace, &key.name) else {
            self.expectations.forget(key);
            return Ok(Next::Change);
        };
        let parent = parent.form();
        // Asked before reading Pods: whatever satisfied it is then among what is read.
        let may_act = self.expectations.satisfied(key);
        let claims = Parent {
            rest: &self.rest,
            meta: &parent.metadata,
            selector: &parent.spec.selector,
            at: F::AT,
            kind: F::KIND,
        };
        let pods = claims
            .claim(&self.pods, |pod| !pod.is_finished(), |pod| &pod.metadata)
            .await?;
        let (active, terminating): (Vec<_>, Vec<_>) = pods.into_iter().partition(|pod| pod.is_active());
        let managed = match may_act && !parent.metadata.is_deleting() {
            true => self.manage(key, parent, &active).await,
            false => Ok(()),
        };
        let now = Timestamp::now();
        let wanted = status::wanted(parent, &active, terminating.len(), managed.as_ref().err(), now);
        if wanted != parent.status {
            let written = update(&self.rest, &F::AT, &parent.metadata, "status", |live| {
                status::write(&mut live["status"], &wanted);
            });
            written.await?;
        }
        managed?;
        Ok(status::next_available(parent, &active, now).map_or(Next::Change, Next::After))
    }
}

/// What to do about the number of Pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Rest,
    Create(usize),
    Delete(usize),
}

fn plan(wanted: i64, active: usize) -> Plan {
    let wanted = usize::try_from(wanted).unwrap_or(0);
    match active.cmp(&wanted) {
        std::cmp::Ordering::Equal => Plan::Rest,
        std::cmp::Ordering::Less => Plan::Create((wanted - active).min(BURST)),
        std::cmp::Ordering::Greater => Plan::Delete((active - wanted).min(BURST)),
    }
}

fn reference<F: Family>(parent: &ReplicaSet) -> ObjectReference {
    parent.metadata.reference(F::KIND.0, F::KIND.1)
}

/// A Pod as the template describes it, owned by the parent.
fn pod_from_template(parent: &ReplicaSet, (api_version, kind): (&str, &str)) -> Value {
    let owner = parent.metadata.controller_reference(api_version, kind);
    let mut pod = template::pod(parent.spec.template.as_deref(), owner);
    pod["metadata"]["generateName"] = format!("{}-", parent.metadata.name).into();
    pod
}

fn selecting<F: Family>(parents: &Reflector<F>, namespace: &str, labels: &Labels) -> Vec<Key> {
    let found = parents.select(namespace, |parent| parent.form().spec.selector.matches(labels));
    found.iter().map(|parent| parent.key()).collect()
}

fn parent_key<F: Family>(change: &Change<'_, F>) -> Key {
    change.latest().key()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_plan_brings_the_number_nearer_and_never_past(wanted in 0i64..2000, active in 0usize..2000) {
            let target = usize::try_from(wanted).expect("not negative");
            let after = match plan(wanted, active) {
                Plan::Rest => { prop_assert_eq!(active, target); active }
                Plan::Create(n) => { prop_assert!(n > 0 && n <= BURST && active + n <= target); active + n }
                Plan::Delete(n) => { prop_assert!(n > 0 && n <= BURST && active - n >= target); active - n }
            };
            prop_assert!(after.abs_diff(target) <= active.abs_diff(target));
        }
    }
}
