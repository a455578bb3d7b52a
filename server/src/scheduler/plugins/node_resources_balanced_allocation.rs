//! NodeResourcesBalancedAllocation: prefers nodes on which processor and memory fill up evenly.

use crate::scheduler::framework::{MAX_SCORE, Plugin};
use crate::scheduler::pod::{Node, Pod};
use crate::scheduler::snapshot::NodeInfo;

pub(super) struct NodeResourcesBalancedAllocation;

fn fraction(wanted: i64, used: i64, all: i64) -> Option<f64> {
    (all > 0).then(|| ((used + wanted) as f64 / all as f64).min(1.0))
}

impl Plugin for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn weight(&self) -> i64 {
        1
    }

    /// A Pod without requests changes no balance.
    fn scores(&self, pod: &Pod) -> bool {
        pod.requests.milli_cpu > 0 || pod.requests.memory > 0
    }

    fn score(&self, pod: &Pod, info: &NodeInfo, node: &Node) -> i64 {
        let (wanted, used, all) = (&pod.requests, &info.requested, &node.allocatable);
        let cpu = fraction(wanted.milli_cpu, used.milli_cpu, all.milli_cpu);
        let memory = fraction(wanted.memory, used.memory, all.memory);
        // The standard deviation of two numbers is half their distance.
        let spread = cpu.zip(memory).map_or(0.0, |(cpu, memory)| (cpu - memory).abs() / 2.0);
        ((1.0 - spread) * MAX_SCORE as f64) as i64
    }
}
