//! JSONPath as kubectl speaks it: templates of text and `{expressions}`, with ranges, filters, slices,
//! unions and recursive descent. Also the paths of printer columns, conditions and `--sort-by`.
//!
//! Absent fields give nothing rather than an error.

use std::fmt::Write as _;

use serde_json::Value;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    nodes: Vec<Node>,
}

/// A parsed path without text around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Text(String),
    Path(Path),
    Range(Path, Vec<Node>),
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Wildcard,
    /// From, to, step; an index is a slice of one.
    Slice(Option<i64>, Option<i64>, i64),
    Index(i64),
    /// Everything below, by way of the step that follows.
    Recursive,
    Union(Vec<Step>),
    Filter(Operand, Comparison, Operand),
    Exists(Path),
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Path),
    Value(Value),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Template {
    /// Reads a template such as `{range .items[*]}{.metadata.name}{"\n"}{end}`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { rest: text };
        let nodes = parser.nodes(false)?;
        Ok(Self { nodes })
    }

    /// Fills the template in from a value.
    pub fn render(&self, root: &Value) -> String {
        let mut out = String::new();
        render(&self.nodes, root, &mut out);
        out
    }
}

fn render(nodes: &[Node], current: &Value, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(path) => {
                let found = path.find(current);
                let texts: Vec<_> = found.iter().map(|v| display(v)).collect();
                out.push_str(&texts.join(" "));
            }
            Node::Range(path, body) => {
                for item in path.find(current) {
                    render(body, item, out);
                }
            }
        }
    }
}

/// A found value as it is printed: text without quotes, the rest as JSON.
pub fn display(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

impl Path {
    /// Reads a path in any of the forms in which people write them: `{.a.b}`, `.a.b`, `a.b`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bare = text.trim();
        let bare = match (bare.strip_prefix('{'), bare.strip_suffix('}')) {
            (Some(_), Some(_)) => &bare[1..bare.len() - 1],
            _ => bare,
        };
        let dotted = match bare.chars().next() {
            Some('.' | '[' | '$' | '@') | None => bare.to_owned(),
            Some(_) => format!(".{bare}"),
        };
        let mut parser = Parser { rest: &dotted };
        let path = parser.path()?;
        match parser.rest.trim() {
            "" => Ok(path),
            rest => Err(format!(
                "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{{name1.name2}}' or '{{.name1.name2}}', found {rest:?}"
            )),
        }
    }

    /// The values that the path leads to.
    pub fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![root];
        let mut steps = self.steps.iter();
        while let Some(step) = steps.next() {
            found = match step {
                Step::Recursive => {
                    let all = found.iter().flat_map(|v| descendants(v));
                    match steps.next() {
                        Some(next) => all.flat_map(|v| next.apply(v)).collect(),
                        None => all.collect(),
                    }
                }
                step => found.into_iter().flat_map(|v| step.apply(v)).collect(),
            };
        }
        found
    }
}

fn descendants(value: &Value) -> Vec<&Value> {
    let mut all = vec![value];
    match value {
        Value::Object(map) => all.extend(map.values().flat_map(descendants)),
        Value::Array(list) => all.extend(list.iter().flat_map(descendants)),
        _ => {}
    }
    all
}

impl Step {
    fn apply<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::Wildcard => match value {
                Value::Object(map) => map.values().collect(),
                Value::Array(list) => list.iter().collect(),
                _ => Vec::new(),
            },
            Self::Index(at) => {
                let list = value.as_array().map_or(&[][..], Vec::as_slice);
                position(*at, list.len())
                    .and_then(|at| list.get(at))
                    .into_iter()
                    .collect()
            }
            Self::Slice(from, to, step) => {
                let list = value.as_array().map_or(&[][..], Vec::as_slice);
                let from = from
                    .map_or(Some(0), |at| position(at, list.len()))
                    .unwrap_or(list.len());
                let to = to
                    .map_or(Some(list.len()), |at| position(at, list.len()))
                    .unwrap_or(list.len());
                let step = usize::try_from(*step).unwrap_or(1).max(1);
                list.iter().take(to).skip(from).step_by(step).collect()
            }
            Self::Recursive => descendants(value),
            Self::Union(steps) => steps.iter().flat_map(|s| s.apply(value)).collect(),
            Self::Filter(left, comparison, right) => {
                let keep = |item: &&Value| comparison.holds(left.value(item), right.value(item));
                Self::Wildcard.apply(value).into_iter().filter(keep).collect()
            }
            Self::Exists(path) => {
                let keep = |item: &&Value| !path.find(item).is_empty();
                Self::Wildcard.apply(value).into_iter().filter(keep).collect()
            }
        }
    }
}

/// Counts from the end when negative.
fn position(at: i64, length: usize) -> Option<usize> {
    let at = if at < 0 { at + length as i64 } else { at };
    usize::try_from(at).ok()
}

