//! Resources that are computed when they are read: somebody in the process knows the answer.

use std::sync::Arc;

use axum::body::Body;
use http::{Response, StatusCode};
use mizzen_api::status::{ApiError, ApiResult};
use serde_json::{Value, json};

use crate::apiserver::call::Call;
use crate::apiserver::{response, view};
use crate::cache::View;

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
    if call.info.attributes.verb == "list" {
        let namespace = Some(call.namespace()).filter(|namespace| !namespace.is_empty());
        return list(&call, &source.list(namespace));
    }
    let found = source.get(call.namespace(), call.name());
    object(&call, &found.ok_or_else(|| ApiError::not_found(resource, call.name()))?)
}

/// One object as the answer, in the form that is asked for.
pub(super) fn object(call: &Call, object: &Value) -> ApiResult<Response<Body>> {
    call.object(StatusCode::OK, &object.to_string().into())
}

/// A list as the answer, in the form that is asked for.
pub(super) fn list(call: &Call, items: &[Value]) -> ApiResult<Response<Body>> {
    let resource = &call.resource;
    let json = match call.accept.view {
        View::Table(include) => {
            let row = |item: &Value| view::row(call, include, &item.to_string().into());
            let rows: Vec<_> = items.iter().map(row).collect::<ApiResult<_>>()?;
            view::whole_table(call, None, true, &rows)
        }
        View::Object | View::Metadata => {
            let list = json!({
                "kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(),
                "metadata": {"resourceVersion": "0"}, "items": items,
            });
            list.to_string().into()
        }
    };
    response::document(call.accept, StatusCode::OK, json)
}
