//! Logs of Pods and workloads, with k9s's keys. The lines are in a [`Pane`]; this is what keys mean to it.

use std::cell::RefCell;

use jiff::Timestamp;
use mizzen_api::client::logs::{Containers, Event, Options, Since};
use mizzen_api::client::pods::Target;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;
use serde_json::{Value, json};

use crate::bindings::Act;
use crate::effect::Effect;
use crate::event::{Reply, Tone};
use crate::logs::filter::{Pattern, Wanted};
use crate::logs::palette::Palette;
use crate::logs::pane::{Look, Pane};
use crate::logs::severity::Severity;
use crate::tasks::logs::{Follow, News, Older};
use crate::theme::Theme;
use crate::view::{Cx, Dialog, Do, Field, FieldKind, View};

/// Lines of each source that are read at first, and more when one scrolls above them.
const TAIL_LINES: i64 = 1000;
const OLDER_LINES: u64 = 5000;
/// Text that is copied at most; more does not fit through a terminal.
const COPY_MAX_BYTES: usize = 1 << 20;
const SEARCH: &str = "search";

/// How far back to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    Tail,
    Head,
    Minutes(i64),
}

/// The view.
#[derive(Debug)]
pub struct Logs {
    targets: Vec<Target>,
    containers: Containers,
    range: Range,
    previous: bool,
    pane: RefCell<Pane>,
    /// Counts the requests; news of earlier ones are of no interest.
    request: u64,
    started: bool,
    reading_older: bool,
    full: bool,
    filter: String,
    error: Option<String>,
}

impl Logs {
    /// Logs of some Pods or workloads, merged.
    pub fn new(targets: Vec<Target>, containers: Containers, previous: bool) -> Self {
        Self {
            targets,
            containers,
            range: Range::Tail,
            previous,
            pane: RefCell::new(Pane::new(Look::default())),
            request: 0,
            started: false,
            reading_older: false,
            full: false,
            filter: String::new(),
            error: None,
        }
    }

    /// Reads anew, as the range and the like say now.
    fn restart(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        let before = self.pane.get_mut();
        let (look, wanted) = (before.look(), before.filter().clone());
        let search = before.search().cloned();
        let mut pane = Pane::new(look);
        pane.set_filter(Wanted { source: None, ..wanted });
        pane.set_search(search);
        if self.range == Range::Head {
            pane.to_top();
        }
        self.pane = RefCell::new(pane);
        self.request += 1;
        self.reading_older = false;
        self.error = None;
        let (tail, since) = match self.range {
            Range::Tail => (Some(TAIL_LINES), None),
            Range::Head => (None, None),
            Range::Minutes(minutes) => (None, Some(Since::Seconds(minutes * 60))),
        };
        let follow = Follow {
            targets: self.targets.clone(),
            containers: self.containers.clone(),
            options: Options {
                follow: !self.previous,
                previous: self.previous,
                tail,
                since,
                ..Options::default()
            },
            request: self.request,
        };
        vec![
            Do::Effect(Effect::Stop(cx.id)),
            Do::Effect(Effect::Start(cx.id, Box::new(follow))),
        ]
    }

    fn range(&mut self, range: Range, cx: &Cx<'_>) -> Vec<Do> {
        self.range = range;
        self.restart(cx)
    }

    fn older(&mut self, wanted: bool, cx: &Cx<'_>) -> Vec<Do> {
        if !wanted || self.previous || std::mem::replace(&mut self.reading_older, true) {
            return Vec::new();
        }
        let older = Older {
            have: self.pane.get_mut().have(),
            want: OLDER_LINES,
            request: self.request,
        };
        vec![Do::Effect(Effect::Start(cx.id, Box::new(older)))]
    }

    fn look(&mut self, change: impl FnOnce(&mut Look)) {
        let pane = self.pane.get_mut();
        let mut look = pane.look();
        change(&mut look);
        pane.set_look(look);
    }

    fn news(&mut self, news: News) {
        let pane = self.pane.get_mut();
        match news {
            News::Source(id, source) => pane.apply(&Event::Source(id, source)),
            News::Lines(id, text) => pane.apply(&Event::Lines(id, text.into())),
            News::Note(id, text) => pane.apply(&Event::Note(id, text)),
            News::CaughtUp => pane.apply(&Event::CaughtUp),
            News::Older(lines) => {
                self.reading_older = false;
                pane.prepend(&lines);
            }
            News::Failed(error) => {
                self.reading_older = false;
                self.error = Some(error);
            }
        }
    }

    fn text(&mut self) -> String {
        let mut text = Vec::new();
        // Writing to memory does not fail.
        let _ = self.pane.get_mut().write(&mut text);
        String::from_utf8(text).unwrap_or_default()
    }

    fn copy(&mut self) -> Vec<Do> {
        let text = self.text();
        // The newest lines are the ones that matter.
        let mut start = text.len().saturating_sub(COPY_MAX_BYTES);
        if start > 0 {
            start = text[start..].find('\n').map_or(start, |at| start + at + 1);
        }
        let lines = text[start..].lines().count();
        let words = match start {
            0 => format!("copied {lines} lines"),
            _ => format!("copied the last {lines} lines: more does not fit"),
        };
        vec![
            Do::Effect(Effect::Copy(text[start..].to_owned())),
            Do::say(Tone::Info, words),
        ]
    }

