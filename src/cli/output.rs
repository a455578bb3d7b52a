//! Output: tables padded as kubectl pads them, and the formats of `-o`.

use std::str::FromStr;

use jiff::Timestamp;
use mizzen_api::jsonpath::{self, Path, Template};
use mizzen_api::resource::{Resource, builtin};
use mizzen_api::{table, view, yaml};
use serde_json::{Map, Value, json};

use super::targets;

/// What `-o` asks for.
#[derive(Clone, Debug)]
pub(crate) enum Format {
    /// Tables with all columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// `pod/web`.
    Name,
    /// A template.
    JsonPath(Template),
    /// Headings and paths.
    CustomColumns(Vec<(String, Path)>),
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once('=').unwrap_or((text, ""));
        match kind {
            "wide" => Ok(Self::Wide),
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            "name" => Ok(Self::Name),
            "jsonpath" if rest.is_empty() => Err("template format specified but no template given".to_owned()),
            "jsonpath" => Template::parse(rest).map(Self::JsonPath),
            "jsonpath-file" => {
                let text = std::fs::read_to_string(rest).map_err(|e| format!("{rest}: {e}"))?;
                Template::parse(text.trim_end()).map(Self::JsonPath)
            }
            "custom-columns" if rest.is_empty() => {
                Err("custom-columns format specified but no custom columns given".to_owned())
            }
            "custom-columns" => rest
                .split(',')
                .map(|column| {
                    let (heading, path) = column.split_once(':').ok_or_else(|| {
                        format!("unexpected custom-columns spec: {column}, expected <header>:<json-path-expr>")
                    })?;
                    Ok((heading.to_owned(), Path::parse(path)?))
                })
                .collect::<Result<_, _>>()
                .map(Self::CustomColumns),
            _ => Err(format!(
                "unable to match a printer suitable for the output format {kind:?}, allowed formats are: custom-columns,json,jsonpath,jsonpath-file,name,wide,yaml"
            )),
        }
    }
}

/// Lines up columns as kubectl does; remembers widths from one batch of rows to the next.
#[derive(Default)]
pub(crate) struct Columns {
    widths: Vec<usize>,
}

impl Columns {
    /// Lays rows out, one line each.
    pub(crate) fn lay_out(&mut self, rows: &[Vec<String>]) -> String {
        for row in rows {
            // The last cell of a row needs no width.
            for (at, cell) in row.iter().enumerate().take(row.len().saturating_sub(1)) {
                if self.widths.len() <= at {
                    self.widths.push(6);
                }
                self.widths[at] = self.widths[at].max(cell.chars().count() + 3);
            }
        }
        let mut out = String::new();
        for row in rows {
            for (at, cell) in row.iter().enumerate() {
                out.push_str(cell);
                if at + 1 < row.len() {
                    let padding = self.widths[at] - cell.chars().count();
                    out.extend(std::iter::repeat_n(' ', padding));
                }
            }
            out.push('\n');
        }
        out
    }
}

/// Rows of one resource, from our own columns or from a server's Table.
#[derive(Default)]
pub(crate) struct Rows {
    /// Headings, with whether they are wide-only.
    pub(crate) headings: Vec<(String, bool)>,
    /// Cells with the object they show.
    pub(crate) rows: Vec<(Vec<String>, Value)>,
}

impl Rows {
    /// What to ask the server for, so that [`Rows::read`] can show it: its own Table for kinds whose
    /// columns only it knows.
    pub(crate) fn accept(resource: &Resource) -> &'static str {
        match builtin().by_path(&resource.group, &resource.version, &resource.plural) {
            Some(_) => "application/json",
            None => "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        }
    }

    /// Reads an answer: an object, a list, or a Table.
    pub(crate) fn read(resource: &Resource, mut answer: Value, now: Timestamp) -> Self {
        if answer["kind"] == "Table" {
            return Self::from_table(answer);
        }
        let columns = table::columns(resource);
        let headings = columns.iter().map(|c| (c.name.to_uppercase(), c.wide)).collect();
        let objects = match answer.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => vec![answer],
        };
        let row = |object: Value| {
            let cells = table::row(resource, &object, now);
            (cells.iter().map(ToString::to_string).collect(), object)
        };
        Self {
            headings,
            rows: objects.into_iter().map(row).collect(),
        }
    }

    fn from_table(mut answer: Value) -> Self {
        let heading = |c: &Value| (view::text(c, "/name").to_uppercase(), view::int(c, "/priority") != 0);
        let headings = view::list(&answer, "/columnDefinitions").iter().map(heading).collect();
        let rows = match answer["rows"].take() {
            Value::Array(rows) => rows,
            _ => Vec::new(),
        };
        let row = |mut row: Value| {
            let cells = view::list(&row, "/cells").iter().map(jsonpath::display).collect();
            (cells, row["object"].take())
        };
        Self {
            headings,
            rows: rows.into_iter().map(row).collect(),
        }
    }
}

