//! Which of a CronJob's times is due, and when to look again. Pure.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::controllers::kinds::batch::CronJob;
use crate::cron::Schedule;

/// Missed starts above this number are worth a warning (upstream's).
const MANY: i64 = 100;
/// Looking a little late beats looking a little early (upstream's).
const DELTA: Duration = Duration::from_millis(100);

/// The times that passed since the last start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Missed {
    /// The last of them.
    pub(super) latest: Option<Timestamp>,
    /// About how many there are.
    pub(super) count: i64,
}

impl Missed {
    /// Whether there are so many that something must be wrong.
    pub(super) fn are_many(self) -> bool {
        self.count > MANY
    }
}

fn earliest(cron: &CronJob, now: Timestamp, with_deadline: bool) -> Timestamp {
    let known = cron.status.last_schedule_time.or(cron.metadata.creation_timestamp);
    let known = known.unwrap_or(now);
    let deadline = cron.spec.starting_deadline_seconds.filter(|_| with_deadline);
    let bound = deadline.map(|seconds| now - SignedDuration::from_secs(seconds));
    bound.map_or(known, |bound| known.max(bound))
}

/// The times that passed since `earliest`, without trying each: somebody may have been away for years.
pub(super) fn missed(
    cron: &CronJob,
    schedule: &Schedule,
    zone: &TimeZone,
    now: Timestamp,
    with_deadline: bool,
) -> Missed {
    let since = earliest(cron, now, with_deadline);
    let Some(first) = schedule.next(since, zone).filter(|first| *first <= now) else {
        return Missed::default();
    };
    let Some(second) = schedule.next(first, zone).filter(|second| *second <= now) else {
        return Missed {
            latest: Some(first),
            count: 1,
        };
    };
    let between = second.duration_since(first).as_secs().max(1);
    let count = now.duration_since(first).as_secs() / between + 1;
    // From shortly before where the last one should be, if all were as far apart as the first two.
    let near = first + SignedDuration::from_secs((count - 2).max(0) * between);
    let mut latest = None;
    let mut at = schedule.next(near, zone);
    while let Some(time) = at.filter(|time| *time <= now) {
        latest = Some(time);
        at = schedule.next(time, zone);
    }
    Missed { latest, count }
}

/// How long until the next time.
pub(super) fn wait(cron: &CronJob, schedule: &Schedule, zone: &TimeZone, now: Timestamp) -> Option<Duration> {
    let missed = missed(cron, schedule, zone, now, false);
    let from = match missed {
        Missed {
            latest: Some(latest), ..
        } => latest,
        Missed { count: 0, .. } => earliest(cron, now, false),
        Missed { .. } => now,
    };
    let next = schedule.next(from, zone)?;
    Some(Duration::try_from(next.duration_since(now)).unwrap_or_default() + DELTA)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn cron(created: i64, last: Option<i64>, deadline: Option<i64>) -> CronJob {
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        serde_json::from_value(json!({
            "metadata": {"creationTimestamp": at(created)},
            "spec": {"startingDeadlineSeconds": deadline},
            "status": {"lastScheduleTime": last.map(at)},
        }))
        .unwrap()
    }

    fn check(schedule: &str, cron: &CronJob, now: i64, expect: (Option<i64>, i64), wait_seconds: u64) {
        let schedule = Schedule::parse(schedule).unwrap();
        let now = Timestamp::from_second(now).unwrap();
        let found = missed(cron, &schedule, &TimeZone::UTC, now, true);
        assert_eq!((found.latest.map(Timestamp::as_second), found.count), expect);
        let wait = wait(cron, &schedule, &TimeZone::UTC, now).unwrap();
        assert_eq!(wait.as_secs(), wait_seconds);
    }

    #[test]
    fn the_latest_time_that_passed_is_due() {
        let minute = "* * * * *";
        check(minute, &cron(0, None, None), 30, (None, 0), 30);
        check(minute, &cron(0, None, None), 60, (Some(60), 1), 60);
        check(minute, &cron(0, Some(60), None), 100, (None, 0), 20);
        check(minute, &cron(0, Some(60), None), 185, (Some(180), 2), 55);
        check(minute, &cron(0, Some(60), None), 36_000, (Some(36_000), 599), 60);
        // A deadline leaves out what is too late.
        check(minute, &cron(0, Some(60), Some(30)), 215, (None, 0), 25);
        check(minute, &cron(0, Some(60), Some(30)), 205, (Some(180), 1), 35);
        check("@every 1h", &cron(0, Some(100), None), 7400, (Some(7300), 2), 3500);
    }

    proptest! {
        #[test]
        fn the_latest_is_that_of_trying_all(
            created in 0i64..100_000, after in 0i64..400_000,
            schedule in prop::sample::select(vec!["* * * * *", "*/7 * * * *", "30 6-16/4 * * 1-5", "0 3 * * *", "0 0 1 * *", "@every 37m"]),
        ) {
            let (cron, now) = (cron(created, None, None), Timestamp::from_second(created + after).unwrap());
            let schedule = Schedule::parse(schedule).unwrap();
            let (mut latest, mut at) = (None, schedule.next(Timestamp::from_second(created).unwrap(), &TimeZone::UTC));
            while let Some(time) = at.filter(|time| *time <= now) {
                latest = Some(time);
                at = schedule.next(time, &TimeZone::UTC);
            }
            let found = missed(&cron, &schedule, &TimeZone::UTC, now, false);
            prop_assert_eq!(found.count > 0, latest.is_some());
            // Of times that lie unevenly the guess may fall short of the first two's distance, as upstream's.
            if let Some(found) = found.latest {
                prop_assert_eq!(Some(found), latest);
            }
        }
    }
}
