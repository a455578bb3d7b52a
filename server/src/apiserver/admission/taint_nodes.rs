//! Keeps Pods off a new node until it is known to be ready.

use async_trait::async_trait;
use mizzen_api::status::ApiResult;
use serde_json::json;

use super::{Admission, AdmissionRequest, Operation, array_mut};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// The plugin.
pub struct TaintNodesByCondition;

#[async_trait]
impl Admission for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> ApiResult<()> {
        let creates = request.operation == Operation::Create && request.subresource.is_empty();
        if !creates || !request.is("", "nodes") {
            return Ok(());
        }
        if let Some(spec) = request.object_mut("spec") {
            let taints = array_mut(spec, "taints");
            let has = taints
                .iter()
                .any(|t| t["key"] == NOT_READY && t["effect"] == "NoSchedule");
            if !has {
                taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::admission::testing::{Case, admit};

    #[tokio::test]
    async fn a_new_node_is_tainted_once() {
        let taint = json!([{"key": NOT_READY, "effect": "NoSchedule"}]);
        for spec in [
            json!(null),
            json!({}),
            json!({"taints": null}),
            json!({"taints": taint}),
        ] {
            let node = admit(
                &TaintNodesByCondition,
                Case::create("nodes").with(json!({"spec": spec})),
            )
            .await;
            assert_eq!(node.unwrap()["spec"]["taints"], taint);
        }
        let update = Case::create("nodes").operation(Operation::Update);
        assert_eq!(
            admit(&TaintNodesByCondition, update).await.unwrap()["spec"],
            json!(null)
        );
    }
}
