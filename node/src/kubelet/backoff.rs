//! Exponential back-off, as a value: restarts of crashing containers and pulls of images. Pure.

use jiff::{SignedDuration, Timestamp};

/// The first pause.
const FIRST: SignedDuration = SignedDuration::from_secs(10);
/// The longest pause.
const LONGEST: SignedDuration = SignedDuration::from_mins(5);
/// After this long without trouble the pauses start anew.
const FORGET: SignedDuration = SignedDuration::from_mins(10);

/// How long to wait after the next failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The pause.
    pub delay: SignedDuration,
    updated: Timestamp,
}

impl Backoff {
    /// The back-off after one more failure at `failed`, seen at `now`. The first failure is
    /// repaired at once; what is returned rules over the second.
    #[must_use]
    pub fn next(old: Option<Self>, failed: Timestamp, now: Timestamp) -> Self {
        let delay = match old {
            Some(old) if failed.duration_since(old.updated) <= FORGET => (old.delay * 2).min(LONGEST),
            _ => FIRST,
        };
        Self { delay, updated: now }
    }

    /// Until when to wait after a failure at `failed`; `None` when the time is over or the
    /// failure came after a long time without trouble.
    #[must_use]
    pub fn wait(&self, failed: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let until = failed + self.delay;
        (failed.duration_since(self.updated) <= FORGET && now < until).then_some(until)
    }

    /// The pause in the words of status messages (`10s`, `1m20s`).
    #[must_use]
    pub fn words(&self) -> String {
        let seconds = self.delay.as_secs();
        if seconds < 60 {
            format!("{seconds}s")
        } else {
            format!("{}m{}s", seconds / 60, seconds % 60)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_five_minutes_and_forgets_after_ten() {
        let mut now = Timestamp::from_second(1_000_000).expect("a time");
        let (mut backoff, mut waits) = (None, Vec::new());
        for _ in 0..8 {
            let failed = now;
            if let Some(until) = backoff.and_then(|b: Backoff| b.wait(failed, now)) {
                waits.push(until.duration_since(now).as_secs());
                now = until;
            } else {
                waits.push(0);
            }
            backoff = Some(Backoff::next(backoff, failed, now));
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        let later = now + SignedDuration::from_mins(11);
        let backoff = backoff.expect("a back-off");
        assert_eq!((backoff.wait(later, later), backoff.words().as_str()), (None, "5m0s"));
        assert_eq!(Backoff::next(Some(backoff), later, later).delay, FIRST);
    }
}
