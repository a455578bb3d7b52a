//! Short ways into the JSON of objects, for code that only looks: columns, descriptions, relations.
//!
//! Paths are JSON pointers (`/spec/nodeName`). What is absent or of another type reads as empty, so
//! that any object of any server can be shown.

use jiff::Timestamp;
use serde_json::Value;

use crate::duration;
use crate::object::Object;
use crate::quantity::Quantity;
use crate::selector::LabelSelector;

/// What stands for nothing in output.
pub const NONE: &str = "<none>";

/// The text at a path; empty when there is none.
pub fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// The text at a path, or another when there is none.
pub fn text_or<'a>(object: &'a Value, path: &str, other: &'a str) -> &'a str {
    match text(object, path) {
        "" => other,
        text => text,
    }
}

/// The number at a path; zero when there is none.
pub fn int(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or_default()
}

/// The number at a path.
pub fn int_opt(object: &Value, path: &str) -> Option<i64> {
    object.pointer(path).and_then(Value::as_i64)
}

/// The flag at a path; false when there is none.
pub fn flag(object: &Value, path: &str) -> bool {
    object.pointer(path).and_then(Value::as_bool).unwrap_or_default()
}

/// Whether anything but null stands at a path.
pub fn has(object: &Value, path: &str) -> bool {
    object.pointer(path).is_some_and(|v| !v.is_null())
}

/// The list at a path; empty when there is none.
pub fn list<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    object
        .pointer(path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The map at a path.
pub fn map<'a>(object: &'a Value, path: &str) -> Option<&'a Object> {
    object.pointer(path).and_then(Value::as_object)
}

/// The texts in the list at a path, joined.
pub fn join(object: &Value, path: &str, separator: &str) -> String {
    let texts: Vec<_> = list(object, path).iter().filter_map(Value::as_str).collect();
    texts.join(separator)
}

/// A scalar as people read it: text without quotes.
pub fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// `metadata.namespace`.
pub fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// Whether the object is being deleted.
pub fn terminating(object: &Value) -> bool {
    has(object, "/metadata/deletionTimestamp")
}

/// The time since the timestamp at a path, as people read it.
pub fn since(object: &Value, path: &str, now: Timestamp) -> String {
    duration::since(text(object, path), now)
}

/// The timestamp at a path.
pub fn time(object: &Value, path: &str) -> Option<Timestamp> {
    text(object, path).parse().ok()
}

/// The quantity at a path; zero when there is none or it is malformed.
pub fn quantity(object: &Value, path: &str) -> Quantity {
    match object.pointer(path) {
        Some(value) => scalar(value).parse().unwrap_or(Quantity::ZERO),
        None => Quantity::ZERO,
    }
}

/// The condition of a type among `status.conditions`.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(object, "/status/conditions").iter().find(|c| c["type"] == kind)
}

/// Whether the condition of a type is `True`.
pub fn condition_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|c| c["status"] == "True")
}

/// `a=b,c=d`, sorted; `<none>` when empty.
pub fn labels(map: Option<&Object>) -> String {
    let mut pairs: Vec<_> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", scalar(value)))
        .collect();
    pairs.sort();
    if pairs.is_empty() {
        NONE.to_owned()
    } else {
        pairs.join(",")
    }
}

/// The `LabelSelector` at a path in selector syntax; `<none>` when empty.
pub fn selector(object: &Value, path: &str) -> String {
    match LabelSelector::from_object(object.pointer(path)).map(|s| s.to_string()) {
        Ok(text) if text.is_empty() => NONE.to_owned(),
        Ok(text) => text,
        Err(_) => "<error>".to_owned(),
    }
}

/// A property of all containers of the Pod spec at a path, joined by commas.
pub fn containers(object: &Value, path: &str, property: &str) -> String {
    let all: Vec<_> = list(object, path)
        .iter()
        .map(|c| c[property].as_str().unwrap_or_default())
        .collect();
    all.join(",")
}

/// `owner` that controls the object: its kind, name and API version.
pub fn controller(object: &Value) -> Option<&Value> {
    list(object, "/metadata/ownerReferences")
        .iter()
        .find(|owner| owner["controller"] == true)
}
