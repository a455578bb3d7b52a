//! StatefulSets, DaemonSets, volumes, budgets and the garbage collection of Pods.

use super::*;

const STATEFUL_SETS: Gvr<'static> = Gvr::new("apps", "v1", "statefulsets");
const DAEMON_SETS: Gvr<'static> = Gvr::new("apps", "v1", "daemonsets");
const REVISIONS: Gvr<'static> = Gvr::new("apps", "v1", "controllerrevisions");
const CLAIMS: Gvr<'static> = Gvr::new("", "v1", "persistentvolumeclaims");
const VOLUMES: Gvr<'static> = Gvr::new("", "v1", "persistentvolumes");
const CLASSES: Gvr<'static> = Gvr::new("storage.k8s.io", "v1", "storageclasses");
const BUDGETS: Gvr<'static> = Gvr::new("policy", "v1", "poddisruptionbudgets");

fn stateful_set(replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
        "spec": {"serviceName": "db", "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": template("v1"),
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
                "storageClassName": "manual", "resources": {"requests": {"storage": "1Gi"}}}}]},
    })
}

fn daemon_set(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template(image)},
    })
}

fn names(objects: &[Value]) -> Vec<&str> {
    let mut names: Vec<_> = objects.iter().map(|object| text(&object["metadata"]["name"])).collect();
    names.sort_unstable();
    names
}

fn images(objects: &[Value]) -> Vec<&str> {
    let image = |pod: &'_ Value| -> String { text(&pod["spec"]["containers"][0]["image"]).to_owned() };
    let mut images: Vec<_> = objects
        .iter()
        .map(|pod| (text(&pod["metadata"]["name"]), image(pod)))
        .collect();
    images.sort();
    images
        .into_iter()
        .map(|(_, image)| match &*image {
            "v1" => "v1",
            "v2" => "v2",
            _ => "other",
        })
        .collect()
}

fn all_ready(pods: &[Value]) -> bool {
    pods.iter()
        .all(|pod| pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null())
}

/// Volumes for the claims of a set: without them the scheduler has no place for its Pods.
async fn add_volumes(world: &World) {
    for name in ["one", "two", "three", "four"] {
        world.create(&VOLUMES, "", &volume(name, "1Gi")).await;
    }
}

#[tokio::test]
async fn a_stateful_set_keeps_names_and_claims() {
    let world = World::new().await;
    add_volumes(&world).await;
    world.add_node("n1", "8").await;
    world.play_kubelet();
    world.create(&STATEFUL_SETS, "default", &stateful_set(3)).await;
    let three = |pods: &[Value]| names(pods) == ["db-0", "db-1", "db-2"] && all_ready(pods);
    let pods = world.until("three Pods", &PODS, "default", three).await;
    let pod = pods.iter().find(|pod| pod["metadata"]["name"] == "db-1").expect("db-1");
    assert_eq!(pod["spec"]["hostname"], "db-1");
    assert_eq!(pod["spec"]["subdomain"], "db");
    assert_eq!(pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "1");
    let claims = world.list(&CLAIMS, "default").await;
    assert_eq!(names(&claims), ["data-db-0", "data-db-1", "data-db-2"]);
    world
        .until("status", &STATEFUL_SETS, "default", |all| {
            let status = &all[0]["status"];
            ready(all, 3) && status["availableReplicas"] == 3 && status["currentRevision"] == status["updateRevision"]
        })
        .await;

    // A deleted Pod comes back under its name, with its claim.
    let uid = pod["metadata"]["uid"].clone();
    world
        .rest
        .delete(&PODS, "default", "db-1", &DeleteParams::default())
        .await
        .expect("deleted");
    let back = |pods: &[Value]| three(pods) && pods.iter().all(|pod| pod["metadata"]["uid"] != uid);
    world.until("db-1 again", &PODS, "default", back).await;

    // Scaled down and up; the claims stay.
    world
        .patch(&STATEFUL_SETS, "db", "", json!({"spec": {"replicas": 1}}))
        .await;
    world
        .until("one Pod", &PODS, "default", |pods| names(pods) == ["db-0"])
        .await;
    assert_eq!(world.list(&CLAIMS, "default").await.len(), 3);
    world
        .patch(&STATEFUL_SETS, "db", "", json!({"spec": {"replicas": 3}}))
        .await;
    world.until("three again", &PODS, "default", three).await;

    // Half an update, then the rest, then back.
    let roll = |partition: i64, image: &str| json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": partition}}, "template": template(image)}});
    world.patch(&STATEFUL_SETS, "db", "", roll(2, "v2")).await;
    let half = |pods: &[Value]| three(pods) && images(pods) == ["v1", "v1", "v2"];
    world.until("the upper one updated", &PODS, "default", half).await;
    world.patch(&STATEFUL_SETS, "db", "", roll(0, "v2")).await;
    world
        .until("all updated", &PODS, "default", |pods| {
            three(pods) && images(pods) == ["v2"; 3]
        })
        .await;
    let done = |all: &[Value]| {
        let status = &all[0]["status"];
        status["updatedReplicas"] == 3 && status["currentRevision"] == status["updateRevision"]
    };
    world
        .until("the update complete", &STATEFUL_SETS, "default", done)
        .await;
    world.patch(&STATEFUL_SETS, "db", "", roll(0, "v1")).await;
    world
        .until("all back", &PODS, "default", |pods| {
            three(pods) && images(pods) == ["v1"; 3]
        })
        .await;
    let mut numbers: Vec<_> = world
        .list(&REVISIONS, "default")
        .await
        .iter()
        .map(|r| r["revision"].as_i64())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [Some(2), Some(3)], "going back raises the old revision");
}

