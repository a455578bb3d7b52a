//! The embedded engine: a log of revisions in one SQLite file, its index in memory.
//!
//! [`SqliteStore::open`] reads the log's keys into the `index`, then starts the `writer` thread, the
//! only one that changes anything. Reads find the revision they want in the index and its value among the
//! `recent` ones, or else over one of a few read-only connections, on tokio's blocking threads. A `watch` reads the `file` up to
//! the present and then follows the writer's announcements.
//!
//! Invariants: what is announced or answered is committed; nothing is announced after it was answered.

#[cfg(test)]
mod crash;
mod file;
mod index;
mod pace;
mod recent;
mod relaxed;
#[cfg(test)]
mod tests;
mod watch;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{broadcast, oneshot};

use self::file::{LogFile, LogHead, LogRow};
use self::index::{Index, Version};
use self::recent::Recent;
use self::relaxed::{RelaxedFile, WAITING_ROWS};
use self::writer::{Queue, Request, Writer};
use super::{Event, Expect, Put, Range, RangeResult, Record, Revision, Store, StoreError, Watch, prefix_end};

/// Read connections kept for reuse; more are opened when more reads run at once.
const IDLE_READERS: usize = 2;
/// Announcements that a slow watcher may lag before it reads the log again.
const ANNOUNCEMENTS: usize = 128;
/// How often a read starts over because compaction took a row between index and file. Each time the
/// row must have become history and then left the window, so one retry is already rare.
const READ_ATTEMPTS: usize = 16;

/// One committed group of changes, in revision order.
type Group = Arc<[Event]>;

/// How much history to keep. Whichever bound is reached first counts.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// For about this long.
    pub history_time: Duration,
    /// About this many bytes of versions that are no longer current.
    pub history_bytes: u64,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            history_time: Duration::from_secs(3600),
            history_bytes: 64 << 20,
        }
    }
}

/// See the module. Dropping it finishes the writes that wait and closes the file.
pub struct SqliteStore {
    core: Arc<Core>,
    live: broadcast::WeakSender<Group>,
    queue: Arc<Queue>,
    writer: Option<JoinHandle<()>>,
}

/// What readers, watchers and the writer share.
struct Core {
    path: PathBuf,
    index: RwLock<Index>,
    /// Relaxed rows that the log does not have yet: the newest revisions, without a gap. A row is here
    /// before the index has it and in the log before it goes, so look here first.
    waiting: RwLock<Vec<LogRow>>,
    recent: RwLock<Recent>,
    readers: Mutex<Vec<LogFile>>,
}

impl SqliteStore {
    /// Opens or creates the store in the file at `path`. Blocks while it reads the log.
    pub fn open(path: &Path, options: SqliteOptions) -> Result<Self, StoreError> {
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            file::create_directory(directory)?;
        }
        let relaxed = RelaxedFile::open(path)?;
        let file = LogFile::open_writer(path)?;
        let Opened { index, expiries } = recover(&file, &relaxed, &options)?;
        let core = Arc::new(Core {
            path: path.to_owned(),
            index: RwLock::new(index),
            waiting: RwLock::default(),
            recent: RwLock::default(),
            readers: Mutex::default(),
        });
        let queue = Arc::new(Queue::default());
        let (live, _) = broadcast::channel(ANNOUNCEMENTS);
        let weak = live.downgrade();
        let writer = Writer::new(
            (file, relaxed),
            core.clone(),
            live,
            queue.clone(),
            options,
            expiries.into_iter(),
        );
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run());
        let thread = thread.map_err(|error| StoreError::Engine(format!("cannot start the store's writer: {error}")))?;
        Ok(Self {
            core,
            live: weak,
            queue,
            writer: Some(thread),
        })
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let (to, answer) = oneshot::channel();
        self.queue.push(request(to))?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.take() {
            // Its panic was reported where it happened.
            drop(writer.join());
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.core.index.read().revision())
    }

    async fn get(&self, key: &str, revision: Option<Revision>) -> Result<Option<Record>, StoreError> {
        if let Some(record) = self.core.get_recent(key, revision)? {
            return Ok(record);
        }
        let (core, key) = (self.core.clone(), key.to_owned());
        blocking(move || core.get(&key, revision)).await
    }

    async fn range(&self, range: Range) -> Result<RangeResult, StoreError> {
        let core = self.core.clone();
        blocking(move || core.range(&range)).await
    }

    async fn put(&self, put: Put) -> Result<Record, StoreError> {
        self.ask(|to| Request::Put(put, to)).await
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<(Record, Revision), StoreError> {
        let key = key.into();
        self.ask(|to| Request::Delete(key, expect, to)).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        let live = self.live.upgrade().ok_or(StoreError::Closed)?.subscribe();
        watch::watch(self.core.clone(), live, prefix, from)
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.ask(|to| Request::Compact(revision, to)).await
    }
}

