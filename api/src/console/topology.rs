//! A map of what runs: Services, the workloads whose Pods they lead to, and the nodes that those run on.
//!
//! [`map`] groups Pods by their topmost owner, and workloads by namespace where they are too many to be read;
//! what is left over the limits is one box of its own, the worst and largest having boxes first. [`lay_out`]
//! gives the boxes their places. Both are pure, so that a change costs one pass over small projections.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::summary::Health;
use crate::relations::{self, Reference};
use crate::selector::LabelSelector;
use crate::table::Severity;
use crate::view;

/// Most workloads that have a box each.
pub const WORKLOADS: usize = 80;
/// Most Services, and most nodes, that have one.
pub const ENDS: usize = 60;
/// Most Pods of a box that are drawn one by one.
pub const PODS: usize = 48;

/// A Pod, as much of it as the map needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Namespace.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// What controls it.
    pub owner: Option<Reference>,
    /// Its node; empty while it has none.
    pub node: Box<str>,
    /// How it fares.
    pub severity: Severity,
    /// Labels, sorted by key.
    labels: Box<[(Box<str>, Box<str>)]>,
}

impl Pod {
    /// Reads a Pod, which fares so.
    pub fn read(pod: &Value, severity: Severity) -> Self {
        let labels = view::map(pod, "/metadata/labels").into_iter().flatten();
        let mut labels: Vec<(Box<str>, Box<str>)> = labels
            .map(|(key, value)| (key.as_str().into(), value.as_str().unwrap_or_default().into()))
            .collect();
        labels.sort();
        Self {
            namespace: view::namespace(pod).into(),
            name: view::name(pod).into(),
            owner: controller(pod),
            node: view::text(pod, "/spec/nodeName").into(),
            severity,
            labels: labels.into(),
        }
    }
}

/// What controls an object.
pub fn controller(object: &Value) -> Option<Reference> {
    view::controller(object)?;
    relations::owners(object).into_iter().next()
}

/// A Service, as much of it as the map needs.
#[derive(Clone, Debug)]
pub struct Service {
    /// Namespace.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
    selector: Option<LabelSelector>,
}

impl Service {
    /// Reads a Service.
    pub fn read(service: &Value) -> Self {
        Self {
            namespace: view::namespace(service).into(),
            name: view::name(service).into(),
            selector: view::map(service, "/spec/selector").map(|map| LabelSelector::from_map(Some(map))),
        }
    }
}

/// What a map is made from.
pub struct World<'a> {
    /// Pods.
    pub pods: Vec<&'a Pod>,
    /// Services.
    pub services: Vec<&'a Service>,
    /// Nodes, and how they fare.
    pub nodes: Vec<(&'a str, Severity)>,
    /// What controls what controls Pods, by namespace and reference.
    pub above: &'a dyn Fn(&str, &Reference) -> Option<Reference>,
}

/// What a box stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stands {
    /// A Service.
    Service,
    /// What owns Pods.
    Workload(Reference),
    /// Pods that nothing owns.
    Alone,
    /// All workloads of a namespace.
    Namespace,
    /// So many workloads, Services or nodes that have no box of their own.
    Others(usize),
    /// A node.
    Node,
    /// Where Pods are that have no node yet.
    Waiting,
}

/// Where a box stands: in one of three bands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Band {
    /// Services.
    Services,
    /// Workloads or namespaces.
    Workloads,
    /// Nodes.
    Nodes,
}

/// A box.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Where.
    pub band: Band,
    /// What it stands for.
    pub stands: Stands,
    /// Namespace; empty for what has none.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// How its Pods fare.
    pub health: Health,
    /// The Pods one by one, where they are few.
    pub pods: Vec<(Box<str>, Severity)>,
    /// Left, top, width and height, once laid out.
    pub area: [u32; 4],
}

/// Pods that two boxes have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// A box.
    pub from: usize,
    /// Another, in the next band.
    pub to: usize,
    /// How many Pods.
    pub pods: usize,
}

