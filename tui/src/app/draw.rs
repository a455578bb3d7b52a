//! Drawing: header, tabs, prompt, the view, crumbs and hints, a dialog over them.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};
use unicode_width::UnicodeWidthStr as _;

use crate::data::Trouble;
use crate::event::{Notice, Tone};
use crate::theme::Theme;
use crate::view::READ_ONLY;
use crate::views::list::clipped;

use super::prompt::Purpose;
use super::stack::Open;
use super::{App, Link};

/// The least that anything useful fits into.
const LEAST: (u16, u16) = (40, 8);
/// Room in the header for the name of the context, whatever else is to be said.
const NAMED: u16 = 22;

/// Where things are drawn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places {
    header: Rect,
    tabs: Rect,
    prompt: Rect,
    /// Inside of the view's frame.
    pub(super) view: Rect,
    frame: Rect,
    crumbs: Rect,
    hints: Rect,
}

impl App {
    pub(super) fn layout(&self) -> Places {
        let tabs = self.tabs.names().0.len() > 1;
        let shown = !self.fullscreen;
        let rows = |on: bool, rows: u16| Constraint::Length(if on { rows } else { 0 });
        let tall = self.size.height >= 16;
        let [header, tabs, prompt, frame, crumbs, hints] = Layout::vertical([
            rows(shown && self.header && tall, 2),
            rows(shown && tabs, 1),
            rows(self.prompt.is_some(), 1),
            Constraint::Min(1),
            rows(shown && self.crumbs && tall, 1),
            rows(shown || self.toast.is_some(), 1),
        ])
        .areas(self.size);
        Places {
            header,
            tabs,
            prompt,
            view: Block::bordered().inner(frame),
            frame,
            crumbs,
            hints,
        }
    }

