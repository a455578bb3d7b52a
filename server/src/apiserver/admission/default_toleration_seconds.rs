//! Lets Pods stay for five minutes on a node that stopped answering, unless they say otherwise.

use async_trait::async_trait;
use mizzen_api::status::ApiResult;
use serde_json::{Value, json};

use super::{Admission, AdmissionRequest, Operation, array_mut};

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const EFFECT: &str = "NoExecute";

/// The plugin.
pub struct DefaultTolerationSeconds;

#[async_trait]
impl Admission for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> ApiResult<()> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if !writes || !request.is("", "pods") || !request.subresource.is_empty() {
            return Ok(());
        }
        let Some(spec) = request.object_mut("spec") else {
            return Ok(());
        };
        let tolerations = spec.get("tolerations").and_then(Value::as_array);
        let missing: Vec<_> = TAINTS
            .into_iter()
            .filter(|taint| !tolerations.into_iter().flatten().any(|own| tolerates(own, taint)))
            .collect();
        for key in missing {
            array_mut(spec, "tolerations").push(json!({
                "key": key, "operator": "Exists", "effect": EFFECT, "tolerationSeconds": SECONDS,
            }));
        }
        Ok(())
    }
}

/// Whether the Pod already speaks of the taint; an empty key or effect stands for all.
fn tolerates(toleration: &Value, taint: &str) -> bool {
    let means = |field: &str, value: &str| {
        let own = toleration[field].as_str().unwrap_or_default();
        own.is_empty() || own == value
    };
    means("key", taint) && means("effect", EFFECT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::admission::testing::{Case, admit};

    async fn check(tolerations: Value, expect: &[(&str, Option<i64>)]) {
        let case = Case::create("pods").with(json!({"spec": {"tolerations": tolerations}}));
        let pod = admit(&DefaultTolerationSeconds, case).await.unwrap();
        let all = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        let all: Vec<_> = all
            .iter()
            .map(|t| (t["key"].as_str().unwrap_or_default(), t["tolerationSeconds"].as_i64()))
            .collect();
        assert_eq!(all, expect);
    }

    #[tokio::test]
    async fn tolerations_are_added_where_the_pod_says_nothing() {
        let both = [(TAINTS[0], Some(300)), (TAINTS[1], Some(300))];
        check(Value::Null, &both).await;
        check(json!([]), &both).await;
        check(json!([{"operator": "Exists"}]), &[("", None)]).await;
        check(
            json!([{"key": TAINTS[1], "effect": "NoExecute", "tolerationSeconds": 5}]),
            &[(TAINTS[1], Some(5)), both[0]],
        )
        .await;
        check(
            json!([{"key": TAINTS[0], "effect": "NoSchedule"}]),
            &[(TAINTS[0], None), both[0], both[1]],
        )
        .await;
    }
}
