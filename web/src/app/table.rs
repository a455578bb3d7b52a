//! The table of any kind: live, sorted, filtered, and only as many rows in the document as fit on the screen.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use leptos::html;
use leptos::prelude::*;
use mizzen_api::console::action::Deed;
use mizzen_api::console::filter::Filter;
use mizzen_api::console::headings::{Heading, headings};
use mizzen_api::console::locator::{Locator, Place};
use mizzen_api::console::metrics::{self, Bounds, Measure, Used};
use mizzen_api::console::rows::{Index, Keep, Order, Row, RowId, Shows, Sort};
use mizzen_api::resource::{Resource, builtin};
use mizzen_api::table::{Cell, Severity};
use mizzen_api::view;
use wasm_bindgen::JsCast as _;

use super::act;
use super::keys::{Key, key};
use super::live::{self, Change, Health, Source};
use super::rows::{Painter, ROW_PX, Scene};
use super::state::{App, app, href, t};
use crate::text::Text;

/// Rows beyond both ends of the screen.
const MARGIN: usize = 6;
/// How much of a frame a filter may take.
const SLICE: SignedDuration = SignedDuration::from_millis(8);

/// What the parts of a table share.
#[derive(Clone, Copy)]
struct Table {
    app: App,
    resource: StoredValue<Arc<Resource>>,
    index: StoredValue<Index<Shown>>,
    /// Whether the next frame goes on with a filter.
    going_on: StoredValue<bool>,
    headings: RwSignal<Arc<[Heading]>>,
    /// What was measured, where use is.
    used: StoredValue<HashMap<Place, Used>>,
    /// Grows with every batch of changes.
    changed: RwSignal<u32>,
    health: RwSignal<Health>,
    /// The row with the cursor.
    cursor: RwSignal<Option<RowId>>,
    /// What is marked, as the address says.
    marked: Memo<BTreeSet<Place>>,
    wide: RwSignal<bool>,
    /// Columns that are shown or not against what is usual.
    toggled: RwSignal<BTreeSet<String>>,
    faults: RwSignal<bool>,
    scroll: RwSignal<f64>,
    height: RwSignal<f64>,
    body: NodeRef<html::Div>,
    grid: NodeRef<html::Div>,
    head: NodeRef<html::Div>,
    window: NodeRef<html::Div>,
    painter: StoredValue<Option<Painter>, LocalStorage>,
}

/// A row, and what its object may use where use is measured.
#[derive(Clone)]
pub struct Shown {
    /// The row.
    pub row: Row,
    /// What its object may use.
    pub bounds: Bounds,
}

impl Shows for Shown {
    fn row(&self) -> &Row {
        &self.row
    }
}

/// The table of a kind.
#[component]
pub fn TablePage(resource: Arc<Resource>) -> impl IntoView {
    let app = app();
    let table = Table {
        app,
        resource: StoredValue::new(resource.clone()),
        index: StoredValue::new(Index::default()),
        going_on: StoredValue::new(false),
        headings: RwSignal::new(headings(&resource).into()),
        used: StoredValue::new(HashMap::new()),
        changed: RwSignal::new(0),
        health: RwSignal::new(Health::Loading),
        cursor: RwSignal::new(None),
        marked: Memo::new(move |_| app.locator.with(|locator| locator.selected.iter().cloned().collect())),
        wide: RwSignal::new(false),
        toggled: RwSignal::new(BTreeSet::new()),
        faults: RwSignal::new(false),
        scroll: RwSignal::new(0.0),
        height: RwSignal::new(600.0),
        body: NodeRef::new(),
        grid: NodeRef::new(),
        head: NodeRef::new(),
        window: NodeRef::new(),
        painter: StoredValue::new_local(None),
    };
    table.follow();
    table.follow_use();
    let wrong = table.arrange();
    let keys = window_event_listener(leptos::ev::keydown, move |event| table.key(&event));
    on_cleanup(move || keys.remove());
    let measure = move || {
        if let Some(body) = table.body.get_untracked() {
            table.height.set(f64::from(body.client_height()));
        }
    };
    Effect::new(move || {
        table.body.track();
        measure();
    });
    let resized = window_event_listener(leptos::ev::resize, move |_| measure());
    on_cleanup(move || resized.remove());
    view! {
        <section class="page" aria-labelledby="title">
            <Toolbar table wrong />
            <Grid table />
        </section>
    }
    .into_any()
}