#[tokio::test]
async fn claims_go_with_their_pods_if_the_set_says_so() {
    let world = World::new().await;
    add_volumes(&world).await;
    world.add_node("n1", "8").await;
    world.play_kubelet();
    let mut set = stateful_set(2);
    set["spec"]["podManagementPolicy"] = json!("Parallel");
    set["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({"whenScaled": "Delete", "whenDeleted": "Delete"});
    world.create(&STATEFUL_SETS, "default", &set).await;
    let owned = |claims: &[Value], count: usize| {
        claims.len() == count
            && claims
                .iter()
                .all(|claim| claim["metadata"]["ownerReferences"][0]["kind"] == "StatefulSet")
    };
    world
        .until("claims owned by the set", &CLAIMS, "default", |claims| owned(claims, 2))
        .await;
    world
        .until("two Pods", &PODS, "default", |pods| pods.len() == 2 && all_ready(pods))
        .await;
    world
        .patch(&STATEFUL_SETS, "db", "", json!({"spec": {"replicas": 1}}))
        .await;
    world
        .until("one claim", &CLAIMS, "default", |claims| names(claims) == ["data-db-0"])
        .await;
    world
        .rest
        .delete(&STATEFUL_SETS, "default", "db", &DeleteParams::default())
        .await
        .expect("deleted");
    world.until("no claim", &CLAIMS, "default", <[Value]>::is_empty).await;
}

#[tokio::test]
async fn a_daemon_set_follows_nodes_and_templates() {
    let world = World::new().await;
    world.add_node("n1", "8").await;
    world.add_node("n2", "8").await;
    world.play_kubelet();
    world.create(&DAEMON_SETS, "default", &daemon_set("v1")).await;
    let on = |pods: &[Value], nodes: &[&str]| {
        let mut found: Vec<_> = pods.iter().map(|pod| text(&pod["spec"]["nodeName"])).collect();
        found.sort_unstable();
        found == nodes && all_ready(pods)
    };
    world
        .until("a Pod per node", &PODS, "default", |pods| on(pods, &["n1", "n2"]))
        .await;
    world.add_node("n3", "8").await;
    let pods = world
        .until("a Pod on the third", &PODS, "default", |pods| {
            on(pods, &["n1", "n2", "n3"])
        })
        .await;
    assert_eq!(pods[0]["metadata"]["labels"]["pod-template-generation"], "1");
    let is = |all: &[Value]| {
        let status = &all[0]["status"];
        [
            "desiredNumberScheduled",
            "currentNumberScheduled",
            "numberReady",
            "updatedNumberScheduled",
            "numberAvailable",
        ]
        .iter()
        .all(|name| status[*name] == 3)
    };
    world.until("status", &DAEMON_SETS, "default", is).await;

    world
        .patch(&DAEMON_SETS, "agent", "", json!({"spec": {"template": template("v2")}}))
        .await;
    let updated =
        |image: &'static str| move |pods: &[Value]| on(pods, &["n1", "n2", "n3"]) && images(pods) == [image; 3];
    world.until("new Pods", &PODS, "default", updated("v2")).await;
    world
        .patch(&DAEMON_SETS, "agent", "", json!({"spec": {"template": template("v1")}}))
        .await;
    world.until("old Pods", &PODS, "default", updated("v1")).await;
    assert_eq!(world.list(&REVISIONS, "default").await.len(), 2);

    // A Pod that failed is replaced; a node that goes takes its Pod along.
    let victim = world.list(&PODS, "default").await.remove(0);
    let name = text(&victim["metadata"]["name"]);
    world
        .patch(&PODS, name, "status", json!({"status": {"phase": "Failed"}}))
        .await;
    let replaced = |pods: &[Value]| on(pods, &["n1", "n2", "n3"]) && !names(pods).contains(&name);
    world.until("a replacement", &PODS, "default", replaced).await;
    world
        .patch_node(
            "n3",
            json!({"spec": {"taints": [{"key": "mine", "effect": "NoExecute"}]}}),
        )
        .await;
    world
        .until("no Pod where it is not borne", &PODS, "default", |pods| {
            on(pods, &["n1", "n2"])
        })
        .await;
}

fn claim(name: &str, class: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}}})
}

