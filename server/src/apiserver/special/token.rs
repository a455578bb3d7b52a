//! `serviceaccounts/token`: a token for a ServiceAccount.

use std::sync::Arc;

use axum::body::Body;
use http::{Response, StatusCode};
use jiff::Timestamp;
use mizzen_api::decode::Expected;
use mizzen_api::object::ObjectExt;
use mizzen_api::status::{ApiError, ApiResult};
use serde_json::Value;

use crate::apiserver::call::{Call, read_body};
use crate::apiserver::write::{self, WriteOptions};
use crate::apiserver::{decode, response};
use crate::cache::Reader;

const TOKEN_REQUEST: Expected<'static> = Expected {
    group: "authentication.k8s.io",
    version: "v1",
    kind: "TokenRequest",
};

/// Issues the token that the TokenRequest describes.
pub(super) async fn issue(call: Arc<Call>, body: Body) -> ApiResult<Response<Body>> {
    let options = WriteOptions::read(&call, "CreateOptions")?;
    let bytes = read_body(body).await?;
    let mut request = decode::kind(&call, &bytes, TOKEN_REQUEST, options.validation)?;
    if !request.name().is_empty() && request.name() != call.name() {
        return Err(ApiError::bad_request(
            "name in URL does not match name in TokenRequest object",
        ));
    }
    if !request.namespace().is_empty() && request.namespace() != call.namespace() {
        return Err(ApiError::bad_request(
            "namespace in URL does not match namespace in TokenRequest object",
        ));
    }
    write::admit_subresource(&call, &options, &mut request).await?;
    // The account, or the Pod to bind to, may have been created a moment ago.
    Reader::fresh(&*call.server.cache).await;
    let tokens = &call.server.gates.tokens;
    let mut answer = tokens.issue(call.namespace(), call.name(), request, Timestamp::now())?;
    if options.dry_run
        && let Some(Value::Object(status)) = answer.get_mut("status")
    {
        status.insert("token".into(), "".into());
    }
    response::document(
        call.accept,
        StatusCode::CREATED,
        Value::Object(answer).to_string().into(),
    )
}
