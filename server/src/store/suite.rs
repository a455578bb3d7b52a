//! What every engine must do, as tests against the trait.
//!
//! [`store_suite!`] makes a test of each check. It takes an async function that opens an empty store;
//! nothing here depends on where its revisions start. The world of a check is one store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use proptest::prelude::*;

use super::{Change, Durability, Event, Expect, Put, Range, Record, Revision, Store, StoreError, Watch, prefix_end};

/// Longer than anything takes that is not stuck.
const PATIENCE: Duration = Duration::from_secs(20);
const PREFIX: &str = "/registry/things/";

/// Makes a test of each check of the suite, for the stores that `$open` opens.
macro_rules! store_suite {
    ($open:expr; $($check:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            $crate::store::suite::$check(&$open().await).await;
        }
    )*};
    ($open:expr) => {
        store_suite!($open;
            conditions_decide_writes,
            ranges_are_ordered_and_limited,
            old_revisions_stay_readable,
            the_future_is_an_error,
            compaction_is_an_error_below_only,
            watches_replay_then_follow,
            watches_resume_anywhere,
            slow_watchers_miss_nothing,
            watches_see_their_prefix_only,
            expired_keys_are_deleted,
            relaxed_writes_are_ordinary_writes,
            scripts_agree_with_the_model,
            concurrent_writers_agree_with_the_model,
        );
    };
}
pub(crate) use store_suite;

/// The store of a check, and what must live as long (its directory).
pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) _keep: Box<dyn std::any::Any + Send + Sync>,
}

pub(crate) fn write(key: &str, value: &str, expect: Expect) -> Put {
    let (key, value) = (key.into(), Bytes::copy_from_slice(value.as_bytes()));
    Put {
        key,
        value,
        expect,
        ttl: None,
        durability: Durability::Synced,
    }
}

pub(crate) fn key(name: impl std::fmt::Display) -> String {
    format!("{PREFIX}{name}")
}

pub(crate) fn everything(revision: Option<Revision>) -> Range {
    Range {
        start: PREFIX.to_owned(),
        end: prefix_end(PREFIX),
        limit: 0,
        revision,
    }
}

/// The next `count` events, in whole batches.
pub(crate) async fn next_events(watch: &mut Watch, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let batch = tokio::time::timeout(PATIENCE, watch.next())
            .await
            .expect("the watch is stuck");
        let batch = batch.expect("the watch ended").expect("the watch failed");
        events.extend(batch.events);
        let last = events.last().map_or(0, |event: &Event| event.record.mod_revision);
        assert!(batch.revision >= last, "a batch ends before its last event");
    }
    assert_eq!(events.len(), count, "more events than changes");
    events
}

fn keys_and_values(records: &[Record]) -> Vec<(String, String)> {
    let text = |record: &Record| String::from_utf8(record.value.to_vec()).expect("tests write text");
    records
        .iter()
        .map(|record| (record.key.replace(PREFIX, ""), text(record)))
        .collect()
}

/// In order, once, and each event says what the key was before.
pub(crate) fn assert_consistent(events: &[Event]) {
    let mut state = BTreeMap::<Arc<str>, Record>::new();
    let mut last = 0;
    for event in events {
        let record = &event.record;
        assert!(
            record.mod_revision > last,
            "revision {} after {last}",
            record.mod_revision
        );
        last = record.mod_revision;
        if let Some(before) = state.get(&record.key) {
            assert_eq!(event.previous.as_ref(), Some(before), "at revision {last}");
        }
        let created_here = event.change == Change::Put && event.previous.is_none();
        assert_eq!(
            created_here,
            record.create_revision == record.mod_revision,
            "at revision {last}"
        );
        match event.change {
            Change::Put => drop(state.insert(record.key.clone(), record.clone())),
            Change::Delete => {
                assert!(
                    event.previous.is_some() && record.value.is_empty(),
                    "at revision {last}"
                );
                state.remove(&record.key);
            }
        }
    }
}

fn current_of<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> Option<Record> {
    match answer {
        Err(StoreError::Conflict { current }) => current.map(|record| *record),
        other => panic!("expected a conflict, got {other:?}"),
    }
}

