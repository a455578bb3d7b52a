//! Colours by role. A skin is one row of [`SKINS`]; severities always come with a glyph as well, so that
//! nothing is told by colour alone.

use mizzen_api::table::Severity;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

/// What colours mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Its name, for `--skin`.
    pub name: &'static str,
    /// As it should be.
    pub ok: Style,
    /// On its way.
    pub progress: Style,
    /// Finished.
    pub done: Style,
    /// Broken.
    pub fail: Style,
    /// Should be looked at.
    pub warn: Style,
    /// Ordinary text.
    pub text: Style,
    /// Text of less interest.
    pub muted: Style,
    /// Headings, keys in hints.
    pub accent: Style,
    /// The selected row.
    pub selected: Style,
    /// Marked rows.
    pub marked: Style,
    /// What a search found.
    pub found: Style,
    /// Frames.
    pub frame: Style,
}

const fn fg(color: Color) -> Style {
    Style::new().fg(color)
}

const fn rgb(value: u32) -> Color {
    Color::from_u32(value)
}

const PLAIN: Style = Style::new();
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Every skin; the first is the default.
pub const SKINS: &[Theme] = &[
    Theme {
        name: "dark",
        ok: fg(rgb(0x8f_d1_8f)),
        progress: fg(rgb(0x7a_b8_ff)),
        done: fg(rgb(0x8a_93_a0)),
        fail: fg(rgb(0xff_6b_6b)),
        warn: fg(rgb(0xf2_c1_4e)),
        text: fg(rgb(0xd8_dc_e3)),
        muted: fg(rgb(0x7d_86_93)),
        accent: fg(rgb(0x5f_d7_d7)),
        selected: Style::new().bg(rgb(0x2d_3a_52)).add_modifier(Modifier::BOLD),
        marked: fg(rgb(0xe0_a8_ff)),
        found: Style::new().fg(Color::Black).bg(rgb(0xf2_c1_4e)),
        frame: fg(rgb(0x4a_55_68)),
    },
    Theme {
        name: "light",
        ok: fg(rgb(0x1b_6e_2d)),
        progress: fg(rgb(0x0b_4f_a8)),
        done: fg(rgb(0x6b_72_80)),
        fail: fg(rgb(0xb0_12_12)),
        warn: fg(rgb(0x8a_55_00)),
        text: fg(rgb(0x1f_24_2d)),
        muted: fg(rgb(0x6b_72_80)),
        accent: fg(rgb(0x00_66_77)),
        selected: Style::new().bg(rgb(0xcf_df_f7)).add_modifier(Modifier::BOLD),
        marked: fg(rgb(0x7a_1f_a2)),
        found: Style::new().fg(Color::Black).bg(rgb(0xff_e0_82)),
        frame: fg(rgb(0xb4_bc_c8)),
    },
    // Blue and orange are told apart by everybody; contrast at least 7:1 on black.
    Theme {
        name: "high-contrast",
        ok: fg(rgb(0x79_c0_ff)),
        progress: fg(rgb(0xff_ff_ff)),
        done: fg(rgb(0xb0_b0_b0)),
        fail: Style::new().fg(rgb(0xff_a0_40)).add_modifier(Modifier::BOLD),
        warn: fg(rgb(0xff_e0_66)),
        text: fg(rgb(0xff_ff_ff)),
        muted: fg(rgb(0xb0_b0_b0)),
        accent: fg(rgb(0x79_c0_ff)),
        selected: REVERSED,
        marked: Style::new().fg(rgb(0xff_ff_ff)).add_modifier(Modifier::UNDERLINED),
        found: Style::new().fg(Color::Black).bg(rgb(0xff_e0_66)),
        frame: fg(rgb(0xb0_b0_b0)),
    },
    Theme {
        name: "16",
        ok: fg(Color::Green),
        progress: fg(Color::Cyan),
        done: fg(Color::DarkGray),
        fail: fg(Color::Red),
        warn: fg(Color::Yellow),
        text: PLAIN,
        muted: fg(Color::DarkGray),
        accent: fg(Color::Cyan),
        selected: REVERSED,
        marked: fg(Color::Magenta),
        found: Style::new().fg(Color::Black).bg(Color::Yellow),
        frame: fg(Color::DarkGray),
    },
    Theme {
        name: "none",
        ok: PLAIN,
        progress: PLAIN,
        done: DIM,
        fail: BOLD,
        warn: BOLD,
        text: PLAIN,
        muted: DIM,
        accent: BOLD,
        selected: REVERSED,
        marked: Style::new().add_modifier(Modifier::UNDERLINED),
        found: REVERSED,
        frame: PLAIN,
    },
];

impl Default for Theme {
    fn default() -> Self {
        SKINS[0]
    }
}

impl Theme {
    /// The skin of a name.
    pub fn named(name: &str) -> Option<Self> {
        SKINS.iter().find(|skin| skin.name == name).copied()
    }

