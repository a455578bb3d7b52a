//! Lists that are no kinds of the server: help, aliases, contexts, notices. Rows of text with a heading;
//! Enter goes where the row leads. Other views draw what they compute as such a list.

use std::cell::Cell;

use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout, Rect};
use ratatui::style::Style;
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table, Wrap};
use serde::Serialize;
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use crate::bindings::{Act, k9s};
use crate::event::Tone;
use crate::view::{Cx, Do, View};

/// Between columns.
const GAP: u16 = 2;
/// Widest that help names places.
const PLACE: usize = 20;

/// The view.
#[derive(Debug, Serialize)]
pub struct List {
    name: &'static str,
    contexts: &'static [&'static str],
    headings: Vec<&'static str>,
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
            shown: (0..rows.len()).collect(),
            rows,
            filter: String::new(),
            at: 0,
            offset: Cell::new(0),
            height: Cell::new(20),
        })
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

    /// How wide each column is.
    fn widths(&self, room: u16) -> Vec<u16> {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|r| r.cells.get(column).map_or(0, |c| c.width()));
            cells.chain([self.headings[column].width()]).max().unwrap_or(0) as u16
        };
        let wanted = (0..self.headings.len()).map(|c| Constraint::Length(width(c).min(room / 2)));
        let columns = Layout::horizontal(wanted).flex(Flex::Start).spacing(GAP);
        let columns = columns.split(Rect::new(0, 0, room, 1));
        columns.iter().map(|column| column.width).collect()
    }

    /// The row under the cursor, where it does not fit.
    fn cut(&self, widths: &[u16]) -> Option<String> {
        let cells = &self.rows[*self.shown.get(self.at)?].cells;
        let cut = cells
            .iter()
            .zip(widths)
            .any(|(cell, width)| cell.width() > usize::from(*width));
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
            place,
            binding.group.to_owned(),
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
                habit.contexts[0].to_owned(),
                "Not as in k9s".to_owned(),
                habit.binding.to_owned(),
            ],
            ..Entry::default()
        });
    }
    List::new("help", &["KEYS", "WHAT", "WHERE", "GROUP", "NAME"], rows)
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
    List::new(
        "aliases",
        &["RESOURCE", "SHORT", "KIND", "VERSION"],
        kinds.map(row).collect(),
    )
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
    List::new("contexts", &["NAME", "CLUSTER", "USER", "NAMESPACE"], rows)
}

/// What was done and said.
pub fn notices(cx: &Cx<'_>) -> Box<dyn View> {
    let row = |(at, notice): &(jiff::Timestamp, crate::event::Notice)| Entry {
        cells: vec![
            at.to_zoned(jiff::tz::TimeZone::system())
                .strftime("%H:%M:%S")
                .to_string(),
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

    fn contexts(&self) -> Vec<&'static str> {
        self.contexts.to_vec()
    }

    fn draw(&self, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect) {
        let theme = cx.theme;
        let widths = self.widths(area.width);
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
            Row::new(entry.cells.clone()).style(style.patch(selected))
        });
        let table = Table::new(rows, widths.into_iter().map(Constraint::Length))
            .header(Row::new(self.headings.clone()).style(theme.accent))
            .column_spacing(GAP);
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
