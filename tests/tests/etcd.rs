//! Three servers on a three-member etcd, any of which is killed at any time.
//!
//! Writers note what was acknowledged, watchers note what they were told; a checker that knows nothing of
//! the servers compares. `MIZZEN_TEST_ETCD_SECONDS` makes the ordinary minute longer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, PostParams, Preconditions, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use mizzen_tests::etcd::{Process, etcd, free_port};
use mizzen_tests::{can_run_containers, program, succeed, tail};
use serde_json::{Value, json};

/// What a component may take to go on after its leader was killed.
const RESUME: Duration = Duration::from_secs(5);
/// What etcd may take besides, to find out that its leader is gone and to elect another.
const ELECTION: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(90);
const NAMESPACE: &str = "load";
/// A controller puts it into every namespace.
const ROOT_CA: &str = "kube-root-ca.crt";
/// The value of the last write, which ends the watchers.
const END: &str = "end";

async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// A server without an agent.
struct Server {
    process: Process,
    directory: PathBuf,
    client: kube::Client,
}

fn server_command(directory: &Path, port: u16, endpoint: &str, number: usize) -> Command {
    let log = File::options().create(true).append(true).open(directory.join("log"));
    let log = log.expect("a log file");
    let mut command = Command::new(program());
    command
        .args(["server", "--config=/nonexistent", "--disable-agent", "--token=shared"])
        .arg(format!("--data-dir={}", directory.join("data").display()))
        .arg(format!("--write-kubeconfig={}", directory.join("kubeconfig").display()))
        .arg(format!("--https-listen-port={port}"))
        .arg(format!("--advertise-address=192.0.2.{}", number + 1))
        .arg(format!("--datastore-endpoint={endpoint}"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log file"))
        .stderr(log);
    command
}

impl Server {
    async fn start(world: &Path, endpoint: &str, number: usize) -> Self {
        let directory = world.join(format!("server-{number}"));
        std::fs::create_dir_all(&directory).expect("a folder");
        let (place, endpoint, port) = (directory.clone(), endpoint.to_owned(), free_port());
        let command = move || server_command(&place, port, &endpoint, number);
        let process = Process::start(format!("server {number}"), command);
        let kubeconfig = directory.join("kubeconfig");
        let begin = Instant::now();
        while !kubeconfig.exists() {
            assert!(
                begin.elapsed() < PATIENCE,
                "no kubeconfig: {}",
                tail(&directory.join("log"), 4000)
            );
            pause(Duration::from_millis(50)).await;
        }
        let config = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let mut config = kube::Config::from_custom_kubeconfig(config, &options)
            .await
            .expect("a config");
        config.connect_timeout = Some(Duration::from_secs(2));
        config.read_timeout = Some(Duration::from_secs(20));
        let client = kube::Client::try_from(config).expect("a client");
        let server = Self {
            process,
            directory,
            client,
        };
        server.ready().await;
        server
    }

    async fn ready(&self) {
        let begin = Instant::now();
        while self.get("/readyz").await.is_err() {
            assert!(
                begin.elapsed() < PATIENCE,
                "not ready: {}",
                tail(&self.directory.join("log"), 4000)
            );
            pause(Duration::from_millis(100)).await;
        }
    }

    async fn get(&self, path: &str) -> kube::Result<String> {
        let request = http_get(path);
        self.client.request_text(request).await
    }

    async fn json(&self, path: &str) -> Option<Value> {
        serde_json::from_str(&self.get(path).await.ok()?).ok()
    }

    async fn post(&self, path: &str, object: Value) -> kube::Result<Value> {
        let request = kube::core::Request::new(path);
        let request = request.create(&PostParams::default(), object.to_string().into_bytes());
        self.client.request(request.expect("a request")).await
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.process.name, tail(&self.directory.join("log"), 3000));
        }
    }
}

fn http_get(path: &str) -> http::Request<Vec<u8>> {
    http::Request::get(path).body(Vec::new()).expect("a request")
}

/// A change of a key: as it was acknowledged, or as a watcher was told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fact {
    revision: u64,
    name: String,
    /// `None` for a deletion.
    value: Option<String>,
}

fn fact(map: &ConfigMap, deleted: bool) -> Fact {
    let value = map.data.as_ref().and_then(|data| data.get("v")).cloned();
    let revision = map.metadata.resource_version.as_deref().unwrap_or_default();
    Fact {
        revision: revision.parse().expect("a revision"),
        name: map.metadata.name.clone().unwrap_or_default(),
        value: value.filter(|_| !deleted),
    }
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    let map = json!({"metadata": {"name": name}, "data": {"v": value}});
    serde_json::from_value(map).expect("a ConfigMap")
}

