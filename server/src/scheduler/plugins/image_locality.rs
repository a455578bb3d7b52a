//! ImageLocality: prefers nodes that have the Pod's images already, the bigger the better, yet less so
//! the fewer nodes have them, lest one node draw all Pods.

use crate::scheduler::cluster::NodeInfo;
use crate::scheduler::framework::{Cycle, MAX_SCORE, Plugin, Score, Scored};
use crate::scheduler::pod::Pod;

const MIB: i64 = 1024 * 1024;
/// Sizes between which the score rises (upstream's): per Pod, and per container.
const LEAST: i64 = 23 * MIB;
const MOST_PER_CONTAINER: i64 = 1000 * MIB;

pub(super) struct ImageLocality;

struct Images<'a> {
    pod: &'a Pod,
    /// By image: the share of nodes that have it.
    shares: Vec<f64>,
}

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn weight(&self) -> i64 {
        1
    }

    fn prepare_scores<'a>(&'a self, cycle: Cycle<'a>, _slots: &[usize]) -> Scored<'a> {
        if !cycle.cluster.knows_images() {
            return Scored::Skip;
        }
        let all = cycle.cluster.order().len() as f64;
        let shares: Vec<f64> = cycle
            .pod
            .images
            .iter()
            .map(|image| cycle.cluster.nodes_with_image(image) as f64 / all)
            .collect();
        match shares.iter().any(|share| *share > 0.0) {
            true => Scored::State(Box::new(Images { pod: cycle.pod, shares })),
            false => Scored::Skip,
        }
    }
}

impl Score for Images<'_> {
    fn score(&self, info: &NodeInfo) -> i64 {
        let node = info.node();
        let worth = |image: &str, share: f64| (node.image_size(image) as f64 * share) as i64;
        let images = self.pod.images.iter().zip(&self.shares);
        let sum: i64 = images.map(|(image, share)| worth(image, *share)).sum();
        let most = MOST_PER_CONTAINER * i64::try_from(self.pod.images.len()).unwrap_or(1);
        (sum.clamp(LEAST, most) - LEAST) * MAX_SCORE / (most - LEAST)
    }
}
