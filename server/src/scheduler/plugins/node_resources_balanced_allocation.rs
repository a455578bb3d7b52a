//! NodeResourcesBalancedAllocation: prefers nodes on which processor and memory fill up evenly.

use crate::scheduler::cluster::NodeInfo;
use crate::scheduler::framework::{Cycle, MAX_SCORE, Plugin, Scored};

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
    fn prepare_scores<'a>(&'a self, cycle: Cycle<'a>, _slots: &[usize]) -> Scored<'a> {
        match cycle.pod.requests.milli_cpu > 0 || cycle.pod.requests.memory > 0 {
            true => Scored::Plain,
            false => Scored::Skip,
        }
    }

    fn score(&self, cycle: Cycle<'_>, info: &NodeInfo) -> i64 {
        let (wanted, used, all) = (&cycle.pod.requests, &info.requested, &info.node().allocatable);
        let cpu = fraction(wanted.milli_cpu, used.milli_cpu, all.milli_cpu);
        let memory = fraction(wanted.memory, used.memory, all.memory);
        // The standard deviation of two numbers is half their distance.
        let spread = cpu.zip(memory).map_or(0.0, |(cpu, memory)| (cpu - memory).abs() / 2.0);
        ((1.0 - spread) * MAX_SCORE as f64) as i64
    }
}
