//! NodeUnschedulable: cordoned nodes take only Pods that tolerate the taint that says so.

use crate::scheduler::framework::{Event, Plugin, Rejection};
use crate::scheduler::pod::{Node, Pod, Taint};
use crate::scheduler::snapshot::NodeInfo;

pub(super) struct NodeUnschedulable;

fn tolerated(pod: &Pod) -> bool {
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        value: "".into(),
        effect: "NoSchedule".into(),
    };
    pod.tolerations.iter().any(|toleration| toleration.tolerates(&taint))
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn filter(&self, pod: &Pod, _info: &NodeInfo, node: &Node) -> Result<(), Rejection> {
        match node.unschedulable && !tolerated(pod) {
            true => Err(Rejection::unresolvable("node(s) were unschedulable")),
            false => Ok(()),
        }
    }

    fn may_help(&self, pod: &Pod, event: &Event<'_>) -> bool {
        match event {
            Event::NodeAdded(node) => !node.unschedulable,
            Event::NodeChanged { old, new } => old.unschedulable && !new.unschedulable,
            Event::Updated => tolerated(pod),
            Event::PodRemoved(_) => false,
        }
    }
}
