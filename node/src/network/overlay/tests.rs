//! Plans of links, neighbours and routes against what Nodes say.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn net(text: &str) -> Ipv4Net {
    text.parse().expect("a network")
}

fn peer(name: &str, address: [u8; 4], cidr: &str) -> Peer {
    Peer {
        name: name.into(),
        address: Some(address.into()),
        pod_cidr: Some(net(cidr)),
        ..Peer::default()
    }
}

#[test]
fn a_peer_takes_three_entries() {
    let peers = [
        peer("self", OWN.octets(), "10.42.0.0/24"),
        peer("b", [192, 0, 2, 2], "10.42.1.0/24"),
        peer("c", [192, 0, 2, 3], "10.42.1.0/24"),
        peer("d", [192, 0, 2, 4], "10.42.0.0/25"),
        peer("e", OWN.octets(), "10.42.2.0/24"),
        Peer {
            address: None,
            ..peer("f", [0; 4], "10.42.3.0/24")
        },
        Peer {
            pod_cidr: None,
            ..peer("g", [192, 0, 2, 5], "10.42.4.0/24")
        },
    ];
    let hardware = [0x0e, 0x58, 10, 42, 1, 0];
    assert_eq!(
        desired(OWN, net("10.42.0.0/24"), peers.iter())
            .into_iter()
            .collect::<Vec<_>>(),
        [
            Entry::Forward(hardware, [192, 0, 2, 2].into()),
            Entry::Neighbour([10, 42, 1, 1].into(), hardware),
            Entry::Route(net("10.42.1.0/24"), [10, 42, 1, 1].into()),
        ],
        "only b: c has what b has, d and e what is ours, f and g are nowhere yet"
    );
}

#[test]
fn nodes_are_read() {
    let node = json!({
        "metadata": { "name": "b", "labels": { "a": "b" } }, "spec": { "podCIDR": "10.42.1.0/24", "podCIDRs": ["10.42.1.0/24"] },
        "status": { "addresses": [
            { "type": "Hostname", "address": "b" }, { "type": "InternalIP", "address": "2001:db8::1" },
            { "type": "InternalIP", "address": "192.0.2.2" },
        ] },
    });
    let read: Peer = serde_json::from_value(node.clone()).expect("a Node");
    assert_eq!(read, peer("b", [192, 0, 2, 2], "10.42.1.0/24"));
    let mut simulated = node;
    simulated["metadata"]["labels"] = json!({ crate::simulate::LABEL: "true" });
    let read: Peer = serde_json::from_value(simulated).expect("a Node");
    assert_eq!(read.address, None);
    for (status, expect) in [("True", false), ("False", false), ("Unknown", true)] {
        let conditions =
            json!([{ "type": "DiskPressure", "status": "Unknown" }, { "type": "Ready", "status": status }]);
        let node = json!({ "metadata": { "name": "a" }, "status": { "conditions": conditions } });
        let peer: Peer = serde_json::from_value(node).expect("a Node");
        assert_eq!(peer.is_unknown, expect, "{status}");
    }
    let new: Peer = serde_json::from_value(json!({ "metadata": { "name": "b" } })).expect("a Node");
    assert_eq!((new.address, new.pod_cidr), (None, None));
}

/// Peers of a small world, so that they meet often.
fn peers() -> impl Strategy<Value = Vec<Peer>> {
    let one = (0_u8..4, 1_u8..5, 0_u8..4, any::<bool>());
    prop::collection::vec(one, 0..6).prop_map(|all| {
        let node = |(name, address, cidr, known): (u8, u8, u8, bool)| Peer {
            address: known.then(|| [192, 0, 2, address].into()),
            ..peer(&format!("n{name}"), [0; 4], &format!("10.42.{cidr}.0/24"))
        };
        all.into_iter().map(node).collect()
    })
}

proptest! {
    /// From any state to any other: nothing is added twice or removed when it is not there, no key has two values at any
    /// time, and a route never leads to a neighbour that is unknown.
    #[test]
    fn plans_lead_from_one_state_to_the_other(before in peers(), after in peers()) {
        let (from, to) = (desired(OWN, net("10.42.0.0/24"), before.iter()), desired(OWN, net("10.42.0.0/24"), after.iter()));
        let mut table = from.clone();
        for operation in plan(&from, &to) {
            match operation {
                Operation::Add(entry) => prop_assert!(table.insert(entry), "{entry:?} is there already"),
                Operation::Remove(entry) => prop_assert!(table.remove(&entry), "{entry:?} is not there"),
            }
            let mut keys = BTreeSet::new();
            for entry in &table {
                let key = match entry {
                    Entry::Forward(hardware, _) => format!("{hardware:?}"),
                    Entry::Neighbour(gateway, _) => gateway.to_string(),
                    Entry::Route(cidr, gateway) => {
                        let known = |e: &Entry| matches!(e, Entry::Neighbour(ip, _) if ip == gateway);
                        prop_assert!(table.iter().any(known), "{cidr} leads nowhere");
                        cidr.to_string()
                    }
                };
                prop_assert!(keys.insert(key), "{entry:?} is ambiguous");
            }
        }
        prop_assert_eq!(&table, &to);
        prop_assert!(plan(&to, &to).is_empty());
        for entry in &to {
            if let Entry::Route(cidr, _) = entry {
                prop_assert_ne!(*cidr, net("10.42.0.0/24"), "our own Pods stay here");
            }
        }
    }
}
