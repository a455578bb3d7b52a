//! The one thread that changes the store.
//!
//! It takes all writes that wait, decides each against the index, commits those that hold as one
//! transaction (so they share its fsync), and only then makes them visible: index, watchers, answers,
//! in this order. A group of relaxed writes only goes to the `relaxed` file, and into the log with the
//! next transaction. With each group it deletes keys whose time has come and takes a step of compaction, which
//! costs no fsync of its own unless there is nothing to write.
//!
//! It sleeps on the queue's condition variable, until a write comes or the next key expires; `pace` tells when a
//! group waits for more.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::{broadcast, oneshot};

use super::file::LogFile;
use super::file::LogRow;
use super::index::{Version, duration_ms};
use super::pace::{GATHER, Pace};
use super::relaxed::{RelaxedFile, WAITING_ROWS};
use super::{Core, Group, SqliteOptions};
use crate::store::{Change, Durability, Event, Expect, Put, Record, Revision, StoreError};

/// At most so many writes share a transaction, so that none waits long for the others.
const GROUP_WRITES: usize = 1024;
/// Rows that one step of compaction removes; more after a larger group, to keep up with it.
const COMPACT_ROWS: usize = 256;
/// Pages that one step of shrinking the file moves.
const SHRINK_PAGES: u32 = 128;
/// What a row costs in the log beside its key and value, about.
const ROW_BYTES: usize = 32;

/// Pause before an expired key is deleted again after a failure.
const EXPIRY_RETRY_MS: u64 = 10_000;

/// Answer to a deletion.
type Deleted = (Record, Revision);

/// What the writer is asked.
pub(super) enum Request {
    /// Write a key.
    Put(Put, oneshot::Sender<Result<Record, StoreError>>),
    /// Delete a key.
    Delete(Arc<str>, Expect, oneshot::Sender<Result<Deleted, StoreError>>),
    /// Forget history before a revision.
    Compact(Revision, oneshot::Sender<Result<(), StoreError>>),
}

/// Requests on their way to the writer.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    requests: Vec<Request>,
    closed: bool,
}

impl Queue {
    /// Hands a request to the writer.
    pub(super) fn push(&self, request: Request) -> Result<(), StoreError> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(StoreError::Closed);
        }
        waiting.requests.push(request);
        drop(waiting);
        self.wake.notify_one();
        Ok(())
    }

    /// Lets the writer finish what waits, and refuses everything after.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.wake.notify_one();
    }

    /// Moves what waits into `requests`, blocking for `patience` until there is something, and a moment
    /// longer when more is about to come. `false` when the queue was closed and is empty.
    fn take(&self, requests: &mut Vec<Request>, patience: Option<Duration>, pace: &Pace) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.requests.is_empty() && !waiting.closed {
            match patience {
                None => self.wake.wait(&mut waiting),
                Some(Duration::ZERO) => {}
                Some(patience) => drop(self.wake.wait_for(&mut waiting, patience)),
            }
        }
        if pace.gathers(waiting.requests.len(), Instant::now()) {
            // Asleep, so that nobody who comes has to wake this thread.
            #[expect(clippy::disallowed_methods, reason = "a thread of its own, and a wait that is meant")]
            MutexGuard::unlocked(&mut waiting, || std::thread::sleep(GATHER));
        }
        if waiting.requests.len() <= GROUP_WRITES {
            std::mem::swap(requests, &mut waiting.requests);
        } else {
            requests.extend(waiting.requests.drain(..GROUP_WRITES));
        }
        !(requests.is_empty() && waiting.closed)
    }
}

/// An answer that is known but must wait for the commit: it may rest on a write of the same group.
enum Answer {
    Put(oneshot::Sender<Result<Record, StoreError>>, Result<Record, StoreError>),
    Delete(
        oneshot::Sender<Result<Deleted, StoreError>>,
        Result<Deleted, StoreError>,
    ),
    Compact(oneshot::Sender<Result<(), StoreError>>, Result<(), StoreError>),
}

impl Answer {
    /// Sends it, or `failure` in its place. Whoever no longer waits needs none.
    fn send(self, failure: Option<&StoreError>) {
        fn settle<T>(
            (to, answer): (oneshot::Sender<Result<T, StoreError>>, Result<T, StoreError>),
            failure: Option<&StoreError>,
        ) {
            drop(to.send(failure.map_or(answer, |error| Err(error.clone()))));
        }
        match self {
            Self::Put(to, answer) => settle((to, answer), failure),
            Self::Delete(to, answer) => settle((to, answer), failure),
            Self::Compact(to, answer) => settle((to, answer), failure),
        }
    }
}

