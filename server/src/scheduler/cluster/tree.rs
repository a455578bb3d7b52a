//! The order in which nodes are looked at: as upstream's node tree, zones take turns, so that a search
//! that stops early has seen all of them.

use crate::scheduler::node::Node;

const ZONE: [&str; 2] = ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"];
const REGION: [&str; 2] = [
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/region",
];

#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Zones in order of appearance, with the slots of their nodes in that order.
    zones: Vec<(Zone, Vec<usize>)>,
    order: Vec<usize>,
    stale: bool,
}

/// Region and zone.
type Zone = [Box<str>; 2];

fn zone(node: &Node) -> Zone {
    let value = |keys: [&str; 2]| {
        keys.iter()
            .find_map(|key| node.metadata.labels.get(key))
            .unwrap_or_default()
    };
    [value(REGION).into(), value(ZONE).into()]
}

impl Tree {
    pub(super) fn set(&mut self, slot: usize, before: Option<&Node>, now: Option<&Node>) {
        let (before, now) = (before.map(zone), now.map(zone));
        if before == now {
            return;
        }
        self.stale = true;
        if let Some(at) = before.and_then(|zone| self.zones.iter().position(|(z, _)| *z == zone)) {
            self.zones[at].1.retain(|s| *s != slot);
            if self.zones[at].1.is_empty() {
                self.zones.remove(at);
            }
        }
        if let Some(zone) = now {
            match self.zones.iter_mut().find(|(z, _)| *z == zone) {
                Some((_, slots)) => slots.push(slot),
                None => self.zones.push((zone, vec![slot])),
            }
        }
    }

    pub(super) fn settle(&mut self) {
        if std::mem::take(&mut self.stale) {
            let longest = self.zones.iter().map(|(_, slots)| slots.len()).max().unwrap_or(0);
            let zones = &self.zones;
            let turns = (0..longest).flat_map(|turn| zones.iter().filter_map(move |(_, slots)| slots.get(turn)));
            self.order = turns.copied().collect();
        }
    }

    pub(super) fn order(&self) -> &[usize] {
        &self.order
    }
}