pub(crate) async fn conditions_decide_writes(World { store, .. }: &World) {
    let before = store.revision().await.unwrap();
    let absent = store.put(write(&key("a"), "0", Expect::Revision(before))).await;
    assert_eq!(current_of(absent), None);
    assert_eq!(current_of(store.delete(&key("a"), Expect::Any).await), None);

    let created = store.put(write(&key("a"), "1", Expect::Absent)).await.unwrap();
    assert_eq!(
        (created.create_revision, created.mod_revision),
        (before + 1, before + 1)
    );
    assert_eq!(
        current_of(store.put(write(&key("a"), "2", Expect::Absent)).await),
        Some(created.clone())
    );
    assert_eq!(
        current_of(store.put(write(&key("a"), "2", Expect::Revision(before))).await),
        Some(created.clone())
    );

    let updated = store
        .put(write(&key("a"), "2", Expect::Revision(before + 1)))
        .await
        .unwrap();
    assert_eq!(
        (updated.create_revision, updated.mod_revision),
        (before + 1, before + 2)
    );
    let again = store.put(write(&key("a"), "3", Expect::Any)).await.unwrap();
    assert_eq!((again.create_revision, again.mod_revision), (before + 1, before + 3));

    assert_eq!(
        current_of(store.delete(&key("a"), Expect::Revision(before + 2)).await),
        Some(again.clone())
    );
    let (deleted, revision) = store.delete(&key("a"), Expect::Revision(before + 3)).await.unwrap();
    assert_eq!((deleted, revision), (again, before + 4));
    assert_eq!(store.get(&key("a"), None).await.unwrap(), None);

    let reborn = store.put(write(&key("a"), "4", Expect::Absent)).await.unwrap();
    assert_eq!((reborn.create_revision, reborn.mod_revision), (before + 5, before + 5));
    assert_eq!(
        store.revision().await.unwrap(),
        before + 5,
        "refused writes take no revision"
    );
}

pub(crate) async fn ranges_are_ordered_and_limited(World { store, .. }: &World) {
    for name in ["b", "a/2", "c", "a", "a/1", "a0"] {
        store.put(write(&key(name), name, Expect::Absent)).await.unwrap();
    }
    let read = async |start: &str, end: &str, limit| {
        let range = Range {
            start: key(start),
            end: key(end),
            limit,
            revision: None,
        };
        let result = store.range(range).await.unwrap();
        let names: Vec<_> = keys_and_values(&result.records)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        format!("{} +{}", names.join(" "), result.remaining)
    };
    let table = [
        ("a", "z", 0, "a a/1 a/2 a0 b c +0"),
        ("a", "c", 0, "a a/1 a/2 a0 b +0"),
        ("a/", "a0", 0, "a/1 a/2 +0"),
        ("a", "z", 2, "a a/1 +4"),
        ("a/1\0", "z", 2, "a/2 a0 +2"),
        ("b\0", "z", 2, "c +0"),
        ("c", "a", 0, " +0"),
        ("x", "y", 5, " +0"),
    ];
    for (start, end, limit, expect) in table {
        assert_eq!(
            read(start, end, limit).await,
            expect,
            "[{start:?}, {end:?}) limit {limit}"
        );
    }
}

pub(crate) async fn old_revisions_stay_readable(World { store, .. }: &World) {
    let start = store.revision().await.unwrap();
    store.put(write(&key("a"), "1", Expect::Any)).await.unwrap();
    store.put(write(&key("b"), "1", Expect::Any)).await.unwrap();
    store.put(write(&key("a"), "2", Expect::Any)).await.unwrap();
    store.delete(&key("b"), Expect::Any).await.unwrap();
    store.put(write(&key("b"), "3", Expect::Any)).await.unwrap();
    let table = ["", "a=1", "a=1 b=1", "a=2 b=1", "a=2", "a=2 b=3"];
    for (after, expect) in table.into_iter().enumerate() {
        let revision = start + after as u64;
        let result = store.range(everything(Some(revision))).await.unwrap();
        let state: Vec<_> = keys_and_values(&result.records)
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        assert_eq!((state.join(" ").as_str(), result.revision), (expect, revision));
        let limited = store
            .range(Range {
                limit: 1,
                ..everything(Some(revision))
            })
            .await
            .unwrap();
        assert_eq!(
            limited.remaining,
            result.records.len().saturating_sub(1),
            "at {expect:?}"
        );
        for record in result.records {
            assert_eq!(store.get(&record.key, Some(revision)).await.unwrap(), Some(record));
        }
    }
}

