//! What `/` in a table takes: several terms, all of which must hold (see [`GRAMMAR`]).
//!
//! A filter is compiled once against the columns of its table, then asked of every row. Columns whose
//! text changes with time alone are not searched unless they are named: rows would come and go by
//! themselves.

mod anywhere;
mod fuzzy;
mod needle;
mod parse;

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::ops::Range;

use anywhere::Anywhere;
pub use fuzzy::Fuzzy;
use needle::Needle;

use crate::selector::{LabelSelector, Labels};
use crate::table::{Cell, Content};

/// The grammar, for help: how a term is written, and what it keeps.
pub const GRAMMAR: &[(&str, &str)] = &[
    (
        "text",
        "rows with the text in any column; capitals count only if there are any",
    ),
    ("a|b  ^a  b$", "regular expressions"),
    ("\"a b\"", "text with spaces"),
    ("!term", "rows for which the term does not hold"),
    (
        "status:crash",
        "the text in one column, named by its heading or a start of it",
    ),
    ("ns:=a|b", "exactly one of these values"),
    ("restarts>5  age<10m", "numbers and ages, also >= and <="),
    ("app=web  app!=web", "labels"),
    ("-l 'app in (a,b),!old'", "any label selector"),
    ("-f wbfr", "letters in this order, best matches first"),
    ("a b", "several terms, all of which hold"),
];

/// Columns that change as time passes, without any event.
pub(super) const CLOCKS: [&str; 5] = ["Age", "Last Seen", "First Seen", "Last Schedule", "Duration"];

/// What a filter reads of a row.
pub trait Fields {
    /// Namespace; empty for cluster scope.
    fn namespace(&self) -> &str;
    /// Name.
    fn name(&self) -> &str;
    /// The cell of a column, in the order in which the filter was given them.
    fn cell(&self, column: usize) -> Option<&Cell>;
    /// The value of a label.
    fn label(&self, key: &str) -> Option<&str>;
    /// The number that a column sorts by, as of now.
    fn number(&self, column: usize) -> Option<i64> {
        self.cell(column)?.sort
    }
}

struct LabelsOf<'a, R: ?Sized>(&'a R);

impl<R: Fields + ?Sized> Labels for LabelsOf<'_, R> {
    fn label(&self, key: &str) -> Option<&str> {
        self.0.label(key)
    }
}

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A term names a column that the table does not have.
    #[error("no column {0}")]
    NoColumn(String),
    /// The start of a heading fits several.
    #[error("{0} may be {1}")]
    Ambiguous(String, String),
    /// No regular expression.
    #[error("bad pattern {0}: {1}")]
    Pattern(String, String),
    /// No label selector.
    #[error("bad labels: {0}")]
    Labels(String),
    /// An option or comparison without what it needs.
    #[error("{0} needs {1}")]
    Missing(String, &'static str),
    /// A quote that is not closed.
    #[error("unclosed quote")]
    Quote,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Anywhere,
    Namespace,
    Name,
    Column(usize),
}

#[derive(Clone, Debug)]
enum Test {
    Text(Needle),
    Number(&'static [Ordering], i64),
    Labels(LabelSelector),
    Fuzzy(Fuzzy),
}

#[derive(Clone, Debug)]
struct Term {
    inverse: bool,
    place: Place,
    test: Test,
    /// Finds in the text of a whole row what may be in one of its cells.
    anywhere: Option<Anywhere>,
}

/// A compiled filter. The default one keeps everything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    text: String,
    terms: Vec<Term>,
    /// Columns that are searched by terms that name none.
    searched: Vec<usize>,
}

