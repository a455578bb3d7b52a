//! Behaviours that Kubernetes' own suite asks of controllers and that no other test here shows.

use super::*;

const CONTROLLERS: Gvr<'static> = Gvr::new("", "v1", "replicationcontrollers");
const QUOTAS: Gvr<'static> = Gvr::new("", "v1", "resourcequotas");
const JOBS: Gvr<'static> = Gvr::new("batch", "v1", "jobs");
const CRONS: Gvr<'static> = Gvr::new("batch", "v1", "cronjobs");
const CLASSES: Gvr<'static> = Gvr::new("scheduling.k8s.io", "v1", "priorityclasses");

fn named<'a>(all: &'a [Value], name: &str) -> Option<&'a Value> {
    all.iter().find(|one| one["metadata"]["name"] == name)
}

fn idle() -> Value {
    json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "v1"}]})
}

#[tokio::test]
async fn a_controller_that_a_quota_stops_says_so() {
    let world = World::new().await;
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"pods": "2"}}});
    world.create(&QUOTAS, "default", &quota).await;
    world
        .until("a counted quota", &QUOTAS, "default", |all| {
            all[0]["status"]["used"]["pods"] == "0"
        })
        .await;
    let controller = json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "web"},
        "spec": {"replicas": 3, "selector": {"app": "web"}, "template": template("v1")}});
    world.create(&CONTROLLERS, "default", &controller).await;
    let failed = |all: &[Value]| conditions(&all[0]) == "ReplicaFailure=True FailedCreate";
    let all = world.until("the failure", &CONTROLLERS, "default", failed).await;
    assert!(
        all[0]["status"]["conditions"][0]["message"]
            .to_string()
            .contains("exceeded quota: q")
    );
    world
        .patch(&CONTROLLERS, "web", "", json!({"spec": {"replicas": 2}}))
        .await;
    world
        .until("no failure", &CONTROLLERS, "default", |all| {
            conditions(&all[0]).is_empty() && all[0]["status"]["replicas"] == 2
        })
        .await;
}

#[tokio::test]
async fn a_jobs_pods_are_adopted_and_released() {
    let world = World::new().await;
    world.add_node("n1", "8").await;
    world.play_kubelet();
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"},
        "spec": {"parallelism": 2, "template": {"spec": idle()}}});
    world.create(&JOBS, "default", &job).await;
    let mut foreign = job.clone();
    foreign["metadata"]["name"] = json!("foreign");
    foreign["spec"]["managedBy"] = json!("example.com/queue");
    world.create(&JOBS, "default", &foreign).await;
    let at_work = |all: &[Value]| named(all, "j").is_some_and(|job| job["status"]["active"] == 2);
    world.until("two at work", &JOBS, "default", at_work).await;
    let pods = world.list(&PODS, "default").await;
    let name = text(&pods[0]["metadata"]["name"]).to_owned();
    let owned =
        |all: &[Value]| named(all, &name).is_some_and(|pod| pod["metadata"]["ownerReferences"][0]["kind"] == "Job");
    world
        .patch(&PODS, &name, "", json!({"metadata": {"ownerReferences": null}}))
        .await;
    world.until("the orphan adopted", &PODS, "default", owned).await;
    assert_eq!(world.list(&PODS, "default").await.len(), 2);
    let keys = [
        "job-name",
        "controller-uid",
        "batch.kubernetes.io/job-name",
        "batch.kubernetes.io/controller-uid",
    ];
    let labels: serde_json::Map<_, _> = keys.iter().map(|key| ((*key).to_owned(), Value::Null)).collect();
    world
        .patch(&PODS, &name, "", json!({"metadata": {"labels": labels}}))
        .await;
    world
        .until("the stray released and another made", &PODS, "default", |all| {
            let stray = named(all, &name).expect("the stray");
            stray["metadata"].get("ownerReferences").is_none() && all.len() == 3
        })
        .await;
    let foreign = world.get(&JOBS, "default", "foreign").await;
    assert_eq!(foreign["status"], json!({}), "it is somebody else's work");
}

