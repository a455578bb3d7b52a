//! A table of one kind: the view that everything starts from.
//!
//! Rows are kept in the console model's index, which follows every change by a binary search; only the rows
//! on screen are formatted. A filter over many rows goes on in slices between other events, while what was
//! shown before stays. What Enter leads to is a row of [`LEADS`].

mod banner;
mod draw;
mod lead;
mod mix;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use mizzen_api::console::filter::Filter;
use mizzen_api::console::metrics;
use mizzen_api::console::rows::{Index, Keep, Order, RowId, Sort};
use mizzen_api::relations;
use mizzen_api::resource::Resource;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use serde::Serialize;
use serde_json::Value;

use super::apply::Apply;
use super::text::{Text, What};
use crate::bindings::Act;
use crate::data::{Change, Heading, Row, Source, Store, Trouble, headings};
use crate::effect::Effect;
use crate::event::{Answer, Reply, Tone};
use crate::view::{Cx, Dialog, Do, Field, FieldKind, View};

/// How long a changed cell is marked.
const DELTA: SignedDuration = SignedDuration::from_secs(5);
/// Changed cells that are remembered before those that are marked no longer are forgotten.
const DELTAS: usize = 1024;
/// Changes while the view was covered that are made one by one.
const CAUGHT_UP: usize = 4096;
/// Changes that come as one page rather than one by one.
const PAGE: usize = 32;

type Key = (String, String);

/// The view.
#[derive(Debug, Serialize)]
pub struct Table {
    #[serde(skip)]
    resource: Arc<Resource>,
    namespaces: Vec<String>,
    labels: String,
    fields: String,
    /// What led here, for the title: `deployment web`.
    of: String,
    filter: String,
    sort: Option<Sort>,
    wide: bool,
    faults: bool,
    hidden: BTreeSet<String>,
    selected: Option<Key>,
    marks: BTreeSet<Key>,
    last_mark: Option<Key>,
    /// Column under the sort cursor, and the first scrolling column that is shown.
    column: Option<usize>,
    scrolled: usize,
    #[serde(skip)]
    headings: Arc<[Heading]>,
    #[serde(skip)]
    index: Index<Arc<Row>>,
    /// The watch whose rows are in the index, where it is one.
    #[serde(skip)]
    built: Option<Arc<Source>>,
    /// Where several kinds are in one table.
    #[serde(skip)]
    mix: Option<mix::Mix>,
    /// What is said above the rows.
    #[serde(skip)]
    banner: Option<banner::Banner>,
    #[serde(skip)]
    at: usize,
    #[serde(skip)]
    deltas: HashMap<RowId, Delta>,
    #[serde(skip)]
    offset: Cell<usize>,
    #[serde(skip)]
    height: Cell<usize>,
    /// Lines of the banner above the headings.
    #[serde(skip)]
    top: Cell<u16>,
    #[serde(skip)]
    width: Cell<usize>,
}

/// How a kind is sorted until somebody chooses: the latest events come first.
fn sort_of(resource: &Resource) -> Option<Sort> {
    (&*resource.plural == "events").then(|| Sort {
        column: "Last Seen".to_owned(),
        descending: false,
    })
}

/// Columns of which people look for the largest, as k9s sorts them.
const LARGEST_FIRST: &[&str] = &[
    "Restarts", "CPU", "MEM", "%CPU", "%MEM", "%CPU/R", "%MEM/R", "%CPU/L", "%MEM/L", "Count", "Capacity",
];

/// The column that a key sorts by.
fn sorts(act: Act) -> Option<&'static str> {
    Some(match act {
        Act::SortName => "Name",
        Act::SortStatus => "Status",
        Act::SortNamespace => "Namespace",
        Act::SortReady => "Ready",
        Act::SortRestarts => "Restarts",
        Act::SortIp => "IP",
        Act::SortCpu => "CPU",
        Act::SortMem => "MEM",
        Act::SortCpuOfRequest => "%CPU/R",
        Act::SortMemOfRequest => "%MEM/R",
        Act::SortCpuOfLimit => "%CPU/L",
        Act::SortRoles => "Roles",
        Act::SortUpToDate => "Up-to-date",
        Act::SortAvailable => "Available",
        Act::SortDesired => "Desired",
        Act::SortCurrent => "Current",
        Act::SortLastSeen => "Last Seen",
        Act::SortFirstSeen => "First Seen",
        Act::SortType => "Type",
        Act::SortReason => "Reason",
        Act::SortSource => "Source",
        Act::SortCount => "Count",
        Act::SortVolume => "Volume",
        Act::SortCapacity => "Capacity",
        _ => return None,
    })
}