impl Table {
    /// Follows what the address names, anew when that changes or somebody logs in.
    fn follow(self) {
        let namespaces = Memo::new(move |_| self.app.locator.with(|locator| locator.namespaces.clone()));
        let batch = StoredValue::new(false);
        Effect::new(move || {
            let (namespaces, epoch) = (namespaces.get(), self.app.epoch.get());
            if epoch == 0 {
                return;
            }
            let resource = self.resource.get_value();
            let places = match resource.namespaced() && !namespaces.is_empty() {
                true => namespaces,
                false => vec![String::new()],
            };
            // Kinds that we do not know have the columns that their server tells.
            let served = builtin()
                .by_path(&resource.group, &resource.version, &resource.plural)
                .is_none();
            self.index.update_value(Index::clear);
            self.health.set(Health::Loading);
            for place in places {
                let source = Source {
                    path: resource.path(&place, ""),
                    served,
                    ..Source::default()
                };
                let resource = resource.clone();
                live::follow(self.app, source, self.health, move |change| {
                    self.apply(&resource, change);
                    live::each_frame(batch, self.changed);
                });
            }
        });
    }

    fn apply(self, resource: &Resource, change: Change) {
        let now = Timestamp::now();
        let mut rows: Vec<Shown> = match change {
            Change::Put(objects) => objects.iter().map(|object| self.row(resource, object, now)).collect(),
            Change::Rows(served) => {
                let told = self
                    .headings
                    .try_with_untracked(|known| !served.headings.is_empty() && **known != *served.headings);
                if told == Some(true) {
                    self.headings.set(served.headings.into());
                }
                let row = |(object, cells): (serde_json::Value, Vec<Cell>)| Shown {
                    row: Row::with_cells(&object, cells, now),
                    bounds: Bounds::default(),
                };
                served.rows.into_iter().map(row).collect()
            }
            Change::Remove(namespace, name) => {
                let _ = self.index.try_update_value(|index| index.remove(&namespace, &name));
                return;
            }
        };
        let _ = self.index.try_update_value(|index| match rows.len() {
            1 => drop(index.put(rows.remove(0))),
            _ => index.extend(rows),
        });
    }

    fn row(self, resource: &Resource, object: &serde_json::Value, now: Timestamp) -> Shown {
        let mut row = Row::new(resource, object, now);
        let bounds = Bounds::of(resource, object);
        if !metrics::columns(resource).is_empty() {
            let place = Place::new(&row.namespace, &row.name);
            let used = self.used.try_with_value(|used| used.get(&place).copied()).flatten();
            let mut cells: Vec<Cell> = row.cells.into();
            cells.extend(metrics::cells(resource, bounds, used));
            row.cells = cells.into();
        }
        Shown { row, bounds }
    }

    /// Reads what is used in turns, where that is served: it cannot be watched.
    fn follow_use(self) {
        let path = Memo::new(move |_| {
            let resource = self.resource.get_value();
            let namespaces = self.app.locator.with(|locator| locator.namespaces.clone());
            let namespace = match &namespaces[..] {
                [one] if resource.namespaced() => one,
                _ => "",
            };
            let measured = !metrics::columns(&resource).is_empty();
            let path = live::measures(self.app, &resource.plural, namespace);
            path.filter(|_| measured)
        });
        live::poll(path, move |answer| self.measured(answer));
    }

