//! When a write waits a moment for company.
//!
//! Many writers that each wait for their answer before they go on arrive in twos and threes: committed
//! as they come, they cost an fsync and a round of wake-ups each, and the processors that would bring the next are
//! busy with that. A short wait makes tens share it. A writer on its own never waits: it would only be slower.

use std::time::{Duration, Instant};

/// How long a group waits for more.
pub(super) const GATHER: Duration = Duration::from_millis(2);
/// A group of so many need not.
const ENOUGH: usize = 16;
/// Writes come together when a group has more than this, on average: a lone writer's have one.
const COMPANY: f32 = 1.3;
/// About so many groups make the average.
const GROUPS: f32 = 32.0;
/// After such a pause the next group goes at once: the burst is over.
const PAUSE: Duration = Duration::from_millis(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    /// Writes in a group, on average.
    mean: f32,
    /// When the last group was done.
    last: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { mean: 1.0, last: now }
    }

    /// Whether `writes`, the next group as it stands, should wait for more.
    pub(super) fn gathers(&self, writes: usize, now: Instant) -> bool {
        (1..ENOUGH).contains(&writes) && self.mean > COMPANY && now.saturating_duration_since(self.last) < PAUSE
    }

    /// Takes note of a group that is done.
    pub(super) fn done(&mut self, writes: usize, now: Instant) {
        self.mean += (writes as f32 - self.mean) / GROUPS;
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_in_company_wait() {
        let now = Instant::now();
        let after = |groups: &[usize]| {
            let mut pace = Pace::new(now);
            groups
                .iter()
                .cycle()
                .take(200)
                .for_each(|writes| pace.done(*writes, now));
            pace
        };
        let soon = now + Duration::from_millis(1);
        let later = now + PAUSE;
        let cases = [
            ("nobody was there yet", vec![], 1, soon, false),
            ("one writer", vec![1], 1, soon, false),
            (
                "one writer, and a heartbeat now and then",
                vec![1, 1, 1, 1, 2],
                1,
                soon,
                false,
            ),
            ("a few writers", vec![1, 2, 2], 1, soon, true),
            ("the same after a pause", vec![1, 2, 2], 1, later, false),
            ("enough have come", vec![1, 2, 40], ENOUGH, soon, false),
            ("nothing to write", vec![1, 2, 2], 0, soon, false),
        ];
        for (case, groups, writes, at, gathers) in cases {
            assert_eq!(after(&groups).gathers(writes, at), gathers, "{case}");
        }
        // Who is alone again is soon treated so.
        let mut pace = after(&[16]);
        let alone = (0..1000).find(|_| {
            pace.done(1, now);
            !pace.gathers(1, soon)
        });
        assert!(alone.is_some_and(|groups| groups < 150), "{alone:?}");
    }
}
