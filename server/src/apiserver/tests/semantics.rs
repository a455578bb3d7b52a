//! What clients may ask and what they are told, as upstream.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::World;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

fn deployment(name: &str) -> Value {
    let labels = json!({"app": name});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": 2, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }})
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

#[tokio::test]
async fn mistakes_are_named_in_upstreams_words() {
    let world = World::new().await;
    world.send("POST", MAPS, map("one")).await;
    let mut lines = Vec::new();
    let requests = [
        ("POST", MAPS.to_owned(), map("one")),
        ("POST", MAPS.to_owned(), map("Not_A_Name")),
        (
            "POST",
            MAPS.to_owned(),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "other"}}),
        ),
        ("PUT", format!("{MAPS}/two"), map("one")),
        ("PUT", format!("{MAPS}/two"), map("two")),
        ("GET", "/api/v1/nothings".into(), Value::Null),
        ("GET", "/apis/none.example/v1".into(), Value::Null),
        ("POST", "/api/v1/configmaps".into(), map("x")),
        ("DELETE", "/api/v1/namespaces".into(), Value::Null),
        ("GET", format!("{MAPS}/one/status"), Value::Null),
        ("GET", format!("{MAPS}?fieldSelector=data.a%3D1"), Value::Null),
        ("GET", format!("{MAPS}?labelSelector=a%20b"), Value::Null),
        ("GET", format!("{MAPS}?resourceVersion=x"), Value::Null),
        ("GET", format!("{MAPS}?resourceVersion=999999"), Value::Null),
        ("GET", format!("{MAPS}?resourceVersionMatch=Exact"), Value::Null),
        (
            "GET",
            format!("{MAPS}?resourceVersionMatch=Exact&resourceVersion=0"),
            Value::Null,
        ),
        (
            "GET",
            format!("{MAPS}?resourceVersionMatch=Newest&resourceVersion=1"),
            Value::Null,
        ),
        ("GET", format!("{MAPS}?sendInitialEvents=true"), Value::Null),
        (
            "GET",
            format!("{MAPS}?watch=1&resourceVersionMatch=NotOlderThan"),
            Value::Null,
        ),
        ("GET", format!("{MAPS}?watch=1&sendInitialEvents=true"), Value::Null),
        ("GET", format!("{MAPS}?continue=nonsense"), Value::Null),
        ("POST", format!("{MAPS}?dryRun=Some"), map("x")),
        ("POST", format!("{MAPS}?fieldValidation=Maybe"), map("x")),
        (
            "DELETE",
            format!("{MAPS}/one"),
            json!({"preconditions": {"uid": "other"}}),
        ),
        ("DELETE", format!("{MAPS}/one?propagationPolicy=Never"), Value::Null),
    ];
    for (method, path, body) in requests {
        let answer = world.shown(method, &path, body, &["/kind"]).await;
        let answer = match answer.find("UID in object meta: ") {
            Some(at) => format!("{}UID in object meta: …", &answer[..at]),
            None => answer,
        };
        lines.push(format!("{method} {path}\n  {answer}"));
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    POST /api/v1/namespaces/default/configmaps
      409 AlreadyExists: configmaps "one" already exists
    POST /api/v1/namespaces/default/configmaps
      422 Invalid: ConfigMap "Not_A_Name" is invalid: metadata.name: Invalid value: "Not_A_Name": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
    POST /api/v1/namespaces/default/configmaps
      400 BadRequest: the namespace of the provided object does not match the namespace sent on the request
    PUT /api/v1/namespaces/default/configmaps/two
      400 BadRequest: the name of the object (one) does not match the name on the URL (two)
    PUT /api/v1/namespaces/default/configmaps/two
      404 NotFound: configmaps "two" not found
    GET /api/v1/nothings
      404 NotFound: the server could not find the requested resource
    GET /apis/none.example/v1
      404 NotFound: the server could not find the requested resource
    POST /api/v1/configmaps
      405 MethodNotAllowed: the server does not allow this method on the requested resource
    DELETE /api/v1/namespaces
      405 MethodNotAllowed: the server does not allow this method on the requested resource
    GET /api/v1/namespaces/default/configmaps/one/status
      404 NotFound: the server could not find the requested resource
    GET /api/v1/namespaces/default/configmaps?fieldSelector=data.a%3D1
      400 BadRequest: "data.a" is not a known field selector: only "metadata.name", "metadata.namespace"
    GET /api/v1/namespaces/default/configmaps?labelSelector=a%20b
      400 BadRequest: unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt
    GET /api/v1/namespaces/default/configmaps?resourceVersion=x
      400 BadRequest: resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax
    GET /api/v1/namespaces/default/configmaps?resourceVersion=999999
      504 Timeout: Too large resource version: 999999, current: 2
    GET /api/v1/namespaces/default/configmaps?resourceVersionMatch=Exact
      422 Invalid: ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided
    GET /api/v1/namespaces/default/configmaps?resourceVersionMatch=Exact&resourceVersion=0
      422 Invalid: ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch "Exact" is forbidden for resourceVersion "0"
    GET /api/v1/namespaces/default/configmaps?resourceVersionMatch=Newest&resourceVersion=1
      422 Invalid: ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Unsupported value: "Newest": supported values: "", "Exact", "NotOlderThan"
    GET /api/v1/namespaces/default/configmaps?sendInitialEvents=true
      422 Invalid: ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list
    GET /api/v1/namespaces/default/configmaps?watch=1&resourceVersionMatch=NotOlderThan
      422 Invalid: ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided
    GET /api/v1/namespaces/default/configmaps?watch=1&sendInitialEvents=true
      422 Invalid: ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan
    GET /api/v1/namespaces/default/configmaps?continue=nonsense
      400 BadRequest: continue key is not valid: expected value at line 1 column 1
    POST /api/v1/namespaces/default/configmaps?dryRun=Some
      422 Invalid: CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: "Some": supported values: "All"
    POST /api/v1/namespaces/default/configmaps?fieldValidation=Maybe
      422 Invalid: CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Maybe": supported values: "", "Ignore", "Strict", "Warn"
    DELETE /api/v1/namespaces/default/configmaps/one
      409 Conflict: Operation cannot be fulfilled on configmaps "one": Precondition failed: UID in precondition: other, UID in object meta: …
    DELETE /api/v1/namespaces/default/configmaps/one?propagationPolicy=Never
      422 Invalid: DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Never": supported values: "Background", "Foreground", "Orphan"
    "#);
}

