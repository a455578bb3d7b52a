//! What the node cannot take is told in upstream's words, and whoever wants it tries again.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::{Patch, PatchParams};

use super::*;

/// A container that waits, with one more field.
fn waits(field: &str, value: Value) -> Value {
    let mut container = script("a", WAIT);
    container[field] = value;
    container
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_and_replaced() {
    let Some(world) = World::start(6).await else { return };
    let port = || waits("ports", json!([{ "containerPort": 80, "hostPort": 21017 }]));
    let holds = json!({ "terminationGracePeriodSeconds": 1, "containers": [port()] });
    world.create("holds", holds).await;
    world.pod("holds", "ready", ready).await;

    let set = json!({ "metadata": { "name": "s" }, "spec": { "serviceName": "s", "replicas": 1,
        "selector": { "matchLabels": { "app": "s" } }, "template": { "metadata": { "labels": { "app": "s" } },
            "spec": { "nodeName": NODE, "terminationGracePeriodSeconds": 1, "containers": [port()] } } } });
    let set: StatefulSet = serde_json::from_value(set).expect("a set");
    let sets: Api<StatefulSet> = Api::namespaced(world.client.clone(), "default");
    sets.create(&PostParams::default(), &set).await.expect("made");
    let uid = |pod: &Value| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let first = world.pod("s-0", "there", |pod| !uid(pod).is_empty()).await;
    world
        .wait_for_event("s-0", "NodePorts Predicate NodePorts failed")
        .await;
    world
        .pod("s-0", "replaced", |pod| !uid(pod).is_empty() && uid(pod) != uid(&first))
        .await;

    let asks = |cpu: &str| json!({ "containers": [waits("resources", json!({ "requests": { "cpu": cpu } }))] });
    world.create("huge", asks("1000")).await;
    let pod = world.pod("huge", "refused", phase("Failed")).await;
    let status = &pod["status"];
    assert_eq!(
        (&status["reason"], &status["containerStatuses"]),
        (&json!("OutOfcpu"), &Value::Null)
    );
    let message = status["message"].as_str().unwrap_or_default();
    let words = "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000000, used: ";
    assert!(message.starts_with(words), "{message}");

    // The Node object as it is counts, however recently it changed.
    let zone = || json!({ "terminationGracePeriodSeconds": 1, "nodeSelector": { "zone": "z" }, "containers": [script("a", WAIT)] });
    world.create("elsewhere", zone()).await;
    let pod = world.pod("elsewhere", "refused", phase("Failed")).await;
    assert_eq!(pod["status"]["reason"], "NodeAffinity");
    let nodes: Api<Node> = Api::all(world.client.clone());
    let label = Patch::Merge(json!({ "metadata": { "labels": { "zone": "z" } } }));
    nodes
        .patch(NODE, &PatchParams::default(), &label)
        .await
        .expect("labelled");
    world.create("here", zone()).await;
    world.pod("here", "ready", ready).await;

    world.delete("holds").await;
    let pod = world.pod("s-0", "ready", ready).await;
    assert_ne!(uid(&pod), uid(&first));
    sets.delete("s", &DeleteParams::default()).await.expect("deleted");
    world.gone("s-0").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runtime_classes_choose_the_handler_and_resources_of_others_can_be_used() {
    let Some(world) = World::start(7).await else { return };
    let classes: Api<RuntimeClass> = Api::all(world.client.clone());
    for handler in ["runc", "none"] {
        let class =
            json!({ "metadata": { "name": handler }, "handler": handler, "overhead": { "podFixed": { "cpu": "5m" } } });
        let class: RuntimeClass = serde_json::from_value(class).expect("a class");
        classes.create(&PostParams::default(), &class).await.expect("made");
        let spec = json!({ "runtimeClassName": handler, "terminationGracePeriodSeconds": 1, "containers": [script("a", WAIT)] });
        world.create(handler, spec).await;
    }
    let pod = world.pod("runc", "ready", ready).await;
    assert_eq!(pod["spec"]["overhead"], json!({ "cpu": "5m" }));
    let words = "FailedCreatePodSandBox Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get sandbox runtime: \
                 no runtime for \"none\" is configured";
    world.wait_for_event("none", words).await;

    let nodes: Api<Node> = Api::all(world.client.clone());
    let dongles = Patch::Merge(json!({ "status": { "capacity": { "example.com/dongle": "1" } } }));
    nodes
        .patch_status(NODE, &PatchParams::default(), &dongles)
        .await
        .expect("announced");
    wait("dongle to be allocatable", async || {
        let node = serde_json::to_value(nodes.get(NODE).await.expect("the node")).expect("json");
        node["status"]["allocatable"]["example.com/dongle"] == "1"
    })
    .await;
    let before = nodes.get(NODE).await.expect("the node").metadata.resource_version;
    tokio::time::sleep(Duration::from_secs(11)).await;
    let after = nodes.get(NODE).await.expect("the node").metadata.resource_version;
    assert_eq!(before, after, "a beat writes nothing when nothing changed");
    world.end().await;
}
