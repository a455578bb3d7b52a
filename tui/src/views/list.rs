//! Lists that are no kinds of the server: help, aliases, contexts, notices. Rows of text with a heading;
//! Enter goes where the row leads. Other views draw what they compute as such a list.

use std::borrow::Cow;
use std::cell::Cell;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table, Wrap};
use serde::Serialize;
use serde_json::Value;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::bindings::{Act, k9s};
use crate::event::Tone;
use crate::view::{Cx, Do, View};

/// Between columns, where there is room.
const GAP: u16 = 2;
/// Narrowest that a column is useful.
const LEAST: u16 = 5;
/// What is left of a heading at least, before cells are cut.
const HEADING: u16 = 4;
/// Widest that help names places.
const PLACE: usize = 20;

/// The view.
#[derive(Debug, Serialize)]
pub struct List {
    name: &'static str,
    contexts: &'static [&'static str],
    headings: Vec<&'static str>,
    /// Columns that get their room before others.
    first: usize,
    rows: Vec<Entry>,
    shown: Vec<usize>,
    filter: String,
    at: usize,
    #[serde(skip)]
    offset: Cell<usize>,
    #[serde(skip)]
    height: Cell<usize>,
}

/// A row.
#[derive(Debug, Default, Serialize)]
pub(super) struct Entry {
    pub(super) cells: Vec<String>,
    /// Command line behind it; empty for none.
    pub(super) leads: String,
    pub(super) tone: Option<Tone>,
}

impl List {
    pub(super) fn new(name: &'static str, headings: &[&'static str], rows: Vec<Entry>) -> Box<Self> {
        Box::new(Self {
            name,
            contexts: &["table"],
            headings: headings.to_vec(),
            first: 0,
            shown: (0..rows.len()).collect(),
            rows,
            filter: String::new(),
            at: 0,
            offset: Cell::new(0),
            height: Cell::new(20),
        })
    }

    /// The first columns get their room before others.
    fn first(mut self: Box<Self>, columns: usize) -> Box<Self> {
        self.first = columns;
        self
    }

    /// Other rows; what is filtered and where the cursor is stays.
    pub(super) fn set(&mut self, rows: Vec<Entry>) {
        self.rows = rows;
        self.filter_rows();
    }

    fn filter_rows(&mut self) {
        let wanted = self.filter.to_lowercase();
        let keeps = |entry: &Entry| entry.cells.iter().any(|cell| cell.to_lowercase().contains(&wanted));
        self.shown = (0..self.rows.len()).filter(|at| keeps(&self.rows[*at])).collect();
        self.at = self.at.min(self.shown.len().saturating_sub(1));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.shown.len()
    }

    /// How wide each column is, and the room between them.
    fn widths(&self, room: u16) -> (Vec<u16>, u16) {
        let width = |column: usize| {
            let shown = self.shown.iter().map(|at| &self.rows[*at].cells);
            shown
                .map(|cells| cells.get(column).map_or(0, |cell| cell.width()))
                .max()
        };
        let columns = self.headings.iter().enumerate();
        let columns = columns.map(|(at, heading)| (heading.width() as u16, width(at).unwrap_or(0) as u16));
        fit(&columns.collect::<Vec<_>>(), room, self.first)
    }

    /// The row under the cursor, where it does not fit.
    fn cut(&self, widths: &[u16]) -> Option<String> {
        let cells = &self.rows[*self.shown.get(self.at)?].cells;
        let room = |column: usize| usize::from(widths.get(column).copied().unwrap_or(0));
        let cut = cells.iter().enumerate().any(|(at, cell)| cell.width() > room(at));
        let full: Vec<&str> = cells
            .iter()
            .map(String::as_str)
            .filter(|cell| !cell.is_empty())
            .collect();
        cut.then(|| full.join("  "))
    }

    fn step(&mut self, by: isize) {
        self.at = self
            .at
            .saturating_add_signed(by)
            .min(self.shown.len().saturating_sub(1));
    }
}

