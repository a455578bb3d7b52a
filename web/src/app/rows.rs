//! The rows of a table in the document: as many as fit on the screen, made once and filled again when others
//! come into view.
//!
//! Tables change many times a second while somebody scrolls, so this knows no signals: [`Painter::paint`] is told
//! what is to be seen and touches what differs from what is.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use leptos::prelude::document;
use mizzen_api::console::headings::Heading;
use mizzen_api::console::metrics;
use mizzen_api::console::rows::{Index, Row, RowId, Shows};
use mizzen_api::table::{Content, Severity};
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{Element, HtmlElement, HtmlInputElement};

use super::table::{class, sign};

/// Height of a row in pixels, as in the style sheet.
pub const ROW_PX: f64 = 30.0;
/// Widest column, in characters.
const WIDEST: usize = 60;
/// Rows that tell how wide columns are before they are seen.
const TELLING: usize = 200;

/// What is to be seen.
pub struct Scene<'a, R> {
    /// All rows.
    pub index: &'a Index<R>,
    /// From which shown row to which.
    pub range: (usize, usize),
    /// Headings of all columns.
    pub headings: &'a Arc<[Heading]>,
    /// The columns that are shown.
    pub columns: Vec<usize>,
    /// Whether namespaces are shown.
    pub namespaces: bool,
    /// Changes when anything about the rows does.
    pub version: (u32, i64),
    /// The row with the cursor.
    pub cursor: Option<RowId>,
    /// Whether a row is marked.
    pub marked: &'a dyn Fn(&Row) -> bool,
    /// Where the page of a row's object is.
    pub link: &'a dyn Fn(&Row) -> String,
}

/// The rows in the document.
pub struct Painter {
    /// What holds the columns' widths for heads and rows.
    grid: HtmlElement,
    /// What holds the rows.
    window: HtmlElement,
    slots: Vec<Slot>,
    headings: Arc<[Heading]>,
    columns: Vec<usize>,
    namespaces: bool,
    version: (u32, i64),
    first: usize,
    /// In characters: the namespace, then every column.
    widths: Vec<usize>,
    wider: bool,
    told: usize,
}

/// A row's elements, and what they show.
struct Slot {
    root: HtmlElement,
    mark: HtmlInputElement,
    sign: HtmlElement,
    namespace: Option<HtmlElement>,
    cells: Vec<Part>,
    id: Option<RowId>,
    /// Namespace and name: ids are used again.
    place: [Arc<str>; 2],
    position: usize,
    severity: Severity,
    cursor: bool,
    marked: bool,
}

struct Part {
    element: HtmlElement,
    /// Where the text goes: the link of a name, or the element.
    inside: HtmlElement,
    link: bool,
    text: String,
    content: Option<Content>,
    severity: Severity,
    /// How often it changed: even and odd look alike and differ in name, so that each starts the animation anew.
    flashes: u32,
}

fn element(name: &str, role: &str, class: &str) -> Result<HtmlElement, JsValue> {
    let element: HtmlElement = document().create_element(name)?.unchecked_into();
    if !role.is_empty() {
        element.set_attribute("role", role)?;
    }
    element.set_class_name(class);
    Ok(element)
}

impl Painter {
    /// Paints into a window; widths are told to the grid.
    pub fn new(grid: HtmlElement, window: HtmlElement) -> Self {
        Self {
            grid,
            window,
            slots: Vec::new(),
            headings: Arc::new([]),
            columns: Vec::new(),
            namespaces: false,
            version: (0, 0),
            first: usize::MAX,
            widths: Vec::new(),
            wider: false,
            told: 0,
        }
    }

    /// The row that an element is in.
    pub fn row_of(&self, element: &Element) -> Option<RowId> {
        let root = element.closest(".row").ok()??;
        self.slots.iter().find(|slot| *slot.root == root)?.id
    }

