//! Pods with a network in a world of its own: a network namespace with our containerd, bridge, table, DNS and kubelet
//! API, and real containers; only the API server is played. Needs root, containerd, runc, CNI plugins and nft.

#[path = "fake/api.rs"]
mod api;

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::Api;
use futures::{SinkExt as _, StreamExt as _};
use hyper_util::rt::TokioIo;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, CreateContainerRequest, DnsConfig, ImageSpec, KeyValue, LinuxPodSandboxConfig,
    PodSandboxConfig, PodSandboxMetadata, PodSandboxStatusRequest, RemovePodSandboxRequest, RunPodSandboxRequest,
    StartContainerRequest, StopContainerRequest, StopPodSandboxRequest,
};
use mizzen_node::cleanup::{self, Scope};
use mizzen_node::containerd::{self, Containerd};
use mizzen_node::dns::{self, Dns};
use mizzen_node::kubelet_api::{self, KubeletApi, Trust};
use mizzen_node::names::Names;
use mizzen_node::network;
use mizzen_node::proxy::Proxy;
use mizzen_node::services::Services;
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);
const NODE: &str = "here";
const SERVICE: &str = "10.43.0.7:80";

struct Pod {
    sandbox: String,
    container: String,
    ip: String,
    network: PathBuf,
}

struct World {
    dir: PathBuf,
    settings: containerd::Settings,
    network: network::Settings,
    stop: CancellationToken,
    api: Api,
    kubelet: SocketAddr,
    connector: TlsConnector,
    stranger: TlsConnector,
}

impl World {
    async fn new(dir: &Path) -> Self {
        assert!(
            std::process::Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status()
                .expect("ip")
                .success()
        );
        let settings = containerd::Settings {
            data_dir: dir.to_owned(),
            endpoint: None,
        };
        let network = network::Settings::new(NODE, dir);
        let stop = CancellationToken::new();
        network::setup(&network).await.expect("a network");
        network::setup(&network).await.expect("the same network again");
        let containerd = Containerd::new(settings.clone());
        let mut ready = containerd.ready();
        tokio::spawn(containerd.run(stop.clone()));
        let api = Api::default();
        let services = Services::default();
        tokio::spawn(
            Proxy::new(&network, api.client(), Some(services.clone()))
                .enforcing(api.client())
                .run(stop.clone()),
        );
        let dns = dns::Settings {
            listen: "10.43.0.10:53".parse().expect("an address"),
            domain: "cluster.local".into(),
            resolv_conf: "/nonexistent".into(),
        };
        tokio::spawn(Dns::new(dns, services.clone()).run(stop.clone()));
        tokio::spawn(services.run(api.client(), stop.clone()));
        let (trust, connector, stranger) = certificates();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let kubelet = listener.local_addr().expect("an address");
        let served = kubelet_api::Settings {
            listen: kubelet,
            trust,
            runtime: settings.socket(),
            state_dir: dir.join("run"),
            storage: dir.join("storage"),
            node_name: "node".to_owned(),
        };
        tokio::spawn(KubeletApi::new(served).serve(listener, stop.clone()));
        tokio::time::timeout(PATIENCE, ready.wait_for(|ready| *ready))
            .await
            .expect("in time")
            .expect("ready");
        Self {
            dir: dir.to_owned(),
            settings,
            network,
            stop,
            api,
            kubelet,
            connector,
            stranger,
        }
    }

    fn runtime(&self) -> RuntimeServiceClient<tonic::transport::Channel> {
        RuntimeServiceClient::new(containerd::channel(&self.settings.socket()))
    }