#[tokio::test]
async fn concurrency_policies_decide_about_what_still_runs() {
    let world = World::new().await;
    world.add_node("n1", "8").await;
    world.play_kubelet();
    for policy in ["Allow", "Forbid", "Replace"] {
        let name = policy.to_lowercase();
        let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name},
            "spec": {"schedule": "* * * * *", "suspend": true, "concurrencyPolicy": policy,
                "jobTemplate": {"spec": {"template": {"spec": idle()}}}}});
        let cron = world.create(&CRONS, "default", &cron).await;
        let owner = json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": name, "uid": cron["metadata"]["uid"], "controller": true});
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": idle()}},
            "metadata": {"name": format!("{name}-old"), "ownerReferences": [owner]}});
        let job = world.create(&JOBS, "default", &job).await;
        let last = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(3);
        let last = last.strftime("%Y-%m-%dT%H:%M:00Z").to_string();
        let active = json!({"apiVersion": "batch/v1", "kind": "Job", "namespace": "default",
            "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]});
        world
            .patch(
                &CRONS,
                &name,
                "status",
                json!({"status": {"active": [active], "lastScheduleTime": last}}),
            )
            .await;
    }
    for policy in ["allow", "forbid", "replace"] {
        world
            .patch(&CRONS, policy, "", json!({"spec": {"suspend": false}}))
            .await;
    }
    world
        .until("their Jobs", &JOBS, "default", |all| {
            let of = |prefix: &str| {
                let mine = all
                    .iter()
                    .filter(|job| text(&job["metadata"]["name"]).starts_with(prefix));
                (mine.count(), named(all, &format!("{prefix}old")).is_some())
            };
            // A minute may begin meanwhile.
            of("allow-").0 >= 2 && of("allow-").1 && of("forbid-") == (1, true) && of("replace-") == (1, false)
        })
        .await;
    world
        .until_event(
            "default",
            "CronJob JobAlreadyActive: Not starting job because prior execution is running",
        )
        .await;
}

#[tokio::test]
async fn endpoints_of_somebodys_making_are_mirrored() {
    let world = World::new().await;
    let service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db"}, "spec": {"ports": [{"port": 80}]}});
    world.create(&SERVICES, "default", &service).await;
    let endpoints = |ip: &str| {
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "db", "labels": {"a": "b"}},
            "subsets": [{"addresses": [{"ip": ip}], "ports": [{"port": 5432}]}]})
    };
    let shows = |ip: &'static str| {
        move |all: &[Value]| {
            let labels = |slice: &Value| slice["metadata"]["labels"].clone();
            all.len() == 1
                && all[0]["endpoints"][0]["addresses"] == json!([ip])
                && all[0]["ports"][0]["port"] == 5432
                && labels(&all[0])["kubernetes.io/service-name"] == "db"
                && labels(&all[0])["endpointslice.kubernetes.io/managed-by"]
                    == "endpointslicemirroring-controller.k8s.io"
                && labels(&all[0])["a"] == "b"
        }
    };
    world.create(&ENDPOINTS, "default", &endpoints("10.1.2.3")).await;
    world.until("a mirror", &SLICES, "default", shows("10.1.2.3")).await;
    world.patch(&ENDPOINTS, "db", "", endpoints("10.2.3.4")).await;
    world
        .until("the change mirrored", &SLICES, "default", shows("10.2.3.4"))
        .await;
    let params = DeleteParams::default();
    let deleted = world.rest.delete(&ENDPOINTS, "default", "db", &params).await;
    deleted.expect("deleted");
    world.until("no mirror", &SLICES, "default", <[Value]>::is_empty).await;
}

