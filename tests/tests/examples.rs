//! Every manifest in `examples/` applies as it stands, and what it makes becomes ready.

use std::fs;
use std::path::Path;

use mizzen_tests::{Cluster, can_run_containers};

#[test]
fn every_example_applies_and_becomes_ready() {
    if !can_run_containers() {
        return;
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut files: Vec<_> = fs::read_dir(examples)
        .expect("examples")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let cluster = Cluster::start();
    // Some are at home in a namespace that another makes or that the reader is told to make.
    cluster.run(&["create", "namespace", "team"]);
    for file in &files {
        let manifest = fs::read_to_string(file).expect("a manifest");
        // Node ports belong to the machine: each cluster of a test has some of its own.
        cluster.apply(&manifest.replace(": 3008", &format!(": {}", cluster.node_port() / 10)));
    }
    for kind in ["deployments", "replicasets", "statefulsets"] {
        cluster.wait(kind, |c| {
            let all = c.get(&format!("{kind} -A")).expect("a list");
            all["items"].as_array().into_iter().flatten().all(|item| {
                let wanted = item["spec"]["replicas"].as_i64().unwrap_or(1);
                item["status"]["readyReplicas"].as_i64().unwrap_or(0) == wanted
            })
        });
    }
    cluster.wait("pods", |c| {
        let pods = c.get("pods -A").expect("a list");
        let fine =
            |pod: &serde_json::Value| pod["status"]["phase"] == "Succeeded" || mizzen_tests::condition(pod, "Ready");
        pods["items"].as_array().into_iter().flatten().all(fine)
    });
}
