//! `kill -9` of a writing process at random moments, over and over on the same file.
//!
//! The child is this test binary again: it writes as fast as it can, watches what it writes, and prints
//! both. The parent kills it, looks at a copy of what it left, and starts the next one on the original,
//! so that recovery works on what recovery left.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use rand::Rng;

use super::tests::crashed_copy;
use super::{SqliteOptions, SqliteStore};
use crate::store::suite::{assert_consistent, everything, key, next_events};
use crate::store::{Change, Durability, Event, Expect, Put, Record, Revision, Store};

const CRASHES: usize = 220;
/// From the start of the child: some die while they open the store.
const LIFE_MS: u64 = 90;
const PATH_VARIABLE: &str = "MIZZEN_TEST_STORE";
const WRITERS: usize = 6;
/// A child whose parent went away ends by itself.
const CHILD_LIMIT: Duration = Duration::from_secs(20);

/// Small bounds, so that compaction and checkpoints are interrupted too.
fn options() -> SqliteOptions {
    SqliteOptions {
        history_time: Duration::from_secs(3600),
        history_bytes: 2 << 20,
    }
}

#[tokio::test]
async fn writing_child() {
    // Only the test below starts it with a path; among the other tests it has nothing to do.
    let Some(path) = std::env::var_os(PATH_VARIABLE) else {
        return;
    };
    // The test harness leaves its line unfinished.
    println!();
    let store = Arc::new(SqliteStore::open(Path::new(&path), options()).unwrap());
    let from = store.revision().await.unwrap() + 1;
    let mut watch = store.watch("", from).await.unwrap();
    tokio::spawn(async move {
        while let Some(Ok(batch)) = watch.next().await {
            batch
                .events
                .iter()
                .for_each(|event| tell('W', &event.record, event.change));
        }
    });
    for writer in 0..WRITERS {
        tokio::spawn(write_for_ever(store.clone(), writer));
    }
    tokio::time::sleep(CHILD_LIMIT).await;
}

async fn write_for_ever(store: Arc<SqliteStore>, writer: usize) {
    for number in 0.. {
        let (name, kind, length) = {
            let mut random = rand::rng();
            // Mostly small, sometimes longer than a page of the file.
            let length = if random.random_ratio(1, 8) { 6000 } else { 300 };
            (
                key(random.random_range(0..40)),
                random.random_range(0..10),
                random.random_range(0..length),
            )
        };
        if kind == 0 {
            if let Ok((before, revision)) = store.delete(&name, Expect::Any).await {
                tell(
                    'A',
                    &Record {
                        mod_revision: revision,
                        value: Bytes::new(),
                        ..before
                    },
                    Change::Delete,
                );
            }
            continue;
        }
        let durability = if kind < 4 {
            Durability::Relaxed
        } else {
            Durability::Synced
        };
        let value = format!("{writer}.{number}.{}", "x".repeat(length)).into();
        let put = Put {
            key: name.into(),
            value,
            expect: Expect::Any,
            ttl: None,
            durability,
        };
        tell('A', &store.put(put).await.unwrap(), Change::Put);
    }
}

/// One line, in one piece: what was acknowledged (`A`) or watched (`W`).
fn tell(what: char, record: &Record, change: Change) {
    let line = Told::of(record, change).line(what);
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

/// A change, as the child tells it: enough to recognise it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    key: String,
    deleted: bool,
    length: usize,
    revision: Revision,
    start: String,
}

impl Told {
    fn of(record: &Record, change: Change) -> Self {
        Self {
            key: record.key.to_string(),
            deleted: change == Change::Delete,
            length: record.value.len(),
            revision: record.mod_revision,
            start: String::from_utf8_lossy(&record.value)
                .chars()
                .take_while(|letter| *letter != 'x')
                .collect(),
        }
    }

    fn line(&self, what: char) -> String {
        let Self {
            key,
            deleted,
            length,
            revision,
            start,
        } = self;
        format!("{what} {revision} {key} {deleted} {length} {start}.\n")
    }

    fn parse(line: &str) -> Option<(char, Self)> {
        let mut words = line.strip_suffix(".\n")?.split(' ');
        let what = words.next()?.chars().next()?;
        let revision = words.next()?.parse().ok()?;
        let key = words.next()?.to_owned();
        let (deleted, length) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some((
            what,
            Self {
                key,
                deleted,
                length,
                revision,
                start: words.next()?.to_owned(),
            },
        ))
    }
}

