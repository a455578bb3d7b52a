//! What may stand at a place in a manifest, and what it means: for editors, from an OpenAPI (v3) document.
//!
//! A [`Spot`] is where a cursor stands in YAML that may be unfinished, so it is read by how far lines are
//! indented and not by a parser. [`fields`], [`values`] and [`about`] look that up in a document.

use std::ops::Range;

use serde_json::Value;

use crate::view::text;

/// Where a cursor stands in a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spot<'t> {
    /// `apiVersion` of the object.
    pub api_version: &'t str,
    /// `kind` of the object.
    pub kind: &'t str,
    /// The fields that lead to the block, outermost first; items of lists are in none.
    pub path: Vec<&'t str>,
    /// Fields that the block has beside this one.
    pub beside: Vec<&'t str>,
    /// What is being typed, in bytes of the text.
    pub word: Range<usize>,
    /// The field whose value is being typed; nothing while a field is.
    pub value_of: Option<&'t str>,
    /// How far the block is indented.
    pub column: usize,
    /// Whether the field has its colon already.
    pub is_whole: bool,
}

/// A field, and what is said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Help {
    /// Name.
    pub name: String,
    /// What it holds: `string`, `[]Container`.
    pub holds: String,
    /// What it means.
    pub text: String,
    /// Whether an object without it is refused.
    pub required: bool,
}

/// A line that has a field, or may get one.
struct Line<'t> {
    /// Where the outermost dash stands.
    dash: Option<usize>,
    /// Where the field begins.
    column: usize,
    key: &'t str,
    /// Where the value begins, when there is a colon.
    value: Option<usize>,
}

impl<'t> Line<'t> {
    fn read(line: &'t str) -> Self {
        let mut column = line.len() - line.trim_start_matches(' ').len();
        let mut dash = None;
        while line[column..].starts_with("- ") || &line[column..] == "-" {
            dash = dash.or(Some(column));
            let rest = &line[(column + 2).min(line.len())..];
            column = (column + 2).min(line.len()) + (rest.len() - rest.trim_start_matches(' ').len());
        }
        let rest = &line[column..];
        let colon = match rest.find(": ") {
            _ if rest.starts_with('#') => None,
            None if rest.trim_end().ends_with(':') => Some(rest.trim_end().len() - 1),
            colon => colon,
        };
        Self {
            dash,
            column,
            key: rest[..colon.unwrap_or(0)].trim_matches(['"', '\'']),
            value: colon.map(|colon| {
                let after = &rest[colon + 1..];
                column + colon + 1 + (after.len() - after.trim_start().len())
            }),
        }
    }

    /// Fields that stand less far in are around this one.
    fn limit(&self) -> usize {
        self.dash.map_or(self.column, |dash| dash + 1)
    }
}

impl<'t> Spot<'t> {
    /// Where a byte of a text stands; nothing in a comment.
    pub fn find(source: &'t str, at: usize) -> Option<Self> {
        let before = source.get(..at)?;
        let start = before.rfind("\n---").map_or(0, |at| at + 4);
        let end = source[at..].find("\n---").map_or(source.len(), |end| at + end);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1).max(start);
        let line_end = source[at..end].find('\n').map_or(end, |end| at + end);
        let (typed, whole) = (&source[line_start..at], &source[line_start..line_end]);
        if typed.trim_start().starts_with('#') {
            return None;
        }
        let own = Line::read(typed);
        let mut spot = Self {
            column: own.column,
            word: line_start + own.value.unwrap_or(own.column)..at,
            value_of: own.value.map(|_| own.key),
            is_whole: Line::read(whole).value.is_some(),
            ..Self::default()
        };
        let (mut column, mut limit) = (own.column, own.limit());
        for line in source[start..line_start].lines().rev() {
            let line = Line::read(line);
            if line.key.is_empty() {
                continue;
            }
            if line.column < limit {
                spot.path.push(line.key);
                (column, limit) = (line.column, line.limit());
            } else if line.column == column && limit == column {
                if spot.path.is_empty() {
                    spot.beside.push(line.key);
                }
                limit = line.limit();
            }
        }
        for line in source[line_end..end].lines() {
            let line = Line::read(line);
            if line.key.is_empty() {
                continue;
            }
            if line.column < own.column || (line.column == own.column && line.dash.is_some()) {
                break;
            }
            if line.column == own.column {
                spot.beside.push(line.key);
            }
        }
        spot.path.reverse();
        for line in source[start..end].lines() {
            let field = Line::read(line);
            let value = field.value.map_or("", |at| line[at..].trim().trim_matches(['"', '\'']));
            match (field.column, field.key) {
                (0, "apiVersion") => spot.api_version = value,
                (0, "kind") => spot.kind = value,
                _ => {}
            }
        }
        Some(spot)
    }

    /// What has been typed of the word.
    pub fn typed(&self, source: &'t str) -> &'t str {
        &source[self.word.clone()]
    }

    /// Where the document is that describes the object, below `/openapi/v3/`.
    pub fn document(&self) -> Option<String> {
        match self.api_version.split_once('/') {
            _ if self.api_version.is_empty() => None,
            Some(_) => Some(format!("apis/{}", self.api_version)),
            None => Some(format!("api/{}", self.api_version)),
        }
    }
}

