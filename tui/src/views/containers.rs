//! The containers of one Pod: state, restarts, image, ports, requests. It follows the Pod's watch.

use std::cell::Cell;
use std::sync::Arc;

use jiff::Timestamp;
use mizzen_api::duration;
use mizzen_api::resource::Resource;
use mizzen_api::table::Severity;
use mizzen_api::view;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::Span;
use ratatui::widgets::{Row as Line, Table};
use serde::Serialize;
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use super::list::{clipped, fit};
use super::text::{Text, What};
use crate::bindings::Act;
use crate::data::{Change, Row, Source};
use crate::effect::Effect;
use crate::event::Tone;
use crate::theme::glyph;
use crate::view::{Cx, Do, View};

const HEADINGS: [&str; 10] = [
    "NAME",
    "KIND",
    "READY",
    "STATE",
    "RESTARTS",
    "IMAGE",
    "PORTS",
    "REQUESTS CPU/MEM",
    "CPU",
    "MEM",
];
/// Which of them tells how it fares.
const STATE: usize = 3;
/// Room before the first column.
const GUTTER: u16 = 2;

/// The view.
#[derive(Debug, Serialize)]
pub struct Containers {
    #[serde(skip)]
    resource: Arc<Resource>,
    namespace: String,
    pod: String,
    #[serde(skip)]
    row: Option<Arc<Row>>,
    all: Vec<Container>,
    at: usize,
    filter: String,
    #[serde(skip)]
    top: Cell<u16>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Container {
    name: String,
    cells: [String; 9],
    #[serde(skip)]
    severity: Severity,
}

impl Containers {
    /// The containers of a Pod.
    pub fn new(resource: Arc<Resource>, namespace: &str, pod: &str) -> Self {
        Self {
            resource,
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            row: None,
            all: Vec::new(),
            at: 0,
            filter: String::new(),
            top: Cell::new(0),
        }
    }

    fn read(&mut self, cx: &Cx<'_>) {
        let sources = self.sources();
        let store = sources.first().and_then(|source| cx.data.get(source));
        self.row = store.and_then(|s| s.get(&self.namespace, &self.pod)).cloned();
        let Some(row) = &self.row else {
            self.all.clear();
            return;
        };
        let wanted = self.filter.to_lowercase();
        let mut found = containers(&row.object(), cx.now);
        let measure = sources
            .first()
            .and_then(|source| cx.data.measure(source, &self.namespace, &self.pod));
        for (name, used) in measure.iter().flat_map(|m| &m.containers) {
            if let Some(container) = found.iter_mut().find(|c| *c.name == **name) {
                container.cells[7] = used.cpu_text();
                container.cells[8] = used.memory_text();
            }
        }
        let found = found.into_iter();
        self.all = found.filter(|c| c.name.to_lowercase().contains(&wanted)).collect();
        self.at = self.at.min(self.all.len().saturating_sub(1));
    }
}

/// The containers of a Pod as rows: init containers, then the ordinary ones, then ephemeral ones.
fn containers(pod: &Value, now: Timestamp) -> Vec<Container> {
    let kinds = [
        ("init", "/spec/initContainers", "/status/initContainerStatuses"),
        ("", "/spec/containers", "/status/containerStatuses"),
        (
            "ephemeral",
            "/spec/ephemeralContainers",
            "/status/ephemeralContainerStatuses",
        ),
    ];
    let of = |(kind, spec, status): (&str, &str, &str)| {
        let statuses = view::list(pod, status);
        let row = |container: &Value| {
            let name = view::text(container, "/name");
            let status = statuses.iter().find(|s| s["name"] == name);
            let sidecar = kind == "init" && view::text(container, "/restartPolicy") == "Always";
            one(
                if sidecar { "sidecar" } else { kind },
                container,
                status.unwrap_or(&Value::Null),
                now,
            )
        };
        view::list(pod, spec).iter().map(row).collect::<Vec<_>>()
    };
    kinds.into_iter().flat_map(of).collect()
}

fn one(kind: &str, container: &Value, status: &Value, now: Timestamp) -> Container {
    let ready = view::flag(status, "/ready");
    let (state, severity) = state(kind, status, ready, now);
    let ports = view::list(container, "/ports").iter().map(|port| {
        let protocol = view::text_or(port, "/protocol", "TCP");
        format!("{}/{protocol}", view::int(port, "/containerPort"))
    });
    let request = |name: &str| view::text_or(container, &format!("/resources/requests/{name}"), "-").to_owned();
    Container {
        name: view::text(container, "/name").to_owned(),
        cells: [
            kind.to_owned(),
            ready.to_string(),
            state,
            view::int(status, "/restartCount").to_string(),
            view::text(container, "/image").to_owned(),
            ports.collect::<Vec<_>>().join(","),
            format!("{} / {}", request("cpu"), request("memory")),
            "n/a".to_owned(),
            "n/a".to_owned(),
        ],
        severity,
    }
}

fn state(kind: &str, status: &Value, ready: bool, now: Timestamp) -> (String, Severity) {
    let since = |path: &str| duration::since(view::text(status, path), now);
    if view::has(status, "/state/running") {
        let severity = if ready { Severity::Ok } else { Severity::Progress };
        return (format!("Running {}", since("/state/running/startedAt")), severity);
    }
    if view::has(status, "/state/terminated") {
        let code = view::int(status, "/state/terminated/exitCode");
        let reason = view::text_or(status, "/state/terminated/reason", "Terminated");
        let severity = match (code, kind) {
            (0, _) => Severity::Muted,
            _ => Severity::Failure,
        };
        return (
            format!("{reason} ({code}) {} ago", since("/state/terminated/finishedAt")),
            severity,
        );
    }
    match view::text(status, "/state/waiting/reason") {
        "" => ("Waiting".to_owned(), Severity::Progress),
        reason @ ("ContainerCreating" | "PodInitializing") => (reason.to_owned(), Severity::Progress),
        reason => (reason.to_owned(), Severity::Failure),
    }
}

impl View for Containers {
    fn crumb(&self) -> String {
        format!("containers of {}", self.pod)
    }

