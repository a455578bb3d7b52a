//! What upstream says that policies mean, case by case.

use serde_json::{Value, json};

use super::*;

/// A cluster of a few Pods: `ns/name` with labels, address and a named port.
struct Few {
    pods: Vec<Arc<PolicyPod>>,
    namespaces: Vec<(Box<str>, Value)>,
}

impl Few {
    fn new() -> Self {
        let pod = |namespace: &str, name: &str, app: &str, ip: &str, web: u16| -> Arc<PolicyPod> {
            let pod = json!({
                "metadata": { "namespace": namespace, "name": name, "labels": { "app": app } },
                "spec": { "nodeName": "here", "containers": [
                    { "ports": [{ "name": "web", "containerPort": web }, { "containerPort": 9 }] },
                ] },
                "status": { "phase": "Running", "podIP": ip },
            });
            Arc::new(serde_json::from_value(pod).expect("a Pod"))
        };
        Self {
            pods: vec![
                pod("shop", "db", "db", "10.42.0.2", 5432),
                pod("shop", "front", "front", "10.42.0.3", 8080),
                pod("shop", "front-2", "front", "10.42.1.3", 8081),
                pod("ops", "probe", "probe", "10.42.1.4", 9090),
                pod("ops", "front", "front", "10.42.1.5", 80),
            ],
            namespaces: vec![
                ("shop".into(), json!({ "team": "a" })),
                ("ops".into(), json!({ "team": "b" })),
            ],
        }
    }
}

impl World for Few {
    fn pods(&self, namespace: &str) -> Vec<Arc<PolicyPod>> {
        let here = self.pods.iter().filter(|pod| *pod.namespace == *namespace);
        here.cloned().collect()
    }

    fn namespaces(&self, selector: &LabelSelector) -> Vec<Box<str>> {
        let all = self.namespaces.iter();
        let chosen = all.filter(|(_, labels)| selector.matches(labels.as_object().expect("labels")));
        chosen.map(|(name, _)| name.clone()).collect()
    }
}

fn policy(spec: Value) -> NetworkPolicy {
    let object = json!({ "metadata": { "namespace": "shop", "name": "p" }, "spec": spec });
    serde_json::from_value(object).expect("a policy")
}

/// The rules of a policy, with the sets written out in their place.
fn rules(spec: Value) -> String {
    let plan = plan(&policy(spec), &Few::new());
    let mut text = String::new();
    for (name, rules) in &plan.chains {
        let _ = writeln!(text, "{}:", if name.starts_with("np-in") { "in" } else { "out" });
        for rule in rules {
            let mut rule = rule.to_string();
            // The longest names first: one is the beginning of another.
            for set in plan.sets.keys().rev() {
                let elements = plan.elements.keys().filter(|(map, _)| *map == Map::Own(set.clone()));
                let elements: Vec<&str> = elements.map(|(_, key)| &**key).collect();
                rule = rule.replace(&format!("@{set} "), &format!("<{}> ", elements.join(", ")));
            }
            let _ = writeln!(text, "  {rule}");
        }
    }
    text
}

#[test]
fn types_have_their_defaults() {
    let types = |spec: Value| {
        let policy = policy(spec);
        Direction::BOTH.map(|direction| policy.rules(direction).map(<[Rule]>::len))
    };
    for (spec, expect) in [
        (json!({ "podSelector": {} }), [Some(0), None]),
        (json!({ "podSelector": {}, "egress": [] }), [Some(0), None]),
        (json!({ "podSelector": {}, "egress": [{}] }), [Some(0), Some(1)]),
        (json!({ "podSelector": {}, "policyTypes": ["Egress"] }), [None, Some(0)]),
        (
            json!({ "podSelector": {}, "policyTypes": ["Egress"], "ingress": [{}] }),
            [None, Some(0)],
        ),
        (
            json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}, {}] }),
            [Some(2), Some(0)],
        ),
    ] {
        assert_eq!(types(spec.clone()), expect, "{spec}");
    }
}

