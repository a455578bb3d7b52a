//! Defaults and validation, kind by kind, with upstream's words.

use mizzen_api::object::Object;
use mizzen_api::resource::{Resource, builtin};
use serde_json::{Value, json};

use super::{Context, metadata, strategy};

mod sets;

fn row(kind: &str) -> std::sync::Arc<Resource> {
    builtin()
        .iter()
        .find(|row| row.kind == kind && row.version == "v1")
        .expect("a row")
        .clone()
}

fn object(value: Value) -> Object {
    value.as_object().expect("an object").clone()
}

fn defaulted(kind: &str, value: Value) -> Object {
    let row = row(kind);
    let context = Context {
        resource: &row,
        subresource: "",
    };
    let mut object = object(value);
    strategy(&row).default(&context, &mut object);
    object
}

/// What validation says of an object, after defaulting; one line each.
fn problems(kind: &str, value: Value) -> Vec<String> {
    let row = row(kind);
    let context = Context {
        resource: &row,
        subresource: "",
    };
    let errors = strategy(&row).validate(&context, &defaulted(kind, value));
    errors.iter().map(ToString::to_string).collect()
}

fn update_problems(kind: &str, old: Value, new: Value) -> Vec<String> {
    let row = row(kind);
    let context = Context {
        resource: &row,
        subresource: "",
    };
    let errors = strategy(&row).validate_update(&context, &defaulted(kind, new), &defaulted(kind, old));
    errors.iter().map(ToString::to_string).collect()
}

fn pod(patch: Value) -> Value {
    let mut spec = json!({"containers": [{"name": "c", "image": "i:1"}]});
    json_patch::merge(&mut spec, &patch);
    json!({"spec": spec})
}

fn check_pod(patch: Value, expect: &[&str]) {
    assert_eq!(problems("Pod", pod(patch.clone())), expect, "{patch}");
}

#[test]
fn kernel_parameters_have_names() {
    let sysctl = |name: &str| json!({"name": name, "value": "1"});
    let all = ["foo-", "kernel.shmmax", "safe-and-unsafe", "net/ipv4/x_y", "bar.."].map(sysctl);
    let words = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
    let name =
        |at: usize, name: &str| format!("spec.securityContext.sysctls[{at}].name: Invalid value: {name:?}: {words}");
    let found = problems("Pod", pod(json!({"securityContext": {"sysctls": all}})));
    assert_eq!(found, [name(0, "foo-"), name(4, "bar..")]);
}

