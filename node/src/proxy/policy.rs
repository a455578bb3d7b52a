//! NetworkPolicies: from a policy and the Pods it speaks of to what the kernel shall hold for it. Pure.
//!
//! A policy becomes one chain per direction that accepts what it allows (`np-in-…`, `np-out-…`), with a set per rule that
//! holds the Pods it names; a Pod that comes or goes anywhere changes one element. A Pod of this node that policies select
//! has one chain per direction that asks each of them and then drops ([`isolate`]). Only new connections come this way, and
//! only those that pass through the node: what the node itself sends to its Pods is not asked about.

mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;

use mizzen_api::selector::LabelSelector;
use sha2::{Digest as _, Sha256};

pub(crate) use objects::{Namespace, NetworkPolicy, Peer, PolicyPod, PortRange, Rule};

use super::rules::{Map, Plan, SetKind};
use crate::services::Protocol;

/// Which way a connection is made, as the Pod sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
}

impl Direction {
    const BOTH: [Self; 2] = [Self::In, Self::Out];

    fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }

    /// What a peer's address is matched with.
    fn peer(self) -> &'static str {
        match self {
            Self::In => "ip saddr",
            Self::Out => "ip daddr",
        }
    }
}

/// What policies speak of.
pub(crate) trait World {
    /// The Pods of a namespace that have an address of their own.
    fn pods(&self, namespace: &str) -> Vec<Arc<PolicyPod>>;
    /// The namespaces that `selector` selects.
    fn namespaces(&self, selector: &LabelSelector) -> Vec<Box<str>>;
}

/// The plan of one policy.
pub(crate) fn plan(policy: &NetworkPolicy, world: &dyn World) -> Plan {
    let mut plan = Plan::default();
    for direction in Direction::BOTH {
        if let Some(rules) = policy.rules(direction) {
            let name = chain(direction, &policy.namespace, &policy.name);
            let mut lines = Vec::new();
            for (number, rule) in rules.iter().enumerate() {
                let compiled = Compiled {
                    direction,
                    policy,
                    world,
                    set: format!("{name}-{number}"),
                };
                compiled.rule(rule, &mut plan, &mut lines);
            }
            plan.chains.insert(name, lines);
        }
    }
    plan
}

/// What a Pod of this node needs, given the policies that select it.
pub(crate) fn isolate(pod: &PolicyPod, policies: &[Arc<NetworkPolicy>], plan: &mut Plan) {
    let Some(address) = pod.address else { return };
    for (direction, map) in [(Direction::In, Map::PolicyIn), (Direction::Out, Map::PolicyOut)] {
        let asked = policies.iter().filter(|policy| policy.rules(direction).is_some());
        let mut rules: Vec<Box<str>> = asked
            .map(|policy| format!("jump {}", chain(direction, &policy.namespace, &policy.name)).into())
            .collect();
        if rules.is_empty() {
            continue;
        }
        rules.sort_unstable();
        rules.push("drop".into());
        let name: Box<str> = format!("pod-{}-{}", direction.name(), mark(&pod.namespace, &pod.name)).into();
        let verdict = format!("goto {name}").into();
        plan.chains.insert(name, rules);
        plan.elements.insert((map, address.to_string().into()), verdict);
    }
}

/// The chain of a policy.
fn chain(direction: Direction, namespace: &str, name: &str) -> Box<str> {
    format!("np-{}-{}", direction.name(), mark(namespace, name)).into()
}

