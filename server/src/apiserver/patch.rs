//! `patch`: JSON, merge, strategic merge and apply patches.

use axum::body::{Body, Bytes};
use http::{Response, StatusCode};
use mizzen_api::decode::Expected;
use mizzen_api::object::Object;
use mizzen_api::patch::{self, PatchType};
use mizzen_api::status::ApiResult;

use super::call::{Call, read_body};
use super::decode;
use super::write::{self, WriteOptions};

/// A patch of some form.
#[derive(Debug)]
pub(super) struct Patch {
    form: PatchType,
    body: Bytes,
}

impl Patch {
    /// Takes the body as what its content type says.
    pub(super) fn read(call: &Call, body: Bytes, expected: Expected<'_>) -> ApiResult<Self> {
        let form = PatchType::of(decode::content_type(call), expected)?;
        Ok(Self { form, body })
    }

    /// The object with the patch applied.
    pub(super) fn apply(
        &self,
        call: &Call,
        live: &Object,
        expected: Expected<'_>,
        options: &WriteOptions,
    ) -> ApiResult<Object> {
        let decoded = patch::patch(self.form, &self.body, live, expected, options.validation)?;
        Ok(decode::take(call, decoded))
    }
}

/// Changes the object as the patch in the body says.
pub(super) async fn patch(call: &Call, body: Body) -> ApiResult<Response<Body>> {
    let options = WriteOptions::read(call, "PatchOptions")?;
    let expected = Expected::from(&*call.resource);
    let patch = Patch::read(call, read_body(body).await?, expected)?;
    let json = write::change(call, call.name(), &options, |old| {
        patch.apply(call, old, expected, &options)
    })
    .await?;
    call.object(StatusCode::OK, &json)
}