#[test]
fn a_plain_pod_is_completed_and_valid() {
    let pod = defaulted("Pod", pod(json!({})));
    let spec = &pod["spec"];
    assert_eq!(
        *spec,
        json!({
            "containers": [{
                "name": "c", "image": "i:1", "imagePullPolicy": "IfNotPresent", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler", "securityContext": {}, "enableServiceLinks": true,
        })
    );
    check_pod(json!({}), &[]);
}

#[test]
fn pods() {
    let container = |patch: Value| {
        let mut container = json!({"name": "c", "image": "i:1"});
        json_patch::merge(&mut container, &patch);
        json!({"containers": [container]})
    };
    check_pod(json!({"containers": []}), &["spec.containers: Required value"]);
    check_pod(
        json!({"restartPolicy": "x"}),
        &[r#"spec.restartPolicy: Unsupported value: "x": supported values: "Always", "Never", "OnFailure""#],
    );
    check_pod(
        json!({"containers": [{"name": "a", "image": "i"}, {"name": "a"}]}),
        &[
            r#"spec.containers[1].name: Duplicate value: "a""#,
            "spec.containers[1].image: Required value",
            "spec.containers[1].imagePullPolicy: Required value",
        ],
    );
    check_pod(
        container(json!({"volumeMounts": [{"name": "v", "mountPath": "/a"}]})),
        &[r#"spec.containers[0].volumeMounts[0].name: Not found: "v""#],
    );
    check_pod(
        container(json!({"ports": [{"containerPort": 70000}]})),
        &["spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"],
    );
    check_pod(
        container(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})),
        &[r#"spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1"#],
    );
    check_pod(
        container(json!({"livenessProbe": {"successThreshold": 2, "exec": {"command": ["x"]}}})),
        &["spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"],
    );
    check_pod(
        container(json!({"readinessProbe": {}})),
        &["spec.containers[0].readinessProbe: Required value: must specify a handler type"],
    );
    check_pod(
        container(
            json!({"env": [{"name": "a", "value": "b", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}]}),
        ),
        &[
            r#"spec.containers[0].env[0].valueFrom: Invalid value: {"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.name"}}: may not be specified when `value` is not empty"#,
        ],
    );
    check_pod(
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/a/../b"}}]}),
        &[r#"spec.volumes[0].hostPath.path: Invalid value: "/a/../b": must not contain '..'"#],
    );
    check_pod(
        json!({"tolerations": [{"operator": "Equal", "effect": "x"}]}),
        &[
            r#"spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys""#,
            r#"spec.tolerations[0].effect: Unsupported value: "x": supported values: "NoExecute", "NoSchedule", "PreferNoSchedule""#,
        ],
    );
}

#[test]
fn running_pods_keep_their_spec() {
    let image = pod(json!({"containers": [{"name": "c", "image": "i:2"}]}));
    assert!(update_problems("Pod", pod(json!({})), image).is_empty());
    let tolerated = pod(json!({"tolerations": [{"key": "a", "operator": "Exists"}]}));
    assert!(update_problems("Pod", pod(json!({})), tolerated.clone()).is_empty());
    for (old, new) in [
        (pod(json!({})), pod(json!({"hostname": "x"}))),
        (tolerated, pod(json!({}))),
    ] {
        let problems = update_problems("Pod", old, new);
        assert!(
            problems[0].starts_with(
                "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
            ),
            "{problems:?}"
        );
    }
}

fn deployment(patch: Value) -> Value {
    let mut spec = json!({
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}},
    });
    json_patch::merge(&mut spec, &patch);
    json!({"spec": spec})
}

#[test]
fn deployments() {
    let done = defaulted("Deployment", deployment(json!({})));
    assert_eq!(
        done["spec"]["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
    );
    assert_eq!(done["spec"]["replicas"], 1);
    for (patch, expect) in [
        (json!({}), &[][..]),
        (
            json!({"replicas": -1}),
            &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            json!({"template": {"metadata": {"labels": {"a": "x"}}}}),
            &[
                r#"spec.template.metadata.labels: Invalid value: {"a":"x"}: `selector` does not match template `labels`"#,
            ],
        ),
        (json!({"selector": null}), &["spec.selector: Required value"]),
        (
            json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}),
            &["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"],
        ),
        (
            json!({"template": {"spec": {"restartPolicy": "Never"}}}),
            &[r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#],
        ),
        (
            json!({"progressDeadlineSeconds": 5, "minReadySeconds": 5}),
            &["spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds"],
        ),
    ] {
        assert_eq!(problems("Deployment", deployment(patch.clone())), expect, "{patch}");
    }
    assert_eq!(
        update_problems(
            "Deployment",
            deployment(json!({})),
            deployment(json!({"selector": {"matchLabels": {"c": "d"}}}))
        ),
        [r#"spec.selector: Invalid value: {"matchLabels":{"a":"b","c":"d"}}: field is immutable"#]
    );
}

#[test]
fn replication_controllers_take_their_templates_labels() {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    let done = defaulted("ReplicationController", json!({"spec": {"template": template}}));
    assert_eq!(done["spec"]["selector"], json!({"a": "b"}));
    assert_eq!(done["metadata"]["labels"], json!({"a": "b"}));
}

#[test]
fn services() {
    let done = defaulted(
        "Service",
        json!({"spec": {"type": "NodePort", "ports": [{"port": 80}]}}),
    );
    assert_eq!(
        done["spec"]["ports"],
        json!([{"port": 80, "targetPort": 80, "protocol": "TCP"}])
    );
    assert_eq!(done["spec"]["externalTrafficPolicy"], "Cluster");
    for (spec, expect) in [
        (json!({"ports": [{"port": 80}]}), &[][..]),
        (json!({}), &["spec.ports: Required value"]),
        (json!({"clusterIP": "None"}), &[]),
        (
            json!({"type": "x", "ports": [{"port": 80}]}),
            &[
                r#"spec.type: Unsupported value: "x": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort""#,
            ],
        ),
        (
            json!({"ports": [{"port": 80}, {"port": 81, "name": "b"}]}),
            &["spec.ports[0].name: Required value"],
        ),
        (
            json!({"ports": [{"port": 0}]}),
            &[
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            ],
        ),
        (json!({"type": "ExternalName"}), &["spec.externalName: Required value"]),
    ] {
        assert_eq!(problems("Service", json!({"spec": spec})), expect, "{spec}");
    }
}

#[test]
fn services_change_their_type() {
    let row = row("Service");
    let context = Context {
        resource: &row,
        subresource: "",
    };
    let all = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];
    for (from, to) in all.iter().flat_map(|from| all.map(|to| (*from, to))) {
        let mut old = defaulted(
            "Service",
            json!({"spec": {"type": from, "externalName": "a.b", "ports": [{"port": 80}]}}),
        );
        if from == "LoadBalancer" {
            old["spec"]["loadBalancerClass"] = json!("mine/own");
        }
        let mut new = old.clone();
        new["spec"]["type"] = json!(to);
        let mut new = defaulted("Service", json!(new));
        strategy(&row).prepare_update(&context, &mut new, &old);
        let errors = strategy(&row).validate(&context, &new);
        assert!(errors.is_empty(), "{from} to {to}: {errors:?}");
        let has = |field: &str| new["spec"].get(field).is_some();
        assert_eq!(has("externalTrafficPolicy"), matches!(to, "NodePort" | "LoadBalancer"));
        assert_eq!(has("allocateLoadBalancerNodePorts"), to == "LoadBalancer");
        assert_eq!(has("loadBalancerClass"), from == to && to == "LoadBalancer");
    }
    // What was changed besides is the user's mistake, and told.
    let old = defaulted(
        "Service",
        json!({"spec": {"type": "NodePort", "ports": [{"port": 80}]}}),
    );
    let changed = json!({"spec": {"type": "ClusterIP", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]}});
    let mut new = defaulted("Service", changed);
    strategy(&row).prepare_update(&context, &mut new, &old);
    let errors = strategy(&row).validate(&context, &new);
    assert_eq!(
        errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [r#"spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services"#]
    );
}

#[test]
fn secrets_never_show_their_data() {
    let done = defaulted("Secret", json!({"stringData": {"a": "b"}}));
    assert_eq!(json!(done), json!({"type": "Opaque", "data": {"a": "Yg=="}}));
    assert_eq!(
        problems("Secret", json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}})),
        ["data[tls.key]: Required value"]
    );
    let fixed = |data: &str| json!({"immutable": true, "data": {"k": data}});
    let found = update_problems("Secret", fixed("c2VjcmV0"), fixed("b3RoZXI="));
    assert_eq!(found, ["data: Forbidden: field is immutable when `immutable` is set"]);
}

