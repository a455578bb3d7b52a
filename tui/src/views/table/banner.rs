//! What is said above the Pods that a row led to: how far a Deployment's rollout has come and which
//! ReplicaSets it has, where a Service leads, how a node is used.
//!
//! A banner watches what it tells of beside the table's own rows, and is written anew when that changes.

use std::sync::Arc;

use mizzen_api::console::metrics::Used;
use mizzen_api::console::panel::{self, Fact};
use mizzen_api::resource::Resource;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use serde_json::Value;

use crate::data::{Row, Source};
use crate::theme::glyph;
use crate::view::Cx;
use crate::views::list::clipped;

/// Width of a bar.
const BAR: usize = 20;
/// Below this width bars are half as long, so that words have room.
const NARROW: u16 = 100;

/// The banner.
#[derive(Debug)]
pub(super) struct Banner {
    what: What,
    namespace: String,
    name: String,
    /// The object's own watch first.
    sources: Vec<Arc<Source>>,
    facts: Vec<Fact>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Deployment,
    Service,
    Node,
}

impl Banner {
    /// The banner of an object.
    pub(super) fn new(what: What, resource: &Resource, row: &Row, cx: &Cx<'_>) -> Self {
        let (namespace, name) = row.key();
        let own = Source::of(resource, namespace).with_fields(&format!("metadata.name={name}"));
        let beside = match what {
            What::Deployment => cx.registry.resolve("replicasets.apps"),
            What::Service => cx.registry.resolve("endpointslices.discovery.k8s.io"),
            What::Node => None,
        };
        let labels = match what {
            What::Deployment => mizzen_api::view::selector(&row.object(), "/spec/selector"),
            What::Service => format!("kubernetes.io/service-name={name}"),
            What::Node => String::new(),
        };
        let beside = beside.map(|r| Source::of(r, namespace).labelled(&labels));
        Self {
            what,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            sources: [own].into_iter().chain(beside).map(Arc::new).collect(),
            facts: Vec::new(),
        }
    }

    pub(super) fn sources(&self) -> &[Arc<Source>] {
        &self.sources
    }

    pub(super) fn concerns(&self, source: &Source) -> bool {
        self.sources.iter().any(|own| **own == *source)
    }

    /// Whether it tells of the table's own rows too.
    pub(super) fn counts_rows(&self) -> bool {
        self.what == What::Node
    }

    /// Writes it anew. `rows` are those of the table.
    pub(super) fn read<'a>(&mut self, cx: &Cx<'_>, rows: impl Iterator<Item = &'a Arc<Row>>) {
        let mut stores = self.sources.iter().filter_map(|source| cx.data.get(source));
        let Some(own) = stores.next().and_then(|s| s.get(&self.namespace, &self.name)) else {
            self.facts = Vec::new();
            return;
        };
        let others: Vec<Value> = stores.flat_map(|s| s.rows()).map(|row| row.object()).collect();
        self.facts = match self.what {
            What::Deployment => panel::deployment(&own.object(), &others),
            What::Service => panel::service(&own.object(), &others),
            What::Node => {
                let (mut asked, mut limit, mut pods) = (Used::default(), Used::default(), 0);
                for row in rows {
                    asked.add(row.bounds.asked);
                    limit.add(row.bounds.limit);
                    pods += 1;
                }
                panel::node(&own.object(), own.bounds.asked, own.used, [asked, limit], pods)
            }
        };
    }

    pub(super) fn height(&self) -> u16 {
        match self.facts.len() {
            0 => 0,
            lines => lines as u16 + 1,
        }
    }

    pub(super) fn draw(&self, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect) {
        if area.height == 0 {
            return;
        }
        let theme = cx.theme;
        let room = usize::from(area.height) - 1;
        let hidden = self.facts.len().saturating_sub(room);
        let shown = if hidden > 0 { room.saturating_sub(1) } else { room };
        let bar = if area.width < NARROW { BAR / 2 } else { BAR };
        let line = |fact: &Fact| {
            let style = theme.of(fact.severity);
            let mut spans = vec![
                Span::styled(format!("{} ", glyph(fact.severity)), style),
                Span::styled(format!("{:<12} ", fact.label), theme.accent),
            ];
            if let Some(percent) = fact.bar {
                let filled = (percent as usize * bar / 100).min(bar);
                spans.push(Span::styled("█".repeat(filled), style));
                spans.push(Span::styled(format!("{} ", "·".repeat(bar - filled)), theme.muted));
            }
            let told: usize = spans.iter().map(Span::width).sum();
            let room = usize::from(area.width).saturating_sub(told) as u16;
            spans.push(Span::styled(clipped(&fact.text, room).into_owned(), theme.text));
            Line::from(spans)
        };
        let mut lines: Vec<Line<'_>> = self.facts.iter().take(shown).map(line).collect();
        if hidden > 0 {
            lines.push(Line::styled(
                format!("  … {} more", self.facts.len() - shown),
                theme.muted,
            ));
        }
        frame.render_widget(Paragraph::new(lines), area);
    }
}
