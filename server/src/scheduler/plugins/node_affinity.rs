//! NodeAffinity: the nodes that a Pod's node selector and affinity require or prefer.

use crate::scheduler::cluster::NodeInfo;
use crate::scheduler::framework::{Cycle, Event, Plugin, Prepared, Rejection, Scored, normalize};
use crate::scheduler::node::Node;
use crate::scheduler::pod::{NodeSelector, NodeSelectorTerm, Pod, PreferredTerm};

/// The plugin, with what a profile adds to the affinity of every Pod.
#[derive(Default)]
pub(super) struct NodeAffinity {
    pub(super) added_required: Option<NodeSelector>,
    pub(super) added_preferred: Box<[PreferredTerm]>,
}

/// Whether the node is one of those that the Pod itself requires.
pub(super) fn fits(pod: &Pod, node: &Node) -> bool {
    let labels = &node.metadata.labels;
    let required = required(pod);
    pod.node_selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
        && required.is_none_or(|required| required.node_selector_terms.iter().any(|term| term.matches(node)))
}

fn required(pod: &Pod) -> Option<&NodeSelector> {
    pod.node_affinity.as_ref()?.required.as_ref()
}

fn preferred(pod: &Pod) -> impl Iterator<Item = &PreferredTerm> {
    pod.node_affinity.iter().flat_map(|affinity| &affinity.preferred)
}

/// The names of the nodes that a term allows, when it names them.
fn names(term: &NodeSelectorTerm) -> Option<&[Box<str>]> {
    let named = |r: &&crate::projection::Requirement| &*r.key == "metadata.name" && &*r.operator == "In";
    term.match_fields.iter().find(named).map(|r| &*r.values)
}

impl NodeAffinity {
    fn added_fits(&self, node: &Node) -> bool {
        let added = self.added_required.as_ref();
        added.is_none_or(|added| added.node_selector_terms.iter().any(|term| term.matches(node)))
    }
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        let wanted = required(cycle.pod).is_some() || cycle.pod.node_selector.iter().next().is_some();
        match wanted || self.added_required.is_some() {
            true => Ok(Prepared::Plain),
            false => Ok(Prepared::Skip),
        }
    }

    /// Pods that name their nodes, as a DaemonSet's do, need no search.
    fn narrow(&self, cycle: Cycle<'_>) -> Option<Vec<usize>> {
        let terms = &required(cycle.pod)?.node_selector_terms;
        let mut slots = Vec::new();
        for term in terms {
            slots.extend(names(term)?.iter().filter_map(|name| cycle.cluster.slot_of(name)));
        }
        slots.sort_unstable();
        slots.dedup();
        (!terms.is_empty()).then_some(slots)
    }

    fn filter(&self, cycle: Cycle<'_>, info: &NodeInfo) -> Result<(), Rejection> {
        let node = info.node();
        if !self.added_fits(node) {
            return Err(Rejection::unresolvable(
                "node(s) didn't match scheduler-enforced node affinity",
            ));
        }
        match fits(cycle.pod, node) {
            true => Ok(()),
            false => Err(Rejection::unresolvable(
                "node(s) didn't match Pod's node affinity/selector",
            )),
        }
    }

    fn prepare_scores<'a>(&'a self, cycle: Cycle<'a>, _slots: &[usize]) -> Scored<'a> {
        match preferred(cycle.pod).chain(&self.added_preferred).next().is_some() {
            true => Scored::Plain,
            false => Scored::Skip,
        }
    }

    fn score(&self, cycle: Cycle<'_>, info: &NodeInfo) -> i64 {
        let terms = preferred(cycle.pod).chain(&self.added_preferred);
        let matching = terms.filter(|term| term.preference.matches(info.node()));
        matching.map(|term| term.weight).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize(scores, false);
    }

    fn may_help(&self, pod: &Pod, event: &Event<'_>) -> bool {
        let fits = |node: &Node| fits(pod, node) && self.added_fits(node);
        match event {
            Event::NodeAdded(node) => fits(node),
            Event::NodeChanged { old, new } => !fits(old) && fits(new),
            _ => true,
        }
    }
}