#[test]
fn config_maps() {
    let found = problems("ConfigMap", json!({"data": {"a/b": ""}}));
    assert!(
        found[0].starts_with(r#"data[a/b]: Invalid value: "a/b": a valid config key must consist of"#),
        "{found:?}"
    );
    assert!(problems("ConfigMap", json!({"data": {"a": "x".repeat(1 << 21)}}))[0].contains("Too long"));
}

#[test]
fn endpoints_may_not_point_at_the_node() {
    let slice = |ip: &str| json!({"addressType": "IPv4", "endpoints": [{"addresses": [ip]}], "ports": []});
    assert!(problems("EndpointSlice", slice("10.42.0.3")).is_empty());
    assert_eq!(
        problems("EndpointSlice", slice("127.0.0.1")),
        [
            r#"endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)"#
        ]
    );
}

#[test]
fn bindings_keep_their_role() {
    let binding = |role: &str| json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": [{"kind": "User", "name": "u"}]});
    assert!(problems("RoleBinding", binding("view")).is_empty());
    assert_eq!(
        problems("ClusterRoleBinding", json!({"roleRef": {"kind": "Role", "name": "x"}})),
        [r#"roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole""#]
    );
    assert_eq!(
        update_problems("RoleBinding", binding("view"), binding("admin")),
        [
            r#"roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"admin"}: cannot change roleRef"#
        ]
    );
}

#[test]
fn names_and_metadata() {
    let check = |kind: &str, meta: Value| {
        let errors = metadata::validate(&row(kind), &object(json!({"metadata": meta})));
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(check("Pod", json!({"name": "a.b", "namespace": "d"})).is_empty());
    assert!(check("ClusterRole", json!({"name": "system:node"})).is_empty());
    assert_eq!(
        check("Namespace", json!({"name": "a", "namespace": "b"})),
        ["metadata.namespace: Forbidden: not allowed on this type"]
    );
    assert_eq!(check("Service", json!({"name": "1a", "namespace": "d"})).len(), 1);
    assert_eq!(
        check("Pod", json!({"namespace": "d"})),
        ["metadata.name: Required value: name or generateName is required"]
    );
    assert!(check("Pod", json!({"name": "a", "namespace": "d", "finalizers": ["x"]}))[0].contains("fully qualified"));
    let old = object(json!({"metadata": {"deletionTimestamp": "t", "finalizers": ["a.b/c"]}}));
    let new = object(json!({"metadata": {"deletionTimestamp": "t", "finalizers": ["a.b/c", "a.b/d"]}}));
    assert!(
        metadata::validate_update(&new, &old)[0]
            .to_string()
            .contains("no new finalizers can be added")
    );
}
