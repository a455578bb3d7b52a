//! A log's bytes in blocks of whole lines, and where reading resumes after a break.

use std::io;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// A longer line is cut.
const LINE_MAX_BYTES: usize = 1 << 20;

/// Reads whole lines, as many at a time as have arrived.
pub(super) struct Blocks<R> {
    reader: R,
    /// The beginning of a line whose end has not arrived.
    rest: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Blocks<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            rest: Vec::new(),
        }
    }

    /// The next lines, each with its end; `None` at the end of the log.
    pub(super) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let arrived = self.reader.fill_buf().await?;
            if arrived.is_empty() {
                if self.rest.is_empty() {
                    return Ok(None);
                }
                self.rest.push(b'\n');
                return Ok(Some(std::mem::take(&mut self.rest).into()));
            }
            let (length, whole) = (arrived.len(), memchr::memrchr(b'\n', arrived));
            let Some(end) = whole else {
                self.rest.extend_from_slice(arrived);
                self.reader.consume(length);
                if self.rest.len() < LINE_MAX_BYTES {
                    continue;
                }
                self.rest.push(b'\n');
                return Ok(Some(std::mem::take(&mut self.rest).into()));
            };
            let mut block = std::mem::take(&mut self.rest);
            block.extend_from_slice(&arrived[..=end]);
            self.rest.extend_from_slice(&arrived[end + 1..]);
            self.reader.consume(length);
            return Ok(Some(block.into()));
        }
    }
}

/// The time at the start of a line, and what follows it. A line without one is all text.
pub fn split_time(line: &[u8]) -> (Option<Timestamp>, &[u8]) {
    let end = memchr::memchr(b' ', &line[..line.len().min(40)]);
    let parsed = end.and_then(|end| {
        let time = std::str::from_utf8(&line[..end]).ok()?;
        let looks_like_one = end >= 20 && time.as_bytes()[0].is_ascii_digit();
        Some((looks_like_one.then(|| time.parse().ok())??, end))
    });
    match parsed {
        Some((time, end)) => (Some(time), &line[end + 1..]),
        None => (None, line),
    }
}

/// The lines of a block, with their ends.
pub(super) fn lines(block: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    block.split_inclusive(|byte| *byte == b'\n')
}

/// How far a log was read: the time of its last line, and how many lines had that very time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) last: Option<Timestamp>,
    same: usize,
}

impl Mark {
    /// Moves on over a block.
    pub(super) fn advance(&mut self, block: &[u8]) {
        let mut times = lines(block).rev().filter_map(|line| split_time(line).0);
        let Some(last) = times.next() else {
            return;
        };
        let same = 1 + times.take_while(|time| *time == last).count();
        match self.last == Some(last) {
            true => self.same += same,
            false => *self = Self { last: Some(last), same },
        }
    }
}

/// Leaves out what was read before, from a log that was opened again.
#[derive(Debug)]
pub(super) struct Skip {
    until: Mark,
}

impl Skip {
    pub(super) fn new(until: Mark) -> Self {
        Self { until }
    }

    /// The part of a block that is new.
    pub(super) fn apply(&mut self, block: Bytes) -> Bytes {
        let Some(last) = self.until.last else {
            return block;
        };
        let mut at = 0;
        for line in lines(&block) {
            let known = match split_time(line).0 {
                Some(time) if time < last => true,
                Some(time) if time == last && self.until.same > 0 => {
                    self.until.same -= 1;
                    true
                }
                // A continuation belongs to the line before it.
                None => true,
                Some(_) => false,
            };
            if !known {
                self.until.last = None;
                break;
            }
            at += line.len();
        }
        block.slice(at..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn blocks_are_whole_lines() {
        let parts: &[&[u8]] = &[b"one\ntw", b"o", b"\nthree\n", b"four"];
        let parts = futures::stream::iter(parts.iter().map(|p| Ok::<_, io::Error>(*p)));
        let mut blocks = Blocks::new(tokio_util::io::StreamReader::new(parts));
        let mut seen = Vec::new();
        while let Some(block) = blocks.next().await.expect("a block") {
            seen.push(String::from_utf8_lossy(&block).into_owned());
        }
        assert_eq!(seen, ["one\n", "two\nthree\n", "four\n"]);
    }

    #[test]
    fn what_was_read_is_left_out_once() {
        let read = b"2026-01-01T00:00:00.5Z a\n2026-01-01T00:00:00.51Z b\n2026-01-01T00:00:00.51Z c\n";
        let mut mark = Mark::default();
        mark.advance(&read[..25]);
        mark.advance(&read[25..]);
        let mut skip = Skip::new(mark.clone());
        let again = [&read[..], b"2026-01-01T00:00:00.51Z d\n2026-01-01T00:00:00.6Z e\n"].concat();
        let new = skip.apply(again.into());
        assert_eq!(&new[..], b"2026-01-01T00:00:00.51Z d\n2026-01-01T00:00:00.6Z e\n");
        let later = Bytes::from_static(b"2026-01-01T00:00:00.1Z f\n");
        assert_eq!(skip.apply(later.clone()), later);
        // Cut between the two: one line of that time was read.
        let mut mark = Mark::default();
        mark.advance(&read[..51]);
        let new = Skip::new(mark).apply(Bytes::from_static(read));
        assert_eq!(&new[..], b"2026-01-01T00:00:00.51Z c\n");
    }

    #[test]
    fn times_are_split_off() {
        let (time, text) = split_time(b"2026-01-01T00:00:00.5+02:00 hello world\n");
        assert_eq!(time.map(|t| t.to_string()).as_deref(), Some("2025-12-31T22:00:00.5Z"));
        assert_eq!(text, b"hello world\n");
        assert_eq!(split_time(b"no time\n"), (None, &b"no time\n"[..]));
        assert_eq!(split_time(b""), (None, &b""[..]));
    }
}
