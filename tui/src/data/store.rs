//! The rows of every watch.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Heading, Row, Source};

/// What a watch tells, several things at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Batch {
    /// The columns, before the first row.
    Headings(Arc<[Heading]>),
    /// A list begins, first or anew: what it does not name is gone when it ends.
    Begin,
    /// Rows of a list; how many follow, when the server says.
    Rows(Vec<Arc<Row>>, Option<u64>),
    /// The list is complete.
    End,
    /// News: rows that are there, and objects that are gone, by namespace and name.
    News(Vec<Arc<Row>>, Vec<(Arc<str>, Arc<str>)>),
    /// The watch does not work at the moment.
    Trouble(Trouble),
    /// It works again.
    Well,
}

/// Why a watch does not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// In words.
    pub message: String,
    /// Status code of the answer; zero when there was none.
    pub code: u16,
}

/// One row that changed: as it was, as it is.
#[derive(Clone, Debug)]
pub struct Change {
    /// As it was known before; `None` when it is new.
    pub old: Option<Arc<Row>>,
    /// As it is; `None` when it is gone.
    pub new: Option<Arc<Row>>,
}

/// Namespace and name of an object.
type Name = (Arc<str>, Arc<str>);

/// The rows of one watch.
#[derive(Debug, Default)]
pub struct Store {
    /// The columns.
    pub headings: Arc<[Heading]>,
    /// Whether a first list is complete.
    pub synced: bool,
    /// How many rows of the first list are still to come, when the server says.
    pub remaining: Option<u64>,
    /// Why it does not work, when it does not.
    pub trouble: Option<Trouble>,
    /// When something last changed.
    pub changed: Option<Timestamp>,
    rows: HashMap<Name, (u32, Arc<Row>)>,
    generation: u32,
}

impl Store {
    /// All rows, in no order.
    pub fn rows(&self) -> impl Iterator<Item = &Arc<Row>> {
        self.rows.values().map(|(_, row)| row)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// One row.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Row>> {
        self.rows.get(&(namespace.into(), name.into())).map(|(_, row)| row)
    }

    fn put(&mut self, row: Arc<Row>, changes: &mut Vec<Change>) {
        let key = (row.row.namespace.clone(), row.row.name.clone());
        let old = self
            .rows
            .insert(key, (self.generation, row.clone()))
            .map(|(_, old)| old);
        changes.push(Change { old, new: Some(row) });
    }

    fn apply(&mut self, batch: Batch, now: Timestamp) -> Vec<Change> {
        let mut changes = Vec::new();
        match batch {
            Batch::Headings(headings) => self.headings = headings,
            Batch::Begin => self.generation += 1,
            Batch::Rows(rows, remaining) => {
                self.remaining = remaining;
                self.trouble = None;
                rows.into_iter().for_each(|row| self.put(row, &mut changes));
            }
            Batch::End => {
                self.synced = true;
                self.remaining = None;
                self.trouble = None;
                let current = self.generation;
                let gone = self.rows.extract_if(|_, (generation, _)| *generation != current);
                changes.extend(gone.map(|(_, (_, old))| Change {
                    old: Some(old),
                    new: None,
                }));
            }
            Batch::News(rows, gone) => {
                self.trouble = None;
                rows.into_iter().for_each(|row| self.put(row, &mut changes));
                for key in gone {
                    if let Some((_, old)) = self.rows.remove(&key) {
                        changes.push(Change {
                            old: Some(old),
                            new: None,
                        });
                    }
                }
            }
            Batch::Trouble(trouble) => self.trouble = Some(trouble),
            Batch::Well => self.trouble = None,
        }
        if !changes.is_empty() {
            self.changed = Some(now);
        }
        changes
    }
}

/// The rows of every watch.
#[derive(Debug, Default)]
pub struct Data {
    stores: HashMap<Arc<Source>, Store>,
}

impl Data {
    /// The rows of a watch, when it was begun.
    pub fn get(&self, source: &Source) -> Option<&Store> {
        self.stores.get(source)
    }

    /// Every watch.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<Source>, &Store)> {
        self.stores.iter()
    }

    /// A watch begins.
    pub fn open(&mut self, source: &Arc<Source>) {
        self.stores.entry(source.clone()).or_default();
    }

    /// A watch is over.
    pub fn close(&mut self, source: &Source) {
        self.stores.remove(source);
    }

    /// Forgets everything, because it is of another cluster.
    pub fn clear(&mut self) {
        self.stores.clear();
    }

    /// Folds in what a watch told, and says what changed. What comes late from a watch that is over is dropped.
    pub fn apply(&mut self, source: &Source, batch: Batch, now: Timestamp) -> Vec<Change> {
        let store = self.stores.get_mut(source);
        store.map_or_else(Vec::new, |store| store.apply(batch, now))
    }
}
