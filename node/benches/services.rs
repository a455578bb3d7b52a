//! What 10,000 Services with 5 endpoints each cost in the kernel: the first programming, one endpoint's change, and a
//! connection through one of them beside a connection through one of ten. Needs root and nft; runs in a network namespace
//! of its own, against an API server that is played. `cargo bench -p mizzen-node --bench services`

#[path = "../tests/fake/api.rs"]
mod api;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
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
const CONNECTIONS: u32 = 2_000;
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

/// Starts a proxy over so many Services; measures the way to the kernel, and what a connection takes then.
fn measure(count: u32) -> (Api, CancellationToken, Duration, Duration) {
    let api = Api::default();
    for number in 0..count {
        api.apply("services", service(number));
        api.apply("endpointslices", slice(number, number == 0 || number == count - 1));
    }
    let settings = Settings::new("here", Path::new(&format!("/nonexistent/{count}")));
    let stop = CancellationToken::new();
    let (played, token) = (api.clone(), stop.clone());
    let started = Instant::now();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let (client, services) = (played.client(), Services::default());
            let proxy = Proxy::new(&settings, client.clone(), Some(services.clone()));
            let both = tokio::join!(proxy.run(token.clone()), services.run(client, token));
            both.0.and(both.1).expect("a clean end");
        });
    });
    let programmed = until(started, count - 1, true);
    let front = SocketAddr::from((service_ip(0), 80));
    let started = Instant::now();
    for _ in 0..CONNECTIONS {
        TcpStream::connect_timeout(&front, PATIENCE).expect("a connection");
    }
    (api, stop, programmed, started.elapsed() / CONNECTIONS)
}

fn main() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not root: skipped");
        return;
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace");
    let links = format!(
        "ip link set lo up; ip addr add {}/32 dev lo; ip route add 10.43.0.0/16 dev lo",
        LISTENER.ip()
    );
    assert!(sh(&links), "loopback");
    let listener = TcpListener::bind(LISTENER).expect("a port");
    std::thread::spawn(move || listener.incoming().for_each(drop));

    let (_, stop, _, few) = measure(10);
    stop.cancel();
    // The two tables would both answer.
    assert!(sh("nft flush ruleset"));
    let (api, stop, programmed, many) = measure(SERVICES);
    println!("{SERVICES} Services with {ENDPOINTS} endpoints: {programmed:?} to the first programming (promised: 5 s)");
    println!("a connection: {few:?} with 10 Services, {many:?} with {SERVICES}");
    api.remove("endpointslices", "s1-1");
    until(Instant::now(), 1, false);
    let mut changes: Vec<Duration> = (0..CHANGES)
        .map(|_| {
            let started = Instant::now();
            api.apply("endpointslices", slice(1, true));
            let took = until(started, 1, true);
            api.remove("endpointslices", "s1-1");
            until(Instant::now(), 1, false);
            took
        })
        .collect();
    changes.sort_unstable();
    let (middle, worst) = (changes[changes.len() / 2], changes[changes.len() - 1]);
    println!("an endpoint's change: {middle:?} in the middle, {worst:?} at worst (promised: 50 ms)");
    stop.cancel();
}
