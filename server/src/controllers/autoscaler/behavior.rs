//! How fast an autoscaler may follow its metrics: stabilization, then the policies. Pure.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

/// Rules of both directions; what is absent is as upstream defaults it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Behavior {
    /// Upwards.
    pub(super) scale_up: Option<Rules>,
    /// Downwards.
    pub(super) scale_down: Option<Rules>,
}

/// Rules of one direction.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Rules {
    stabilization_window_seconds: Option<i64>,
    select_policy: Box<str>,
    policies: Vec<Policy>,
    /// How far a metric may be off its target without consequence.
    pub(super) tolerance: Option<mizzen_api::quantity::Quantity>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Policy {
    #[serde(rename = "type")]
    kind: Box<str>,
    value: i64,
    period_seconds: i64,
}

const WINDOW_DOWN_SECONDS: i64 = 300;
const LONGEST: SignedDuration = SignedDuration::from_secs(3600);

/// What is remembered of an autoscaler.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// What the metrics asked for.
    recommendations: Vec<(Timestamp, i64)>,
    /// By how much it was scaled.
    changes: Vec<(Timestamp, i64)>,
}

impl History {
    /// It was scaled.
    pub(super) fn scaled(&mut self, now: Timestamp, from: i64, to: i64) {
        self.changes.push((now, to - from));
        self.changes.retain(|(at, _)| now.duration_since(*at) <= LONGEST);
    }

    /// How many replicas there were before the changes of a period.
    fn before(&self, now: Timestamp, seconds: i64, current: i64) -> i64 {
        let recent = self
            .changes
            .iter()
            .filter(|(at, _)| now.duration_since(*at).as_secs() < seconds);
        current - recent.map(|(_, change)| change).sum::<i64>()
    }
}

/// The number of replicas to go to, on the way from `current` to `wanted`; and what held it up.
pub(super) fn follow(
    behavior: &Behavior,
    history: &mut History,
    (current, wanted): (i64, i64),
    (least, most): (i64, i64),
    now: Timestamp,
) -> (i64, Option<&'static str>) {
    history.recommendations.push((now, wanted));
    history
        .recommendations
        .retain(|(at, _)| now.duration_since(*at) <= LONGEST);
    let window = |rules: &Option<Rules>, default| {
        rules
            .as_ref()
            .and_then(|rules| rules.stabilization_window_seconds)
            .unwrap_or(default)
    };
    let (up, down) = (
        window(&behavior.scale_up, 0),
        window(&behavior.scale_down, WINDOW_DOWN_SECONDS),
    );
    let within = |seconds: i64| {
        let all = history.recommendations.iter();
        all.filter(move |(at, _)| now.duration_since(*at).as_secs() < seconds)
            .map(|(_, wanted)| *wanted)
    };
    let lowest = within(up).fold(wanted, i64::min);
    let highest = within(down).fold(wanted, i64::max);
    let stable = current.max(lowest).min(highest);
    let held = (stable != wanted).then_some("ScaleDownStabilized");
    let bounded = stable.clamp(least, most);
    let limited = match bounded.cmp(&current) {
        std::cmp::Ordering::Greater => bounded.min(highest_allowed(behavior, history, current, now)),
        std::cmp::Ordering::Less => bounded.max(lowest_allowed(behavior, history, current, now)),
        std::cmp::Ordering::Equal => bounded,
    };
    (limited, held)
}

fn policy(kind: &str, value: i64) -> Policy {
    Policy {
        kind: kind.into(),
        value,
        period_seconds: 15,
    }
}

/// Upstream's policies where there are none: up by four or to twice as many, down at will.
fn policies(rules: Option<&Rules>, defaults: &[Policy]) -> Vec<Policy> {
    let own = rules.map(|rules| rules.policies.clone()).unwrap_or_default();
    if own.is_empty() { defaults.to_vec() } else { own }
}

fn highest_allowed(behavior: &Behavior, history: &History, current: i64, now: Timestamp) -> i64 {
    let rules = behavior.scale_up.as_ref();
    let selected = rules.map_or("", |rules| &*rules.select_policy);
    let limits = policies(rules, &[policy("Pods", 4), policy("Percent", 100)])
        .into_iter()
        .map(|policy| {
            let start = history.before(now, policy.period_seconds, current);
            match &*policy.kind {
                "Pods" => start + policy.value,
                _ => start + (start * policy.value + 99).div_euclid(100),
            }
        });
    let limit = match selected {
        "Disabled" => None,
        "Min" => limits.min(),
        _ => limits.max(),
    };
    limit.unwrap_or(current).max(current)
}

fn lowest_allowed(behavior: &Behavior, history: &History, current: i64, now: Timestamp) -> i64 {
    let rules = behavior.scale_down.as_ref();
    let selected = rules.map_or("", |rules| &*rules.select_policy);
    let limits = policies(rules, &[policy("Percent", 100)]).into_iter().map(|policy| {
        let start = history.before(now, policy.period_seconds, current);
        match &*policy.kind {
            "Pods" => start - policy.value,
            _ => start * (100 - policy.value) / 100,
        }
    });
    let limit = match selected {
        "Disabled" => None,
        "Min" => limits.max(),
        _ => limits.min(),
    };
    limit.unwrap_or(current).min(current)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn steps(behavior: Value, from: i64, wanted: &[(i64, i64)]) -> Vec<i64> {
        let behavior: Behavior = serde_json::from_value(behavior).unwrap();
        let (mut history, mut current) = (History::default(), from);
        let mut seen = Vec::new();
        for (seconds, wanted) in wanted {
            let now = Timestamp::from_second(*seconds).unwrap();
            let (next, _) = follow(&behavior, &mut history, (current, *wanted), (1, 100), now);
            history.scaled(now, current, next);
            current = next;
            seen.push(next);
        }
        seen
    }

    #[test]
    fn it_goes_up_in_steps_and_down_after_a_while() {
        assert_eq!(
            steps(json!({}), 1, &[(0, 40), (15, 40), (30, 40), (45, 40)]),
            [5, 10, 20, 40]
        );
        assert_eq!(
            steps(json!({}), 10, &[(0, 10), (15, 2), (290, 2), (301, 2)]),
            [10, 10, 10, 2]
        );
        let slow = json!({"scaleDown": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}});
        assert_eq!(steps(slow, 5, &[(0, 1), (30, 1), (60, 1), (120, 1)]), [4, 4, 3, 2]);
        let never = json!({"scaleUp": {"selectPolicy": "Disabled"}});
        assert_eq!(steps(never, 5, &[(0, 9)]), [5]);
        let calm = json!({"scaleUp": {"stabilizationWindowSeconds": 60}});
        assert_eq!(steps(calm, 2, &[(0, 2), (30, 4), (61, 4)]), [2, 2, 4]);
    }
}
