//! Watches: what etcd tells, without a gap over the death of members and connections.
//!
//! A watcher is a position. It reads one of etcd's streams; when that ends, it opens the next one at its
//! position, at whichever member answers. It ends itself only when compaction has overtaken it.
//!
//! Somebody who waits for a revision that no event of ours comes with (another user of etcd wrote it)
//! makes the watcher ask for progress. Members up to 3.4.24 and 3.5.7 may answer that before they send the
//! events due; from them we take all keys, so that every revision comes with an event.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, Error, EventType, KeyValue, WatchOptions, WatchResponse, WatchStream};
use futures::StreamExt;

use super::connection::is;
use super::{Core, record, signed};
use crate::store::{Batch, Change, Event, Record, Revision, StoreError, Watch, prefix_end};

/// How long a revision that somebody waits for may stay away before we ask for it.
const PROGRESS_PATIENCE: Duration = Duration::from_millis(30);
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between attempts once every member has failed.
const PAUSE: Duration = Duration::from_millis(200);

struct Watcher {
    core: Arc<Core>,
    prefix: Box<str>,
    /// First revision not yet delivered.
    next: Revision,
    stream: Option<Stream>,
}

struct Stream {
    member: usize,
    inner: WatchStream,
    /// Whether progress that was asked for can be believed.
    tells_progress: bool,
}

/// Every change at or after `from` to keys that start with `prefix`.
pub(super) async fn watch(core: Arc<Core>, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
    let current = core.revision().await?;
    if from > current + 1 {
        return Err(StoreError::Future { current });
    }
    // History is whole from `from` on if the state before it is there.
    core.check_readable(from.saturating_sub(1).max(1)).await?;
    let mut watcher = Watcher {
        core,
        prefix: prefix.into(),
        next: from,
        stream: None,
    };
    // What compaction takes from now on, an open stream delivers all the same.
    if let Err(Ended::Broken(why)) = watcher.open(from > current).await {
        tracing::debug!(why, "the datastore's watch does not open, trying again");
    }
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
        let mut failures = 0;
        loop {
            let ended = match &mut self.stream {
                None => self.open(false).await,
                Some(stream) => match receive(&self.core, stream, self.next).await {
                    Ok(None) => Ok(()),
                    Ok(Some(response)) if response.canceled() => Err(cancellation(&response)),
                    Ok(Some(response)) => {
                        failures = 0;
                        if let Some(batch) = self.take(&response) {
                            return Ok(batch);
                        }
                        continue;
                    }
                    Err(error) => Err(Ended::Broken(error.to_string())),
                },
            };
            let why = match ended {
                Ok(()) => continue,
                Err(Ended::Compacted(oldest)) => return Err(StoreError::Compacted { oldest }),
                Err(Ended::Broken(why)) => why,
            };
            tracing::debug!(why, from = self.next, "the datastore's watch ended, opening it again");
            if let Some(stream) = self.stream.take() {
                self.core.connection.turn_from(stream.member);
            }
            failures += 1;
            if failures >= self.core.connection.size() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Opens the stream. One of which all is still to come (`fresh`) follows at once; any other one starts
    /// one revision early: etcd accepts the revision that it has compacted to, of which it may not tell all.
    async fn open(&mut self, fresh: bool) -> Result<(), Ended> {
        let (member, client) = self.core.connection.client().await;
        let opening = Box::pin(async {
            let mut client = client?;
            let tells_progress = progress_is_reliable(client.status().await?.version());
            let inner = self.start(client, fresh, tells_progress).await?;
            Ok::<_, Error>(Stream {
                member,
                inner,
                tells_progress,
            })
        });
        let opened = match tokio::time::timeout(OPEN_TIMEOUT, opening).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the member does not answer".to_owned()),
        };
        match opened {
            Ok(stream) => self.stream = Some(stream),
            Err(why) => {
                self.core.connection.turn_from(member);
                return Err(Ended::Broken(why));
            }
        }
        Ok(())
    }

    async fn start(&self, client: Client, fresh: bool, tells_progress: bool) -> Result<WatchStream, Error> {
        let (key, end) = if tells_progress {
            (self.prefix.as_bytes().to_vec(), prefix_end(&self.prefix).into_bytes())
        } else {
            (vec![0], vec![0])
        };
        let start = self.next.saturating_sub(u64::from(!fresh)).max(1);
        let options = WatchOptions::new()
            .with_range(end)
            .with_start_revision(signed(start))
            .with_prev_key()
            .with_progress_notify();
        let mut watches = client.watch_client().max_decoding_message_size(usize::MAX);
        watches.watch(key, Some(options)).await
    }

    /// What of a response is new; `None` when nothing is.
    fn take(&mut self, response: &WatchResponse) -> Option<Batch> {
        let last = response.events().iter().filter_map(etcd_client::Event::kv).next_back();
        let revision = match last {
            Some(last) => last.mod_revision() as Revision,
            // A watch that was only just created has delivered nothing yet.
            None if response.created() => return None,
            None => response.header().map_or(0, etcd_client::ResponseHeader::revision) as Revision,
        };
        if revision < self.next {
            return None;
        }
        let fresh = response.events().iter().filter_map(event);
        let fresh = fresh.filter(|event| event.record.mod_revision >= self.next);
        let events: Vec<_> = fresh
            .filter(|event| event.record.key.starts_with(&*self.prefix))
            .collect();
        self.next = revision + 1;
        Some(Batch { events, revision })
    }
}

