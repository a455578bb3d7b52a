//! SchedulingGates: a Pod with gates waits until somebody has removed them all.

use crate::scheduler::framework::{Plugin, Rejection, UPDATED};
use crate::scheduler::pod::Pod;

pub(super) struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }

    fn pre_enqueue(&self, pod: &Pod) -> Result<(), Rejection> {
        if pod.gates.is_empty() {
            return Ok(());
        }
        let gates = pod.gates.join(" ");
        Err(Rejection::unresolvable(format!(
            "waiting for scheduling gates: [{gates}]"
        )))
    }

    fn events(&self) -> u16 {
        UPDATED
    }
}
