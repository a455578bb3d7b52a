//! PrioritySort: higher priority first; among equals, whoever has waited longer.

use crate::scheduler::framework::Plugin;
use crate::scheduler::pod::Pod;

pub(super) struct PrioritySort;

impl Plugin for PrioritySort {
    fn name(&self) -> &'static str {
        "PrioritySort"
    }

    fn queue_key(&self, pod: &Pod) -> Option<i64> {
        Some(i64::from(pod.priority))
    }
}
