//! The main job: Pods behind a load-balanced Service, rolled over, rolled back, and recovered.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mizzen_tests::{Cluster, can_run_containers, pause, succeed};
use serde_json::Value;

/// The demo on a node port that is this cluster's own.
fn demo(cluster: &Cluster) -> (SocketAddr, u16) {
    let manifest = include_str!("../../examples/demo.yaml").replace(", nodePort: 30080", "");
    cluster.apply(&manifest);
    cluster.run(&["rollout", "status", "-n", "demo", "deployment/hello", "--timeout=60s"]);
    let service = cluster.get("service hello -n demo").expect("the Service");
    let ip = service["spec"]["clusterIP"].as_str().expect("an address");
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().expect("a port");
    (
        format!("{ip}:80").parse().expect("an address"),
        u16::try_from(port).expect("a port"),
    )
}

fn fetch(address: SocketAddr) -> Result<String, String> {
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    match ask() {
        Ok(answer) if answer.starts_with("HTTP/1.1 200") => Ok(answer),
        Ok(answer) => Err(answer),
        Err(error) => Err(error.to_string()),
    }
}

fn pods(cluster: &Cluster, namespace: &str) -> Vec<Value> {
    let pods = cluster.get(&format!("pods -n {namespace}")).expect("Pods");
    pods["items"].as_array().expect("a list").clone()
}

fn names(pods: &[Value]) -> BTreeSet<String> {
    pods.iter()
        .map(|pod| pod["metadata"]["name"].as_str().expect("a name").to_owned())
        .collect()
}

/// Asks until every Pod has answered.
fn spreads(address: SocketAddr, names: &BTreeSet<String>) {
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        let answer = fetch(address).expect("an answer");
        seen.extend(names.iter().filter(|name| answer.contains(*name)).cloned());
        if seen == *names {
            return;
        }
    }
    panic!("of {names:?} only {seen:?} answered at {address}");
}

#[test]
fn a_service_spreads_and_a_rollout_loses_no_request() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start();
    let (service, node_port) = demo(&cluster);
    let all = names(&pods(&cluster, "demo"));
    assert_eq!(all.len(), 3);
    spreads(service, &all);
    spreads(([127, 0, 0, 1], node_port).into(), &all);
    let first = all.first().expect("a Pod");
    let by_name = [
        "exec",
        "-n",
        "demo",
        first,
        "--",
        "/hello",
        "--get",
        "http://hello.demo.svc.cluster.local/",
    ];
    let answer = cluster.run(&by_name);
    assert!(all.iter().any(|name| answer.contains(name)), "{answer}");

    // Under load, version 1 gives way to version 2.
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (stop, sent) = (stop.clone(), sent.clone());
            std::thread::spawn(move || {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    sent.fetch_add(1, Ordering::Relaxed);
                    failures.extend(fetch(service).err());
                    pause(Duration::from_millis(2));
                }
                failures
            })
        })
        .collect();
    cluster.run(&[
        "set",
        "image",
        "-n",
        "demo",
        "deployment/hello",
        "hello=mizzen.local/hello:v2",
    ]);
    cluster.run(&["rollout", "status", "-n", "demo", "deployment/hello", "--timeout=90s"]);
    cluster.wait("old Pods to be gone", |c| pods(c, "demo").len() == 3);
    stop.store(true, Ordering::Relaxed);
    let failures: Vec<_> = load
        .into_iter()
        .flat_map(|thread| thread.join().expect("a thread"))
        .collect();
    eprintln!(
        "{} requests during the rollout, {} failed",
        sent.load(Ordering::Relaxed),
        failures.len()
    );
    assert!(failures.is_empty(), "{failures:?}");
    assert!(fetch(service).expect("an answer").contains("v2"));

    // A bad image stops where maxUnavailable says, and can be taken back.
    cluster.run(&[
        "set",
        "image",
        "-n",
        "demo",
        "deployment/hello",
        "hello=mizzen.local/hello:missing",
    ]);
    cluster.wait("bad Pod to wait for its image", |c| {
        pods(c, "demo").iter().any(|pod| {
            let reason = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
            *reason == "ErrImagePull" || *reason == "ImagePullBackOff"
        })
    });
    let deployment = cluster.get("deployment hello -n demo").expect("the Deployment");
    assert_eq!(deployment["status"]["availableReplicas"], 3);
    assert!(fetch(service).is_ok());
    cluster.run(&["rollout", "undo", "-n", "demo", "deployment/hello"]);
    cluster.run(&["rollout", "status", "-n", "demo", "deployment/hello", "--timeout=60s"]);
    assert!(fetch(service).expect("an answer").contains("v2"));
}

