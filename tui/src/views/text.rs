//! Text of one object: its YAML, or its description. Search with `/`, `n` and `N`; wrap, full screen, copy,
//! save; managed fields and decoded secrets on demand. It is read again when the object changes.

use std::cell::Cell;
use std::sync::Arc;

use base64::Engine as _;
use jiff::Timestamp;
use mizzen_api::resource::Resource;
use mizzen_api::yaml;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use serde::Serialize;
use serde_json::Value;

use crate::bindings::Act;
use crate::data::{Change, Row, Source};
use crate::effect::Effect;
use crate::event::{Reply, Tone};
use crate::tasks::fetch::Fetch;
use crate::theme::Theme;
use crate::view::{Cx, Do, View};

/// What is shown of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum What {
    /// As YAML.
    Yaml,
    /// Described.
    Describe,
}

/// The view.
#[derive(Debug, Serialize)]
pub struct Text {
    #[serde(skip)]
    resource: Arc<Resource>,
    namespace: String,
    name: String,
    what: What,
    #[serde(skip)]
    object: Option<Value>,
    lines: Vec<String>,
    error: Option<String>,
    search: String,
    matches: Vec<usize>,
    found: usize,
    offset: usize,
    column: usize,
    wrap: bool,
    full: bool,
    managed: bool,
    decoded: bool,
    /// The object has changed since it was read; it does not exist any more.
    #[serde(skip)]
    outdated: bool,
    gone: bool,
    #[serde(skip)]
    height: Cell<usize>,
}

impl Text {
    /// The text of an object.
    pub fn new(resource: Arc<Resource>, namespace: &str, name: &str, what: What) -> Self {
        Self {
            resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            what,
            object: None,
            lines: Vec::new(),
            error: None,
            search: String::new(),
            matches: Vec::new(),
            found: 0,
            offset: 0,
            column: 0,
            wrap: false,
            full: false,
            managed: false,
            decoded: false,
            outdated: false,
            gone: false,
            height: Cell::new(20),
        }
    }

    /// Secrets decoded from the start.
    #[must_use]
    pub fn decoded(self) -> Self {
        Self { decoded: true, ..self }
    }

    fn read(&self, cx: &Cx<'_>) -> Vec<Do> {
        let fetch = Fetch {
            resource: self.resource.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            describe: self.what == What::Describe,
        };
        vec![Do::Effect(Effect::Start(cx.id, Box::new(fetch)))]
    }

    fn set_text(&mut self, text: &str) {
        self.error = None;
        self.lines = text.lines().map(|line| line.replace('\t', "    ")).collect();
        self.find();
        self.offset = self.offset.min(self.lines.len().saturating_sub(1));
    }

    fn render(&mut self) {
        let Some(object) = &self.object else {
            return;
        };
        let mut object = object.clone();
        if !self.managed
            && let Some(Value::Object(metadata)) = object.get_mut("metadata")
        {
            metadata.remove("managedFields");
        }
        if self.decoded && object["kind"] == "Secret" {
            decode(&mut object);
        }
        self.set_text(&yaml::to_string(&object));
    }

    fn find(&mut self) {
        self.matches.clear();
        if self.search.is_empty() {
            return;
        }
        let needle = self.search.to_lowercase();
        let lines = self.lines.iter().enumerate();
        let matching = lines.filter(|(_, line)| line.to_lowercase().contains(&needle));
        self.matches = matching.map(|(at, _)| at).collect();
        self.found = self.matches.iter().position(|at| *at >= self.offset).unwrap_or(0);
    }

    fn show_found(&mut self) {
        let Some(at) = self.matches.get(self.found) else {
            return;
        };
        let height = self.height.get();
        // What is in sight already is not moved.
        if !(self.offset..self.offset + height).contains(at) {
            self.offset = at.saturating_sub(height / 3);
            self.scroll(0);
        }
    }

    fn scroll(&mut self, by: isize) {
        let most = self.lines.len().saturating_sub(self.height.get());
        self.offset = self.offset.saturating_add_signed(by).min(most);
    }

