//! Quotas against many writers at once, and what they say.

use serde_json::Value;

use super::*;
use crate::apiserver::admission::testing::{Case, admit};
use crate::apiserver::fake::Fake;
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use proptest::prelude::*;

fn quota(hard: &Value) -> Value {
    let used: serde_json::Map<String, Value> = hard
        .as_object()
        .unwrap()
        .keys()
        .map(|name| (name.clone(), json!("0")))
        .collect();
    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "n"},
        "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
}

struct World {
    plugin: Arc<ResourceQuota>,
    store: Arc<dyn Store>,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new(quota: Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("state.db"), SqliteOptions::default()).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let put = Put {
            key: "/registry/resourcequotas/n/q".into(),
            value: encode(quota.as_object().unwrap()),
            expect: Expect::Absent,
            ttl: None,
            durability: Durability::Synced,
        };
        store.put(put).await.unwrap();
        let plugin = Arc::new(ResourceQuota::new(Fake::new([quota]), store.clone()));
        Self {
            plugin,
            store,
            _directory: directory,
        }
    }

    async fn used(&self) -> Amounts {
        let record = self
            .store
            .get("/registry/resourcequotas/n/q", None)
            .await
            .unwrap()
            .unwrap();
        usage::amounts(&decode::stored(&record.value).unwrap(), "/status/used")
    }

    async fn say(&self, case: Case) -> String {
        match admit(&*self.plugin, case).await {
            Ok(_) => "ok".into(),
            Err(error) => format!("{} {}", error.code, error.message),
        }
    }
}

fn pod(name: &str, cpu: &str) -> Case {
    let resources = if cpu.is_empty() {
        json!({})
    } else {
        json!({"requests": {"cpu": cpu}})
    };
    Case::create("pods")
        .in_namespace("n")
        .named(name)
        .with(json!({"spec": {"containers": [{"name": "c", "resources": resources}]}}))
}

