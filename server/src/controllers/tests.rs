//! Controllers and scheduler against a real API server in the process, with upstream's roles and no
//! more: a missing permission fails a test. There is no kubelet; [`World::play_kubelet`] makes bound
//! Pods ready and lets deleted ones go.

mod batch;
mod conformance;
mod nodes;

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use kube::core::params::{DeleteParams, ListParams, Patch, PatchParams, PropagationPolicy};
use mizzen_api::client::rest::{Gvr, List, Rest};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{Config, Manager};
use crate::apiserver::gates::{self, Gates};
use crate::bootstrap::policy;
use crate::control_plane::{self, ControlPlane};
use crate::identity::{MASTERS, User};
use crate::scheduler::Scheduler;
use crate::store::sqlite::{SqliteOptions, SqliteStore};

const ACCOUNTS: Gvr<'static> = Gvr::new("", "v1", "serviceaccounts");
const PODS: Gvr<'static> = Gvr::new("", "v1", "pods");
const NODES: Gvr<'static> = Gvr::new("", "v1", "nodes");
const EVENTS: Gvr<'static> = Gvr::new("", "v1", "events");
const NAMESPACES: Gvr<'static> = Gvr::new("", "v1", "namespaces");
const SERVICES: Gvr<'static> = Gvr::new("", "v1", "services");
const ENDPOINTS: Gvr<'static> = Gvr::new("", "v1", "endpoints");
const SLICES: Gvr<'static> = Gvr::new("discovery.k8s.io", "v1", "endpointslices");
const CONFIG_MAPS: Gvr<'static> = Gvr::new("", "v1", "configmaps");
const SETS: Gvr<'static> = Gvr::new("apps", "v1", "replicasets");
const DEPLOYMENTS: Gvr<'static> = Gvr::new("apps", "v1", "deployments");
const RBAC: &str = "rbac.authorization.k8s.io";

mod stateful;

