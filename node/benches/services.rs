//! What 10,000 Services with 5 endpoints each cost in the kernel: the first programming, one endpoint's change, and a
//! connection through one of them beside a connection through one of ten. Needs root and nft; runs in network namespaces
//! of its own, against an API server that is played. `cargo bench -p mizzen-node --bench services`

#[path = "../tests/fake/api.rs"]
mod api;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use api::Api;
use mizzen_node::network::Settings;
use mizzen_node::proxy::Proxy;
use mizzen_node::services::Services;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 5;
const CHANGES: u32 = 20;
/// How many Services 10,000 are compared with.
const FEW: u32 = 10;
const ROUNDS: u32 = 11;
/// In one round.
const CONNECTIONS: u32 = 500;
const PATIENCE: Duration = Duration::from_secs(120);
/// What the endpoints of the first Service are: a listener on this machine.
const LISTENER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 42, 0, 9)), 8080);

fn service_ip(number: u32) -> Ipv4Addr {
    (u32::from(Ipv4Addr::new(10, 43, 1, 0)) + number).into()
}

fn service(number: u32) -> Value {
    json!({
        "metadata": { "name": format!("s{number}"), "namespace": "default" },
        "spec": { "type": "ClusterIP", "clusterIP": service_ip(number), "ports": [{ "port": 80 }] },
    })
}

/// The endpoints of a Service: somewhere, or all of them the listener.
fn slice(number: u32, answers: bool) -> Value {
    let address = |endpoint: u32| match answers {
        true => Ipv4Addr::new(10, 42, 0, 9),
        false => Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 42, 2, 0)) + number * ENDPOINTS + endpoint),
    };
    let endpoints: Vec<Value> = (0..ENDPOINTS)
        .map(|endpoint| json!({ "addresses": [address(endpoint)] }))
        .collect();
    json!({
        "metadata": {
            "name": format!("s{number}-1"), "namespace": "default",
            "labels": { "kubernetes.io/service-name": format!("s{number}") },
        },
        "addressType": "IPv4", "ports": [{ "port": 8080, "name": "" }], "endpoints": endpoints,
    })
}

fn sh(script: &str) -> bool {
    Command::new("sh")
        .args(["-c", script])
        .output()
        .is_ok_and(|output| output.status.success())
}

/// How long it takes until a Service answers, or refuses. (To ask nft would take longer than what is measured: it reads
/// the whole map.)
fn until(started: Instant, service: u32, answers: bool) -> Duration {
    let front = SocketAddr::from((service_ip(service), 80));
    while TcpStream::connect_timeout(&front, PATIENCE).is_ok() != answers {
        assert!(started.elapsed() < PATIENCE, "{front} does not change");
    }
    started.elapsed()
}

/// Services behind a proxy, in a network namespace of their own, where a thread does what it is told.
struct World {
    api: Api,
    stop: CancellationToken,
    orders: Sender<Order>,
    answers: Receiver<Duration>,
}

type Order = Box<dyn FnOnce() -> Duration + Send>;

impl World {
    /// Starts a proxy over so many Services; gives the time until all of them are in the kernel, too.
    fn start(count: u32) -> (Self, Duration) {
        let api = Api::default();
        for number in 0..count {
            api.apply("services", service(number));
            api.apply("endpointslices", slice(number, number == 0 || number == count - 1));
        }
        let stop = CancellationToken::new();
        let (orders, inbox) = channel::<Order>();
        let (outbox, answers) = channel();
        let (played, token) = (api.clone(), stop.clone());
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace");
            let links = format!(
                "ip link set lo up; ip addr add {}/32 dev lo; ip route add 10.43.0.0/16 dev lo",
                LISTENER.ip()
            );
            assert!(sh(&links), "loopback");
            let listener = TcpListener::bind(LISTENER).expect("a port");
            std::thread::spawn(move || listener.incoming().for_each(drop));
            let started = Instant::now();
            // Threads are in the namespace of the one that makes them.
            std::thread::spawn(move || serve(count, &played, token));
            let _ = outbox.send(until(started, count - 1, true));
            while let Ok(order) = inbox.recv() {
                let _ = outbox.send(order());
            }
        });
        let programmed = answers.recv().expect("a proxy");
        (
            Self {
                api,
                stop,
                orders,
                answers,
            },
            programmed,
        )
    }

    /// Has something done in the namespace, and gives how long it took.
    fn time(&self, order: impl FnOnce() -> Duration + Send + 'static) -> Duration {
        self.orders.send(Box::new(order)).expect("a thread");
        self.answers.recv().expect("an answer")
    }
}

/// Runs a proxy until it is stopped.
fn serve(count: u32, api: &Api, stop: CancellationToken) {
    let settings = Settings::new("here", Path::new(&format!("/nonexistent/{count}")));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (client, services) = (api.client(), Services::default());
        let proxy = Proxy::new(&settings, client.clone(), Some(services.clone()));
        let both = tokio::join!(proxy.run(stop.clone()), services.run(client, stop));
        both.0.and(both.1).expect("a clean end");
    });
}

/// What a connection to the first Service takes, in the mean of one round.
fn connect() -> Duration {
    let front = SocketAddr::from((service_ip(0), 80));
    let started = Instant::now();
    for _ in 0..CONNECTIONS {
        TcpStream::connect_timeout(&front, PATIENCE).expect("a connection");
    }
    started.elapsed() / CONNECTIONS
}

/// The value in the middle, and the largest.
fn middle_and_worst(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() - 1])
}

fn main() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not root: skipped");
        return;
    }
    let (few, _) = World::start(FEW);
    let (many, programmed) = World::start(SERVICES);
    println!("{SERVICES} Services with {ENDPOINTS} endpoints: {programmed:?} to the first programming (promised: 5 s)");
    // In turns, so that what else the machine does meets both alike; one odd round decides nothing.
    let rounds: Vec<_> = (0..ROUNDS).map(|_| (few.time(connect), many.time(connect))).collect();
    let (with_few, with_many): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
    let (with_few, with_many) = (middle_and_worst(with_few).0, middle_and_worst(with_many).0);
    println!(
        "a connection: {with_few:?} with {FEW} Services, {with_many:?} with {SERVICES}; the middle of {ROUNDS} rounds of {CONNECTIONS}"
    );
    let gone = || until(Instant::now(), 1, false);
    many.api.remove("endpointslices", "s1-1");
    many.time(gone);
    let changes = (0..CHANGES).map(|_| {
        let api = many.api.clone();
        let took = many.time(move || {
            let started = Instant::now();
            api.apply("endpointslices", slice(1, true));
            until(started, 1, true)
        });
        many.api.remove("endpointslices", "s1-1");
        many.time(gone);
        took
    });
    let (middle, worst) = middle_and_worst(changes.collect());
    println!("an endpoint's change: {middle:?} in the middle, {worst:?} at worst (promised: 50 ms)");
    few.stop.cancel();
    many.stop.cancel();
}
