//! Patches of every kind, with upstream's outcomes and words.

use super::*;
use proptest::prelude::*;
use serde_json::json;

const POD: Expected<'static> = Expected {
    group: "",
    version: "v1",
    kind: "Pod",
};
const DEPLOYMENT: Expected<'static> = Expected {
    group: "apps",
    version: "v1",
    kind: "Deployment",
};

fn run(expected: Expected<'_>, kind: PatchType, live: Value, body: &str) -> Result<Decoded, ApiError> {
    let mut live = live.as_object().expect("an object").clone();
    let api_version = if expected.group.is_empty() {
        "v1".into()
    } else {
        format!("{}/v1", expected.group)
    };
    live.insert("apiVersion".into(), api_version.into());
    live.insert("kind".into(), expected.kind.into());
    patch(kind, body.as_bytes(), &live, expected, FieldValidation::Strict)
}

fn check(expected: Expected<'_>, kind: PatchType, live: Value, body: Value, mut outcome: Value) {
    let mut patched = run(expected, kind, live, &body.to_string())
        .unwrap_or_else(|e| panic!("{body}: {e}"))
        .object;
    patched.remove("apiVersion");
    patched.remove("kind");
    assert_eq!(Value::Object(patched), outcome.take(), "{body}");
}

fn fails(expected: Expected<'_>, kind: PatchType, live: Value, body: &str, code: u16, message: &str) {
    let error = run(expected, kind, live, body).expect_err(body);
    assert_eq!((error.code, error.message.as_str()), (code, message), "{body}");
}

#[test]
fn merge_patches() {
    let live = || json!({"metadata": {"name": "a", "labels": {"x": "1", "y": "2"}}, "spec": {"replicas": 1}});
    check(
        DEPLOYMENT,
        PatchType::Merge,
        live(),
        json!({"metadata": {"labels": {"x": null, "z": "3"}}, "spec": {"paused": true}}),
        json!({"metadata": {"name": "a", "labels": {"y": "2", "z": "3"}}, "spec": {"replicas": 1, "paused": true}}),
    );
    fails(
        DEPLOYMENT,
        PatchType::Merge,
        live(),
        "[]",
        400,
        "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
    );
    fails(
        DEPLOYMENT,
        PatchType::Merge,
        live(),
        "{",
        400,
        "error decoding patch: unexpected end of JSON input",
    );
    fails(
        DEPLOYMENT,
        PatchType::Merge,
        json!({}),
        r#"{"spec":{"foo":1}}"#,
        422,
        r#" "" is invalid: patch: Invalid value: "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"spec\":{\"foo\":1}}": strict decoding error: unknown field "spec.foo""#,
    );
    fails(
        DEPLOYMENT,
        PatchType::Merge,
        json!({}),
        r#"{"spec":{"replicas":"x"}}"#,
        422,
        r#" "" is invalid: patch: Invalid value: "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"spec\":{\"replicas\":\"x\"}}": json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"#,
    );
}

#[test]
fn json_patches() {
    let live = || json!({"metadata": {"name": "a"}, "spec": {"replicas": 1}});
    check(
        DEPLOYMENT,
        PatchType::Json,
        live(),
        json!([{"op": "test", "path": "/spec/replicas", "value": 1}, {"op": "replace", "path": "/spec/replicas", "value": 2},
               {"op": "add", "path": "/metadata/labels", "value": {"a/b": "1"}}, {"op": "add", "path": "/metadata/labels/c", "value": "2"},
               {"op": "remove", "path": "/metadata/labels/a~1b"}]),
        json!({"metadata": {"name": "a", "labels": {"c": "2"}}, "spec": {"replicas": 2}}),
    );
    let rejected = "the server rejected our request due to an error in our request";
    fails(
        DEPLOYMENT,
        PatchType::Json,
        live(),
        r#"[{"op":"test","path":"/spec/replicas","value":5}]"#,
        422,
        rejected,
    );
    fails(
        DEPLOYMENT,
        PatchType::Json,
        live(),
        r#"[{"op":"remove","path":"/spec/nothing"}]"#,
        422,
        rejected,
    );
    let many = json!(vec![
        json!({"op": "test", "path": "/spec/replicas", "value": 1});
        10_001
    ])
    .to_string();
    fails(
        DEPLOYMENT,
        PatchType::Json,
        live(),
        &many,
        413,
        "The allowed maximum operations in a JSON patch is 10000, got 10001",
    );
    let double = |n| json!({"op": "copy", "from": "/spec", "path": format!("/spec/{n}")});
    let bomb: Vec<_> = (0..40).map(double).collect();
    fails(
        DEPLOYMENT,
        PatchType::Json,
        live(),
        &json!(bomb).to_string(),
        422,
        rejected,
    );
    assert_eq!(
        run(DEPLOYMENT, PatchType::Json, live(), "{}")
            .expect_err("no list")
            .code,
        400
    );
}

