//! Looking for a text in a whole row at once: all of its cells in lower case, one behind the other.

use memchr::memmem::Finder;

#[cfg(not(target_arch = "wasm32"))]
use regex::{Regex, RegexBuilder};
#[cfg(target_arch = "wasm32")]
use regex_lite::{Regex, RegexBuilder};

use super::Needle;

/// Between the cells. No pattern that is typed holds it, and `^` and `$` can stand for it.
pub(super) const SEPARATOR: char = '\n';

/// What is looked for.
#[derive(Clone, Debug)]
pub(super) enum Anywhere {
    /// It is there when a cell has it, and only then.
    Plain(Box<Finder<'static>>),
    /// It is there when a cell has it, perhaps with other capitals.
    Folded(Box<Finder<'static>>),
    /// It is there when a cell has it, and perhaps over the border of two.
    Pattern(Box<Regex>),
}

impl Anywhere {
    /// Looks for what a needle looks for in each cell; `None` when only the cells can tell.
    pub(super) fn new(needle: &Needle) -> Option<Self> {
        let finder = |text: &str| Box::new(Finder::new(text).into_owned());
        match needle {
            Needle::Caseless(text) | Needle::Exact(text) if text.contains(SEPARATOR) => None,
            Needle::Caseless(text) => Some(Self::Plain(finder(text))),
            Needle::Exact(text) => Some(Self::Folded(finder(&text.to_ascii_lowercase()))),
            Needle::Pattern(regex) => {
                let pattern = regex.as_str();
                // Flags of its own and the ends of the text mean something else in a longer text.
                let own = ["(?", "\\A", "\\z", "\\Z"];
                if own.iter().any(|part| pattern.contains(part)) {
                    return None;
                }
                let built = RegexBuilder::new(pattern)
                    .case_insensitive(true)
                    .multi_line(true)
                    .size_limit(1 << 20)
                    .build();
                built.ok().map(|regex| Self::Pattern(regex.into()))
            }
        }
    }

    /// Whether finding it says all.
    pub(super) fn is_exact(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    pub(super) fn may_be_in(&self, text: &str) -> bool {
        match self {
            Self::Plain(finder) | Self::Folded(finder) => finder.find(text.as_bytes()).is_some(),
            Self::Pattern(regex) => regex.is_match(text),
        }
    }
}
