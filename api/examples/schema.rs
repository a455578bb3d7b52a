//! Writes the schema table (`api/schema/types.txt` and `descriptions.deflate`) from published crates.
//!
//! `k8s-openapi` knows the JSON side of every type (names, types, what is required, descriptions);
//! `k8s-pb` knows what upstream's Go comments say (`+listType`, `+patchMergeKey`, `+default`, …) and the
//! protobuf tags. Crossing the two gives everything that patches, server-side apply, pruning, OpenAPI and
//! protobuf need to know about a field. Run it after raising either crate, and review the diff:
//!
//! ```text
//! cargo run -p mizzen-api --example schema
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_json::{Map, Value, json};

/// Kubernetes version of `k8s-openapi` that the table describes.
const VERSION_DIR: &str = "v1_37";

fn main() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let openapi = crate_source(manifest, "k8s-openapi").join("src").join(VERSION_DIR);
    let pb = registry_sibling(&openapi, "k8s-pb").join("src");
    let markers = read_markers(&pb);
    let definitions = read_definitions(&openapi);
    let out = manifest.join("schema");
    let (table, descriptions) = cross(&definitions, &markers);
    std::fs::create_dir_all(&out).expect("schema directory");
    std::fs::write(out.join("types.txt"), table).expect("write types.txt");
    let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    deflate.write_all(descriptions.as_bytes()).expect("deflate to memory");
    std::fs::write(
        out.join("descriptions.deflate"),
        deflate.finish().expect("deflate to memory"),
    )
    .expect("write descriptions");
}

/// Where cargo keeps the source of a dependency.
fn crate_source(manifest: &Path, name: &str) -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--manifest-path"])
        .arg(manifest.join("Cargo.toml"))
        .output()
        .expect("cargo metadata runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages
        .iter()
        .find(|p| p["name"] == name)
        .unwrap_or_else(|| panic!("{name} is not a dependency"));
    let path = Path::new(package["manifest_path"].as_str().expect("manifest_path"));
    path.parent().expect("a directory").to_owned()
}

/// `k8s-pb` is not linked into anything, so cargo metadata does not know it: a throw-away manifest does.
fn registry_sibling(openapi: &Path, name: &str) -> PathBuf {
    let scratch = std::env::temp_dir().join(format!("mizzen-schema-{}", std::process::id()));
    std::fs::create_dir_all(scratch.join("src")).expect("scratch directory");
    std::fs::write(scratch.join("src/lib.rs"), "").expect("scratch crate");
    let manifest = format!(
        "[package]\nname = \"scratch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[dependencies]\n{name} = \"0.9\"\n[workspace]\n"
    );
    std::fs::write(scratch.join("Cargo.toml"), manifest).expect("scratch manifest");
    let found = crate_source(&scratch, name);
    std::fs::remove_dir_all(&scratch).expect("remove the scratch crate");
    assert!(openapi.exists(), "{} is missing", openapi.display());
    found
}

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .map(|e| e.expect("directory entry").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

// ---- k8s-pb: markers and tags -----------------------------------------------------------------

/// What comments and tags of one struct say.
#[derive(Default)]
struct Markers {
    comment: Vec<String>,
    fields: BTreeMap<String, FieldMarkers>,
}

#[derive(Clone, Default)]
struct FieldMarkers {
    /// Protobuf tag, behind those of the messages that Go embeds and JSON inlines (`3.1`).
    tag: String,
    comment: Vec<String>,
    /// Name of the message that the field holds, where it is one of the same package.
    message: String,
}

impl FieldMarkers {
    fn all<'a>(&'a self, marker: &'a str) -> impl Iterator<Item = &'a str> {
        markers(&self.comment, marker)
    }

    fn one<'a>(&'a self, marker: &'a str) -> Option<&'a str> {
        markers(&self.comment, marker).next()
    }
}

fn markers<'a>(comment: &'a [String], marker: &'a str) -> impl Iterator<Item = &'a str> {
    comment
        .iter()
        .filter_map(move |line| line.strip_prefix('+')?.strip_prefix(marker)?.strip_prefix('='))
}

/// Field names compare without case and underscores: `pod_i_ps`, `podIPs`.
fn squash(name: &str) -> String {
    name.trim_start_matches("r#")
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// prost writes `PodIp` for `PodIP`, so the last part of a definition's name is squashed too.
fn marker_key(module: &str, name: &str) -> String {
    format!("{module}.{}", squash(name))
}

/// Markers of a field; a message that is no field of the JSON side is inlined there, so its fields count as ours.
fn field_markers(
    all: &BTreeMap<String, Markers>,
    of: &Markers,
    json: &Map<String, Value>,
    field: &str,
) -> Option<FieldMarkers> {
    let field = squash(field);
    if let Some(found) = of.fields.get(&field) {
        return Some(found.clone());
    }
    let inlined = of
        .fields
        .iter()
        .filter(|(name, _)| !json.keys().any(|k| squash(k) == **name));
    inlined
        .filter_map(|(_, outer)| {
            let mut found = field_markers(all, all.get(&outer.message)?, json, &field)?;
            found.tag = format!("{}.{}", outer.tag, found.tag);
            Some(found)
        })
        .next()
}

/// Markers of a definition; a version that is newer than `k8s-pb` borrows those of another version of its group.
fn markers_of<'a>(all: &'a BTreeMap<String, Markers>, definition: &str) -> Option<&'a Markers> {
    let (module, name) = definition.rsplit_once('.')?;
    let (group, _version) = module.rsplit_once('.')?;
    let name = squash(name);
    all.get(&format!("{module}.{name}")).or_else(|| {
        let siblings = all
            .range(format!("{group}.")..)
            .take_while(|(key, _)| key.starts_with(&format!("{group}.v")));
        siblings
            .filter(|(key, _)| key.ends_with(&format!(".{name}")))
            .map(|(_, markers)| markers)
            .last()
    })
}