/// Ends with the test, whatever becomes of it.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What a child told before it was killed: acknowledged, and watched.
async fn let_one_die(path: &Path, life: Duration) -> (Vec<Told>, Vec<Told>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "store::sqlite::crash::writing_child",
        "--exact",
        "--nocapture",
        "--test-threads=1",
    ]);
    let child = command.env(PATH_VARIABLE, path).stdout(Stdio::piped()).spawn().unwrap();
    let mut victim = Victim(child);
    let mut output = BufReader::new(victim.0.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let (mut acknowledged, mut watched, mut line) = (Vec::new(), Vec::new(), String::new());
        while output.read_line(&mut line).unwrap() > 0 {
            match Told::parse(&line) {
                Some(('A', told)) => acknowledged.push(told),
                Some(('W', told)) => watched.push(told),
                _ => assert!(!line.contains("panicked"), "{line}"),
            }
            line.clear();
        }
        (acknowledged, watched)
    });
    tokio::time::sleep(life).await;
    drop(victim);
    reader.join().unwrap()
}

/// What the parent has seen so far.
struct Ledger {
    path: PathBuf,
    revision: Revision,
    state: BTreeMap<Arc<str>, Record>,
    acknowledged: usize,
}

impl Ledger {
    /// Opens a copy of what the dead process left and compares it with what that told.
    async fn inspect(&mut self, acknowledged: &[Told], watched: &[Told]) {
        let copy = crashed_copy(self.path.parent().unwrap());
        let store = SqliteStore::open(&copy.path().join("state.db"), options()).unwrap();
        let revision = store.revision().await.unwrap();
        assert!(
            revision >= self.revision,
            "revision {} went back to {revision}",
            self.revision
        );

        let first = self.revision + 1;
        let count = usize::try_from(revision - self.revision).unwrap();
        let events = next_events(&mut store.watch("", first).await.unwrap(), count).await;
        self.replay(&events);
        let told: Vec<_> = events
            .iter()
            .map(|event| Told::of(&event.record, event.change))
            .collect();
        let at = |revision: Revision| told.get(usize::try_from(revision.checked_sub(first)?).ok()?);
        for write in acknowledged {
            assert_eq!(at(write.revision), Some(write), "an acknowledged write is gone");
        }
        // What the watcher saw is the beginning of what there is: from where it stopped it can resume.
        for (seen, expect) in watched.iter().zip(&told) {
            assert_eq!(seen, expect, "a watcher missed or repeats a change");
        }
        assert!(watched.len() <= told.len(), "a watcher saw what never was");

        let records = store.range(everything(None)).await.unwrap().records;
        assert_eq!(records, self.state.values().cloned().collect::<Vec<_>>());
        self.revision = revision;
        self.acknowledged += acknowledged.len();
    }

    fn replay(&mut self, events: &[Event]) {
        assert_consistent(events);
        for (event, expect) in events.iter().zip(self.revision + 1..) {
            assert_eq!(event.record.mod_revision, expect, "a revision is missing");
            let key = event.record.key.clone();
            assert_eq!(event.previous.as_ref(), self.state.get(&key), "at revision {expect}");
            match event.change {
                Change::Put => drop(self.state.insert(key, event.record.clone())),
                Change::Delete => drop(self.state.remove(&key)),
            }
        }
    }
}

#[tokio::test]
async fn killed_writers_lose_nothing_they_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let mut ledger = Ledger {
        path: path.clone(),
        revision: 1,
        state: BTreeMap::new(),
        acknowledged: 0,
    };
    for _ in 0..CRASHES {
        let life = Duration::from_millis(rand::rng().random_range(0..LIFE_MS));
        let (acknowledged, watched) = let_one_die(&path, life).await;
        ledger.inspect(&acknowledged, &watched).await;
    }
    let Ledger {
        acknowledged, revision, ..
    } = ledger;
    println!("{CRASHES} crashes, {acknowledged} acknowledged writes, revision {revision}");
    assert!(acknowledged > CRASHES, "the writers hardly wrote");
}