    fn measured(self, answer: &serde_json::Value) {
        let measures = view::list(answer, "/items").iter().map(Measure::read);
        let new: HashMap<_, _> = measures.map(|m| (Place::new(&m.namespace, &m.name), m.used)).collect();
        let Some(old) = self.used.try_update_value(|used| std::mem::replace(used, new)) else {
            return;
        };
        let resource = self.resource.get_value();
        self.index.update_value(|index| {
            let changed = |shown: &&Shown| {
                let place = Place::new(&shown.row.namespace, &shown.row.name);
                let now = self.used.with_value(|used| used.get(&place).copied());
                now != old.get(&place).copied()
            };
            let rows: Vec<Shown> = index.all().filter(changed).cloned().collect();
            index.extend(rows.into_iter().map(|mut shown| {
                let place = Place::new(&shown.row.namespace, &shown.row.name);
                let used = self.used.with_value(|used| used.get(&place).copied());
                metrics::measure(&mut shown.row.cells, &resource, shown.bounds, used);
                shown
            }));
        });
        self.changed.update(|n| *n = n.wrapping_add(1));
    }

    /// Keeps filter and order as the address says; gives what is wrong with the filter.
    fn arrange(self) -> RwSignal<Option<String>> {
        let wrong = RwSignal::new(None);
        let wanted = Memo::new(move |_| self.app.locator.with(|l| (l.filter.clone(), l.sort.clone())));
        Effect::new(move || {
            let (filter, sort) = wanted.get();
            let headings = self.headings.get();
            let faults_only = self.faults.get();
            match Filter::new(&filter, &headings) {
                Ok(filter) => {
                    wrong.set(None);
                    self.index.update_value(|index| {
                        index.begin_keep(Keep {
                            filter,
                            faults_only,
                            ..Keep::default()
                        });
                        index.set_order(Order::new(sort.as_ref(), &headings));
                    });
                }
                Err(error) => wrong.set(Some(error.to_string())),
            }
            self.changed.update(|n| *n = n.wrapping_add(1));
            self.go_on();
        });
        wrong
    }

    /// Goes on with what takes longer, for a part of every frame: who types is not kept waiting.
    fn go_on(self) {
        let busy = self.index.try_with_value(Index::is_busy) == Some(true);
        if !busy || self.going_on.try_update_value(|on| std::mem::replace(on, true)) != Some(false) {
            return;
        }
        request_animation_frame(move || {
            let began = Timestamp::now();
            let changed = self.index.try_update_value(|index| {
                let mut changed = false;
                while index.is_busy() && Timestamp::now().duration_since(began) < SLICE {
                    changed |= index.advance();
                }
                changed
            });
            if self.going_on.try_update_value(|on| *on = false).is_none() {
                return;
            }
            if changed == Some(true) {
                self.changed.update(|n| *n = n.wrapping_add(1));
            }
            self.go_on();
        });
    }

    /// The columns that are shown.
    fn shown(self) -> Vec<usize> {
        let (wide, toggled) = (self.wide.get(), self.toggled.get());
        self.headings.with(|headings| {
            let all = headings.iter().enumerate();
            all.filter(|(_, heading)| (wide || !heading.wide) != toggled.contains(&heading.name))
                .map(|(at, _)| at)
                .collect()
        })
    }

    /// Shows all columns, or the usual ones.
    fn set_wide(self, wide: bool) {
        self.toggled.update(BTreeSet::clear);
        self.wide.set(wide);
    }

    fn shows_namespace(self) -> bool {
        self.resource.with_value(|resource| resource.namespaced())
            && self.app.locator.with(|locator| locator.namespaces.len() != 1)
    }

