//! ResourceQuota: has usage counted anew when something ends or changes.
//!
//! Counting itself is the API server's: its admission plugin computes `used` when this controller writes
//! the status (see `apiserver/admission/resource_quota.rs`). The keys are quotas; they are looked at when
//! they change, when objects come and go in their namespace, and once more a little later, when charges
//! for what was never stored have lapsed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
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
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = Quotas {
        rest: context.rest.clone(),
        quotas: context.caches.of(),
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
    // A Pod that ended uses nothing, though it is still there.
    let ended = recount.clone();
    context.caches.of::<Pod>().subscribe(move |change| {
        if let (Some(old), Some(new)) = (change.old, change.new)
            && old.is_finished() != new.is_finished()
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
            true => Next::Change,
            false => Next::After(AGAIN),
        })
    }
}
