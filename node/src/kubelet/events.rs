//! The kubelet's Events: about Pods and their containers, and about the node.

use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod};
use mizzen_api::client::events::{Recorder, Severity};

use super::podinfo::{Part, PodInfo};

/// Records Events in the kubelet's name.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
    node: ObjectReference,
}

impl Events {
    /// Events through `recorder`, from the node `node_name`.
    #[must_use]
    pub fn new(recorder: Recorder, node_name: &str) -> Self {
        let node = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node_name.to_owned()),
            // Upstream's kubelet uses the name for the UID, and tools look Events up by it.
            uid: Some(node_name.to_owned()),
            ..Default::default()
        };
        Self { recorder, node }
    }

    /// About the node.
    pub fn node(&self, severity: Severity, reason: &str, message: impl Into<String>) {
        self.recorder.event(&self.node, severity, reason, message);
    }

    /// About a Pod.
    pub fn pod(&self, pod: &Pod, severity: Severity, reason: &str, message: impl Into<String>) {
        self.recorder.event(&reference(pod, None), severity, reason, message);
    }

    /// About a container of a Pod.
    pub fn container(
        &self,
        pod: &Pod,
        container: &Container,
        severity: Severity,
        reason: &str,
        message: impl Into<String>,
    ) {
        let list = match pod.container(&container.name) {
            Some((Part::Init | Part::Sidecar, _)) => "initContainers",
            Some((Part::Ephemeral, _)) => "ephemeralContainers",
            _ => "containers",
        };
        let path = format!("spec.{list}{{{}}}", container.name);
        self.recorder
            .event(&reference(pod, Some(path)), severity, reason, message);
    }
}

fn reference(pod: &Pod, field_path: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        field_path,
        kind: Some("Pod".to_owned()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        uid: pod.metadata.uid.clone(),
    }
}
