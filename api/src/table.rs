//! The columns of every kind: what `get` prints, what the server puts into Table responses, and what
//! the terminal UI and the dashboard draw.
//!
//! A kind's columns are a constant list in a file below; each column is a function from the object and
//! the present time to a [`Cell`]. Headings, order and texts are upstream's, so that scripts that read
//! them go on working.

mod cluster;
mod machinery;
mod network;
mod pods;
mod security;
mod storage;
mod workloads;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::convert;
use crate::resource::Resource;
use crate::view;

pub(crate) use cluster::node_roles;
pub(crate) use network::{join_host_port, some_of};
pub use pods::status as pod_status;

/// What a cell means, for colours and for finding trouble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// Says nothing about health.
    #[default]
    Plain,
    /// Of little interest: finished, absent, scaled to zero.
    Muted,
    /// As it should be.
    Ok,
    /// On its way.
    Progress,
    /// Should be looked at.
    Warning,
    /// Broken.
    Failure,
}

/// What a cell holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Content {
    /// Text.
    Text(Cow<'static, str>),
    /// A number.
    Integer(i64),
    /// Yes or no.
    Boolean(bool),
}

/// One cell of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// What is shown.
    pub content: Content,
    /// What the column sorts by, where that is not the text.
    pub sort: Option<i64>,
    /// What it means.
    pub severity: Severity,
}

impl Cell {
    /// A cell of text.
    pub fn text(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            content: Content::Text(text.into()),
            sort: None,
            severity: Severity::Plain,
        }
    }

    /// A cell of text, `<none>` when that is empty.
    pub fn or_none(text: &str) -> Self {
        match text {
            "" => Self::text(view::NONE).severity(Severity::Muted),
            text => Self::text(text.to_owned()),
        }
    }

    /// A cell with a number.
    pub fn int(value: i64) -> Self {
        Self {
            content: Content::Integer(value),
            sort: Some(value),
            severity: Severity::Plain,
        }
    }

    /// A cell with yes or no.
    pub fn flag(value: bool) -> Self {
        Self {
            content: Content::Boolean(value),
            sort: Some(i64::from(value)),
            severity: Severity::Plain,
        }
    }

    /// `ready/desired`.
    pub fn ratio(ready: i64, desired: i64) -> Self {
        let severity = match ready.cmp(&desired) {
            Ordering::Equal if desired == 0 => Severity::Muted,
            Ordering::Less => Severity::Progress,
            Ordering::Equal | Ordering::Greater => Severity::Ok,
        };
        let share = if desired > 0 { ready * 1000 / desired } else { 0 };
        Self::text(format!("{ready}/{desired}")).severity(severity).sort(share)
    }

    /// The time since the timestamp at a path.
    pub fn since(object: &Value, path: &str, now: Timestamp) -> Self {
        let age = view::time(object, path).map(|then| now.duration_since(then).as_secs());
        let cell = Self::text(view::since(object, path, now));
        Self { sort: age, ..cell }
    }

    /// With this meaning.
    pub fn severity(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    /// Sorted by this number.
    pub fn sort(self, key: i64) -> Self {
        Self {
            sort: Some(key),
            ..self
        }
    }

    /// As Table responses carry it.
    pub fn to_json(&self) -> Value {
        match &self.content {
            Content::Text(text) => json!(text),
            Content::Integer(value) => json!(value),
            Content::Boolean(value) => json!(value),
        }
    }

    /// The order of two cells of one column.
    pub fn order(&self, other: &Self) -> Ordering {
        match (self.sort, other.sort) {
            (Some(a), Some(b)) => a.cmp(&b),
            (None, None) => self.to_string().cmp(&other.to_string()),
            // Cells without a number (`<unknown>`) come last.
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Text(text) => f.write_str(text),
            Content::Integer(value) => write!(f, "{value}"),
            Content::Boolean(value) => write!(f, "{value}"),
        }
    }
}

/// One column of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Heading, as Table responses spell it: `Up-to-date`.
    pub name: &'static str,
    /// JSON type: `string`, `integer` or `boolean`.
    pub kind: &'static str,
    /// OpenAPI format: `name` for the column that identifies the row, otherwise empty.
    pub format: &'static str,
    /// What it shows, in a sentence.
    pub description: &'static str,
    /// Whether it is only shown on demand (`-o wide`).
    pub wide: bool,
    cell: fn(&Value, Timestamp) -> Cell,
}