    /// Makes the document show the rows that are in view.
    fn paint(self) {
        let changed = self.changed.get();
        let (scroll, height) = (self.scroll.get(), self.height.get());
        let (headings, cursor) = (self.headings.get(), self.cursor.get());
        let (columns, namespaces) = (self.shown(), self.shows_namespace());
        let now = self.app.now.get();
        let (Some(grid), Some(window)) = (self.grid.get(), self.window.get()) else {
            return;
        };
        let kind = self
            .resource
            .with_value(|resource| resource.qualified_name().into_owned());
        let link = |row: &Row| href(&Locator::object(&kind, &row.namespace, &row.name));
        self.marked.with(|marked| {
            let marked = |row: &Row| !marked.is_empty() && marked.contains(&Place::new(&row.namespace, &row.name));
            self.index.with_value(|index| {
                let total = index.shown().len();
                let (first, fits) = ((scroll / ROW_PX) as usize, (height / ROW_PX) as usize + 1);
                let scene = Scene {
                    index,
                    range: (
                        first.saturating_sub(MARGIN).min(total),
                        (first + fits + MARGIN).min(total),
                    ),
                    headings: &headings,
                    columns,
                    namespaces,
                    version: (changed, now),
                    cursor,
                    marked: &marked,
                    link: &link,
                };
                let painted = self.painter.try_update_value(|painter| {
                    painter
                        .get_or_insert_with(|| Painter::new(grid.into(), window.into()))
                        .paint(&scene)
                });
                if let Some(Err(error)) = painted {
                    leptos::logging::error!("{error:?}");
                }
            });
        });
    }

    /// The row that something happened in.
    fn row_of(self, event: &web_sys::Event) -> Option<RowId> {
        let element: web_sys::Element = event.target()?.dyn_into().ok()?;
        self.painter
            .try_with_value(|painter| painter.as_ref()?.row_of(&element))?
    }

    fn sort_by(self, heading: &str) {
        self.app.adjust(|locator| {
            let descending = locator
                .sort
                .as_ref()
                .is_some_and(|sort| sort.column.eq_ignore_ascii_case(heading) && !sort.descending);
            locator.sort = Some(Sort {
                column: heading.to_lowercase(),
                descending,
            });
        });
    }

    fn place(self, id: RowId) -> Option<Place> {
        self.index
            .with_value(|index| index.row(id).map(|row| Place::new(&row.namespace, &row.name)))
    }

    fn locator(self, place: &Place) -> Locator {
        let resource = self
            .resource
            .with_value(|resource| resource.qualified_name().into_owned());
        Locator::object(&resource, &place.namespace, &place.name)
    }

    fn mark(self, id: RowId) {
        let Some(place) = self.place(id) else { return };
        self.app.adjust(|locator| {
            let before = locator.selected.len();
            locator.selected.retain(|other| *other != place);
            if locator.selected.len() == before {
                locator.selected.push(place);
            }
        });
    }

    /// The objects that an action is about: the marked ones, or the one with the cursor.
    fn chosen(self) -> Vec<Place> {
        let marked: Vec<_> = self.marked.with_untracked(|marked| marked.iter().cloned().collect());
        match marked.is_empty() {
            true => self
                .cursor
                .get_untracked()
                .and_then(|id| self.place(id))
                .into_iter()
                .collect(),
            false => marked,
        }
    }

    fn move_to(self, step: impl Fn(usize, usize) -> usize) {
        let found = self.index.with_value(|index| {
            let last = index.shown().len().checked_sub(1)?;
            let at = self.cursor.get_untracked().and_then(|id| index.position(id));
            let to = at.map_or(0, |at| step(at, last)).min(last);
            Some((to, index.shown()[to]))
        });
        let Some((at, id)) = found else { return };
        self.cursor.set(Some(id));
        let Some(body) = self.body.get_untracked() else { return };
        let (top, bottom) = (at as f64 * ROW_PX, (at + 1) as f64 * ROW_PX);
        let (from, height) = (f64::from(body.scroll_top()), self.height.get_untracked());
        if top < from {
            body.set_scroll_top(top as i32);
        } else if bottom > from + height {
            body.set_scroll_top((bottom - height) as i32);
        }
    }