/// Cells of a row that changed lately.
#[derive(Debug)]
struct Delta {
    until: Timestamp,
    cells: BTreeMap<usize, &'static str>,
}

/// Why a table shows no rows.
#[derive(Debug, PartialEq, Eq)]
enum Empty {
    Syncing,
    Filtered(usize),
    Trouble(Trouble),
    None,
}

impl Table {
    /// All objects of a resource in some namespaces; in all, when there are none.
    pub fn new(resource: Arc<Resource>, namespaces: &[String]) -> Self {
        let headings: Arc<[Heading]> = headings(&resource).into();
        Self {
            namespaces: namespaces.to_vec(),
            labels: String::new(),
            fields: String::new(),
            of: String::new(),
            filter: String::new(),
            wide: false,
            faults: false,
            hidden: BTreeSet::new(),
            selected: None,
            marks: BTreeSet::new(),
            last_mark: None,
            column: None,
            scrolled: 0,
            headings,
            index: Index::default(),
            built: None,
            mix: None,
            banner: None,
            at: 0,
            deltas: HashMap::new(),
            offset: Cell::new(0),
            height: Cell::new(20),
            top: Cell::new(0),
            width: Cell::new(80),
            sort: sort_of(&resource),
            resource,
        }
        .ordered()
    }

    fn ordered(mut self) -> Self {
        self.set_order();
        self
    }

    /// Only those with these labels.
    #[must_use]
    pub fn labelled(self, labels: &str) -> Self {
        Self {
            labels: labels.to_owned(),
            ..self
        }
    }

    /// Only those with these fields.
    #[must_use]
    pub fn with_fields(self, fields: &str) -> Self {
        Self {
            fields: fields.to_owned(),
            ..self
        }
    }

    /// Says what led here.
    #[must_use]
    pub fn of(self, what: String) -> Self {
        Self { of: what, ..self }
    }

    /// With something said above the rows.
    fn below(self, banner: banner::Banner) -> Self {
        Self {
            banner: Some(banner),
            ..self
        }
    }

    /// Selects an object once it is there.
    #[must_use]
    pub fn selecting(self, namespace: &str, name: &str) -> Self {
        Self {
            selected: Some((namespace.to_owned(), name.to_owned())),
            ..self
        }
    }

    /// Sorted from the start.
    #[must_use]
    pub fn sorted(mut self, sort: Option<Sort>) -> Self {
        self.sort = sort.or(self.sort);
        self.ordered()
    }

    /// Filters from the start.
    pub fn filter_with(&mut self, text: &str) -> Result<(), String> {
        let keep = Keep {
            filter: Filter::new(text, &self.headings).map_err(|e| e.to_string())?,
            faults_only: self.faults,
            namespaces: Vec::new(),
        };
        text.clone_into(&mut self.filter);
        self.index.begin_keep(keep);
        self.follow_selection();
        Ok(())
    }

    /// The filter is read anew, or dropped where it fits the columns no longer.
    fn filter_anew(&mut self) {
        let filter = self.filter.clone();
        if self.filter_with(&filter).is_err() {
            self.filter.clear();
            let _ = self.filter_with("");
        }
    }

    fn set_order(&mut self) {
        self.index.set_order(Order::new(self.sort.as_ref(), &self.headings));
        self.follow_selection();
    }

    fn sort_by(&mut self, heading: &str) -> Vec<Do> {
        let known = self.headings.iter().any(|h| h.name.eq_ignore_ascii_case(heading));
        if !known && heading != "Namespace" {
            return Do::why(format!("there is no column {heading:?} here"));
        }
        let same = self.sort.as_ref().filter(|s| s.column.eq_ignore_ascii_case(heading));
        let descending = same.map_or_else(|| LARGEST_FIRST.contains(&heading), |s| !s.descending);
        self.sort = Some(Sort {
            column: heading.to_owned(),
            descending,
        });
        self.set_order();
        Vec::new()
    }

