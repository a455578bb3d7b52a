//! What failures and successes of Pods mean to a Job that has policies. Pure.

use crate::controllers::kinds::Pod;
use crate::controllers::kinds::batch::{ExitCodes, FailureRule, Job};

use super::indexes::Indexes;

/// What the failure policy says of a Pod that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Counts as any failure.
    Count,
    /// Does not count.
    Ignore,
    /// Ends its index.
    FailIndex,
    /// Ends the Job, for this reason.
    FailJob(String),
}

/// Whether a Pod counts as failed.
pub(super) fn is_failed(job: &Job, pod: &Pod) -> bool {
    match &*pod.status.phase {
        "Failed" => true,
        "Succeeded" => false,
        // Counted before its end, a Pod that is being deleted would be replaced before its end.
        _ => !job.replaces_ended_only() && pod.metadata.is_deleting(),
    }
}

/// What the failure policy says of a Pod that failed.
pub(super) fn verdict(job: &Job, pod: &Pod) -> Verdict {
    let Some(policy) = &job.spec.pod_failure_policy else {
        return Verdict::Count;
    };
    for (at, rule) in policy.rules.iter().enumerate() {
        let Some(what) = matching(rule, pod) else { continue };
        return match &*rule.action {
            "Ignore" => Verdict::Ignore,
            "FailIndex" => Verdict::FailIndex,
            "FailJob" => Verdict::FailJob(format!("{what} matching FailJob rule at index {at}")),
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

/// What of a Pod a rule is about, in words.
fn matching(rule: &FailureRule, pod: &Pod) -> Option<String> {
    let name = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
    if let Some(codes) = &rule.on_exit_codes {
        let all = pod.status.container_statuses.iter();
        let ended = all
            .chain(&pod.status.init_container_statuses)
            .filter_map(|status| status.terminated.as_ref());
        let found = ended
            .into_iter()
            .find(|end| matches_code(codes, &end.container, end.exit_code))?;
        let (container, code) = (&found.container, found.exit_code);
        return Some(format!(
            "Container {container} for pod {name} failed with exit code {code}"
        ));
    }
    let conditions = pod.status.conditions.iter();
    let mut known = conditions.filter(|condition| {
        let patterns = rule.on_pod_conditions.iter();
        patterns
            .clone()
            .any(|pattern| pattern.kind == condition.kind && pattern.status == condition.status)
    });
    known
        .next()
        .map(|condition| format!("Pod {name} has condition {}", condition.kind))
}

fn matches_code(codes: &ExitCodes, container: &str, code: i64) -> bool {
    let named = codes.container_name.as_deref().is_none_or(|name| name == container);
    let listed = codes.values.contains(&code);
    named && code != 0 && listed == (&*codes.operator == "In")
}

/// Which rule of the success policy is met, in words.
pub(super) fn enough(job: &Job, succeeded: &Indexes) -> Option<String> {
    let policy = job.spec.success_policy.as_ref()?;
    if succeeded.total() == 0 {
        return None;
    }
    let met = policy.rules.iter().position(|rule| match &rule.succeeded_indexes {
        Some(required) => {
            let required = Indexes::read(required, job.spec.completions.unwrap_or_default());
            let wanted = rule.succeeded_count.unwrap_or_else(|| required.total());
            succeeded.common(&required) >= wanted
        }
        None => rule.succeeded_count.is_some_and(|count| succeeded.total() >= count),
    })?;
    Some(format!("Matched rules at index {met}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(rules: Value, status: Value, expect: Verdict) {
        let job: Job = serde_json::from_value(json!({"spec": {"podFailurePolicy": {"rules": rules}}})).unwrap();
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"namespace": "n", "name": "p"}, "status": status})).unwrap();
        assert_eq!(verdict(&job, &pod), expect);
    }

    fn exited(code: i64) -> Value {
        json!({"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": code}}}]})
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let codes = |action: &str, operator: &str, values: Value| json!({"action": action, "onExitCodes": {"operator": operator, "values": values}});
        let rules = json!([
            codes("FailJob", "In", json!([42])),
            codes("Ignore", "NotIn", json!([1]))
        ]);
        let message = "Container c for pod n/p failed with exit code 42 matching FailJob rule at index 0";
        check(rules.clone(), exited(42), Verdict::FailJob(message.into()));
        check(rules.clone(), exited(7), Verdict::Ignore);
        check(rules, exited(1), Verdict::Count);
        let disrupted =
            json!([{"action": "FailIndex", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]);
        let status =
            |status: &str| json!({"phase": "Failed", "conditions": [{"type": "DisruptionTarget", "status": status}]});
        check(disrupted.clone(), status("True"), Verdict::FailIndex);
        check(disrupted, status("False"), Verdict::Count);
        check(
            json!([{"action": "FailJob", "onExitCodes": {"containerName": "d", "operator": "In", "values": [42]}}]),
            exited(42),
            Verdict::Count,
        );
    }

    #[test]
    fn some_successes_may_be_enough() {
        let check = |rules: Value, done: &str, expect: Option<&str>| {
            let spec = json!({"spec": {"completions": 10, "successPolicy": {"rules": rules}}});
            let job: Job = serde_json::from_value(spec).unwrap();
            assert_eq!(enough(&job, &Indexes::read(done, 10)).as_deref(), expect);
        };
        let rules = json!([{"succeededIndexes": "0-2"}, {"succeededCount": 5}]);
        check(rules.clone(), "", None);
        check(rules.clone(), "0,1,5", None);
        check(rules.clone(), "0-2", Some("Matched rules at index 0"));
        check(rules, "3-7", Some("Matched rules at index 1"));
        check(
            json!([{"succeededIndexes": "0-2", "succeededCount": 1}]),
            "1",
            Some("Matched rules at index 0"),
        );
    }
}
