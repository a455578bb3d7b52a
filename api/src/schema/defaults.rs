//! Defaults that upstream declares on fields (`+default=`). Those that are computed belong to the kinds.

use serde_json::Value;

use super::{Kind, ShapeRef, TypeRef};
use crate::object::Object;

/// Fills absent fields, everywhere in the object, with their declared defaults.
pub fn apply(ty: TypeRef<'_>, object: &mut Object) {
    for field in ty.fields() {
        match object.get_mut(field.name.as_ref()) {
            Some(value) => apply_value(ty.shape(field), value),
            None => {
                if let Some(default) = field.default_json().and_then(effective) {
                    object.insert(field.name.clone().into_owned(), default);
                }
            }
        }
    }
}

/// Empty text and zero are what upstream's types hold anyway, and it leaves them out when it writes.
fn effective(json: &str) -> Option<Value> {
    let value = serde_json::from_str(json).ok()?;
    (value != "" && value != 0).then_some(value)
}

fn apply_value(shape: ShapeRef<'_>, value: &mut Value) {
    match (shape.kind(), value) {
        (Kind::Struct(ty), Value::Object(object)) => apply(ty, object),
        (Kind::List(item), Value::Array(items)) => items.iter_mut().for_each(|i| apply_value(item, i)),
        (Kind::Map(value), Value::Object(map)) => map.values_mut().for_each(|v| apply_value(value, v)),
        _ => {}
    }
}
