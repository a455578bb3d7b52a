//! The paths of a resource and the operations on them.

use serde_json::{Map, Value, json};

use super::Dialect;
use super::definitions::{meta, name_of};
use crate::resource::{Resource, Subresource};

/// What can be done at one path.
struct Path<'r> {
    row: &'r Resource,
    /// The path below its group version.
    path: String,
    /// Whether it names one object.
    named: bool,
    /// Whether it is in a namespace.
    namespaced: bool,
    sub: Option<&'r Subresource>,
    verbs: Vec<&'r str>,
}

/// One operation.
struct Operation {
    method: &'static str,
    /// `x-kubernetes-action`.
    action: &'static str,
    /// First word of the operation's identifier.
    word: &'static str,
    query: &'static [&'static str],
    body: Body,
    answer: Answer,
}

#[derive(Clone, Copy, PartialEq)]
enum Body {
    None,
    Kind,
    DeleteOptions,
    Patch,
}

#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Kind,
    List,
    Status,
    Text,
}

const LIST: &[&str] = &[
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];
const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
const PATCH: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];
const DELETE: &[&str] = &["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"];
const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const TYPES: [&str; 2] = ["application/json", "application/yaml"];

fn operation(verb: &str) -> Option<Operation> {
    let (method, action, word, query, body, answer) = match verb {
        "list" => ("get", "list", "list", LIST, Body::None, Answer::List),
        "create" => ("post", "post", "create", WRITE, Body::Kind, Answer::Kind),
        "deletecollection" => (
            "delete",
            "deletecollection",
            "delete",
            LIST,
            Body::DeleteOptions,
            Answer::Status,
        ),
        "get" => ("get", "get", "read", &[][..], Body::None, Answer::Kind),
        "update" => ("put", "put", "replace", WRITE, Body::Kind, Answer::Kind),
        "patch" => ("patch", "patch", "patch", PATCH, Body::Patch, Answer::Kind),
        "delete" => (
            "delete",
            "delete",
            "delete",
            DELETE,
            Body::DeleteOptions,
            Answer::Status,
        ),
        _ => return None,
    };
    Some(Operation {
        method,
        action,
        word,
        query,
        body,
        answer,
    })
}

/// Every path of a resource with its path item.
pub(super) fn paths(dialect: Dialect, row: &Resource) -> Vec<(String, Value)> {
    let root = format!("/{}", super::path_of(row));
    let scope = if row.namespaced() {
        "/namespaces/{namespace}"
    } else {
        ""
    };
    let verbs = |wanted: &[&'static str]| wanted.iter().copied().filter(|v| row.allows(v)).collect::<Vec<_>>();
    let namespaced = row.namespaced();
    let mut all = Vec::new();
    let mut add = |path: String, named, namespaced, sub, verbs: Vec<_>| {
        if !verbs.is_empty() {
            all.push(Path {
                row,
                path,
                named,
                namespaced,
                sub,
                verbs,
            });
        }
    };
    let collection = format!("{root}{scope}/{}", row.plural);
    add(
        collection.clone(),
        false,
        namespaced,
        None,
        verbs(&["list", "create", "deletecollection"]),
    );
    if namespaced {
        add(format!("{root}/{}", row.plural), false, false, None, verbs(&["list"]));
    }
    let item = format!("{collection}/{{name}}");
    add(
        item.clone(),
        true,
        namespaced,
        None,
        verbs(&["get", "update", "patch", "delete"]),
    );
    for sub in row.subresources.iter() {
        let verbs = sub.verbs.iter().map(AsRef::as_ref).collect();
        add(format!("{item}/{}", sub.name), true, namespaced, Some(sub), verbs);
    }
    all.iter()
        .map(|path| (path.path.clone(), path_item(dialect, path)))
        .collect()
}

fn path_item(dialect: Dialect, path: &Path<'_>) -> Value {
    let mut item = Map::new();
    for verb in &path.verbs {
        if let Some(mut operation) = operation(verb) {
            if is_connection(path) {
                operation.action = "connect";
                operation.word = "connect";
                operation.answer = Answer::Text;
                operation.body = Body::None;
            }
            item.insert(operation.method.to_owned(), operation_json(dialect, path, &operation));
        }
    }
    let mut parameters = Vec::new();
    for (there, name) in [(path.named, "name"), (path.namespaced, "namespace")] {
        if there {
            parameters.push(parameter(dialect, "path", name, true));
        }
    }
    if !parameters.is_empty() {
        item.insert("parameters".to_owned(), parameters.into());
    }
    item.into()
}

/// Whether a subresource is a stream or a proxy, which speaks no kind.
fn is_connection(path: &Path<'_>) -> bool {
    path.sub
        .is_some_and(|s| matches!(s.name.as_ref(), "exec" | "attach" | "portforward" | "proxy" | "log"))
}

/// Group, version and kind that an operation is about.
fn subject<'p>(path: &'p Path<'_>) -> [&'p str; 3] {
    let row = path.row;
    match path.sub {
        None => [&row.group, &row.version, &row.kind],
        Some(sub) => [
            sub.group.as_ref().unwrap_or(&row.group),
            sub.version.as_ref().unwrap_or(&row.version),
            &sub.kind,
        ],
    }
}

