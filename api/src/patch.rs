//! Patches of three kinds (JSON patch, merge patch, strategic merge patch) to one outcome: an object that
//! is checked against the schema like any request body, or upstream's error.
//!
//! Server-side apply is the fourth kind; it lives in [`crate::managed`] because it needs owners of fields.

use serde_json::Value;

mod strategic;

use crate::decode::{self, Decoded, Expected, FieldValidation, typed::Problems};
use crate::object::Object;
use crate::status::{ApiError, ApiResult, FieldError};

/// Upstream's limit on the operations of one JSON patch.
const MAX_OPERATIONS: usize = 10_000;
/// How much `copy` operations may add to an object: what a whole request may weigh.
const MAX_COPIED: usize = 3 << 20;
/// How deep an object may nest.
const MAX_DEPTH: usize = 128;

/// The media types that PATCH takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Lists merge by keys that the schema knows.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl PatchType {
    /// Reads a `Content-Type`. Kinds without a schema have no strategic merge patch.
    pub fn of(content_type: &str, expected: Expected<'_>) -> ApiResult<Self> {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let typed = expected.schema().is_some();
        match media_type {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" if typed => Ok(Self::Strategic),
            "application/apply-patch+yaml" => Ok(Self::Apply),
            _ => {
                let strategic = if typed {
                    "application/strategic-merge-patch+json, "
                } else {
                    ""
                };
                Err(ApiError::unsupported_media_type(format!(
                    "the body of the request was in an unknown format - accepted media types include: \
                     application/json-patch+json, application/merge-patch+json, {strategic}application/apply-patch+yaml"
                )))
            }
        }
    }
}

/// Applies a patch that is not server-side apply to `live`.
pub fn patch(
    patch_type: PatchType,
    body: &[u8],
    live: &Object,
    expected: Expected<'_>,
    mode: FieldValidation,
) -> ApiResult<Decoded> {
    let mut problems = Problems::default();
    let (patched, shown) = match patch_type {
        PatchType::Json => (json(body, live)?, None),
        PatchType::Merge => {
            let patch = decode::patch_map(body, &mut problems)
                .map_err(|why| ApiError::bad_request(format!("error decoding patch: {why}")))?;
            let mut patched = Value::Object(live.clone());
            json_patch::merge(&mut patched, &Value::Object(patch));
            (patched, None)
        }
        PatchType::Strategic => {
            let patch = decode::patch_map(body, &mut problems).map_err(ApiError::bad_request)?;
            let shown = go_print(&Value::Object(patch.clone()));
            let ty = expected
                .schema()
                .ok_or_else(|| ApiError::bad_request(strategic::UNSUPPORTED))?;
            (strategic::merge(ty, live.clone(), patch)?.into(), Some(shown))
        }
        PatchType::Apply => return Err(ApiError::internal("an apply is no patch of bytes")),
    };
    let shown = shown.unwrap_or_else(|| patched.to_string());
    let Value::Object(patched) = patched else {
        return Err(refused(&shown, "json: cannot unmarshal the outcome into an object"));
    };
    check_identity(&patched, live)?;
    let object = decode::conform_noting(patched, expected, &mut problems).map_err(|why| refused(&shown, &why))?;
    match mode {
        FieldValidation::Strict if !problems.strict.is_empty() => {
            let why = format!("strict decoding error: {}", problems.strict.join(", "));
            Err(refused(&shown, &why))
        }
        FieldValidation::Warn => Ok(Decoded {
            object,
            warnings: problems.strict,
        }),
        FieldValidation::Strict | FieldValidation::Ignore => Ok(Decoded {
            object,
            warnings: Vec::new(),
        }),
    }
}

/// A patch cannot make an object one of another kind.
fn check_identity(patched: &Object, live: &Object) -> ApiResult<()> {
    for key in ["apiVersion", "kind"] {
        let (before, after) = (live.get(key), patched.get(key));
        if after.is_some_and(|a| !a.is_null()) && after != before {
            let text = |v: Option<&Value>| v.and_then(Value::as_str).unwrap_or_default().to_owned();
            return Err(ApiError::bad_request(format!(
                "the {key} in the data ({}) does not match the expected {key} ({})",
                text(after),
                text(before)
            )));
        }
    }
    Ok(())
}

fn json(body: &[u8], live: &Object) -> ApiResult<Value> {
    let operations: json_patch::Patch =
        serde_json::from_slice(body).map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
    if operations.0.len() > MAX_OPERATIONS {
        return Err(ApiError::new(
            413,
            "RequestEntityTooLarge",
            format!(
                "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
                operations.0.len()
            ),
        ));
    }
    let mut object = Value::Object(live.clone());
    let mut copied = 0;
    for operation in operations.0 {
        copied += check_growth(&operation, &object)?;
        if copied > MAX_COPIED {
            return Err(rejected());
        }
        json_patch::patch(&mut object, &[operation]).map_err(|_| rejected())?;
    }
    Ok(object)
}

/// How many bytes an operation copies. Operations can nest what they add in what others added: the depth
/// that a body may have holds for their outcome too.
fn check_growth(operation: &json_patch::PatchOperation, object: &Value) -> ApiResult<usize> {
    use json_patch::PatchOperation as Op;
    let (path, value) = match operation {
        Op::Add(op) => (&op.path, Some(&op.value)),
        Op::Replace(op) => (&op.path, Some(&op.value)),
        Op::Copy(op) => (&op.path, op.from.resolve(object).ok()),
        Op::Move(op) => (&op.path, op.from.resolve(object).ok()),
        Op::Remove(_) | Op::Test(_) => return Ok(0),
    };
    let left = MAX_DEPTH.checked_sub(path.count()).ok_or_else(rejected)?;
    match (operation, value) {
        (_, Some(value)) if deeper(value, left) => Err(rejected()),
        (Op::Copy(_), Some(value)) => Ok(value.to_string().len()),
        _ => Ok(0),
    }
}

fn deeper(value: &Value, left: usize) -> bool {
    let Some(left) = left.checked_sub(1) else {
        return true;
    };
    match value {
        Value::Array(items) => items.iter().any(|v| deeper(v, left)),
        Value::Object(map) => map.values().any(|v| deeper(v, left)),
        _ => false,
    }
}

/// 422 of a patch that does not fit the object, in the generic words that upstream has for it.
fn rejected() -> ApiError {
    ApiError {
        details: Some(Box::new(serde_json::json!({}))),
        ..ApiError::new(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )
    }
}

/// 422 of a patch whose outcome cannot be read as the kind.
fn refused(shown: &str, why: &str) -> ApiError {
    let error = FieldError::invalid("patch", shown, why);
    let causes =
        serde_json::json!({"causes": [{"reason": "FieldValueInvalid", "message": error.message(), "field": "patch"}]});
    ApiError {
        details: Some(Box::new(causes)),
        ..ApiError::new(422, "Invalid", format!(" \"\" is invalid: {error}"))
    }
}

/// A value as Go's `%+v` prints it: how upstream shows a patch in an error.
fn go_print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_print).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            let entries: Vec<_> = entries.iter().map(|(k, v)| format!("{k}:{}", go_print(v))).collect();
            format!("map[{}]", entries.join(" "))
        }
    }
}

#[cfg(test)]
mod tests;