    /// Draws everything.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let theme = &self.world.theme;
        if area.width < LEAST.0 || area.height < LEAST.1 {
            let text = format!(
                "too small: have {}×{}, need {}×{}",
                area.width, area.height, LEAST.0, LEAST.1
            );
            frame.render_widget(Paragraph::new(text).style(theme.fail).wrap(Default::default()), area);
            return;
        }
        let places = self.layout();
        self.draw_header(frame, places.header);
        self.draw_tabs(frame, places.tabs);
        self.draw_prompt(frame, places.prompt);
        self.draw_view(frame, &places);
        self.draw_crumbs(frame, places.crumbs);
        self.draw_hints(frame, places.hints);
        if let Some(dialog) = &self.dialog {
            dialog.draw(theme, frame, area);
        }
        self.draw_selection(frame.buffer_mut());
    }

    fn draw_view(&self, frame: &mut Frame<'_>, places: &Places) {
        let theme = &self.world.theme;
        let Some(open) = self.tabs.top() else {
            let text = match &self.link {
                Link::Failed(error) => Line::styled(format!("cannot connect: {error}"), theme.fail),
                _ => Line::styled(format!("connecting to {} …", self.context_name()), theme.muted),
            };
            let block = Block::bordered().border_style(theme.frame);
            frame.render_widget(Paragraph::new(text).wrap(Default::default()).block(block), places.frame);
            return;
        };
        let cx = self.world.cx(open.id);
        let border = match self.protected().is_some() && !self.world.read_only {
            true => theme.fail,
            false => theme.frame,
        };
        let title = Line::styled(format!(" {} ", open.view.title(&cx)), theme.accent);
        let block = Block::bordered().border_style(border).title(title.centered());
        frame.render_widget(block, places.frame);
        open.view.draw(&cx, frame, places.view);
    }

    fn context_name(&self) -> &str {
        match self.world.cluster.context.as_str() {
            "" => "the current context",
            name => name,
        }
    }

    fn health(&self) -> (String, Style) {
        let theme = &self.world.theme;
        let of = |open: &Open| -> Vec<Trouble> {
            let sources = open.view.sources().into_iter();
            let troubles = sources.filter_map(|source| self.world.data.get(&source)?.trouble.clone());
            troubles.collect()
        };
        let own = self.tabs.top().into_iter().flat_map(of);
        // Texts and logs watch nothing; whether there is a server is known all the same.
        let beneath = self.tabs.views().flat_map(of).filter(|trouble| trouble.code == 0);
        match (&self.link, own.chain(beneath).next()) {
            (Link::Connecting, _) => ("◐ connecting".to_owned(), theme.progress),
            (Link::Failed(_), _) => ("✖ not connected".to_owned(), theme.fail),
            (Link::Up, Some(trouble)) if trouble.code == 401 => {
                ("✖ credentials refused or expired".to_owned(), theme.fail)
            }
            (Link::Up, Some(trouble)) if trouble.code == 403 => ("▲ forbidden".to_owned(), theme.warn),
            (Link::Up, Some(trouble)) => (format!("▲ {}, trying again", trouble.message), theme.warn),
            (Link::Up, None) => ("● live".to_owned(), theme.ok),
        }
    }

    fn draw_header(&self, frame: &mut Frame<'_>, area: Rect) {
        if area.height == 0 {
            return;
        }
        let theme = &self.world.theme;
        let cluster = &self.world.cluster;
        let namespaces = match self.world.namespaces.join(",") {
            all if all.is_empty() => "all".to_owned(),
            some => some,
        };
        let pair = |name: &str, value: &str| -> Vec<Span<'_>> {
            match value {
                "" => Vec::new(),
                value => vec![
                    Span::styled(format!("{name} "), theme.muted),
                    Span::styled(format!("{value}  "), theme.text),
                ],
            }
        };
        let mut first: Vec<Span<'_>> = vec![Span::styled("mizzen  ", theme.accent)];
        first.extend(pair("context", self.context_name()));
        first.extend(pair("cluster", &cluster.cluster));
        first.extend(pair("user", &cluster.user));
        first.push(Span::styled(cluster.version.as_str(), theme.text));
        let mut second: Vec<Span<'_>> = pair("namespace", &namespaces);
        for (at, namespace) in self.world.favourites.iter().enumerate() {
            second.push(Span::styled(format!("{} ", at + 1), theme.accent));
            second.push(Span::styled(format!("{namespace}  "), theme.muted));
        }
        let (health, style) = self.health();
        let room = (health.width() as u16).min(area.width.saturating_sub(NAMED));
        let health = Span::styled(clipped(&health, room), style);
        let mode = match self.world.read_only {
            true => Span::styled(READ_ONLY, theme.warn),
            false => Span::styled("read-write", theme.muted),
        };
        let lines = Layout::vertical([Constraint::Length(1); 2]).areas::<2>(area);
        for (area, (left, right)) in lines.into_iter().zip([(first, health), (second, mode)]) {
            let room = Constraint::Length(right.width() as u16 + 1);
            let [begin, end] = Layout::horizontal([Constraint::Min(0), room]).areas(area);
            frame.render_widget(Line::from(left), begin);
            frame.render_widget(Line::from(right).right_aligned(), end);
        }
    }

    fn draw_tabs(&self, frame: &mut Frame<'_>, area: Rect) {
        if area.height == 0 {
            return;
        }
        let theme = &self.world.theme;
        let (names, at) = self.tabs.names();
        let mut spans = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let style = if index == at { theme.selected } else { theme.muted };
            spans.push(Span::styled(format!(" {} {name} ", index + 1), style));
        }
        frame.render_widget(Line::from(spans), area);
    }

    fn draw_prompt(&self, frame: &mut Frame<'_>, area: Rect) {
        let Some(prompt) = &self.prompt else {
            return;
        };
        let theme = &self.world.theme;
        let mark = match prompt.purpose {
            Purpose::Command => ":",
            Purpose::Filter => "/",
        };
        let mut spans = vec![
            Span::styled(mark, theme.accent),
            Span::styled(prompt.text.as_str(), theme.text),
            Span::styled(prompt.ghost(), theme.muted),
        ];
        if let Some(error) = &prompt.error {
            spans.push(Span::styled(format!("   ✖ {error}"), theme.fail));
        }
        frame.render_widget(Line::from(spans), area);
        let at = 1 + prompt.text.width() as u16;
        frame.set_cursor_position((area.x + at.min(area.width.saturating_sub(1)), area.y));
    }

    fn draw_crumbs(&self, frame: &mut Frame<'_>, area: Rect) {
        if area.height == 0 {
            return;
        }
        let theme = &self.world.theme;
        let crumbs: Vec<String> = self.tabs.crumbs().collect();
        let mut spans = Vec::new();
        for (at, crumb) in crumbs.iter().enumerate() {
            let last = at + 1 == crumbs.len();
            spans.push(Span::styled(
                format!(" {crumb} "),
                if last { theme.accent } else { theme.muted },
            ));
            if !last {
                spans.push(Span::styled("›", theme.muted));
            }
        }
        frame.render_widget(Line::from(spans), area);
    }

    fn draw_hints(&self, frame: &mut Frame<'_>, area: Rect) {
        if area.height == 0 {
            return;
        }
        let theme = &self.world.theme;
        if let Some((_, notice)) = &self.toast {
            frame.render_widget(Line::styled(format!(" {}", notice.text), tone(theme, notice)), area);
            return;
        }
        let fixed = match (&self.dialog, &self.prompt) {
            (Some(dialog), _) => dialog.hints(),
            (None, Some(_)) => vec![
                ("enter", "go"),
                ("tab", "complete"),
                ("↑↓", "what was typed before"),
                ("esc", "leave"),
            ],
            (None, None) => Vec::new(),
        };
        if !fixed.is_empty() {
            let hint = |(key, text): (&'static str, &'static str)| {
                [
                    Span::styled(key, theme.accent),
                    Span::styled(format!(" {text}  "), theme.muted),
                ]
            };
            let line: Line<'_> = fixed.into_iter().flat_map(hint).collect();
            return frame.render_widget(line, area);
        }
        let mut contexts = self.tabs.top().map_or_else(Vec::new, |open| open.view.contexts());
        if self.tabs.top().is_some_and(|open| open.view.is_plain()) {
            contexts.retain(|context| !matches!(*context, "table" | "text"));
        }
        // In a pane all keys go to what runs there.
        if contexts == ["pane"] {
            return;
        }
        let groups = |group: &str| !matches!(group, "Navigation" | "Namespaces" | "Sort");
        let here = self.world.bindings.rows(&contexts);
        let here = here.filter(|(b, _)| groups(b.group) && b.act != crate::bindings::Act::Enter);
        // What only this kind of view has comes first; looking before doing, and what has no letter last.
        let mut rows: Vec<_> = here.collect();
        rows.sort_by_key(|(b, keys)| {
            let place = contexts.iter().position(|c| b.contexts.contains(c));
            let rank = match b.group {
                "Row" | "Text" => 0,
                _ if keys.first().is_some_and(|key| key.as_bytes()[0].is_ascii_digit()) => 2,
                _ => 1,
            };
            (b.act != crate::bindings::Act::Help, place.unwrap_or(usize::MAX), rank)
        });
        let mut spans = Vec::new();
        let mut width = 0;
        for (binding, keys) in rows {
            let Some(key) = keys.first() else {
                continue;
            };
            let lacks = self.tabs.top().and_then(|open| {
                let cx = self.world.cx(open.id);
                crate::views::perform::lacks(binding.act, &*open.view, &cx)
            });
            let why = match lacks.as_deref() {
                None => String::new(),
                Some(READ_ONLY) => format!(" ({READ_ONLY})"),
                Some(right) => format!(" (no {right})"),
            };
            let name = binding.name.trim_start_matches("log-").trim_start_matches("toggle-");
            let text = format!(" {}", name.replace('-', " "));
            width += key.width() + text.width() + why.width() + 2;
            if width > usize::from(area.width) {
                break;
            }
            let (mut key_style, mut style) = (theme.accent, theme.muted);
            if lacks.is_some() {
                style = style.add_modifier(Modifier::CROSSED_OUT);
                key_style = style;
            }
            spans.push(Span::styled(key.as_str(), key_style));
            spans.push(Span::styled(text, style));
            spans.push(Span::styled(format!("{why}  "), theme.muted));
        }
        frame.render_widget(Line::from(spans), area);
    }
}

/// The style of a notice.
pub(crate) fn tone(theme: &Theme, notice: &Notice) -> Style {
    match notice.tone {
        Tone::Info => theme.text,
        Tone::Good => theme.ok,
        Tone::Warning => theme.warn,
        Tone::Bad => theme.fail,
    }
}
