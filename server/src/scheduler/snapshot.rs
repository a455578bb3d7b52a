//! What is on each node: the cache that follows the watches, and the snapshots that cycles read.
//!
//! Nodes are shared between cache and snapshot until either changes: taking a snapshot touches only
//! the nodes that changed since the last one, however many there are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::pod::{Node, Pod, Resources};

/// A node and what runs on it.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// The node; absent while only its Pods are known.
    pub node: Option<Arc<Node>>,
    /// Its Pods by uid.
    pub pods: HashMap<Box<str>, Arc<Pod>>,
    /// Sum of their requests.
    pub requested: Resources,
    /// The same with defaults, for scores.
    pub scored: Resources,
}

impl NodeInfo {
    /// Adds a Pod.
    pub fn add(&mut self, pod: Arc<Pod>) {
        self.requested.add(&pod.requests);
        self.scored.add(&pod.scored);
        if let Some(before) = self.pods.insert(pod.metadata.uid.clone(), pod) {
            self.requested.subtract(&before.requests);
            self.scored.subtract(&before.scored);
        }
    }

    /// Removes a Pod; false if it was not there.
    pub fn remove(&mut self, uid: &str) -> bool {
        let Some(pod) = self.pods.remove(uid) else { return false };
        self.requested.subtract(&pod.requests);
        self.scored.subtract(&pod.scored);
        true
    }

    fn is_unused(&self) -> bool {
        self.node.is_none() && self.pods.is_empty()
    }
}

/// The state that watches and decisions lead to.
#[derive(Debug, Default)]
pub struct Cache {
    nodes: BTreeMap<Box<str>, Arc<NodeInfo>>,
    /// Node on which each Pod is counted.
    places: HashMap<Box<str>, Box<str>>,
    /// Pods that were given a node here and have not been seen bound yet.
    assumed: HashSet<Box<str>>,
    changed: HashSet<Box<str>>,
}

impl Cache {
    /// A node came or changed.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone();
        self.change(&name, |info| info.node = Some(node));
    }

    /// A node is gone; its Pods go by themselves.
    pub fn remove_node(&mut self, name: &str) {
        self.change(name, |info| info.node = None);
    }

    /// A bound Pod came or changed; what was assumed about it is thereby settled.
    pub fn set_pod(&mut self, pod: Arc<Pod>) {
        self.assumed.remove(&pod.metadata.uid);
        let node = pod.node_name.clone();
        self.place(pod, &node);
    }

    /// A Pod is about to be bound.
    pub fn assume(&mut self, pod: Arc<Pod>, node: &str) {
        self.assumed.insert(pod.metadata.uid.clone());
        self.place(pod, node);
    }

    /// A Pod that was assumed was not bound after all.
    pub fn forget(&mut self, uid: &str) {
        if self.assumed.contains(uid) {
            self.remove_pod(uid);
        }
    }

    /// A Pod is gone or ended. Returns whether it was counted anywhere.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        self.assumed.remove(uid);
        let Some(node) = self.places.remove(uid) else {
            return false;
        };
        self.change(&node, |info| {
            info.remove(uid);
        });
        true
    }

    /// Whether the Pod is assumed and not yet seen bound.
    pub fn is_assumed(&self, uid: &str) -> bool {
        self.assumed.contains(uid)
    }

    fn place(&mut self, pod: Arc<Pod>, node: &str) {
        let uid = pod.metadata.uid.clone();
        if let Some(before) = self.places.insert(uid.clone(), node.into())
            && *before != *node
        {
            self.change(&before, |info| {
                info.remove(&uid);
            });
        }
        self.change(node, |info| info.add(pod));
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut NodeInfo)) {
        let info = self.nodes.entry(name.into()).or_default();
        change(Arc::make_mut(info));
        if info.is_unused() {
            self.nodes.remove(name);
        }
        self.changed.insert(name.into());
    }

    /// Brings a snapshot up to date.
    pub fn refresh(&mut self, snapshot: &mut Snapshot) {
        for name in self.changed.drain() {
            snapshot.set(&name, self.nodes.get(&name).filter(|info| info.node.is_some()));
        }
    }
}

/// All nodes at one moment, in order of name.
#[derive(Debug, Default)]
pub struct Snapshot {
    nodes: Vec<(Box<str>, Arc<NodeInfo>)>,
}

impl Snapshot {
    fn set(&mut self, name: &str, info: Option<&Arc<NodeInfo>>) {
        let at = self.nodes.binary_search_by(|(n, _)| (**n).cmp(name));
        match (at, info) {
            (Ok(at), Some(info)) => self.nodes[at].1 = info.clone(),
            (Err(at), Some(info)) => self.nodes.insert(at, (name.into(), info.clone())),
            (Ok(at), None) => drop(self.nodes.remove(at)),
            (Err(_), None) => {}
        }
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The node at a position.
    pub fn at(&self, position: usize) -> (&str, &NodeInfo, &Node) {
        let (name, info) = &self.nodes[position];
        let node = info.node.as_deref().expect("a snapshot holds only nodes that exist");
        (name, info, node)
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

    #[test]
    fn a_snapshot_follows_what_was_assumed_bound_and_forgotten() {
        let (mut cache, mut snapshot) = (Cache::default(), Snapshot::default());
        let node = json!({"metadata": {"name": "n1"}});
        cache.set_node(Arc::new(serde_json::from_value(node).expect("a Node")));
        let mut used = |cache: &mut Cache| {
            cache.refresh(&mut snapshot);
            let (_, info, _) = snapshot.at(0);
            (
                info.requested.milli_cpu,
                info.requested.extended("example.com/gpu"),
                info.pods.len(),
            )
        };
        assert_eq!(used(&mut cache), (0, 0, 0));
        cache.assume(pod("a", ""), "n1");
        assert_eq!(used(&mut cache), (1000, 1, 1));
        cache.set_pod(pod("a", "n1"));
        assert_eq!(used(&mut cache), (1000, 1, 1));
        cache.forget("a");
        assert_eq!(used(&mut cache), (1000, 1, 1), "a bound Pod is not forgotten");
        cache.assume(pod("b", ""), "n1");
        cache.forget("b");
        assert_eq!(used(&mut cache), (1000, 1, 1));
        cache.remove_pod("a");
        assert_eq!(used(&mut cache), (0, 0, 0));
    }
}
