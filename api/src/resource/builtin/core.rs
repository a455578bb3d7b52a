//! Rows of the core group.

use super::{CHANGE, Rows};

/// Verbs of the subresources that become a stream.
const CONNECT: &[&str] = &["create", "get"];
/// Verbs of the subresources that forward any HTTP request.
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

const EVENT_FIELDS: &[(&str, &str, &str)] = &[
    ("involvedObject.kind", "involvedObject.kind", ""),
    ("involvedObject.namespace", "involvedObject.namespace", ""),
    ("involvedObject.name", "involvedObject.name", ""),
    ("involvedObject.uid", "involvedObject.uid", ""),
    ("involvedObject.apiVersion", "involvedObject.apiVersion", ""),
    ("involvedObject.resourceVersion", "involvedObject.resourceVersion", ""),
    ("involvedObject.fieldPath", "involvedObject.fieldPath", ""),
    ("reason", "reason", ""),
    ("reportingComponent", "reportingComponent", ""),
    ("source", "source.component|reportingComponent", ""),
    ("type", "type", ""),
];

pub(super) fn rows(r: &mut Rows) {
    r.group("", "v1");
    r.namespaced("Binding", "bindings").review();
    r.cluster("ComponentStatus", "componentstatuses")
        .short(&["cs"])
        .computed();
    r.namespaced("ConfigMap", "configmaps").short(&["cm"]);
    r.namespaced("Endpoints", "endpoints")
        .short(&["ep"])
        .stored_at("services/endpoints");
    r.namespaced("Event", "events").short(&["ev"]).selectable(EVENT_FIELDS);
    r.namespaced("LimitRange", "limitranges").short(&["limits"]);
    r.cluster("Namespace", "namespaces")
        .short(&["ns"])
        .without_delete_collection()
        .sub("finalize", "Namespace", &["update"])
        .status()
        .selectable(&[("status.phase", "status.phase", "")]);
    r.cluster("Node", "nodes")
        .short(&["no"])
        .stored_at("minions")
        .sub("proxy", "NodeProxyOptions", PROXY)
        .status()
        .selectable(&[("spec.unschedulable", "spec.unschedulable", "false")]);
    r.namespaced("PersistentVolumeClaim", "persistentvolumeclaims")
        .short(&["pvc"])
        .status();
    r.cluster("PersistentVolume", "persistentvolumes")
        .short(&["pv"])
        .status();
    r.namespaced("Pod", "pods")
        .short(&["po"])
        .all()
        .sub("attach", "PodAttachOptions", CONNECT)
        .sub("binding", "Binding", &["create"])
        .sub("ephemeralcontainers", "Pod", CHANGE)
        .sub_of("policy", "v1", "eviction", "Eviction", &["create"])
        .sub("exec", "PodExecOptions", CONNECT)
        .sub("log", "Pod", &["get"])
        .sub("portforward", "PodPortForwardOptions", CONNECT)
        .sub("proxy", "PodProxyOptions", PROXY)
        .sub("resize", "Pod", CHANGE)
        .status()
        .selectable(&[
            ("spec.nodeName", "spec.nodeName", ""),
            ("spec.restartPolicy", "spec.restartPolicy", ""),
            ("spec.schedulerName", "spec.schedulerName", ""),
            ("spec.serviceAccountName", "spec.serviceAccountName", ""),
            ("spec.hostNetwork", "spec.hostNetwork", "false"),
            ("status.phase", "status.phase", ""),
            ("status.podIP", "status.podIP", ""),
            ("status.nominatedNodeName", "status.nominatedNodeName", ""),
        ]);
    r.namespaced("PodTemplate", "podtemplates");
    r.namespaced("ReplicationController", "replicationcontrollers")
        .short(&["rc"])
        .all()
        .stored_at("controllers")
        .scale()
        .status()
        .selectable(&[("status.replicas", "status.replicas", "0")]);
    r.namespaced("ResourceQuota", "resourcequotas")
        .short(&["quota"])
        .status();
    r.namespaced("Secret", "secrets").selectable(&[("type", "type", "")]);
    r.namespaced("ServiceAccount", "serviceaccounts").short(&["sa"]).sub_of(
        "authentication.k8s.io",
        "v1",
        "token",
        "TokenRequest",
        &["create"],
    );
    r.namespaced("Service", "services")
        .short(&["svc"])
        .all()
        .stored_at("services/specs")
        .sub("proxy", "ServiceProxyOptions", PROXY)
        .status()
        .selectable(&[("spec.clusterIP", "spec.clusterIP", ""), ("spec.type", "spec.type", "")]);
}
