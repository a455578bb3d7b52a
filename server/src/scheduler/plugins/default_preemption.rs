//! DefaultPreemption: so far only the words with which upstream says that it found nobody to evict.

use crate::scheduler::framework::{Failure, Plugin, verdict};
use crate::scheduler::pod::Pod;

pub(super) struct DefaultPreemption;

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        "DefaultPreemption"
    }

    fn post_filter(&self, pod: &Pod, failure: &Failure) -> Option<String> {
        // The first part comes from upstream's DynamicResources, which runs before and says so of
        // every Pod without claims.
        let words = if pod.never_preempts {
            "not eligible due to preemptionPolicy=Never.".to_owned()
        } else {
            let reasons = [
                ("Preemption is not helpful for scheduling", failure.unresolvable),
                ("No preemption victims found for incoming pod", failure.resolvable),
            ];
            verdict(failure.nodes, reasons)
        };
        Some(format!("no new claims to deallocate, preemption: {words}"))
    }
}