/// Why a stream ended.
enum Ended {
    /// What it was to tell is gone; the oldest revision that is not.
    Compacted(Revision),
    Broken(String),
}

fn cancellation(response: &WatchResponse) -> Ended {
    match response.compact_revision() {
        0 => Ended::Broken(response.cancel_reason().to_owned()),
        compacted => Ended::Compacted(compacted as Revision + 1),
    }
}

/// The next response; asks for progress when `next` is waited for and does not come.
async fn receive(core: &Core, stream: &mut Stream, next: Revision) -> Result<Option<WatchResponse>, Error> {
    let Stream {
        inner, tells_progress, ..
    } = stream;
    if !*tells_progress {
        return end_is_error(inner.message().await);
    }
    let mut asked = core.asked.subscribe();
    loop {
        let missed = async {
            let _ = asked.wait_for(|revision| *revision >= next).await;
            tokio::time::sleep(PROGRESS_PATIENCE).await;
        };
        tokio::select! {
            biased;
            message = inner.message() => return end_is_error(message),
            () = missed => {}
        }
        inner.request_progress().await?;
    }
}

fn end_is_error(message: Result<Option<WatchResponse>, Error>) -> Result<Option<WatchResponse>, Error> {
    match message {
        Ok(None) => Err(Error::WatchError("the stream ended".to_owned())),
        Err(error) if is(&error, "no leader") => Err(Error::WatchError("the member has no leader".to_owned())),
        message => message,
    }
}

fn event(event: &etcd_client::Event) -> Option<Event> {
    let kv = event.kv()?;
    let previous = event.prev_kv().map(copy);
    let (change, record) = match event.event_type() {
        EventType::Put => (Change::Put, copy(kv)),
        EventType::Delete => {
            let created = previous.as_ref().map_or(0, |record| record.create_revision);
            let record = Record {
                create_revision: created,
                ..copy(kv)
            };
            (Change::Delete, record)
        }
    };
    Some(Event {
        change,
        record,
        previous,
    })
}

fn copy(kv: &KeyValue) -> Record {
    record(kv.clone())
}

/// Whether a member of this version sends the events that are due before the progress asked for.
fn progress_is_reliable(version: &str) -> bool {
    let mut parts = version.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor, patch) = (parts.next(), parts.next(), parts.next());
    match (major, minor, patch.unwrap_or(0)) {
        (Some(3), Some(4), patch) => patch >= 25,
        (Some(3), Some(5), patch) => patch >= 8,
        (major, minor, _) => (major, minor) > (Some(3), Some(5)),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn old_members_are_not_asked_for_progress() {
        let table = [("3.3.27", false), ("3.4.23", false), ("3.4.25", true), ("3.5.7", false)];
        let newer = [("3.5.8", true), ("3.6.0-rc.1", true), ("4.0.0", true), ("", false)];
        for (version, expect) in table.into_iter().chain(newer) {
            assert_eq!(super::progress_is_reliable(version), expect, "{version}");
        }
    }
}
