//! Watches: first what the log has, then what the writer announces.
//!
//! A watcher is a position. It subscribes to the announcements before it reads the log, so nothing can
//! fall between; when it is too slow for them it goes back to the log, so that being slow costs
//! neither memory nor events, until compaction overtakes it.

use std::sync::Arc;

use futures::StreamExt;
use tokio::sync::broadcast::{self, error::RecvError};

use super::{Core, Group};
use crate::store::{Batch, Event, Revision, StoreError, Watch};

/// Events that are read from the log at a time.
const CHUNK_EVENTS: usize = 256;

struct Watcher {
    core: Arc<Core>,
    live: broadcast::Receiver<Group>,
    prefix: Box<str>,
    /// First revision not yet delivered.
    next: Revision,
    /// The log is to be read up to here before announcements make sense.
    history_through: Revision,
}

/// Every change at or after `from` to keys that start with `prefix`.
pub(super) fn watch(
    core: Arc<Core>,
    live: broadcast::Receiver<Group>,
    prefix: &str,
    from: Revision,
) -> Result<Watch, StoreError> {
    let index = core.index.read();
    let (revision, oldest) = (index.revision(), index.oldest());
    drop(index);
    if from < oldest {
        return Err(StoreError::Compacted { oldest });
    }
    if from > revision + 1 {
        return Err(StoreError::Future { current: revision });
    }
    let watcher = Watcher {
        core,
        live,
        prefix: prefix.into(),
        next: from,
        history_through: revision,
    };
    let batches = futures::stream::unfold(Some(watcher), |watcher| async {
        let mut watcher = watcher?;
        match watcher.next_batch().await {
            Ok(batch) => Some((Ok(batch), Some(watcher))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(batches.boxed())
}

impl Watcher {
    async fn next_batch(&mut self) -> Result<Batch, StoreError> {
        loop {
            let events = if self.next <= self.history_through {
                self.read_history().await?
            } else {
                self.receive().await?
            };
            if !events.is_empty() {
                let revision = self.next - 1;
                return Ok(Batch { events, revision });
            }
        }
    }

    async fn read_history(&mut self) -> Result<Vec<Event>, StoreError> {
        let (core, prefix, span) = (
            self.core.clone(),
            self.prefix.clone(),
            (self.next, self.history_through),
        );
        let batch = super::blocking(move || core.changes(&prefix, span, CHUNK_EVENTS)).await?;
        self.next = match batch.last() {
            Some(last) if batch.len() == CHUNK_EVENTS => last.record.mod_revision + 1,
            _ => self.history_through + 1,
        };
        Ok(batch)
    }

    async fn receive(&mut self) -> Result<Vec<Event>, StoreError> {
        let group = match self.live.recv().await {
            Ok(group) => group,
            Err(RecvError::Closed) => return Err(StoreError::Closed),
            Err(RecvError::Lagged(_)) => {
                self.history_through = self.core.index.read().revision();
                return Ok(Vec::new());
            }
        };
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            return Ok(Vec::new());
        };
        assert!(
            first.record.mod_revision <= self.next,
            "announcements follow the log without a gap"
        );
        let fresh = group.iter().filter(|event| event.record.mod_revision >= self.next);
        let batch = fresh
            .filter(|event| event.record.key.starts_with(&*self.prefix))
            .cloned()
            .collect();
        self.next = self.next.max(last.record.mod_revision + 1);
        Ok(batch)
    }
}