/// What a watcher was told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    fact: Fact,
    /// Whether it was told that the key was not there before.
    added: bool,
}

/// What a writer knows of what it did. Nobody else writes its keys, and each of its writes names the state that it
/// follows, so that one whose answer was lost cannot take effect after a later one.
#[derive(Default)]
struct Notes {
    acknowledged: Vec<Fact>,
    /// Keys whose deletion was acknowledged, with the revision that was deleted.
    deleted: BTreeSet<(String, u64)>,
    /// Values of writes of which it does not know.
    unknown: BTreeSet<String>,
    /// Keys of deletions of which it does not know.
    unknown_deletions: BTreeSet<String>,
    /// The revision of each key, `None` where it is gone; keys of which it does not know are missing.
    certain: BTreeMap<String, Option<u64>>,
    /// Reads that showed something else.
    wrong_reads: Vec<String>,
}

impl Notes {
    /// A read answers with the last acknowledged write, whichever server is asked.
    fn read(&mut self, name: &str, found: Option<u64>) {
        let wrong = self.certain.get(name).filter(|certain| **certain != found);
        self.wrong_reads
            .extend(wrong.map(|certain| format!("{name} is at {found:?} instead of {certain:?}")));
    }

    /// A write was answered; `None` when it is not known whether it was done.
    fn answered(&mut self, name: String, state: Option<Option<u64>>) {
        match state {
            Some(state) => drop(self.certain.insert(name, state)),
            None => drop(self.certain.remove(&name)),
        }
    }
}

/// Writes until told to stop, to one server after the other.
async fn write(servers: Vec<Api<ConfigMap>>, writer: usize, stop: Arc<AtomicBool>) -> Notes {
    let mut notes = Notes::default();
    for number in 0.. {
        if stop.load(Relaxed) {
            break;
        }
        let api = &servers[(writer + number) % servers.len()];
        let name = format!("w{writer}-{}", number % 5);
        let value = format!("{writer}.{number}");
        let Ok(found) = api.get_opt(&name).await else { continue };
        let revision = found.as_ref().map(|map| fact(map, false).revision);
        notes.read(&name, revision);
        let answer = match found {
            Some(map) if number % 7 == 6 => {
                delete(api, &map, &mut notes).await;
                continue;
            }
            Some(mut map) => {
                map.data = config_map(&name, &value).data;
                api.replace(&name, &PostParams::default(), &map).await
            }
            None => api.create(&PostParams::default(), &config_map(&name, &value)).await,
        };
        match answer {
            Ok(map) => {
                let fact = fact(&map, false);
                notes.answered(name, Some(Some(fact.revision)));
                notes.acknowledged.push(fact);
            }
            Err(_) => {
                notes.answered(name, None);
                notes.unknown.insert(value);
            }
        }
        pause(Duration::from_millis(15)).await;
    }
    notes
}

async fn delete(api: &Api<ConfigMap>, map: &ConfigMap, notes: &mut Notes) {
    let Fact { name, revision, .. } = fact(map, true);
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            resource_version: map.metadata.resource_version.clone(),
            uid: None,
        }),
        ..DeleteParams::default()
    };
    if api.delete(&name, &params).await.is_ok() {
        notes.deleted.insert((name.clone(), revision));
        notes.answered(name, Some(None));
    } else {
        notes.unknown_deletions.insert(name.clone());
        notes.answered(name, None);
    }
}

/// Follows all changes, at whichever server can continue where the last one broke off.
async fn watch(servers: Vec<Api<ConfigMap>>, first: usize, from: u64) -> Vec<Event> {
    let (mut seen, mut revision, mut at) = (Vec::new(), from, first);
    let mut refused = 0;
    loop {
        let api = &servers[at % servers.len()];
        at += 1;
        let Ok(stream) = api.watch(&WatchParams::default(), &revision.to_string()).await else {
            pause(Duration::from_millis(200)).await;
            continue;
        };
        let mut stream = std::pin::pin!(stream);
        while let Some(Ok(event)) = futures::StreamExt::next(&mut stream).await {
            let fact = match &event {
                WatchEvent::Added(map) | WatchEvent::Modified(map) => fact(map, false),
                WatchEvent::Deleted(map) => fact(map, true),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(error) => {
                    assert_eq!(error.code, 410, "{error:?}");
                    refused += 1;
                    assert!(refused < 200, "no server has the history after {revision}");
                    pause(Duration::from_millis(200)).await;
                    break;
                }
            };
            refused = 0;
            revision = fact.revision;
            if fact.name == ROOT_CA {
                continue;
            }
            let end = fact.value.as_deref() == Some(END);
            let added = matches!(event, WatchEvent::Added(_));
            seen.push(Event { fact, added });
            if end {
                return seen;
            }
        }
    }
}

