//! NetworkPolicies, and Pods and namespaces as far as policies ask about them.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use mizzen_api::client::reflector::Projection;
use mizzen_api::selector::LabelSelector;
use serde::Deserialize;

use super::Direction;
use crate::services::Protocol;

/// Labels, sorted by key.
pub(crate) type LabelPairs = Box<[(Box<str>, Box<str>)]>;

/// A policy.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "raw::NetworkPolicy")]
pub(crate) struct NetworkPolicy {
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
    resource_version: Box<str>,
    /// The Pods that it is about.
    pub(crate) selector: LabelSelector,
    /// What they may receive; `None` when it says nothing of that.
    ingress: Option<Vec<Rule>>,
    /// What they may send.
    egress: Option<Vec<Rule>>,
}

/// What is allowed: any of the peers (all, when there are none) on any of the ports (likewise).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    pub(crate) peers: Vec<Peer>,
    pub(crate) ports: Vec<PortRange>,
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Peer {
    /// Pods of the selected namespaces; of the policy's own without a selector.
    Pods {
        namespaces: Option<LabelSelector>,
        pods: LabelSelector,
    },
    /// Addresses.
    Block { cidr: Ipv4Net, except: Vec<Ipv4Net> },
    /// Somebody who cannot be met here: an IPv6 block.
    Nobody,
}

/// Ports of the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PortRange {
    All(Protocol),
    Numbers(Protocol, u16, u16),
    Named(Protocol, Box<str>),
}

/// A Pod.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "raw::Pod")]
pub(crate) struct PolicyPod {
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) resource_version: Box<str>,
    pub(crate) node: Box<str>,
    pub(crate) labels: LabelPairs,
    /// Its own address, while it has one.
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) ports: Box<[(Box<str>, Protocol, u16)]>,
}

/// A namespace.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "raw::Namespace")]
pub(crate) struct Namespace {
    name: Box<str>,
    resource_version: Box<str>,
    pub(crate) labels: LabelPairs,
}

impl NetworkPolicy {
    /// Its rules for a direction, if it has a say in that.
    pub(crate) fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::In => self.ingress.as_deref(),
            Direction::Out => self.egress.as_deref(),
        }
    }

    /// Whether it is about the Pod.
    pub(crate) fn selects(&self, pod: &PolicyPod) -> bool {
        self.namespace == pod.namespace && self.selector.matches(&*pod.labels)
    }

    /// Whether it may speak of the Pod, in whatever role.
    pub(crate) fn mentions(&self, pod: &PolicyPod) -> bool {
        let rules = || self.ingress.iter().chain(&self.egress).flatten();
        let peer = |peer: &Peer| match peer {
            Peer::Pods { namespaces, pods } => {
                (namespaces.is_some() || self.namespace == pod.namespace) && pods.matches(&*pod.labels)
            }
            Peer::Block { .. } | Peer::Nobody => false,
        };
        // A port's name may be any Pod's.
        let by_name = |rule: &Rule| rule.peers.is_empty() && rule.ports.iter().any(|port| port.named().is_some());
        self.selects(pod) || rules().any(|rule| by_name(rule) || rule.peers.iter().any(peer))
    }
}

impl PortRange {
    pub(crate) fn protocol(&self) -> Protocol {
        match self {
            Self::All(protocol) | Self::Numbers(protocol, ..) | Self::Named(protocol, _) => *protocol,
        }
    }

    pub(crate) fn named(&self) -> Option<(Protocol, &str)> {
        match self {
            Self::Named(protocol, name) => Some((*protocol, name)),
            _ => None,
        }
    }
}

impl PolicyPod {
    /// Whether policies see no difference.
    pub(crate) fn same(&self, other: &Self) -> bool {
        (&self.labels, self.address, &self.node, &self.ports)
            == (&other.labels, other.address, &other.node, &other.ports)
    }

    /// Its ports of these names, as elements of a set.
    pub(crate) fn targets(&self, names: &BTreeSet<(Protocol, &str)>) -> Vec<Box<str>> {
        let Some(address) = self.address else { return Vec::new() };
        let wanted = self
            .ports
            .iter()
            .filter(|(name, protocol, _)| names.contains(&(*protocol, &**name)));
        wanted
            .map(|(_, protocol, port)| format!("{address} . {} . {port}", protocol.name()).into())
            .collect()
    }
}