#[tokio::test]
async fn who_makes_room_is_told_why() {
    let world = World::new().await;
    world.add_node("n1", "1").await;
    world.play_kubelet();
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1000});
    world.create(&CLASSES, "", &class).await;
    let pod = |name: &str, class: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "finalizers": ["example.com/look"]},
            "spec": {"priorityClassName": class, "containers": [{"name": "c", "image": "v1", "resources": {"requests": {"cpu": "1"}}}]}})
    };
    world.create(&PODS, "default", &pod("low", "")).await;
    let running = |name: &'static str| {
        move |all: &[Value]| named(all, name).is_some_and(|pod| pod["status"]["phase"] == "Running")
    };
    world.until("the first", &PODS, "default", running("low")).await;
    world.create(&PODS, "default", &pod("vip", "high")).await;
    let pods = world
        .until("room to be made", &PODS, "default", |all| {
            let leaves = named(all, "low").is_some_and(|pod| pod["metadata"].get("deletionTimestamp").is_some());
            leaves && named(all, "vip").is_some_and(|pod| pod["status"]["nominatedNodeName"] == "n1")
        })
        .await;
    let told = conditions(named(&pods, "low").expect("the victim"));
    assert!(told.contains("DisruptionTarget=True PreemptionByScheduler"), "{told}");
    world
        .patch(&PODS, "low", "", json!({"metadata": {"finalizers": null}}))
        .await;
    world.until("the vip", &PODS, "default", running("vip")).await;
}

/// Makes a ConfigMap with owners; gives what refers to it.
async fn owned(world: &World, name: &str, owners: &[&Value]) -> Value {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": owners}});
    let made = world.create(&CONFIG_MAPS, "default", &map).await;
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": made["metadata"]["uid"], "blockOwnerDeletion": true})
}

async fn delete(world: &World, name: &str, policy: PropagationPolicy) {
    let params = DeleteParams {
        propagation_policy: Some(policy),
        ..DeleteParams::default()
    };
    let deleted = world.rest.delete(&CONFIG_MAPS, "default", name, &params);
    deleted.await.expect("deleted");
}

#[tokio::test]
async fn circles_and_second_owners_do_not_mislead_the_collector() {
    let world = World::new().await;
    let a = owned(&world, "a", &[]).await;
    let b = owned(&world, "b", &[&a]).await;
    let c = owned(&world, "c", &[&b]).await;
    world
        .patch(&CONFIG_MAPS, "a", "", json!({"metadata": {"ownerReferences": [c]}}))
        .await;
    // Of two owners, one waits for its dependents; the other keeps what they share.
    let going = owned(&world, "going", &[]).await;
    let staying = owned(&world, "staying", &[]).await;
    owned(&world, "shared", &[&going, &staying]).await;
    owned(&world, "alone", &[&going]).await;
    delete(&world, "a", PropagationPolicy::Background).await;
    delete(&world, "going", PropagationPolicy::Foreground).await;
    let all = world
        .until("the rest", &CONFIG_MAPS, "default", |all| {
            ["a", "b", "c", "going", "alone"]
                .iter()
                .all(|name| named(all, name).is_none())
        })
        .await;
    let shared = named(&all, "shared").expect("what is shared stays");
    let owners = shared["metadata"]["ownerReferences"].as_array().map_or(0, Vec::len);
    assert_eq!(
        (owners, &shared["metadata"]["ownerReferences"][0]["name"]),
        (1, &json!("staying"))
    );
}

#[tokio::test]
async fn a_namespace_ends_with_its_pods_first() {
    let world = World::new().await;
    world.add_node("n1", "8").await;
    world.play_kubelet();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    world.create(&NAMESPACES, "", &namespace).await;
    world.until("the account", &ACCOUNTS, "n", |all| all.len() == 1).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "finalizers": ["example.com/look"]}, "spec": idle()});
    world.create(&PODS, "n", &pod).await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "used"}});
    world.create(&CONFIG_MAPS, "n", &map).await;
    let params = DeleteParams::default();
    let deleted = world.rest.delete(&NAMESPACES, "", "n", &params).await;
    deleted.expect("deleted");
    world
        .until("the namespace to wait for its Pod", &NAMESPACES, "", |all| {
            named(all, "n").is_some_and(|n| conditions(n).contains("NamespaceFinalizersRemaining=True"))
        })
        .await;
    assert!(named(&world.list(&CONFIG_MAPS, "n").await, "used").is_some());
    let (params, patch) = (
        PatchParams::default(),
        Patch::Merge(json!({"metadata": {"finalizers": null}})),
    );
    let patched = world.rest.patch::<Value>(&PODS, ("n", "p"), "", &params, &patch);
    patched.await.expect("let go");
    world
        .until("the namespace's end", &NAMESPACES, "", |all| named(all, "n").is_none())
        .await;
}

