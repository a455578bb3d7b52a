//! Differences applied one after the other must give the same table as everything at once, in the model below (which
//! refuses what the kernel refuses) and in the kernel itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::*;
use crate::proxy::rules::{self, Node};
use crate::proxy::table::Table;
use crate::services::{Endpoint, EndpointPort, EndpointSlice, Protocol, Service, ServicePort, ServiceType};

/// A table that follows the kernel's rules on what may be added and removed.
#[derive(Debug, Default, PartialEq)]
struct Model {
    sets: BTreeMap<Box<str>, SetKind>,
    balancers: BTreeSet<usize>,
    chains: BTreeMap<Box<str>, Vec<Box<str>>>,
    elements: BTreeMap<(Map, Box<str>), Box<str>>,
}

impl Model {
    fn apply(&mut self, operations: &[Operation]) {
        for operation in operations {
            self.step(operation);
        }
        for text in self.rules().chain(self.elements.values()) {
            for name in names(text) {
                assert!(self.knows(name), "{name} is used but does not exist");
            }
        }
    }

    fn step(&mut self, operation: &Operation) {
        match operation {
            Operation::AddBalancer(count) => assert!(self.balancers.insert(*count), "{count}"),
            Operation::AddSet(name, kind) => assert_eq!(self.sets.insert(name.clone(), *kind), None, "{name}"),
            Operation::AddChain(name) => assert_eq!(self.chains.insert(name.clone(), Vec::new()), None, "{name}"),
            Operation::Flush(name) => self.chains.get_mut(name).expect("a chain").clear(),
            Operation::AddRules(name, rules) => {
                for used in rules.iter().flat_map(|rule| names(rule)) {
                    assert!(self.knows(used), "{used} does not exist yet");
                }
                let chain = self.chains.get_mut(name).expect("a chain");
                assert!(chain.is_empty(), "{name} has rules");
                chain.extend_from_slice(rules);
            }
            Operation::AddElement(map, key, value) => {
                assert_eq!(
                    self.elements.insert((map.clone(), key.clone()), value.clone()),
                    None,
                    "{map:?} {key}"
                );
            }
            Operation::DeleteElement(map, key, value) => {
                assert_eq!(
                    self.elements.remove(&(map.clone(), key.clone())).as_ref(),
                    Some(value),
                    "{map:?} {key}"
                );
            }
            Operation::DeleteChain(name) => {
                assert!(!self.uses(name), "{name} is in use");
                assert_eq!(self.chains.remove(name), Some(Vec::new()), "{name}");
            }
            Operation::DeleteSet(name) => {
                assert!(!self.uses(name), "{name} is in use");
                assert!(self.sets.remove(name).is_some(), "{name}");
            }
        }
    }

    fn knows(&self, name: &str) -> bool {
        let shared = |count: &usize| rules::balancer(*count) == name;
        self.chains.contains_key(name)
            || self.sets.contains_key(name)
            || self.balancers.iter().any(shared)
            || name == "from_outside"
    }

    fn rules(&self) -> impl Iterator<Item = &Box<str>> {
        self.chains.values().flatten()
    }

    fn uses(&self, name: &str) -> bool {
        self.rules()
            .chain(self.elements.values())
            .any(|text| names(text).any(|used| used == name))
    }
}

/// The chains and sets that a rule or a verdict names.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let words: Vec<&str> = text.split([' ', ',']).collect();
    let mut found = Vec::new();
    for (index, word) in words.iter().enumerate() {
        match *word {
            "goto" | "jump" => found.push(words[index + 1]),
            other => found.extend(other.strip_prefix('@')),
        }
    }
    found.into_iter()
}

fn node() -> Node {
    Node {
        name: "here".into(),
        cluster_cidr: "10.42.0.0/16".parse().expect("a range"),
        reserved: None,
    }
}