impl Column {
    const fn new(name: &'static str, description: &'static str, cell: fn(&Value, Timestamp) -> Cell) -> Self {
        Self {
            name,
            kind: "string",
            format: "",
            description,
            wide: false,
            cell,
        }
    }

    const fn int(self) -> Self {
        Self {
            kind: "integer",
            ..self
        }
    }

    const fn boolean(self) -> Self {
        Self {
            kind: "boolean",
            ..self
        }
    }

    const fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    /// The column's cell for an object.
    pub fn cell(&self, object: &Value, now: Timestamp) -> Cell {
        (self.cell)(object, now)
    }

    /// As the `columnDefinitions` of Table responses carry it.
    pub fn to_json(&self) -> Value {
        json!({
            "name": self.name, "type": self.kind, "format": self.format,
            "description": self.description, "priority": i32::from(self.wide),
        })
    }
}

const NAME: Column = Column {
    format: "name",
    ..Column::new("Name", "Name of the object, unique in its namespace.", |o, _| {
        Cell::text(view::name(o).to_owned())
    })
};

const AGE: Column = Column::new("Age", "Time since the object was created.", |o, now| {
    Cell::since(o, "/metadata/creationTimestamp", now)
});

const CREATED_AT: Column = Column::new("Created At", "When the object was created.", |o, _| {
    Cell::text(view::text(o, "/metadata/creationTimestamp").to_owned())
});

/// Columns of built-in kinds that have none of their own.
const DEFAULT: &[Column] = &[NAME, CREATED_AT];
/// Columns of any other kind.
const CUSTOM: &[Column] = &[NAME, AGE];

/// Name and image columns of the containers at a path of JSON pointers.
macro_rules! container_columns {
    ($path:literal) => {
        [
            Column::new("Containers", "Names of the containers.", |o, _| {
                Cell::text($crate::view::containers(o, $path, "name"))
            })
            .wide(),
            Column::new("Images", "Images of the containers.", |o, _| {
                Cell::text($crate::view::containers(o, $path, "image"))
            })
            .wide(),
        ]
    };
}
use container_columns;

/// The columns of a resource, wide ones included.
///
/// Kinds of an unknown group get a name and an age.
pub fn columns(resource: &Resource) -> &'static [Column] {
    let (group, plural) = (&*resource.group, &*resource.plural);
    pods::columns(group, plural)
        .or_else(|| workloads::columns(group, plural))
        .or_else(|| network::columns(group, plural))
        .or_else(|| cluster::columns(group, plural))
        .or_else(|| storage::columns(group, plural))
        .or_else(|| security::columns(group, plural))
        .or_else(|| machinery::columns(group, plural))
        .unwrap_or(
            match crate::resource::builtin().by_path(group, &resource.version, plural) {
                Some(_) => DEFAULT,
                None => CUSTOM,
            },
        )
}

/// The row of an object of the resource's version.
pub fn row(resource: &Resource, object: &Value, now: Timestamp) -> Vec<Cell> {
    let object = stored_form(resource, object);
    columns(resource).iter().map(|c| c.cell(&object, now)).collect()
}

/// Columns read one version of a kind: the stored one.
fn stored_form<'a>(resource: &Resource, object: &'a Value) -> Cow<'a, Value> {
    match object {
        Value::Object(fields) if resource.is_converted() => {
            let mut fields = fields.clone();
            convert::to_stored(resource, &mut fields);
            Cow::Owned(Value::Object(fields))
        }
        other => Cow::Borrowed(other),
    }
}

/// What a Table response says about a row beside its cells: whether the Pod is done.
pub fn row_conditions(resource: &Resource, object: &Value) -> Option<Value> {
    let done = |reason: &str, message: &str| json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]);
    if !(resource.group.is_empty() && resource.plural == "pods") {
        return None;
    }
    match view::text(object, "/status/phase") {
        "Succeeded" => Some(done("Succeeded", "The pod has completed successfully.")),
        "Failed" => Some(done("Failed", "The pod failed.")),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
