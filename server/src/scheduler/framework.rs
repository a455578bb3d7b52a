//! The points at which plugins take part in scheduling, and the cycle that calls them.
//!
//! A [`Plugin`] overrides the points it has a say in; all others do nothing. The synchronous points run
//! inside one scheduling cycle ([`Framework::schedule`]), which does no I/O and, given the same
//! snapshot and seed, decides the same. Binding happens later, outside.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use mizzen_api::client::rest::Rest;

use super::pod::{Node, Pod};
use super::snapshot::{NodeInfo, Snapshot};

/// The best score that a plugin gives.
pub const MAX_SCORE: i64 = 100;
/// Below this many feasible nodes the search goes on (upstream's minimum).
const MIN_FEASIBLE: usize = 100;

/// Why something may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Whether removing Pods from the node could not change it.
    pub unresolvable: bool,
    /// Reasons in upstream's words.
    pub reasons: Vec<Cow<'static, str>>,
}

impl Rejection {
    /// Rejected, though other Pods leaving might help.
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            unresolvable: false,
            reasons: vec![reason.into()],
        }
    }

    /// Rejected whatever else runs on the node.
    pub fn unresolvable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            unresolvable: true,
            reasons: vec![reason.into()],
        }
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
    /// A Pod left its node.
    PodRemoved(&'a Pod),
    /// The waiting Pod itself was changed.
    Updated,
}

impl<'a> Event<'a> {
    /// The node that came or changed.
    pub fn node(&self) -> Option<&'a Node> {
        match self {
            Self::NodeAdded(node) | Self::NodeChanged { new: node, .. } => Some(node),
            Self::PodRemoved(_) | Self::Updated => None,
        }
    }
}

/// A plugin. Names and points are upstream's.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Name.
    fn name(&self) -> &'static str;

    /// How much its scores count; zero for plugins that do not score.
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

    /// PreFilter: whether the Pod can be scheduled anywhere, before nodes are looked at.
    fn pre_filter(&self, _pod: &Pod, _snapshot: &Snapshot) -> Result<(), Rejection> {
        Ok(())
    }

    /// Filter: whether the Pod can run on the node.
    fn filter(&self, _pod: &Pod, _info: &NodeInfo, _node: &Node) -> Result<(), Rejection> {
        Ok(())
    }

    /// PostFilter: what can be done when no node was found, as words for the message.
    fn post_filter(&self, _pod: &Pod, _failure: &Failure) -> Option<String> {
        None
    }

    /// PreScore: whether [`Plugin::score`] has anything to say about this Pod.
    fn scores(&self, _pod: &Pod) -> bool {
        self.weight() != 0
    }

    /// Score: how good the node is for the Pod.
    fn score(&self, _pod: &Pod, _info: &NodeInfo, _node: &Node) -> i64 {
        0
    }

    /// NormalizeScore: brings scores of all nodes into 0 to [`MAX_SCORE`].
    fn normalize(&self, _scores: &mut [i64]) {}

    /// Reserve: takes what the Pod needs on the node; undone by [`Plugin::unreserve`].
    fn reserve(&self, _pod: &Pod, _node: &str) -> Result<(), Rejection> {
        Ok(())
    }

    /// Gives back what [`Plugin::reserve`] took.
    fn unreserve(&self, _pod: &Pod, _node: &str) {}

    /// Permit: whether binding may begin.
    async fn permit(&self, _pod: &Pod, _node: &str) -> Result<(), Rejection> {
        Ok(())
    }

    /// PreBind: what has to be done before binding.
    async fn pre_bind(&self, _rest: &Rest, _pod: &Pod, _node: &str) -> Result<(), kube::Error> {
        Ok(())
    }

    /// Bind: `None` when another plugin is to bind.
    async fn bind(&self, _rest: &Rest, _pod: &Pod, _node: &str) -> Option<Result<(), kube::Error>> {
        None
    }

    /// PostBind: told when the Pod is bound.
    fn post_bind(&self, _pod: &Pod, _node: &str) {}

    /// Whether an event may change this plugin's rejection of the Pod.
    fn may_help(&self, _pod: &Pod, _event: &Event<'_>) -> bool {
        true
    }
}

