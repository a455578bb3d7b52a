//! OpenAPI documents, generated from the registry and the schema table when somebody asks.
//!
//! Version 3 is an index and a document per group version; version 2 is one document, in JSON and in the
//! protobuf form that kubectl asks for. Documents are written out one definition and one path at a time and
//! not kept: what they are made of is small, they are not.

mod definitions;
mod operations;
mod protobuf;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Map, Value, json};

use crate::resource::{Registry, Resource};
use crate::schema::table;
use definitions::Definitions;

/// Which OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> Value {
        match self {
            Self::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Self::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }
}

/// `/openapi/v3`: where the document of each group version is, with a hash by which clients cache it.
pub fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for row in registry.iter() {
        let path = path_of(row);
        if !paths.contains_key(&path) {
            let url = format!("/openapi/v3/{path}?hash={}", hash(registry, &path));
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

/// A hash that changes when the document of a group version may.
pub fn hash(registry: &Registry, path: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (env!("CARGO_PKG_VERSION"), table::BUILTIN).hash(&mut hasher);
    for row in registry.iter().filter(|row| path_of(row) == path) {
        format!("{row:?}").hash(&mut hasher);
    }
    format!("{:016X}", hasher.finish())
}

/// The document of a group version such as `api/v1` or `apis/apps/v1`, as JSON.
pub fn group_version(registry: &Registry, path: &str, version: &str) -> Option<Vec<u8>> {
    let rows: Vec<_> = registry.iter().filter(|row| path_of(row) == path).collect();
    if rows.is_empty() {
        return None;
    }
    let mut out =
        format!(r#"{{"openapi":"3.0.0","info":{{"title":"Kubernetes","version":"{version}"}},"paths":"#).into_bytes();
    write_entries(
        &mut out,
        rows.iter().flat_map(|row| operations::paths(Dialect::V3, row)),
    );
    out.extend_from_slice(br#","components":{"schemas":"#);
    let mut definitions = Definitions::new(Dialect::V3);
    rows.iter().for_each(|row| definitions.need(row));
    write_entries(&mut out, definitions.entries());
    out.extend_from_slice(
        br#","securitySchemes":{"BearerToken":{"description":"Bearer Token authentication","in":"header","name":"authorization","type":"apiKey"}}},"security":[{"BearerToken":[]}]}"#,
    );
    Some(out)
}

/// `/openapi/v2` as JSON.
pub fn v2(registry: &Registry, version: &str) -> Vec<u8> {
    let mut out =
        format!(r#"{{"swagger":"2.0","info":{{"title":"Kubernetes","version":"{version}"}},"paths":"#).into_bytes();
    write_entries(
        &mut out,
        registry.iter().flat_map(|row| operations::paths(Dialect::V2, row)),
    );
    out.extend_from_slice(br#","definitions":"#);
    write_entries(&mut out, all_definitions(registry).entries());
    out.extend_from_slice(
        br#","securityDefinitions":{"BearerToken":{"description":"Bearer Token authentication","in":"header","name":"authorization","type":"apiKey"}},"security":[{"BearerToken":[]}]}"#,
    );
    out
}

/// `/openapi/v2` in protobuf (`application/com.github.proto-openapi.spec.v2.v1.0+protobuf`).
pub fn v2_protobuf(registry: &Registry, version: &str) -> Vec<u8> {
    let paths = registry.iter().flat_map(|row| operations::paths(Dialect::V2, row));
    protobuf::document(version, paths, all_definitions(registry).entries())
}

fn all_definitions(registry: &Registry) -> Definitions {
    let mut definitions = Definitions::new(Dialect::V2);
    registry.iter().for_each(|row| definitions.need(row));
    definitions
}

/// Where the document of a resource's group version is below `/openapi/v3/`: `api/v1`, `apis/apps/v1`.
pub fn path_of(row: &Resource) -> String {
    let root = if row.group.is_empty() { "api" } else { "apis" };
    format!("{root}/{}", row.api_version())
}

fn write_entries(out: &mut Vec<u8>, entries: impl Iterator<Item = (String, Value)>) {
    out.push(b'{');
    for (at, (key, value)) in entries.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, &key).expect("a string encodes");
        out.push(b':');
        serde_json::to_writer(&mut *out, &value).expect("a JSON value encodes");
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests;