/// What the files say when the store opens.
struct Opened {
    index: Index,
    /// When which revision of which key expires.
    expiries: Vec<(u64, Revision, Arc<str>)>,
}

/// Reads the log and what a crash left in the relaxed file, and settles that.
fn recover(file: &LogFile, relaxed: &RelaxedFile, options: &SqliteOptions) -> Result<Opened, StoreError> {
    // The first revision is 1, as etcd's: 0 means "any" to Kubernetes' clients.
    let oldest = file.meta("oldest")?.unwrap_or(1);
    let mut index = Index::new(oldest, oldest, options.history_time);
    let mut expiries = Vec::new();
    let mut add = |index: &mut Index, row: LogHead| {
        let version = Version {
            revision: row.revision,
            created: row.created,
            size: writer::row_size(&row.key, row.value_bytes),
            deleted: row.deleted,
        };
        expiries.extend(row.expires_ms.map(|at_ms| (at_ms, row.revision, row.key.clone())));
        index.insert(&row.key, version, row.written_ms);
    };
    file.scan(|row| add(&mut index, row))?;
    let rows = relaxed.recover(index.revision())?;
    rows.iter().for_each(|row| add(&mut index, LogHead::from(row)));

    // Relaxed writes may have been seen and then lost, but only when the machine went down. Then history
    // starts anew above all revisions that they can have had, and whoever watched reads again.
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let clean = file.meta("clean")?.unwrap_or(true);
    if !clean && file.meta::<String>("boot")?.is_none_or(|before| before != boot) {
        index.skip_to(index.revision() + WAITING_ROWS as Revision);
    }
    file.transaction(|file| {
        file.append(rows.iter())?;
        file.set_meta("oldest", index.oldest())?;
        file.set_meta("boot", boot)?;
        file.set_meta("clean", false)
    })?;
    expiries.retain(|(_, revision, key)| {
        index
            .current(key)
            .is_some_and(|(_, version)| version.revision == *revision)
    });
    Ok(Opened { index, expiries })
}

impl Core {
    /// The value of a row that the log does not have yet.
    fn waiting_value(&self, revision: Revision) -> Option<Bytes> {
        let waiting = self.waiting.read();
        let record = &waiting_from(&waiting, revision).next()?.event.record;
        (record.mod_revision == revision).then(|| record.value.clone())
    }

    /// What the index and the recent values can answer without the file; `None` when they cannot.
    fn get_recent(&self, key: &str, revision: Option<Revision>) -> Result<Option<Option<Record>>, StoreError> {
        let found = {
            let index = self.index.read();
            let revision = index.resolve(revision)?;
            index.at(key, revision).map(shared)
        };
        let Some((key, version)) = found else {
            return Ok(Some(None));
        };
        let value = self.recent.read().value(version.revision);
        Ok(value.map(|value| Some(version.record(key, value))))
    }

    fn get(&self, key: &str, revision: Option<Revision>) -> Result<Option<Record>, StoreError> {
        let found = self.read(|index| {
            let revision = index.resolve(revision)?;
            Ok(((), index.at(key, revision).into_iter().map(shared).collect()))
        })?;
        Ok(found.1.into_iter().next())
    }

