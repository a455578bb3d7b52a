//! ResourceQuota: has usage counted anew when something ends or changes.
//!
//! Counting itself is the API server's: its admission plugin computes `used` when this controller writes
//! the status (see `apiserver/admission/resource_quota.rs`). The keys are quotas; they are looked at when
//! they change, when objects come and go in their namespace, once more a little later, when charges
//! for what was never stored have lapsed, and when Pods of a node that is not heard of should be gone.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use kube::core::params::ListParams;
use mizzen_api::client::reflector::{Key, Projection, Reflector};
use mizzen_api::client::rest::{List, Rest};
use serde::Deserialize;
use serde_json::Value;

use super::kinds::Pod;
use super::{Context, Controller, Next};
use crate::projection::{Meta, Watched, projection};

/// How long after a change usage is counted once more (charges lapse before).
const AGAIN: Duration = Duration::from_secs(12);
/// How long after its time a Pod of the usual grace counts although its node does not say that it is gone.
const GRACE: SignedDuration = SignedDuration::from_secs(31);

/// A quota.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Quota {
    metadata: Meta,
    spec: Hard,
    status: Hard,
}
projection!(Quota, "", "v1", "resourcequotas");

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
struct Hard {
    hard: Value,
    used: Value,
}

struct Quotas {
    rest: Rest,
    quotas: Arc<Reflector<Quota>>,
    pods: Arc<Reflector<Pod>>,
}

impl Quotas {
    /// When the next Pod of a namespace should be gone for as long as Pods are waited for.
    fn next_overdue(&self, namespace: &str) -> Option<Duration> {
        let leaving = self.pods.select(namespace, Pod::is_terminating);
        let now = Timestamp::now();
        let times = leaving
            .iter()
            .filter_map(|pod| Some(pod.metadata.deletion_timestamp? + GRACE));
        let next = times.filter(|at| *at > now).min()?;
        next.duration_since(now).try_into().ok()
    }
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = Quotas {
        rest: context.rest.clone(),
        quotas: context.caches.of(),
        pods: context.caches.of(),
    };
    let queue = context.queue.clone();
    controller
        .quotas
        .subscribe(move |change| queue.add(change.latest().key()));
    let (quotas, queue) = (controller.quotas.clone(), context.queue.clone());
    let recount = Arc::new(move |namespace: &str| {
        for quota in quotas.in_namespace(namespace) {
            queue.add(quota.key());
        }
    });
    // A Pod that ended uses nothing, though it is still there; nor does one that should be gone. One that
    // is resized may use less.
    let ended = recount.clone();
    controller.pods.subscribe(move |change| {
        if let (Some(old), Some(new)) = (change.old, change.new)
            && (old.is_active() != new.is_active() || old.metadata.generation != new.metadata.generation)
        {
            ended(&new.metadata.namespace);
        }
    });
    context.caches.churn.subscribe(move |namespace| recount(namespace));
    Arc::new(controller)
}

#[async_trait]
impl Controller for Quotas {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        if self.quotas.get(&key.namespace, &key.name).is_none() {
            return Ok(Next::Change);
        }
        let target = (&*key.namespace, &*key.name);
        // The role may list and not get, as upstream's.
        let params = ListParams::default().fields(&format!("metadata.name={}", key.name));
        let mut found: List<Value> = self.rest.list(&Quota::AT, &key.namespace, &params).await?;
        let live = found.items.pop();
        let Some(mut live) = live.filter(|live| live["metadata"]["deletionTimestamp"].is_null()) else {
            return Ok(Next::Change);
        };
        live["apiVersion"] = "v1".into();
        live["kind"] = "ResourceQuota".into();
        let before = live["status"]["used"].clone();
        live["status"]["hard"] = live["spec"]["hard"].clone();
        let written: Value = self.rest.replace(&Quota::AT, target, "status", &live).await?;
        // What a recount takes back may be the echo of a write under way: it is looked at once more.
        Ok(match written["status"]["used"] == before {
            true => self.next_overdue(&key.namespace).map_or(Next::Change, Next::After),
            false => Next::After(AGAIN),
        })
    }
}