pub(crate) async fn the_future_is_an_error(World { store, .. }: &World) {
    let current = store
        .put(write(&key("a"), "1", Expect::Any))
        .await
        .unwrap()
        .mod_revision;
    let future = |error| matches!(error, StoreError::Future { current: told } if told == current);
    assert!(future(store.get(&key("a"), Some(current + 1)).await.unwrap_err()));
    assert!(future(store.range(everything(Some(current + 1))).await.unwrap_err()));
    assert!(future(store.compact(current + 1).await.unwrap_err()));
    assert!(future(store.watch(PREFIX, current + 2).await.err().unwrap()));
    assert!(
        store.watch(PREFIX, current + 1).await.is_ok(),
        "the next revision is where watches start"
    );
}

pub(crate) async fn compaction_is_an_error_below_only(World { store, .. }: &World) {
    let mut revisions = Vec::new();
    for value in 0..6 {
        for name in ["a", "b"] {
            revisions.push(
                store
                    .put(write(&key(name), &value.to_string(), Expect::Any))
                    .await
                    .unwrap()
                    .mod_revision,
            );
        }
    }
    revisions.push(store.delete(&key("b"), Expect::Any).await.unwrap().1);
    let current = revisions[12];
    // A watch that already runs, behind the point of compaction or not, and one that starts at it.
    for oldest in [revisions[5], current] {
        let before = store.range(everything(Some(oldest))).await.unwrap();
        store.compact(oldest).await.unwrap();
        store.compact(oldest).await.expect("compacting again changes nothing");
        let gone = |error| matches!(error, StoreError::Compacted { oldest: told } if told == oldest);
        // An engine may keep the state that the oldest event changed.
        assert!(gone(store.get(&key("a"), Some(oldest - 2)).await.unwrap_err()));
        assert!(gone(store.range(everything(Some(oldest - 2))).await.unwrap_err()));
        assert!(gone(store.watch(PREFIX, oldest - 1).await.err().unwrap()));
        assert!(gone(store.compact(oldest - 1).await.unwrap_err()));
        let after = store.range(everything(Some(oldest))).await.unwrap();
        assert_eq!(after.records, before.records);
        let mut watch = store.watch(PREFIX, oldest).await.unwrap();
        let events = next_events(&mut watch, usize::try_from(current + 1 - oldest).unwrap()).await;
        assert_eq!(events[0].record.mod_revision, oldest);
        assert!(
            events[0].previous.is_some(),
            "the state before the oldest event is kept for it"
        );
        assert_consistent(&events);
    }
}

/// Writes from several tasks at once; answers with how many there were.
async fn churn(store: &Arc<dyn Store>, tasks: usize, writes: usize) -> usize {
    let tasks = (0..tasks).map(|task| {
        let store = store.clone();
        async move {
            for write_number in 0..writes {
                let key = key(format_args!("{task}/{}", write_number % 7));
                if write_number % 5 == 4 && store.delete(&key, Expect::Any).await.is_ok() {
                    continue;
                }
                store
                    .put(write(&key, &write_number.to_string(), Expect::Any))
                    .await
                    .unwrap();
            }
        }
    });
    let tasks: Vec<_> = tasks.map(tokio::spawn).collect();
    for task in &mut { tasks } {
        task.await.unwrap();
    }
    writes
}

pub(crate) async fn watches_replay_then_follow(World { store, .. }: &World) {
    let from = store.revision().await.unwrap() + 1;
    churn(store, 4, 100).await;
    // Watchers that start while writes go on, from the same past.
    let writing = tokio::spawn({
        let store = store.clone();
        async move { churn(&store, 4, 200).await }
    });
    let watchers: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { next_events(&mut store.watch(PREFIX, from).await.unwrap(), 1200).await })
        })
        .collect();
    writing.await.unwrap();
    let mut histories = Vec::new();
    for watcher in watchers {
        histories.push(watcher.await.unwrap());
    }
    assert_consistent(&histories[0]);
    let span: Vec<_> = histories[0].iter().map(|event| event.record.mod_revision).collect();
    assert_eq!(span, (from..from + 1200).collect::<Vec<_>>(), "no revision is missing");
    assert!(
        histories.iter().all(|history| *history == histories[0]),
        "all watchers see the same"
    );
}

pub(crate) async fn watches_resume_anywhere(World { store, .. }: &World) {
    let from = store.revision().await.unwrap() + 1;
    churn(store, 3, 200).await;
    let all = next_events(&mut store.watch(PREFIX, from).await.unwrap(), 600).await;
    for skip in [0, 1, 2, 255, 256, 257, 511, 512, 513, 598, 599] {
        let mut watch = store.watch(PREFIX, from + skip as u64).await.unwrap();
        assert_eq!(
            next_events(&mut watch, 600 - skip).await,
            all[skip..],
            "from the {skip}th"
        );
    }
}

