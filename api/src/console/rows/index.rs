//! All rows of a table, and the sorted list of those that are shown.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Order, Row};
use crate::console::filter::Filter;
use crate::table::Severity;

/// A row of an [`Index`]. It stays the same while the object exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(u32);

/// What is shown of a table.
#[derive(Clone, Debug, Default)]
pub struct Keep {
    /// The filter.
    pub filter: Filter,
    /// Only what should be looked at.
    pub faults_only: bool,
    /// Only these namespaces; empty for all.
    pub namespaces: Vec<Arc<str>>,
}

impl Keep {
    /// Whether nothing is kept that the other does not keep.
    fn narrows(&self, other: &Self) -> bool {
        (self.namespaces == other.namespaces || other.namespaces.is_empty())
            && (self.faults_only || !other.faults_only)
            && self.filter.narrows(&other.filter)
    }

    fn keeps(&self, row: &Row) -> bool {
        (self.namespaces.is_empty() || self.namespaces.contains(&row.namespace))
            && (!self.faults_only || row.severity() >= Severity::Warning)
            && self.filter.matches(row)
    }
}

/// What an [`Index`] holds: a row, alone or with more of the object, owned or shared.
pub trait Shows {
    /// The row.
    fn row(&self) -> &Row;
}

impl Shows for Row {
    fn row(&self) -> &Row {
        self
    }
}

impl<R: Shows> Shows for Arc<R> {
    fn row(&self) -> &Row {
        (**self).row()
    }
}

/// All rows, and those that are shown in their order.
#[derive(Debug)]
pub struct Index<R = Row> {
    rows: Vec<Option<R>>,
    free: Vec<RowId>,
    /// Namespaces, then names.
    ids: HashMap<Arc<str>, HashMap<Arc<str>, RowId>>,
    shown: Vec<RowId>,
    keep: Keep,
    order: Order,
    len: usize,
}

impl<R> Default for Index<R> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            free: Vec::new(),
            ids: HashMap::new(),
            shown: Vec::new(),
            keep: Keep::default(),
            order: Order::default(),
            len: 0,
        }
    }
}

impl<R: Shows> Index<R> {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The rows that are shown, in order.
    pub fn shown(&self) -> &[RowId] {
        &self.shown
    }

    /// What is shown.
    pub fn keep(&self) -> &Keep {
        &self.keep
    }

    /// The order.
    pub fn order(&self) -> Order {
        self.order
    }

    /// A row.
    pub fn row(&self, id: RowId) -> Option<&Row> {
        self.get(id).map(R::row)
    }

    /// What holds a row.
    pub fn get(&self, id: RowId) -> Option<&R> {
        self.rows.get(id.0 as usize)?.as_ref()
    }

    /// All rows, in no order.
    pub fn all(&self) -> impl Iterator<Item = &R> {
        self.rows.iter().flatten()
    }

    /// The row of an object.
    pub fn find(&self, namespace: &str, name: &str) -> Option<RowId> {
        self.ids.get(namespace)?.get(name).copied()
    }

    /// Where a row is shown.
    pub fn position(&self, id: RowId) -> Option<usize> {
        if self.keep.filter.ranks() {
            return self.shown.iter().position(|other| *other == id);
        }
        let row = self.row(id)?;
        let at = self
            .shown
            .binary_search_by(|other| self.order.compare(self.at(*other), row))
            .ok()?;
        (self.shown[at] == id).then_some(at)
    }

    /// Shows other rows.
    pub fn set_keep(&mut self, keep: Keep) {
        let narrower = keep.narrows(&self.keep);
        self.keep = keep;
        if !narrower {
            return self.show_all();
        }
        // What is shown is in order already, and nothing else can come to it.
        let (rows, keep) = (&self.rows, &self.keep);
        self.shown.retain(|id| {
            let held = rows.get(id.0 as usize).and_then(Option::as_ref);
            held.is_some_and(|held| keep.keeps(held.row()))
        });
    }

    /// Shows the rows in another order.
    pub fn set_order(&mut self, order: Order) {
        self.order = order;
        let mut shown = std::mem::take(&mut self.shown);
        self.sort(&mut shown);
        self.shown = shown;
    }

    /// Adds a row, or takes the place of the object's row before. Gives that.
    pub fn put(&mut self, held: R) -> (RowId, Option<R>) {
        let row = held.row();
        let known = self.find(&row.namespace, &row.name);
        // Its old place can only be found by its old cells.
        let was = known.and_then(|id| self.position(id));
        let id = known.unwrap_or_else(|| self.new_id(row));
        let keeps = self.keep.keeps(row);
        if let (Some(at), true) = (was, keeps)
            && self.fits(at, row)
        {
            return (id, self.rows[id.0 as usize].replace(held));
        }
        if let Some(at) = was {
            self.shown.remove(at);
        }
        if keeps {
            let at = self.place_of(row);
            self.shown.insert(at, id);
        }
        let old = self.rows[id.0 as usize].replace(held);
        (id, old)
    }