    fn title(&self, _cx: &Cx<'_>) -> String {
        let filter = if self.filter.is_empty() {
            String::new()
        } else {
            format!(" /{}", self.filter)
        };
        format!(
            "containers({}/{})[{}]{filter}",
            self.namespace,
            self.pod,
            self.all.len()
        )
    }

    fn contexts(&self) -> Vec<&'static str> {
        vec!["containers", "table"]
    }

    fn sources(&self) -> Vec<Arc<Source>> {
        let source = Source::of(&self.resource, &self.namespace);
        vec![Arc::new(source.with_fields(&format!("metadata.name={}", self.pod)))]
    }

    fn shown(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        self.read(cx);
        Vec::new()
    }

    fn changed(&mut self, source: &Source, _changes: &[Change], cx: &Cx<'_>) {
        if self.sources().iter().any(|s| **s == *source) {
            self.read(cx);
        }
    }

    fn draw(&self, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect) {
        let theme = cx.theme;
        self.top.set(area.y + 1);
        if self.row.is_none() {
            let store = self.sources().first().and_then(|s| cx.data.get(s));
            let text = match store {
                Some(store) if store.synced => format!("the Pod {} does not exist any more", self.pod),
                _ => "◐ synchronizing …".to_owned(),
            };
            return frame.render_widget(Span::styled(text, theme.muted), area);
        }
        let width = |column: usize| {
            let text = |c: &Container| match column {
                0 => c.name.width(),
                n => c.cells[n - 1].width(),
            };
            self.all.iter().map(text).max().unwrap_or(0) as u16
        };
        let room = area.width.saturating_sub(GUTTER);
        let columns = HEADINGS.iter().enumerate();
        let columns: Vec<_> = columns
            .map(|(at, heading)| (heading.width() as u16, width(at)))
            .collect();
        let (widths, gap) = fit(&columns, room, 0);
        let [gutter, area] = Layout::horizontal([Constraint::Length(GUTTER), Constraint::Min(0)]).areas(area);
        for (at, container) in self
            .all
            .iter()
            .enumerate()
            .take(usize::from(area.height.saturating_sub(1)))
        {
            let line = Rect {
                y: area.y + 1 + at as u16,
                height: 1,
                ..gutter
            };
            let style = theme.of(container.severity);
            let style = if at == self.at {
                style.patch(theme.selected)
            } else {
                style
            };
            frame.render_widget(Span::styled(format!("{:<2}", glyph(container.severity)), style), line);
        }
        let rows = self.all.iter().enumerate().map(|(at, container)| {
            let selected = if at == self.at { theme.selected } else { Style::new() };
            let style = theme.of(container.severity);
            let texts = std::iter::once(&container.name).chain(&container.cells);
            let cells = texts.zip(&widths).enumerate().map(|(at, (text, width))| {
                let style = if at == STATE { style } else { theme.text };
                Span::styled(clipped(text, *width), style)
            });
            Line::new(cells).style(theme.text.patch(selected))
        });
        let table = Table::new(rows, widths.iter().copied().map(Constraint::Length));
        let table = table.header(Line::new(HEADINGS).style(theme.accent));
        frame.render_widget(table.column_spacing(gap), area);
    }

