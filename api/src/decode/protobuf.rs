//! Bodies in protobuf, as kubectl and client-go send built-in kinds: read by the tags in the schema.
//!
//! The envelope is `k8s\0` and a `runtime.Unknown` with the type and the raw message. Go writes every field
//! that is no pointer, set or not, so a zero says nothing unless the field is a pointer in Go ([`POINTERS`]).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use serde_json::{Map, Value};

use crate::object::Object;
use crate::schema::{Kind, Scalar, ShapeRef, TypeRef};

const MAGIC: &[u8] = b"k8s\0";
/// How deep messages may nest; upstream's types stay far below.
const MAX_DEPTH: usize = 64;
/// Fields whose zero or empty value means something else than their absence: pointers in Go.
const POINTERS: &[&str] = &[
    "allocateLoadBalancerNodePorts",
    "allowPrivilegeEscalation",
    "automountServiceAccountToken",
    "backoffLimit",
    "blockOwnerDeletion",
    "completions",
    "controller",
    "defaultMode",
    "enableServiceLinks",
    "expirationSeconds",
    "failedJobsHistoryLimit",
    "fsGroup",
    "gracePeriodSeconds",
    "immutable",
    "minReplicas",
    "mode",
    "optional",
    "orphanDependents",
    "parallelism",
    "partition",
    "priority",
    "privileged",
    "readOnlyRootFilesystem",
    "replicas",
    "revisionHistoryLimit",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "shareProcessNamespace",
    "startingDeadlineSeconds",
    "storageClassName",
    "successfulJobsHistoryLimit",
    "suspend",
    "terminationGracePeriodSeconds",
    "tolerationSeconds",
    "ttlSecondsAfterFinished",
];

/// What the envelope holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Envelope<'a> {
    pub(super) api_version: &'a str,
    pub(super) kind: &'a str,
    raw: &'a [u8],
}

type Read<T> = Result<T, String>;