    async fn pod(&self, name: &str, image: &str) -> Pod {
        let logs = self.dir.join("logs").join(name);
        let labels = |container: &str| -> HashMap<String, String> {
            [
                ("pod.name", name),
                ("pod.namespace", "default"),
                ("container.name", container),
            ]
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (format!("io.kubernetes.{key}"), (*value).to_owned()))
            .collect()
        };
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.into(),
                namespace: "default".into(),
                uid: name.into(),
                attempt: 0,
            }),
            log_directory: logs.to_string_lossy().into_owned(),
            labels: labels(""),
            dns_config: Some(DnsConfig {
                servers: vec!["10.43.0.10".into()],
                searches: vec!["default.svc.cluster.local".into()],
                options: vec!["ndots:5".into()],
            }),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: format!("/{}/{name}", Names::of(&self.dir).cgroup),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut runtime = self.runtime();
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: String::new(),
        };
        let sandbox = runtime
            .run_pod_sandbox(request)
            .await
            .expect("a sandbox")
            .into_inner()
            .pod_sandbox_id;
        let container = ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: "hello".into(),
                attempt: 0,
            }),
            image: Some(ImageSpec {
                image: image.into(),
                ..Default::default()
            }),
            labels: labels("hello"),
            log_path: "0.log".into(),
            envs: vec![
                KeyValue {
                    key: "POD_NAME".into(),
                    value: name.into(),
                },
                KeyValue {
                    key: "STOP_DELAY".into(),
                    value: "0".into(),
                },
            ],
            ..Default::default()
        };
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.clone(),
            config: Some(container),
            sandbox_config: Some(config.clone()),
        };
        let container = runtime
            .create_container(request)
            .await
            .expect("a container")
            .into_inner()
            .container_id;
        let start = StartContainerRequest {
            container_id: container.clone(),
        };
        runtime.start_container(start).await.expect("it starts");
        let request = PodSandboxStatusRequest {
            pod_sandbox_id: sandbox.clone(),
            verbose: true,
        };
        let status = runtime
            .pod_sandbox_status(request)
            .await
            .expect("a status")
            .into_inner();
        let ip = status.status.and_then(|status| status.network).expect("a network").ip;
        let info: Value = serde_json::from_str(&status.info["info"]).expect("details");
        let namespaces = info["runtimeSpec"]["linux"]["namespaces"]
            .as_array()
            .expect("namespaces")
            .clone();
        let network = namespaces
            .iter()
            .find(|entry| entry["type"] == "network")
            .expect("a network namespace");
        let network = PathBuf::from(network["path"].as_str().expect("a path"));
        let pod = Pod {
            sandbox,
            container,
            ip: ip.clone(),
            network,
        };
        eventually(|| fetch(None, &format!("{ip}:8080")).is_ok_and(|body| body.contains(name))).await;
        pod
    }

    async fn remove(&self, pod: Pod) {
        let mut runtime = self.runtime();
        let stop = StopContainerRequest {
            container_id: pod.container,
            timeout: 5,
        };
        runtime.stop_container(stop).await.expect("it stops");
        let stop = StopPodSandboxRequest {
            pod_sandbox_id: pod.sandbox.clone(),
        };
        runtime.stop_pod_sandbox(stop).await.expect("the sandbox stops");
        let remove = RemovePodSandboxRequest {
            pod_sandbox_id: pod.sandbox,
        };
        runtime.remove_pod_sandbox(remove).await.expect("the sandbox goes");
    }

    fn service(&self, extra: Value) {
        let mut object = json!({
            "metadata": { "name": "web", "namespace": "default" },
            "spec": {
                "type": "NodePort", "clusterIP": "10.43.0.7",
                "ports": [{ "name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP" }],
            },
        });
        for (key, value) in extra.as_object().into_iter().flatten() {
            object["spec"][key] = value.clone();
        }
        self.api.apply("services", object);
    }

    fn slice(&self, endpoints: &[(&Pod, bool, bool)]) {
        let endpoints: Vec<Value> = endpoints
            .iter()
            .map(|(pod, ready, terminating)| {
                json!({
                    "addresses": [pod.ip], "nodeName": NODE,
                    "conditions": { "ready": ready, "serving": true, "terminating": terminating },
                })
            })
            .collect();
        self.api.apply(
            "endpointslices",
            json!({
                "metadata": { "name": "web-1", "namespace": "default", "labels": { "kubernetes.io/service-name": "web" } },
                "addressType": "IPv4", "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
                "endpoints": endpoints,
            }),
        );
    }

    /// A connection to the kubelet's API as the API server makes it.
    async fn kubelet(
        &self,
        connector: &TlsConnector,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
        let stream = tokio::net::TcpStream::connect(self.kubelet).await?;
        connector.connect("localhost".try_into().expect("a name"), stream).await
    }

    async fn get(&self, connector: &TlsConnector, path: &str) -> (u16, String) {
        let stream = self.kubelet(connector).await.expect("a connection");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("HTTP");
        tokio::spawn(connection);
        let request = http::Request::get(path)
            .header("host", "localhost")
            .body(String::new())
            .expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = http_body_util::BodyExt::collect(response.into_body())
            .await
            .expect("a body")
            .to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    async fn websocket(
        &self,
        path: &str,
        protocol: &str,
    ) -> tokio_tungstenite::WebSocketStream<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
        let mut request = format!("wss://localhost{path}")
            .into_client_request()
            .expect("a request");
        request
            .headers_mut()
            .insert("sec-websocket-protocol", protocol.parse().expect("a header"));
        let stream = self.kubelet(&self.connector).await.expect("a connection");
        let (socket, response) = tokio_tungstenite::client_async(request, stream)
            .await
            .expect("a WebSocket");
        assert_eq!(response.headers()["sec-websocket-protocol"], protocol);
        socket
    }

    /// Runs a command in a Pod with this input; returns its outputs and its status.
    async fn exec(&self, pod: &str, command: &[&str], input: Option<&str>) -> (String, String, Value) {
        let mut path = format!("/exec/default/{pod}/hello?output=1&error=1");
        command
            .iter()
            .for_each(|word| path.push_str(&format!("&command={}", word.replace('/', "%2F"))));
        if input.is_some() {
            path.push_str("&input=1");
        }
        let mut socket = self.websocket(&path, "v5.channel.k8s.io").await;
        if let Some(input) = input {
            socket
                .send(Message::Binary([&[0], input.as_bytes()].concat().into()))
                .await
                .expect("sent");
            socket
                .send(Message::Binary(vec![255, 0].into()))
                .await
                .expect("half-closed");
        }
        let mut outputs = [const { Vec::new() }; 4];
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Binary(bytes) = message {
                outputs[usize::from(bytes[0])].extend_from_slice(&bytes[1..]);
            }
        }
        let [_, stdout, stderr, status] = outputs.map(|bytes| String::from_utf8(bytes).expect("text"));
        (stdout, stderr, serde_json::from_str(&status).expect("a status"))
    }

    async fn end(self, pods: Vec<Pod>) {
        for pod in pods {
            self.remove(pod).await;
        }
        self.stop.cancel();
    }
}