    fn act(&mut self, act: Act, cx: &Cx<'_>) -> Option<Vec<Do>> {
        let last = self.all.len().saturating_sub(1);
        match act {
            Act::Up => self.at = self.at.saturating_sub(1),
            Act::Down => self.at = (self.at + 1).min(last),
            Act::Top => self.at = 0,
            Act::Bottom => self.at = last,
            Act::Describe | Act::Yaml => {
                let what = if act == Act::Yaml { What::Yaml } else { What::Describe };
                let text = Text::new(self.resource.clone(), &self.namespace, &self.pod, what);
                return Some(vec![Do::Open(Box::new(text))]);
            }
            Act::CopyName => {
                let name = self.container()?;
                return Some(vec![
                    Do::say(Tone::Info, format!("copied name {name}")),
                    Do::Effect(Effect::Copy(name)),
                ]);
            }
            _ => return None,
        }
        let _ = cx;
        Some(Vec::new())
    }

    fn mouse(&mut self, mouse: crossterm::event::MouseEvent, area: Rect, _cx: &Cx<'_>) -> Vec<Do> {
        if matches!(mouse.kind, crossterm::event::MouseEventKind::Down(_)) && mouse.row > area.y {
            self.at = usize::from(mouse.row - area.y - 1).min(self.all.len().saturating_sub(1));
        }
        Vec::new()
    }

    fn chosen(&self, _cx: &Cx<'_>) -> Option<(Arc<Resource>, Vec<Arc<Row>>)> {
        Some((self.resource.clone(), vec![self.row.clone()?]))
    }

    fn container(&self) -> Option<String> {
        self.all.get(self.at).map(|c| c.name.clone())
    }

    fn filter(&self) -> &str {
        &self.filter
    }

    fn set_filter(&mut self, text: &str, cx: &Cx<'_>) -> Result<(), String> {
        text.clone_into(&mut self.filter);
        self.read(cx);
        Ok(())
    }

    fn state(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_container_says_how_it_fares() {
        let pod = json!({
            "spec": {"initContainers": [{"name": "setup", "image": "i"}, {"name": "mesh", "image": "m", "restartPolicy": "Always"}],
                "containers": [{"name": "main", "image": "web:1", "ports": [{"containerPort": 80}], "resources": {"requests": {"cpu": "10m"}}},
                    {"name": "bad", "image": "x"}]},
            "status": {"initContainerStatuses": [
                    {"name": "setup", "restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": "2026-03-01T11:00:00Z"}}},
                    {"name": "mesh", "ready": true, "restartCount": 1, "state": {"running": {"startedAt": "2026-03-01T11:59:00Z"}}}],
                "containerStatuses": [{"name": "main", "ready": true, "restartCount": 0, "state": {"running": {"startedAt": "2026-03-01T11:50:00Z"}}},
                    {"name": "bad", "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}});
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let line = |c: &Container| format!("{} {} {:?}", c.name, c.cells.join("|"), c.severity);
        let lines: Vec<_> = containers(&pod, now).iter().map(line).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        setup init|false|Completed (0) 60m ago|0|i||- / -|n/a|n/a Muted
        mesh sidecar|true|Running 60s|1|m||- / -|n/a|n/a Ok
        main |true|Running 10m|0|web:1|80/TCP|10m / -|n/a|n/a Ok
        bad |false|CrashLoopBackOff|4|x||- / -|n/a|n/a Failure
        ");
    }
}
