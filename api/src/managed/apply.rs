//! Server-side apply: a configuration merged into what stands, with owners of fields.

use serde_json::{Map, Value, json};

use super::fields::{self, Element, Set};
use super::walk::{self, Diff, Place};
use super::{Writer, disown, entry, ignored, sort, store, text};
use crate::decode::Expected;
use crate::object::{Object, ObjectExt as _};
use crate::status::{ApiError, ApiResult};

/// Owner of what stood in an object before managers were tracked.
const BEFORE_FIRST: &str = "before-first-apply";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager that takes over from client-side apply.
const KUBECTL: &str = "kubectl";

/// One apply.
#[derive(Clone, Copy, Debug)]
pub struct Apply<'a> {
    /// What stands, if anything does.
    pub live: Option<&'a Object>,
    /// The configuration, as [`crate::decode::decode_apply`] read it.
    pub config: &'a Object,
    /// The kind of both.
    pub expected: Expected<'a>,
    /// Who applies.
    pub writer: Writer<'a>,
    /// Whether to take fields that others manage.
    pub force: bool,
}

/// Applies a configuration: the merged object with its `managedFields`, or who is in the way.
///
/// The outcome still has to be conformed to its type, defaulted, admitted and validated.
pub fn apply(request: Apply<'_>) -> ApiResult<Object> {
    match try_apply(request) {
        Ok(object) => Ok(object),
        Err(Refused::Conflicts(conflicts)) if forgivable(&request, &conflicts) => {
            let forced = Apply { force: true, ..request };
            try_apply(forced).map_err(Refused::into_error)
        }
        Err(refused) => Err(refused.into_error()),
    }
}

enum Refused {
    Error(ApiError),
    Conflicts(Vec<Conflict>),
}

/// Fields that a manager owns and the configuration changes.
struct Conflict {
    manager: String,
    fields: Set<'static>,
}

impl Refused {
    fn into_error(self) -> ApiError {
        match self {
            Self::Error(error) => error,
            Self::Conflicts(conflicts) => conflict_error(&conflicts),
        }
    }
}

fn try_apply(request: Apply<'_>) -> Result<Object, Refused> {
    let Apply {
        live,
        config,
        expected,
        writer,
        force,
    } = request;
    if config.metadata().is_some_and(|m| m.contains_key("managedFields")) {
        return Err(Refused::Error(ApiError::bad_request(
            "metadata.managedFields must be nil",
        )));
    }
    let place = Place::object(expected.schema());
    let configured = Value::Object(config.clone());
    if let Some(duplicate) = walk::duplicate(place, &configured, &mut String::new()) {
        return Err(Refused::Error(untypable(config, expected, &duplicate)));
    }
    let mut live_object = live.cloned().unwrap_or_default();
    let mut entries = take_entries(&mut live_object);
    if live.is_some() && entries.is_empty() {
        adopt(&mut entries, &live_object, expected, writer);
    }
    let own = entries.iter().position(|e| {
        text(e, "operation") == "Apply"
            && text(e, "manager") == writer.manager
            && text(e, "subresource") == writer.subresource
    });
    let set = walk::fields_of(place, &configured);
    let merged = walk::merge(place, Value::Object(live_object.clone()), &configured);
    let merged = prune(place, merged, &entries, own, &set);
    let Value::Object(mut merged) = merged else {
        return Err(Refused::Error(ApiError::internal("nothing is left of the object")));
    };
    let diff = walk::compare_objects(
        expected.schema(),
        live.map(|_| &live_object),
        &merged,
        ignored(writer.subresource),
    );
    let conflicts = conflicts(&entries, own, &diff);
    if !conflicts.is_empty() && !force {
        return Err(Refused::Conflicts(conflicts));
    }
    disown(&mut entries, &diff, own);
    take_over(&mut entries, own, set, &diff, expected, writer);
    drop(diff);
    entries.retain(|e| !fields::is_empty(e));
    sort(&mut entries);
    if writer.manager == KUBECTL && last_applied(live).is_some() {
        remember(&mut merged, config);
    }
    store(&mut merged, entries);
    Ok(merged)
}

fn take_entries(live: &mut Object) -> Vec<Value> {
    let Some(Value::Object(metadata)) = live.get_mut("metadata") else {
        return Vec::new();
    };
    match metadata.remove("managedFields") {
        Some(Value::Array(entries)) => entries,
        _ => Vec::new(),
    }
}

/// An object from before managers were tracked: all of it has one owner.
fn adopt(entries: &mut Vec<Value>, live: &Object, expected: Expected<'_>, writer: Writer<'_>) {
    let before = Writer {
        manager: BEFORE_FIRST,
        subresource: "",
        ..writer
    };
    let diff = walk::compare_objects(expected.schema(), None, live, "status");
    let mut adopted = entry("Update", &expected.api_version(), before);
    adopted["fieldsV1"] = diff.added.to_map().into();
    entries.push(adopted);
}

/// Removes what the applier set last time, does not set this time, and nobody else manages.
fn prune(place: Place<'_>, merged: Value, entries: &[Value], own: Option<usize>, set: &Set<'_>) -> Value {
    let owned = |entry: &Value| entry["fieldsV1"].as_object().cloned().unwrap_or_default();
    let Some(last) = own.map(|own| owned(&entries[own])) else {
        return merged;
    };
    let maps: Vec<_> = entries
        .iter()
        .enumerate()
        .filter(|(at, _)| Some(*at) != own)
        .map(|(_, e)| owned(e))
        .collect();
    let managed = maps.iter().fold(set.clone(), |all, map| all.union(&fields::parse(map)));
    let gone = fields::parse(&last).with_parents().difference(&managed.with_parents());
    walk::remove(place, merged, &gone).unwrap_or_default()
}