#[tokio::test]
async fn a_stateful_sets_pod_that_was_evicted_comes_back() {
    let world = World::new().await;
    world.add_node("n1", "8").await;
    world.play_kubelet();
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
        "spec": {"serviceName": "db", "selector": {"matchLabels": {"app": "web"}}, "template": template("v1")}});
    world
        .create(&Gvr::new("apps", "v1", "statefulsets"), "default", &set)
        .await;
    let runs = |all: &[Value]| named(all, "db-0").is_some_and(|pod| pod["status"]["phase"] == "Running");
    let before = world.until("the Pod", &PODS, "default", runs).await;
    let evicted = json!({"status": {"phase": "Failed", "reason": "Evicted"}});
    world.patch(&PODS, "db-0", "status", evicted).await;
    world
        .until("another of its name", &PODS, "default", |all| {
            runs(all) && all[0]["metadata"]["uid"] != before[0]["metadata"]["uid"]
        })
        .await;
    world
        .until_event(
            "default",
            "StatefulSet RecreatingFailedPod: StatefulSet default/db is recreating failed Pod db-0",
        )
        .await;
}

#[tokio::test]
async fn a_quota_follows_pods_that_grow_and_shrink() {
    let world = World::new().await;
    world.add_node("n1", "8").await;
    world.play_kubelet();
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"requests.cpu": "2"}}});
    world.create(&QUOTAS, "default", &quota).await;
    let uses = |amount: &'static str| move |all: &[Value]| all[0]["status"]["used"]["requests.cpu"] == amount;
    world.until("a counted quota", &QUOTAS, "default", uses("0")).await;
    let container = |cpu: &str| json!({"name": "c", "image": "v1", "resources": {"requests": {"cpu": cpu}}});
    let pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container("1")]}});
    world.create(&PODS, "default", &pod).await;
    world.until("the Pod counted", &QUOTAS, "default", uses("1")).await;
    // A resize that meets the kubelet's write is tried again, and charged again until the next recount.
    let runs = |all: &[Value]| all[0]["status"]["phase"] == "Running";
    world.until("the Pod running", &PODS, "default", runs).await;
    let resize = async |cpu: &str| {
        let patch =
            Patch::Strategic(json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}}));
        let (target, params) = (("default", "p"), PatchParams::default());
        let resized = world.rest.patch::<Value>(&PODS, target, "resize", &params, &patch);
        resized
            .await
            .map(drop)
            .map_err(|error| mizzen_api::client::rest::message(&error))
    };
    let refusal = resize("3").await.expect_err("too much");
    assert!(
        refusal.contains("exceeded quota: q, requested: requests.cpu=2, used: requests.cpu=1"),
        "{refusal}"
    );
    resize("2").await.expect("resized");
    world.until("the growth counted", &QUOTAS, "default", uses("2")).await;
    resize("500m").await.expect("resized");
    world
        .until("the rest given back", &QUOTAS, "default", uses("500m"))
        .await;
}

#[tokio::test]
async fn an_ephemeral_volume_lives_as_long_as_its_pod() {
    const CLAIMS: Gvr<'static> = Gvr::new("", "v1", "persistentvolumeclaims");
    let world = World::new().await;
    world.add_node("n1", "8").await;
    world.play_kubelet();
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "manual",
        "resources": {"requests": {"storage": "1Gi"}}}});
    let mut spec = idle();
    spec["nodeName"] = json!("n1");
    spec["volumes"] = json!([{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
    let pod = world.create(&PODS, "default", &pod).await;
    let claims = world
        .until("its claim", &CLAIMS, "default", |all| named(all, "p-scratch").is_some())
        .await;
    assert_eq!(
        claims[0]["metadata"]["ownerReferences"][0]["uid"],
        pod["metadata"]["uid"]
    );
    assert_eq!(claims[0]["metadata"]["labels"]["a"], "b");
    let params = DeleteParams::default();
    world
        .rest
        .delete(&PODS, "default", "p", &params)
        .await
        .expect("deleted");
    world.until("no claim", &CLAIMS, "default", <[Value]>::is_empty).await;
}
