//! Strategic merge patch: a merge patch in which the schema says how lists merge, with directives.
//!
//! Directives: `$patch` (`replace`, `delete`, `merge`) in a map or a list item, `$retainKeys`,
//! `$setElementOrder/FIELD`, `$deleteFromPrimitiveList/FIELD`.

use serde_json::{Map, Value};

use super::rejected;
use crate::object::Object;
use crate::schema::{Field, Kind, ShapeRef, TypeRef};
use crate::status::{ApiError, ApiResult};

/// Upstream's words for a kind that has no strategic merge patch.
pub(super) const UNSUPPORTED: &str = "strategic merge patch format is not supported";

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// Merges `patch` into an object of a type.
pub(super) fn merge(ty: TypeRef<'_>, original: Object, patch: Object) -> ApiResult<Object> {
    merge_map(Known::Struct(ty), original, patch)
}

/// What the schema says of a map.
#[derive(Clone, Copy)]
enum Known<'s> {
    Struct(TypeRef<'s>),
    /// Free keys, values of one shape.
    Map(ShapeRef<'s>),
    Nothing,
}

/// What the schema says of a field.
struct Hint<'s> {
    /// Of its value, or of the items of its list.
    inner: Known<'s>,
    merge: bool,
    replace: bool,
    merge_key: Option<&'s str>,
}

impl<'s> Known<'s> {
    fn of(shape: ShapeRef<'s>) -> Self {
        match shape.kind() {
            Kind::Struct(ty) => Self::Struct(ty),
            Kind::Map(value) => Self::Map(value),
            Kind::List(item) => Self::of(item),
            Kind::Scalar(_) => Self::Nothing,
        }
    }

    fn hint(self, key: &str) -> Hint<'s> {
        let of_field = |ty: TypeRef<'s>, field: &'s Field| Hint {
            inner: Self::of(ty.shape(field)),
            merge: field.patch.merge,
            replace: field.patch.replace,
            merge_key: field.merge_key(),
        };
        let plain = |inner| Hint {
            inner,
            merge: false,
            replace: false,
            merge_key: None,
        };
        match self {
            Self::Struct(ty) => ty.field(key).map_or(plain(Self::Nothing), |field| of_field(ty, field)),
            Self::Map(value) => plain(Self::of(value)),
            Self::Nothing => plain(Self::Nothing),
        }
    }
}

fn merge_map(known: Known<'_>, mut original: Object, mut patch: Object) -> ApiResult<Object> {
    if let Some(directive) = patch.remove(PATCH) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Map::new()),
            _ => Err(unknown_directive(&directive, &patch)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    order_lists(known, &mut original, &mut patch)?;
    for (key, value) in patch {
        let deletes = key.strip_prefix(DELETE).map(str::to_owned);
        let key = deletes.clone().unwrap_or(key);
        if value.is_null() {
            original.remove(&key);
            continue;
        }
        let merged = match (original.remove(&key), value) {
            (Some(Value::Array(from)), Value::Array(items)) if deletes.is_some() => Some(
                from.into_iter()
                    .filter(|v| !items.contains(v))
                    .collect::<Vec<_>>()
                    .into(),
            ),
            (from, _) if deletes.is_some() => from,
            (Some(Value::Object(from)), Value::Object(patch)) => {
                let hint = known.hint(&key);
                if hint.replace {
                    without_directives(patch.into())
                } else {
                    Some(merge_map(hint.inner, from, patch)?.into())
                }
            }
            (Some(Value::Array(from)), Value::Array(patch)) => Some(merge_list(&known.hint(&key), from, patch)?.into()),
            (_, value) => without_directives(value),
        };
        if let Some(merged) = merged {
            original.insert(key, merged);
        }
    }
    Ok(original)
}

/// `$retainKeys`: clears what the directive does not name.
fn retain_keys(original: &mut Object, patch: &mut Object) -> ApiResult<()> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let malformed = || ApiError::bad_request("invalid patch format of retainKeys");
    let keys = keys.as_array().ok_or_else(malformed)?;
    let retained = |key: &String| keys.iter().any(|k| k.as_str() == Some(key));
    let sets =
        |(key, value): (&String, &Value)| !value.is_null() && !key.starts_with(DELETE) && !key.starts_with(ORDER);
    if patch.iter().any(|(key, value)| sets((key, value)) && !retained(key)) {
        return Err(malformed());
    }
    original.retain(|key, _| retained(key));
    Ok(())
}

/// `$setElementOrder`: merges the lists that it names and puts their items in its order.
fn order_lists(known: Known<'_>, original: &mut Object, patch: &mut Object) -> ApiResult<()> {
    let directives: Vec<_> = patch.keys().filter(|k| k.starts_with(ORDER)).cloned().collect();
    for directive in directives {
        let malformed = || ApiError::bad_request("invalid patch format of setElementOrder list");
        let Some(Value::Array(order)) = patch.remove(&directive) else {
            return Err(malformed());
        };
        let key = directive.trim_start_matches(ORDER);
        let hint = known.hint(key);
        let list = |value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(_) => Err(malformed()),
        };
        let (from, changes) = (list(original.remove(key))?, list(patch.remove(key))?);
        let server_order = from.clone().unwrap_or_default();
        let merged = match (from, changes) {
            (None, None) => continue,
            (Some(from), None) => from,
            (None, Some(changes)) => match without_directives(changes.into()) {
                Some(Value::Array(items)) => items,
                _ => continue,
            },
            (Some(from), Some(changes)) => {
                check_order(&changes, &order, hint.merge_key)?;
                merge_list(&hint, from, changes)?
            }
        };
        let ordered = interleave(merged, &order, &server_order, hint.merge_key);
        original.insert(key.to_owned(), ordered.into());
    }
    Ok(())
}

