//! NodeName: a Pod that names its node runs there only.

use crate::scheduler::cluster::NodeInfo;
use crate::scheduler::framework::{Cycle, NODE_ADDED, Plugin, Prepared, Rejection};

pub(super) struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        match cycle.pod.node_name.is_empty() {
            true => Ok(Prepared::Skip),
            false => Ok(Prepared::Plain),
        }
    }

    fn filter(&self, cycle: Cycle<'_>, info: &NodeInfo) -> Result<(), Rejection> {
        match cycle.pod.node_name == info.name {
            true => Ok(()),
            false => Err(Rejection::unresolvable("node(s) didn't match the requested node name")),
        }
    }

    fn events(&self) -> u16 {
        NODE_ADDED
    }
}
