//! From the names in a request to what the container runtime knows, by the labels that every kubelet sets.

use std::collections::HashMap;
use std::path::PathBuf;

use http::StatusCode;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    Container, ContainerFilter, ContainerState, ContainerStatusRequest, ListContainersRequest, ListPodSandboxRequest,
    PodSandboxFilter, PodSandboxState, PodSandboxStateValue, PodSandboxStatusRequest,
};
use serde_json::Value;
use tonic::transport::Channel;

use super::Failure;

const POD_NAME: &str = "io.kubernetes.pod.name";
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const CONTAINER_NAME: &str = "io.kubernetes.container.name";

/// The container runtime, asked for Pods.
#[derive(Clone)]
pub(super) struct Lookup {
    pub(super) containerd: Channel,
}

impl Lookup {
    fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.containerd.clone())
    }

    /// All lives of a container that the runtime still knows, the latest first.
    pub(super) async fn lives(&self, namespace: &str, pod: &str, container: &str) -> Result<Vec<Container>, Failure> {
        let labels = [(POD_NAMESPACE, namespace), (POD_NAME, pod), (CONTAINER_NAME, container)];
        let filter = ContainerFilter {
            label_selector: selector(&labels),
            ..ContainerFilter::default()
        };
        let request = ListContainersRequest { filter: Some(filter) };
        let mut containers = self.runtime().list_containers(request).await?.into_inner().containers;
        containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));
        Ok(containers)
    }

    /// The running life of a container.
    pub(super) async fn running(&self, namespace: &str, pod: &str, container: &str) -> Result<Container, Failure> {
        let lives = self.lives(namespace, pod, container).await?;
        let running = lives
            .into_iter()
            .find(|life| life.state == ContainerState::ContainerRunning as i32);
        running.ok_or_else(|| Failure {
            code: StatusCode::NOT_FOUND,
            message: format!("container not found (\"{container}\")"),
        })
    }

    /// Where a container's log is.
    pub(super) async fn log_path(&self, container_id: &str) -> Result<PathBuf, Failure> {
        let request = ContainerStatusRequest {
            container_id: container_id.to_owned(),
            verbose: false,
        };
        let status = self
            .runtime()
            .container_status(request)
            .await?
            .into_inner()
            .status
            .unwrap_or_default();
        Ok(PathBuf::from(status.log_path))
    }

    /// The network namespace of a Pod; `None` for the node's own.
    pub(super) async fn network_namespace(&self, namespace: &str, pod: &str) -> Result<Option<PathBuf>, Failure> {
        let filter = PodSandboxFilter {
            label_selector: selector(&[(POD_NAMESPACE, namespace), (POD_NAME, pod)]),
            state: Some(PodSandboxStateValue {
                state: PodSandboxState::SandboxReady as i32,
            }),
            ..PodSandboxFilter::default()
        };
        let request = ListPodSandboxRequest { filter: Some(filter) };
        let sandbox = self.runtime().list_pod_sandbox(request).await?.into_inner().items.pop();
        let sandbox = sandbox.ok_or_else(|| Failure {
            code: StatusCode::NOT_FOUND,
            message: format!("pod \"{namespace}/{pod}\" does not run on this node"),
        })?;
        let request = PodSandboxStatusRequest {
            pod_sandbox_id: sandbox.id,
            verbose: true,
        };
        let info = self.runtime().pod_sandbox_status(request).await?.into_inner().info;
        let info: Value = info
            .get("info")
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let namespaces = info.pointer("/runtimeSpec/linux/namespaces").and_then(Value::as_array);
        let network = namespaces
            .into_iter()
            .flatten()
            .find(|entry| entry["type"] == "network");
        // One without a path was made for the sandbox and is found through its process.
        Ok(
            network.and_then(|entry| match (entry["path"].as_str(), info["pid"].as_u64()) {
                (Some(path), _) if !path.is_empty() => Some(PathBuf::from(path)),
                (_, pid) => pid.map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net"))),
            }),
        )
    }

    pub(super) fn attach(&self) -> RuntimeServiceClient<Channel> {
        self.runtime()
    }
}

fn selector(labels: &[(&str, &str)]) -> HashMap<String, String> {
    labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
