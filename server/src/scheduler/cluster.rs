//! What the scheduler knows of the cluster: nodes with what runs on them, and what decisions look up.
//!
//! Cycles read it directly: nothing changes while one decides. Each node has a slot, a number that it
//! keeps while it exists, by which plugins index their own tables. Every Pod that begins or ceases to
//! count on a node is logged ([`Cluster::changes_since`]), so that a plugin can bring a count that it
//! made for an earlier Pod up to date instead of counting anew; what makes such counts wrong altogether
//! (nodes that come, go or move between topologies) raises [`Cluster::epoch`].

pub mod table;
mod tree;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use self::table::Table;
use self::tree::Tree;
use super::groups::Groups;
use super::node::Node;
use super::pod::{HostPort, Pod};
use super::resources::Resources;
use super::volumes::Volumes;
use crate::projection::Labels;

/// How many changes are kept for counts to catch up with; beyond that, counting anew is no slower.
const LOGGED: usize = 2048;
/// No place: the node lacks the label.
pub const NOWHERE: u32 = u32::MAX;

/// A node and what runs on it.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// Its number while it exists.
    pub slot: usize,
    /// Its name.
    pub name: Box<str>,
    /// The node; absent while only its Pods are known.
    pub node: Option<Arc<Node>>,
    /// Its Pods.
    pub pods: Vec<Arc<Pod>>,
    /// Sum of their requests.
    pub requested: Resources,
    /// The same with defaults, for scores.
    pub scored: Resources,
    /// Ports that they take.
    pub ports: Vec<HostPort>,
}

impl NodeInfo {
    /// Adds a Pod.
    pub fn add(&mut self, pod: Arc<Pod>) {
        self.requested.add(&pod.requests);
        self.scored.add(&pod.scored);
        self.ports.extend(pod.host_ports.iter().cloned());
        self.pods.push(pod);
    }

    /// Removes a Pod and gives it back, if it was there.
    pub fn remove(&mut self, uid: &str) -> Option<Arc<Pod>> {
        let at = self.pods.iter().position(|pod| &*pod.metadata.uid == uid)?;
        let pod = self.pods.swap_remove(at);
        self.requested.subtract(&pod.requests);
        self.scored.subtract(&pod.scored);
        if !pod.host_ports.is_empty() {
            self.ports = self.pods.iter().flat_map(|p| p.host_ports.iter().cloned()).collect();
        }
        Some(pod)
    }

    /// The node, of which cycles know that it exists.
    pub fn node(&self) -> &Node {
        self.node.as_deref().expect("cycles see only nodes that exist")
    }
}

/// Which nodes share a value of a label.
#[derive(Debug)]
pub struct Topology {
    /// Number of the place by slot of the node, or [`NOWHERE`].
    pub places: Vec<u32>,
    /// How many places there are.
    pub count: usize,
}

impl Topology {
    /// The place of a node.
    pub fn place(&self, slot: usize) -> Option<usize> {
        match self.places.get(slot) {
            Some(&NOWHERE) | None => None,
            Some(place) => usize::try_from(*place).ok(),
        }
    }

    /// How many places these nodes are in.
    pub fn distinct(&self, slots: &[usize]) -> usize {
        let mut seen = vec![false; self.count];
        let places = slots.iter().filter_map(|slot| self.place(*slot));
        places
            .filter(|place| !std::mem::replace(&mut seen[*place], true))
            .count()
    }
}

/// A Pod that began or ceased to count on a node.
#[derive(Clone, Debug)]
pub struct PodChange {
    /// Slot of the node.
    pub slot: usize,
    /// The Pod.
    pub pod: Arc<Pod>,
    /// Whether it came.
    pub added: bool,
}

/// The state that watches and decisions lead to.
#[derive(Debug, Default)]
pub struct Cluster {
    nodes: Vec<NodeInfo>,
    vacant: Vec<usize>,
    slots: HashMap<Box<str>, usize>,
    tree: Tree,
    /// Slot of the node on which each Pod counts.
    seats: HashMap<Box<str>, usize>,
    /// Pods that were given a node here and have not been seen bound yet.
    assumed: HashSet<Box<str>>,
    /// Pods with affinities, and their slots.
    with_affinity: BTreeMap<Box<str>, (usize, Arc<Pod>)>,
    /// How many of them keep others away.
    keep_away: usize,
    epoch: u64,
    log: VecDeque<PodChange>,
    logged: u64,
    topologies: Mutex<HashMap<Box<str>, Arc<Topology>>>,
    images: HashMap<Box<str>, usize>,
    namespaces: HashMap<Box<str>, Labels>,
    /// Pods for which room is being made, by slot.
    nominated: HashMap<usize, Vec<Arc<Pod>>>,
    /// Pods that were told to go here, and by whom.
    victims: HashMap<Box<str>, Box<str>>,
    /// Claims and volumes.
    pub volumes: Volumes,
    /// Services and owners of Pods.
    pub groups: Groups,
    /// PodDisruptionBudgets.
    pub budgets: Table<super::groups::Budget>,
}

