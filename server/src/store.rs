//! The revisioned key-value store: the trait that the watch cache is written against.
//!
//! Semantics are etcd's: one global revision that each committed change raises by one; every key knows
//! the revision that created it and the one that last changed it; a change can be conditional on the
//! latter; history stays readable and watchable until it is compacted.
//!
//! Keys are paths as upstream lays them out: `/registry/{resource}/{namespace}/{name}`, with
//! `/registry/{group}/{resource}/…` outside the core group. Values are canonical bytes
//! (`mizzen_api::object`), without `resourceVersion`.
//!
//! Invariants, for every engine (its suite is `store/suite.rs`):
//! - a durable write is on disk before it is acknowledged, and is never lost by a crash;
//! - revisions never go back or get used twice, not even over a crash;
//! - a watch delivers every change in order, once, whole batches at a time, or ends with an error.

pub mod copy;
pub mod etcd;
pub mod sqlite;
#[cfg(test)]
mod suite;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

/// A revision: of the whole store, or the one that last changed a key.
pub type Revision = u64;

/// A key with its value at some revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Key, such as `/registry/pods/default/web`.
    pub key: Arc<str>,
    /// Value; empty in the deletion of a key.
    pub value: Bytes,
    /// Revision at which the key came to be (for the last time).
    pub create_revision: Revision,
    /// Revision at which it last changed; for a deletion, the revision of that.
    pub mod_revision: Revision,
}

/// What must hold of a key for a change to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Any,
    /// The key does not exist.
    Absent,
    /// The key exists and was last changed at this revision.
    Revision(Revision),
}

/// How safe a write must be before it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// On disk: survives power failure.
    #[default]
    Synced,
    /// In the operating system's hands: survives the death of the process. For heartbeats, which must
    /// not cost an fsync each. A later synced write makes earlier relaxed ones durable too.
    Relaxed,
}

/// A conditional write.
#[derive(Clone, Debug)]
pub struct Put {
    /// Key to write.
    pub key: Arc<str>,
    /// New value.
    pub value: Bytes,
    /// Condition.
    pub expect: Expect,
    /// Delete the key by itself after this time (Events); every write of the key sets it anew.
    pub ttl: Option<Duration>,
    /// How safe.
    pub durability: Durability,
}

/// What to read of the keys in `[start, end)`, in key order.
#[derive(Clone, Debug)]
pub struct Range {
    /// First key.
    pub start: String,
    /// First key that is no longer wanted. `prefix_end` computes it for a prefix.
    pub end: String,
    /// At most this many records; 0 for all.
    pub limit: usize,
    /// State at this revision; `None` for now.
    pub revision: Option<Revision>,
}

/// Answer to a [`Range`].
#[derive(Clone, Debug)]
pub struct RangeResult {
    /// Records in key order.
    pub records: Vec<Record>,
    /// Revision that this is the state at.
    pub revision: Revision,
    /// How many keys of the range were left out because of the limit.
    pub remaining: usize,
}

/// What a change did to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Created or updated (created when `create_revision == mod_revision`).
    Put,
    /// Deleted.
    Delete,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub change: Change,
    /// The key after it.
    pub record: Record,
    /// The key before it.
    pub previous: Option<Record>,
}

/// Changes in revision order. A revision is never split over two batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The changes; none when this only tells how far the watch has come.
    pub events: Vec<Event>,
    /// Everything at or below this revision has been delivered.
    pub revision: Revision,
}

/// A watch: ends after the first error.
pub type Watch = BoxStream<'static, Result<Batch, StoreError>>;

/// Why the store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The condition did not hold; with what the key is now.
    #[error("the key changed meanwhile")]
    Conflict {
        /// The key as it is; `None` when it does not exist.
        current: Option<Box<Record>>,
    },
    /// History before `oldest` is gone.
    #[error("the revision was compacted, the oldest one kept is {oldest}")]
    Compacted {
        /// Oldest revision that can be read or watched from.
        oldest: Revision,
    },
    /// The revision was not reached yet.
    #[error("the revision is in the future, the current one is {current}")]
    Future {
        /// Current revision.
        current: Revision,
    },
    /// The watcher fell too far behind and must start again from where it was.
    #[error("the watcher fell behind")]
    Lagged,
    /// The peer that keeps the data does not answer. A change may have happened or not.
    #[error("{0}")]
    Unavailable(String),
    /// The engine failed (disk full, file damaged, permission denied); the text names the file or the peer.
    #[error("{0}")]
    Engine(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// A revisioned key-value store.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The current revision: every write acknowledged before the call is at or below it.
    async fn revision(&self) -> Result<Revision, StoreError>;

    /// One key, now or at an older revision.
    async fn get(&self, key: &str, revision: Option<Revision>) -> Result<Option<Record>, StoreError>;

    /// Keys in order, now or at an older revision.
    async fn range(&self, range: Range) -> Result<RangeResult, StoreError>;

    /// Writes a key; answers with it as written.
    async fn put(&self, put: Put) -> Result<Record, StoreError>;

    /// Deletes a key; answers with it as it was, and the revision of the deletion.
    async fn delete(&self, key: &str, expect: Expect) -> Result<(Record, Revision), StoreError>;

    /// Every change at or after `from` to keys that start with `prefix`.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError>;

    /// Forgets history before `revision`; states at and after it stay readable.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;
}

/// The first key after all keys that start with `prefix`.
pub fn prefix_end(prefix: &str) -> String {
    // Keys are ASCII paths, so raising the last byte stays valid UTF-8.
    let mut end = prefix.to_owned();
    match end.pop() {
        Some(last) => end.push(char::from(last as u8 + 1)),
        None => end.push('\u{10ffff}'),
    }
    end
}
