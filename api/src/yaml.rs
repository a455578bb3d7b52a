//! YAML manifests read, and objects as YAML text in the style of kubectl: sorted keys, lists flush with their key, text quoted
//! only where it would read as something else.

use serde_json::Value;

/// Writes a value as a YAML document, with a line feed at its end.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_map(map, 0, &mut out),
        Value::Array(list) if !list.is_empty() => write_list(list, 0, &mut out),
        other => {
            write_scalar(other, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

/// Reads the documents of a manifest, YAML or JSON; empty ones are passed over.
pub fn documents(text: &str) -> Result<Vec<Value>, String> {
    let documents: Vec<Value> = if text.trim_start().starts_with('{') {
        let read: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
        read.map_err(|error| error.to_string())?
    } else {
        // `0644` is a file mode to everybody who writes one, and to Go.
        let options = serde_saphyr::options! { legacy_octal_numbers: true };
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| format!("yaml: {error}"))?
    };
    Ok(documents.into_iter().filter(|d| !d.is_null()).collect())
}

fn indent(level: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", level));
}

fn write_map(map: &serde_json::Map<String, Value>, level: usize, out: &mut String) {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    for (at, (key, value)) in entries.into_iter().enumerate() {
        // The first key of a map in a list follows the dash.
        if at > 0 || !out.ends_with("- ") {
            indent(level, out);
        }
        write_text(key, level, out);
        out.push(':');
        write_value(value, level, out);
    }
}

fn write_list(list: &[Value], level: usize, out: &mut String) {
    for (at, item) in list.iter().enumerate() {
        if at > 0 || !out.ends_with("- ") {
            indent(level, out);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => write_map(map, level + 1, out),
            Value::Array(list) if !list.is_empty() => write_list(list, level + 1, out),
            scalar => {
                write_scalar(scalar, level, out);
                out.push('\n');
            }
        }
    }
}

/// What follows `key:`.
fn write_value(value: &Value, level: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            write_map(map, level + 1, out);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            write_list(list, level, out);
        }
        scalar => {
            out.push(' ');
            write_scalar(scalar, level, out);
            out.push('\n');
        }
    }
}

fn write_scalar(value: &Value, level: usize, out: &mut String) {
    match value {
        Value::String(text) => write_text(text, level, out),
        other => out.push_str(&other.to_string()),
    }
}

fn write_text(text: &str, level: usize, out: &mut String) {
    let printable = text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control());
    if text.contains('\n') && printable && !text.starts_with([' ', '\n', '\t']) {
        return write_block(text, level, out);
    }
    if reads_as_another_type(text) || !printable || text.contains(['\n', '\t']) {
        // JSON's escapes are YAML's.
        out.push_str(&Value::from(text).to_string());
    } else if is_plain(text) {
        out.push_str(text);
    } else {
        out.push('\'');
        out.push_str(&text.replace('\'', "''"));
        out.push('\'');
    }
}

/// A literal block, which keeps line breaks as they are.
fn write_block(text: &str, level: usize, out: &mut String) {
    let body = text.trim_end_matches('\n');
    out.push_str(match text.len() - body.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    let lines = text.strip_suffix('\n').unwrap_or(text);
    for line in lines.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(level + 1, out);
            out.push_str(line);
        }
    }
}

/// Whether bare text would be read as a number, a flag, a time or nothing, by any YAML.
fn reads_as_another_type(text: &str) -> bool {
    const WORDS: [&str; 11] = ["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let lower = text.to_lowercase();
    let number = lower.trim_start_matches(['+', '-']).replace('_', "");
    let based = |prefix: &str, base: u32| {
        number
            .strip_prefix(prefix)
            .is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_digit(base)))
    };
    let starts_like_number = number.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    WORDS.contains(&lower.as_str())
        || (starts_like_number && number.parse::<f64>().is_ok())
        || based("0x", 16)
        || based("0o", 8)
        || based("0b", 2)
        || matches!(number.as_str(), ".inf" | ".nan")
        || is_time_or_sexagesimal(&number)
}

/// `2001-01-01`, `2001-01-01T00:00:00Z`, `12:30`: older YAML gives them types of their own.
fn is_time_or_sexagesimal(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let date = text.get(..10).is_some_and(|date| {
        let parts: Vec<_> = date.split('-').collect();
        parts.len() == 3 && parts.iter().all(|p| digits(p))
    });
    let rest = text.get(10..).unwrap_or_default();
    (date && (rest.is_empty() || rest.starts_with(['t', ' ']))) || (text.contains(':') && text.split(':').all(digits))
}

/// Whether text can stand without quotes.
fn is_plain(text: &str) -> bool {
    let first = text.chars().next().unwrap_or(' ');
    let second_is_space = matches!(text.chars().nth(1), None | Some(' '));
    let opens_something = "!&*{}[]|>@`\"'%#, ".contains(first) || ("-?:".contains(first) && second_is_space);
    let reads_on = [": ", " #"].iter().any(|mark| text.contains(mark)) || text.ends_with([' ', ':']);
    !(opens_something || reads_on || text.starts_with("---"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn objects_look_as_kubectl_prints_them() {
        let object = json!({
            "kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": "x", "annotations": {}, "finalizers": [], "creationTimestamp": "2026-01-01T00:00:00Z"},
            "data": {"script": "a\n  b\n\nc\n", "no-newline": "a\nb", "number": "1", "flag": "true", "empty": "",
                "star": "*x", "colon": "a: b", "dash": "- x", "quote": "it's", "comment": "a #c", "url": "http://x:80/y",
                "tab": "a\tb", "hex": "0x1f", "date": "2026-01-01", "time": "12:30", "image": "hello:v1", "n": "no"},
            "list": [{"a": 1, "b": [1, 2]}, [], [["x"]], "s", null, 1.5],
        });
        insta::assert_snapshot!(to_string(&object), @r#"
        apiVersion: v1
        data:
          colon: 'a: b'
          comment: 'a #c'
          dash: '- x'
          date: "2026-01-01"
          empty: ""
          flag: "true"
          hex: "0x1f"
          image: hello:v1
          "n": "no"
          no-newline: |-
            a
            b
          number: "1"
          quote: it's
          script: |
            a
              b

            c
          star: '*x'
          tab: "a\tb"
          time: "12:30"
          url: http://x:80/y
        kind: ConfigMap
        list:
        - a: 1
          b:
          - 1
          - 2
        - []
        - - - x
        - s
        - null
        - 1.5
        metadata:
          annotations: {}
          creationTimestamp: "2026-01-01T00:00:00Z"
          finalizers: []
          name: x
        "#);
    }

    proptest! {
        #[test]
        fn text_reads_back(text in "[ -~\\n\\t]{0,20}") {
            let written = to_string(&json!({"k": text}));
            let read: Value = serde_saphyr::from_str(&written).unwrap();
            prop_assert_eq!(read, json!({"k": text}), "{}", written);
        }
    }
}