struct World {
    rest: Rest,
    plane: ControlPlane,
    stop: CancellationToken,
    _directory: TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(&directory.path().join("state.db"), SqliteOptions::default()).expect("a store");
        let config = control_plane::Config {
            store: Arc::new(store),
            gates: Box::new(|cache| Gates::new(cache.clone(), gates::Options::for_tests())),
            kubelet_tls: None,
        };
        let stop = CancellationToken::new();
        let plane = ControlPlane::start(config, stop.clone()).await.expect("it starts");
        let world = Self {
            rest: Rest::new(plane.client(User::new("admin", [MASTERS])), "test"),
            plane,
            stop,
            _directory: directory,
        };
        for name in ["default", "kube-system", "kube-public"] {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            world.create(&NAMESPACES, "", &namespace).await;
        }
        for role in policy::roles() {
            let plural = if role.namespace.is_empty() {
                "clusterroles"
            } else {
                "roles"
            };
            world
                .create(&Gvr::new(RBAC, "v1", plural), role.namespace, &role.object())
                .await;
            for binding in role.binding_objects() {
                let plural = if role.namespace.is_empty() {
                    "clusterrolebindings"
                } else {
                    "rolebindings"
                };
                world
                    .create(&Gvr::new(RBAC, "v1", plural), role.namespace, &binding)
                    .await;
            }
        }
        world.start();
        world
            .until("accounts", &ACCOUNTS, "default", |all| all.len() == 1)
            .await;
        world
    }

    /// Starts controllers and scheduler as the server does.
    fn start(&self) {
        let plane = self.plane.clone();
        let clients = Arc::new(move |account: Option<&str>| {
            plane.client(match account {
                None => User::new("system:kube-controller-manager", []),
                Some(account) => User::new(
                    format!("system:serviceaccount:kube-system:{account}"),
                    ["system:serviceaccounts", "system:serviceaccounts:kube-system"],
                ),
            })
        });
        let config = Config {
            root_ca_pem: "PEM".to_owned(),
            cluster_cidr: Some("10.42.0.0/16".parse().expect("a network")),
            signers: None,
            signing_duration: None,
        };
        tokio::spawn(Manager::new(clients, config).run(self.stop.clone()));
        let client = self.plane.client(User::new("system:kube-scheduler", []));
        tokio::spawn(Scheduler::new(client, "host").run(self.stop.clone()));
    }

    async fn create(&self, at: &Gvr<'_>, namespace: &str, object: &Value) -> Value {
        let created = self.rest.create(at, namespace, object).await;
        created.unwrap_or_else(|error| panic!("cannot create {object}: {}", mizzen_api::client::rest::message(&error)))
    }

    async fn get(&self, at: &Gvr<'_>, namespace: &str, name: &str) -> Value {
        let object: Option<Value> = self.rest.get(at, namespace, name).await.expect("an answer");
        object.unwrap_or_default()
    }

    async fn list(&self, at: &Gvr<'_>, namespace: &str) -> Vec<Value> {
        let list: List<Value> = self
            .rest
            .list(at, namespace, &ListParams::default())
            .await
            .expect("a list");
        list.items
    }

    async fn patch(&self, at: &Gvr<'_>, name: &str, subresource: &str, patch: Value) {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched = self
            .rest
            .patch::<Value>(at, ("default", name), subresource, &params, &patch);
        patched.await.expect("a patched object");
    }

    /// Waits until the objects of a kind meet a condition.
    async fn until(&self, what: &str, at: &Gvr<'_>, namespace: &str, is: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let mut last = Vec::new();
        for _ in 0..2000 {
            last = self.list(at, namespace).await;
            if is(&last) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let shown: Vec<_> = last.iter().map(Value::to_string).collect();
        let events = self.events(namespace).await;
        panic!(
            "{what} did not come true of\n{}\nevents:\n{}",
            shown.join("\n"),
            events.join("\n")
        );
    }

    async fn events(&self, namespace: &str) -> Vec<String> {
        let mut events: Vec<_> = self
            .list(&EVENTS, namespace)
            .await
            .iter()
            .map(|e| {
                let about = &e["involvedObject"];
                format!(
                    "{} {}: {}",
                    text(&about["kind"]),
                    text(&e["reason"]),
                    text(&e["message"])
                )
            })
            .collect();
        events.sort();
        events
    }

    async fn add_node(&self, name: &str, cpu: &str) {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": "z1"}}});
        self.create(&NODES, "", &node).await;
        let status = json!({"status": {"allocatable": {"cpu": cpu, "memory": "64Gi", "pods": "110"}, "capacity": {"cpu": cpu},
            "conditions": [{"type": "Ready", "status": "True"}]}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(status));
        let patched = self.rest.patch::<Value>(&NODES, ("", name), "status", &params, &patch);
        patched.await.expect("a node");
    }

    async fn patch_node(&self, name: &str, patch: Value) {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched = self.rest.patch::<Value>(&NODES, ("", name), "", &params, &patch);
        patched.await.expect("a node");
    }

    /// Waits for an Event that begins so.
    async fn until_event(&self, namespace: &str, words: &str) {
        for _ in 0..1000 {
            if self
                .events(namespace)
                .await
                .iter()
                .any(|event| event.starts_with(words))
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no Event {words:?} among {:?}", self.events(namespace).await);
    }

    /// Makes bound Pods ready unless their image says otherwise, and removes deleted ones; on nodes that said
    /// that they are not ready, or nothing, Pods are left alone.
    fn play_kubelet(&self) {
        let (rest, stop) = (self.rest.clone(), self.stop.clone());
        tokio::spawn(async move {
            let request = kube::core::Request::new("/api/v1/pods")
                .watch(&kube::core::params::WatchParams::default(), "0")
                .expect("a request");
            let events = rest.client().request_events::<Value>(request).await.expect("a watch");
            let mut events = std::pin::pin!(events);
            let mut address = 0;
            while let Some(event) = tokio::select! {
                event = events.try_next() => event.expect("an event"),
                () = stop.cancelled() => None,
            } {
                let (kube::core::WatchEvent::Added(pod) | kube::core::WatchEvent::Modified(pod)) = event else {
                    continue;
                };
                let target = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
                let node: Option<Value> = match text(&pod["spec"]["nodeName"]) {
                    "" => None,
                    node => rest.get(&NODES, "", node).await.expect("an answer"),
                };
                if node.is_some_and(|node| !is_ready(&node)) {
                    continue;
                }
                if pod["metadata"].get("deletionTimestamp").is_some() {
                    let now = DeleteParams::default().grace_period(0);
                    rest.delete(&PODS, target.0, target.1, &now).await.expect("deleted");
                    continue;
                }
                let image = text(&pod["spec"]["containers"][0]["image"]);
                if pod["spec"]["nodeName"].is_null() || pod["status"]["phase"] != "Pending" || image == "bad" {
                    continue;
                }
                address += 1;
                let ip = format!("10.42.0.{address}");
                let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}]}});
                // The Pod may have gone meanwhile.
                let _ = rest
                    .patch::<Value>(&PODS, target, "status", &PatchParams::default(), &Patch::Merge(status))
                    .await;
            }
        });
    }
}

fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
        {"name": "c", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]}})
}

fn deployment(replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template("v1"),
                 "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}},
    })
}

fn replica_set(name: &str, replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template("v1")},
    })
}

fn ready(objects: &[Value], count: i64) -> bool {
    objects
        .iter()
        .any(|o| o["status"]["readyReplicas"] == count && o["status"]["replicas"] == count)
}

#[tokio::test]
async fn a_namespace_is_furnished_and_emptied() {
    let world = World::new().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    world.create(&NAMESPACES, "", &namespace).await;
    world.until("the account", &ACCOUNTS, "n", |all| all.len() == 1).await;
    let maps = world
        .until("the authority", &CONFIG_MAPS, "n", |all| all.len() == 1)
        .await;
    assert_eq!(maps[0]["data"]["ca.crt"], "PEM");
    world.create(&SETS, "n", &replica_set("web", 2)).await;
    world.until("the pods", &PODS, "n", |all| all.len() == 2).await;
    world
        .rest
        .delete(&NAMESPACES, "", "n", &DeleteParams::default())
        .await
        .expect("deleted");
    world
        .until("the namespace's end", &NAMESPACES, "", |all| {
            all.iter().all(|n| n["metadata"]["name"] != "n")
        })
        .await;
    assert_eq!(world.list(&PODS, "n").await.len(), 0);
    assert_eq!(world.list(&CONFIG_MAPS, "n").await.len(), 0);
}

#[tokio::test]
async fn a_replica_set_keeps_its_number_and_takes_its_pods_along() {
    let world = World::new().await;
    world.add_node("n1", "8").await;
    world.play_kubelet();
    world.create(&SETS, "default", &replica_set("web", 3)).await;
    world.until("three ready", &SETS, "default", |all| ready(all, 3)).await;
    let pods = world.list(&PODS, "default").await;
    let name = text(&pods[0]["metadata"]["name"]);
    world
        .rest
        .delete(&PODS, "default", name, &DeleteParams::default())
        .await
        .expect("deleted");
    world
        .until("another pod", &PODS, "default", |all| {
            all.len() == 3 && all.iter().all(|pod| pod["metadata"]["name"] != name)
        })
        .await;
    world.patch(&SETS, "web", "", json!({"spec": {"replicas": 1}})).await;
    world.until("one left", &SETS, "default", |all| ready(all, 1)).await;
    let events = world.events("default").await;
    assert_eq!(
        events
            .iter()
            .filter(|e| e.starts_with("ReplicaSet SuccessfulCreate: Created pod: web-"))
            .count(),
        4
    );
    assert_eq!(
        events
            .iter()
            .filter(|e| e.starts_with("ReplicaSet SuccessfulDelete: Deleted pod: web-"))
            .count(),
        2
    );
    // Relabelled, a Pod is let go and another one made.
    let pods = world.until("one pod", &PODS, "default", |all| all.len() == 1).await;
    let stray = text(&pods[0]["metadata"]["name"]);
    world
        .patch(&PODS, stray, "", json!({"metadata": {"labels": {"app": "other"}}}))
        .await;
    let pods = world.until("the stray released", &PODS, "default", |all| {
        all.len() == 2
            && all
                .iter()
                .any(|p| p["metadata"]["name"] == stray && p["metadata"].get("ownerReferences").is_none())
    });
    pods.await;
    world
        .rest
        .delete(&SETS, "default", "web", &DeleteParams::background())
        .await
        .expect("deleted");
    world
        .until("only the stray", &PODS, "default", |all| {
            all.len() == 1 && all[0]["metadata"]["name"] == stray
        })
        .await;
}