pub(crate) async fn slow_watchers_miss_nothing(World { store, .. }: &World) {
    let from = store.revision().await.unwrap() + 1;
    let mut watch = store.watch(PREFIX, from).await.unwrap();
    store.put(write(&key("first"), "", Expect::Any)).await.unwrap();
    let mut events = next_events(&mut watch, 1).await;
    for burst in [1000, 300, 2000] {
        // One after the other, so that each is a group of its own.
        churn(store, 1, burst).await;
        events.extend(next_events(&mut watch, burst).await);
        // What it caught up with does not come again, neither now nor with what is new.
        assert!(futures::poll!(watch.next()).is_pending());
        churn(store, 1, 3).await;
        events.extend(next_events(&mut watch, 3).await);
    }
    churn(store, 8, 100).await;
    events.extend(next_events(&mut watch, 800).await);
    assert_consistent(&events);
}

pub(crate) async fn watches_see_their_prefix_only(World { store, .. }: &World) {
    let from = store.revision().await.unwrap() + 1;
    let mut live = store.watch(&key("a/"), from).await.unwrap();
    for name in ["a", "a/1", "a0", "a/2", "b", "a/1"] {
        store.put(write(&key(name), name, Expect::Any)).await.unwrap();
    }
    let mut past = store.watch(&key("a/"), from).await.unwrap();
    let (live, past) = (next_events(&mut live, 3).await, next_events(&mut past, 3).await);
    assert_eq!(live, past);
    let offsets: Vec<_> = live.iter().map(|event| event.record.mod_revision - from).collect();
    assert_eq!(offsets, [1, 3, 5]);
}

pub(crate) async fn expired_keys_are_deleted(World { store, .. }: &World) {
    let from = store.revision().await.unwrap() + 1;
    let mut watch = store.watch(PREFIX, from).await.unwrap();
    let with_ttl = |name, ttl_ms| Put {
        ttl: Some(Duration::from_millis(ttl_ms)),
        ..write(name, "", Expect::Any)
    };
    let names = [key("kept"), key("rewritten"), key("short"), key("deleted")];
    store.put(with_ttl(&names[0], 300)).await.unwrap();
    store.put(with_ttl(&names[1], 300)).await.unwrap();
    store.put(with_ttl(&names[2], 300)).await.unwrap();
    store.put(with_ttl(&names[3], 300)).await.unwrap();
    store
        .put(write(&names[0], "now without end", Expect::Any))
        .await
        .unwrap();
    // Engines may round up to seconds, and to the shortest time that they can.
    store.put(with_ttl(&names[1], 3500)).await.unwrap();
    store.delete(&names[3], Expect::Any).await.unwrap();
    let events = next_events(&mut watch, 9).await;
    assert_consistent(&events);
    let deleted: Vec<_> = events[6..]
        .iter()
        .map(|event| (event.change, event.record.key.to_string()))
        .collect();
    let expect = [&names[3], &names[2], &names[1]].map(|name| (Change::Delete, name.clone()));
    assert_eq!(deleted, expect);
    assert!(store.get(&names[0], None).await.unwrap().is_some());
}

pub(crate) async fn relaxed_writes_are_ordinary_writes(World { store, .. }: &World) {
    let from = store.revision().await.unwrap() + 1;
    let mut watch = store.watch(PREFIX, from).await.unwrap();
    for number in 0..300_u64 {
        let durability = if number % 7 == 3 {
            Durability::Synced
        } else {
            Durability::Relaxed
        };
        let name = key(number % 3);
        let put = Put {
            durability,
            ..write(&name, &number.to_string(), Expect::Any)
        };
        let written = store.put(put).await.unwrap();
        assert_eq!(written.mod_revision, from + number);
        assert_eq!(store.get(&name, None).await.unwrap().unwrap(), written);
        if number >= 3 {
            let before = store.get(&name, Some(from + number - 1)).await.unwrap().unwrap();
            assert_eq!(before.mod_revision, from + number - 3);
            assert_eq!(
                current_of(store.put(write(&name, "", Expect::Absent)).await),
                Some(written)
            );
        }
    }
    let live = next_events(&mut watch, 300).await;
    let past = next_events(&mut store.watch(PREFIX, from).await.unwrap(), 300).await;
    assert_consistent(&live);
    assert_eq!(live, past);
}

