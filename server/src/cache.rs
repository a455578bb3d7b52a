//! The watch cache: the whole state in memory as ordered snapshots, and the recent past as events.
//!
//! [`Cache`] follows the store by one watch over `/registry/`, holds each object once as the bytes that
//! are sent ([`Entry`]), and hands every event to the watchers whose filter matches.
//!
//! Tasks: one, [`Cache::run`]. It applies each batch under the lock and pushes events into the bounded
//! queue of each interested watcher; a watcher whose queue is full is dropped, nobody waits for it.
//!
//! Invariants: events of a resource are applied and handed out in revision order; a [`Snapshot`] never
//! changes after it was taken (it shares structure with the live map); a state inside the event window
//! is computed by undoing events, so history costs no memory beyond the window's events.

mod collection;
mod event;
mod fanout;
mod filter;
mod project;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use imbl::OrdMap;
use mizzen_api::resource::{Registry, Resource};
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::store::{Range, Revision, Store, StoreError, Watch, prefix_end};

use collection::Collection;
pub use event::{Event, EventKind, FrameKey, Include, View};
pub use fanout::{Delivery, Subscription};
pub use filter::Filter;
use project::Layout;
pub use project::Shape;

/// Prefix of every key that the cache follows.
pub const ROOT: &str = "/registry/";

/// How long a read waits for the cache to catch up with the store.
const FRESHNESS_TIMEOUT: Duration = Duration::from_secs(3);

/// How often watchers that asked for bookmarks get one.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

/// Pause before the state is loaded from a store that was away.
const LOAD_PAUSE: Duration = Duration::from_secs(1);

/// Records per request when the state is loaded from the store.
const LOAD_PAGE: usize = 2_000;

/// An object as the cache holds it: shared bytes, and what filters look at.
#[derive(Debug)]
pub struct Entry {
    /// Store key.
    pub key: Arc<str>,
    /// `metadata.resourceVersion`.
    pub revision: Revision,
    /// The object's JSON, `resourceVersion` in place: what gets, lists and watches send.
    pub json: Bytes,
    /// `metadata.namespace`; empty for cluster scope.
    pub namespace: Box<str>,
    /// `metadata.name`.
    pub name: Box<str>,
    /// `metadata.labels`, sorted by key.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// Values of the kind's selectable fields, in the order of `shape`.
    pub fields: Box<[Box<str>]>,
    /// Which fields those are.
    pub shape: Arc<Shape>,
}

impl Entry {
    /// Value of a selectable field; empty when the object does not set it.
    pub fn field(&self, path: &str) -> &str {
        match path {
            "metadata.name" => &self.name,
            "metadata.namespace" => &self.namespace,
            _ => self.shape.position(path).map_or("", |at| &self.fields[at]),
        }
    }
}

/// Reads of the latest state for the server's own use (authorization, admission, allocation).
pub trait Reader: Send + Sync {
    /// One object.
    fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Arc<Entry>>;
    /// All objects of a resource, in a namespace or (with `None`) everywhere, in key order.
    fn list(&self, resource: &Resource, namespace: Option<&str>) -> Vec<Arc<Entry>>;
    /// Revision at which anything of the resource last changed: whoever derives from it checks this.
    fn last_change(&self, resource: &Resource) -> Revision;
    /// Waits until reads show every write acknowledged before the call: for whoever missed something that
    /// may just have been created.
    fn fresh(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    /// One object, which may just have been created.
    fn find<'a>(
        &'a self,
        resource: &'a Resource,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Option<Arc<Entry>>> {
        Box::pin(async move {
            let found = self.get(resource, namespace, name);
            if found.is_some() {
                return found;
            }
            self.fresh().await;
            self.get(resource, namespace, name)
        })
    }
}

/// Objects of one resource in key order.
pub type Entries = OrdMap<Arc<str>, Arc<Entry>>;

/// The objects of one resource as they were at a revision.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Revision that this is the state at.
    pub revision: Revision,
    /// The objects.
    pub entries: Entries,
}

