//! Garbage collection: deletes what lost its last owner, and carries foreground and orphaning
//! deletion through.
//!
//! A task of its own ([`follow`]) discovers the resources that can be deleted and watches the metadata
//! of each; when a CustomResourceDefinition or APIService changes it discovers anew. The [`graph`]
//! says which uids have to be looked at, and those are the keys. What the graph believes is always
//! confirmed by a live read before anything is deleted.

mod graph;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kube::core::params::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use mizzen_api::client::reflector::{Key, Reflector, Selector};
use mizzen_api::client::rest::{self, Gvr, Rest};
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::graph::{Deletion, FOREGROUND, Graph, Node, ORPHAN, Tracked};
use super::caches::Churn;
use super::discovery::{self, Served};
use super::queue::Queue;
use super::{Context, Controller, Next};
use crate::projection::Owner;

/// How long after a change of what is served discovery is asked again: several changes come together.
const SETTLE: Duration = Duration::from_secs(1);
/// How long the first lists are waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many references to owners that are gone are remembered (upstream's cache holds 500).
const REMEMBERED: usize = 500;

struct Collector {
    rest: Rest,
    shared: Arc<Shared>,
    /// References to owners that were looked for and are gone: a uid never comes back, and a parent's many children
    /// need not all look for it.
    gone: Mutex<HashSet<Key>>,
}

/// What watches write and reconciles read.
struct Shared {
    graph: Mutex<Graph>,
    queue: Queue,
    /// All resources served, for finding owners; replaced by every discovery.
    served: Mutex<Arc<Vec<Arc<Served>>>>,
    /// Whether the graph has seen everything once.
    ready: watch::Sender<bool>,
    /// Told when what is served may have changed.
    changed: tokio::sync::Notify,
    /// Told of what comes and goes.
    churn: Arc<Churn>,
}

/// Builds the controller; its keys are uids.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let shared = Arc::new(Shared {
        graph: Mutex::default(),
        queue: context.queue.clone(),
        served: Mutex::default(),
        ready: watch::Sender::new(false),
        changed: tokio::sync::Notify::new(),
        churn: context.caches.churn.clone(),
    });
    let (rest, stop) = (context.rest.clone(), context.stop.clone());
    let following = shared.clone();
    tokio::spawn(async move {
        let follow = follow(&rest, &following, &stop);
        tokio::select! {
            () = follow => {}
            () = stop.cancelled() => {}
        }
    });
    Arc::new(Collector {
        rest: context.rest.clone(),
        shared,
        gone: Mutex::default(),
    })
}

/// Keeps a watch on every resource that can be deleted.
async fn follow(rest: &Rest, shared: &Arc<Shared>, stop: &CancellationToken) {
    let mut watched: HashMap<Served, CancellationToken> = HashMap::new();
    let mut pause = Duration::from_millis(100);
    loop {
        match discovery::served(rest.client()).await {
            Ok((resources, failed)) => {
                // Resources of a group that cannot be asked keep their watches.
                refresh(rest, shared, stop, &mut watched, resources, failed.is_empty()).await;
                pause = Duration::from_millis(100);
            }
            Err(error) => {
                tracing::warn!(error = %rest::message(&error), "garbage collector cannot discover resources, will retry");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(30));
                continue;
            }
        }
        shared.changed.notified().await;
        tokio::time::sleep(SETTLE).await;
    }
}

async fn refresh(
    rest: &Rest,
    shared: &Arc<Shared>,
    stop: &CancellationToken,
    watched: &mut HashMap<Served, CancellationToken>,
    resources: Vec<Served>,
    complete: bool,
) {
    let collected = |served: &&Served| served.allows(&["list", "watch", "delete"]) && &*served.plural != "events";
    if complete {
        watched.retain(|served, stop| {
            let stays = resources.contains(served);
            if !stays {
                stop.cancel();
            }
            stays
        });
    }
    *shared.served.lock() = Arc::new(resources.iter().cloned().map(Arc::new).collect());
    let mut started = Vec::new();
    for served in resources.iter().filter(collected) {
        if !watched.contains_key(served) {
            let stop = stop.child_token();
            started.push(start(rest, shared, served, stop.clone()));
            watched.insert(served.clone(), stop);
        }
    }
    let synced = started.iter().map(|reflector| reflector.synced());
    // One resource that cannot be listed must not hold up all others: deletions look live anyway.
    let _ = tokio::time::timeout(PATIENCE, futures::future::join_all(synced)).await;
    shared.ready.send_replace(true);
}

