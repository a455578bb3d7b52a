//! Which lines are shown, found step by step, and patterns of people's own.
//!
//! A [`Filter`] remembers per chunk which lines match. [`Filter::advance`] looks at a limited number of lines, the newest
//! first, so that the screen is right at once and the rest follows without holding up input. A pattern that only
//! narrows the one before looks at the lines that matched.

use std::collections::VecDeque;

use regex::{Regex, RegexBuilder};

use super::ansi;
use super::ring::{Kind, Line, Ring};
use super::severity::Severity;

/// What people type: a regular expression (or, when it is none, that very text), after `!` what must not match. Small
/// letters match capitals too.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    regex: Regex,
    inverse: bool,
}

impl Pattern {
    /// Reads a pattern; `None` when it is empty.
    pub fn new(text: &str) -> Option<Self> {
        let (inverse, wanted) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if wanted.is_empty() {
            return None;
        }
        let small = !wanted.chars().any(char::is_uppercase);
        let build = |source: &str| RegexBuilder::new(source).case_insensitive(small).build();
        let regex = build(wanted).or_else(|_| build(&regex::escape(wanted))).ok()?;
        Some(Self {
            text: text.to_owned(),
            regex,
            inverse,
        })
    }

    /// As it was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The places in a text that match. None, when matches are what is not wanted.
    pub fn places<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (usize, usize)> + 'a {
        let found = self.regex.find_iter(text).filter(|_| !self.inverse);
        found
            .map(|found| (found.start(), found.end()))
            .filter(|(start, end)| start < end)
    }

    /// Whether a line matches.
    pub fn matches(&self, line: &Line<'_>, scratch: &mut String) -> bool {
        let text = match line.coloured {
            true => ansi::strip(line.text, scratch),
            false => line.text,
        };
        self.regex.is_match(text) != self.inverse
    }

    /// Whether all that this matches, `other` matches too: both are plain words and this one is longer.
    fn narrows(&self, other: &Self) -> bool {
        let plain = |p: &Self| {
            !p.inverse
                && p.text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b' ')
        };
        plain(self) && plain(other) && self.text.contains(&other.text)
    }
}

/// What to show.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only lines that match.
    pub pattern: Option<Pattern>,
    /// Only lines that are at least so bad.
    pub severity: Severity,
    /// Only of this source.
    pub source: Option<u16>,
}

impl Wanted {
    fn is_everything(&self) -> bool {
        self.pattern.is_none() && self.severity == Severity::Unknown && self.source.is_none()
    }

    fn admits(&self, line: &Line<'_>, scratch: &mut String) -> bool {
        // What was put there on purpose stays.
        if line.kind == Kind::Mark {
            return true;
        }
        line.severity >= self.severity
            && self.source.is_none_or(|source| source == line.source)
            && self.pattern.as_ref().is_none_or(|p| p.matches(line, scratch))
    }

    fn narrows(&self, before: &Self) -> bool {
        self.severity == before.severity
            && self.source == before.source
            && match (&self.pattern, &before.pattern) {
                (Some(new), Some(old)) => new.narrows(old),
                _ => false,
            }
    }
}

/// The lines of one chunk that match.
#[derive(Debug, Default)]
struct Hits {
    chunk: i64,
    /// Lines that were looked at.
    seen: usize,
    /// Those that match, in order.
    lines: Vec<u16>,
    /// Only these need to be looked at, of the first [`Self::bound`] lines.
    candidates: Option<Vec<u16>>,
    bound: usize,
}

/// The lines that are shown.
#[derive(Debug, Default)]
pub struct Filter {
    wanted: Wanted,
    hits: VecDeque<Hits>,
    count: usize,
}

impl Filter {
    /// What is shown.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Shows something else.
    pub fn set(&mut self, wanted: Wanted) {
        let narrows = wanted.narrows(&self.wanted);
        for hits in &mut self.hits {
            let matched = std::mem::take(&mut hits.lines);
            (hits.candidates, hits.bound) = match narrows {
                true => (Some(matched), hits.seen),
                false => (None, 0),
            };
            hits.seen = 0;
        }
        self.count = 0;
        self.wanted = wanted;
    }

