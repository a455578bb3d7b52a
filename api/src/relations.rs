//! How objects hang together: who owns one, which Pods it selects, and what it uses.
//!
//! Consoles follow these to draw trees and to jump; "used by" is [`uses`] read backwards.

use serde_json::Value;

use crate::selector::LabelSelector;
use crate::view::{self, list, text};

/// Another object, as one refers to it. It lives in the same namespace unless it is of cluster scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

impl Reference {
    fn core(kind: &str, name: &str) -> Self {
        Self::new("", kind, name)
    }

    fn new(group: &str, kind: &str, name: &str) -> Self {
        Self {
            group: group.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// The objects that own this one, its controller first.
pub fn owners(object: &Value) -> Vec<Reference> {
    let mut owners: Vec<_> = list(object, "/metadata/ownerReferences").iter().collect();
    owners.sort_by_key(|o| !view::flag(o, "/controller"));
    owners
        .into_iter()
        .map(|o| {
            let version = text(o, "/apiVersion");
            let group = version.split_once('/').map_or("", |(group, _)| group);
            Reference::new(group, text(o, "/kind"), text(o, "/name"))
        })
        .collect()
}

/// What an event is about.
pub fn about(object: &Value) -> Option<Reference> {
    let about = object.get("involvedObject").or_else(|| object.get("regarding"))?;
    let version = text(about, "/apiVersion");
    let group = version.split_once('/').map_or("", |(group, _)| group);
    Some(Reference::new(group, text(about, "/kind"), text(about, "/name")))
}

/// Which Pods an object selects, when it selects any.
pub fn pod_selector(object: &Value) -> Option<LabelSelector> {
    match text(object, "/kind") {
        "Service" | "ReplicationController" => {
            view::map(object, "/spec/selector").map(|map| LabelSelector::from_map(Some(map)))
        }
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "PodDisruptionBudget" => {
            LabelSelector::from_object(object.pointer("/spec/selector")).ok()
        }
        "NetworkPolicy" => LabelSelector::from_object(object.pointer("/spec/podSelector")).ok(),
        _ => None,
    }
}

/// What an object uses by name: configuration, storage, accounts, classes, services. Sorted, each once.
pub fn uses(object: &Value) -> Vec<Reference> {
    let mut uses = Vec::new();
    for path in ["/spec", "/spec/template/spec", "/spec/jobTemplate/spec/template/spec"] {
        if let Some(spec) = object.pointer(path).filter(|s| s.get("containers").is_some()) {
            pod_uses(spec, &mut uses);
        }
    }
    let named = [
        ("PersistentVolumeClaim", "/spec/volumeName", "", "PersistentVolume"),
        (
            "PersistentVolumeClaim",
            "/spec/storageClassName",
            "storage.k8s.io",
            "StorageClass",
        ),
        (
            "PersistentVolume",
            "/spec/storageClassName",
            "storage.k8s.io",
            "StorageClass",
        ),
        ("Ingress", "/spec/ingressClassName", "networking.k8s.io", "IngressClass"),
        (
            "RoleBinding",
            "/roleRef/name",
            "rbac.authorization.k8s.io",
            text(object, "/roleRef/kind"),
        ),
        (
            "ClusterRoleBinding",
            "/roleRef/name",
            "rbac.authorization.k8s.io",
            "ClusterRole",
        ),
        (
            "HorizontalPodAutoscaler",
            "/spec/scaleTargetRef/name",
            "apps",
            text(object, "/spec/scaleTargetRef/kind"),
        ),
    ];
    for (kind, path, group, used) in named {
        if text(object, "/kind") == kind {
            uses.push(Reference::new(group, used, text(object, path)));
        }
    }
    if text(object, "/kind") == "ServiceAccount" {
        for path in ["/secrets", "/imagePullSecrets"] {
            uses.extend(
                list(object, path)
                    .iter()
                    .map(|s| Reference::core("Secret", text(s, "/name"))),
            );
        }
    }
    if text(object, "/kind") == "Ingress" {
        ingress_uses(object, &mut uses);
    }
    uses.retain(|r| !r.name.is_empty());
    uses.sort();
    uses.dedup();
    uses
}

fn ingress_uses(ingress: &Value, uses: &mut Vec<Reference>) {
    let mut backend = |backend: &Value| uses.push(Reference::core("Service", text(backend, "/service/name")));
    backend(&ingress["spec"]["defaultBackend"]);
    for path in list(ingress, "/spec/rules")
        .iter()
        .flat_map(|rule| list(rule, "/http/paths"))
    {
        backend(&path["backend"]);
    }
    for tls in list(ingress, "/spec/tls") {
        uses.push(Reference::core("Secret", text(tls, "/secretName")));
    }
}

fn pod_uses(spec: &Value, uses: &mut Vec<Reference>) {
    let mut add = |kind: &str, name: &str| uses.push(Reference::core(kind, name));
    add("ServiceAccount", text(spec, "/serviceAccountName"));
    add("Node", text(spec, "/nodeName"));
    for secret in list(spec, "/imagePullSecrets") {
        add("Secret", text(secret, "/name"));
    }
    for volume in list(spec, "/volumes") {
        let sources = std::iter::once(volume).chain(list(volume, "/projected/sources"));
        for source in sources {
            add("ConfigMap", text(source, "/configMap/name"));
            add("Secret", text(source, "/secret/secretName"));
            add("Secret", text(source, "/secret/name"));
            add(
                "PersistentVolumeClaim",
                text(source, "/persistentVolumeClaim/claimName"),
            );
        }
    }
    for container in ["/containers", "/initContainers"]
        .iter()
        .flat_map(|path| list(spec, path))
    {
        for source in list(container, "/envFrom") {
            add("ConfigMap", text(source, "/configMapRef/name"));
            add("Secret", text(source, "/secretRef/name"));
        }
        for variable in list(container, "/env") {
            add("ConfigMap", text(variable, "/valueFrom/configMapKeyRef/name"));
            add("Secret", text(variable, "/valueFrom/secretKeyRef/name"));
        }
    }
    for (path, group, kind) in [
        ("/priorityClassName", "scheduling.k8s.io", "PriorityClass"),
        ("/runtimeClassName", "node.k8s.io", "RuntimeClass"),
    ] {
        uses.push(Reference::new(group, kind, text(spec, path)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(references: &[Reference]) -> String {
        let word = |r: &Reference| format!("{}.{}/{}", r.kind, r.group, r.name);
        references.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_workload_uses_what_its_pods_use() {
        let deployment = json!({"kind": "Deployment", "metadata": {"ownerReferences": [
                {"apiVersion": "v1", "kind": "A", "name": "a"}, {"apiVersion": "x.io/v1", "kind": "B", "name": "b", "controller": true}]},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"spec": {
                "serviceAccountName": "sa", "priorityClassName": "high",
                "volumes": [{"name": "v", "secret": {"secretName": "s1"}}, {"name": "w", "projected": {"sources": [{"configMap": {"name": "c1"}}]}},
                    {"name": "p", "persistentVolumeClaim": {"claimName": "data"}}],
                "containers": [{"envFrom": [{"configMapRef": {"name": "c2"}}], "env": [{"valueFrom": {"secretKeyRef": {"name": "s1"}}}]}]}}}});
        insta::assert_snapshot!(words(&uses(&deployment)), @"ConfigMap./c1 ConfigMap./c2 PersistentVolumeClaim./data Secret./s1 ServiceAccount./sa PriorityClass.scheduling.k8s.io/high");
        insta::assert_snapshot!(words(&owners(&deployment)), @"B.x.io/b A./a");
        let selector = pod_selector(&deployment).map(|s| s.to_string());
        assert_eq!(selector.as_deref(), Some("app=web"));
        assert_eq!(pod_selector(&json!({"kind": "ConfigMap"})), None);
    }
}