    fn step(&mut self, by: usize) -> Vec<Do> {
        if self.matches.is_empty() {
            return Do::why(match self.search.as_str() {
                "" => "nothing is searched for (/ begins a search)".to_owned(),
                text => format!("{text:?} is not in this text"),
            });
        }
        self.found = (self.found + by) % self.matches.len();
        self.show_found();
        Vec::new()
    }

    fn line<'a>(&'a self, theme: &Theme, at: usize) -> Line<'a> {
        let text = self.lines[at].as_str();
        let mut line = highlight(theme, text, self.what);
        if !self.search.is_empty() && self.matches.binary_search(&at).is_ok() {
            line = mark(theme, text, &self.search);
        }
        line
    }
}

/// The values of a Secret as text, where they are text.
fn decode(secret: &mut Value) {
    let Some(Value::Object(data)) = secret.get_mut("data") else {
        return;
    };
    for value in data.values_mut() {
        let bytes = value
            .as_str()
            .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
        if let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
            *value = text.into();
        }
    }
}

/// A line whose key, before the first colon, stands out.
fn highlight<'a>(theme: &Theme, text: &'a str, what: What) -> Line<'a> {
    let end = match what {
        What::Yaml => text.find(": ").or_else(|| text.strip_suffix(':').map(str::len)),
        What::Describe => text
            .find(':')
            .filter(|at| !text[..*at].contains("  ") || text.starts_with(' ')),
    };
    match end {
        Some(at) => Line::from(vec![
            Span::styled(&text[..at], theme.accent),
            Span::styled(&text[at..=at], theme.muted),
            Span::styled(&text[at + 1..], theme.text),
        ]),
        None => Line::styled(text, theme.text),
    }
}

/// A line in which what was found stands out.
fn mark<'a>(theme: &Theme, text: &'a str, needle: &str) -> Line<'a> {
    let Ok(pattern) = regex::RegexBuilder::new(&regex::escape(needle))
        .case_insensitive(true)
        .build()
    else {
        return Line::raw(text);
    };
    let (mut spans, mut last) = (Vec::new(), 0);
    for found in pattern.find_iter(text) {
        spans.push(Span::styled(&text[last..found.start()], theme.text));
        spans.push(Span::styled(found.as_str(), theme.found));
        last = found.end();
    }
    spans.push(Span::styled(&text[last..], theme.text));
    Line::from(spans)
}

impl View for Text {
    fn crumb(&self) -> String {
        match self.what {
            What::Yaml => format!("yaml {}", self.name),
            What::Describe => format!("describe {}", self.name),
        }
    }

    fn title(&self, _cx: &Cx<'_>) -> String {
        let place = match self.namespace.as_str() {
            "" => self.name.clone(),
            namespace => format!("{namespace}/{}", self.name),
        };
        let word = match self.what {
            What::Yaml => "YAML",
            What::Describe => "Describe",
        };
        let found = match (self.search.as_str(), self.matches.len()) {
            ("", _) => String::new(),
            (text, 0) => format!(" /{text} none"),
            (text, count) => format!(" /{text} {}/{count}", self.found + 1),
        };
        let gone = if self.gone { " deleted" } else { "" };
        format!("{word}({place}){gone}{found}")
    }