#[tokio::test]
async fn a_write_that_changes_nothing_keeps_the_revision() {
    let world = World::new().await;
    let (_, created) = world.send("POST", MAPS, map("one")).await;
    let path = format!("{MAPS}/one");
    let version = "/metadata/resourceVersion";
    let (code, same) = world.send("PUT", &path, created.clone()).await;
    assert_eq!((code, same.pointer(version)), (200, created.pointer(version)));
    let (code, same) = world.send("PATCH", &path, json!({"data": {"a": "1"}})).await;
    assert_eq!((code, same.pointer(version)), (200, created.pointer(version)));
    let (code, tried) = world
        .send("PATCH", &format!("{path}?dryRun=All"), json!({"data": {"a": "2"}}))
        .await;
    assert_eq!((code, &tried["data"]["a"]), (200, &json!("2")));
    let (_, kept) = world.send("GET", &path, Value::Null).await;
    assert_eq!(kept["data"]["a"], "1");
    let (code, changed) = world
        .send("PATCH", &path, json!([{"op": "add", "path": "/data/b", "value": "2"}]))
        .await;
    assert_eq!((code, &changed["data"]), (200, &json!({"a": "1", "b": "2"})));
    assert_ne!(changed.pointer(version), created.pointer(version));
}

#[tokio::test]
async fn names_are_generated() {
    let world = World::new().await;
    let nameless = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "it-"}});
    let (code, created) = world.send("POST", MAPS, nameless).await;
    let name = created["metadata"]["name"].as_str().unwrap_or_default();
    assert!(code == 201 && name.starts_with("it-") && name.len() == 8, "{created}");
}

#[tokio::test]
async fn status_and_spec_do_not_touch_each_other_and_generations_count() {
    let world = World::new().await;
    let (_, created) = world.send("POST", DEPLOYMENTS, deployment("d")).await;
    let path = format!("{DEPLOYMENTS}/d");
    assert_eq!(created["metadata"]["generation"], 1);
    let both = json!({"spec": {"replicas": 5}, "status": {"replicas": 7}});
    let (_, spec) = world.send("PATCH", &path, both.clone()).await;
    assert_eq!(
        (&spec["spec"]["replicas"], &spec["status"]["replicas"]),
        (&json!(5), &Value::Null)
    );
    assert_eq!(spec["metadata"]["generation"], 2);
    let (_, status) = world
        .send(
            "PATCH",
            &format!("{path}/status"),
            json!({"spec": {"replicas": 9}, "status": {"replicas": 7}}),
        )
        .await;
    assert_eq!(
        (&status["spec"]["replicas"], &status["status"]["replicas"]),
        (&json!(5), &json!(7))
    );
    assert_eq!(status["metadata"]["generation"], 2);

    let scale = format!("{path}/scale");
    let (_, mut got) = world.send("GET", &scale, Value::Null).await;
    assert_eq!(
        (&got["spec"]["replicas"], &got["status"]),
        (&json!(5), &json!({"replicas": 7, "selector": "app=d"}))
    );
    got["spec"]["replicas"] = 3.into();
    let (code, scaled) = world.send("PUT", &scale, got.clone()).await;
    assert_eq!((code, &scaled["spec"]["replicas"]), (200, &json!(3)));
    let (code, _) = world.send("PUT", &scale, got).await;
    assert_eq!(code, 409);
    let (_, patched) = world.send("PATCH", &scale, json!({"spec": {"replicas": 4}})).await;
    assert_eq!(patched["spec"]["replicas"], 4);
}

