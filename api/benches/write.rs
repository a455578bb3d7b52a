//! What one write costs before it reaches the store: decoding, owners of fields, applying, encoding.

use mizzen_api::decode::{self, Expected, FieldValidation};
use mizzen_api::managed::{self, Apply, Writer};
use mizzen_api::object::{self, Object};
use mizzen_api::patch::{self, PatchType};
use serde_json::{Value, json};

fn main() {
    divan::main();
}

const POD: Expected<'static> = Expected {
    group: "",
    version: "v1",
    kind: "Pod",
};

const WRITER: Writer<'static> = Writer {
    manager: "kubelet",
    subresource: "",
    now: "2024-01-01T00:00:00Z",
};

/// A Pod of about 2 KB, as one looks after scheduling.
fn pod() -> Object {
    let container = |name: &str| {
        json!({"name": name, "image": "registry.example.com/app:1.2.3", "imagePullPolicy": "IfNotPresent",
            "env": [{"name": "A", "value": "1"}, {"name": "NODE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}}],
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3},
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}]})
    };
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-6d4f5-x2x4q", "namespace": "default", "uid": "f3a1d7a2-6a0e-4e3e-9b0f-6f5a3d1a2b3c", "labels": {"app": "web", "pod-template-hash": "6d4f5"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6d4f5", "uid": "1f3a", "controller": true, "blockOwnerDeletion": true}]},
        "spec": {"containers": [container("web"), container("sidecar")], "nodeName": "node-1", "serviceAccountName": "default", "restartPolicy": "Always",
            "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "terminationGracePeriodSeconds": 30, "enableServiceLinks": true,
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
            "volumes": [{"name": "token", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}]}}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2024-01-01T00:00:00Z"}]}});
    let mut pod = object_of(pod);
    managed::update(None, &mut pod, POD, WRITER);
    pod
}

fn object_of(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is no object"),
    }
}

#[divan::bench]
fn decode_json(bencher: divan::Bencher<'_, '_>) {
    let bytes = object::encode(&pod());
    bencher
        .counter(divan::counter::BytesCount::new(bytes.len()))
        .bench(|| decode::decode_kind("application/json", &bytes, POD, FieldValidation::Strict).expect("decodes"));
}

#[divan::bench]
fn encode(bencher: divan::Bencher<'_, '_>) {
    let pod = pod();
    bencher.bench(|| object::encode(&pod));
}

#[divan::bench]
fn owners_of_a_new_pod(bencher: divan::Bencher<'_, '_>) {
    let mut pod = pod();
    pod["metadata"]
        .as_object_mut()
        .expect("metadata")
        .remove("managedFields");
    bencher
        .with_inputs(|| pod.clone())
        .bench_values(|mut pod| managed::update(None, &mut pod, POD, WRITER));
}

#[divan::bench]
fn owners_of_a_status_change(bencher: divan::Bencher<'_, '_>) {
    let old = pod();
    let mut new = old.clone();
    new["status"]["conditions"][0]["status"] = "False".into();
    let status = Writer {
        subresource: "status",
        ..WRITER
    };
    bencher
        .with_inputs(|| new.clone())
        .bench_values(|mut new| managed::update(Some(&old), &mut new, POD, status));
}

#[divan::bench]
fn apply(bencher: divan::Bencher<'_, '_>) {
    let live = pod();
    let config = object_of(
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-6d4f5-x2x4q", "labels": {"x": "1"}},
        "spec": {"containers": [{"name": "web", "tty": true}]}}),
    );
    bencher.bench(|| {
        managed::apply(Apply {
            live: Some(&live),
            config: &config,
            expected: POD,
            writer: WRITER,
            force: false,
        })
        .expect("no conflict")
    });
}

#[divan::bench]
fn strategic_patch(bencher: divan::Bencher<'_, '_>) {
    let live = pod();
    let body = json!({"status": {"$setElementOrder/conditions": [{"type": "Ready"}], "conditions": [{"type": "Ready", "status": "False"}]}}).to_string();
    bencher.bench(|| {
        patch::patch(PatchType::Strategic, body.as_bytes(), &live, POD, FieldValidation::Warn).expect("patches")
    });
}
