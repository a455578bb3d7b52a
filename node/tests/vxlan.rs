//! Two nodes, each a network namespace of its own, joined by a wire; Pods are further namespaces on their bridges. Only the
//! API server is played. Needs root.

#[path = "fake/api.rs"]
mod api;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use api::Api;
use mizzen_node::network::{self, PodNetwork};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);
/// Smaller than usual, so that it shows.
const UNDERLAY_MTU: u32 = 1_400;
const POD_MTU: u32 = UNDERLAY_MTU - 50;

/// A network namespace, for as long as this lives: a thread in it that runs what it is given.
struct Namespace {
    pid: i32,
    work: Option<std::sync::mpsc::Sender<Box<dyn FnOnce() + Send>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Namespace {
    fn new() -> Self {
        let (work, jobs) = std::sync::mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (told, pid) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace");
            told.send(nix::unistd::gettid().as_raw()).expect("somebody waits");
            jobs.into_iter().for_each(|job| job());
        });
        let made = Self {
            pid: pid.recv().expect("a namespace"),
            work: Some(work),
            thread: Some(thread),
        };
        made.sh("ip link set lo up");
        made
    }

    /// Runs `job` inside and waits for it.
    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = std::sync::mpsc::channel();
        let job = Box::new(move || drop(done.send(job())));
        self.work.as_ref().expect("alive").send(job).expect("alive");
        result.recv().expect("no panic")
    }

    fn sh(&self, script: &str) -> String {
        let text = script.to_owned();
        let output = self.run(move || Command::new("sh").args(["-ec", &text]).output().expect("a shell"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{script}: {said}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// A Pod of the node that this is.
    fn pod(&self, bridge: &str, address: Ipv4Addr, gateway: Ipv4Addr) -> Self {
        let pod = Self::new();
        let wire = format!("p{}", address.octets()[3]);
        self.sh(&format!(
            "ip link add {wire} mtu {POD_MTU} type veth peer name eth0 netns {} mtu {POD_MTU}
             ip link set {wire} master {bridge} up",
            pod.pid
        ));
        pod.sh(&format!(
            "ip addr add {address}/24 dev eth0; ip link set eth0 up; ip route add default via {gateway}"
        ));
        pod
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.work.take();
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "threads of other network namespaces have no runtime to wait with"
)]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}

struct Machine {
    namespace: Namespace,
    settings: network::Settings,
    _dir: tempfile::TempDir,
    stop: CancellationToken,
}

impl Machine {
    fn new(name: &str, address: [u8; 4]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut settings = network::Settings::new(name, dir.path());
        settings.node_ip = Some(address.into());
        Self {
            namespace: Namespace::new(),
            settings,
            _dir: dir,
            stop: CancellationToken::new(),
        }
    }

    /// Starts what keeps the network, as the agent does.
    fn start(&mut self, api: &Api) {
        self.stop = CancellationToken::new();
        let (settings, client_api, stop) = (self.settings.clone(), api.clone(), self.stop.clone());
        let (told, ready) = std::sync::mpsc::channel();
        self.namespace.run(move || {
            // Threads are in the namespace of the one that makes them.
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(async {
                    let network = PodNetwork::new(settings, client_api.client());
                    let mut up = network.ready();
                    let running = tokio::spawn(network.run(stop));
                    up.wait_for(|ready| *ready).await.expect("it comes up");
                    told.send(()).expect("somebody waits");
                    running.await.expect("no panic").expect("a clean end");
                });
            });
        });
        ready.recv_timeout(PATIENCE).expect("the network is up");
    }

    fn routes(&self) -> String {
        self.namespace
            .sh("ip -4 route; ip neighbour show nud permanent; bridge fdb | grep dst || true")
    }

    fn has_overlay(&self) -> bool {
        self.namespace.sh("ip -o link").contains(&self.settings.overlay)
    }
}

fn node(name: &str, address: &str, cidr: &str) -> serde_json::Value {
    json!({
        "metadata": { "name": name }, "spec": { "podCIDR": cidr, "podCIDRs": [cidr] },
        "status": { "addresses": [{ "type": "InternalIP", "address": address }] },
    })
}

/// Sends a good many bytes from one place to another; returns the address that they came from.
fn transfer(from: &Namespace, to: &Namespace, address: SocketAddr) -> Ipv4Addr {
    const BYTES: usize = 300_000;
    let (told, result) = std::sync::mpsc::channel();
    to.run(move || {
        let listener = TcpListener::bind(address).expect("a port");
        std::thread::spawn(move || {
            let (mut stream, peer) = listener.accept().expect("a client");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).expect("bytes");
            told.send((bytes.len(), peer)).expect("somebody waits");
        });
    });
    from.run(move || {
        let mut stream =
            TcpStream::connect_timeout(&address, PATIENCE).unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.write_all(&vec![7; BYTES]).expect("sent");
    });
    let (length, peer) = result.recv_timeout(PATIENCE).expect("all arrives");
    assert_eq!(length, BYTES);
    match peer {
        SocketAddr::V4(peer) => *peer.ip(),
        SocketAddr::V6(_) => unreachable!("IPv4 only"),
    }
}

