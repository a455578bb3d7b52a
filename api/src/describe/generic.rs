//! Any object, field by field.

use serde_json::Value;

use super::Subject;
use super::writer::{Writer, entries};
use crate::view;

/// Fields that are shown before the others, or not at all.
const SHOWN_ELSEWHERE: [&str; 5] = ["managedFields", "name", "namespace", "labels", "annotations"];

pub(super) fn object(subject: &Subject<'_>, out: &mut Writer) {
    out.line(0, format!("Name:\t{}", view::name(subject.object)));
    out.line(0, format!("Namespace:\t{}", view::namespace(subject.object)));
    subject.labels_and_annotations(out);
    let mut object = subject.object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| !SHOWN_ELSEWHERE.contains(&key.as_str()));
    }
    fields(&object, 0, out);
    subject.events(out);
}

/// The fields of a value, sorted.
pub(super) fn fields(value: &Value, level: usize, out: &mut Writer) {
    for (key, value) in entries(value.as_object()) {
        let label = label(key);
        match value {
            Value::Object(_) => {
                out.line(level, format!("{label}:"));
                fields(value, level + 1, out);
            }
            Value::Array(items) => {
                out.line(level, format!("{label}:"));
                for item in items {
                    match item {
                        Value::Object(_) => fields(item, level + 1, out),
                        scalar => out.line(level + 1, plain(scalar)),
                    }
                }
            }
            scalar => out.line(level, format!("{label}:\t{}", plain(scalar))),
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        other => view::scalar(other),
    }
}

/// `creationTimestamp` → `Creation Timestamp`, `apiVersion` → `API Version`.
fn label(field: &str) -> String {
    if field.contains(|c: char| !c.is_alphabetic() && c != '-') {
        return field.to_owned();
    }
    let words = words(field).into_iter().map(|word| {
        let upper = word.to_uppercase();
        if ["API", "URL", "UID", "OSB", "GUID"].contains(&upper.as_str()) {
            return upper;
        }
        let mut chars = word.chars();
        chars
            .next()
            .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Splits where capitals begin: `podCIDRs` → `pod`, `CID`, `Rs`, as kubectl does.
fn words(field: &str) -> Vec<String> {
    let class = |c: char| (c.is_lowercase(), c.is_uppercase());
    let mut runs: Vec<String> = Vec::new();
    for c in field.chars() {
        match runs.last_mut() {
            Some(run) if run.chars().last().is_some_and(|last| class(last) == class(c)) => run.push(c),
            _ => runs.push(c.to_string()),
        }
    }
    // A capital belongs to the small letters that follow it.
    for at in 1..runs.len() {
        let capitals = runs[at - 1].chars().all(char::is_uppercase);
        if capitals
            && runs[at].starts_with(char::is_lowercase)
            && let Some(last) = runs[at - 1].pop()
        {
            runs[at].insert(0, last);
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_words() {
        for (field, expect) in [
            ("creationTimestamp", "Creation Timestamp"),
            ("apiVersion", "API Version"),
            ("uid", "UID"),
            ("podIP", "Pod IP"),
            ("podCIDRs", "Pod CID Rs"),
            ("app.kubernetes.io/name", "app.kubernetes.io/name"),
            ("HTTPServer", "HTTP Server"),
        ] {
            assert_eq!(label(field), expect);
        }
    }
}
