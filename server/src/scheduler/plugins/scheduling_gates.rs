//! SchedulingGates: a Pod with gates waits until somebody has removed them all.

use crate::scheduler::framework::{Event, Plugin, Rejection};
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

    fn may_help(&self, _pod: &Pod, event: &Event<'_>) -> bool {
        matches!(event, Event::Updated)
    }
}
