//! Who owns which field, after writes of every kind.

use super::*;
use crate::decode::{self, FieldValidation};
use crate::status::ApiError;
use proptest::prelude::*;

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
const CUSTOM: Expected<'static> = Expected {
    group: "example.com",
    version: "v1",
    kind: "Widget",
};

fn writer(manager: &str) -> Writer<'_> {
    Writer {
        manager,
        subresource: "",
        now: "2024-01-01T00:00:00Z",
    }
}

fn object(value: Value) -> Object {
    value.as_object().expect("an object").clone()
}

/// `manager operation[/subresource]` and fields, one entry a line.
fn owners(object: &Object) -> String {
    let entries = object
        .metadata()
        .and_then(|m| m.get("managedFields"))
        .and_then(Value::as_array);
    let lines = entries.into_iter().flatten().map(|e| {
        let subresource = match text(e, "subresource") {
            "" => String::new(),
            subresource => format!("/{subresource}"),
        };
        format!(
            "{} {}{subresource} {}",
            text(e, "manager"),
            text(e, "operation"),
            e["fieldsV1"]
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Writes `value` over `old` and gives it the uid that a stored object has.
fn write(old: Option<&Object>, value: Value, expected: Expected<'_>, writer: Writer<'_>) -> Object {
    let mut new = object(value);
    update(old, &mut new, expected, writer);
    new.metadata_mut().insert("uid".into(), "u".into());
    new
}

fn try_apply(
    live: Option<&Object>,
    config: Value,
    expected: Expected<'_>,
    manager: &str,
    force: bool,
) -> Result<Object, ApiError> {
    let mut config = config;
    config["apiVersion"] = expected.api_version().into();
    config["kind"] = expected.kind.into();
    let body = config.to_string();
    let config = decode::decode_apply(body.as_bytes(), expected, FieldValidation::Strict)?.object;
    let writer = writer(manager);
    let merged = apply(Apply {
        live,
        config: &config,
        expected,
        writer,
        force,
    })?;
    Ok(decode::conform(merged, expected, FieldValidation::Strict)
        .expect("an outcome conforms")
        .object)
}

fn applied(live: Option<&Object>, config: Value, expected: Expected<'_>, manager: &str) -> Object {
    try_apply(live, config, expected, manager, false).unwrap_or_else(|e| panic!("{e}"))
}

fn without_owners(object: &Object) -> Value {
    let mut object = object.clone();
    object.metadata_mut().remove("managedFields");
    object.remove("apiVersion");
    object.remove("kind");
    object.into()
}

#[test]
fn a_creator_owns_what_it_sets() {
    let pod = write(
        None,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "b", "labels": {"run": "a"},
                 "ownerReferences": [{"uid": "o", "name": "n"}], "finalizers": ["x"]},
               "spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "E", "value": "1"}],
                            "ports": [{"containerPort": 80}], "resources": {}, "args": ["x"]}], "dnsPolicy": "Default"},
               "status": {"phase": "Pending"}}),
        POD,
        writer("kubectl-run"),
    );
    insta::assert_snapshot!(owners(&pod), @r#"kubectl-run Update {"f:metadata":{"f:finalizers":{".":{},"v:\"x\"":{}},"f:labels":{".":{},"f:run":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"o\"}":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:args":{},"f:env":{".":{},"k:{\"name\":\"E\"}":{".":{},"f:name":{},"f:value":{}}},"f:image":{},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}},"f:resources":{}}},"f:dnsPolicy":{}}}"#);
    let entry = &pod["metadata"]["managedFields"][0];
    assert_eq!(
        (
            text(entry, "apiVersion"),
            text(entry, "time"),
            text(entry, "fieldsType")
        ),
        ("v1", "2024-01-01T00:00:00Z", "FieldsV1")
    );
}