impl Operand {
    fn value<'a>(&'a self, item: &'a Value) -> Option<&'a Value> {
        match self {
            Self::Path(path) => path.find(item).first().copied(),
            Self::Value(value) => Some(value),
        }
    }
}

impl Comparison {
    fn holds(self, left: Option<&Value>, right: Option<&Value>) -> bool {
        let (Some(left), Some(right)) = (left, right) else {
            return false;
        };
        let order = match (left.as_f64(), right.as_f64()) {
            (Some(a), Some(b)) => a.partial_cmp(&b),
            _ => match (left, right) {
                (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
                (a, b) if a == b => Some(std::cmp::Ordering::Equal),
                _ => None,
            },
        };
        match self {
            Self::Equal => order.is_some_and(|o| o.is_eq()),
            Self::NotEqual => !order.is_some_and(|o| o.is_eq()),
            Self::Less => order.is_some_and(|o| o.is_lt()),
            Self::LessOrEqual => order.is_some_and(|o| o.is_le()),
            Self::Greater => order.is_some_and(|o| o.is_gt()),
            Self::GreaterOrEqual => order.is_some_and(|o| o.is_ge()),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    /// Nodes up to the end, or to `{end}` inside a range.
    fn nodes(&mut self, in_range: bool) -> Result<Vec<Node>, String> {
        let mut nodes = Vec::new();
        while !self.rest.is_empty() {
            let brace = self.rest.find('{').unwrap_or(self.rest.len());
            let (text, rest) = self.rest.split_at(brace);
            if !text.is_empty() {
                nodes.push(Node::Text(text.to_owned()));
            }
            self.rest = rest;
            if !self.take("{") {
                break;
            }
            self.skip_spaces();
            if self.take("end") {
                self.close()?;
                return match in_range {
                    true => Ok(nodes),
                    false => Err("not in range, nothing to end".to_owned()),
                };
            }
            if self.take("range ") {
                let path = self.path()?;
                self.close()?;
                nodes.push(Node::Range(path, self.nodes(true)?));
                continue;
            }
            while !self.rest.starts_with('}') {
                nodes.push(match self.rest.chars().next() {
                    Some('"' | '\'') => Node::Text(self.quoted()?),
                    Some(_) => Node::Path(self.path()?),
                    None => return Err("unclosed action".to_owned()),
                });
                self.skip_spaces();
            }
            self.close()?;
        }
        match in_range {
            true => Err("unclosed range".to_owned()),
            false => Ok(nodes),
        }
    }

    fn take(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn close(&mut self) -> Result<(), String> {
        self.skip_spaces();
        match self.take("}") {
            true => Ok(()),
            false => Err(format!("unclosed action at {:?}", self.rest)),
        }
    }

    fn path(&mut self) -> Result<Path, String> {
        let start = self.rest;
        let mut steps = Vec::new();
        let rooted = self.take("$") || self.take("@");
        loop {
            if self.take("..") {
                steps.push(Step::Recursive);
                if !self.rest.starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if self.take(".") {
                // A lone dot is the value itself.
                if self.rest.starts_with(|c: char| !" }[)=!<>,".contains(c)) {
                    steps.push(self.name()?);
                }
            } else if self.take("[") {
                steps.push(self.brackets()?);
            } else {
                break;
            }
        }
        if self.rest.len() == start.len() && !rooted {
            return Err(format!(
                "unrecognized character in action: {:?}",
                start.chars().next().unwrap_or(' ')
            ));
        }
        Ok(Path { steps })
    }

    fn name(&mut self) -> Result<Step, String> {
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, c)| c)),
                '.' | '[' | ']' | '}' | ' ' | ')' | '=' | '!' | '<' | '>' | ',' => {
                    end = at;
                    break;
                }
                c => name.push(c),
            }
        }
        self.rest = &self.rest[end..];
        match name.as_str() {
            "" => Err("invalid path: empty name".to_owned()),
            "*" => Ok(Step::Wildcard),
            _ => Ok(Step::Field(name)),
        }
    }

    fn brackets(&mut self) -> Result<Step, String> {
        self.skip_spaces();
        if self.take("?(") {
            let step = self.filter()?;
            return self.end_brackets(step);
        }
        let mut steps = Vec::new();
        loop {
            self.skip_spaces();
            steps.push(self.subscript()?);
            self.skip_spaces();
            if !self.take(",") {
                break;
            }
        }
        let step = if steps.len() == 1 {
            steps.remove(0)
        } else {
            Step::Union(steps)
        };
        self.end_brackets(step)
    }

    fn end_brackets(&mut self, step: Step) -> Result<Step, String> {
        self.skip_spaces();
        match self.take("]") {
            true => Ok(step),
            false => Err("unterminated array".to_owned()),
        }
    }