    /// What the terminal can show, by its environment.
    pub fn detect(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|v| !v.is_empty());
        let term = set("TERM").unwrap_or_default();
        let rich = set("COLORTERM").is_some_and(|v| v == "truecolor" || v == "24bit") || term.ends_with("direct");
        // `COLORFGBG=foreground;background`, with a light background from 7 on.
        let light = set("COLORFGBG").and_then(|v| v.rsplit(';').next()?.parse::<u8>().ok());
        let name = match () {
            () if set("NO_COLOR").is_some() || term == "dumb" => "none",
            () if !rich => "16",
            () if light.is_some_and(|background| matches!(background, 7 | 15)) => "light",
            () => "dark",
        };
        Self::named(name).unwrap_or_default()
    }

    /// Takes colours out of what others have coloured, where this skin has none.
    pub fn strip(&self, buffer: &mut Buffer, area: Rect) {
        if self.is_plain() {
            for place in area.intersection(buffer.area).positions() {
                let cell = &mut buffer[place];
                (cell.fg, cell.bg) = (Color::Reset, Color::Reset);
            }
        }
    }

    /// Whether it is without colours.
    pub fn is_plain(&self) -> bool {
        self.name == "none"
    }

    /// The next skin in turn.
    pub fn next(self) -> Self {
        let at = SKINS.iter().position(|skin| skin.name == self.name).unwrap_or(0);
        SKINS[(at + 1) % SKINS.len()]
    }

    /// The style of a severity.
    pub fn of(&self, severity: Severity) -> Style {
        match severity {
            Severity::Plain => self.text,
            Severity::Muted => self.done,
            Severity::Ok => self.ok,
            Severity::Progress => self.progress,
            Severity::Warning => self.warn,
            Severity::Failure => self.fail,
        }
    }
}

/// The glyph of a severity.
pub fn glyph(severity: Severity) -> &'static str {
    match severity {
        Severity::Plain => " ",
        Severity::Muted => "·",
        Severity::Ok => "●",
        Severity::Progress => "◐",
        Severity::Warning => "▲",
        Severity::Failure => "✖",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_chooses_the_skin() {
        for (set, expect) in [
            (&[("COLORTERM", "truecolor")][..], "dark"),
            (&[("COLORTERM", "truecolor"), ("COLORFGBG", "0;15")], "light"),
            (&[("TERM", "xterm-256color")], "16"),
            (&[("COLORTERM", "truecolor"), ("NO_COLOR", "1")], "none"),
            (&[("TERM", "dumb")], "none"),
        ] {
            let found = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string());
            assert_eq!(Theme::detect(found).name, expect, "{set:?}");
        }
    }

    /// How bright a colour is, as WCAG counts it.
    fn luminance(color: Color) -> Option<f64> {
        let part = |value: u8| {
            let share = f64::from(value) / 255.0;
            if share <= 0.04045 {
                share / 12.92
            } else {
                ((share + 0.055) / 1.055).powf(2.4)
            }
        };
        match color {
            Color::Rgb(r, g, b) => Some(0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b)),
            Color::Black => Some(0.0),
            _ => None,
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let contrast = |a: f64, b: f64| (a.max(b) + 0.05) / (a.min(b) + 0.05);
        // The darkest and the lightest grounds that people have behind each skin.
        let grounds = [
            ("dark", [0x00_00_00, 0x28_2c_34]),
            ("light", [0xff_ff_ff, 0xf5_f5_f0]),
            ("high-contrast", [0x00_00_00, 0x10_10_10]),
        ];
        for (name, grounds) in grounds {
            let skin = Theme::named(name).unwrap();
            let words = [
                ("ok", skin.ok, 4.5),
                ("progress", skin.progress, 4.5),
                ("fail", skin.fail, 4.5),
                ("warn", skin.warn, 4.5),
                ("text", skin.text, 7.0),
                ("accent", skin.accent, 4.5),
                ("marked", skin.marked, 4.5),
                ("done", skin.done, 3.5),
                ("muted", skin.muted, 3.5),
            ];
            for (role, style, least) in words {
                let written = style.fg.and_then(luminance).unwrap_or_else(|| panic!("{name} {role}"));
                for ground in grounds {
                    let ground = luminance(rgb(ground)).unwrap();
                    let found = contrast(written, ground);
                    assert!(found >= least, "{name} {role}: {found:.1} on its ground");
                }
                if let Some(ground) = skin.selected.bg.and_then(luminance) {
                    let found = contrast(written, ground);
                    assert!(found >= 3.0, "{name} {role}: {found:.1} in the selected row");
                }
            }
            let (found, on) = (skin.found.fg.and_then(luminance), skin.found.bg.and_then(luminance));
            assert!(contrast(found.unwrap(), on.unwrap()) >= 7.0, "{name} found");
        }
    }
}