/// A group of writes on its way to the log.
#[derive(Default)]
struct Staged {
    rows: Vec<LogRow>,
    /// Whether the log must have them before they are acknowledged.
    synced: bool,
    /// The last row of each key in the group.
    latest: HashMap<Arc<str>, usize>,
    answers: Vec<Answer>,
    /// What the group deletes because its time has come.
    expired: Vec<(Revision, Arc<str>)>,
}

/// Rows that compaction takes out of the log.
struct Stale {
    revisions: Vec<Revision>,
    /// From here on there is history.
    oldest: Revision,
}

impl Stale {
    /// Removes them; inside a transaction.
    fn remove(&self, file: &LogFile) -> Result<(), StoreError> {
        file.set_meta("oldest", self.oldest)?;
        file.remove(&self.revisions)
    }
}

/// A key that is to be deleted unless it was written again.
type Expiry = Reverse<(u64, Revision, Arc<str>)>;

/// See the module.
pub(super) struct Writer {
    file: LogFile,
    relaxed: RelaxedFile,
    core: Arc<Core>,
    live: broadcast::Sender<Group>,
    queue: Arc<Queue>,
    options: SqliteOptions,
    expiries: BinaryHeap<Expiry>,
    /// The oldest revision as the file knows it.
    oldest_on_disk: Revision,
    /// Whether compaction or shrinking has more to do.
    tidying: bool,
}

impl Writer {
    /// A writer over an index that was read from `file`.
    pub(super) fn new(
        (file, relaxed): (LogFile, RelaxedFile),
        core: Arc<Core>,
        live: broadcast::Sender<Group>,
        queue: Arc<Queue>,
        options: SqliteOptions,
        expiries: impl Iterator<Item = (u64, Revision, Arc<str>)>,
    ) -> Self {
        let oldest_on_disk = core.index.read().oldest();
        let expiries = expiries.map(Reverse).collect();
        Self {
            file,
            relaxed,
            core,
            live,
            queue,
            options,
            expiries,
            oldest_on_disk,
            tidying: true,
        }
    }

    /// Works until the queue is closed.
    pub(super) fn run(mut self) {
        let mut requests = Vec::new();
        let mut pace = Pace::new(Instant::now());
        while self.queue.take(&mut requests, self.patience(), &pace) {
            let writes = requests.len();
            let mut staged = Staged::default();
            for request in requests.drain(..) {
                self.stage(&mut staged, request);
            }
            self.stage_expired(&mut staged);
            let any = !staged.rows.is_empty();
            self.settle(staged);
            if any {
                self.tidying |= self.stale(1).is_some();
            } else {
                self.tidy();
            }
            if writes > 0 {
                pace.done(writes, Instant::now());
            }
        }
        self.finish();
    }

    /// Leaves nothing to recover.
    fn finish(&mut self) {
        if let Err(error) = self.commit(|file| file.set_meta("clean", true)) {
            tracing::warn!("{error}");
        }
    }

    /// How long the writer may sleep.
    fn patience(&self) -> Option<Duration> {
        if self.tidying {
            return Some(Duration::ZERO);
        }
        let Reverse((due_ms, ..)) = self.expiries.peek()?;
        Some(Duration::from_millis(due_ms.saturating_sub(now_ms())))
    }

    fn stage(&self, staged: &mut Staged, request: Request) {
        let answer = match request {
            Request::Put(put, to) => Answer::Put(to, self.stage_put(staged, put)),
            Request::Delete(key, expect, to) => {
                staged.synced = true;
                Answer::Delete(to, self.stage_delete(staged, &key, expect))
            }
            Request::Compact(oldest, to) => Answer::Compact(to, self.compact_to(oldest)),
        };
        staged.answers.push(answer);
    }

    fn stage_put(&self, staged: &mut Staged, put: Put) -> Result<Record, StoreError> {
        let previous = self.expect(staged, &put.key, put.expect)?;
        let mod_revision = self.next_revision(staged);
        let record = Record {
            key: previous.as_ref().map_or(put.key, |previous| previous.key.clone()),
            value: put.value,
            create_revision: previous
                .as_ref()
                .map_or(mod_revision, |previous| previous.create_revision),
            mod_revision,
        };
        let written_ms = now_ms();
        let expires_ms = put.ttl.map(|ttl| expiry_ms(written_ms, ttl));
        let event = Event {
            change: Change::Put,
            record: record.clone(),
            previous,
        };
        staged.push(event, written_ms, expires_ms);
        staged.synced |= put.durability == Durability::Synced;
        Ok(record)
    }