#[tokio::test]
async fn lists_continue_at_their_revision_and_go_on_without_it() {
    let world = World::new().await;
    for name in ["a", "b", "c", "d", "e"] {
        world.send("POST", MAPS, map(name)).await;
    }
    let names = |list: &Value| -> String {
        let items = list["items"].as_array().into_iter().flatten();
        items.filter_map(|item| item["metadata"]["name"].as_str()).collect()
    };
    let (_, first) = world.send("GET", &format!("{MAPS}?limit=2"), Value::Null).await;
    assert_eq!(
        (names(&first), &first["metadata"]["remainingItemCount"]),
        ("ab".into(), &json!(3))
    );
    let revision = first["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    world.send("DELETE", &format!("{MAPS}/d"), Value::Null).await;
    world.send("POST", MAPS, map("bb")).await;
    let token = first["metadata"]["continue"].as_str().unwrap_or_default();
    let (_, second) = world
        .send("GET", &format!("{MAPS}?limit=2&continue={token}"), Value::Null)
        .await;
    assert_eq!(
        (names(&second), second["metadata"]["resourceVersion"].as_str()),
        ("cd".into(), Some(&*revision))
    );
    let token = second["metadata"]["continue"].as_str().unwrap_or_default();
    let (_, last) = world
        .send("GET", &format!("{MAPS}?limit=2&continue={token}"), Value::Null)
        .await;
    assert_eq!(
        (names(&last), &last["metadata"]["continue"]),
        ("e".into(), &Value::Null)
    );

    let exact = format!("{MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact");
    assert_eq!(names(&world.send("GET", &exact, Value::Null).await.1), "abcde");
    assert_eq!(names(&world.send("GET", MAPS, Value::Null).await.1), "abbbce");
    let selected = format!("{MAPS}?fieldSelector=metadata.name%21%3Da");
    assert_eq!(names(&world.send("GET", &selected, Value::Null).await.1), "bbbce");
}

#[tokio::test]
async fn finalizers_and_grace_hold_objects() {
    let world = World::new().await;
    let path = format!("{MAPS}/one");
    let mut held = map("one");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.send("POST", MAPS, held).await;
    let (code, marked) = world.send("DELETE", &path, Value::Null).await;
    assert!(
        code == 200 && marked["metadata"]["deletionTimestamp"].is_string(),
        "{marked}"
    );
    let (code, _) = world
        .send(
            "PATCH",
            &path,
            json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}),
        )
        .await;
    assert_eq!(code, 422);
    let (code, _) = world
        .send("PATCH", &path, json!({"metadata": {"finalizers": null}}))
        .await;
    assert_eq!(code, 200);
    assert_eq!(world.send("GET", &path, Value::Null).await.0, 404);

    world.send("POST", DEPLOYMENTS, deployment("d")).await;
    let (_, marked) = world
        .send(
            "DELETE",
            &format!("{DEPLOYMENTS}/d"),
            json!({"propagationPolicy": "Foreground"}),
        )
        .await;
    assert_eq!(marked["metadata"]["finalizers"], json!(["foregroundDeletion"]));

    world.send("POST", PODS, pod("p")).await;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    assert_eq!(
        world
            .send("POST", &format!("{PODS}/p/binding"), binding.clone())
            .await
            .0,
        201
    );
    let (code, refused) = world.send("POST", &format!("{PODS}/p/binding"), binding).await;
    assert_eq!(
        (code, refused["message"].as_str()),
        (
            409,
            Some("Operation cannot be fulfilled on pods \"p\": pod p is already assigned to node \"n1\"")
        )
    );
    let (code, marked) = world.send("DELETE", &format!("{PODS}/p"), Value::Null).await;
    assert_eq!(
        (code, &marked["metadata"]["deletionGracePeriodSeconds"]),
        (200, &json!(30))
    );
    let (code, _) = world
        .send("DELETE", &format!("{PODS}/p?gracePeriodSeconds=0"), Value::Null)
        .await;
    assert_eq!(
        (code, world.send("GET", &format!("{PODS}/p"), Value::Null).await.0),
        (200, 404)
    );
}

