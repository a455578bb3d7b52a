//! From a Service and its EndpointSlices to what the kernel shall hold for it: a pure function.
//!
//! A plain ClusterIP is data only: one element says how many endpoints it has (it leads to the chain that chooses among
//! that many), and one element per endpoint says which they are. Only what needs more has chains of its own: the endpoints
//! of a port that is exposed or remembers its clients (`svc-…`), those of this node (`local-…`), and the entry from outside
//! (`ext-…`). Maps lead to all of them, so that a packet's way does not grow with the number of Services.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use sha2::{Digest as _, Sha256};

use super::table::from_outside;
use crate::services::{EndpointSlice, Protocol, Service, ServicePort, ServiceType};

/// The longest readable part of a chain's name.
const READABLE_NAME_MAX: usize = 60;

/// The maps and sets that lead into chains and to addresses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Map {
    /// address, protocol, port: to a chain.
    Services,
    /// address, protocol, port, number: to an endpoint.
    Endpoints,
    /// protocol, port on any address of this node: to a chain.
    NodePorts,
    /// address, protocol, port without endpoints.
    Refused,
    /// protocol, port on any address of this node without endpoints.
    RefusedNodePorts,
    /// pairs of the same address: an endpoint that reaches itself through a Service.
    Hairpin,
    /// protocol, port on any address of this node: to a Pod.
    HostPorts,
    /// address of this node, protocol, port: to a Pod.
    HostPortsAt,
    /// address of a Pod that may not send to everybody: to the chain that knows to whom.
    PolicyOut,
    /// address of a Pod that does not hear everybody: to the chain that knows whom.
    PolicyIn,
    /// A set of a plan's own.
    Own(Box<str>),
}

impl Map {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Services => "services",
            Self::Endpoints => "endpoints",
            Self::NodePorts => "node_ports",
            Self::Refused => "refused",
            Self::RefusedNodePorts => "refused_node_ports",
            Self::Hairpin => "hairpin",
            Self::HostPorts => "host_ports",
            Self::HostPortsAt => "host_ports_at",
            Self::PolicyOut => "policy_out",
            Self::PolicyIn => "policy_in",
            Self::Own(name) => name,
        }
    }
}

/// What a set of a plan's own holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetKind {
    /// Addresses of clients, for so many seconds.
    Clients(u32),
    /// Addresses.
    Addresses,
    /// Addresses with protocol and port.
    Ports,
}

/// What one Service, Pod or policy needs in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Chains by name, with their rules.
    pub(crate) chains: BTreeMap<Box<str>, Vec<Box<str>>>,
    /// Sets of its own, by name.
    pub(crate) sets: BTreeMap<Box<str>, SetKind>,
    /// The numbers of endpoints among which a shared chain chooses.
    pub(crate) balancers: BTreeSet<usize>,
    /// Elements: map and key, with the value (empty in sets).
    pub(crate) elements: BTreeMap<(Map, Box<str>), Box<str>>,
    /// Where clients of protocols without connections send, with the backends behind it.
    pub(crate) fronts: BTreeMap<Front, BTreeSet<Target>>,
}

/// What a client addresses; without an address any of this node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Front {
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

/// What the rules depend on besides the objects.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) name: Box<str>,
    pub(crate) cluster_cidr: Ipv4Net,
    /// Addresses in the range of Services that something else answers on.
    pub(crate) reserved: Option<Ipv4Addr>,
}

/// A backend's address and port.
pub(crate) type Target = (Ipv4Addr, u16);

/// The backends of one port.
#[derive(Debug, Default)]
struct Targets {
    cluster: BTreeSet<Target>,
    local: BTreeSet<Target>,
}

/// The plan of one Service.
pub(crate) fn plan<S: Borrow<EndpointSlice>>(service: &Service, slices: &[S], node: &Node) -> Plan {
    let mut plan = Plan::default();
    if service.kind == ServiceType::ExternalName {
        return plan;
    }
    for port in &service.ports {
        plan.port(service, port, &targets(port, slices, &node.name), node);
    }
    plan
}

/// The backends to use: the ready ones, or else those that still serve while they terminate.
fn targets<S: Borrow<EndpointSlice>>(port: &ServicePort, slices: &[S], node: &str) -> Targets {
    let (mut ready, mut terminating) = (Targets::default(), Targets::default());
    for slice in slices.iter().map(Borrow::borrow) {
        let same =
            |number: &&crate::services::EndpointPort| number.name == port.name && number.protocol == port.protocol;
        let Some(number) = slice.ports.iter().find(same) else {
            continue;
        };
        for endpoint in &slice.endpoints {
            let targets = match (endpoint.ready, endpoint.serving && endpoint.terminating) {
                (true, _) => &mut ready,
                (false, true) => &mut terminating,
                (false, false) => continue,
            };
            let target = (endpoint.address, number.port);
            targets.cluster.insert(target);
            if &*endpoint.node == node {
                targets.local.insert(target);
            }
        }
    }
    Targets {
        cluster: if ready.cluster.is_empty() {
            terminating.cluster
        } else {
            ready.cluster
        },
        local: if ready.local.is_empty() {
            terminating.local
        } else {
            ready.local
        },
    }
}