fn start(rest: &Rest, shared: &Arc<Shared>, served: &Served, stop: CancellationToken) -> Arc<Reflector<Tracked>> {
    let selector = Selector {
        metadata_only: true,
        ..Selector::default()
    };
    let reflector = Reflector::<Tracked>::selected(served.at(), selector);
    let (shared, served) = (shared.clone(), Arc::new(served.clone()));
    let defines_resources = matches!(&*served.plural, "customresourcedefinitions" | "apiservices");
    // What these use may change while they exist.
    let varies = matches!(&*served.plural, "services" | "persistentvolumeclaims");
    reflector.subscribe(move |change| {
        if !change.initial && (change.old.is_none() || change.new.is_none() || varies) {
            shared.churn.tell(&change.latest().metadata.namespace);
        }
        let mut graph = shared.graph.lock();
        let work = match change.new {
            Some(object) => graph.set(&object.metadata.uid, Node::new(served.clone(), object.clone())),
            None => graph.remove(&change.latest().metadata.uid),
        };
        drop(graph);
        // A name that was given to a new object means that the old one is gone.
        if let (Some(old), Some(new)) = (change.old, change.new)
            && old.metadata.uid != new.metadata.uid
        {
            let gone = shared.graph.lock().remove(&old.metadata.uid);
            gone.iter().for_each(|uid| shared.queue.add(Key::new("", uid)));
        }
        work.iter().for_each(|uid| shared.queue.add(Key::new("", uid)));
        if defines_resources && !change.initial {
            shared.changed.notify_one();
        }
    });
    tokio::spawn(reflector.clone().run(rest.clone(), stop));
    reflector
}

/// What a live look at an owner found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnerState {
    Solid,
    /// Being deleted in the foreground: waits for this dependent.
    Waiting,
    Gone,
}

#[async_trait]
impl Controller for Collector {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        // Before everything has been seen once, an owner may only seem to be missing.
        let _ = self.shared.ready.subscribe().wait_for(|ready| *ready).await;
        let Some(node) = self.shared.graph.lock().get(&key.name) else {
            return Ok(Next::Change);
        };
        match node.deletion {
            Deletion::No => self.collect(&node).await?,
            Deletion::Background => {}
            Deletion::Foreground => self.delete_dependents(&node).await?,
            Deletion::Orphan => self.release_dependents(&node).await?,
        }
        Ok(Next::Change)
    }
}

impl Collector {
    async fn live(&self, node: &Node) -> rest::Result<Option<Tracked>> {
        let meta = &node.object.metadata;
        let live: Option<Tracked> = self.rest.get(&node.served.at(), &meta.namespace, &meta.name).await?;
        Ok(live.filter(|live| live.metadata.uid == meta.uid))
    }

