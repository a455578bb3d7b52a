//! Who may do what, through the whole pipeline with its default policy.

use super::*;
use serde_json::json;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

impl World {
    /// A request by somebody; its code, and the message of a Status or what `show` picks.
    async fn by(&self, user: &User, method: &str, path: &str, body: Value, show: &str) -> String {
        let request = Request::builder().extension(user.clone());
        self.tell(request, method, path, body, show).await
    }

    /// A request over the network with these headers.
    async fn over_network(
        &self,
        headers: &[(&str, &str)],
        method: &str,
        path: &str,
        body: Value,
        show: &str,
    ) -> String {
        let request = headers.iter().fold(Request::builder(), |request, (name, value)| {
            request.header(*name, *value)
        });
        self.tell(request, method, path, body, show).await
    }

    async fn tell(&self, request: http::request::Builder, method: &str, path: &str, body: Value, show: &str) -> String {
        let request = request
            .method(method)
            .uri(path)
            .header("content-type", "application/json");
        let body = if body.is_null() {
            Body::empty()
        } else {
            Body::from(body.to_string())
        };
        let (code, _, bytes) = self.as_sent(request.body(body).expect("a request")).await;
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
        let told = match answer.pointer(show) {
            Some(value) if code < 300 => value.clone(),
            _ => answer["message"].clone(),
        };
        format!(
            "{code} {}",
            told.as_str().map_or_else(|| told.to_string(), str::to_owned)
        )
    }

    async fn create(&self, path: &str, object: Value) {
        let (code, answer) = self.send("POST", path, object).await;
        assert_eq!(code, 201, "{answer}");
    }

    /// Namespace `a` with the ServiceAccount `bot`, who may read Pods there, and its token.
    async fn with_bot(&self) -> String {
        self.create("/api/v1/namespaces", json!({"metadata": {"name": "a"}}))
            .await;
        self.create(
            "/api/v1/namespaces/a/serviceaccounts",
            json!({"metadata": {"name": "bot"}}),
        )
        .await;
        let rules = json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]);
        self.create(
            &format!("{RBAC}/namespaces/a/roles"),
            json!({"metadata": {"name": "r"}, "rules": rules}),
        )
        .await;
        let subjects = json!([{"kind": "ServiceAccount", "name": "bot", "namespace": "a"}]);
        let binding = json!({"metadata": {"name": "r"}, "roleRef": {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}, "subjects": subjects});
        self.create(&format!("{RBAC}/namespaces/a/rolebindings"), binding).await;
        self.token(json!({})).await
    }

    async fn token(&self, spec: Value) -> String {
        let (code, answer) = self
            .send(
                "POST",
                "/api/v1/namespaces/a/serviceaccounts/bot/token",
                json!({ "spec": spec }),
            )
            .await;
        assert_eq!(code, 201, "{answer}");
        answer["status"]["token"].as_str().expect("a token").to_owned()
    }
}

