//! TaintToleration: keeps Pods off nodes whose taints they do not tolerate, and prefers nodes with
//! fewer soft ones.

use crate::scheduler::framework::{Event, Plugin, Rejection, normalize};
use crate::scheduler::pod::{Node, Pod, Taint};
use crate::scheduler::snapshot::NodeInfo;

pub(super) struct TaintToleration;

fn tolerated(pod: &Pod, taint: &Taint) -> bool {
    pod.tolerations.iter().any(|toleration| toleration.tolerates(taint))
}

fn fits(pod: &Pod, node: &Node) -> bool {
    let hard = node
        .taints
        .iter()
        .filter(|t| matches!(&*t.effect, "NoSchedule" | "NoExecute"));
    hard.into_iter().all(|taint| tolerated(pod, taint))
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

    fn filter(&self, pod: &Pod, _info: &NodeInfo, node: &Node) -> Result<(), Rejection> {
        match fits(pod, node) {
            true => Ok(()),
            false => Err(Rejection::unresolvable("node(s) had untolerated taint(s)")),
        }
    }

    fn score(&self, pod: &Pod, _info: &NodeInfo, node: &Node) -> i64 {
        let soft = node.taints.iter().filter(|taint| &*taint.effect == "PreferNoSchedule");
        let disliked = soft.filter(|taint| !softly_tolerated(pod, taint)).count();
        i64::try_from(disliked).unwrap_or(i64::MAX)
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize(scores, true);
    }

    fn may_help(&self, pod: &Pod, event: &Event<'_>) -> bool {
        match event {
            Event::NodeAdded(node) => fits(pod, node),
            Event::NodeChanged { old, new } => old.taints != new.taints && fits(pod, new),
            Event::Updated => true,
            Event::PodRemoved(_) => false,
        }
    }
}
