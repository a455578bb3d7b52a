//! `pods/binding`: the scheduler's decision.

use std::sync::Arc;

use axum::body::Body;
use http::Response;
use mizzen_api::decode::Expected;
use mizzen_api::object::{Object, ObjectExt};
use mizzen_api::status::{ApiError, ApiResult, FieldError};
use serde_json::{Value, json};

use super::created;
use crate::apiserver::authorization::builtin_row;
use crate::apiserver::call::{Call, read_body};
use crate::apiserver::write::{self, WriteOptions};
use crate::apiserver::{decode, meta};

/// Gives the Pod to the node that the Binding names.
pub(super) async fn bind(call: Arc<Call>, body: Body) -> ApiResult<Response<Body>> {
    let options = WriteOptions::read(&call, "CreateOptions")?;
    let bytes = read_body(body).await?;
    let expected = Expected {
        group: "",
        version: "v1",
        kind: "Binding",
    };
    let binding = decode::kind(&call, &bytes, expected, options.validation)?;
    let name = if call.name().is_empty() {
        binding.name()
    } else {
        call.name()
    }
    .to_owned();
    if !matches!(binding.name(), "") && binding.name() != name {
        return Err(ApiError::bad_request(
            "name in URL does not match name in Binding object",
        ));
    }
    let node = target(&binding)?;
    let pods = call.derive(builtin_row("", "pods"), "binding", &name);
    write::change(&pods, &name, &options, |old| assign(&pods, old, &binding, &node)).await?;
    created(&call)
}

fn target(binding: &Object) -> ApiResult<String> {
    let text = |key: &str| {
        binding
            .get("target")
            .and_then(|target| target[key].as_str())
            .unwrap_or_default()
    };
    let mut errors = Vec::new();
    if !matches!(text("kind"), "" | "Node") {
        errors.push(FieldError::not_supported(
            "target.kind",
            text("kind"),
            &["Node", "<empty>"],
        ));
    }
    if text("name").is_empty() {
        errors.push(FieldError::required("target.name", ""));
    }
    if errors.is_empty() {
        return Ok(text("name").to_owned());
    }
    Err(ApiError::invalid_kind("Binding", "", binding.name(), &errors))
}

fn assign(pods: &Call, old: &Object, binding: &Object, node: &str) -> ApiResult<Object> {
    let name = old.name();
    let conflict = |why: String| Err(ApiError::conflict(&pods.resource, name, why));
    for (what, wanted, found) in [
        ("UID", binding.uid(), old.uid()),
        ("ResourceVersion", binding.resource_version(), old.resource_version()),
    ] {
        if !wanted.is_empty() && wanted != found {
            return conflict(format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
            ));
        }
    }
    if !old.meta_str("deletionTimestamp").is_empty() {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let spec = old.get("spec").unwrap_or(&Value::Null);
    match spec["nodeName"].as_str() {
        None | Some("") => {}
        Some(taken) => return conflict(format!("pod {name} is already assigned to node {taken:?}")),
    }
    if spec["schedulingGates"]
        .as_array()
        .is_some_and(|gates| !gates.is_empty())
    {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut object = old.clone();
    for map in ["annotations", "labels"] {
        let Some(Value::Object(more)) = binding.metadata().and_then(|metadata| metadata.get(map)) else {
            continue;
        };
        let into = object
            .metadata_mut()
            .entry(map)
            .or_insert_with(|| Value::Object(Object::new()));
        if let Some(into) = into.as_object_mut() {
            into.extend(more.clone());
        }
    }
    if let Some(Value::Object(spec)) = object.get_mut("spec") {
        spec.insert("nodeName".into(), node.into());
    }
    let status = object.entry("status").or_insert_with(|| Value::Object(Object::new()));
    let scheduled =
        json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": meta::now()});
    set_condition(status, scheduled);
    Ok(object)
}

fn set_condition(status: &mut Value, condition: Value) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else {
        return;
    };
    match conditions.iter_mut().find(|old| old["type"] == condition["type"]) {
        Some(old) if old["status"] == condition["status"] => {}
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
}
