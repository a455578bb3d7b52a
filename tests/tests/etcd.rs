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
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use mizzen_tests::etcd::{Process, etcd, free_port};
use mizzen_tests::{can_run_containers, program, succeed, tail};
use serde_json::{Value, json};

/// What a component may take to go on after its leader was killed.
const RESUME: Duration = Duration::from_secs(5);
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

/// What a writer knows of what it did.
#[derive(Default)]
struct Notes {
    acknowledged: Vec<Fact>,
    /// Values of writes of which it does not know.
    unknown: BTreeSet<String>,
    unknown_deletions: BTreeSet<String>,
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
        // Deletions are answered with the state before them, so only updates and creations have a revision.
        let answer = match api.get_opt(&name).await {
            Err(_) => continue,
            Ok(Some(_)) if number % 7 == 6 => {
                drop(api.delete(&name, &DeleteParams::default()).await);
                notes.unknown_deletions.insert(name);
                continue;
            }
            Ok(Some(mut map)) => {
                map.data = config_map(&name, &value).data;
                api.replace(&name, &PostParams::default(), &map).await
            }
            Ok(None) => api.create(&PostParams::default(), &config_map(&name, &value)).await,
        };
        match answer {
            Ok(map) => notes.acknowledged.push(fact(&map, false)),
            Err(_) => drop(notes.unknown.insert(value)),
        }
        pause(Duration::from_millis(15)).await;
    }
    notes
}

/// Follows all changes, at whichever server can continue where the last one broke off.
async fn watch(servers: Vec<Api<ConfigMap>>, first: usize, from: u64) -> Vec<Fact> {
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
            seen.push(fact);
            if end {
                return seen;
            }
        }
    }
}

/// Compares what writers know with what watchers were told.
fn check(notes: &[Notes], histories: &[Vec<Fact>]) {
    let told = &histories[0];
    for pair in told.windows(2) {
        assert!(pair[0].revision < pair[1].revision, "out of order or twice: {pair:?}");
    }
    for (number, history) in histories.iter().enumerate() {
        let differs = history.iter().zip(told).find(|(one, other)| one != other);
        assert!(differs.is_none(), "watcher {number} was told otherwise: {differs:?}");
        assert_eq!(history.len(), told.len(), "watcher {number} was told less or more");
    }
    let by_revision: BTreeMap<_, _> = told.iter().map(|fact| (fact.revision, fact)).collect();
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
    for fact in told.iter().filter(|fact| fact.value.as_deref() != Some(END)) {
        let explained = match &fact.value {
            Some(value) => {
                acknowledged.contains(&fact.revision) || notes.iter().any(|notes| notes.unknown.contains(value))
            }
            None => notes.iter().any(|notes| notes.unknown_deletions.contains(&fact.name)),
        };
        assert!(explained, "nobody wrote {fact:?}");
    }
}

/// The servers that hold the Leases of the controllers and of the scheduler, by the number of their log line.
async fn holders(server: &Server) -> Vec<String> {
    let mut holders = Vec::new();
    for name in ["kube-controller-manager", "kube-scheduler"] {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{name}");
        let lease = server.json(&path).await.unwrap_or_default();
        holders.push(lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned());
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

    let (begin, mut slowest, mut terms) = (Instant::now(), Duration::ZERO, 0);
    for round in 0.. {
        if begin.elapsed() > Duration::from_secs(seconds) {
            break;
        }
        let victim = round / 2 % 3;
        if round % 2 == 0 {
            let before = holders(&servers[victim]).await;
            servers[victim].process.kill();
            let took = work_is_done(&servers[(victim + 1) % 3], &format!("after-{round}")).await;
            if holders(&servers[(victim + 1) % 3]).await != before {
                terms += 1;
                slowest = slowest.max(took);
            }
            servers[victim].process.revive();
            servers[victim].ready().await;
        } else {
            members[victim].kill();
            work_is_done(&servers[victim], &format!("after-{round}")).await;
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
    let acknowledged: usize = notes.iter().map(|notes| notes.acknowledged.len()).sum();
    let unknown: usize = notes.iter().map(|notes| notes.unknown.len()).sum();
    println!(
        "{acknowledged} writes acknowledged, {unknown} unknown, {} events, {terms} leaders lost, slowest {slowest:?}",
        histories[0].len()
    );
    check(&notes, &histories);
    assert!(slowest <= RESUME, "a leader's work was resumed after {slowest:?}");
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
async fn copied_both_ways(world: &Path, mut servers: Vec<Server>, endpoint: &str, history: &[Fact]) {
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
    let mut expected = BTreeMap::new();
    for fact in history {
        match &fact.value {
            Some(value) => drop(expected.insert(fact.name.clone(), value.clone())),
            None => drop(expected.remove(&fact.name)),
        }
    }
    let list = moved.config_maps().list(&ListParams::default()).await.expect("a list");
    let facts = list
        .items
        .iter()
        .map(|map| fact(map, false))
        .filter(|fact| fact.name != ROOT_CA);
    let found: BTreeMap<_, _> = facts.map(|fact| (fact.name, fact.value.unwrap_or_default())).collect();
    assert_eq!(found, expected);
}
