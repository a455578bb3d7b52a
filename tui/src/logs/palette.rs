//! The colours of a log view.

use ratatui::style::{Color, Modifier, Style};

use super::severity::Severity;

/// Styles of everything that a log view shows. The default suits 16 colours, dark and light.
#[derive(Clone, Debug, PartialEq)]
pub struct Palette {
    /// Text of ordinary lines.
    pub text: Style,
    /// Times.
    pub time: Style,
    /// What we say about sources.
    pub note: Style,
    /// Marks of the user's.
    pub mark: Style,
    /// Lines that tell of trouble.
    pub error: Style,
    /// Lines that tell of trouble to come.
    pub warning: Style,
    /// Lines for a program's authors.
    pub debug: Style,
    /// What a search or filter matches.
    pub matched: Style,
    /// The line that a search went to.
    pub found: Style,
    /// Keys of JSON.
    pub key: Style,
    /// Sources, in turn.
    pub sources: Vec<Style>,
}

impl Default for Palette {
    fn default() -> Self {
        let fg = |colour| Style::new().fg(colour);
        Self {
            text: Style::new(),
            time: fg(Color::DarkGray),
            note: fg(Color::DarkGray).add_modifier(Modifier::ITALIC),
            mark: fg(Color::Magenta),
            error: fg(Color::Red),
            warning: fg(Color::Yellow),
            debug: fg(Color::DarkGray),
            matched: Style::new().add_modifier(Modifier::REVERSED),
            found: Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
            key: fg(Color::Cyan),
            sources: [
                Color::Cyan,
                Color::Green,
                Color::Magenta,
                Color::Blue,
                Color::LightCyan,
                Color::LightGreen,
                Color::LightMagenta,
                Color::LightBlue,
            ]
            .map(fg)
            .to_vec(),
        }
    }
}

impl Palette {
    pub(super) fn severity(&self, severity: Severity) -> Style {
        match severity {
            Severity::Unknown | Severity::Info => self.text,
            Severity::Debug => self.debug,
            Severity::Warning => self.warning,
            Severity::Error => self.error,
        }
    }

    pub(super) fn source(&self, index: u16) -> Style {
        match self.sources.len() {
            0 => self.text,
            count => self.sources[usize::from(index) % count],
        }
    }
}