    /// Everything anew from the data: when the view is shown, or its columns are others.
    fn rebuild(&mut self, cx: &Cx<'_>) {
        self.index.clear();
        self.deltas.clear();
        let sources = self.row_sources();
        self.built = match sources.as_slice() {
            [source] if self.mix.is_none() => Some(source.clone()),
            _ => None,
        };
        let stores: Vec<_> = sources.iter().filter_map(|s| Some((s, cx.data.get(s)?))).collect();
        let known = stores.iter().find(|(_, store)| !store.headings.is_empty());
        if let (Some((_, store)), None) = (known, &self.mix) {
            self.headings = store.headings.clone();
        }
        // With nothing in the index yet, what is to be shown and how costs nothing.
        let at = self.at;
        self.filter_anew();
        self.set_order();
        self.at = at;
        let rows: Vec<_> = match &mut self.mix {
            Some(mix) => {
                let rows = stores
                    .iter()
                    .flat_map(|(source, store)| store.rows().map(move |row| (*source, row)));
                rows.filter_map(|(source, row)| mix.take(source, row)).collect()
            }
            None => stores.iter().flat_map(|(_, store)| store.rows().cloned()).collect(),
        };
        self.index.begin_extend(rows);
        if let Some(banner) = &mut self.banner {
            banner.read(cx, self.index.all());
        }
        self.follow_selection();
    }

    /// What changed while others covered the view; `false` where that is too much, or nothing was kept.
    fn catch_up(&mut self, cx: &Cx<'_>) -> bool {
        let sources = self.row_sources();
        let [source] = sources.as_slice() else { return false };
        let Some(store) = cx.data.get(source).filter(|s| s.headings == self.headings) else {
            return false;
        };
        if self.index.is_empty() || self.built.as_ref() != Some(source) {
            return false;
        }
        let (mut changed, mut gone) = (Vec::new(), Vec::new());
        let mut known = self.index.ordered().peekable();
        for row in store.rows() {
            // Most are as they were, and are not even looked at.
            if known.next_if(|old| Arc::ptr_eq(old, row)).is_some() {
                continue;
            }
            while let Some(old) = known.next_if(|old| old.key() < row.key()) {
                gone.push(key_of(old));
            }
            let same = known.next_if(|old| old.key() == row.key());
            if same.is_none_or(|old| !Arc::ptr_eq(old, row)) {
                changed.push(row.clone());
            }
        }
        gone.extend(known.map(|old| key_of(old)));
        if changed.len() + gone.len() > CAUGHT_UP {
            return false;
        }
        for (namespace, name) in gone {
            self.index.remove(&namespace, &name);
            self.marks.remove(&(namespace, name));
        }
        for row in changed {
            self.index.put(row);
        }
        if let Some(banner) = &mut self.banner {
            banner.read(cx, self.index.all());
        }
        self.follow_selection();
        true
    }

    /// The cursor stays with its object; where that is gone, with its place.
    fn follow_selection(&mut self) {
        let shown = self.index.shown().len();
        if shown == 0 && self.index.is_passing() {
            return;
        }
        let place = self.selected.as_ref().and_then(|(namespace, name)| {
            let id = self.index.find(namespace, name)?;
            self.index.position(id)
        });
        self.at = place.unwrap_or(self.at).min(shown.saturating_sub(1));
    }

    fn select(&mut self, at: usize) {
        self.at = at.min(self.index.shown().len().saturating_sub(1));
        self.selected = self.row_at(self.at).map(|row| key_of(row));
    }

    fn step(&mut self, by: isize) {
        self.select(self.at.saturating_add_signed(by));
    }

    fn id_at(&self, at: usize) -> Option<RowId> {
        self.index.shown().get(at).copied()
    }

    fn row_at(&self, at: usize) -> Option<&Arc<Row>> {
        self.index.get(self.id_at(at)?)
    }

    /// The object under the cursor.
    fn current(&self) -> Option<&Arc<Row>> {
        let row = self.row_at(self.at)?;
        match &self.mix {
            Some(mix) => mix.original(row).map(|(_, row)| row),
            None => Some(row),
        }
    }

    /// Its kind.
    fn kind(&self) -> &Arc<Resource> {
        let mixed = self.mix.as_ref().zip(self.row_at(self.at));
        let original = mixed.and_then(|(mix, row)| mix.original(row));
        original.map_or(&self.resource, |(kind, _)| kind)
    }