    /// Looks at up to `budget` lines, newest first; `true` when all were looked at.
    pub fn advance(&mut self, ring: &Ring, budget: usize) -> bool {
        if self.wanted.is_everything() {
            self.hits.clear();
            self.count = 0;
            return true;
        }
        self.align(ring);
        let mut left = budget;
        let mut scratch = String::new();
        for (hits, chunk) in self.hits.iter_mut().zip(ring.chunks()).rev() {
            if hits.seen >= chunk.len() {
                continue;
            }
            // A chunk is looked at as a whole, so that its matches are in order.
            left = left.saturating_sub(chunk.len() - hits.seen);
            let before = hits.lines.len();
            let candidates = hits.candidates.take();
            let known = candidates.as_ref().map_or(hits.seen, |_| hits.bound.max(hits.seen));
            let again = candidates.unwrap_or_default().into_iter().map(usize::from);
            for index in again.chain(known..chunk.len()) {
                if self.wanted.admits(&chunk.line(index), &mut scratch) {
                    hits.lines.push(u16::try_from(index).expect("chunks are small"));
                }
            }
            hits.seen = chunk.len();
            self.count += hits.lines.len() - before;
            if left == 0 {
                break;
            }
        }
        self.hits
            .iter()
            .zip(ring.chunks())
            .all(|(hits, chunk)| hits.seen >= chunk.len())
    }

    /// Makes `hits` have one entry per chunk of the ring.
    fn align(&mut self, ring: &Ring) {
        let (Some(first), Some(last)) = (ring.chunks().front(), ring.chunks().back()) else {
            self.hits.clear();
            self.count = 0;
            return;
        };
        while let Some(hits) = self.hits.pop_front_if(|hits| hits.chunk < first.id) {
            self.count -= hits.lines.len();
        }
        let entry = |chunk: i64| Hits {
            chunk,
            ..Hits::default()
        };
        while let Some(front) = self.hits.front().map(|hits| hits.chunk)
            && front > first.id
        {
            self.hits.push_front(entry(front - 1));
        }
        let mut next = self.hits.back().map_or(first.id, |hits| hits.chunk + 1);
        while next <= last.id {
            self.hits.push_back(entry(next));
            next += 1;
        }
    }

    /// How many lines are shown, of those that were looked at.
    pub fn count(&self, ring: &Ring) -> usize {
        match self.wanted.is_everything() {
            true => ring.len(),
            false => self.count,
        }
    }

    /// The first line shown with this number or a higher one.
    pub fn at_or_after(&self, ring: &Ring, number: i64) -> Option<i64> {
        let (first, last) = (ring.first()?, ring.last()?);
        let number = number.max(first);
        if number > last {
            return None;
        }
        if self.wanted.is_everything() {
            return Some(number);
        }
        let (place, index) = ring.find(number)?;
        let mut from = index;
        for at in place..self.hits.len() {
            let lines = &self.hits[at].lines;
            let hit = lines.partition_point(|line| usize::from(*line) < from);
            if let Some(line) = lines.get(hit) {
                return Some(ring.chunks()[at].line(usize::from(*line)).number);
            }
            from = 0;
        }
        None
    }

