//! Bodies, good and bad, with upstream's words.

use super::*;
use proptest::prelude::*;
use serde_json::json;

const DEPLOYMENT: Expected<'static> = Expected {
    group: "apps",
    version: "v1",
    kind: "Deployment",
};
const POD: Expected<'static> = Expected {
    group: "",
    version: "v1",
    kind: "Pod",
};

fn read(expected: Expected<'_>, body: &str, mode: FieldValidation) -> Result<(Value, Vec<String>), String> {
    let content_type = if body.starts_with('{') || body.starts_with('[') || body.is_empty() {
        "application/json"
    } else {
        "application/yaml; charset=utf-8"
    };
    match decode_kind(content_type, body.as_bytes(), expected, mode) {
        Ok(decoded) => Ok((Value::Object(decoded.object), decoded.warnings)),
        Err(error) => Err(format!("{} {}: {}", error.code, error.reason, error.message)),
    }
}

fn fails(expected: Expected<'_>, body: &str, message: &str) {
    assert_eq!(
        read(expected, body, FieldValidation::Strict).unwrap_err(),
        format!("400 BadRequest: {message}"),
        "{body}"
    );
}

#[test]
fn values_of_wrong_types() {
    let deployment = |why: &str| format!("Deployment in version \"v1\" cannot be handled as a Deployment: {why}");
    for (body, why) in [
        (
            r#"{"spec":{"replicas":"3"}}"#,
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"spec":{"replicas":1.5}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"spec":{"replicas":99999999999}}"#,
            "json: cannot unmarshal number 99999999999 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"spec":[]}"#,
            "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec",
        ),
        (
            r#"{"metadata":{"labels":{"a":1}}}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            r#"{"spec":{"template":{"spec":{"containers":{"name":"a"}}}}}"#,
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            r#"{"spec":{"template":{"spec":{"containers":[{"env":[{"name":"a","value":true}]}]}}}}"#,
            "json: cannot unmarshal bool into Go struct field EnvVar.spec.template.spec.containers.env.value of type string",
        ),
        (
            r#"{"spec":{"strategy":{"rollingUpdate":{"maxSurge":true}}}}"#,
            "json: cannot unmarshal bool into Go struct field RollingUpdateDeployment.spec.strategy.rollingUpdate.maxSurge of type int32",
        ),
        (
            r#"{"metadata":{"creationTimestamp":"yesterday"}}"#,
            r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#,
        ),
        (
            r#"{"spec":{"template":{"spec":{"containers":[{"resources":{"limits":{"cpu":"much"}}}]}}}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ] {
        fails(DEPLOYMENT, body, &deployment(why));
    }
    fails(
        Expected {
            group: "",
            version: "v1",
            kind: "Secret",
        },
        r#"{"data":{"a":"not base64!"}}"#,
        "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte 3",
    );
}