#[test]
fn peers_are_pods_namespaces_or_addresses() {
    for (peers, expect) in [
        (json!(null), ""),
        (json!([]), ""),
        (
            json!([{ "podSelector": {} }]),
            "ip saddr <10.42.0.2, 10.42.0.3, 10.42.1.3> ",
        ),
        (
            json!([{ "podSelector": { "matchLabels": { "app": "front" } } }]),
            "ip saddr <10.42.0.3, 10.42.1.3> ",
        ),
        (
            json!([{ "namespaceSelector": { "matchLabels": { "team": "b" } } }]),
            "ip saddr <10.42.1.4, 10.42.1.5> ",
        ),
        (
            json!([{ "namespaceSelector": {}, "podSelector": { "matchLabels": { "app": "front" } } }]),
            "ip saddr <10.42.0.3, 10.42.1.3, 10.42.1.5> ",
        ),
        (
            json!([
                { "namespaceSelector": { "matchLabels": { "team": "b" } } },
                { "podSelector": { "matchExpressions": [{ "key": "app", "operator": "NotIn", "values": ["front"] }] } },
            ]),
            "ip saddr <10.42.0.2, 10.42.1.4, 10.42.1.5> ",
        ),
        (
            json!([{ "podSelector": { "matchLabels": { "app": "nobody" } } }]),
            "ip saddr <> ",
        ),
        (
            json!([{ "ipBlock": { "cidr": "192.0.2.0/24" } }]),
            "ip saddr { 192.0.2.0-192.0.2.255 } ",
        ),
        (
            json!([{ "ipBlock": { "cidr": "192.0.2.0/24", "except": ["192.0.2.0/28", "192.0.2.77/32"] } }]),
            "ip saddr { 192.0.2.16-192.0.2.76, 192.0.2.78-192.0.2.255 } ",
        ),
        (
            json!([{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["0.0.0.0/1"] } }, { "ipBlock": { "cidr": "10.0.0.1/32" } }]),
            "ip saddr { 10.0.0.1, 128.0.0.0-255.255.255.255 } ",
        ),
    ] {
        let said = rules(json!({ "podSelector": {}, "ingress": [{ "from": peers }] }));
        assert_eq!(said, format!("in:\n  {expect}accept\n"), "{peers}");
    }
    // A block that leaves nothing, or that IPv4 does not know, lets nobody in.
    for cidr in [
        json!({ "cidr": "2001:db8::/32" }),
        json!({ "cidr": "192.0.2.0/28", "except": ["192.0.2.0/24"] }),
    ] {
        assert_eq!(
            rules(json!({ "podSelector": {}, "ingress": [{ "from": [{ "ipBlock": cidr }] }] })),
            "in:\n"
        );
    }
}

