//! How a command goes on: ghost text and candidates.

use std::collections::BTreeSet;

use super::{ALIASES, SPECIALS, Takes, special};
use crate::resource::Registry;

/// What can be named.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    /// Kinds.
    pub registry: &'a Registry,
    /// Namespaces.
    pub namespaces: &'a [String],
    /// Contexts.
    pub contexts: &'a [String],
}

/// What the word under the cursor (the last one) may become, best first. Each is a whole word.
pub fn candidates(text: &str, words: Words<'_>) -> Vec<String> {
    let text = text.trim_start_matches(':').trim_start();
    let (before, last) = match text.rfind(char::is_whitespace) {
        Some(at) => (text[..at].trim_end(), &text[at + 1..]),
        None => ("", text),
    };
    if let Some(context) = last.strip_prefix('@') {
        let contexts = starting(words.contexts.iter().map(String::as_str), context);
        return contexts.into_iter().map(|name| format!("@{name}")).collect();
    }
    let mut earlier = before.split_whitespace();
    let first = earlier.next();
    let takes = match first {
        None => return kinds(last, words.registry, true),
        Some(name) => special(name).map_or(Takes::Namespace, |row| row.takes),
    };
    match (takes, earlier.count()) {
        (Takes::Kind, 0) => kinds(last, words.registry, false),
        (Takes::Context, 0) => starting(words.contexts.iter().map(String::as_str), last),
        (Takes::Namespace, 0) | (Takes::Kind, 1) => namespaces(last, words.namespaces),
        _ => Vec::new(),
    }
}

/// What would be added by accepting the first candidate; empty for nothing.
pub fn ghost(text: &str, words: Words<'_>) -> String {
    let last = text
        .rsplit(char::is_whitespace)
        .next()
        .unwrap_or_default()
        .trim_start_matches(':');
    match candidates(text, words).first() {
        Some(best) if !last.is_empty() => best.get(last.len()..).unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

/// `shop,de` completes its last part.
fn namespaces(last: &str, all: &[String]) -> Vec<String> {
    if last.starts_with(['/', '-']) || last.contains('=') {
        return Vec::new();
    }
    let (kept, part) = match last.rfind(',') {
        Some(at) => last.split_at(at + 1),
        None => ("", last),
    };
    let names = all.iter().map(String::as_str).chain(kept.is_empty().then_some("all"));
    starting(names, part)
        .into_iter()
        .map(|name| format!("{kept}{name}"))
        .collect()
}

fn kinds(start: &str, registry: &Registry, specials: bool) -> Vec<String> {
    if start.is_empty() {
        return Vec::new();
    }
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for resource in registry.iter().filter(|r| r.allows("list")) {
        names.extend([&*resource.plural, &*resource.singular]);
        names.extend(resource.short_names.iter().map(|name| &**name));
    }
    names.extend(ALIASES.iter().map(|(alias, _)| *alias));
    if specials {
        names.extend(SPECIALS.iter().flat_map(|row| row.names));
    }
    starting(names.into_iter(), start)
}

/// Words that begin so, the shortest first: what is typed exactly stays, then what is nearest.
fn starting<'a>(words: impl Iterator<Item = &'a str>, start: &str) -> Vec<String> {
    let fold = start.to_lowercase();
    let mut found: Vec<_> = words
        .filter(|w| !w.is_empty() && w.to_lowercase().starts_with(&fold))
        .collect();
    found.sort_by_key(|word| (word.len(), *word));
    found.into_iter().map(str::to_owned).collect()
}

/// The name that is nearest to a mistyped one.
pub(super) fn nearest(name: &str, registry: &Registry) -> Option<String> {
    let name = name.to_lowercase();
    let plurals = registry
        .iter()
        .filter(|r| r.allows("list"))
        .map(|r| (&*r.plural, &*r.singular));
    let specials = SPECIALS.iter().map(|row| (row.names[0], row.names[0]));
    let near = |(plural, singular): (&str, &str)| {
        let far = distance(&name, plural).min(distance(&name, singular));
        (far <= 1 + name.len() / 4).then(|| (far, plural.to_owned()))
    };
    plurals.chain(specials).filter_map(near).min().map(|(_, plural)| plural)
}

/// How many letters must be changed, added or left out.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
