//! NodeVolumeLimits: a node takes as many volumes of a CSI driver as its CSINode says.

use std::collections::{BTreeMap, BTreeSet};

use crate::scheduler::cluster::{Cluster, NodeInfo};
use crate::scheduler::framework::{CLAIM_CHANGED, Cycle, NODE_ADDED, POD_REMOVED, Plugin, Prepared};
use crate::scheduler::framework::{Rejection, STORAGE_CHANGED};
use crate::scheduler::pod::Pod;

pub(super) struct NodeVolumeLimits;

/// The volumes of a Pod by driver.
fn volumes<'a>(cluster: &'a Cluster, pod: &Pod) -> impl Iterator<Item = (&'a str, &'a str)> {
    let claim = |name: &str| cluster.volumes.claims.get(&pod.metadata.namespace, name);
    let claims: Vec<_> = pod.claims.iter().filter_map(|c| claim(&c.name)).collect();
    let bound = claims.into_iter().filter_map(|claim| cluster.volumes.volume(claim));
    bound.filter_map(|volume| volume.csi())
}

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }

    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        match cycle.pod.claims.is_empty() || cycle.cluster.volumes.csi_nodes.is_empty() {
            true => Ok(Prepared::Skip),
            false => Ok(Prepared::Plain),
        }
    }

    fn filter(&self, cycle: Cycle<'_>, info: &NodeInfo) -> Result<(), Rejection> {
        let Some(limits) = cycle.cluster.volumes.csi_nodes.get("", &info.name) else {
            return Ok(());
        };
        let mut used: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (driver, volume) in info.pods.iter().flat_map(|pod| volumes(cycle.cluster, pod)) {
            used.entry(driver).or_default().insert(volume);
        }
        for (driver, volume) in volumes(cycle.cluster, cycle.pod) {
            let used = used.entry(driver).or_default();
            if used.insert(volume) && limits.limit(driver).is_some_and(|limit| used.len() > limit) {
                return Err(Rejection::new("node(s) exceed max volume count"));
            }
        }
        Ok(())
    }

    fn events(&self) -> u16 {
        NODE_ADDED | POD_REMOVED | CLAIM_CHANGED | STORAGE_CHANGED
    }
}