/// Takes everything away again, also after a failure, and looks that nothing is left.
async fn clean_up(dir: &Path) {
    let scope = Scope {
        data_dir: dir.to_owned(),
        spare: vec![],
        paths: vec![],
    };
    let items = cleanup::plan(&scope).expect("a plan");
    cleanup::execute(&scope, &items, |_| {}).await.expect("all goes");
    assert_eq!(cleanup::plan(&scope).expect("a plan"), []);
    let links = std::fs::read_to_string("/proc/thread-self/net/dev").expect("links");
    assert_eq!(links.lines().skip(2).count(), 1, "only loopback is left: {links}");
    let rules = std::process::Command::new("nft")
        .args(["list", "ruleset"])
        .output()
        .expect("nft")
        .stdout;
    assert_eq!(String::from_utf8_lossy(&rules), "");
}

/// A server's certificate with a CA of its own, and clients with and without the right group.
fn certificates() -> (Trust, TlsConnector, TlsConnector) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let server = rcgen::CertificateParams::new(vec!["localhost".into()])
        .expect("names")
        .self_signed(&key)
        .expect("signed");
    let client = |group: &str| {
        let mut parameters = rcgen::CertificateParams::new(vec!["client".into()]).expect("names");
        parameters
            .distinguished_name
            .push(rcgen::DnType::OrganizationName, group);
        let key = rcgen::KeyPair::generate().expect("a key");
        (parameters.self_signed(&key).expect("signed"), key)
    };
    let (good, good_key) = client("system:masters");
    let (bad, bad_key) = client("system:nodes");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(good.der().clone()).expect("a root");
    roots.add(bad.der().clone()).expect("a root");
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .expect("a verifier");
    let private = |key: &rcgen::KeyPair| rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let tls = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server.der().clone()], private(&key))
        .expect("a certificate");
    let connector = |certificate: &rcgen::Certificate, key: &rcgen::KeyPair| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(server.der().clone()).expect("a root");
        let config = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate.der().clone()], private(key))
            .expect("a certificate");
        TlsConnector::from(Arc::new(config))
    };
    let known = good.der().clone();
    let identify = Arc::new(move |chain: &[rustls_pki_types::CertificateDer<'_>]| {
        let group = if chain.first() == Some(&known) {
            "system:masters"
        } else {
            "system:nodes"
        };
        Some(vec![group.to_owned()])
    });
    (
        Trust {
            tls: Arc::new(tls),
            identify,
        },
        connector(&good, &good_key),
        connector(&bad, &bad_key),
    )
}

