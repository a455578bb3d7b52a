//! The last million lines, in little more memory than their text.
//!
//! Lines lie in chunks: one text and 16 bytes of facts per line. Whole chunks go when there are too many lines or bytes,
//! and the lines that went with them are counted. Lines have numbers that stay theirs; older lines can be put in front.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::ansi;
use super::severity::{self, Severity};

/// Lines that are kept.
pub const LINES_MAX: usize = 1_000_000;
/// Bytes of text that are kept: 200 per line.
pub const BYTES_MAX: usize = 200 * LINES_MAX;
/// A longer line is cut, so that one cannot push all others out.
const LINE_MAX_BYTES: usize = 64 << 10;
const CHUNK_LINES: usize = 4096;
const CHUNK_BYTES: usize = 512 << 10;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Printed by a container.
    Text,
    /// Said by us, about its source.
    Note,
    /// Put there by the user.
    Mark,
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line<'a> {
    /// Its number.
    pub number: i64,
    /// Index of its source.
    pub source: u16,
    /// What it is.
    pub kind: Kind,
    /// How bad it is.
    pub severity: Severity,
    /// When it was printed.
    pub time: Option<Timestamp>,
    /// Its text, cleaned (see [`ansi::clean`]).
    pub text: &'a str,
    /// Whether the text has colours in it.
    pub coloured: bool,
}

#[derive(Clone, Copy, Debug)]
struct Facts {
    end: u32,
    source: u16,
    severity: Severity,
    flags: u8,
    /// Nanoseconds since 1970; [`NEVER`] when unknown.
    time_ns: i64,
}

const NEVER: i64 = i64::MIN;
const COLOURED: u8 = 1;
const NOTE: u8 = 2;
const MARK: u8 = 4;

/// Lines in a row.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Chunks count up; those put in front count down.
    pub(super) id: i64,
    first: i64,
    text: String,
    facts: Vec<Facts>,
}

impl Chunk {
    pub(super) fn len(&self) -> usize {
        self.facts.len()
    }

    fn bytes(&self) -> usize {
        self.text.len()
    }

    fn is_full(&self) -> bool {
        self.facts.len() >= CHUNK_LINES || self.text.len() >= CHUNK_BYTES
    }

    pub(super) fn line(&self, index: usize) -> Line<'_> {
        let facts = self.facts[index];
        let start = match index {
            0 => 0,
            index => self.facts[index - 1].end as usize,
        };
        Line {
            number: self.first + index as i64,
            source: facts.source,
            kind: match facts.flags {
                flags if flags & NOTE != 0 => Kind::Note,
                flags if flags & MARK != 0 => Kind::Mark,
                _ => Kind::Text,
            },
            severity: facts.severity,
            time: (facts.time_ns != NEVER)
                .then(|| Timestamp::from_nanosecond(facts.time_ns.into()).ok())
                .flatten(),
            text: &self.text[start..facts.end as usize],
            coloured: facts.flags & COLOURED != 0,
        }
    }

    fn push(&mut self, source: u16, kind: Kind, time: Option<Timestamp>, raw: &[u8]) {
        let raw = &raw[..raw.len().min(LINE_MAX_BYTES)];
        let start = self.text.len();
        let coloured = ansi::clean(raw, &mut self.text);
        let severity = match kind {
            Kind::Text => severity::detect(&self.text[start..]),
            Kind::Note | Kind::Mark => Severity::Unknown,
        };
        let flags = match kind {
            Kind::Text => 0,
            Kind::Note => NOTE,
            Kind::Mark => MARK,
        };
        self.facts.push(Facts {
            end: u32::try_from(self.text.len()).expect("chunks are small"),
            source,
            severity,
            flags: flags | if coloured { COLOURED } else { 0 },
            time_ns: time
                .and_then(|t| i64::try_from(t.as_nanosecond()).ok())
                .unwrap_or(NEVER),
        });
    }
}

