//! `:pulse`: how every kind fares, and the latest warnings.
//!
//! Health is counted change by change; only a look at another namespace counts anew.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use mizzen_api::console::metrics::Used;
use mizzen_api::console::summary::{Health, OVERVIEW};
use mizzen_api::resource::Resource;
use mizzen_api::table::Severity;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use serde::Serialize;
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use crate::bindings::Act;
use crate::data::{Change, Row, Source};
use crate::view::{Cx, Do, View};

/// Warnings that are kept for the screen.
const WARNINGS: usize = 100;
/// Width of a kind's bar.
const BAR: usize = 30;
/// Below this width bars of what is used are half as long, so that words and history have room.
const NARROW: u16 = 100;
/// Room for the names of what is used.
const NAME: usize = 8;
/// Readings of what is used that are kept: half an hour of them.
const READINGS: usize = 120;
/// Steps of a column of one cell.
const STEPS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/// The view.
#[derive(Debug, Serialize)]
pub struct Pulse {
    kinds: Vec<Kind>,
    namespaces: Vec<String>,
    at: usize,
    #[serde(skip)]
    events: Vec<Arc<Source>>,
    #[serde(skip)]
    warnings: Vec<Arc<Row>>,
    #[serde(skip)]
    totals: Totals,
    /// What was used, in percent of what there is: CPU and memory, latest last.
    readings: VecDeque<(u64, u64)>,
    #[serde(skip)]
    offset: Cell<usize>,
}

/// Sums over nodes and Pods.
#[derive(Debug, Default)]
struct Totals {
    /// What nodes have.
    capacity: Used,
    /// What they use.
    used: Used,
    /// Nodes of which that is known.
    measured: usize,
    /// What Pods ask for.
    asked: Used,
    /// What they are limited to.
    limit: Used,
}

impl Totals {
    /// Counts a row in, or out.
    fn count(&mut self, plural: &str, row: &Row, sum: fn(&mut Used, Used)) {
        match plural {
            "nodes" => {
                sum(&mut self.capacity, row.bounds.asked);
                sum(&mut self.used, row.used.unwrap_or_default());
            }
            "pods" => {
                sum(&mut self.asked, row.bounds.asked);
                sum(&mut self.limit, row.bounds.limit);
            }
            _ => {}
        }
    }

    fn percent(of: i64, capacity: i64) -> u64 {
        (of.max(0) * 100).checked_div(capacity).map_or(0, i64::cast_unsigned)
    }
}

#[derive(Debug, Serialize)]
struct Kind {
    name: String,
    #[serde(skip)]
    resource: Arc<Resource>,
    #[serde(skip)]
    sources: Vec<Arc<Source>>,
    health: Health,
}

/// A column as high as a share in percent.
fn step(percent: u64) -> &'static str {
    STEPS[(percent as usize * STEPS.len() / 101).min(STEPS.len() - 1)]
}

fn sources(resource: &Resource, namespaces: &[String]) -> Vec<Source> {
    match namespaces.is_empty() || !resource.namespaced() {
        true => vec![Source::of(resource, "")],
        false => namespaces
            .iter()
            .map(|namespace| Source::of(resource, namespace))
            .collect(),
    }
}

/// Opens `:pulse`.
pub fn open(namespaces: &[String], cx: &Cx<'_>) -> Box<dyn View> {
    let mut pulse = Pulse {
        kinds: Vec::new(),
        namespaces: namespaces.to_vec(),
        at: 0,
        events: Vec::new(),
        warnings: Vec::new(),
        totals: Totals::default(),
        readings: VecDeque::new(),
        offset: Cell::new(0),
    };
    pulse.look(cx);
    Box::new(pulse)
}

impl Pulse {
    /// Chooses what to watch.
    fn look(&mut self, cx: &Cx<'_>) {
        let allowed = |r: &&Arc<Resource>| {
            let namespace = self.namespaces.first().map_or("", String::as_str);
            cx.forbids("list", r, "", namespace).is_none()
        };
        let known = OVERVIEW
            .iter()
            .filter_map(|name| cx.registry.resolve(name))
            .filter(allowed);
        let kind = |resource: &Arc<Resource>| Kind {
            name: resource.plural.to_string(),
            sources: sources(resource, &self.namespaces).into_iter().map(Arc::new).collect(),
            resource: resource.clone(),
            health: Health::default(),
        };
        let kinds = known.map(kind).collect();
        self.kinds = kinds;
        let events = cx.registry.resolve("events");
        let warnings = events.into_iter().flat_map(|r| sources(r, &self.namespaces));
        self.events = warnings.map(|s| Arc::new(s.with_fields("type=Warning"))).collect();
    }

    fn count(&mut self, cx: &Cx<'_>) {
        self.totals = Totals::default();
        for kind in &mut self.kinds {
            let stores = kind.sources.iter().filter_map(|source| cx.data.get(source));
            let rows = stores.flat_map(|store| store.rows());
            kind.health = Health::of(rows.map(|row| {
                self.totals.count(&kind.name, row, Used::add);
                self.totals.measured += usize::from(row.used.is_some() && kind.name == "nodes");
                &row.row
            }));
        }
        if self.readings.is_empty() && self.totals.measured > 0 {
            self.read();
        }
        self.find_warnings(cx);
    }