    /// Removes the row of an object.
    pub fn remove(&mut self, namespace: &str, name: &str) -> Option<R> {
        let id = self.find(namespace, name)?;
        if let Some(at) = self.position(id) {
            self.shown.remove(at);
        }
        let names = self.ids.get_mut(namespace)?;
        names.remove(name);
        if names.is_empty() {
            self.ids.remove(namespace);
        }
        self.free.push(id);
        self.len -= 1;
        self.rows[id.0 as usize].take()
    }

    /// Adds many rows at once: a page of a list.
    pub fn extend(&mut self, rows: impl IntoIterator<Item = R>) {
        let (mut fresh, mut replaced) = (Vec::new(), false);
        for held in rows {
            let row = held.row();
            let known = self.find(&row.namespace, &row.name);
            replaced |= known.is_some();
            let id = known.unwrap_or_else(|| self.new_id(row));
            if known.is_none() && self.keep.keeps(row) {
                fresh.push(id);
            }
            self.rows[id.0 as usize] = Some(held);
        }
        match replaced || self.keep.filter.ranks() {
            true => self.show_all(),
            false => self.merge(fresh),
        }
    }

    /// Shows new rows among those that are shown: pages of a long list come one after the other.
    fn merge(&mut self, mut fresh: Vec<RowId>) {
        self.sort(&mut fresh);
        let old = std::mem::take(&mut self.shown);
        let mut merged = Vec::with_capacity(old.len() + fresh.len());
        let mut fresh = fresh.into_iter().peekable();
        for id in old {
            while let Some(new) = fresh.next_if(|new| self.order.compare(self.at(*new), self.at(id)).is_lt()) {
                merged.push(new);
            }
            merged.push(id);
        }
        merged.extend(fresh);
        self.shown = merged;
    }

    /// Forgets everything but what is shown and how.
    pub fn clear(&mut self) {
        *self = Self {
            keep: std::mem::take(&mut self.keep),
            order: self.order,
            ..Self::default()
        };
    }

    fn at(&self, id: RowId) -> &Row {
        self.row(id).expect("a shown row exists")
    }

    fn new_id(&mut self, row: &Row) -> RowId {
        self.len += 1;
        let id = self.free.pop().unwrap_or_else(|| {
            self.rows.push(None);
            RowId(u32::try_from(self.rows.len() - 1).expect("fewer than four billion rows"))
        });
        // Rows of one namespace share its name.
        let names = self.ids.entry(row.namespace.clone()).or_default();
        names.insert(row.name.clone(), id);
        id
    }

    /// Whether a row can stay at a place: it belongs after its neighbour before and before the next.
    fn fits(&self, at: usize, row: &Row) -> bool {
        if self.keep.filter.ranks() {
            return false;
        }
        let after = |at: usize| {
            self.shown
                .get(at)
                .is_none_or(|id| self.order.compare(self.at(*id), row).is_gt())
        };
        let before = at
            .checked_sub(1)
            .is_none_or(|at| self.order.compare(self.at(self.shown[at]), row).is_lt());
        before && after(at + 1)
    }

    fn place_of(&self, row: &Row) -> usize {
        let rank = |row: &Row| std::cmp::Reverse(self.keep.filter.rank(row));
        if self.keep.filter.ranks() {
            let key = rank(row);
            return self.shown.partition_point(|id| {
                let other = self.at(*id);
                rank(other)
                    .cmp(&key)
                    .then_with(|| self.order.compare(other, row))
                    .is_lt()
            });
        }
        self.shown
            .partition_point(|id| self.order.compare(self.at(*id), row).is_lt())
    }

    fn show_all(&mut self) {
        let kept = |(at, held): (usize, &Option<R>)| {
            let row = held.as_ref()?.row();
            self.keep.keeps(row).then_some(RowId(at as u32))
        };
        let mut shown: Vec<_> = self.rows.iter().enumerate().filter_map(kept).collect();
        self.sort(&mut shown);
        self.shown = shown;
    }

    fn sort(&self, shown: &mut [RowId]) {
        if self.keep.filter.ranks() {
            let mut ranked: Vec<_> = shown
                .iter()
                .map(|id| (self.keep.filter.rank(self.at(*id)), *id))
                .collect();
            ranked.sort_unstable_by(|a, b| {
                b.0.cmp(&a.0)
                    .then_with(|| self.order.compare(self.at(a.1), self.at(b.1)))
            });
            for (slot, (_, id)) in shown.iter_mut().zip(ranked) {
                *slot = id;
            }
            return;
        }
        shown.sort_unstable_by(|a, b| self.order.compare(self.at(*a), self.at(*b)));
    }
}
