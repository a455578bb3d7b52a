//! Which revisions of which keys exist: the store's index, held in memory.
//!
//! On disk there is only the log of revisions, which makes a write an append; this index is rebuilt
//! from it when the store opens. It holds no values.
//!
//! Invariant: whatever a reader may ask for at or after `oldest` is reachable, together with the
//! version before each change at or after `oldest` (a watch reports it).

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::store::{Record, Revision, StoreError};

/// One version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// Revision that made it.
    pub(super) revision: Revision,
    /// Revision that created the key; that of the deleted key in a deletion.
    pub(super) created: Revision,
    /// Bytes that it takes in the log, about.
    pub(super) size: u32,
    /// Whether the key ended with it.
    pub(super) deleted: bool,
}

impl Version {
    /// It with its key and its value.
    pub(super) fn record(self, key: Arc<str>, value: Bytes) -> Record {
        Record {
            key,
            value,
            create_revision: self.created,
            mod_revision: self.revision,
        }
    }
}

/// A version that nothing after `by` needs any more.
#[derive(Debug)]
struct Superseded {
    by: Revision,
    revision: Revision,
    size: u32,
    key: Arc<str>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Index {
    /// Versions of each key, oldest first; never empty.
    keys: BTreeMap<Arc<str>, Vec<Version>>,
    /// What compaction can remove, in the order in which it may.
    superseded: VecDeque<Superseded>,
    superseded_bytes: u64,
    /// Revisions with the time they were written, far enough apart to stay few.
    marks: VecDeque<(u64, Revision)>,
    marks_apart_ms: u64,
    revision: Revision,
    oldest: Revision,
}

impl Index {
    /// An empty index at `revision`, with history kept for about `history_time`.
    pub(super) fn new(revision: Revision, oldest: Revision, history_time: Duration) -> Self {
        Self {
            keys: BTreeMap::new(),
            superseded: VecDeque::new(),
            superseded_bytes: 0,
            marks: VecDeque::new(),
            marks_apart_ms: duration_ms(history_time) / 32,
            revision,
            oldest,
        }
    }

    /// The current revision.
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// The oldest revision that can be read or watched from.
    pub(super) fn oldest(&self) -> Revision {
        self.oldest
    }

    /// Which revision a read is of.
    pub(super) fn resolve(&self, revision: Option<Revision>) -> Result<Revision, StoreError> {
        let wanted = revision.unwrap_or(self.revision);
        if wanted > self.revision {
            return Err(StoreError::Future { current: self.revision });
        }
        if wanted < self.oldest {
            return Err(StoreError::Compacted { oldest: self.oldest });
        }
        Ok(wanted)
    }

    /// A key that exists now, as the index shares it, and its version.
    pub(super) fn current(&self, key: &str) -> Option<(&Arc<str>, Version)> {
        let (key, versions) = self.keys.get_key_value(key)?;
        let last = *versions.last()?;
        (!last.deleted).then_some((key, last))
    }

    /// A key as it was at `revision`.
    pub(super) fn at(&self, key: &str, revision: Revision) -> Option<(&Arc<str>, Version)> {
        let (key, versions) = self.keys.get_key_value(key)?;
        Some((key, live_at(versions, revision)?))
    }

    /// Keys of `[start, end)` as they were at `revision`.
    pub(super) fn range<'a>(
        &'a self,
        start: &str,
        end: &str,
        revision: Revision,
    ) -> impl Iterator<Item = (&'a Arc<str>, Version)> {
        let bounds = (Bound::Included(start), Bound::Excluded(end.max(start)));
        self.keys
            .range::<str, _>(bounds)
            .filter_map(move |(key, versions)| Some((key, live_at(versions, revision)?)))
    }

    /// Adds a version, newer than all others.
    pub(super) fn apply(&mut self, key: &Arc<str>, version: Version, written_ms: u64) {
        assert!(version.revision > self.revision, "revisions only go up");
        self.insert(key, version, written_ms);
    }

