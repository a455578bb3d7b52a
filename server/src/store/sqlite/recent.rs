//! The values that were written last, in memory: an object that was just written is what the next write starts from.

use std::collections::VecDeque;

use bytes::Bytes;

use super::file::LogRow;
use crate::store::Revision;

/// At most so many bytes of values.
const MAX_BYTES: usize = 4 << 20;
/// Older ones go when newer ones come: a server at rest keeps next to nothing.
const AGE_MS: u64 = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// In the order of revisions, with the time at which they were written.
    values: VecDeque<(Revision, u64, Bytes)>,
    bytes: usize,
}

impl Recent {
    /// The value that a revision wrote, if that was lately.
    pub(super) fn value(&self, revision: Revision) -> Option<Bytes> {
        let at = self.values.binary_search_by_key(&revision, |(at, ..)| *at).ok()?;
        Some(self.values[at].2.clone())
    }

    /// Takes in newer rows, and lets go of what is too much.
    pub(super) fn push(&mut self, rows: &[LogRow]) {
        for row in rows {
            let record = &row.event.record;
            self.bytes += record.value.len();
            let value = (record.mod_revision, row.written_ms, record.value.clone());
            self.values.push_back(value);
        }
        let now_ms = rows.last().map_or(0, |row| row.written_ms);
        while let Some((_, written_ms, value)) = self.values.front()
            && (self.bytes > MAX_BYTES || written_ms + AGE_MS < now_ms)
        {
            self.bytes -= value.len();
            self.values.pop_front();
        }
        // A burst should not keep its memory for ever.
        if self.values.capacity() > 1024 && self.values.len() * 4 < self.values.capacity() {
            self.values.shrink_to(self.values.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Change, Event, Record};

    fn row(revision: Revision, written_ms: u64, bytes: usize) -> LogRow {
        let record = Record {
            key: "key".into(),
            value: vec![revision as u8; bytes].into(),
            create_revision: 1,
            mod_revision: revision,
        };
        let event = Event {
            change: Change::Put,
            record,
            previous: None,
        };
        LogRow {
            event,
            previous: 0,
            written_ms,
            expires_ms: None,
        }
    }

    #[test]
    fn values_go_by_their_age_and_their_bytes() {
        let mut recent = Recent::default();
        // A revision that failed leaves a gap.
        recent.push(&[row(3, 0, 1), row(4, 0, 1), row(6, AGE_MS, 1)]);
        let held = |recent: &Recent| (1..10).filter(|n| recent.value(*n).is_some()).collect::<Vec<_>>();
        assert_eq!(held(&recent), [3, 4, 6]);
        assert_eq!(recent.value(6).as_deref(), Some(&[6][..]));
        recent.push(&[row(7, AGE_MS + 1, MAX_BYTES - 2)]);
        assert_eq!(held(&recent), [6, 7]);
        recent.push(&[row(8, AGE_MS + 1, 2)]);
        assert_eq!(held(&recent), [7, 8]);
        assert_eq!(recent.bytes, MAX_BYTES);
        // What is larger than all the room is read from the file.
        recent.push(&[row(9, AGE_MS + 1, MAX_BYTES + 1)]);
        assert_eq!((held(&recent), recent.bytes), (vec![], 0));
    }
}
