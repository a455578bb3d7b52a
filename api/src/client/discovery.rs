//! What a server serves, as a [`Registry`]: from aggregated discovery, or group by group where the
//! server is too old for that.

use kube::Client;
use serde_json::Value;

use super::rest::{Error, Result, is_not_found};
use crate::resource::{Registry, Resource, Scope, Storage, Subresource, Text};
use crate::view::{flag, list, text};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// Reads what the server serves, preferred groups and versions first.
///
/// A group whose server does not answer is left out, as its objects could not be reached either.
pub async fn discover(client: &Client) -> Result<Registry> {
    let mut rows = Vec::new();
    for root in ["/api", "/apis"] {
        let answer = fetch(client, root, AGGREGATED).await?;
        if text(&answer, "/kind") == "APIGroupDiscoveryList" {
            aggregated(&answer, &mut rows);
        } else {
            plain(client, root, &answer, &mut rows).await?;
        }
    }
    Ok(Registry::new(rows))
}

async fn fetch(client: &Client, path: &str, accept: &str) -> Result<Value> {
    let request = http::Request::get(path).header(http::header::ACCEPT, accept);
    let request = request.body(Vec::new()).map_err(Error::HttpError)?;
    client.request(request).await
}

fn aggregated(answer: &Value, rows: &mut Vec<Resource>) {
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

/// The way of servers without aggregated discovery.
async fn plain(client: &Client, root: &str, answer: &Value, rows: &mut Vec<Resource>) -> Result<()> {
    let core = list(answer, "/versions")
        .iter()
        .map(|v| (String::new(), v.as_str().unwrap_or_default()));
    let groups = list(answer, "/groups").iter().flat_map(|group| {
        let preferred = text(group, "/preferredVersion/version");
        let mut versions: Vec<_> = list(group, "/versions").iter().map(|v| text(v, "/version")).collect();
        versions.sort_by_key(|version| *version != preferred);
        versions
            .into_iter()
            .map(|version| (text(group, "/name").to_owned(), version))
    });
    // Collected, so that no closure over borrowed text lives across the calls.
    let versions: Vec<(String, &str)> = core.chain(groups).collect();
    for (group, version) in versions {
        let path = match &*group {
            "" => format!("{root}/{version}"),
            group => format!("{root}/{group}/{version}"),
        };
        match fetch(client, &path, "application/json").await {
            Ok(answer) => plain_rows(&group, version, &answer, rows),
            Err(Error::Api(status)) if status.code == 503 => {}
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn plain_rows(group: &str, version: &str, answer: &Value, rows: &mut Vec<Resource>) {
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
        storage: crate::resource::builtin()
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