/// A step of a script: what is done to which of few keys.
#[derive(Clone, Debug)]
enum Step {
    Put { key: u8, expect: Guess, relaxed: bool },
    Delete { key: u8, expect: Guess },
    Compact { back: u8 },
}

/// What a writer believes of a key.
#[derive(Clone, Copy, Debug)]
enum Guess {
    Any,
    Absent,
    /// The revision that the writer last saw it at, or this far from it.
    Seen(u8),
}

fn steps(length: usize) -> impl Strategy<Value = Vec<Step>> {
    let guess = || prop_oneof![1 => Just(Guess::Any), 1 => Just(Guess::Absent), 4 => Just(Guess::Seen(0)), 1 => (1..3_u8).prop_map(Guess::Seen)];
    let step = prop_oneof![
        12 => (0..4_u8, guess(), any::<bool>()).prop_map(|(key, expect, relaxed)| Step::Put { key, expect, relaxed }),
        5 => (0..4_u8, guess()).prop_map(|(key, expect)| Step::Delete { key, expect }),
        1 => (0..12_u8).prop_map(|back| Step::Compact { back }),
    ];
    proptest::collection::vec(step, 1..length)
}

/// The specification: all states there ever were.
#[derive(Default)]
struct Model {
    states: BTreeMap<Revision, BTreeMap<String, Record>>,
}

impl Model {
    fn replay(base: Revision, events: &[Event]) -> Self {
        let mut states = BTreeMap::from([(base, BTreeMap::new())]);
        let mut state = BTreeMap::new();
        for event in events {
            let record = event.record.clone();
            match event.change {
                Change::Put => drop(state.insert(record.key.to_string(), record)),
                Change::Delete => drop(state.remove(&*record.key)),
            }
            states.insert(event.record.mod_revision, state.clone());
        }
        Self { states }
    }

    fn at(&self, revision: Revision) -> &BTreeMap<String, Record> {
        self.states.range(..=revision).next_back().expect("no state that old").1
    }

    fn holds(&self, revision: Revision, key: &str, expect: Expect) -> bool {
        let current = self.at(revision).get(key);
        match expect {
            Expect::Any => true,
            Expect::Absent => current.is_none(),
            Expect::Revision(revision) => current.is_some_and(|record| record.mod_revision == revision),
        }
    }
}

/// What a step did, with what was known around it.
#[derive(Debug)]
struct Outcome {
    key: String,
    expect: Expect,
    deletion: bool,
    /// Revision of the store before the call and after the answer.
    during: (Revision, Revision),
    answer: Result<Revision, Option<Record>>,
}

/// Plays a script and reports what came of each write.
async fn play(store: &Arc<dyn Store>, script: Vec<Step>, writer: usize) -> Vec<Outcome> {
    let mut seen = BTreeMap::<String, Revision>::new();
    let mut outcomes = Vec::new();
    for (number, step) in script.into_iter().enumerate() {
        let before = store.revision().await.unwrap();
        let believe = |key: &String, guess| match guess {
            Guess::Any => Expect::Any,
            Guess::Absent => Expect::Absent,
            Guess::Seen(off) => Expect::Revision(seen.get(key).copied().unwrap_or(0) + u64::from(off)),
        };
        let (name, expect, deletion, answer) = match step {
            Step::Put {
                key: name,
                expect,
                relaxed,
            } => {
                let name = key(name);
                let expect = believe(&name, expect);
                let durability = if relaxed {
                    Durability::Relaxed
                } else {
                    Durability::Synced
                };
                let value = format!("{writer}.{number}");
                let answer = store
                    .put(Put {
                        durability,
                        ..write(&name, &value, expect)
                    })
                    .await;
                (name, expect, false, answer.map(|record| record.mod_revision))
            }
            Step::Delete { key: name, expect } => {
                let name = key(name);
                let expect = believe(&name, expect);
                let answer = store.delete(&name, expect).await;
                (name, expect, true, answer.map(|(_, revision)| revision))
            }
            Step::Compact { back } => match store.compact(before.saturating_sub(u64::from(back))).await {
                Ok(()) | Err(StoreError::Compacted { .. }) => continue,
                Err(error) => panic!("{error}"),
            },
        };
        let answer = match answer {
            Ok(revision) => {
                seen.insert(name.clone(), revision);
                Ok(revision)
            }
            Err(StoreError::Conflict { current }) => {
                if let Some(current) = &current {
                    seen.insert(name.clone(), current.mod_revision);
                }
                Err(current.map(|record| *record))
            }
            Err(error) => panic!("{error}"),
        };
        let during = (before, store.revision().await.unwrap());
        outcomes.push(Outcome {
            key: name,
            expect,
            deletion,
            during,
            answer,
        });
    }
    outcomes
}