    fn stage_delete(&self, staged: &mut Staged, key: &str, expect: Expect) -> Result<Deleted, StoreError> {
        let Some(previous) = self.expect(staged, key, expect)? else {
            return Err(StoreError::Conflict { current: None });
        };
        let revision = self.next_revision(staged);
        let record = Record {
            value: Bytes::new(),
            mod_revision: revision,
            ..previous.clone()
        };
        let event = Event {
            change: Change::Delete,
            record,
            previous: Some(previous.clone()),
        };
        staged.push(event, now_ms(), None);
        Ok((previous, revision))
    }

    /// The key as it is, when that is as expected.
    fn expect(&self, staged: &Staged, key: &str, expect: Expect) -> Result<Option<Record>, StoreError> {
        let current = self.current(staged, key)?;
        let holds = match expect {
            Expect::Any => true,
            Expect::Absent => current.is_none(),
            Expect::Revision(revision) => current.as_ref().is_some_and(|record| record.mod_revision == revision),
        };
        if holds {
            Ok(current)
        } else {
            Err(StoreError::Conflict {
                current: current.map(Box::new),
            })
        }
    }

    /// A key as the writes before it in the group leave it.
    fn current(&self, staged: &Staged, key: &str) -> Result<Option<Record>, StoreError> {
        if let Some(row) = staged.latest.get(key).and_then(|at| staged.rows.get(*at)) {
            return Ok((row.event.change == Change::Put).then(|| row.event.record.clone()));
        }
        let index = self.core.index.read();
        let Some((key, version)) = index.current(key) else {
            return Ok(None);
        };
        let key = key.clone();
        drop(index);
        let recent = self.core.recent.read().value(version.revision);
        let value = match recent.or_else(|| self.core.waiting_value(version.revision)) {
            Some(value) => value,
            // Only this thread compacts, so the row of a current version is there.
            None => self
                .file
                .value(version.revision)?
                .ok_or_else(|| self.missing(version.revision))?,
        };
        Ok(Some(version.record(key, value)))
    }

    fn missing(&self, revision: Revision) -> StoreError {
        let path = self.file.path().display();
        StoreError::Engine(format!(
            "{path} lost revision {revision}: the file is damaged; restore a backup"
        ))
    }

    fn next_revision(&self, staged: &Staged) -> Revision {
        self.core.index.read().revision() + staged.rows.len() as u64 + 1
    }

    /// Deletes what is due, through the ordinary path. Relaxed: a deletion that is lost is due again.
    fn stage_expired(&mut self, staged: &mut Staged) {
        let now_ms = now_ms();
        while let Some(Reverse((due_ms, ..))) = self.expiries.peek()
            && *due_ms <= now_ms
        {
            let Some(Reverse((_, revision, key))) = self.expiries.pop() else {
                break;
            };
            match self.stage_delete(staged, &key, Expect::Revision(revision)) {
                Ok(_) => staged.expired.push((revision, key)),
                // Written again or gone: that has its own time.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => tracing::error!(%key, "cannot delete an expired key: {error}"),
            }
        }
    }

    /// Commits a group, shows it, answers it.
    fn settle(&mut self, staged: Staged) {
        let Staged {
            rows,
            answers,
            expired,
            synced,
            ..
        } = staged;
        let written = self.write(&rows, synced);
        match &written {
            Ok(()) => self.publish(rows),
            Err(error) => {
                tracing::error!("{error}");
                // What could not be deleted is due again, a little later.
                let later_ms = now_ms() + EXPIRY_RETRY_MS;
                self.expiries.extend(
                    expired
                        .into_iter()
                        .map(|(revision, key)| Reverse((later_ms, revision, key))),
                );
            }
        }
        for answer in answers {
            answer.send(written.as_ref().err());
        }
    }