    /// Makes the document show a scene.
    pub fn paint<R: Shows>(&mut self, scene: &Scene<'_, R>) -> Result<(), JsValue> {
        if self.columns != scene.columns || self.namespaces != scene.namespaces || self.headings != *scene.headings {
            self.begin(scene);
        }
        self.measure(scene);
        let (from, to) = scene.range;
        let wanted = scene.index.shown().get(from..to).unwrap_or_default();
        let same = wanted.len() == self.slots.len()
            && self
                .slots
                .iter()
                .map(|slot| slot.id)
                .eq(wanted.iter().copied().map(Some));
        if !same {
            self.arrange(wanted)?;
        }
        if self.first != from {
            self.first = from;
            let shift = format!("translateY({}px)", from as f64 * ROW_PX);
            self.window.style().set_property("transform", &shift)?;
        }
        let all = self.version != scene.version;
        self.version = scene.version;
        let now = Timestamp::from_second(scene.version.1).unwrap_or_default();
        for at in 0..wanted.len() {
            let Some(row) = scene.index.row(wanted[at]) else {
                continue;
            };
            if all || self.slots[at].id.is_none() {
                self.fill(at, wanted[at], row, scene, now)?;
            }
            self.slots[at].stand(from + at, row, scene)?;
        }
        if std::mem::take(&mut self.wider) {
            self.tell_widths()?;
        }
        Ok(())
    }

    /// Other columns: nothing that was made before fits.
    fn begin<R>(&mut self, scene: &Scene<'_, R>) {
        self.window.set_text_content(None);
        self.slots.clear();
        self.headings = scene.headings.clone();
        self.columns.clone_from(&scene.columns);
        self.namespaces = scene.namespaces;
        let heads = scene.columns.iter().map(|at| scene.headings[*at].name.len() + 2);
        self.widths = std::iter::once(10).chain(heads).collect();
        (self.wider, self.told) = (true, 0);
    }

    /// Before there is a screenful, later rows say how wide columns will be.
    fn measure<R: Shows>(&mut self, scene: &Scene<'_, R>) {
        let shown = scene.index.shown();
        let count = shown.len().min(TELLING);
        if self.told == count {
            return;
        }
        self.told = count;
        for row in shown[..count].iter().filter_map(|id| scene.index.row(*id)) {
            self.widen(0, &row.namespace);
            for at in 0..self.columns.len() {
                match row.cells.get(self.columns[at]).map(|cell| (&cell.content, cell)) {
                    Some((Content::Text(text), _)) => self.widen(at + 1, text),
                    Some((_, cell)) => self.widen(at + 1, &cell.to_string()),
                    None => {}
                }
            }
        }
    }

    fn widen(&mut self, at: usize, text: &str) {
        let width = text.chars().count();
        if width > self.widths[at] {
            self.widths[at] = width;
            self.wider = true;
        }
    }

    fn tell_widths(&self) -> Result<(), JsValue> {
        let shown = &self.widths[usize::from(!self.namespaces)..];
        let widths = shown.iter().map(|width| width.min(&WIDEST) + 2);
        let mut template = String::from("2rem");
        let mut total = 0;
        for width in widths {
            template.push_str(&format!(" {width}ch"));
            total += width;
        }
        template.push_str(" 1fr");
        let style = self.grid.style();
        style.set_property("--columns", &template)?;
        style.set_property("--width", &format!("calc(2rem + {total}ch)"))
    }

    /// Gives every wanted row a slot: its own where it has one, else one that is no longer needed.
    fn arrange(&mut self, wanted: &[RowId]) -> Result<(), JsValue> {
        let (mut own, mut spare) = (HashMap::new(), Vec::new());
        for slot in self.slots.drain(..) {
            match slot.id {
                Some(id) => drop(own.insert(id, slot)),
                None => spare.push(slot),
            }
        }
        let kept: Vec<_> = wanted.iter().map(|id| own.remove(id)).collect();
        spare.extend(own.into_values());
        for slot in &mut spare {
            slot.id = None;
            slot.root.remove();
        }
        for slot in kept {
            let slot = match slot.or_else(|| spare.pop()) {
                Some(slot) => slot,
                None => self.slot()?,
            };
            self.slots.push(slot);
        }
        let mut next = self.window.first_element_child();
        for slot in &self.slots {
            match &next {
                Some(there) if *there == *slot.root => next = there.next_element_sibling(),
                before => drop(self.window.insert_before(&slot.root, before.as_deref())?),
            }
        }
        Ok(())
    }