#[tokio::test]
async fn owners_wait_for_dependents_or_let_them_go() {
    let world = World::new().await;
    world.add_node("n1", "8").await;
    world.play_kubelet();
    for (policy, left) in [(PropagationPolicy::Foreground, 0), (PropagationPolicy::Orphan, 2)] {
        world.create(&SETS, "default", &replica_set("web", 2)).await;
        world.until("two ready", &SETS, "default", |all| ready(all, 2)).await;
        let params = DeleteParams {
            propagation_policy: Some(policy),
            ..DeleteParams::default()
        };
        world
            .rest
            .delete(&SETS, "default", "web", &params)
            .await
            .expect("deleted");
        world
            .until("the owner gone", &SETS, "default", <[Value]>::is_empty)
            .await;
        let pods = world.list(&PODS, "default").await;
        assert_eq!(pods.len(), left);
        assert!(pods.iter().all(|pod| pod["metadata"].get("ownerReferences").is_none()));
    }
    // Orphans that match are adopted.
    world.create(&SETS, "default", &replica_set("new", 2)).await;
    world.until("two ready", &SETS, "default", |all| ready(all, 2)).await;
    let pods = world.list(&PODS, "default").await;
    assert_eq!(pods.len(), 2);
    assert!(
        pods.iter()
            .all(|pod| pod["metadata"]["ownerReferences"][0]["name"] == "new")
    );
}

fn complete(all: &[Value], replicas: i64, revision: &str) -> bool {
    all.iter().any(|d| {
        let status = &d["status"];
        ["updatedReplicas", "availableReplicas", "replicas"]
            .iter()
            .all(|field| status[*field] == replicas)
            && status["observedGeneration"] == d["metadata"]["generation"]
            && d["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == revision
            && conditions(d).contains("Progressing=True NewReplicaSetAvailable")
    })
}

fn conditions(object: &Value) -> String {
    let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let shown = all
        .iter()
        .map(|c| format!("{}={} {}", text(&c["type"]), text(&c["status"]), text(&c["reason"])));
    let mut shown: Vec<_> = shown.collect();
    shown.sort();
    shown.join(", ")
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [
        {"name": "c", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]}}}})
}

