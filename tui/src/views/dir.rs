//! `:dir PATH`: manifests that lie in a directory here. Enter goes into directories; on a file it shows what
//! applying it would change, as `a` does.

use std::cell::Cell;
use std::path::PathBuf;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;
use serde::Serialize;
use serde_json::Value;

use super::apply::Apply;
use crate::bindings::Act;
use crate::effect::Effect;
use crate::event::{Reply, Tone};
use crate::tasks::apply::Manifests;
use crate::view::{Cx, Do, View};

/// The view.
#[derive(Debug, Serialize)]
pub struct Dir {
    path: PathBuf,
    namespaces: Vec<String>,
    /// Directories end in `/`; `None` until they were read.
    names: Option<Vec<String>>,
    filter: String,
    at: usize,
    #[serde(skip)]
    height: Cell<usize>,
}

impl Dir {
    /// A directory. What is applied from it goes into the first of the namespaces, unless it says itself.
    pub fn new(path: PathBuf, namespaces: &[String]) -> Self {
        Self {
            path,
            namespaces: namespaces.to_vec(),
            names: None,
            filter: String::new(),
            at: 0,
            height: Cell::new(20),
        }
    }

    fn names(&self) -> Vec<&str> {
        let all = self.names.iter().flatten().map(String::as_str);
        all.filter(|name| name.contains(&self.filter)).collect()
    }

    fn step(&mut self, by: isize) {
        let last = self.names().len().saturating_sub(1);
        self.at = self.at.saturating_add_signed(by).min(last);
    }

    fn enter(&self, apply_only: bool) -> Vec<Do> {
        let names = self.names();
        let Some(name) = names.get(self.at) else {
            return Do::why("there is no file here");
        };
        let path = self.path.join(name.trim_end_matches('/'));
        match (name.ends_with('/'), apply_only) {
            (true, true) => Do::why("this is a directory (enter goes into it)"),
            (true, false) => vec![Do::Open(Box::new(Self::new(path, &self.namespaces)))],
            (false, _) => vec![Do::Open(Box::new(Apply::file(path, &self.namespaces)))],
        }
    }
}

impl View for Dir {
    fn crumb(&self) -> String {
        self.path.display().to_string()
    }

    fn title(&self, _cx: &Cx<'_>) -> String {
        let filter = match self.filter.as_str() {
            "" => String::new(),
            filter => format!(" /{filter}"),
        };
        format!("{}[{}]{filter}", self.path.display(), self.names().len())
    }

    fn locator(&self) -> Option<String> {
        Some(format!("dir {}", self.path.display()))
    }

    fn is_plain(&self) -> bool {
        true
    }

    fn contexts(&self) -> Vec<&'static str> {
        vec!["dir", "table"]
    }

    fn shown(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        let job = Manifests::Names(self.path.clone());
        vec![Do::Effect(Effect::Start(cx.id, Box::new(job)))]
    }

    fn draw(&self, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect) {
        let names = self.names();
        let height = usize::from(area.height);
        self.height.set(height);
        let line = |(at, name): (usize, &&str)| {
            let style = if name.ends_with('/') {
                cx.theme.accent
            } else {
                cx.theme.text
            };
            let style = if at == self.at {
                style.patch(cx.theme.selected)
            } else {
                style
            };
            Line::styled((*name).to_owned(), style)
        };
        let first = (self.at + 1).saturating_sub(height);
        let mut lines: Vec<Line<'_>> = names.iter().enumerate().skip(first).take(height).map(line).collect();
        if lines.is_empty() {
            let words = match &self.names {
                None => "reading…",
                Some(all) if all.is_empty() => "no manifests here",
                Some(_) => "nothing matches (esc clears the filter)",
            };
            lines.push(Line::styled(words, cx.theme.muted));
        }
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn act(&mut self, act: Act, _cx: &Cx<'_>) -> Option<Vec<Do>> {
        let page = self.height.get().max(1) as isize;
        match act {
            Act::Up => self.step(-1),
            Act::Down => self.step(1),
            Act::PageUp => self.step(-page),
            Act::PageDown => self.step(page),
            Act::Top => self.at = 0,
            Act::Bottom => self.step(isize::MAX),
            Act::Enter => return Some(self.enter(false)),
            Act::ApplyFile => return Some(self.enter(true)),
            _ => return None,
        }
        Some(Vec::new())
    }

    fn reply(&mut self, reply: Reply, _cx: &Cx<'_>) -> Vec<Do> {
        match reply {
            Reply::Object(names) => {
                self.names = serde_json::from_value(names).ok();
                self.step(0);
                Vec::new()
            }
            Reply::Failed(why) => vec![Do::say(Tone::Bad, why), Do::Close],
            _ => Vec::new(),
        }
    }

    fn filter(&self) -> &str {
        &self.filter
    }

    fn set_filter(&mut self, text: &str, _cx: &Cx<'_>) -> Result<(), String> {
        text.clone_into(&mut self.filter);
        self.step(0);
        Ok(())
    }

    fn state(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