/// Compares what writers know with what watchers were told.
fn check(notes: &[Notes], histories: &[Vec<Event>]) {
    let told = &histories[0];
    for pair in told.windows(2) {
        assert!(
            pair[0].fact.revision < pair[1].fact.revision,
            "out of order or twice: {pair:?}"
        );
    }
    for (number, history) in histories.iter().enumerate() {
        let differs = history.iter().zip(told).find(|(one, other)| one != other);
        assert!(differs.is_none(), "watcher {number} was told otherwise: {differs:?}");
        assert_eq!(history.len(), told.len(), "watcher {number} was told less or more");
    }
    let deleted = replayed(told);
    for notes in notes {
        assert!(notes.wrong_reads.is_empty(), "{:?}", notes.wrong_reads);
        let lost: Vec<_> = notes.deleted.difference(&deleted).collect();
        assert!(lost.is_empty(), "acknowledged deletions are lost: {lost:?}");
    }
    let by_revision: BTreeMap<_, _> = told.iter().map(|event| (event.fact.revision, &event.fact)).collect();
    let mut acknowledged = BTreeSet::new();
    for fact in notes.iter().flat_map(|notes| &notes.acknowledged) {
        assert_eq!(
            by_revision.get(&fact.revision),
            Some(&fact),
            "an acknowledged write is lost"
        );
        assert!(
            acknowledged.insert(fact.revision),
            "two writes got one revision: {fact:?}"
        );
    }
    for Event { fact, .. } in told.iter().filter(|event| event.fact.value.as_deref() != Some(END)) {
        let explained = match &fact.value {
            Some(value) => {
                acknowledged.contains(&fact.revision) || notes.iter().any(|notes| notes.unknown.contains(value))
            }
            None => notes.iter().any(|notes| {
                let known = notes.deleted.iter().any(|(name, _)| *name == fact.name);
                known || notes.unknown_deletions.contains(&fact.name)
            }),
        };
        assert!(explained, "nobody wrote {fact:?}");
    }
}

/// Lives through a history, in which each event must follow from those before it; gives what was deleted.
fn replayed(history: &[Event]) -> BTreeSet<(String, u64)> {
    let (mut present, mut deleted) = (BTreeMap::new(), BTreeSet::new());
    for event in history {
        let Fact { name, revision, value } = &event.fact;
        let before = match value {
            Some(_) => present.insert(name, *revision),
            None => present.remove(name),
        };
        assert_eq!(event.added, before.is_none(), "an event is missing before {event:?}");
        if value.is_none() {
            deleted.extend(before.map(|before| (name.clone(), before)));
        }
    }
    deleted
}

/// The values that a history ends with.
fn outcome(history: &[Event]) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for Event { fact, .. } in history {
        match &fact.value {
            Some(value) => drop(values.insert(fact.name.clone(), value.clone())),
            None => drop(values.remove(&fact.name)),
        }
    }
    values
}

/// The values that a server tells.
async fn values(server: &Server) -> BTreeMap<String, String> {
    let list = server.config_maps().list(&ListParams::default()).await.expect("a list");
    let facts = list.items.iter().map(|map| fact(map, false));
    facts
        .filter(|fact| fact.name != ROOT_CA)
        .map(|fact| (fact.name, fact.value.unwrap_or_default()))
        .collect()
}

