//! The overlay: from the Node objects to what the kernel shall hold for the Pods of other nodes. Pure.
//!
//! Every node has one VXLAN device. Its hardware address is made from the node's part of the Pod network, so that all
//! nodes know each other's without being told. A peer takes three entries: which machine has its hardware address, which
//! hardware address its gateway has, and the route to its Pods through that gateway. Nothing is flooded or learnt.

pub(super) mod kernel;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use mizzen_api::client::reflector::Projection;
use serde::Deserialize;

/// What VXLAN puts around a packet: Ethernet, IPv4, UDP and its own header.
pub(super) const OVERHEAD_BYTES: u32 = 50;
/// The first two bytes of a device's hardware address (unicast, locally administered).
const HARDWARE_PREFIX: [u8; 2] = [0x0e, 0x58];

/// A hardware address.
pub(super) type Hardware = [u8; 6];

/// A Node, as far as the Pod network is concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "raw::Node")]
pub(super) struct Peer {
    name: Box<str>,
    resource_version: Box<str>,
    /// Its first internal IPv4 address.
    pub(super) address: Option<Ipv4Addr>,
    /// The addresses of its Pods.
    pub(super) pod_cidr: Option<Ipv4Net>,
    /// Whether somebody wrote that it is not known how the node is.
    pub(super) is_unknown: bool,
}

impl Peer {
    /// Whether anything changed that packets depend on.
    pub(super) fn same_place(&self, other: &Self) -> bool {
        (self.address, self.pod_cidr) == (other.address, other.pod_cidr)
    }
}

impl Projection for Peer {
    fn namespace(&self) -> &str {
        ""
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn resource_version(&self) -> &str {
        &self.resource_version
    }
}

/// One entry of the kernel's tables. They are added in this order, and removed in the opposite one: a route leads nowhere
/// without the other two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entry {
    /// Frames to this hardware address go to this machine.
    Forward(Hardware, Ipv4Addr),
    /// This gateway has this hardware address.
    Neighbour(Ipv4Addr, Hardware),
    /// These Pods are behind this gateway.
    Route(Ipv4Net, Ipv4Addr),
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Remove(Entry),
    Add(Entry),
}

/// The hardware address of the device on the node that has these Pods.
pub(super) fn hardware(pod_cidr: Ipv4Net) -> Hardware {
    let [a, b, c, d] = pod_cidr.network().octets();
    let [x, y] = HARDWARE_PREFIX;
    [x, y, a, b, c, d]
}

/// The entries that lead from this node to the Pods of all others.
pub(super) fn desired<'a>(
    own_address: Ipv4Addr,
    own_cidr: Ipv4Net,
    peers: impl Iterator<Item = &'a Peer>,
) -> BTreeSet<Entry> {
    let mut places = BTreeMap::new();
    let own = Peer {
        address: Some(own_address),
        pod_cidr: Some(own_cidr),
        ..Peer::default()
    };
    let mut peers: Vec<&Peer> = peers.collect();
    peers.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    for peer in std::iter::once(&own).chain(peers) {
        let (Some(address), Some(cidr)) = (peer.address, peer.pod_cidr.map(|cidr| cidr.trunc())) else {
            continue;
        };
        // Nobody takes what another has already, least of all what is ours.
        let taken = |other: &Ipv4Net| other.contains(&cidr) || cidr.contains(other);
        if places.keys().any(taken) || (address == own_address && !places.is_empty()) {
            continue;
        }
        places.insert(cidr, address);
    }
    places.remove(&own_cidr.trunc());
    let entries = places.into_iter().flat_map(|(cidr, address)| {
        let (gateway, hardware) = (super::gateway(cidr), hardware(cidr));
        [
            Entry::Forward(hardware, address),
            Entry::Neighbour(gateway, hardware),
            Entry::Route(cidr, gateway),
        ]
    });
    entries.collect()
}

/// What turns `present` into `desired`.
pub(super) fn plan(present: &BTreeSet<Entry>, desired: &BTreeSet<Entry>) -> Vec<Operation> {
    let stale = present.iter().rev().filter(|entry| !desired.contains(entry));
    let stale = stale.copied().map(Operation::Remove);
    let missing = desired.difference(present).copied().map(Operation::Add);
    stale.chain(missing).collect()
}

mod raw {
    use super::*;
    use std::collections::HashMap;

    #[derive(Deserialize)]
    pub(super) struct Node {
        metadata: Metadata,
        #[serde(default)]
        spec: Spec,
        #[serde(default)]
        status: Status,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Metadata {
        name: Box<str>,
        resource_version: Box<str>,
        labels: Option<HashMap<Box<str>, serde::de::IgnoredAny>>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Spec {
        #[serde(rename = "podCIDR")]
        pod_cidr: Box<str>,
        #[serde(rename = "podCIDRs")]
        pod_cidrs: Option<Vec<Box<str>>>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Status {
        addresses: Option<Vec<Address>>,
        conditions: Option<Vec<Condition>>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Condition {
        #[serde(rename = "type")]
        kind: Box<str>,
        status: Box<str>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Address {
        #[serde(rename = "type")]
        kind: Box<str>,
        address: Box<str>,
    }

    impl From<Node> for Peer {
        fn from(raw: Node) -> Self {
            let labels = raw.metadata.labels.unwrap_or_default();
            // A node without a machine is at no address.
            let real = !labels.contains_key(crate::simulate::LABEL);
            let mut addresses = raw.status.addresses.into_iter().flatten();
            let cidrs = raw.spec.pod_cidrs.into_iter().flatten();
            let mut conditions = raw.status.conditions.into_iter().flatten();
            Self {
                name: raw.metadata.name,
                resource_version: raw.metadata.resource_version,
                address: addresses
                    .find_map(|a| (&*a.kind == "InternalIP").then(|| a.address.parse().ok())?)
                    .filter(|_| real),
                pod_cidr: std::iter::once(raw.spec.pod_cidr)
                    .chain(cidrs)
                    .find_map(|cidr| cidr.parse().ok()),
                is_unknown: conditions.any(|c| &*c.kind == "Ready" && &*c.status == "Unknown"),
            }
        }
    }
}

#[cfg(test)]
mod tests;