/// Why a read at a revision is not possible.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// History before `oldest` is gone.
    #[error("history before {oldest} is gone")]
    Expired {
        /// Oldest revision that can still be read or resumed from.
        oldest: Revision,
    },
    /// The cache did not reach the revision in time.
    #[error("revision {wanted} was not reached, the current one is {current}")]
    TooLarge {
        /// Revision asked for.
        wanted: Revision,
        /// Revision reached.
        current: Revision,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Prefix of the keys of a resource's objects, `/` at its end; nothing is stored under it when the
/// resource is one of those that are only answered.
pub fn collection_prefix(resource: &Resource) -> String {
    match &resource.storage {
        Some(storage) => format!("{ROOT}{}/", storage.prefix),
        None => format!("{ROOT}-/{}/", resource.plural),
    }
}

/// Key of an object; `namespace` is empty for cluster scope.
pub fn object_key(resource: &Resource, namespace: &str, name: &str) -> String {
    let mut key = collection_prefix(resource);
    if !namespace.is_empty() {
        key.push_str(namespace);
        key.push('/');
    }
    key.push_str(name);
    key
}

#[derive(Default)]
struct Inner {
    revision: Revision,
    /// Before this nothing is known: the state was loaded at it.
    loaded_at: Revision,
    collections: HashMap<Box<str>, Collection>,
    layout: Arc<Layout>,
}

impl Inner {
    fn collection(&mut self, prefix: &str) -> &mut Collection {
        if !self.collections.contains_key(prefix) {
            let new = Collection::new(self.loaded_at);
            self.collections.insert(prefix.into(), new);
        }
        self.collections.get_mut(prefix).expect("just inserted")
    }

    fn apply(&mut self, batch: crate::store::Batch) {
        for event in batch.events {
            self.revision = event.record.mod_revision;
            let layout = Arc::clone(&self.layout);
            if let Some((prefix, _)) = layout.split(&event.record.key) {
                let prefix = prefix.to_owned();
                self.collection(&prefix).apply(event, &layout);
            }
        }
        self.revision = self.revision.max(batch.revision);
    }
}

/// The watch cache. See the module.
pub struct Cache {
    store: Arc<dyn Store>,
    inner: RwLock<Inner>,
    progress: watch::Sender<Revision>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}

impl Cache {
    /// Loads the state from the store; [`Cache::run`] then follows it.
    pub async fn load(store: Arc<dyn Store>, registry: &Registry) -> Result<Arc<Self>, StoreError> {
        let mut layout = Layout::default();
        for resource in registry.iter() {
            layout.add(resource);
        }
        let inner = load(&*store, Arc::new(layout)).await?;
        let (progress, _) = watch::channel(inner.revision);
        Ok(Arc::new(Self {
            store,
            inner: RwLock::new(inner),
            progress,
        }))
    }

    /// Follows the store until told to stop.
    ///
    /// When the watch breaks (the cache fell behind, the engine restarted) all watchers are dropped and
    /// the state is loaded anew: clients resume or list again.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let from = self.revision() + 1;
            let ended = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                ended = self.follow(from) => ended,
            };
            match ended {
                Err(StoreError::Closed) => return Ok(()),
                Err(error) => tracing::warn!(%error, "the store's watch ended, loading the state again"),
                Ok(()) => tracing::warn!("the store's watch ended, loading the state again"),
            }
            let layout = Arc::clone(&self.inner.read().layout);
            let fresh = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                fresh = load_at_last(&*self.store, layout) => fresh?,
            };
            let revision = fresh.revision;
            *self.inner.write() = fresh;
            self.progress.send_replace(revision);
        }
    }

    async fn follow(&self, from: Revision) -> Result<(), StoreError> {
        let mut watch: Watch = self.store.watch(ROOT, from).await?;
        let mut bookmarks = tokio::time::interval(BOOKMARK_INTERVAL);
        bookmarks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                batch = watch.next() => {
                    let Some(batch) = batch.transpose()? else { return Ok(()) };
                    let mut inner = self.inner.write();
                    inner.apply(batch);
                    let revision = inner.revision;
                    drop(inner);
                    self.progress.send_replace(revision);
                }
                _ = bookmarks.tick() => self.bookmark(),
            }
        }
    }

    fn bookmark(&self) {
        let mut inner = self.inner.write();
        let revision = inner.revision;
        for collection in inner.collections.values_mut() {
            collection.watchers.bookmark(revision);
        }
    }

    /// Revision up to which the store's changes are in the cache.
    pub fn revision(&self) -> Revision {
        self.inner.read().revision
    }

    /// Waits until the cache has every change up to `revision`.
    pub async fn wait_for(&self, revision: Revision) -> Result<(), CacheError> {
        let mut progress = self.progress.subscribe();
        if *progress.borrow_and_update() >= revision {
            return Ok(());
        }
        let reached = tokio::time::timeout(FRESHNESS_TIMEOUT, progress.wait_for(|at| *at >= revision)).await;
        match reached {
            Ok(Ok(_)) => Ok(()),
            _ => Err(CacheError::TooLarge {
                wanted: revision,
                current: self.revision(),
            }),
        }
    }

    /// Waits until the cache has everything that was committed before the call.
    pub async fn wait_fresh(&self) -> Result<(), CacheError> {
        let revision = self.store.revision().await?;
        self.wait_for(revision).await
    }

    /// The latest state of a collection that the cache has.
    pub fn snapshot(&self, prefix: &str) -> Snapshot {
        let inner = self.inner.read();
        Snapshot {
            revision: inner.revision,
            entries: inner
                .collections
                .get(prefix)
                .map(|c| c.entries.clone())
                .unwrap_or_default(),
        }
    }

    /// The state of a collection at an exact revision: from the event window, or else from the store.
    pub async fn snapshot_at(&self, prefix: &str, revision: Revision) -> Result<Snapshot, CacheError> {
        self.wait_for(revision).await?;
        let (layout, recent) = {
            let inner = self.inner.read();
            let recent = match inner.collections.get(prefix) {
                Some(collection) => collection.entries_at(revision),
                None if revision >= inner.loaded_at => Some(Entries::new()),
                None => None,
            };
            (Arc::clone(&inner.layout), recent)
        };
        let entries = match recent {
            Some(entries) => entries,
            None => read_range(&*self.store, &layout, prefix, Some(revision)).await?.entries,
        };
        Ok(Snapshot { revision, entries })
    }

    /// One object of the latest state.
    pub fn entry(&self, prefix: &str, key: &str) -> Option<Arc<Entry>> {
        let inner = self.inner.read();
        inner.collections.get(prefix)?.entries.get(key).cloned()
    }

    /// Events after `since`, as the filter sees them.
    pub async fn watch_since(
        self: &Arc<Self>,
        prefix: &str,
        filter: Filter,
        since: Revision,
        bookmarks: bool,
    ) -> Result<Subscription, CacheError> {
        // A revision from the future (of another server) is waited for, but never refused.
        let _ = self.wait_for(since).await;
        let mut inner = self.inner.write();
        let revision = inner.revision;
        let collection = inner.collection(prefix);
        let backlog = collection
            .events_since(since, &filter)
            .map_err(|oldest| CacheError::Expired { oldest })?;
        let (id, queue) = collection.watchers.add(filter, since, bookmarks);
        drop(inner);
        Ok(Subscription::new(self, prefix, id, queue, backlog, revision))
    }

    /// The latest state and the events after it.
    pub fn watch_now(self: &Arc<Self>, prefix: &str, filter: Filter, bookmarks: bool) -> (Snapshot, Subscription) {
        let mut inner = self.inner.write();
        let revision = inner.revision;
        let collection = inner.collection(prefix);
        let snapshot = Snapshot {
            revision,
            entries: collection.entries.clone(),
        };
        let (id, queue) = collection.watchers.add(filter, revision, bookmarks);
        drop(inner);
        let subscription = Subscription::new(self, prefix, id, queue, Vec::new(), revision);
        (snapshot, subscription)
    }

    /// How many objects each collection has, by prefix.
    pub fn sizes(&self) -> Vec<(Box<str>, usize)> {
        let inner = self.inner.read();
        let sizes = inner
            .collections
            .iter()
            .map(|(prefix, c)| (prefix.clone(), c.entries.len()));
        sizes.collect()
    }

    fn unsubscribe(&self, prefix: &str, id: u64) {
        if let Some(collection) = self.inner.write().collections.get_mut(prefix) {
            collection.watchers.remove(id);
        }
    }
}