#[tokio::test]
async fn what_is_too_much_is_refused_in_upstreams_words() {
    let world = World::new(quota(
        &json!({"pods": "2", "requests.cpu": "1", "count/configmaps": "1"}),
    ))
    .await;
    insta::assert_snapshot!(world.say(pod("a", "600m")).await, @"ok");
    insta::assert_snapshot!(world.say(pod("b", "600m")).await, @r#"403 pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1"#);
    insta::assert_snapshot!(world.say(pod("b", "")).await, @r#"403 pods "b" is forbidden: failed quota: q: must specify requests.cpu for: c"#);
    insta::assert_snapshot!(world.say(pod("b", "400m")).await, @"ok");
    insta::assert_snapshot!(world.say(Case::create("configmaps").in_namespace("n").named("m")).await, @"ok");
    insta::assert_snapshot!(world.say(Case::create("configmaps").in_namespace("n").named("m")).await, @r#"403 configmaps "m" is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1"#);
    insta::assert_snapshot!(usage::show(&world.used().await), @"count/configmaps=1,pods=2,requests.cpu=1");
    // A Pod that grows in place is charged for what it grows by.
    let grows = |from: &str, to: &str| {
        let old = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": from}}}]}});
        let case = pod("a", to).operation(Operation::Update).old(old);
        case.subresource("resize")
    };
    insta::assert_snapshot!(world.say(grows("600m", "700m")).await, @r#"403 pods "a" is forbidden: exceeded quota: q, requested: requests.cpu=100m, used: requests.cpu=1, limited: requests.cpu=1"#);
    insta::assert_snapshot!(world.say(grows("600m", "500m")).await, @"ok");
    // Another namespace is another matter.
    insta::assert_snapshot!(world.say(Case::create("configmaps").in_namespace("other").named("m")).await, @"ok");
}

#[tokio::test]
async fn an_update_that_is_tried_again_is_charged_once() {
    let world = World::new(quota(&json!({"services.loadbalancers": "2"}))).await;
    let service = |kind: &str| json!({"metadata": {"name": "s"}, "spec": {"type": kind, "ports": [{}]}});
    let exposes = |name: &str| {
        let case = Case::create("services").in_namespace("n").named(name);
        let case = case.with(service("LoadBalancer")).operation(Operation::Update);
        case.old(service("ClusterIP"))
    };
    for name in ["s", "s", "t", "s"] {
        assert_eq!(world.say(exposes(name)).await, "ok", "{name}");
    }
    assert_eq!(usage::show(&world.used().await), "services.loadbalancers=2");
    insta::assert_snapshot!(world.say(exposes("u")).await, @r#"403 services "u" is forbidden: exceeded quota: q, requested: services.loadbalancers=1, used: services.loadbalancers=2, limited: services.loadbalancers=2"#);
}

#[test]
fn usage_is_counted_as_upstream() {
    let check = |plural: &str, object: Value, expect: &str| {
        let amounts = usage::of(&builtin_row("", plural), object.as_object().unwrap());
        assert_eq!(usage::show(&amounts), expect);
    };
    check("configmaps", json!({}), "configmaps=1,count/configmaps=1");
    check(
        "services",
        json!({"spec": {"type": "LoadBalancer", "ports": [{}, {}]}}),
        "count/services=1,services=1,services.loadbalancers=1,services.nodeports=2",
    );
    check(
        "persistentvolumeclaims",
        json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}}),
        "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi",
    );
    let container = json!({"resources": {"requests": {"cpu": "1", "example.com/gpu": "2"}, "limits": {"cpu": "2", "memory": "1Gi"}}});
    check(
        "pods",
        json!({"spec": {"containers": [container], "initContainers": [{"resources": {"requests": {"cpu": "3"}}}]}}),
        "count/pods=1,cpu=3,limits.cpu=2,limits.memory=1Gi,pods=1,requests.cpu=3,requests.example.com/gpu=2",
    );
    check("pods", json!({"status": {"phase": "Succeeded"}}), "count/pods=1");
    let leaving = |due: &str| json!({"metadata": {"deletionTimestamp": due, "deletionGracePeriodSeconds": 30}});
    check("pods", leaving("2020-01-01T00:00:00Z"), "count/pods=1");
    check("pods", leaving("2999-01-01T00:00:00Z"), "count/pods=1,pods=1");
}

#[test]
fn scopes_pick_pods() {
    let check = |spec: Value, pod: Value, expect: bool| {
        let quota = json!({"spec": spec});
        let found = usage::in_scope(
            quota.as_object().unwrap(),
            &builtin_row("", "pods"),
            pod.as_object().unwrap(),
        );
        assert_eq!(found, expect, "{spec}");
    };
    let plain = json!({"spec": {"containers": [{}]}});
    let bounded = json!({"spec": {"activeDeadlineSeconds": 5, "priorityClassName": "high", "containers": [{"resources": {"limits": {"cpu": "1"}}}]}});
    for (scope, first, second) in [
        ("BestEffort", true, false),
        ("NotBestEffort", false, true),
        ("Terminating", false, true),
        ("NotTerminating", true, false),
    ] {
        check(json!({"scopes": [scope]}), plain.clone(), first);
        check(json!({"scopes": [scope]}), bounded.clone(), second);
    }
    let classes = |operator: &str, values: Value| json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": operator, "values": values}]}});
    check(classes("In", json!(["high"])), bounded.clone(), true);
    check(classes("In", json!(["low"])), bounded.clone(), false);
    check(classes("NotIn", json!(["low"])), bounded.clone(), true);
    check(classes("DoesNotExist", json!(null)), bounded, false);
    check(classes("DoesNotExist", json!(null)), plain.clone(), true);
    check(classes("Exists", json!(null)), plain.clone(), false);
    let abroad = |more: Value| {
        let mut term = json!({"topologyKey": "zone"});
        json_patch::merge(&mut term, &more);
        json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}})
    };
    let crossing = json!({"scopes": ["CrossNamespacePodAffinity"]});
    check(crossing.clone(), abroad(json!({"namespaces": ["other"]})), true);
    check(crossing.clone(), abroad(json!({"namespaceSelector": {}})), true);
    check(crossing.clone(), abroad(json!({})), false);
    check(crossing, plain, false);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn a_quota_is_never_exceeded_by_writers_at_once(amounts in prop::collection::vec(1i64..400, 1..40), limit in 100i64..2000) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        let (granted, used) = runtime.block_on(async {
            let world = World::new(quota(&json!({"requests.cpu": format!("{limit}m")}))).await;
            // Two servers over one store: nothing but the store keeps them from one another.
            let reader = Fake::new([quota(&json!({"requests.cpu": format!("{limit}m")}))]);
            let other = Arc::new(ResourceQuota::new(reader, world.store.clone()));
            let mut writers = tokio::task::JoinSet::new();
            for (at, amount) in amounts.iter().enumerate() {
                let (plugin, amount) = (if at % 2 == 0 { world.plugin.clone() } else { other.clone() }, *amount);
                writers.spawn(async move {
                    let outcome = admit(&*plugin, pod(&format!("p{at}"), &format!("{amount}m"))).await;
                    if outcome.is_ok() { amount } else { 0 }
                });
            }
            let granted: i64 = writers.join_all().await.into_iter().sum();
            (granted, world.used().await["requests.cpu"].millis())
        });
        prop_assert!(granted <= limit);
        prop_assert_eq!(granted, used);
        // Nothing is refused that would have fitted at the end.
        let refused_least = amounts.iter().copied().min().unwrap_or_default();
        prop_assert!(granted == amounts.iter().sum::<i64>() || granted + refused_least > limit - 400);
    }
}
