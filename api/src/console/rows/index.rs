//! All rows of a table, and the sorted list of those that are shown.
//!
//! Another filter is a pass over all rows. A pass can be made in slices ([`Index::begin_keep`],
//! [`Index::advance`]), so that somebody who types is never kept waiting; until it is over, what was shown
//! stays, and changes of rows count for both.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use super::{Order, Row};
use crate::console::filter::Filter;
use crate::table::Severity;

/// Rows that one slice of a pass looks at: a few milliseconds at the slowest filter.
const SLICE: usize = if cfg!(test) { 4 } else { 4096 };

/// A row of an [`Index`]. It stays the same while the object exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(u32);

impl RowId {
    fn at(self) -> usize {
        self.0 as usize
    }
}

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

    fn is_everything(&self) -> bool {
        self.namespaces.is_empty() && !self.faults_only && self.filter.is_empty()
    }

    /// How well a row fits; `None` when it is not shown. `text` is what the filter made of it, if it did.
    fn rank(&self, row: &Row, text: Option<&str>) -> Option<i32> {
        let kept = (self.namespaces.is_empty() || self.namespaces.contains(&row.namespace))
            && (!self.faults_only || row.severity() >= Severity::Warning);
        kept.then(|| self.filter.rank_with(row, text)).flatten()
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
    /// How well each row fits what is shown; `None` where it does not.
    ranks: Vec<Option<i32>>,
    /// What the filter reads of each row, while there is one that reads texts.
    texts: Vec<Option<Box<str>>>,
    free: Vec<RowId>,
    /// All, by namespace and name.
    known: Vec<RowId>,
    shown: Vec<RowId>,
    keep: Keep,
    order: Order,
    pass: Option<Pass>,
    /// Whether there are rows of which nobody knows yet whether they are shown.
    unjudged: bool,
    /// How far texts have been made before anybody typed.
    warmed: Option<usize>,
}

/// A filter on its way over all rows.
#[derive(Debug)]
struct Pass {
    keep: Keep,
    /// How many of the known rows it has looked at.
    at: usize,
    ranks: Vec<Option<i32>>,
    /// Whether it need not look at what is not shown.
    narrower: bool,
}

impl<R> Default for Index<R> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            ranks: Vec::new(),
            texts: Vec::new(),
            free: Vec::new(),
            known: Vec::new(),
            shown: Vec::new(),
            keep: Keep::default(),
            order: Order::default(),
            pass: None,
            unjudged: false,
            warmed: None,
        }
    }
}