/// Widths of columns, and the room between them, so that they fit. Columns are told by the widths of their heading
/// and of their widest cell. Where there is little room headings are cut first; then the first columns get theirs
/// before others, or all are cut alike. What gets next to nothing is left out.
pub(super) fn fit(columns: &[(u16, u16)], room: u16, first: usize) -> (Vec<u16>, u16) {
    let total = |widths: &[u16], gap: u16| widths.iter().sum::<u16>() + gap * (widths.len() as u16).saturating_sub(1);
    let mut widths: Vec<u16> = columns.iter().map(|(heading, cells)| *heading.max(cells)).collect();
    if total(&widths, GAP) <= room {
        return (widths, GAP);
    }
    let gap = 1;
    if first == 0 {
        while total(&widths, gap) > room {
            // The heading that stands out furthest above its cells, or else the widest column.
            let slack = |at: &usize| widths[*at].saturating_sub(columns[*at].1.max(HEADING.min(columns[*at].0)));
            let at = (0..widths.len()).max_by_key(|at| (slack(at), widths[*at]));
            let Some(at) = at.filter(|at| widths[*at] > 1) else {
                break;
            };
            widths[at] -= 1;
        }
        return (widths, gap);
    }
    let mut left = room;
    for at in 0..widths.len() {
        let most = if at < first { room / 5 * 3 } else { left };
        let given = widths[at].min(most).min(left);
        if at >= first && given < widths[at].min(LEAST) {
            widths.truncate(at);
            break;
        }
        widths[at] = given;
        left = left.saturating_sub(given + gap);
    }
    (widths, gap)
}

/// A text that fits, with a sign where something is left out.
pub(crate) fn clipped(text: &str, width: u16) -> Cow<'_, str> {
    let width = usize::from(width);
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    let mut room = width.saturating_sub(1);
    let fits = |c: &char| {
        let wide = c.width().unwrap_or(0);
        let fits = wide <= room;
        room = room.saturating_sub(wide);
        fits
    };
    let mut kept: String = text.chars().take_while(fits).collect();
    if width > 0 {
        kept.push('…');
    }
    Cow::Owned(kept)
}

/// Every key that works in the view below, by group, and what is different from k9s.
pub fn help(cx: &Cx<'_>) -> Box<dyn View> {
    let mut rows: Vec<Entry> = Vec::new();
    let mut bindings: Vec<_> = crate::bindings::BINDINGS.iter().collect();
    bindings.sort_by_key(|b| crate::bindings::BINDINGS.iter().position(|o| o.group == b.group));
    for binding in bindings {
        let keys = cx.bindings.keys(binding.act).join(" ");
        let mut place = binding.contexts.join(" ");
        if place.chars().count() > PLACE {
            place = place.chars().take(PLACE - 1).chain(['…']).collect();
        }
        let cells = vec![
            keys,
            binding.description.to_owned(),
            binding.group.to_owned(),
            place,
            binding.name.to_owned(),
        ];
        rows.push(Entry {
            cells,
            ..Entry::default()
        });
    }
    for habit in k9s::HABITS.iter().filter(|habit| !habit.differs.is_empty()) {
        rows.push(Entry {
            cells: vec![
                habit.keys.to_owned(),
                habit.differs.to_owned(),
                "Not as in k9s".to_owned(),
                habit.contexts[0].to_owned(),
                habit.binding.to_owned(),
            ],
            ..Entry::default()
        });
    }
    for (words, why) in k9s::WORDS {
        let cells = [
            format!(":{}", words.join(" :")),
            (*why).to_owned(),
            "Not as in k9s".to_owned(),
        ];
        rows.push(Entry {
            cells: cells.into_iter().chain([String::new(), String::new()]).collect(),
            ..Entry::default()
        });
    }
    List::new("help", &["KEYS", "WHAT", "GROUP", "WHERE", "NAME"], rows).first(2)
}

/// Every kind with its names.
pub fn aliases(cx: &Cx<'_>) -> Box<dyn View> {
    let kinds = cx.registry.iter().filter(|r| r.allows("list"));
    let row = |r: &std::sync::Arc<mizzen_api::resource::Resource>| Entry {
        cells: vec![
            r.plural.to_string(),
            r.short_names.join(","),
            r.kind.to_string(),
            r.api_version().to_string(),
        ],
        leads: format!(
            "{}.{}{}{}",
            r.plural,
            r.version,
            if r.group.is_empty() { "" } else { "." },
            r.group
        ),
        tone: None,
    };
    let headings = ["RESOURCE", "SHORT", "KIND", "VERSION"];
    List::new("aliases", &headings, kinds.map(row).collect()).first(2)
}

/// Contexts of the kubeconfig.
pub fn contexts(cx: &Cx<'_>) -> Box<dyn View> {
    let row = |c: &crate::event::ContextInfo| {
        let current = if c.name == cx.cluster.context { "*" } else { "" };
        Entry {
            cells: vec![
                format!("{}{current}", c.name),
                c.cluster.clone(),
                c.user.clone(),
                c.namespace.clone(),
            ],
            leads: format!("context {}", c.name),
            tone: None,
        }
    };
    let rows = cx.cluster.contexts.iter().map(row).collect();
    let mut list = List::new("contexts", &["NAME", "CLUSTER", "USER", "NAMESPACE"], rows);
    list.contexts = &["contexts", "table"];
    list
}