    fn save(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        let file = format!(
            "logs-{}-{}.log",
            self.crumb().replace(['/', ' '], "-"),
            cx.now.as_second()
        );
        vec![Do::Effect(Effect::Save(file.into(), self.text()))]
    }

    fn find(&mut self, forward: bool) -> Vec<Do> {
        let pane = self.pane.get_mut();
        match pane.search().map(|pattern| pattern.text().to_owned()) {
            None => Do::why("nothing is searched for (F begins a search, / filters)"),
            Some(_) if pane.find(forward) => Vec::new(),
            Some(text) => Do::why(format!("{text:?} is in none of these lines")),
        }
    }

    fn ask_search(&self) -> Vec<Do> {
        let value = self.pane.borrow().search().map(|pattern| pattern.text().to_owned());
        vec![Do::Ask(Dialog {
            name: SEARCH.to_owned(),
            title: "Search (n and N go on)".to_owned(),
            fields: vec![Field {
                label: "Text or pattern".to_owned(),
                value: value.unwrap_or_default(),
                kind: FieldKind::Text,
            }],
            buttons: vec!["Cancel".to_owned(), "Search".to_owned()],
            ..Dialog::default()
        })]
    }

    fn indicators(&self) -> String {
        let pane = self.pane.borrow();
        let look = pane.look();
        let on = |name: &str, on: bool| format!("{name}:{}", if on { "on" } else { "off" });
        let range = match self.range {
            Range::Tail => "tail".to_owned(),
            Range::Head => "head".to_owned(),
            Range::Minutes(60) => "1h".to_owned(),
            Range::Minutes(minutes) => format!("{minutes}m"),
        };
        let mut words = vec![
            range,
            on("scroll", pane.follows()),
            on("time", look.time),
            on("wrap", look.wrap),
        ];
        if look.pretty {
            words.push("JSON".to_owned());
        }
        if look.column_lock {
            words.push("columns locked".to_owned());
        }
        if pane.filter().severity > Severity::Unknown {
            words.push("faults only".to_owned());
        }
        if self.reading_older {
            words.push("reading older lines…".to_owned());
        }
        words.push(pane.status());
        words.join(" · ")
    }
}

/// A log's colours in a skin.
fn palette(theme: &Theme) -> Palette {
    let own = Palette::default();
    Palette {
        text: theme.text,
        time: theme.muted,
        note: theme.muted,
        mark: theme.marked,
        error: theme.fail,
        warning: theme.warn,
        debug: theme.muted,
        matched: theme.found,
        found: theme.selected,
        key: theme.accent,
        sources: if theme.is_plain() { Vec::new() } else { own.sources },
    }
}

impl View for Logs {
    fn crumb(&self) -> String {
        match self.targets.as_slice() {
            [one] => format!("logs {}", one.name),
            many => format!("logs of {}", many.len()),
        }
    }

