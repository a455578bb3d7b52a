//! `mizzen explain`: what a kind and its fields are, as the server describes them.

use std::fmt::Write as _;
use std::process::ExitCode;

use http::Method;
use mizzen_api::resource::Resource;
use mizzen_api::view::{list, map, text};
use serde_json::{Value, json};

use crate::cli::error::fail;
use crate::cli::{self, Call, Connect, Session, say};

/// As wide as kubectl writes.
const WIDTH: usize = 80;

/// Tell what a kind and its fields are.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// TYPE, or TYPE.FIELD.FIELD….
    #[arg(value_name = "TYPE.FIELD")]
    path: String,
    /// All fields below, without their descriptions.
    #[arg(long)]
    recursive: bool,
    /// Of this group and version.
    #[arg(long, value_name = "GROUP/VERSION")]
    api_version: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

/// An OpenAPI document.
struct Document(Value);

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |session| {
            let text = self.explain(&session).await?;
            std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        })
    }

    async fn explain(&self, session: &Session) -> anyhow::Result<String> {
        let (resource, fields) = self.find(session).await?;
        let root = if resource.group.is_empty() { "api" } else { "apis" };
        let path = format!("/openapi/v3/{root}/{}", resource.api_version());
        let document = Document(session.call(Call::new(Method::GET, path)).await?);
        let Some(kind) = document.kind(&resource) else {
            return fail(format!("couldn't find resource for {:?}", resource.qualified_name()));
        };
        document.explain(&resource, kind, &fields, self.recursive)
    }

    /// The resource, and the fields that lead from it.
    async fn find(&self, session: &Session) -> anyhow::Result<(std::sync::Arc<Resource>, Vec<String>)> {
        let mut parts = self.path.split('.').map(str::to_owned);
        let name = parts.next().unwrap_or_default();
        let fields: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
        let name = match &self.api_version {
            None => name,
            Some(version) => match version.split_once('/') {
                Some((group, version)) => format!("{name}.{version}.{group}"),
                None => format!("{name}.{version}."),
            },
        };
        // A dot may belong to the group: deployments.apps, deployments.v1.apps.
        let registry = session.registry().await?;
        let groups = (1..=fields.len()).rev().filter_map(|count| {
            let whole = format!("{name}.{}", fields[..count].join("."));
            Some((registry.resolve(&whole)?.clone(), fields[count..].to_vec()))
        });
        match groups.into_iter().next() {
            Some(found) => Ok(found),
            None => Ok((session.resource(&name).await?, fields)),
        }
    }
}

impl Document {
    fn kind(&self, resource: &Resource) -> Option<&Value> {
        let this = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
        let schemas = map(&self.0, "/components/schemas")?;
        schemas
            .values()
            .find(|schema| list(schema, "/x-kubernetes-group-version-kind").contains(&this))
    }

    /// The schema behind references and lists.
    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        if let Some(name) = reference(schema) {
            return self.0.pointer(&format!("/components/schemas/{name}")).unwrap_or(schema);
        }
        match text(schema, "/type") {
            "array" => self.resolve(&schema["items"]),
            "object" if schema["additionalProperties"].is_object() => self.resolve(&schema["additionalProperties"]),
            _ => schema,
        }
    }

    /// As kubectl names types: `string`, `[]Container`, `map[string]string`.
    fn type_of(&self, schema: &Value) -> String {
        if let Some(name) = reference(schema) {
            // Times are texts to whoever writes them.
            return match text(self.resolve(schema), "/type") {
                "string" => "string".to_owned(),
                _ => name.rsplit('.').next().unwrap_or(name).to_owned(),
            };
        }
        match text(schema, "/type") {
            "array" => format!("[]{}", self.type_of(&schema["items"])),
            "object" if schema["additionalProperties"].is_object() => {
                format!("map[string]{}", self.type_of(&schema["additionalProperties"]))
            }
            "" if !list(schema, "/oneOf").is_empty() => "IntOrString".to_owned(),
            "" | "object" => "Object".to_owned(),
            other => other.to_owned(),
        }
    }

    fn explain(&self, resource: &Resource, kind: &Value, fields: &[String], recursive: bool) -> anyhow::Result<String> {
        let mut out = String::new();
        if !resource.group.is_empty() {
            let _ = writeln!(out, "GROUP:      {}", resource.group);
        }
        let _ = writeln!(out, "KIND:       {}\nVERSION:    {}\n", resource.kind, resource.version);
        let mut schema = kind;
        let mut field = None;
        for name in fields {
            let below = self.resolve(schema);
            let Some(next) = below.pointer("/properties").and_then(|all| all.get(name)) else {
                say(out.trim_end_matches('\n'))?;
                say("")?;
                return fail(format!("field {name:?} does not exist"));
            };
            (schema, field) = (next, Some((name, next)));
        }
        if let Some((name, schema)) = field {
            let _ = writeln!(out, "FIELD: {name} <{}>\n", self.type_of(schema));
            out.push_str(&choices(schema, ""));
            out.push('\n');
        }
        let target = self.resolve(schema);
        out.push_str("DESCRIPTION:\n");
        let about = text(schema, "/description");
        let own = text(target, "/description");
        let about = if about.is_empty() { "<empty>" } else { about };
        wrap(&mut out, "    ", about);
        // A field's own words come before those about its type.
        if field.is_some() && !own.is_empty() && own != about {
            wrap(&mut out, "    ", own);
        }
        out.push_str("    \n");
        if map(target, "/properties").is_some() {
            out.push_str("FIELDS:\n");
            self.fields(&mut out, target, recursive, 2, &mut vec![target]);
        }
        out.push('\n');
        Ok(out)
    }

    fn fields<'a>(
        &'a self,
        out: &mut String,
        of: &'a Value,
        recursive: bool,
        depth: usize,
        above: &mut Vec<&'a Value>,
    ) {
        let required = list(of, "/required");
        for (name, schema) in map(of, "/properties").into_iter().flatten() {
            let indent = " ".repeat(depth);
            let mark = if required.contains(&json!(name)) {
                " -required-"
            } else {
                ""
            };
            let _ = writeln!(out, "{indent}{name}\t<{}>{mark}", self.type_of(schema));
            out.push_str(&choices(schema, &indent));
            if !recursive {
                let about = text(schema, "/description");
                wrap(
                    out,
                    &format!("{indent}  "),
                    if about.is_empty() { "<no description>" } else { about },
                );
                out.push('\n');
                continue;
            }
            let below = self.resolve(schema);
            let known = above.iter().any(|each| std::ptr::eq(*each, below));
            if map(below, "/properties").is_some() && !known {
                above.push(below);
                self.fields(out, below, true, depth + 2, above);
                above.pop();
            }
        }
    }
}

/// Name of the schema that is referred to, directly or as the only part of one.
fn reference(schema: &Value) -> Option<&str> {
    let direct = text(schema, "/$ref");
    let name = if direct.is_empty() {
        text(schema, "/allOf/0/$ref")
    } else {
        direct
    };
    name.strip_prefix("#/components/schemas/")
}

fn choices(schema: &Value, indent: &str) -> String {
    let all: Vec<_> = list(schema, "/enum").iter().filter_map(Value::as_str).collect();
    match all.is_empty() {
        true => String::new(),
        false => format!("{indent}enum: {}\n", all.join(", ")),
    }
}

/// Text in lines of a limited width; its own lines stay apart.
fn wrap(out: &mut String, indent: &str, text: &str) {
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && indent.len() + line.len() + 1 + word.len() > WIDTH {
                let _ = writeln!(out, "{indent}{line}");
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        let _ = writeln!(out, "{indent}{line}");
    }
}
