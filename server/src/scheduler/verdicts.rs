//! The last verdict on every Pod that got no node: per node and plugin, for whoever asks why.
//!
//! Nodes are held by reference and grouped by what they said, so that a verdict on 5,000 nodes costs
//! 40 KiB; both the number of Pods and of nodes named are bounded, the oldest verdict goes first.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::framework::Rejection;
use super::framework::failure::Failure;
use super::node::Node;
use super::pod::Pod;
use crate::apiserver::special::Computed;

/// How many Pods, and how many nodes over all of them, are remembered.
const MOST_PODS: usize = 1000;
const MOST_NODES: usize = 1_000_000;

/// Verdicts by namespace and name of the Pod.
#[derive(Debug, Default)]
pub struct Verdicts {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    verdicts: HashMap<Key, Verdict>,
    /// Oldest first; what was replaced or dropped is skipped.
    order: VecDeque<(Key, u64)>,
    sequence: u64,
    nodes: usize,
}

type Key = (Box<str>, Box<str>);

#[derive(Debug)]
struct Verdict {
    uid: Box<str>,
    at: Timestamp,
    sequence: u64,
    nodes: usize,
    message: String,
    nominated: Option<Box<str>>,
    groups: Vec<Group>,
    /// How many nodes were not looked at one by one, and what is said of them.
    others: Option<(usize, Rejection)>,
}

/// Nodes that said the same.
#[derive(Debug)]
struct Group {
    plugin: &'static str,
    rejection: Rejection,
    nodes: Vec<Arc<Node>>,
}

impl Verdict {
    fn named(&self) -> usize {
        self.groups.iter().map(|group| group.nodes.len()).sum()
    }

    fn to_json(&self, namespace: &str, name: &str) -> Value {
        let reasons = |rejection: &Rejection| rejection.reasons().cloned().collect::<Vec<Cow<'static, str>>>();
        let group = |group: &Group| {
            let names: Vec<&str> = group.nodes.iter().map(|node| &*node.metadata.name).collect();
            json!({"plugin": group.plugin, "reasons": reasons(&group.rejection),
                   "resolvable": !group.rejection.unresolvable, "count": names.len(), "nodes": names})
        };
        let mut status = json!({
            "message": self.message,
            "time": self.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "nodes": self.nodes,
            "verdicts": self.groups.iter().map(group).collect::<Vec<_>>(),
        });
        if let Some((count, rejection)) = &self.others {
            status["others"] =
                json!({"reasons": reasons(rejection), "resolvable": !rejection.unresolvable, "count": count});
        }
        if let Some(node) = &self.nominated {
            status["nominatedNodeName"] = json!(node);
        }
        json!({
            "apiVersion": "console.mizzen.io/v1alpha1", "kind": "SchedulingVerdict",
            "metadata": {"name": name, "namespace": namespace, "uid": self.uid}, "status": status,
        })
    }
}

impl Verdicts {
    /// Remembers why a Pod got no node.
    pub fn record(&self, pod: &Pod, failure: &Failure, cluster: &Cluster) {
        let mut groups: Vec<Group> = Vec::new();
        for verdict in &failure.verdicts {
            let Some(node) = cluster.info(verdict.slot).node.clone() else {
                continue;
            };
            let same = |group: &&mut Group| group.plugin == verdict.plugin && group.rejection == verdict.rejection;
            match groups.iter_mut().find(same) {
                Some(group) => group.nodes.push(node),
                None => groups.push(Group {
                    plugin: verdict.plugin,
                    rejection: verdict.rejection.clone(),
                    nodes: vec![node],
                }),
            }
        }
        let verdict = Verdict {
            uid: pod.metadata.uid.clone(),
            at: Timestamp::now(),
            sequence: 0,
            nodes: failure.nodes,
            message: failure.to_string(),
            nominated: failure.nomination.as_ref().map(|nomination| nomination.node.clone()),
            groups,
            others: failure.others.clone().map(|rejection| (failure.unseen(), rejection)),
        };
        self.inner.lock().insert(key(pod), verdict);
    }

    /// Forgets a Pod that got a node or is gone.
    pub fn forget(&self, pod: &Pod) {
        let mut inner = self.inner.lock();
        if !inner.verdicts.is_empty() {
            inner.remove(&key(pod));
        }
    }
}

impl Computed for Verdicts {
    /// The verdict on a Pod.
    fn get(&self, namespace: &str, name: &str) -> Option<Value> {
        let inner = self.inner.lock();
        let verdict = inner.verdicts.get(&(namespace.into(), name.into()))?;
        Some(verdict.to_json(namespace, name))
    }

    /// The verdicts on all Pods of a namespace, or of all.
    fn list(&self, namespace: Option<&str>) -> Vec<Value> {
        let inner = self.inner.lock();
        let mut keys: Vec<_> = inner
            .verdicts
            .keys()
            .filter(|(n, _)| namespace.is_none_or(|m| *m == **n))
            .collect();
        keys.sort_unstable();
        keys.iter()
            .map(|key| inner.verdicts[*key].to_json(&key.0, &key.1))
            .collect()
    }
}

fn key(pod: &Pod) -> Key {
    (pod.metadata.namespace.clone(), pod.metadata.name.clone())
}

impl Inner {
    fn insert(&mut self, key: Key, mut verdict: Verdict) {
        self.sequence += 1;
        verdict.sequence = self.sequence;
        self.remove(&key);
        self.nodes += verdict.named();
        self.order.push_back((key.clone(), self.sequence));
        self.verdicts.insert(key, verdict);
        while self.verdicts.len() > MOST_PODS || (self.nodes > MOST_NODES && self.verdicts.len() > 1) {
            self.drop_oldest();
        }
        // What was replaced leaves its place in the order behind.
        if self.order.len() > 2 * MOST_PODS {
            let verdicts = &self.verdicts;
            self.order
                .retain(|(key, sequence)| verdicts.get(key).is_some_and(|v| v.sequence == *sequence));
        }
    }

    fn drop_oldest(&mut self) {
        while let Some((key, sequence)) = self.order.pop_front() {
            if self
                .verdicts
                .get(&key)
                .is_some_and(|verdict| verdict.sequence == sequence)
            {
                return self.remove(&key);
            }
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(verdict) = self.verdicts.remove(key) {
            self.nodes -= verdict.named();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let (verdicts, cluster) = (Verdicts::default(), Cluster::default());
        let failure = Failure::of("NodeName", Rejection::new("no"), 3);
        let pod = |n: usize| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": format!("p{n}"), "namespace": "x"}})).expect("a Pod")
        };
        (0..MOST_PODS).for_each(|n| verdicts.record(&pod(n), &failure, &cluster));
        verdicts.record(&pod(0), &failure, &cluster);
        verdicts.record(&pod(MOST_PODS), &failure, &cluster);
        assert!(verdicts.get("x", "p0").is_some(), "it was told again");
        assert!(verdicts.get("x", "p1").is_none());
        verdicts.forget(&pod(0));
        assert_eq!(verdicts.list(Some("x")).len(), MOST_PODS - 1);
        assert_eq!(verdicts.list(Some("y")).len(), 0);
    }
}
