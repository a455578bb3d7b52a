//! A question over the view: text, fields, buttons. `Cancel` comes first and has the focus where something
//! would be destroyed; in protected contexts the context's name must be typed.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};
use unicode_width::UnicodeWidthStr as _;

use crate::event::{Answer, ViewId};
use crate::theme::Theme;
use crate::view::{Dialog, Field, FieldKind};

/// Label of the field in which a name is typed to confirm.
const CONFIRM: &str = "Type to confirm";
/// Lines of text that stay when fields want all the room.
const LINES: u16 = 3;
/// Room for what is typed.
const TYPED: usize = 12;

#[derive(Debug)]
pub(super) struct OpenDialog {
    owner: ViewId,
    dialog: Dialog,
    focus: usize,
    scroll: u16,
    refused: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Open,
    Closed,
    Answered(Answer),
}

impl OpenDialog {
    pub(super) fn new(owner: ViewId, mut dialog: Dialog, protected: Option<String>) -> Self {
        if let Some(context) = protected.filter(|_| dialog.confirm.is_empty()) {
            dialog.confirm = context;
        }
        if dialog.buttons.is_empty() {
            dialog.buttons = vec!["Cancel".to_owned(), "OK".to_owned()];
        }
        if !dialog.confirm.is_empty() {
            dialog.fields.push(Field {
                label: format!("{CONFIRM} {}", dialog.confirm),
                value: String::new(),
                kind: FieldKind::Text,
            });
        }
        let fields = dialog.fields.len();
        let focus = match (dialog.dangerous, fields) {
            (true, _) => fields,
            (false, 0) => dialog.buttons.len() - 1,
            (false, _) => 0,
        };
        Self {
            owner,
            dialog,
            focus,
            scroll: 0,
            refused: false,
        }
    }

    pub(super) fn owner(&self) -> ViewId {
        self.owner
    }

