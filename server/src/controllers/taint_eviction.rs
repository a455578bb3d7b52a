//! Taint eviction: Pods leave nodes with `NoExecute` taints that they do not bear, or no longer.
//!
//! The keys are Pods. One is looked at when it is bound, when the taints of its node change, and when the
//! time that it bears them is over. Tolerations are read live: only Pods of tainted nodes need them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use kube::core::params::{Patch, PatchParams};
use mizzen_api::client::events::{Recorder, Severity};
use mizzen_api::client::reflector::{Key, Projection, Reflector};
use mizzen_api::client::rest::{self, Rest};
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::kinds::{Node, Pod, Taint};
use super::pod_control::delete_exactly;
use super::{Context, Controller, Next};
use crate::projection::Watched;

const NO_EXECUTE: &str = "NoExecute";

/// A taint: its node and its key.
type TaintOf = (Box<str>, Box<str>);

struct TaintEviction {
    rest: Rest,
    nodes: Arc<Reflector<Node>>,
    pods: Arc<Reflector<Pod>>,
    /// Since when a node has a taint that does not say so, by node and key.
    since: Mutex<HashMap<TaintOf, Timestamp>>,
    events: Recorder,
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = TaintEviction {
        rest: context.rest.clone(),
        nodes: context.caches.of(),
        pods: context.caches.of(),
        since: Mutex::default(),
        events: context.events.clone(),
    };
    let (pods, queue) = (controller.pods.clone(), context.queue.clone());
    controller.nodes.subscribe(move |change| {
        let node = change.latest();
        let before = change.old.map_or_else(Vec::new, |old| executing(old));
        if change.new.is_some() && executing(node) != before {
            let ours = pods
                .all()
                .into_iter()
                .filter(|pod| pod.spec.node_name == node.metadata.name);
            ours.for_each(|pod| queue.add(pod.key()));
        }
    });
    let (nodes, queue) = (controller.nodes.clone(), context.queue.clone());
    controller.pods.subscribe(move |change| {
        if let Some(pod) = change.new
            && nodes
                .get("", &pod.spec.node_name)
                .is_some_and(|node| !executing(&node).is_empty())
        {
            queue.add(pod.key());
        }
    });
    Arc::new(controller)
}

/// The taints of a node that drive Pods away.
fn executing(node: &Node) -> Vec<&Taint> {
    node.spec
        .taints
        .iter()
        .filter(|taint| taint.effect == NO_EXECUTE)
        .collect()
}

#[async_trait]
impl Controller for TaintEviction {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(pod) = self.pods.get(&key.namespace, &key.name) else {
            return Ok(Next::Change);
        };
        if !pod.is_active() {
            return Ok(Next::Change);
        }
        let Some(node) = self.nodes.get("", &pod.spec.node_name) else {
            return Ok(Next::Change);
        };
        let taints = self.dated(&node);
        if taints.is_empty() {
            return Ok(Next::Change);
        }
        let live: Option<Value> = self.rest.get(&Pod::AT, &key.namespace, &key.name).await?;
        let Some(live) = live.filter(|live| live["metadata"]["uid"].as_str() == Some(&*pod.metadata.uid)) else {
            return Ok(Next::Change);
        };
        let bound = live["status"]["startTime"].as_str().and_then(|time| time.parse().ok());
        let bound = bound.or(pod.metadata.creation_timestamp).unwrap_or_default();
        let tolerations = live["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        let Some(end) = leaves_at(&taints, &tolerations, bound) else {
            return Ok(Next::Change);
        };
        let left = end.duration_since(Timestamp::now());
        if left.is_positive() {
            return Ok(Next::After(Duration::try_from(left)?));
        }
        self.evict(&pod).await?;
        Ok(Next::Change)
    }
}

