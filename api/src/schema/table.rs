//! The text form of a [`Schema`], and its reader.
//!
//! A line that starts at the margin is a definition: its name, then `g=group/version/kind` and `m=atomic`
//! where they apply. The indented lines below are its fields, sorted: name, shape (with `!` when required),
//! protobuf tags, then `l=` list type with keys, `p=` patch strategy with merge key, `m=` map or struct type,
//! `d=` default as JSON up to the end of the line. Written by `cargo run -p mizzen-api --example schema`.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{Field, ListType, PatchStrategy, Rarely, Scalar, Schema, Shape, Type};

/// The table of built-in types.
pub const BUILTIN: &str = include_str!("../../schema/types.txt");

/// Reads a table. The text is our own, so a mistake in it is a bug: it panics.
pub fn parse(text: &'static str) -> Schema {
    let mut reader = Reader::default();
    for (index, line) in text.lines().filter(|l| !l.starts_with('#')).enumerate() {
        match line.strip_prefix(' ') {
            Some(field) => reader.field(field),
            None => reader.definition(line, index),
        }
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    schema: Schema,
    fields: Vec<Field>,
    shapes: HashMap<&'static str, u32>,
    /// Shapes that name definitions further down.
    pending: Vec<(u32, &'static str)>,
}

impl Reader {
    fn definition(&mut self, line: &'static str, index: usize) {
        self.close();
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let mut ty = Type {
            name: Cow::Borrowed(name),
            scalar: scalar_definition(name),
            gvk: None,
            atomic: false,
            fields: Box::default(),
            described: u32::try_from(index).expect("few lines"),
        };
        for word in words {
            if let Some(gvk) = word.strip_prefix("g=") {
                let mut parts = gvk.split('/').map(Cow::Borrowed);
                ty.gvk = Some(std::array::from_fn(|_| parts.next().expect("three parts")));
            } else {
                ty.atomic = word == "m=atomic";
            }
        }
        self.schema.types.push(ty);
    }

    fn close(&mut self) {
        if let Some(last) = self.schema.types.last_mut() {
            last.fields = std::mem::take(&mut self.fields).into();
        }
    }

    fn field(&mut self, line: &'static str) {
        let (line, default) = match line.split_once(" d=") {
            Some((line, default)) => (line, Some(Cow::Borrowed(default))),
            None => (line, None),
        };
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let shape = words.next().expect("a shape");
        let mut field = Field {
            name: Cow::Borrowed(name),
            required: shape.ends_with('!'),
            list: ListType::Atomic,
            atomic: None,
            patch: PatchStrategy::default(),
            shape: self.shape(shape.trim_end_matches('!')),
            tag: 0,
            rarely: None,
        };
        let mut rarely = Rarely {
            default,
            ..Rarely::default()
        };
        for word in words {
            option(&mut field, &mut rarely, word);
        }
        if rarely != Rarely::default() {
            field.rarely = Some(Box::new(rarely));
        }
        self.fields.push(field);
    }

    /// The index of a shape, made when it is new.
    fn shape(&mut self, text: &'static str) -> u32 {
        if let Some(index) = self.shapes.get(text) {
            return *index;
        }
        let shape = if let Some(item) = text.strip_prefix("[]") {
            Shape::List(self.shape(item))
        } else if let Some(value) = text.strip_prefix("{}") {
            Shape::Map(self.shape(value))
        } else if let Some(scalar) = scalar(text) {
            Shape::Scalar(scalar)
        } else {
            Shape::Named(u32::MAX)
        };
        let index = u32::try_from(self.schema.shapes.len()).expect("few shapes");
        if shape == Shape::Named(u32::MAX) {
            self.pending.push((index, text));
        }
        self.schema.shapes.push(shape);
        self.shapes.insert(text, index);
        index
    }

    fn finish(mut self) -> Schema {
        self.close();
        for (index, ty) in (0..).zip(&self.schema.types) {
            self.schema.by_name.insert(ty.name.clone(), index);
            if let Some(gvk) = ty.gvk.clone() {
                self.schema.by_kind.insert(gvk, index);
            }
        }
        for (shape, name) in self.pending {
            let definition = *self.schema.by_name.get(name).unwrap_or_else(|| panic!("no {name}"));
            self.schema.shapes[shape as usize] = Shape::Named(definition);
        }
        self.schema.shapes.shrink_to_fit();
        self.schema
    }
}

fn option(field: &mut Field, rarely: &mut Rarely, word: &'static str) {
    let Some((key, value)) = word.split_once('=') else {
        match word.parse() {
            Ok(tag) => field.tag = tag,
            Err(_) => rarely.tags = word.split('.').map(|t| t.parse().expect("a tag")).collect(),
        }
        return;
    };
    let (value, detail) = value.split_once(':').unwrap_or((value, ""));
    match (key, value) {
        ("l", "map") => {
            field.list = ListType::Map;
            rarely.list_keys = detail.split(',').map(Cow::Borrowed).collect();
        }
        ("l", "set") => field.list = ListType::Set,
        ("l", _) => field.list = ListType::Atomic,
        ("p", strategies) => {
            for strategy in strategies.split(',') {
                field.patch.merge |= strategy == "merge";
                field.patch.replace |= strategy == "replace";
                field.patch.retain_keys |= strategy == "retainKeys";
            }
            rarely.merge_key = (!detail.is_empty()).then_some(Cow::Borrowed(detail));
        }
        ("m", value) => field.atomic = Some(value == "atomic"),
        _ => panic!("unknown option {word}"),
    }
}

fn scalar(text: &str) -> Option<Scalar> {
    Some(match text {
        "string" => Scalar::String,
        "boolean" => Scalar::Boolean,
        "int32" => Scalar::Int32,
        "int64" => Scalar::Int64,
        "double" => Scalar::Double,
        "bytes" => Scalar::Bytes,
        "object" => Scalar::Object,
        _ => return None,
    })
}

/// Definitions that have a JSON form of their own instead of fields.
fn scalar_definition(name: &str) -> Option<Scalar> {
    let name = name.strip_prefix("io.k8s.")?;
    Some(match name {
        "apimachinery.pkg.api.resource.Quantity" => Scalar::Quantity,
        "apimachinery.pkg.apis.meta.v1.Time" => Scalar::Time,
        "apimachinery.pkg.apis.meta.v1.MicroTime" => Scalar::MicroTime,
        "apimachinery.pkg.util.intstr.IntOrString" => Scalar::IntOrString,
        "apimachinery.pkg.apis.meta.v1.FieldsV1" | "apimachinery.pkg.apis.meta.v1.Patch" => Scalar::Object,
        "apimachinery.pkg.runtime.RawExtension"
        | "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON"
        | "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray"
        | "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool"
        | "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray" => Scalar::Any,
        _ => return None,
    })
}