impl<R: Shows> Index<R> {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
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
        self.rows.get(id.at())?.as_ref()
    }

    /// All rows, in no order.
    pub fn all(&self) -> impl Iterator<Item = &R> {
        self.rows.iter().flatten()
    }

    /// All rows, by namespace and name.
    pub fn ordered(&self) -> impl Iterator<Item = &R> {
        self.known.iter().filter_map(|id| self.get(*id))
    }

    /// The row of an object.
    pub fn find(&self, namespace: &str, name: &str) -> Option<RowId> {
        self.place(namespace, name).ok().map(|at| self.known[at])
    }

    /// Where a row is shown.
    pub fn position(&self, id: RowId) -> Option<usize> {
        let (row, rank) = (self.row(id)?, self.ranks[id.at()]?);
        self.shown
            .binary_search_by(|other| self.compare(*other, row, rank))
            .ok()
    }

    /// Whether a filter is still on its way, or something is prepared for one.
    pub fn is_busy(&self) -> bool {
        self.pass.is_some() || self.warmed.is_some()
    }

    /// Whether what is shown is not yet what was asked for.
    pub fn is_passing(&self) -> bool {
        self.pass.is_some()
    }

    /// Shows other rows, at once.
    pub fn set_keep(&mut self, keep: Keep) {
        self.begin_keep(keep);
        self.finish();
    }

    /// Begins to show other rows. Where that takes longer, it goes on with [`Index::advance`].
    pub fn begin_keep(&mut self, keep: Keep) {
        if !self.texts.is_empty() && !keep.filter.reads_as(&self.keep.filter) {
            self.texts.clear();
        }
        let narrower = !self.unjudged && keep.narrows(&self.keep);
        self.begin(keep, narrower);
    }

    fn begin(&mut self, keep: Keep, narrower: bool) {
        self.warmed = None;
        self.pass = Some(Pass {
            keep,
            at: 0,
            ranks: vec![None; self.rows.len()],
            narrower,
        });
        self.advance();
    }

    /// Goes on with what was begun, for a slice. Gives whether other rows are shown now.
    pub fn advance(&mut self) -> bool {
        let Some(mut pass) = self.pass.take() else {
            self.warm();
            return false;
        };
        let end = match pass.keep.is_everything() {
            true => self.known.len(),
            false => self.known.len().min(pass.at + SLICE),
        };
        for at in pass.at..end {
            let id = self.known[at];
            if !pass.narrower || self.ranks[id.at()].is_some() {
                pass.ranks[id.at()] = self.rank_by(&pass.keep, id);
            }
        }
        pass.at = end;
        if end < self.known.len() {
            self.pass = Some(pass);
            return false;
        }
        (self.keep, self.ranks, self.unjudged) = (pass.keep, pass.ranks, false);
        // While somebody types, the next letter may need them again.
        if self.keep.filter.is_empty() {
            self.texts = Vec::new();
        }
        self.show();
        true
    }

    /// Makes ready for a filter that somebody is about to type.
    pub fn prepare(&mut self) {
        if self.pass.is_none() && self.known.len() > SLICE {
            self.warmed = Some(0);
        }
    }

    fn warm(&mut self) {
        let Some(from) = self.warmed else { return };
        let end = self.known.len().min(from + SLICE);
        for at in from..end {
            self.read(self.known[at], None);
        }
        self.warmed = (end < self.known.len()).then_some(end);
    }

    /// Finishes what was begun.
    pub fn finish(&mut self) {
        while self.pass.is_some() {
            self.advance();
        }
    }

    /// Shows the rows in another order.
    pub fn set_order(&mut self, order: Order) {
        if order != self.order {
            self.order = order;
            self.show();
        }
    }

    /// Adds a row, or takes the place of the object's row before. Gives that.
    pub fn put(&mut self, held: R) -> (RowId, Option<R>) {
        let row = held.row();
        match self.place(&row.namespace, &row.name) {
            Ok(at) => {
                let id = self.known[at];
                (id, Some(self.replace(at, id, held)))
            }
            Err(at) => {
                let id = self.new_id();
                self.known.insert(at, id);
                if let Some(pass) = self.pass.as_mut().filter(|pass| at < pass.at) {
                    pass.at += 1;
                }
                self.rows[id.at()] = Some(held);
                self.judge(id);
                self.insert(id);
                (id, None)
            }
        }
    }

    fn replace(&mut self, at: usize, id: RowId, held: R) -> R {
        // Its old place can only be found by its old cells.
        let was = self.position(id);
        let old = self.rows[id.at()].replace(held).expect("a known row exists");
        self.judge(id);
        if let Some(pass) = self.pass.as_mut().filter(|pass| pass.at <= at) {
            // It will be looked at; what it was found to be is old.
            pass.ranks[id.at()] = None;
        }
        match was {
            Some(at) if self.fits(at, id) => {}
            Some(at) => {
                self.shown.remove(at);
                self.insert(id);
            }
            None => self.insert(id),
        }
        old
    }

    /// Removes the row of an object.
    pub fn remove(&mut self, namespace: &str, name: &str) -> Option<R> {
        let at = self.place(namespace, name).ok()?;
        let id = self.known[at];
        if let Some(at) = self.position(id) {
            self.shown.remove(at);
        }
        self.known.remove(at);
        self.forget(id);
        self.free.push(id);
        if let Some(pass) = &mut self.pass {
            pass.ranks[id.at()] = None;
            pass.at -= usize::from(at < pass.at);
        }
        self.rows[id.at()].take()
    }

    /// Adds many rows at once: a page of a list.
    pub fn extend(&mut self, rows: impl IntoIterator<Item = R>) {
        self.begin_extend(rows);
        self.finish();
    }

    /// Adds many rows; where what is shown of them takes longer, that goes on with [`Index::advance`].
    pub fn begin_extend(&mut self, rows: impl IntoIterator<Item = R>) {
        let mut fresh = Vec::new();
        for held in rows {
            let row = held.row();
            match self.place(&row.namespace, &row.name) {
                Ok(at) => drop(self.replace(at, self.known[at], held)),
                Err(_) => {
                    let id = self.new_id();
                    self.rows[id.at()] = Some(held);
                    fresh.push(id);
                }
            }
        }
        fresh = self.learn(fresh);
        let many = fresh.len() > SLICE && !self.keep.is_everything();
        if many {
            self.unjudged = true;
            let keep = self.pass.take().map_or_else(|| self.keep.clone(), |pass| pass.keep);
            return self.begin(keep, false);
        }
        fresh.iter().for_each(|id| self.judge(*id));
        fresh.retain(|id| self.ranks[id.at()].is_some());
        self.arrange(&mut fresh);
        let shown = std::mem::take(&mut self.shown);
        self.shown = merged(shown, fresh, |old, new| {
            let rank = self.ranks[new.at()].unwrap_or_default();
            self.compare(old, self.at(new), rank)
        });
    }

    /// Puts new rows among the known, and gives them back by namespace and name, each once.
    fn learn(&mut self, mut fresh: Vec<RowId>) -> Vec<RowId> {
        // Servers list by namespace and name, so that there is mostly nothing to sort.
        fresh.sort_by(|a, b| self.key(*a).cmp(&self.key(*b)));
        // Of an object that came twice, the later row is right.
        let mut twice = Vec::new();
        fresh.dedup_by(|later, kept| {
            let same = self.key(*later) == self.key(*kept);
            if same {
                std::mem::swap(later, kept);
                twice.push(*later);
            }
            same
        });
        for id in twice {
            self.rows[id.at()] = None;
            self.free.push(id);
        }
        let edge = self.pass.as_ref().and_then(|pass| self.known.get(pass.at).copied());
        let known = std::mem::take(&mut self.known);
        self.known = merged(known, fresh.clone(), |old, new| self.key(old).cmp(&self.key(new)));
        if let Some(pass) = &mut self.pass {
            pass.at = match edge {
                Some(edge) => self.known.iter().position(|id| *id == edge).unwrap_or(0),
                None => self.known.len(),
            };
        }
        fresh
    }

    /// Forgets everything but what is shown and how.
    pub fn clear(&mut self) {
        let pass = self.pass.take();
        *self = Self {
            keep: pass.map_or_else(|| std::mem::take(&mut self.keep), |pass| pass.keep),
            order: self.order,
            ..Self::default()
        };
    }

    fn at(&self, id: RowId) -> &Row {
        self.row(id).expect("a known row exists")
    }

    fn key(&self, id: RowId) -> (&str, &str) {
        let row = self.at(id);
        (&row.namespace, &row.name)
    }

    /// Where an object's row is among the known, or belongs.
    fn place(&self, namespace: &str, name: &str) -> Result<usize, usize> {
        // Rows often come in order, one behind the other.
        match self.known.last() {
            Some(last) if self.key(*last) < (namespace, name) => Err(self.known.len()),
            _ => self.known.binary_search_by(|id| self.key(*id).cmp(&(namespace, name))),
        }
    }

    fn new_id(&mut self) -> RowId {
        self.free.pop().unwrap_or_else(|| {
            self.rows.push(None);
            self.ranks.push(None);
            if let Some(pass) = &mut self.pass {
                pass.ranks.push(None);
            }
            RowId(u32::try_from(self.rows.len() - 1).expect("fewer than four billion rows"))
        })
    }

    fn forget(&mut self, id: RowId) {
        self.ranks[id.at()] = None;
        if let Some(text) = self.texts.get_mut(id.at()) {
            *text = None;
        }
    }

    /// Finds out whether a row that is new or other than before is shown.
    fn judge(&mut self, id: RowId) {
        self.forget(id);
        let mut pass = self.pass.take();
        if let Some(pass) = &mut pass {
            pass.ranks[id.at()] = self.rank_by(&pass.keep, id);
        }
        self.pass = pass;
        self.ranks[id.at()] = self.keep.rank(self.at(id), None);
    }

    /// Makes the text that filters read of a row, and has it looked at.
    fn read(&mut self, id: RowId, filter: Option<&Filter>) {
        if self.texts.len() < self.rows.len() {
            self.texts.resize(self.rows.len(), None);
        }
        if self.texts[id.at()].is_none() {
            let text = filter.unwrap_or(&self.keep.filter).text_of(self.at(id));
            self.texts[id.at()] = Some(text);
        }
    }

    fn rank_by(&mut self, keep: &Keep, id: RowId) -> Option<i32> {
        let reads = keep.filter.reads_text();
        if reads {
            self.read(id, Some(&keep.filter));
        }
        let text = self.texts.get(id.at()).and_then(Option::as_deref);
        keep.rank(self.at(id), text.filter(|_| reads))
    }

    /// Where one that is shown belongs beside a row.
    fn compare(&self, other: RowId, row: &Row, rank: i32) -> Ordering {
        let ranks = match self.keep.filter.ranks() {
            true => Reverse(self.ranks[other.at()]).cmp(&Reverse(Some(rank))),
            false => Ordering::Equal,
        };
        ranks.then_with(|| self.order.compare(self.at(other), row))
    }

    fn insert(&mut self, id: RowId) {
        if let Some(rank) = self.ranks[id.at()] {
            let row = self.at(id);
            let at = self
                .shown
                .partition_point(|other| self.compare(*other, row, rank).is_lt());
            self.shown.insert(at, id);
        }
    }

    /// Whether a row can stay at a place: it belongs after its neighbour before and before the next.
    fn fits(&self, at: usize, id: RowId) -> bool {
        let Some(rank) = self.ranks[id.at()] else { return false };
        let row = self.at(id);
        let beside = |at: usize| self.shown.get(at).map(|id| self.compare(*id, row, rank));
        let before = at.checked_sub(1).and_then(beside);
        before.is_none_or(Ordering::is_lt) && beside(at + 1).is_none_or(Ordering::is_gt)
    }

    /// Shows what fits, in order.
    fn show(&mut self) {
        let fitting = self.known.iter().copied().filter(|id| self.ranks[id.at()].is_some());
        let mut shown = fitting.collect();
        self.arrange(&mut shown);
        self.shown = shown;
    }

    /// Sorts rows that come by namespace and name.
    fn arrange(&self, ids: &mut Vec<RowId>) {
        if self.order.is_reversed() {
            ids.reverse();
        } else if !self.order.is_natural() {
            let mut keyed: Vec<_> = ids.iter().map(|id| (self.order.key(self.at(*id)), *id)).collect();
            keyed.sort_by(|(a, x), (b, y)| {
                let rows = || self.order.by(self.at(*x), self.at(*y));
                self.order.by_keys(*a, *b, rows)
            });
            ids.clear();
            ids.extend(keyed.into_iter().map(|(_, id)| id));
        }
        if self.keep.filter.ranks() {
            ids.sort_by_key(|id| Reverse(self.ranks[id.at()]));
        }
    }
}

/// Two sorted lists as one. Where the second is short, most of the first is not even looked at.
fn merged(old: Vec<RowId>, fresh: Vec<RowId>, compare: impl Fn(RowId, RowId) -> Ordering) -> Vec<RowId> {
    if old.is_empty() {
        return fresh;
    }
    let mut all = Vec::with_capacity(old.len() + fresh.len());
    let mut rest = old.as_slice();
    for new in fresh {
        let before = match rest.last() {
            Some(last) if compare(*last, new).is_lt() => rest.len(),
            _ => rest.partition_point(|id| compare(*id, new).is_lt()),
        };
        all.extend_from_slice(&rest[..before]);
        rest = &rest[before..];
        all.push(new);
    }
    all.extend_from_slice(rest);
    all
}