    fn key(self, event: &web_sys::KeyboardEvent) {
        if super::frame::busy(self.app, event) {
            return;
        }
        let page = (self.height.get_untracked() / ROW_PX) as usize;
        let open = |tab: &str| {
            let place = self.cursor.get_untracked().and_then(|id| self.place(id));
            if let Some(place) = place {
                let mut locator = self.locator(&place);
                tab.clone_into(&mut locator.tab);
                self.app.go(locator);
            }
        };
        match key(event) {
            Some(Key::Down) => self.move_to(|at, _| at + 1),
            Some(Key::Up) => self.move_to(|at, _| at.saturating_sub(1)),
            Some(Key::Top) => self.move_to(|_, _| 0),
            Some(Key::Bottom) => self.move_to(|_, last| last),
            Some(Key::PageDown) => self.move_to(|at, _| at + page),
            Some(Key::PageUp) => self.move_to(|at, _| at.saturating_sub(page)),
            Some(Key::Open) => open(""),
            Some(Key::Yaml) => open("yaml"),
            Some(Key::Edit) => open("edit"),
            Some(Key::Logs) => open("logs"),
            Some(Key::Shell) => {
                let resource = self.resource.get_value();
                match resource.subresource("scale") {
                    Some(_) => act::open(self.app, Deed::Scale, resource, self.chosen()),
                    None => open("shell"),
                }
            }
            Some(Key::Wide) => self.set_wide(!self.wide.get_untracked()),
            Some(Key::Faults) => self.faults.update(|faults| *faults = !*faults),
            Some(Key::Delete) => act::open(self.app, Deed::Delete, self.resource.get_value(), self.chosen()),
            Some(Key::Mark) => {
                if let Some(id) = self.cursor.get_untracked() {
                    self.mark(id);
                }
            }
            Some(Key::Back) => {
                self.app.adjust(|locator| {
                    locator.selected.clear();
                    locator.filter.clear();
                });
            }
            _ => return,
        }
        event.prevent_default();
    }
}

#[component]
fn Toolbar(table: Table, wrong: RwSignal<Option<String>>) -> impl IntoView {
    let app = table.app;
    let title = table
        .resource
        .with_value(|resource| resource.qualified_name().into_owned());
    let namespaced = table.resource.with_value(|resource| resource.namespaced());
    let count = move || {
        table.changed.track();
        let (shown, all) = table.index.with_value(|index| (index.shown().len(), index.len()));
        match shown == all {
            true => all.to_string(),
            false => format!("{shown}/{all}"),
        }
    };
    let health = move || match table.health.get() {
        Health::Live => view! { <span class="sev-ok">"● "{t(Text::Live)}</span> }.into_any(),
        Health::Lost(since) => {
            let at = Timestamp::from_second(since).unwrap_or_default();
            view! { <span class="sev-warning" role="alert">"▲ "{t(Text::Disconnected)}" "{at.to_string()}</span> }
                .into_any()
        }
        _ => ().into_any(),
    };
    let chosen = move || table.marked.with(BTreeSet::len);
    // Rights are asked where the first marked object is.
    let namespace = Signal::derive(move || {
        table
            .marked
            .with(|marked| marked.first().map(|place| place.namespace.clone()).unwrap_or_default())
    });
    view! {
        <div class="toolbar">
            <h1 id="title">{title}</h1>
            <span class="count">{count}" "{t(Text::Rows)}</span>
            {health}
            <span class="gap"></span>
            {namespaced.then(|| view! { <NamespacePicker /> })}
            <label class="check"><input type="checkbox" prop:checked=table.faults
                on:change=move |event| table.faults.set(event_target_checked(&event)) />{t(Text::FaultsOnly)}</label>
            <Chooser table />
            <input id="filter" type="search" spellcheck="false" placeholder=t(Text::Filter) aria-label=t(Text::Filter)
                aria-invalid=move || wrong.with(Option::is_some).to_string()
                prop:value=move || app.locator.with(|locator| locator.filter.clone())
                on:focus=move |_| { table.index.update_value(Index::prepare); table.go_on() }
                on:input=move |event| { let text = event_target_value(&event); app.adjust(|l| l.filter = text) }
                on:keydown=|event| if matches!(&*event.key(), "Enter" | "Escape") {
                    event_target::<web_sys::HtmlElement>(&event).blur().ok();
                } />
            {move || (chosen() > 0).then(|| view! {
                <span>{chosen}" "{t(Text::Marked)}</span>
                {act::buttons(app, &table.resource.get_value(), namespace, move || table.chosen())}
            })}
        </div>
        <p class="wrong" role="alert">{move || wrong.get()}</p>
    }
    .into_any()
}