impl Plan {
    fn port(&mut self, service: &Service, port: &ServicePort, targets: &Targets, node: &Node) {
        let protocol = port.protocol.name();
        let internal = service.cluster_ip.filter(|ip| Some(*ip) != node.reserved);
        let external = service
            .external_ips
            .iter()
            .copied()
            .filter(|ip| Some(*ip) != node.reserved);
        let address = |ip: Ipv4Addr| format!("{ip} . {protocol} . {}", port.port).into_boxed_str();
        let node_port = (port.node_port != 0).then(|| format!("{protocol} . {}", port.node_port).into_boxed_str());
        if port.protocol != Protocol::Tcp {
            let addresses = internal
                .into_iter()
                .chain(external.clone())
                .map(|ip| (Some(ip), port.port));
            for (address, number) in addresses.chain((port.node_port != 0).then_some((None, port.node_port))) {
                let front = Front {
                    address,
                    protocol: port.protocol,
                    port: number,
                };
                self.fronts.insert(front, targets.cluster.clone());
            }
        }
        if targets.cluster.is_empty() {
            self.elements.extend(
                internal
                    .into_iter()
                    .chain(external)
                    .map(|ip| ((Map::Refused, address(ip)), "".into())),
            );
            self.elements
                .extend(node_port.map(|key| ((Map::RefusedNodePorts, key), "".into())));
            return;
        }
        self.hairpin(targets.local.iter().map(|(ip, _)| *ip));
        let name = readable_name(service, port);
        let exposed = node_port.is_some() || !service.external_ips.is_empty();
        let seconds = service.affinity_seconds;
        // Without a memory of clients nothing is needed but data.
        let chained = internal.is_some() && seconds.is_some();
        let cluster = format!("svc-{name}").into_boxed_str();
        let local = format!("local-{name}").into_boxed_str();
        if exposed || (chained && !service.internal_local) {
            self.balance(cluster.clone(), &name, &targets.cluster, port.protocol, seconds, node);
        }
        if (exposed && service.external_local) || (chained && service.internal_local) {
            self.balance(local.clone(), &name, &targets.local, port.protocol, seconds, node);
        }
        if let Some(ip) = internal {
            let (chain, targets) = match service.internal_local {
                true => (&local, &targets.local),
                false => (&cluster, &targets.cluster),
            };
            match chained {
                true => {
                    _ = self
                        .elements
                        .insert((Map::Services, address(ip)), format!("goto {chain}").into())
                }
                false => self.spread(address(ip), targets),
            }
        }
        if exposed {
            let chain = format!("ext-{name}").into_boxed_str();
            let rules = match service.external_local {
                false => vec!["jump from_outside".into(), format!("goto {cluster}").into()],
                // What comes from inside the cluster is not external, whatever address it uses.
                true => vec![
                    format!("ip saddr {} goto {cluster}", node.cluster_cidr).into(),
                    "fib saddr type local jump from_outside".into(),
                    format!("fib saddr type local goto {cluster}").into(),
                    format!("goto {local}").into(),
                ],
            };
            let verdict: Box<str> = format!("goto {chain}").into();
            self.chains.insert(chain, rules);
            self.elements
                .extend(external.map(|ip| ((Map::Services, address(ip)), verdict.clone())));
            self.elements
                .extend(node_port.map(|key| ((Map::NodePorts, key), verdict.clone())));
        }
    }

    /// The elements that choose one of `targets`.
    fn spread(&mut self, key: Box<str>, targets: &BTreeSet<Target>) {
        let endpoints = targets.iter().enumerate();
        self.elements.extend(endpoints.map(|(number, (ip, port))| {
            let key = format!("{key} . 0:{number:x}").into();
            ((Map::Endpoints, key), format!("{ip} . {port}").into())
        }));
        let verdict = match targets.len() {
            0 => "drop".into(),
            count => format!("goto {}", balancer(count)).into(),
        };
        self.balancers.extend(Some(targets.len()).filter(|count| *count > 0));
        self.elements.insert((Map::Services, key), verdict);
    }

