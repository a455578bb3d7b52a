//! What a JSON body says it is, and Go's words for JSON that is none.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

/// `apiVersion` and `kind` of a body.
#[derive(Debug, Default)]
pub(super) struct Head<'b> {
    pub(super) api_version: Option<Cow<'b, str>>,
    pub(super) kind: Option<Cow<'b, str>>,
}

/// Reads the head, which also finds out whether the whole body is JSON.
pub(super) fn head(bytes: &[u8]) -> Result<Head<'_>, String> {
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        Category::Data => match serde_json::from_slice::<Value>(bytes) {
            Ok(Value::Object(object)) => wrong_head(&object),
            Ok(value) => not_an_object(&value),
            Err(error) => syntax(bytes, &error),
        },
        _ => syntax(bytes, &error),
    })
}

/// Whether a body may be JSON, which every YAML reader has to accept too.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    let first = bytes.iter().find(|b| !b.is_ascii_whitespace());
    first == Some(&b'{') && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

impl<'de> Deserialize<'de> for Head<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeadVisitor;
        impl<'de> Visitor<'de> for HeadVisitor {
            type Value = Head<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Head<'de>, A::Error> {
                let mut head = Head::default();
                while let Some(Text(key)) = map.next_key()? {
                    let slot = match key.as_ref() {
                        "apiVersion" => &mut head.api_version,
                        "kind" => &mut head.kind,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *slot = map.next_value::<Option<Text<'de>>>()?.map(|t| t.0);
                }
                Ok(head)
            }
        }
        deserializer.deserialize_map(HeadVisitor)
    }
}

/// Text that borrows from the body where it can.
pub(super) struct Text<'b>(pub(super) Cow<'b, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Go's name for the type of a JSON value.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What Go says of a body that is JSON but no object.
pub(super) fn not_an_object(value: &Value) -> String {
    format!(
        "json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \
         \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
        type_name(value)
    )
}

fn wrong_head(object: &serde_json::Map<String, Value>) -> String {
    let wrong = ["apiVersion", "kind"].into_iter().find_map(|key| {
        let value = object.get(key).filter(|v| !v.is_string() && !v.is_null())?;
        Some(format!(
            "json: cannot unmarshal {} into Go struct field .{key} of type string",
            type_name(value)
        ))
    });
    wrong.unwrap_or_default()
}

/// Go's words for a syntax error.
pub(super) fn syntax(bytes: &[u8], error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with("recursion limit exceeded") {
        return "exceeded max depth".to_owned();
    }
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let place = match text.split(" at line").next().unwrap_or_default() {
        "key must be a string" => "looking for beginning of object key string",
        "expected `:`" => "after object key",
        "expected `,` or `}`" => "after object key:value pair",
        "expected `,` or `]`" => "after array element",
        "expected ident" => "in literal",
        "invalid number" => "in numeric literal",
        "invalid escape" => "in string escape code",
        "trailing characters" => "after top-level value",
        "expected value" | "trailing comma" => "looking for beginning of value",
        other if other.starts_with("control character") => "in string literal",
        other => return other.to_owned(),
    };
    match char_at(bytes, error.line(), error.column()) {
        Some(c) => format!("invalid character {c:?} {place}"),
        None => "unexpected end of JSON input".to_owned(),
    }
}

/// The character at a place as `serde_json` counts: lines and bytes from one.
fn char_at(bytes: &[u8], line: usize, column: usize) -> Option<char> {
    let line = bytes.split(|b| *b == b'\n').nth(line.checked_sub(1)?)?;
    let at = line.get(column.saturating_sub(1)..)?;
    let end = at.len().min(4);
    String::from_utf8_lossy(&at[..end]).chars().next()
}