#[tokio::test]
async fn a_deployment_rolls_out_stops_at_a_bad_image_and_goes_back() {
    let world = World::new().await;
    world.add_node("n1", "64").await;
    world.play_kubelet();
    world.create(&DEPLOYMENTS, "default", &deployment(3)).await;
    let all = world
        .until("revision 1", &DEPLOYMENTS, "default", |all| complete(all, 3, "1"))
        .await;
    assert_eq!(
        conditions(&all[0]),
        "Available=True MinimumReplicasAvailable, Progressing=True NewReplicaSetAvailable"
    );
    world.patch(&DEPLOYMENTS, "web", "", image("v2")).await;
    world
        .until("revision 2", &DEPLOYMENTS, "default", |all| complete(all, 3, "2"))
        .await;
    world
        .until("old pods gone", &PODS, "default", |all| all.len() == 3)
        .await;
    // A bad image: one Pod above the wanted number, the old ones stay.
    world.patch(&DEPLOYMENTS, "web", "", image("bad")).await;
    world
        .until("a stuck rollout", &DEPLOYMENTS, "default", |all| {
            all[0]["status"]["updatedReplicas"] == 1 && all[0]["status"]["availableReplicas"] == 3
        })
        .await;
    world.until("four pods", &PODS, "default", |all| all.len() == 4).await;
    // Scaling meanwhile is proportional: 3 and 1 of 4 become 6 of 7 and the rest.
    world
        .patch(&DEPLOYMENTS, "web", "", json!({"spec": {"replicas": 6}}))
        .await;
    world
        .until("shares", &SETS, "default", |all| {
            let mut sizes: Vec<_> = all.iter().filter_map(|set| set["spec"]["replicas"].as_i64()).collect();
            sizes.sort_unstable();
            sizes == [0, 2, 5]
        })
        .await;
    // Undo: the template of revision 2 comes back as revision 4.
    world.patch(&DEPLOYMENTS, "web", "", image("v2")).await;
    world
        .until("revision 4", &DEPLOYMENTS, "default", |all| complete(all, 6, "4"))
        .await;
    let sets = world.list(&SETS, "default").await;
    let back = sets.iter().find(|set| set["spec"]["replicas"] == 6).expect("the set");
    assert_eq!(
        back["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"],
        "2"
    );
    let events = world.events("default").await;
    let scaled = |words: &str| {
        events
            .iter()
            .any(|e| e.starts_with("Deployment ScalingReplicaSet: Scaled") && e.ends_with(words))
    };
    assert!(
        scaled("from 0 to 3") && scaled("from 0 to 1") && scaled("from 1 to 0"),
        "{events:#?}"
    );
}

#[tokio::test]
async fn a_deployment_can_be_paused_recreated_and_keeps_little_history() {
    let world = World::new().await;
    world.add_node("n1", "64").await;
    world.play_kubelet();
    let mut recreate = deployment(2);
    recreate["spec"]["strategy"] = json!({"type": "Recreate"});
    recreate["spec"]["revisionHistoryLimit"] = json!(1);
    world.create(&DEPLOYMENTS, "default", &recreate).await;
    world
        .until("revision 1", &DEPLOYMENTS, "default", |all| complete(all, 2, "1"))
        .await;
    world
        .patch(&DEPLOYMENTS, "web", "", json!({"spec": {"paused": true}}))
        .await;
    world
        .until("a pause", &DEPLOYMENTS, "default", |all| {
            conditions(&all[0]).contains("Progressing=Unknown DeploymentPaused")
        })
        .await;
    world.patch(&DEPLOYMENTS, "web", "", image("v2")).await;
    world
        .patch(&DEPLOYMENTS, "web", "", json!({"spec": {"replicas": 3}}))
        .await;
    world
        .until("three of the old", &SETS, "default", |all| {
            ready(all, 3) && all.len() == 1
        })
        .await;
    world
        .patch(&DEPLOYMENTS, "web", "", json!({"spec": {"paused": false}}))
        .await;
    world
        .until("revision 2", &DEPLOYMENTS, "default", |all| complete(all, 3, "2"))
        .await;
    world.patch(&DEPLOYMENTS, "web", "", image("v3")).await;
    world
        .until("revision 3", &DEPLOYMENTS, "default", |all| complete(all, 3, "3"))
        .await;
    world
        .until("a short history", &SETS, "default", |all| all.len() == 2)
        .await;
}

#[tokio::test]
async fn a_stuck_rollout_exceeds_its_deadline() {
    let world = World::new().await;
    let mut hopeless = deployment(1);
    hopeless["spec"]["progressDeadlineSeconds"] = json!(1);
    world.create(&DEPLOYMENTS, "default", &hopeless).await;
    let all = world
        .until("the deadline", &DEPLOYMENTS, "default", |all| {
            conditions(&all[0]).contains("Progressing=False ProgressDeadlineExceeded")
        })
        .await;
    assert!(conditions(&all[0]).contains("Available=False MinimumReplicasUnavailable"));
}