    /// The chain that chooses one of `targets`.
    fn balance(
        &mut self,
        chain: Box<str>,
        name: &str,
        targets: &BTreeSet<Target>,
        protocol: Protocol,
        affinity_seconds: Option<u32>,
        node: &Node,
    ) {
        let mut rules: Vec<Box<str>> = Vec::new();
        if chain.starts_with("svc-") {
            rules.push(from_outside(node.cluster_cidr).into());
        }
        match affinity_seconds {
            _ if targets.is_empty() => rules.push("drop".into()),
            None => rules.push(destination(targets, protocol)),
            Some(seconds) => {
                let sticky: Vec<Box<str>> = targets
                    .iter()
                    .map(|target| self.sticky(name, *target, protocol, seconds))
                    .collect();
                rules.extend(
                    sticky
                        .iter()
                        .map(|one| format!("ip saddr @seen-{one} goto to-{one}").into()),
                );
                let choices = sticky
                    .iter()
                    .enumerate()
                    .map(|(index, one)| format!("{index} : goto to-{one}"));
                let choices = choices.collect::<Vec<_>>().join(", ");
                rules.push(format!("numgen random mod {} vmap {{ {choices} }}", sticky.len()).into());
            }
        }
        self.chains.insert(chain, rules);
    }

    /// The chain and set of one backend that remembers its clients; returns what their names share.
    fn sticky(&mut self, name: &str, target: Target, protocol: Protocol, seconds: u32) -> Box<str> {
        let one = format!("{}-{}-{}", &name[..HASH_DIGITS], target.0, target.1).into_boxed_str();
        let remember = format!("update @seen-{one} {{ ip saddr timeout {seconds}s }}").into();
        self.chains.insert(
            format!("to-{one}").into(),
            vec![remember, destination(&[target].into(), protocol)],
        );
        self.sets
            .insert(format!("seen-{one}").into(), SetKind::Clients(seconds));
        one
    }

    /// Elements for backends on this node that may reach themselves.
    fn hairpin(&mut self, addresses: impl Iterator<Item = Ipv4Addr>) {
        self.elements
            .extend(addresses.map(|ip| ((Map::Hairpin, format!("{ip} . {ip}").into()), "".into())));
    }

    /// The plan of a Pod's hostPorts: address on the node, protocol, port there, and the port of the Pod.
    pub(crate) fn host_ports(pod: Ipv4Addr, ports: &[(Ipv4Addr, Protocol, u16, u16)]) -> Self {
        let mut plan = Self::default();
        for (ip, protocol, host, container) in ports {
            let port = format!("{} . {host}", protocol.name());
            let key = match ip.is_unspecified() {
                true => (Map::HostPorts, port.into()),
                false => (Map::HostPortsAt, format!("{ip} . {port}").into()),
            };
            plan.elements.insert(key, format!("{pod} . {container}").into());
            if *protocol != Protocol::Tcp {
                let address = (!ip.is_unspecified()).then_some(*ip);
                let front = Front {
                    address,
                    protocol: *protocol,
                    port: *host,
                };
                plan.fronts.insert(front, [(pod, *container)].into());
            }
        }
        if !plan.elements.is_empty() {
            plan.hairpin(std::iter::once(pod));
        }
        plan
    }
}

/// The chain that chooses among `count` endpoints of whatever is addressed.
pub(crate) fn balancer(count: usize) -> String {
    format!("balance-{count}")
}

/// The rule that sends to one of `targets`, each as likely as the others.
fn destination(targets: &BTreeSet<Target>, protocol: Protocol) -> Box<str> {
    let protocol = protocol.name();
    let mut all = targets.iter();
    if let (Some((ip, port)), None) = (all.next(), all.next()) {
        return format!("meta l4proto {protocol} dnat ip to {ip}:{port}").into();
    }
    let mut rule = format!(
        "meta l4proto {protocol} dnat ip to numgen random mod {} map {{",
        targets.len()
    );
    for (index, (ip, port)) in targets.iter().enumerate() {
        let _ = write!(rule, "{} {index} : {ip} . {port}", if index == 0 { "" } else { "," });
    }
    rule.push_str(" }");
    rule.into()
}

const HASH_DIGITS: usize = 12;

/// A name that is unique (it starts with a hash) and tells a person which port it is.
fn readable_name(service: &Service, port: &ServicePort) -> Box<str> {
    let full = format!(
        "{}/{}/{}/{}",
        service.namespace,
        service.name,
        port.name,
        port.protocol.name()
    );
    let mut name = String::with_capacity(HASH_DIGITS + 1 + full.len());
    for byte in &Sha256::digest(format!("{full}/{}", port.port))[..HASH_DIGITS / 2] {
        let _ = write!(name, "{byte:02x}");
    }
    name.push('-');
    name.extend(full.chars().take(READABLE_NAME_MAX));
    name.into()
}