/// Fetches a page from inside a network namespace, or from this one.
fn fetch(network: Option<&PathBuf>, address: &str) -> std::io::Result<String> {
    let (network, address) = (network.cloned(), address.to_owned());
    let dial = move || {
        if let Some(path) = network {
            nix::sched::setns(std::fs::File::open(path)?, nix::sched::CloneFlags::CLONE_NEWNET)?;
        }
        let address = address.parse().expect("an address");
        let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    std::thread::spawn(dial).join().expect("no panic")
}

async fn eventually(mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "it did not happen in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How often each Pod answers of `count` tries.
fn spread(network: Option<&PathBuf>, address: &str, count: usize) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for _ in 0..count {
        let page = fetch(network, address).unwrap_or_else(|error| panic!("{address}: {error}"));
        let pod = page
            .lines()
            .find_map(|line| line.strip_prefix("Pod: "))
            .expect("a Pod's name")
            .to_owned();
        *counts.entry(pod).or_default() += 1;
    }
    counts
}

async fn services(world: &World, a: &Pod, b: &Pod) {
    world.service(json!({}));
    world.slice(&[(a, true, false), (b, true, false)]);
    eventually(|| fetch(None, SERVICE).is_ok()).await;
    let node_port = format!("{}:30080", world.network.gateway());
    for (network, address) in [
        (None, SERVICE),
        (Some(&a.network), SERVICE),
        (None, "127.0.0.1:30080"),
        (None, node_port.as_str()),
        (Some(&b.network), node_port.as_str()),
    ] {
        assert_eq!(
            spread(network, address, 24).len(),
            2,
            "{address} from {network:?} reaches both Pods"
        );
    }
    // One Pod only, which reaches itself; the change is in the kernel at once.
    let started = Instant::now();
    world.slice(&[(a, true, false), (b, false, true)]);
    let only_a = |network| spread(network, SERVICE, 12).keys().eq(["a"]);
    eventually(|| only_a(None)).await;
    println!(
        "an endpoint's change took effect within {:?} (with 12 fetches)",
        started.elapsed()
    );
    assert!(only_a(Some(&a.network)), "hairpin");
    // Nothing ready: what terminates but serves is used.
    world.slice(&[(b, false, true)]);
    eventually(|| spread(None, SERVICE, 1).contains_key("b")).await;
    // Nothing at all: refused at once.
    world.slice(&[]);
    eventually(|| fetch(None, SERVICE).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)).await;
    let refused = fetch(Some(&a.network), SERVICE).expect_err("nobody answers");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let nowhere = fetch(Some(&a.network), "10.43.7.7:80").expect_err("no such Service");
    assert_eq!(nowhere.kind(), std::io::ErrorKind::ConnectionRefused);
    // A client stays with one Pod.
    world.service(json!({ "sessionAffinity": "ClientIP" }));
    world.slice(&[(a, true, false), (b, true, false)]);
    eventually(|| fetch(None, SERVICE).is_ok()).await;
    assert_eq!(spread(None, SERVICE, 12).len(), 1, "affinity");
    world.service(json!({}));
    eventually(|| spread(None, SERVICE, 24).len() == 2).await;
}

