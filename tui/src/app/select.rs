//! Selecting text on the screen with the mouse: drawn inverted, copied when the button is let go.
//!
//! A press alone is a click for the view, told when the button comes up again. A drag selects from there by
//! lines, as terminals do, but inside of the view when it began in the view.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Modifier;
use unicode_width::UnicodeWidthStr as _;

use crate::effect::Effect;
use crate::event::{Notice, Tone};

use super::App;

/// What the mouse holds.
#[derive(Debug, Default)]
pub(super) struct Mouse {
    pressed: Option<MouseEvent>,
    selection: Option<Selection>,
}

/// From a cell to a cell, both included, in reading order.
#[derive(Clone, Copy, Debug)]
struct Selection {
    from: Position,
    to: Position,
    within: Rect,
}

impl Selection {
    fn new(a: Position, b: Position, within: Rect) -> Self {
        let inside = |at: Position| {
            let x = at.x.clamp(within.x, within.right().saturating_sub(1));
            Position::new(x, at.y.clamp(within.y, within.bottom().saturating_sub(1)))
        };
        let (a, b) = (inside(a), inside(b));
        let (from, to) = if (a.y, a.x) <= (b.y, b.x) { (a, b) } else { (b, a) };
        Self { from, to, within }
    }

    /// Each line with its first and last column.
    fn lines(&self) -> impl Iterator<Item = (u16, u16, u16)> {
        let (from, to, within) = (self.from, self.to, self.within);
        (from.y..=to.y).map(move |y| {
            let first = if y == from.y { from.x } else { within.x };
            let last = if y == to.y { to.x } else { within.right() - 1 };
            (y, first, last)
        })
    }

    fn text(&self, buffer: &Buffer) -> String {
        let line = |(y, first, last): (u16, u16, u16)| {
            let (mut text, mut x) = (String::new(), first);
            while x <= last {
                let symbol = buffer.cell((x, y)).map_or(" ", |cell| cell.symbol());
                text.push_str(symbol);
                x += symbol.width().max(1) as u16;
            }
            text.trim_end().to_owned()
        };
        self.lines().map(line).collect::<Vec<_>>().join("\n")
    }
}

impl App {
    pub(super) fn mouse(&mut self, mouse: MouseEvent, effects: &mut Vec<Effect>) {
        let at = Position::new(mouse.column, mouse.row);
        match mouse.kind {
            MouseEventKind::Down(MouseButton::Left) => {
                self.mouse = Mouse {
                    pressed: Some(mouse),
                    selection: None,
                };
            }
            MouseEventKind::Drag(MouseButton::Left) => {
                let Some(pressed) = &self.mouse.pressed else { return };
                let from = Position::new(pressed.column, pressed.row);
                let view = self.layout().view;
                let within = if view.contains(from) { view } else { self.size };
                self.mouse.selection = (!within.is_empty()).then(|| Selection::new(from, at, within));
            }
            MouseEventKind::Up(MouseButton::Left) => {
                let held = std::mem::take(&mut self.mouse);
                match (held.selection, held.pressed) {
                    (Some(selection), _) => self.copy(selection, effects),
                    (None, Some(pressed)) => self.click(pressed, effects),
                    (None, None) => {}
                }
            }
            _ => self.click(mouse, effects),
        }
    }

    fn click(&mut self, mouse: MouseEvent, effects: &mut Vec<Effect>) {
        if self.dialog.is_none() && self.prompt.is_none() {
            let area = self.layout().view;
            self.with_view(effects, |view, cx| view.mouse(mouse, area, cx));
        }
    }

    /// What is on the screen is drawn once more, into memory: frames may lie behind the state.
    fn copy(&mut self, selection: Selection, effects: &mut Vec<Effect>) {
        let screen = TestBackend::new(self.size.width, self.size.height);
        let Ok(mut terminal) = Terminal::new(screen);
        let Ok(_) = terminal.draw(|frame| self.draw(frame));
        let text = selection.text(terminal.backend().buffer());
        if text.trim().is_empty() {
            return;
        }
        let count = text.chars().count();
        let words = format!("copied {count} character{}", if count == 1 { "" } else { "s" });
        self.say(Notice::new(Tone::Info, words));
        effects.push(Effect::Copy(text));
    }

    pub(super) fn draw_selection(&self, buffer: &mut Buffer) {
        let Some(selection) = &self.mouse.selection else { return };
        for (y, first, last) in selection.lines() {
            for x in first..=last {
                if let Some(cell) = buffer.cell_mut((x, y)) {
                    cell.modifier.insert(Modifier::REVERSED);
                }
            }
        }
    }
}
