//! The cache over a real store: history, slow watchers, and what is left when watchers go.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mizzen_api::object::encode;
use mizzen_api::resource::{Resource, builtin};
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Cache, Delivery, EventKind, Filter, Snapshot, collection_prefix, object_key};
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::store::{Durability, Expect, Put, Revision, Store};

struct World {
    store: Arc<SqliteStore>,
    cache: Arc<Cache>,
    pods: Arc<Resource>,
    _stop: DropGuard,
    _directory: TempDir,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state.db");
        let store = Arc::new(SqliteStore::open(&path, SqliteOptions::default()).expect("a store"));
        let cache = Cache::load(store.clone(), builtin()).await.expect("a cache");
        let stop = CancellationToken::new();
        tokio::spawn(cache.clone().run(stop.clone()));
        Self {
            store,
            cache,
            pods: builtin().by_path("", "v1", "pods").expect("a row").clone(),
            _stop: stop.drop_guard(),
            _directory: directory,
        }
    }

    fn prefix(&self) -> String {
        collection_prefix(&self.pods)
    }

    async fn put(&self, namespace: &str, name: &str, node: &str) -> Revision {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"nodeName": node}});
        let put = Put {
            key: object_key(&self.pods, namespace, name).into(),
            value: encode(pod.as_object().expect("an object")),
            expect: Expect::Any,
            ttl: None,
            durability: Durability::Relaxed,
        };
        self.store.put(put).await.expect("written").mod_revision
    }

    async fn delete(&self, namespace: &str, name: &str) -> Revision {
        let key = object_key(&self.pods, namespace, name);
        self.store.delete(&key, Expect::Any).await.expect("deleted").1
    }
}

fn contents(snapshot: &Snapshot) -> Vec<(Arc<str>, Bytes)> {
    let entries = snapshot.entries.iter();
    entries.map(|(key, entry)| (key.clone(), entry.json.clone())).collect()
}

#[tokio::test]
async fn the_past_is_what_it_was() {
    let world = World::new().await;
    let mut past = Vec::new();
    for step in 0..200_u64 {
        // A fixed but irregular sequence of creations, changes and deletions of ten objects.
        let name = format!("p{}", step * 7 % 10);
        let there = world
            .cache
            .snapshot(&world.prefix())
            .entries
            .contains_key(&*object_key(&world.pods, "a", &name));
        let revision = match step % 3 == 0 && there {
            true => world.delete("a", &name).await,
            false => world.put("a", &name, &format!("n{step}")).await,
        };
        world.cache.wait_for(revision).await.expect("seen");
        past.push((revision, contents(&world.cache.snapshot(&world.prefix()))));
    }
    for (revision, expected) in past {
        // The older half has left the window and comes from the store.
        let snapshot = world
            .cache
            .snapshot_at(&world.prefix(), revision)
            .await
            .expect("the past");
        assert_eq!(contents(&snapshot), expected, "at {revision}");
    }
}

#[tokio::test]
async fn a_slow_watcher_is_dropped_and_hurts_nobody() {
    let world = World::new().await;
    let (_, mut slow) = world.cache.watch_now(&world.prefix(), Filter::default(), false);
    let (_, mut quick) = world.cache.watch_now(&world.prefix(), Filter::default(), false);
    let reader = tokio::spawn(async move {
        let mut last = 0;
        while let Some(Delivery::Event(_, event)) = quick.next().await {
            assert!(event.revision > last, "in order");
            last = event.revision;
            if event.subject().name.as_ref() == "last" {
                break;
            }
        }
        last
    });
    for at in 0..1_500 {
        world.put("a", "p", &format!("n{at}")).await;
        tokio::task::yield_now().await;
    }
    let last = world.put("a", "last", "n").await;
    assert_eq!(reader.await.expect("it reads on"), last);
    let mut got = 0;
    while slow.next().await.is_some() {
        got += 1;
    }
    assert_eq!(got, 1_000, "what its queue holds, then the end");
}

#[tokio::test]
async fn a_pod_that_changes_its_node_leaves_one_watcher_and_comes_to_the_other() {
    let world = World::new().await;
    let watch = |node: &str| {
        let fields = mizzen_api::selector::FieldSelector::parse(&format!("spec.nodeName={node}")).expect("a selector");
        let filter = Filter {
            fields,
            ..Filter::default()
        };
        world.cache.watch_now(&world.prefix(), filter, false).1
    };
    let (mut one, mut two, mut none) = (watch("one"), watch("two"), watch(""));
    world.put("a", "p", "").await;
    world.put("a", "p", "one").await;
    world.put("a", "p", "two").await;
    world.delete("a", "p").await;
    for (watch, expect) in [
        (&mut none, [EventKind::Added, EventKind::Deleted]),
        (&mut one, [EventKind::Added, EventKind::Deleted]),
        (&mut two, [EventKind::Added, EventKind::Deleted]),
    ] {
        for kind in expect {
            let next = tokio::time::timeout(Duration::from_secs(10), watch.next())
                .await
                .expect("in time");
            assert!(
                matches!(next, Some(Delivery::Event(found, _)) if found == kind),
                "{next:?}"
            );
        }
    }
}

#[tokio::test]
async fn watchers_leave_nothing_behind() {
    let world = World::new().await;
    for _ in 0..10 {
        let (_, watch) = world.cache.watch_now(&world.prefix(), Filter::default(), true);
        drop(watch);
    }
    let mut inner = world.cache.inner.write();
    assert!(inner.collection(&world.prefix()).watchers.is_empty());
}