/// Each outcome fits the history that watchers were told.
fn assert_explained(model: &Model, events: &[Event], outcomes: &[Outcome]) {
    let by_revision: BTreeMap<_, _> = events.iter().map(|event| (event.record.mod_revision, event)).collect();
    let done: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| outcome.answer.as_ref().ok())
        .collect();
    assert_eq!(done.len(), events.len(), "each event is one acknowledged write");
    for outcome in outcomes {
        let (before, after) = outcome.during;
        match &outcome.answer {
            Ok(revision) => {
                assert!(before < *revision && *revision <= after, "{outcome:?}");
                assert!(model.holds(revision - 1, &outcome.key, outcome.expect), "{outcome:?}");
                let event = by_revision[revision];
                assert_eq!(*event.record.key, *outcome.key);
                assert_eq!(event.change == Change::Delete, outcome.deletion);
            }
            Err(current) => {
                // At some moment of the call the key was so, and so the condition did not hold.
                let explained = (before..=after).any(|revision| {
                    let held = model.holds(revision, &outcome.key, outcome.expect);
                    let nothing_to_delete = outcome.deletion && current.is_none();
                    model.at(revision).get(&outcome.key) == current.as_ref() && (!held || nothing_to_delete)
                });
                assert!(explained, "{outcome:?}");
            }
        }
    }
}

/// The store is now, and at every revision it still has, what the model says.
async fn assert_agrees(store: &Arc<dyn Store>, model: &Model, base: Revision) {
    for revision in base..=store.revision().await.unwrap() {
        let records = match store.range(everything(Some(revision))).await {
            Ok(result) => result.records,
            Err(StoreError::Compacted { oldest }) if oldest > revision => continue,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(
            records,
            model.at(revision).values().cloned().collect::<Vec<_>>(),
            "at revision {revision}"
        );
    }
}

/// Runs an async property; proptest itself is not async.
async fn for_all<S, F>(cases: u32, strategy: S, property: impl Fn(S::Value) -> F + Send + 'static)
where
    S: Strategy + Send + 'static,
    F: Future<Output = ()>,
{
    let runtime = tokio::runtime::Handle::current();
    let run = move || {
        let config = ProptestConfig {
            cases,
            failure_persistence: None,
            max_shrink_iters: 200,
            ..ProptestConfig::default()
        };
        let result = proptest::test_runner::TestRunner::new(config).run(&strategy, |input| {
            runtime.block_on(property(input));
            Ok(())
        });
        if let Err(error) = result {
            panic!("{error}");
        }
    };
    tokio::task::spawn_blocking(run).await.unwrap();
}

/// Empties the store between the cases of a property.
async fn clear(store: &Arc<dyn Store>) -> Revision {
    for record in store.range(everything(None)).await.unwrap().records {
        store.delete(&record.key, Expect::Any).await.unwrap();
    }
    store.revision().await.unwrap()
}

/// Plays one script per writer at the same time, then checks everything that was seen.
async fn play_and_check(store: Arc<dyn Store>, scripts: Vec<Vec<Step>>) {
    let base = clear(&store).await;
    let mut watch = store.watch(PREFIX, base + 1).await.unwrap();
    let writers = scripts.into_iter().enumerate().map(|(writer, script)| {
        let store = store.clone();
        tokio::spawn(async move { play(&store, script, writer).await })
    });
    let mut outcomes = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        outcomes.extend(writer.await.unwrap());
    }
    let changes = usize::try_from(store.revision().await.unwrap() - base).unwrap();
    let events = next_events(&mut watch, changes).await;
    assert_consistent(&events);
    let model = Model::replay(base, &events);
    assert_explained(&model, &events, &outcomes);
    assert_agrees(&store, &model, base).await;
}

pub(crate) async fn scripts_agree_with_the_model(World { store, .. }: &World) {
    let store = store.clone();
    for_all(40, steps(60), move |script| play_and_check(store.clone(), vec![script])).await;
}

pub(crate) async fn concurrent_writers_agree_with_the_model(World { store, .. }: &World) {
    let store = store.clone();
    let scripts = proptest::collection::vec(steps(40), 2..6);
    for_all(40, scripts, move |scripts| play_and_check(store.clone(), scripts)).await;
}