    /// The watches whose rows it shows.
    fn row_sources(&self) -> Vec<Arc<Source>> {
        let source = |resource: &Resource, namespace: &str| {
            let source = Source::of(resource, namespace);
            Arc::new(source.labelled(&self.labels).with_fields(&self.fields))
        };
        let scoped = |resource: &Arc<Resource>| match resource.namespaced() && !self.namespaces.is_empty() {
            true => self.namespaces.iter().map(|n| source(resource, n)).collect(),
            false => vec![source(resource, "")],
        };
        match &self.mix {
            Some(mix) => mix.kinds().iter().flat_map(scoped).collect(),
            None => scoped(&self.resource),
        }
    }

    /// The columns that are shown: `None` is the namespace.
    fn columns(&self) -> Vec<Option<usize>> {
        let namespace = self.resource.namespaced() && self.namespaces.len() != 1;
        let cells = self.headings.iter().enumerate();
        let shown = cells.filter(|(_, h)| (self.wide || !h.wide) && !self.hidden.contains(&h.name));
        let cells = shown.map(|(at, _)| Some(at));
        namespace.then_some(None).into_iter().chain(cells).collect()
    }

    fn heading(&self, column: Option<usize>) -> &str {
        column.map_or("Namespace", |at| &self.headings[at].name)
    }

    fn empty(&self, cx: &Cx<'_>) -> Empty {
        let sources = self.row_sources();
        let stores: Vec<_> = sources.iter().map(|s| cx.data.get(s)).collect();
        let trouble = stores.iter().flatten().find_map(|s| s.trouble.clone());
        match trouble {
            _ if !self.index.is_empty() => Empty::Filtered(self.index.len()),
            Some(trouble) => Empty::Trouble(trouble),
            None if stores.iter().any(|s| s.is_none_or(|s| !s.synced)) => Empty::Syncing,
            None => Empty::None,
        }
    }

    fn on_row(&self, work: impl FnOnce(&Arc<Row>) -> Vec<Do>) -> Vec<Do> {
        match self.current() {
            Some(row) => work(row),
            None => Do::why("there is no row here"),
        }
    }

    fn text(&self, what: What) -> Vec<Do> {
        self.on_row(|row| {
            let (namespace, name) = row.key();
            let text = Text::new(self.kind().clone(), namespace, name, what);
            vec![Do::Open(Box::new(text))]
        })
    }

    fn create(&self, cx: &Cx<'_>) -> Vec<Do> {
        let kind = self.kind();
        let namespace = match self.namespaces.as_slice() {
            [] => self.current().map_or("default", |row| &row.row.namespace),
            [first, ..] => first,
        };
        match cx.forbids("create", kind, "", namespace) {
            Some(why) => Do::why(why),
            None => vec![Do::Open(Box::new(Apply::create(kind, namespace)))],
        }
    }

    fn copy(&self, what: &str, text: &str) -> Vec<Do> {
        vec![
            Do::Effect(Effect::Copy(text.to_owned())),
            Do::say(Tone::Info, format!("copied {what} {text}")),
        ]
    }

    fn mark(&mut self) -> Vec<Do> {
        if let Some(key) = self.current().map(|row| key_of(row)) {
            if !self.marks.remove(&key) {
                self.marks.insert(key.clone());
            }
            self.last_mark = Some(key);
            self.step(1);
        }
        Vec::new()
    }

    fn mark_range(&mut self) -> Vec<Do> {
        let from = self.last_mark.as_ref().and_then(|(namespace, name)| {
            let id = self.index.find(namespace, name)?;
            self.index.position(id)
        });
        let Some(from) = from else {
            return Do::why("mark a row first (space), then the other end of the range");
        };
        for at in from.min(self.at)..=from.max(self.at) {
            if let Some(row) = self.row_at(at) {
                self.marks.insert(key_of(row));
            }
        }
        Vec::new()
    }

    fn owner(&self, cx: &Cx<'_>) -> Vec<Do> {
        self.on_row(|row| {
            let object = row.object();
            let mut owners = relations::owners(&object);
            owners.extend(relations::about(&object));
            let Some(owner) = owners.first() else {
                return Do::why(format!("{} has no owner", row.row.name));
            };
            let found = cx
                .registry
                .iter()
                .find(|r| r.kind == owner.kind && r.group == owner.group);
            match found {
                Some(resource) => {
                    let table = Table::new(resource.clone(), &[row.row.namespace.to_string()]);
                    vec![Do::Open(Box::new(table.selecting(&row.row.namespace, &owner.name)))]
                }
                None => Do::why(format!("the server does not serve the owner's kind, {}", owner.kind)),
            }
        })
    }