#[test]
fn what_is_wrong_with_a_history_is_found() {
    let told = |revision, name: &str, value: Option<&str>, added| Event {
        fact: Fact {
            revision,
            name: name.to_owned(),
            value: value.map(str::to_owned),
        },
        added,
    };
    let good = [
        told(1, "a", Some("1"), true),
        told(2, "b", Some("2"), true),
        told(3, "a", Some("3"), false),
        told(4, "b", None, false),
    ];
    let notes = || {
        let mut notes = Notes::default();
        let written = good.iter().filter(|event| event.fact.value.is_some());
        notes.acknowledged = written.map(|event| event.fact.clone()).collect();
        notes.deleted = [("b".to_owned(), 2)].into();
        notes
    };
    let verdict = |notes: Notes, histories: [Vec<Event>; 2]| {
        let checked = std::panic::catch_unwind(|| check(&[notes], &histories));
        checked.err().map(|why| match why.downcast::<String>() {
            Ok(text) => text.lines().next().unwrap_or_default().to_owned(),
            Err(_) => "?".to_owned(),
        })
    };
    let both = |history: Vec<Event>| verdict(notes(), [history.clone(), history]);
    let without = |at: usize| {
        good.iter()
            .enumerate()
            .filter(|(n, _)| *n != at)
            .map(|(_, event)| event.clone())
            .collect()
    };
    let said = |found: Option<String>, words: &str| {
        assert!(
            found.as_deref().is_some_and(|found| found.contains(words)),
            "{found:?} instead of {words}"
        );
    };

    assert_eq!(both(good.to_vec()), None);
    said(both(without(0)), "an event is missing before");
    said(both(without(2)), "an acknowledged write is lost");
    said(both(without(3)), "acknowledged deletions are lost");
    said(
        verdict(notes(), [good.to_vec(), without(1)]),
        "watcher 1 was told otherwise",
    );
    said(
        verdict(notes(), [good.to_vec(), good[..3].to_vec()]),
        "watcher 1 was told less or more",
    );
    said(both([&good[..2], &good[1..]].concat()), "out of order or twice");
    let swapped = [good[1].clone(), good[0].clone(), good[2].clone(), good[3].clone()];
    said(both(swapped.to_vec()), "out of order or twice");
    said(
        both([&good[..], &[told(5, "b", Some("nobody's"), true)]].concat()),
        "nobody wrote",
    );
    said(both([&good[..], &[told(5, "a", None, false)]].concat()), "nobody wrote");
    let mut misled = notes();
    misled.certain.insert("a".to_owned(), Some(3));
    misled.read("a", Some(3));
    misled.read("b", None);
    assert_eq!(misled.wrong_reads, [""; 0]);
    misled.read("a", Some(1));
    said(
        verdict(misled, [good.to_vec(), good.to_vec()]),
        "a is at Some(1) instead of Some(3)",
    );
}

/// Who holds the Leases of the controllers and of the scheduler.
async fn holders(server: &Server) -> Vec<String> {
    let begin = Instant::now();
    let mut holders = Vec::new();
    for name in ["kube-controller-manager", "kube-scheduler"] {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{name}");
        loop {
            let lease = server.json(&path).await.unwrap_or_default();
            match lease["spec"]["holderIdentity"].as_str() {
                Some(holder) if !holder.is_empty() => break holders.push(holder.to_owned()),
                _ => assert!(begin.elapsed() < PATIENCE, "nobody holds {name}"),
            }
            pause(Duration::from_millis(50)).await;
        }
    }
    holders
}

/// How long it takes until a Deployment's Pod is made and bound.
async fn work_is_done(server: &Server, name: &str) -> Duration {
    let begin = Instant::now();
    let template = json!({"metadata": {"labels": {"app": name}}, "spec": {
        "tolerations": [{"operator": "Exists"}], "containers": [{"name": "c", "image": "i"}]}});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template}});
    let mut made = server
        .post("/apis/apps/v1/namespaces/default/deployments", deployment.clone())
        .await;
    while made.is_err() && begin.elapsed() < PATIENCE {
        pause(Duration::from_millis(50)).await;
        made = server
            .post("/apis/apps/v1/namespaces/default/deployments", deployment.clone())
            .await;
    }
    let pods = format!("/api/v1/namespaces/default/pods?labelSelector=app%3D{name}");
    loop {
        assert!(begin.elapsed() < PATIENCE, "{name} has no Pod on a node");
        let found = server.json(&pods).await.unwrap_or_default();
        if found["items"][0]["spec"]["nodeName"].is_string() {
            return begin.elapsed();
        }
        pause(Duration::from_millis(20)).await;
    }
}

#[test]
fn any_server_and_any_member_may_die() {
    if !can_run_containers() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(Box::pin(kill_in_a_loop()));
}

