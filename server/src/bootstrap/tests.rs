//! First and later starts against the real pipeline.

use super::*;
use crate::apiserver::gates::{Gates, Options as GateOptions};
use crate::control_plane::{Config, ControlPlane};
use crate::identity::{MASTERS, User};
use crate::store::Store;
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use kube::api::ListParams;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

fn options(server: &str) -> Options {
    Options {
        server: server.parse().unwrap(),
        alone: true,
        service_address: "10.43.0.1".parse().unwrap(),
        client_ca_pem: "client".into(),
        request_header_ca_pem: "proxy".into(),
        agents: std::collections::BTreeMap::new(),
        node: None,
        network_policy: true,
    }
}

struct World {
    store: Arc<SqliteStore>,
    plane: ControlPlane,
    rest: Rest,
    stop: CancellationToken,
    _directory: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

const ROLES: Gvr<'static> = Gvr::new("rbac.authorization.k8s.io", "v1", "clusterroles");
const BINDINGS: Gvr<'static> = Gvr::new("rbac.authorization.k8s.io", "v1", "clusterrolebindings");

impl World {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&directory.path().join("state.db"), SqliteOptions::default()).unwrap());
        let stop = CancellationToken::new();
        let config = Config {
            store: store.clone(),
            gates: Box::new(|cache| Gates::new(cache.clone(), GateOptions::for_tests())),
            kubelet_tls: None,
        };
        let plane = ControlPlane::start(config, stop.clone()).await.unwrap();
        let world = Self {
            rest: Rest::new(plane.client(User::new("system:apiserver", [MASTERS])), "test"),
            store,
            plane,
            stop,
            _directory: directory,
        };
        world.bootstrap("192.0.2.1:6443").await;
        world
    }

    /// Bootstraps; how many writes that took.
    async fn bootstrap(&self, server: &str) -> u64 {
        self.bootstrap_with(&options(server)).await
    }

    async fn bootstrap_with(&self, options: &Options) -> u64 {
        let before = self.store.revision().await.unwrap();
        run(self.rest.client().clone(), options).await.unwrap();
        self.store.revision().await.unwrap() - before
    }

    /// Why somebody may not list, if so.
    async fn refusal(&self, user: User, at: &Gvr<'_>) -> Option<String> {
        let rest = Rest::new(self.plane.client(user), "test");
        let listed = rest.list::<Value>(at, "", &ListParams::default()).await;
        listed.err().map(|error| error.to_string())
    }

    async fn count(&self, at: Gvr<'_>) -> usize {
        self.rest
            .list::<Value>(&at, "", &ListParams::default())
            .await
            .unwrap()
            .items
            .len()
    }
}

#[tokio::test]
async fn the_first_start_makes_everything_and_the_next_writes_nothing() {
    let world = World::start().await;
    let wanted = policy::roles();
    let cluster_roles = wanted.iter().filter(|role| role.namespace.is_empty());
    assert_eq!(world.count(ROLES).await, cluster_roles.clone().count());
    assert_eq!(
        world.count(BINDINGS).await,
        cluster_roles.map(|role| role.bindings.len()).sum::<usize>()
    );
    assert_eq!(world.bootstrap("192.0.2.1:6443").await, 0, "a restart writes nothing");
    assert_eq!(
        world.bootstrap("192.0.2.2:16443").await,
        3,
        "the server moved: Service, Endpoints, EndpointSlice"
    );
    let endpoints: Value = world
        .rest
        .get(&Gvr::new("", "v1", "endpoints"), "default", "kubernetes")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        endpoints["subsets"],
        json!([{"addresses": [{"ip": "192.0.2.2"}], "ports": [{"name": "https", "port": 16443, "protocol": "TCP"}]}])
    );
}

