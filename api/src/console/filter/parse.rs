//! From text to terms.

use std::cmp::Ordering;

use super::{Anywhere, FilterError, Fuzzy, Needle, Place, Term, Test};
use crate::selector::LabelSelector;

/// Comparisons, longer ones first.
const COMPARISONS: [(&str, &[Ordering]); 4] = [
    (">=", &[Ordering::Greater, Ordering::Equal]),
    ("<=", &[Ordering::Less, Ordering::Equal]),
    (">", &[Ordering::Greater]),
    ("<", &[Ordering::Less]),
];

pub(super) fn terms(text: &str, columns: &[impl AsRef<str>]) -> Result<Vec<Term>, FilterError> {
    let mut words = words(text)?.into_iter().peekable();
    let mut terms = Vec::new();
    while let Some(word) = words.next() {
        let term = match &*word.text {
            "-l" if !word.quoted => {
                let selector = words.next().ok_or(FilterError::Missing("-l".to_owned(), "labels"))?;
                let mut text = selector.text;
                // `-l k in (a, b)` needs no quotes.
                while let Some(more) = words.next_if(|next| continues(&text, &next.text)) {
                    text.push(' ');
                    text.push_str(&more.text);
                }
                term(false, Place::Anywhere, Test::Labels(selector_of(&text)?))
            }
            "-f" if !word.quoted => {
                let letters = words.next().ok_or(FilterError::Missing("-f".to_owned(), "letters"))?;
                term(false, Place::Name, Test::Fuzzy(Fuzzy::new(&letters.text)))
            }
            text if word.quoted => term(false, Place::Anywhere, Test::Text(Needle::new(text, false)?)),
            "!" => continue,
            text => match text.strip_prefix('!') {
                Some(rest) => Term {
                    inverse: true,
                    ..plain(rest, columns)?
                },
                None => plain(text, columns)?,
            },
        };
        terms.push(term);
    }
    Ok(terms)
}

fn term(inverse: bool, place: Place, test: Test) -> Term {
    let anywhere = match (&test, place) {
        (Test::Text(needle), Place::Anywhere) => Anywhere::new(needle),
        _ => None,
    };
    Term {
        inverse,
        place,
        test,
        anywhere,
    }
}

/// A term without sign or option: of a column, of a label, or text.
fn plain(text: &str, columns: &[impl AsRef<str>]) -> Result<Term, FilterError> {
    if let Some((heading, pattern)) = text.split_once(':')
        && is_word(heading)
    {
        let place = place(heading, columns)?;
        let (pattern, whole) = match pattern.strip_prefix('=') {
            Some(pattern) => (pattern, true),
            None => (pattern, false),
        };
        return Ok(term(false, place, Test::Text(Needle::new(&unquote(pattern), whole)?)));
    }
    for (sign, orders) in COMPARISONS {
        if let Some((heading, bound)) = text.split_once(sign)
            && is_word(heading)
        {
            let bound = number(bound).ok_or_else(|| FilterError::Missing(text.to_owned(), "a number or an age"))?;
            return Ok(term(false, place(heading, columns)?, Test::Number(orders, bound)));
        }
    }
    let looks_like_label = !text.contains('\\') && text.split_once('=').is_some_and(|(key, _)| !key.is_empty());
    if looks_like_label && let Ok(selector) = LabelSelector::parse(text) {
        return Ok(term(false, Place::Anywhere, Test::Labels(selector)));
    }
    Ok(term(false, Place::Anywhere, Test::Text(Needle::new(text, false)?)))
}

fn selector_of(text: &str) -> Result<LabelSelector, FilterError> {
    LabelSelector::parse(text).map_err(|why| FilterError::Labels(why.replace("unable to parse requirement: ", "")))
}

/// Whether a label selector goes on with the next word.
fn continues(text: &str, next: &str) -> bool {
    let open = text.matches('(').count() > text.matches(')').count();
    let operator = |word: &str| matches!(word, "in" | "notin" | "=" | "==" | "!=");
    let last = text.rsplit(' ').next().unwrap_or_default();
    open || operator(next)
        || next.starts_with("in(")
        || next.starts_with("notin(")
        || next.starts_with(',')
        || operator(last)
        || text.ends_with(',')
}

fn is_word(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(char::is_alphabetic) && chars.all(|c| c.is_alphanumeric() || "-_%".contains(c))
}

/// A heading as people type it: `Nominated Node` is `nominatednode`.
pub(crate) fn folded(heading: &str) -> String {
    heading
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == '%')
        .flat_map(char::to_lowercase)
        .collect()
}

fn place(word: &str, columns: &[impl AsRef<str>]) -> Result<Place, FilterError> {
    let wanted = folded(word);
    let headings: Vec<_> = columns.iter().map(|c| folded(c.as_ref())).collect();
    if let Some(at) = headings.iter().position(|h| *h == wanted) {
        return Ok(Place::Column(at));
    }
    match &*wanted {
        "ns" | "namespace" => return Ok(Place::Namespace),
        "n" | "name" => return Ok(Place::Name),
        _ => {}
    }
    let fits: Vec<_> = (0..headings.len())
        .filter(|at| headings[*at].starts_with(&wanted))
        .collect();
    match *fits {
        [at] => Ok(Place::Column(at)),
        [] if "namespace".starts_with(&*wanted) => Ok(Place::Namespace),
        [] => Err(FilterError::NoColumn(word.to_owned())),
        _ => {
            let names: Vec<_> = fits.iter().map(|at| &*headings[*at]).collect();
            Err(FilterError::Ambiguous(word.to_owned(), names.join(" or ")))
        }
    }
}

/// `5`, or a span such as `1h30m` in seconds.
fn number(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let mut rest = text;
    let mut seconds = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
        let unit = match rest[digits..].chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86400,
            'w' => 7 * 86400,
            'y' => 365 * 86400,
            _ => return None,
        };
        seconds = rest[..digits]
            .parse::<i64>()
            .ok()?
            .checked_mul(unit)?
            .checked_add(seconds)?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then_some(seconds)
}

fn unquote(text: &str) -> String {
    text.replace('"', "")
}

struct Word {
    text: String,
    /// Whether it began with a quote, so that it is text whatever it looks like.
    quoted: bool,
}

/// Words between spaces; quotes keep spaces.
fn words(text: &str) -> Result<Vec<Word>, FilterError> {
    let mut words = Vec::new();
    let mut current: Option<Word> = None;
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c.is_whitespace() => words.extend(current.take()),
            None if matches!(c, '"' | '\'') => {
                quote = Some(c);
                current.get_or_insert(Word {
                    text: String::new(),
                    quoted: true,
                });
            }
            _ => current
                .get_or_insert(Word {
                    text: String::new(),
                    quoted: false,
                })
                .text
                .push(c),
        }
    }
    if quote.is_some() {
        return Err(FilterError::Quote);
    }
    words.extend(current);
    words.retain(|word| !word.text.is_empty());
    Ok(words)
}