/// The items that a patch sets must stand in its order list, in that order.
fn check_order(changes: &[Value], order: &[Value], merge_key: Option<&str>) -> ApiResult<()> {
    let mut rest = order.iter();
    for item in changes.iter().filter(|i| i.get(PATCH).is_none()) {
        if !rest.any(|o| same(o, item, merge_key)) {
            return Err(ApiError::bad_request(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                super::go_print(&changes.to_vec().into()),
                super::go_print(&order.to_vec().into())
            )));
        }
    }
    Ok(())
}

fn merge_list(hint: &Hint<'_>, original: Vec<Value>, patch: Vec<Value>) -> ApiResult<Vec<Value>> {
    if !hint.merge {
        return Ok(match without_directives(patch.into()) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        });
    }
    if original.iter().chain(&patch).any(Value::is_array) {
        return Err(rejected());
    }
    let server_order = original.clone();
    if !original.iter().chain(&patch).any(Value::is_object) {
        let mut merged = original;
        for item in &patch {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        return Ok(interleave(merged, &patch, &server_order, None));
    }
    let merge_key = hint.merge_key.ok_or_else(rejected)?;
    let (mut merged, changes) = list_directives(original, patch, merge_key)?;
    let order = changes.clone();
    for change in changes {
        let Value::Object(change) = change else {
            return Err(rejected());
        };
        let id = key_of(&change, merge_key)?;
        match merged.iter_mut().find(|item| item.get(merge_key) == Some(&id)) {
            Some(Value::Object(item)) => *item = merge_map(hint.inner, std::mem::take(item), change)?,
            _ => merged.extend(without_directives(change.into())),
        }
    }
    Ok(interleave(merged, &order, &server_order, Some(merge_key)))
}

/// Items with `$patch`: deletes, or the replacement of the whole list. What is left is to be merged.
fn list_directives(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    merge_key: &str,
) -> ApiResult<(Vec<Value>, Vec<Value>)> {
    let (mut changes, mut replace) = (Vec::new(), false);
    for item in patch {
        let directive = item.get(PATCH).cloned();
        match (directive.as_ref().map(Value::as_str), item) {
            (None, item) => changes.push(item),
            (Some(Some("delete")), Value::Object(item)) => {
                let id = key_of(&item, merge_key)?;
                original.retain(|i| i.get(merge_key) != Some(&id));
            }
            (Some(Some("replace")), _) => replace = true,
            (Some(Some("merge")), _) => {
                return Err(ApiError::bad_request(
                    "merging lists cannot yet be specified in the patch",
                ));
            }
            (Some(_), item) => {
                let item = item.as_object().cloned().unwrap_or_default();
                return Err(unknown_directive(&directive.unwrap_or_default(), &item));
            }
        }
    }
    if replace {
        return Ok((changes, Vec::new()));
    }
    Ok((original, changes))
}

fn key_of(item: &Object, merge_key: &str) -> ApiResult<Value> {
    item.get(merge_key).cloned().ok_or_else(|| {
        ApiError::bad_request(format!(
            "map: {} does not contain declared merge key: {merge_key}",
            super::go_print(&Value::Object(item.clone()))
        ))
    })
}

fn unknown_directive(directive: &Value, map: &Object) -> ApiError {
    ApiError::bad_request(format!(
        "unknown patch type: {} in map: {}",
        super::go_print(directive),
        super::go_print(&Value::Object(map.clone()))
    ))
}

fn same(a: &Value, b: &Value, merge_key: Option<&str>) -> bool {
    match merge_key {
        Some(key) => a.get(key).is_some() && a.get(key) == b.get(key),
        None => a == b,
    }
}

/// Orders merged items: those that the patch names in its order, the server's own among them where they
/// stood relative to those that both know.
fn interleave(merged: Vec<Value>, order: &[Value], server_order: &[Value], merge_key: Option<&str>) -> Vec<Value> {
    let place = |list: &[Value], item: &Value| list.iter().position(|o| same(o, item, merge_key));
    let (mut named, mut own): (Vec<_>, Vec<_>) = merged.into_iter().partition(|item| place(order, item).is_some());
    named.sort_by_key(|item| place(order, item));
    own.sort_by_key(|item| place(server_order, item).unwrap_or(usize::MAX));
    let (mut named, mut own) = (named.into_iter().peekable(), own.into_iter().peekable());
    let mut out = Vec::new();
    while let (Some(left), Some(right)) = (own.peek(), named.peek()) {
        let before = match (place(server_order, left), place(server_order, right)) {
            (Some(left), Some(right)) => left < right,
            _ => false,
        };
        out.extend(if before { own.next() } else { named.next() });
    }
    out.extend(own);
    out.extend(named);
    out
}

/// A patch value that has nothing to merge with: its directives and nulls go. `None` when it deletes itself.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.get(PATCH).is_some_and(|d| d == "delete") => None,
        Value::Object(map) => {
            let plain =
                |key: &str| key != PATCH && key != RETAIN_KEYS && !key.starts_with(ORDER) && !key.starts_with(DELETE);
            let entries = map.into_iter().filter(|(key, value)| plain(key) && !value.is_null());
            let entries = entries.filter_map(|(key, value)| Some((key, without_directives(value)?)));
            Some(Value::Object(entries.collect()))
        }
        Value::Array(items) => Some(
            items
                .into_iter()
                .filter_map(without_directives)
                .collect::<Vec<_>>()
                .into(),
        ),
        other => Some(other),
    }
}