#[test]
fn strategic_lists() {
    let live = || {
        json!({"spec": {"containers": [
        {"name": "a", "image": "1", "ports": [{"containerPort": 80, "protocol": "TCP"}], "args": ["x"]}, {"name": "b", "image": "2"}]}})
    };
    let containers = |items: Value| json!({"spec": {"containers": items}});
    for (patch, outcome) in [
        // items merge by key, lists without a strategy are replaced
        (
            json!([{"name": "a", "image": "3", "args": ["y", "z"]}]),
            json!([{"name": "a", "image": "3", "ports": [{"containerPort": 80, "protocol": "TCP"}], "args": ["y", "z"]}, {"name": "b", "image": "2"}]),
        ),
        // a new item goes first: nothing says where it belongs
        (
            json!([{"name": "c", "image": "4"}]),
            json!([{"name": "c", "image": "4"}, {"name": "a", "image": "1", "ports": [{"containerPort": 80, "protocol": "TCP"}], "args": ["x"]}, {"name": "b", "image": "2"}]),
        ),
        (
            json!([{"name": "a", "$patch": "delete"}]),
            json!([{"name": "b", "image": "2"}]),
        ),
        (
            json!([{"$patch": "replace"}, {"name": "c", "image": "4"}]),
            json!([{"name": "c", "image": "4"}]),
        ),
        (
            json!([{"name": "a", "ports": null, "args": null}]),
            json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]),
        ),
    ] {
        check(
            POD,
            PatchType::Strategic,
            live(),
            containers(patch),
            containers(outcome),
        );
    }
    // the order that the patch asks for
    check(
        POD,
        PatchType::Strategic,
        json!({"spec": {"containers": [{"name": "a"}, {"name": "own"}, {"name": "b"}]}}),
        json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}], "containers": [{"name": "c", "image": "1"}]}}),
        json!({"spec": {"containers": [{"name": "own"}, {"name": "b"}, {"name": "c", "image": "1"}, {"name": "a"}]}}),
    );
    let absent = r#"{"spec":{"containers":[{"image":"1"}]}}"#;
    let message = "map: map[image:1] does not contain declared merge key: name";
    fails(POD, PatchType::Strategic, live(), absent, 400, message);
    fails(
        POD,
        PatchType::Strategic,
        live(),
        r#"{"spec":{"$setElementOrder/containers":[{"name":"b"}],"containers":[{"name":"a"}]}}"#,
        400,
        "The order in patch list:\n[map[name:a]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n",
    );
    fails(
        POD,
        PatchType::Strategic,
        live(),
        r#"{"spec":{"$patch":"explode"}}"#,
        400,
        "unknown patch type: explode in map: map[]",
    );
}

#[test]
fn strategic_maps_and_scalars() {
    check(
        POD,
        PatchType::Strategic,
        json!({"metadata": {"finalizers": ["a", "b", "c"], "labels": {"x": "1", "y": "2"}}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "$setElementOrder/finalizers": ["d", "a", "c"], "finalizers": ["d"],
                            "labels": {"x": null, "nothing": null}}}),
        json!({"metadata": {"finalizers": ["d", "a", "c"], "labels": {"y": "2"}}}),
    );
    check(
        POD,
        PatchType::Strategic,
        json!({"metadata": {"labels": {"x": "1"}}}),
        json!({"metadata": {"labels": {"$patch": "replace", "z": "1"}}}),
        json!({"metadata": {"labels": {"z": "1"}}}),
    );
    check(
        DEPLOYMENT,
        PatchType::Strategic,
        json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
        json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
        json!({"spec": {"strategy": {"type": "Recreate"}}}),
    );
    fails(
        DEPLOYMENT,
        PatchType::Strategic,
        json!({"spec": {"strategy": {"type": "RollingUpdate"}}}),
        r#"{"spec":{"strategy":{"$retainKeys":["type"],"rollingUpdate":{}}}}"#,
        400,
        "invalid patch format of retainKeys",
    );
    check(
        POD,
        PatchType::Strategic,
        json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
        json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}, {"name": "w", "$retainKeys": ["name"]}]}}),
        json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w"}]}}),
    );
    // the schema's two keys do not matter here: a patch matches ports by one
    check(
        Expected {
            group: "",
            version: "v1",
            kind: "Service",
        },
        PatchType::Strategic,
        json!({"spec": {"ports": [{"port": 80, "name": "a"}]}}),
        json!({"spec": {"ports": [{"port": 80, "targetPort": 8080}, {"port": 81}]}}),
        json!({"spec": {"ports": [{"port": 80, "name": "a", "targetPort": 8080}, {"port": 81}]}}),
    );
    fails(
        POD,
        PatchType::Strategic,
        json!({}),
        r#"{"spec":{"hostNetwork":"yes","dnsPolicy":"a"}}"#,
        422,
        r#" "" is invalid: patch: Invalid value: "map[spec:map[dnsPolicy:a hostNetwork:yes]]": json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool"#,
    );
}

#[test]
fn media_types() {
    let custom = Expected {
        group: "example.com",
        version: "v1",
        kind: "Widget",
    };
    assert_eq!(
        PatchType::of("application/merge-patch+json; charset=utf-8", custom).unwrap(),
        PatchType::Merge
    );
    assert_eq!(
        PatchType::of("application/strategic-merge-patch+json", POD).unwrap(),
        PatchType::Strategic
    );
    assert_eq!(
        PatchType::of("application/strategic-merge-patch+json", custom)
            .unwrap_err()
            .code,
        415
    );
    assert_eq!(PatchType::of("application/json", POD).unwrap_err().code, 415);
}

fn patch_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        (0..3_i32).prop_map(Value::from),
        "[a-c]".prop_map(Value::from),
        prop::sample::select(vec!["delete", "replace", "merge"]).prop_map(Value::from)
    ];
    let key = prop::sample::select(vec![
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
        "$setElementOrder/finalizers",
        "metadata",
        "spec",
        "containers",
        "finalizers",
        "name",
        "image",
        "labels",
        "volumes",
        "ports",
        "containerPort",
    ]);
    leaf.prop_recursive(6, 48, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn never_panics(body in patch_json(), live in patch_json()) {
        let live = if live.is_object() { live } else { json!({"metadata": {"finalizers": ["a", "b"]}, "spec": {"containers": [{"name": "a"}]}}) };
        for kind in [PatchType::Strategic, PatchType::Merge, PatchType::Json] {
            let _ = run(POD, kind, live.clone(), &body.to_string());
        }
    }
}