    fn contexts(&self) -> Vec<&'static str> {
        vec!["text"]
    }

    fn sources(&self) -> Vec<Arc<Source>> {
        let source = Source::of(&self.resource, &self.namespace);
        let fields = format!("metadata.name={}", self.name);
        vec![Arc::new(source.with_fields(&fields))]
    }

    fn chosen(&self, cx: &Cx<'_>) -> Option<(Arc<Resource>, Vec<Arc<Row>>)> {
        let source = self.sources().into_iter().next()?;
        let row = cx.data.get(&source)?.get(&self.namespace, &self.name)?.clone();
        Some((self.resource.clone(), vec![row]))
    }

    fn shown(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        self.read(cx)
    }

    fn changed(&mut self, source: &Source, changes: &[Change], _cx: &Cx<'_>) {
        if self.sources().iter().all(|s| **s != *source) {
            return;
        }
        for change in changes {
            match (&change.old, &change.new) {
                (_, None) => self.gone = true,
                // The first sight of the object is what was read already.
                (None, Some(_)) => self.outdated |= std::mem::take(&mut self.gone),
                (Some(_), Some(_)) => self.outdated = true,
            }
        }
    }

    fn settle(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        match std::mem::take(&mut self.outdated) {
            true => self.read(cx),
            false => Vec::new(),
        }
    }

    fn reply(&mut self, reply: Reply, _cx: &Cx<'_>) -> Vec<Do> {
        match reply {
            Reply::Object(object) => {
                self.object = Some(object);
                self.render();
            }
            Reply::Text(text) => self.set_text(&text),
            Reply::Failed(error) => self.error = Some(error),
            _ => {}
        }
        Vec::new()
    }

    fn draw(&self, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect) {
        self.height.set(usize::from(area.height));
        let theme = cx.theme;
        let mut lines: Vec<Line<'_>> = Vec::new();
        if let Some(error) = &self.error {
            lines.push(Line::styled(format!("✖ {error}"), theme.fail));
        } else if self.lines.is_empty() {
            lines.push(Line::styled("reading …", theme.muted));
        }
        let rows = usize::from(area.height).saturating_sub(lines.len());
        let end = (self.offset + rows).min(self.lines.len());
        lines.extend((self.offset..end).map(|at| self.line(theme, at)));
        let paragraph = Paragraph::new(lines);
        match self.wrap {
            true => frame.render_widget(paragraph.wrap(ratatui::widgets::Wrap { trim: false }), area),
            false => frame.render_widget(paragraph.scroll((0, self.column as u16)), area),
        }
    }

    fn act(&mut self, act: Act, cx: &Cx<'_>) -> Option<Vec<Do>> {
        let page = self.height.get() as isize;
        match act {
            Act::Up => self.scroll(-1),
            Act::Down => self.scroll(1),
            Act::PageUp => self.scroll(-page),
            Act::PageDown => self.scroll(page),
            Act::Top => self.offset = 0,
            Act::Bottom => self.scroll(self.lines.len() as isize),
            Act::Left => self.column = self.column.saturating_sub(8),
            Act::Right => self.column += 8,
            Act::SearchNext => return Some(self.step(1)),
            Act::SearchPrevious => return Some(self.step(self.matches.len().saturating_sub(1))),
            Act::WrapLines => self.wrap = !self.wrap,
            Act::Fullscreen => {
                self.full = !self.full;
                return Some(vec![Do::Fullscreen(self.full)]);
            }
            Act::ManagedFields if self.what == What::Yaml => {
                self.managed = !self.managed;
                self.render();
            }
            Act::ManagedFields => return Some(Do::why("managed fields are shown in the YAML (y)")),
            Act::Decode if self.resource.kind == "Secret" && self.what == What::Yaml => {
                self.decoded = !self.decoded;
                self.render();
            }
            Act::Decode => return Some(Do::why("only the YAML of a Secret can be decoded")),
            Act::Reload => return Some(self.read(cx)),
            Act::CopyAll => {
                return Some(vec![
                    Do::Effect(Effect::Copy(self.lines.join("\n"))),
                    Do::say(Tone::Info, format!("copied {} lines", self.lines.len())),
                ]);
            }
            Act::Save => {
                let file = format!(
                    "{}-{}.{}",
                    self.resource.plural,
                    self.name,
                    match self.what {
                        What::Yaml => "yaml",
                        What::Describe => "txt",
                    }
                );
                return Some(vec![Do::Effect(Effect::Save(
                    file.into(),
                    self.lines.join("\n") + "\n",
                ))]);
            }
            _ => return None,
        }
        Some(Vec::new())
    }

    fn mouse(&mut self, mouse: crossterm::event::MouseEvent, _area: Rect, _cx: &Cx<'_>) -> Vec<Do> {
        match mouse.kind {
            crossterm::event::MouseEventKind::ScrollDown => self.scroll(3),
            crossterm::event::MouseEventKind::ScrollUp => self.scroll(-3),
            _ => {}
        }
        Vec::new()
    }

    fn filter(&self) -> &str {
        &self.search
    }

    fn set_filter(&mut self, text: &str, _cx: &Cx<'_>) -> Result<(), String> {
        text.clone_into(&mut self.search);
        self.find();
        self.show_found();
        Ok(())
    }

    fn due(&self, _cx: &Cx<'_>) -> Option<Timestamp> {
        None
    }

    fn state(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
