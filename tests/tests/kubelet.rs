//! The kubelet against a real API server and real containers, in one process: what a Pod goes
//! through, and that nothing of it is left.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, ImageSpec, LinuxContainerConfig, LinuxPodSandboxConfig, PodSandboxConfig,
    PodSandboxMetadata,
};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use mizzen_api::client::feed::{self, Selector};
use mizzen_api::client::pods::PODS;
use mizzen_api::client::rest::Rest;
use mizzen_node::cleanup::{self, Scope};
use mizzen_node::kubelet::runtime::Runtime;
use mizzen_node::{Agent, AgentConfig};
use mizzen_server::apiserver::gates::{Gates, Options};
use mizzen_server::bootstrap;
use mizzen_server::control_plane::{Config, ControlPlane};
use mizzen_server::controllers::{self, Manager};
use mizzen_server::identity::{MASTERS, User};
use mizzen_server::pki::Keys;
use mizzen_server::store::sqlite::{SqliteOptions, SqliteStore};
use mizzen_tests::image::{IMAGE, busybox};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[path = "kubelet/admission.rs"]
mod admission;
#[path = "kubelet/conformance.rs"]
mod conformance;

const PATIENCE: Duration = Duration::from_secs(60);
const NODE: &str = "n1";

/// A control plane and a node of the test's own.
struct World {
    dir: tempfile::TempDir,
    plane: ControlPlane,
    stop_plane: CancellationToken,
    agent: Option<(CancellationToken, JoinHandle<anyhow::Result<()>>)>,
    client: Client,
    number: u8,
}