/// The map.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map {
    /// Boxes, band by band.
    pub groups: Vec<Group>,
    /// What joins them.
    pub edges: Vec<Edge>,
    /// Width and height of the whole.
    pub size: [u32; 2],
}

type Key = (Box<str>, Stands, Box<str>);

fn owner(world: &World<'_>, pod: &Pod) -> Key {
    let Some(mut owner) = pod.owner.clone() else {
        return (pod.namespace.clone(), Stands::Alone, "".into());
    };
    // Owners are at most a few high; those of people's own may go round in circles.
    for _ in 0..4 {
        match (world.above)(&pod.namespace, &owner) {
            Some(above) => owner = above,
            None => break,
        }
    }
    let name = owner.name.as_str().into();
    (pod.namespace.clone(), Stands::Workload(owner), name)
}

/// Groups of one band, while they are gathered.
struct Gather<'a> {
    band: Band,
    keys: HashMap<Key, usize>,
    groups: Vec<(Key, Vec<&'a Pod>, Severity)>,
}

impl<'a> Gather<'a> {
    fn new(band: Band) -> Self {
        Self {
            band,
            keys: HashMap::new(),
            groups: Vec::new(),
        }
    }

    fn at(&mut self, key: Key) -> usize {
        *self.keys.entry(key).or_insert_with_key(|key| {
            self.groups.push((key.clone(), Vec::new(), Severity::Plain));
            self.groups.len() - 1
        })
    }

    fn put(&mut self, key: Key, pod: &'a Pod) {
        let at = self.at(key);
        self.groups[at].1.push(pod);
        self.groups[at].2 = self.groups[at].2.max(pod.severity);
    }

    /// The boxes: at most so many and one for the rest, the worst and the largest being kept.
    fn boxes(mut self, most: usize, map: &mut Map, of: &mut HashMap<(Band, Key), usize>) {
        let mut rest = Vec::new();
        if self.groups.len() > most {
            let rank = |severity: Severity| severity.max(Severity::Ok);
            self.groups
                .sort_by_key(|(_, pods, severity)| std::cmp::Reverse((rank(*severity), pods.len())));
            rest = self.groups.split_off(most);
        }
        self.groups.sort_by(|a, b| a.0.cmp(&b.0));
        for (key, pods, severity) in self.groups {
            of.insert((self.band, key.clone()), map.groups.len());
            map.groups.push(group(self.band, key, &pods, severity));
        }
        if !rest.is_empty() {
            let key = ("".into(), Stands::Others(rest.len()), "".into());
            let mut pods = Vec::new();
            for (key, theirs, _) in &rest {
                of.insert((self.band, key.clone()), map.groups.len());
                pods.extend(theirs);
            }
            map.groups.push(group(self.band, key, &pods, Severity::Plain));
        }
    }
}

fn group(band: Band, (namespace, stands, name): Key, pods: &[&Pod], own: Severity) -> Group {
    let mut health = Health::default();
    pods.iter().for_each(|pod| health.change(None, Some(pod.severity)));
    if stands == Stands::Node && pods.is_empty() {
        health.change(None, Some(own));
    }
    let few = band == Band::Workloads && pods.len() <= PODS;
    Group {
        band,
        stands,
        namespace,
        name,
        health,
        pods: match few {
            true => pods.iter().map(|pod| (pod.name.clone(), pod.severity)).collect(),
            false => Vec::new(),
        },
        area: [0; 4],
    }
}

