//! Pod templates: whether two are the same, the hash that names what is made of one, and the Pods.

use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The label that tells apart the Pods of a Deployment's ReplicaSets.
pub(super) const HASH_LABEL: &str = "pod-template-hash";

/// Reads a template, without the hash label and without what says nothing.
pub(super) fn read(raw: Option<&RawValue>) -> Value {
    let mut template: Value = raw
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default();
    if let Some(metadata) = template["metadata"].as_object_mut() {
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove(HASH_LABEL);
        }
        metadata.retain(|_, value| !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty()));
    }
    template
}

/// The hash of a template; a collision is evaded by counting it.
///
/// The letters are those of upstream's safe encoding: no vowels, nothing that reads like another.
pub(super) fn hash(template: &Value, collisions: Option<i64>) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut state = 0x811c_9dc5_u32;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes {
            state = (state ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    };
    feed(sorted(template).to_string().as_bytes());
    if let Some(collisions) = collisions {
        feed(&collisions.to_le_bytes());
    }
    let digits = state.to_string();
    digits
        .bytes()
        .map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()]))
        .collect()
}

/// A Pod as a template describes it, in its owner's hands; the caller names it.
pub(super) fn pod(raw: Option<&RawValue>, owner: Value) -> Value {
    let template: Value = raw
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default();
    let mut metadata = json!({"ownerReferences": [owner]});
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(field).filter(|value| !value.is_null()) {
            metadata[field] = value.clone();
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// The same value with keys in order, so that the hash does not depend on how it was written.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            entries
                .into_iter()
                .map(|(key, value)| (key.clone(), sorted(value)))
                .collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Value {
        read(Some(&RawValue::from_string(text.to_owned()).expect("JSON")))
    }

    #[test]
    fn a_pod_takes_what_the_template_says() {
        let raw = r#"{"metadata": {"labels": {"app": "web"}, "creationTimestamp": null}, "spec": {"containers": []}}"#;
        let raw = RawValue::from_string(raw.to_owned()).expect("JSON");
        insta::assert_snapshot!(pod(Some(&raw), json!({"name": "web"})), @r#"{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"app":"web"},"ownerReferences":[{"name":"web"}]},"spec":{"containers":[]}}"#);
    }

    #[test]
    fn the_hash_ignores_order_and_its_own_label() {
        let a = parse(
            r#"{"metadata": {"labels": {"a": "1", "pod-template-hash": "x"}, "creationTimestamp": null}, "spec": {"x": 1, "y": 2}}"#,
        );
        let b = parse(r#"{"spec": {"y": 2, "x": 1}, "metadata": {"labels": {"a": "1"}}}"#);
        assert_eq!(a, b);
        assert_eq!(hash(&a, None), hash(&b, None));
        assert_ne!(hash(&a, None), hash(&a, Some(1)));
    }
}
