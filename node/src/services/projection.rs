//! Services and EndpointSlices without what the node does not use. IPv4 only.

use std::net::Ipv4Addr;

use mizzen_api::client::reflector::Projection;
use serde::Deserialize;

/// The label that ties a slice to its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const AFFINITY_TIMEOUT_SECONDS: u32 = 10_800;

/// A transport protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// The lower-case name, as nftables and DNS write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// `spec.type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum ServiceType {
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalName,
}

/// A Service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(from = "raw::Service")]
pub(crate) struct Service {
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) resource_version: Box<str>,
    pub(crate) kind: ServiceType,
    /// `None` when headless, or without an IPv4 address.
    pub(crate) cluster_ip: Option<Ipv4Addr>,
    pub(crate) headless: bool,
    /// `externalIPs` and the addresses of its load balancer.
    pub(crate) external_ips: Vec<Ipv4Addr>,
    pub(crate) external_name: Box<str>,
    pub(crate) ports: Vec<ServicePort>,
    pub(crate) external_local: bool,
    pub(crate) internal_local: bool,
    /// The timeout of ClientIP affinity.
    pub(crate) affinity_seconds: Option<u32>,
}

/// One port of a Service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServicePort {
    #[serde(default)]
    pub(crate) name: Box<str>,
    #[serde(default)]
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    #[serde(default)]
    pub(crate) node_port: u16,
}

/// An EndpointSlice; one of another address family has no endpoints.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(from = "raw::EndpointSlice")]
pub(crate) struct EndpointSlice {
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) resource_version: Box<str>,
    pub(crate) service: Box<str>,
    pub(crate) ports: Vec<EndpointPort>,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// One port of every endpoint of a slice.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct EndpointPort {
    pub(crate) name: Box<str>,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

/// One backend.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Endpoint {
    pub(crate) address: Ipv4Addr,
    pub(crate) node: Box<str>,
    pub(crate) hostname: Box<str>,
    pub(crate) ready: bool,
    pub(crate) serving: bool,
    pub(crate) terminating: bool,
}

