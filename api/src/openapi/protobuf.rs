//! The protobuf form of an OpenAPI v2 document that kubectl asks for (gnostic's `openapi.v2.Document`).
//!
//! Field numbers are those of gnostic's `OpenAPIv2.proto`; only what our documents use is written.

use serde_json::Value;

/// Writes a document from its paths and definitions.
pub(super) fn document(
    version: &str,
    paths: impl Iterator<Item = (String, Value)>,
    definitions: impl Iterator<Item = (String, Value)>,
) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, "2.0");
    out.message(2, |info| {
        info.text(1, "Kubernetes");
        info.text(2, version);
    });
    out.message(8, |all| {
        for (path, item) in paths {
            all.named(2, &path, |out| path_item(out, &item));
        }
    });
    out.message(9, |all| {
        for (name, definition) in definitions {
            all.named(1, &name, |out| schema(out, &definition));
        }
    });
    out.bytes
}

/// A message under construction.
#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.bytes.push(value.to_le_bytes()[0]);
    }

    fn raw(&mut self, tag: u64, bytes: &[u8]) {
        self.varint(tag << 3 | 2);
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn text(&mut self, tag: u64, text: &str) {
        self.raw(tag, text.as_bytes());
    }

    fn flag(&mut self, tag: u64, value: Option<&Value>) {
        if value == Some(&Value::Bool(true)) {
            self.varint(tag << 3);
            self.varint(1);
        }
    }

    /// A string that may be there, or each string of a list.
    fn texts(&mut self, tag: u64, value: Option<&Value>) {
        match value {
            Some(Value::String(text)) => self.text(tag, text),
            Some(Value::Array(items)) => items.iter().for_each(|i| self.texts(tag, Some(i))),
            _ => {}
        }
    }

    fn message(&mut self, tag: u64, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.raw(tag, &inner.bytes);
    }

    /// An entry of a map: a name and a message.
    fn named(&mut self, tag: u64, name: &str, write: impl FnOnce(&mut Self)) {
        self.message(tag, |entry| {
            entry.text(1, name);
            entry.message(2, write);
        });
    }

    /// `x-…` keys: their values travel as YAML, which JSON is.
    fn extensions(&mut self, tag: u64, value: &Value) {
        for (key, value) in value
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(k, _)| k.starts_with("x-"))
        {
            self.named(tag, key, |any| any.text(2, &value.to_string()));
        }
    }
}

fn path_item(out: &mut Message, item: &Value) {
    for (tag, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(operation) = item.get(method) {
            out.message(tag, |out| self::operation(out, operation));
        }
    }
    parameters(out, 9, item);
}

fn operation(out: &mut Message, operation: &Value) {
    out.texts(1, operation.get("tags"));
    out.texts(3, operation.get("description"));
    out.texts(5, operation.get("operationId"));
    out.texts(6, operation.get("produces"));
    out.texts(7, operation.get("consumes"));
    parameters(out, 8, operation);
    out.message(9, |out| {
        for (code, response) in operation["responses"].as_object().into_iter().flatten() {
            out.named(1, code, |out| {
                out.message(1, |out| {
                    out.texts(1, response.get("description"));
                    if let Some(of) = response.get("schema") {
                        out.message(2, |out| out.message(1, |out| schema(out, of)));
                    }
                });
            });
        }
    });
    out.texts(10, operation.get("schemes"));
    out.extensions(13, operation);
}

fn parameters(out: &mut Message, tag: u64, holder: &Value) {
    for parameter in holder["parameters"].as_array().into_iter().flatten() {
        out.message(tag, |out| {
            out.message(1, |out| match parameter["in"].as_str() {
                Some("body") => out.message(1, |out| {
                    out.texts(2, parameter.get("name"));
                    out.texts(3, parameter.get("in"));
                    out.flag(4, parameter.get("required"));
                    out.message(5, |out| schema(out, &parameter["schema"]));
                }),
                Some("query") => out.message(2, |out| out.message(3, |out| plain_parameter(out, parameter, 6))),
                _ => out.message(2, |out| out.message(4, |out| plain_parameter(out, parameter, 5))),
            });
        });
    }
}

/// A query or path parameter; they differ in where their type goes.
fn plain_parameter(out: &mut Message, parameter: &Value, type_tag: u64) {
    out.flag(1, parameter.get("required"));
    out.texts(2, parameter.get("in"));
    out.texts(3, parameter.get("description"));
    out.texts(4, parameter.get("name"));
    out.texts(type_tag, parameter.get("type"));
}

fn schema(out: &mut Message, schema: &Value) {
    out.texts(1, schema.get("$ref"));
    out.texts(2, schema.get("format"));
    out.texts(4, schema.get("description"));
    if let Some(default) = schema.get("default") {
        out.message(5, |any| any.text(2, &default.to_string()));
    }
    out.texts(19, schema.get("required"));
    if let Some(value) = schema.get("additionalProperties") {
        out.message(21, |out| out.message(1, |out| self::schema(out, value)));
    }
    if schema.get("type").is_some() {
        out.message(22, |out| out.texts(1, schema.get("type")));
    }
    if let Some(item) = schema.get("items") {
        out.message(23, |out| out.message(1, |out| self::schema(out, item)));
    }
    if let Some(Value::Object(properties)) = schema.get("properties") {
        out.message(25, |out| {
            for (name, property) in properties {
                out.named(1, name, |out| self::schema(out, property));
            }
        });
    }
    out.extensions(31, schema);
}
