//! What is taken and what is not, and in which words.

use serde_json::{Value, json};

use super::*;

fn pod(spec: Value) -> Pod {
    let mut spec = spec;
    spec["containers"] = spec
        .get("containers")
        .cloned()
        .unwrap_or_else(|| json!([{ "name": "a" }]));
    serde_json::from_value(json!({ "metadata": { "name": "p" }, "spec": spec })).expect("a pod")
}

fn node(more: Value) -> Node {
    let mut node = json!({
        "metadata": { "name": "n", "labels": { "kubernetes.io/os": "linux", "zone": "a", "cores": "8" } },
        "spec": {},
        "status": { "allocatable": { "cpu": "2", "memory": "1Gi", "pods": "3", "ephemeral-storage": "10Gi", "example.com/x": "1" } },
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        for (name, value) in value.as_object().into_iter().flatten() {
            node[field][name] = value.clone();
        }
    }
    serde_json::from_value(node).expect("a node")
}

fn asks(name: &str, amount: &str) -> Value {
    json!({ "containers": [{ "name": "a", "resources": { "requests": { name: amount } } }] })
}

fn port(address: &str, protocol: &str, number: i32) -> Value {
    json!({ "containers": [{ "name": "a", "ports": [{ "containerPort": 80, "hostPort": number, "hostIP": address, "protocol": protocol }] }] })
}

fn affinity(terms: Value) -> Value {
    json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } } })
}

/// One line per case: what is wrong with the Pod beside another one on the node.
fn check(cases: Vec<(&str, Value, Value, Value)>) -> String {
    let line = |(what, spec, other, on): (&str, Value, Value, Value)| {
        let other = (!other.is_null()).then(|| pod(other));
        let others: Vec<&Pod> = other.iter().collect();
        match refusal(&pod(spec), &others, &node(on)) {
            Some(refusal) => format!("{what}: {}: {}\n", refusal.reason, refusal.message),
            None => format!("{what}: taken\n"),
        }
    };
    cases.into_iter().map(line).collect()
}

#[test]
fn resources() {
    let none = || Value::Null;
    let sidecar = json!({ "initContainers": [{ "name": "s", "restartPolicy": "Always", "resources": { "requests": { "cpu": "1500m" } } }],
        "containers": [{ "name": "a", "resources": { "requests": { "cpu": "501m" } } }] });
    let mut heavy = asks("cpu", "1");
    heavy["overhead"] = json!({ "cpu": "1500m" });
    let found = check(vec![
        ("fits", asks("cpu", "2"), none(), none()),
        ("too large", asks("cpu", "3"), none(), none()),
        ("beside another", asks("cpu", "1500m"), asks("cpu", "750m"), none()),
        ("memory", asks("memory", "2Gi"), none(), none()),
        ("disk", asks("ephemeral-storage", "11Gi"), none(), none()),
        ("asks nothing", json!({}), asks("cpu", "2"), none()),
        ("with a sidecar", sidecar, none(), none()),
        ("with overhead", heavy, none(), none()),
        ("devices", asks("example.com/x", "2"), none(), none()),
        ("unknown devices", asks("example.com/y", "2"), none(), none()),
        (
            "count",
            json!({}),
            json!({}),
            json!({ "status": { "allocatable": { "pods": "1" } } }),
        ),
        (
            "unknown node",
            asks("cpu", "3"),
            none(),
            json!({ "status": { "allocatable": {} } }),
        ),
    ]);
    insta::assert_snapshot!(found, @r#"
    fits: taken
    too large: OutOfcpu: Node didn't have enough resource: cpu, requested: 3000, used: 0, capacity: 2000
    beside another: OutOfcpu: Node didn't have enough resource: cpu, requested: 1500, used: 750, capacity: 2000
    memory: OutOfmemory: Node didn't have enough resource: memory, requested: 2147483648, used: 0, capacity: 1073741824
    disk: OutOfephemeral-storage: Node didn't have enough resource: ephemeral-storage, requested: 11811160064, used: 0, capacity: 10737418240
    asks nothing: taken
    with a sidecar: OutOfcpu: Node didn't have enough resource: cpu, requested: 2001, used: 0, capacity: 2000
    with overhead: OutOfcpu: Node didn't have enough resource: cpu, requested: 2500, used: 0, capacity: 2000
    devices: OutOfexample.com/x: Node didn't have enough resource: example.com/x, requested: 2, used: 0, capacity: 1
    unknown devices: taken
    count: OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 1, capacity: 1
    unknown node: taken
    "#);
}

#[test]
fn places() {
    let none = || Value::Null;
    let expression = |key: &str, operator: &str, values: Value| {
        affinity(json!([{ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] }]))
    };
    let field = |name: &str| {
        affinity(json!([{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [name] }] }]))
    };
    let taint = |effect: &str| json!({ "spec": { "taints": [{ "key": "k", "value": "v", "effect": effect }] } });
    let tolerating = json!({ "tolerations": [{ "key": "k", "operator": "Equal", "value": "v" }] });
    let found = check(vec![
        ("selector", json!({ "nodeSelector": { "zone": "a" } }), none(), none()),
        (
            "other selector",
            json!({ "nodeSelector": { "zone": "b" } }),
            none(),
            none(),
        ),
        (
            "other system by label",
            json!({ "nodeSelector": { "kubernetes.io/os": "windows" } }),
            none(),
            none(),
        ),
        (
            "other system by field",
            json!({ "os": { "name": "windows" } }),
            none(),
            none(),
        ),
        ("in", expression("zone", "In", json!(["a", "b"])), none(), none()),
        ("not in", expression("zone", "NotIn", json!(["a"])), none(), none()),
        ("exists", expression("other", "Exists", none()), none(), none()),
        ("more", expression("cores", "Gt", json!(["7"])), none(), none()),
        ("less", expression("cores", "Lt", json!(["8"])), none(), none()),
        ("by name", field("n"), none(), none()),
        ("by other name", field("m"), none(), none()),
        ("no condition", affinity(json!([{}])), none(), none()),
        ("drained", json!({}), none(), taint("NoExecute")),
        ("drained, tolerated", tolerating, none(), taint("NoExecute")),
        ("not scheduled there", json!({}), none(), taint("NoSchedule")),
    ]);
    insta::assert_snapshot!(found, @r#"
    selector: taken
    other selector: NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector
    other system by label: PodOSSelectorNodeLabelDoesNotMatch: Failed to admit pod as the `kubernetes.io/os` label doesn't match node label
    other system by field: PodOSNotSupported: Failed to admit pod as the OS field doesn't match node OS
    in: taken
    not in: NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector
    exists: NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector
    more: taken
    less: NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector
    by name: taken
    by other name: NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector
    no condition: NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector
    drained: TaintToleration: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate
    drained, tolerated: taken
    not scheduled there: taken
    "#);
}

