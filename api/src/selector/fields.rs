//! Field selectors: `spec.nodeName=a,status.phase!=Running`.

use std::fmt;

use serde_json::Value;

use crate::object::Object;
use crate::resource::{Resource, SelectableField};

/// One condition on one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    /// Name of the field, as the client calls it.
    pub field: Box<str>,
    /// Whether the value must be equal, rather than different.
    pub equal: bool,
    /// With what to compare.
    pub value: Box<str>,
}

/// Conditions on fields, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// The conditions, in the order in which they were given.
    pub requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// Reads `a=b,c!=d`; `\` escapes `,`, `=` and itself in values.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for term in split_terms(text) {
            if term.is_empty() {
                continue;
            }
            let (field, operator, value) =
                split_term(term).ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{term}'"))?;
            requirements.push(FieldRequirement {
                field: field.into(),
                equal: operator != "!=",
                value: unescape(value)?.into(),
            });
        }
        Ok(Self { requirements })
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object meets every condition; `get` gives the value of a field by name, empty when
    /// the object lacks it.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> &'a str) -> bool {
        self.requirements
            .iter()
            .all(|r| (get(&r.field) == &*r.value) == r.equal)
    }

    /// The value that a field must have, when one condition says so: watchers are indexed by it.
    pub fn required_value(&self, field: &str) -> Option<&str> {
        let mut fitting = self.requirements.iter().filter(|r| r.equal && &*r.field == field);
        fitting.next().map(|r| &*r.value)
    }

    /// The first field that objects of the resource cannot be selected by.
    pub fn unsupported_field(&self, resource: &Resource) -> Option<&str> {
        let known = |field: &str| {
            field == "metadata.name"
                || (field == "metadata.namespace" && resource.namespaced())
                || resource.selectable_fields.iter().any(|f| f.label == field)
        };
        let mut fields = self.requirements.iter().map(|r| &*r.field);
        fields.find(|field| !known(field))
    }
}

impl SelectableField {
    /// The field's value in an object of the stored form.
    pub fn value(&self, object: &Object) -> String {
        let values = self.path.split('|').map(|path| lookup(object, path));
        let found = values.into_iter().flatten().find(|value| !value.is_empty());
        found.unwrap_or_else(|| self.zero.clone().into_owned())
    }
}

fn lookup(object: &Object, path: &str) -> Option<String> {
    let mut steps = path.split('.');
    let first = object.get(steps.next()?)?;
    match steps.try_fold(first, |value, key| value.get(key))? {
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        other => Some(other.to_string()),
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, r) in self.requirements.iter().enumerate() {
            let separator = if at == 0 { "" } else { "," };
            let operator = if r.equal { "=" } else { "!=" };
            write!(f, "{separator}{}{operator}{}", r.field, escape(&r.value))?;
        }
        Ok(())
    }
}

/// Splits at commas that are not escaped.
fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// Splits at the first operator.
fn split_term(term: &str) -> Option<(&str, &str, &str)> {
    term.char_indices().find_map(|(at, _)| {
        let operator = ["!=", "==", "="].into_iter().find(|o| term[at..].starts_with(o))?;
        Some((&term[..at], operator, &term[at + operator.len()..]))
    })
}

fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '\\' | ',' | '=') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return Err(format!("invalid field selector: invalid escape sequence: \\{c}")),
                None => return Err("invalid field selector: invalid escape sequence: \\".to_owned()),
            },
            ',' | '=' => return Err(format!("invalid field selector: unescaped character in value: {c}")),
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::builtin;
    use serde_json::json;

    #[test]
    fn text_reads_back() {
        for (text, expect) in [
            ("", Ok("")),
            ("a=b,c!=d,e==f", Ok("a=b,c!=d,e=f")),
            ("a=,", Ok("a=")),
            ("a=b\\,c", Ok("a=b\\,c")),
            ("a", Err("invalid selector: 'a'; can't understand 'a'")),
            ("a=b=c", Err("invalid field selector: unescaped character in value: =")),
            ("a=\\x", Err("invalid field selector: invalid escape sequence: \\x")),
        ] {
            let read = FieldSelector::parse(text).map(|s| s.to_string());
            assert_eq!(read, expect.map(str::to_owned).map_err(str::to_owned), "{text:?}");
        }
    }

    #[test]
    fn pods_are_selected_by_their_fields() {
        let pods = builtin().by_path("", "v1", "pods").expect("a row");
        let pod = json!({"spec": {"nodeName": "a", "hostNetwork": true}, "status": {"phase": "Running"}});
        let pod = pod.as_object().expect("an object");
        let values: Vec<_> = pods
            .selectable_fields
            .iter()
            .map(|f| (f.label.clone(), f.value(pod)))
            .collect();
        let get = |name: &str| values.iter().find(|(f, _)| f == name).map_or("", |(_, v)| v.as_str());
        for (text, expect) in [
            ("spec.nodeName=a", true),
            ("spec.nodeName!=a", false),
            ("spec.hostNetwork=true,status.phase=Running", true),
            ("status.podIP=", true),
        ] {
            let selector = FieldSelector::parse(text).expect(text);
            assert_eq!(selector.unsupported_field(pods), None);
            assert_eq!(selector.matches(get), expect, "{text}");
        }
        let unsupported = FieldSelector::parse("metadata.name=x,spec.foo=y").expect("a selector");
        assert_eq!(unsupported.unsupported_field(pods), Some("spec.foo"));
    }
}