    /// Adds a version read back from the log, in log order. It may lie below `oldest`.
    pub(super) fn insert(&mut self, key: &Arc<str>, version: Version, written_ms: u64) {
        self.revision = self.revision.max(version.revision);
        if self
            .marks
            .back()
            .is_none_or(|(at, _)| written_ms >= at + self.marks_apart_ms)
        {
            self.marks.push_back((written_ms, version.revision));
        }
        let versions = match self.keys.get_mut(key) {
            Some(versions) => versions,
            None => self.keys.entry(key.clone()).or_insert_with(|| Vec::with_capacity(1)),
        };
        if let Some(before) = versions.last() {
            self.superseded_bytes += u64::from(before.size);
            self.superseded.push_back(Superseded {
                by: version.revision,
                revision: before.revision,
                size: before.size,
                key: key.clone(),
            });
        }
        versions.push(version);
        if version.deleted {
            // A deletion supersedes itself too: with its key gone, nothing needs to tell of it.
            self.superseded_bytes += u64::from(version.size);
            self.superseded.push_back(Superseded {
                by: version.revision,
                revision: version.revision,
                size: version.size,
                key: key.clone(),
            });
        }
    }

    /// Forbids reads below `oldest` from now on.
    pub(super) fn raise_oldest(&mut self, oldest: Revision) {
        self.oldest = self.oldest.max(oldest.min(self.revision));
    }

    /// Continues at `revision`, with no history before it.
    pub(super) fn skip_to(&mut self, revision: Revision) {
        self.revision = revision;
        self.raise_oldest(revision);
    }

    /// From which revision on history should be kept, given its bounds. It is raised in steps of an
    /// eighth of the bound, so that compaction is rare.
    pub(super) fn desired_oldest(&self, now_ms: u64, time: Duration, bytes: u64) -> Revision {
        let (time_ms, mut oldest) = (duration_ms(time), self.oldest);
        let age = |&(written_ms, _): &(u64, Revision)| now_ms.saturating_sub(written_ms);
        if self.marks.front().is_some_and(|mark| age(mark) > time_ms + time_ms / 8) {
            let past = self.marks.partition_point(|mark| age(mark) > time_ms);
            if let Some((_, revision)) = past.checked_sub(1).and_then(|last| self.marks.get(last)) {
                oldest = oldest.max(*revision);
            }
        }
        if self.superseded_bytes > bytes {
            let mut excess = self.superseded_bytes - (bytes - bytes / 8);
            for entry in &self.superseded {
                oldest = oldest.max(entry.by + 1);
                excess = excess.saturating_sub(u64::from(entry.size));
                if excess == 0 {
                    break;
                }
            }
        }
        oldest.min(self.revision)
    }

    /// Up to `limit` revisions that reads at or after `oldest` do not need.
    pub(super) fn removable(&self, limit: usize) -> Vec<Revision> {
        let needless = self.superseded.iter().take_while(|entry| entry.by < self.oldest);
        needless.take(limit).map(|entry| entry.revision).collect()
    }

    /// Forgets the first `count` of `removable`, now that the log no longer has them.
    pub(super) fn remove(&mut self, count: usize) {
        for entry in self.superseded.drain(..count) {
            self.superseded_bytes -= u64::from(entry.size);
            if let Some(versions) = self.keys.get_mut(&entry.key) {
                versions.retain(|version| version.revision != entry.revision);
                if versions.is_empty() {
                    self.keys.remove(&entry.key);
                }
            }
        }
        let needless = self.marks.partition_point(|(_, revision)| *revision <= self.oldest);
        self.marks.drain(..needless.saturating_sub(1));
        // A burst of history should not keep its memory for ever.
        if self.superseded.capacity() > 4096 && self.superseded.len() * 4 < self.superseded.capacity() {
            self.superseded.shrink_to(self.superseded.len() * 2);
        }
    }
}

/// A duration in the unit of the log's times.
pub(super) fn duration_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

fn live_at(versions: &[Version], revision: Revision) -> Option<Version> {
    let newer = versions.partition_point(|version| version.revision <= revision);
    let version = *versions.get(newer.checked_sub(1)?)?;
    (!version.deleted).then_some(version)
}
