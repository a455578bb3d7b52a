//! Who gets an event: watchers are indexed by what they filter on, so an event costs its readers only.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use tokio::sync::mpsc;

use super::filter::Bucket;
use super::{Cache, Entry, Event, EventKind, Filter};
use crate::store::Revision;

/// Events that a watcher may be behind before it is dropped.
const QUEUE: usize = 1_000;

/// What a watcher is handed.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// An event, and what it is to this watcher.
    Event(EventKind, Arc<Event>),
    /// Nothing more will come up to this revision.
    Bookmark(Revision),
}

struct Watcher {
    id: u64,
    filter: Filter,
    after: Revision,
    bookmarks: bool,
    queue: mpsc::Sender<Delivery>,
}

impl Watcher {
    /// Whether the watcher is still there afterwards.
    fn offer(&self, event: &Arc<Event>) -> bool {
        if event.revision <= self.after {
            return true;
        }
        let Some(kind) = event.kind_for(&self.filter) else {
            return true;
        };
        self.queue.try_send(Delivery::Event(kind, event.clone())).is_ok()
    }
}

/// The watchers of one resource.
#[derive(Default)]
pub(super) struct Watchers {
    next_id: u64,
    buckets: HashMap<Bucket, Vec<Watcher>>,
    bucket_of: HashMap<u64, Bucket>,
}

impl Watchers {
    /// Adds a watcher of events after a revision.
    pub(super) fn add(&mut self, filter: Filter, after: Revision, bookmarks: bool) -> (u64, mpsc::Receiver<Delivery>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let id = self.next_id;
        self.next_id += 1;
        let bucket = filter.bucket();
        self.bucket_of.insert(id, bucket.clone());
        self.buckets.entry(bucket).or_default().push(Watcher {
            id,
            filter,
            after,
            bookmarks,
            queue: sender,
        });
        (id, receiver)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.buckets.is_empty() && self.bucket_of.is_empty()
    }

    pub(super) fn remove(&mut self, id: u64) {
        let Some(bucket) = self.bucket_of.remove(&id) else {
            return;
        };
        if let Some(watchers) = self.buckets.get_mut(&bucket) {
            watchers.retain(|watcher| watcher.id != id);
            if watchers.is_empty() {
                self.buckets.remove(&bucket);
            }
        }
    }

    /// Hands an event to every watcher that it concerns.
    pub(super) fn dispatch(&mut self, event: &Arc<Event>) {
        if self.buckets.is_empty() {
            return;
        }
        let mut buckets = buckets_of(event.subject());
        // A change of node moves a Pod between buckets: both sides must hear of it.
        if let (Some(_), Some(previous)) = (&event.current, &event.previous) {
            for bucket in buckets_of(previous) {
                if !buckets.contains(&bucket) {
                    buckets.push(bucket);
                }
            }
        }
        let mut slow = Vec::new();
        for bucket in &buckets {
            for watcher in self.buckets.get(bucket).into_iter().flatten() {
                if !watcher.offer(event) {
                    slow.push(watcher.id);
                }
            }
        }
        for id in slow {
            tracing::debug!(key = %event.key(), "a watcher fell too far behind and is dropped");
            self.remove(id);
        }
    }

    pub(super) fn bookmark(&mut self, revision: Revision) {
        for watcher in self.buckets.values().flatten().filter(|w| w.bookmarks) {
            // A full queue will bring events, which are as good.
            let _ = watcher.queue.try_send(Delivery::Bookmark(revision));
        }
    }
}

/// Every bucket in which a watcher may be that wants to hear of this object.
fn buckets_of(entry: &Entry) -> Vec<Bucket> {
    let mut buckets = vec![Bucket::All, Bucket::Name(entry.name.clone())];
    if !entry.namespace.is_empty() {
        buckets.push(Bucket::Namespace(entry.namespace.clone()));
        buckets.push(Bucket::Object(entry.namespace.clone(), entry.name.clone()));
    }
    let node = entry.field(super::filter::NODE_NAME);
    if !node.is_empty() {
        buckets.push(Bucket::Node(node.into()));
    }
    buckets
}

/// A watcher's end of its queue. Ends when the watcher fell behind or the cache was loaded anew.
#[derive(Debug)]
pub struct Subscription {
    cache: Weak<Cache>,
    prefix: Box<str>,
    id: u64,
    backlog: VecDeque<Delivery>,
    queue: mpsc::Receiver<Delivery>,
    /// Revision of the cache when the subscription began.
    pub started_at: Revision,
}

impl Subscription {
    pub(super) fn new(
        cache: &Arc<Cache>,
        prefix: &str,
        id: u64,
        queue: mpsc::Receiver<Delivery>,
        backlog: Vec<Delivery>,
        started_at: Revision,
    ) -> Self {
        Self {
            cache: Arc::downgrade(cache),
            prefix: prefix.into(),
            id,
            backlog: backlog.into(),
            queue,
            started_at,
        }
    }

    /// The next event or bookmark.
    pub async fn next(&mut self) -> Option<Delivery> {
        match self.backlog.pop_front() {
            Some(delivery) => Some(delivery),
            None => self.queue.recv().await,
        }
    }

    /// What is there without waiting.
    pub fn try_next(&mut self) -> Option<Delivery> {
        self.backlog.pop_front().or_else(|| self.queue.try_recv().ok())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(cache) = self.cache.upgrade() {
            cache.unsubscribe(&self.prefix, self.id);
        }
    }
}