/// Markers by definition name.
fn read_markers(root: &Path) -> BTreeMap<String, Markers> {
    let mut files = Vec::new();
    rust_files(root, &mut files);
    let tag = Regex::new(r#"tag = "(\d+)""#).expect("regex");
    let field = Regex::new(r"^\s*pub ((?:r#)?\w+):(?:.*Option<(\w+)>)?").expect("regex");
    let item = Regex::new(r"^pub struct (\w+)").expect("regex");
    let mut out = BTreeMap::<String, Markers>::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("read source");
        let module = definition_prefix(file.strip_prefix(root).expect("below root"));
        let (mut comment, mut current, mut number) = (Vec::new(), None::<(String, Markers)>, String::new());
        for line in text.lines() {
            if let Some(doc) = line.trim_start().strip_prefix("///") {
                comment.push(doc.trim().replace("\\[", "[").replace("\\]", "]"));
            } else if let Some(found) = tag.captures(line) {
                number = found[1].to_owned();
            } else if let Some(found) = item.captures(line) {
                let markers = Markers {
                    comment: std::mem::take(&mut comment),
                    ..Markers::default()
                };
                current = Some((marker_key(&module, &found[1]), markers));
            } else if let Some(found) = field.captures(line) {
                let markers = FieldMarkers {
                    tag: std::mem::take(&mut number),
                    comment: std::mem::take(&mut comment),
                    message: found
                        .get(2)
                        .map_or_else(String::new, |m| marker_key(&module, m.as_str())),
                };
                if let Some((_, current)) = &mut current {
                    current.fields.insert(squash(&found[1]), markers);
                }
            } else if line == "}" || line.ends_with("{}") {
                comment.clear();
                if let Some((name, markers)) = current.take() {
                    out.insert(name, markers);
                }
            }
        }
    }
    out
}

/// `api/core/v1/mod.rs` → `io.k8s.api.core.v1`.
fn definition_prefix(path: &Path) -> String {
    let parts: Vec<_> = path
        .parent()
        .expect("a module")
        .iter()
        .map(|p| p.to_str().expect("UTF-8").replace('_', "-"))
        .collect();
    format!("io.k8s.{}", parts.join("."))
}

// ---- k8s-openapi: JSON schemas ----------------------------------------------------------------

struct Definition {
    schema: Value,
    /// group, version, kind
    gvk: Option<[String; 3]>,
}

