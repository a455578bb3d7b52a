//! NodeName: a Pod that names its node runs there only.

use crate::scheduler::framework::{Event, Plugin, Rejection};
use crate::scheduler::pod::{Node, Pod};
use crate::scheduler::snapshot::NodeInfo;

pub(super) struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn filter(&self, pod: &Pod, _info: &NodeInfo, node: &Node) -> Result<(), Rejection> {
        match pod.node_name.is_empty() || pod.node_name == node.metadata.name {
            true => Ok(()),
            false => Err(Rejection::unresolvable("node(s) didn't match the requested node name")),
        }
    }

    fn may_help(&self, _pod: &Pod, event: &Event<'_>) -> bool {
        matches!(event, Event::NodeAdded(_))
    }
}