/// Follows references to what they name.
fn named<'d>(document: &'d Value, mut schema: &'d Value) -> &'d Value {
    while let Some(name) = reference(schema) {
        schema = &document["components"]["schemas"][name];
    }
    schema
}

/// The name of what a schema refers to.
fn reference(schema: &Value) -> Option<&str> {
    let all = schema["allOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    let holder = match all {
        [one] => one,
        _ => schema,
    };
    holder["$ref"].as_str()?.rsplit('/').next()
}

/// What is in the items of lists of lists.
fn items<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    let mut schema = named(document, schema);
    while schema["type"] == "array" {
        schema = named(document, &schema["items"]);
    }
    schema
}

fn inside<'d>(document: &'d Value, schema: &'d Value, key: &str) -> Option<&'d Value> {
    let schema = items(document, schema);
    let named = schema.get("properties").and_then(|fields| fields.get(key));
    named.or_else(|| schema.get("additionalProperties").filter(|any| any.is_object()))
}

/// What describes the block that a spot stands in.
fn block<'d>(document: &'d Value, spot: &Spot<'_>) -> Option<&'d Value> {
    let (group, version) = spot.api_version.rsplit_once('/').unwrap_or(("", spot.api_version));
    let is_kind = |schema: &&Value| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        kinds.into_iter().flatten().any(|kind| {
            (text(kind, "/group"), text(kind, "/version"), text(kind, "/kind")) == (group, version, spot.kind)
        })
    };
    let root = document["components"]["schemas"].as_object()?.values().find(is_kind)?;
    spot.path
        .iter()
        .try_fold(root, |schema, key| inside(document, schema, key))
}

fn holds(document: &Value, schema: &Value) -> String {
    if let Some(name) = reference(schema)
        && named(document, schema).get("properties").is_some()
    {
        return name.rsplit('.').next().unwrap_or(name).to_owned();
    }
    let schema = named(document, schema);
    match schema["type"].as_str().unwrap_or("any") {
        "array" => format!("[]{}", holds(document, &schema["items"])),
        "object" => match schema.get("additionalProperties") {
            Some(any) if any.is_object() => format!("map of {}", holds(document, any)),
            _ => "object".to_owned(),
        },
        simple => simple.to_owned(),
    }
}

fn help(document: &Value, block: &Value, name: &str) -> Option<Help> {
    let block = items(document, block);
    let schema = inside(document, block, name)?;
    let own = text(schema, "/description");
    let required = block["required"].as_array().into_iter().flatten();
    Some(Help {
        name: name.to_owned(),
        holds: holds(document, schema),
        text: match own {
            "" => text(named(document, schema), "/description").to_owned(),
            own => own.to_owned(),
        },
        required: required.into_iter().any(|field| field == name),
    })
}

/// The fields that may stand at a spot and are not there yet, required ones first.
pub fn fields(document: &Value, spot: &Spot<'_>, typed: &str) -> Vec<Help> {
    let Some(block) = block(document, spot).filter(|_| spot.value_of.is_none()) else {
        return Vec::new();
    };
    let all = items(document, block)["properties"].as_object();
    let names = all.into_iter().flat_map(|fields| fields.keys());
    let wanted = names.filter(|name| {
        let begins = name
            .get(..typed.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(typed));
        begins && !spot.beside.contains(&name.as_str())
    });
    let mut found: Vec<_> = wanted.filter_map(|name| help(document, block, name)).collect();
    found.sort_by(|a, b| (!a.required, &a.name).cmp(&(!b.required, &b.name)));
    found
}

/// The values that a field at a spot may have, where there are few.
pub fn values(document: &Value, spot: &Spot<'_>, typed: &str) -> Vec<String> {
    let schema = spot.value_of.zip(block(document, spot));
    let Some(schema) = schema.and_then(|(field, block)| inside(document, block, field)) else {
        return Vec::new();
    };
    let schema = named(document, schema);
    let all: Vec<String> = match (schema["enum"].as_array(), &schema["type"]) {
        (Some(all), _) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        (None, kind) if kind == "boolean" => vec!["true".to_owned(), "false".to_owned()],
        _ => Vec::new(),
    };
    all.into_iter()
        .filter(|value| value.starts_with(typed) && !value.is_empty())
        .collect()
}

/// What is said of the field at a spot: of a whole name, or of the field whose value is typed.
pub fn about(document: &Value, spot: &Spot<'_>, typed: &str) -> Option<Help> {
    help(document, block(document, spot)?, spot.value_of.unwrap_or(typed))
}