#[tokio::test]
async fn a_service_has_the_ready_pods_behind_it() {
    let world = World::new().await;
    world.add_node("n1", "64").await;
    world.play_kubelet();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "labels": {"a": "b"}},
        "spec": {"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}});
    world.create(&SERVICES, "default", &service).await;
    world
        .until("an empty slice", &SLICES, "default", |all| all.len() == 1)
        .await;
    world.create(&SETS, "default", &replica_set("web", 2)).await;
    let filled = |all: &[Value]| {
        let count = |slice: &Value| slice["endpoints"].as_array().map_or(0, Vec::len);
        all.len() == 1
            && count(&all[0]) == 2
            && all[0]["endpoints"][0]["conditions"]["ready"] == true
            && all[0]["endpoints"][1]["conditions"]["ready"] == true
    };
    let slices = world.until("two endpoints", &SLICES, "default", filled).await;
    assert_eq!(slices[0]["ports"][0]["port"], 8080);
    assert_eq!(slices[0]["endpoints"][0]["zone"], "z1");
    assert_eq!(slices[0]["metadata"]["labels"]["a"], "b");
    let endpoints = world
        .until("two addresses", &ENDPOINTS, "default", |all| {
            all.len() == 1
                && all[0]["subsets"][0]["addresses"]
                    .as_array()
                    .is_some_and(|a| a.len() == 2)
        })
        .await;
    assert_eq!(
        endpoints[0]["subsets"][0]["ports"][0],
        json!({"name": "http", "port": 8080, "protocol": "TCP"})
    );
    world.patch(&SETS, "web", "", json!({"spec": {"replicas": 0}})).await;
    world
        .until("no endpoints", &SLICES, "default", |all| {
            all.len() == 1 && all[0]["endpoints"].as_array().is_none_or(Vec::is_empty)
        })
        .await;
    world
        .rest
        .delete(&SERVICES, "default", "web", &DeleteParams::default())
        .await
        .expect("deleted");
    world
        .until("slices gone", &SLICES, "default", <[Value]>::is_empty)
        .await;
    world
        .until("endpoints gone", &ENDPOINTS, "default", <[Value]>::is_empty)
        .await;
}

#[tokio::test]
async fn a_pod_is_scheduled_when_there_is_a_node_for_it() {
    let world = World::new().await;
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
    pod["spec"] = template("v1")["spec"].clone();
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "2"}});
    world.create(&PODS, "default", &pod).await;
    let told = |words: &'static str| move |all: &[Value]| all[0]["status"]["conditions"].to_string().contains(words);
    world
        .until(
            "no nodes",
            &PODS,
            "default",
            told("no nodes available to schedule pods"),
        )
        .await;
    world.add_node("small", "1").await;
    world
        .until(
            "too small",
            &PODS,
            "default",
            told("0/1 nodes are available: 1 Insufficient cpu."),
        )
        .await;
    world.add_node("n1", "4").await;
    let pods = world
        .until("bound", &PODS, "default", |all| all[0]["spec"]["nodeName"] == "n1")
        .await;
    assert!(conditions(&pods[0]).contains("PodScheduled=True"));
    world
        .until("the event", &EVENTS, "default", |all| {
            all.iter()
                .any(|e| text(&e["message"]) == "Successfully assigned default/p to n1")
        })
        .await;
}

#[tokio::test]
async fn aggregated_roles_have_the_rules_of_their_parts() {
    let world = World::new().await;
    let roles = Gvr::new(RBAC, "v1", "clusterroles");
    world
        .until("rules of view", &roles, "", |all| {
            let view = all.iter().find(|role| role["metadata"]["name"] == "view");
            view.is_some_and(|view| view["rules"].as_array().is_some_and(|rules| !rules.is_empty()))
        })
        .await;
    let edit = world.get(&roles, "", "edit").await;
    assert!(edit["rules"].as_array().is_some_and(|rules| rules.len() > 3));
}