    fn write(&mut self, rows: &[LogRow], synced: bool) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let room = self.core.waiting.read().len() + rows.len() <= WAITING_ROWS;
        if !synced && room && self.relaxed.append(rows)? {
            self.core.waiting.write().extend_from_slice(rows);
            return Ok(());
        }
        let stale = self.stale(COMPACT_ROWS.max(2 * rows.len()));
        self.commit(|file| {
            file.append(rows.iter())?;
            stale.iter().try_for_each(|stale| stale.remove(file))
        })?;
        stale.iter().for_each(|stale| self.forget(stale));
        Ok(())
    }

    /// A durable transaction. It takes along the relaxed rows that wait.
    fn commit(&mut self, work: impl FnOnce(&LogFile) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let waiting = self.core.waiting.read();
        self.file.transaction(|file| {
            file.append(waiting.iter())?;
            work(file)
        })?;
        let any = !waiting.is_empty();
        drop(waiting);
        if any {
            *self.core.waiting.write() = Vec::new();
            self.relaxed.reset();
        }
        Ok(())
    }

    fn publish(&mut self, rows: Vec<LogRow>) {
        if rows.is_empty() {
            return;
        }
        self.core.recent.write().push(&rows);
        let mut index = self.core.index.write();
        for row in &rows {
            let record = &row.event.record;
            let version = Version {
                revision: record.mod_revision,
                created: record.create_revision,
                size: row_size(&record.key, record.value.len()),
                deleted: row.event.change == Change::Delete,
            };
            index.apply(&record.key, version, row.written_ms);
        }
        drop(index);
        let expiries = rows.iter().filter_map(|row| {
            Some(Reverse((
                row.expires_ms?,
                row.event.record.mod_revision,
                row.event.record.key.clone(),
            )))
        });
        self.expiries.extend(expiries);
        // Nobody watching is no error.
        drop(self.live.send(rows.into_iter().map(|row| row.event).collect()));
    }

    fn compact_to(&self, oldest: Revision) -> Result<(), StoreError> {
        let mut index = self.core.index.write();
        index.resolve(Some(oldest))?;
        index.raise_oldest(oldest);
        Ok(())
    }

    /// What the log need not keep any longer, at most `rows` of it.
    fn stale(&self, rows: usize) -> Option<Stale> {
        let mut index = self.core.index.write();
        let desired = index.desired_oldest(now_ms(), self.options.history_time, self.options.history_bytes);
        index.raise_oldest(desired);
        let (revisions, oldest) = (index.removable(rows), index.oldest());
        (oldest > self.oldest_on_disk || !revisions.is_empty()).then_some(Stale { revisions, oldest })
    }

    /// Takes note that the log does not have it any more.
    fn forget(&mut self, stale: &Stale) {
        self.core.index.write().remove(stale.revisions.len());
        self.oldest_on_disk = stale.oldest;
    }

    /// One step of compaction, or of giving space back, while nothing is to be written.
    fn tidy(&mut self) {
        let step = match self.stale(COMPACT_ROWS) {
            Some(stale) => {
                let done = self.commit(|file| stale.remove(file));
                done.map(|()| self.forget(&stale)).map(|()| true)
            }
            None if self.tidying => self.file.shrink(SHRINK_PAGES),
            None => Ok(false),
        };
        // After a failure (a full disk) the next write tries again.
        self.tidying = step.unwrap_or_else(|error| {
            tracing::warn!("{error}");
            false
        });
    }
}

impl Drop for Writer {
    /// However the thread ends, nobody waits for it for ever.
    fn drop(&mut self) {
        self.queue.close();
        self.queue.waiting.lock().requests.clear();
    }
}

impl Staged {
    fn push(&mut self, event: Event, written_ms: u64, expires_ms: Option<u64>) {
        self.latest.insert(event.record.key.clone(), self.rows.len());
        let previous = event.previous.as_ref().map_or(0, |previous| previous.mod_revision);
        self.rows.push(LogRow {
            event,
            previous,
            written_ms,
            expires_ms,
        });
    }
}

/// Bytes that a row takes in the log, about.
pub(super) fn row_size(key: &str, value_bytes: usize) -> u32 {
    u32::try_from(key.len() + value_bytes + ROW_BYTES).unwrap_or(u32::MAX)
}

/// Milliseconds since 1970: expiries outlive the process, so they are in calendar time.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, duration_ms)
}

/// When a key written now expires: rounded up by at most a sixtieth, so that keys expire in groups.
fn expiry_ms(now_ms: u64, ttl: Duration) -> u64 {
    let ttl_ms = duration_ms(ttl);
    let step_ms = (ttl_ms / 60).clamp(1, 60_000);
    now_ms.saturating_add(ttl_ms).div_ceil(step_ms).saturating_mul(step_ms)
}
