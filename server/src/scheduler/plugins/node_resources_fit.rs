//! NodeResourcesFit: a Pod goes where its requests fit, preferably where most is left (LeastAllocated).

use std::borrow::Cow;

use crate::scheduler::framework::{Event, MAX_SCORE, Plugin, Rejection};
use crate::scheduler::pod::{Node, Pod};
use crate::scheduler::snapshot::NodeInfo;

pub(super) struct NodeResourcesFit;

/// Every resource that the Pod lacks on the node, and whether an empty node would lack it too.
fn lacking(pod: &Pod, info: &NodeInfo, node: &Node) -> (Vec<Cow<'static, str>>, bool) {
    let (mut reasons, mut hopeless) = (Vec::new(), false);
    let room = node.max_pods;
    if i64::try_from(info.pods.len()).is_ok_and(|count| count + 1 > room) {
        reasons.push(Cow::Borrowed("Too many pods"));
    }
    let (wanted, used, all) = (&pod.requests, &info.requested, &node.allocatable);
    let mut check = |reason: Cow<'static, str>, wanted: i64, used: i64, all: i64| {
        if wanted > 0 && wanted > all - used {
            reasons.push(reason);
            hopeless |= wanted > all;
        }
    };
    check(
        "Insufficient cpu".into(),
        wanted.milli_cpu,
        used.milli_cpu,
        all.milli_cpu,
    );
    check("Insufficient memory".into(), wanted.memory, used.memory, all.memory);
    check(
        "Insufficient ephemeral-storage".into(),
        wanted.ephemeral_storage,
        used.ephemeral_storage,
        all.ephemeral_storage,
    );
    for (name, amount) in &wanted.extended {
        let reason = format!("Insufficient {name}").into();
        check(reason, *amount, used.extended(name), all.extended(name));
    }
    (reasons, hopeless)
}

/// How much would be left of a resource, of [`MAX_SCORE`].
fn left(wanted: i64, used: i64, all: i64) -> Option<i64> {
    (all > 0).then(|| (all - used - wanted).max(0) * MAX_SCORE / all)
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn weight(&self) -> i64 {
        1
    }

    fn filter(&self, pod: &Pod, info: &NodeInfo, node: &Node) -> Result<(), Rejection> {
        let (reasons, unresolvable) = lacking(pod, info, node);
        match reasons.is_empty() {
            true => Ok(()),
            false => Err(Rejection { unresolvable, reasons }),
        }
    }

    fn score(&self, pod: &Pod, info: &NodeInfo, node: &Node) -> i64 {
        let (wanted, used, all) = (&pod.scored, &info.scored, &node.allocatable);
        let scores = [
            left(wanted.milli_cpu, used.milli_cpu, all.milli_cpu),
            left(wanted.memory, used.memory, all.memory),
        ];
        let known: Vec<i64> = scores.into_iter().flatten().collect();
        known.iter().sum::<i64>() / i64::try_from(known.len().max(1)).unwrap_or(1)
    }

    fn may_help(&self, pod: &Pod, event: &Event<'_>) -> bool {
        let hopeless = |node: &Node| lacking(pod, &NodeInfo::default(), node).1;
        match event {
            Event::NodeAdded(node) => !hopeless(node),
            Event::NodeChanged { old, new } => {
                (old.allocatable != new.allocatable || old.max_pods != new.max_pods) && !hopeless(new)
            }
            Event::PodRemoved(_) | Event::Updated => true,
        }
    }
}