#[test]
fn malformed_bodies() {
    for (body, why) in [
        (
            "",
            "couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)",
        ),
        (
            r#"{"kind":"Pod","#,
            r#"couldn't get version/kind; json parse error: unexpected end of JSON input ({"kind":"Pod",)"#,
        ),
        (
            r#"{"kind":x}"#,
            r#"couldn't get version/kind; json parse error: invalid character 'x' looking for beginning of value ({"kind":x})"#,
        ),
        (
            r#"{"kind" "Pod"}"#,
            r#"couldn't get version/kind; json parse error: invalid character '"' after object key ({"kind" "Pod"})"#,
        ),
        (
            r#"{"kind":"Pod"} x"#,
            r#"couldn't get version/kind; json parse error: invalid character 'x' after top-level value ({"kind":"Pod"} x)"#,
        ),
        (
            r#"{"kind":1}"#,
            r#"couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string ({"kind":1})"#,
        ),
    ] {
        fails(
            POD,
            body,
            &format!("the object provided is unrecognized (must be of type Pod): {why}"),
        );
    }
    let deep = format!(r#"{{"spec":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(read(POD, &deep, FieldValidation::Ignore).is_err());
    let deep = format!(r#"{{"data":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let revision = Expected {
        group: "apps",
        version: "v1",
        kind: "ControllerRevision",
    };
    fails(
        revision,
        &deep,
        "ControllerRevision in version \"v1\" cannot be handled as a ControllerRevision: exceeded max depth",
    );
    let invalid = decode_kind("application/json", b"{\"kind\":\"\xff\"}", POD, FieldValidation::Ignore);
    assert_eq!(invalid.unwrap_err().code, 400);
    let other = decode_kind("text/html", b"{}", POD, FieldValidation::Ignore);
    assert_eq!(other.unwrap_err().code, 415);
}

#[test]
fn other_kinds() {
    fails(
        POD,
        r#"{"apiVersion":"v1","kind":"Service"}"#,
        r#"Service in version "v1" cannot be handled as a Pod: converting (v1.Service) to (core.Pod): unknown conversion"#,
    );
    fails(
        POD,
        r#"{"apiVersion":"v1","kind":"Nonsense"}"#,
        r#"Nonsense in version "v1" cannot be handled as a Pod: no kind "Nonsense" is registered for version "v1" in scheme "pkg/api/legacyscheme/scheme.go:30""#,
    );
    fails(
        Expected {
            group: "autoscaling",
            version: "v1",
            kind: "HorizontalPodAutoscaler",
        },
        r#"{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler"}"#,
        "the API version in the data (autoscaling/v2) does not match the expected API version (autoscaling/v1)",
    );
    let options = Expected {
        group: "",
        version: "v1",
        kind: "DeleteOptions",
    };
    let body = r#"{"apiVersion":"apps/v1","kind":"DeleteOptions","gracePeriodSeconds":0}"#;
    let (object, _) = read(options, body, FieldValidation::Strict).unwrap();
    assert_eq!(object["gracePeriodSeconds"], 0);
}

#[test]
fn unknown_and_duplicate_fields() {
    let body = r#"{"spec":{"foo":1,"paused":true,"paused":false,"template":{"spec":{"containers":[{"bar":{},"name":"a"}]}}},"metadata":{"labels":{"a":"1","a":"2"}}}"#;
    let (object, warnings) = read(DEPLOYMENT, body, FieldValidation::Warn).unwrap();
    assert_eq!(
        object,
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"labels": {"a": "2"}},
               "spec": {"paused": false, "template": {"spec": {"containers": [{"name": "a"}]}}}})
    );
    assert_eq!(
        warnings,
        [
            r#"unknown field "spec.foo""#,
            r#"duplicate field "spec.paused""#,
            r#"unknown field "spec.template.spec.containers[0].bar""#,
            r#"duplicate field "metadata.labels.a""#,
        ]
    );
    assert_eq!(read(DEPLOYMENT, body, FieldValidation::Ignore).unwrap().1, [""; 0]);
    fails(
        DEPLOYMENT,
        body,
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: \
         unknown field \"spec.foo\", duplicate field \"spec.paused\", \
         unknown field \"spec.template.spec.containers[0].bar\", duplicate field \"metadata.labels.a\"",
    );
}

#[test]
fn nulls_empties_and_canonical_values() {
    let body = r#"{"metadata":{"creationTimestamp":null,"labels":{},"annotations":{"a":null}},
        "spec":{"nodeSelector":null,"containers":[{"name":"a","args":["x",null],"env":[],"image":null,
        "resources":{"limits":{"cpu":0.5,"memory":"1024Mi"}}}],"volumes":[{"name":"v","emptyDir":{}}]},
        "status":{"startTime":"2024-01-01T02:00:00.5+02:00"}}"#;
    let (object, _) = read(POD, body, FieldValidation::Strict).unwrap();
    assert_eq!(
        object,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"annotations": {"a": ""}},
               "spec": {"containers": [{"name": "a", "args": ["x", ""], "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}],
                        "volumes": [{"name": "v", "emptyDir": {}}]},
               "status": {"startTime": "2024-01-01T00:00:00Z"}})
    );
    let lease = Expected {
        group: "coordination.k8s.io",
        version: "v1",
        kind: "Lease",
    };
    let (object, _) = read(
        lease,
        r#"{"spec":{"renewTime":"2024-01-01T00:00:00.25Z"}}"#,
        FieldValidation::Strict,
    )
    .unwrap();
    assert_eq!(object["spec"]["renewTime"], "2024-01-01T00:00:00.250000Z");
}

#[test]
fn kinds_without_a_schema_keep_everything() {
    let custom = Expected {
        group: "example.com",
        version: "v1",
        kind: "Widget",
    };
    let body = r#"{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"a","labels":{"a":1}}}"#;
    fails(
        custom,
        body,
        "Widget in version \"v1\" cannot be handled as a Widget: json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
    );
    let body =
        r#"{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"a"},"spec":{"any":[1,{"b":null}]}}"#;
    let (object, _) = read(custom, body, FieldValidation::Strict).unwrap();
    assert_eq!(object["spec"], json!({"any": [1, {"b": null}]}));
}

