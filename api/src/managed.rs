//! Who manages which field: `metadata.managedFields`, and server-side apply on top of it.
//!
//! Every write compares the object before and after ([`walk`]), typed by the schema: what was added or
//! modified belongs to the writer from now on, what was removed to nobody. The entries stay JSON and are
//! changed in place ([`fields`]), so a write costs what it changes, not what the object holds.
//!
//! Invariant: `update` runs after defaulting and before admission, as upstream does it, so that a creator
//! owns the defaults it got.

use serde_json::{Map, Value, json};

mod apply;
mod fields;
mod walk;

pub(crate) use apply::untypable;
pub use apply::{Apply, apply};

use crate::decode::Expected;
use crate::object::{Object, ObjectExt as _};
use walk::Diff;

/// Beyond so many updaters the oldest are thrown together.
const MAX_UPDATERS: usize = 10;
const ANCIENT: &str = "ancient-changes";
/// Upstream's limit on the name of a manager.
const MAX_NAME: usize = 128;

/// Who writes, and how.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// Name of the manager ([`manager_name`]).
    pub manager: &'a str,
    /// Subresource that is written through; empty for the object itself.
    pub subresource: &'a str,
    /// Time as the API writes it, in UTC and seconds.
    pub now: &'a str,
}

/// The manager of a request: its `fieldManager`, or the first word of its user agent.
pub fn manager_name<'a>(field_manager: &'a str, user_agent: &'a str) -> &'a str {
    if !field_manager.is_empty() {
        return field_manager;
    }
    let prefix = user_agent.split('/').next().unwrap_or_default();
    let printable = prefix
        .char_indices()
        .find(|(_, c)| c.is_control())
        .map_or(prefix.len(), |(at, _)| at);
    let mut end = printable.min(MAX_NAME);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    match &prefix[..end] {
        "" => "unknown",
        name => name,
    }
}

/// Top-level fields that a write through this subresource leaves alone, so that nobody comes to own them.
fn ignored(subresource: &str) -> &'static str {
    match subresource {
        "" => "status",
        "status" => "spec",
        _ => "",
    }
}

/// Brings `managedFields` of `new` up to date with what a create (no `old`), update or patch changed.
pub fn update(old: Option<&Object>, new: &mut Object, expected: Expected<'_>, writer: Writer<'_>) {
    let sent = new.metadata_mut().remove("managedFields");
    let Some(mut entries) = entries_before(old, sent, writer.subresource) else {
        return;
    };
    if old.is_some() && entries.is_empty() {
        return;
    }
    let diff = walk::compare_objects(expected.schema(), old, new, ignored(writer.subresource));
    let api_version = expected.api_version();
    if !diff.is_empty() {
        disown(&mut entries, &diff, None);
        if !(diff.added.is_empty() && diff.modified.is_empty()) {
            own(&mut entries, &diff, &api_version, writer);
        }
        cap(&mut entries);
        entries.retain(|e| !fields::is_empty(e));
        sort(&mut entries);
    }
    store(new, entries);
}

/// The entries to start from: those that the request sends, else those that stand. `None` when it resets them.
fn entries_before(old: Option<&Object>, sent: Option<Value>, subresource: &str) -> Option<Vec<Value>> {
    let live = || {
        let entries = old.and_then(|o| o.metadata()?.get("managedFields")?.as_array());
        entries.cloned().unwrap_or_default()
    };
    let Some(Value::Array(sent)) = sent else {
        return Some(live());
    };
    if !subresource.is_empty() || sent.is_empty() {
        return Some(live());
    }
    if sent.len() == 1 && sent[0].as_object().is_some_and(Map::is_empty) {
        return old.is_none().then(Vec::new);
    }
    let valid = sent.iter().all(|e| {
        matches!(text(e, "operation"), "Apply" | "Update")
            && text(e, "fieldsType") == "FieldsV1"
            && fields::well_formed(&e["fieldsV1"])
    });
    Some(if valid { sent } else { live() })
}

/// Takes changed fields from all managers, save the entry at `spare`.
fn disown(entries: &mut [Value], diff: &Diff<'_>, spare: Option<usize>) {
    for (index, entry) in entries.iter_mut().enumerate() {
        let Some(owned) = fields::of_mut(entry).filter(|_| Some(index) != spare) else {
            continue;
        };
        for set in [&diff.added, &diff.modified, &diff.removed] {
            fields::subtract(owned, set);
        }
    }
}

/// Gives added and modified fields to the writer.
fn own(entries: &mut Vec<Value>, diff: &Diff<'_>, api_version: &str, writer: Writer<'_>) {
    let found = entries.iter().position(|e| {
        text(e, "operation") == "Update"
            && text(e, "manager") == writer.manager
            && text(e, "apiVersion") == api_version
            && text(e, "subresource") == writer.subresource
    });
    let index = found.unwrap_or_else(|| {
        entries.push(entry("Update", api_version, writer));
        entries.len() - 1
    });
    entries[index]["time"] = writer.now.into();
    if let Some(owned) = fields::of_mut(&mut entries[index]) {
        fields::unite(owned, &diff.added);
        fields::unite(owned, &diff.modified);
    }
}

/// An entry that owns nothing yet.
fn entry(operation: &str, api_version: &str, writer: Writer<'_>) -> Value {
    let mut entry = json!({
        "manager": writer.manager, "operation": operation, "apiVersion": api_version,
        "time": writer.now, "fieldsType": "FieldsV1", "fieldsV1": {},
    });
    if !writer.subresource.is_empty() {
        entry["subresource"] = writer.subresource.into();
    }
    entry
}

/// Merges the oldest updaters of a version into one entry until there are few enough.
fn cap(entries: &mut Vec<Value>) {
    let updaters = |entries: &[Value]| entries.iter().filter(|e| text(e, "operation") == "Update").count();
    if updaters(entries) <= MAX_UPDATERS {
        return;
    }
    entries.sort_by(|a, b| (text(a, "time"), text(a, "manager")).cmp(&(text(b, "time"), text(b, "manager"))));
    let mut at = 0;
    while at < entries.len() && updaters(entries) > MAX_UPDATERS {
        let same =
            |e: &Value| text(e, "operation") == "Update" && text(e, "apiVersion") == text(&entries[at], "apiVersion");
        let first = entries[..at]
            .iter()
            .position(same)
            .filter(|_| text(&entries[at], "operation") == "Update");
        match first {
            Some(first) => {
                let newer = entries.remove(at);
                let bucket = &mut entries[first];
                bucket["manager"] = ANCIENT.into();
                bucket["time"] = newer["time"].clone();
                if let Some(map) = bucket.as_object_mut() {
                    map.remove("subresource");
                }
                if let (Some(owned), Some(more)) = (fields::of_mut(bucket), newer["fieldsV1"].as_object()) {
                    fields::unite(owned, &fields::parse(more));
                }
            }
            None => at += 1,
        }
    }
}

/// Upstream's order of entries.
fn sort(entries: &mut [Value]) {
    fn key(e: &Value) -> [&str; 5] {
        ["operation", "time", "manager", "apiVersion", "subresource"].map(|k| text(e, k))
    }
    entries.sort_by(|a, b| key(a).cmp(&key(b)));
}

fn store(object: &mut Object, entries: Vec<Value>) {
    if !entries.is_empty() {
        object.metadata_mut().insert("managedFields".to_owned(), entries.into());
    }
}

fn text<'v>(entry: &'v Value, key: &str) -> &'v str {
    entry.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
