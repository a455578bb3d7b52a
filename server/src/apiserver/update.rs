//! `update`: the whole object anew.

use axum::body::Body;
use http::{Response, StatusCode};
use mizzen_api::object::{Object, ObjectExt};
use mizzen_api::status::{ApiError, ApiResult};

use super::call::{Call, read_body};
use super::decode;
use super::write::{self, WriteOptions};
use crate::kinds::rules;

/// Replaces the object by the one in the body.
pub(super) async fn update(call: &Call, body: Body) -> ApiResult<Response<Body>> {
    let options = WriteOptions::read(call, "UpdateOptions")?;
    let bytes = read_body(body).await?;
    let mut object = decode::body(call, &options, &bytes)?;
    check_name(call, &mut object)?;
    let name = call.name();
    let record = match write::read(call, name).await {
        Ok(record) => record,
        Err(error) if error.code == 404 && may_create(call, &object) => {
            call.require("create").await?;
            object.metadata_mut().remove("resourceVersion");
            let json = write::create(call, object, &options).await?;
            return call.object(StatusCode::CREATED, &json);
        }
        Err(error) => return Err(error),
    };
    let json = write::change_from(call, record, name, &options, |_| Ok(object.clone())).await?;
    call.object(StatusCode::OK, &json)
}

/// Some kinds are created by an update, unless it says that it knows the object.
fn may_create(call: &Call, object: &Object) -> bool {
    rules::created_by_update(&call.resource) && call.subresource().is_empty() && object.uid().is_empty()
}

/// Puts the path's name into the object, or refuses another one.
pub(super) fn check_name(call: &Call, object: &mut Object) -> ApiResult<()> {
    let (name, sent) = (call.name(), object.name());
    if sent.is_empty() {
        object.metadata_mut().insert("name".into(), name.into());
    } else if sent != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({sent}) does not match the name on the URL ({name})"
        )));
    }
    Ok(())
}
