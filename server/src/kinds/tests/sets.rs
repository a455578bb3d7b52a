//! StatefulSets, DaemonSets, budgets, volumes and claims.

use super::*;

fn with(base: Value, patch: Value) -> Value {
    let mut spec = base;
    json_patch::merge(&mut spec, &patch);
    json!({"metadata": {"name": "o", "namespace": "default"}, "spec": spec})
}

fn set(patch: Value) -> Value {
    let template =
        json!({"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    let base = json!({"selector": {"matchLabels": {"app": "db"}}, "template": template});
    with(base, patch)
}

fn claim(patch: Value) -> Value {
    let base = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    with(base, patch)
}

fn volume(patch: Value) -> Value {
    let base = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/data"}});
    with(base, patch)
}

fn check(kind: &str, object: Value, expect: &[&str]) {
    assert_eq!(problems(kind, object.clone()), expect, "{object}");
}

#[test]
fn stateful_sets() {
    let whole = defaulted(
        "StatefulSet",
        set(json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}}]})),
    );
    let mut spec = whole["spec"].clone();
    spec["template"] = Value::Null;
    insta::assert_snapshot!(spec, @r#"{"persistentVolumeClaimRetentionPolicy":{"whenDeleted":"Retain","whenScaled":"Retain"},"podManagementPolicy":"OrderedReady","replicas":1,"revisionHistoryLimit":10,"selector":{"matchLabels":{"app":"db"}},"template":null,"updateStrategy":{"rollingUpdate":{"maxUnavailable":1,"partition":0},"type":"RollingUpdate"},"volumeClaimTemplates":[{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"data"},"spec":{"volumeMode":"Filesystem"},"status":{"phase":"Pending"}}]}"#);
    check("StatefulSet", set(json!({})), &[]);
    check(
        "StatefulSet",
        set(json!({"podManagementPolicy": "x"})),
        &[r#"spec.podManagementPolicy: Invalid value: "x": must be 'OrderedReady' or 'Parallel'"#],
    );
    check(
        "StatefulSet",
        set(json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}})),
        &[
            r#"spec.updateStrategy.rollingUpdate: Invalid value: {"partition":1}: only allowed for updateStrategy 'RollingUpdate'"#,
        ],
    );
    check(
        "StatefulSet",
        set(json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}})),
        &["spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0"],
    );
    check(
        "StatefulSet",
        set(json!({"selector": {"matchLabels": null}})),
        &["spec.selector: Invalid value: {}: empty selector is invalid for statefulset"],
    );
    check(
        "StatefulSet",
        set(json!({"template": {"spec": {"restartPolicy": "Never"}}})),
        &[r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#],
    );
    let mounting = |claims: Value| {
        let mounts = json!([{"name": "data", "mountPath": "/data"}]);
        let containers = json!([{"name": "c", "image": "i:1", "volumeMounts": mounts}]);
        set(json!({"template": {"spec": {"containers": containers}}, "volumeClaimTemplates": claims}))
    };
    check("StatefulSet", mounting(json!([{"metadata": {"name": "data"}}])), &[]);
    check(
        "StatefulSet",
        mounting(json!([])),
        &[r#"spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data""#],
    );
    let to = |patch| update_problems("StatefulSet", set(json!({})), set(patch));
    assert_eq!(to(json!({"replicas": 3, "minReadySeconds": 1})), [""; 0]);
    insta::assert_snapshot!(to(json!({"serviceName": "x"})).join("\n"), @"spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
}

#[test]
fn daemon_sets() {
    let rolling = |patch| set(json!({"updateStrategy": {"rollingUpdate": patch}}));
    check("DaemonSet", set(json!({})), &[]);
    check(
        "DaemonSet",
        rolling(json!({"maxUnavailable": 0, "maxSurge": "10%"})),
        &[],
    );
    check(
        "DaemonSet",
        rolling(json!({"maxUnavailable": 0})),
        &["spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0 when maxSurge is 0"],
    );
    check(
        "DaemonSet",
        rolling(json!({"maxUnavailable": 1, "maxSurge": 1})),
        &[
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
        ],
    );
}

#[test]
fn a_daemon_set_counts_its_templates() {
    let row = row("DaemonSet");
    let context = Context {
        resource: &row,
        subresource: "",
    };
    let mut old = defaulted("DaemonSet", set(json!({})));
    strategy(&row).prepare_create(&context, &mut old);
    let generation = |patch: Value| {
        let mut new = defaulted("DaemonSet", set(patch));
        strategy(&row).prepare_update(&context, &mut new, &old);
        new["metadata"]["annotations"]["deprecated.daemonset.template.generation"].clone()
    };
    assert_eq!(generation(json!({"minReadySeconds": 3})), "1");
    assert_eq!(generation(json!({"template": {"spec": {"hostNetwork": true}}})), "2");
}

#[test]
fn budgets() {
    let budget = |patch| with(json!({"selector": {"matchLabels": {"app": "db"}}}), patch);
    check("PodDisruptionBudget", budget(json!({"minAvailable": "50%"})), &[]);
    let both = problems(
        "PodDisruptionBudget",
        budget(json!({"minAvailable": 1, "maxUnavailable": 1})),
    );
    assert!(
        both[0].ends_with("minAvailable and maxUnavailable cannot be both set"),
        "{both:?}"
    );
    check(
        "PodDisruptionBudget",
        budget(json!({"minAvailable": -1})),
        &["spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"],
    );
}

#[test]
fn claims() {
    check("PersistentVolumeClaim", claim(json!({})), &[]);
    check(
        "PersistentVolumeClaim",
        claim(json!({"accessModes": [], "resources": null})),
        &[
            "spec.accessModes: Required value: at least 1 access mode is required",
            "spec.resources.requests.storage: Required value",
        ],
    );
    check(
        "PersistentVolumeClaim",
        claim(json!({"accessModes": ["ReadWriteOncePod", "ReadWriteMany"]})),
        &["spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"],
    );
    check(
        "PersistentVolumeClaim",
        claim(json!({"resources": {"requests": {"storage": "0"}}})),
        &[r#"spec.resources.requests.storage: Invalid value: "0": must be greater than zero"#],
    );
    let to = |patch| update_problems("PersistentVolumeClaim", claim(json!({})), claim(patch));
    assert_eq!(to(json!({"volumeName": "pv", "storageClassName": "c"})), [""; 0]);
    insta::assert_snapshot!(to(json!({"resources": {"requests": {"storage": "2Gi"}}})).join("\n"), @"spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims");
}

#[test]
fn volumes() {
    check("PersistentVolume", volume(json!({})), &[]);
    check(
        "PersistentVolume",
        volume(json!({"hostPath": null})),
        &["spec: Required value: must specify a volume type"],
    );
    check(
        "PersistentVolume",
        volume(json!({"local": {"path": "/x"}})),
        &[
            "spec.local: Forbidden: may not specify more than 1 volume type",
            "spec.nodeAffinity: Required value: Local volume requires node affinity",
        ],
    );
    let to = |patch| update_problems("PersistentVolume", volume(json!({})), volume(patch));
    assert_eq!(
        to(json!({"capacity": {"storage": "2Gi"}, "claimRef": {"name": "x"}})),
        [""; 0]
    );
    insta::assert_snapshot!(to(json!({"hostPath": {"path": "/other"}})).join("\n"), @"spec: Forbidden: spec.persistentvolumesource is immutable after creation");
}
