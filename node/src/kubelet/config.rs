//! From a Pod to what the runtime is asked for: the configuration of its sandbox and of each
//! container. Pure: everything looked up is handed in.

use std::collections::HashMap;
use std::path::Path;

use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, DnsConfig, ImageSpec, KeyValue, LinuxContainerConfig, LinuxPodSandboxConfig,
    Mount, PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol,
};
use k8s_openapi::api::core::v1::{Container, Pod};
use sha2::{Digest, Sha256};

use super::podinfo::PodInfo;
use super::runtime::{LocalImage, keys};
use super::{env, resources, security};

/// What a sandbox's configuration needs beside the Pod.
pub struct SandboxFacts<'a> {
    /// How many sandboxes the Pod had before.
    pub attempt: u32,
    /// Its hostname.
    pub hostname: String,
    /// Its resolver's configuration.
    pub dns: DnsConfig,
    /// Its log directory.
    pub log_dir: &'a Path,
    /// Its cgroup.
    pub cgroup_parent: String,
}

/// The sandbox's configuration.
#[must_use]
pub fn sandbox(pod: &Pod, facts: SandboxFacts<'_>) -> PodSandboxConfig {
    let mut labels: HashMap<String, String> = pod.metadata.labels.clone().unwrap_or_default().into_iter().collect();
    labels.extend(identity(pod));
    let mut annotations: HashMap<String, String> = pod
        .metadata
        .annotations
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect();
    annotations.insert(keys::GRACE_PERIOD.to_owned(), pod.grace_s().to_string());
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
            namespace: pod.namespace().to_owned(),
            attempt: facts.attempt,
        }),
        // The host's name must not be set again for a Pod that shares the host's UTS namespace.
        hostname: if pod.on_host_network() {
            String::new()
        } else {
            facts.hostname
        },
        log_directory: facts.log_dir.to_string_lossy().into_owned(),
        dns_config: Some(facts.dns),
        port_mappings: port_mappings(pod),
        labels,
        annotations,
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: facts.cgroup_parent,
            security_context: Some(security::sandbox(pod)),
            sysctls: security::sysctls(pod),
            ..Default::default()
        }),
        windows: None,
    }
}

fn identity(pod: &Pod) -> [(String, String); 3] {
    [
        (keys::POD_NAME.to_owned(), pod.name().to_owned()),
        (keys::POD_NAMESPACE.to_owned(), pod.namespace().to_owned()),
        (keys::POD_UID.to_owned(), pod.uid().to_owned()),
    ]
}

fn port_mappings(pod: &Pod) -> Vec<PortMapping> {
    let ports = pod.parts().flat_map(|(_, container)| container.ports.iter().flatten());
    ports
        .filter(|port| port.host_port.is_some_and(|port| port != 0))
        .map(|port| PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                _ => Protocol::Tcp,
            } as i32,
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or_default(),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}

/// What a container's configuration needs beside the Pod.
pub struct ContainerFacts<'a> {
    /// How often it was restarted.
    pub attempt: u32,
    /// Its image, which is present.
    pub image: &'a LocalImage,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// Its mounts.
    pub mounts: Vec<Mount>,
    /// The host's file for its termination message.
    pub termination_file: &'a Path,
    /// The node's memory, for the order of OOM kills.
    pub node_memory: i64,
    /// The runtime's id of the container whose processes it sees, for ephemeral containers.
    pub target: Option<String>,
}

/// The container's configuration.
#[must_use]
pub fn container(pod: &Pod, container: &Container, facts: ContainerFacts<'_>) -> ContainerConfig {
    let values: HashMap<String, String> = facts.env.iter().cloned().collect();
    let expanded = |list: &Option<Vec<String>>| list.iter().flatten().map(|arg| env::expand(arg, &values)).collect();
    let mut labels: HashMap<String, String> = identity(pod).into();
    labels.insert(keys::CONTAINER_NAME.to_owned(), container.name.clone());
    let policy = container.termination_message_policy.as_deref().unwrap_or("File");
    let path = termination_path(container);
    let annotations = HashMap::from([
        (keys::CONTAINER_HASH.to_owned(), hash(container)),
        (keys::CONTAINER_RESOURCES.to_owned(), resources_text(container)),
        (keys::RESTART_COUNT.to_owned(), facts.attempt.to_string()),
        (keys::TERMINATION_PATH.to_owned(), path.to_owned()),
        (keys::TERMINATION_POLICY.to_owned(), policy.to_owned()),
        (
            keys::TERMINATION_HOST_PATH.to_owned(),
            facts.termination_file.to_string_lossy().into_owned(),
        ),
        (keys::GRACE_PERIOD.to_owned(), pod.grace_s().to_string()),
    ]);
    ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: container.name.clone(),
            attempt: facts.attempt,
        }),
        image: Some(ImageSpec {
            image: facts.image.id.clone(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: facts
            .env
            .into_iter()
            .map(|(key, value)| KeyValue { key, value })
            .collect(),
        mounts: facts.mounts,
        labels,
        annotations,
        log_path: log_path(&container.name, facts.attempt),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(LinuxContainerConfig {
            resources: Some(resources::for_container(pod, container, facts.node_memory)),
            security_context: Some(security::container(pod, container, facts.image, facts.target)),
        }),
        ..Default::default()
    }
}

/// A container's log file, relative to its Pod's log directory.
#[must_use]
pub fn log_path(container: &str, attempt: u32) -> String {
    format!("{container}/{attempt}.log")
}

/// Where the container writes its termination message.
#[must_use]
pub fn termination_path(container: &Container) -> &str {
    container
        .termination_message_path
        .as_deref()
        .filter(|path| !path.is_empty())
        .unwrap_or("/dev/termination-log")
}

/// What the container asks for and may use, to be compared.
#[must_use]
pub fn resources_text(container: &Container) -> String {
    serde_json::to_string(&container.resources.clone().unwrap_or_default()).unwrap_or_default()
}

/// A digest of what a running container is restarted for when it changes: only its image can.
#[must_use]
pub fn hash(container: &Container) -> String {
    let mut digest = Sha256::new();
    digest.update(&container.name);
    digest.update([0]);
    digest.update(container.image.as_deref().unwrap_or_default());
    digest.finalize()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