#[tokio::test]
async fn what_the_cluster_needs_comes_back_and_what_users_add_stays() {
    let world = World::start().await;
    let name = "system:kube-scheduler";
    let mut role: Value = world.rest.get(&ROLES, "", name).await.unwrap().unwrap();
    let own = json!({"verbs": ["get"], "apiGroups": ["example.com"], "resources": ["things"]});
    role["rules"] = json!([own]);
    world
        .rest
        .replace::<Value>(&ROLES, ("", name), "", &role)
        .await
        .unwrap();
    let mut binding: Value = world.rest.get(&BINDINGS, "", name).await.unwrap().unwrap();
    binding["subjects"] = json!([]);
    world
        .rest
        .replace::<Value>(&BINDINGS, ("", name), "", &binding)
        .await
        .unwrap();
    let mut discovery: Value = world
        .rest
        .get(&BINDINGS, "", "system:discovery")
        .await
        .unwrap()
        .unwrap();
    discovery["subjects"] = json!([]);
    discovery["metadata"]["annotations"][AUTO_UPDATE] = "false".into();
    world
        .rest
        .replace::<Value>(&BINDINGS, ("", "system:discovery"), "", &discovery)
        .await
        .unwrap();
    world
        .rest
        .delete(&BINDINGS, "", "system:basic-user", &DeleteParams::default())
        .await
        .unwrap();

    assert_eq!(world.bootstrap("192.0.2.1:6443").await, 3);
    let role: Value = world.rest.get(&ROLES, "", name).await.unwrap().unwrap();
    let rules = role["rules"].as_array().unwrap();
    assert_eq!(rules[0], own);
    assert_eq!(rules.len(), 1 + policy::cluster_role_rules(name).len());
    let discovery: Value = world
        .rest
        .get(&BINDINGS, "", "system:discovery")
        .await
        .unwrap()
        .unwrap();
    assert!(discovery["subjects"].as_array().is_none_or(Vec::is_empty));
    assert_eq!(world.bootstrap("192.0.2.1:6443").await, 0);
}

#[tokio::test]
async fn the_parts_of_the_cluster_may_do_their_work_and_others_nothing() {
    let world = World::start().await;
    let pods = Gvr::new("", "v1", "pods");
    let can_list = |user, at| world.refusal(user, at);
    assert_eq!(can_list(User::new("system:kube-scheduler", []), &pods).await, None);
    assert_eq!(
        can_list(User::new("system:kube-controller-manager", []), &pods).await,
        None
    );
    let account = User::new("system:serviceaccount:kube-system:job-controller", []);
    assert_eq!(can_list(account, &pods).await, None);
    let slices = Gvr::new("discovery.k8s.io", "v1", "endpointslices");
    assert_eq!(can_list(User::new("system:kube-proxy", []), &slices).await, None);
    let refusal = can_list(User::new("nobody", []), &pods).await.unwrap();
    assert!(
        refusal.contains(
            r#"pods is forbidden: User "nobody" cannot list resource "pods" in API group "" at the cluster scope"#
        ),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_node_sees_of_others_what_the_proxy_may_see_and_no_more() {
    let world = World::start().await;
    let node = || User::new("system:node:n1", ["system:nodes", "system:authenticated"]);
    let proxy = || User::new("system:kube-proxy", ["system:authenticated"]);
    let pods = Gvr::new("", "v1", "pods");
    let all = [
        pods,
        Gvr::new("", "v1", "nodes"),
        Gvr::new("discovery.k8s.io", "v1", "endpointslices"),
    ];
    for at in &all {
        let refusal = world.refusal(node(), at).await.unwrap_or_default();
        assert!(refusal.contains("is forbidden"), "{at:?}: {refusal}");
        assert_eq!(world.refusal(proxy(), at).await, None);
    }
    let act = async |user: &str| {
        let request = http::Request::get("/api/v1/pods").header("impersonate-user", user);
        let request = request.body(Vec::new()).unwrap();
        world.plane.client(node()).request_text(request).await.is_ok()
    };
    assert!(act("system:kube-proxy").await);
    assert!(!act("system:kube-scheduler").await, "it may see as much");

    // Where nobody enforces policies, nobody sees all Pods for that.
    let without = Options {
        network_policy: false,
        ..options("192.0.2.1:6443")
    };
    assert_eq!(world.bootstrap_with(&without).await, 2, "a role and its binding");
    assert_eq!(world.bootstrap_with(&without).await, 0);
    assert!(world.refusal(proxy(), &pods).await.is_some());
    assert_eq!(world.refusal(proxy(), &all[2]).await, None);
    assert_eq!(world.bootstrap("192.0.2.1:6443").await, 2);
    assert_eq!(world.refusal(proxy(), &pods).await, None);
}