/// A name in the table that only this object has.
fn mark(namespace: &str, name: &str) -> String {
    let mut text = String::new();
    for byte in &Sha256::digest(format!("{namespace}/{name}"))[..8] {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// One rule on its way into the table.
struct Compiled<'a> {
    direction: Direction,
    policy: &'a NetworkPolicy,
    world: &'a dyn World,
    set: String,
}

impl Compiled<'_> {
    fn rule(&self, rule: &Rule, plan: &mut Plan, lines: &mut Vec<Box<str>>) {
        let mut peers: Vec<String> = Vec::new();
        let mut pods: Vec<Arc<PolicyPod>> = Vec::new();
        let anybody = rule.peers.is_empty();
        if anybody {
            peers.push(String::new());
        } else {
            let selects_pods = rule.peers.iter().any(|peer| matches!(peer, Peer::Pods { .. }));
            if selects_pods {
                pods = self.pods(&rule.peers);
                let addresses = pods.iter().filter_map(|pod| Some(pod.address?.to_string().into()));
                self.fill(plan, &self.set, SetKind::Addresses, addresses);
                peers.push(format!("{} @{} ", self.direction.peer(), self.set));
            }
            let blocks = blocks(&rule.peers);
            if !blocks.is_empty() {
                peers.push(format!("{} {{ {} }} ", self.direction.peer(), ranges(&blocks)));
            }
        }
        let mut ports = whole_ports(&rule.ports);
        let names: BTreeSet<(Protocol, &str)> = rule.ports.iter().filter_map(PortRange::named).collect();
        if !names.is_empty() {
            let set = format!("{}-ports", self.set);
            // The name is the destination's: of the policy's own Pods, or of those that they send to.
            let of = match self.direction {
                Direction::In => self.selected(),
                Direction::Out if anybody => self.everybody(),
                Direction::Out => std::mem::take(&mut pods),
            };
            self.fill(
                plan,
                &set,
                SetKind::Ports,
                of.iter().flat_map(|pod| pod.targets(&names)),
            );
            let line = format!("ip daddr . meta l4proto . th dport @{set} ");
            match self.direction {
                Direction::In => ports.push(line),
                Direction::Out => lines.push(format!("{line}accept").into()),
            }
        }
        if rule.ports.is_empty() {
            ports.push(String::new());
        }
        for peer in &peers {
            lines.extend(ports.iter().map(|port| format!("{peer}{port}accept").into()));
        }
    }

    fn fill(&self, plan: &mut Plan, set: &str, kind: SetKind, elements: impl Iterator<Item = Box<str>>) {
        plan.sets.insert(set.into(), kind);
        let elements = elements.map(|key| ((Map::Own(set.into()), key), "".into()));
        plan.elements.extend(elements);
    }

    /// The Pods that any of the peers selects.
    fn pods(&self, peers: &[Peer]) -> Vec<Arc<PolicyPod>> {
        let mut found: BTreeMap<Ipv4Addr, Arc<PolicyPod>> = BTreeMap::new();
        for peer in peers {
            let Peer::Pods { namespaces, pods } = peer else {
                continue;
            };
            let namespaces = match namespaces {
                Some(selector) => self.world.namespaces(selector),
                None => vec![self.policy.namespace.clone()],
            };
            let all = namespaces.iter().flat_map(|namespace| self.world.pods(namespace));
            let selected = all.filter(|pod| pods.matches(&*pod.labels));
            found.extend(selected.filter_map(|pod| Some((pod.address?, pod))));
        }
        found.into_values().collect()
    }

    fn selected(&self) -> Vec<Arc<PolicyPod>> {
        let mut pods = self.world.pods(&self.policy.namespace);
        pods.retain(|pod| self.policy.selector.matches(&*pod.labels));
        pods
    }

    fn everybody(&self) -> Vec<Arc<PolicyPod>> {
        let namespaces = self.world.namespaces(&LabelSelector::everything());
        namespaces.iter().flat_map(|name| self.world.pods(name)).collect()
    }
}

/// Conditions for the ports that have numbers, and for whole protocols.
fn whole_ports(ports: &[PortRange]) -> Vec<String> {
    let mut conditions = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        let of_protocol = ports.iter().filter(|port| port.protocol() == protocol);
        let mut numbers = Vec::new();
        let mut whole = false;
        for port in of_protocol {
            match port {
                PortRange::All(_) => whole = true,
                PortRange::Numbers(_, from, to) => numbers.push((u32::from(*from), u32::from(*to))),
                PortRange::Named(..) => {}
            }
        }
        let name = protocol.name();
        if whole {
            conditions.push(format!("meta l4proto {name} "));
        } else if !numbers.is_empty() {
            let numbers = join(numbers).into_iter().map(|(from, to)| match from == to {
                true => from.to_string(),
                false => format!("{from}-{to}"),
            });
            let numbers = numbers.collect::<Vec<_>>().join(", ");
            conditions.push(format!("{name} dport {{ {numbers} }} "));
        }
    }
    conditions
}

/// The addresses of all blocks, less each one's exceptions, as ranges that do not touch.
fn blocks(peers: &[Peer]) -> Vec<(u32, u32)> {
    let mut all = Vec::new();
    for peer in peers {
        let Peer::Block { cidr, except } = peer else { continue };
        let span = |net: &ipnet::Ipv4Net| (u32::from(net.network()), u32::from(net.broadcast()));
        let mut left = vec![span(cidr)];
        for (from, to) in except.iter().map(span) {
            let cut = |(first, last): (u32, u32)| {
                let below = (first < from).then(|| (first, last.min(from.wrapping_sub(1))));
                let above = (last > to).then(|| (first.max(to.saturating_add(1)), last));
                below.into_iter().chain(above)
            };
            left = left.into_iter().flat_map(cut).collect();
        }
        all.append(&mut left);
    }
    join(all)
}

/// The same numbers in as few ranges as possible: the kernel refuses ranges that overlap.
fn join(mut all: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    all.sort_unstable();
    let mut joined: Vec<(u32, u32)> = Vec::new();
    for (from, to) in all {
        match joined.last_mut() {
            Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    joined
}

fn ranges(all: &[(u32, u32)]) -> String {
    let one = |(from, to): &(u32, u32)| match from == to {
        true => Ipv4Addr::from(*from).to_string(),
        false => format!("{}-{}", Ipv4Addr::from(*from), Ipv4Addr::from(*to)),
    };
    all.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
