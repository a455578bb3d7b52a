//! Text of strangers, made fit for a terminal.
//!
//! [`clean`] keeps colours (SGR) and removes every other escape sequence, so that nothing a container prints can move
//! the cursor, change the title, write to the clipboard or ask the terminal questions. What is left of control
//! characters is shown as a picture of them. [`spans`] turns what was kept into styles.

use ratatui::style::{Color, Modifier, Style};

const ESCAPE: char = '\u{1b}';

/// Appends a cleaned line; tells whether it has colours.
pub fn clean(raw: &[u8], out: &mut String) -> bool {
    let plain = |byte: &u8| (0x20..0x7f).contains(byte) || *byte == b'\t';
    if raw.iter().all(plain)
        && let Ok(text) = std::str::from_utf8(raw)
    {
        out.push_str(text);
        return false;
    }
    let text = String::from_utf8_lossy(raw);
    let text = text.trim_end_matches('\r');
    let mut rest = text.chars();
    let mut coloured = false;
    while let Some(c) = rest.next() {
        match c {
            ESCAPE => coloured |= escape(&mut rest, out),
            '\u{9b}' => coloured |= control_sequence(&mut rest, out),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => string(&mut rest),
            '\t' => out.push(c),
            '\0'..='\u{1f}' => out.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')),
            '\u{7f}' => out.push('\u{2421}'),
            '\u{80}'..='\u{9f}' => {}
            // They turn the order of what follows around, beyond the line too.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    coloured
}

type Chars<'a> = std::str::Chars<'a>;

/// What follows an escape character; kept when it is a colour.
fn escape(rest: &mut Chars<'_>, out: &mut String) -> bool {
    let mut ahead = rest.clone();
    match ahead.next() {
        Some('[') => {
            *rest = ahead;
            return control_sequence(rest, out);
        }
        Some('P' | 'X' | ']' | '^' | '_') => {
            *rest = ahead;
            string(rest);
        }
        // Intermediate characters and a final one.
        Some(' '..='/') => {
            *rest = ahead;
            while rest.clone().next().is_some_and(|c| (' '..='/').contains(&c)) {
                rest.next();
            }
            rest.next();
        }
        Some('0'..='~') => *rest = ahead,
        _ => {}
    }
    false
}

fn control_sequence(rest: &mut Chars<'_>, out: &mut String) -> bool {
    let start = rest.as_str();
    let mut length = 0;
    loop {
        let mut ahead = rest.clone();
        match ahead.next() {
            Some(c @ ' '..='?') => length += c.len_utf8(),
            Some(last @ '@'..='~') => {
                *rest = ahead;
                let parameters = &start[..length];
                let colour = last == 'm'
                    && parameters
                        .bytes()
                        .all(|b| b.is_ascii_digit() || matches!(b, b';' | b':'));
                if colour && length <= 64 {
                    out.push_str("\x1b[");
                    out.push_str(parameters);
                    out.push('m');
                    return true;
                }
                return false;
            }
            // Broken off: what follows is text again.
            _ => return false,
        }
        *rest = ahead;
    }
}

/// Passes over a string up to its terminator, or to the end.
fn string(rest: &mut Chars<'_>) {
    while let Some(c) = rest.next() {
        match c {
            '\u{7}' | '\u{9c}' => return,
            ESCAPE if rest.clone().next() == Some('\\') => {
                rest.next();
                return;
            }
            _ => {}
        }
    }
}

/// A cleaned line as pieces of one style each.
pub fn spans(text: &str, base: Style) -> impl Iterator<Item = (Style, &str)> {
    let mut style = base;
    let mut first = true;
    text.split(ESCAPE).filter_map(move |part| {
        if std::mem::replace(&mut first, false) {
            return (!part.is_empty()).then_some((style, part));
        }
        let (parameters, part) = part
            .strip_prefix('[')
            .and_then(|p| p.split_once('m'))
            .unwrap_or(("", part));
        style = restyle(style, base, parameters);
        (!part.is_empty()).then_some((style, part))
    })
}

/// A cleaned line without its colours.
pub fn strip<'a>(text: &'a str, out: &'a mut String) -> &'a str {
    out.clear();
    for (_, part) in spans(text, Style::new()) {
        out.push_str(part);
    }
    out
}

fn restyle(mut style: Style, base: Style, parameters: &str) -> Style {
    let mut codes = parameters
        .split([';', ':'])
        .map(|code| code.parse::<u16>().unwrap_or(0));
    while let Some(code) = codes.next() {
        style = match code {
            0 => base,
            1 => style.add_modifier(Modifier::BOLD),
            2 => style.add_modifier(Modifier::DIM),
            3 => style.add_modifier(Modifier::ITALIC),
            4 => style.add_modifier(Modifier::UNDERLINED),
            7 => style.add_modifier(Modifier::REVERSED),
            9 => style.add_modifier(Modifier::CROSSED_OUT),
            22 => style.remove_modifier(Modifier::BOLD | Modifier::DIM),
            23 => style.remove_modifier(Modifier::ITALIC),
            24 => style.remove_modifier(Modifier::UNDERLINED),
            27 => style.remove_modifier(Modifier::REVERSED),
            29 => style.remove_modifier(Modifier::CROSSED_OUT),
            30..=37 | 90..=97 => style.fg(named(code)),
            40..=47 | 100..=107 => style.bg(named(code - 10)),
            38 | 48 => match (extended(&mut codes), code) {
                (Some(colour), 38) => style.fg(colour),
                (Some(colour), _) => style.bg(colour),
                (None, _) => style,
            },
            39 => Style { fg: base.fg, ..style },
            49 => Style { bg: base.bg, ..style },
            // Hidden text (8) and blinking (5) are of no use to a reader.
            _ => style,
        };
    }
    style
}

fn extended(codes: &mut impl Iterator<Item = u16>) -> Option<Color> {
    let mut byte = || u8::try_from(codes.next()?).ok();
    match byte()? {
        5 => Some(Color::Indexed(byte()?)),
        2 => Some(Color::Rgb(byte()?, byte()?, byte()?)),
        _ => None,
    }
}

/// The colour of a foreground code.
fn named(code: u16) -> Color {
    match code {
        30 => Color::Black,
        31 => Color::Red,
        32 => Color::Green,
        33 => Color::Yellow,
        34 => Color::Blue,
        35 => Color::Magenta,
        36 => Color::Cyan,
        37 => Color::Gray,
        90 => Color::DarkGray,
        91 => Color::LightRed,
        92 => Color::LightGreen,
        93 => Color::LightYellow,
        94 => Color::LightBlue,
        95 => Color::LightMagenta,
        96 => Color::LightCyan,
        _ => Color::White,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cleaned(raw: &[u8]) -> String {
        let mut out = String::new();
        clean(raw, &mut out);
        out.replace('\x1b', "^")
    }

    #[test]
    fn only_colours_are_left() {
        let check = |raw: &str, expected: &str| assert_eq!(cleaned(raw.as_bytes()), expected, "{raw:?}");
        check("plain", "plain");
        check("\x1b[31mred\x1b[0m", "^[31mred^[0m");
        check("\x1b[2J\x1b[1;1Hgone\x1b[?25l", "gone");
        check("\x1b]0;title\x07text", "text");
        check("\x1b]52;c;aGk=\x1b\\text", "text");
        check("\x1bPq#0\x1b\\text\x1bc", "text");
        check("\x1b(Btext\x1b#8", "text");
        check("\u{9b}2Jtext\u{9d}x\u{9c}y", "texty");
        check("\x1b]unended", "");
        check("\x1b[31", "");
        check("\x1b[>4;1mx", "x");
        check("a\rb\x08c\r", "a\u{240d}b\u{2408}c");
        check("\u{202e}x", "\u{fffd}x");
        check("\x1b", "");
        check("\x1b[3\u{e9}1m", "\u{e9}1m");
        assert_eq!(cleaned(b"\xff\xfe ok"), "\u{fffd}\u{fffd} ok");
    }

    #[test]
    fn colours_become_styles() {
        let mut out = String::new();
        assert!(clean(b"a\x1b[1;31mb\x1b[38;5;208mc\x1b[mde\x1b[48;2;1;2;3mf", &mut out));
        let base = Style::new();
        let expected = [
            (base, "a"),
            (base.add_modifier(Modifier::BOLD).fg(Color::Red), "b"),
            (base.add_modifier(Modifier::BOLD).fg(Color::Indexed(208)), "c"),
            (base, "de"),
            (base.bg(Color::Rgb(1, 2, 3)), "f"),
        ];
        assert_eq!(spans(&out, base).collect::<Vec<_>>(), expected);
        assert_eq!(strip(&out, &mut String::new()), "abcdef");
    }

    proptest! {
        #[test]
        fn no_control_character_survives(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut out = String::new();
            clean(&raw, &mut out);
            let mut bare = String::new();
            strip(&out, &mut bare);
            prop_assert!(bare.chars().all(|c| !c.is_control() || c == '\t'), "{bare:?}");
            for part in out.split('\x1b').skip(1) {
                let parameters = part.strip_prefix('[').and_then(|p| p.split_once('m')).map(|p| p.0);
                prop_assert!(parameters.is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit() || b == b';' || b == b':')));
            }
        }
    }
}
