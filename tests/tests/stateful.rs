//! What has a place of its own: StatefulSets, DaemonSets, and the volumes that outlive Pods.

use std::path::PathBuf;

use mizzen_tests::{Cluster, can_run_containers, condition, fail};
use serde_json::Value;

fn pods(cluster: &Cluster) -> Vec<Value> {
    let pods = cluster.get("pods").expect("Pods");
    pods["items"].as_array().expect("a list").clone()
}

fn names(pods: &[Value]) -> Vec<&str> {
    let mut names: Vec<_> = pods
        .iter()
        .map(|pod| pod["metadata"]["name"].as_str().expect("a name"))
        .collect();
    names.sort_unstable();
    names
}

/// Whether these Pods are there and no others, all of them ready to stay.
fn are(cluster: &Cluster, expect: &[&str]) -> bool {
    let pods = pods(cluster);
    let ready = |pod: &Value| condition(pod, "Ready") && pod["metadata"]["deletionTimestamp"].is_null();
    names(&pods) == expect && pods.iter().all(ready)
}

fn uid(cluster: &Cluster, pod: &str) -> Option<String> {
    let pod = cluster.get(&format!("pod {pod}")).ok()?;
    pod["metadata"]["uid"].as_str().map(str::to_owned)
}

fn image(cluster: &Cluster, pod: &str) -> String {
    let pod = cluster.get(&format!("pod {pod}")).expect("the Pod");
    pod["spec"]["containers"][0]["image"]
        .as_str()
        .expect("an image")
        .to_owned()
}

fn write(cluster: &Cluster, pod: &str, text: &str) {
    cluster.run(&["exec", pod, "--", "/hello", "--write", "/data/note", text]);
}

fn read(cluster: &Cluster, pod: &str) -> String {
    cluster.run(&["exec", pod, "--", "/hello", "--read", "/data/note"])
}

fn volume_directory(cluster: &Cluster, claim: &str) -> PathBuf {
    let claim = cluster.get(&format!("pvc {claim}")).expect("the claim");
    let volume = claim["spec"]["volumeName"].as_str().expect("a volume");
    let volume = cluster.get(&format!("pv {volume}")).expect("the volume");
    PathBuf::from(volume["spec"]["hostPath"]["path"].as_str().expect("a path"))
}

#[test]
fn a_stateful_set_keeps_names_addresses_and_data() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start();
    cluster.apply(include_str!("../../examples/statefulset.yaml"));
    cluster.run(&["rollout", "status", "statefulset/counter", "--timeout=60s"]);
    assert!(are(&cluster, &["counter-0", "counter-1"]));
    for pod in ["counter-0", "counter-1"] {
        write(&cluster, pod, pod);
    }
    // By its own name, from its sibling.
    let url = "http://counter-1.counter.default.svc.cluster.local:8080/";
    let answer = cluster.run(&["exec", "counter-0", "--", "/hello", "--get", url]);
    assert!(answer.contains("counter-1"), "{answer}");

    // Deleted, it comes back as itself.
    let before = uid(&cluster, "counter-0");
    cluster.run(&["delete", "pod", "counter-0"]);
    cluster.wait("counter-0 to be back", |c| {
        are(c, &["counter-0", "counter-1"]) && uid(c, "counter-0") != before
    });
    assert_eq!(read(&cluster, "counter-0"), "counter-0");

    // Scaled down and up again, so does the other.
    cluster.run(&["scale", "statefulset/counter", "--replicas=1"]);
    cluster.wait("counter-1 to be gone", |c| are(c, &["counter-0"]));
    cluster.run(&["scale", "statefulset/counter", "--replicas=3"]);
    cluster.wait("three Pods", |c| are(c, &["counter-0", "counter-1", "counter-2"]));
    assert_eq!(read(&cluster, "counter-1"), "counter-1");

    // An update stops at the partition, goes on when that is taken away, and can be undone.
    let partition = |n: u8| format!(r#"{{"spec":{{"updateStrategy":{{"rollingUpdate":{{"partition":{n}}}}}}}}}"#);
    cluster.run(&["patch", "statefulset/counter", "-p", &partition(2)]);
    cluster.run(&["set", "image", "statefulset/counter", "hello=mizzen.local/hello:v2"]);
    let all = ["counter-0", "counter-1", "counter-2"];
    cluster.run(&["rollout", "status", "statefulset/counter", "--timeout=60s"]);
    let images = |c: &Cluster| all.map(|pod| image(c, pod).ends_with("v2"));
    assert_eq!(images(&cluster), [false, false, true]);
    cluster.run(&["patch", "statefulset/counter", "-p", &partition(0)]);
    cluster.wait("update of all", |c| are(c, &all) && images(c) == [true; 3]);
    let history = cluster.run(&["rollout", "history", "statefulset/counter"]);
    assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
    cluster.run(&["rollout", "undo", "statefulset/counter"]);
    cluster.wait("update undone", |c| are(c, &all) && images(c) == [false; 3]);
    cluster.run(&["rollout", "status", "statefulset/counter", "--timeout=60s"]);
    assert_eq!(read(&cluster, "counter-1"), "counter-1");

    // The set goes, the claims stay; with them goes the data.
    let directory = volume_directory(&cluster, "data-counter-1");
    assert!(directory.join("note").exists());
    cluster.run(&["delete", "statefulset/counter"]);
    cluster.wait("no Pods", |c| pods(c).is_empty());
    assert!(directory.join("note").exists());
    cluster.run(&["delete", "pvc", "data-counter-1"]);
    cluster.wait("data to be removed", |_| !directory.exists());
    assert!(volume_directory(&cluster, "data-counter-0").join("note").exists());
}

