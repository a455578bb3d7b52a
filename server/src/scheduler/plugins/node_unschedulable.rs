//! NodeUnschedulable: cordoned nodes take only Pods that tolerate the taint that says so.

use crate::scheduler::cluster::NodeInfo;
use crate::scheduler::framework::{Cycle, Event, Plugin, Prepared, Rejection};
use crate::scheduler::node::Taint;
use crate::scheduler::pod::Pod;

pub(super) struct NodeUnschedulable;

fn tolerated(pod: &Pod) -> bool {
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        value: "".into(),
        effect: "NoSchedule".into(),
    };
    pod.tolerates(&taint)
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn prepare<'a>(&'a self, _cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        Ok(Prepared::Plain)
    }

    fn filter(&self, cycle: Cycle<'_>, info: &NodeInfo) -> Result<(), Rejection> {
        match info.node().unschedulable && !tolerated(cycle.pod) {
            true => Err(Rejection::unresolvable("node(s) were unschedulable")),
            false => Ok(()),
        }
    }

    fn may_help(&self, pod: &Pod, event: &Event<'_>) -> bool {
        match event {
            Event::NodeAdded(node) => !node.unschedulable,
            Event::NodeChanged { old, new } => old.unschedulable && !new.unschedulable,
            _ => tolerated(pod),
        }
    }
}