fn conflicts(entries: &[Value], own: Option<usize>, diff: &Diff<'_>) -> Vec<Conflict> {
    let changed = diff.modified.clone().union(&diff.added);
    let others = entries.iter().enumerate().filter(|(at, _)| Some(*at) != own);
    let conflicts = others.filter_map(|(_, entry)| {
        let both = changed.intersection(&fields::parse(entry["fieldsV1"].as_object()?));
        (!both.is_empty()).then(|| Conflict {
            manager: describe(entry),
            fields: both.into_owned(),
        })
    });
    conflicts.collect()
}

/// A manager as messages name it.
fn describe(entry: &Value) -> String {
    let mut out = format!("{:?}", text(entry, "manager"));
    if let subresource @ [_, ..] = text(entry, "subresource").as_bytes() {
        out.push_str(&format!(" with subresource {:?}", String::from_utf8_lossy(subresource)));
    }
    if text(entry, "operation") == "Update" {
        out.push_str(&format!(" using {}", text(entry, "apiVersion")));
    }
    out
}

fn conflict_error(conflicts: &[Conflict]) -> ApiError {
    let mut all: Vec<_> = conflicts
        .iter()
        .flat_map(|c| c.fields.paths().into_iter().map(move |path| (c.manager.as_str(), path)))
        .collect();
    all.sort();
    let message = match all.as_slice() {
        [(manager, path)] => format!("Apply failed with 1 conflict: conflict with {manager}: {path}"),
        many => {
            let mut lines = Vec::new();
            for (at, (manager, path)) in many.iter().enumerate() {
                if at == 0 || many[at - 1].0 != *manager {
                    lines.push(format!("conflicts with {manager}:"));
                }
                lines.push(format!("- {path}"));
            }
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    let causes: Vec<_> = all
        .iter()
        .map(|(manager, path)| {
            json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": path})
        })
        .collect();
    ApiError {
        details: Some(Box::new(json!({"causes": causes}))),
        ..ApiError::new(409, "Conflict", message)
    }
}

/// Makes the applier's entry what the configuration sets. Its time only moves when something changed.
fn take_over(
    entries: &mut Vec<Value>,
    own: Option<usize>,
    mut set: Set<'_>,
    diff: &Diff<'_>,
    expected: Expected<'_>,
    writer: Writer<'_>,
) {
    walk::strip(&mut set, ignored(writer.subresource));
    let set: Value = set.to_map().into();
    let api_version = expected.api_version();
    let index = own.unwrap_or_else(|| {
        entries.push(entry("Apply", &api_version, writer));
        entries.len() - 1
    });
    let entry = &mut entries[index];
    if !diff.is_empty() || entry["fieldsV1"] != set || entry["apiVersion"] != *api_version {
        entry["time"] = writer.now.into();
        entry["apiVersion"] = api_version.into();
        entry["fieldsV1"] = set;
    }
}

fn last_applied(live: Option<&Object>) -> Option<&str> {
    let text = live?.metadata()?.get("annotations")?.get(LAST_APPLIED)?.as_str()?;
    (!text.is_empty()).then_some(text)
}

/// Keeps the annotation of client-side apply right for those who go back to it.
fn remember(object: &mut Object, config: &Object) {
    let mut config = config.clone();
    if let Some(Value::Object(annotations)) = config.get_mut("metadata").and_then(|m| m.get_mut("annotations")) {
        annotations.remove(LAST_APPLIED);
    }
    let annotations = object
        .metadata_mut()
        .entry("annotations")
        .or_insert_with(|| Map::new().into());
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(LAST_APPLIED.to_owned(), format!("{}\n", Value::Object(config)).into());
    }
}

/// Whether all that is in the way is what kubectl itself applied from the client's side.
fn forgivable(request: &Apply<'_>, conflicts: &[Conflict]) -> bool {
    let Some(text) = last_applied(request.live).filter(|_| request.writer.manager == KUBECTL) else {
        return false;
    };
    let (Ok(Value::Object(last)), Some(live)) = (serde_json::from_str(text), request.live) else {
        return false;
    };
    let diff = walk::compare_objects(request.expected.schema(), Some(&last), live, "");
    let last = Value::Object(last.clone());
    let mut allowed = walk::fields_of(Place::object(request.expected.schema()), &last);
    for changed in [&diff.added, &diff.modified, &diff.removed] {
        allowed = allowed.difference(changed);
    }
    conflicts.iter().all(|c| c.fields.difference(&allowed).is_empty())
}

/// Upstream's error for a configuration that does not fit its type.
pub(crate) fn untypable(config: &Object, expected: Expected<'_>, why: &str) -> ApiError {
    let message = format!(
        "failed to create typed patch object ({}/{}; {}, Kind={}): {why}",
        config.namespace(),
        config.name(),
        expected.api_version(),
        expected.kind
    );
    ApiError::new(500, "", message)
}

impl Element<'_> {
    fn into_owned(self) -> Element<'static> {
        match self {
            Self::Field(text) => Element::Field(text.into_owned().into()),
            Self::Key(text) => Element::Key(text.into_owned().into()),
            Self::Value(text) => Element::Value(text.into_owned().into()),
            Self::Index(index) => Element::Index(index),
        }
    }
}

impl Set<'_> {
    fn into_owned(self) -> Set<'static> {
        Set {
            member: self.member,
            children: self
                .children
                .into_iter()
                .map(|(e, s)| (e.into_owned(), s.into_owned()))
                .collect(),
        }
    }
}