/// The lines.
#[derive(Debug)]
pub struct Ring {
    chunks: VecDeque<Chunk>,
    lines: usize,
    bytes: usize,
    lines_max: usize,
    dropped: u64,
}

impl Default for Ring {
    fn default() -> Self {
        Self::with_limit(LINES_MAX)
    }
}

impl Ring {
    /// A ring of at least so many lines.
    pub fn with_limit(lines_max: usize) -> Self {
        Self {
            chunks: VecDeque::new(),
            lines: 0,
            bytes: 0,
            lines_max,
            dropped: 0,
        }
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Bytes of text.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lines that were pushed out.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether lines were pushed out, so that older ones would not stay.
    pub fn is_full(&self) -> bool {
        self.lines >= self.lines_max || self.bytes >= BYTES_MAX
    }

    pub(super) fn chunks(&self) -> &VecDeque<Chunk> {
        &self.chunks
    }

    /// The number of the first line.
    pub fn first(&self) -> Option<i64> {
        self.chunks.front().map(|chunk| chunk.first)
    }

    /// The number of the last line.
    pub fn last(&self) -> Option<i64> {
        self.chunks.back().map(|chunk| chunk.first + chunk.len() as i64 - 1)
    }

    /// A line by its number.
    pub fn get(&self, number: i64) -> Option<Line<'_>> {
        let (chunk, index) = self.find(number)?;
        Some(self.chunks[chunk].line(index))
    }

    /// Where a line is: its chunk's place and its place in there.
    pub(super) fn find(&self, number: i64) -> Option<(usize, usize)> {
        let chunk = self.chunks.partition_point(|c| c.first <= number).checked_sub(1)?;
        let index = usize::try_from(number - self.chunks[chunk].first).ok()?;
        (index < self.chunks[chunk].len()).then_some((chunk, index))
    }

    /// Adds a line.
    pub fn push(&mut self, source: u16, kind: Kind, time: Option<Timestamp>, raw: &[u8]) {
        if self.chunks.back().is_none_or(Chunk::is_full) {
            self.add_chunk();
        }
        let chunk = self.chunks.back_mut().expect("there is one now");
        let before = chunk.bytes();
        chunk.push(source, kind, time, raw);
        self.bytes += chunk.bytes() - before;
        self.lines += 1;
    }

    /// Adds a block of lines that begin with their times.
    pub fn ingest(&mut self, source: u16, block: &[u8]) {
        let block = block.strip_suffix(b"\n").unwrap_or(block);
        for line in block.split(|byte| *byte == b'\n') {
            let (time, text) = mizzen_api::client::logs::split_time(line);
            self.push(source, Kind::Text, time, text);
        }
    }

    fn add_chunk(&mut self) {
        let (id, first) = match self.chunks.back() {
            Some(last) => (last.id + 1, last.first + last.len() as i64),
            None => (0, 0),
        };
        if let Some(last) = self.chunks.back_mut() {
            last.text.shrink_to_fit();
            last.facts.shrink_to_fit();
        }
        self.chunks.push_back(Chunk {
            id,
            first,
            ..Chunk::default()
        });
        // A chunk goes when there are enough lines without it.
        while let Some(front) = self.chunks.front()
            && self.chunks.len() > 2
            && (self.lines - front.len() >= self.lines_max || self.bytes - front.bytes() >= BYTES_MAX)
        {
            self.lines -= front.len();
            self.bytes -= front.bytes();
            self.dropped += front.len() as u64;
            self.chunks.pop_front();
        }
    }

