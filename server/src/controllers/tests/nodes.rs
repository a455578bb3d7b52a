//! Nodes that are not heard of any more, and what becomes of their Pods.

use super::*;

/// A workload of one Pod that prefers node `one` and bears that it cannot be reached for a second.
fn workload(kind: &str, name: &str) -> Value {
    let preference =
        json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["one"]}]});
    let affinity = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
        [{"weight": 100, "preference": preference}]}});
    let toleration = json!({"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
        "tolerationSeconds": 1});
    json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"affinity": affinity, "tolerations": [toleration], "containers": [{"name": "c", "image": "v1"}]}}},
    })
}

/// Pods of a workload: where each is, whether it is ready and whether it is being deleted.
fn placed(pods: &[Value], app: &str) -> Vec<String> {
    let mut found: Vec<_> = pods
        .iter()
        .filter(|pod| pod["metadata"]["labels"]["app"] == app)
        .map(|pod| {
            let ready = if is_ready(pod) { " ready" } else { "" };
            let leaving = pod["metadata"].get("deletionTimestamp").map_or("", |_| " leaving");
            format!("{}{ready}{leaving}", text(&pod["spec"]["nodeName"]))
        })
        .collect();
    found.sort();
    found
}

async fn says(world: &World, node: &str, ready: &str) {
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}});
    let (params, patch) = (PatchParams::default(), Patch::Strategic(status));
    let patched = world.rest.patch::<Value>(&NODES, ("", node), "status", &params, &patch);
    patched.await.expect("a node");
}

fn taints(nodes: &[Value], name: &str) -> Vec<String> {
    let node = nodes.iter().find(|node| node["metadata"]["name"] == name);
    let taints = node.and_then(|node| node["spec"]["taints"].as_array());
    let taints = taints.into_iter().flatten();
    taints
        .map(|t| format!("{} {}", text(&t["key"]), text(&t["effect"])))
        .collect()
}

#[tokio::test]
async fn pods_of_a_lost_node_are_replaced_and_never_doubled() {
    const UNREACHABLE: [&str; 2] = [
        "node.kubernetes.io/unreachable NoSchedule",
        "node.kubernetes.io/unreachable NoExecute",
    ];
    let world = World::new().await;
    for node in ["one", "two"] {
        world.add_node(node, "8").await;
        let labels = json!({"metadata": {"labels": {"kubernetes.io/hostname": node}}});
        world.patch_node(node, labels).await;
        world
            .until("no taints", &NODES, "", |all| taints(all, node).is_empty())
            .await;
    }
    world.play_kubelet();
    let sets = Gvr::new("apps", "v1", "statefulsets");
    world
        .create(&DEPLOYMENTS, "default", &workload("Deployment", "web"))
        .await;
    world.create(&sets, "default", &workload("StatefulSet", "db")).await;
    let pods = world
        .until("both on one", &PODS, "default", |all| {
            placed(all, "web") == ["one ready"] && placed(all, "db") == ["one ready"]
        })
        .await;
    let uid = |pods: &[Value]| {
        let db = pods.iter().find(|pod| pod["metadata"]["name"] == "db-0");
        db.map(|pod| text(&pod["metadata"]["uid"]).to_owned())
    };
    let before = uid(&pods);

    says(&world, "one", "Unknown").await;
    world
        .until("taints", &NODES, "", |all| taints(all, "one") == UNREACHABLE)
        .await;
    let pods = world
        .until("a replacement", &PODS, "default", |all| {
            placed(all, "web") == ["one leaving", "two ready"] && placed(all, "db") == ["one leaving"]
        })
        .await;
    assert_eq!(uid(&pods), before, "the Pod may still run there");

    says(&world, "one", "True").await;
    world
        .until("no taints", &NODES, "", |all| taints(all, "one").is_empty())
        .await;
    // The node's kubelet now does what it was told meanwhile.
    for pod in world.list(&PODS, "default").await {
        if pod["metadata"].get("deletionTimestamp").is_some() {
            let now = DeleteParams::default().grace_period(0);
            let name = text(&pod["metadata"]["name"]);
            world.rest.delete(&PODS, "default", name, &now).await.expect("deleted");
        }
    }
    let pods = world
        .until("one of each", &PODS, "default", |all| {
            placed(all, "web") == ["two ready"] && placed(all, "db") == ["one ready"]
        })
        .await;
    assert_ne!(uid(&pods), before);
}