/// The map of a world, laid out.
pub fn map(world: &World<'_>) -> Map {
    let mut owners = Gather::new(Band::Workloads);
    let keys: Vec<Key> = world.pods.iter().map(|pod| owner(world, pod)).collect();
    for (pod, key) in world.pods.iter().zip(&keys) {
        owners.put(key.clone(), pod);
    }
    let namespaces: usize = {
        let mut all: Vec<_> = world.pods.iter().map(|pod| &pod.namespace).collect();
        all.sort();
        all.dedup();
        all.len()
    };
    // Too many to be read: a box is a namespace then.
    let wide = owners.groups.len() > WORKLOADS && namespaces > 1;
    let key_of = |at: usize| -> Key {
        match wide {
            true => (world.pods[at].namespace.clone(), Stands::Namespace, "".into()),
            false => keys[at].clone(),
        }
    };
    if wide {
        owners = Gather::new(Band::Workloads);
        for (at, pod) in world.pods.iter().enumerate() {
            owners.put(key_of(at), pod);
        }
    }
    let mut services = Gather::new(Band::Services);
    let mut leads: Vec<(Key, usize)> = Vec::new();
    if !wide {
        let mut near: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, pod) in world.pods.iter().enumerate() {
            near.entry(&pod.namespace).or_default().push(at);
        }
        for service in &world.services {
            let Some(selector) = &service.selector else { continue };
            let key: Key = (service.namespace.clone(), Stands::Service, service.name.clone());
            services.at(key.clone());
            for at in near.get(&*service.namespace).into_iter().flatten() {
                if selector.matches(&*world.pods[*at].labels) {
                    services.put(key.clone(), world.pods[*at]);
                    leads.push((key.clone(), *at));
                }
            }
        }
    }
    let mut nodes = Gather::new(Band::Nodes);
    for (name, severity) in &world.nodes {
        let at = nodes.at(("".into(), Stands::Node, (*name).into()));
        nodes.groups[at].2 = *severity;
    }
    let node_of = |pod: &Pod| -> Key {
        match &*pod.node {
            "" => ("".into(), Stands::Waiting, "".into()),
            name => ("".into(), Stands::Node, name.into()),
        }
    };
    for pod in &world.pods {
        nodes.put(node_of(pod), pod);
    }
    let (mut map, mut of) = (Map::default(), HashMap::new());
    services.boxes(ENDS, &mut map, &mut of);
    owners.boxes(WORKLOADS, &mut map, &mut of);
    nodes.boxes(ENDS, &mut map, &mut of);
    let mut edges: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let mut join = |a: (Band, Key), b: (Band, Key)| {
        if let (Some(from), Some(to)) = (of.get(&a), of.get(&b)) {
            *edges.entry((*from, *to)).or_default() += 1;
        }
    };
    for (key, at) in leads {
        join((Band::Services, key), (Band::Workloads, key_of(at)));
    }
    for (at, pod) in world.pods.iter().enumerate() {
        join((Band::Workloads, key_of(at)), (Band::Nodes, node_of(pod)));
    }
    map.edges = edges
        .into_iter()
        .map(|((from, to), pods)| Edge { from, to, pods })
        .collect();
    lay_out(&mut map);
    map
}

/// Width of a box, of the gap between bands, and between boxes.
const WIDTH: u32 = 190;
const GULF: u32 = 90;
const GAP: u32 = 12;
/// Height of a box's title, and side of a Pod's square with its margin.
pub const TITLE: u32 = 26;
/// Side of a Pod's square with its margin.
pub const SQUARE: u32 = 15;
/// Squares in a row.
pub const ROW: u32 = 12;
/// Boxes in a column before there is another column.
const COLUMN: usize = 12;

