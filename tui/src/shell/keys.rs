//! Keys as the bytes that programs expect of an xterm.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The bytes of a key; none for keys that a terminal has no bytes for. `application` is the mode in which arrows are
/// sent as an application asked for.
pub fn encode(key: &KeyEvent, application: bool) -> Vec<u8> {
    let modifiers = key.modifiers;
    let alt = modifiers.contains(KeyModifiers::ALT);
    let mut bytes = match key.code {
        KeyCode::Char(c) if modifiers.contains(KeyModifiers::CONTROL) => match control(c) {
            Some(byte) => vec![byte],
            None => c.to_string().into_bytes(),
        },
        KeyCode::Char(c) => c.to_string().into_bytes(),
        KeyCode::Enter => vec![b'\r'],
        KeyCode::Tab => vec![b'\t'],
        KeyCode::Backspace => vec![0x7f],
        KeyCode::Esc => vec![0x1b],
        _ => return special(key, application),
    };
    if alt {
        bytes.insert(0, 0x1b);
    }
    bytes
}

fn control(c: char) -> Option<u8> {
    match c.to_ascii_lowercase() {
        c @ 'a'..='z' => Some(c as u8 & 0x1f),
        ' ' | '@' | '2' => Some(0),
        '[' | '3' => Some(0x1b),
        '\\' | '4' => Some(0x1c),
        ']' | '5' => Some(0x1d),
        '^' | '6' => Some(0x1e),
        '_' | '/' | '7' => Some(0x1f),
        '?' | '8' => Some(0x7f),
        _ => None,
    }
}

/// Keys that are sequences: `ESC [ 1 ; MODIFIERS letter` or `ESC [ number ; MODIFIERS ~`.
fn special(key: &KeyEvent, application: bool) -> Vec<u8> {
    let bit = |modifier, bit| if key.modifiers.contains(modifier) { bit } else { 0 };
    let modifiers = 1 + bit(KeyModifiers::SHIFT, 1) + bit(KeyModifiers::ALT, 2) + bit(KeyModifiers::CONTROL, 4);
    let letter = |letter: char| match (modifiers, application) {
        (1, true) => format!("\x1bO{letter}"),
        (1, false) => format!("\x1b[{letter}"),
        (modifiers, _) => format!("\x1b[1;{modifiers}{letter}"),
    };
    let number = |number: u8| match modifiers {
        1 => format!("\x1b[{number}~"),
        modifiers => format!("\x1b[{number};{modifiers}~"),
    };
    let text = match key.code {
        KeyCode::Up => letter('A'),
        KeyCode::Down => letter('B'),
        KeyCode::Right => letter('C'),
        KeyCode::Left => letter('D'),
        KeyCode::End => letter('F'),
        KeyCode::Home => letter('H'),
        KeyCode::BackTab => "\x1b[Z".to_owned(),
        KeyCode::Insert => number(2),
        KeyCode::Delete => number(3),
        KeyCode::PageUp => number(5),
        KeyCode::PageDown => number(6),
        KeyCode::F(n @ 1..=4) if modifiers == 1 => format!("\x1bO{}", (b'P' + n - 1) as char),
        KeyCode::F(n @ 1..=4) => letter((b'P' + n - 1) as char),
        KeyCode::F(n @ 5..=12) => number([15, 17, 18, 19, 20, 21, 23, 24][usize::from(n - 5)]),
        _ => return Vec::new(),
    };
    text.into_bytes()
}

/// Pasted text: marked as such for programs that asked for it, and never able to end the mark itself.
pub fn encode_paste(text: &str, bracketed: bool) -> Vec<u8> {
    let text = text.replace("\r\n", "\r").replace('\n', "\r");
    match bracketed {
        true => format!("\x1b[200~{}\x1b[201~", text.replace("\x1b[201~", "")).into_bytes(),
        false => text.into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_an_xterm_sends() {
        let check = |code, modifiers, expected: &str| {
            let bytes = encode(&KeyEvent::new(code, modifiers), false);
            assert_eq!(String::from_utf8_lossy(&bytes), expected, "{code:?} {modifiers:?}");
        };
        let none = KeyModifiers::NONE;
        check(KeyCode::Char('a'), none, "a");
        check(KeyCode::Char('é'), none, "é");
        check(KeyCode::Char('c'), KeyModifiers::CONTROL, "\x03");
        check(KeyCode::Char(']'), KeyModifiers::CONTROL, "\x1d");
        check(KeyCode::Char('b'), KeyModifiers::ALT, "\x1bb");
        check(KeyCode::Enter, none, "\r");
        check(KeyCode::Backspace, none, "\x7f");
        check(KeyCode::Up, none, "\x1b[A");
        check(KeyCode::Up, KeyModifiers::CONTROL, "\x1b[1;5A");
        check(KeyCode::Delete, none, "\x1b[3~");
        check(KeyCode::F(1), none, "\x1bOP");
        check(KeyCode::F(5), KeyModifiers::SHIFT, "\x1b[15;2~");
        check(KeyCode::BackTab, KeyModifiers::SHIFT, "\x1b[Z");
        assert_eq!(encode(&KeyEvent::new(KeyCode::Up, none), true), b"\x1bOA");
        assert!(encode(&KeyEvent::new(KeyCode::CapsLock, none), false).is_empty());
    }

    #[test]
    fn pasted_text_cannot_leave_its_brackets() {
        assert_eq!(encode_paste("a\nb", false), b"a\rb");
        assert_eq!(encode_paste("a\x1b[201~rm", true), b"\x1b[200~arm\x1b[201~");
    }
}
