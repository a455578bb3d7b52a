//! Sorting many rows at once, without reading every row at every comparison.
//!
//! A key of fixed size stands for each row: it decides most comparisons alone, and where it does not the rows
//! are compared. Ids come in by namespace and name, so that a stable sort leaves equal rows in that order.

use std::cmp::Ordering;

use super::{By, Order, Row};

/// Bytes of a text that its key holds: enough for an address.
const HELD: usize = 16;

/// What stands for a row while many are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    class: Class,
    value: u128,
    /// Whether the value says all: equal keys are equal cells.
    whole: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// Comes first in either direction.
    Number,
    Ordinary,
    Absent,
}

impl Key {
    const ABSENT: Self = Self {
        class: Class::Absent,
        value: 0,
        whole: true,
    };

    fn number(class: Class, number: i64) -> Self {
        Self {
            class,
            value: (i128::from(number) - i128::from(i64::MIN)).cast_unsigned(),
            whole: true,
        }
    }

    fn text(text: &str) -> Self {
        let held = &text.as_bytes()[..text.len().min(HELD)];
        let mut bytes = [0; HELD];
        bytes[..held.len()].copy_from_slice(held);
        Self {
            class: Class::Ordinary,
            value: u128::from_be_bytes(bytes),
            whole: text.len() <= HELD && !held.contains(&0),
        }
    }
}

impl Order {
    /// Whether rows are as they come: by namespace and name.
    pub(super) fn is_natural(&self) -> bool {
        *self == Self::default()
    }

    /// Whether rows come the other way round.
    pub(super) fn is_reversed(&self) -> bool {
        self.by == By::Key && self.descending
    }

    pub(super) fn key(&self, row: &Row) -> Key {
        match self.by {
            By::Key => Key::ABSENT,
            By::Name => Key::text(&row.name),
            By::Clock(at) => row
                .clock(at)
                .map_or(Key::ABSENT, |age| Key::number(Class::Ordinary, age)),
            By::Cell(at) => match row.cells.get(at) {
                None => Key::ABSENT,
                Some(cell) => match cell.sort {
                    Some(number) => Key::number(Class::Number, number),
                    None => match &cell.content {
                        crate::table::Content::Text(text) => Key::text(text),
                        _ => Key::text(&cell.to_string()),
                    },
                },
            },
        }
    }

    /// Compares by keys; `rows` compares where they do not say.
    pub(super) fn by_keys(&self, a: Key, b: Key, rows: impl FnOnce() -> Ordering) -> Ordering {
        let one_number = (a.class == Class::Number) != (b.class == Class::Number);
        match (a.class, a.value).cmp(&(b.class, b.value)) {
            Ordering::Equal if a.whole && b.whole => Ordering::Equal,
            Ordering::Equal => rows(),
            decided if self.descending && !one_number => decided.reverse(),
            decided => decided,
        }
    }
}
