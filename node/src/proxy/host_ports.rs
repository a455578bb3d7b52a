//! The hostPorts of this node's Pods.

use std::net::Ipv4Addr;

use mizzen_api::client::reflector::Projection;
use serde::Deserialize;

use super::rules::Plan;
use crate::services::Protocol;

/// A Pod of this node, as far as hostPorts need it.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "raw::Pod")]
pub(crate) struct HostPod {
    namespace: Box<str>,
    name: Box<str>,
    resource_version: Box<str>,
    address: Option<Ipv4Addr>,
    ports: Vec<(Ipv4Addr, Protocol, u16, u16)>,
}

impl HostPod {
    /// What the Pod needs in the table: nothing before it has an address or after it ended.
    pub(crate) fn plan(&self) -> Plan {
        self.address
            .map(|address| Plan::host_ports(address, &self.ports))
            .unwrap_or_default()
    }
}

impl Projection for HostPod {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn resource_version(&self) -> &str {
        &self.resource_version
    }
}

mod raw {
    use super::*;

    #[derive(Deserialize)]
    pub(super) struct Pod {
        metadata: Metadata,
        spec: Spec,
        #[serde(default)]
        status: Status,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Metadata {
        namespace: Box<str>,
        name: Box<str>,
        resource_version: Box<str>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Spec {
        #[serde(default)]
        host_network: Option<bool>,
        #[serde(default)]
        init_containers: Option<Vec<Container>>,
        containers: Vec<Container>,
    }

    #[derive(Deserialize)]
    struct Container {
        #[serde(default)]
        ports: Option<Vec<Port>>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Port {
        container_port: u16,
        #[serde(default)]
        host_port: Option<u16>,
        #[serde(default, rename = "hostIP")]
        host_ip: Option<Box<str>>,
        #[serde(default)]
        protocol: Option<Protocol>,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Status {
        phase: Box<str>,
        #[serde(rename = "podIP")]
        pod_ip: Option<Box<str>>,
    }

    impl From<Pod> for HostPod {
        fn from(raw: Pod) -> Self {
            let ended = matches!(&*raw.status.phase, "Succeeded" | "Failed");
            let address = raw.status.pod_ip.and_then(|ip| ip.parse().ok());
            let containers = raw
                .spec
                .init_containers
                .into_iter()
                .flatten()
                .chain(raw.spec.containers);
            let ports = containers
                .flat_map(|container| container.ports.unwrap_or_default())
                .filter_map(|port| {
                    let address = match port.host_ip.as_deref() {
                        None | Some("") => Ipv4Addr::UNSPECIFIED,
                        Some(ip) => ip.parse().ok()?,
                    };
                    let host = port.host_port.filter(|port| *port != 0)?;
                    Some((address, port.protocol.unwrap_or_default(), host, port.container_port))
                });
            let on_host = raw.spec.host_network == Some(true);
            Self {
                namespace: raw.metadata.namespace,
                name: raw.metadata.name,
                resource_version: raw.metadata.resource_version,
                address: address.filter(|_| !ended && !on_host),
                ports: if on_host { Vec::new() } else { ports.collect() },
            }
        }
    }
}