async fn host_ports(world: &World, a: &Pod, b: &Pod) {
    world.api.apply(
        "pods",
        json!({
            "metadata": { "name": "a", "namespace": "default" },
            "spec": { "containers": [{ "name": "hello", "ports": [
                { "containerPort": 8080, "hostPort": 18080 },
                { "containerPort": 8080, "hostPort": 18081, "hostIP": "127.0.0.1" },
            ] }] },
            "status": { "phase": "Running", "podIP": a.ip },
        }),
    );
    eventually(|| fetch(None, "127.0.0.1:18081").is_ok()).await;
    let gateway = world.network.gateway();
    assert!(spread(None, &format!("{gateway}:18080"), 1).contains_key("a"));
    assert!(spread(Some(&b.network), &format!("{gateway}:18080"), 1).contains_key("a"));
    assert!(
        spread(Some(&a.network), &format!("{gateway}:18080"), 1).contains_key("a"),
        "hairpin"
    );
    assert!(
        fetch(None, &format!("{gateway}:18081")).is_err(),
        "another address of the node"
    );
    world.api.remove("pods", "a");
    eventually(|| fetch(None, "127.0.0.1:18081").is_err()).await;
}

async fn policies(world: &World, a: &Pod, b: &Pod) {
    let pod = |name: &str, pod: &Pod| {
        json!({
            "metadata": { "name": name, "namespace": "default", "labels": { "app": name } },
            "spec": { "nodeName": NODE, "containers": [{ "name": "hello", "ports": [{ "name": "http", "containerPort": 8080 }] }] },
            "status": { "phase": "Running", "podIP": pod.ip },
        })
    };
    world.api.apply(
        "namespaces",
        json!({ "metadata": { "name": "default", "labels": { "team": "a" } } }),
    );
    world.api.apply("pods", pod("a", a));
    world.api.apply("pods", pod("b", b));
    let policy = |rules: Value| {
        let spec = json!({ "podSelector": { "matchLabels": { "app": "a" } }, "ingress": rules });
        world.api.apply(
            "networkpolicies",
            json!({ "metadata": { "name": "p", "namespace": "default" }, "spec": spec }),
        );
    };
    let address = format!("{}:8080", a.ip);
    let from_b = || fetch(Some(&b.network), &address).is_ok();
    assert!(from_b(), "nothing is forbidden yet");
    policy(json!([]));
    eventually(|| !from_b()).await;
    assert!(fetch(None, &address).is_ok(), "the node always passes");
    assert!(fetch(Some(&a.network), SERVICE).is_ok(), "a Pod reaches itself");
    policy(json!([{ "from": [{ "podSelector": { "matchLabels": { "app": "b" } } }], "ports": [{ "port": "http" }] }]));
    eventually(from_b).await;
    policy(json!([{ "from": [{ "namespaceSelector": { "matchLabels": { "team": "b" } } }] }]));
    eventually(|| !from_b()).await;
    world.api.apply(
        "namespaces",
        json!({ "metadata": { "name": "default", "labels": { "team": "b" } } }),
    );
    eventually(from_b).await;
    policy(json!([{ "from": [{ "ipBlock": { "cidr": "10.42.0.0/24", "except": [format!("{}/32", b.ip)] } }] }]));
    eventually(|| !from_b()).await;
    world.api.remove("networkpolicies", "p");
    eventually(from_b).await;
    world.api.remove("pods", "a");
    world.api.remove("pods", "b");
}