    fn range(&self, range: &Range) -> Result<RangeResult, StoreError> {
        let limit = if range.limit == 0 { usize::MAX } else { range.limit };
        let ((revision, remaining), records) = self.read(|index| {
            let revision = index.resolve(range.revision)?;
            let mut found = index.range(&range.start, &range.end, revision);
            let keys = found.by_ref().take(limit).map(shared).collect();
            Ok(((revision, found.count()), keys))
        })?;
        Ok(RangeResult {
            records,
            revision,
            remaining,
        })
    }

    /// Finds versions in the index, then their values in the file.
    fn read<T>(
        &self,
        find: impl Fn(&Index) -> Result<(T, Vec<(Arc<str>, Version)>), StoreError>,
    ) -> Result<(T, Vec<Record>), StoreError> {
        for _ in 0..READ_ATTEMPTS {
            let (answer, found) = find(&self.index.read())?;
            let revisions: Vec<_> = found.iter().map(|(_, version)| version.revision).collect();
            if let Some(values) = self.values(&revisions)? {
                let records = found.into_iter().zip(values);
                let records = records.map(|((key, version), value)| version.record(key, value));
                return Ok((answer, records.collect()));
            }
        }
        let path = self.path.display();
        Err(StoreError::Engine(format!(
            "{path} lacks rows that its index has: the file is damaged; restore a backup"
        )))
    }

    /// Values of revisions that the index has; `None` when compaction took any of them meanwhile.
    fn values(&self, revisions: &[Revision]) -> Result<Option<Vec<Bytes>>, StoreError> {
        let waiting: HashMap<_, _> = revisions
            .iter()
            .filter_map(|revision| Some((*revision, self.waiting_value(*revision)?)))
            .collect();
        if waiting.len() == revisions.len() {
            return Ok(revisions
                .iter()
                .map(|revision| waiting.get(revision).cloned())
                .collect());
        }
        self.with_reader(|file| file.values(revisions, &waiting))
    }

    /// Up to `limit` events of `span`, both ends included, with all of it still being history at the end.
    fn changes(&self, prefix: &str, span: (Revision, Revision), limit: usize) -> Result<Vec<Event>, StoreError> {
        let waiting: Vec<_> = waiting_from(&self.waiting.read(), span.0).cloned().collect();
        let through = waiting
            .first()
            .map_or(span.1, |row| span.1.min(row.event.record.mod_revision - 1));
        let keys = (prefix, &*prefix_end(prefix));
        let mut events = self.with_reader(|file| file.changes(keys, (span.0, through), limit))?;
        let waiting = waiting
            .into_iter()
            .map(|row| row.event)
            .take_while(|event| event.record.mod_revision <= span.1);
        let waiting = waiting.filter(|event| event.record.key.starts_with(prefix));
        events.extend(waiting.take(limit - events.len()));
        // Compaction forbids before it removes: what was allowed after the read was whole during it.
        let oldest = self.index.read().oldest();
        if span.0 < oldest {
            Err(StoreError::Compacted { oldest })
        } else {
            Ok(events)
        }
    }

    fn with_reader<T>(&self, read: impl FnOnce(&LogFile) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.readers.lock().pop();
        let reader = idle.map_or_else(|| LogFile::open_reader(&self.path), Ok)?;
        let answer = read(&reader)?;
        let mut readers = self.readers.lock();
        if readers.len() < IDLE_READERS {
            readers.push(reader);
        }
        Ok(answer)
    }
}

/// The waiting rows from a revision on.
fn waiting_from(waiting: &[LogRow], revision: Revision) -> impl Iterator<Item = &LogRow> {
    let older = waiting.partition_point(|row| row.event.record.mod_revision < revision);
    waiting.iter().skip(older)
}

fn shared((key, version): (&Arc<str>, Version)) -> (Arc<str>, Version) {
    (key.clone(), version)
}

/// Runs file access where blocking is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(StoreError::Closed),
    }
}