#[tokio::test]
async fn a_service_account_does_what_its_roles_say() {
    let world = World::complete().await;
    let token = format!("Bearer {}", world.with_bot().await);
    let bot = async |method: &str, path: &str, body: Value, show: &str| {
        world
            .over_network(&[("authorization", &token)], method, path, body, show)
            .await
    };
    assert_eq!(
        bot("GET", "/api/v1/namespaces/a/pods", Value::Null, "/kind").await,
        "200 PodList"
    );
    insta::assert_snapshot!(bot("GET", "/api/v1/namespaces/default/pods", Value::Null, "/kind").await, @r#"403 pods is forbidden: User "system:serviceaccount:a:bot" cannot list resource "pods" in API group "" in the namespace "default""#);
    insta::assert_snapshot!(bot("GET", "/api/v1/pods", Value::Null, "/kind").await, @r#"403 pods is forbidden: User "system:serviceaccount:a:bot" cannot list resource "pods" in API group "" at the cluster scope"#);
    insta::assert_snapshot!(bot("GET", "/api/v1/namespaces/a/secrets/s", Value::Null, "/kind").await, @r#"403 secrets "s" is forbidden: User "system:serviceaccount:a:bot" cannot get resource "secrets" in API group "" in the namespace "a""#);
    insta::assert_snapshot!(bot("DELETE", "/api/v1/namespaces/a/pods/p", Value::Null, "/kind").await, @r#"403 pods "p" is forbidden: User "system:serviceaccount:a:bot" cannot delete resource "pods" in API group "" in the namespace "a""#);
    insta::assert_snapshot!(bot("GET", "/api/v1/namespaces/a/pods/p/log", Value::Null, "/kind").await, @r#"403 pods "p" is forbidden: User "system:serviceaccount:a:bot" cannot get resource "pods/log" in API group "" in the namespace "a""#);
    insta::assert_snapshot!(bot("GET", "/metrics", Value::Null, "").await, @r#"403 forbidden: User "system:serviceaccount:a:bot" cannot get path "/metrics""#);
    assert_eq!(bot("GET", "/apis", Value::Null, "/kind").await, "200 APIGroupList");
    // The pipeline refuses what does not exist as it refuses what does.
    insta::assert_snapshot!(bot("GET", "/apis/none.example.com/v1/things", Value::Null, "/kind").await, @r#"403 things.none.example.com is forbidden: User "system:serviceaccount:a:bot" cannot list resource "things" in API group "none.example.com" at the cluster scope"#);

    let whoami = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    insta::assert_snapshot!(bot("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", whoami, "/status/userInfo/groups").await, @r#"201 ["system:serviceaccounts","system:serviceaccounts:a","system:authenticated"]"#);
    let can = |verb: &str, resource: &str| json!({"spec": {"resourceAttributes": {"namespace": "a", "verb": verb, "resource": resource}}});
    let ask = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    insta::assert_snapshot!(bot("POST", ask, can("get", "pods"), "/status").await, @r#"201 {"allowed":true,"reason":"RBAC: allowed by RoleBinding \"r/a\" of Role \"r\" to ServiceAccount \"bot/a\""}"#);
    insta::assert_snapshot!(bot("POST", ask, can("create", "pods"), "/status").await, @r#"201 {"allowed":false}"#);
    insta::assert_snapshot!(bot("POST", ask, can("*", "*"), "/status").await, @r#"201 {"allowed":false}"#);
    insta::assert_snapshot!(bot("POST", ask, json!({"spec": {}}), "/status").await, @r#"422 SelfSubjectAccessReview.authorization.k8s.io "" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"#);
    let list = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    insta::assert_snapshot!(bot("POST", list, json!({"spec": {"namespace": "a"}}), "/status/resourceRules/2").await, @r#"201 {"apiGroups":[""],"resources":["pods"],"verbs":["get","list"]}"#);
    insta::assert_snapshot!(bot("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", can("get", "pods"), "/status").await, @r#"403 subjectaccessreviews.authorization.k8s.io is forbidden: User "system:serviceaccount:a:bot" cannot create resource "subjectaccessreviews" in API group "authorization.k8s.io" at the cluster scope"#);

    world
        .send("DELETE", "/api/v1/namespaces/a/serviceaccounts/bot", Value::Null)
        .await;
    assert_eq!(
        bot("GET", "/api/v1/namespaces/a/pods", Value::Null, "").await,
        "401 Unauthorized"
    );
    world
        .create(
            "/api/v1/namespaces/a/serviceaccounts",
            json!({"metadata": {"name": "bot"}}),
        )
        .await;
    assert_eq!(
        bot("GET", "/api/v1/namespaces/a/pods", Value::Null, "").await,
        "401 Unauthorized",
        "another account of the same name"
    );
}

#[tokio::test]
async fn strangers_learn_what_is_public() {
    let world = World::complete().await;
    let ask = async |path: &str| world.over_network(&[], "GET", path, Value::Null, "/major").await;
    assert!(ask("/version").await.starts_with("200 "));
    insta::assert_snapshot!(ask("/healthz").await, @"200 null");
    insta::assert_snapshot!(ask("/api").await, @r#"403 forbidden: User "system:anonymous" cannot get path "/api""#);
    insta::assert_snapshot!(ask("/openid/v1/jwks").await, @r#"403 forbidden: User "system:anonymous" cannot get path "/openid/v1/jwks""#);
    insta::assert_snapshot!(ask("/metrics").await, @"401 Unauthorized");
    insta::assert_snapshot!(ask("/api/v1/namespaces").await, @"401 Unauthorized");
    let forged = [("x-remote-user", "admin"), ("x-remote-group", "system:masters")];
    assert_eq!(
        world
            .over_network(&forged, "GET", "/api/v1/namespaces", Value::Null, "")
            .await,
        "401 Unauthorized"
    );
    let bearer = [("authorization", "Bearer x.y.z")];
    assert_eq!(
        world.over_network(&bearer, "GET", "/healthz", Value::Null, "").await,
        "401 Unauthorized"
    );
}

#[tokio::test]
async fn tokens_are_reviewed_and_their_keys_published() {
    let world = World::complete().await;
    let token = world.with_bot().await;
    let vault = world.token(json!({"audiences": ["vault"]})).await;
    let review = async |token: &str, audiences: Value, show: &str| {
        let spec = json!({"token": token, "audiences": audiences});
        world
            .by(
                &world.admin,
                "POST",
                "/apis/authentication.k8s.io/v1/tokenreviews",
                json!({ "spec": spec }),
                show,
            )
            .await
    };
    insta::assert_snapshot!(review(&token, json!([]), "/status/user/username").await, @"201 system:serviceaccount:a:bot");
    insta::assert_snapshot!(review(&token, json!([]), "/status/audiences").await, @r#"201 ["https://kubernetes.default.svc.cluster.local"]"#);
    insta::assert_snapshot!(review(&vault, json!([]), "/status/error").await, @r#"201 [invalid bearer token, the token is for the audiences ["vault"], not for ["https://kubernetes.default.svc.cluster.local"]]"#);
    insta::assert_snapshot!(review(&vault, json!(["vault", "x"]), "/status/audiences").await, @r#"201 ["vault"]"#);
    insta::assert_snapshot!(review("x", json!([]), "/status").await, @r#"201 {"error":"[invalid bearer token, the token is malformed]","user":{}}"#);
    insta::assert_snapshot!(review("", json!([]), "/status").await, @"400 token is required for TokenReview in authentication");
    let bearer = [("authorization", format!("Bearer {token}"))];
    let bearer = [(bearer[0].0, bearer[0].1.as_str())];
    let discover = world
        .over_network(
            &bearer,
            "GET",
            "/.well-known/openid-configuration",
            Value::Null,
            "/jwks_uri",
        )
        .await;
    assert_eq!(discover, "200 https://127.0.0.1:6443/openid/v1/jwks");
    assert_eq!(
        world
            .over_network(&bearer, "GET", "/openid/v1/jwks", Value::Null, "/keys/0/alg")
            .await,
        "200 ES256"
    );
    let vault = [("authorization", format!("Bearer {vault}"))];
    let refused = world
        .over_network(&[(vault[0].0, &vault[0].1)], "GET", "/healthz", Value::Null, "")
        .await;
    assert_eq!(refused, "401 Unauthorized");
}

#[tokio::test]
async fn a_secret_can_hold_a_token() {
    let world = World::complete().await;
    world.with_bot().await;
    let annotations = json!({"kubernetes.io/service-account.name": "bot"});
    let secret = json!({"metadata": {"name": "bot-token", "annotations": annotations}, "type": "kubernetes.io/service-account-token"});
    let (code, secret) = world.send("POST", "/api/v1/namespaces/a/secrets", secret).await;
    assert_eq!(code, 201, "{secret}");
    let decode = |key: &str| {
        use base64::Engine;
        let value = base64::engine::general_purpose::STANDARD.decode(secret["data"][key].as_str().expect("a value"));
        String::from_utf8(value.expect("base64")).expect("text")
    };
    assert_eq!((decode("namespace"), decode("ca.crt")), ("a".into(), "root".into()));
    let token = format!("Bearer {}", decode("token"));
    let pods = async || {
        world
            .over_network(
                &[("authorization", &token)],
                "GET",
                "/api/v1/namespaces/a/pods",
                Value::Null,
                "/kind",
            )
            .await
    };
    assert_eq!(pods().await, "200 PodList");
    world
        .send("DELETE", "/api/v1/namespaces/a/secrets/bot-token", Value::Null)
        .await;
    assert_eq!(pods().await, "401 Unauthorized");
}

#[tokio::test]
async fn a_node_keeps_to_its_own() {
    let world = World::complete().await;
    world.with_bot().await;
    for name in ["n1", "n2"] {
        let node = User::new(format!("system:node:{name}"), ["system:nodes"]);
        let created = world
            .by(
                &node,
                "POST",
                "/api/v1/nodes",
                json!({"metadata": {"name": name}}),
                "/spec/taints/0/key",
            )
            .await;
        assert_eq!(created, "201 node.kubernetes.io/not-ready");
    }
    let n1 = User::new("system:node:n1", ["system:nodes"]);
    for name in ["mine", "foreign"] {
        world
            .create("/api/v1/namespaces/a/secrets", json!({"metadata": {"name": name}}))
            .await;
        let node = if name == "mine" { "n1" } else { "n2" };
        let spec = json!({"serviceAccountName": "bot", "nodeName": node, "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "secret": {"secretName": name}}]});
        world
            .create(
                "/api/v1/namespaces/a/pods",
                json!({"metadata": {"name": name}, "spec": spec}),
            )
            .await;
    }
    let get = async |path: &str| world.by(&n1, "GET", path, Value::Null, "/kind").await;
    assert_eq!(get("/api/v1/namespaces/a/secrets/mine").await, "200 Secret");
    assert_eq!(
        get("/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Dmine").await,
        "200 SecretList"
    );
    insta::assert_snapshot!(get("/api/v1/namespaces/a/secrets/foreign").await, @r#"403 secrets "foreign" is forbidden: User "system:node:n1" cannot get resource "secrets" in API group "" in the namespace "a": no relationship found between node 'n1' and this object"#);
    insta::assert_snapshot!(get("/api/v1/namespaces/a/secrets").await, @r#"403 secrets is forbidden: User "system:node:n1" cannot list resource "secrets" in API group "" in the namespace "a": can only read namespaced object of this type"#);
    insta::assert_snapshot!(get("/api/v1/secrets?fieldSelector=metadata.name%3Dmine").await, @r#"403 secrets "mine" is forbidden: User "system:node:n1" cannot list resource "secrets" in API group "" at the cluster scope: no relationship found between node 'n1' and this object"#);
    insta::assert_snapshot!(get("/api/v1/namespaces/a/secrets?fieldSelector=type!%3Dx%5C,metadata.name%3Dmine").await, @r#"403 secrets is forbidden: User "system:node:n1" cannot list resource "secrets" in API group "" in the namespace "a": can only read namespaced object of this type"#);
    // What carries Services, policies and the Pod network sees more, and says so.
    insta::assert_snapshot!(get("/api/v1/pods").await, @r#"403 pods is forbidden: User "system:node:n1" cannot list resource "pods" in API group "" at the cluster scope: can only list/watch pods with spec.nodeName field selector"#);
    insta::assert_snapshot!(get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn2").await, @r#"403 pods is forbidden: User "system:node:n1" cannot list resource "pods" in API group "" at the cluster scope: can only list/watch pods with spec.nodeName field selector"#);
    insta::assert_snapshot!(get("/api/v1/nodes").await, @r#"403 nodes is forbidden: User "system:node:n1" cannot list resource "nodes" in API group "" at the cluster scope: node 'n1' cannot read "", only its own Node object"#);
    assert_eq!(
        get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await,
        "200 PodList"
    );
    assert_eq!(
        get("/api/v1/nodes?fieldSelector=metadata.name%3Dn1").await,
        "200 NodeList"
    );
    // A name in one selector and another in the path, or two names, must not open a list.
    insta::assert_snapshot!(get("/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Dmine,metadata.name%3Dforeign").await, @"200 SecretList");
    insta::assert_snapshot!(get("/api/v1/namespaces/a/secrets?fieldSelector=metadata.name!%3Dmine").await, @r#"403 secrets is forbidden: User "system:node:n1" cannot list resource "secrets" in API group "" in the namespace "a": can only read namespaced object of this type"#);
    insta::assert_snapshot!(world.by(&n1, "DELETE", "/api/v1/namespaces/a/pods/foreign", Value::Null, "").await, @r#"403 pods "foreign" is forbidden: node "n1" can only delete pods with spec.nodeName set to itself"#);
    let merge = |name: &str| format!("/api/v1/nodes/{name}/status");
    let patch = async |name: &str, body: Value| {
        let request = Request::patch(merge(name))
            .extension(n1.clone())
            .header("content-type", "application/merge-patch+json");
        let (code, _, bytes) = world
            .as_sent(request.body(Body::from(body.to_string())).expect("a request"))
            .await;
        let answer: Value = serde_json::from_slice(&bytes).expect("json");
        format!("{code} {}", answer["message"].as_str().unwrap_or_default())
    };
    assert_eq!(patch("n1", json!({"status": {"phase": "Running"}})).await, "200 ");
    insta::assert_snapshot!(patch("n2", json!({"status": {"phase": "Running"}})).await, @r#"403 nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2""#);
    let token = async |pod: &str| {
        let (_, object) = world
            .send("GET", &format!("/api/v1/namespaces/a/pods/{pod}"), Value::Null)
            .await;
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": object["metadata"]["uid"]});
        let request = json!({"spec": {"boundObjectRef": bound}});
        world
            .by(
                &n1,
                "POST",
                "/api/v1/namespaces/a/serviceaccounts/bot/token",
                request,
                "/kind",
            )
            .await
    };
    assert_eq!(token("mine").await, "201 TokenRequest");
    insta::assert_snapshot!(token("foreign").await, @r#"403 serviceaccounts "bot" is forbidden: node requested token bound to a pod scheduled on a different node"#);
}

#[tokio::test]
async fn nobody_gives_what_they_do_not_have() {
    let world = World::complete().await;
    world.with_bot().await;
    // May write roles and bindings, and read Pods.
    let rules = json!([
        {"verbs": ["*"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
    ]);
    let rules = {
        // Every verb but `escalate` and `bind`, which lift the check.
        let mut rules = rules;
        rules[0]["verbs"] = json!(["get", "list", "create", "update", "patch", "delete"]);
        rules
    };
    world
        .create(
            &format!("{RBAC}/clusterroles"),
            json!({"metadata": {"name": "warden"}, "rules": rules}),
        )
        .await;
    let bind = |role: &str| {
        json!({"metadata": {"name": role}, "roleRef": {"kind": "ClusterRole", "name": role, "apiGroup": "rbac.authorization.k8s.io"},
            "subjects": [{"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"}]})
    };
    world
        .create(&format!("{RBAC}/namespaces/a/rolebindings"), bind("warden"))
        .await;
    let eve = User::new("eve", []);
    let role = |verb: &str| json!({"metadata": {"name": "x"}, "rules": [{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}]});
    let roles = format!("{RBAC}/namespaces/a/roles");
    insta::assert_snapshot!(world.by(&eve, "POST", &roles, role("delete"), "/kind").await, @r#"403 roles.rbac.authorization.k8s.io "x" is forbidden: user "eve" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}"#);
    assert_eq!(world.by(&eve, "POST", &roles, role("get"), "/kind").await, "201 Role");
    insta::assert_snapshot!(world.by(&eve, "PUT", &format!("{roles}/x"), role("*"), "/kind").await, @r#"403 roles.rbac.authorization.k8s.io "x" is forbidden: user "eve" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["pods"], Verbs:["*"]}"#);
    let bindings = format!("{RBAC}/namespaces/a/rolebindings");
    insta::assert_snapshot!(world.by(&eve, "POST", &bindings, bind("cluster-admin"), "/kind").await, @r#"403 rolebindings.rbac.authorization.k8s.io "cluster-admin" is forbidden: user "eve" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:["*"], Resources:["*"], Verbs:["*"]}
{NonResourceURLs:["*"], Verbs:["*"]}"#);
    insta::assert_snapshot!(world.by(&eve, "POST", &format!("{RBAC}/clusterrolebindings"), bind("warden"), "/kind").await, @r#"403 clusterrolebindings.rbac.authorization.k8s.io is forbidden: User "eve" cannot create resource "clusterrolebindings" in API group "rbac.authorization.k8s.io" at the cluster scope"#);
    let dry = format!("{bindings}?dryRun=All");
    assert!(
        world
            .by(&eve, "POST", &dry, bind("cluster-admin"), "")
            .await
            .starts_with("403 ")
    );

    // A PUT that creates needs the right to create.
    let rules = json!([{"verbs": ["update"], "apiGroups": [""], "resources": ["services"]}]);
    world
        .create(
            &format!("{RBAC}/clusterroles"),
            json!({"metadata": {"name": "updater"}, "rules": rules}),
        )
        .await;
    let mut binding = bind("updater");
    binding["subjects"][0]["name"] = "uma".into();
    world.create(&format!("{RBAC}/clusterrolebindings"), binding).await;
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    insta::assert_snapshot!(world.by(&User::new("uma", []), "PUT", "/api/v1/namespaces/a/services/s", service, "/kind").await, @r#"403 services "s" is forbidden: User "uma" cannot create resource "services" in API group "" in the namespace "a""#);
}

#[tokio::test]
async fn acting_as_somebody_takes_the_right_to() {
    let world = World::complete().await;
    let token = format!("Bearer {}", world.with_bot().await);
    let bearer = ("authorization", token.as_str());
    let pods = "/api/v1/namespaces/a/pods";
    let as_admin = [
        bearer,
        ("impersonate-user", "admin"),
        ("impersonate-group", "system:masters"),
    ];
    insta::assert_snapshot!(world.over_network(&as_admin, "GET", pods, Value::Null, "/kind").await, @r#"403 users "admin" is forbidden: User "system:serviceaccount:a:bot" cannot impersonate resource "users" in API group "" at the cluster scope"#);
    let only_group = [bearer, ("impersonate-group", "system:masters")];
    insta::assert_snapshot!(world.over_network(&only_group, "GET", pods, Value::Null, "/kind").await, @"400 requested groups without impersonating a user");
    let unknown = [("impersonate-user", "admin")];
    assert_eq!(
        world.over_network(&unknown, "GET", pods, Value::Null, "").await,
        "401 Unauthorized"
    );
    // The administrator who acts as the account has its rights, not their own.
    let request = Request::builder()
        .extension(world.admin.clone())
        .header("impersonate-user", "system:serviceaccount:a:bot");
    insta::assert_snapshot!(world.tell(request, "GET", "/api/v1/secrets", Value::Null, "/kind").await, @r#"403 secrets is forbidden: User "system:serviceaccount:a:bot" cannot list resource "secrets" in API group "" at the cluster scope"#);
}

#[tokio::test]
async fn the_chain_shapes_pods() {
    let world = World::complete().await;
    world.with_bot().await;
    let pod = |class: &str| json!({"metadata": {"name": "p"}, "spec": {"serviceAccountName": "bot", "priorityClassName": class, "containers": [{"name": "c", "image": "i"}]}});
    let (code, pod) = world
        .send("POST", "/api/v1/namespaces/a/pods", pod("system-node-critical"))
        .await;
    assert_eq!(code, 201, "{pod}");
    let spec = &pod["spec"];
    assert_eq!(spec["priority"], 2_000_001_000);
    assert_eq!(
        spec["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"],
        3607
    );
    assert_eq!(
        spec["containers"][0]["volumeMounts"][0]["mountPath"],
        "/var/run/secrets/kubernetes.io/serviceaccount"
    );
    assert_eq!(spec["tolerations"].as_array().map(Vec::len), Some(2));
    let create = async |namespace: &str| {
        world
            .by(
                &world.admin,
                "POST",
                &format!("/api/v1/namespaces/{namespace}/configmaps"),
                json!({"metadata": {"name": "c"}}),
                "/kind",
            )
            .await
    };
    insta::assert_snapshot!(create("gone").await, @r#"404 namespaces "gone" not found"#);
    assert_eq!(create("a").await, "201 ConfigMap");
    insta::assert_snapshot!(world.by(&world.admin, "DELETE", "/api/v1/namespaces/kube-system", Value::Null, "").await, @r#"403 namespaces "kube-system" is forbidden: this namespace may not be deleted"#);
}
