//! VolumeBinding: a Pod goes where its volumes are, or can be; claims that wait for their first Pod
//! are bound to volumes there, or their node is told to the provisioner.
//!
//! What was chosen in Reserve is written in PreBind, which then waits until the claims are bound.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kube::core::params::{Patch, PatchParams};
use mizzen_api::client::rest::{self, Gvr, Rest};
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::scheduler::cluster::{Cluster, NodeInfo};
use crate::scheduler::framework::{CLAIM_CHANGED, Cycle, Event, Filter, NODES, Plugin, Prepared};
use crate::scheduler::framework::{Rejection, STORAGE_CHANGED, UPDATED};
use crate::scheduler::node::Node;
use crate::scheduler::pod::Pod;
use crate::scheduler::volumes::{Claim, SELECTED_NODE};

const CLAIMS: Gvr<'static> = Gvr::new("", "v1", "persistentvolumeclaims");
const VOLUMES: Gvr<'static> = Gvr::new("", "v1", "persistentvolumes");
const AWAY: &str = "node(s) didn't match PersistentVolume's node affinity";
const UNBINDABLE: &str = "node(s) didn't find available persistent volumes to bind";
const NO_VOLUME: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";

/// Namespace and name of a claim.
type Key = (Box<str>, Box<str>);

fn key(claim: &Claim) -> Key {
    (claim.metadata.namespace.clone(), claim.metadata.name.clone())
}

/// What is to be done for a claim.
#[derive(Clone, Debug)]
enum Todo {
    /// It gets this volume.
    Bind(Arc<Claim>, Box<str>),
    /// A volume is made for it.
    Provide(Arc<Claim>),
}

impl Todo {
    fn claim(&self) -> &Arc<Claim> {
        match self {
            Self::Bind(claim, _) | Self::Provide(claim) => claim,
        }
    }
}

pub(super) struct VolumeBinding {
    /// How long binding may take.
    pub(super) patience: Duration,
    /// What was reserved, by uid of the Pod.
    reserved: Mutex<HashMap<Box<str>, Vec<Todo>>>,
    /// The latest state of claims that are waited for.
    awaited: Mutex<HashMap<Key, Option<Arc<Claim>>>>,
    changed: Notify,
}

impl Default for VolumeBinding {
    fn default() -> Self {
        Self {
            patience: Duration::from_mins(10),
            reserved: Mutex::default(),
            awaited: Mutex::default(),
            changed: Notify::new(),
        }
    }
}

#[derive(Clone)]
struct Claims<'a> {
    plugin: &'a VolumeBinding,
    bound: Vec<Arc<Claim>>,
    waiting: Vec<Arc<Claim>>,
}

impl<'a> Filter<'a> for Claims<'a> {
    fn check(&self, cycle: Cycle<'a>, info: &NodeInfo) -> Result<(), Rejection> {
        let node = info.node();
        for claim in &self.bound {
            match cycle.cluster.volumes.volume(claim) {
                None => return Err(Rejection::unresolvable(NO_VOLUME)),
                Some(volume) if !volume.reaches(node) => return Err(Rejection::unresolvable(AWAY)),
                Some(_) => {}
            }
        }
        let found = self.plugin.plan(cycle.cluster, &self.waiting, node);
        found.map(drop).ok_or_else(|| Rejection::unresolvable(UNBINDABLE))
    }

    fn fork(&self) -> Box<dyn Filter<'a> + 'a> {
        Box::new(self.clone())
    }
}

impl VolumeBinding {
    /// How the claims would get their volumes on a node.
    fn plan(&self, cluster: &Cluster, waiting: &[Arc<Claim>], node: &Node) -> Option<Vec<Todo>> {
        if waiting.is_empty() {
            return Some(Vec::new());
        }
        let reserved = self.reserved.lock();
        let mut taken: Vec<Box<str>> = reserved.values().flatten().filter_map(volume_of).collect();
        let mut todo = Vec::new();
        for claim in waiting {
            let volumes = &cluster.volumes;
            // Once a node was told to the provisioner, the volume is made there and nowhere else.
            let selected = claim.metadata.annotations.get(SELECTED_NODE);
            if let Some(selected) = selected {
                if *selected != *node.metadata.name {
                    return None;
                }
                todo.push(Todo::Provide(claim.clone()));
            } else if let Some(volume) = volumes.matching(claim, node, |name| taken.iter().any(|t| **t == *name)) {
                taken.push(volume.metadata.name.clone());
                todo.push(Todo::Bind(claim.clone(), volume.metadata.name.clone()));
            } else if volumes.can_provide(claim, node) {
                todo.push(Todo::Provide(claim.clone()));
            } else {
                return None;
            }
        }
        Some(todo)
    }