    fn subscript(&mut self) -> Result<Step, String> {
        if self.rest.starts_with(['\'', '"']) {
            return self.quoted().map(Step::Field);
        }
        if self.take("*") {
            return Ok(Step::Wildcard);
        }
        let end = self.rest.find([']', ',']).ok_or("unterminated array")?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        let number = |text: &str| {
            text.trim()
                .parse::<i64>()
                .map_err(|_| format!("invalid array index {text}"))
        };
        let optional = |text: &str| {
            if text.trim().is_empty() {
                Ok(None)
            } else {
                number(text).map(Some)
            }
        };
        let parts: Vec<_> = text.split(':').collect();
        match parts.as_slice() {
            [one] => number(one).map(Step::Index),
            [from, to] => Ok(Step::Slice(optional(from)?, optional(to)?, 1)),
            [from, to, step] => Ok(Step::Slice(
                optional(from)?,
                optional(to)?,
                optional(step)?.unwrap_or(1),
            )),
            _ => Err(format!("invalid array index {text}")),
        }
    }

    /// What stands between `?(` and `)`.
    fn filter(&mut self) -> Result<Step, String> {
        let left = self.operand()?;
        self.skip_spaces();
        const SIGNS: [(&str, Comparison); 6] = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let comparison = SIGNS.iter().find(|(sign, _)| self.rest.starts_with(sign));
        let step = match (comparison, left) {
            (Some((sign, comparison)), left) => {
                self.take(sign);
                Step::Filter(left, *comparison, self.operand()?)
            }
            (None, Operand::Path(path)) => Step::Exists(path),
            (None, Operand::Value(_)) => return Err("unrecognized filter".to_owned()),
        };
        self.skip_spaces();
        match self.take(")") {
            true => Ok(step),
            false => Err("unterminated filter".to_owned()),
        }
    }

    fn operand(&mut self) -> Result<Operand, String> {
        self.skip_spaces();
        match self.rest.chars().next() {
            Some('"' | '\'') => self.quoted().map(|text| Operand::Value(text.into())),
            Some('@' | '$' | '.') => self.path().map(Operand::Path),
            _ => {
                let end = self
                    .rest
                    .find([' ', ')', '=', '!', '<', '>'])
                    .unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(end);
                self.rest = rest;
                let value = serde_json::from_str(word).map_err(|_| format!("unrecognized filter value {word:?}"))?;
                Ok(Operand::Value(value))
            }
        }
    }

    fn quoted(&mut self) -> Result<String, String> {
        let quote = self.rest.chars().next().unwrap_or('"');
        let mut out = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(out);
                }
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some('r') => out.push('\r'),
                    Some(c) => {
                        let _ = write!(out, "{c}");
                    }
                    None => break,
                },
                c => out.push(c),
            }
        }
        Err("unterminated quoted string".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn templates_render_as_kubectl_does() {
        let root = json!({"kind": "List", "items": [
            {"metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "x"}}, "n": 1, "ok": true,
             "conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
            {"metadata": {"name": "b"}, "n": 2, "list": [1, 2, 3, 4]}]});
        for (template, expect) in [
            ("{.kind}", "List"),
            ("kind is {.kind}!", "kind is List!"),
            ("{.items[*].metadata.name}", "a b"),
            ("{$.items[0]['metadata']['name']}", "a"),
            ("{.items[-1].metadata.name}", "b"),
            (
                "{range .items[*]}{.metadata.name}{\"\\t\"}{.n}{\"\\n\"}{end}",
                "a\t1\nb\t2\n",
            ),
            ("{.items[0].metadata.labels.app\\.kubernetes\\.io/name}", "x"),
            ("{.items[0].conditions[?(@.type==\"Ready\")].status}", "True"),
            ("{.items[?(@.n>1)].metadata.name}", "b"),
            ("{.items[?(@.list)].metadata.name}", "b"),
            ("{.items[?(@.ok==true)].metadata.name}", "a"),
            ("{.items[1].list[1:3]}", "2 3"),
            ("{.items[1].list[::2]}", "1 3"),
            ("{.items[1].list[0,3]}", "1 4"),
            ("{.items[1].list}", "[1,2,3,4]"),
            ("{..name}", "a b"),
            ("{.missing.field}", ""),
            ("{.items[0].metadata.name}{' '}{.kind}", "a List"),
            ("{@.kind}", "List"),
        ] {
            assert_eq!(
                Template::parse(template).map(|t| t.render(&root)),
                Ok(expect.to_owned()),
                "{template}"
            );
        }
    }

    #[test]
    fn paths_are_read_in_every_form() {
        let root = json!({"status": {"phase": "Running"}});
        for path in ["{.status.phase}", ".status.phase", "status.phase", "{status.phase}"] {
            let path = Path::parse(path).expect(path);
            assert_eq!(path.find(&root), [&json!("Running")]);
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for template in ["{.a", "{range .a}", "{end}", "{.a[}", "{.a[?(@.b]}", "{\"x}", "{foo}"] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
    }
}