impl World {
    /// Starts everything; `number` keeps the addresses of tests that run at once apart.
    async fn start(number: u8) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        if std::env::var_os("RUST_LOG").is_some() {
            let filter = tracing_subscriber::EnvFilter::from_default_env();
            let _ = tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(std::io::stderr)
                .try_init();
        }
        let dir = tempfile::Builder::new().prefix("mzk").tempdir().expect("a directory");
        let images = dir.path().join("agent/images");
        std::fs::create_dir_all(&images).expect("a folder");
        std::fs::write(images.join("busybox.tar"), busybox()).expect("an archive");
        let store = SqliteStore::open(&dir.path().join("state.db"), SqliteOptions::default()).expect("a store");
        let stop_plane = CancellationToken::new();
        let config = Config {
            store: Arc::new(store),
            kubelet_tls: None,
            gates: Box::new(move |cache| {
                let keys = Keys::generate().expect("keys");
                let options = Options {
                    token_keys: Arc::new(keys),
                    issuer: "https://kubernetes.default.svc.cluster.local".into(),
                    server_url: "https://127.0.0.1:6443".into(),
                    root_ca_pem: String::new(),
                    join_tokens: Arc::new(mizzen_server::join::Tokens::random()),
                    service_network: Ipv4Net::new_assert([10, 210 + number, 0, 0].into(), 16),
                    node_ports: 30000..=32767,
                    reservations: None,
                };
                Gates::new(cache.clone(), options)
            }),
        };
        let plane = ControlPlane::start(config, stop_plane.clone())
            .await
            .expect("a control plane");
        let client = plane.client(User::new("admin", [MASTERS]));
        let mut world = Self {
            dir,
            plane,
            stop_plane,
            agent: None,
            client,
            number,
        };
        let options = bootstrap::Options {
            server: (Ipv4Addr::LOCALHOST, 6443).into(),
            alone: true,
            service_address: Ipv4Addr::new(10, 210 + number, 0, 1).into(),
            client_ca_pem: String::new(),
            request_header_ca_pem: String::new(),
            agents: BTreeMap::new(),
            node: None,
            network_policy: true,
        };
        let made = bootstrap::run(world.client.clone(), &options).await;
        made.expect("the cluster's own objects");
        let admin = world.client.clone();
        let clients: controllers::Clients = Arc::new(move |_| admin.clone());
        let config = controllers::Config {
            root_ca_pem: "a certificate".to_owned(),
            ..controllers::Config::default()
        };
        tokio::spawn(Manager::new(clients, config).run(world.stop_plane.child_token()));
        let accounts: Api<ServiceAccount> = Api::namespaced(world.client.clone(), "default");
        wait("ServiceAccount", async || {
            accounts.get_opt("default").await.is_ok_and(|account| account.is_some())
        })
        .await;
        world.launch();
        let nodes: Api<Node> = Api::all(world.client.clone());
        wait("node to be Ready", async || {
            let node = nodes.get_opt(NODE).await.ok().flatten();
            let node = serde_json::to_value(node).unwrap_or_default();
            let taints = node["spec"]["taints"].as_array().map_or(0, Vec::len);
            holds(&node, "Ready") && taints == 0
        })
        .await;
        world.wait_for_image().await;
        Some(world)
    }

    fn launch(&mut self) {
        let data_dir = self.dir.path().to_owned();
        let n = self.number;
        let config = AgentConfig {
            pod_cidr: Some(Ipv4Net::new_assert([10, 190 + n, 0, 0].into(), 24)),
            cluster_cidr: Ipv4Net::new_assert([10, 190 + n, 0, 0].into(), 16),
            service_cidr: Ipv4Net::new_assert([10, 210 + n, 0, 0].into(), 16),
            cluster_dns: vec![[10, 210 + n, 0, 10].into()],
            ..AgentConfig::new(NODE, Ipv4Addr::LOCALHOST.into(), data_dir)
        };
        let stop = CancellationToken::new();
        let user = User::new(format!("system:node:{NODE}"), ["system:nodes"]);
        let agent = Agent::new(config, self.plane.client(user), self.client.clone());
        self.agent = Some((stop.clone(), tokio::spawn(agent.run(stop))));
    }

    async fn stop_agent(&mut self) {
        if let Some((stop, task)) = self.agent.take() {
            stop.cancel();
            task.await.expect("no panic").expect("a clean end");
        }
    }

    async fn wait_for_image(&self) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        wait("test image", async || {
            let node = nodes.get(NODE).await.expect("the node");
            let images = node.status.and_then(|status| status.images).unwrap_or_default();
            images
                .iter()
                .any(|image| image.names.iter().flatten().any(|name| name == IMAGE))
        })
        .await;
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Makes a Pod that is already bound to the node.
    async fn create(&self, name: &str, spec: Value) {
        let mut spec = spec;
        spec["nodeName"] = json!(NODE);
        let pod = json!({ "metadata": { "name": name, "labels": { "app": name } }, "spec": spec });
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        self.pods()
            .create(&PostParams::default(), &pod)
            .await
            .expect("a pod is made");
    }

    async fn get(&self, name: &str) -> Value {
        let pod = self.pods().get_opt(name).await.expect("an answer");
        serde_json::to_value(pod).expect("json")
    }

    /// Waits until the Pod's JSON satisfies `holds`, and gives it.
    async fn pod(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let pod = self.get(name).await;
            if holds(&pod) {
                return pod;
            }
            if begun.elapsed() > PATIENCE {
                panic!(
                    "{name} not {what}: {:#}\nevents: {:#?}",
                    pod["status"],
                    self.events(name).await
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn events(&self, name: &str) -> Vec<String> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), "default");
        let fields = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let mut events = api.list(&fields).await.expect("events").items;
        events.sort_by_key(|event| event.metadata.creation_timestamp.clone());
        let text = |event: &Event| {
            format!(
                "{} {}",
                event.reason.as_deref().unwrap_or_default(),
                event.message.as_deref().unwrap_or_default()
            )
        };
        events.iter().map(text).collect()
    }

    async fn wait_for_event(&self, name: &str, part: &str) {
        wait(&format!("event {part:?} of {name}"), async || {
            self.events(name).await.iter().any(|event| event.contains(part))
        })
        .await;
    }

    async fn delete(&self, name: &str) {
        self.pods()
            .delete(name, &DeleteParams::default())
            .await
            .expect("deleted");
    }

    async fn gone(&self, name: &str) {
        self.pod(name, "gone", Value::is_null).await;
    }

    /// A container's log, without the runtime's prefixes.
    fn log(&self, pod: &Value, container: &str, attempt: u32) -> String {
        let metadata = &pod["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        let dir = format!("{}_{}_{}", text("namespace"), text("name"), text("uid"));
        let path = self
            .dir
            .path()
            .join("agent/log/pods")
            .join(dir)
            .join(container)
            .join(format!("{attempt}.log"));
        let log = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        log.lines()
            .filter_map(|line| line.splitn(4, ' ').nth(3))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    fn ctr(&self, arguments: &[&str]) -> String {
        let socket = self.dir.path().join("agent/run/containerd/containerd.sock");
        let output = Command::new("ctr")
            .arg("-a")
            .arg(socket)
            .args(["-n", "k8s.io"])
            .args(arguments)
            .output()
            .expect("ctr");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The process of a running container.
    fn process(&self, pod: &Value, container: usize) -> i32 {
        let id = pod["status"]["containerStatuses"][container]["containerID"]
            .as_str()
            .unwrap_or_default();
        let id = id.trim_start_matches("containerd://");
        let tasks = self.ctr(&["tasks", "ls"]);
        let line = tasks
            .lines()
            .find(|line| line.starts_with(id))
            .unwrap_or_else(|| panic!("{id} not in {tasks}"));
        line.split_whitespace()
            .nth(1)
            .and_then(|pid| pid.parse().ok())
            .expect("a pid")
    }

    /// Ends everything, and checks that the host is as before.
    async fn end(mut self) {
        let names: Vec<String> = self
            .pods()
            .list(&ListParams::default())
            .await
            .expect("pods")
            .items
            .into_iter()
            .filter_map(|p| p.metadata.name)
            .collect();
        for name in &names {
            let now = DeleteParams::default().grace_period(1);
            self.pods().delete(name, &now).await.ok();
        }
        for name in &names {
            self.gone(name).await;
        }
        let count = |dir: &str| {
            std::fs::read_dir(self.dir.path().join(dir))
                .into_iter()
                .flatten()
                .count()
        };
        wait("last traces of the pods to go", async || {
            count("agent/kubelet/pods") == 0
                && count("agent/log/pods") == 0
                && self.ctr(&["containers", "ls", "-q"]).is_empty()
        })
        .await;
        self.stop_agent().await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((stop, _)) = self.agent.take() {
            stop.cancel();
        }
        self.stop_plane.cancel();
        let scope = Scope {
            data_dir: self.dir.path().to_owned(),
            spare: vec![std::process::id() as i32],
            paths: vec![],
        };
        let clean = async move {
            let items = cleanup::plan(&scope)?;
            cleanup::execute(&scope, &items, |_| {}).await
        };
        // Drop is not async, and the test's own runtime is busy dropping us.
        let outcome = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(clean)
        })
        .join();
        if let Ok(Err(error)) = outcome {
            eprintln!("not cleaned up: {error:#}");
        }
    }
}