/// What was done and said.
pub fn notices(cx: &Cx<'_>) -> Box<dyn View> {
    // Screens that tests compare are the same wherever they run.
    let zone = match cfg!(test) {
        true => jiff::tz::TimeZone::UTC,
        false => jiff::tz::TimeZone::system(),
    };
    let row = |(at, notice): &(jiff::Timestamp, crate::event::Notice)| Entry {
        cells: vec![
            at.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string(),
            notice.text.clone(),
            notice.command.clone().unwrap_or_default(),
        ],
        leads: String::new(),
        tone: Some(notice.tone),
    };
    let rows = cx.notices.iter().rev().map(row).collect();
    List::new("notices", &["TIME", "WHAT", "COMMAND"], rows)
}

impl View for List {
    fn crumb(&self) -> String {
        self.name.to_owned()
    }

    fn title(&self, _cx: &Cx<'_>) -> String {
        let filter = if self.filter.is_empty() {
            String::new()
        } else {
            format!(" /{}", self.filter)
        };
        format!("{}[{}]{filter}", self.name, self.shown.len())
    }

    fn locator(&self) -> Option<String> {
        Some(self.name.to_owned())
    }

    fn is_plain(&self) -> bool {
        true
    }

    fn contexts(&self) -> Vec<&'static str> {
        self.contexts.to_vec()
    }

    fn draw(&self, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect) {
        let theme = cx.theme;
        let (widths, gap) = self.widths(area.width);
        let whole = self.cut(&widths);
        // With room for words that do not fit at the ends of lines, and for the rule above.
        let lines = |text: &String| text.width() as u16 / area.width.saturating_sub(10).max(1) + 2;
        let lines = Constraint::Length(whole.as_ref().map_or(0, lines).min(area.height / 2));
        let [area, below] = Layout::vertical([Constraint::Min(1), lines]).areas(area);
        if let Some(text) = whole {
            let rule = Block::new().borders(Borders::TOP).border_style(theme.frame);
            let text = Paragraph::new(text).style(theme.text).wrap(Wrap { trim: true });
            frame.render_widget(text.block(rule), below);
        }
        let height = usize::from(area.height.saturating_sub(1));
        self.height.set(height);
        let offset = self.offset.get().min(self.at).max((self.at + 1).saturating_sub(height));
        self.offset.set(offset);
        let visible = self.shown.iter().enumerate().skip(offset).take(height);
        let rows = visible.map(|(at, index)| {
            let entry = &self.rows[*index];
            let style = match entry.tone {
                Some(Tone::Bad) => theme.fail,
                Some(Tone::Warning) => theme.warn,
                Some(Tone::Good) => theme.ok,
                _ => theme.text,
            };
            let selected = if at == self.at { theme.selected } else { Style::new() };
            let cells = entry
                .cells
                .iter()
                .zip(&widths)
                .map(|(cell, width)| clipped(cell, *width));
            Row::new(cells).style(style.patch(selected))
        });
        let headings = self
            .headings
            .iter()
            .zip(&widths)
            .map(|(heading, width)| clipped(heading, *width));
        let table = Table::new(rows, widths.iter().copied().map(Constraint::Length))
            .header(Row::new(headings).style(theme.accent))
            .column_spacing(gap);
        frame.render_widget(table, area);
    }

    fn act(&mut self, act: Act, _cx: &Cx<'_>) -> Option<Vec<Do>> {
        let page = self.height.get() as isize;
        match act {
            Act::Up => self.step(-1),
            Act::Down => self.step(1),
            Act::PageUp => self.step(-page),
            Act::PageDown => self.step(page),
            Act::Top => self.at = 0,
            Act::Bottom => self.at = self.shown.len().saturating_sub(1),
            Act::Enter => {
                let entry = self.shown.get(self.at).map(|index| &self.rows[*index]);
                return Some(match entry {
                    Some(entry) if !entry.leads.is_empty() => vec![Do::Go(entry.leads.clone())],
                    _ => Do::why("this row leads nowhere"),
                });
            }
            _ => return None,
        }
        Some(Vec::new())
    }

    fn filter(&self) -> &str {
        &self.filter
    }

    fn set_filter(&mut self, text: &str, _cx: &Cx<'_>) -> Result<(), String> {
        text.clone_into(&mut self.filter);
        self.filter_rows();
        Ok(())
    }

    fn state(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