#[test]
fn pods_outlive_the_server_and_come_back_from_anything() {
    if !can_run_containers() {
        return;
    }
    let mut cluster = Cluster::start();
    let (service, _) = demo(&cluster);
    cluster.run(&[
        "set",
        "image",
        "-n",
        "demo",
        "deployment/hello",
        "hello=mizzen.local/hello:v2",
    ]);
    cluster.kill();
    for _ in 0..20 {
        fetch(service).expect("Pods serve while the server is away");
    }
    cluster.launch();
    cluster.run(&["rollout", "status", "-n", "demo", "deployment/hello", "--timeout=90s"]);
    cluster.wait("old Pods to be gone", |c| pods(c, "demo").len() == 3);

    // A container that is killed is started again, and counted.
    let pod = names(&pods(&cluster, "demo")).pop_first().expect("a Pod");
    let restarts = |c: &Cluster| {
        let pod = c.get(&format!("pod {pod} -n demo")).expect("the Pod");
        pod["status"]["containerStatuses"][0]["restartCount"]
            .as_u64()
            .expect("a count")
    };
    let before = restarts(&cluster);
    kill_container(&cluster, &pod);
    cluster.wait("container to be started again", |c| restarts(c) == before + 1);
    cluster.run(&[
        "wait",
        "-n",
        "demo",
        &format!("pod/{pod}"),
        "--for=condition=Ready",
        "--timeout=60s",
    ]);

    // containerd itself is only a part.
    let containerd = std::fs::read_to_string(cluster.data_dir().join("agent/run/containerd/containerd.pid"));
    succeed(Command::new("kill").args(["-9", containerd.expect("a pid file").trim()]));
    for _ in 0..10 {
        fetch(service).expect("Pods serve without containerd");
    }
    cluster.run(&["delete", "pod", "-n", "demo", &pod, "--wait=false"]);
    cluster.wait("replacement to be Ready", |c| {
        let pods = pods(c, "demo");
        pods.len() == 3 && pods.iter().all(|p| mizzen_tests::condition(p, "Ready")) && !names(&pods).contains(&pod)
    });
    assert!(restarts_of_others(&cluster, &pod), "other Pods were disturbed");
}

/// Ends a Pod's container from outside.
fn kill_container(cluster: &Cluster, pod: &str) {
    let pod = cluster.get(&format!("pod {pod} -n demo")).expect("the Pod");
    let id = pod["status"]["containerStatuses"][0]["containerID"]
        .as_str()
        .expect("an id");
    let id = id.rsplit('/').next().expect("an id");
    let socket = cluster.data_dir().join("agent/run/containerd/containerd.sock");
    let mut ctr = Command::new("ctr");
    ctr.arg("--address")
        .arg(socket)
        .args(["-n", "k8s.io", "task", "kill", "-s", "SIGKILL", id]);
    succeed(&mut ctr);
}

fn restarts_of_others(cluster: &Cluster, pod: &str) -> bool {
    let others = pods(cluster, "demo");
    let others = others.iter().filter(|p| p["metadata"]["name"] != *pod);
    others
        .into_iter()
        .all(|p| p["status"]["containerStatuses"][0]["restartCount"] == 0)
}

#[test]
fn the_flow_of_creating_a_pod() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start();
    cluster.run(&["create", "serviceaccount", "creator"]);
    cluster.run(&[
        "create",
        "clusterrolebinding",
        "creator",
        "--clusterrole=admin",
        "--serviceaccount=default:creator",
    ]);
    let token = cluster.run(&["create", "token", "creator"]);
    let ca = cluster.run(&[
        "get",
        "configmap",
        "kube-root-ca.crt",
        "-o",
        "jsonpath={.data.ca\\.crt}",
    ]);
    let ca_file = cluster.scratch().join("ca.crt");
    std::fs::write(&ca_file, ca).expect("written");
    let call = |arguments: &[&str], path: &str| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--fail-with-body", "--cacert"]).arg(&ca_file);
        command
            .args(["-H", &format!("Authorization: Bearer {}", token.trim())])
            .args(arguments);
        command.arg(format!(
            "https://127.0.0.1:{}/api/v1/namespaces/default/pods{path}",
            cluster.port()
        ));
        serde_json::from_str::<Value>(&succeed(&mut command)).expect("JSON")
    };
    let start = Instant::now();
    let step = |what: &str| eprintln!("{:>7.1} ms  {what}", start.elapsed().as_secs_f64() * 1e3);
    let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"flow"},
        "spec":{"containers":[{"name":"c","image":"mizzen.local/hello:v1"}]}}"#;
    let created = call(&["-H", "Content-Type: application/json", "-d", pod], "");
    step("1 the API server answered the request");
    let revision = created["metadata"]["resourceVersion"]
        .as_str()
        .expect("a revision")
        .to_owned();
    assert_eq!(call(&[], "/flow")["metadata"]["uid"], created["metadata"]["uid"]);
    step("2 it is stored");
    cluster.wait("scheduler to choose a node", |_| {
        call(&[], "/flow")["spec"]["nodeName"].is_string()
    });
    step("3 it is scheduled");
    cluster.wait("container to run", |_| {
        call(&[], "/flow")["status"]["phase"] == "Running"
    });
    step("4 its container runs");
    let running = call(&[], "/flow");
    step("5 its status is stored");
    assert_ne!(running["metadata"]["resourceVersion"], revision.as_str());
    assert!(running["status"]["podIP"].is_string());
}