#[test]
fn a_daemon_set_rolls_out_and_back() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start();
    cluster.apply(include_str!("../../examples/daemonset.yaml"));
    cluster.run(&["rollout", "status", "daemonset/agent", "--timeout=60s"]);
    let one = |c: &Cluster| {
        let pods = pods(c);
        let ready =
            pods.len() == 1 && condition(&pods[0], "Ready") && pods[0]["metadata"]["deletionTimestamp"].is_null();
        ready.then(|| names(&pods)[0].to_owned())
    };
    cluster.run(&["set", "image", "daemonset/agent", "hello=mizzen.local/hello:v2"]);
    cluster.run(&["rollout", "status", "daemonset/agent", "--timeout=60s"]);
    cluster.wait("new Pod", |c| one(c).is_some_and(|pod| image(c, &pod).ends_with("v2")));
    let history = cluster.run(&["rollout", "history", "daemonset/agent"]);
    assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
    cluster.run(&["rollout", "undo", "daemonset/agent"]);
    cluster.run(&["rollout", "status", "daemonset/agent", "--timeout=60s"]);
    cluster.wait("old Pod", |c| one(c).is_some_and(|pod| image(c, &pod).ends_with("v1")));

    // A cordon does not keep it away.
    let node = cluster.get("nodes").expect("nodes")["items"][0]["metadata"]["name"]
        .as_str()
        .expect("a name")
        .to_owned();
    cluster.run(&["cordon", &node]);
    let before = one(&cluster);
    cluster.run(&["delete", "pod", before.as_deref().expect("a Pod")]);
    cluster.wait("Pod on a cordoned node", |c| {
        one(c).is_some_and(|pod| Some(pod) != before)
    });
}

#[test]
fn data_outlives_its_pod_and_goes_with_its_claim() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start();
    let manifest = include_str!("../../examples/persistentvolumeclaim.yaml");
    cluster.apply(manifest);
    cluster.run(&["wait", "pod/keeper", "--for=condition=Ready", "--timeout=60s"]);
    write(&cluster, "keeper", "kept");
    let directory = volume_directory(&cluster, "kept");
    assert!(directory.starts_with(cluster.data_dir()), "{}", directory.display());
    cluster.run(&["delete", "pod", "keeper"]);
    cluster.apply(manifest);
    cluster.run(&["wait", "pod/keeper", "--for=condition=Ready", "--timeout=60s"]);
    assert_eq!(read(&cluster, "keeper"), "kept");

    let larger = r#"{"spec":{"resources":{"requests":{"storage":"1Gi"}}}}"#;
    let refusal = fail(&mut cluster.kubectl(&["patch", "pvc", "kept", "-p", larger]));
    assert!(refusal.contains("must support resize"), "{refusal}");

    // The claim waits for its Pod, the data for the claim.
    cluster.run(&["delete", "pvc", "kept", "--wait=false"]);
    assert_eq!(read(&cluster, "keeper"), "kept");
    cluster.run(&["delete", "pod", "keeper"]);
    cluster.wait("data to be removed", |c| {
        !directory.exists() && c.get("pv").is_ok_and(|all| all["items"] == Value::Array(Vec::new()))
    });
    assert!(cluster.get("pvc kept").is_err());
}
