//! Relaxed writes on their way to the log: the file that keeps heartbeats from costing an fsync each.
//!
//! A relaxed write is one `pwrite` into a small preallocated file, over what it held before, so that an
//! idle cluster dirties one page again and again. That survives the death of the process. The rows wait
//! in memory too, for readers, until the next durable transaction takes them along into the log; then
//! the file starts over. After a crash [`RelaxedFile::recover`] reads what the log does not have yet.
//!
//! The file also carries the lock that keeps a second process (or a second store) away.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use sha2::{Digest, Sha256};

use super::file::{LogRow, describe_io};
use crate::store::{Change, Event, Record, Revision, StoreError};

/// At most so many relaxed rows wait for a durable transaction; so many revisions a power failure can
/// take with it.
pub(super) const WAITING_ROWS: usize = 1024;
/// Room for them: above an hour of one node's heartbeats.
const FILE_BYTES: usize = 256 << 10;
/// The file is never touched in larger pieces, nor read ahead: the kernel would hold it in larger pieces
/// then, and write all of one back for each heartbeat in it.
const PAGE_BYTES: usize = 4096;
/// Length and checksum in front of a row.
const HEAD_BYTES: usize = 4 + CHECKSUM_BYTES;
const CHECKSUM_BYTES: usize = 8;

/// See the module.
#[derive(Debug)]
pub(super) struct RelaxedFile {
    path: PathBuf,
    file: File,
    end: u64,
    buffer: Vec<u8>,
}

/// The lock belongs to the open file, of which a process that is just being started elsewhere in this one holds a copy
/// until it runs its program: closing ours is not enough to let the next store in at once.
impl Drop for RelaxedFile {
    fn drop(&mut self) {
        _ = self.file.unlock();
    }
}

impl RelaxedFile {
    /// Opens or creates the file that belongs to the database `path`, and locks it.
    pub(super) fn open(database: &Path) -> Result<Self, StoreError> {
        let mut path = database.as_os_str().to_owned();
        path.push("-relaxed");
        let path = PathBuf::from(path);
        let mut options = OpenOptions::new();
        let opened = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let file = opened.map_err(|error| describe_io(&path, "open", &error))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::Engine(format!(
                "cannot open {}: another process has it open; stop that one or use another data directory",
                database.display()
            )),
            TryLockError::Error(error) => describe_io(&path, "lock", &error),
        })?;
        preallocate(&file).map_err(|error| describe_io(&path, "create", &error))?;
        Ok(Self {
            path,
            file,
            end: 0,
            buffer: Vec::new(),
        })
    }

    /// The rows that follow revision `after` without a gap.
    pub(super) fn recover(&self, after: Revision) -> Result<Vec<LogRow>, StoreError> {
        let content = self.read().map_err(|error| describe_io(&self.path, "read", &error))?;
        let (mut rest, mut rows, mut last) = (&*content, Vec::new(), after);
        while let Some(row) = decode(&mut rest) {
            let revision = row.event.record.mod_revision;
            // Anything but the next one is left over from before the file last started over.
            if revision == last + 1 {
                last = revision;
                rows.push(row);
            }
        }
        Ok(rows)
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let mut content = vec![0; FILE_BYTES];
        for (number, page) in content.chunks_mut(PAGE_BYTES).enumerate() {
            self.file.read_exact_at(page, (number * PAGE_BYTES) as u64)?;
        }
        Ok(content)
    }

    /// Writes rows behind those that wait. `false` when there is no room for them.
    pub(super) fn append(&mut self, rows: &[LogRow]) -> Result<bool, StoreError> {
        self.buffer.clear();
        rows.iter().for_each(|row| encode(row, &mut self.buffer));
        let end = self.end + self.buffer.len() as u64;
        if end > FILE_BYTES as u64 {
            self.buffer = Vec::new();
            return Ok(false);
        }
        self.file
            .write_all_at(&self.buffer, self.end)
            .map_err(|error| describe_io(&self.path, "write", &error))?;
        self.end = end;
        Ok(true)
    }

    /// Starts over: the log has all rows now.
    pub(super) fn reset(&mut self) {
        self.end = 0;
    }
}

/// Takes the room once, so that later a full disk or a change of size is none of our worries.
fn preallocate(file: &File) -> io::Result<()> {
    posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM)?;
    if file.metadata()?.len() < FILE_BYTES as u64 {
        for start in (0..FILE_BYTES).step_by(PAGE_BYTES) {
            file.write_all_at(&[0; PAGE_BYTES], start as u64)?;
        }
        file.sync_all()?;
    }
    Ok(())
}

fn encode(row: &LogRow, buffer: &mut Vec<u8>) {
    let start = buffer.len();
    let record = &row.event.record;
    buffer.put_bytes(0, HEAD_BYTES);
    for number in [
        record.mod_revision,
        record.create_revision,
        row.previous,
        row.written_ms,
    ] {
        buffer.put_u64_le(number);
    }
    buffer.put_u64_le(row.expires_ms.unwrap_or(0));
    buffer.put_u8(u8::from(row.event.change == Change::Delete));
    buffer.put_u32_le(record.key.len() as u32);
    buffer.put_slice(record.key.as_bytes());
    buffer.put_slice(&record.value);
    let length = (buffer.len() - start - HEAD_BYTES) as u32;
    let checksum = checksum(&buffer[start + HEAD_BYTES..]);
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    buffer[start + 4..start + HEAD_BYTES].copy_from_slice(&checksum);
}

/// The next row; `None` where there is no whole one.
fn decode(rest: &mut &[u8]) -> Option<LogRow> {
    let length = rest.try_get_u32_le().ok()? as usize;
    let expect: [u8; CHECKSUM_BYTES] = rest.get(..CHECKSUM_BYTES)?.try_into().ok()?;
    let mut body = rest.get(CHECKSUM_BYTES..CHECKSUM_BYTES + length)?;
    if length == 0 || checksum(body) != expect {
        return None;
    }
    rest.advance(CHECKSUM_BYTES + length);
    let mod_revision = body.try_get_u64_le().ok()?;
    let create_revision = body.try_get_u64_le().ok()?;
    let previous = body.try_get_u64_le().ok()?;
    let written_ms = body.try_get_u64_le().ok()?;
    let expires_ms = Some(body.try_get_u64_le().ok()?).filter(|at_ms| *at_ms != 0);
    let change = if body.try_get_u8().ok()? == 0 {
        Change::Put
    } else {
        Change::Delete
    };
    let key_length = body.try_get_u32_le().ok()? as usize;
    let (key, value) = body.split_at_checked(key_length)?;
    let key = std::str::from_utf8(key).ok()?.into();
    let record = Record {
        key,
        value: Bytes::copy_from_slice(value),
        create_revision,
        mod_revision,
    };
    let event = Event {
        change,
        record,
        previous: None,
    };
    Some(LogRow {
        event,
        previous,
        written_ms,
        expires_ms,
    })
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest: [u8; 32] = Sha256::digest(body).into();
    std::array::from_fn(|at| digest[at])
}