    fn node(&self, cx: &Cx<'_>) -> Vec<Do> {
        self.on_row(|row| {
            let object = row.object();
            match mizzen_api::view::text(&object, "/spec/nodeName") {
                "" => Do::why("the Pod is on no node yet"),
                node => match super::resource("nodes", cx) {
                    Ok(nodes) => vec![Do::Open(Box::new(Table::new(nodes, &[]).selecting("", node)))],
                    Err(error) => Do::why(error),
                },
            }
        })
    }

    fn choose_columns(&self) -> Vec<Do> {
        let field = |h: &Heading| Field {
            label: h.name.clone(),
            value: (!self.hidden.contains(&h.name) && (self.wide || !h.wide)).to_string(),
            kind: FieldKind::Check,
        };
        vec![Do::Ask(Dialog {
            name: "columns".to_owned(),
            title: "Columns".to_owned(),
            lines: vec!["space ticks a column".to_owned()],
            fields: self.headings.iter().skip(1).map(field).collect(),
            buttons: vec!["Cancel".to_owned(), "OK".to_owned()],
            ..Dialog::default()
        })]
    }

    fn chose_columns(&mut self, answer: &Answer) {
        self.wide = true;
        let hidden = answer.values.iter().filter(|(_, value)| *value != "true");
        self.hidden = hidden.map(|(label, _)| label.clone()).collect();
    }

    fn save(&self, cx: &Cx<'_>) -> Vec<Do> {
        let columns = self.columns();
        let quoted = |text: &str| match text.contains([',', '"', '\n']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text.to_owned(),
        };
        let line = |cells: Vec<String>| cells.iter().map(|c| quoted(c)).collect::<Vec<_>>().join(",") + "\n";
        let mut text = line(columns.iter().map(|c| self.heading(*c).to_uppercase()).collect());
        for at in 0..self.index.shown().len() {
            if let Some(row) = self.row_at(at) {
                text += &line(columns.iter().map(|c| self.cell_text(row, *c, cx.now)).collect());
            }
        }
        let file = format!("{}-{}.csv", self.resource.plural, cx.now.strftime("%Y%m%d-%H%M%S"));
        vec![Do::Effect(Effect::Save(file.into(), text))]
    }

    fn cell_text(&self, row: &Row, column: Option<usize>, now: Timestamp) -> String {
        match column {
            None => row.row.namespace.to_string(),
            Some(at) => row.row.text(at, &self.headings[at].name, now),
        }
    }

    /// The rows on screen.
    fn on_screen(&self) -> &[RowId] {
        let shown = self.index.shown();
        let from = self.offset.get().min(shown.len());
        &shown[from..shown.len().min(from + self.height.get())]
    }

    fn note_delta(&mut self, id: RowId, change: &Change, now: Timestamp) {
        let (Some(old), Some(new)) = (&change.old, &change.new) else {
            return;
        };
        let mut cells = BTreeMap::new();
        for (at, (before, after)) in old.row.cells.iter().zip(&new.row.cells).enumerate() {
            let clock = self.headings.get(at).is_none_or(|h| {
                matches!(h.name.as_str(), "Age" | "Last Seen" | "Duration") || metrics::drifts(&h.name)
            });
            if clock || before.content == after.content {
                continue;
            }
            let mark = match (before.sort, after.sort) {
                (Some(a), Some(b)) if a < b => "↑",
                (Some(a), Some(b)) if a > b => "↓",
                _ => "Δ",
            };
            cells.insert(at, mark);
        }
        if !cells.is_empty() {
            self.deltas.insert(
                id,
                Delta {
                    until: now + DELTA,
                    cells,
                },
            );
        }
    }

    fn move_column(&mut self, by: isize) -> Vec<Do> {
        let columns = self.columns().len();
        let at = self.column.map_or(0, |at| at.saturating_add_signed(by));
        self.column = Some(at.min(columns.saturating_sub(1)));
        Vec::new()
    }

