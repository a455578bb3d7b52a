//! Who owns whom: every object that can be deleted, by uid, and the dependents of every owner.
//!
//! Pure: changes come in, the uids that have to be looked at come out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::controllers::discovery::Served;
use crate::projection::Owner;
use mizzen_api::client::reflector::Projection;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Holds an object until its dependents are gone.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Holds an object until its dependents have been released.
pub(super) const ORPHAN: &str = "orphan";

/// An object, shared with the copy that its watch keeps.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Its resource.
    pub(super) served: Arc<Served>,
    /// What is known of it.
    pub(super) object: Arc<Tracked>,
    /// How it is being deleted, if it is.
    pub(super) deletion: Deletion,
}

impl Node {
    /// A node for an object.
    pub(super) fn new(served: Arc<Served>, object: Arc<Tracked>) -> Self {
        let meta = &object.metadata;
        Self {
            deletion: Deletion::of(meta.deletion_timestamp.is_some(), &meta.finalizers),
            served,
            object,
        }
    }

    /// Its owners.
    pub(super) fn owners(&self) -> &[Owner] {
        &self.object.metadata.owner_references
    }
}

/// An object as this controller keeps it: nothing but what deletion depends on.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Tracked {
    /// Metadata.
    pub(super) metadata: TrackedMeta,
}

/// Metadata, as far as deletion depends on it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TrackedMeta {
    /// Name.
    pub(super) name: Box<str>,
    /// Namespace; empty for cluster scope.
    pub(super) namespace: Box<str>,
    /// Unique id.
    pub(super) uid: Box<str>,
    /// Revision.
    pub(super) resource_version: Box<str>,
    /// Set once deletion was asked for.
    pub(super) deletion_timestamp: Option<IgnoredAny>,
    /// Owners.
    pub(super) owner_references: Box<[Owner]>,
    /// What holds up the deletion.
    pub(super) finalizers: Box<[Box<str>]>,
}

impl Projection for Tracked {
    fn namespace(&self) -> &str {
        &self.metadata.namespace
    }
    fn name(&self) -> &str {
        &self.metadata.name
    }
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

/// How an object is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deletion {
    /// It is not.
    No,
    /// Whatever holds it is not ours.
    Background,
    /// It waits for its dependents to go.
    Foreground,
    /// It waits for its dependents to be released.
    Orphan,
}

impl Deletion {
    /// The way of deletion that finalizers tell.
    pub(super) fn of(deleting: bool, finalizers: &[Box<str>]) -> Self {
        let has = |name: &str| finalizers.iter().any(|finalizer| **finalizer == *name);
        match deleting {
            false => Self::No,
            true if has(ORPHAN) => Self::Orphan,
            true if has(FOREGROUND) => Self::Foreground,
            true => Self::Background,
        }
    }
}

/// The graph.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<Box<str>, Arc<Node>>,
    dependents: HashMap<Box<str>, HashSet<Box<str>>>,
}

impl Graph {
    /// An object.
    pub(super) fn get(&self, uid: &str) -> Option<Arc<Node>> {
        self.nodes.get(uid).cloned()
    }

    /// The uids of an owner's dependents, with the objects.
    pub(super) fn dependents(&self, uid: &str) -> Vec<(Box<str>, Arc<Node>)> {
        let uids = self.dependents.get(uid).into_iter().flatten();
        uids.filter_map(|uid| Some((uid.clone(), self.nodes.get(uid)?.clone())))
            .collect()
    }

    /// An object came or changed. Returns the uids to look at.
    pub(super) fn set(&mut self, uid: &str, node: Node) -> Vec<Box<str>> {
        let before = self.nodes.get(uid).cloned();
        let old_owners = before.as_ref().map_or(&[][..], |node| node.owners());
        let mut work = Vec::new();
        if *old_owners != *node.owners() {
            for owner in old_owners {
                self.unlink(&owner.uid, uid);
                work.push(owner.uid.clone());
            }
            for owner in node.owners() {
                self.dependents.entry(owner.uid.clone()).or_default().insert(uid.into());
            }
            let unknown = |owner: &Owner| !self.nodes.contains_key(&owner.uid);
            let waiting = |owner: &Owner| {
                self.nodes
                    .get(&owner.uid)
                    .is_some_and(|o| o.deletion == Deletion::Foreground)
            };
            if before.is_some() || node.owners().iter().any(|owner| unknown(owner) || waiting(owner)) {
                work.push(uid.into());
            }
        }
        let deletion = before.as_ref().map_or(Deletion::No, |node| node.deletion);
        if node.deletion != deletion {
            match node.deletion {
                Deletion::No => {}
                // An owner that waits for this one may be waiting for it to be deleting.
                Deletion::Background => work.extend(node.owners().iter().map(|owner| owner.uid.clone())),
                Deletion::Foreground | Deletion::Orphan => {
                    work.push(uid.into());
                    work.extend(node.owners().iter().map(|owner| owner.uid.clone()));
                }
            }
        }
        self.nodes.insert(uid.into(), Arc::new(node));
        work.retain(|uid| self.nodes.contains_key(uid));
        work
    }

    /// An object is gone. Returns the uids to look at: its dependents, and owners that waited for it.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<Box<str>> {
        let Some(node) = self.nodes.remove(uid) else {
            return Vec::new();
        };
        for owner in node.owners() {
            self.unlink(&owner.uid, uid);
        }
        let dependents = self.dependents.get(uid).into_iter().flatten().cloned();
        let owners = node.owners().iter().map(|owner| owner.uid.clone());
        let waiting = owners.filter(|uid| self.nodes.get(uid).is_some_and(|o| o.deletion == Deletion::Foreground));
        dependents.chain(waiting).collect()
    }

    fn unlink(&mut self, owner: &str, uid: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(uid);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(owners: &[&str], deletion: Deletion) -> Node {
        let owner = |uid: &&str| Owner {
            uid: (*uid).into(),
            ..Owner::default()
        };
        let mut object = Tracked::default();
        object.metadata.owner_references = owners.iter().map(owner).collect();
        Node {
            deletion,
            ..Node::new(Arc::default(), Arc::new(object))
        }
    }

    #[test]
    fn what_changes_brings_what_has_to_be_looked_at() {
        let mut graph = Graph::default();
        let set =
            |graph: &mut Graph, uid: &str, owners: &[&str], deletion| graph.set(uid, node(owners, deletion)).join(" ");
        assert_eq!(set(&mut graph, "d", &["o"], Deletion::No), "d", "its owner is unknown");
        assert_eq!(set(&mut graph, "o", &[], Deletion::No), "");
        assert_eq!(set(&mut graph, "e", &["o"], Deletion::No), "");
        assert_eq!(set(&mut graph, "o", &[], Deletion::Foreground), "o");
        assert_eq!(set(&mut graph, "e", &["o"], Deletion::Background), "o");
        let mut gone = graph.remove("e");
        gone.sort();
        assert_eq!(gone.join(" "), "o");
        assert_eq!(graph.remove("o").join(" "), "d");
        assert_eq!(graph.remove("d").len(), 0);
        assert!(graph.nodes.is_empty() && graph.dependents.is_empty());
    }
}
