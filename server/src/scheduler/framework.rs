//! The points at which plugins take part in scheduling.
//!
//! A [`Plugin`] overrides the points it has a say in; all others do nothing. The synchronous points run
//! inside one scheduling cycle ([`cycle::Framework::schedule`]), which does no I/O and, given the same
//! cluster and search, decides the same. Binding happens later, outside. What a plugin works out once
//! per Pod it puts into a [`Filter`] or [`Score`], of which the cycle asks node by node.

pub mod cycle;
pub mod failure;

use std::borrow::Cow;

use async_trait::async_trait;
use mizzen_api::client::rest::Rest;

use self::cycle::Attempt;
use self::failure::{Failure, Nomination};
use super::cluster::{Cluster, NodeInfo};
use super::node::Node;
use super::pod::Pod;
use super::volumes;

pub use self::cycle::Framework;

/// The best score that a plugin gives.
pub const MAX_SCORE: i64 = 100;

/// Why something may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Whether removing Pods from the node could not change it.
    pub unresolvable: bool,
    /// Reason in upstream's words.
    pub reason: Cow<'static, str>,
    /// Further reasons.
    pub more: Vec<Cow<'static, str>>,
}

impl Rejection {
    /// Rejected, though other Pods leaving might help.
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            unresolvable: false,
            reason: reason.into(),
            more: Vec::new(),
        }
    }

    /// Rejected whatever else runs on the node.
    pub fn unresolvable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            unresolvable: true,
            ..Self::new(reason)
        }
    }

    /// All reasons.
    pub fn reasons(&self) -> impl Iterator<Item = &Cow<'static, str>> {
        std::iter::once(&self.reason).chain(&self.more)
    }

    /// All reasons as one text.
    pub fn text(&self) -> String {
        self.reasons().map(|reason| &**reason).collect::<Vec<_>>().join(", ")
    }
}

