//! VolumeZone: a Pod goes into the zone of its volumes, when only labels tell it.

use std::sync::Arc;

use crate::scheduler::cluster::NodeInfo;
use crate::scheduler::framework::{CLAIM_CHANGED, Cycle, Filter, NODES, Plugin, Prepared, Rejection};
use crate::scheduler::framework::{STORAGE_CHANGED, UPDATED};
use crate::scheduler::volumes::Volume;

const KEYS: [&str; 4] = [
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];

pub(super) struct VolumeZone;

/// The volumes that say where they are.
#[derive(Clone)]
struct Zones(Vec<Arc<Volume>>);

impl<'a> Filter<'a> for Zones {
    fn check(&self, _cycle: Cycle<'a>, info: &NodeInfo) -> Result<(), Rejection> {
        let labels = &info.node().metadata.labels;
        let reaches = |volume: &Arc<Volume>| {
            KEYS.iter()
                .all(|key| match (volume.metadata.labels.get(key), labels.get(key)) {
                    (None, _) => true,
                    // A node outside all zones takes any volume only if it has no such label at all.
                    (Some(_), None) => !KEYS.iter().any(|key| labels.get(key).is_some()),
                    (Some(zones), Some(own)) => zones.split("__").any(|zone| zone == own),
                })
        };
        match self.0.iter().all(reaches) {
            true => Ok(()),
            false => Err(Rejection::unresolvable("node(s) had no available volume zone")),
        }
    }

    fn fork(&self) -> Box<dyn Filter<'a> + 'a> {
        Box::new(self.clone())
    }
}

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        if cycle.pod.claims.is_empty() {
            return Ok(Prepared::Skip);
        }
        let volumes = &cycle.cluster.volumes;
        let claims = volumes.of(cycle.pod).map_err(Rejection::unresolvable)?;
        let bound = claims.iter().filter_map(|claim| volumes.volume(claim));
        let labeled = bound.filter(|volume| KEYS.iter().any(|key| volume.metadata.labels.get(key).is_some()));
        let zones: Vec<_> = labeled.cloned().collect();
        match zones.is_empty() {
            true => Ok(Prepared::Skip),
            false => Ok(Prepared::State(Box::new(Zones(zones)))),
        }
    }

    fn events(&self) -> u16 {
        NODES | CLAIM_CHANGED | STORAGE_CHANGED | UPDATED
    }
}
