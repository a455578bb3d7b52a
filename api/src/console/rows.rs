//! The rows of a table, and which of them are shown in which order.
//!
//! An [`Index`] keeps all rows, and the sorted list of those that pass. One change of one row costs a
//! binary search and a move, not a sort; a new filter costs one pass, which can be made in slices.

mod arrange;
mod index;

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

pub use index::{Index, Keep, RowId, Shows};

use super::filter::{CLOCKS, Fields};
use crate::duration;
use crate::resource::Resource;
use crate::table::{self, Cell, Severity};
use crate::view;

/// What a table shows of one object: its cells, wide ones included, and its labels. Small, so that
/// fifty thousand fit.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Row {
    /// Namespace; empty for cluster scope.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// Cells in the order of the columns.
    pub cells: Box<[Cell]>,
    /// Labels, `key=value` on a line each: one piece of memory rather than two for each.
    pub labels: Box<str>,
    /// When the cells were made, in seconds: ages count on from there.
    pub taken: i64,
}

impl Row {
    /// The row of an object, with the columns that its resource has.
    pub fn new(resource: &Resource, object: &Value, now: Timestamp) -> Self {
        Self::with_cells(object, table::row(resource, object, now), now)
    }

    /// The row of an object whose cells are known, such as from a server's Table.
    pub fn with_cells(object: &Value, cells: Vec<Cell>, now: Timestamp) -> Self {
        let labels = view::map(object, "/metadata/labels").into_iter().flatten();
        let labels = labels.map(|(key, value)| format!("{key}={}\n", value.as_str().unwrap_or_default()));
        Self {
            namespace: view::namespace(object).into(),
            name: view::name(object).into(),
            uid: view::text(object, "/metadata/uid").into(),
            cells: cells.into(),
            labels: labels.collect::<String>().into(),
            taken: now.as_second(),
        }
    }

    /// The worst that any cell says.
    pub fn severity(&self) -> Severity {
        self.cells.iter().map(|cell| cell.severity).max().unwrap_or_default()
    }

    /// By what a column that counts time is sorted: ages were taken at different moments.
    fn clock(&self, column: usize) -> Option<i64> {
        Some(self.cells.get(column)?.sort? - self.taken)
    }

    /// What a cell shows at a moment: ages go on without any event.
    pub fn text(&self, column: usize, heading: &str, now: Timestamp) -> String {
        match self.cells.get(column) {
            None => String::new(),
            Some(cell) => match cell.sort {
                Some(age) if is_clock(heading) => {
                    duration::human(jiff::SignedDuration::from_secs(age + now.as_second() - self.taken))
                }
                _ => cell.to_string(),
            },
        }
    }
}

/// Whether a column counts time by itself. A duration stands still when it is over, so it is as it came.
fn is_clock(heading: &str) -> bool {
    heading != "Duration" && CLOCKS.contains(&heading)
}

impl Fields for Row {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn cell(&self, column: usize) -> Option<&Cell> {
        self.cells.get(column)
    }

    fn label(&self, key: &str) -> Option<&str> {
        let mut labels = self.labels.lines().filter_map(|line| line.split_once('='));
        labels.find_map(|(name, value)| (name == key).then_some(value))
    }
}

/// An order that a person chose.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Sort {
    /// Heading.
    pub column: String,
    /// Largest first.
    pub descending: bool,
}

/// An order of rows: by a column, then by namespace and name, so that equal rows never jump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    by: By,
    descending: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum By {
    #[default]
    Key,
    Name,
    Cell(usize),
    /// Older cells first made are made comparable.
    Clock(usize),
}

impl Order {
    /// The order that `sort` means in a table with these headings; by namespace and name when it names
    /// none of them.
    pub fn new(sort: Option<&Sort>, columns: &[impl AsRef<str>]) -> Self {
        let Some(sort) = sort else { return Self::default() };
        let fold = |heading: &str| -> String {
            heading
                .chars()
                .filter(|c| c.is_alphanumeric())
                .flat_map(char::to_lowercase)
                .collect()
        };
        let wanted = fold(&sort.column);
        let at = columns.iter().position(|c| fold(c.as_ref()) == wanted);
        let by = match at {
            Some(at) if is_clock(columns[at].as_ref()) => By::Clock(at),
            Some(_) if wanted == "name" => By::Name,
            Some(at) => By::Cell(at),
            None if wanted == "namespace" => By::Key,
            None => return Self::default(),
        };
        Self {
            by,
            descending: sort.descending,
        }
    }

    /// Compares two rows; equal only when they are the same object.
    pub fn compare(&self, a: &Row, b: &Row) -> Ordering {
        let key = || (&*a.namespace, &*a.name).cmp(&(&*b.namespace, &*b.name));
        match self.by {
            By::Key if self.descending => key().reverse(),
            By::Key => key(),
            _ => self.by(a, b).then_with(key),
        }
    }

    /// Compares two rows by their column alone.
    fn by(&self, a: &Row, b: &Row) -> Ordering {
        let by = match self.by {
            By::Key => Ordering::Equal,
            By::Name => a.name.cmp(&b.name),
            By::Cell(at) => match (a.cells.get(at), b.cells.get(at)) {
                (Some(x), Some(y)) => compare_cells(x, y),
                (x, y) => y.is_some().cmp(&x.is_some()),
            },
            By::Clock(at) => match (a.clock(at), b.clock(at)) {
                (Some(x), Some(y)) => x.cmp(&y),
                (x, y) => y.is_some().cmp(&x.is_some()),
            },
        };
        match self.descending {
            true if !self.one_without_number(a, b) => by.reverse(),
            _ => by,
        }
    }

    /// What has no number comes last in either direction.
    fn one_without_number(&self, a: &Row, b: &Row) -> bool {
        let By::Cell(at) = self.by else { return false };
        let number = |row: &Row| row.cells.get(at).is_some_and(|c| c.sort.is_some());
        number(a) != number(b)
    }
}

/// As [`Cell::order`], without making text of text.
fn compare_cells(a: &Cell, b: &Cell) -> Ordering {
    use crate::table::Content::Text;
    match (&a.content, &b.content, a.sort, b.sort) {
        (Text(x), Text(y), None, None) => x.cmp(y),
        _ => a.order(b),
    }
}

#[cfg(test)]
mod tests;