async fn kill_in_a_loop() {
    let seconds = std::env::var("MIZZEN_TEST_ETCD_SECONDS").map_or(60, |text| text.parse().expect("a number"));
    let world = tempfile::tempdir().expect("a directory");
    let (mut members, endpoint) = etcd(world.path(), 3, &[]);
    let mut servers = Vec::new();
    for number in 0..3 {
        servers.push(Server::start(world.path(), &endpoint, number).await);
    }
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    servers[0]
        .post("/api/v1/namespaces", namespace)
        .await
        .expect("a namespace");
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "status": {
        "allocatable": {"cpu": "64", "memory": "64Gi", "pods": "1000"}}});
    servers[1].post("/api/v1/nodes", node).await.expect("a node");
    every_server_is_published(&servers[2]).await;

    let apis: Vec<_> = servers.iter().map(Server::config_maps).collect();
    let list = apis[0].list(&ListParams::default()).await.expect("a list");
    let from = list
        .metadata
        .resource_version
        .unwrap_or_default()
        .parse()
        .expect("a revision");
    let watchers: Vec<_> = (0..3).map(|n| tokio::spawn(watch(apis.clone(), n, from))).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|n| tokio::spawn(write(apis.clone(), n, stop.clone())))
        .collect();

    let (begin, mut terms) = (Instant::now(), 0);
    let (mut resumed, mut elected) = (Duration::ZERO, Duration::ZERO);
    for round in 0.. {
        if begin.elapsed() > Duration::from_secs(seconds) {
            break;
        }
        let victim = round / 2 % 3;
        if round % 2 == 0 {
            let other = &servers[(victim + 1) % 3];
            let before = holders(other).await;
            servers[victim].process.kill();
            let other = &servers[(victim + 1) % 3];
            let took = work_is_done(other, &format!("after-{round}")).await;
            if holders(other).await != before {
                terms += 1;
                resumed = resumed.max(took);
            }
            servers[victim].process.revive();
            servers[victim].ready().await;
        } else {
            members[victim].kill();
            elected = elected.max(work_is_done(&servers[victim], &format!("after-{round}")).await);
            members[victim].revive();
            pause(Duration::from_secs(3)).await;
        }
    }
    stop.store(true, Relaxed);
    let mut notes = Vec::new();
    for writer in writers {
        notes.push(writer.await.expect("a writer"));
    }
    let mut end = apis[0].create(&PostParams::default(), &config_map("end", END)).await;
    while end.is_err() {
        pause(Duration::from_millis(200)).await;
        end = apis[0].create(&PostParams::default(), &config_map("end", END)).await;
    }
    let mut histories = Vec::new();
    for watcher in watchers {
        histories.push(
            tokio::time::timeout(PATIENCE, watcher)
                .await
                .expect("watchers end")
                .expect("a watcher"),
        );
    }
    let count = |of: fn(&Notes) -> usize| notes.iter().map(of).sum::<usize>();
    println!(
        "{} writes and {} deletions acknowledged, {} unknown, {} events; {terms} leaders lost, work resumed after \
         {resumed:?} at most; with a member of etcd less, work was done after {elected:?} at most",
        count(|notes| notes.acknowledged.len()),
        count(|notes| notes.deleted.len()),
        count(|notes| notes.unknown.len() + notes.unknown_deletions.len()),
        histories[0].len()
    );
    check(&notes, &histories);
    for server in &servers {
        assert_eq!(values(server).await, outcome(&histories[0]), "{}", server.process.name);
    }
    assert!(terms > 0, "no leader was among those killed");
    assert!(resumed <= RESUME, "a leader's work was resumed after {resumed:?}");
    assert!(
        elected <= ELECTION + RESUME,
        "without a member work was done after {elected:?}"
    );
    copied_both_ways(world.path(), servers, &endpoint, &histories[0]).await;
}

async fn every_server_is_published(server: &Server) {
    let begin = Instant::now();
    loop {
        let endpoints = server
            .json("/api/v1/namespaces/default/endpoints/kubernetes")
            .await
            .unwrap_or_default();
        let addresses = endpoints["subsets"][0]["addresses"].as_array().map_or(0, Vec::len);
        if addresses == 3 {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{endpoints}");
        pause(Duration::from_millis(50)).await;
    }
}

/// The cluster moves to SQLite and to another etcd, and is the same.
async fn copied_both_ways(world: &Path, mut servers: Vec<Server>, endpoint: &str, history: &[Event]) {
    servers.iter_mut().for_each(|server| server.process.kill());
    // Servers that were killed are forgotten after a while.
    pause(Duration::from_secs(18)).await;
    let (_member, other) = etcd(&world.join("other"), 1, &[]);
    let sqlite = format!("sqlite://{}", world.join("copy/state.db").display());
    let copy = |from: &str, to: &str| {
        let arguments = ["datastore", "copy", "--from", from, "--to", to];
        succeed(Command::new(program()).args(arguments))
            .split_whitespace()
            .nth(1)
            .map(str::to_owned)
    };
    let first = copy(endpoint, &sqlite);
    assert_eq!(copy(&sqlite, &other), first);
    let moved = Server::start(world, &other, 3).await;
    assert_eq!(values(&moved).await, outcome(history));
}
