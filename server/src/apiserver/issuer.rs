//! OpenID Connect discovery, by which others can check ServiceAccount tokens.

use axum::body::Body;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};

use super::{ApiServer, response};

/// Answers the two paths of the issuer.
pub(super) fn answer(server: &ApiServer, path: &str) -> Option<Response<Body>> {
    let gates = &server.gates;
    let (document, content_type) = match path {
        "/.well-known/openid-configuration" => (gates.tokens.discovery(&gates.server_url), "application/json"),
        "/openid/v1/jwks" => (gates.tokens.key_set(), "application/jwk-set+json"),
        _ => return None,
    };
    let mut answer = response::text(StatusCode::OK, document.to_string());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    Some(answer)
}