async fn kubelet(world: &World, b: &Pod) {
    assert_eq!(
        world.get(&world.stranger, "/containerLogs/default/a/hello").await.0,
        403
    );
    assert_eq!(world.get(&world.connector, "/healthz").await, (200, "ok".to_owned()));
    let (status, log) = world
        .get(&world.connector, "/containerLogs/default/a/hello?tailLines=1")
        .await;
    assert_eq!(status, 200);
    assert!(log.starts_with("GET / 200 from "), "{log}");
    let mut socket = world
        .websocket("/containerLogs/default/a/hello?tailLines=1", "binary.k8s.io")
        .await;
    let mut same = Vec::new();
    while let Some(Ok(Message::Binary(bytes))) = socket.next().await {
        same.extend_from_slice(&bytes);
    }
    assert_eq!(String::from_utf8_lossy(&same), log, "over a WebSocket as well");
    let (status, message) = world
        .get(&world.connector, "/containerLogs/default/a/hello?previous=true")
        .await;
    assert_eq!(
        (status, message.as_str()),
        (400, "previous terminated container \"hello\" in pod \"a\" not found")
    );

    let (stdout, _, status) = world.exec("a", &["/hello", "--version"], None).await;
    assert_eq!((stdout.as_str(), &status["status"]), ("hello v1\n", &json!("Success")));
    let mut socket = world
        .websocket(
            "/exec/default/a/hello?output=1&command=/hello&command=--version",
            "channel.k8s.io",
        )
        .await;
    let mut messages = Vec::new();
    while let Some(Ok(Message::Binary(bytes))) = socket.next().await {
        messages.push(bytes);
    }
    assert_eq!(messages, [&b"\x01hello v1\n"[..]], "the first protocol knows no status");
    let input = "a line\n".repeat(20_000);
    let (stdout, _, status) = world.exec("a", &["/hello", "--echo"], Some(&input)).await;
    assert_eq!(status["status"], "Success");
    assert!(
        stdout == input,
        "all input comes back: {} of {} bytes",
        stdout.len(),
        input.len()
    );
    let (_, stderr, status) = world.exec("a", &["/hello", "--nonsense"], None).await;
    assert!(stderr.starts_with("usage: hello"), "{stderr}");
    assert_eq!(
        status["details"]["causes"][0],
        json!({ "reason": "ExitCode", "message": "1" })
    );
    let (_, _, status) = world.exec("a", &["/nonsense"], None).await;
    assert!(
        status["message"]
            .as_str()
            .expect("a message")
            .contains("no such file or directory"),
        "{status}"
    );
    // DNS, from a Pod, by a name that its search domains complete.
    let (stdout, stderr, _) = world.exec("b", &["/hello", "--get", "http://web/"], None).await;
    assert!(stdout.contains("Hello from Mizzen!"), "{stdout}{stderr}");
    let (_, stderr, _) = world.exec("b", &["/hello", "--get", "http://nonsense/"], None).await;
    assert!(stderr.contains("lookup"), "{stderr}");

    let mut socket = world
        .websocket("/portForward/default/b?port=8080", "v4.channel.k8s.io")
        .await;
    let mut page = Vec::new();
    socket
        .send(Message::Binary(b"\0GET / HTTP/1.0\r\n\r\n".to_vec().into()))
        .await
        .expect("sent");
    while !String::from_utf8_lossy(&page).contains("Version:") {
        match socket.next().await.expect("more").expect("a message") {
            Message::Binary(bytes) if bytes[0] == 0 => page.extend_from_slice(&bytes[1..]),
            Message::Binary(bytes) => {
                assert_eq!(&bytes[..], &[1, 0x90, 0x1f], "only the port comes on the other channel")
            }
            _ => {}
        }
    }
    assert!(String::from_utf8_lossy(&page).contains("Pod: b"));
    // The end of a followed log is the end of its container.
    let following = world.get(&world.connector, "/containerLogs/default/b/hello?follow=true");
    let stopping = async {
        let stop = StopContainerRequest {
            container_id: b.container.clone(),
            timeout: 5,
        };
        world.runtime().stop_container(stop).await.expect("it stops");
    };
    let ((_, log), ()) = tokio::join!(following, stopping);
    assert!(log.ends_with("signal 15: stopping\n"), "{log}");
}

#[test]
fn pods_reach_services_and_clients_reach_pods() {
    let in_namespace = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let test = async {
            let world = Box::pin(World::new(dir.path())).await;
            let a = Box::pin(world.pod("a", "mizzen.local/hello:v1")).await;
            let b = Box::pin(world.pod("b", "mizzen.local/hello:v2")).await;
            Box::pin(services(&world, &a, &b)).await;
            host_ports(&world, &a, &b).await;
            Box::pin(policies(&world, &a, &b)).await;
            Box::pin(kubelet(&world, &b)).await;
            Box::pin(world.end(vec![a, b])).await;
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(test)));
        runtime.block_on(clean_up(dir.path()));
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    };
    std::thread::spawn(in_namespace).join().expect("the test passes");
}
