//! `create`: a new object, or the answer to a review.

use axum::body::Body;
use http::{Response, StatusCode};
use mizzen_api::status::ApiResult;

use super::call::{Call, read_body};
use super::decode;
use super::write::{self, WriteOptions};

/// Stores the object in the body.
pub(super) async fn create(call: &Call, body: Body) -> ApiResult<Response<Body>> {
    let options = WriteOptions::read(call, "CreateOptions")?;
    let bytes = read_body(body).await?;
    let object = decode::body(call, &options, &bytes)?;
    let json = write::create(call, object, &options).await?;
    call.object(StatusCode::CREATED, &json)
}