#[test]
fn ports() {
    let taken = || port("", "TCP", 8080);
    let found = check(vec![
        ("same", port("", "TCP", 8080), taken(), Value::Null),
        ("one address", port("10.0.0.1", "TCP", 8080), taken(), Value::Null),
        ("other protocol", port("", "UDP", 8080), taken(), Value::Null),
        ("other port", port("", "TCP", 8081), taken(), Value::Null),
        (
            "other address",
            port("10.0.0.1", "TCP", 8080),
            port("10.0.0.2", "TCP", 8080),
            Value::Null,
        ),
        ("none", json!({}), taken(), Value::Null),
    ]);
    insta::assert_snapshot!(found, @r#"
    same: NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports
    one address: NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports
    other protocol: taken
    other port: taken
    other address: taken
    none: taken
    "#);
}

#[test]
fn sysctls_and_pressure() {
    let sysctl = |name: &str| json!({ "securityContext": { "sysctls": [{ "name": name, "value": "1" }] } });
    let mut on_host = sysctl("net.ipv4.tcp_syncookies");
    on_host["hostNetwork"] = json!(true);
    let mut critical = json!({});
    critical["priority"] = json!(CRITICAL_PRIORITY);
    let under = |kind: &str| json!({ "status": { "conditions": [{ "type": kind, "status": "True" }] } });
    let found = check(vec![
        (
            "safe",
            sysctl("net/ipv4/ip_unprivileged_port_start"),
            Value::Null,
            Value::Null,
        ),
        ("unsafe", sysctl("kernel.msgmax"), Value::Null, Value::Null),
        ("on the host's network", on_host, Value::Null, Value::Null),
        ("disk is full", asks("cpu", "1"), Value::Null, under("DiskPressure")),
        ("memory is full", json!({}), Value::Null, under("MemoryPressure")),
        (
            "memory is full, asks for some",
            asks("memory", "1Mi"),
            Value::Null,
            under("MemoryPressure"),
        ),
        ("disk is full, critical", critical, Value::Null, under("DiskPressure")),
        ("ready", json!({}), Value::Null, under("Ready")),
    ]);
    insta::assert_snapshot!(found, @r#"
    safe: taken
    unsafe: SysctlForbidden: forbidden sysctl: "kernel.msgmax" not allowlisted
    on the host's network: SysctlForbidden: forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled
    disk is full: Evicted: The node had condition: [DiskPressure]. 
    memory is full: Evicted: The node had condition: [MemoryPressure]. 
    memory is full, asks for some: taken
    disk is full, critical: taken
    ready: taken
    "#);
}
