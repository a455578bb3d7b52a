//! NodeAffinity: the nodes that a Pod's node selector and affinity require or prefer.

use crate::scheduler::framework::{Event, Plugin, Rejection, normalize};
use crate::scheduler::pod::{Node, Pod};
use crate::scheduler::snapshot::NodeInfo;

pub(super) struct NodeAffinity;

fn fits(pod: &Pod, node: &Node) -> bool {
    let labels = &node.metadata.labels;
    let required = pod
        .node_affinity
        .as_ref()
        .and_then(|affinity| affinity.required.as_ref());
    pod.node_selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
        && required.is_none_or(|required| required.node_selector_terms.iter().any(|term| term.matches(node)))
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn filter(&self, pod: &Pod, _info: &NodeInfo, node: &Node) -> Result<(), Rejection> {
        match fits(pod, node) {
            true => Ok(()),
            false => Err(Rejection::unresolvable(
                "node(s) didn't match Pod's node affinity/selector",
            )),
        }
    }

    fn scores(&self, pod: &Pod) -> bool {
        pod.node_affinity
            .as_ref()
            .is_some_and(|affinity| !affinity.preferred.is_empty())
    }

    fn score(&self, pod: &Pod, _info: &NodeInfo, node: &Node) -> i64 {
        let preferred = pod.node_affinity.iter().flat_map(|affinity| &affinity.preferred);
        let matching = preferred.filter(|term| term.preference.matches(node));
        matching.map(|term| term.weight).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize(scores, false);
    }

    fn may_help(&self, pod: &Pod, event: &Event<'_>) -> bool {
        match event {
            Event::NodeAdded(node) => fits(pod, node),
            Event::NodeChanged { old, new } => !fits(pod, old) && fits(pod, new),
            Event::Updated => true,
            Event::PodRemoved(_) => false,
        }
    }
}