macro_rules! projection {
    ($type:ty) => {
        impl Projection for $type {
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
    };
}

projection!(Service);
projection!(EndpointSlice);

/// The objects as the API writes them; every field may be missing or null.
mod raw {
    use super::*;
    use std::collections::HashMap;

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    pub(super) struct Metadata {
        namespace: Box<str>,
        name: Box<str>,
        resource_version: Box<str>,
        labels: Option<HashMap<Box<str>, Box<str>>>,
    }

    #[derive(Deserialize)]
    pub(super) struct Service {
        metadata: Metadata,
        #[serde(default)]
        spec: Spec,
        #[serde(default)]
        status: Status,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Spec {
        #[serde(rename = "type")]
        kind: ServiceType,
        #[serde(rename = "clusterIP")]
        cluster_ip: Box<str>,
        #[serde(rename = "clusterIPs")]
        cluster_ips: Option<Vec<Box<str>>>,
        #[serde(rename = "externalIPs")]
        external_ips: Option<Vec<Box<str>>>,
        external_name: Box<str>,
        ports: Option<Vec<ServicePort>>,
        external_traffic_policy: Box<str>,
        internal_traffic_policy: Box<str>,
        session_affinity: Box<str>,
        session_affinity_config: Option<AffinityConfig>,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct AffinityConfig {
        #[serde(rename = "clientIP")]
        client_ip: Option<ClientIp>,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct ClientIp {
        timeout_seconds: Option<u32>,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Status {
        load_balancer: LoadBalancer,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct LoadBalancer {
        ingress: Option<Vec<Ingress>>,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Ingress {
        ip: Box<str>,
        ip_mode: Box<str>,
    }

    impl From<Service> for super::Service {
        fn from(raw: Service) -> Self {
            let (metadata, spec) = (raw.metadata, raw.spec);
            let ingress = raw.status.load_balancer.ingress.unwrap_or_default();
            // With mode Proxy the balancer must see the traffic.
            let balanced = ingress
                .into_iter()
                .filter(|entry| &*entry.ip_mode != "Proxy")
                .map(|entry| entry.ip);
            let mut external_ips: Vec<Ipv4Addr> = spec
                .external_ips
                .into_iter()
                .flatten()
                .chain(balanced)
                .filter_map(|ip| ip.parse().ok())
                .collect();
            external_ips.sort_unstable();
            external_ips.dedup();
            let affinity = (&*spec.session_affinity == "ClientIP").then(|| {
                let timeout = spec
                    .session_affinity_config
                    .and_then(|config| config.client_ip?.timeout_seconds);
                timeout.unwrap_or(AFFINITY_TIMEOUT_SECONDS)
            });
            Self {
                namespace: metadata.namespace,
                name: metadata.name,
                resource_version: metadata.resource_version,
                kind: spec.kind,
                headless: &*spec.cluster_ip == "None",
                cluster_ip: std::iter::once(spec.cluster_ip)
                    .chain(spec.cluster_ips.into_iter().flatten())
                    .find_map(|ip| ip.parse().ok()),
                external_ips,
                external_name: spec.external_name,
                ports: spec.ports.unwrap_or_default(),
                external_local: &*spec.external_traffic_policy == "Local",
                internal_local: &*spec.internal_traffic_policy == "Local",
                affinity_seconds: affinity,
            }
        }
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct EndpointSlice {
        metadata: Metadata,
        #[serde(default)]
        address_type: Box<str>,
        #[serde(default)]
        ports: Option<Vec<Port>>,
        #[serde(default)]
        endpoints: Option<Vec<Endpoint>>,
    }

    #[derive(Deserialize)]
    struct Port {
        name: Option<Box<str>>,
        protocol: Option<Protocol>,
        port: Option<u16>,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Endpoint {
        addresses: Vec<Box<str>>,
        conditions: Option<Conditions>,
        hostname: Option<Box<str>>,
        node_name: Option<Box<str>>,
    }

    #[derive(Deserialize, Default, Clone, Copy)]
    #[serde(default)]
    struct Conditions {
        ready: Option<bool>,
        serving: Option<bool>,
        terminating: Option<bool>,
    }

    impl From<EndpointSlice> for super::EndpointSlice {
        fn from(raw: EndpointSlice) -> Self {
            let metadata = raw.metadata;
            let ports = raw.ports.into_iter().flatten().filter_map(|port| {
                let (name, protocol) = (port.name.unwrap_or_default(), port.protocol.unwrap_or_default());
                Some(EndpointPort {
                    name,
                    protocol,
                    port: port.port?,
                })
            });
            let endpoints = raw.endpoints.into_iter().flatten().filter_map(|endpoint| {
                let conditions = endpoint.conditions.unwrap_or_default();
                let ready = conditions.ready.unwrap_or(true);
                Some(super::Endpoint {
                    // All addresses of an endpoint are the same backend; upstream uses the first too.
                    address: endpoint.addresses.first()?.parse().ok()?,
                    node: endpoint.node_name.unwrap_or_default(),
                    hostname: endpoint.hostname.unwrap_or_default(),
                    ready,
                    serving: conditions.serving.unwrap_or(ready),
                    terminating: conditions.terminating.unwrap_or(false),
                })
            });
            Self {
                service: metadata
                    .labels
                    .and_then(|mut labels| labels.remove(SERVICE_NAME))
                    .unwrap_or_default(),
                namespace: metadata.namespace,
                name: metadata.name,
                resource_version: metadata.resource_version,
                ports: ports.collect(),
                endpoints: if &*raw.address_type == "IPv4" {
                    endpoints.collect()
                } else {
                    Vec::new()
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn null_and_missing_fields_have_their_defaults() {
        let service: Service = serde_json::from_value(json!({
            "metadata": { "name": "a", "namespace": "b", "labels": null, "resourceVersion": "7" },
            "spec": {
                "clusterIP": "10.43.0.7", "type": "LoadBalancer", "sessionAffinity": "ClientIP", "externalIPs": null,
                "ports": [{ "port": 80, "targetPort": "web", "nodePort": 30080 }],
            },
            "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.1", "ipMode": "VIP" }, { "ip": "192.0.2.2", "ipMode": "Proxy" }] } },
        }))
        .expect("a Service");
        assert_eq!(service.cluster_ip, Some([10, 43, 0, 7].into()));
        assert_eq!(service.external_ips, [Ipv4Addr::new(192, 0, 2, 1)]);
        assert_eq!(service.affinity_seconds, Some(10_800));
        assert_eq!(service.ports[0].node_port, 30080);
        assert!(!service.headless && !service.external_local);

        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": { "name": "a-1", "namespace": "b", "labels": { SERVICE_NAME: "a" } },
            "addressType": "IPv4",
            "ports": [{ "port": 8080, "protocol": "UDP", "name": null }, { "name": "all" }],
            "endpoints": [
                { "addresses": ["10.42.0.5"], "conditions": null },
                { "addresses": ["10.42.0.6"], "conditions": { "ready": false, "serving": true, "terminating": true } },
            ],
        }))
        .expect("a slice");
        assert_eq!(&*slice.service, "a");
        assert_eq!(
            slice.ports,
            [EndpointPort {
                name: "".into(),
                protocol: Protocol::Udp,
                port: 8080
            }]
        );
        assert!(slice.endpoints[0].ready && slice.endpoints[0].serving);
        assert!(!slice.endpoints[1].ready && slice.endpoints[1].serving && slice.endpoints[1].terminating);
    }
}