fn operation_json(dialect: Dialect, path: &Path<'_>, operation: &Operation) -> Value {
    let [group, version, kind] = subject(path);
    let answer = match operation.answer {
        Answer::Kind => Some(name_of(group, version, kind)),
        Answer::List => Some(format!("{}List", name_of(group, version, kind))),
        Answer::Status => Some(meta("Status")),
        Answer::Text => None,
    };
    let body = match operation.body {
        Body::None => None,
        Body::Kind => Some(name_of(group, version, kind)),
        Body::DeleteOptions => Some(meta("DeleteOptions")),
        Body::Patch => Some(meta("Patch")),
    };
    let query = operation.query.iter().chain(["pretty"].iter());
    let mut parameters: Vec<_> = query.map(|name| parameter(dialect, "query", name, false)).collect();
    let row = path.row;
    let mut out = json!({
        "description": describe(path, operation),
        "operationId": identifier(path, operation),
        "tags": [format!("{}_{}", group_name(&row.group).1, row.version)],
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
    });
    let body_types: &[&str] = match operation.body {
        Body::Patch => &PATCH_TYPES,
        _ => &TYPES,
    };
    let schema = answer
        .map(|name| dialect.reference(&name))
        .unwrap_or_else(|| json!({"type": "string"}));
    let content = |types: &[&str], schema: &Value| {
        types
            .iter()
            .map(|t| ((*t).to_owned(), json!({"schema": schema})))
            .collect::<Map<_, _>>()
    };
    match dialect {
        Dialect::V3 => {
            if let Some(body) = body {
                out["requestBody"] = json!({"content": content(body_types, &dialect.reference(&body))});
            }
            out["responses"] = json!({"200": {"description": "OK", "content": content(&TYPES, &schema)}, "401": {"description": "Unauthorized"}});
        }
        Dialect::V2 => {
            if let Some(body) = body {
                parameters
                    .push(json!({"name": "body", "in": "body", "required": true, "schema": dialect.reference(&body)}));
            }
            out["consumes"] = if operation.body == Body::Patch {
                json!(PATCH_TYPES)
            } else {
                json!(["*/*"])
            };
            out["produces"] = json!(TYPES);
            out["schemes"] = json!(["https"]);
            out["responses"] =
                json!({"200": {"description": "OK", "schema": schema}, "401": {"description": "Unauthorized"}});
        }
    }
    out["parameters"] = parameters.into();
    out
}