    /// Remembers what is used now.
    fn read(&mut self) {
        let totals = &self.totals;
        self.readings.push_back((
            Totals::percent(totals.used.cpu, totals.capacity.cpu),
            Totals::percent(totals.used.memory, totals.capacity.memory),
        ));
        if self.readings.len() > READINGS {
            self.readings.pop_front();
        }
    }

    fn find_warnings(&mut self, cx: &Cx<'_>) {
        let stores = self.events.iter().filter_map(|source| cx.data.get(source));
        let mut warnings: Vec<_> = stores.flat_map(|store| store.rows()).cloned().collect();
        // The first column is how long ago it was last seen, as of when the row was made.
        warnings.sort_by_key(|row| {
            row.row
                .cells
                .first()
                .and_then(|c| c.sort)
                .map_or(i64::MAX, |age| age - row.row.taken)
        });
        warnings.truncate(WARNINGS);
        self.warnings = warnings;
    }

    /// What is used and asked for, of what there is.
    fn usage(&self, width: u16, cx: &Cx<'_>) -> Vec<Line<'static>> {
        let (theme, totals) = (cx.theme, &self.totals);
        let measured = totals.measured > 0;
        let bar = if width < NARROW { BAR / 2 } else { BAR };
        let line = |name: &str, of: fn(&Used) -> i64, text: fn(Used) -> String, reading: fn(&(u64, u64)) -> u64| {
            let percent = |of: i64, capacity: i64| Totals::percent(of, capacity);
            let capacity = of(&totals.capacity);
            let used = percent(of(&totals.used), capacity);
            let style = match used {
                90.. => theme.fail,
                70.. => theme.warn,
                _ => theme.ok,
            };
            let filled = (used as usize * bar / 100).min(bar);
            let told = match measured {
                true => format!(" {used:>3} % of {} used", text(totals.capacity)),
                false => format!(" n/a of {} used", text(totals.capacity)),
            };
            let asked = format!(
                ", {} % asked, limits {} %  ",
                percent(of(&totals.asked), capacity),
                percent(of(&totals.limit), capacity)
            );
            let told_until = NAME + bar + told.width() + asked.width();
            let room = usize::from(width).saturating_sub(told_until);
            let last = self.readings.len().saturating_sub(room);
            let spark: String = self.readings.iter().skip(last).map(|r| step(reading(r))).collect();
            Line::from(vec![
                Span::styled(format!("{name:<NAME$}"), theme.accent),
                Span::styled("█".repeat(if measured { filled } else { 0 }), style),
                Span::styled("·".repeat(if measured { bar - filled } else { bar }), theme.muted),
                Span::styled(told, theme.text),
                Span::styled(asked, theme.muted),
                Span::styled(spark, style),
            ])
        };
        vec![
            line("CPU", |u| u.cpu, Used::cpu_text, |r| r.0),
            line("memory", |u| u.memory, Used::memory_text, |r| r.1),
        ]
    }

    fn line<'a>(&self, kind: &'a Kind, selected: bool, cx: &Cx<'_>) -> Line<'a> {
        let (theme, health) = (cx.theme, kind.health);
        let synced = kind
            .sources
            .iter()
            .all(|s| cx.data.get(s).is_some_and(|store| store.synced));
        let mut spans = vec![
            Span::styled(format!("{:<26}", kind.name), theme.accent),
            Span::raw(if synced {
                format!("{:>7} ", health.total())
            } else {
                "      … ".to_owned()
            }),
        ];
        let parts = [
            (health.ok, "█", theme.ok),
            (health.progressing, "▓", theme.progress),
            (health.warning, "▒", theme.warn),
            (health.failed, "░", theme.fail),
        ];
        let total = health.total().max(1);
        let mut left = BAR;
        for (count, block, style) in parts {
            // What there is at all is seen.
            let width = (count * BAR / total).max(usize::from(count > 0)).min(left);
            left -= width;
            spans.push(Span::styled(block.repeat(width), style));
        }
        spans.push(Span::raw(" ".repeat(left + 1)));
        for (count, word, style) in [
            (health.progressing, "on the way", theme.progress),
            (health.warning, "▲ to look at", theme.warn),
            (health.failed, "✖ failed", theme.fail),
        ] {
            if count > 0 {
                spans.push(Span::styled(format!(" {count} {word}"), style));
            }
        }
        if health.worst() <= Severity::Ok && health.total() > 0 {
            spans.push(Span::styled(" ● well", theme.ok));
        }
        let line = Line::from(spans);
        if selected { line.style(theme.selected) } else { line }
    }
}

impl View for Pulse {
    fn crumb(&self) -> String {
        "pulse".to_owned()
    }

