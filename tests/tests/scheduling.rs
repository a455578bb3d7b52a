//! Scheduling end to end: a real server, simulated nodes, real kubectl.

use std::process::{Child, Command, Stdio};

use mizzen_tests::{Cluster, can_run_containers, condition, program};

/// Simulated nodes that end with this value.
struct Nodes(Child);

impl Nodes {
    fn start(cluster: &Cluster, count: usize, flags: &[&str]) -> Self {
        let child = Command::new(program())
            .args(["agent", "--simulate", &count.to_string(), "--kubeconfig"])
            .arg(cluster.kubeconfig())
            .args(flags)
            .stdin(Stdio::null())
            .spawn();
        let nodes = Self(child.expect("mizzen starts"));
        cluster.wait("nodes to be Ready", |c| {
            let nodes = c.get("nodes").expect("nodes");
            let all = nodes["items"].as_array().expect("a list");
            all.len() == count && all.iter().all(|node| condition(node, "Ready"))
        });
        nodes
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn pod(name: &str, spec: &str) -> String {
    format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec: {spec}\n")
}

fn wants(cpu: &str, more: &str) -> String {
    format!("{{containers: [{{name: c, image: x, resources: {{requests: {{cpu: '{cpu}'}}}}}}]{more}}}")
}

/// A second profile, which fills nodes up.
const PROFILES: &str = "
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: default-scheduler
- schedulerName: packer
  plugins: {score: {disabled: [{name: '*'}], enabled: [{name: NodeResourcesFit}]}}
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}]}}
";

/// Who wants a profile gets it, who wants another scheduler waits for that, and who is held waits to be let go.
fn profiles_and_gates(cluster: &Cluster) {
    let node = |name: &str| cluster.get(&format!("pod {name}")).expect("a Pod")["spec"]["nodeName"].clone();
    let packed = ["a", "b", "c"];
    for name in packed {
        cluster.apply(&pod(name, &wants("1", ", schedulerName: packer")));
        cluster.wait("a Pod to be packed", |_| node(name).is_string());
    }
    assert!(
        packed.iter().all(|name| node(name) == node("a")),
        "one node is filled up"
    );
    cluster.apply(&pod("elsewhere", &wants("1", ", schedulerName: elsewhere")));
    cluster.apply(&pod(
        "held",
        &wants("1", ", schedulingGates: [{name: example.com/hold}]"),
    ));
    cluster.wait("the gate to be told of", |c| {
        let conditions = c.get("pod held").expect("a Pod")["status"]["conditions"].to_string();
        conditions.contains("SchedulingGated")
    });
    cluster.apply(&pod("later", &wants("1", "")));
    cluster.wait("a later Pod", |_| node("later").is_string());
    assert!(node("held").is_null() && node("elsewhere").is_null());
    let open = r#"[{"op": "remove", "path": "/spec/schedulingGates"}]"#;
    cluster.run(&["patch", "pod", "held", "--type=json", "-p", open]);
    cluster.wait("it to be let go", |_| node("held").is_string());
    cluster.run(&["delete", "pods", "--all", "--grace-period=0", "--force"]);
}

#[test]
fn pods_run_wait_and_make_room() {
    if !can_run_containers() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let profiles = directory.path().join("profiles.yaml");
    std::fs::write(&profiles, PROFILES).expect("written");
    let argument = format!("--kube-scheduler-arg=config={}", profiles.display());
    let cluster = Cluster::start_with(&["--disable-agent", &argument]);
    let _nodes = Nodes::start(&cluster, 3, &["--simulate-cpu=4"]);
    cluster.apply(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 6
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: c, image: x, resources: {requests: {cpu: '1'}}}]
      topologySpreadConstraints:
      - {topologyKey: topology.kubernetes.io/zone, maxSkew: 1, whenUnsatisfiable: DoNotSchedule,
         labelSelector: {matchLabels: {app: web}}}
",
    );
    cluster.run(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let pods = cluster.get("pods -l app=web").expect("pods");
    let mut nodes: Vec<_> = pods["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|p| p["spec"]["nodeName"].to_string())
        .collect();
    nodes.sort();
    nodes.dedup_by(|a, b| a == b);
    assert_eq!(nodes.len(), 3, "two on each");

    // It fits nowhere, and whoever asks learns why.
    cluster.apply(&pod("big", &wants("5", "")));
    cluster.wait("verdict", |c| c.get("schedulingverdicts big").is_ok());
    let verdict = cluster
        .get("schedulingverdicts.console.mizzen.io big")
        .expect("a verdict");
    let told = &verdict["status"]["verdicts"][0];
    assert_eq!(
        (told["plugin"].as_str(), told["count"].as_i64()),
        (Some("NodeResourcesFit"), Some(3)),
        "{verdict}"
    );
    assert_eq!(told["reasons"][0], "Insufficient cpu");
    let all = cluster.get("schedulingverdicts").expect("verdicts");
    assert_eq!(all["items"].as_array().map(Vec::len), Some(1), "{all}");
    cluster.run(&["delete", "pod", "big"]);
    cluster.wait("verdict to go", |c| c.get("schedulingverdicts big").is_err());

    // A more important Pod finds room by preemption.
    cluster.apply(
        "
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 1000
",
    );
    cluster.apply(&pod("vip", &wants("3", ", priorityClassName: high")));
    cluster.wait("vip to run", |c| {
        c.get("pod vip").is_ok_and(|pod| pod["status"]["phase"] == "Running")
    });
    cluster.wait("the event of the preemption", |c| {
        c.run(&["get", "events", "-o", "custom-columns=R:.reason"])
            .contains("Preempted")
    });
    cluster.run(&["delete", "deployment", "web"]);
    cluster.run(&["delete", "pod", "vip"]);
    cluster.wait("all Pods to go", |c| {
        c.get("pods")
            .is_ok_and(|pods| pods["items"].as_array().is_some_and(Vec::is_empty))
    });
    profiles_and_gates(&cluster);
}
