//! The engine passes the suite, and what only an engine with a file can be asked.

use std::sync::Arc;

use futures::StreamExt;

use super::*;
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