/// How tables are dressed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dress {
    /// Show wide-only columns.
    pub(crate) wide: bool,
    /// Start with the namespace.
    pub(crate) namespace: bool,
    /// Put `kind/` before names.
    pub(crate) kind: bool,
    /// End with all labels.
    pub(crate) labels: bool,
    /// Columns for these labels.
    pub(crate) label_columns: Vec<String>,
    /// Leave the headings out.
    pub(crate) no_headers: bool,
}

impl Dress {
    /// The headings of a table.
    pub(crate) fn headings(&self, rows: &Rows) -> Vec<String> {
        let mut out = Vec::new();
        out.extend(self.namespace.then(|| "NAMESPACE".to_owned()));
        let shown = rows.headings.iter().filter(|(_, wide)| self.wide || !wide);
        out.extend(shown.map(|(heading, _)| heading.clone()));
        let short = |label: &String| label.rsplit('/').next().unwrap_or(label).to_uppercase();
        out.extend(self.label_columns.iter().map(short));
        out.extend(self.labels.then(|| "LABELS".to_owned()));
        out
    }

    /// One row of a table.
    pub(crate) fn cells(
        &self,
        resource: &Resource,
        rows: &Rows,
        (cells, object): &(Vec<String>, Value),
    ) -> Vec<String> {
        let mut out = Vec::new();
        out.extend(self.namespace.then(|| view::namespace(object).to_owned()));
        let shown = rows
            .headings
            .iter()
            .zip(cells)
            .filter(|((_, wide), _)| self.wide || !wide);
        for ((heading, _), cell) in shown {
            // A line break would break the table.
            let cell = cell.replace('\n', "\\n");
            out.push(match heading.as_str() {
                "NAME" if self.kind => targets::display(resource, &cell),
                _ => cell,
            });
        }
        let labels = view::map(object, "/metadata/labels");
        let label = |key: &String| {
            labels
                .and_then(|l| l.get(key))
                .map(jsonpath::display)
                .unwrap_or_default()
        };
        out.extend(self.label_columns.iter().map(label));
        out.extend(self.labels.then(|| view::labels(labels)));
        out
    }
}

/// Objects in a format other than tables, ready to print.
pub(crate) fn format(format: &Format, objects: &[(&Resource, &Value)], single: bool) -> String {
    match format {
        Format::Name => {
            let line = |(resource, object): &(&Resource, &Value)| targets::display(resource, view::name(object)) + "\n";
            objects.iter().map(line).collect()
        }
        Format::Json => json_text(&document(objects, single)) + "\n",
        Format::Yaml => yaml::to_string(&document(objects, single)),
        Format::JsonPath(template) => template.render(&document(objects, single)),
        Format::CustomColumns(_) | Format::Wide => {
            let rows: Vec<_> = objects.iter().map(|(_, object)| custom_cells(format, object)).collect();
            Columns::default().lay_out(&rows)
        }
    }
}

/// The cells of `-o custom-columns` for an object.
pub(crate) fn custom_cells(format: &Format, object: &Value) -> Vec<String> {
    let Format::CustomColumns(columns) = format else {
        return Vec::new();
    };
    let cell = |(_, path): &(String, Path)| {
        let found: Vec<_> = path.find(object).into_iter().map(jsonpath::display).collect();
        if found.is_empty() {
            view::NONE.to_owned()
        } else {
            found.join(",")
        }
    };
    columns.iter().map(cell).collect()
}

/// One object, or all of them as a `List`.
fn document(objects: &[(&Resource, &Value)], single: bool) -> Value {
    match objects {
        [(_, object)] if single => (*object).clone(),
        many => {
            let items: Vec<_> = many.iter().map(|(_, object)| (*object).clone()).collect();
            json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}})
        }
    }
}

/// JSON with sorted keys and an indentation of four.
pub(crate) fn json_text(value: &Value) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    serde::Serialize::serialize(&sorted(value), &mut serializer).expect("JSON values encode");
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let entries = entries.into_iter().map(|(key, value)| (key.clone(), sorted(value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Value::Array(list) => list.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_padded_as_kubectl_pads_them() {
        let row = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let mut columns = Columns::default();
        let text = columns.lay_out(&[row(&["NAME", "READY", "AGE"]), row(&["web-1", "1/1", "5s"])]);
        assert_eq!(text, "NAME    READY   AGE\nweb-1   1/1     5s\n");
        // Later rows keep the widths.
        assert_eq!(columns.lay_out(&[row(&["x", "0/1", "1s"])]), "x       0/1     1s\n");
    }
}
