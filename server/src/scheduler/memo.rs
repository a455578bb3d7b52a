//! Counts over all Pods, kept from one Pod to the next of its like.
//!
//! Counting Pods by place costs a visit to every Pod; yet between two Pods of one set only a few others
//! came or went. A [`Memo`] remembers counts by what was asked, and lets them catch up with
//! [`Cluster::changes_since`]. Counts are shared with the cycle that reads them, and copied only if a
//! cycle plays through what preemption would change.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use super::cluster::{Cluster, PodChange};

/// How many questions are remembered: more sets of Pods than take turns in practice.
const REMEMBERED: usize = 64;

/// Counts that follow Pods.
pub trait Counts: Clone {
    /// A Pod began or ceased to count on a node.
    fn apply(&mut self, cluster: &Cluster, change: &PodChange);
}

/// Identifies a question: 128 bits that nobody outside can steer into a collision.
pub type Fingerprint = (u64, u64);

/// The fingerprint of everything that a question depends on.
pub fn fingerprint(question: &impl Hash) -> Fingerprint {
    static STATES: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
    (STATES[0].hash_one(question), STATES[1].hash_one(question))
}

/// Remembered counts.
pub struct Memo<S> {
    entries: Mutex<Vec<Entry<S>>>,
}

struct Entry<S> {
    question: Fingerprint,
    epoch: u64,
    sequence: u64,
    counts: Arc<S>,
}

impl<S> Default for Memo<S> {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
        }
    }
}

impl<S: Counts> Memo<S> {
    /// The counts for a question, as of now; `count` counts anew.
    pub fn get(&self, cluster: &Cluster, question: Fingerprint, count: impl FnOnce() -> S) -> Arc<S> {
        let mut entries = self.entries.lock();
        let known = entries.iter().position(|entry| entry.question == question);
        // The latest used is last.
        let known = known.map(|at| entries.remove(at));
        let current = known.filter(|entry| entry.epoch == cluster.epoch());
        let entry = current
            .and_then(|entry| entry.catch_up(cluster))
            .unwrap_or_else(|| Entry {
                question,
                epoch: cluster.epoch(),
                sequence: cluster.sequence(),
                counts: Arc::new(count()),
            });
        if entries.len() == REMEMBERED {
            entries.remove(0);
        }
        let counts = entry.counts.clone();
        entries.push(entry);
        counts
    }
}

impl<S: Counts> Entry<S> {
    fn catch_up(mut self, cluster: &Cluster) -> Option<Self> {
        if self.sequence != cluster.sequence() {
            let counts = Arc::make_mut(&mut self.counts);
            for change in cluster.changes_since(self.sequence)? {
                counts.apply(cluster, change);
            }
            self.sequence = cluster.sequence();
        }
        Some(self)
    }
}