    /// Puts older lines in front, oldest first. They keep out when there is no room for them.
    pub fn prepend<'a>(&mut self, lines: impl IntoIterator<Item = (u16, Option<Timestamp>, &'a [u8])>) {
        let mut chunks: Vec<Chunk> = Vec::new();
        for (source, time, raw) in lines {
            if chunks.last().is_none_or(Chunk::is_full) {
                chunks.push(Chunk::default());
            }
            let chunk = chunks.last_mut().expect("there is one now");
            chunk.push(source, Kind::Text, time, raw);
        }
        for mut chunk in chunks.into_iter().rev() {
            if self.lines + chunk.len() > self.lines_max || self.bytes + chunk.bytes() > BYTES_MAX {
                break;
            }
            let (id, first) = self.chunks.front().map_or((0, 0), |front| (front.id - 1, front.first));
            chunk.id = id;
            chunk.first = first - chunk.len() as i64;
            self.lines += chunk.len();
            self.bytes += chunk.bytes();
            self.chunks.push_front(chunk);
        }
    }

    /// Forgets all lines. Numbers go on.
    pub fn clear(&mut self) {
        let next = self
            .chunks
            .back()
            .map(|last| (last.id + 1, last.first + last.len() as i64));
        self.chunks.clear();
        (self.lines, self.bytes, self.dropped) = (0, 0, 0);
        if let Some((id, first)) = next {
            self.chunks.push_back(Chunk {
                id,
                first,
                ..Chunk::default()
            });
        }
    }

    /// All lines, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Line<'_>> {
        self.chunks
            .iter()
            .flat_map(|chunk| (0..chunk.len()).map(|index| chunk.line(index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ring: &Ring) -> Vec<&str> {
        ring.iter().map(|line| line.text).collect()
    }

    #[test]
    fn blocks_become_lines_with_times_and_severities() {
        let mut ring = Ring::default();
        ring.ingest(
            3,
            b"2026-01-01T00:00:01Z ERROR one\n2026-01-01T00:00:02.5Z \x1b[31mtwo\n\n",
        );
        assert_eq!(texts(&ring), ["ERROR one", "\x1b[31mtwo", ""]);
        let line = ring.get(0).expect("a line");
        assert_eq!((line.source, line.severity, line.coloured), (3, Severity::Error, false));
        assert_eq!(
            line.time.map(|t| t.to_string()).as_deref(),
            Some("2026-01-01T00:00:01Z")
        );
        assert!(ring.get(1).expect("a line").coloured);
        assert_eq!((ring.first(), ring.last(), ring.get(3)), (Some(0), Some(2), None));
    }

    #[test]
    fn old_lines_go_and_are_counted() {
        let mut ring = Ring::with_limit(10_000);
        for n in 0..50_000 {
            ring.push(0, Kind::Text, None, format!("line {n}").as_bytes());
        }
        assert!(
            (10_000..10_000 + 2 * CHUNK_LINES).contains(&ring.len()),
            "{}",
            ring.len()
        );
        assert_eq!(ring.len() as u64 + ring.dropped(), 50_000);
        let first = ring.first().expect("a line");
        assert_eq!(first as u64, ring.dropped());
        assert_eq!(
            ring.get(first).map(|l| l.text.to_owned()),
            Some(format!("line {first}"))
        );
        assert_eq!(ring.get(49_999).map(|l| l.text), Some("line 49999"));
        assert_eq!((ring.get(first - 1), ring.get(50_000)), (None, None));
    }

    #[test]
    fn a_line_that_is_too_long_is_cut() {
        let mut ring = Ring::default();
        ring.push(0, Kind::Text, None, &vec![b'x'; 1 << 20]);
        assert_eq!(ring.bytes(), LINE_MAX_BYTES);
    }

    #[test]
    fn older_lines_are_put_in_front() {
        let mut ring = Ring::with_limit(5);
        ring.push(0, Kind::Text, None, b"c");
        ring.prepend([(0, None, &b"a"[..]), (0, None, b"b")]);
        assert_eq!(texts(&ring), ["a", "b", "c"]);
        assert_eq!((ring.first(), ring.last()), (Some(-2), Some(0)));
        ring.prepend([(0, None, &b"x"[..]); 4]);
        assert_eq!(ring.len(), 3);
        ring.clear();
        assert_eq!((ring.len(), ring.first()), (0, Some(1)));
        ring.push(0, Kind::Mark, None, b"d");
        assert_eq!(ring.last(), Some(1));
    }
}
