//! Pod garbage collection: Pods that no kubelet will ever end.
//!
//! Keys are nodes, and `.` for what is about no node: Pods that were deleted before they got one, and
//! Pods that ended, of which only so many are kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kube::core::params::{DeleteParams, Patch, PatchParams, Preconditions};
use mizzen_api::client::reflector::{Key, Projection, Reflector};
use mizzen_api::client::rest::{self, Rest};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::kinds::{Node, Pod};
use super::{Context, Controller, Next};
use crate::projection::Watched;

/// How many ended Pods are kept (upstream's).
const KEPT: usize = 12_500;
/// How long a node must be gone before its Pods follow (upstream's).
const QUARANTINE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 40 });
/// Taint that says that nothing runs on a node any more.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
const NO_NODE: &str = ".";

struct PodGc {
    rest: Rest,
    pods: Arc<Reflector<Pod>>,
    nodes: Arc<Reflector<Node>>,
    ended: Arc<AtomicUsize>,
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = PodGc {
        rest: context.rest.clone(),
        pods: context.caches.of(),
        nodes: context.caches.of(),
        ended: Arc::default(),
    };
    let (nodes, ended, queue) = (
        controller.nodes.clone(),
        controller.ended.clone(),
        context.queue.clone(),
    );
    controller.pods.subscribe(move |change| {
        let has_ended = |pod: Option<&Arc<Pod>>| pod.is_some_and(|pod| pod.is_finished());
        match (has_ended(change.old), has_ended(change.new)) {
            (false, true) if ended.fetch_add(1, Ordering::Relaxed) >= KEPT => queue.add(Key::new("", NO_NODE)),
            (true, false) => drop(ended.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        let Some(pod) = change.new else { return };
        match &*pod.spec.node_name {
            "" if pod.metadata.is_deleting() => queue.add(Key::new("", NO_NODE)),
            "" => {}
            // The node may only not have been seen yet.
            node if nodes.get("", node).is_none() => queue.add_after(Key::new("", node), QUARANTINE),
            node if pod.metadata.is_deleting() => queue.add(Key::new("", node)),
            _ => {}
        }
    });
    let queue = context.queue.clone();
    controller.nodes.subscribe(move |change| {
        let out = |node: &Arc<Node>| is_out_of_service(node);
        match (change.old.map(out), change.new.map(out)) {
            (_, None) => queue.add_after(change.latest().key(), QUARANTINE),
            (Some(false) | None, Some(true)) => queue.add(change.latest().key()),
            _ => {}
        }
    });
    Arc::new(controller)
}

fn is_out_of_service(node: &Node) -> bool {
    let ready = node
        .status
        .conditions
        .iter()
        .any(|c| c.kind == "Ready" && c.status == "True");
    !ready && node.spec.taints.iter().any(|taint| taint.key == OUT_OF_SERVICE)
}

#[async_trait]
impl Controller for PodGc {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        if &*key.name == NO_NODE {
            self.no_node().await?;
        } else {
            self.node(&key.name).await?;
        }
        Ok(Next::Change)
    }
}

impl PodGc {
    async fn node(&self, name: &str) -> rest::Result<()> {
        let (which, message): (fn(&Pod) -> bool, _) = match self.nodes.get("", name) {
            Some(node) if is_out_of_service(&node) => {
                (|pod| pod.metadata.is_deleting(), "PodGC: node is out of service")
            }
            Some(_) => return Ok(()),
            // The cache is not enough to say that a node is gone.
            None if self.rest.get::<IgnoredAny>(&Node::AT, "", name).await?.is_some() => return Ok(()),
            None => (|_| true, "PodGC: node no longer exists"),
        };
        let pods = self.pods.all();
        for pod in pods.iter().filter(|pod| &*pod.spec.node_name == name && which(pod)) {
            self.remove(pod, Some(message)).await?;
        }
        Ok(())
    }

    async fn no_node(&self) -> rest::Result<()> {
        let pods = self.pods.all();
        for pod in pods
            .iter()
            .filter(|pod| pod.spec.node_name.is_empty() && pod.metadata.is_deleting())
        {
            self.remove(pod, None).await?;
        }
        for pod in surplus(pods, KEPT) {
            self.remove(&pod, None).await?;
        }
        Ok(())
    }

    /// Removes a Pod at once; one that did not end is marked as failed first, so that whoever counts it
    /// learns why.
    async fn remove(&self, pod: &Pod, why: Option<&str>) -> rest::Result<()> {
        let target = (pod.namespace(), pod.name());
        if let Some(message) = why.filter(|_| !pod.is_finished()) {
            let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
                "message": message, "lastTransitionTime": now});
            let patch = json!({"metadata": {"uid": pod.metadata.uid},
                "status": {"phase": "Failed", "conditions": [condition]}});
            let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
            match self
                .rest
                .patch::<Value>(&Pod::AT, target, "status", &params, &patch)
                .await
            {
                Err(error) if rest::is_not_found(&error) || rest::is_conflict(&error) => return Ok(()),
                result => drop(result?),
            }
        }
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(pod.metadata.uid.to_string()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.rest.delete(&Pod::AT, target.0, target.1, &params).await {
            Err(error) if rest::is_conflict(&error) => Ok(()),
            result => result,
        }
    }
}

/// The oldest of the Pods that ended, beyond as many as are kept.
fn surplus(mut pods: Vec<Arc<Pod>>, kept: usize) -> Vec<Arc<Pod>> {
    pods.retain(|pod| pod.is_finished() && !pod.metadata.is_deleting());
    pods.sort_by(|a, b| {
        let key = |pod: &Pod| pod.metadata.creation_timestamp;
        key(a).cmp(&key(b)).then_with(|| a.name().cmp(b.name()))
    });
    pods.truncate(pods.len().saturating_sub(kept));
    pods
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_ended_pods_go() {
        let pod = |name: &str, phase: &str, at: &str| -> Arc<Pod> {
            let pod = json!({"metadata": {"name": name, "creationTimestamp": at}, "status": {"phase": phase}});
            Arc::new(serde_json::from_str(&pod.to_string()).expect("a Pod"))
        };
        let pods = vec![
            pod("new", "Failed", "2026-01-03T00:00:00Z"),
            pod("old", "Succeeded", "2026-01-01T00:00:00Z"),
            pod("runs", "Running", "2025-01-01T00:00:00Z"),
            pod("middle", "Failed", "2026-01-02T00:00:00Z"),
        ];
        let names = |kept| {
            surplus(pods.clone(), kept)
                .iter()
                .map(|pod| pod.name().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(1), ["old", "middle"]);
        assert_eq!(names(3), [""; 0]);
    }
}