async fn wait(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for the {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn holds(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == condition && c["status"] == "True"))
}

fn phase(wanted: &'static str) -> impl Fn(&Value) -> bool {
    move |pod| pod["status"]["phase"] == wanted
}

fn ready(pod: &Value) -> bool {
    holds(pod, "Ready")
}

fn restarts(pod: &Value) -> i64 {
    pod["status"]["containerStatuses"][0]["restartCount"]
        .as_i64()
        .unwrap_or(-1)
}

/// A container that runs a script.
fn script(name: &str, script: &str) -> Value {
    json!({ "name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script] })
}

/// A script that waits until it is told to stop, and then stops at once.
const WAIT: &str = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done";

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_lives_and_goes_without_a_trace() {
    let Some(world) = World::start(0).await else { return };
    let spec = json!({ "terminationGracePeriodSeconds": 5, "containers": [script("a", WAIT)] });
    world.create("plain", spec).await;
    let pod = world.pod("plain", "ready", ready).await;
    let status = &pod["status"];
    assert_eq!(
        (&status["phase"], &status["qosClass"], restarts(&pod)),
        (&json!("Running"), &json!("BestEffort"), 0)
    );
    assert!(
        status["podIP"].as_str().is_some_and(|ip| ip.starts_with("10.190.0.")),
        "{status:#}"
    );
    assert_eq!(status["hostIP"], "127.0.0.1");
    world.wait_for_event("plain", "Started").await;
    let events = world.events("plain").await;
    for part in [
        "Pulled Container image \"mizzen.test/busybox:1\" already present on machine",
        "Created",
        "Started",
    ] {
        assert!(
            events.iter().any(|event| event.starts_with(part)),
            "{part} not in {events:#?}"
        );
    }
    let begun = Instant::now();
    world.delete("plain").await;
    world.gone("plain").await;
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "a container that obeys SIGTERM ends at once: {:?}",
        begun.elapsed()
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_container_sees() {
    let Some(world) = World::start(1).await else { return };
    let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), "default");
    let map = |value: &str| -> ConfigMap {
        serde_json::from_value(json!({ "metadata": { "name": "m" }, "data": { "key": value } })).expect("a map")
    };
    maps.create(&PostParams::default(), &map("one")).await.expect("made");
    let text = "id -u; id -g; echo ctx=$FROM_MAP host=$HOST ip=$IP req=$REQ; cat /etc/hosts; cat /etc/resolv.conf; \
         cat /map/key; echo; ls -l /map; cat /info/labels; echo; cat /sub/file; touch /empty/x && echo wrote; \
         touch /map/no 2>/dev/null || echo readonly; hostname; stat -c %g /empty; \
         cd /var/run/secrets/kubernetes.io/serviceaccount; cat namespace; echo; cat ca.crt; echo; cat token; echo; \
         while :; do [ \"$(cat /map/key)\" = two ] && echo changed && break; sleep 0.1; done; exec sleep 3600";
    let mut container = script("a", text);
    container["env"] = json!([
        { "name": "FROM_MAP", "valueFrom": { "configMapKeyRef": { "name": "m", "key": "key" } } },
        { "name": "HOST", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
        { "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
        { "name": "REQ", "valueFrom": { "resourceFieldRef": { "resource": "requests.memory", "divisor": "1Mi" } } },
    ]);
    container["resources"] = json!({ "requests": { "memory": "32Mi", "cpu": "10m" }, "limits": { "memory": "64Mi" } });
    container["volumeMounts"] = json!([
        { "name": "map", "mountPath": "/map" }, { "name": "empty", "mountPath": "/empty" },
        { "name": "info", "mountPath": "/info" }, { "name": "map", "mountPath": "/sub/file", "subPath": "key" },
    ]);
    container["securityContext"] = json!({ "runAsUser": 1000, "runAsGroup": 1001 });
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "hostname": "web", "subdomain": "sub", "hostAliases": [{ "ip": "1.2.3.4", "hostnames": ["alias"] }],
        "securityContext": { "fsGroup": 2000 },
        "containers": [container],
        "volumes": [
            { "name": "map", "configMap": { "name": "m" } }, { "name": "empty", "emptyDir": {} },
            { "name": "info", "downwardAPI": { "items": [{ "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } }] } },
        ],
    });
    world.create("sees", spec).await;
    let pod = world.pod("sees", "ready", ready).await;
    assert_eq!(pod["status"]["qosClass"], "Burstable");
    let ip = pod["status"]["podIP"].as_str().expect("an address").to_owned();
    maps.replace("m", &PostParams::default(), &map("two"))
        .await
        .expect("changed");
    wait("the change to arrive", async || {
        world.log(&pod, "a", 0).contains("changed")
    })
    .await;
    let log = world.log(&pod, "a", 0);
    for part in [
        "1000\n1001\n",
        &format!("ctx=one host=n1 ip={ip} req=32"),
        &format!("{ip}\tweb.sub.default.svc.cluster.local\tweb"),
        "1.2.3.4\talias",
        "nameserver 10.211.0.10",
        "search default.svc.cluster.local svc.cluster.local cluster.local",
        "key -> ..data/key",
        "app=\"sees\"",
        "wrote",
        "web\n2000\ndefault\na certificate\ney",
    ] {
        assert!(log.contains(part), "{part:?} not in\n{log}");
    }
    assert!(!log.contains("tworeadonly") && log.contains("one"), "{log}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_restarts_and_ends() {
    let Some(world) = World::start(2).await else { return };
    let spec = json!({ "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
        "initContainers": [script("i", "echo first > /v/f"), { "name": "side", "image": IMAGE, "restartPolicy": "Always",
            "command": ["sh", "-c", WAIT], "imagePullPolicy": "IfNotPresent" }],
        "containers": [script("a", "cat /v/f; echo bye > /dev/termination-log; exit 3")],
        "volumes": [{ "name": "v", "emptyDir": { "medium": "Memory" } }] });
    let mut spec = spec;
    for path in ["/initContainers/0", "/containers/0"] {
        spec.pointer_mut(path).expect("a container")["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v" }]);
    }
    world.create("steps", spec).await;
    let pod = world.pod("steps", "failed", phase("Failed")).await;
    let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(
        (&ended["exitCode"], &ended["message"], &ended["reason"]),
        (&json!(3), &json!("bye\n"), &json!("Error"))
    );
    assert_eq!(
        pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["reason"],
        "Completed"
    );
    assert_eq!(world.log(&pod, "a", 0), "first\n");

    world
        .create(
            "crashes",
            json!({ "containers": [script("a", "echo $RANDOM; exit 1")] }),
        )
        .await;
    let held = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff";
    let pod = world.pod("crashes", "backing off", held).await;
    assert_eq!(restarts(&pod), 1, "the first restart is immediate");
    assert_eq!(
        pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"],
        1
    );
    assert_eq!(pod["status"]["phase"], "Running");
    world
        .wait_for_event(
            "crashes",
            "BackOff Back-off restarting failed container a in pod crashes_default",
        )
        .await;

    world
        .create(
            "never",
            json!({ "containers": [{ "name": "a", "image": "mizzen.test/none:1", "imagePullPolicy": "Never" }] }),
        )
        .await;
    let reason = |word: &'static str| {
        move |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == word
    };
    world.pod("never", "refused", reason("ErrImageNeverPull")).await;
    let mut container = script("a", "true");
    container["envFrom"] = json!([{ "secretRef": { "name": "later" } }]);
    world
        .create("waits", json!({ "restartPolicy": "Never", "containers": [container] }))
        .await;
    let pod = world
        .pod("waits", "refused", reason("CreateContainerConfigError"))
        .await;
    assert_eq!(
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"],
        "secret \"later\" not found"
    );
    let secret =
        serde_json::from_value(json!({ "metadata": { "name": "later" }, "stringData": {} })).expect("a secret");
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(world.client.clone(), "default");
    secrets.create(&PostParams::default(), &secret).await.expect("made");
    let pod = world.pod("waits", "done", phase("Succeeded")).await;
    // Its volumes go, and the directory stays, by which its log is known to be ours.
    let uid = pod["metadata"]["uid"].as_str().expect("a uid");
    let directory = world.dir.path().join(format!("agent/kubelet/pods/{uid}"));
    wait("an empty directory", async || {
        std::fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_none())
    })
    .await;

    world.create("late", json!({ "activeDeadlineSeconds": 2, "terminationGracePeriodSeconds": 1, "containers": [script("a", WAIT)] })).await;
    let pod = world.pod("late", "failed", phase("Failed")).await;
    assert_eq!(pod["status"]["reason"], "DeadlineExceeded");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_hooks() {
    let Some(world) = World::start(3).await else { return };
    let mut container = script("a", &format!("touch /tmp/ok 2>/dev/null || true; {WAIT}"));
    container["volumeMounts"] = json!([{ "name": "t", "mountPath": "/tmp" }]);
    container["startupProbe"] = json!({ "exec": { "command": ["cat", "/tmp/ok"] }, "periodSeconds": 1 });
    container["readinessProbe"] =
        json!({ "exec": { "command": ["cat", "/tmp/ok"] }, "periodSeconds": 1, "failureThreshold": 1 });
    container["livenessProbe"] =
        json!({ "exec": { "command": ["cat", "/tmp/live"] }, "periodSeconds": 1, "failureThreshold": 3 });
    container["lifecycle"] = json!({ "postStart": { "exec": { "command": ["touch", "/tmp/live"] } },
        "preStop": { "exec": { "command": ["touch", "/host/stopped"] } } });
    let host = world.dir.path().join("seen");
    container["volumeMounts"]
        .as_array_mut()
        .expect("a list")
        .push(json!({ "name": "h", "mountPath": "/host" }));
    let spec = json!({ "terminationGracePeriodSeconds": 2, "containers": [container], "volumes": [
        { "name": "t", "emptyDir": {} }, { "name": "h", "hostPath": { "path": host, "type": "DirectoryOrCreate" } } ] });
    world.create("probed", spec).await;
    let pod = world.pod("probed", "ready", ready).await;
    let uid = pod["metadata"]["uid"].as_str().expect("a uid");
    let volume = world
        .dir
        .path()
        .join(format!("agent/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/t"));
    std::fs::remove_file(volume.join("ok")).expect("removed");
    world.pod("probed", "unready", |pod| !ready(pod)).await;
    world.wait_for_event("probed", "Unhealthy Readiness probe failed").await;
    std::fs::write(volume.join("ok"), b"").expect("written");
    world.pod("probed", "ready again", ready).await;
    std::fs::remove_file(volume.join("live")).expect("removed");
    world
        .pod("probed", "restarted", |pod| restarts(pod) == 1 && ready(pod))
        .await;
    world
        .wait_for_event("probed", "Killing Container a failed liveness probe, will be restarted")
        .await;
    assert!(
        Path::new(&host).join("stopped").exists(),
        "the hook ran before the container was stopped"
    );

    let mut bad = script("a", WAIT);
    bad["lifecycle"] = json!({ "postStart": { "exec": { "command": ["false"] } } });
    world
        .create(
            "hooked",
            json!({ "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [bad] }),
        )
        .await;
    world.wait_for_event("hooked", "FailedPostStartHook").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_comes_back_and_restarts_of_ours_are_not_noticed() {
    let Some(mut world) = World::start(4).await else { return };
    world
        .create(
            "tough",
            json!({ "terminationGracePeriodSeconds": 1, "containers": [script("a", WAIT)] }),
        )
        .await;
    let pod = world.pod("tough", "ready", ready).await;
    let id = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["containerID"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let first = id(&pod);

    // The agent restarts: the same container, no restart, no change of the status.
    world.stop_agent().await;
    world.launch();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let same = world.get("tough").await;
    assert_eq!((id(&same), restarts(&same), ready(&same)), (first.clone(), 0, true));
    assert_eq!(
        same["metadata"]["resourceVersion"], pod["metadata"]["resourceVersion"],
        "nothing was written"
    );

    // A killed container.
    kill(world.process(&same, 0));
    let pod = world
        .pod("tough", "restarted", |pod| restarts(pod) == 1 && ready(pod))
        .await;
    assert_eq!(
        pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"],
        137
    );

    // A killed shim takes sandbox and container with it.
    let shim = parent(world.process(&pod, 0));
    kill(shim);
    let pod = world
        .pod("tough", "restarted", |pod| restarts(pod) == 2 && ready(pod))
        .await;
    world.wait_for_event("tough", "SandboxChanged").await;

    // A container that somebody removes.
    let third = id(&pod);
    let container = third.trim_start_matches("containerd://");
    world.ctr(&["tasks", "kill", "-s", "SIGKILL", container]);
    world.ctr(&["tasks", "rm", "-f", container]);
    world.ctr(&["containers", "rm", container]);
    let pod = world
        .pod("tough", "restarted", |pod| {
            restarts(pod) >= 3 && ready(pod) && id(pod) != third
        })
        .await;

    // containerd itself: containers outlive it.
    let fourth = id(&pod);
    let count = restarts(&pod);
    let pid =
        std::fs::read_to_string(world.dir.path().join("agent/run/containerd/containerd.pid")).expect("a pid file");
    kill(pid.trim().parse().expect("a pid"));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let pod = world.pod("tough", "ready", ready).await;
    assert_eq!((id(&pod), restarts(&pod)), (fourth, count));
    kill(world.process(&pod, 0));
    world
        .pod("tough", "restarted", |pod| restarts(pod) == count + 1 && ready(pod))
        .await;
    world.end().await;
}

/// Returns when a watcher sees the Pod Running.
async fn runs(world: &World, name: &str) {
    let own = Selector::named("default", name);
    let rest = Rest::new(world.client.clone(), "test");
    let running = |pod: Pod| (pod.status?.phase? == "Running").then_some(());
    feed::until(PODS, own, rest, running).await;
}

/// Prints how long a Pod takes from its creation to Running, beside the same steps straight through
/// CRI, one after the other. The bound is wide because debug builds on busy machines run this too.
#[tokio::test(flavor = "multi_thread")]
async fn pods_start_fast() {
    let Some(world) = World::start(5).await else { return };
    let runtime = Runtime::connect(&world.dir.path().join("agent/run/containerd/containerd.sock"));
    let (mut times, mut straight) = (Vec::new(), Vec::new());
    for number in 0..10 {
        straight.push(straight_through_cri(&runtime, number).await);
        let name = format!("fast{number}");
        let begun = Instant::now();
        let watch = runs(&world, &name);
        let spec = json!({ "terminationGracePeriodSeconds": 1, "containers": [script("a", WAIT)] });
        let watch = tokio::time::timeout(Duration::from_secs(60), watch);
        let (_, seen) = tokio::join!(world.create(&name, spec), watch);
        seen.expect("it runs");
        times.push(begun.elapsed());
        world.delete(&name).await;
        world.gone(&name).await;
    }
    times.sort();
    straight.sort();
    let (ours, theirs) = (times[times.len() / 2], straight[straight.len() / 2]);
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    eprintln!(
        "create to Running: p50 {ours:?}; straight through CRI: {theirs:?}; ratio {ratio:.2}\n{times:?}\n{straight:?}"
    );
    assert!(ratio < 3.0, "{ratio}");
    world.end().await;
}

/// Sandbox, container and start as the kubelet asks for them, and nothing else.
async fn straight_through_cri(runtime: &Runtime, number: u32) -> Duration {
    let name = format!("straight{number}");
    let sandbox = PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.clone(),
            uid: name.clone(),
            namespace: "default".to_owned(),
            attempt: 0,
        }),
        linux: Some(LinuxPodSandboxConfig::default()),
        ..Default::default()
    };
    let container = ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: "a".to_owned(),
            attempt: 0,
        }),
        image: Some(ImageSpec {
            image: IMAGE.to_owned(),
            ..Default::default()
        }),
        command: ["sh", "-c", WAIT].map(str::to_owned).to_vec(),
        linux: Some(LinuxContainerConfig::default()),
        ..Default::default()
    };
    let begun = Instant::now();
    let id = runtime
        .run_sandbox(sandbox.clone(), String::new())
        .await
        .expect("a sandbox");
    let made = runtime
        .create_container(&id, container, sandbox)
        .await
        .expect("a container");
    runtime.start_container(&made).await.expect("it starts");
    let time = begun.elapsed();
    runtime.stop_sandbox(&id).await.expect("stopped");
    runtime.remove_sandbox(&id).await.expect("removed");
    time
}

fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).expect("killed");
}

fn parent(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .expect("a parent");
    line.trim().parse().expect("a pid")
}