#[test]
fn updates_move_fields() {
    let base = json!({"metadata": {"name": "a", "labels": {"x": "1", "y": "1"}}, "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}}});
    let first = write(None, base.clone(), DEPLOYMENT, writer("one"));
    // the same again: nothing moves
    let again = write(Some(&first), base.clone(), DEPLOYMENT, writer("two"));
    assert_eq!(owners(&again), owners(&first));
    let mut changed = base.clone();
    changed["spec"]["replicas"] = 2.into();
    changed["metadata"]["labels"] = json!({"x": "1", "z": "1"});
    let second = write(Some(&first), changed, DEPLOYMENT, writer("two"));
    insta::assert_snapshot!(owners(&second), @r#"
    one Update {"f:metadata":{"f:labels":{".":{},"f:x":{}}},"f:spec":{"f:selector":{}}}
    two Update {"f:metadata":{"f:labels":{"f:z":{}}},"f:spec":{"f:replicas":{}}}
    "#);
    // a status write is an entry of its own
    let mut with_status = without_owners(&second);
    with_status["status"] = json!({"readyReplicas": 1, "conditions": [{"type": "Available", "status": "True"}]});
    let status = Writer {
        subresource: "status",
        ..writer("controller")
    };
    let third = write(Some(&second), with_status, DEPLOYMENT, status);
    insta::assert_snapshot!(owners(&third), @r#"
    controller Update/status {"f:status":{"f:conditions":{".":{},"k:{\"type\":\"Available\"}":{".":{},"f:status":{},"f:type":{}}},"f:readyReplicas":{}}}
    one Update {"f:metadata":{"f:labels":{".":{},"f:x":{}}},"f:spec":{"f:selector":{}}}
    two Update {"f:metadata":{"f:labels":{"f:z":{}}},"f:spec":{"f:replicas":{}}}
    "#);
    // removing everything that a manager owns removes its entry
    let mut removed = without_owners(&third);
    removed["metadata"]["labels"] = json!({"x": "1"});
    removed["spec"]["replicas"] = 1.into();
    let fourth = write(Some(&third), removed, DEPLOYMENT, writer("one"));
    assert!(!owners(&fourth).contains("two "), "{}", owners(&fourth));
}

#[test]
fn sent_entries() {
    let base = json!({"metadata": {"name": "a", "labels": {"x": "1"}}});
    let first = write(None, base.clone(), POD, writer("one"));
    let mut reset = base.clone();
    reset["metadata"]["managedFields"] = json!([{}]);
    let untracked = write(Some(&first), reset, POD, writer("one"));
    assert_eq!(owners(&untracked), "");
    // and stays untracked until the first apply
    let mut changed = base.clone();
    changed["metadata"]["labels"]["y"] = "2".into();
    let changed = write(Some(&untracked), changed, POD, writer("one"));
    assert_eq!(owners(&changed), "");
    let first_apply = applied(
        Some(&changed),
        json!({"metadata": {"name": "a", "labels": {"z": "1"}}}),
        POD,
        "me",
    );
    insta::assert_snapshot!(owners(&first_apply), @r#"
    me Apply {"f:metadata":{"f:labels":{"f:z":{}}}}
    before-first-apply Update {"f:metadata":{"f:labels":{".":{},"f:x":{},"f:y":{}}}}
    "#);
    // an empty list, or nonsense, changes nothing
    for sent in [
        json!([]),
        json!([{"manager": "x", "operation": "Nonsense", "fieldsType": "FieldsV1", "fieldsV1": {}}]),
    ] {
        let mut object = base.clone();
        object["metadata"]["managedFields"] = sent;
        assert_eq!(owners(&write(Some(&first), object, POD, writer("two"))), owners(&first));
    }
    // proper entries replace those that stand (kubectl migrates from client-side apply like this)
    let mut migrated = base.clone();
    migrated["metadata"]["managedFields"] = json!([{"manager": "kubectl", "operation": "Apply", "apiVersion": "v1",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": {"f:x": {}}}}}]);
    let migrated = write(Some(&first), migrated, POD, writer("two"));
    assert_eq!(
        owners(&migrated),
        r#"kubectl Apply {"f:metadata":{"f:labels":{"f:x":{}}}}"#
    );
}

#[test]
fn many_updaters_are_thrown_together() {
    let spec = json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n"}});
    let mut live = write(None, spec, POD, writer("creator"));
    for n in 0..14 {
        let mut new = without_owners(&live);
        new["metadata"]["labels"][format!("l{n}")] = "1".into();
        let name = format!("m{n:02}");
        let now = format!("2024-01-01T00:00:{n:02}Z");
        live = write(
            Some(&live),
            new,
            POD,
            Writer {
                manager: &name,
                subresource: "",
                now: &now,
            },
        );
    }
    let owners = owners(&live);
    assert_eq!(owners.lines().count(), MAX_UPDATERS);
    assert!(owners.starts_with(r#"ancient-changes Update {"f:metadata":{"f:labels":{".":{},"f:l0":{},"f:l1":{},"f:l2":{},"f:l3":{},"f:l4":{}}},"f:spec":{"f:nodeName":{}}}"#), "{owners}");
}

#[test]
fn apply_creates_merges_and_prunes() {
    let config = json!({"metadata": {"name": "a", "labels": {"x": "1"}}, "spec": {"replicas": 1, "template": {"spec": {"containers": [
        {"name": "c", "image": "i"}, {"name": "d", "image": "i", "ports": [{"containerPort": 80}]}]}}}});
    let first = applied(None, config.clone(), DEPLOYMENT, "me");
    insta::assert_snapshot!(owners(&first), @r#"me Apply {"f:metadata":{"f:labels":{"f:x":{}}},"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{}},"k:{\"name\":\"d\"}":{".":{},"f:image":{},"f:name":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}}"#);
    assert_eq!(
        applied(Some(&first), config.clone(), DEPLOYMENT, "me"),
        first,
        "a second apply changes nothing"
    );
    // another manager adds what the next apply must leave alone
    let mut other = without_owners(&first);
    other["metadata"]["labels"]["y"] = "1".into();
    other["spec"]["template"]["spec"]["containers"][0]["tty"] = true.into();
    let second = write(Some(&first), other, DEPLOYMENT, writer("other"));
    let less = json!({"metadata": {"name": "a"}, "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "j"}]}}}});
    let third = applied(Some(&second), less, DEPLOYMENT, "me");
    assert_eq!(
        without_owners(&third),
        json!({"metadata": {"name": "a", "uid": "u", "labels": {"y": "1"}},
               "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "j", "tty": true}]}}}})
    );
    insta::assert_snapshot!(owners(&third), @r#"
    me Apply {"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{}}}}}}}
    other Update {"f:metadata":{"f:labels":{"f:y":{}}},"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{"f:tty":{}}}}}}}
    "#);
}

#[test]
fn conflicts_and_force() {
    let live = write(
        None,
        json!({"metadata": {"name": "a"}, "spec": {"replicas": 1, "paused": true}}),
        DEPLOYMENT,
        writer("kubectl-client-side-apply"),
    );
    let one = || json!({"metadata": {"name": "a"}, "spec": {"replicas": 3}});
    let error = try_apply(Some(&live), one(), DEPLOYMENT, "me", false).unwrap_err();
    assert_eq!(
        error.to_status(),
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Conflict", "code": 409,
            "message": "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.replicas",
            "details": {"causes": [{"reason": "FieldManagerConflict", "field": ".spec.replicas",
                "message": "conflict with \"kubectl-client-side-apply\" using apps/v1"}]}})
    );
    let two = json!({"metadata": {"name": "a"}, "spec": {"replicas": 3, "paused": false}});
    let error = try_apply(Some(&live), two, DEPLOYMENT, "me", false).unwrap_err();
    assert_eq!(
        error.message,
        "Apply failed with 2 conflicts: conflicts with \"kubectl-client-side-apply\" using apps/v1:\n- .spec.paused\n- .spec.replicas"
    );
    let forced = try_apply(Some(&live), one(), DEPLOYMENT, "me", true).expect("force wins");
    insta::assert_snapshot!(owners(&forced), @r#"
    me Apply {"f:spec":{"f:replicas":{}}}
    kubectl-client-side-apply Update {"f:spec":{"f:paused":{}}}
    "#);
    // the same value is shared, not fought for
    let same = json!({"metadata": {"name": "a"}, "spec": {"replicas": 1}});
    let shared = applied(Some(&live), same, DEPLOYMENT, "me");
    insta::assert_snapshot!(owners(&shared), @r#"
    me Apply {"f:spec":{"f:replicas":{}}}
    kubectl-client-side-apply Update {"f:spec":{"f:paused":{},"f:replicas":{}}}
    "#);
    // list items are named by their keys; appliers by their name alone
    let ports = |port: i32| json!({"metadata": {"name": "a"}, "spec": {"template": {"spec": {"containers": [{"name": "c", "env": [{"name": "E", "value": port.to_string()}]}]}}}});
    let applied = applied(None, ports(1), DEPLOYMENT, "them");
    let error = try_apply(Some(&applied), ports(2), DEPLOYMENT, "me", false).unwrap_err();
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"them\": .spec.template.spec.containers[name=\"c\"].env[name=\"E\"].value"
    );
}

#[test]
fn configurations_that_do_not_fit() {
    let message = |config: Value| try_apply(None, config, DEPLOYMENT, "me", false).unwrap_err().message;
    assert_eq!(
        message(json!({"metadata": {"name": "a", "namespace": "n"}, "spec": {"foo": 1}})),
        "failed to create typed patch object (n/a; apps/v1, Kind=Deployment): .spec.foo: field not declared in schema"
    );
    assert_eq!(
        message(
            json!({"metadata": {"name": "a", "namespace": "n"}, "spec": {"template": {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}}})
        ),
        "failed to create typed patch object (n/a; apps/v1, Kind=Deployment): .spec.template.spec.containers: duplicate entries for key [name=\"a\"]"
    );
    assert_eq!(
        message(json!({"metadata": {"name": "a", "managedFields": [{"manager": "x", "operation": "Apply"}]}})),
        "metadata.managedFields must be nil"
    );
    let body = b"apiVersion: apps/v1beta1\nkind: Deployment\n";
    let error = decode::decode_apply(body, DEPLOYMENT, FieldValidation::Strict).unwrap_err();
    assert_eq!(
        error.message,
        "incorrect version specified in apply patch. Specified patch version: apps/v1beta1, expected: apps/v1"
    );
}

#[test]
fn kubectl_takes_over_from_client_side_apply() {
    let last = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{"replicas":1}}"#;
    let live = write(
        None,
        json!({"metadata": {"name": "a", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": last}}, "spec": {"replicas": 1, "paused": true}}),
        DEPLOYMENT,
        writer("kubectl-client-side-apply"),
    );
    let config = || json!({"metadata": {"name": "a"}, "spec": {"replicas": 2}});
    assert_eq!(
        try_apply(Some(&live), config(), DEPLOYMENT, "me", false)
            .unwrap_err()
            .code,
        409
    );
    let taken = applied(Some(&live), config(), DEPLOYMENT, "kubectl");
    assert_eq!(taken["spec"]["replicas"], 2);
    assert_eq!(
        taken["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"],
        "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"a\"},\"spec\":{\"replicas\":2}}\n"
    );
    // what client-side apply did not set is still in the way
    let paused = json!({"metadata": {"name": "a"}, "spec": {"paused": false}});
    assert_eq!(
        try_apply(Some(&live), paused, DEPLOYMENT, "kubectl", false)
            .unwrap_err()
            .code,
        409
    );
}

#[test]
fn kinds_without_a_schema() {
    let first = applied(
        None,
        json!({"metadata": {"name": "a", "labels": {"x": "1"}}, "spec": {"a": {"b": 1, "c": [1, 2]}}}),
        CUSTOM,
        "me",
    );
    insta::assert_snapshot!(owners(&first), @r#"me Apply {"f:metadata":{"f:labels":{"f:x":{}}},"f:spec":{".":{},"f:a":{".":{},"f:b":{},"f:c":{}}}}"#);
    let mut new = without_owners(&first);
    new["spec"]["a"]["c"] = json!([3]);
    let second = write(Some(&first), new, CUSTOM, writer("other"));
    insta::assert_snapshot!(owners(&second), @r#"
    me Apply {"f:metadata":{"f:labels":{"f:x":{}}},"f:spec":{".":{},"f:a":{".":{},"f:b":{}}}}
    other Update {"f:spec":{"f:a":{"f:c":{}}}}
    "#);
}

#[test]
fn order_of_merged_lists() {
    for (live, config, merged) in [
        ("a b c", "b", "a b c"),
        ("a b c", "c a", "b c a"),
        ("a b", "x b", "a x b"),
        ("a b", "x", "a b x"),
        ("a x b y", "b a", "x b y a"),
        ("", "b a", "b a"),
    ] {
        let list = |text: &str| -> Value {
            let items: Vec<_> = text.split_whitespace().map(|n| json!({"name": n})).collect();
            json!({"metadata": {"name": "p"}, "spec": {"containers": items}})
        };
        let live = write(None, list(live), POD, writer("one"));
        let outcome = applied(Some(&live), list(config), POD, "me");
        let names: Vec<_> = outcome["spec"]["containers"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|c| text(c, "name"))
            .collect();
        assert_eq!(names.join(" "), merged, "{live:?} with {config}");
    }
}

#[test]
fn names_of_managers() {
    for (field_manager, user_agent, name) in [
        ("me", "kubectl/v1.35", "me"),
        ("", "kubectl/v1.35.0 (linux/amd64)", "kubectl"),
        ("", "", "unknown"),
        ("", "a\u{1}b/c", "a"),
    ] {
        assert_eq!(manager_name(field_manager, user_agent), name);
    }
    assert_eq!(manager_name("", &"é".repeat(200)).len(), 128);
}

/// Deployments that mostly fit.
fn deployment() -> impl Strategy<Value = Value> {
    let labels = || prop::collection::btree_map("[a-c]", "[12]", 0..3).prop_map(|m| json!(m));
    let env = prop::collection::btree_map("[A-C]", "[12]", 0..3).prop_map(|m| {
        m.into_iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect::<Vec<_>>()
    });
    let container =
        ("[a-c]", "[12]", env).prop_map(|(name, image, env)| json!({"name": name, "image": image, "env": env}));
    let containers = prop::collection::vec(container, 1..4).prop_map(|mut items| {
        items.sort_by_key(|c| c["name"].to_string());
        items.dedup_by_key(|c| c["name"].clone());
        items
    });
    let finalizers = prop::collection::btree_set("[a-c]", 0..3);
    (labels(), finalizers, prop::option::of(0..3), containers, labels()).prop_map(|(labels, finalizers, replicas, containers, selector)| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
               "metadata": {"name": "a", "labels": labels, "finalizers": finalizers},
               "spec": {"replicas": replicas, "selector": {"matchLabels": selector}, "template": {"spec": {"containers": containers}}}})
    })
}

fn conformed(value: Value) -> Object {
    decode::conform(object(value), DEPLOYMENT, FieldValidation::Strict)
        .expect("conforms")
        .object
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn writes_keep_the_books(writes in prop::collection::vec((deployment(), 0..3_usize, any::<bool>()), 1..6)) {
        let mut live: Option<Object> = None;
        for (value, manager, applies) in writes {
            let manager = ["one", "two", "three"][manager];
            let config = conformed(value);
            let mut new = if applies {
                try_apply(live.as_ref(), config.clone().into(), DEPLOYMENT, manager, true).expect("forced")
            } else {
                let mut new = config.clone();
                update(live.as_ref(), &mut new, DEPLOYMENT, writer(manager));
                new
            };
            new.metadata_mut().insert("uid".into(), "u".into());
            // every owned field exists, and every entry is in upstream's form
            let fields = walk::compare_objects(DEPLOYMENT.schema(), None, &new, "status").added;
            for entry in new["metadata"]["managedFields"].as_array().into_iter().flatten() {
                prop_assert!(fields::well_formed(&entry["fieldsV1"]));
                let parsed = fields::parse(entry["fieldsV1"].as_object().expect("a map"));
                prop_assert_eq!(&Value::Object(parsed.to_map()), &entry["fieldsV1"]);
                let ghosts = parsed.difference(&fields.clone().with_parents()).paths();
                prop_assert_eq!(ghosts, Vec::<String>::new());
            }
            if applies {
                let again = try_apply(Some(&new), config.into(), DEPLOYMENT, manager, false).expect("no conflict with oneself");
                prop_assert_eq!(&again, &new);
            }
            live = Some(new);
        }
    }

    #[test]
    fn in_place_changes_agree_with_sets(a in deployment(), b in deployment()) {
        let (a, b) = (conformed(a), conformed(b));
        let set = |o: &Object| walk::compare_objects(DEPLOYMENT.schema(), None, o, "").added.to_map();
        let (x, y) = (set(&a), set(&b));
        let (mut less, mut more) = (x.clone(), x.clone());
        fields::subtract(&mut less, &fields::parse(&y));
        fields::unite(&mut more, &fields::parse(&y));
        prop_assert_eq!(less, fields::parse(&x).difference(&fields::parse(&y)).to_map());
        prop_assert_eq!(more, fields::parse(&x).union(&fields::parse(&y)).to_map());
    }
}