/// Definitions by name, from the `json_schema!` text behind the `schemars` feature.
fn read_definitions(root: &Path) -> BTreeMap<String, Definition> {
    let mut files = Vec::new();
    rust_files(root, &mut files);
    let header = Regex::new(r"^// Generated from definition (\S+)").expect("regex");
    let constant = |name: &str| Regex::new(&format!(r#"const {name}: &'static str = "([^"]*)""#)).expect("regex");
    let constants = [constant("GROUP"), constant("VERSION"), constant("KIND")];
    let mut out = BTreeMap::new();
    let mut by_path = BTreeMap::new();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("read source");
        let Some(name) = header.captures(&text).map(|c| c[1].to_owned()) else {
            continue;
        };
        let Some((_, after)) = text.split_once("json_schema!(") else {
            println!("no schema: {name}");
            continue;
        };
        let found = constants.each_ref().map(|c| c.captures(&text).map(|m| m[1].to_owned()));
        let gvk = match found {
            [Some(group), Some(version), Some(kind)] => Some([group, version, kind]),
            _ => None,
        };
        let module = file.strip_prefix(root).expect("below root").parent().expect("a module");
        let path: Vec<_> = module.iter().map(|p| p.to_str().expect("UTF-8")).collect();
        let last = name.rsplit('.').next().expect("a name");
        by_path.insert(format!("crate::{}::{last}", path.join("::")), name.clone());
        let schema = SchemaText { rest: after }.value();
        out.insert(name, Definition { schema, gvk });
    }
    for definition in out.values_mut() {
        resolve(&mut definition.schema, &by_path);
    }
    out
}

/// Replaces Rust paths in `$ref` by definition names.
fn resolve(value: &mut Value, by_path: &BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(path)) = map.get_mut("$ref") {
                *path = by_path
                    .get(path)
                    .unwrap_or_else(|| panic!("no definition of {path}"))
                    .clone();
            }
            map.values_mut().for_each(|v| resolve(v, by_path));
        }
        Value::Array(items) => items.iter_mut().for_each(|v| resolve(v, by_path)),
        _ => {}
    }
}

/// A reader of the JSON-like text inside `json_schema!`, whose expressions become `$ref`s.
struct SchemaText<'a> {
    rest: &'a str,
}

impl SchemaText<'_> {
    fn eat(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self) -> Value {
        if self.eat("({") {
            self.block()
        } else if self.eat("(") {
            let value = self.value();
            assert!(self.eat(")"));
            value
        } else if self.eat("__gen.subschema_for::<") {
            let (path, rest) = self.rest.split_once(">()").expect("a path");
            let value = json!({"$ref": path});
            self.rest = rest;
            value
        } else if self.eat("{") {
            let mut map = Map::new();
            while !self.eat("}") {
                let key = self.string();
                assert!(self.eat(":"));
                map.insert(key, self.value());
                self.eat(",");
            }
            Value::Object(map)
        } else if self.eat("[") {
            let mut items = Vec::new();
            while !self.eat("]") {
                items.push(self.value());
                self.eat(",");
            }
            Value::Array(items)
        } else if self.eat("true") {
            Value::Bool(true)
        } else {
            Value::String(self.string())
        }
    }

    /// `let mut schema_obj = …; schema_obj.ensure_object().insert("description".into(), "…".into()); schema_obj })`
    fn block(&mut self) -> Value {
        assert!(self.eat("let mut schema_obj ="));
        let mut value = self.value();
        assert!(self.eat(";"));
        while self.eat("schema_obj.ensure_object().insert(") {
            let key = self.string();
            assert!(self.eat(".into(),"));
            value[&key] = Value::String(self.string());
            assert!(self.eat(".into());"));
        }
        assert!(self.eat("schema_obj") && self.eat("})"), "{:.80}", self.rest);
        value
    }

    fn string(&mut self) -> String {
        assert!(self.eat("\""), "a string at {:.80}", self.rest);
        let mut out = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return out;
                }
                '\\' => match chars.next().expect("an escape").1 {
                    'n' => out.push('\n'),
                    't' => out.push('\t'),
                    c @ ('"' | '\\' | '\'') => out.push(c),
                    other => panic!("escape \\{other}"),
                },
                c => out.push(c),
            }
        }
        panic!("an open string")
    }
}

