//! The engine passes the suite, and what only an engine with a file can be asked.

use std::sync::Arc;

use futures::StreamExt;

use super::*;
use crate::store::Durability;
use crate::store::suite::{World, assert_consistent, everything, key, next_events, store_suite, write};

async fn open() -> World {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("state.db"), SqliteOptions::default()).unwrap();
    World {
        store: Arc::new(store),
        _keep: Some(directory),
    }
}

store_suite!(open);

#[tokio::test]
async fn everything_is_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db/state.db");
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    let mut watch = store.watch("", 2).await.unwrap();
    let first = store.put(write(&key("x"), "1", Expect::Absent)).await.unwrap();
    assert_eq!((first.create_revision, first.mod_revision), (2, 2));
    store.put(write(&key("x"), "2", Expect::Revision(2))).await.unwrap();
    store.delete(&key("x"), Expect::Any).await.unwrap();
    store.put(write(&key("y"), "3", Expect::Absent)).await.unwrap();
    let seen = next_events(&mut watch, 4).await;
    assert_consistent(&seen);
    let states = |store: SqliteStore| async move {
        let mut states = Vec::new();
        for revision in 1..=5 {
            states.push(store.range(everything(Some(revision))).await.unwrap().records);
        }
        states
    };
    let before = states(store).await;
    assert!(matches!(watch.next().await, Some(Err(StoreError::Closed))));
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    assert_eq!(store.revision().await.unwrap(), 5);
    assert_eq!(next_events(&mut store.watch("", 2).await.unwrap(), 4).await, seen);
    assert_eq!(states(store).await, before);
}

fn relaxed(name: &str, value: &str) -> Put {
    Put {
        durability: Durability::Relaxed,
        ..write(&key(name), value, Expect::Any)
    }
}

/// A copy of the store's files as a crash of the process would leave them.
pub(super) fn crashed_copy(from: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // The shared-memory file is SQLite's own, rebuilt by whoever opens first.
        if !entry.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    copy
}

#[tokio::test]
async fn relaxed_writes_survive_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("state.db"), SqliteOptions::default()).unwrap();
    store.put(write(&key("a"), "0", Expect::Absent)).await.unwrap();
    for round in 0..3 {
        // The file starts over after each synced write; its old content must not come back.
        for number in 0..round + 2 {
            store.put(relaxed("a", &format!("{round}.{number}"))).await.unwrap();
            store.put(relaxed("b", &format!("{round}.{number}"))).await.unwrap();
        }
        let revision = store.revision().await.unwrap();
        let copy = crashed_copy(directory.path());
        let again = SqliteStore::open(&copy.path().join("state.db"), SqliteOptions::default()).unwrap();
        assert_eq!(again.revision().await.unwrap(), revision);
        let count = usize::try_from(revision - 1).unwrap();
        let events = next_events(&mut again.watch("", 2).await.unwrap(), count).await;
        assert_eq!(events, next_events(&mut store.watch("", 2).await.unwrap(), count).await);
        assert_consistent(&events);
        store.put(write(&key("c"), "", Expect::Any)).await.unwrap();
    }
}

#[tokio::test]
async fn more_relaxed_writes_than_fit_go_to_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    let long = "x".repeat(3000);
    for number in 0..300 {
        store.put(relaxed(&(number % 10).to_string(), &long)).await.unwrap();
    }
    for number in 0..3000 {
        store.put(relaxed(&(number % 10).to_string(), "short")).await.unwrap();
    }
    let events = next_events(&mut store.watch("", 2).await.unwrap(), 3300).await;
    assert_consistent(&events);
    let copy = crashed_copy(directory.path());
    let again = SqliteStore::open(&copy.path().join("state.db"), SqliteOptions::default()).unwrap();
    assert_eq!(next_events(&mut again.watch("", 2).await.unwrap(), 3300).await, events);
}

#[tokio::test]
async fn a_crash_of_the_machine_starts_a_new_history() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("state.db"), SqliteOptions::default()).unwrap();
    store.put(write(&key("a"), "kept", Expect::Absent)).await.unwrap();
    store.put(relaxed("a", "lost with the page cache")).await.unwrap();
    let seen = store.revision().await.unwrap();
    let copy = crashed_copy(directory.path());
    let path = copy.path().join("state.db");
    std::fs::write(copy.path().join("state.db-relaxed"), "").unwrap();
    let another_boot = rusqlite::Connection::open(&path).unwrap();
    another_boot
        .execute("UPDATE meta SET value = 'another' WHERE name = 'boot'", [])
        .unwrap();
    drop(another_boot);
    for _ in 0..2 {
        let again = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
        let revision = again.revision().await.unwrap();
        assert!(revision > seen, "no revision that someone may have seen is used again");
        assert_eq!(again.get(&key("a"), None).await.unwrap().unwrap().value, "kept");
        assert!(matches!(
            again.watch("", seen + 1).await.err(),
            Some(StoreError::Compacted { .. })
        ));
        let written = again.put(write(&key("b"), "", Expect::Any)).await.unwrap();
        assert_eq!(written.mod_revision, revision + 1);
        assert_eq!(
            next_events(&mut again.watch("", revision + 1).await.unwrap(), 1).await[0].record,
            written
        );
    }
}

#[tokio::test]
async fn a_second_store_on_the_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    assert_refused(
        &path,
        "cannot open [DIR]/state.db: another process has it open; stop that one or use another data directory",
    );
    store.put(write(&key("a"), "", Expect::Absent)).await.unwrap();
    drop(store);
    SqliteStore::open(&path, SqliteOptions::default()).unwrap();
}

fn assert_refused(path: &Path, expect: &str) {
    let Err(error) = SqliteStore::open(path, SqliteOptions::default()) else {
        panic!("it opened")
    };
    let directory = path.parent().unwrap().to_str().unwrap();
    assert_eq!(error.to_string().replace(directory, "[DIR]"), expect);
}
