//! The engine passes the suite, each check on an etcd of its own (Debian's `etcd-server`).

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use futures::StreamExt;

use super::*;
use crate::store::Durability;
use crate::store::suite::{World, assert_consistent, everything, key, next_events, store_suite, write};

/// An etcd of one member.
struct Member {
    process: Child,
    endpoint: String,
    peer: String,
    directory: tempfile::TempDir,
}

impl Member {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let [endpoint, peer] = [free_port(), free_port()].map(|port| format!("http://127.0.0.1:{port}"));
        Self {
            process: spawn(directory.path(), &endpoint, &peer),
            endpoint,
            peer,
            directory,
        }
    }

    fn kill(&mut self) {
        self.process.kill().expect("it can be killed");
        self.process.wait().expect("it ends");
    }

    fn revive(&mut self) {
        self.process = spawn(self.directory.path(), &self.endpoint, &self.peer);
    }

    async fn store(&self) -> EtcdStore {
        let options = EtcdOptions {
            endpoints: self.endpoint.clone(),
            ..EtcdOptions::default()
        };
        EtcdStore::open(&options).await.expect("the store opens")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn spawn(directory: &Path, endpoint: &str, peer: &str) -> Child {
    Command::new("etcd")
        .arg("--data-dir")
        .arg(directory)
        .args(["--listen-client-urls", endpoint, "--advertise-client-urls", endpoint])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
        // What the suite asks of the engine has nothing to do with the disk.
        .arg("--unsafe-no-fsync")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("Debian's etcd-server is installed")
}

async fn open() -> World {
    let member = Member::start();
    World {
        store: Arc::new(member.store().await),
        _keep: Box::new(member),
    }
}

store_suite!(open);

/// A call on a connection that broke may say so; what comes after an answer goes through.
async fn until_it_answers(store: &EtcdStore) {
    let answers = async { while store.revision().await.is_err() {} };
    let answers = tokio::time::timeout(Duration::from_secs(60), answers).await;
    answers.expect("the member answers again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_dies_and_comes_back_is_not_noticed_by_watches() {
    let mut member = Member::start();
    let store = member.store().await;
    let from = store.revision().await.unwrap() + 1;
    let mut watch = store.watch("/registry/", from).await.unwrap();
    let mut events = Vec::new();
    for round in 0..3 {
        until_it_answers(&store).await;
        store
            .put(write(&key("a"), &round.to_string(), Expect::Any))
            .await
            .unwrap();
        events.extend(next_events(&mut watch, 1).await);
        member.kill();
        let refused = tokio::time::timeout(
            Duration::from_secs(60),
            store.put(write(&key("a"), "never", Expect::Revision(1))),
        );
        if round == 0 {
            let refused = refused.await.expect("an answer in time");
            assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        }
        member.revive();
    }
    until_it_answers(&store).await;
    store.put(write(&key("b"), "", Expect::Any)).await.unwrap();
    events.extend(next_events(&mut watch, 1).await);
    assert_consistent(&events);
    assert_eq!(store.range(everything(None)).await.unwrap().records.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_write_is_progress() {
    let member = Member::start();
    let store = member.store().await;
    let from = store.revision().await.unwrap() + 1;
    let mut watch = store.watch("/registry/", from).await.unwrap();
    let put = Put {
        durability: Durability::Relaxed,
        ..write("/elsewhere", "", Expect::Any)
    };
    let foreign = store.put(put).await.unwrap().mod_revision;
    assert_eq!(store.revision().await.unwrap(), foreign);
    let batch = tokio::time::timeout(Duration::from_secs(20), watch.next()).await;
    let batch = batch.expect("progress").expect("the watch goes on").unwrap();
    assert_eq!(
        batch,
        super::super::Batch {
            events: Vec::new(),
            revision: foreign
        }
    );
}
