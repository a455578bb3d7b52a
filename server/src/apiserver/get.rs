//! `get`: one object, as fresh as asked for.

use axum::body::Body;
use http::{Response, StatusCode};
use mizzen_api::status::{ApiError, ApiResult};

use super::call::Call;
use super::list::parse_version;

/// Answers with the object.
pub(super) async fn get(call: &Call) -> ApiResult<Response<Body>> {
    let fresh = match call.query.get("resourceVersion") {
        "" => call.server.cache.wait_fresh().await,
        version => call.server.cache.wait_for(parse_version(version)?).await,
    };
    fresh.map_err(|error| call.cache_error(error))?;
    let entry = call.server.cache.entry(&call.prefix(), &call.key(call.name()));
    let entry = entry.ok_or_else(|| ApiError::not_found(&call.resource, call.name()))?;
    call.object(StatusCode::OK, &entry.json)
}
