//! The rows of every watch.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use mizzen_api::console::metrics::{self, Measure};
use mizzen_api::resource::{self, Resource};
use serde::{Deserialize, Serialize};

use super::metrics::{concerns, is_measured, joined};
use super::{Heading, Measures, Row, Source};

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
    /// What was measured; whether that was all.
    Measured(Vec<Measure>, bool),
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
    rows: BTreeMap<Name, (u32, Arc<Row>)>,
    generation: u32,
}

impl Store {
    /// All rows, by namespace and name.
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
                let gone = self.rows.extract_if(.., |_, (generation, _)| *generation != current);
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
            Batch::Well | Batch::Measured(..) => self.trouble = None,
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
    measures: HashMap<Arc<Source>, Measures>,
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

    /// What was measured of an object of a source.
    pub fn measure(&self, source: &Source, namespace: &str, name: &str) -> Option<&Measure> {
        let mut about = self.measures.iter().filter(|(measured, _)| concerns(measured, source));
        about.find_map(|(_, measures)| measures.get(namespace, name))
    }

    /// A watch begins.
    pub fn open(&mut self, source: &Arc<Source>) {
        match is_measured(source) {
            true => drop(self.measures.entry(source.clone()).or_default()),
            false => drop(self.stores.entry(source.clone()).or_default()),
        }
    }

    /// A watch is over.
    pub fn close(&mut self, source: &Source) {
        self.stores.remove(source);
        self.measures.remove(source);
    }

    /// Forgets everything, because it is of another cluster.
    pub fn clear(&mut self) {
        self.stores.clear();
        self.measures.clear();
    }

    /// Folds in what a watch told, and says what changed, by source. What comes late from a watch that is over
    /// is dropped.
    pub fn apply(&mut self, source: &Arc<Source>, mut batch: Batch, now: Timestamp) -> Vec<(Arc<Source>, Vec<Change>)> {
        if let Batch::Measured(measures, end) = batch {
            return self.measured(source, measures, end);
        }
        if let Batch::Rows(rows, _) | Batch::News(rows, _) = &mut batch
            && let Some(resource) = measured_kind(source)
        {
            for row in rows {
                let used = self.measure(source, &row.row.namespace, &row.row.name).map(|m| m.used);
                if let Some(joined) = joined(row, resource, used) {
                    *row = joined;
                }
            }
        }
        let store = self.stores.get_mut(source);
        let changes = store.map_or_else(Vec::new, |store| store.apply(batch, now));
        vec![(source.clone(), changes)]
    }

    /// Measurements have come: rows that they are about change.
    fn measured(&mut self, source: &Source, measures: Vec<Measure>, end: bool) -> Vec<(Arc<Source>, Vec<Change>)> {
        let Some(known) = self.measures.get_mut(source) else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for (rows, store) in self.stores.iter_mut().filter(|(rows, _)| concerns(source, rows)) {
            let Some(resource) = measured_kind(rows) else {
                continue;
            };
            let mut changes = Vec::new();
            for measure in &measures {
                let key = (Arc::from(&*measure.namespace), Arc::from(&*measure.name));
                if let Some((_, row)) = store.rows.get_mut(&key)
                    && let Some(new) = joined(row, resource, Some(measure.used))
                {
                    let old = std::mem::replace(row, new.clone());
                    changes.push(Change {
                        old: Some(old),
                        new: Some(new),
                    });
                }
            }
            all.push((rows.clone(), changes));
        }
        measures.into_iter().for_each(|measure| known.put(measure));
        if end {
            known.end();
        }
        all
    }
}

/// The kind of a source, where use of it is measured.
fn measured_kind(source: &Source) -> Option<&'static Resource> {
    let kind = resource::builtin().by_path(&source.group, &source.version, &source.plural)?;
    (!metrics::columns(kind).is_empty()).then_some(&**kind)
}