#[test]
fn ports_are_numbers_ranges_and_names() {
    for (ports, expect) in [
        (json!([{}]), "meta l4proto tcp accept\n"),
        (
            json!([{ "port": 80 }, { "protocol": "TCP", "port": 443 }]),
            "tcp dport { 80, 443 } accept\n",
        ),
        (
            json!([{ "port": 80, "endPort": 90 }, { "port": 85, "endPort": 99 }, { "protocol": "UDP", "port": 53 }]),
            "tcp dport { 80-99 } accept\n  udp dport { 53 } accept\n",
        ),
        (
            json!([{ "protocol": "SCTP" }, { "protocol": "SCTP", "port": 7 }]),
            "meta l4proto sctp accept\n",
        ),
        (
            json!([{ "port": "web" }]),
            "ip daddr . meta l4proto . th dport <10.42.0.3 . tcp . 8080, 10.42.1.3 . tcp . 8081> accept\n",
        ),
        (
            json!([{ "port": "web" }, { "port": 9 }]),
            "tcp dport { 9 } accept\n  ip daddr . meta l4proto . th dport <10.42.0.3 . tcp . 8080, 10.42.1.3 . tcp . 8081> accept\n",
        ),
        (
            json!([{ "port": "web", "protocol": "UDP" }]),
            "ip daddr . meta l4proto . th dport <> accept\n",
        ),
    ] {
        let said =
            rules(json!({ "podSelector": { "matchLabels": { "app": "front" } }, "ingress": [{ "ports": ports }] }));
        assert_eq!(said, format!("in:\n  {expect}"), "{ports}");
    }
    let both = rules(json!({ "podSelector": {}, "ingress": [{
        "from": [{ "podSelector": { "matchLabels": { "app": "db" } } }, { "ipBlock": { "cidr": "192.0.2.1/32" } }],
        "ports": [{ "port": 1 }, { "protocol": "UDP", "port": 2 }],
    }] }));
    insta::assert_snapshot!(both, @r"
    in:
      ip saddr <10.42.0.2> tcp dport { 1 } accept
      ip saddr <10.42.0.2> udp dport { 2 } accept
      ip saddr { 192.0.2.1 } tcp dport { 1 } accept
      ip saddr { 192.0.2.1 } udp dport { 2 } accept
    ");
}

#[test]
fn egress_names_the_ports_of_others() {
    let said = rules(json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [
        { "to": [{ "namespaceSelector": { "matchLabels": { "team": "b" } } }], "ports": [{ "port": "web" }] },
        { "ports": [{ "protocol": "UDP", "port": 53 }] },
        { "to": [{ "ipBlock": { "cidr": "192.0.2.0/31" } }] },
    ] }));
    insta::assert_snapshot!(said, @r"
    out:
      ip daddr . meta l4proto . th dport <10.42.1.4 . tcp . 9090, 10.42.1.5 . tcp . 80> accept
      udp dport { 53 } accept
      ip daddr { 192.0.2.0-192.0.2.1 } accept
    ");
}

#[test]
fn a_pod_asks_its_policies_and_drops_the_rest() {
    let world = Few::new();
    let (both, out) = (
        Arc::new(policy(
            json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }),
        )),
        Arc::new(policy(json!({ "podSelector": {}, "policyTypes": ["Egress"] }))),
    );
    let chains = |policies: &[Arc<NetworkPolicy>]| {
        let mut plan = Plan::default();
        isolate(&world.pods[0], policies, &mut plan);
        let maps: Vec<Map> = plan.elements.keys().map(|(map, _)| map.clone()).collect();
        let lengths: Vec<usize> = plan.chains.values().map(Vec::len).collect();
        let closed = plan
            .chains
            .values()
            .all(|rules| rules.last().is_some_and(|rule| **rule == *"drop"));
        assert!(closed, "nothing gets by");
        (maps, lengths)
    };
    assert_eq!(chains(&[]), (vec![], vec![]));
    assert_eq!(chains(std::slice::from_ref(&out)), (vec![Map::PolicyOut], vec![2]));
    assert_eq!(chains(&[both, out]), (vec![Map::PolicyOut, Map::PolicyIn], vec![2, 3]));
}

#[test]
fn only_pods_with_an_address_of_their_own_count() {
    let pod = |spec: Value, phase: &str| -> PolicyPod {
        let pod = json!({
            "metadata": { "namespace": "a", "name": "b", "labels": { "z": "1", "a": "2" } },
            "spec": spec, "status": { "phase": phase, "podIP": "10.42.0.9" },
        });
        serde_json::from_value(pod).expect("a Pod")
    };
    assert!(pod(json!({ "containers": [] }), "Running").address.is_some());
    assert!(pod(json!({ "containers": [] }), "Failed").address.is_none());
    assert!(
        pod(json!({ "containers": [], "hostNetwork": true }), "Running")
            .address
            .is_none()
    );
    let labels = pod(json!({ "containers": [] }), "Running").labels;
    assert!(LabelSelector::parse("a=2,z=1").expect("a selector").matches(&*labels));
}