impl Cluster {
    /// A node came or changed.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone();
        let slot = self.slot_for(&name);
        let before = self.nodes[slot].node.replace(node.clone());
        self.count_images(before.as_deref(), -1);
        self.count_images(Some(&node), 1);
        if before.as_ref().is_none_or(|before| before.moves(&node)) {
            self.tree.set(slot, before.as_deref(), Some(&node));
            self.raise_epoch();
        }
    }

    /// A node is gone; its Pods go by themselves.
    pub fn remove_node(&mut self, name: &str) {
        let Some(&slot) = self.slots.get(name) else { return };
        let before = self.nodes[slot].node.take();
        self.count_images(before.as_deref(), -1);
        self.tree.set(slot, before.as_deref(), None);
        self.nominated.remove(&slot);
        self.vacate(slot);
        self.raise_epoch();
    }

    fn count_images(&mut self, node: Option<&Node>, by: isize) {
        for (image, _) in node.iter().flat_map(|node| &node.images) {
            let count = self.images.entry(image.clone()).or_default();
            *count = count.saturating_add_signed(by);
            if *count == 0 {
                self.images.remove(image);
            }
        }
    }

    /// On how many nodes an image is.
    pub fn nodes_with_image(&self, image: &str) -> usize {
        self.images.get(image).copied().unwrap_or(0)
    }

    /// Whether any node has told of its images.
    pub fn knows_images(&self) -> bool {
        !self.images.is_empty()
    }

    fn raise_epoch(&mut self) {
        self.epoch += 1;
        self.log.clear();
        self.topologies.get_mut().clear();
    }

    fn slot_for(&mut self, name: &str) -> usize {
        if let Some(&slot) = self.slots.get(name) {
            return slot;
        }
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.nodes.push(NodeInfo::default());
            self.nodes.len() - 1
        });
        (self.nodes[slot].slot, self.nodes[slot].name) = (slot, name.into());
        self.slots.insert(name.into(), slot);
        slot
    }

    fn vacate(&mut self, slot: usize) {
        let info = &mut self.nodes[slot];
        if info.node.is_none() && info.pods.is_empty() {
            let vacated = std::mem::take(info);
            self.slots.remove(&vacated.name);
            self.vacant.push(slot);
        }
    }

    /// A bound Pod came or changed; what was assumed about it is thereby settled. Returns whether it
    /// counts in another way than before.
    pub fn set_pod(&mut self, pod: Arc<Pod>) -> bool {
        self.assumed.remove(&pod.metadata.uid);
        self.unnominate(&pod.metadata.uid);
        let name = pod.node_name.clone();
        self.seat(pod, &name)
    }

    /// A Pod is about to be bound.
    pub fn assume(&mut self, pod: Arc<Pod>, node: &str) {
        self.assumed.insert(pod.metadata.uid.clone());
        self.unnominate(&pod.metadata.uid);
        self.seat(pod, node);
    }

    /// A Pod that was assumed was not bound after all.
    pub fn forget(&mut self, uid: &str) {
        if self.assumed.contains(uid) {
            self.remove_pod(uid);
        }
    }

    /// A Pod is gone or ended. Returns it if it counted anywhere.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<Pod>> {
        self.assumed.remove(uid);
        self.victims.remove(uid);
        self.unnominate(uid);
        let slot = self.seats.remove(uid)?;
        self.unseat(slot, uid)
    }

    /// Whether the Pod is assumed and not yet seen bound.
    pub fn is_assumed(&self, uid: &str) -> bool {
        self.assumed.contains(uid)
    }

    fn seat(&mut self, pod: Arc<Pod>, node: &str) -> bool {
        let uid = pod.metadata.uid.clone();
        if let Some(before) = self.seats.remove(&uid) {
            if *self.nodes[before].name == *node
                && let Some(known) = self.nodes[before].pods.iter_mut().find(|p| p.metadata.uid == uid)
                && known.counts_as(&pod)
            {
                *known = pod;
                self.seats.insert(uid, before);
                return false;
            }
            self.unseat(before, &uid);
        }
        let slot = self.slot_for(node);
        self.seats.insert(uid.clone(), slot);
        if let Some(affinities) = &pod.affinities {
            self.keep_away += usize::from(!affinities.far.is_empty());
            self.with_affinity.insert(uid, (slot, pod.clone()));
        }
        self.nodes[slot].add(pod.clone());
        self.record(slot, pod, true);
        true
    }

    fn unseat(&mut self, slot: usize, uid: &str) -> Option<Arc<Pod>> {
        let pod = self.nodes[slot].remove(uid)?;
        if let Some((_, known)) = self.with_affinity.remove(uid) {
            let far = known.affinities.as_ref().is_some_and(|a| !a.far.is_empty());
            self.keep_away -= usize::from(far);
        }
        self.record(slot, pod.clone(), false);
        self.vacate(slot);
        Some(pod)
    }

    fn record(&mut self, slot: usize, pod: Arc<Pod>, added: bool) {
        if self.log.len() == LOGGED {
            self.log.pop_front();
        }
        self.logged += 1;
        self.log.push_back(PodChange { slot, pod, added });
    }

    /// Raised whenever nodes come, go, or change labels or taints, or namespaces their labels.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many changes of Pods there have been.
    pub fn sequence(&self) -> u64 {
        self.logged
    }

    /// The changes of Pods since `sequence`, unless they are no longer known.
    pub fn changes_since(&self, sequence: u64) -> Option<impl Iterator<Item = &PodChange>> {
        let missing = usize::try_from(self.logged - sequence).ok()?;
        let known = self.log.len();
        (missing <= known).then(|| self.log.range(known - missing..))
    }

    /// Which nodes share values of a label.
    pub fn topology(&self, key: &str) -> Arc<Topology> {
        let mut topologies = self.topologies.lock();
        if let Some(known) = topologies.get(key) {
            return known.clone();
        }
        let mut values = HashMap::new();
        let mut place = |info: &NodeInfo| {
            let value = info.node.as_deref()?.metadata.labels.get(key)?;
            let next = u32::try_from(values.len()).unwrap_or(NOWHERE);
            Some(*values.entry(value.to_owned()).or_insert(next))
        };
        let places = self.nodes.iter().map(|info| place(info).unwrap_or(NOWHERE)).collect();
        let count = values.len();
        let topology = Arc::new(Topology { places, count });
        topologies.insert(key.into(), topology.clone());
        topology
    }

    /// The slots of all nodes in the order in which upstream looks at them: zones take turns.
    pub fn order(&self) -> &[usize] {
        self.tree.order()
    }

    /// Brings the order of nodes up to date; before a cycle.
    pub fn settle(&mut self) {
        self.tree.settle();
    }

    /// The node in a slot.
    pub fn info(&self, slot: usize) -> &NodeInfo {
        &self.nodes[slot]
    }

    /// How many slots there are, vacant ones included.
    pub fn slots(&self) -> usize {
        self.nodes.len()
    }

    /// The slot of a node that exists.
    pub fn slot_of(&self, name: &str) -> Option<usize> {
        let slot = *self.slots.get(name)?;
        self.nodes[slot].node.as_ref().map(|_| slot)
    }

    /// All Pods on nodes, with their slots.
    pub fn pods(&self) -> impl Iterator<Item = (usize, &Arc<Pod>)> {
        let each = self.nodes.iter();
        each.flat_map(|info| info.pods.iter().map(move |pod| (info.slot, pod)))
    }

    /// Pods with affinities, with their slots.
    pub fn pods_with_affinity(&self) -> impl Iterator<Item = (usize, &Arc<Pod>)> {
        self.with_affinity.values().map(|(slot, pod)| (*slot, pod))
    }

    /// Whether there is a Pod with affinities, or one that keeps others away.
    pub fn has_affinity(&self) -> (bool, bool) {
        (!self.with_affinity.is_empty(), self.keep_away > 0)
    }

    /// Labels of a namespace.
    pub fn namespace(&self, name: &str) -> &Labels {
        static NONE: LazyLock<Labels> = LazyLock::new(Labels::default);
        self.namespaces.get(name).unwrap_or(&NONE)
    }

    /// A namespace came, changed or, without labels, went. Returns whether that matters to anyone.
    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>) -> bool {
        let before = match labels.clone() {
            Some(labels) => self.namespaces.insert(name.into(), labels),
            None => self.namespaces.remove(name),
        };
        let changed = before.unwrap_or_default() != labels.unwrap_or_default();
        if changed {
            self.raise_epoch();
        }
        changed
    }

    /// Room is being made on a node for this Pod.
    pub fn nominate(&mut self, pod: &Arc<Pod>, node: &str) {
        self.unnominate(&pod.metadata.uid);
        if let Some(slot) = self.slot_of(node) {
            self.nominated.entry(slot).or_default().push(pod.clone());
        }
    }

    /// No longer.
    pub fn unnominate(&mut self, uid: &str) {
        if self.nominated.is_empty() {
            return;
        }
        self.nominated.retain(|_, pods| {
            pods.retain(|pod| &*pod.metadata.uid != uid);
            !pods.is_empty()
        });
    }

    /// The slot of the node on which room is being made for a Pod.
    pub fn nomination(&self, uid: &str) -> Option<usize> {
        let mut each = self.nominated.iter();
        each.find_map(|(slot, pods)| pods.iter().any(|p| &*p.metadata.uid == uid).then_some(*slot))
    }

    /// Pods for which room is being made on a node.
    pub fn nominated(&self, slot: usize) -> &[Arc<Pod>] {
        self.nominated.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// A Pod was told to go for another.
    pub fn set_victim(&mut self, uid: &str, preemptor: &str) {
        self.victims.insert(uid.into(), preemptor.into());
    }

    /// Telling Pods to go for this one failed.
    pub fn spare_victims_of(&mut self, preemptor: &str) {
        self.victims.retain(|_, by| &**by != preemptor);
    }

    /// Whether a Pod was told to go for a more important one and is still there.
    pub fn is_leaving_for_another(&self, pod: &Pod) -> bool {
        (pod.preempted && pod.metadata.is_deleting()) || self.victims.contains_key(&pod.metadata.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, node: &str) -> Arc<Pod> {
        let pod = json!({"metadata": {"uid": uid}, "spec": {"nodeName": node, "containers": [
            {"resources": {"requests": {"cpu": "1", "example.com/gpu": "1"}}}]}});
        Arc::new(serde_json::from_value(pod).expect("a Pod"))
    }

    fn node(name: &str, zone: &str) -> Arc<Node> {
        let node = json!({"metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}}});
        Arc::new(serde_json::from_value(node).expect("a Node"))
    }

    #[test]
    fn it_follows_what_was_assumed_bound_and_forgotten() {
        let mut cluster = Cluster::default();
        cluster.set_node(node("n1", "a"));
        let used = |cluster: &Cluster| {
            let info = cluster.info(0);
            let gpus = info.requested.extended("example.com/gpu");
            (info.requested.milli_cpu, gpus, info.pods.len())
        };
        assert_eq!(used(&cluster), (0, 0, 0));
        cluster.assume(pod("a", ""), "n1");
        assert_eq!(used(&cluster), (1000, 1, 1));
        cluster.set_pod(pod("a", "n1"));
        assert_eq!(used(&cluster), (1000, 1, 1));
        cluster.forget("a");
        assert_eq!(used(&cluster), (1000, 1, 1), "a bound Pod is not forgotten");
        cluster.assume(pod("b", ""), "n1");
        cluster.forget("b");
        assert_eq!(used(&cluster), (1000, 1, 1));
        cluster.remove_pod("a");
        assert_eq!(used(&cluster), (0, 0, 0));
        let told: Vec<_> = cluster
            .changes_since(0)
            .into_iter()
            .flatten()
            .map(|c| c.added)
            .collect();
        assert_eq!(told, [true, true, false, false]);
    }

    #[test]
    fn a_node_without_object_lives_as_long_as_its_pods() {
        let mut cluster = Cluster::default();
        cluster.set_pod(pod("a", "n1"));
        assert_eq!(cluster.slot_of("n1"), None);
        cluster.set_node(node("n1", "a"));
        cluster.remove_node("n1");
        assert!(cluster.remove_pod("a").is_some());
        assert_eq!((cluster.slots.len(), cluster.vacant.len()), (0, 1));
    }

    #[test]
    fn zones_take_turns() {
        let mut cluster = Cluster::default();
        for (name, zone) in [("n1", "a"), ("n2", "a"), ("n3", "b"), ("n4", "a"), ("n5", "c")] {
            cluster.set_node(node(name, zone));
        }
        let order = |cluster: &mut Cluster| {
            cluster.settle();
            let names = cluster
                .order()
                .iter()
                .map(|slot| cluster.info(*slot).node().metadata.name.to_string());
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(order(&mut cluster), "n1 n3 n5 n2 n4");
        cluster.remove_node("n1");
        assert_eq!(order(&mut cluster), "n2 n3 n5 n4");
        let zones = cluster.topology("topology.kubernetes.io/zone");
        assert_eq!(zones.count, 3);
        assert_eq!(zones.place(0), None, "the slot of a node that is gone");
    }
}