impl TaintEviction {
    /// The taints of a node that drive Pods away, each with the time since which it is there.
    fn dated(&self, node: &Node) -> Vec<(Taint, Timestamp)> {
        let name = &node.metadata.name;
        let mut since = self.since.lock();
        since.retain(|(of, key), _| of != name || node.spec.taints.iter().any(|taint| *taint.key == **key));
        let mut date = |taint: &Taint| {
            taint.time_added.unwrap_or_else(|| {
                let key = (name.clone(), Box::from(&*taint.key));
                *since.entry(key).or_insert_with(Timestamp::now)
            })
        };
        executing(node)
            .into_iter()
            .map(|taint| (taint.clone(), date(taint)))
            .collect()
    }

    async fn evict(&self, pod: &Pod) -> rest::Result<()> {
        let meta = &pod.metadata;
        let about = meta.reference("v1", "Pod");
        let message = format!("Marking for deletion Pod {}/{}", meta.namespace, meta.name);
        self.events
            .event(&about, Severity::Normal, "TaintManagerEviction", message);
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": now});
        let patch = Patch::Strategic(json!({"metadata": {"uid": meta.uid}, "status": {"conditions": [condition]}}));
        let (target, params) = ((&*meta.namespace, &*meta.name), PatchParams::default());
        let patched = self
            .rest
            .patch::<IgnoredAny>(&Pod::AT, target, "status", &params, &patch)
            .await;
        match patched {
            Err(error) if !rest::is_not_found(&error) && !rest::is_conflict(&error) => return Err(error),
            _ => {}
        }
        match delete_exactly(&self.rest, meta).await {
            Err(error) if rest::is_not_found(&error) => Ok(()),
            result => result,
        }
    }
}

/// When a Pod leaves: at once when it does not bear a taint, after the shortest time that it bears one,
/// or (`None`) never.
fn leaves_at(taints: &[(Taint, Timestamp)], tolerations: &[Value], bound: Timestamp) -> Option<Timestamp> {
    let ends = taints.iter().map(|(taint, since)| {
        let mut bearing = tolerations
            .iter()
            .filter(|toleration| bears(toleration, taint))
            .peekable();
        if bearing.peek().is_none() {
            return Some(Timestamp::UNIX_EPOCH);
        }
        let seconds = bearing
            .filter_map(|toleration| toleration["tolerationSeconds"].as_i64())
            .min()?;
        Some((*since).max(bound) + SignedDuration::from_secs(seconds.max(0)))
    });
    ends.flatten().min()
}

fn bears(toleration: &Value, taint: &Taint) -> bool {
    let text = |field: &str| toleration[field].as_str().unwrap_or_default();
    let means = |field: &str, value: &str| text(field).is_empty() || text(field) == value;
    let value = match text("operator") {
        "Exists" => true,
        "" | "Equal" => text("value") == &*taint.value,
        _ => false,
    };
    means("effect", &taint.effect) && means("key", &taint.key) && value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tolerations: Value, expect: Option<i64>) {
        let taint = |key: &str| Taint {
            key: key.to_owned().into(),
            effect: NO_EXECUTE.into(),
            ..Taint::default()
        };
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let taints = [(taint("a"), at(1000)), (taint("b"), at(2000))];
        let found = leaves_at(&taints, tolerations.as_array().unwrap(), at(1500));
        assert_eq!(found.map(Timestamp::as_second), expect, "{tolerations}");
    }

    #[test]
    fn a_pod_stays_as_long_as_it_bears_all_taints() {
        let a = |seconds: Value| json!({"key": "a", "operator": "Exists", "effect": NO_EXECUTE, "tolerationSeconds": seconds});
        check(json!([]), Some(0));
        check(json!([a(json!(300))]), Some(0));
        check(json!([{"operator": "Exists"}]), None);
        check(json!([{"operator": "Exists"}, a(json!(300))]), Some(1800));
        check(
            json!([a(json!(300)), {"key": "b", "tolerationSeconds": 10}]),
            Some(1800),
        );
        check(
            json!([a(json!(3000)), {"key": "b", "tolerationSeconds": 10}]),
            Some(2010),
        );
        check(json!([a(json!(null)), {"key": "b", "value": "x"}]), Some(0));
    }
}
