//! The arithmetic of budgets. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::controllers::kinds::policy::{BudgetSpec, BudgetStatus};
use crate::controllers::kinds::{IntOrPercent, Pod};

/// After this an eviction that was granted and did not happen no longer counts (upstream's).
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);

/// How many Pods there should be, and how many must be healthy; `scale` is what their controllers want.
pub(super) fn expected(spec: &BudgetSpec, pods: usize, scale: i64) -> (i64, i64) {
    let pods = i64::try_from(pods).unwrap_or(i64::MAX);
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(missing), _) => (scale, (scale - missing.of(scale, true)).max(0)),
        (None, Some(IntOrPercent::Int(number))) => (pods, *number),
        (None, Some(share)) => (scale, share.of(scale, true)),
        (None, None) => (pods, 0),
    }
}

/// Whether the scale of the Pods' controllers matters.
pub(super) fn needs_scale(spec: &BudgetSpec) -> bool {
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrPercent::Percent(_)))
}

/// The status that follows, without conditions, and when to look again.
pub(super) fn status<'a>(
    before: &BudgetStatus,
    pods: impl Iterator<Item = &'a Pod> + Clone,
    (expected, desired): (i64, i64),
    now: Timestamp,
) -> (BudgetStatus, Option<Duration>) {
    let waits = |name: &str| {
        pods.clone()
            .any(|pod| &*pod.metadata.name == name && !pod.metadata.is_deleting())
    };
    let disrupted: BTreeMap<Box<str>, Timestamp> = before
        .disrupted_pods
        .iter()
        .filter(|(name, at)| waits(name) && **at + PATIENCE > now)
        .map(|(name, at)| (name.clone(), *at))
        .collect();
    let healthy = pods
        .clone()
        .filter(|pod| !pod.metadata.is_deleting() && pod.is_ready() && !disrupted.contains_key(&pod.metadata.name));
    let healthy = i64::try_from(healthy.count()).unwrap_or(i64::MAX);
    let next = disrupted.values().min().map(|at| (*at + PATIENCE).duration_since(now));
    let status = BudgetStatus {
        disruptions_allowed: if expected > 0 { (healthy - desired).max(0) } else { 0 },
        current_healthy: healthy,
        desired_healthy: desired,
        expected_pods: expected,
        disrupted_pods: disrupted,
        observed_generation: before.observed_generation,
        conditions: before.conditions.clone(),
    };
    (status, next.and_then(|pause| pause.try_into().ok()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(spec: Value, pods: usize, scale: i64, expect: (i64, i64)) {
        let spec: BudgetSpec = serde_json::from_value(spec).expect("a spec");
        assert_eq!(expected(&spec, pods, scale), expect, "{spec:?}");
    }

    #[test]
    fn shares_are_of_what_is_wanted() {
        check(json!({"minAvailable": 2}), 3, 5, (3, 2));
        check(json!({"minAvailable": "50%"}), 3, 5, (5, 3));
        check(json!({"maxUnavailable": 1}), 3, 5, (5, 4));
        check(json!({"maxUnavailable": "30%"}), 3, 5, (5, 3));
        check(json!({"maxUnavailable": 9}), 3, 5, (5, 0));
        check(json!({}), 3, 5, (3, 0));
    }

    #[test]
    fn a_granted_eviction_counts_until_it_happens() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().expect("a time");
        let pod = |name: &str, ready: bool| -> Pod {
            let status = if ready { "True" } else { "False" };
            serde_json::from_str(
                &json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": status}]}})
                    .to_string(),
            )
            .expect("a Pod")
        };
        let pods = [pod("a", true), pod("b", true), pod("c", false), pod("d", true)];
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let before = BudgetStatus {
            disrupted_pods: [
                ("a".into(), at("2026-01-01T00:09:00Z")),
                ("b".into(), at("2026-01-01T00:07:00Z")),
                ("gone".into(), at("2026-01-01T00:09:59Z")),
            ]
            .into(),
            ..BudgetStatus::default()
        };
        let (status, next) = status(&before, pods.iter(), (4, 1), now);
        assert_eq!((status.current_healthy, status.disruptions_allowed), (2, 1));
        assert_eq!(
            status.disrupted_pods.keys().map(|name| &**name).collect::<Vec<_>>(),
            ["a"]
        );
        assert_eq!(next, Some(Duration::from_mins(1)));
    }
}
