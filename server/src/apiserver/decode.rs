//! Bodies become objects here.

use axum::body::Bytes;
use http::header::CONTENT_TYPE;
use mizzen_api::decode::{self, Decoded, Expected, FieldValidation};
use mizzen_api::object::Object;
use mizzen_api::status::{ApiError, ApiResult};

use super::call::Call;
use super::write::WriteOptions;

/// The object of a stored document.
pub(super) fn stored(json: &[u8]) -> ApiResult<Object> {
    serde_json::from_slice(json).map_err(ApiError::internal)
}

/// The object that a client sent for the call's resource.
pub(super) fn body(call: &Call, options: &WriteOptions, bytes: &Bytes) -> ApiResult<Object> {
    let decoded = decode::decode(content_type(call), bytes, &call.resource, options.validation)?;
    Ok(take(call, decoded))
}

/// An object of another kind that a client sent.
pub fn kind(call: &Call, bytes: &Bytes, expected: Expected<'_>, validation: FieldValidation) -> ApiResult<Object> {
    let decoded = decode::decode_kind(content_type(call), bytes, expected, validation)?;
    Ok(take(call, decoded))
}

/// The object, its warnings passed on.
pub(super) fn take(call: &Call, decoded: Decoded) -> Object {
    for warning in decoded.warnings {
        call.warn(warning);
    }
    decoded.object
}

/// Content type of the body.
pub(super) fn content_type(call: &Call) -> &str {
    let value = call
        .parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}