impl Filter {
    /// Compiles a filter for a table with these headings.
    pub fn new(text: &str, columns: &[impl AsRef<str>]) -> Result<Self, FilterError> {
        let steady = |(at, column): (usize, &_)| {
            let heading: &str = AsRef::as_ref(column);
            (!CLOCKS.contains(&heading) && !super::metrics::drifts(heading)).then_some(at)
        };
        Ok(Self {
            text: text.trim().to_owned(),
            terms: parse::terms(text, columns)?,
            searched: columns.iter().enumerate().filter_map(steady).collect(),
        })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it keeps everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether every row that this keeps is surely kept by `other` as well, as while a word is typed.
    pub fn narrows(&self, other: &Self) -> bool {
        match (self.terms.as_slice(), other.terms.as_slice()) {
            (_, []) => true,
            ([new], [old]) if !new.inverse && !old.inverse && new.place == old.place => match (&new.test, &old.test) {
                (Test::Text(new), Test::Text(old)) => new.implies(old),
                (Test::Fuzzy(new), Test::Fuzzy(old)) => new.implies(old),
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether it ranks rows, so that they come best first rather than in the table's order.
    pub fn ranks(&self) -> bool {
        self.terms
            .iter()
            .any(|t| matches!(t.test, Test::Fuzzy(_)) && !t.inverse)
    }

    /// The label selectors of the filter, for a server that can select by them.
    pub fn selectors(&self) -> impl Iterator<Item = &LabelSelector> {
        self.terms.iter().filter_map(|term| match &term.test {
            Test::Labels(selector) if !term.inverse => Some(selector),
            _ => None,
        })
    }

    /// Whether a row stays.
    pub fn matches(&self, row: &(impl Fields + ?Sized)) -> bool {
        self.rank(row).is_some()
    }

    /// How well a row fits: higher is better. `None` when it does not stay.
    pub fn rank(&self, row: &(impl Fields + ?Sized)) -> Option<i32> {
        self.rank_with(row, None)
    }

    /// As [`Filter::rank`], with what [`Filter::text_of`] the row gave.
    pub fn rank_with(&self, row: &(impl Fields + ?Sized), text: Option<&str>) -> Option<i32> {
        let mut rank = 0;
        for term in &self.terms {
            match &term.test {
                Test::Fuzzy(fuzzy) if !term.inverse => rank += fuzzy.score(row.name())?,
                _ if self.holds(term, row, text) == term.inverse => return None,
                _ => {}
            }
        }
        Some(rank)
    }

    /// Whether some term looks for text in whole rows, so that [`Filter::text_of`] them helps.
    pub fn reads_text(&self) -> bool {
        self.terms.iter().any(|term| term.anywhere.is_some())
    }

    /// Whether the text of a row is the same for another filter.
    pub fn reads_as(&self, other: &Self) -> bool {
        self.searched == other.searched
    }

    /// All that terms which name no column look at, in lower case: rows that are looked at often are read once.
    pub fn text_of(&self, row: &(impl Fields + ?Sized)) -> Box<str> {
        let mut text = String::with_capacity(160);
        text.push_str(row.name());
        text.push(anywhere::SEPARATOR);
        text.push_str(row.namespace());
        for cell in self.searched.iter().filter_map(|at| row.cell(*at)) {
            text.push(anywhere::SEPARATOR);
            // Writing to a string does not fail.
            let _ = write!(text, "{cell}");
        }
        text.make_ascii_lowercase();
        text.into()
    }

    /// Where a shown cell matches, to be marked: byte ranges, in order. `column` is `None` for a column
    /// that the filter does not know, such as the namespace.
    pub fn marks(&self, column: Option<usize>, text: &str) -> Vec<Range<usize>> {
        let mut marks: Vec<_> = self
            .terms
            .iter()
            .filter(|term| !term.inverse)
            .filter_map(|term| match (&term.test, term.place, column) {
                (Test::Text(needle), Place::Anywhere, Some(at)) if self.searched.contains(&at) => needle.find(text),
                (Test::Text(needle), Place::Anywhere, None) => needle.find(text),
                (Test::Text(needle), Place::Column(at), Some(column)) if at == column => needle.find(text),
                (Test::Text(needle), Place::Namespace, None) => needle.find(text),
                _ => None,
            })
            .filter(|range| !range.is_empty())
            .collect();
        marks.sort_by_key(|range| range.start);
        marks
    }

    fn holds(&self, term: &Term, row: &(impl Fields + ?Sized), text: Option<&str>) -> bool {
        match &term.test {
            Test::Labels(selector) => selector.matches(&LabelsOf(row)),
            Test::Fuzzy(fuzzy) => fuzzy.score(row.name()).is_some(),
            Test::Number(orders, bound) => {
                let number = match term.place {
                    Place::Column(at) => row.number(at),
                    _ => None,
                };
                number.is_some_and(|n| orders.contains(&n.cmp(bound)))
            }
            Test::Text(needle) => match term.place {
                Place::Namespace => needle.is_in(row.namespace()),
                Place::Name => needle.is_in(row.name()),
                Place::Column(at) => cell_has(row.cell(at), needle),
                Place::Anywhere => {
                    match term.anywhere.as_ref().zip(text) {
                        Some((anywhere, text)) if !anywhere.may_be_in(text) => return false,
                        Some((anywhere, _)) if anywhere.is_exact() => return true,
                        _ => {}
                    }
                    needle.is_in(row.name())
                        || needle.is_in(row.namespace())
                        || self.searched.iter().any(|at| cell_has(row.cell(*at), needle))
                }
            },
        }
    }
}

fn cell_has(cell: Option<&Cell>, needle: &Needle) -> bool {
    match cell.map(|cell| &cell.content) {
        None => false,
        Some(Content::Text(text)) => needle.is_in(text),
        Some(Content::Boolean(flag)) => needle.is_in(if *flag { "true" } else { "false" }),
        Some(Content::Integer(number)) => {
            let mut digits = Digits::default();
            // An i64 has at most twenty characters.
            write!(digits, "{number}").is_ok() && needle.is_in(digits.text())
        }
    }
}

/// A number as text, without the heap.
#[derive(Default)]
struct Digits {
    bytes: [u8; 20],
    len: usize,
}

impl Digits {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl std::fmt::Write for Digits {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
