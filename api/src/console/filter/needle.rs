//! A text to look for: plain text where that will do, a regular expression where it will not.

use std::ops::Range;

use regex::{Regex, RegexBuilder};

use super::FilterError;

/// What is looked for in one cell.
#[derive(Clone, Debug)]
pub(super) enum Needle {
    /// ASCII text without capitals: found in any case.
    Caseless(Box<str>),
    /// Text with capitals: found as it is.
    Exact(Box<str>),
    /// Anything else.
    Pattern(Box<Regex>),
}

impl Needle {
    /// Reads a pattern. `whole` wants all of the text to match.
    pub(super) fn new(pattern: &str, whole: bool) -> Result<Self, FilterError> {
        let capitals = has_capitals(pattern);
        let plain = !whole && !pattern.contains(|c| r"\.+*?()|[]{}^$#".contains(c));
        if plain && pattern.is_ascii() {
            return Ok(match capitals {
                true => Self::Exact(pattern.into()),
                false => Self::Caseless(pattern.into()),
            });
        }
        let text = match whole {
            true => format!("^(?:{pattern})$"),
            false => pattern.to_owned(),
        };
        let built = RegexBuilder::new(&text)
            .case_insensitive(!capitals)
            .size_limit(1 << 20)
            .build();
        built.map(|regex| Self::Pattern(regex.into())).map_err(|error| {
            // The last line of regex's message names the problem.
            let message = error.to_string();
            let last = message.lines().last().unwrap_or_default();
            FilterError::Pattern(pattern.to_owned(), last.trim_start_matches("error: ").to_owned())
        })
    }

    /// Whether texts that hold this hold the other too, as far as that is seen at once.
    pub(super) fn implies(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Caseless(new) | Self::Exact(new), Self::Caseless(old)) => find_caseless(new, old).is_some(),
            (Self::Exact(new), Self::Exact(old)) => new.contains(&**old),
            _ => false,
        }
    }

    pub(super) fn is_in(&self, text: &str) -> bool {
        match self {
            Self::Pattern(regex) => regex.is_match(text),
            plain => plain.find(text).is_some(),
        }
    }

    /// Where the first match stands.
    pub(super) fn find(&self, text: &str) -> Option<Range<usize>> {
        match self {
            Self::Caseless(needle) => find_caseless(text, needle).map(|at| at..at + needle.len()),
            Self::Exact(needle) => text.find(&**needle).map(|at| at..at + needle.len()),
            Self::Pattern(regex) => regex.find(text).map(|found| found.range()),
        }
    }
}

/// Capitals that are not part of an escape such as `\S`.
fn has_capitals(pattern: &str) -> bool {
    let mut escaped = false;
    pattern.chars().any(|c| {
        let counts = c.is_uppercase() && !escaped;
        escaped = c == '\\' && !escaped;
        counts
    })
}

/// `needle` is in lower case.
fn find_caseless(text: &str, needle: &str) -> Option<usize> {
    let (text, needle) = (text.as_bytes(), needle.as_bytes());
    let Some(first) = needle.first() else { return Some(0) };
    let last = text.len().checked_sub(needle.len())?;
    memchr::memchr2_iter(*first, first.to_ascii_uppercase(), &text[..=last])
        .find(|at| text[*at..*at + needle.len()].eq_ignore_ascii_case(needle))
}