/// Opens the envelope.
pub(super) fn envelope(bytes: &[u8]) -> Read<Envelope<'_>> {
    let message = bytes
        .strip_prefix(MAGIC)
        .ok_or("provided data does not appear to be a protobuf message")?;
    let mut envelope = Envelope::default();
    for entry in entries(message) {
        match entry? {
            (1, Wire::Bytes(meta)) => {
                for entry in entries(meta) {
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

impl Envelope<'_> {
    /// The message as an object of this type, with `apiVersion` and `kind`.
    pub(super) fn object(&self, ty: TypeRef<'_>) -> Read<Object> {
        let mut object = Object::new();
        object.insert("apiVersion".into(), self.api_version.into());
        object.insert("kind".into(), self.kind.into());
        fill(&mut object, ty, &[], self.raw, 0)?;
        Ok(object)
    }
}

/// A value as it stands on the wire.
#[derive(Clone, Copy)]
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message in order; a broken message ends with an error.
fn entries(mut rest: &[u8]) -> impl Iterator<Item = Read<(u32, Wire<'_>)>> {
    let mut broken = false;
    std::iter::from_fn(move || {
        while !rest.is_empty() && !broken {
            match entry(&mut rest) {
                Ok(None) => {}
                Ok(Some(entry)) => return Some(Ok(entry)),
                Err(error) => {
                    broken = true;
                    return Some(Err(format!("proto: {error}")));
                }
            }
        }
        None
    })
}

fn entry<'a>(rest: &mut &'a [u8]) -> Read<Option<(u32, Wire<'a>)>> {
    let words = |error: prost::DecodeError| error.to_string();
    let (tag, wire) = decode_key(rest).map_err(words)?;
    let value = match wire {
        WireType::Varint => Wire::Number(decode_varint(rest).map_err(words)?),
        WireType::SixtyFourBit => {
            let (head, tail) = rest.split_first_chunk().ok_or("unexpected EOF")?;
            *rest = tail;
            Wire::Number(u64::from_le_bytes(*head))
        }
        WireType::LengthDelimited => {
            let length = usize::try_from(decode_varint(rest).map_err(words)?).map_err(|_| "a length is too large")?;
            let (head, tail) = rest.split_at_checked(length).ok_or("unexpected EOF")?;
            *rest = tail;
            Wire::Bytes(head)
        }
        _ => {
            skip_field(wire, tag, rest, DecodeContext::default()).map_err(words)?;
            return Ok(None);
        }
    };
    Ok(Some((tag, value)))
}

/// Reads a message into an object. `inside` is the path of tags to here from where the type's own message
/// starts: JSON inlines some messages that protobuf does not.
fn fill(object: &mut Object, ty: TypeRef<'_>, inside: &[u16], message: &[u8], depth: usize) -> Read<()> {
    if depth > MAX_DEPTH {
        return Err("exceeded max depth".into());
    }
    for entry in entries(message) {
        let (tag, wire) = entry?;
        let Ok(tag) = u16::try_from(tag) else { continue };
        let path = [inside, &[tag]].concat();
        if let Some(field) = ty.fields().iter().find(|field| field.tags() == path) {
            add(object, &field.name, ty.shape(field), wire, depth)?;
        } else if ty.fields().iter().any(|field| field.tags().starts_with(&path))
            && let Wire::Bytes(inner) = wire
        {
            fill(object, ty, &path, inner, depth + 1)?;
        }
    }
    Ok(())
}

fn add(object: &mut Object, name: &str, shape: ShapeRef<'_>, wire: Wire<'_>, depth: usize) -> Read<()> {
    match (shape.kind(), wire) {
        (Kind::List(item), wire) => {
            let item = value(item, wire, depth)?;
            if let Value::Array(list) = object.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
                list.push(item);
            }
        }
        (Kind::Map(item), Wire::Bytes(bytes)) => {
            let (mut key, mut content) = ("", Value::Null);
            for entry in entries(bytes) {
                match entry? {
                    (1, Wire::Bytes(text)) => key = utf8(text)?,
                    (2, wire) => content = map_value(item, wire, depth)?,
                    _ => {}
                }
            }
            if content.is_null() {
                content = if matches!(item.kind(), Kind::Scalar(Scalar::String | Scalar::Bytes)) {
                    "".into()
                } else {
                    content
                };
            }
            if let Value::Object(map) = object.entry(name).or_insert_with(|| Value::Object(Map::new())) {
                map.insert(key.to_owned(), content);
            }
        }
        (_, wire) => {
            let value = value(shape, wire, depth)?;
            let zero = match &value {
                Value::String(text) => text.is_empty(),
                Value::Number(number) => number.as_i64() == Some(0),
                Value::Bool(set) => !set,
                Value::Null => return Ok(()),
                _ => false,
            };
            if !zero || POINTERS.contains(&name) || matches!(shape.kind(), Kind::Scalar(Scalar::IntOrString)) {
                object.insert(name.to_owned(), value);
            }
        }
    }
    Ok(())
}

/// A list as the value of a map has a message around it.
fn map_value(shape: ShapeRef<'_>, wire: Wire<'_>, depth: usize) -> Read<Value> {
    let (Kind::List(item), Wire::Bytes(bytes)) = (shape.kind(), wire) else {
        return value(shape, wire, depth);
    };
    let items = entries(bytes).map(|entry| value(item, entry?.1, depth + 1));
    Ok(Value::Array(items.collect::<Read<_>>()?))
}

fn value(shape: ShapeRef<'_>, wire: Wire<'_>, depth: usize) -> Read<Value> {
    match (shape.kind(), wire) {
        (Kind::Scalar(scalar), wire) => scalar_value(scalar, wire),
        (Kind::Struct(ty), Wire::Bytes(bytes)) => {
            let mut object = Object::new();
            fill(&mut object, ty, &[], bytes, depth + 1)?;
            Ok(object.into())
        }
        _ => Err("proto: wrong wireType".into()),
    }
}

fn scalar_value(scalar: Scalar, wire: Wire<'_>) -> Read<Value> {
    Ok(match (scalar, wire) {
        (Scalar::Boolean, Wire::Number(n)) => (n != 0).into(),
        // Numbers are two's complement on the wire.
        (Scalar::Int32 | Scalar::Int64, Wire::Number(n)) => (n as i64).into(),
        (Scalar::Double, Wire::Number(n)) => f64::from_bits(n).into(),
        (Scalar::String, Wire::Bytes(bytes)) => utf8(bytes)?.into(),
        (Scalar::Bytes, Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Scalar::Quantity, Wire::Bytes(bytes)) => utf8(first(bytes, 1)?.unwrap_or_default())?.into(),
        (Scalar::IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes)?,
        (Scalar::Time, Wire::Bytes(bytes)) => time(bytes, false)?,
        (Scalar::MicroTime, Wire::Bytes(bytes)) => time(bytes, true)?,
        (Scalar::Object | Scalar::Any, Wire::Bytes(bytes)) => match first(bytes, 1)? {
            Some(json) if !json.is_empty() => serde_json::from_slice(json).map_err(|error| error.to_string())?,
            _ => Value::Null,
        },
        _ => return Err("proto: wrong wireType".into()),
    })
}

/// The bytes of one field of a message.
fn first(message: &[u8], wanted: u32) -> Read<Option<&[u8]>> {
    for entry in entries(message) {
        if let (tag, Wire::Bytes(bytes)) = entry?
            && tag == wanted
        {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

fn int_or_string(message: &[u8]) -> Read<Value> {
    let (mut is_text, mut number, mut text) = (false, 0, "");
    for entry in entries(message) {
        match entry? {
            (1, Wire::Number(kind)) => is_text = kind == 1,
            (2, Wire::Number(n)) => number = n as i64,
            (3, Wire::Bytes(bytes)) => text = utf8(bytes)?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

/// A time; an empty message is none.
fn time(message: &[u8], micro: bool) -> Read<Value> {
    let (mut seconds, mut nanos) = (None, 0);
    for entry in entries(message) {
        match entry? {
            (1, Wire::Number(n)) => seconds = Some(n as i64),
            (2, Wire::Number(n)) => nanos = n as i32,
            _ => {}
        }
    }
    let Some(seconds) = seconds else { return Ok(Value::Null) };
    let time = Timestamp::new(seconds, nanos).map_err(|error| error.to_string())?;
    let text = if micro {
        format!("{time:.6}")
    } else {
        format!("{time:.0}")
    };
    Ok(text.into())
}

fn utf8(bytes: &[u8]) -> Read<&str> {
    std::str::from_utf8(bytes).map_err(|_| "proto: invalid UTF-8".to_owned())
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

    fn read(bytes: &[u8]) -> Read<Object> {
        let envelope = envelope(bytes)?;
        let (group, version) = envelope
            .api_version
            .split_once('/')
            .unwrap_or(("", envelope.api_version));
        envelope.object(
            schema::builtin()
                .by_kind(group, version, envelope.kind)
                .ok_or("no such kind")?,
        )
    }

    #[test]
    fn a_namespace_as_kubectl_creates_it() {
        // An empty creationTimestamp and empty strings are what Go writes for what is not set.
        let metadata = message(&[(1, "team".into()), (2, Vec::new()), (3, Vec::new()), (8, Vec::new())]);
        let raw = message(&[(1, metadata), (2, Vec::new()), (3, message(&[(1, Vec::new())]))]);
        let object = read(&body("v1", "Namespace", raw)).expect("reads");
        let expect =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}, "spec": {}, "status": {}});
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