/// Why no node was found.
#[derive(Debug, Default)]
pub struct Failure {
    /// How many nodes there are.
    pub nodes: usize,
    /// How many nodes were rejected for good, and how many for what other Pods take.
    pub unresolvable: usize,
    /// See `unresolvable`.
    pub resolvable: usize,
    /// How often each reason was given.
    pub reasons: BTreeMap<Cow<'static, str>, usize>,
    /// Plugins that rejected.
    pub plugins: Vec<&'static str>,
    /// What PostFilter said.
    pub after: String,
}

impl Failure {
    /// The failure of a Pod that one plugin rejected after a node was chosen.
    pub fn of(plugin: &'static str, rejection: Rejection, nodes: usize) -> Self {
        let mut failure = Self {
            nodes,
            ..Self::default()
        };
        failure.count(plugin, rejection);
        failure
    }

    fn count(&mut self, plugin: &'static str, rejection: Rejection) {
        match rejection.unresolvable {
            true => self.unresolvable += 1,
            false => self.resolvable += 1,
        }
        for reason in rejection.reasons {
            *self.reasons.entry(reason).or_default() += 1;
        }
        if !self.plugins.contains(&plugin) {
            self.plugins.push(plugin);
        }
    }
}

/// How upstream tells of nodes and counted reasons: counts first, sorted as text.
pub fn verdict<'a>(nodes: usize, reasons: impl IntoIterator<Item = (&'a str, usize)>) -> String {
    let counted = reasons.into_iter().filter(|(_, count)| *count > 0);
    let mut words: Vec<String> = counted.map(|(reason, count)| format!("{count} {reason}")).collect();
    words.sort();
    match words.is_empty() {
        true => format!("0/{nodes} nodes are available"),
        false => format!("0/{nodes} nodes are available: {}.", words.join(", ")),
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        let reasons = self.reasons.iter().map(|(reason, count)| (&**reason, *count));
        f.write_str(&verdict(self.nodes, reasons))?;
        if !self.after.is_empty() {
            write!(f, " {}", self.after)?;
        }
        Ok(())
    }
}

/// The plugins in order, and what the cycle remembers between Pods. Clones share the plugins.
#[derive(Clone)]
pub struct Framework {
    plugins: Arc<[Box<dyn Plugin>]>,
    /// Where the next search starts, so that all nodes get their turn.
    start: usize,
    /// State of the generator that chooses among equals.
    random: u64,
}

impl std::fmt::Debug for Framework {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.plugins.iter().map(|plugin| plugin.name()).collect();
        f.debug_struct("Framework")
            .field("plugins", &names)
            .finish_non_exhaustive()
    }
}

impl Framework {
    /// A framework of these plugins; the seed decides among equally good nodes.
    pub fn new(plugins: Vec<Box<dyn Plugin>>, seed: u64) -> Self {
        Self {
            plugins: plugins.into(),
            start: 0,
            random: seed | 1,
        }
    }

    /// All plugins in order.
    pub fn plugins(&self) -> impl Iterator<Item = &dyn Plugin> {
        self.plugins.iter().map(|plugin| &**plugin)
    }

