//! An API object as JSON: metadata access, and the canonical bytes in which it is stored and sent.
//!
//! Invariant: stored bytes begin `{"apiVersion":…,"kind":…,"metadata":{` in that order and hold no
//! `resourceVersion`. The revision is only known at commit, so it is spliced in as the first key of
//! `metadata` ([`splice_revision`]), which costs a copy instead of a second encoding.

use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value};

/// A JSON object: the form in which the request pipeline handles every kind.
pub type Object = Map<String, Value>;

const METADATA: &[u8] = b"\"metadata\":{";

/// Encodes an object in canonical order (`apiVersion`, `kind`, `metadata`, then the rest as they come),
/// leaving `metadata.resourceVersion` out.
pub fn encode(object: &Object) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    out.push(b'{');
    for key in ["apiVersion", "kind"] {
        if let Some(value) = object.get(key) {
            write_entry(&mut out, key, value);
        }
    }
    separate(&mut out);
    out.extend_from_slice(METADATA);
    if let Some(Value::Object(metadata)) = object.get("metadata") {
        for (key, value) in metadata.iter().filter(|(key, _)| *key != "resourceVersion") {
            write_entry(&mut out, key, value);
        }
    }
    out.push(b'}');
    for (key, value) in object {
        if !matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
            write_entry(&mut out, key, value);
        }
    }
    out.push(b'}');
    out.into()
}

/// Puts `resourceVersion` into canonical bytes (see the module's invariant).
///
/// Bytes that are not canonical come back as they are: they were not written by [`encode`].
pub fn splice_revision(canonical: &[u8], revision: u64) -> Bytes {
    let Some(at) = memchr::memmem::find(canonical, METADATA).map(|at| at + METADATA.len()) else {
        return Bytes::copy_from_slice(canonical);
    };
    let separator = if canonical.get(at) == Some(&b'}') { "" } else { "," };
    let entry = format!("\"resourceVersion\":\"{revision}\"{separator}");
    let mut out = BytesMut::with_capacity(canonical.len() + entry.len());
    out.extend_from_slice(&canonical[..at]);
    out.extend_from_slice(entry.as_bytes());
    out.extend_from_slice(&canonical[at..]);
    out.freeze()
}

/// Replaces the `resourceVersion` that [`splice_revision`] put in.
pub fn replace_revision(spliced: &[u8], revision: u64) -> Bytes {
    const ENTRY: &[u8] = b"\"resourceVersion\":\"";
    let start = memchr::memmem::find(spliced, METADATA).map(|at| at + METADATA.len());
    let Some(start) = start.filter(|&at| spliced[at..].starts_with(ENTRY)) else {
        return splice_revision(spliced, revision);
    };
    let digits = start + ENTRY.len();
    let end = memchr::memchr(b'"', &spliced[digits..]).map_or(digits, |length| digits + length);
    let revision = revision.to_string();
    let mut out = BytesMut::with_capacity(spliced.len() + revision.len());
    out.extend_from_slice(&spliced[..digits]);
    out.extend_from_slice(revision.as_bytes());
    out.extend_from_slice(&spliced[end..]);
    out.freeze()
}

fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}

fn write_entry(out: &mut Vec<u8>, key: &str, value: &Value) {
    separate(out);
    // Writing JSON to a Vec cannot fail: keys are strings and the sink is memory.
    serde_json::to_writer(&mut *out, key).expect("a string encodes");
    out.push(b':');
    serde_json::to_writer(&mut *out, value).expect("a JSON value encodes");
}

/// Metadata of an object, read in place.
pub trait ObjectExt {
    /// `metadata`, when it is an object.
    fn metadata(&self) -> Option<&Object>;
    /// `metadata`, made an object if it was none.
    fn metadata_mut(&mut self) -> &mut Object;
    /// A string of `metadata`; empty when absent.
    fn meta_str(&self, key: &str) -> &str;
    /// `metadata.name`; empty when absent.
    fn name(&self) -> &str {
        self.meta_str("name")
    }
    /// `metadata.namespace`; empty when absent.
    fn namespace(&self) -> &str {
        self.meta_str("namespace")
    }
    /// `metadata.uid`; empty when absent.
    fn uid(&self) -> &str {
        self.meta_str("uid")
    }
    /// `metadata.resourceVersion`; empty when absent.
    fn resource_version(&self) -> &str {
        self.meta_str("resourceVersion")
    }
}

impl ObjectExt for Object {
    fn metadata(&self) -> Option<&Object> {
        self.get("metadata").and_then(Value::as_object)
    }

    fn metadata_mut(&mut self) -> &mut Object {
        let entry = self.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if !entry.is_object() {
            *entry = Value::Object(Map::new());
        }
        entry.as_object_mut().expect("just made an object")
    }

    fn meta_str(&self, key: &str) -> &str {
        self.metadata()
            .and_then(|m| m.get(key))
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(object: Value, expect: &str) {
        let Value::Object(object) = object else {
            panic!("an object")
        };
        let spliced = splice_revision(&encode(&object), 7);
        assert_eq!(spliced, expect.as_bytes());
        assert_eq!(replace_revision(&splice_revision(&encode(&object), 12), 7), spliced);
    }

    #[test]
    fn revision_goes_into_the_objects_own_metadata() {
        check(
            json!({"data": {"metadata": {"a": 1}}, "metadata": {"name": "x", "resourceVersion": "3"}, "kind": "K", "apiVersion": "v1"}),
            r#"{"apiVersion":"v1","kind":"K","metadata":{"resourceVersion":"7","name":"x"},"data":{"metadata":{"a":1}}}"#,
        );
        check(
            json!({"kind": "K"}),
            r#"{"kind":"K","metadata":{"resourceVersion":"7"}}"#,
        );
        check(
            json!({"kind": "\"metadata\":{"}),
            r#"{"kind":"\"metadata\":{","metadata":{"resourceVersion":"7"}}"#,
        );
    }
}
