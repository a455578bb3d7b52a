//! `patch`: JSON, merge, strategic merge and apply patches.

use axum::body::{Body, Bytes};
use http::{Response, StatusCode};
use mizzen_api::decode::{self as codec, Expected, FieldValidation};
use mizzen_api::managed::{self, Apply, Writer};
use mizzen_api::object::{Object, ObjectExt};
use mizzen_api::patch::{self, PatchType};
use mizzen_api::status::{ApiError, ApiResult, FieldError};

use super::call::{Call, read_body};
use super::write::{self, WriteOptions};
use super::{decode, meta};

/// A patch of some form, and how it is to be applied.
#[derive(Debug)]
pub(super) struct Patch<'a> {
    form: PatchType,
    body: Bytes,
    expected: Expected<'a>,
    /// What the configuration of an apply says.
    config: Object,
    pub(super) options: WriteOptions,
}

impl<'a> Patch<'a> {
    /// Takes the body as what its content type says.
    pub(super) async fn read(call: &Call, body: Body, expected: Expected<'a>) -> ApiResult<Self> {
        let form = PatchType::of(decode::content_type(call), expected)?;
        let mut options = WriteOptions::read(call, "PatchOptions")?;
        options.applies = form == PatchType::Apply;
        check_options(call, options.applies)?;
        let body = read_body(body).await?;
        let config = match form {
            PatchType::Apply => decode::take(call, codec::decode_apply(&body, expected, options.validation)?),
            _ => Object::new(),
        };
        Ok(Self {
            form,
            body,
            expected,
            config,
            options,
        })
    }

    /// The object with the patch applied; only an apply makes one out of nothing.
    pub(super) fn apply(&self, call: &Call, live: Option<&Object>) -> ApiResult<Object> {
        let Some(live) = live.filter(|_| self.form != PatchType::Apply) else {
            return self.apply_config(call, live);
        };
        let decoded = patch::patch(self.form, &self.body, live, self.expected, self.options.validation)?;
        Ok(decode::take(call, decoded))
    }

    fn apply_config(&self, call: &Call, live: Option<&Object>) -> ApiResult<Object> {
        let object = managed::apply(Apply {
            live,
            config: &self.config,
            expected: self.expected,
            writer: Writer {
                manager: &self.options.field_manager,
                subresource: call.subresource(),
                now: &meta::now(),
            },
            force: self.options.force,
        })?;
        // What was unknown has been reported when the configuration was read.
        Ok(codec::conform(object, self.expected, FieldValidation::Ignore)?.object)
    }
}

fn check_options(call: &Call, applies: bool) -> ApiResult<()> {
    let query = &call.query;
    let error = if applies && query.get("fieldManager").is_empty() {
        FieldError::required("fieldManager", "is required for apply patch")
    } else if !applies && query.has("force") {
        FieldError::forbidden("force", "may not be specified for non-apply patch")
    } else {
        return Ok(());
    };
    Err(ApiError::invalid_options("PatchOptions", &[error]))
}

/// Changes the object as the patch in the body says.
pub(super) async fn patch(call: &Call, body: Body) -> ApiResult<Response<Body>> {
    let patch = Patch::read(call, body, (&*call.resource).into()).await?;
    let name = call.name();
    let record = match write::read(call, name).await {
        Ok(record) => record,
        Err(error) if error.code == 404 && patch.options.applies && call.subresource().is_empty() => {
            match create(call, &patch).await {
                // Somebody was quicker: then it is there to be changed.
                Err(error) if error.reason == "AlreadyExists" => write::read(call, name).await?,
                answer => return answer,
            }
        }
        Err(error) => return Err(error),
    };
    let json = write::change_from(call, record, name, &patch.options, |old| patch.apply(call, Some(old))).await?;
    call.object(StatusCode::OK, &json)
}

async fn create(call: &Call, patch: &Patch<'_>) -> ApiResult<Response<Body>> {
    let mut object = patch.apply(call, None)?;
    if !object.uid().is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {}, and no existing object was found",
            object.uid()
        );
        return Err(ApiError::conflict(&call.resource, call.name(), why));
    }
    super::update::check_name(call, &mut object)?;
    let json = write::create(call, object, &patch.options).await?;
    call.object(StatusCode::CREATED, &json)
}
