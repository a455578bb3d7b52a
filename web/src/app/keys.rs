//! The one table of keys: what they do and what the help says of them.

use crate::text::Text;

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// To the filter.
    Filter,
    /// To the field that takes a kind.
    Command,
    /// The help.
    Help,
    /// The history of what was done.
    Notices,
    /// One row down.
    Down,
    /// One row up.
    Up,
    /// To the first row.
    Top,
    /// To the last row.
    Bottom,
    /// A screen down.
    PageDown,
    /// A screen up.
    PageUp,
    /// The object's page.
    Open,
    /// Its YAML.
    Yaml,
    /// Its editor.
    Edit,
    /// Its logs.
    Logs,
    /// A shell in it, or its size.
    Shell,
    /// All columns, or the usual ones.
    Wide,
    /// Only what is in trouble.
    Faults,
    /// Marks the row.
    Mark,
    /// Deletes, after a question.
    Delete,
    /// Back.
    Back,
}

/// A row of the table.
pub struct Binding {
    /// What it does.
    pub key: Key,
    /// Names as browsers tell them.
    pub keys: &'static [&'static str],
    /// What the help says.
    pub label: Text,
}

const fn row(key: Key, keys: &'static [&'static str], label: Text) -> Binding {
    Binding { key, keys, label }
}

/// The table. Letters are those of the terminal UI.
pub const BINDINGS: &[Binding] = &[
    row(Key::Filter, &["/"], Text::KeyFilter),
    row(Key::Command, &[":"], Text::KeyCommand),
    row(Key::Down, &["j", "ArrowDown"], Text::KeyDown),
    row(Key::Up, &["k", "ArrowUp"], Text::KeyUp),
    row(Key::Top, &["g", "Home"], Text::KeyTop),
    row(Key::Bottom, &["G", "End"], Text::KeyBottom),
    row(Key::PageDown, &["PageDown"], Text::KeyPageDown),
    row(Key::PageUp, &["PageUp"], Text::KeyPageUp),
    row(Key::Open, &["Enter", "d"], Text::Describe),
    row(Key::Yaml, &["y"], Text::Yaml),
    row(Key::Edit, &["e"], Text::Edit),
    row(Key::Logs, &["l"], Text::Logs),
    row(Key::Shell, &["s"], Text::KeyShell),
    row(Key::Wide, &["w"], Text::Columns),
    row(Key::Faults, &["x"], Text::FaultsOnly),
    row(Key::Mark, &["Space"], Text::KeyMark),
    row(Key::Delete, &["Delete"], Text::Delete),
    row(Key::Notices, &["n"], Text::Notices),
    row(Key::Back, &["Escape"], Text::KeyBack),
    row(Key::Help, &["?"], Text::KeyHelp),
];

/// What a key press means; nothing with Ctrl, Alt or Meta.
pub fn key(event: &web_sys::KeyboardEvent) -> Option<Key> {
    if event.ctrl_key() || event.meta_key() || event.alt_key() {
        return None;
    }
    let pressed = match &*event.key() {
        " " => "Space".to_owned(),
        other => other.to_owned(),
    };
    let row = BINDINGS.iter().find(|row| row.keys.contains(&&*pressed));
    row.map(|row| row.key)
}