    pub(super) fn paste(&mut self, text: &str) {
        if let Some(field) = self.dialog.fields.get_mut(self.focus)
            && field.kind == FieldKind::Text
        {
            field.value.extend(text.chars().filter(|c| !c.is_control()));
        }
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Outcome {
        let places = self.dialog.fields.len() + self.dialog.buttons.len();
        let on_button = self.focus >= self.dialog.fields.len();
        match key.code {
            KeyCode::Esc => return Outcome::Closed,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Outcome::Closed,
            KeyCode::Tab | KeyCode::Down => self.focus = (self.focus + 1) % places,
            KeyCode::BackTab | KeyCode::Up => self.focus = (self.focus + places - 1) % places,
            KeyCode::Right if on_button => self.focus = (self.focus + 1).min(places - 1),
            KeyCode::Left if on_button => self.focus = (self.focus - 1).max(self.dialog.fields.len()),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_add(5),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(5),
            KeyCode::Enter if on_button => return self.press(),
            KeyCode::Enter => self.focus += 1,
            _ => self.edit(key),
        }
        Outcome::Open
    }

    fn press(&mut self) -> Outcome {
        let at = self.focus - self.dialog.fields.len();
        if at == 0 && self.dialog.buttons.len() > 1 {
            return Outcome::Closed;
        }
        if let Some(last) = self.dialog.fields.last()
            && !self.dialog.confirm.is_empty()
            && last.value != self.dialog.confirm
        {
            self.refused = true;
            self.focus = self.dialog.fields.len() - 1;
            return Outcome::Open;
        }
        Outcome::Answered(self.dialog.answer(&self.dialog.buttons[at]))
    }

    fn edit(&mut self, key: KeyEvent) {
        let Some(field) = self.dialog.fields.get_mut(self.focus) else {
            return;
        };
        match (&field.kind, key.code) {
            (FieldKind::Text, KeyCode::Char('u')) if key.modifiers.contains(KeyModifiers::CONTROL) => {
                field.value.clear();
            }
            (FieldKind::Text, KeyCode::Char(c)) => field.value.push(c),
            (FieldKind::Text, KeyCode::Backspace) => drop(field.value.pop()),
            (FieldKind::Check, KeyCode::Char(' ')) => {
                field.value = (field.value != "true").to_string();
            }
            (FieldKind::Choice(options), KeyCode::Left | KeyCode::Right | KeyCode::Char(' ')) => {
                let at = options.iter().position(|o| *o == field.value).unwrap_or(0);
                let step = if key.code == KeyCode::Left {
                    options.len() - 1
                } else {
                    1
                };
                if let Some(next) = options.get((at + step) % options.len().max(1)) {
                    field.value = next.clone();
                }
            }
            _ => {}
        }
    }

    pub(super) fn draw(&self, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
        let dialog = &self.dialog;
        let longest = dialog.lines.iter().map(|line| line.width()).max().unwrap_or(0);
        let label = dialog.fields.iter().map(|field| field.label.width()).max().unwrap_or(0);
        let value = |field: &Field| match &field.kind {
            FieldKind::Text => field.value.width().max(TYPED),
            FieldKind::Check => 3,
            FieldKind::Choice(options) => options.iter().map(|option| option.width()).max().unwrap_or(0) + 4,
        };
        let value = dialog.fields.iter().map(value).max().unwrap_or(0);
        let longest = longest.max(label + value);
        let width = (longest as u16 + 6).clamp(44, 100).min(area.width);
        let foot = 2 + u16::from(self.refused);
        let (text, fields) = (dialog.lines.len() as u16, dialog.fields.len() as u16);
        let gap = u16::from(fields > 0 && text > 0 && text + fields + foot + 3 <= area.height);
        let height = (text + gap + fields + foot + 2).min(area.height);
        let [row] = Layout::vertical([Constraint::Length(height)])
            .flex(Flex::Center)
            .areas(area);
        let [place] = Layout::horizontal([Constraint::Length(width)])
            .flex(Flex::Center)
            .areas(row);
        frame.render_widget(Clear, place);
        let border = if dialog.dangerous { theme.fail } else { theme.accent };
        let block = Block::bordered()
            .border_style(border)
            .title(format!(" {} ", dialog.title));
        let inside = block.inner(place);
        // In the frame's lower edge, between its corners.
        let bottom = Rect {
            x: inside.x,
            y: place.bottom().saturating_sub(1),
            width: inside.width,
            height: 1.min(place.height),
        };
        frame.render_widget(block, place);
        // Where all of it does not fit, some of the text stays, and fields follow the focus.
        let room = inside.height.saturating_sub(foot + gap + text.min(LINES));
        let fields = fields.min(room.max(1));
        let [text, _, form, foot] = Layout::vertical([
            Constraint::Min(0),
            Constraint::Length(gap),
            Constraint::Length(fields),
            Constraint::Length(foot),
        ])
        .areas(inside);
        let lines: Vec<Line<'_>> = dialog
            .lines
            .iter()
            .map(|l| Line::styled(l.as_str(), diff_style(theme, l)))
            .collect();
        let hidden = (lines.len() as u16).saturating_sub(text.height);
        if hidden > 0 {
            let below = hidden.saturating_sub(self.scroll);
            let words = format!(" {below} more lines: pageup, pagedown ");
            frame.render_widget(Line::styled(words, theme.warn).right_aligned(), bottom);
        }
        frame.render_widget(Paragraph::new(lines).scroll((self.scroll.min(hidden), 0)), text);
        let focused = self.focus.min(dialog.fields.len().saturating_sub(1));
        let first = (focused + 1).saturating_sub(usize::from(form.height));
        let shown = dialog.fields.iter().enumerate().skip(first);
        let shown = shown.take(usize::from(form.height));
        let shown: Vec<Line<'_>> = shown
            .map(|(at, field)| self.field(theme, field, at == self.focus, label))
            .collect();
        if dialog.fields.len() > shown.len() {
            let words = format!(" {}-{} of {} ", first + 1, first + shown.len(), dialog.fields.len());
            frame.render_widget(Line::styled(words, theme.warn).right_aligned(), bottom);
        }
        frame.render_widget(Paragraph::new(shown), form);
        let mut rows: Vec<Line<'_>> = Vec::new();
        if self.refused {
            rows.push(Line::styled("what was typed is not the name", theme.fail));
        }
        rows.push(Line::default());
        let mut buttons = Vec::new();
        for (at, button) in dialog.buttons.iter().enumerate() {
            let focused = self.focus == dialog.fields.len() + at;
            let style = if focused {
                theme.selected.add_modifier(Modifier::REVERSED)
            } else {
                theme.text
            };
            // Without colours the one that has the focus is told as well.
            let (left, right) = if focused { ('[', ']') } else { (' ', ' ') };
            buttons.push(Span::styled(format!("{left}{button}{right}"), style));
            buttons.push(Span::raw("  "));
        }
        rows.push(Line::from(buttons).centered());
        frame.render_widget(Paragraph::new(rows), foot);
    }

    fn field<'a>(&self, theme: &Theme, field: &'a Field, focused: bool, label: usize) -> Line<'a> {
        let value = match &field.kind {
            FieldKind::Text => format!("{}{}", field.value, if focused { "▏" } else { "" }),
            FieldKind::Check => (if field.value == "true" { "[x]" } else { "[ ]" }).to_owned(),
            FieldKind::Choice(_) => format!("‹ {} ›", field.value),
        };
        let style = if focused { theme.selected } else { Style::new() };
        let mark = if focused { "›" } else { " " };
        let room = label.saturating_sub(field.label.width());
        Line::from(vec![
            Span::styled(format!("{mark}{}: ", field.label), theme.accent.patch(style)),
            Span::raw(" ".repeat(room)),
            Span::styled(value, theme.text.patch(style)),
        ])
    }

    /// What keys do in it.
    pub(super) fn hints(&self) -> Vec<(&'static str, &'static str)> {
        let field = self.dialog.fields.get(self.focus).map(|field| &field.kind);
        let here = match field {
            Some(FieldKind::Check) => Some(("space", "tick")),
            Some(FieldKind::Choice(_)) => Some(("←→", "choose")),
            Some(FieldKind::Text) => Some(("ctrl-u", "clear")),
            None => Some(("←→", "other button")),
        };
        let fields = (!self.dialog.fields.is_empty()).then_some(("tab", "next"));
        let enter = ("enter", if field.is_some() { "next" } else { "press" });
        let ends = [enter, ("esc", "cancel")];
        here.into_iter().chain(fields).chain(ends).collect()
    }
}

fn diff_style(theme: &Theme, line: &str) -> Style {
    match line.as_bytes().first() {
        Some(b'+') => theme.ok,
        Some(b'-') => theme.fail,
        Some(b'@') => theme.accent,
        Some(b'$') => theme.muted,
        _ => theme.text,
    }
}