fn volume(name: &str, size: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "manual", "capacity": {"storage": size},
        "hostPath": {"path": "/data"}}})
}

fn phase(objects: &[Value], name: &str) -> String {
    let found = objects.iter().find(|object| object["metadata"]["name"] == *name);
    found.map_or_else(
        || "none".to_owned(),
        |object| text(&object["status"]["phase"]).to_owned(),
    )
}

#[tokio::test]
async fn claims_and_volumes_find_each_other_and_part() {
    let world = World::new().await;
    world.create(&VOLUMES, "", &volume("big", "5Gi")).await;
    world.create(&VOLUMES, "", &volume("fit", "1Gi")).await;
    world
        .until("free volumes", &VOLUMES, "", |all| {
            all.iter().all(|v| v["status"]["phase"] == "Available")
        })
        .await;
    world.create(&CLAIMS, "default", &claim("c", "manual")).await;
    let claims = world
        .until("a bound claim", &CLAIMS, "default", |all| phase(all, "c") == "Bound")
        .await;
    assert_eq!(claims[0]["spec"]["volumeName"], "fit");
    assert_eq!(claims[0]["status"]["capacity"]["storage"], "1Gi");
    world
        .until("a bound volume", &VOLUMES, "", |all| {
            phase(all, "fit") == "Bound" && phase(all, "big") == "Available"
        })
        .await;

    // A bound volume stays until its claim is gone; a claim, until no Pod uses it.
    world
        .rest
        .delete(&VOLUMES, "", "fit", &DeleteParams::default())
        .await
        .expect("deleted");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "user"}, "spec": {"nodeName": "n1",
        "containers": [{"name": "c", "image": "v1"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}});
    world.add_node("n1", "8").await;
    world.create(&PODS, "default", &pod).await;
    world
        .rest
        .delete(&CLAIMS, "default", "c", &DeleteParams::default())
        .await
        .expect("deleted");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(phase(&world.list(&VOLUMES, "").await, "fit"), "Bound");
    let now = DeleteParams::default().grace_period(0);
    world
        .rest
        .delete(&PODS, "default", "user", &now)
        .await
        .expect("deleted");
    world.until("no claim", &CLAIMS, "default", <[Value]>::is_empty).await;
    world
        .until("one volume", &VOLUMES, "", |all| names(all) == ["big"])
        .await;

    // Retained.
    world.create(&CLAIMS, "default", &claim("d", "manual")).await;
    world
        .until("a bound claim", &CLAIMS, "default", |all| phase(all, "d") == "Bound")
        .await;
    world
        .rest
        .delete(&CLAIMS, "default", "d", &DeleteParams::default())
        .await
        .expect("deleted");
    world
        .until("a released volume", &VOLUMES, "", |all| phase(all, "big") == "Released")
        .await;
}