    /// An empty row.
    fn slot(&self) -> Result<Slot, JsValue> {
        let root = element("div", "row", "row")?;
        let first = element("span", "cell", "mark")?;
        let mark: HtmlInputElement = document().create_element("input")?.unchecked_into();
        mark.set_type("checkbox");
        let sign = element("span", "", "")?;
        sign.set_attribute("aria-hidden", "true")?;
        first.append_child(&mark)?;
        first.append_child(&sign)?;
        root.append_child(&first)?;
        let namespace = match self.namespaces {
            true => Some(element("span", "cell", "cell sev-muted")?),
            false => None,
        };
        if let Some(namespace) = &namespace {
            root.append_child(namespace)?;
        }
        let mut cells = Vec::with_capacity(self.columns.len());
        for at in &self.columns {
            let element = element("span", "cell", "cell ")?;
            let link = self.headings[*at].name == "Name";
            let inside = match link {
                true => self::element("a", "", "")?,
                false => element.clone(),
            };
            if link {
                element.append_child(&inside)?;
            }
            root.append_child(&element)?;
            cells.push(Part {
                element,
                inside,
                link,
                text: String::new(),
                content: None,
                severity: Severity::Plain,
                flashes: 0,
            });
        }
        Ok(Slot {
            root,
            mark,
            sign,
            namespace,
            cells,
            id: None,
            place: [Arc::from(""), Arc::from("")],
            position: usize::MAX,
            severity: Severity::Plain,
            cursor: false,
            marked: false,
        })
    }

    /// Fills a slot with what its row says.
    fn fill<R>(
        &mut self,
        at: usize,
        id: RowId,
        row: &Row,
        scene: &Scene<'_, R>,
        now: Timestamp,
    ) -> Result<(), JsValue> {
        let slot = &mut self.slots[at];
        let fresh = slot.id != Some(id) || slot.place[0] != row.namespace || slot.place[1] != row.name;
        if fresh {
            slot.id = Some(id);
            slot.place = [row.namespace.clone(), row.name.clone()];
            slot.mark.set_attribute("aria-label", &row.name)?;
            if let Some(namespace) = &slot.namespace {
                namespace.set_text_content(Some(&row.namespace));
            }
        }
        let severity = row.severity();
        if slot.severity != severity {
            slot.severity = severity;
            slot.sign.set_class_name(class(severity));
            slot.sign.set_text_content(Some(sign(severity)));
        }
        for place in 0..self.columns.len() {
            let column = self.columns[place];
            let heading = &self.headings[column].name;
            let cell = row.cells.get(column);
            let text = row.text(column, heading, now);
            let part = &mut self.slots[at].cells[place];
            let severity = cell.map(|cell| cell.severity).unwrap_or_default();
            let content = cell.map(|cell| &cell.content);
            let changed = part.content.as_ref() != content;
            if changed {
                part.content = content.cloned();
            }
            // What moves by itself is no news.
            let drifts = heading == "Age" || metrics::drifts(heading);
            let flashes = match fresh {
                true => 0,
                false => part.flashes + u32::from(changed && !drifts),
            };
            if part.severity != severity || part.flashes != flashes {
                (part.severity, part.flashes) = (severity, flashes);
                let flash = match flashes {
                    0 => "",
                    n if n % 2 == 0 => " flash-a",
                    _ => " flash-b",
                };
                part.element.set_class_name(&format!("cell {}{flash}", class(severity)));
            }
            if fresh && part.link {
                part.inside.set_attribute("href", &(scene.link)(row))?;
            }
            if part.text != text {
                part.inside.set_text_content(Some(&text));
                part.text.clone_from(&text);
                self.widen(place + 1, &text);
            }
        }
        Ok(())
    }
}

impl Slot {
    /// Where it stands, and whether it is pointed at.
    fn stand<R>(&mut self, position: usize, row: &Row, scene: &Scene<'_, R>) -> Result<(), JsValue> {
        if self.position != position {
            self.position = position;
            // Heads are the first row.
            self.root.set_attribute("aria-rowindex", &(position + 2).to_string())?;
        }
        let (cursor, marked) = (scene.cursor == self.id, (scene.marked)(row));
        if (self.cursor, self.marked) != (cursor, marked) {
            (self.cursor, self.marked) = (cursor, marked);
            self.mark.set_checked(marked);
            let class = match (cursor, marked) {
                (false, false) => "row",
                (true, false) => "row cursor",
                (false, true) => "row marked",
                (true, true) => "row cursor marked",
            };
            self.root.set_class_name(class);
        }
        Ok(())
    }
}