    /// The last line shown with this number or a lower one.
    pub fn at_or_before(&self, ring: &Ring, number: i64) -> Option<i64> {
        let (first, last) = (ring.first()?, ring.last()?);
        let number = number.min(last);
        if number < first {
            return None;
        }
        if self.wanted.is_everything() {
            return Some(number);
        }
        let (place, index) = ring.find(number)?;
        let mut until = index;
        for at in (0..=place).rev() {
            let Some(hits) = self.hits.get(at) else {
                until = usize::MAX;
                continue;
            };
            let hit = hits.lines.partition_point(|line| usize::from(*line) <= until);
            if let Some(line) = hit.checked_sub(1).map(|hit| hits.lines[hit]) {
                return Some(ring.chunks()[at].line(usize::from(line)).number);
            }
            until = usize::MAX;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ring(lines: usize) -> Ring {
        let mut ring = Ring::with_limit(20_000);
        for n in 0..lines {
            ring.push(
                (n % 2) as u16,
                Kind::Text,
                None,
                format!("line {n}{}", if n % 7 == 0 { " ERROR x" } else { "" }).as_bytes(),
            );
        }
        ring
    }

    fn wanted(pattern: &str) -> Wanted {
        Wanted {
            pattern: Pattern::new(pattern),
            ..Wanted::default()
        }
    }

    fn shown(filter: &Filter, ring: &Ring) -> Vec<i64> {
        let mut shown = Vec::new();
        let mut at = filter.at_or_after(ring, i64::MIN);
        while let Some(number) = at {
            shown.push(number);
            at = filter.at_or_after(ring, number + 1);
        }
        shown
    }

    #[test]
    fn patterns_are_regular_expressions_or_plain_text() {
        let check = |pattern: &str, text: &str| {
            let mut ring = Ring::default();
            ring.push(0, Kind::Text, None, text.as_bytes());
            Pattern::new(pattern).is_none_or(|p| p.matches(&ring.get(0).expect("a line"), &mut String::new()))
        };
        assert!(
            check("err.r", "an ERROR") && !check("Err", "an ERROR") && check("!ok", "bad") && !check("!bad", "bad")
        );
        assert!(check("a[", "x a[ y") && check("", "x") && check("!", "x"));
        assert!(check("red text", "\x1b[31mred\x1b[0m text"));
    }

    #[test]
    fn the_newest_lines_come_first_and_the_rest_later() {
        let ring = ring(20_000);
        let mut filter = Filter::default();
        filter.set(wanted("line 1"));
        assert!(!filter.advance(&ring, 100));
        let early = filter.at_or_before(&ring, i64::MAX).expect("the newest");
        assert_eq!(early, 19_999);
        while !filter.advance(&ring, 100) {}
        let expected: Vec<i64> = (0..20_000).filter(|n: &i64| n.to_string().starts_with('1')).collect();
        assert_eq!(shown(&filter, &ring), expected);
        assert_eq!(filter.count(&ring), expected.len());
    }

    #[test]
    fn narrowing_gives_what_starting_over_gives() {
        let mut ring = ring(10_000);
        let (mut narrowed, mut fresh) = (Filter::default(), Filter::default());
        narrowed.set(wanted("line 1"));
        narrowed.advance(&ring, usize::MAX);
        narrowed.set(wanted("line 12"));
        ring.push(0, Kind::Text, None, b"line 12 again");
        narrowed.advance(&ring, usize::MAX);
        fresh.set(wanted("line 12"));
        fresh.advance(&ring, usize::MAX);
        assert_eq!(shown(&narrowed, &ring), shown(&fresh, &ring));
        assert_eq!(narrowed.count(&ring), fresh.count(&ring));
    }

    #[test]
    fn severities_and_sources_are_chosen_and_marks_stay() {
        let mut ring = ring(100);
        ring.push(0, Kind::Mark, None, b"mark");
        let mut filter = Filter::default();
        filter.set(Wanted {
            severity: Severity::Error,
            source: Some(1),
            ..Wanted::default()
        });
        filter.advance(&ring, usize::MAX);
        assert_eq!(shown(&filter, &ring), [7, 21, 35, 49, 63, 77, 91, 100]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_filter_follows_the_ring(steps in proptest::collection::vec((0usize..6000, 0u8..4), 1..12)) {
            let mut ring = Ring::with_limit(9000);
            let mut filter = Filter::default();
            filter.set(wanted("7"));
            for (count, what) in steps {
                match what {
                    0 => ring.prepend((0..count % 50).map(|_| (0, None, &b"old 7"[..]))),
                    1 if count % 5 == 0 => ring.clear(),
                    _ => for n in 0..count {
                        ring.push(0, Kind::Text, None, n.to_string().as_bytes());
                    },
                }
                filter.advance(&ring, usize::MAX);
                let expected: Vec<i64> = ring.iter().filter(|l| l.text.contains('7')).map(|l| l.number).collect();
                prop_assert_eq!(filter.count(&ring), expected.len());
                prop_assert_eq!(filter.at_or_after(&ring, i64::MIN), expected.first().copied());
                prop_assert_eq!(filter.at_or_before(&ring, i64::MAX), expected.last().copied());
                let mut backwards = Vec::new();
                let mut at = filter.at_or_before(&ring, i64::MAX);
                while let Some(number) = at {
                    backwards.push(number);
                    at = filter.at_or_before(&ring, number - 1);
                }
                backwards.reverse();
                prop_assert_eq!(backwards, expected);
            }
        }
    }
}
