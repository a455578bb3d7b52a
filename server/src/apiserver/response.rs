//! Answers: objects, Statuses and text as HTTP responses.

use axum::body::Body;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY, WARNING};
use http::{Response, StatusCode};
use mizzen_api::status::{ApiError, ApiResult};
use serde_json::Value;

use super::gzip;
use super::negotiation::{Accept, Format};

/// From this size answers are compressed for those who take it, as upstream.
pub(super) const GZIP_MIN_BYTES: usize = 128 * 1024;

/// A JSON document in the form that the client accepts.
pub fn document(accept: Accept, code: StatusCode, json: Bytes) -> ApiResult<Response<Body>> {
    let bytes = match (accept.format, accept.pretty) {
        (Format::Json, false) => json,
        (Format::Json, true) => serde_json::to_vec_pretty(&parse(&json)?)
            .map_err(ApiError::internal)?
            .into(),
        (Format::Yaml, _) => serde_saphyr::to_string(&parse(&json)?)
            .map_err(ApiError::internal)?
            .into(),
    };
    let compress = accept.gzip && bytes.len() >= GZIP_MIN_BYTES;
    let body = if compress {
        Body::from(gzip::compress(&bytes))
    } else {
        Body::from(bytes)
    };
    Ok(with_body(accept.format, code, body, compress))
}

/// A response with this body, and the headers that say what it is.
pub(super) fn with_body(format: Format, code: StatusCode, body: Body, compressed: bool) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if compressed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    response
}

fn parse(json: &[u8]) -> ApiResult<Value> {
    serde_json::from_slice(json).map_err(ApiError::internal)
}

/// The Status of an error.
pub fn error(accept: Accept, error: &ApiError) -> Response<Body> {
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let status = error.to_status();
    let accept = Accept { gzip: false, ..accept };
    let mut response = document(accept, code, status.to_string().into()).unwrap_or_default();
    let seconds = status.pointer("/details/retryAfterSeconds").and_then(Value::as_u64);
    if let Some(seconds) = seconds.filter(|seconds| *seconds > 0) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Plain text.
pub fn text(code: StatusCode, text: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(text.into());
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// Adds `Warning` headers.
pub fn add_warnings(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let quoted: String = warning
            .chars()
            .flat_map(|c| match c {
                '"' | '\\' => vec!['\\', c],
                c if c.is_control() => vec![' '],
                c => vec![c],
            })
            .collect();
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
}
