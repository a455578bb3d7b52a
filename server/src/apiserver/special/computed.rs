//! Resources that are computed when they are read: somebody in the process knows the answer.

use std::sync::Arc;

use axum::body::Body;
use http::{Response, StatusCode};
use mizzen_api::status::{ApiError, ApiResult};
use serde_json::{Value, json};

use crate::apiserver::call::Call;
use crate::apiserver::response;

/// Who knows the objects of a resource.
pub trait Computed: Send + Sync {
    /// One object.
    fn get(&self, namespace: &str, name: &str) -> Option<Value>;
    /// All objects, or those of one namespace.
    fn list(&self, namespace: Option<&str>) -> Vec<Value>;
}

/// Answers `get` and `list`.
pub(super) async fn answer(call: Arc<Call>) -> ApiResult<Response<Body>> {
    let resource = &call.resource;
    let Some(source) = call.server.computed(&resource.group, &resource.plural) else {
        return Err(ApiError::new(
            503,
            "ServiceUnavailable",
            format!("{} are known to another server", resource.qualified_name()),
        ));
    };
    let answer = if call.info.attributes.verb == "list" {
        let namespace = Some(call.namespace()).filter(|namespace| !namespace.is_empty());
        json!({
            "kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(),
            "metadata": {"resourceVersion": "0"}, "items": source.list(namespace),
        })
    } else {
        let found = source.get(call.namespace(), call.name());
        found.ok_or_else(|| ApiError::not_found(resource, call.name()))?
    };
    response::document(call.accept, StatusCode::OK, answer.to_string().into())
}