    /// Deletes an object whose owners are all gone; takes the gone ones away if others are left.
    async fn collect(&self, node: &Node) -> anyhow::Result<()> {
        if node.owners().is_empty() {
            return Ok(());
        }
        let Some(live) = self.live(node).await? else {
            return Ok(());
        };
        let owners = &live.metadata.owner_references;
        if owners.is_empty() || live.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let mut states = Vec::with_capacity(owners.len());
        for owner in owners {
            states.push(self.state(owner, &live.metadata.namespace).await?);
        }
        if states.contains(&OwnerState::Solid) {
            let solid = owners
                .iter()
                .zip(&states)
                .filter(|(_, state)| **state == OwnerState::Solid);
            let solid: Vec<_> = solid.map(|(owner, _)| owner).collect();
            if solid.len() < owners.len() {
                self.set_owners(node, &live, &solid).await?;
            }
            return Ok(());
        }
        let has_dependents = !self.shared.graph.lock().dependents(&live.metadata.uid).is_empty();
        let finalizers = |name: &str| live.metadata.finalizers.iter().any(|finalizer| **finalizer == *name);
        let policy = match states.contains(&OwnerState::Waiting) && has_dependents {
            true => PropagationPolicy::Foreground,
            false if finalizers(ORPHAN) => PropagationPolicy::Orphan,
            false if finalizers(FOREGROUND) => PropagationPolicy::Foreground,
            false => PropagationPolicy::Background,
        };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions {
                uid: Some(live.metadata.uid.to_string()),
                resource_version: Some(live.metadata.resource_version.to_string()),
            }),
            ..DeleteParams::default()
        };
        let (namespace, name) = (&live.metadata.namespace, &live.metadata.name);
        Ok(self.rest.delete(&node.served.at(), namespace, name, &params).await?)
    }

    /// Whether an owner exists, by its uid and where its reference says it is.
    async fn state(&self, owner: &Owner, namespace: &str) -> anyhow::Result<OwnerState> {
        let served = self.served(owner)?;
        let namespace = if served.namespaced { namespace } else { "" };
        let known = self.shared.graph.lock().get(&owner.uid);
        if let Some(known) = known.filter(|known| *known.object.metadata.namespace == *namespace) {
            return Ok(match known.deletion {
                Deletion::Foreground => OwnerState::Waiting,
                _ => OwnerState::Solid,
            });
        }
        let reference = [&*owner.api_version, &*owner.kind, &*owner.name, &*owner.uid].join("/");
        let known_gone = Key::new(namespace, &reference);
        if self.gone.lock().contains(&known_gone) {
            return Ok(OwnerState::Gone);
        }
        let live: Option<Tracked> = self.rest.get(&served.at(), namespace, &owner.name).await?;
        if live.is_some_and(|live| live.metadata.uid == owner.uid) {
            return Ok(OwnerState::Solid);
        }
        let mut gone = self.gone.lock();
        if gone.len() >= REMEMBERED {
            gone.clear();
        }
        gone.insert(known_gone);
        Ok(OwnerState::Gone)
    }

    /// The resource of an owner. One that is not served may come back, so its dependents stay.
    fn served(&self, owner: &Owner) -> anyhow::Result<Arc<Served>> {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let all = self.shared.served.lock().clone();
        let mut fitting = all
            .iter()
            .filter(|served| *served.group == *group && *served.kind == *owner.kind);
        fitting.next().cloned().ok_or_else(|| {
            anyhow::anyhow!(
                "owner {} {} {} is of a kind that is not served",
                owner.api_version,
                owner.kind,
                owner.name
            )
        })
    }

    /// Foreground: when the last dependent that blocks is gone, the owner may go.
    async fn delete_dependents(&self, node: &Node) -> rest::Result<()> {
        let uid = &node.object.metadata.uid;
        let dependents = self.shared.graph.lock().dependents(uid);
        let blocks = |dependent: &Node| {
            dependent
                .owners()
                .iter()
                .any(|o| o.uid == *uid && o.block_owner_deletion)
        };
        let blocked = dependents.iter().any(|(_, dependent)| blocks(dependent));
        for (uid, dependent) in &dependents {
            if dependent.deletion == Deletion::No {
                self.shared.queue.add(Key::new("", uid));
            }
        }
        if blocked {
            return Ok(());
        }
        self.remove_finalizer(node, FOREGROUND).await
    }

    /// Orphan: dependents lose this owner, then the owner may go.
    async fn release_dependents(&self, node: &Node) -> rest::Result<()> {
        let uid = &node.object.metadata.uid;
        let dependents = self.shared.graph.lock().dependents(uid);
        for (_, dependent) in dependents {
            if let Some(live) = self.live(&dependent).await? {
                let others: Vec<_> = live
                    .metadata
                    .owner_references
                    .iter()
                    .filter(|o| o.uid != *uid)
                    .collect();
                if others.len() < live.metadata.owner_references.len() {
                    self.set_owners(&dependent, &live, &others).await?;
                }
            }
        }
        self.remove_finalizer(node, ORPHAN).await
    }

    async fn set_owners(&self, node: &Node, live: &Tracked, owners: &[&Owner]) -> rest::Result<()> {
        let owners: Vec<Value> = owners.iter().map(|owner| owner_value(owner)).collect();
        self.patch(node, live, json!({"ownerReferences": owners})).await
    }

    async fn remove_finalizer(&self, node: &Node, finalizer: &str) -> rest::Result<()> {
        let Some(live) = self.live(node).await? else {
            return Ok(());
        };
        let all = &live.metadata.finalizers;
        let others: Vec<_> = all.iter().filter(|f| ***f != *finalizer).collect();
        if others.len() == all.len() {
            return Ok(());
        }
        self.patch(node, &live, json!({"finalizers": others})).await
    }

    /// Patches metadata of exactly the state that was read.
    async fn patch(&self, node: &Node, live: &Tracked, mut metadata: Value) -> rest::Result<()> {
        let meta = &live.metadata;
        metadata["uid"] = json!(meta.uid);
        metadata["resourceVersion"] = json!(meta.resource_version);
        let at: Gvr<'_> = node.served.at();
        let target = (&*meta.namespace, &*meta.name);
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let params = PatchParams::default();
        let patched = self.rest.patch::<IgnoredAny>(&at, target, "", &params, &patch);
        match patched.await {
            Err(error) if !rest::is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

fn owner_value(owner: &Owner) -> Value {
    let mut value = json!({
        "apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid,
    });
    if owner.controller {
        value["controller"] = json!(true);
    }
    if owner.block_owner_deletion {
        value["blockOwnerDeletion"] = json!(true);
    }
    value
}
