//! VolumeRestrictions: a claim with access mode ReadWriteOncePod serves one Pod only.

use crate::scheduler::cluster::NodeInfo;
use crate::scheduler::framework::{CLAIM_CHANGED, Cycle, Event, POD_REMOVED, Plugin, Prepared};
use crate::scheduler::framework::{Rejection, UPDATED};
use crate::scheduler::pod::Pod;

pub(super) struct VolumeRestrictions;

fn share_a_claim(a: &Pod, b: &Pod) -> bool {
    a.metadata.namespace == b.metadata.namespace
        && a.claims
            .iter()
            .any(|claim| b.claims.iter().any(|c| c.name == claim.name))
}

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        let claims = &cycle.cluster.volumes.claims;
        let namespace = &cycle.pod.metadata.namespace;
        let exclusive = |name: &str| claims.get(namespace, name).is_some_and(|claim| claim.is_exclusive());
        match cycle.pod.claims.iter().any(|claim| exclusive(&claim.name)) {
            true => Ok(Prepared::Plain),
            false => Ok(Prepared::Skip),
        }
    }

    fn filter(&self, cycle: Cycle<'_>, info: &NodeInfo) -> Result<(), Rejection> {
        match info.pods.iter().any(|other| share_a_claim(cycle.pod, other)) {
            true => Err(Rejection::new(
                "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
            )),
            false => Ok(()),
        }
    }

    fn events(&self) -> u16 {
        POD_REMOVED | CLAIM_CHANGED | UPDATED
    }

    fn may_help(&self, pod: &Pod, event: &Event<'_>) -> bool {
        match event {
            Event::PodRemoved(other) => share_a_claim(pod, other),
            _ => true,
        }
    }
}
