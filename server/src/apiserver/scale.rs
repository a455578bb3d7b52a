//! The `scale` subresource: one kind for everything that has replicas.

use axum::body::Body;
use http::{Response, StatusCode};
use mizzen_api::decode::Expected;
use mizzen_api::object::{Object, ObjectExt, encode, splice_revision};
use mizzen_api::selector::LabelSelector;
use mizzen_api::status::{ApiError, ApiResult, FieldError};
use serde_json::{Value, json};

use super::call::{Call, read_body};
use super::patch::Patch;
use super::write::{self, WriteOptions};
use super::{decode, response, update};

const SCALE: Expected<'static> = Expected {
    group: "autoscaling",
    version: "v1",
    kind: "Scale",
};

/// Reads or changes the scale of an object.
pub(super) async fn scale(call: &Call, body: Body) -> ApiResult<Response<Body>> {
    let json = match &*call.info.attributes.verb {
        "get" => {
            call.server
                .cache
                .wait_fresh()
                .await
                .map_err(|error| call.cache_error(error))?;
            let entry = call.server.cache.entry(&call.prefix(), &call.key(call.name()));
            entry
                .ok_or_else(|| ApiError::not_found(&call.resource, call.name()))?
                .json
                .clone()
        }
        "update" => replace(call, body).await?,
        _ => patch(call, body).await?,
    };
    let scale = of(&decode::stored(&json)?);
    let revision = scale.resource_version().parse().unwrap_or_default();
    response::document(call.accept, StatusCode::OK, splice_revision(&encode(&scale), revision))
}

async fn replace(call: &Call, body: Body) -> ApiResult<axum::body::Bytes> {
    let options = WriteOptions::read(call, "UpdateOptions")?;
    let bytes = read_body(body).await?;
    let mut scale = decode::kind(call, &bytes, SCALE, options.validation)?;
    update::check_name(call, &mut scale)?;
    write::change(call, call.name(), &options, |old| put_into(call, old, &scale)).await
}

async fn patch(call: &Call, body: Body) -> ApiResult<axum::body::Bytes> {
    let patch = Patch::read(call, body, SCALE).await?;
    // The fields of the Scale are managed as those of the object that they stand for.
    let options = WriteOptions {
        applies: false,
        ..patch.options.clone()
    };
    write::change(call, call.name(), &options, |old| {
        let scale = patch.apply(call, Some(&of(old)))?;
        put_into(call, old, &scale)
    })
    .await
}

/// The Scale of an object.
fn of(object: &Object) -> Object {
    let get = |part: &str, field: &str| {
        object
            .get(part)
            .and_then(|part| part.get(field))
            .and_then(Value::as_i64)
    };
    let selector = object.get("spec").and_then(|spec| spec.get("selector"));
    // A ReplicationController's selector is a plain map of labels.
    let selector = match selector {
        Some(Value::Object(map)) if !map.contains_key("matchLabels") && !map.contains_key("matchExpressions") => {
            LabelSelector::from_map(Some(map))
        }
        selector => LabelSelector::from_object(selector).unwrap_or_default(),
    };
    let mut metadata = Object::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.metadata().and_then(|metadata| metadata.get(key)) {
            metadata.insert(key.into(), value.clone());
        }
    }
    let scale = json!({
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": metadata,
        "spec": {"replicas": get("spec", "replicas").unwrap_or(1)},
        "status": {"replicas": get("status", "replicas").unwrap_or_default(), "selector": selector.to_string()},
    });
    let Value::Object(scale) = scale else {
        unreachable!("an object was just made")
    };
    scale
}

/// The object scaled as the Scale says.
fn put_into(call: &Call, old: &Object, scale: &Object) -> ApiResult<Object> {
    let replicas = scale
        .get("spec")
        .and_then(|spec| spec.get("replicas"))
        .and_then(Value::as_i64)
        .unwrap_or_default();
    if replicas < 0 {
        let error = FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
        return Err(ApiError::invalid_kind("Scale", "autoscaling", call.name(), &[error]));
    }
    let mut object = old.clone();
    for key in ["uid", "resourceVersion"] {
        if let Some(value) = scale
            .metadata()
            .and_then(|metadata| metadata.get(key))
            .filter(|value| *value != "")
        {
            object.metadata_mut().insert(key.into(), value.clone());
        }
    }
    if let Some(Value::Object(spec)) = object.get_mut("spec") {
        spec.insert("replicas".into(), replicas.into());
    }
    Ok(object)
}
