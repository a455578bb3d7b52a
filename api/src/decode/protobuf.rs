//! Protobuf bodies, which kubectl's typed commands and Kubernetes' own components send, read into JSON values.
//!
//! A body is `k8s\0` and an envelope that says kind and version and holds the object. The schema knows the
//! tags. What the wire does not say is whether a zero was set or is merely Go's zero value: [`keeps_zero`].

use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use crate::schema::{Field, Kind, Scalar, ShapeRef, TypeRef};

const MAGIC: &[u8] = b"k8s\0";
/// Messages nest no deeper than this.
const MAX_DEPTH: usize = 64;

/// What the envelope says, and what is in it.
#[derive(Debug, Default)]
pub(super) struct Envelope<'b> {
    pub(super) api_version: &'b str,
    pub(super) kind: &'b str,
    pub(super) raw: &'b [u8],
}

type Outcome<T> = Result<T, String>;

/// Opens the envelope.
pub(super) fn open(bytes: &[u8]) -> Outcome<Envelope<'_>> {
    let body = bytes
        .strip_prefix(MAGIC)
        .ok_or("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")?;
    let mut envelope = Envelope::default();
    for entry in Reader(body) {
        match entry? {
            (1, Wire::Bytes(meta)) => {
                for entry in Reader(meta) {
                    match entry? {
                        (1, Wire::Bytes(text)) => envelope.api_version = utf8(text)?,
                        (2, Wire::Bytes(text)) => envelope.kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(raw)) => envelope.raw = raw,
            _ => {}
        }
    }
    Ok(envelope)
}

/// Reads an object of a type.
pub(super) fn read(ty: TypeRef<'static>, bytes: &[u8]) -> Outcome<Map<String, Value>> {
    let mut out = Map::new();
    message(ty, &[], bytes, &mut out, MAX_DEPTH)?;
    Ok(out)
}

/// One value on the wire.
#[derive(Clone, Copy)]
enum Wire<'b> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'b [u8]),
}

/// Walks the fields of a message.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Outcome<&'b [u8]> {
        let (head, rest) = self.0.split_at_checked(count).ok_or("unexpected EOF")?;
        self.0 = rest;
        Ok(head)
    }

    fn varint(&mut self) -> Outcome<u64> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let [byte] = *self.take(1)? else {
                break;
            };
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("proto: integer overflow".to_owned())
    }

    fn field(&mut self) -> Outcome<(u16, Wire<'b>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().unwrap_or_default())),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| "proto: wrong length")?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().unwrap_or_default())),
            other => return Err(format!("proto: illegal wireType {other}")),
        };
        let tag = u16::try_from(key >> 3).map_err(|_| "proto: illegal tag")?;
        Ok((tag, value))
    }
}