#[test]
fn yaml() {
    let body = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: a\n  labels: {a: 'yes', b: \"1\"}\nspec:\n  replicas: 2\n  paused: true\n  template:\n    spec:\n      containers:\n      - name: c\n        args: [a, \"5\"]\n        resources: {limits: {cpu: 1, memory: 1Gi}}\n";
    let (object, _) = read(DEPLOYMENT, body, FieldValidation::Strict).unwrap();
    assert_eq!(
        object,
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labels": {"a": "yes", "b": "1"}},
               "spec": {"replicas": 2, "paused": true, "template": {"spec": {"containers": [
                   {"name": "c", "args": ["a", "5"], "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]}}}})
    );
    let body = "kind: Deployment\nspec:\n  replicas: 2\n  replicas: 3\n";
    fails(
        DEPLOYMENT,
        body,
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: yaml: unmarshal errors:\n  line 4: key \"replicas\" already set in map",
    );
    assert_eq!(
        read(DEPLOYMENT, body, FieldValidation::Ignore).unwrap().0["spec"]["replicas"],
        3
    );
    fails(
        DEPLOYMENT,
        "kind: Deployment\nmetadata:\n  labels: {a: 1}\n",
        "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
    );
    let mut bomb = "kind: ConfigMap\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    for body in [
        bomb.as_str(),
        "a: [",
        "a: b: c",
        "- 1\n- 2",
        "hello",
        "\t- a",
        &"- ".repeat(50_000),
    ] {
        let error = read(POD, body, FieldValidation::Ignore).unwrap_err();
        assert!(
            error.starts_with("400 BadRequest: the object provided is unrecognized"),
            "{error}"
        );
    }
}

/// Bodies as kubectl 1.35 sends them for its `create` commands: group, version, kind, base64, and the object
/// as JSON.
const FROM_KUBECTL: &str = include_str!("kubectl.txt");

fn from_kubectl(line: &str) -> (Expected<'_>, Vec<u8>, Value) {
    use base64::Engine as _;
    let words: Vec<_> = line.splitn(5, ' ').collect();
    let expected = Expected {
        group: if words[0] == "core" { "" } else { words[0] },
        version: words[1],
        kind: words[2],
    };
    let body = base64::engine::general_purpose::STANDARD.decode(words[3]);
    (
        expected,
        body.expect("base64"),
        serde_json::from_str(words[4]).expect("JSON"),
    )
}

#[test]
fn protobuf_of_kubectl() {
    for line in FROM_KUBECTL.lines() {
        let (expected, body, object) = from_kubectl(line);
        let decoded = decode_kind(
            "application/vnd.kubernetes.protobuf",
            &body,
            expected,
            FieldValidation::Strict,
        );
        assert_eq!(Value::Object(decoded.expect(line).object), object, "{line}");
    }
}

#[test]
fn malformed_protobuf() {
    let media_type = "application/vnd.kubernetes.protobuf";
    let error = decode_kind(media_type, b"{}", POD, FieldValidation::Ignore).unwrap_err();
    assert_eq!(
        error.message,
        "the object provided is unrecognized (must be of type Pod): provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] ({})"
    );
    for line in FROM_KUBECTL.lines() {
        let (expected, body, _) = from_kubectl(line);
        for end in 0..body.len() {
            let _ = decode_kind(media_type, &body[..end], expected, FieldValidation::Ignore);
        }
    }
}

/// Any JSON value.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// Values that mostly fit a shape.
fn fitting(shape: crate::schema::ShapeRef<'static>, depth: u32) -> BoxedStrategy<Value> {
    use crate::schema::{Kind, Scalar};
    let right = match shape.kind() {
        Kind::Scalar(Scalar::String) => "[a-z]{0,6}".prop_map(Value::from).boxed(),
        Kind::Scalar(Scalar::Boolean) => any::<bool>().prop_map(Value::from).boxed(),
        Kind::Scalar(Scalar::Int32 | Scalar::IntOrString) => any::<i32>().prop_map(Value::from).boxed(),
        Kind::Scalar(Scalar::Int64) => any::<i64>().prop_map(Value::from).boxed(),
        Kind::Scalar(Scalar::Double) => any::<i32>().prop_map(|n| Value::from(f64::from(n) / 4.0)).boxed(),
        Kind::Scalar(Scalar::Bytes) => Just(Value::from("YWJj")).boxed(),
        Kind::Scalar(Scalar::Quantity) => "[1-9][0-9]{0,5}(m|Ki|Mi|k|e3|)".prop_map(Value::from).boxed(),
        Kind::Scalar(Scalar::Time | Scalar::MicroTime) => {
            "20[0-9]{2}-0[1-9]-1[0-9]T1[0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9}|)(Z|\\+0[0-9]:00)"
                .prop_map(Value::from)
                .boxed()
        }
        Kind::Scalar(Scalar::Object | Scalar::Any) => any_json().boxed(),
        _ if depth == 0 => Just(Value::Null).boxed(),
        Kind::Struct(ty) => {
            let fields = ty.fields();
            prop::collection::vec(any::<prop::sample::Index>(), 0..5)
                .prop_flat_map(move |picks| {
                    let chosen: Vec<_> = picks
                        .iter()
                        .filter(|_| !fields.is_empty())
                        .map(|pick| {
                            let field = &fields[pick.index(fields.len())];
                            (Just(field.name.to_string()), fitting(ty.shape(field), depth - 1))
                        })
                        .collect();
                    chosen.prop_map(|entries| Value::Object(entries.into_iter().collect()))
                })
                .boxed()
        }
        Kind::List(item) => prop::collection::vec(fitting(item, depth - 1), 0..3)
            .prop_map(Value::from)
            .boxed(),
        Kind::Map(value) => prop::collection::btree_map("[a-z]{1,4}", fitting(value, depth - 1), 0..3)
            .prop_map(|m| Value::Object(m.into_iter().collect()))
            .boxed(),
    };
    prop_oneof![30 => right, 1 => any_json()].boxed()
}

fn body() -> impl Strategy<Value = (Expected<'static>, Value)> {
    let kinds: Vec<_> = schema::builtin().types().filter(|ty| ty.gvk().is_some()).collect();
    prop::sample::select(kinds).prop_flat_map(|ty| {
        let [group, version, kind] = ty.gvk().expect("a kind");
        let fields = ty
            .fields()
            .iter()
            .filter(|f| !matches!(f.name.as_ref(), "apiVersion" | "kind"));
        let fields: Vec<_> = fields
            .map(|f| (Just(f.name.to_string()), fitting(ty.shape(f), 6)))
            .collect();
        let object = fields.prop_map(|entries| Value::Object(entries.into_iter().collect()));
        (Just(Expected { group, version, kind }), object)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), yaml in any::<bool>()) {
        let content_type = if yaml { "application/yaml" } else { "application/json" };
        let _ = decode_kind(content_type, &bytes, POD, FieldValidation::Strict);
    }

    #[test]
    fn any_change_to_protobuf_never_panics(line in 0..10_usize, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (expected, mut body, _) = from_kubectl(FROM_KUBECTL.lines().nth(line).expect("a line"));
        let at = at.index(body.len());
        body[at] = byte;
        let _ = decode_kind("application/vnd.kubernetes.protobuf", &body, expected, FieldValidation::Strict);
    }

    #[test]
    fn any_text_never_panics_as_yaml(text in "[-a:{}\\[\\], \n&*x0-9\"'|>?!%#]{0,80}") {
        let _ = decode_kind("application/yaml", text.as_bytes(), POD, FieldValidation::Strict);
    }

    #[test]
    fn decoding_again_changes_nothing((expected, value) in body()) {
        let bytes = serde_json::to_vec(&value).expect("encodes");
        if let Ok(once) = decode_kind("application/json", &bytes, expected, FieldValidation::Ignore) {
            let encoded = serde_json::to_vec(&once.object).expect("encodes");
            let twice = decode_kind("application/json", &encoded, expected, FieldValidation::Strict);
            let twice = twice.map_err(|e| TestCaseError::fail(format!("{expected:?}: {e}")))?;
            prop_assert_eq!(&twice.object, &once.object);
            prop_assert_eq!(twice.warnings, Vec::<String>::new());
            let conformed = conform(once.object.clone(), expected, FieldValidation::Strict).expect("conforms");
            prop_assert_eq!(conformed.object, once.object);
        }
    }
}
