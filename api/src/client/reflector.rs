//! A shared copy of one resource, kept by one list and one watch.
//!
//! [`Reflector::run`] is the only task; it writes the copy ([`Reflector`]) and then tells every
//! subscriber of the change with the object before and after. Objects are projections: small types
//! that skip what their readers do not need. Lost connections resume at the last revision; a revision
//! that the server no longer has leads to a new list, whose difference is told as ordinary changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use kube::core::Request;
use kube::core::params::{ListParams, WatchParams};
use kube::core::watch::WatchEvent;
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::rest::{self, Gvr, List, Rest};

/// Namespace (empty for cluster scope) and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Namespace; empty for cluster scope.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl Key {
    /// The key of an object.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.namespace {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// What a reflector needs of an object.
pub trait Projection: DeserializeOwned + Clone + Send + Sync + 'static {
    /// Namespace; empty for cluster scope.
    fn namespace(&self) -> &str;
    /// Name.
    fn name(&self) -> &str;
    /// `metadata.resourceVersion`.
    fn resource_version(&self) -> &str;

    /// Namespace and name.
    fn key(&self) -> Key {
        Key::new(self.namespace(), self.name())
    }
}

/// One change: the object before (unless it is new) and after (unless it is gone).
#[derive(Debug)]
pub struct Change<'a, T> {
    /// The object as it was known before.
    pub old: Option<&'a Arc<T>>,
    /// The object as it is now.
    pub new: Option<&'a Arc<T>>,
    /// Whether this is part of the first list rather than news.
    pub initial: bool,
}

impl<'a, T> Change<'a, T> {
    /// The latest known state, whether or not the object still exists.
    pub fn latest(&self) -> &'a Arc<T> {
        self.new.or(self.old).expect("a change has a before or an after")
    }
}

type Subscriber<T> = Box<dyn Fn(&Change<'_, T>) + Send + Sync>;
/// Objects by namespace, then name, so that one namespace can be listed without visiting the rest.
type Objects<T> = HashMap<Arc<str>, HashMap<Arc<str>, Arc<T>>>;

/// A watched copy of one resource.
pub struct Reflector<T> {
    path: String,
    selector: Selector,
    objects: RwLock<Objects<T>>,
    subscribers: RwLock<Vec<Subscriber<T>>>,
    synced: watch::Sender<bool>,
}

/// Which objects are watched, all of them by default, and how much of them.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// Only metadata is asked for.
    pub metadata_only: bool,
    /// Only of this namespace; empty for all.
    pub namespace: String,
    /// Field selector.
    pub fields: String,
    /// Label selector.
    pub labels: String,
}