impl<'b> Iterator for Reader<'b> {
    type Item = Outcome<(u16, Wire<'b>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Reads the fields of a struct whose tags begin with `prefix`: JSON inlines messages that protobuf does not.
fn message(
    ty: TypeRef<'static>,
    prefix: &[u16],
    bytes: &[u8],
    out: &mut Map<String, Value>,
    depth: usize,
) -> Outcome<()> {
    let depth = depth.checked_sub(1).ok_or("exceeded max depth")?;
    for entry in Reader(bytes) {
        let (tag, wire) = entry?;
        let below = |field: &&Field| {
            field
                .tags()
                .strip_prefix(prefix)
                .and_then(|rest| rest.split_first())
                .is_some_and(|(first, _)| *first == tag)
        };
        let Some(field) = ty.fields().iter().find(below) else {
            continue;
        };
        if field.tags().len() > prefix.len() + 1 {
            if let Wire::Bytes(inlined) = wire {
                message(ty, &[prefix, &[tag]].concat(), inlined, out, depth)?;
            }
            continue;
        }
        put(ty, field, wire, out, depth)?;
    }
    Ok(())
}

/// Puts one occurrence of a field: the value itself, an item of a list, an entry of a map.
fn put(ty: TypeRef<'static>, field: &Field, wire: Wire<'_>, out: &mut Map<String, Value>, depth: usize) -> Outcome<()> {
    let shape = ty.shape(field);
    let slot = |out: &mut Map<String, Value>, empty: Value| out.entry(field.name.as_ref()).or_insert(empty).take();
    match (shape.kind(), wire) {
        (Kind::List(item), wire) => {
            let mut items = match slot(out, Vec::<Value>::new().into()) {
                Value::Array(items) => items,
                _ => Vec::new(),
            };
            match (item.kind(), wire) {
                // Numbers may come packed.
                (Kind::Scalar(Scalar::Int32 | Scalar::Int64), Wire::Bytes(packed)) => {
                    let mut reader = Reader(packed);
                    while !reader.0.is_empty() {
                        items.push(value(item, Wire::Varint(reader.varint()?), depth)?);
                    }
                }
                (_, wire) => items.push(value(item, wire, depth)?),
            }
            out.insert(field.name.to_string(), items.into());
        }
        (Kind::Map(of), Wire::Bytes(entry)) => {
            let mut map = match slot(out, Map::new().into()) {
                Value::Object(map) => map,
                _ => Map::new(),
            };
            let (key, value) = map_entry(of, entry, depth)?;
            map.insert(key, value);
            out.insert(field.name.to_string(), map.into());
        }
        _ => {
            let value = value(shape, wire, depth)?;
            if field.required || !is_zero(&value) || keeps_zero(ty, field, &value) {
                out.insert(field.name.to_string(), value);
            }
        }
    }
    Ok(())
}

fn map_entry(of: ShapeRef<'static>, bytes: &[u8], depth: usize) -> Outcome<(String, Value)> {
    let (mut key, mut content) = (String::new(), Wire::Bytes(&[]));
    for entry in Reader(bytes) {
        match entry? {
            (1, Wire::Bytes(text)) => key = utf8(text)?.to_owned(),
            (2, wire) => content = wire,
            _ => {}
        }
    }
    let value = match (of.kind(), content) {
        // A list as a value is a message of items.
        (Kind::List(item), Wire::Bytes(list)) => {
            let items = Reader(list)
                .map(|entry| value(item, entry?.1, depth))
                .collect::<Outcome<Vec<_>>>();
            items?.into()
        }
        (_, content) => value(of, content, depth)?,
    };
    Ok((key, value))
}

fn value(shape: ShapeRef<'static>, wire: Wire<'_>, depth: usize) -> Outcome<Value> {
    let wrong = || format!("proto: wrong wireType for {}", shape.go_type());
    Ok(match (shape.kind(), wire) {
        (Kind::Struct(ty), Wire::Bytes(bytes)) => {
            let mut out = Map::new();
            message(ty, &[], bytes, &mut out, depth)?;
            out.into()
        }
        (Kind::Scalar(Scalar::String), Wire::Bytes(text)) => utf8(text)?.into(),
        (Kind::Scalar(Scalar::Bytes), Wire::Bytes(bytes)) => {
            base64::engine::general_purpose::STANDARD.encode(bytes).into()
        }
        (Kind::Scalar(Scalar::Boolean), Wire::Varint(value)) => (value != 0).into(),
        (Kind::Scalar(Scalar::Int32 | Scalar::Int64), Wire::Varint(value)) => value.cast_signed().into(),
        (Kind::Scalar(Scalar::Double), Wire::Fixed64(bits)) => {
            Number::from_f64(f64::from_bits(bits)).map_or(Value::Null, Value::Number)
        }
        (Kind::Scalar(Scalar::Double), Wire::Fixed32(bits)) => {
            Number::from_f64(f32::from_bits(bits).into()).map_or(Value::Null, Value::Number)
        }
        (Kind::Scalar(scalar), Wire::Bytes(bytes)) => wrapped(scalar, shape, bytes, depth)?,
        _ => return Err(wrong()),
    })
}

/// Scalars of JSON that are messages in protobuf.
fn wrapped(scalar: Scalar, shape: ShapeRef<'static>, bytes: &[u8], depth: usize) -> Outcome<Value> {
    let mut fields = [None; 4];
    let mut second = Vec::new();
    for entry in Reader(bytes) {
        let (tag, wire) = entry?;
        if tag == 2 {
            second.push(wire);
        }
        if let Some(slot) = fields.get_mut(usize::from(tag)) {
            *slot = Some(wire);
        }
    }
    let number = |at: usize| match fields[at] {
        Some(Wire::Varint(value)) => value.cast_signed(),
        _ => 0,
    };
    let raw = |at: usize| match fields[at] {
        Some(Wire::Bytes(bytes)) => bytes,
        _ => &[],
    };
    Ok(match scalar {
        Scalar::Quantity => match utf8(raw(1))? {
            "" => "0".into(),
            text => text.into(),
        },
        Scalar::IntOrString if number(1) == 1 => utf8(raw(3))?.into(),
        Scalar::IntOrString => number(2).into(),
        Scalar::Time | Scalar::MicroTime if bytes.is_empty() => Value::Null,
        Scalar::Time | Scalar::MicroTime => {
            let nanos = i32::try_from(number(2)).unwrap_or_default();
            let time = Timestamp::new(number(1), nanos).map_err(|error| error.to_string())?;
            time.to_string().into()
        }
        _ => match shape.definition().map_or("", |ty| ty.go_name()) {
            name @ ("JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray") => {
                schema_or(name, fields, &second, depth)?
            }
            _ if raw(1).is_empty() => Value::Null,
            _ => serde_json::from_slice(raw(1)).map_err(|error| error.to_string())?,
        },
    })
}

/// The unions of CustomResourceDefinitions: a schema, or something else.
fn schema_or(name: &str, fields: [Option<Wire<'_>>; 4], second: &[Wire<'_>], depth: usize) -> Outcome<Value> {
    let props =
        crate::schema::builtin().by_name("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps");
    let schema = |wire: Wire<'_>| -> Outcome<Value> {
        let (Some(ty), Wire::Bytes(bytes)) = (props, wire) else {
            return Ok(Value::Null);
        };
        let mut out = Map::new();
        message(ty, &[], bytes, &mut out, depth)?;
        Ok(out.into())
    };
    match (name, fields[1], fields[2]) {
        ("JSONSchemaPropsOrBool", _, Some(wire)) => schema(wire),
        ("JSONSchemaPropsOrBool", allows, None) => Ok(matches!(allows, Some(Wire::Varint(1))).into()),
        (_, Some(wire), _) => schema(wire),
        ("JSONSchemaPropsOrArray", None, _) => second
            .iter()
            .map(|wire| schema(*wire))
            .collect::<Outcome<Vec<_>>>()
            .map(Value::from),
        _ => {
            let texts = second.iter().map(|wire| match wire {
                Wire::Bytes(text) => utf8(text).map(Value::from),
                _ => Ok(Value::Null),
            });
            texts.collect::<Outcome<Vec<_>>>().map(Value::from)
        }
    }
}

fn utf8(bytes: &[u8]) -> Outcome<&str> {
    std::str::from_utf8(bytes).map_err(|_| "proto: invalid UTF-8".to_owned())
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Whether a zero was set by somebody. Go writes every field that is not a pointer, zero or not. Texts are
/// seldom pointers; numbers and booleans mostly are, save in the oldest types and in statuses.
fn keeps_zero(ty: TypeRef<'_>, field: &Field, value: &Value) -> bool {
    const TEXTS: [&str; 2] = ["storageClassName", "volumeAttributesClassName"];
    const PLAIN: [&str; 39] = [
        "chapAuthDiscovery",
        "chapAuthSession",
        "count",
        "denied",
        "deprecated",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "failureThreshold",
        "generation",
        "globalDefault",
        "healthCheckNodePort",
        "hostIPC",
        "hostNetwork",
        "hostPID",
        "hostPort",
        "initialDelaySeconds",
        "matchingPrecedence",
        "minReadySeconds",
        "nodePort",
        "nullable",
        "number",
        "observedGeneration",
        "partition",
        "paused",
        "periodSeconds",
        "preserveUnknownFields",
        "publishNotReadyAddresses",
        "readOnly",
        "signal",
        "sslEnabled",
        "stdin",
        "stdinOnce",
        "successThreshold",
        "timeoutSeconds",
        "tty",
        "uniqueItems",
        "unschedulable",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
    ];
    let name = field.name.as_ref();
    match value {
        Value::Null => false,
        Value::String(_) => TEXTS.contains(&name),
        // The partition of a StatefulSet is a pointer, that of a volume is not.
        _ if name == "partition" => ty.go_name().starts_with("RollingUpdate"),
        _ => !ty.go_name().ends_with("Status") && !PLAIN.contains(&name),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::schema;

    /// Writes a message the way Go does; lengths here stay below 128.
    fn message(fields: &[(u8, Vec<u8>)]) -> Vec<u8> {
        fields
            .iter()
            .flat_map(|(tag, bytes)| [&[tag << 3 | 2, bytes.len() as u8], bytes.as_slice()].concat())
            .collect()
    }

    fn body(api_version: &str, kind: &str, raw: Vec<u8>) -> Vec<u8> {
        let meta = message(&[(1, api_version.into()), (2, kind.into())]);
        [
            MAGIC,
            &message(&[(1, meta), (2, raw), (3, Vec::new()), (4, Vec::new())]),
        ]
        .concat()
    }

    fn read(bytes: &[u8]) -> Outcome<Map<String, Value>> {
        let envelope = open(bytes)?;
        let (group, version) = envelope
            .api_version
            .split_once('/')
            .unwrap_or(("", envelope.api_version));
        let ty = schema::builtin().by_kind(group, version, envelope.kind);
        super::read(ty.ok_or("no such kind")?, envelope.raw)
    }

    #[test]
    fn a_namespace_as_kubectl_creates_it() {
        // An empty creationTimestamp and empty strings are what Go writes for what is not set.
        let metadata = message(&[(1, "team".into()), (2, Vec::new()), (3, Vec::new()), (8, Vec::new())]);
        let raw = message(&[(1, metadata), (2, Vec::new()), (3, message(&[(1, Vec::new())]))]);
        let object = read(&body("v1", "Namespace", raw)).expect("reads");
        let expect = json!({"metadata": {"name": "team"}, "spec": {}, "status": {}});
        assert_eq!(Value::Object(object), expect);
    }

    #[test]
    fn maps_bytes_and_inlined_messages() {
        let entry = message(&[(1, "k".into()), (2, b"v".to_vec())]);
        let secret = read(&body("v1", "Secret", message(&[(2, entry)]))).expect("reads");
        assert_eq!(secret["data"], json!({"k": "dg=="}));

        let empty_dir = message(&[(2, message(&[(1, b"Memory".to_vec())]))]);
        let volume = message(&[(1, b"v".to_vec()), (2, empty_dir)]);
        let pod = read(&body("v1", "Pod", message(&[(2, message(&[(1, volume)]))]))).expect("reads");
        assert_eq!(
            pod["spec"]["volumes"],
            json!([{"name": "v", "emptyDir": {"medium": "Memory"}}])
        );
    }

    #[test]
    fn pointers_keep_their_zero() {
        let spec = vec![1 << 3, 0, 5 << 3, 0];
        let deployment = read(&body("apps/v1", "Deployment", message(&[(2, spec)]))).expect("reads");
        assert_eq!(deployment["spec"], json!({"replicas": 0}));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&body("v1", "Pod", bytes.iter().take(100).copied().collect()));
            let _ = read(&[MAGIC, &bytes].concat());
        }
    }
}