fn lay_out(map: &mut Map) {
    let mut left = GAP;
    for band in [Band::Services, Band::Workloads, Band::Nodes] {
        let members: Vec<usize> = (0..map.groups.len())
            .filter(|at| map.groups[*at].band == band)
            .collect();
        if members.is_empty() {
            continue;
        }
        let columns = match band {
            Band::Workloads => members.len().div_ceil(COLUMN).clamp(1, 4),
            Band::Services | Band::Nodes => 1,
        };
        let mut bottoms = vec![GAP; columns];
        for at in members {
            let group = &mut map.groups[at];
            let squares = u32::try_from(group.pods.len()).unwrap_or(0);
            let height = TITLE + (squares.div_ceil(ROW).max(1)) * SQUARE + 6;
            // The first of the shortest columns.
            let column = (0..columns).min_by_key(|c| bottoms[*c]).unwrap_or(0);
            let x = left + u32::try_from(column).unwrap_or(0) * (WIDTH + GAP);
            group.area = [x, bottoms[column], WIDTH, height];
            bottoms[column] += height + GAP;
        }
        left += u32::try_from(columns).unwrap_or(1) * (WIDTH + GAP) - GAP + GULF;
        map.size[1] = map.size[1].max(bottoms.into_iter().max().unwrap_or(0));
    }
    map.size[0] = left.saturating_sub(GULF) + GAP;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(namespace: &str, name: &str, owner: &str, node: &str) -> Pod {
        let owners = match owner {
            "" => json!([]),
            name => json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "controller": true}]),
        };
        let pod = json!({"metadata": {"namespace": namespace, "name": name, "labels": {"app": "web"}, "ownerReferences": owners},
            "spec": {"nodeName": node}});
        Pod::read(
            &pod,
            if node.is_empty() {
                Severity::Progress
            } else {
                Severity::Ok
            },
        )
    }

    fn draw(map: &Map) -> String {
        let name = |group: &Group| match &group.stands {
            Stands::Workload(of) => format!("{}/{}/{}", group.namespace, of.kind, group.name),
            other => format!("{}/{other:?}/{}", group.namespace, group.name),
        };
        let group = |g: &Group| {
            format!(
                "{:?} {} {} of {} {:?}\n",
                g.band,
                name(g),
                g.pods.len(),
                g.health.total(),
                g.area
            )
        };
        let edge = |e: &Edge| {
            format!(
                "{} -{}-> {}\n",
                name(&map.groups[e.from]),
                e.pods,
                name(&map.groups[e.to])
            )
        };
        map.groups.iter().map(group).chain(map.edges.iter().map(edge)).collect()
    }

    #[test]
    fn services_lead_to_workloads_and_those_to_nodes() {
        let pods = [
            pod("a", "web-1-x", "web-1", "n1"),
            pod("a", "web-1-y", "web-1", ""),
            pod("a", "lonely", "", "n1"),
            pod("b", "other", "other-1", "n2"),
        ];
        let service = Service::read(
            &json!({"metadata": {"namespace": "a", "name": "web"}, "spec": {"selector": {"app": "web"}}}),
        );
        let above = |_: &str, of: &Reference| {
            (of.name == "web-1").then(|| Reference {
                group: "apps".into(),
                kind: "Deployment".into(),
                name: "web".into(),
            })
        };
        let world = World {
            pods: pods.iter().collect(),
            services: vec![&service],
            nodes: vec![("n1", Severity::Ok), ("n3", Severity::Failure)],
            above: &above,
        };
        insta::assert_snapshot!(draw(&map(&world)));
    }

    #[test]
    fn thousands_of_pods_are_few_boxes() {
        let many = |namespaces: usize| -> Vec<Pod> {
            let one = |n: usize| {
                let owner = format!("set-{}", n / 10);
                pod(
                    &format!("ns{}", (n / 10) % namespaces),
                    &format!("p{n}"),
                    &owner,
                    &format!("n{}", n % 100),
                )
            };
            (0..5000).map(one).collect()
        };
        for (namespaces, workloads) in [(40, 40), (1, WORKLOADS + 1)] {
            let pods = many(namespaces);
            let world = World {
                pods: pods.iter().collect(),
                services: Vec::new(),
                nodes: Vec::new(),
                above: &|_, _| None,
            };
            let map = map(&world);
            let of = |band: Band| map.groups.iter().filter(move |g| g.band == band);
            assert_eq!(of(Band::Workloads).count(), workloads);
            assert_eq!(of(Band::Nodes).count(), ENDS + 1);
            assert_eq!(of(Band::Workloads).map(|g| g.health.total()).sum::<usize>(), 5000);
            let overlap = |a: [u32; 4], b: [u32; 4]| {
                a[0] < b[0] + b[2] && b[0] < a[0] + a[2] && a[1] < b[1] + b[3] && b[1] < a[1] + a[3]
            };
            for (at, a) in map.groups.iter().enumerate() {
                assert!(map.groups[at + 1..].iter().all(|b| !overlap(a.area, b.area)));
                assert!(a.area[0] + a.area[2] <= map.size[0] && a.area[1] + a.area[3] <= map.size[1]);
            }
        }
    }
}
