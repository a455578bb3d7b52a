//! TaintToleration: keeps Pods off nodes whose taints they do not tolerate, and prefers nodes with
//! fewer soft ones.

use crate::scheduler::cluster::NodeInfo;
use crate::scheduler::framework::{Cycle, Event, Plugin, Prepared, Rejection, Scored, normalize};
use crate::scheduler::node::{Node, Taint};
use crate::scheduler::pod::Pod;

pub(super) struct TaintToleration;

fn fits(pod: &Pod, node: &Node) -> bool {
    node.hard_taints().all(|taint| pod.tolerates(taint))
}

fn soft_taints(node: &Node) -> impl Iterator<Item = &Taint> {
    node.taints.iter().filter(|taint| &*taint.effect == "PreferNoSchedule")
}

/// Whether a soft taint is borne; tolerations of hard effects do not count.
fn softly_tolerated(pod: &Pod, taint: &Taint) -> bool {
    let soft = |effect: &str| matches!(effect, "" | "PreferNoSchedule");
    pod.tolerations.iter().any(|t| soft(&t.effect) && t.tolerates(taint))
}

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn weight(&self) -> i64 {
        3
    }

    fn prepare<'a>(&'a self, _cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        Ok(Prepared::Plain)
    }

    fn filter(&self, cycle: Cycle<'_>, info: &NodeInfo) -> Result<(), Rejection> {
        match fits(cycle.pod, info.node()) {
            true => Ok(()),
            false => Err(Rejection::unresolvable("node(s) had untolerated taint(s)")),
        }
    }

    /// Without soft taints all nodes would score alike.
    fn prepare_scores<'a>(&'a self, cycle: Cycle<'a>, slots: &[usize]) -> Scored<'a> {
        let mut nodes = slots.iter().map(|slot| cycle.cluster.info(*slot).node());
        match nodes.any(|node| soft_taints(node).next().is_some()) {
            true => Scored::Plain,
            false => Scored::Skip,
        }
    }

    fn score(&self, cycle: Cycle<'_>, info: &NodeInfo) -> i64 {
        let disliked = soft_taints(info.node()).filter(|taint| !softly_tolerated(cycle.pod, taint));
        i64::try_from(disliked.count()).unwrap_or(i64::MAX)
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize(scores, true);
    }

    fn may_help(&self, pod: &Pod, event: &Event<'_>) -> bool {
        match event {
            Event::NodeAdded(node) => fits(pod, node),
            Event::NodeChanged { old, new } => old.taints != new.taints && fits(pod, new),
            _ => true,
        }
    }
}