    async fn write(&self, rest: &Rest, todo: &Todo, node: &str) -> rest::Result<()> {
        match todo {
            Todo::Bind(claim, volume) => {
                let meta = &claim.metadata;
                let reference = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": meta.name,
                    "namespace": meta.namespace, "uid": meta.uid, "resourceVersion": meta.resource_version});
                let patch = json!({
                    "metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
                    "spec": {"claimRef": reference},
                });
                self.patch(rest, &VOLUMES, ("", volume), patch).await
            }
            Todo::Provide(claim) if claim.metadata.annotations.get(SELECTED_NODE) == Some(node) => Ok(()),
            Todo::Provide(claim) => {
                let meta = &claim.metadata;
                let patch = json!({"metadata": {"uid": meta.uid, "annotations": {SELECTED_NODE: node}}});
                self.patch(rest, &CLAIMS, (&meta.namespace, &meta.name), patch).await
            }
        }
    }

    async fn patch(&self, rest: &Rest, at: &Gvr<'_>, name: (&str, &str), patch: Value) -> rest::Result<()> {
        let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
        let patched = rest.patch::<IgnoredAny>(at, name, "", &params, &patch).await;
        patched.map(drop)
    }

    /// Whether all are bound; an error when one no longer waits for this node.
    fn progress(&self, todo: &[Todo], node: &str) -> Result<bool, String> {
        let awaited = self.awaited.lock();
        let mut all = true;
        for todo in todo {
            let Some(Some(claim)) = awaited.get(&key(todo.claim())) else {
                all = false;
                continue;
            };
            let selected = claim.metadata.annotations.get(SELECTED_NODE);
            if matches!(todo, Todo::Provide(_)) && !claim.is_bound() && selected != Some(node) {
                return Err(format!(
                    "selectedNode annotation reset for PVC {:?}",
                    claim.metadata.name
                ));
            }
            all &= claim.is_bound();
        }
        Ok(all)
    }

    async fn wait(&self, todo: &[Todo], node: &str) -> Result<(), String> {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if self.progress(todo, node)? {
                return Ok(());
            }
            changed.await;
        }
    }
}

fn volume_of(todo: &Todo) -> Option<Box<str>> {
    match todo {
        Todo::Bind(_, volume) => Some(volume.clone()),
        Todo::Provide(_) => None,
    }
}

/// A Pod's claims that have their volumes, and those that wait for it.
type Sorted = (Vec<Arc<Claim>>, Vec<Arc<Claim>>);

fn sort(cycle: Cycle<'_>) -> Result<Sorted, Rejection> {
    let claims = cycle.cluster.volumes.of(cycle.pod).map_err(Rejection::unresolvable)?;
    let (bound, unbound): Sorted = claims.into_iter().partition(|claim| claim.is_bound());
    let waits = |claim: &Arc<Claim>| {
        let class = cycle.cluster.volumes.class(claim);
        claim.spec.volume_name.is_empty() && class.is_some_and(|class| class.waits())
    };
    match unbound.iter().all(waits) {
        true => Ok((bound, unbound)),
        false => Err(Rejection::unresolvable(
            "pod has unbound immediate PersistentVolumeClaims",
        )),
    }
}

#[async_trait]
impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        if cycle.pod.claims.is_empty() {
            return Ok(Prepared::Skip);
        }
        let (bound, waiting) = sort(cycle)?;
        let plugin = self;
        Ok(Prepared::State(Box::new(Claims { plugin, bound, waiting })))
    }

    fn reserve(&self, cycle: Cycle<'_>, info: &NodeInfo) -> Result<(), Rejection> {
        if cycle.pod.claims.is_empty() {
            return Ok(());
        }
        let (_, waiting) = sort(cycle)?;
        let plan = self.plan(cycle.cluster, &waiting, info.node());
        let plan = plan.ok_or_else(|| Rejection::unresolvable(UNBINDABLE))?;
        if !plan.is_empty() {
            let mut awaited = self.awaited.lock();
            plan.iter()
                .for_each(|todo| drop(awaited.insert(key(todo.claim()), None)));
            self.reserved.lock().insert(cycle.pod.metadata.uid.clone(), plan);
        }
        Ok(())
    }

    fn unreserve(&self, pod: &Pod, _node: &str) {
        if let Some(plan) = self.reserved.lock().remove(&pod.metadata.uid) {
            let mut awaited = self.awaited.lock();
            plan.iter().for_each(|todo| drop(awaited.remove(&key(todo.claim()))));
        }
    }

    async fn pre_bind(&self, rest: &Rest, pod: &Pod, node: &str) -> Result<(), String> {
        let Some(plan) = self.reserved.lock().get(&pod.metadata.uid).cloned() else {
            return Ok(());
        };
        for todo in &plan {
            let written = self.write(rest, todo, node).await;
            written.map_err(|error| rest::message(&error))?;
        }
        let waited = tokio::time::timeout(self.patience, self.wait(&plan, node)).await;
        waited.unwrap_or_else(|_| Err("binding volumes: context deadline exceeded".into()))
    }

    fn post_bind(&self, pod: &Pod, node: &str) {
        self.unreserve(pod, node);
    }

    fn observe(&self, event: &Event<'_>) {
        if let Event::ClaimChanged(claim) = event
            && let Some(known) = self.awaited.lock().get_mut(&key(claim))
        {
            let awaits_node = claim.metadata.annotations.get(SELECTED_NODE).is_some();
            // The state from before our own write says nothing.
            if claim.is_bound() || awaits_node || known.is_some() {
                *known = Some(Arc::new((*claim).clone()));
                self.changed.notify_waiters();
            }
        }
    }

    fn events(&self) -> u16 {
        NODES | CLAIM_CHANGED | STORAGE_CHANGED | UPDATED
    }

    fn may_help(&self, pod: &Pod, event: &Event<'_>) -> bool {
        match event {
            Event::ClaimChanged(claim) => {
                claim.metadata.namespace == pod.metadata.namespace
                    && pod.claims.iter().any(|c| c.name == claim.metadata.name)
            }
            _ => true,
        }
    }
}
