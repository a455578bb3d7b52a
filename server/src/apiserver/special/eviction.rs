//! `pods/eviction`: a deletion that respects PodDisruptionBudgets.

use std::sync::Arc;

use axum::body::Body;
use http::Response;
use mizzen_api::decode::Expected;
use mizzen_api::object::{Object, ObjectExt};
use mizzen_api::selector::LabelSelector;
use mizzen_api::status::{ApiError, ApiResult};
use serde_json::{Value, json};

use super::created;
use crate::apiserver::authorization::builtin_row;
use crate::apiserver::call::{Call, read_body};
use crate::apiserver::delete::{DeleteOptions, delete_one};
use crate::apiserver::write::{self, WriteOptions};
use crate::apiserver::{decode, meta};
use crate::cache::Reader;

/// How long a client waits before it asks again, as upstream.
const RETRY_SECONDS: u32 = 10;

/// Deletes the Pod if its budget allows.
pub(super) async fn evict(call: Arc<Call>, body: Body) -> ApiResult<Response<Body>> {
    let write_options = WriteOptions::read(&call, "CreateOptions")?;
    let bytes = read_body(body).await?;
    let expected = Expected {
        group: "policy",
        version: "v1",
        kind: "Eviction",
    };
    let eviction = decode::kind(&call, &bytes, expected, write_options.validation)?;
    if !matches!(eviction.name(), "") && eviction.name() != call.name() {
        return Err(ApiError::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let mut options = DeleteOptions::from_value(eviction.get("deleteOptions").cloned())?;
    if write_options.dry_run {
        options.make_dry_run();
    }
    let record = write::read(&call, call.name()).await?;
    let pod = write::load(&call.resource, &record)?;
    if !ignores_budgets(&pod)
        && let Some(budget) = budget_of(&call, &pod)?
        && !tolerated(&pod, &budget)
    {
        take(&call, &budget, &write_options).await?;
    }
    if !write_options.dry_run {
        mark(&call, &write_options).await?;
    }
    let pods = call.derive(call.resource.clone(), "", call.name());
    delete_one(&pods, call.name(), &options).await?;
    created(&call)
}

/// Says on the Pod why it goes, for whoever counts failures.
async fn mark(call: &Call, options: &WriteOptions) -> ApiResult<()> {
    let pods = call.derive(call.resource.clone(), "status", call.name());
    let marked = write::change(&pods, call.name(), options, |pod| {
        let mut pod = pod.clone();
        let status = pod.entry("status").or_insert_with(|| json!({}));
        if !status["conditions"].is_array() {
            status["conditions"] = json!([]);
        }
        let conditions = status["conditions"].as_array_mut().expect("just made a list");
        let is_same = |condition: &Value| condition["type"] == "DisruptionTarget";
        if !conditions.iter().any(|own| is_same(own) && own["status"] == "True") {
            conditions.retain(|own| !is_same(own));
            conditions.push(
                json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting", "lastTransitionTime": meta::now()}),
            );
        }
        Ok(pod)
    });
    marked.await.map(drop)
}

/// Pods that serve nobody, or go anyhow, are not counted.
fn ignores_budgets(pod: &Object) -> bool {
    let phase = pod
        .get("status")
        .and_then(|status| status["phase"].as_str())
        .unwrap_or_default();
    matches!(phase, "Succeeded" | "Failed" | "Pending") || !pod.meta_str("deletionTimestamp").is_empty()
}

fn budget_of(call: &Call, pod: &Object) -> ApiResult<Option<Object>> {
    let row = builtin_row("policy", "poddisruptionbudgets");
    let labels = pod
        .metadata()
        .and_then(|metadata| metadata.get("labels"))
        .and_then(Value::as_object);
    let mut found = None;
    for entry in call.server.cache.list(&row, Some(call.namespace())) {
        let budget = decode::stored(&entry.json)?;
        let selector = budget.get("spec").and_then(|spec| spec.get("selector"));
        let selects = LabelSelector::from_object(selector).is_ok_and(|selector| selector.matches(&labels));
        if selects && found.replace(budget).is_some() {
            return Err(ApiError::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    }
    Ok(found)
}

fn number(budget: &Object, field: &str) -> i64 {
    budget
        .get("status")
        .and_then(|status| status[field].as_i64())
        .unwrap_or_default()
}

/// Whether a Pod that is not ready may go without being counted.
fn tolerated(pod: &Object, budget: &Object) -> bool {
    let conditions = pod.get("status").and_then(|status| status["conditions"].as_array());
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Ready" && c["status"] == "True");
    let policy = budget
        .get("spec")
        .and_then(|spec| spec["unhealthyPodEvictionPolicy"].as_str());
    let (healthy, desired) = (number(budget, "currentHealthy"), number(budget, "desiredHealthy"));
    !ready && (policy == Some("AlwaysAllow") || (healthy >= desired && desired > 0))
}

/// Takes one disruption off the budget, or says that there is none.
async fn take(call: &Call, budget: &Object, options: &WriteOptions) -> ApiResult<()> {
    let budgets = call.derive(builtin_row("policy", "poddisruptionbudgets"), "status", budget.name());
    let pod = call.name();
    let taken = write::change(&budgets, budget.name(), options, |budget| {
        check(budget)?;
        let mut budget = budget.clone();
        let left = number(&budget, "disruptionsAllowed") - 1;
        let status = budget.entry("status").or_insert_with(|| json!({}));
        status["disruptionsAllowed"] = left.into();
        if !status["disruptedPods"].is_object() {
            status["disruptedPods"] = json!({});
        }
        status["disruptedPods"][pod] = meta::now().into();
        Ok(budget)
    });
    taken.await.map(drop)
}

fn check(budget: &Object) -> ApiResult<()> {
    let generation = budget
        .metadata()
        .and_then(|metadata| metadata.get("generation"))
        .and_then(Value::as_i64);
    let violation = "Cannot evict pod as it would violate the pod's disruption budget.";
    let cause = if number(budget, "observedGeneration") < generation.unwrap_or_default() {
        format!(
            "The disruption budget {} is still being processed by the server.",
            budget.name()
        )
    } else if number(budget, "disruptionsAllowed") <= 0 {
        format!(
            "The disruption budget {} needs {} healthy pods and has {} currently",
            budget.name(),
            number(budget, "desiredHealthy"),
            number(budget, "currentHealthy")
        )
    } else {
        return Ok(());
    };
    let mut error = ApiError::too_many_requests(violation, RETRY_SECONDS);
    let cause = json!({"reason": "DisruptionBudget", "message": cause});
    error.details = Some(Box::new(json!({"causes": [cause], "retryAfterSeconds": RETRY_SECONDS})));
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ready_may_go_when_the_budget_says_so() {
        let check = |ready: &str, policy: Value, (healthy, desired): (i64, i64), expect: bool| {
            let pod = json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}});
            let budget = json!({"spec": {"unhealthyPodEvictionPolicy": policy},
                "status": {"currentHealthy": healthy, "desiredHealthy": desired}});
            let (pod, budget) = (pod.as_object().expect("a Pod"), budget.as_object().expect("a budget"));
            assert_eq!(tolerated(pod, budget), expect, "{ready} {budget:?}");
        };
        let always = || json!("AlwaysAllow");
        check("True", always(), (3, 2), false);
        check("False", always(), (0, 2), true);
        for policy in [Value::Null, json!("IfHealthyBudget")] {
            check("False", policy.clone(), (2, 2), true);
            check("False", policy.clone(), (1, 2), false);
            check("False", policy.clone(), (0, 0), false);
            check("True", policy, (3, 2), false);
        }
    }
}
