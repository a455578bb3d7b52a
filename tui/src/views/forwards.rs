//! The console's port-forwards: where they listen, where they lead, what passed through.

use std::cell::Cell;

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::widgets::{Row, Table};
use serde::Serialize;
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use super::list::{clipped, fit};
use crate::bindings::Act;
use crate::effect::Effect;
use crate::event::Tone;
use crate::forwards::{Entry, Status};
use crate::view::{Cx, Do, View};

/// The view.
#[derive(Debug, Default, Serialize)]
pub struct Forwards {
    at: usize,
    #[serde(skip)]
    height: Cell<usize>,
}

impl Forwards {
    fn step(&mut self, by: isize, count: usize) {
        self.at = self.at.saturating_add_signed(by).min(count.saturating_sub(1));
    }
}

/// A forward's cells: where, from, to, state, connections, bytes.
fn cells(entry: &Entry) -> [String; 7] {
    // Both addresses of localhost are one place to people.
    let place = |(address, port): &(String, u16)| {
        let local = ["127.0.0.1:", "[::1]:"]
            .iter()
            .find_map(|host| address.strip_prefix(host));
        let local = local.map_or_else(|| address.clone(), |port| format!("localhost:{port}"));
        format!("{local} → {port}")
    };
    let mut listening: Vec<_> = entry.listening.iter().map(place).collect();
    listening.dedup();
    let state = match &entry.status {
        Status::Opening => "◐ opening".to_owned(),
        Status::Active(pod) => format!("● {pod}"),
        Status::Alone => "▲ waits for a pod".to_owned(),
        Status::Failed(error) => format!("✖ {error}"),
    };
    let state = match &entry.trouble {
        Some(trouble) => format!("{state} (last trouble: {trouble})"),
        None => state,
    };
    [
        entry.target.namespace.clone(),
        entry.target.to_string(),
        listening.join(" "),
        format!("{}/{}", entry.traffic.open, entry.traffic.connections),
        size(entry.traffic.sent),
        size(entry.traffic.received),
        state,
    ]
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.1} {}", units[unit]),
    }
}

impl View for Forwards {
    fn crumb(&self) -> String {
        "port-forwards".to_owned()
    }

    fn title(&self, cx: &Cx<'_>) -> String {
        format!("PortForwards[{}]", cx.forwards.entries().len())
    }

    fn locator(&self) -> Option<String> {
        Some("pf".to_owned())
    }

    fn is_plain(&self) -> bool {
        true
    }

    fn contexts(&self) -> Vec<&'static str> {
        vec!["forwards", "text"]
    }

    fn draw(&self, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect) {
        self.height.set(usize::from(area.height));
        let entries = cx.forwards.entries();
        let theme = cx.theme;
        if entries.is_empty() {
            let words =
                ratatui::text::Line::styled("no ports are forwarded (F on a pod or service begins)", theme.muted);
            return frame.render_widget(words, area);
        }
        let at = self.at.min(entries.len() - 1);
        let first = (at + 2).saturating_sub(usize::from(area.height));
        let headings = ["NAMESPACE", "TARGET", "LISTENING", "CONNS", "OUT", "IN", "STATE"];
        let shown: Vec<_> = entries.iter().map(cells).collect();
        let width = |column: usize| shown.iter().map(|cells| cells[column].width()).max().unwrap_or(0) as u16;
        let columns = headings.iter().enumerate();
        let columns: Vec<_> = columns
            .map(|(at, heading)| (heading.width() as u16, width(at)))
            .collect();
        let (widths, gap) = fit(&columns, area.width, 0);
        let rows = entries.iter().zip(&shown).enumerate().skip(first);
        let rows = rows.map(|(index, (entry, cells))| {
            let style = match entry.status {
                Status::Opening => theme.progress,
                Status::Active(_) => theme.text,
                Status::Alone => theme.warn,
                Status::Failed(_) => theme.fail,
            };
            let style = if index == at {
                style.patch(theme.selected)
            } else {
                style
            };
            let cells = cells.iter().zip(&widths).map(|(cell, width)| clipped(cell, *width));
            Row::new(cells).style(style)
        });
        let header = headings
            .iter()
            .zip(&widths)
            .map(|(heading, width)| clipped(heading, *width));
        let header = Row::new(header).style(theme.accent);
        let table = Table::new(rows, widths.iter().copied().map(Constraint::Length));
        frame.render_widget(table.header(header).column_spacing(gap), area);
    }

    fn act(&mut self, act: Act, cx: &Cx<'_>) -> Option<Vec<Do>> {
        let entries = cx.forwards.entries();
        self.at = self.at.min(entries.len().saturating_sub(1));
        let page = self.height.get() as isize;
        match act {
            Act::Up => self.step(-1, entries.len()),
            Act::Down => self.step(1, entries.len()),
            Act::PageUp => self.step(-page, entries.len()),
            Act::PageDown => self.step(page, entries.len()),
            Act::Top => self.at = 0,
            Act::Bottom => self.step(isize::MAX, entries.len()),
            Act::ForwardEnd | Act::CopyAll => {
                let Some(entry) = entries.get(self.at) else {
                    return Some(Do::why("no ports are forwarded"));
                };
                if act == Act::ForwardEnd {
                    let words = format!("ports of {} are no longer forwarded", entry.target);
                    return Some(vec![Do::EndForward(entry.id), Do::say(Tone::Info, words)]);
                }
                let Some((address, _)) = entry.listening.first() else {
                    return Some(Do::why("it listens nowhere yet"));
                };
                return Some(vec![
                    Do::Effect(Effect::Copy(address.clone())),
                    Do::say(Tone::Info, format!("copied {address}")),
                ]);
            }
            _ => return None,
        }
        Some(Vec::new())
    }

    fn state(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_by_people() {
        let sizes = [0, 1023, 1536, 5 << 20].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.5 KiB", "5.0 MiB"]);
    }
}