#[tokio::test]
async fn namespaces_go_when_their_finalizers_are_done() {
    let world = World::new().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    world.send("POST", "/api/v1/namespaces", namespace).await;
    let (_, mut marked) = world.send("DELETE", "/api/v1/namespaces/n", Value::Null).await;
    assert_eq!(marked["status"]["phase"], "Terminating");
    marked["spec"]["finalizers"] = json!([]);
    let (code, _) = world.send("PUT", "/api/v1/namespaces/n/finalize", marked).await;
    assert_eq!(
        (code, world.send("GET", "/api/v1/namespaces/n", Value::Null).await.0),
        (200, 404)
    );
}

#[tokio::test]
async fn evictions_respect_budgets() {
    let world = World::new().await;
    let mut labelled = pod("p");
    labelled["metadata"]["labels"] = json!({"app": "p"});
    world.send("POST", PODS, labelled).await;
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    world.send("PATCH", &format!("{PODS}/p/status"), ready).await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "p"}}}});
    world.send("POST", budgets, budget).await;
    let status = |allowed: i64| {
        json!({"status": {"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 1,
        "desiredHealthy": 1, "expectedPods": 1}})
    };
    world.send("PATCH", &format!("{budgets}/b/status"), status(0)).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let (code, refused) = world
        .send("POST", &format!("{PODS}/p/eviction"), eviction.clone())
        .await;
    assert_eq!(
        (code, &refused["message"]),
        (
            429,
            &json!("Cannot evict pod as it would violate the pod's disruption budget.")
        )
    );
    world.send("PATCH", &format!("{budgets}/b/status"), status(1)).await;
    let (code, _) = world.send("POST", &format!("{PODS}/p/eviction"), eviction).await;
    assert_eq!(
        (code, world.send("GET", &format!("{PODS}/p"), Value::Null).await.0),
        (201, 404)
    );
    let (_, budget) = world.send("GET", &format!("{budgets}/b"), Value::Null).await;
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
}

async fn raw(
    world: &World,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> (u16, http::HeaderMap, Vec<u8>) {
    let mut request = Request::builder()
        .uri(path)
        .method(if path.contains("post") { "POST" } else { "GET" });
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.raw(request.body(body.into()).expect("a request")).await
}

#[tokio::test]
async fn answers_come_in_the_form_asked_for() {
    let world = World::new().await;
    world.send("POST", MAPS, map("one")).await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let (_, _, bytes) = raw(&world, MAPS, &[("accept", table)], "").await;
    let answer: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(
        (
            &answer["kind"],
            &answer["rows"][0]["cells"][0],
            &answer["rows"][0]["object"]["kind"]
        ),
        (&json!("Table"), &json!("one"), &json!("PartialObjectMetadata"))
    );
    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let (_, _, bytes) = raw(&world, &format!("{MAPS}/one"), &[("accept", partial)], "").await;
    let answer: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(
        (&answer["kind"], &answer["data"]),
        (&json!("PartialObjectMetadata"), &Value::Null)
    );
    let (_, headers, bytes) = raw(&world, &format!("{MAPS}/one"), &[("accept", "application/yaml")], "").await;
    assert_eq!(headers["content-type"], "application/yaml");
    assert!(String::from_utf8_lossy(&bytes).contains("kind: ConfigMap"));
    assert_eq!(raw(&world, MAPS, &[("accept", "text/html")], "").await.0, 406);
    let discovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let (_, headers, bytes) = raw(&world, "/apis", &[("accept", discovery)], "").await;
    let answer: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(answer["kind"], "APIGroupDiscoveryList");
    let etag = headers["etag"].to_str().expect("text").to_owned();
    assert_eq!(
        raw(&world, "/apis", &[("accept", discovery), ("if-none-match", &etag)], "")
            .await
            .0,
        304
    );
    for path in [
        "/healthz",
        "/livez?verbose",
        "/readyz/ping",
        "/metrics",
        "/version",
        "/api",
        "/apis/apps/v1",
        "/",
    ] {
        assert_eq!(raw(&world, path, &[], "").await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn hostile_bodies_are_refused() {
    let world = World::new().await;
    let post = |body: Vec<u8>| {
        let request = Request::builder()
            .method("POST")
            .uri(MAPS)
            .header("content-type", "application/json");
        world.raw(request.body(Body::from(body)).expect("a request"))
    };
    let deep = [b"{\"data\":".repeat(100_000), b"}".repeat(100_000)].concat();
    for (what, body, code) in [
        ("large", vec![b' '; 4 << 20], 413),
        ("deep", deep, 400),
        ("cut off", b"{\"kind\":".to_vec(), 400),
        ("not UTF-8", b"{\"kind\":\"\xff\"}".to_vec(), 400),
        ("empty", Vec::new(), 400),
    ] {
        let (got, _, bytes) = post(body).await;
        assert_eq!(got, code, "{what}: {}", String::from_utf8_lossy(&bytes));
    }
}
