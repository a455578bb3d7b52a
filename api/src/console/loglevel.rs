//! How bad a log line is, as far as its beginning tells.
//!
//! Understood: klog's letter, `level=error` and `"level":"error"`, numbers as bunyan writes them, words in capitals or in
//! brackets. Only the beginning of a line is looked at, so that a message about errors is none.

use serde::{Deserialize, Serialize};

/// How much of a line is looked at.
const LOOK_BYTES: usize = 160;

/// How bad a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Severity {
    /// It does not say.
    #[default]
    Unknown,
    /// Of interest to the program's authors.
    Debug,
    /// Ordinary.
    Info,
    /// Might lead to trouble.
    Warning,
    /// Trouble.
    Error,
}

/// Reads a line's severity.
pub fn detect(line: &str) -> Severity {
    let bytes = &line.as_bytes()[..line.len().min(LOOK_BYTES)];
    if let Some(severity) = klog(bytes) {
        return severity;
    }
    let mut at = 0;
    let mut previous: &[u8] = b"";
    while at < bytes.len() {
        if !bytes[at].is_ascii_alphanumeric() {
            at += 1;
            continue;
        }
        let start = at;
        while at < bytes.len() && bytes[at].is_ascii_alphanumeric() {
            at += 1;
        }
        let word = &bytes[start..at];
        if (2..=8).contains(&word.len()) {
            let before = start.checked_sub(1).map(|i| bytes[i]);
            if let Some(severity) = word_severity(word, before, bytes.get(at).copied(), is_level_key(previous)) {
                return severity;
            }
        }
        previous = word;
    }
    Severity::Unknown
}

/// `E0823 10:00:00.000000   1 file.go:1] text`
fn klog(bytes: &[u8]) -> Option<Severity> {
    let [letter, digits @ ..] = bytes.get(..6)? else {
        return None;
    };
    if !digits[..4].iter().all(u8::is_ascii_digit) || digits[4] != b' ' {
        return None;
    }
    match letter {
        b'I' => Some(Severity::Info),
        b'W' => Some(Severity::Warning),
        b'E' | b'F' => Some(Severity::Error),
        _ => None,
    }
}

fn is_level_key(word: &[u8]) -> bool {
    ["level", "lvl", "severity", "loglevel", "levelname"]
        .iter()
        .any(|key| word.eq_ignore_ascii_case(key.as_bytes()))
}

/// A word counts when it is the value of a level, stands in capitals, or stands in brackets.
fn word_severity(word: &[u8], before: Option<u8>, after: Option<u8>, is_value: bool) -> Option<Severity> {
    if is_value && word.iter().all(u8::is_ascii_digit) {
        return match word {
            b"10" | b"20" => Some(Severity::Debug),
            b"30" => Some(Severity::Info),
            b"40" => Some(Severity::Warning),
            b"50" | b"60" => Some(Severity::Error),
            _ => None,
        };
    }
    let bracketed = matches!((before, after), (Some(b'['), Some(b']')) | (Some(b'<'), Some(b'>')));
    let capitals = word.iter().all(u8::is_ascii_uppercase);
    if !(is_value || bracketed || capitals) {
        return None;
    }
    const WORDS: [(&[u8], Severity); 16] = [
        (b"trace", Severity::Debug),
        (b"debug", Severity::Debug),
        (b"dbg", Severity::Debug),
        (b"info", Severity::Info),
        (b"inf", Severity::Info),
        (b"notice", Severity::Info),
        (b"warn", Severity::Warning),
        (b"warning", Severity::Warning),
        (b"wrn", Severity::Warning),
        (b"error", Severity::Error),
        (b"err", Severity::Error),
        (b"fatal", Severity::Error),
        (b"panic", Severity::Error),
        (b"critical", Severity::Error),
        (b"crit", Severity::Error),
        (b"alert", Severity::Error),
    ];
    WORDS
        .iter()
        .find(|(known, _)| word.eq_ignore_ascii_case(known))
        .map(|(_, severity)| *severity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_many_loggers_are_understood() {
        let check = |line: &str, expected: Severity| assert_eq!(detect(line), expected, "{line}");
        check("E0823 10:00:00.000000       1 controller.go:114] boom", Severity::Error);
        check("I0823 10:00:00.000000       1 x.go:1] ERROR in text", Severity::Info);
        check(
            "time=\"2026-01-01T00:00:00Z\" level=warning msg=\"x\"",
            Severity::Warning,
        );
        check("{\"level\":\"error\",\"ts\":1}", Severity::Error);
        check("{\"time\":\"x\",\"level\":30,\"msg\":\"x\"}", Severity::Info);
        check("2026-01-01T00:00:00.000000Z  WARN mizzen::x: text", Severity::Warning);
        check("2026/01/01 00:00:00 [error] 7#7: *1 open() failed", Severity::Error);
        check("[FATAL] gone", Severity::Error);
        check("no error occurred", Severity::Unknown);
        check("10.0.0.1 - - \"GET /info HTTP/1.1\" 200", Severity::Unknown);
        check("DEBUG x", Severity::Debug);
        check("", Severity::Unknown);
        check("é", Severity::Unknown);
    }
}