    fn digit(&self, act: Act, cx: &Cx<'_>) -> Vec<Do> {
        let at = act as usize - Act::Namespace0 as usize;
        match at.checked_sub(1) {
            None => vec![Do::Use(Vec::new())],
            Some(at) => match cx.namespaces.get(at) {
                Some(namespace) => vec![Do::Use(vec![namespace.clone()])],
                None => Do::why(format!("no namespace is on key {}", at + 1)),
            },
        }
    }
}

fn key_of(row: &Row) -> Key {
    let (namespace, name) = row.key();
    (namespace.to_owned(), name.to_owned())
}

impl View for Table {
    fn crumb(&self) -> String {
        match self.of.as_str() {
            "" => self.resource.plural.to_string(),
            of => format!("{} of {of}", self.resource.plural),
        }
    }

    fn title(&self, _cx: &Cx<'_>) -> String {
        let scope = match (self.resource.namespaced(), self.namespaces.join(",")) {
            (false, _) => String::new(),
            (true, all) if all.is_empty() => "(all)".to_owned(),
            (true, some) => format!("({some})"),
        };
        let (shown, all) = (self.index.shown().len(), self.index.len());
        let count = if shown == all {
            format!("[{all}]")
        } else {
            format!("[{shown}/{all}]")
        };
        let mut title = format!("{}{scope}{count}", self.resource.plural);
        for (word, text) in [("", &self.labels), ("of ", &self.of), ("/", &self.filter)] {
            if !text.is_empty() {
                title.push_str(&format!(" {word}{text}"));
            }
        }
        if self.faults {
            title.push_str(" faults");
        }
        if !self.marks.is_empty() {
            title.push_str(&format!(" {} marked", self.marks.len()));
        }
        title
    }

    fn locator(&self) -> Option<String> {
        if self.mix.is_some() && self.namespaces.is_empty() {
            return Some("workloads all".to_owned());
        }
        let scope = match self.namespaces.join(",") {
            all if all.is_empty() => "all".to_owned(),
            some => some,
        };
        let filter = if self.filter.is_empty() {
            String::new()
        } else {
            format!(" /{}", self.filter)
        };
        let group = if self.resource.group.is_empty() {
            String::new()
        } else {
            format!(".{}", self.resource.group)
        };
        let scope = if self.resource.namespaced() {
            format!(" {scope}")
        } else {
            String::new()
        };
        Some(format!("{}{group}{scope}{filter}", self.resource.plural))
    }

