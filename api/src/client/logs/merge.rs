//! Several logs as one, in the order of their times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::io::AsyncBufRead;

use super::blocks::{Blocks, split_time};

/// Logs that end, merged line by line. A line without a time stays with the one before it.
pub(super) struct Merge<R> {
    logs: Vec<Log<R>>,
    /// The next line's time of each log that has one.
    heads: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

struct Log<R> {
    id: usize,
    blocks: Blocks<R>,
    block: Bytes,
    last: Timestamp,
}

impl<R: AsyncBufRead + Unpin> Log<R> {
    /// The time of the next line; `None` at the end.
    async fn head(&mut self) -> io::Result<Option<Timestamp>> {
        if self.block.is_empty() {
            match self.blocks.next().await? {
                Some(block) => self.block = block,
                None => return Ok(None),
            }
        }
        let end = memchr::memchr(b'\n', &self.block).map_or(self.block.len(), |at| at + 1);
        if let Some(time) = split_time(&self.block[..end]).0 {
            self.last = time;
        }
        Ok(Some(self.last))
    }

    fn take(&mut self) -> Bytes {
        let end = memchr::memchr(b'\n', &self.block).map_or(self.block.len(), |at| at + 1);
        self.block.split_to(end)
    }
}

impl<R: AsyncBufRead + Unpin> Merge<R> {
    /// Begins with the first line of each log.
    pub(super) async fn new(logs: impl IntoIterator<Item = (usize, R)>) -> io::Result<Self> {
        let mut merge = Self {
            logs: Vec::new(),
            heads: BinaryHeap::new(),
        };
        for (id, reader) in logs {
            let mut log = Log {
                id,
                blocks: Blocks::new(reader),
                block: Bytes::new(),
                last: Timestamp::MIN,
            };
            if let Some(time) = log.head().await? {
                merge.heads.push(Reverse((time, merge.logs.len())));
            }
            merge.logs.push(log);
        }
        Ok(merge)
    }

    /// The next line, of whichever log: its time and the log's id with it.
    pub(super) async fn next(&mut self) -> io::Result<Option<(usize, Timestamp, Bytes)>> {
        let Some(Reverse((time, index))) = self.heads.pop() else {
            return Ok(None);
        };
        let log = &mut self.logs[index];
        let (id, line) = (log.id, log.take());
        if let Some(next) = log.head().await? {
            self.heads.push(Reverse((next, index)));
        }
        Ok(Some((id, time, line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_in_the_order_of_time() {
        let a: &[u8] = b"2026-01-01T00:00:01Z a1\n2026-01-01T00:00:03Z a2\n at a2\n2026-01-01T00:00:04Z a3\n";
        let b: &[u8] = b"2026-01-01T00:00:02Z b1\n2026-01-01T00:00:03.5Z b2\n";
        let mut merge = Merge::new([(7, a), (8, b), (9, &b""[..])]).await.expect("heads");
        let mut seen = Vec::new();
        while let Some((id, _, line)) = merge.next().await.expect("a line") {
            let text = String::from_utf8_lossy(split_time(&line).1).trim_end().to_owned();
            seen.push(format!("{id} {text}"));
        }
        assert_eq!(seen, ["7 a1", "8 b1", "7 a2", "7  at a2", "8 b2", "7 a3"]);
    }
}
