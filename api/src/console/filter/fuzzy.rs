//! Fuzzy matches: the letters in their order, with a score for how well they sit.

/// What letters to look for, in lower case unless some were capitals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fuzzy {
    letters: Vec<char>,
    caseless: bool,
}

/// A letter that follows the one before.
const ADJACENT: i32 = 12;
/// A letter at the start of a word.
const START: i32 = 10;
/// Any letter that is found.
const FOUND: i32 = 4;
/// Each letter skipped between two that are found, up to [`FARTHEST`].
const GAP: i32 = -1;
const FARTHEST: i32 = 6;

impl Fuzzy {
    /// Looks for these letters; capitals count only if there are any.
    pub fn new(letters: &str) -> Self {
        let caseless = !letters.chars().any(char::is_uppercase);
        Self {
            letters: letters.chars().filter(|c| !c.is_whitespace()).collect(),
            caseless,
        }
    }

    /// How well the text fits; `None` when the letters are not there in this order.
    ///
    /// The best of the runs that start at each place where the first letter stands.
    pub fn score(&self, text: &str) -> Option<i32> {
        let fold = |c: char| if self.caseless { c.to_ascii_lowercase() } else { c };
        let Some(first) = self.letters.first() else {
            return Some(0);
        };
        let starts = text.char_indices().filter(|(_, c)| fold(*c) == *first);
        // What is not there from one place on is not there from a later one either.
        starts.map_while(|(at, _)| self.score_from(text, at, fold)).max()
    }

    /// Whether texts that have these letters have the other's too, as while they are typed.
    pub(super) fn implies(&self, other: &Self) -> bool {
        self.letters.starts_with(&other.letters)
    }

    fn score_from(&self, text: &str, start: usize, fold: impl Fn(char) -> char) -> Option<i32> {
        let mut before = text[..start].chars().next_back();
        let (mut score, mut gap, mut letters) = (0, 0, self.letters.iter().peekable());
        for c in text[start..].chars() {
            let Some(wanted) = letters.peek() else { break };
            if fold(c) == **wanted {
                letters.next();
                let word_start = before.is_none_or(|b| !b.is_alphanumeric() || (b.is_lowercase() && c.is_uppercase()));
                let first = letters.len() + 1 == self.letters.len();
                let adjacent = !first && gap == 0;
                score += FOUND + i32::from(word_start) * START + i32::from(adjacent) * ADJACENT;
                gap = 0;
            } else {
                gap += 1;
                score += if gap <= FARTHEST { GAP } else { 0 };
            }
            before = Some(c);
        }
        // Of equal matches the shorter text is meant.
        letters
            .peek()
            .is_none()
            .then(|| score * 4 - (text.len().min(200) / 4) as i32)
    }
}