    fn contexts(&self) -> Vec<&'static str> {
        let mut contexts = lead::own_contexts(self.kind());
        contexts.push("table");
        contexts
    }

    fn sources(&self) -> Vec<Arc<Source>> {
        let mut sources = self.row_sources();
        sources.extend(self.banner.iter().flat_map(|banner| banner.sources()).cloned());
        sources
    }

    fn shown(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        if !self.catch_up(cx) {
            self.rebuild(cx);
        }
        Vec::new()
    }

    fn left(&mut self) {
        self.index.clear();
        self.deltas.clear();
    }

    fn changed(&mut self, source: &Source, changes: &[Change], cx: &Cx<'_>) {
        if let Some(banner) = self.banner.as_mut().filter(|b| b.concerns(source)) {
            banner.read(cx, self.index.all());
        }
        let sources = self.row_sources();
        if sources.iter().all(|s| **s != *source) {
            return;
        }
        let store = cx.data.get(source);
        let mixed: Vec<Change>;
        let changes = match &mut self.mix {
            Some(mix) => {
                mixed = changes.iter().map(|change| mix.change(source, change)).collect();
                &mixed
            }
            None => changes,
        };
        let other = |s: &Store| self.mix.is_none() && !s.headings.is_empty() && s.headings != self.headings;
        if store.is_some_and(other) {
            return self.rebuild(cx);
        }
        let live = store.is_some_and(|s| s.synced);
        if self.deltas.len() > DELTAS {
            self.deltas.retain(|_, delta| delta.until > cx.now);
        }
        if !live && changes.len() > PAGE {
            self.index.begin_extend(changes.iter().filter_map(|c| c.new.clone()));
            return self.follow_selection();
        }
        for change in changes {
            match (&change.new, &change.old) {
                (Some(new), _) => {
                    let (id, _) = self.index.put(new.clone());
                    if live {
                        self.note_delta(id, change, cx.now);
                    }
                }
                (None, Some(old)) => {
                    let (namespace, name) = old.key();
                    if let Some(id) = self.index.find(namespace, name) {
                        self.deltas.remove(&id);
                    }
                    self.index.remove(namespace, name);
                    self.marks.remove(&key_of(old));
                }
                (None, None) => {}
            }
        }
        if let Some(banner) = self.banner.as_mut().filter(|b| b.counts_rows()) {
            banner.read(cx, self.index.all());
        }
        self.follow_selection();
    }

    fn draw(&self, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect) {
        let lines = self.banner.as_ref().map_or(0, banner::Banner::height);
        let top = lines.min(area.height / 3);
        self.top.set(top);
        let [above, below] = Layout::vertical([Constraint::Length(top), Constraint::Min(0)]).areas(area);
        if let Some(banner) = &self.banner {
            banner.draw(cx, frame, above);
        }
        draw::draw(self, cx, frame, below);
    }

    fn act(&mut self, act: Act, cx: &Cx<'_>) -> Option<Vec<Do>> {
        let page = self.height.get().max(1) as isize;
        match act {
            Act::Up => self.step(-1),
            Act::Down => self.step(1),
            Act::PageUp => self.step(-page),
            Act::PageDown => self.step(page),
            Act::Top => self.select(0),
            Act::Bottom => self.select(usize::MAX),
            Act::Left => self.scrolled = self.scrolled.saturating_sub(1),
            Act::RightColumns => self.scrolled = (self.scrolled + 1).min(self.columns().len().saturating_sub(2)),
            Act::Wide => {
                self.wide = !self.wide;
                self.hidden.clear();
            }
            Act::Faults => {
                self.faults = !self.faults;
                self.filter_anew();
            }
            Act::MarkClear => self.marks.clear(),
            Act::Columns => return Some(self.choose_columns()),
            Act::Enter => return Some(self.on_row(|row| lead::enter(self.kind(), row, cx))),
            Act::Describe => return Some(self.text(What::Describe)),
            Act::Yaml => return Some(self.text(What::Yaml)),
            Act::Decode => {
                return Some(self.on_row(|row| {
                    let (namespace, name) = row.key();
                    let text = Text::new(self.resource.clone(), namespace, name, What::Yaml);
                    vec![Do::Open(Box::new(text.decoded()))]
                }));
            }
            Act::CopyName => return Some(self.on_row(|row| self.copy("name", &row.row.name))),
            Act::CopyNamespace if self.resource.namespaced() => {
                return Some(self.on_row(|row| self.copy("namespace", &row.row.namespace)));
            }
            Act::CopyNamespace => return Some(Do::why("objects of this kind have no namespace")),
            Act::Owner => return Some(self.owner(cx)),
            Act::Node => return Some(self.node(cx)),
            Act::Warp if self.resource.namespaced() => {
                return Some(self.on_row(|row| vec![Do::Use(vec![row.row.namespace.to_string()])]));
            }
            Act::Warp => return Some(Do::why("objects of this kind have no namespace")),
            Act::UseNamespace => {
                return Some(self.on_row(|row| {
                    let name = row.row.name.to_string();
                    vec![Do::say(Tone::Info, format!("namespace {name}")), Do::Use(vec![name])]
                }));
            }
            Act::UsedBy => return Some(self.on_row(|row| super::tree::used_by(row, &self.resource, cx))),
            Act::ReplicaSets => return Some(self.on_row(|row| lead::replica_sets(row, cx))),
            Act::Mark => return Some(self.mark()),
            Act::MarkRange => return Some(self.mark_range()),
            Act::SortAge => {
                let seen = self.headings.iter().any(|h| h.name == "Last Seen");
                return Some(self.sort_by(if seen { "Last Seen" } else { "Age" }));
            }
            act if sorts(act).is_some() => return Some(self.sort_by(sorts(act).unwrap_or_default())),
            Act::ColumnLeft => return Some(self.move_column(-1)),
            Act::ColumnRight => return Some(self.move_column(1)),
            Act::SortColumn => {
                let chosen = self.column.and_then(|at| self.columns().get(at).copied());
                return Some(match chosen {
                    Some(column) => {
                        let heading = self.heading(column).to_owned();
                        self.sort_by(&heading)
                    }
                    None => Do::why("choose a column first (shift-left, shift-right, or < and >)"),
                });
            }
            Act::Save => return Some(self.save(cx)),
            Act::Create => return Some(self.create(cx)),
            act if (Act::Namespace0..=Act::Namespace9).contains(&act) && self.resource.namespaced() => {
                return Some(self.digit(act, cx));
            }
            _ => return None,
        }
        Some(Vec::new())
    }

    fn mouse(&mut self, mouse: crossterm::event::MouseEvent, area: Rect, cx: &Cx<'_>) -> Vec<Do> {
        use crossterm::event::{MouseButton, MouseEventKind};
        let top = self.top.get().min(area.height);
        let area = Rect {
            y: area.y + top,
            height: area.height - top,
            ..area
        };
        match mouse.kind {
            MouseEventKind::ScrollDown => self.step(3),
            MouseEventKind::ScrollUp => self.step(-3),
            MouseEventKind::Down(MouseButton::Left) if mouse.row > area.y && mouse.row < area.bottom() => {
                let line = usize::from(mouse.row - area.y - 1);
                let at = self.offset.get() + line;
                if line < self.height.get() && at < self.index.shown().len() {
                    // A click on the selected row goes into it.
                    if at == self.at && self.selected.is_some() {
                        return self.on_row(|row| lead::enter(self.kind(), row, cx));
                    }
                    self.select(at);
                }
            }
            MouseEventKind::Down(MouseButton::Left) if mouse.row == area.y => {
                if let Some(column) = draw::column_at(self, mouse.column - area.x, cx) {
                    let heading = self.heading(column).to_owned();
                    return self.sort_by(&heading);
                }
            }
            _ => {}
        }
        Vec::new()
    }

    fn reply(&mut self, reply: Reply, _cx: &Cx<'_>) -> Vec<Do> {
        match reply {
            Reply::Answered(answer) if answer.dialog == "columns" => self.chose_columns(&answer),
            Reply::Done(text) => return vec![Do::say(Tone::Good, text)],
            Reply::Failed(text) => return vec![Do::say(Tone::Bad, text)],
            _ => {}
        }
        Vec::new()
    }

    fn filter(&self) -> &str {
        &self.filter
    }

    fn set_filter(&mut self, text: &str, _cx: &Cx<'_>) -> Result<(), String> {
        self.filter_with(text)
    }

    fn filtering(&mut self) {
        self.index.prepare();
    }

    fn tick(&mut self, _cx: &Cx<'_>) -> Vec<Do> {
        if self.index.advance() {
            self.follow_selection();
        }
        Vec::new()
    }

    fn set_namespaces(&mut self, namespaces: &[String], _cx: &Cx<'_>) -> bool {
        if !self.resource.namespaced() {
            return false;
        }
        self.namespaces = namespaces.to_vec();
        true
    }

    fn due(&self, cx: &Cx<'_>) -> Option<Timestamp> {
        if self.index.is_busy() {
            return Some(cx.now);
        }
        let deltas = self.on_screen().iter().filter_map(|id| self.deltas.get(id));
        let delta = deltas.map(|d| d.until).filter(|until| *until > cx.now).min();
        let ages = draw::next_age(self, cx);
        [delta, ages].into_iter().flatten().min()
    }

    fn chosen(&self, _cx: &Cx<'_>) -> Option<(Arc<Resource>, Vec<Arc<Row>>)> {
        let ids = self.marks.iter().filter_map(|(ns, name)| self.index.find(ns, name));
        let marked = ids.filter_map(|id| self.index.get(id));
        let mut rows: Vec<Arc<Row>> = match &self.mix {
            // Of several kinds, those of the one under the cursor.
            Some(mix) => {
                let originals = marked.filter_map(|row| mix.original(row));
                let same = originals.filter(|(kind, _)| Arc::ptr_eq(kind, self.kind()));
                same.map(|(_, row)| row.clone()).collect()
            }
            None => marked.cloned().collect(),
        };
        if rows.is_empty() {
            rows.extend(self.current().cloned());
        }
        (!rows.is_empty()).then(|| (self.kind().clone(), rows))
    }

    fn first_chosen(&self, cx: &Cx<'_>) -> Option<(Arc<Resource>, Arc<Row>)> {
        match self.marks.is_empty() {
            true => Some((self.kind().clone(), self.current()?.clone())),
            false => self
                .chosen(cx)
                .and_then(|(kind, rows)| Some((kind, rows.first()?.clone()))),
        }
    }

    fn state(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
