//! NodeResourcesFit: a Pod goes where its requests fit; by default preferably where most is left.

use std::borrow::Cow;

use crate::scheduler::cluster::NodeInfo;
use crate::scheduler::framework::{Cycle, Event, MAX_SCORE, NODES, POD_REMOVED, Plugin, Prepared};
use crate::scheduler::framework::{Rejection, Scored, UPDATED};
use crate::scheduler::node::Node;
use crate::scheduler::pod::Pod;
use crate::scheduler::resources::Resources;

/// How room on a node is valued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Strategy {
    /// The more is left, the better.
    #[default]
    LeastAllocated,
    /// The less is left, the better.
    MostAllocated,
    /// By a curve of points: utilization in percent, and a score of 0 to 10.
    RequestedToCapacityRatio(Vec<(i64, i64)>),
}

/// The plugin as a profile configures it.
pub(super) struct NodeResourcesFit {
    pub(super) strategy: Strategy,
    /// Resources that count for scores, with weights.
    pub(super) resources: Vec<(Box<str>, i64)>,
    /// Extended resources that others look after.
    pub(super) ignored: Vec<Box<str>>,
}

impl Default for NodeResourcesFit {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            resources: vec![("cpu".into(), 1), ("memory".into(), 1)],
            ignored: Vec::new(),
        }
    }
}

/// Every resource that the Pod lacks on the node, and whether an empty node would lack it too.
struct Lacking {
    reasons: Vec<Cow<'static, str>>,
    hopeless: bool,
}

impl Lacking {
    fn check(&mut self, reason: impl FnOnce() -> Cow<'static, str>, (wanted, used, all): (i64, i64, i64)) {
        if wanted > 0 && wanted > all - used {
            self.reasons.push(reason());
            self.hopeless |= wanted > all;
        }
    }
}

impl NodeResourcesFit {
    fn lacking(&self, pod: &Pod, pods: usize, used: &Resources, node: &Node) -> Lacking {
        let mut lacking = Lacking {
            reasons: Vec::new(),
            hopeless: false,
        };
        if i64::try_from(pods).is_ok_and(|count| count + 1 > node.max_pods) {
            lacking.reasons.push(Cow::Borrowed("Too many pods"));
        }
        let (wanted, all) = (&pod.requests, &node.allocatable);
        lacking.check(
            || "Insufficient cpu".into(),
            (wanted.milli_cpu, used.milli_cpu, all.milli_cpu),
        );
        lacking.check(
            || "Insufficient memory".into(),
            (wanted.memory, used.memory, all.memory),
        );
        lacking.check(
            || "Insufficient ephemeral-storage".into(),
            (wanted.ephemeral_storage, used.ephemeral_storage, all.ephemeral_storage),
        );
        for (name, amount) in wanted.extended.iter().filter(|(name, _)| !self.ignored.contains(name)) {
            let reason = || format!("Insufficient {name}").into();
            lacking.check(reason, (*amount, used.extended(name), all.extended(name)));
        }
        lacking
    }

    fn is_hopeless(&self, pod: &Pod, node: &Node) -> bool {
        self.lacking(pod, 0, &Resources::default(), node).hopeless
    }

    /// The worth of one resource of a node of which this much would be used.
    fn value(&self, used: i64, all: i64) -> i64 {
        match &self.strategy {
            Strategy::LeastAllocated => (all - used).max(0) * MAX_SCORE / all,
            Strategy::MostAllocated => used.min(all) * MAX_SCORE / all,
            Strategy::RequestedToCapacityRatio(points) => {
                let percent = if used > all { 100 } else { used * 100 / all };
                curve(points, percent) * MAX_SCORE / 10
            }
        }
    }
}

/// The value of a piecewise linear curve.
fn curve(points: &[(i64, i64)], at: i64) -> i64 {
    for (n, (x, y)) in points.iter().enumerate() {
        if at <= *x {
            return match n.checked_sub(1).map(|n| points[n]) {
                None => *y,
                Some((x0, y0)) => y0 + (y - y0) * (at - x0) / (x - x0),
            };
        }
    }
    points.last().map_or(0, |(_, y)| *y)
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn weight(&self) -> i64 {
        1
    }

    fn prepare<'a>(&'a self, _cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        Ok(Prepared::Plain)
    }

    fn filter(&self, cycle: Cycle<'_>, info: &NodeInfo) -> Result<(), Rejection> {
        let Lacking { reasons, hopeless } = self.lacking(cycle.pod, info.pods.len(), &info.requested, info.node());
        let mut reasons = reasons.into_iter();
        match reasons.next() {
            None => Ok(()),
            Some(reason) => Err(Rejection {
                unresolvable: hopeless,
                reason,
                more: reasons.collect(),
            }),
        }
    }

    fn prepare_scores<'a>(&'a self, _cycle: Cycle<'a>, _slots: &[usize]) -> Scored<'a> {
        Scored::Plain
    }

    fn score(&self, cycle: Cycle<'_>, info: &NodeInfo) -> i64 {
        let (mut score, mut weights) = (0, 0);
        for (name, weight) in &self.resources {
            let all = info.node().allocatable.amount(name);
            // Extended resources that the Pod does not ask for say nothing about the node.
            let wanted = cycle.pod.scored.amount(name);
            if all <= 0 || (wanted == 0 && !matches!(&**name, "cpu" | "memory")) {
                continue;
            }
            score += self.value(info.scored.amount(name) + wanted, all) * weight;
            weights += weight;
        }
        score / weights.max(1)
    }

    fn events(&self) -> u16 {
        NODES | POD_REMOVED | UPDATED
    }

    fn may_help(&self, pod: &Pod, event: &Event<'_>) -> bool {
        match event {
            Event::NodeAdded(node) => !self.is_hopeless(pod, node),
            Event::NodeChanged { old, new } => {
                (old.allocatable != new.allocatable || old.max_pods != new.max_pods) && !self.is_hopeless(pod, new)
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_linear_between_points() {
        let check = |at: i64, expect: i64| assert_eq!(curve(&[(0, 0), (50, 10), (100, 4)], at), expect);
        check(0, 0);
        check(25, 5);
        check(50, 10);
        check(75, 7);
        check(100, 4);
        assert_eq!(curve(&[(20, 3), (60, 9)], 90), 9);
        assert_eq!(curve(&[(20, 3), (60, 9)], 5), 3);
    }
}