/// Which columns are shown.
#[component]
fn Chooser(table: Table) -> impl IntoView {
    let one = move |at: usize, name: String| {
        let shown = move || table.shown().contains(&at);
        let toggle = move |_| {
            table.toggled.update(|toggled| {
                if !toggled.remove(&name) {
                    toggled.insert(name.clone());
                }
            });
        };
        let label = table.headings.with_untracked(|headings| headings[at].name.clone());
        view! { <label class="check"><input type="checkbox" prop:checked=shown on:change=toggle />{label}</label> }
            .into_any()
    };
    view! {
        <details class="chooser">
            <summary>{t(Text::Columns)}</summary>
            <div>
                <label class="check"><input type="checkbox" prop:checked=table.wide
                    on:change=move |event| table.set_wide(event_target_checked(&event)) /><strong>{t(Text::AllColumns)}</strong></label>
                {move || table.headings.get().iter().enumerate().map(|(at, heading)| one(at, heading.name.clone())).collect::<Vec<_>>()}
            </div>
        </details>
    }
    .into_any()
}

/// Which namespaces are shown. Typed, so that who may not list them can still name one.
#[component]
pub fn NamespacePicker() -> impl IntoView {
    let app = app();
    let chosen = move || app.locator.with(|locator| locator.namespaces.join(","));
    let choose = move |event: leptos::ev::Event| {
        let text = event_target_value(&event);
        let names = text
            .split([',', ' '])
            .filter(|name| !name.is_empty())
            .map(str::to_owned);
        let names: Vec<_> = names.collect();
        app.adjust(|locator| locator.namespaces = names);
    };
    view! {
        <input id="namespaces" list="namespace-names" placeholder=t(Text::AllNamespaces) aria-label=t(Text::Namespaces)
            spellcheck="false" prop:value=chosen on:change=choose />
        <datalist id="namespace-names">
            <For each=move || app.namespaces.get() key=String::clone children=|name| view! { <option value=name></option> } />
        </datalist>
    }
    .into_any()
}

/// Heads and rows, and over them why there are none.
#[component]
fn Grid(table: Table) -> impl IntoView {
    let total = Memo::new(move |_| {
        table.changed.track();
        table.index.with_value(|index| index.shown().len())
    });
    view! {
        <div class="grid" role="table" node_ref=table.grid aria-rowcount=move || (total.get() + 1).to_string() aria-labelledby="title">
            <Head table />
            <Body table total />
        </div>
        <Empty table total />
    }
    .into_any()
}

#[component]
fn Head(table: Table) -> impl IntoView {
    let sorted = move |heading: &str| {
        let sort = table.app.locator.with(|locator| locator.sort.clone());
        match sort {
            Some(sort) if sort.column.eq_ignore_ascii_case(heading) => match sort.descending {
                true => "descending",
                false => "ascending",
            },
            _ => "none",
        }
    };
    let cell = move |heading: &str| {
        let heading = StoredValue::new(heading.to_owned());
        let sorted = move || heading.with_value(|heading| sorted(heading));
        view! {
            <span role="columnheader" aria-sort=sorted>
                <button class="heading" on:click=move |_| heading.with_value(|heading| table.sort_by(heading))>
                    {heading.get_value()}
                    <span aria-hidden="true">{move || match sorted() {
                        "ascending" => " ▲",
                        "descending" => " ▼",
                        _ => "",
                    }}</span>
                </button>
            </span>
        }
        .into_any()
    };
    view! {
        <div class="heads" role="rowgroup" node_ref=table.head>
            <div class="row head" role="row">
                <span role="columnheader"><span class="unseen">{t(Text::KeyMark)}</span></span>
                {move || table.shows_namespace().then(|| cell("Namespace"))}
                {move || table.shown().into_iter().map(|at| table.headings.with(|headings| cell(&headings[at].name))).collect::<Vec<_>>()}
            </div>
        </div>
    }
    .into_any()
}

