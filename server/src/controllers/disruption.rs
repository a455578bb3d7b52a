//! PodDisruptionBudgets: how many Pods may be evicted now. The eviction subresource spends it.
//!
//! The arithmetic is [`count`], pure. A write that meets an eviction's conflicts and is computed anew.

mod count;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use mizzen_api::client::events::{Recorder, Severity};
use mizzen_api::client::reflector::{Key, Projection, Reflector};
use mizzen_api::client::rest::{Gvr, Rest};
use mizzen_api::resource::builtin;
use serde_json::{Value, json};

use super::kinds::policy::{BudgetCondition, BudgetStatus, PodDisruptionBudget};
use super::kinds::{Condition, Deployment, Pod, ReplicaSet};
use super::{Context, Controller, Next};
use crate::projection::{Owner, Watched, update};

const KIND: (&str, &str) = ("policy/v1", "PodDisruptionBudget");

struct Disruption {
    rest: Rest,
    budgets: Arc<Reflector<PodDisruptionBudget>>,
    pods: Arc<Reflector<Pod>>,
    sets: Arc<Reflector<ReplicaSet>>,
    events: Recorder,
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = Disruption {
        rest: context.rest.clone(),
        budgets: context.caches.of(),
        pods: context.caches.of(),
        sets: context.caches.of(),
        events: context.events.clone(),
    };
    let queue = context.queue.clone();
    controller
        .budgets
        .subscribe(move |change| queue.add(change.latest().key()));
    let (budgets, queue) = (controller.budgets.clone(), context.queue.clone());
    controller.pods.subscribe(move |change| {
        let states = [change.old, change.new].into_iter().flatten();
        let concerned = |budget: &PodDisruptionBudget| states.clone().any(|pod| selects(budget, pod));
        for budget in budgets.select(change.latest().namespace(), concerned) {
            queue.add(budget.key());
        }
    });
    // A controller that is scaled wants more or fewer Pods before there are.
    let (budgets, pods) = (controller.budgets.clone(), controller.pods.clone());
    let scaled = {
        let queue = context.queue.clone();
        move |namespace: &str, uid: &str| {
            for budget in budgets.select(namespace, |budget| count::needs_scale(&budget.spec)) {
                let of_owner = |pod: &Pod| selects(&budget, pod) && pod.metadata.is_controlled_by(uid);
                if !pods.select(namespace, of_owner).is_empty() {
                    queue.add(budget.key());
                }
            }
        }
    };
    controller.sets.subscribe(move |change| {
        let replicas = |set: &Arc<ReplicaSet>| set.replicas();
        if change.old.map(replicas) != change.new.map(replicas) {
            scaled(change.latest().namespace(), &change.latest().metadata.uid);
        }
    });
    Arc::new(controller)
}

fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.selector.as_ref();
    selector.is_some_and(|selector| selector.matches(&pod.metadata.labels))
}

#[async_trait]
impl Controller for Disruption {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(budget) = self.budgets.get(&key.namespace, &key.name) else {
            return Ok(Next::Change);
        };
        if budget.metadata.is_deleting() {
            return Ok(Next::Change);
        }
        let pods = self
            .pods
            .select(&key.namespace, |pod| !pod.is_finished() && selects(&budget, pod));
        let scale = match count::needs_scale(&budget.spec) {
            true => self.scale(&pods).await,
            false => Ok(0),
        };
        let (status, next) = match &scale {
            Ok(scale) => {
                let expected = count::expected(&budget.spec, pods.len(), *scale);
                let (mut status, next) = count::status(
                    &budget.status,
                    pods.iter().map(AsRef::as_ref),
                    expected,
                    Timestamp::now(),
                );
                let (is, reason) = match status.disruptions_allowed > 0 {
                    true => ("True", "SufficientPods"),
                    false => ("False", "InsufficientPods"),
                };
                set_condition(&budget, &mut status, is, reason, String::new());
                (status, next)
            }
            Err(why) => {
                let about = budget.metadata.reference(KIND.0, KIND.1);
                let words = format!("Failed to calculate the number of expected pods: {why}");
                self.events
                    .event(&about, Severity::Warning, "CalculateExpectedPodCountFailed", words);
                let mut status = budget.status.clone();
                status.disruptions_allowed = 0;
                set_condition(&budget, &mut status, "False", "SyncFailed", format!("{why}"));
                (status, None)
            }
        };
        if status != budget.status {
            let (rest, meta) = (&self.rest, &budget.metadata);
            update(rest, &PodDisruptionBudget::AT, meta, "status", |live| {
                live["status"] = json!(status)
            })
            .await?;
        }
        scale?;
        Ok(next.map_or(Next::Change, Next::After))
    }
}