impl<T> std::fmt::Debug for Reflector<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reflector")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl<T: Projection> Reflector<T> {
    /// An empty copy of all objects of a resource.
    pub fn new(at: Gvr<'_>) -> Arc<Self> {
        Self::selected(at, Selector::default())
    }

    /// An empty copy of the objects that `selector` selects.
    pub fn selected(at: Gvr<'_>, selector: Selector) -> Arc<Self> {
        Arc::new(Self {
            path: at.path(&selector.namespace),
            selector,
            objects: RwLock::default(),
            subscribers: RwLock::default(),
            synced: watch::Sender::new(false),
        })
    }

    /// Calls `subscriber` on every change from now on, after the copy has changed. It must not block.
    pub fn subscribe(&self, subscriber: impl Fn(&Change<'_, T>) + Send + Sync + 'static) {
        self.subscribers.write().push(Box::new(subscriber));
    }

    /// Waits for the first list.
    pub async fn synced(&self) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Whether the first list is there.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.objects.read().get(namespace)?.get(name).cloned()
    }

    /// All objects of a namespace, in no order.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<T>> {
        self.select(namespace, |_| true)
    }

    /// The objects of a namespace that `keep` keeps, in no order.
    pub fn select(&self, namespace: &str, keep: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        let objects = self.objects.read();
        let all = objects.get(namespace).into_iter().flat_map(HashMap::values);
        all.filter(|object| keep(object)).cloned().collect()
    }

    /// All objects, in no order.
    pub fn all(&self) -> Vec<Arc<T>> {
        let objects = self.objects.read();
        objects.values().flat_map(HashMap::values).cloned().collect()
    }

    /// Keeps the copy up to date until `stop`.
    pub async fn run(self: Arc<Self>, rest: Rest, stop: CancellationToken) {
        let follow = self.follow(&rest);
        tokio::select! {
            () = follow => {}
            () = stop.cancelled() => {}
        }
    }

    async fn follow(&self, rest: &Rest) {
        let mut backoff = Backoff::default();
        loop {
            match self.list(rest).await {
                Ok(revision) => {
                    backoff.reset();
                    self.watch(rest, revision, &mut backoff).await;
                }
                Err(error) => {
                    tracing::warn!(path = self.path, error = %rest::message(&error), "cannot list, will retry");
                    backoff.wait().await;
                }
            }
        }
    }

    /// Lists in pages, applies the difference to the copy, and returns the list's revision.
    async fn list(&self, rest: &Rest) -> rest::Result<String> {
        let mut params = ListParams::default().limit(500);
        if !self.selector.fields.is_empty() {
            params = params.fields(&self.selector.fields);
        }
        if !self.selector.labels.is_empty() {
            params = params.labels(&self.selector.labels);
        }
        let mut items = Vec::new();
        loop {
            let request = Request::new(self.path.as_str());
            let request = match self.selector.metadata_only {
                true => request.list_metadata(&params),
                false => request.list(&params),
            };
            let page: List<T> = rest.send(request).await?;
            items.extend(page.items);
            if page.metadata.next.is_empty() {
                self.replace(items);
                return Ok(page.metadata.resource_version);
            }
            params.continue_token = Some(page.metadata.next);
        }
    }

    fn replace(&self, items: Vec<T>) {
        let initial = !*self.synced.borrow();
        let mut gone: HashMap<Key, Arc<T>> = self.all().into_iter().map(|o| (o.key(), o)).collect();
        for item in items {
            if let Some(old) = gone.remove(&item.key())
                && old.resource_version() == item.resource_version()
            {
                continue;
            }
            self.apply(Arc::new(item), initial);
        }
        for old in gone.into_values() {
            self.remove(old.namespace(), old.name(), None);
        }
        self.synced.send_replace(true);
    }

    /// Watches until the revision is too old, resuming after every disconnection.
    async fn watch(&self, rest: &Rest, mut revision: String, backoff: &mut Backoff) {
        loop {
            let started = tokio::time::Instant::now();
            match self.watch_once(rest, &mut revision).await {
                // The server ends watches in its own time; one that ends at once would make us spin.
                Ok(()) if started.elapsed() > Duration::from_secs(1) => backoff.reset(),
                Ok(()) => backoff.wait().await,
                Err(error) if rest::is_gone(&error) => {
                    tracing::debug!(path = self.path, revision, "watch is too old, listing again");
                    return;
                }
                Err(error) => {
                    tracing::debug!(path = self.path, error = %rest::message(&error), "watch failed, resuming");
                    backoff.wait().await;
                }
            }
        }
    }

    async fn watch_once(&self, rest: &Rest, revision: &mut String) -> rest::Result<()> {
        let mut params = WatchParams::default();
        if !self.selector.fields.is_empty() {
            params = params.fields(&self.selector.fields);
        }
        if !self.selector.labels.is_empty() {
            params = params.labels(&self.selector.labels);
        }
        let request = Request::new(self.path.as_str());
        let request = rest.signed(match self.selector.metadata_only {
            true => request.watch_metadata(&params, revision),
            false => request.watch(&params, revision),
        })?;
        let events = rest.client().request_events::<T>(request).await?;
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    *revision = object.resource_version().to_owned();
                    self.apply(Arc::new(object), false);
                }
                WatchEvent::Deleted(object) => {
                    *revision = object.resource_version().to_owned();
                    let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
                    self.remove(&namespace, &name, Some(Arc::new(object)));
                }
                WatchEvent::Bookmark(bookmark) => *revision = bookmark.metadata.resource_version,
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            }
        }
        Ok(())
    }

    fn apply(&self, object: Arc<T>, initial: bool) {
        let key = object.key();
        let old = {
            let mut objects = self.objects.write();
            let namespace = objects.entry(key.namespace).or_default();
            namespace.insert(key.name, object.clone())
        };
        self.tell(&Change {
            old: old.as_ref(),
            new: Some(&object),
            initial,
        });
    }

    /// `last` is the object's final state, when the server told it.
    fn remove(&self, namespace: &str, name: &str, last: Option<Arc<T>>) {
        let old = {
            let mut objects = self.objects.write();
            let Some(inner) = objects.get_mut(namespace) else {
                return;
            };
            let old = inner.remove(name);
            if inner.is_empty() {
                objects.remove(namespace);
            }
            old
        };
        if let Some(old) = last.or(old) {
            self.tell(&Change {
                old: Some(&old),
                new: None,
                initial: false,
            });
        }
    }

    fn tell(&self, change: &Change<'_, T>) {
        for subscriber in self.subscribers.read().iter() {
            subscriber(change);
        }
    }
}

/// Growing pauses between attempts, with jitter so that clients do not come back together.
#[derive(Debug)]
struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: Self::FIRST }
    }
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(30);

    fn reset(&mut self) {
        self.next = Self::FIRST;
    }

    async fn wait(&mut self) {
        let jitter = f64::from(jiff::Timestamp::now().subsec_nanosecond() % 1000) / 1000.0;
        tokio::time::sleep(self.next.mul_f64(0.75 + jitter / 2.0)).await;
        self.next = (self.next * 2).min(Self::LONGEST);
    }
}
