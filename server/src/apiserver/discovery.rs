//! Which resources there are: the plain documents of each level and the aggregated one.

use std::collections::BTreeMap;

use axum::body::Body;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{Response, StatusCode};
use mizzen_api::resource::{Registry, Resource, Subresource};
use mizzen_api::status::ApiResult;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::ApiServer;
use super::negotiation::Accept;
use super::query::Query;
use super::response;

/// The version of Kubernetes that the API is that of, and ours after it.
pub const GIT_VERSION: &str = concat!("v1.37.0+mizzen", env!("CARGO_PKG_VERSION"));

/// Answers if the path is one of discovery's.
pub(super) fn answer(
    server: &ApiServer,
    parts: &http::request::Parts,
    query: &Query,
) -> ApiResult<Option<Response<Body>>> {
    let registry = server.registry();
    let segments: Vec<_> = parts.uri.path().trim_matches('/').split('/').collect();
    let root = matches!(segments.as_slice(), ["api"] | ["apis"]);
    if root && let Some(version) = aggregated_version(&parts.headers) {
        return Ok(Some(aggregated(&registry, segments[0] == "api", version, parts)));
    }
    let document = match segments.as_slice() {
        [""] => paths(&registry),
        ["version"] => version(),
        ["api"] => core_versions(),
        ["apis"] => groups(&registry),
        ["api", version] => match resources(&registry, "", version) {
            Some(list) => list,
            None => return Ok(None),
        },
        ["apis", group] => match group_of(&registry, group) {
            Some(found) => found,
            None => return Ok(None),
        },
        ["apis", group, version] => match resources(&registry, group, version) {
            Some(list) => list,
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    let accept = Accept::negotiate(&parts.headers, query, false)?;
    response::document(accept, StatusCode::OK, document.to_string().into()).map(Some)
}

fn paths(registry: &Registry) -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (group, versions) in versions(registry) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    let others = [
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ];
    paths.extend(others.map(str::to_owned));
    json!({"paths": paths})
}

fn version() -> Value {
    json!({
        "major": "1",
        "minor": "37",
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    })
}

fn core_versions() -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [],
    })
}

/// Groups in the order of their rows, each with its versions, the preferred one first.
fn versions(registry: &Registry) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for row in registry.iter().filter(|row| !row.group.is_empty()) {
        let known = groups.iter_mut().find(|(group, _)| *group == row.group);
        let versions = match known {
            Some((_, versions)) => versions,
            None => {
                groups.push((row.group.to_string(), Vec::new()));
                &mut groups.last_mut().expect("just pushed").1
            }
        };
        if !versions.iter().any(|version| *version == row.version) {
            versions.push(row.version.to_string());
        }
    }
    for (_, versions) in &mut groups {
        versions.sort_by_key(|version| std::cmp::Reverse(rank(version)));
    }
    groups
}

/// Upstream's order of versions: stable before beta before alpha, then by number.
fn rank(version: &str) -> (u8, u32, u32) {
    let number = |text: &str| text.parse().unwrap_or_default();
    let rest = version.strip_prefix('v').unwrap_or(version);
    for (stability, word) in [(1, "beta"), (0, "alpha")] {
        if let Some((major, minor)) = rest.split_once(word) {
            return (stability, number(major), number(minor));
        }
    }
    (2, number(rest), 0)
}

fn group(name: &str, versions: &[String]) -> Value {
    let versions: Vec<_> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions[0]})
}

fn groups(registry: &Registry) -> Value {
    let groups: Vec<_> = versions(registry)
        .iter()
        .map(|(name, versions)| group(name, versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn group_of(registry: &Registry, name: &str) -> Option<Value> {
    let (name, versions) = versions(registry).into_iter().find(|(group, _)| group == name)?;
    let mut document = group(&name, &versions);
    document["kind"] = "APIGroup".into();
    document["apiVersion"] = "v1".into();
    Some(document)
}

fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let rows: Vec<_> = registry
        .iter()
        .filter(|row| row.group == group && row.version == version)
        .collect();
    let first = rows.first()?;
    let list: Vec<_> = rows.iter().flat_map(|row| resource(row)).collect();
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": first.api_version(),
        "resources": list,
    }))
}