    fn title(&self, _cx: &Cx<'_>) -> String {
        let of = match self.targets.as_slice() {
            [one] => format!("{}/{}", one.namespace, one.name),
            many => many.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", "),
        };
        let container = match &self.containers {
            Containers::Default => String::new(),
            Containers::All => ":all containers".to_owned(),
            Containers::Named(name) => format!(":{name}"),
        };
        let word = if self.previous { "Previous logs" } else { "Logs" };
        let filter = match self.filter.as_str() {
            "" => String::new(),
            text => format!(" /{text}"),
        };
        let search = match self.pane.borrow().search() {
            Some(pattern) => format!(" search {:?}", pattern.text()),
            None => String::new(),
        };
        format!("{word}({of}{container}){filter}{search}")
    }

    fn contexts(&self) -> Vec<&'static str> {
        vec!["logs", "text"]
    }

    fn shown(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        match std::mem::replace(&mut self.started, true) {
            true => Vec::new(),
            false => self.restart(cx),
        }
    }

    fn draw(&self, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect) {
        let [body, foot] = Layout::vertical([Constraint::Min(1), Constraint::Length(1)]).areas(area);
        let theme = cx.theme;
        self.pane.borrow_mut().draw(body, frame.buffer_mut(), &palette(theme));
        theme.strip(frame.buffer_mut(), body);
        let pane = self.pane.borrow();
        if pane.counts().0 == 0 {
            let words = match (&self.error, pane.counts().1, pane.caught_up(), pane.sources().len()) {
                (Some(error), ..) => format!("✖ {error}"),
                (None, 1.., ..) => "no line matches the filter".to_owned(),
                (None, _, false, _) => "reading …".to_owned(),
                (None, _, true, 0) => "no pod of this has a log yet; waiting for one".to_owned(),
                (None, _, true, _) => "nothing was printed in this range".to_owned(),
            };
            let style = if self.error.is_some() { theme.fail } else { theme.muted };
            frame.render_widget(Paragraph::new(words).style(style), body);
        }
        let foot_line = match &self.error {
            Some(error) => Line::styled(format!("✖ {error}"), theme.fail),
            None => Line::styled(self.indicators(), theme.muted),
        };
        frame.render_widget(Paragraph::new(foot_line), foot);
    }

    fn act(&mut self, act: Act, cx: &Cx<'_>) -> Option<Vec<Do>> {
        let pane = self.pane.get_mut();
        let wanted = match act {
            Act::Up => pane.scroll(-1),
            Act::Down => pane.scroll(1),
            Act::PageUp => pane.page(false),
            Act::PageDown => pane.page(true),
            Act::Top => pane.to_top(),
            Act::Bottom => {
                pane.set_follow(true);
                false
            }
            Act::Left => {
                pane.sideways(false);
                false
            }
            Act::Right => {
                pane.sideways(true);
                false
            }
            Act::LogTail => return Some(self.range(Range::Tail, cx)),
            Act::LogHead => return Some(self.range(Range::Head, cx)),
            Act::Log1m => return Some(self.range(Range::Minutes(1), cx)),
            Act::Log5m => return Some(self.range(Range::Minutes(5), cx)),
            Act::Log15m => return Some(self.range(Range::Minutes(15), cx)),
            Act::Log30m => return Some(self.range(Range::Minutes(30), cx)),
            Act::Log1h => return Some(self.range(Range::Minutes(60), cx)),
            Act::Reload => return Some(self.restart(cx)),
            Act::LogScroll => {
                let follows = pane.follows();
                pane.set_follow(!follows);
                false
            }
            Act::LogTime => {
                self.look(|look| look.time = !look.time);
                false
            }
            Act::WrapLines => {
                self.look(|look| look.wrap = !look.wrap);
                false
            }
            Act::LogColumns => {
                self.look(|look| look.column_lock = !look.column_lock);
                false
            }
            Act::LogJson => {
                self.look(|look| look.pretty = !look.pretty);
                false
            }
            Act::LogFaults => {
                pane.toggle_faults();
                false
            }
            Act::LogMark => {
                pane.mark();
                false
            }
            Act::LogClear => {
                pane.clear();
                false
            }
            Act::LogSearch => return Some(self.ask_search()),
            Act::SearchNext => return Some(self.find(true)),
            Act::SearchPrevious => return Some(self.find(false)),
            Act::LogAll => {
                self.containers = match self.containers {
                    Containers::All => Containers::Default,
                    _ => Containers::All,
                };
                return Some(self.restart(cx));
            }
            Act::LogPrevious => {
                self.previous = !self.previous;
                return Some(self.restart(cx));
            }
            Act::Fullscreen => {
                self.full = !self.full;
                return Some(vec![Do::Fullscreen(self.full)]);
            }
            Act::CopyAll => return Some(self.copy()),
            Act::Save => return Some(self.save(cx)),
            Act::ManagedFields | Act::Decode => return Some(Do::why("this is for YAML")),
            _ => return None,
        };
        Some(self.older(wanted, cx))
    }

    fn mouse(&mut self, mouse: crossterm::event::MouseEvent, _area: Rect, cx: &Cx<'_>) -> Vec<Do> {
        let pane = self.pane.get_mut();
        let wanted = match mouse.kind {
            crossterm::event::MouseEventKind::ScrollDown => pane.scroll(3),
            crossterm::event::MouseEventKind::ScrollUp => pane.scroll(-3),
            _ => false,
        };
        self.older(wanted, cx)
    }

    fn reply(&mut self, reply: Reply, _cx: &Cx<'_>) -> Vec<Do> {
        match reply {
            Reply::Log(request, news) if request == self.request => self.news(news),
            Reply::Answered(answer) if answer.dialog == SEARCH && answer.button == "Search" => {
                let text = answer.values.values().next().cloned().unwrap_or_default();
                let pane = self.pane.get_mut();
                let wanted = Pattern::new(&text);
                if wanted.is_some() && !pane.set_search(wanted) {
                    return Do::why(format!("{text:?} is in none of these lines"));
                }
                if text.is_empty() {
                    pane.set_search(None);
                }
            }
            _ => {}
        }
        Vec::new()
    }

    fn filter(&self) -> &str {
        &self.filter
    }

    fn set_filter(&mut self, text: &str, _cx: &Cx<'_>) -> Result<(), String> {
        text.clone_into(&mut self.filter);
        let pane = self.pane.get_mut();
        let before = pane.filter().clone();
        pane.set_filter(Wanted {
            pattern: Pattern::new(text),
            ..before
        });
        Ok(())
    }

    fn due(&self, cx: &Cx<'_>) -> Option<Timestamp> {
        // Filtering goes on with the next frame.
        self.pane.borrow_mut().step().then_some(cx.now)
    }

    fn state(&self) -> Value {
        let pane = self.pane.borrow();
        json!({
            "targets": self.targets, "previous": self.previous, "filter": self.filter, "look": pane.look(),
            "follows": pane.follows(), "lines": pane.counts(), "error": self.error,
        })
    }
}