#[test]
fn pods_of_two_nodes_reach_each_other() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not root: skipped");
        return;
    }
    let (mut a, mut b) = (Machine::new("a", [192, 0, 2, 1]), Machine::new("b", [192, 0, 2, 2]));
    a.namespace.sh(&format!(
        "ip link add wire mtu {UNDERLAY_MTU} type veth peer name wire netns {} mtu {UNDERLAY_MTU}
         ip addr add 192.0.2.1/24 dev wire; ip link set wire up",
        b.namespace.pid
    ));
    b.namespace.sh("ip addr add 192.0.2.2/24 dev wire; ip link set wire up");

    // The only node needs no overlay.
    let api = Api::default();
    api.apply("nodes", node("a", "192.0.2.1", "10.42.0.0/24"));
    a.start(&api);
    assert!(!a.has_overlay());
    let alone = a.routes();

    api.apply("nodes", node("b", "192.0.2.2", "10.42.7.0/24"));
    b.start(&api);
    eventually("the way to b", || a.routes().contains("10.42.7.0/24 via 10.42.7.1"));
    eventually("the way to a", || b.routes().contains("10.42.0.0/24 via 10.42.0.1"));
    for machine in [&a, &b] {
        for link in [&machine.settings.overlay, &machine.settings.bridge] {
            let said = machine.namespace.sh(&format!("ip -o link show {link}"));
            assert!(said.contains(&format!("mtu {POD_MTU} ")), "{said}");
        }
    }

    let (ip_a, ip_b) = (Ipv4Addr::new(10, 42, 0, 5), Ipv4Addr::new(10, 42, 7, 5));
    let (gateway_a, gateway_b) = (Ipv4Addr::new(10, 42, 0, 1), Ipv4Addr::new(10, 42, 7, 1));
    let pod_a = a.namespace.pod(&a.settings.bridge, ip_a, gateway_a);
    let pod_b = b.namespace.pod(&b.settings.bridge, ip_b, gateway_b);
    assert_eq!(
        transfer(&pod_a, &pod_b, (ip_b, 8080).into()),
        ip_a,
        "Pods see each other's own addresses"
    );
    assert_eq!(transfer(&pod_b, &pod_a, (ip_a, 8080).into()), ip_b);
    assert_eq!(
        transfer(&a.namespace, &pod_b, (ip_b, 8081).into()),
        gateway_a,
        "a node reaches Pods of others"
    );
    assert_eq!(transfer(&b.namespace, &pod_b, (ip_b, 8082).into()), gateway_b);

    // A node that moves while nobody looks is followed, and what others left is cleared away.
    a.stop.cancel();
    let stale = "10.42.9.1 lladdr 0e:58:0a:2a:09:00 dev";
    a.namespace.sh(&format!(
        "ip route add 10.42.9.0/24 via 10.42.9.1 dev {0} onlink; ip neighbour add {stale} {0}
         bridge fdb append 0e:58:0a:2a:09:00 dev {0} dst 192.0.2.9",
        a.settings.overlay
    ));
    b.namespace
        .sh("ip addr del 192.0.2.2/24 dev wire; ip addr add 192.0.2.3/24 dev wire");
    b.settings.node_ip = Some([192, 0, 2, 3].into());
    b.stop.cancel();
    api.apply("nodes", node("b", "192.0.2.3", "10.42.7.0/24"));
    a.start(&api);
    b.start(&api);
    eventually("the new place of b", || a.routes().contains("dst 192.0.2.3"));
    for stale in ["dst 192.0.2.2", "10.42.9.", "192.0.2.9"] {
        assert!(!a.routes().contains(stale), "{stale} in {}", a.routes());
    }
    eventually("b's new name for itself", || {
        b.namespace.sh("ip -d link").contains("local 192.0.2.3")
    });
    assert_eq!(transfer(&pod_b, &pod_a, (ip_a, 8083).into()), ip_b);

    // When it leaves, nothing of it stays.
    api.remove("nodes", "b");
    eventually("b to be forgotten", || !a.has_overlay());
    assert_eq!(a.routes().lines().count(), alone.lines().count(), "{}", a.routes());
    a.stop.cancel();
    b.stop.cancel();
    let settings = b.settings.clone();
    b.namespace.run(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(network::remove(&settings)).expect("removed");
    });
    let left = b.namespace.sh("ip -o link");
    assert!(
        !left.contains(&b.settings.overlay) && !left.contains(&b.settings.bridge),
        "{left}"
    );
}