#[component]
fn Body(table: Table, total: Memo<usize>) -> impl IntoView {
    Effect::new(move || table.paint());
    let scrolled = move |_| {
        let Some(body) = table.body.get_untracked() else { return };
        table.scroll.set(f64::from(body.scroll_top()));
        if let Some(head) = table.head.get_untracked()
            && head.scroll_left() != body.scroll_left()
        {
            head.set_scroll_left(body.scroll_left());
        }
    };
    let point = move |event: web_sys::MouseEvent| {
        if let Some(id) = table.row_of(&event) {
            table.cursor.set(Some(id));
        }
    };
    let mark = move |event: web_sys::Event| {
        if let Some(id) = table.row_of(&event) {
            table.mark(id);
        }
    };
    // What does not fit into its cell is told when somebody points at it.
    let explain = |event: web_sys::MouseEvent| {
        let target = event
            .target()
            .and_then(|target| target.dyn_into::<web_sys::Element>().ok());
        if let Some(cell) = target.filter(|element| element.class_list().contains("cell")) {
            let _ = cell.set_attribute("title", &cell.text_content().unwrap_or_default());
        }
    };
    view! {
        <div class="body" role="rowgroup" class:old=move || matches!(table.health.get(), Health::Lost(_)) tabindex="0" node_ref=table.body
            on:scroll=scrolled>
            <div class="rows" role="presentation" style:height=move || format!("{}px", total.get() as f64 * ROW_PX)>
                <div class="window" role="presentation" node_ref=table.window on:click=point on:change=mark on:mouseover=explain></div>
            </div>
        </div>
    }
    .into_any()
}

/// Why there are no rows.
#[component]
fn Empty(table: Table, total: Memo<usize>) -> impl IntoView {
    move || {
        let any = {
            table.changed.track();
            table.index.with_value(|index| !index.is_empty())
        };
        match table.health.get() {
            Health::Forbidden(message) => Some(view! {
                <div class="empty" role="alert"><h2>{t(Text::Forbidden)}</h2><p>{t(Text::MissingVerb)}": list, watch"</p><p>{message}</p></div>
            }.into_any()),
            Health::Refused(message) => Some(view! { <div class="empty" role="alert">{message}</div> }.into_any()),
            _ if total.get() > 0 => None,
            Health::Loading => Some(view! { <div class="empty" role="status">{t(Text::Loading)}</div> }.into_any()),
            _ if any => Some(view! {
                <div class="empty" role="status"><p>{t(Text::NoneMatch)}</p>
                    <button on:click=move |_| { table.faults.set(false); table.app.adjust(|l| l.filter.clear()) }>{t(Text::ClearFilter)}</button>
                </div>
            }.into_any()),
            Health::Lost(_) => None,
            Health::Live => Some(view! { <div class="empty" role="status">{t(Text::NoneExist)}</div> }.into_any()),
        }
    }
}

/// Colours say nothing to some, so trouble has a sign too.
pub fn sign(severity: Severity) -> &'static str {
    match severity {
        Severity::Failure => "✖",
        Severity::Warning => "▲",
        Severity::Progress => "◌",
        Severity::Ok | Severity::Plain | Severity::Muted => "",
    }
}

/// The class of what something means.
pub fn class(severity: Severity) -> &'static str {
    match severity {
        Severity::Plain => "",
        Severity::Muted => "sev-muted",
        Severity::Ok => "sev-ok",
        Severity::Progress => "sev-progress",
        Severity::Warning => "sev-warning",
        Severity::Failure => "sev-failure",
    }
}
