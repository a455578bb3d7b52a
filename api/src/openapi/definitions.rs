//! The definitions of types: from the schema table to JSON schemas.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Dialect;
use crate::resource::Resource;
use crate::schema::descriptions::Descriptions;
use crate::schema::{self, Field, Kind, ListType, Scalar, ShapeRef, TypeRef};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// The definitions that a document needs.
pub(super) struct Definitions {
    dialect: Dialect,
    needed: BTreeMap<String, Need>,
}

enum Need {
    Type(TypeRef<'static>),
    /// A list of a kind, which the table does not have: name of the item, and of the kind.
    List(String, [String; 3]),
    /// A kind without a schema.
    Unknown([String; 3]),
}

/// Name of the definition of a kind.
pub(super) fn name_of(group: &str, version: &str, kind: &str) -> String {
    match schema::builtin().by_kind(group, version, kind) {
        Some(ty) => ty.name().to_owned(),
        None => {
            let mut parts: Vec<_> = group.split('.').collect();
            parts.reverse();
            format!("{}.{version}.{kind}", parts.join("."))
        }
    }
}

/// Name of a definition of the meta group.
pub(super) fn meta(name: &str) -> String {
    format!("{META}.{name}")
}

impl Definitions {
    pub(super) fn new(dialect: Dialect) -> Self {
        let mut definitions = Self {
            dialect,
            needed: BTreeMap::new(),
        };
        for name in ["DeleteOptions", "ListMeta", "Patch", "Status", "WatchEvent"] {
            definitions.need_type(schema::builtin().by_name(&meta(name)));
        }
        definitions
    }

    /// Adds what a resource's paths refer to.
    pub(super) fn need(&mut self, row: &Resource) {
        self.need_kind(&row.group, &row.version, &row.kind);
        if row.allows("list") {
            let kind = format!("{}List", row.kind);
            let name = name_of(&row.group, &row.version, &row.kind);
            let gvk = [row.group.to_string(), row.version.to_string(), kind];
            self.needed.insert(format!("{name}List"), Need::List(name, gvk));
        }
        for sub in row.subresources.iter() {
            let group = sub.group.as_ref().unwrap_or(&row.group);
            let version = sub.version.as_ref().unwrap_or(&row.version);
            self.need_kind(group, version, &sub.kind);
        }
    }

    fn need_kind(&mut self, group: &str, version: &str, kind: &str) {
        let ty = schema::builtin().by_kind(group, version, kind);
        if ty.is_some() {
            return self.need_type(ty);
        }
        // Options of exec and its like are query parameters, not documents.
        if !kind.ends_with("Options") {
            let gvk = [group, version, kind].map(str::to_owned);
            self.needed.insert(name_of(group, version, kind), Need::Unknown(gvk));
        }
    }

    fn need_type(&mut self, ty: Option<TypeRef<'static>>) {
        let Some(ty) = ty.filter(|ty| !self.needed.contains_key(ty.name())) else {
            return;
        };
        self.needed.insert(ty.name().to_owned(), Need::Type(ty));
        for field in ty.fields() {
            let mut shape = ty.shape(field);
            while let Kind::List(inner) | Kind::Map(inner) = shape.kind() {
                shape = inner;
            }
            self.need_type(shape.definition());
        }
        if is_json_schema(ty) {
            self.need_type(schema::builtin().by_name("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON"));
        }
    }

