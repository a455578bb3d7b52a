//! Rows from what a server says that it serves.

use serde_json::Value;

use super::{Resource, Scope, Storage, Subresource, Text};
use crate::view::{flag, list, text};

/// The media types to ask `/api` and `/apis` for: everything at once, or just the groups where the server is too old.
pub const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// Adds the rows of an aggregated answer.
pub fn aggregated(answer: &Value, rows: &mut Vec<Resource>) {
    for group in list(answer, "/items") {
        let name = text(group, "/metadata/name");
        for version in list(group, "/versions") {
            let number = text(version, "/version");
            for resource in list(version, "/resources") {
                rows.push(aggregated_row(name, number, resource));
            }
        }
    }
}

fn aggregated_row(group: &str, version: &str, r: &Value) -> Resource {
    let plural = text(r, "/resource");
    let subresource = |s: &Value| Subresource {
        name: own(text(s, "/subresource")),
        group: foreign(text(s, "/responseKind/group"), group),
        version: foreign(text(s, "/responseKind/version"), version),
        kind: own(text(s, "/responseKind/kind")),
        verbs: texts(list(s, "/verbs")),
    };
    Resource {
        singular: own(text(r, "/singularResource")),
        short_names: texts(list(r, "/shortNames")),
        categories: texts(list(r, "/categories")),
        scope: scope(text(r, "/scope") == "Namespaced"),
        verbs: texts(list(r, "/verbs")),
        subresources: list(r, "/subresources").iter().map(subresource).collect(),
        ..row(group, version, text(r, "/responseKind/kind"), plural)
    }
}

/// Adds the rows of one group and version, as older servers tell them.
pub fn plain_rows(group: &str, version: &str, answer: &Value, rows: &mut Vec<Resource>) {
    let entries = list(answer, "/resources");
    for r in entries.iter().filter(|r| !text(r, "/name").contains('/')) {
        let plural = text(r, "/name");
        let subresources = entries.iter().filter_map(|s| {
            let (parent, name) = text(s, "/name").split_once('/')?;
            (parent == plural).then(|| Subresource {
                name: own(name),
                group: foreign(text(s, "/group"), group),
                version: foreign(text(s, "/version"), version),
                kind: own(text(s, "/kind")),
                verbs: texts(list(s, "/verbs")),
            })
        });
        rows.push(Resource {
            singular: own(text(r, "/singularName")),
            short_names: texts(list(r, "/shortNames")),
            categories: texts(list(r, "/categories")),
            scope: scope(flag(r, "/namespaced")),
            verbs: texts(list(r, "/verbs")),
            subresources: subresources.collect(),
            ..row(group, version, text(r, "/kind"), plural)
        });
    }
}

fn row(group: &str, version: &str, kind: &str, plural: &str) -> Resource {
    Resource {
        group: own(group),
        version: own(version),
        kind: own(kind),
        plural: own(plural),
        singular: own(""),
        short_names: texts(&[]),
        categories: texts(&[]),
        scope: Scope::Cluster,
        verbs: texts(&[]),
        subresources: Vec::new().into(),
        // How the server keeps things is its own affair, except that two versions of one built-in
        // resource convert as ours do.
        storage: super::builtin()
            .by_path(group, version, plural)
            .map_or_else(|| own_storage(group, version, plural), |r| r.storage.clone()),
        selectable_fields: Vec::new().into(),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a row's storage is optional")]
fn own_storage(group: &str, version: &str, plural: &str) -> Option<Storage> {
    Some(Storage {
        prefix: own(plural),
        group: own(group),
        version: own(version),
    })
}

fn scope(namespaced: bool) -> Scope {
    if namespaced { Scope::Namespaced } else { Scope::Cluster }
}

fn own(text: &str) -> Text {
    text.to_owned().into()
}

/// A coordinate, where it differs from the parent's.
fn foreign(theirs: &str, parents: &str) -> Option<Text> {
    (theirs != parents).then(|| own(theirs))
}

fn texts(values: &[Value]) -> std::borrow::Cow<'static, [Text]> {
    values.iter().filter_map(Value::as_str).map(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_ways_of_discovery_read_alike() {
        let mut new = Vec::new();
        aggregated(
            &json!({"items": [{"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [{
                "resource": "deployments", "responseKind": {"group": "apps", "version": "v1", "kind": "Deployment"},
                "scope": "Namespaced", "singularResource": "deployment", "verbs": ["get"], "shortNames": ["deploy"],
                "categories": ["all"], "subresources": [{"subresource": "scale",
                    "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}, "verbs": ["get"]}]}]}]}]}),
            &mut new,
        );
        let mut old = Vec::new();
        plain_rows(
            "apps",
            "v1",
            &json!({"resources": [
                {"name": "deployments", "singularName": "deployment", "namespaced": true, "kind": "Deployment",
                    "verbs": ["get"], "shortNames": ["deploy"], "categories": ["all"]},
                {"name": "deployments/scale", "singularName": "", "namespaced": true, "group": "autoscaling",
                    "version": "v1", "kind": "Scale", "verbs": ["get"]}]}),
            &mut old,
        );
        assert_eq!(format!("{new:?}"), format!("{old:?}"));
        assert!(new[0].namespaced() && new[0].subresource("scale").is_some());
    }
}
