//! How long a Job waits before it replaces a Pod that failed. Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::controllers::kinds::Pod;

const FIRST_SECONDS: i64 = 10;
const LONGEST_SECONDS: i64 = 600;

/// The failures since the last success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    failures: u32,
    last: Option<Timestamp>,
}

impl Backoff {
    /// After these Pods succeeded and failed.
    pub(super) fn after(self, succeeded: &[Arc<Pod>], failed: &[Arc<Pod>], now: Timestamp) -> Self {
        let ends = |pods: &[Arc<Pod>]| pods.iter().map(|pod| ended_at(pod, now)).max();
        let since = ends(succeeded);
        let later = |pod: &&Arc<Pod>| since.is_none_or(|since| ended_at(pod, now) > since);
        let counted: Vec<_> = failed.iter().filter(later).cloned().collect();
        let before = if since.is_some() { Self::default() } else { self };
        Self {
            failures: before.failures + u32::try_from(counted.len()).unwrap_or(u32::MAX),
            last: before.last.max(ends(&counted)),
        }
    }

    /// How long to wait still.
    pub(super) fn remaining(self, now: Timestamp) -> SignedDuration {
        remaining(self.failures, self.last, now)
    }
}

/// How long to wait after that many failures in a row, the last of them then.
pub(super) fn remaining(failures: u32, last: Option<Timestamp>, now: Timestamp) -> SignedDuration {
    let (Some(last), Some(doublings)) = (last, failures.checked_sub(1)) else {
        return SignedDuration::ZERO;
    };
    let seconds = FIRST_SECONDS
        .saturating_mul(1 << doublings.min(16))
        .min(LONGEST_SECONDS);
    let left = SignedDuration::from_secs(seconds) - now.duration_since(last);
    left.max(SignedDuration::ZERO)
}

/// When a Pod ended: its last container, else when it was to be deleted.
pub(super) fn ended_at(pod: &Pod, now: Timestamp) -> Timestamp {
    let containers = pod.status.container_statuses.iter();
    let last = containers
        .filter_map(|status| status.terminated.as_ref()?.finished_at)
        .max();
    let ready = pod.status.conditions.iter().find(|c| &*c.kind == "Ready");
    last.or_else(|| ready.and_then(|c| c.last_transition_time))
        .or(pod.metadata.deletion_timestamp)
        .unwrap_or(now)
        .min(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(ended: i64) -> Arc<Pod> {
        let at = Timestamp::from_second(ended).unwrap();
        let status = json!({"containerStatuses": [{"state": {"terminated": {"finishedAt": at}}}]});
        Arc::new(serde_json::from_value(json!({"status": status})).unwrap())
    }

    #[test]
    fn pauses_double_from_the_last_failure_and_a_success_ends_them() {
        let now = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let left = |backoff: Backoff, seconds: i64| backoff.remaining(now(seconds)).as_secs();
        let one = Backoff::default().after(&[], &[pod(100)], now(100));
        assert_eq!(left(one, 100), 10);
        assert_eq!(left(one, 105), 5);
        assert_eq!(left(one, 200), 0);
        let three = one.after(&[], &[pod(120), pod(130)], now(130));
        assert_eq!(left(three, 130), 40);
        let many = (0..20).fold(three, |b, n| b.after(&[], &[pod(130 + n)], now(200)));
        assert_eq!(left(many, 149), 600);
        let success = many.after(&[pod(300)], &[pod(299), pod(301)], now(301));
        assert_eq!(left(success, 301), 10);
        assert_eq!(left(Backoff::default(), 0), 0);
    }
}