    /// The definitions in order of name.
    pub(super) fn entries(self) -> impl Iterator<Item = (String, Value)> {
        let descriptions = Descriptions::load();
        let dialect = self.dialect;
        self.needed.into_iter().map(move |(name, need)| {
            let schema = match need {
                Need::Type(ty) => definition(dialect, ty, &descriptions),
                Need::List(item, gvk) => list(dialect, &item, &gvk),
                Need::Unknown(gvk) => json!({"type": "object", "x-kubernetes-group-version-kind": [gvk_json(&gvk)]}),
            };
            (name, schema)
        })
    }
}

fn is_json_schema(ty: TypeRef<'_>) -> bool {
    ty.go_name() == "JSONSchemaProps"
}

fn gvk_json(gvk: &[impl AsRef<str>; 3]) -> Value {
    let [group, version, kind] = gvk.each_ref().map(AsRef::as_ref);
    json!({"group": group, "kind": kind, "version": version})
}

fn definition(dialect: Dialect, ty: TypeRef<'static>, descriptions: &Descriptions) -> Value {
    let mut out = match ty.kind() {
        Kind::Scalar(scalar) => scalar_definition(dialect, scalar, ty),
        _ => json!({"type": "object"}),
    };
    put_text(&mut out, "description", descriptions.of_type(ty));
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (position, field) in ty.fields().iter().enumerate() {
        let mut property = property(dialect, ty, field);
        put_text(&mut property, "description", descriptions.of_field(ty, position));
        properties.insert(field.name.to_string(), property);
        // k8s-openapi asks for metadata where upstream does not.
        if field.required && field.name != "metadata" {
            required.push(field.name.as_ref());
        }
    }
    if !properties.is_empty() {
        out["properties"] = properties.into();
    }
    if !required.is_empty() {
        out["required"] = required.into();
    }
    if ty.atomic() {
        out["x-kubernetes-map-type"] = "atomic".into();
    }
    if let Some(gvk) = ty.gvk() {
        out["x-kubernetes-group-version-kind"] = json!([gvk_json(&gvk)]);
    }
    out
}

fn scalar_definition(dialect: Dialect, scalar: Scalar, ty: TypeRef<'_>) -> Value {
    match (scalar, dialect) {
        (Scalar::Quantity, Dialect::V2) => json!({"type": "string"}),
        (Scalar::Quantity, Dialect::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        (Scalar::IntOrString, Dialect::V2) => json!({"type": "string", "format": "int-or-string"}),
        (Scalar::IntOrString, Dialect::V3) => {
            json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"})
        }
        (Scalar::Time | Scalar::MicroTime, _) => json!({"type": "string", "format": "date-time"}),
        (Scalar::Object, _) => json!({"type": "object"}),
        (Scalar::Any, _) if ty.go_name() == "RawExtension" => json!({"type": "object"}),
        _ => json!({}),
    }
}

fn property(dialect: Dialect, ty: TypeRef<'static>, field: &Field) -> Value {
    let shape = ty.shape(field);
    let mut out = shape_schema(dialect, shape);
    // In version 3 nothing may stand beside a reference.
    if dialect == Dialect::V3 && out.get("$ref").is_some() {
        out = json!({"allOf": [out]});
    }
    let default = field.default_json().and_then(|d| serde_json::from_str(d).ok());
    let empty = matches!(shape.kind(), Kind::Struct(_)) && field.required;
    if let Some(default) = default
        .or(empty.then(|| json!({})))
        .filter(|_| dialect == Dialect::V3 || !empty)
    {
        out["default"] = default;
    }
    match (field.list, shape.kind()) {
        (ListType::Set, _) => out["x-kubernetes-list-type"] = "set".into(),
        (ListType::Map, _) => {
            out["x-kubernetes-list-type"] = "map".into();
            out["x-kubernetes-list-map-keys"] = json!(field.list_keys());
        }
        (ListType::Atomic, Kind::List(_)) => out["x-kubernetes-list-type"] = "atomic".into(),
        _ => {}
    }
    let patch = field.patch;
    let strategies = [
        (patch.merge, "merge"),
        (patch.retain_keys, "retainKeys"),
        (patch.replace, "replace"),
    ];
    let strategies: Vec<_> = strategies
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, name)| *name)
        .collect();
    put_text(&mut out, "x-kubernetes-patch-strategy", strategies.join(","));
    put_text(
        &mut out,
        "x-kubernetes-patch-merge-key",
        field.merge_key().unwrap_or_default().to_owned(),
    );
    if let Some(atomic) = field.atomic {
        out["x-kubernetes-map-type"] = if atomic { "atomic" } else { "granular" }.into();
    }
    out
}

fn shape_schema(dialect: Dialect, shape: ShapeRef<'static>) -> Value {
    if let Some(definition) = shape.definition() {
        return dialect.reference(definition.name());
    }
    match shape.kind() {
        Kind::List(item) => json!({"type": "array", "items": inner(dialect, item)}),
        Kind::Map(value) => json!({"type": "object", "additionalProperties": inner(dialect, value)}),
        Kind::Scalar(Scalar::Boolean) => json!({"type": "boolean"}),
        Kind::Scalar(Scalar::Int32) => json!({"type": "integer", "format": "int32"}),
        Kind::Scalar(Scalar::Int64) => json!({"type": "integer", "format": "int64"}),
        Kind::Scalar(Scalar::Double) => json!({"type": "number", "format": "double"}),
        Kind::Scalar(Scalar::Bytes) => json!({"type": "string", "format": "byte"}),
        Kind::Scalar(Scalar::Object) => json!({"type": "object"}),
        _ => json!({"type": "string"}),
    }
}

/// The schema of items and of values in maps.
fn inner(dialect: Dialect, shape: ShapeRef<'static>) -> Value {
    let schema = shape_schema(dialect, shape);
    match (dialect, shape.kind()) {
        (Dialect::V3, Kind::Struct(_)) => json!({"allOf": [schema], "default": {}}),
        _ => schema,
    }
}

fn list(dialect: Dialect, item: &str, gvk: &[String; 3]) -> Value {
    let mut metadata = dialect.reference(&meta("ListMeta"));
    let mut items = dialect.reference(item);
    if dialect == Dialect::V3 {
        metadata = json!({"allOf": [metadata], "default": {}});
        items = json!({"allOf": [items], "default": {}});
    }
    metadata["description"] = "Standard list metadata.".into();
    json!({
        "description": format!("{} is a list of {}.", gvk[2], gvk[2].trim_end_matches("List")),
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of the schema of this object."},
            "items": {"type": "array", "items": items, "description": "The objects of the list."},
            "kind": {"type": "string", "description": "The kind of this object."},
            "metadata": metadata,
        },
        "required": ["items"],
        "x-kubernetes-group-version-kind": [gvk_json(gvk)],
    })
}

fn put_text(out: &mut Value, key: &str, text: String) {
    if !text.is_empty() {
        out[key] = text.into();
    }
}