/// Something happened that may let a waiting Pod be scheduled.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A node came.
    NodeAdded(&'a Node),
    /// A node changed.
    NodeChanged {
        /// Before.
        old: &'a Node,
        /// After.
        new: &'a Node,
    },
    /// A node went.
    NodeRemoved(&'a Node),
    /// A Pod was bound, or counts in another way.
    PodPlaced(&'a Pod),
    /// A Pod left its node.
    PodRemoved(&'a Pod),
    /// A namespace has other labels.
    NamespaceChanged,
    /// A claim came or changed.
    ClaimChanged(&'a volumes::Claim),
    /// A PersistentVolume, StorageClass or CSINode came or changed.
    StorageChanged,
    /// The waiting Pod itself was changed.
    Updated,
}

impl Event<'_> {
    /// The node that came or changed into something else.
    pub fn node(&self) -> Option<&Node> {
        match self {
            Self::NodeAdded(node) | Self::NodeChanged { new: node, .. } => Some(node),
            _ => None,
        }
    }

    /// A bit for the kind of event.
    pub const fn bit(&self) -> u16 {
        match self {
            Self::NodeAdded(_) => NODE_ADDED,
            Self::NodeChanged { .. } => NODE_CHANGED,
            Self::NodeRemoved(_) => NODE_REMOVED,
            Self::PodPlaced(_) => POD_PLACED,
            Self::PodRemoved(_) => POD_REMOVED,
            Self::NamespaceChanged => NAMESPACE_CHANGED,
            Self::ClaimChanged(_) => CLAIM_CHANGED,
            Self::StorageChanged => STORAGE_CHANGED,
            Self::Updated => UPDATED,
        }
    }
}

/// See [`Event::NodeAdded`].
pub const NODE_ADDED: u16 = 1;
/// See [`Event::NodeChanged`].
pub const NODE_CHANGED: u16 = 1 << 1;
/// See [`Event::NodeRemoved`].
pub const NODE_REMOVED: u16 = 1 << 2;
/// See [`Event::PodPlaced`].
pub const POD_PLACED: u16 = 1 << 3;
/// See [`Event::PodRemoved`].
pub const POD_REMOVED: u16 = 1 << 4;
/// See [`Event::NamespaceChanged`].
pub const NAMESPACE_CHANGED: u16 = 1 << 5;
/// See [`Event::ClaimChanged`].
pub const CLAIM_CHANGED: u16 = 1 << 6;
/// See [`Event::StorageChanged`].
pub const STORAGE_CHANGED: u16 = 1 << 7;
/// See [`Event::Updated`].
pub const UPDATED: u16 = 1 << 8;
/// Nodes that come or become others.
pub const NODES: u16 = NODE_ADDED | NODE_CHANGED;

/// What one cycle is about.
#[derive(Clone, Copy, Debug)]
pub struct Cycle<'a> {
    /// The Pod that wants a node.
    pub pod: &'a Pod,
    /// What there is.
    pub cluster: &'a Cluster,
}

/// How a plugin takes part in filtering for a Pod.
pub enum Prepared<'a> {
    /// Not at all.
    Skip,
    /// By [`Plugin::filter`].
    Plain,
    /// By what it worked out.
    State(Box<dyn Filter<'a> + 'a>),
}

/// How a plugin takes part in scoring for a Pod.
pub enum Scored<'a> {
    /// Not at all.
    Skip,
    /// By [`Plugin::score`].
    Plain,
    /// By what it worked out.
    State(Box<dyn Score + 'a>),
}

/// What a plugin worked out to filter by. It can be asked what if Pods came or went.
pub trait Filter<'a> {
    /// Whether the Pod can run on the node.
    fn check(&self, cycle: Cycle<'a>, info: &NodeInfo) -> Result<(), Rejection>;

    /// Suppose a Pod came to (or left) a node.
    fn suppose(&mut self, _cluster: &Cluster, _change: &super::cluster::PodChange) {}

    /// A copy to suppose with.
    fn fork(&self) -> Box<dyn Filter<'a> + 'a>;
}

/// What a plugin worked out to score by.
pub trait Score {
    /// How good the node is for the Pod.
    fn score(&self, info: &NodeInfo) -> i64;

    /// Brings scores of all nodes into 0 to [`MAX_SCORE`].
    fn normalize(&self, _slots: &[usize], _scores: &mut [i64]) {}
}

/// A plugin. Names and points are upstream's.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Name.
    fn name(&self) -> &'static str;

    /// How much its scores count unless configured; zero for plugins that do not score.
    fn weight(&self) -> i64 {
        0
    }

    /// QueueSort: the Pod with the greater key is scheduled first. One plugin at most.
    fn queue_key(&self, _pod: &Pod) -> Option<i64> {
        None
    }

    /// PreEnqueue: whether the Pod may be considered at all.
    fn pre_enqueue(&self, _pod: &Pod) -> Result<(), Rejection> {
        Ok(())
    }

    /// PreFilter: whether the Pod can be scheduled anywhere, and what there is to check on nodes.
    fn prepare<'a>(&'a self, _cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        Ok(Prepared::Skip)
    }

    /// PreFilter: the slots of the only nodes worth looking at, if few are.
    fn narrow(&self, _cycle: Cycle<'_>) -> Option<Vec<usize>> {
        None
    }

    /// Filter: whether the Pod can run on the node.
    fn filter(&self, _cycle: Cycle<'_>, _info: &NodeInfo) -> Result<(), Rejection> {
        Ok(())
    }

    /// PostFilter: what can be done when no node was found.
    fn post_filter(&self, _attempt: &Attempt<'_>, _failure: &Failure) -> Option<After> {
        None
    }

    /// PreScore: whether and how the plugin scores the nodes in these slots.
    fn prepare_scores<'a>(&'a self, _cycle: Cycle<'a>, _slots: &[usize]) -> Scored<'a> {
        Scored::Skip
    }

    /// Score: how good the node is for the Pod.
    fn score(&self, _cycle: Cycle<'_>, _info: &NodeInfo) -> i64 {
        0
    }

    /// NormalizeScore: brings scores of all nodes into 0 to [`MAX_SCORE`].
    fn normalize(&self, _scores: &mut [i64]) {}

    /// Reserve: takes what the Pod needs on the node; undone by [`Plugin::unreserve`].
    fn reserve(&self, _cycle: Cycle<'_>, _info: &NodeInfo) -> Result<(), Rejection> {
        Ok(())
    }

    /// Gives back what [`Plugin::reserve`] took.
    fn unreserve(&self, _pod: &Pod, _node: &str) {}

    /// Permit: whether binding may begin.
    async fn permit(&self, _pod: &Pod, _node: &str) -> Result<(), Rejection> {
        Ok(())
    }

    /// PreBind: what has to be done before binding.
    async fn pre_bind(&self, _rest: &Rest, _pod: &Pod, _node: &str) -> Result<(), String> {
        Ok(())
    }

    /// Bind: `None` when another plugin is to bind.
    async fn bind(&self, _rest: &Rest, _pod: &Pod, _node: &str) -> Option<Result<(), kube::Error>> {
        None
    }

    /// PostBind: told when the Pod is bound.
    fn post_bind(&self, _pod: &Pod, _node: &str) {}

    /// Told of everything that happens, for what the binding cycle waits for.
    fn observe(&self, _event: &Event<'_>) {}

    /// Kinds of events that may change a rejection of this plugin, as bits.
    fn events(&self) -> u16 {
        NODES | UPDATED
    }

    /// Whether an event of these kinds may change this plugin's rejection of the Pod.
    fn may_help(&self, _pod: &Pod, _event: &Event<'_>) -> bool {
        true
    }
}

/// What PostFilter came to.
#[derive(Debug)]
pub struct After {
    /// Words for the message; empty when it found a way.
    pub words: String,
    /// The way.
    pub nomination: Option<Nomination>,
    /// Whether room that is being made for the Pod already still helps it.
    pub keep_nomination: bool,
}

/// Scales scores so that the highest becomes [`MAX_SCORE`]; `reverse` makes the highest the worst.
pub fn normalize(scores: &mut [i64], reverse: bool) {
    let top = scores.iter().max().copied().unwrap_or(0);
    for score in scores.iter_mut() {
        let scaled = if top == 0 { 0 } else { *score * MAX_SCORE / top };
        *score = if reverse { MAX_SCORE - scaled } else { scaled };
    }
}
