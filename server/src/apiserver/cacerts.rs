//! `/cacerts`: the CA that clients should trust, for machines that know its hash. Anybody may ask.

use axum::body::Body;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use mizzen_api::status::{ApiError, ApiResult};

use super::{ApiServer, response};

/// Whether a path is answered here.
pub(super) fn concerns(path: &str) -> bool {
    path == "/cacerts"
}

/// Answers a request for it.
pub(super) fn answer(server: &ApiServer, parts: &Parts) -> ApiResult<Response<Body>> {
    match parts.method {
        Method::GET | Method::HEAD => Ok(response::text(StatusCode::OK, server.gates.server_ca_pem.clone())),
        _ => Err(ApiError::method_not_allowed()),
    }
}
