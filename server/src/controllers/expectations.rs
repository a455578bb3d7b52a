//! What a controller has just done and not yet seen in its cache.
//!
//! A controller that created three Pods must not create them again because its watch is behind. It
//! notes what it did; until the watch has shown all of it (or five minutes passed, in case an event
//! never comes) it does not act on that key again.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use mizzen_api::client::reflector::Key;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Age after which an expectation is given up (upstream's).
const PATIENCE: Duration = Duration::from_mins(5);

/// Expectations by key of the parent.
#[derive(Debug, Default)]
pub(super) struct Expectations(Mutex<HashMap<Key, Expected>>);

#[derive(Debug)]
struct Expected {
    creations: i64,
    /// By uid: a Pod may be seen deleting and later gone, which must count once.
    deletions: HashSet<Box<str>>,
    since: Instant,
}

impl Expectations {
    /// Whether everything that was done has been seen.
    pub(super) fn satisfied(&self, key: &Key) -> bool {
        self.0.lock().get(key).is_none_or(|expected| {
            (expected.creations <= 0 && expected.deletions.is_empty()) || expected.since.elapsed() > PATIENCE
        })
    }

    /// These many children are about to be created, and these to be deleted.
    pub(super) fn expect<'a>(&self, key: &Key, creations: usize, deletions: impl IntoIterator<Item = &'a str>) {
        let expected = Expected {
            creations: i64::try_from(creations).unwrap_or(i64::MAX),
            deletions: deletions.into_iter().map(Into::into).collect(),
            since: Instant::now(),
        };
        self.0.lock().insert(key.clone(), expected);
    }

    /// Children were seen, or their creation failed.
    pub(super) fn created(&self, key: &Key, count: usize) {
        if let Some(expected) = self.0.lock().get_mut(key) {
            expected.creations -= i64::try_from(count).unwrap_or(i64::MAX);
        }
    }

    /// A child was seen going, or its deletion failed.
    pub(super) fn deleted(&self, key: &Key, uid: &str) {
        if let Some(expected) = self.0.lock().get_mut(key) {
            expected.deletions.remove(uid);
        }
    }

    /// The parent is gone.
    pub(super) fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }
}