macro_rules! projection {
    ($type:ty, $namespace:expr) => {
        impl Projection for $type {
            fn namespace(&self) -> &str {
                let namespace: fn(&Self) -> &str = $namespace;
                namespace(self)
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

projection!(NetworkPolicy, |policy| &policy.namespace);
projection!(PolicyPod, |pod| &pod.namespace);
projection!(Namespace, |_| "");

/// The objects as the API writes them; every field may be missing or null.
mod raw {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Metadata {
        namespace: Box<str>,
        name: Box<str>,
        resource_version: Box<str>,
        labels: Option<BTreeMap<Box<str>, Box<str>>>,
    }

    impl Metadata {
        fn labels(&mut self) -> LabelPairs {
            self.labels.take().unwrap_or_default().into_iter().collect()
        }
    }

    #[derive(Deserialize)]
    pub(super) struct NetworkPolicy {
        metadata: Metadata,
        #[serde(default)]
        spec: Option<Spec>,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Spec {
        pod_selector: Option<Value>,
        policy_types: Option<Vec<Box<str>>>,
        ingress: Option<Vec<Rule>>,
        egress: Option<Vec<Rule>>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Rule {
        from: Option<Vec<Peer>>,
        to: Option<Vec<Peer>>,
        ports: Option<Vec<Port>>,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Peer {
        pod_selector: Option<Value>,
        namespace_selector: Option<Value>,
        ip_block: Option<Block>,
    }

    #[derive(Deserialize)]
    struct Block {
        cidr: Box<str>,
        #[serde(default)]
        except: Option<Vec<Box<str>>>,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Port {
        protocol: Option<Protocol>,
        port: Option<Value>,
        end_port: Option<u16>,
    }

    /// What a selector that cannot be read selects: nothing, so that nothing is allowed by mistake.
    fn selector(value: Option<&Value>) -> LabelSelector {
        LabelSelector::from_object(value).unwrap_or_else(|_| LabelSelector::nothing())
    }

    impl From<NetworkPolicy> for super::NetworkPolicy {
        fn from(raw: NetworkPolicy) -> Self {
            let (metadata, spec) = (raw.metadata, raw.spec.unwrap_or_default());
            let types = spec.policy_types.filter(|types| !types.is_empty());
            let says = |wanted: &str, otherwise: bool| match &types {
                Some(types) => types.iter().any(|one| **one == *wanted),
                None => otherwise,
            };
            let sends = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
            let (ingress, egress) = (says("Ingress", true), says("Egress", sends));
            let read = |rules: Option<Vec<Rule>>| rules.into_iter().flatten().map(super::Rule::from).collect();
            Self {
                namespace: metadata.namespace,
                name: metadata.name,
                resource_version: metadata.resource_version,
                selector: spec
                    .pod_selector
                    .map_or_else(LabelSelector::everything, |value| selector(Some(&value))),
                ingress: ingress.then(|| read(spec.ingress)),
                egress: egress.then(|| read(spec.egress)),
            }
        }
    }

    impl From<Rule> for super::Rule {
        fn from(raw: Rule) -> Self {
            let peers = raw.from.into_iter().chain(raw.to).flatten();
            Self {
                peers: peers.map(super::Peer::from).collect(),
                ports: raw.ports.into_iter().flatten().map(Port::read).collect(),
            }
        }
    }

    impl From<Peer> for super::Peer {
        fn from(raw: Peer) -> Self {
            if let Some(block) = raw.ip_block {
                let Ok(cidr) = block.cidr.parse() else {
                    return Self::Nobody;
                };
                let except = block.except.into_iter().flatten().filter_map(|cidr| cidr.parse().ok());
                return Self::Block {
                    cidr,
                    except: except.collect(),
                };
            }
            if raw.pod_selector.is_none() && raw.namespace_selector.is_none() {
                return Self::Nobody;
            }
            Self::Pods {
                namespaces: raw.namespace_selector.map(|value| selector(Some(&value))),
                pods: raw
                    .pod_selector
                    .map_or_else(LabelSelector::everything, |value| selector(Some(&value))),
            }
        }
    }

    impl Port {
        fn read(self) -> PortRange {
            let protocol = self.protocol.unwrap_or_default();
            match self.port {
                None | Some(Value::Null) => PortRange::All(protocol),
                Some(Value::String(name)) => PortRange::Named(protocol, name.into()),
                Some(number) => match number.as_u64().and_then(|number| u16::try_from(number).ok()) {
                    Some(from) => PortRange::Numbers(protocol, from, self.end_port.unwrap_or(from).max(from)),
                    // What cannot be read allows nothing: no port is called that.
                    None => PortRange::Named(protocol, "".into()),
                },
            }
        }
    }

    #[derive(Deserialize)]
    pub(super) struct Pod {
        metadata: Metadata,
        #[serde(default)]
        spec: PodSpec,
        #[serde(default)]
        status: PodStatus,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct PodSpec {
        host_network: Option<bool>,
        node_name: Option<Box<str>>,
        containers: Vec<Container>,
        init_containers: Option<Vec<Container>>,
    }

    #[derive(Deserialize)]
    struct Container {
        #[serde(default)]
        ports: Option<Vec<ContainerPort>>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ContainerPort {
        container_port: u16,
        #[serde(default)]
        name: Option<Box<str>>,
        #[serde(default)]
        protocol: Option<Protocol>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct PodStatus {
        phase: Option<Box<str>>,
        #[serde(rename = "podIP")]
        pod_ip: Option<Box<str>>,
    }

    impl From<Pod> for PolicyPod {
        fn from(mut raw: Pod) -> Self {
            let labels = raw.metadata.labels();
            let ended = matches!(raw.status.phase.as_deref(), Some("Succeeded" | "Failed"));
            let on_host = raw.spec.host_network == Some(true);
            let address = raw.status.pod_ip.and_then(|ip| ip.parse().ok());
            let containers = raw
                .spec
                .containers
                .into_iter()
                .chain(raw.spec.init_containers.into_iter().flatten());
            let ports = containers.flat_map(|container| container.ports.unwrap_or_default());
            let ports =
                ports.filter_map(|port| Some((port.name?, port.protocol.unwrap_or_default(), port.container_port)));
            Self {
                namespace: raw.metadata.namespace,
                name: raw.metadata.name,
                resource_version: raw.metadata.resource_version,
                node: raw.spec.node_name.unwrap_or_default(),
                labels,
                address: address.filter(|_| !ended && !on_host),
                ports: ports.collect(),
            }
        }
    }

    #[derive(Deserialize)]
    pub(super) struct Namespace {
        metadata: Metadata,
    }

    impl From<Namespace> for super::Namespace {
        fn from(mut raw: Namespace) -> Self {
            Self {
                labels: raw.metadata.labels(),
                name: raw.metadata.name,
                resource_version: raw.metadata.resource_version,
            }
        }
    }
}