impl Reader for Cache {
    fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        let prefix = collection_prefix(resource);
        self.entry(&prefix, &object_key(resource, namespace, name))
    }

    fn list(&self, resource: &Resource, namespace: Option<&str>) -> Vec<Arc<Entry>> {
        let mut prefix = collection_prefix(resource);
        let entries = self.snapshot(&prefix).entries;
        let Some(namespace) = namespace else {
            return entries.values().cloned().collect();
        };
        prefix.push_str(namespace);
        prefix.push('/');
        range_of(&entries, &prefix).map(|(_, entry)| entry.clone()).collect()
    }

    fn last_change(&self, resource: &Resource) -> Revision {
        let prefix = collection_prefix(resource);
        let inner = self.inner.read();
        inner
            .collections
            .get(&*prefix)
            .map_or(inner.loaded_at, |c| c.last_change)
    }

    fn fresh(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            // Whoever asked reads again either way, and says what is missing then.
            let _ = self.wait_fresh().await;
        })
    }
}

/// The entries whose keys start with `prefix`.
pub fn range_of<'a>(entries: &'a Entries, prefix: &str) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<Entry>)> {
    let (start, end): (Arc<str>, Arc<str>) = (prefix.into(), prefix_end(prefix).into());
    entries.range(start..end)
}