fn resource(row: &Resource) -> Vec<Value> {
    let mut main = json!({
        "name": row.plural,
        "singularName": row.singular,
        "namespaced": row.namespaced(),
        "kind": row.kind,
        "verbs": row.verbs,
    });
    if !row.short_names.is_empty() {
        main["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        main["categories"] = json!(row.categories);
    }
    if row.storage.is_some() {
        // Tells apart storage versions; any text does that is stable.
        main["storageVersionHash"] = hash(&format!("{}/{}", row.api_version(), row.kind)).into();
    }
    let subresources = row.subresources.iter().map(|sub| {
        let mut out = json!({
            "name": format!("{}/{}", row.plural, sub.name),
            "singularName": "",
            "namespaced": row.namespaced(),
            "kind": sub.kind,
            "verbs": sub.verbs,
        });
        if let Some(group) = &sub.group {
            out["group"] = json!(group);
        }
        if let Some(version) = &sub.version {
            out["version"] = json!(version);
        }
        out
    });
    std::iter::once(main).chain(subresources).collect()
}

fn hash(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(&Sha256::digest(text.as_bytes())[..8])
}

/// Which form of the aggregated document the client prefers over the plain one.
fn aggregated_version(headers: &http::HeaderMap) -> Option<&'static str> {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for clause in accept.flat_map(|value| value.split(',')) {
        let mut parts = clause.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let parameters: BTreeMap<_, _> = parts.filter_map(|part| part.split_once('=')).collect();
        if media_type != "application/json" {
            continue;
        }
        match (parameters.get("as").copied(), parameters.get("v").copied()) {
            (None, _) => return None,
            (Some("APIGroupDiscoveryList"), Some("v2")) => return Some("v2"),
            (Some("APIGroupDiscoveryList"), Some("v2beta1")) => return Some("v2beta1"),
            _ => {}
        }
    }
    None
}

fn aggregated(registry: &Registry, core: bool, version: &str, parts: &http::request::Parts) -> Response<Body> {
    let groups = if core {
        vec![(String::new(), vec!["v1".to_owned()])]
    } else {
        versions(registry)
    };
    let items: Vec<_> = groups
        .iter()
        .map(|(group, versions)| {
            let versions: Vec<_> = versions
                .iter()
                .map(|version| aggregated_group_version(registry, group, version))
                .collect();
            let metadata = if group.is_empty() {
                json!({"creationTimestamp": null})
            } else {
                json!({"name": group, "creationTimestamp": null})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let document = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    })
    .to_string();
    let etag = format!("\"{:X}\"", Sha256::digest(document.as_bytes()));
    let known = parts
        .headers
        .get(IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let mut response = Response::new(if known { Body::empty() } else { Body::from(document) });
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    let content_type = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    for (name, value) in [(CONTENT_TYPE, content_type), (ETAG, etag), (VARY, "Accept".to_owned())] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

fn aggregated_group_version(registry: &Registry, group: &str, version: &str) -> Value {
    let rows = registry
        .iter()
        .filter(|row| row.group == group && row.version == version);
    let resources: Vec<_> = rows.map(|row| aggregated_resource(row)).collect();
    json!({"version": version, "resources": resources, "freshness": "Current"})
}

fn aggregated_resource(row: &Resource) -> Value {
    let mut out = json!({
        "resource": row.plural,
        "responseKind": {"group": row.group, "version": row.version, "kind": row.kind},
        "scope": if row.namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": row.singular,
        "verbs": row.verbs,
    });
    if !row.short_names.is_empty() {
        out["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        out["categories"] = json!(row.categories);
    }
    if !row.subresources.is_empty() {
        let kind = |sub: &Subresource| {
            let group = sub.group.as_ref().unwrap_or(&row.group);
            let version = sub.version.as_ref().unwrap_or(&row.version);
            json!({"group": group, "version": version, "kind": sub.kind})
        };
        let subresources: Vec<_> = row
            .subresources
            .iter()
            .map(|sub| json!({"subresource": sub.name, "responseKind": kind(sub), "verbs": sub.verbs}))
            .collect();
        out["subresources"] = subresources.into();
    }
    out
}
