//! The columns of a table: those that we know of a kind, with what is measured of it, or those that a server
//! tells of kinds that only it knows.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::metrics;
use crate::resource::Resource;
use crate::table::{self, Cell, Content};
use crate::view::{self, int, list, text};

/// A column's heading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heading {
    /// As Table responses spell it.
    pub name: String,
    /// Whether it is only shown on demand.
    pub wide: bool,
    /// Whether it holds numbers.
    pub numeric: bool,
}

impl Heading {
    /// Reads a column definition of a Table.
    pub fn read(column: &Value) -> Self {
        Self {
            name: text(column, "/name").to_owned(),
            wide: int(column, "/priority") > 0,
            numeric: matches!(text(column, "/type"), "integer" | "number"),
        }
    }
}

impl AsRef<str> for Heading {
    fn as_ref(&self) -> &str {
        &self.name
    }
}

/// The headings of a kind that we know.
pub fn headings(resource: &Resource) -> Vec<Heading> {
    let columns = table::columns(resource).iter();
    let own = columns.map(|c| (c.name, c.wide, c.kind == "integer"));
    let measured = metrics::columns(resource)
        .iter()
        .map(|(name, wide)| (*name, *wide, true));
    let heading = |(name, wide, numeric): (&str, bool, bool)| Heading {
        name: name.to_owned(),
        wide,
        numeric,
    };
    own.chain(measured).map(heading).collect()
}

/// What a server's Table says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Served {
    /// The headings; none in most events of a watch.
    pub headings: Vec<Heading>,
    /// Objects, as much of them as was asked for, each with its cells.
    pub rows: Vec<(Value, Vec<Cell>)>,
}

impl Served {
    /// What a Table is asked for by; a server that makes none answers with objects.
    pub const ACCEPT: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

    /// Takes the rows out of a Table; nothing when it is none.
    pub fn take(answer: &mut Value, now: Timestamp) -> Option<Self> {
        if text(answer, "/kind") != "Table" {
            return None;
        }
        let headings = list(answer, "/columnDefinitions").iter().map(Heading::read).collect();
        let rows = match answer["rows"].take() {
            Value::Array(rows) => rows,
            _ => Vec::new(),
        };
        Some(Self {
            headings,
            rows: rows.into_iter().map(|row| served_row(row, now)).collect(),
        })
    }
}

/// The object and the cells of a Table's row.
pub fn served_row(mut row: Value, now: Timestamp) -> (Value, Vec<Cell>) {
    let object = row["object"].take();
    let cells = list(&row, "/cells").iter().map(|c| served(c, &object, now)).collect();
    (object, cells)
}

/// A cell that the server made.
fn served(value: &Value, object: &Value, now: Timestamp) -> Cell {
    let cell = match value {
        Value::Bool(flag) => Cell::flag(*flag),
        Value::Number(number) if number.is_i64() => Cell::int(number.as_i64().unwrap_or_default()),
        Value::Null => Cell {
            content: Content::Text("".into()),
            ..Cell::or_none("")
        },
        other => Cell::text(view::scalar(other)),
    };
    // An age that the server wrote goes on as ours do.
    let age = Cell::since(object, "/metadata/creationTimestamp", now);
    if age.sort.is_some() && age.content == cell.content {
        age
    } else {
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_are_taken_apart() {
        let now: Timestamp = "2026-01-01T00:05:00Z".parse().expect("a time");
        let object = json!({"metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"}});
        let mut table = json!({"kind": "Table", "columnDefinitions": [{"name": "Name", "type": "string"},
                {"name": "Size", "type": "integer", "priority": 1}, {"name": "On", "type": "boolean"}, {"name": "Age", "type": "date"}],
            "rows": [{"cells": ["a", 3, null, "5m"], "object": object}]});
        let served = Served::take(&mut table, now).expect("a Table");
        let heads = served
            .headings
            .iter()
            .map(|h| format!("{}{}{}", h.name, h.wide, h.numeric));
        let cells = served.rows[0].1.iter().map(|c| format!("{c}:{:?}", c.sort));
        insta::assert_snapshot!(heads.chain(cells).collect::<Vec<_>>().join(" "), @"Namefalsefalse Sizetruetrue Onfalsefalse Agefalsefalse a:None 3:Some(3) :None 5m:Some(300)");
        assert_eq!(Served::take(&mut json!({"kind": "Pod"}), now), None);
    }
}
