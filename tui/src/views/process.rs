//! A shell in a container, or what a container runs, in a pane of its own.

use std::cell::RefCell;

use crossterm::event::{KeyEvent, MouseEvent, MouseEventKind};
use mizzen_api::client::exec::Exit;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;
use serde_json::{Value, json};

use crate::bindings::Act;
use crate::effect::{Effect, Input};
use crate::event::Reply;
use crate::shell::pane::{Outcome, Pane, State, WHEEL_ROWS};
use crate::tasks::process::{Connect, News, What};
use crate::view::{Cx, Do, View};

/// The view.
#[derive(Debug)]
pub struct Process {
    connect: Connect,
    pane: RefCell<Pane>,
    started: bool,
    /// The size that the process was told.
    told: (u16, u16),
}

impl Process {
    /// Connects to a container.
    pub fn new(connect: Connect) -> Self {
        let (width, height) = connect.size;
        Self {
            told: connect.size,
            connect,
            pane: RefCell::new(Pane::new(width, height)),
            started: false,
        }
    }

    fn follow(&mut self, outcome: Outcome, cx: &Cx<'_>) -> Vec<Do> {
        let mut wanted = self.resized(cx);
        match outcome {
            Outcome::Nothing => {}
            Outcome::Send(bytes) => wanted.push(Do::Effect(Effect::Send(cx.id, Input::Bytes(bytes)))),
            Outcome::Leave => wanted.extend([Do::Fullscreen(false), Do::Close]),
            Outcome::FullScreen => wanted.push(Do::Fullscreen(self.pane.get_mut().full_screen())),
        }
        wanted
    }

    /// Tells the process of a new size, once.
    fn resized(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        let size = self.pane.get_mut().size();
        match std::mem::replace(&mut self.told, size) == size {
            true => Vec::new(),
            false => vec![Do::Effect(Effect::Send(cx.id, Input::Size(size.0, size.1)))],
        }
    }
}

impl View for Process {
    fn crumb(&self) -> String {
        let word = match self.connect.what {
            What::Shell => "shell",
            What::Attach => "attach",
        };
        format!("{word} {}", self.connect.pod)
    }

    fn title(&self, _cx: &Cx<'_>) -> String {
        let Connect {
            namespace,
            pod,
            container,
            what,
            ..
        } = &self.connect;
        let word = match what {
            What::Shell => "Shell",
            What::Attach => "Attach",
        };
        let container = container.as_ref().map(|name| format!(":{name}")).unwrap_or_default();
        let pane = self.pane.borrow();
        let title = match pane.title() {
            "" => String::new(),
            title => format!(" {title}"),
        };
        format!("{word}({namespace}/{pod}{container}){title}")
    }

    fn contexts(&self) -> Vec<&'static str> {
        vec!["pane"]
    }

    fn shown(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        match std::mem::replace(&mut self.started, true) {
            true => Vec::new(),
            false => vec![Do::Effect(Effect::Start(cx.id, Box::new(self.connect.clone())))],
        }
    }

    fn draw(&self, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect) {
        let [body, foot] = Layout::vertical([Constraint::Min(1), Constraint::Length(1)]).areas(area);
        let mut pane = self.pane.borrow_mut();
        pane.resize(body.width, body.height);
        if let Some(cursor) = pane.draw(body, frame.buffer_mut()) {
            frame.set_cursor_position(cursor);
        }
        cx.theme.strip(frame.buffer_mut(), body);
        let style = match pane.state() {
            State::Connecting | State::Running | State::Ended(Exit::Code(0)) => cx.theme.muted,
            _ => cx.theme.fail,
        };
        frame.render_widget(Paragraph::new(Line::styled(pane.status(), style)), foot);
    }

    fn act(&mut self, _act: Act, _cx: &Cx<'_>) -> Option<Vec<Do>> {
        // Every key was taken before.
        Some(Vec::new())
    }

    fn key(&mut self, key: KeyEvent, cx: &Cx<'_>) -> Option<Vec<Do>> {
        let outcome = self.pane.get_mut().key(&key);
        Some(self.follow(outcome, cx))
    }

    fn paste(&mut self, text: &str, cx: &Cx<'_>) -> Vec<Do> {
        let outcome = self.pane.get_mut().paste(text);
        self.follow(outcome, cx)
    }

    fn mouse(&mut self, mouse: MouseEvent, _area: Rect, cx: &Cx<'_>) -> Vec<Do> {
        let up = match mouse.kind {
            MouseEventKind::ScrollUp => true,
            MouseEventKind::ScrollDown => false,
            _ => return Vec::new(),
        };
        let outcome = self.pane.get_mut().scroll(up, WHEEL_ROWS);
        self.follow(outcome, cx)
    }

    fn tick(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        self.resized(cx)
    }

    fn due(&self, cx: &Cx<'_>) -> Option<jiff::Timestamp> {
        (self.pane.borrow().size() != self.told).then_some(cx.now)
    }

    fn reply(&mut self, reply: Reply, cx: &Cx<'_>) -> Vec<Do> {
        let Reply::Process(news) = reply else {
            return Vec::new();
        };
        let pane = self.pane.get_mut();
        match news {
            News::Started => pane.started(),
            News::Output(bytes) => {
                let answer = pane.feed(&bytes);
                if !answer.is_empty() {
                    return self.follow(Outcome::Send(answer), cx);
                }
            }
            News::Ended(code) => pane.ended(State::Ended(Exit::Code(code))),
            News::Failed(reason) => pane.ended(State::Refused(reason)),
        }
        self.resized(cx)
    }

    fn state(&self) -> Value {
        let pane = self.pane.borrow();
        json!({"pod": self.connect.pod, "state": format!("{:?}", pane.state()), "full": pane.full_screen()})
    }
}
