//! ClusterRole aggregation: a role with an aggregation rule has the rules of all roles it selects.

use std::sync::Arc;

use async_trait::async_trait;
use mizzen_api::client::reflector::{Key, Projection, Reflector};
use mizzen_api::client::rest::Rest;
use serde_json::Value;

use super::kinds::ClusterRole;
use super::{Context, Controller, Next};
use crate::projection::{Watched, update};

struct Aggregation {
    rest: Rest,
    roles: Arc<Reflector<ClusterRole>>,
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = Aggregation {
        rest: context.rest.clone(),
        roles: context.caches.of(),
    };
    let (roles, queue) = (controller.roles.clone(), context.queue.clone());
    // Any role may be selected by any that aggregates, now or before it changed.
    controller.roles.subscribe(move |_| {
        let aggregating = roles.select("", |role| role.aggregation_rule.is_some());
        aggregating.iter().for_each(|role| queue.add(role.key()));
    });
    Arc::new(controller)
}

#[async_trait]
impl Controller for Aggregation {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(role) = self.roles.get("", &key.name) else {
            return Ok(Next::Change);
        };
        let Some(rule) = &role.aggregation_rule else {
            return Ok(Next::Change);
        };
        let mut selected = self.roles.select("", |other| {
            let mut selectors = rule.cluster_role_selectors.iter();
            other.metadata.name != role.metadata.name && selectors.any(|s| s.matches(&other.metadata.labels))
        });
        selected.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let rules = union(selected.iter().map(|role| &role.rules));
        if role.rules.as_array().map_or(&[][..], Vec::as_slice) != rules {
            update(&self.rest, &ClusterRole::AT, &role.metadata, "", |live| {
                live["rules"] = Value::Array(rules);
            })
            .await?;
        }
        Ok(Next::Change)
    }
}

/// All rules in order, each once.
fn union<'a>(of: impl Iterator<Item = &'a Value>) -> Vec<Value> {
    let mut union: Vec<Value> = Vec::new();
    for rule in of.filter_map(Value::as_array).flatten() {
        if !union.contains(rule) {
            union.push(rule.clone());
        }
    }
    union
}