fn describe(path: &Path<'_>, operation: &Operation) -> String {
    let kind = &path.row.kind;
    let part = path
        .sub
        .map_or(String::new(), |sub| format!("{} of the specified ", sub.name));
    match operation.action {
        "list" => format!("list or watch objects of kind {kind}"),
        "post" => format!("create {part}{kind}"),
        "deletecollection" => format!("delete collection of {kind}"),
        "get" => format!("read {part}{kind}"),
        "put" => format!("replace {part}{kind}"),
        "patch" => format!("partially update {part}{kind}"),
        "connect" => format!("connect to {part}{kind}"),
        _ => format!("delete {kind}"),
    }
}

/// `listAppsV1NamespacedDeployment`, as generated clients name their functions.
fn identifier(path: &Path<'_>, operation: &Operation) -> String {
    let row = path.row;
    let (group, _) = group_name(&row.group);
    let collection = if operation.action == "deletecollection" {
        "Collection"
    } else {
        ""
    };
    let namespaced = if path.namespaced { "Namespaced" } else { "" };
    let everywhere = if row.namespaced() && !path.namespaced {
        "ForAllNamespaces"
    } else {
        ""
    };
    let sub = path.sub.map_or(String::new(), |sub| capital(&sub.name));
    let method = if operation.word == "connect" {
        capital(operation.method)
    } else {
        String::new()
    };
    let version = capital(&row.version);
    format!(
        "{}{method}{group}{version}{collection}{namespaced}{}{sub}{everywhere}",
        operation.word, row.kind
    )
}

/// A group in identifiers and in tags: `rbac.authorization.k8s.io` → `RbacAuthorization`, `rbacAuthorization`.
fn group_name(group: &str) -> (String, String) {
    if group.is_empty() {
        return ("Core".to_owned(), "core".to_owned());
    }
    let short = group.strip_suffix(".k8s.io").unwrap_or(group);
    let camel: String = short.split('.').map(capital).collect();
    let mut chars = camel.chars();
    let lower = chars
        .next()
        .map(|c| c.to_lowercase().collect::<String>())
        .unwrap_or_default()
        + chars.as_str();
    (camel, lower)
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars
        .next()
        .map(|c| c.to_uppercase().collect::<String>())
        .unwrap_or_default()
        + chars.as_str()
}

fn parameter(dialect: Dialect, place: &str, name: &str, required: bool) -> Value {
    let (kind, description) = match name {
        "allowWatchBookmarks" => ("boolean", "ask for bookmark events"),
        "continue" => ("string", "token of the page before"),
        "dryRun" => ("string", "All: do everything but keep the outcome"),
        "fieldManager" => ("string", "name under which changed fields are tracked"),
        "fieldSelector" => ("string", "only objects with these fields"),
        "fieldValidation" => (
            "string",
            "what to do about unknown and duplicate fields: Ignore, Warn or Strict",
        ),
        "force" => ("boolean", "take over fields that others manage; for apply only"),
        "gracePeriodSeconds" => ("integer", "seconds before the object is deleted"),
        "labelSelector" => ("string", "only objects with these labels"),
        "limit" => ("integer", "how many objects a page has at most"),
        "name" => ("string", "name of the object"),
        "namespace" => ("string", "namespace of the object"),
        "orphanDependents" => ("boolean", "deprecated: use propagationPolicy"),
        "pretty" => ("string", "true: indent the answer"),
        "propagationPolicy" => ("string", "Orphan, Background or Foreground"),
        "resourceVersion" => ("string", "revision that the answer is about"),
        "resourceVersionMatch" => ("string", "how resourceVersion applies to lists"),
        "sendInitialEvents" => ("boolean", "begin a watch with the objects that there are"),
        "timeoutSeconds" => ("integer", "how long a list or watch may take"),
        "watch" => ("boolean", "follow changes instead of listing"),
        _ => ("string", ""),
    };
    let mut out = json!({"name": name, "in": place, "description": description});
    match dialect {
        Dialect::V2 => {
            out["type"] = kind.into();
            out["uniqueItems"] = true.into();
        }
        Dialect::V3 => out["schema"] = json!({"type": kind, "uniqueItems": true}),
    }
    if required {
        out["required"] = true.into();
    }
    out
}
