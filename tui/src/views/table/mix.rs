//! Several kinds in one table: `:wk`.
//!
//! Rows are named `kind/name` in the index, so that objects of different kinds with one name stand beside each
//! other; what acts on a row gets the object as it is.

use std::collections::HashMap;
use std::sync::Arc;

use mizzen_api::console::workloads;
use mizzen_api::resource::{Resource, Scope};

use super::{Key, Table, key_of};
use crate::data::{Change, Heading, Row, Source};
use crate::view::Cx;

/// The kinds, and the objects behind the rows.
#[derive(Debug)]
pub(super) struct Mix {
    kinds: Vec<Arc<Resource>>,
    originals: HashMap<Key, (usize, Arc<Row>)>,
}

impl Mix {
    pub(super) fn kinds(&self) -> &[Arc<Resource>] {
        &self.kinds
    }

    /// The object behind a row, and its kind.
    pub(super) fn original(&self, row: &Row) -> Option<(&Arc<Resource>, &Arc<Row>)> {
        let (kind, original) = self.originals.get(&key_of(row))?;
        Some((self.kinds.get(*kind)?, original))
    }

    fn kind_of(&self, source: &Source) -> Option<usize> {
        self.kinds.iter().position(|kind| source.is_of(kind))
    }

    fn mixed(kind: &Resource, row: &Row) -> Arc<Row> {
        let mut mixed = row.clone();
        mixed.row.name = workloads::name(kind, &row.row).into();
        mixed.row.cells = workloads::cells(kind, &row.row).into();
        Arc::new(mixed)
    }

    /// The row of an object.
    pub(super) fn take(&mut self, source: &Source, row: &Arc<Row>) -> Option<Arc<Row>> {
        let at = self.kind_of(source)?;
        let mixed = Self::mixed(&self.kinds[at], row);
        self.originals.insert(key_of(&mixed), (at, row.clone()));
        Some(mixed)
    }

    /// A change of an object, as a change of its row.
    pub(super) fn change(&mut self, source: &Source, change: &Change) -> Change {
        let old = self.kind_of(source).zip(change.old.as_ref());
        let old = old.map(|(at, row)| Self::mixed(&self.kinds[at], row));
        let new = change.new.as_ref().and_then(|row| self.take(source, row));
        if let (Some(old), None) = (&old, &new) {
            self.originals.remove(&key_of(old));
        }
        Change { old, new }
    }
}

impl Table {
    /// All workloads of some namespaces; of all, when there are none.
    pub fn workloads(namespaces: &[String], cx: &Cx<'_>) -> Self {
        let kinds = workloads::KINDS.iter().filter_map(|kind| cx.registry.resolve(kind));
        let mix = Mix {
            kinds: kinds.cloned().collect(),
            originals: HashMap::new(),
        };
        let mut table = Self::new(Arc::new(all_workloads()), namespaces);
        let heading = |name: &&str| Heading {
            name: (*name).to_owned(),
            wide: false,
            numeric: false,
        };
        table.headings = workloads::HEADINGS.iter().map(heading).collect();
        table.mix = Some(mix);
        table
    }
}

/// What stands for a kind in titles and locators.
fn all_workloads() -> Resource {
    Resource {
        group: "".into(),
        version: "".into(),
        kind: "".into(),
        plural: "workloads".into(),
        singular: "workload".into(),
        short_names: Vec::new().into(),
        categories: Vec::new().into(),
        scope: Scope::Namespaced,
        verbs: Vec::new().into(),
        subresources: Vec::new().into(),
        storage: None,
        selectable_fields: Vec::new().into(),
    }
}
