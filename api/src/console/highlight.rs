//! What the parts of a line are, for colours: YAML and JSON.
//!
//! Lines are read one by one, so that only those on screen cost anything; what a line must know of those
//! before it (whether it stands inside a block of text) is a small [`State`].

use std::ops::Range;

/// What a part of a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A key of a map.
    Key,
    /// Text.
    Text,
    /// A number.
    Number,
    /// `true` or `false`.
    Flag,
    /// `null`.
    Null,
    /// Dashes, colons, brackets.
    Sign,
    /// A comment.
    Comment,
}

/// A part of a line: bytes, and what they are. Spaces are in none.
pub type Span = (Range<usize>, Role);

/// What lines before say about the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Inside a block of text under a key that stands this far in.
    block: Option<usize>,
}

/// The parts of a line of YAML, and the state for the next.
pub fn yaml(state: State, line: &str) -> (Vec<Span>, State) {
    let indent = line.len() - line.trim_start().len();
    let rest = line.trim_end();
    if rest.is_empty() {
        return (Vec::new(), state);
    }
    if state.block.is_some_and(|parent| indent > parent) {
        return (vec![(indent..rest.len(), Role::Text)], state);
    }
    let mut spans = Vec::new();
    let mut at = indent;
    while rest[at..].starts_with("- ") || &rest[at..] == "-" {
        spans.push((at..at + 1, Role::Sign));
        at += 1;
        at += rest[at..].len() - rest[at..].trim_start().len();
    }
    // A block's text stands further in than the key, or than the dash, that begins it.
    let mut parent = indent;
    if let Some(colon) = key_end(&rest[at..]) {
        spans.push((at..at + colon, Role::Key));
        spans.push((at + colon..at + colon + 1, Role::Sign));
        parent = at;
        at += colon + 1;
        at += rest[at..].len() - rest[at..].trim_start().len();
    }
    let value = &rest[at..];
    if let Some(role) = scalar(value) {
        spans.push((at..rest.len(), role));
    }
    let block = value.starts_with(['|', '>']).then_some(parent);
    (spans, State { block })
}

/// Where the colon of `key: value` stands.
fn key_end(text: &str) -> Option<usize> {
    let from = match text.chars().next()? {
        '#' | '|' | '>' => return None,
        quote @ ('"' | '\'') => text[1..].find(quote)? + 2,
        _ => 0,
    };
    let colon = text[from..].find(':').map(|at| at + from).filter(|at| *at > 0)?;
    match text[colon + 1..].chars().next() {
        None | Some(' ') => Some(colon),
        // `image: a:b` has its colon first; `a:b` alone is text, unless a later colon ends a key.
        Some(_) => {
            let end = text
                .find(": ")
                .or_else(|| text.ends_with(':').then(|| text.len() - 1))?;
            (!text[..end].contains(' ')).then_some(end)
        }
    }
}

fn scalar(text: &str) -> Option<Role> {
    let first = text.chars().next()?;
    Some(match text {
        "true" | "false" => Role::Flag,
        "null" | "~" => Role::Null,
        "{}" | "[]" | "|" | "|-" | "|+" | ">" | ">-" | ">+" => Role::Sign,
        _ if first == '#' => Role::Comment,
        _ if (first.is_ascii_digit() || first == '-') && text.parse::<f64>().is_ok() => Role::Number,
        _ => Role::Text,
    })
}

/// The parts of a line of JSON. Texts do not go over lines in JSON, so there is no state.
pub fn json(line: &str) -> Vec<Span> {
    let bytes = line.as_bytes();
    let mut spans: Vec<Span> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let role = match bytes[at] {
            b' ' | b'\t' | b'\r' => {
                at += 1;
                continue;
            }
            b'"' => {
                at = text_end(bytes, at);
                let follows = line[at..].trim_start();
                if follows.starts_with(':') {
                    Role::Key
                } else {
                    Role::Text
                }
            }
            b'{' | b'}' | b'[' | b']' | b',' | b':' => {
                at += 1;
                Role::Sign
            }
            _ => {
                let end = line[at..]
                    .find(|c: char| ",:]} \t\r".contains(c))
                    .map_or(line.len(), |end| at + end);
                at = end;
                scalar(&line[start..end]).unwrap_or(Role::Text)
            }
        };
        spans.push((start..at, role));
    }
    spans
}

/// Behind the quote that ends the text beginning at `start`.
fn text_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(line: &str, spans: &[Span]) -> String {
        let parts: Vec<_> = spans
            .iter()
            .map(|(range, role)| format!("{role:?}({})", &line[range.clone()]))
            .collect();
        parts.join(" ")
    }

    #[test]
    fn lines_of_yaml_are_told_apart() {
        let text = "# c\nkind: Pod\nmetadata:\n  labels: {}\n  app.io/x: \"1\"\nspec:\n- name: a\n  image: reg:5000/x:1\n  n: -1.5\n  \
                    on: true\n  no: null\n  args:\n  - --a=b:c\n  - |\n    key: not\n\n    - more\n  url: http://x: y\n\
                    script: |-\n  a: b\n'q:r': s\na:b: c\nend";
        let mut state = State::default();
        let mut out = Vec::new();
        for line in text.lines() {
            let (spans, next) = yaml(state, line);
            state = next;
            out.push(show(line, &spans));
        }
        insta::assert_snapshot!(out.join("\n"), @r#"
        Comment(# c)
        Key(kind) Sign(:) Text(Pod)
        Key(metadata) Sign(:)
        Key(labels) Sign(:) Sign({})
        Key(app.io/x) Sign(:) Text("1")
        Key(spec) Sign(:)
        Sign(-) Key(name) Sign(:) Text(a)
        Key(image) Sign(:) Text(reg:5000/x:1)
        Key(n) Sign(:) Number(-1.5)
        Key(on) Sign(:) Flag(true)
        Key(no) Sign(:) Null(null)
        Key(args) Sign(:)
        Sign(-) Text(--a=b:c)
        Sign(-) Sign(|)
        Text(key: not)

        Text(- more)
        Key(url) Sign(:) Text(http://x: y)
        Key(script) Sign(:) Sign(|-)
        Text(a: b)
        Key('q:r') Sign(:) Text(s)
        Key(a:b) Sign(:) Text(c)
        Text(end)
        "#);
    }

    #[test]
    fn lines_of_json_are_told_apart() {
        let line = r#"  {"a": "x\" y", "b":[1, -2.5,true , null], "c": {}, bad"#;
        insta::assert_snapshot!(show(line, &json(line)), @r#"Sign({) Key("a") Sign(:) Text("x\" y") Sign(,) Key("b") Sign(:) Sign([) Number(1) Sign(,) Number(-2.5) Sign(,) Flag(true) Sign(,) Null(null) Sign(]) Sign(,) Key("c") Sign(:) Sign({) Sign(}) Sign(,) Text(bad)"#);
        assert_eq!(json(r#""open \"#).len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn any_line_has_spans_in_order(line in "[-#:'\"\\\\ a-cä{}|1]{0,20}") {
            for spans in [yaml(State::default(), &line).0, json(&line)] {
                let mut at = 0;
                for (range, _) in spans {
                    proptest::prop_assert!(range.start >= at && range.start < range.end);
                    proptest::prop_assert!(line.get(range.clone()).is_some(), "{:?} of {:?}", range, line);
                    at = range.end;
                }
            }
        }
    }
}