/// What is put in for a field: with what belongs behind it.
pub fn completed(help: &Help, spot: &Spot<'_>) -> String {
    let (name, indent) = (&help.name, " ".repeat(spot.column));
    match &*help.holds {
        _ if spot.is_whole => name.clone(),
        "string" | "integer" | "number" | "boolean" | "any" => format!("{name}: "),
        list if list.starts_with("[]") => format!("{name}:\n{indent}- "),
        _ => format!("{name}:\n{indent}  "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MANIFEST: &str = "apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  # how many
  replicas: 2
  template:
    spec:
      containers:
      - name: a
        image: b
        env:
        - name: X
      - name: second
";

    fn document() -> Value {
        let named =
            |name: &str| json!({"allOf": [{"$ref": format!("#/components/schemas/io.k8s.{name}")}], "default": {}});
        json!({"components": {"schemas": {
            "io.k8s.Deployment": {"x-kubernetes-group-version-kind": [{"group": "apps", "version": "v1", "kind": "Deployment"}],
                "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "spec": named("DeploymentSpec")}},
            "io.k8s.DeploymentSpec": {"description": "what is wanted", "required": ["template"], "properties": {
                "replicas": {"type": "integer", "description": "how many"}, "paused": {"type": "boolean"}, "template": named("Template")}},
            "io.k8s.Template": {"properties": {"spec": named("PodSpec")}},
            "io.k8s.PodSpec": {"properties": {"containers": {"type": "array", "items": named("Container")},
                "restartPolicy": {"type": "string", "enum": ["Always", "Never", "OnFailure"]},
                "nodeSelector": {"type": "object", "additionalProperties": {"type": "string"}}}},
            "io.k8s.Container": {"required": ["name"], "properties": {"name": {"type": "string"}, "image": {"type": "string"},
                "imagePullPolicy": {"type": "string"}, "env": {"type": "array", "items": named("EnvVar")}}},
            "io.k8s.EnvVar": {"properties": {"name": {"type": "string"}, "value": {"type": "string"}}},
        }}})
    }

    /// The manifest with a line more behind another, and what is known at its end.
    fn check(behind: &str, line: &str) -> String {
        let at = MANIFEST.find(behind).expect("the line is there") + behind.len();
        let source = format!("{}\n{line}{}", &MANIFEST[..at], &MANIFEST[at..]);
        let at = at + 1 + line.len();
        let spot = Spot::find(&source, at).expect("a spot");
        let typed = spot.typed(&source);
        let names: Vec<_> = fields(&document(), &spot, typed)
            .into_iter()
            .map(|help| format!("{}{}:{}", help.name, if help.required { "!" } else { "" }, help.holds))
            .collect();
        let values = values(&document(), &spot, typed);
        format!(
            "{} [{typed}] {} {}",
            spot.path.join("."),
            names.join(" "),
            values.join(" ")
        )
        .trim()
        .to_owned()
    }

    #[test]
    fn what_may_stand_somewhere_is_known() {
        assert_eq!(check("name: web", ""), "[]");
        assert_eq!(check("spec:", "  "), "spec [] paused:boolean");
        assert_eq!(check("replicas: 2", "  pau"), "spec [pau] paused:boolean");
        assert_eq!(check("replicas: 2", "  paused: "), "spec []  true false");
        assert_eq!(
            check("    spec:", "      re"),
            "spec.template.spec [re] restartPolicy:string"
        );
        assert_eq!(
            check("    spec:", "      restartPolicy: O"),
            "spec.template.spec [O]  OnFailure"
        );
        assert_eq!(
            check("image: b", "        im"),
            "spec.template.spec.containers [im] imagePullPolicy:string"
        );
        assert_eq!(
            check("- name: X", "          "),
            "spec.template.spec.containers.env [] value:string"
        );
        assert_eq!(
            check("- name: second", "      - "),
            "spec.template.spec.containers [] name!:string env:[]EnvVar image:string imagePullPolicy:string"
        );
        assert_eq!(
            check("- name: second", "        e"),
            "spec.template.spec.containers [e] env:[]EnvVar"
        );
    }

    #[test]
    fn a_field_says_what_it_means_and_brings_what_belongs_behind_it() {
        let at = MANIFEST.find("replicas").expect("there") + 8;
        let spot = Spot::find(MANIFEST, at).expect("a spot");
        let help = about(&document(), &spot, spot.typed(MANIFEST)).expect("a field");
        assert_eq!((&*help.holds, &*help.text), ("integer", "how many"));
        assert_eq!(completed(&help, &spot), "replicas", "its colon is there already");
        assert_eq!(spot.document().as_deref(), Some("apis/apps/v1"));

        let source = "apiVersion: apps/v1\nkind: Deployment\nspec:\n  te";
        let spot = Spot::find(source, source.len()).expect("a spot");
        let found = fields(&document(), &spot, spot.typed(source));
        assert_eq!(completed(&found[0], &spot), "template:\n    ");
        let comment = "# te";
        assert_eq!(Spot::find(comment, comment.len()), None);
    }
}
