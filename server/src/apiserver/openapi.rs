//! `/openapi/v2` and `/openapi/v3`: documents made when somebody asks, and cached by those who did.

use axum::body::Body;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION, VARY};
use http::request::Parts;
use http::{Response, StatusCode};
use mizzen_api::openapi;
use mizzen_api::status::{ApiError, ApiResult};

use super::ApiServer;
use super::discovery::GIT_VERSION;
use super::negotiation::{Accept, accepts_gzip};
use super::query::Query;
use super::{gzip, response};

const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// How older clients, kubectl among them, spell the same.
const V2_PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// Answers if the path is one of OpenAPI's.
pub(super) async fn answer(server: &ApiServer, parts: &Parts, query: &Query) -> ApiResult<Option<Response<Body>>> {
    let registry = server.registry();
    let path = parts.uri.path().trim_end_matches('/');
    if path == "/openapi/v3" {
        let accept = Accept::negotiate(&parts.headers, query, false)?;
        let index = openapi::index(&registry).to_string();
        return response::document(accept, StatusCode::OK, index.into()).map(Some);
    }
    if path == "/openapi/v2" {
        let protobuf = wants_v2_protobuf(parts);
        let make = move || match protobuf {
            true => openapi::v2_protobuf(&registry, GIT_VERSION),
            false => openapi::v2(&registry, GIT_VERSION),
        };
        let content_type = if protobuf { V2_PROTOBUF } else { "application/json" };
        return document(parts, content_type, make).await.map(Some);
    }
    let Some(path) = path.strip_prefix("/openapi/v3/").map(str::to_owned) else {
        return Ok(None);
    };
    let hash = openapi::hash(&registry, &path);
    let asked = query.get("hash");
    if !asked.is_empty() && asked != hash {
        return moved(&format!("/openapi/v3/{path}?hash={hash}")).map(Some);
    }
    let etag = format!("\"{hash}\"");
    let known = parts
        .headers
        .get(IF_NONE_MATCH)
        .is_some_and(|v| v.as_bytes() == etag.as_bytes());
    let served = registry.iter().any(|row| openapi::path_of(row) == path);
    let mut response = if !served {
        return Ok(None);
    } else if known {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let make = move || openapi::group_version(&registry, &path, GIT_VERSION).unwrap_or_default();
        document(parts, "application/json", make).await?
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(ETAG, etag);
    }
    // Under its hash a document never changes.
    if !asked.is_empty() {
        let forever = HeaderValue::from_static("public, immutable, max-age=31536000");
        headers.insert(CACHE_CONTROL, forever);
    }
    Ok(Some(response))
}

fn wants_v2_protobuf(parts: &Parts) -> bool {
    let accept = parts.headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok());
    let mut clauses = accept
        .flat_map(|v| v.split(','))
        .map(|c| c.split(';').next().unwrap_or_default().trim());
    clauses.any(|c| c == V2_PROTOBUF || c == V2_PROTOBUF_OLD)
}

/// Makes a document away from the threads that serve, and compresses it for those who take it.
async fn document(
    parts: &Parts,
    content_type: &'static str,
    make: impl FnOnce() -> Vec<u8> + Send + 'static,
) -> ApiResult<Response<Body>> {
    let compress = accepts_gzip(&parts.headers);
    let made = tokio::task::spawn_blocking(move || match compress {
        true => gzip::compress(&make()),
        false => make().into(),
    });
    let mut response = Response::new(Body::from(made.await.map_err(ApiError::internal)?));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if compress {
        headers.insert(http::header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

fn moved(location: &str) -> ApiResult<Response<Body>> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let location = HeaderValue::from_str(location).map_err(|_| ApiError::no_such_path())?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}