#[tokio::test]
async fn a_claim_gets_a_directory_of_the_node_of_its_first_pod() {
    let world = World::new().await;
    world.add_node("n1", "8").await;
    world
        .patch_node(
            "n1",
            json!({"metadata": {"annotations": {"mizzen.local/local-path": "/data/storage"}}}),
        )
        .await;
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "local-path",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "mizzen.local/local-path", "volumeBindingMode": "WaitForFirstConsumer", "reclaimPolicy": "Retain"});
    world.create(&CLASSES, "", &class).await;
    world.until("the class", &CLASSES, "", |all| all.len() == 1).await;
    let mut own = claim("c", "");
    own["spec"]["storageClassName"] = Value::Null;
    let made = world.create(&CLAIMS, "default", &own).await;
    assert_eq!(made["spec"]["storageClassName"], "local-path");
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    world
        .until_event(
            "default",
            "PersistentVolumeClaim WaitForFirstConsumer: waiting for first consumer",
        )
        .await;
    let selected = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n1"}}});
    world.patch(&CLAIMS, "c", "", selected).await;
    world
        .until("a bound claim", &CLAIMS, "default", |all| phase(all, "c") == "Bound")
        .await;
    let volumes = world
        .until("a bound volume", &VOLUMES, "", |all| {
            all.len() == 1 && all[0]["status"]["phase"] == "Bound"
        })
        .await;
    let spec = &volumes[0]["spec"];
    assert_eq!(spec["claimRef"]["uid"], made["metadata"]["uid"]);
    assert!(text(&spec["hostPath"]["path"]).starts_with("/data/storage/pvc-"));
    let bigger = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    let (params, patch) = (PatchParams::default(), Patch::Merge(bigger));
    let refused = world
        .rest
        .patch::<Value>(&CLAIMS, ("default", "c"), "", &params, &patch)
        .await
        .expect_err("a refusal");
    assert!(mizzen_api::client::rest::message(&refused).contains("must support resize"));
    world
        .rest
        .delete(&CLAIMS, "default", "c", &DeleteParams::default())
        .await
        .expect("deleted");
    world
        .until("a released volume", &VOLUMES, "", |all| {
            all.len() == 1 && all[0]["status"]["phase"] == "Released"
        })
        .await;
    let name = text(&volumes[0]["metadata"]["name"]).to_owned();
    world
        .rest
        .delete(&VOLUMES, "", &name, &DeleteParams::default())
        .await
        .expect("deleted");
    world.until("no volume", &VOLUMES, "", <[Value]>::is_empty).await;
}

#[tokio::test]
async fn a_budget_bounds_evictions() {
    let world = World::new().await;
    world.add_node("n1", "8").await;
    world.play_kubelet();
    world.create(&SETS, "default", &replica_set("web", 3)).await;
    world
        .until("three Pods", &PODS, "default", |pods| {
            pods.len() == 3 && all_ready(pods)
        })
        .await;
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    world.create(&BUDGETS, "default", &budget).await;
    let allows = |n: i64| {
        move |all: &[Value]| {
            let status = &all[0]["status"];
            status["disruptionsAllowed"] == n && status["currentHealthy"] == 3 && status["desiredHealthy"] == 2
        }
    };
    world.until("one disruption", &BUDGETS, "default", allows(1)).await;
    // Too many at once: the second has to wait.
    world
        .patch(
            &SETS,
            "web",
            "",
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "bad"}]}}}}),
        )
        .await;
    let pods = world.list(&PODS, "default").await;
    let evict = async |pod: &Value| {
        let name = text(&pod["metadata"]["name"]);
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        world
            .rest
            .create_sub::<Value>(&PODS, ("default", name), "eviction", &eviction)
            .await
    };
    evict(&pods[0]).await.expect("evicted");
    let refused = evict(&pods[1]).await.expect_err("a refusal");
    let kube::Error::Api(status) = refused else {
        panic!("{refused}")
    };
    assert_eq!(status.code, 429);
    assert_eq!(
        status.message,
        "Cannot evict pod as it would violate the pod's disruption budget."
    );
}

#[tokio::test]
async fn pods_of_a_node_that_is_gone_are_collected() {
    let world = World::new().await;
    world.add_node("n1", "8").await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n1",
        "containers": [{"name": "c", "image": "v1"}]}});
    world.create(&PODS, "default", &pod).await;
    world.until("the Pod", &PODS, "default", |all| all.len() == 1).await;
    world
        .rest
        .delete(&NODES, "", "n1", &DeleteParams::default())
        .await
        .expect("deleted");
    world.until("no Pod", &PODS, "default", <[Value]>::is_empty).await;
}
