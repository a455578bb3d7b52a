//! Durable creates from many clients at once: this store against etcd, on the same disk in the same run.
//!
//! `cargo bench -p mizzen-server --bench store` (Debian's `etcd-server`, or `etcd` on the PATH; without
//! it only this store is measured). Rounds alternate, so that a busy machine hurts both; the medians
//! count. Fails when the store is below [`TARGET_RATIO`] or its p99 is worse.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use mizzen_server::store::sqlite::{SqliteOptions, SqliteStore};
use mizzen_server::store::{Durability, Expect, Put, Store};

const CLIENTS: usize = 64;
const VALUE_BYTES: usize = 1024;
const ROUND: Duration = Duration::from_secs(4);
const ROUNDS: usize = 5;
/// etcd's clients share connections, as those of its own benchmark do.
const CLIENTS_PER_CONNECTION: usize = 8;
/// Creates per second, against etcd's.
const TARGET_RATIO: f64 = 3.0;

/// What one round gave.
#[derive(Clone, Copy, Debug)]
struct Figures {
    per_second: f64,
    p50: Duration,
    p99: Duration,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    // On the disk that the build is on: the temporary directory may be memory.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut etcd = Etcd::start(&directory.path().join("etcd"));
    for round in 0..ROUNDS {
        ours.push(runtime.block_on(measure_store(&directory.path().join("ours/state.db"), round)));
        if let Some(etcd) = &etcd {
            theirs.push(runtime.block_on(measure_etcd(etcd, round)));
        }
    }
    if let Some(etcd) = &mut etcd {
        etcd.stop();
    }
    println!("{CLIENTS} clients, durable creates of {VALUE_BYTES} bytes, median of {ROUNDS} rounds of {ROUND:?}");
    let ours = report("mizzen", &ours);
    if theirs.is_empty() {
        println!("etcd      not installed");
        return;
    }
    let theirs = report("etcd", &theirs);
    let ratio = ours.per_second / theirs.per_second;
    println!("ratio     {ratio:.2} (at least {TARGET_RATIO})");
    assert!(ratio >= TARGET_RATIO && ours.p99 <= theirs.p99, "the target is missed");
}

fn report(name: &str, rounds: &[Figures]) -> Figures {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let figures = Figures {
        per_second: median(rounds.iter().map(|round| round.per_second).collect()),
        p50: Duration::from_secs_f64(median(rounds.iter().map(|round| round.p50.as_secs_f64()).collect())),
        p99: Duration::from_secs_f64(median(rounds.iter().map(|round| round.p99.as_secs_f64()).collect())),
    };
    let Figures { per_second, p50, p99 } = figures;
    let each: Vec<_> = rounds.iter().map(|round| format!("{:.0}", round.per_second)).collect();
    println!(
        "{name:<9} {per_second:>8.0}/s   p50 {p50:>9.2?}   p99 {p99:>9.2?}   rounds {}",
        each.join(" ")
    );
    figures
}

/// Lets every client create one key after the other until the round is over.
async fn drive<F: Future<Output = ()> + Send>(
    create: impl Fn(usize, String, Bytes) -> F + Clone + Send + 'static,
    round: usize,
) -> Figures {
    let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
    let begin = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (create, value) = (create.clone(), value.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while begin.elapsed() < ROUND {
                    let key = format!("/registry/configmaps/bench/{round}-{client}-{}", latencies.len());
                    let start = Instant::now();
                    create(client, key, value.clone()).await;
                    latencies.push(start.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for client in clients {
        latencies.extend(client.await.expect("a client failed"));
    }
    let per_second = latencies.len() as f64 / begin.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let percentile = |percent: usize| latencies[latencies.len() * percent / 100];
    Figures {
        per_second,
        p50: percentile(50),
        p99: percentile(99),
    }
}

async fn measure_store(path: &Path, round: usize) -> Figures {
    let store = Arc::new(SqliteStore::open(path, SqliteOptions::default()).expect("the store opens"));
    // The watch cache follows every store.
    let from = store.revision().await.expect("a revision") + 1;
    let watch = store.watch("/registry/", from).await.expect("a watch");
    let watcher = tokio::spawn(watch.for_each(|batch| async { drop(batch) }));
    let client = store.clone();
    let create = move |_, key: String, value| {
        let store = client.clone();
        async move {
            let (key, durability) = (key.into(), Durability::Synced);
            store
                .put(Put {
                    key,
                    value,
                    expect: Expect::Absent,
                    ttl: None,
                    durability,
                })
                .await
                .expect("a create");
        }
    };
    let figures = drive(create, round).await;
    watcher.abort();
    figures
}

/// An etcd of our own, with its defaults.
struct Etcd {
    process: Child,
    endpoint: String,
}

impl Etcd {
    fn start(directory: &Path) -> Option<Self> {
        let port = || {
            TcpListener::bind("127.0.0.1:0")
                .and_then(|listener| listener.local_addr())
                .expect("a port")
                .port()
        };
        let [endpoint, peer] = [port(), port()].map(|port| format!("http://127.0.0.1:{port}"));
        let process = Command::new("etcd")
            .arg("--data-dir")
            .arg(directory)
            .args(["--listen-client-urls", &endpoint, "--advertise-client-urls", &endpoint])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self { process, endpoint })
    }

    async fn connect(&self) -> etcd_client::Client {
        loop {
            if let Ok(mut client) = etcd_client::Client::connect([&self.endpoint], None).await
                && client.status().await.is_ok_and(|status| status.leader() != 0)
            {
                return client;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn stop(&mut self) {
        self.process
            .kill()
            .and_then(|()| self.process.wait())
            .expect("etcd ends");
    }
}

async fn measure_etcd(etcd: &Etcd, round: usize) -> Figures {
    let mut connections = Vec::new();
    for _ in 0..CLIENTS / CLIENTS_PER_CONNECTION {
        connections.push(etcd.connect().await.kv_client());
    }
    let create = move |client: usize, key: String, value: Bytes| {
        let mut connection = connections[client / CLIENTS_PER_CONNECTION].clone();
        async move {
            connection.put(key, &*value, None).await.expect("a put");
        }
    };
    drive(create, round).await
}