fn set_condition(
    budget: &PodDisruptionBudget,
    status: &mut BudgetStatus,
    is: &'static str,
    reason: &'static str,
    message: String,
) {
    let kind = "DisruptionAllowed";
    status.observed_generation = budget.metadata.generation;
    let present = status.conditions.iter().find(|own| own.condition.kind == kind);
    let since = present.filter(|own| own.condition.status == is);
    let since = since.and_then(|own| own.condition.last_transition_time);
    let now = Timestamp::from_second(Timestamp::now().as_second()).ok();
    let own = BudgetCondition {
        condition: Condition {
            kind: Cow::Borrowed(kind),
            status: Cow::Borrowed(is),
            last_update_time: None,
            last_transition_time: since.or(now),
            reason: Cow::Borrowed(reason),
            message,
        },
        observed_generation: budget.metadata.generation,
    };
    status.conditions.retain(|other| other.condition.kind != kind);
    status.conditions.push(own);
}

impl Disruption {
    /// How many Pods the controllers of these want together.
    async fn scale(&self, pods: &[Arc<Pod>]) -> anyhow::Result<i64> {
        let mut owners: BTreeMap<&str, (&Pod, &Owner)> = BTreeMap::new();
        for pod in pods {
            let Some(owner) = pod.metadata.controller() else {
                anyhow::bail!("found no controller ref for pod {:?}", pod.name());
            };
            owners.insert(&owner.uid, (pod, owner));
        }
        let mut wanted = BTreeMap::new();
        for (pod, owner) in owners.into_values() {
            let (uid, replicas) = self.scale_of(pod.namespace(), owner).await?;
            wanted.insert(uid, replicas);
        }
        Ok(wanted.into_values().sum())
    }

    /// What a controller wants; a Deployment answers for its ReplicaSets.
    async fn scale_of(&self, namespace: &str, owner: &Owner) -> anyhow::Result<(Box<str>, i64)> {
        let set = self
            .sets
            .get(namespace, &owner.name)
            .filter(|set| set.metadata.uid == owner.uid);
        let above = set.as_ref().and_then(|set| set.metadata.controller());
        if let Some(owner) = above.filter(|owner| &*owner.kind == "Deployment") {
            let live: Option<Deployment> = self.rest.get(&Deployment::AT, namespace, &owner.name).await?;
            if let Some(deployment) = live {
                return Ok((owner.uid.clone(), deployment.spec.replicas.unwrap_or(1)));
            }
        }
        if let Some(set) = set {
            return Ok((owner.uid.clone(), set.replicas()));
        }
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        let row = builtin().by_kind(group, version, &owner.kind);
        let scales = row.filter(|row| row.subresource("scale").is_some());
        let Some(row) = scales else {
            anyhow::bail!(
                "{}.{group} {:?} does not implement the scale subresource",
                owner.kind,
                owner.name
            );
        };
        let at = Gvr::new(&row.group, &row.version, &row.plural);
        let scale: Option<Value> = self.rest.get(&at, namespace, &format!("{}/scale", owner.name)).await?;
        Ok((
            owner.uid.clone(),
            scale.and_then(|scale| scale["spec"]["replicas"].as_i64()).unwrap_or(0),
        ))
    }
}