    fn title(&self, _cx: &Cx<'_>) -> String {
        let place = match self.namespaces.is_empty() {
            true => "all".to_owned(),
            false => self.namespaces.join(","),
        };
        format!("pulse({place})")
    }

    fn locator(&self) -> Option<String> {
        Some("pulse".to_owned())
    }

    fn is_plain(&self) -> bool {
        true
    }

    fn contexts(&self) -> Vec<&'static str> {
        vec!["table"]
    }

    fn sources(&self) -> Vec<Arc<Source>> {
        let kinds = self.kinds.iter().flat_map(|kind| &kind.sources);
        kinds.chain(&self.events).cloned().collect()
    }

    fn shown(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        self.look(cx);
        self.count(cx);
        Vec::new()
    }

    fn covered(&mut self) {
        self.warnings.clear();
    }

    fn draw(&self, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect) {
        let kinds = self.kinds.len() as u16;
        let nodes = self.kinds.iter().any(|kind| kind.name == "nodes");
        let [usage, top, heading, below] = Layout::vertical([
            Constraint::Length(if nodes { 3 } else { 0 }),
            Constraint::Max(kinds),
            Constraint::Length(2),
            Constraint::Min(3),
        ])
        .areas(area);
        frame.render_widget(Paragraph::new(self.usage(area.width, cx)), usage);
        let height = usize::from(top.height);
        let offset = self.offset.get().min(self.at).max((self.at + 1).saturating_sub(height));
        self.offset.set(offset);
        let shown = self.kinds.iter().enumerate().skip(offset).take(height);
        let lines: Vec<_> = shown.map(|(at, kind)| self.line(kind, at == self.at, cx)).collect();
        frame.render_widget(Paragraph::new(lines), top);
        let words = format!(
            "\nlatest warnings: {}",
            if self.warnings.is_empty() { "none" } else { "" }
        );
        frame.render_widget(Paragraph::new(words).style(cx.theme.accent), heading);
        let warning = |row: &Arc<Row>| {
            let cell = |heading: &str| {
                let headings = self
                    .events
                    .iter()
                    .find_map(|s| cx.data.get(s))
                    .map(|store| &store.headings);
                let at = headings.and_then(|all| all.iter().position(|h| h.name == heading));
                at.map_or_else(String::new, |at| row.row.text(at, heading, cx.now))
            };
            let place = format!("{:>6} {:<20} ", cell("Last Seen"), cell("Reason"));
            Line::from(vec![
                Span::styled(place, cx.theme.warn),
                Span::styled(format!("{}/{} ", row.row.namespace, cell("Object")), cx.theme.accent),
                Span::styled(cell("Message"), cx.theme.text),
            ])
        };
        let lines: Vec<_> = self
            .warnings
            .iter()
            .take(usize::from(below.height))
            .map(warning)
            .collect();
        frame.render_widget(Paragraph::new(lines), below);
    }

    fn act(&mut self, act: Act, _cx: &Cx<'_>) -> Option<Vec<Do>> {
        let last = self.kinds.len().saturating_sub(1);
        match act {
            Act::Up => self.at = self.at.saturating_sub(1),
            Act::Down => self.at = (self.at + 1).min(last),
            Act::Top => self.at = 0,
            Act::Bottom => self.at = last,
            Act::Enter => {
                let kind = self.kinds.get(self.at)?;
                return Some(vec![Do::Go(kind.resource.qualified_name().to_string())]);
            }
            _ => return None,
        }
        Some(Vec::new())
    }

    fn changed(&mut self, source: &Source, changes: &[Change], cx: &Cx<'_>) {
        let severity = |row: &Option<Arc<Row>>| row.as_ref().map(|row| row.row.severity());
        let before = self.totals.used;
        for kind in self
            .kinds
            .iter_mut()
            .filter(|kind| kind.sources.iter().any(|s| **s == *source))
        {
            for change in changes {
                kind.health.change(severity(&change.old), severity(&change.new));
                if let Some(old) = &change.old {
                    self.totals.count(&kind.name, old, Used::take);
                }
                if let Some(new) = &change.new {
                    self.totals.count(&kind.name, new, Used::add);
                }
                if kind.name == "nodes" {
                    let measured = |row: &Option<Arc<Row>>| usize::from(row.as_ref().is_some_and(|r| r.used.is_some()));
                    self.totals.measured += measured(&change.new);
                    self.totals.measured -= measured(&change.old).min(self.totals.measured);
                }
            }
        }
        if self.totals.used != before {
            self.read();
        }
        if !changes.is_empty() && self.events.iter().any(|s| **s == *source) {
            self.find_warnings(cx);
        }
    }

    fn set_namespaces(&mut self, namespaces: &[String], cx: &Cx<'_>) -> bool {
        self.namespaces = namespaces.to_vec();
        self.look(cx);
        self.count(cx);
        true
    }

    fn due(&self, cx: &Cx<'_>) -> Option<Timestamp> {
        // Ages of warnings go on.
        let second = jiff::SignedDuration::from_secs(10);
        (!self.warnings.is_empty()).then(|| cx.now + second)
    }

    fn state(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