    /// The first plugin that holds the Pod back, if any.
    pub fn held_back(&self, pod: &Pod) -> Option<&'static str> {
        let plugin = self.plugins.iter().find(|plugin| plugin.pre_enqueue(pod).is_err());
        plugin.map(|plugin| plugin.name())
    }

    /// What the queue sorts by.
    pub fn queue_key(&self, pod: &Pod) -> i64 {
        self.plugins
            .iter()
            .find_map(|plugin| plugin.queue_key(pod))
            .unwrap_or(0)
    }

    /// Whether an event may change the rejection by any of these plugins.
    pub fn may_help(&self, rejected_by: &[&'static str], pod: &Pod, event: &Event<'_>) -> bool {
        let concerned = self
            .plugins
            .iter()
            .filter(|plugin| rejected_by.contains(&plugin.name()));
        rejected_by.is_empty() || concerned.into_iter().any(|plugin| plugin.may_help(pod, event))
    }

    /// Chooses a node for the Pod.
    pub fn schedule(&mut self, pod: &Pod, snapshot: &Snapshot) -> Result<Box<str>, Failure> {
        let feasible = self.feasible(pod, snapshot)?;
        let best = match feasible.as_slice() {
            [only] => *only,
            several => self.best(pod, snapshot, several),
        };
        Ok(snapshot.at(best).0.into())
    }

    /// Has every plugin take what the Pod needs on the node; all or nothing.
    pub fn reserve(&self, pod: &Pod, node: &str) -> Result<(), (&'static str, Rejection)> {
        for plugin in &*self.plugins {
            if let Err(rejection) = plugin.reserve(pod, node) {
                self.unreserve(pod, node);
                return Err((plugin.name(), rejection));
            }
        }
        Ok(())
    }

    /// Gives back what was reserved, in reverse order.
    pub fn unreserve(&self, pod: &Pod, node: &str) {
        self.plugins.iter().rev().for_each(|plugin| plugin.unreserve(pod, node));
    }

    /// Positions of nodes that pass all filters, up to as many as are worth comparing.
    fn feasible(&mut self, pod: &Pod, snapshot: &Snapshot) -> Result<Vec<usize>, Failure> {
        let mut failure = Failure {
            nodes: snapshot.len(),
            ..Failure::default()
        };
        if snapshot.is_empty() {
            return Err(failure);
        }
        for plugin in &*self.plugins {
            if let Err(rejection) = plugin.pre_filter(pod, snapshot) {
                for _ in 0..snapshot.len() {
                    failure.count(plugin.name(), rejection.clone());
                }
                return Err(self.after(pod, failure));
            }
        }
        let enough = enough(snapshot.len());
        let mut feasible = Vec::new();
        let mut seen = 0;
        while seen < snapshot.len() && feasible.len() < enough {
            let position = (self.start + seen) % snapshot.len();
            seen += 1;
            match self.filter(pod, snapshot, position) {
                Ok(()) => feasible.push(position),
                Err((plugin, rejection)) => failure.count(plugin, rejection),
            }
        }
        self.start = (self.start + seen) % snapshot.len();
        match feasible.is_empty() {
            true => Err(self.after(pod, failure)),
            false => Ok(feasible),
        }
    }

    fn filter(&self, pod: &Pod, snapshot: &Snapshot, position: usize) -> Result<(), (&'static str, Rejection)> {
        let (_, info, node) = snapshot.at(position);
        for plugin in &*self.plugins {
            let passed = plugin.filter(pod, info, node);
            passed.map_err(|rejection| (plugin.name(), rejection))?;
        }
        Ok(())
    }

    fn after(&self, pod: &Pod, mut failure: Failure) -> Failure {
        let words: Vec<String> = self
            .plugins
            .iter()
            .filter_map(|plugin| plugin.post_filter(pod, &failure))
            .collect();
        failure.after = words.join(", ");
        failure
    }

    fn best(&mut self, pod: &Pod, snapshot: &Snapshot, feasible: &[usize]) -> usize {
        let mut totals = vec![0; feasible.len()];
        let mut scores = vec![0; feasible.len()];
        for plugin in self.plugins.iter().filter(|plugin| plugin.scores(pod)) {
            for (score, position) in scores.iter_mut().zip(feasible) {
                let (_, info, node) = snapshot.at(*position);
                *score = plugin.score(pod, info, node);
            }
            plugin.normalize(&mut scores);
            for (total, score) in totals.iter_mut().zip(&scores) {
                debug_assert!((0..=MAX_SCORE).contains(score), "{} scored {score}", plugin.name());
                *total += score * plugin.weight();
            }
        }
        self.choose(feasible, &totals)
    }

    /// One of the best at random: otherwise ties would pile Pods on the first node.
    fn choose(&mut self, feasible: &[usize], totals: &[i64]) -> usize {
        let top = totals.iter().max().copied().unwrap_or(0);
        let ties: Vec<usize> = (0..totals.len()).filter(|at| totals[*at] == top).collect();
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let pick = usize::try_from(self.random % ties.len() as u64).unwrap_or(0);
        feasible[ties[pick]]
    }
}

/// How many feasible nodes are worth comparing: fewer, relatively, the more there are.
fn enough(nodes: usize) -> usize {
    if nodes < MIN_FEASIBLE {
        return nodes;
    }
    let percent = 50usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(MIN_FEASIBLE)
}

/// Scales scores so that the highest becomes [`MAX_SCORE`]; `reverse` makes the highest the worst.
pub fn normalize(scores: &mut [i64], reverse: bool) {
    let top = scores.iter().max().copied().unwrap_or(0);
    for score in scores.iter_mut() {
        let scaled = if top == 0 { 0 } else { *score * MAX_SCORE / top };
        *score = if reverse { MAX_SCORE - scaled } else { scaled };
    }
}