async fn load(store: &dyn Store, layout: Arc<Layout>) -> Result<Inner, StoreError> {
    let all = read_range(store, &layout, ROOT, None).await?;
    let mut inner = Inner {
        revision: all.revision,
        loaded_at: all.revision,
        collections: HashMap::new(),
        layout: Arc::clone(&layout),
    };
    for (key, entry) in all.entries {
        if let Some((prefix, _)) = layout.split(&key) {
            inner.collection(prefix).entries.insert(key.clone(), entry);
        }
    }
    Ok(inner)
}

/// Loads the state, however long the store is away.
async fn load_at_last(store: &dyn Store, layout: Arc<Layout>) -> Result<Inner, StoreError> {
    loop {
        match load(store, Arc::clone(&layout)).await {
            Err(StoreError::Unavailable(why)) => {
                tracing::warn!(why, "the store does not answer, trying again");
                tokio::time::sleep(LOAD_PAUSE).await;
            }
            loaded => return loaded,
        }
    }
}

async fn read_range(
    store: &dyn Store,
    layout: &Layout,
    prefix: &str,
    mut revision: Option<Revision>,
) -> Result<Snapshot, StoreError> {
    let mut entries = Entries::new();
    let mut start = prefix.to_owned();
    loop {
        let range = Range {
            start,
            end: prefix_end(prefix),
            limit: LOAD_PAGE,
            revision,
        };
        let page = store.range(range).await?;
        revision = Some(page.revision);
        start = page.records.last().map(|r| format!("{}\0", r.key)).unwrap_or_default();
        for record in &page.records {
            if let Some(entry) = layout.entry(record) {
                entries.insert(record.key.clone(), Arc::new(entry));
            }
        }
        if page.remaining == 0 {
            return Ok(Snapshot {
                revision: page.revision,
                entries,
            });
        }
    }
}

#[cfg(test)]
mod tests;
