//! A node of several servers: whichever of them goes, it turns to another, and what runs there goes on. So it does while
//! the datastore is away.

use std::time::{Duration, Instant};

use mizzen_tests::image::IMAGE;
use mizzen_tests::nodes::{Bed, SERVER, placed};
use mizzen_tests::{Cluster, can_run_containers, condition, fail, tail};
use serde_json::Value;

/// When a network that is cut has been noticed by everybody.
const NOTICED: Duration = Duration::from_secs(60);
/// When who writes has been told that nobody can.
const TOLD: Duration = Duration::from_secs(20);

/// Since when the node has been Ready: it was never anything else.
fn ready_since(cluster: &Cluster) -> Value {
    let node = cluster.get("node one").unwrap_or_default();
    assert!(node["spec"]["taints"].is_null(), "{node}");
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions
        .into_iter()
        .find(|c| c["type"] == "Ready")
        .unwrap_or_default();
    assert_eq!(ready["status"], "True", "{ready}");
    ready["lastTransitionTime"].clone()
}

/// What the node had is there and in reach, and it takes more: this needs controllers, scheduler and node.
fn goes_on(cluster: &Cluster, name: &str, had: &[(String, String)], since: &Value) {
    let beat = |c: &Cluster| c.get("lease -n kube-node-lease one").unwrap_or_default()["spec"]["renewTime"].clone();
    let before = beat(cluster);
    let image = format!("--image={IMAGE}");
    cluster.run(&["create", "deployment", name, &image, "--", "sleep", "1000000"]);
    cluster.run(&["rollout", "status", "deployment", name, "--timeout=90s"]);
    let exec = ["exec", "deployment/first", "--", "echo", "here"];
    assert_eq!(cluster.run(&exec), "here\n");
    assert_eq!(placed(cluster, "app=first"), had);
    let pods = cluster.get("pods -l app=first").expect("Pods");
    assert_eq!(pods["items"][0]["status"]["containerStatuses"][0]["restartCount"], 0);
    cluster.wait_at_most(NOTICED, "node to be heard of", |c| beat(c) != before);
    assert_eq!(ready_since(cluster), *since);
}

#[test]
fn an_agent_outlives_its_servers_and_the_datastore() {
    if !can_run_containers() {
        return;
    }
    let mut bed = Bed::prepare(&["--disable-agent", "--token=shared"]);
    let mut etcd = bed.etcd();
    bed.cluster.launch();
    let mut other = bed.another("other");
    other.launch();
    bed.join("one");
    bed.wait_until_ready("one");
    let known = bed.data_dir("one").join("agent/etc/mizzen-agent-load-balancer.json");
    let knows_both = |bed: &Bed| {
        let known = std::fs::read_to_string(&known).unwrap_or_default();
        [SERVER, "other"].iter().all(|name| known.contains(&bed.address(name)))
    };
    bed.cluster.wait("agent to know both servers", |_| knows_both(&bed));
    bed.cluster.wait("node to take Pods", |c| {
        c.get("node one").is_ok_and(|node| node["spec"]["taints"].is_null())
    });
    let since = ready_since(&bed.cluster);
    let image = format!("--image={IMAGE}");
    let create = ["create", "deployment", "first", &image, "--", "sleep", "1000000"];
    bed.cluster.run(&create);
    bed.cluster
        .run(&["rollout", "status", "deployment/first", "--timeout=60s"]);
    let had = placed(&bed.cluster, "app=first");

    // The server that it was told of dies.
    bed.cluster.kill();
    goes_on(&other, "second", &had, &since);
    let turned = |name: &str| {
        let line = format!("talking to another server server=\"{}", bed.address(name));
        tail(&bed.log("one"), 100_000).contains(&line)
    };
    assert!(turned("other"), "{}", tail(&bed.log("one"), 4000));

    // The one that it turned to is cut off, from etcd too.
    bed.cluster.launch();
    bed.cut("other");
    goes_on(&bed.cluster, "third", &had, &since);
    bed.heal("other");

    // Nobody can write, and everybody is told why; what runs there runs on, and all heals by itself.
    etcd.kill();
    let begun = Instant::now();
    let create = ["create", "configmap", "c", "--request-timeout=60s"];
    let told = fail(&mut bed.cluster.kubectl(&create));
    assert!(told.contains("the datastore does not answer"), "{told}");
    assert!(begun.elapsed() < TOLD, "told after {:?}", begun.elapsed());
    let cached = ["get", "--raw", "/api/v1/nodes/one?resourceVersion=0"];
    assert!(condition(
        &serde_json::from_str(&bed.cluster.run(&cached)).expect("a node"),
        "Ready"
    ));
    etcd.revive();
    for server in [&other, &bed.cluster] {
        server.wait("server to be ready again", |c| {
            let ready = c.kubectl(&["get", "--raw", "/readyz"]).output();
            ready.is_ok_and(|output| output.status.success())
        });
    }
    goes_on(&other, "fourth", &had, &since);
}