// ---- the table --------------------------------------------------------------------------------

fn cross(definitions: &BTreeMap<String, Definition>, markers: &BTreeMap<String, Markers>) -> (String, String) {
    let mut table = String::from(
        "# Written by `cargo run -p mizzen-api --example schema`; the format is described in src/schema/table.rs.\n",
    );
    let mut descriptions = String::new();
    let mut without = BTreeSet::new();
    for (name, definition) in definitions {
        let none = Markers::default();
        let marked = markers_of(markers, name).unwrap_or_else(|| {
            without.insert(name.clone());
            &none
        });
        write!(table, "{name}").expect("write to a string");
        if let Some([group, version, kind]) = &definition.gvk {
            write!(table, " g={group}/{version}/{kind}").expect("write to a string");
        }
        if self::markers(&marked.comment, "structType").next() == Some("atomic") {
            table.push_str(" m=atomic");
        }
        table.push('\n');
        describe(&mut descriptions, &definition.schema);
        let Some(properties) = definition.schema["properties"].as_object() else {
            continue;
        };
        for (field, schema) in properties {
            describe(&mut descriptions, schema);
            let required = definition.schema["required"]
                .as_array()
                .is_some_and(|r| r.iter().any(|n| n == field));
            let found = field_markers(markers, marked, properties, field);
            if found.is_none() && !without.contains(name) && !matches!(field.as_str(), "apiVersion" | "kind") {
                println!("no markers: {name} {field}");
            }
            field_line(&mut table, field, schema, required, &found.unwrap_or_default());
        }
    }
    for name in without {
        println!("no markers: {name}");
    }
    (table, descriptions)
}

/// One description a line, newlines escaped.
fn describe(out: &mut String, schema: &Value) {
    let text = schema["description"].as_str().unwrap_or_default();
    out.push_str(&text.replace('\\', "\\\\").replace('\n', "\\n"));
    out.push('\n');
}

fn field_line(table: &mut String, name: &str, schema: &Value, required: bool, marks: &FieldMarkers) {
    write!(table, " {name} {}", shape(schema)).expect("write to a string");
    if required {
        table.push('!');
    }
    if !marks.tag.is_empty() {
        write!(table, " {}", marks.tag).expect("write to a string");
    }
    if let Some(list) = marks.one("listType") {
        let keys: Vec<_> = marks.all("listMapKey").collect();
        write!(table, " l={list}").expect("write to a string");
        if list == "map" {
            write!(table, ":{}", keys.join(",")).expect("write to a string");
        }
    }
    if let Some(strategy) = marks.one("patchStrategy") {
        write!(table, " p={strategy}").expect("write to a string");
        if let Some(key) = marks.one("patchMergeKey") {
            write!(table, ":{key}").expect("write to a string");
        }
    }
    if let Some(kind) = marks.one("structType").or(marks.one("mapType")) {
        write!(table, " m={kind}").expect("write to a string");
    }
    // `ref(…)` names a Go constant, whose value upstream spells like its name's tail.
    if let Some(default) = marks.one("default") {
        let value = match default.strip_prefix("ref(") {
            Some("AzureDataDiskCachingReadWrite)") => "\"ReadWrite\"",
            Some("AzureSharedBlobDisk)") => "\"Shared\"",
            Some(other) => panic!("unknown constant {other}"),
            None => default,
        };
        write!(table, " d={value}").expect("write to a string");
    }
    table.push('\n');
}

/// `string`, `int32`, `[]…`, `{}…` or the name of a definition.
fn shape(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        return name.to_owned();
    }
    let format = schema["format"].as_str();
    match schema["type"].as_str() {
        Some("array") => format!("[]{}", shape(&schema["items"])),
        Some("object") => match schema.get("additionalProperties") {
            Some(value) => format!("{{}}{}", shape(value)),
            None => "object".to_owned(),
        },
        Some("string") if format == Some("byte") => "bytes".to_owned(),
        Some("integer" | "number") => format.expect("a format").to_owned(),
        Some(kind) => kind.to_owned(),
        None => panic!("no type in {schema}"),
    }
}