#[derive(Debug, Clone)]
enum Step {
    Service(u8, Option<(Service, Vec<EndpointSlice>)>),
    Pod(u8, Vec<(Ipv4Addr, Protocol, u16, u16)>),
}

impl Step {
    fn plan(&self) -> (Owner, Plan) {
        match self {
            Self::Service(name, objects) => (
                Owner::Service(Key::new("default", &format!("s{name}"))),
                objects
                    .as_ref()
                    .map(|(service, slices)| rules::plan(service, slices, &node()))
                    .unwrap_or_default(),
            ),
            Self::Pod(name, ports) => (
                Owner::Pod(Key::new("default", &format!("p{name}"))),
                Plan::host_ports([10, 42, 0, 100 + name].into(), ports),
            ),
        }
    }
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)]
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    (1_u8..6, any::<bool>(), any::<[bool; 3]>()).prop_map(|(ip, here, [ready, serving, terminating])| Endpoint {
        address: [10, 42, 0, ip].into(),
        node: if here { "here" } else { "there" }.into(),
        hostname: "".into(),
        ready: ready && !terminating,
        serving,
        terminating,
    })
}

fn objects(name: u8) -> impl Strategy<Value = (Service, Vec<EndpointSlice>)> {
    let ports = prop::collection::btree_map((80_u16..83, protocol()), any::<bool>(), 1..3);
    let slices = prop::collection::vec((prop::collection::vec(endpoint(), 0..4), 8080_u16..8082), 0..3);
    let affinity = prop_oneof![3 => Just(None), 1 => (10_u32..12).prop_map(Some)];
    (
        ports,
        slices,
        any::<[bool; 3]>(),
        prop::collection::btree_set(1_u8..3, 0..2),
        affinity,
    )
        .prop_map(
            move |(ports, slices, [headless, internal_local, external_local], external, affinity_seconds)| {
                let ports: Vec<ServicePort> = ports
                    .into_iter()
                    .map(|((port, protocol), exposed)| ServicePort {
                        name: format!("p{port}{}", protocol.name()).into(),
                        protocol,
                        port,
                        node_port: if exposed { 30_000 + port } else { 0 },
                    })
                    .collect();
                let slices = slices
                    .into_iter()
                    .map(|(endpoints, port)| EndpointSlice {
                        endpoints,
                        ports: ports
                            .iter()
                            .map(|own| EndpointPort {
                                name: own.name.clone(),
                                protocol: own.protocol,
                                port,
                            })
                            .collect(),
                        ..EndpointSlice::default()
                    })
                    .collect();
                let service = Service {
                    namespace: "default".into(),
                    name: format!("s{name}").into(),
                    kind: ServiceType::NodePort,
                    cluster_ip: (!headless).then(|| [10, 43, 0, name].into()),
                    external_ips: external.into_iter().map(|ip| [192, 0, 2, ip].into()).collect(),
                    ports,
                    internal_local,
                    external_local,
                    affinity_seconds,
                    ..Service::default()
                };
                (service, slices)
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    let service = (1_u8..5).prop_flat_map(|name| {
        prop::option::weighted(0.8, objects(name)).prop_map(move |objects| Step::Service(name, objects))
    });
    let address = prop_oneof![Just(Ipv4Addr::UNSPECIFIED), Just(Ipv4Addr::LOCALHOST)];
    let ports = prop::collection::vec((address, protocol(), 80_u16..82, Just(8080)), 0..3);
    prop_oneof![4 => service, 1 => (1_u8..4, ports).prop_map(|(name, ports)| Step::Pod(name, ports))]
}

proptest! {
    #[test]
    fn differences_add_up(steps in prop::collection::vec(step(), 1..24)) {
        let (mut ruleset, mut model) = (Ruleset::default(), Model::default());
        let mut plans = BTreeMap::new();
        for step in steps {
            let (owner, plan) = step.plan();
            plans.insert(owner.clone(), plan.clone());
            let mut difference = Difference::default();
            ruleset.replace(owner.clone(), plan.clone(), &mut difference);
            model.apply(&difference.into_operations());
            let mut again = Difference::default();
            ruleset.replace(owner, plan, &mut again);
            prop_assert!(again.into_operations().is_empty(), "a second run writes nothing");
        }
        let mut whole = Model::default();
        whole.apply(&ruleset.all());
        prop_assert_eq!(&model, &whole);
        let claimed: BTreeSet<_> = plans.values().flat_map(|plan| plan.elements.keys().cloned()).collect();
        prop_assert_eq!(model.elements.keys().cloned().collect::<BTreeSet<_>>(), claimed);
        for (_, plan) in plans {
            plan.chains.iter().for_each(|(name, rules)| assert_eq!(model.chains.get(name), Some(rules)));
        }
    }
}

/// What the kernel holds, in an order of its own making that does not depend on history.
fn kernel(table: &str) -> Vec<String> {
    let listing = std::process::Command::new("nft")
        .args(["list", "table", "inet", table])
        .output()
        .expect("nft runs");
    assert!(listing.status.success(), "{}", String::from_utf8_lossy(&listing.stderr));
    let text = String::from_utf8(listing.stdout).expect("text");
    // One block per chain, set or map; elements come in no order.
    let mut blocks: Vec<String> = text
        .split("\n\n")
        .map(|block| {
            let (before, elements) = block.split_once("elements = {").unwrap_or((block, ""));
            let mut elements: Vec<&str> = elements.split([',', '\n', '}']).map(str::trim).collect();
            elements.sort_unstable();
            format!("{}{}", before.trim(), elements.join("|"))
        })
        .collect();
    blocks.sort();
    blocks
}

/// The same with the real kernel, in a network namespace of this thread's own.
#[test]
fn the_kernel_takes_every_difference() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not root: skipped");
        return;
    }
    let in_namespace = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let settings = |table: &str| crate::network::Settings {
                table: table.to_owned(),
                ..crate::network::Settings::new("here", std::path::Path::new("/nonexistent"))
            };
            let (step_by_step, at_once) = (Table::new(&settings("steps")), Table::new(&settings("whole")));
            let mut runner = proptest::test_runner::TestRunner::deterministic();
            let mut ruleset = Ruleset::default();
            step_by_step.reset(&[]).await.expect("an empty table");
            for round in 0..60 {
                let mut difference = Difference::default();
                let steps = (0..=round % 3).map(|_| step().new_tree(&mut runner).expect("a step").current().plan());
                for (owner, plan) in steps.collect::<BTreeMap<_, _>>() {
                    ruleset.replace(owner, plan, &mut difference);
                }
                let started = std::time::Instant::now();
                step_by_step
                    .apply(&difference.into_operations())
                    .await
                    .unwrap_or_else(|error| {
                        panic!("round {round}: {error:#}");
                    });
                assert!(started.elapsed() < std::time::Duration::from_secs(5));
            }
            at_once.reset(&ruleset.all()).await.expect("a whole table");
            let rename = |blocks: Vec<String>| -> Vec<String> {
                blocks
                    .into_iter()
                    .map(|block| block.replace("table inet steps {", "table inet whole {"))
                    .collect()
            };
            let (mut steps, mut whole) = (rename(kernel("steps")), kernel("whole"));
            steps.sort();
            whole.sort();
            let strip = |blocks: &mut Vec<String>| {
                for block in blocks {
                    *block = block
                        .trim_end_matches(['}', '\n'])
                        .trim()
                        .trim_start_matches("table inet whole {")
                        .trim()
                        .to_owned();
                }
            };
            strip(&mut steps);
            strip(&mut whole);
            steps.sort();
            whole.sort();
            assert_eq!(steps, whole);
            crate::proxy::remove("steps").await.expect("removed");
        });
    };
    std::thread::spawn(in_namespace).join().expect("the kernel agrees");
}
