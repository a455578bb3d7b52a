//! The database file: its schema, its settings, the statements that touch it, and words for its errors.
//!
//! One table is the log: a row for each revision, in the order of revisions, so that a group of writes
//! fills a few pages at the end of one tree. It has no index besides; `index` holds that in memory.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};

use crate::store::{Change, Event, Record, Revision, StoreError};

/// "MzSt": marks a file as a Mizzen store.
const APPLICATION_ID: i32 = 0x4d7a_5374;
/// Raised when the schema changes.
const FORMAT: i32 = 1;
/// Measured: larger pages make groups of 1 KiB rows cheaper, smaller ones single writes.
const PAGE_BYTES: i32 = 4096;
/// The writer's and each reader's page cache. The operating system caches the file anyway.
const WRITER_CACHE_KIB: i32 = 1024;
const READER_CACHE_KIB: i32 = 128;
/// Pages of the write-ahead log after which they move into the database.
const CHECKPOINT_PAGES: i32 = 1000;
/// The write-ahead log is cut back to this when a burst made it longer.
const WAL_LIMIT_BYTES: i32 = 16 << 20;

/// One row of the log.
#[derive(Clone, Debug)]
pub(super) struct LogRow {
    /// The change. Rows that are recovered do not know the key's previous value.
    pub(super) event: Event,
    /// Revision of the version before, 0 if there was none.
    pub(super) previous: Revision,
    /// When it was written, in milliseconds since 1970.
    pub(super) written_ms: u64,
    /// When the key is to be deleted, likewise.
    pub(super) expires_ms: Option<u64>,
}

/// What opening the store reads of each row: everything but the value.
#[derive(Debug)]
pub(super) struct LogHead {
    pub(super) revision: Revision,
    pub(super) key: Arc<str>,
    pub(super) created: Revision,
    pub(super) written_ms: u64,
    pub(super) expires_ms: Option<u64>,
    pub(super) value_bytes: usize,
    pub(super) deleted: bool,
}

impl From<&LogRow> for LogHead {
    fn from(row: &LogRow) -> Self {
        let record = &row.event.record;
        Self {
            revision: record.mod_revision,
            key: record.key.clone(),
            created: record.create_revision,
            written_ms: row.written_ms,
            expires_ms: row.expires_ms,
            value_bytes: record.value.len(),
            deleted: row.event.change == Change::Delete,
        }
    }
}

/// Says what failed with which file, in words for people.
pub(super) fn describe(path: &Path, doing: &str, error: &rusqlite::Error) -> StoreError {
    let path = path.display();
    let hint = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "; the disk is full: free some space, writes then work again by themselves",
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            "; the file is damaged: stop the server, keep a copy of the file and restore a backup"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "; check that the directory exists and can be written"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "; another program holds the file",
        _ => "",
    };
    StoreError::Engine(format!("cannot {doing} {path}: {error}{hint}"))
}

/// As [`describe`], for the files that are not a database.
pub(super) fn describe_io(path: &Path, doing: &str, error: &io::Error) -> StoreError {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull => "; the disk is full: free some space and try again",
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            "; check that the directory can be written"
        }
        _ => "",
    };
    StoreError::Engine(format!("cannot {doing} {}: {error}{hint}", path.display()))
}

/// A connection that knows which file it is of.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    connection: Connection,
}

impl LogFile {
    /// Opens or creates the file for writing.
    pub(super) fn open_writer(path: &Path) -> Result<Self, StoreError> {
        create_private(path)?;
        let file = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        file.prepare_schema().map_err(|error| describe(path, "open", &error))?;
        file.check_format()?;
        Ok(file)
    }

    /// Opens the file for reading, beside the writer.
    pub(super) fn open_reader(path: &Path) -> Result<Self, StoreError> {
        let file = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let settings = format!("PRAGMA cache_size = -{READER_CACHE_KIB};");
        file.connection
            .execute_batch(&settings)
            .map_err(|error| describe(path, "open", &error))?;
        Ok(file)
    }

    fn connect(path: &Path, mode: OpenFlags) -> Result<Self, StoreError> {
        let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(|error| describe(path, "open", &error))?;
        Ok(Self {
            path: path.to_owned(),
            connection,
        })
    }

    fn prepare_schema(&self) -> Result<(), rusqlite::Error> {
        // The page size and the vacuum mode count only before the first table is made.
        self.connection.execute_batch(&format!(
            "PRAGMA page_size = {PAGE_BYTES};
             PRAGMA auto_vacuum = INCREMENTAL;
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA cache_size = -{WRITER_CACHE_KIB};
             PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
             PRAGMA journal_size_limit = {WAL_LIMIT_BYTES};"
        ))?;
        let version: i32 = self
            .connection
            .pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == 0 {
            self.connection.execute_batch(&format!(
                "BEGIN IMMEDIATE;
                 CREATE TABLE IF NOT EXISTS log (
                   revision INTEGER PRIMARY KEY,
                   key      TEXT    NOT NULL,
                   created  INTEGER NOT NULL, -- revision
                   previous INTEGER NOT NULL, -- revision of the version before, 0 if there was none
                   written  INTEGER NOT NULL, -- milliseconds since 1970
                   expires  INTEGER,          -- likewise
                   value    BLOB              -- null in a deletion
                 );
                 CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
                 PRAGMA application_id = {APPLICATION_ID};
                 PRAGMA user_version = {FORMAT};
                 COMMIT;"
            ))?;
        }
        Ok(())
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let pragma = |name| {
            self.connection
                .pragma_query_value(None, name, |row| row.get::<_, i32>(0))
                .map_err(|error| describe(&self.path, "open", &error))
        };
        let path = self.path.display();
        if pragma("application_id")? != APPLICATION_ID {
            return Err(StoreError::Engine(format!(
                "cannot open {path}: it is some other program's database"
            )));
        }
        let format = pragma("user_version")?;
        if format != FORMAT {
            return Err(StoreError::Engine(format!(
                "cannot open {path}: it has format {format}, this version knows format {FORMAT}; \
                 use the version that wrote it"
            )));
        }
        Ok(())
    }

    /// The path, for errors.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn error(&self, doing: &str) -> impl FnOnce(rusqlite::Error) -> StoreError {
        move |error| describe(&self.path, doing, &error)
    }

    /// A number kept beside the log.
    pub(super) fn meta<T: rusqlite::types::FromSql>(&self, name: &str) -> Result<Option<T>, StoreError> {
        self.connection
            .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
            .optional()
            .map_err(self.error("read"))
    }

    /// Calls `each` with every row of the log in order.
    pub(super) fn scan(&self, mut each: impl FnMut(LogHead)) -> Result<(), StoreError> {
        let mut read = || -> Result<(), rusqlite::Error> {
            let mut statement = self
                .connection
                .prepare("SELECT revision, key, created, written, expires, length(value) FROM log ORDER BY revision")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let value_bytes: Option<usize> = row.get(5)?;
                each(LogHead {
                    revision: row.get(0)?,
                    key: text(row, 1)?,
                    created: row.get(2)?,
                    written_ms: row.get(3)?,
                    expires_ms: row.get(4)?,
                    value_bytes: value_bytes.unwrap_or(0),
                    deleted: value_bytes.is_none(),
                });
            }
            Ok(())
        };
        read().map_err(self.error("read"))
    }

    /// Commits what `work` does, durably; or nothing of it.
    pub(super) fn transaction(&self, work: impl FnOnce(&Self) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let run = |sql: &str| self.connection.prepare_cached(sql)?.execute([]).map(drop);
        run("BEGIN IMMEDIATE").map_err(self.error("write"))?;
        let done = work(self).and_then(|()| run("COMMIT").map_err(self.error("write")));
        if done.is_err() && !self.connection.is_autocommit() {
            // When even this fails, the next BEGIN says so.
            drop(run("ROLLBACK"));
        }
        done
    }

    /// Appends rows; inside a transaction.
    pub(super) fn append<'a>(&self, rows: impl Iterator<Item = &'a LogRow>) -> Result<(), StoreError> {
        let write = || -> Result<(), rusqlite::Error> {
            let mut insert = self
                .connection
                .prepare_cached("INSERT INTO log VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
            for row in rows {
                let record = &row.event.record;
                insert.execute(params![
                    record.mod_revision,
                    &*record.key,
                    record.create_revision,
                    row.previous,
                    row.written_ms,
                    row.expires_ms,
                    (row.event.change == Change::Put).then_some(&*record.value),
                ])?;
            }
            Ok(())
        };
        write().map_err(self.error("write"))
    }

    /// Removes rows; inside a transaction.
    pub(super) fn remove(&self, revisions: &[Revision]) -> Result<(), StoreError> {
        let write = || -> Result<(), rusqlite::Error> {
            let mut delete = self.connection.prepare_cached("DELETE FROM log WHERE revision = ?1")?;
            revisions
                .iter()
                .try_for_each(|revision| delete.execute([revision]).map(drop))
        };
        write().map_err(self.error("compact"))
    }

    /// Sets a value kept beside the log; inside a transaction.
    pub(super) fn set_meta(&self, name: &str, value: impl rusqlite::ToSql) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")
            .and_then(|mut statement| statement.execute(params![name, value]))
            .map(drop)
            .map_err(self.error("write"))
    }

    /// The value that a revision wrote; `None` when compaction took the row.
    pub(super) fn value(&self, revision: Revision) -> Result<Option<Bytes>, StoreError> {
        let read = || -> Result<Option<Bytes>, rusqlite::Error> {
            let mut statement = self
                .connection
                .prepare_cached("SELECT value FROM log WHERE revision = ?1")?;
            let mut rows = statement.query([revision])?;
            rows.next()?.map(|row| blob(row, 0)).transpose()
        };
        read().map_err(self.error("read"))
    }

    /// Values of several revisions at one moment, but those `known`; `None` when compaction took any of them.
    pub(super) fn values(
        &self,
        revisions: &[Revision],
        known: &HashMap<Revision, Bytes>,
    ) -> Result<Option<Vec<Bytes>>, StoreError> {
        let snapshot = self.connection.unchecked_transaction().map_err(self.error("read"))?;
        let value = |revision| {
            known
                .get(revision)
                .map_or_else(|| self.value(*revision), |value| Ok(Some(value.clone())))
        };
        let values = revisions.iter().map(value).collect();
        drop(snapshot);
        values
    }

    /// Up to `limit` changes of keys in `[start, end)` with revisions from `from` through `through`.
    pub(super) fn changes(
        &self,
        (start, end): (&str, &str),
        (from, through): (Revision, Revision),
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let read = || -> Result<Vec<Event>, rusqlite::Error> {
            let mut statement = self.connection.prepare_cached(
                "SELECT log.revision, log.key, log.created, log.value,
                        before.revision, before.created, before.value
                 FROM log LEFT JOIN log AS before ON before.revision = log.previous
                 WHERE log.revision BETWEEN ?1 AND ?2 AND log.key >= ?3 AND log.key < ?4
                 ORDER BY log.revision LIMIT ?5",
            )?;
            statement
                .query_map(params![from, through, start, end, limit as u64], |row| {
                    let key = text(row, 1)?;
                    let change = if row.get_ref(3)?.as_blob_or_null()?.is_some() {
                        Change::Put
                    } else {
                        Change::Delete
                    };
                    let previous = match row.get::<_, Option<Revision>>(4)? {
                        None => None,
                        Some(mod_revision) => Some(Record {
                            key: key.clone(),
                            value: blob(row, 6)?,
                            create_revision: row.get(5)?,
                            mod_revision,
                        }),
                    };
                    let (mod_revision, create_revision) = (row.get(0)?, row.get(2)?);
                    let record = Record {
                        key,
                        value: blob(row, 3)?,
                        create_revision,
                        mod_revision,
                    };
                    Ok(Event {
                        change,
                        record,
                        previous,
                    })
                })?
                .collect()
        };
        read().map_err(self.error("read"))
    }

    /// Gives up to `pages` unused pages back to the file system, when many are unused. Whether more remain.
    pub(super) fn shrink(&self, pages: u32) -> Result<bool, StoreError> {
        let work = || -> Result<bool, rusqlite::Error> {
            let pragma = |name| {
                self.connection
                    .pragma_query_value(None, name, |row| row.get::<_, u32>(0))
            };
            let (unused, all) = (pragma("freelist_count")?, pragma("page_count")?);
            // Some slack stays: the next writes want it.
            if unused < 1024.max(all / 4) {
                return Ok(false);
            }
            // It moves one page for each row that is asked for.
            let mut vacuum = self
                .connection
                .prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
            let mut moved = vacuum.query([])?;
            while moved.next()?.is_some() {}
            Ok(true)
        };
        work().map_err(self.error("shrink"))
    }
}

fn text(row: &Row<'_>, column: usize) -> Result<Arc<str>, rusqlite::Error> {
    Ok(row.get_ref(column)?.as_str()?.into())
}

fn blob(row: &Row<'_>, column: usize) -> Result<Bytes, rusqlite::Error> {
    let value = row.get_ref(column)?.as_blob_or_null()?;
    Ok(value.map(Bytes::copy_from_slice).unwrap_or_default())
}

/// Makes a directory for the owner's eyes only: Secrets come into it.
pub(super) fn create_directory(directory: &Path) -> Result<(), StoreError> {
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(directory);
    made.map_err(|error| describe_io(directory, "create", &error))
}

/// Makes the file likewise. The files that SQLite puts beside it take over its mode.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let mut options = fs::OpenOptions::new();
    let opened = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    opened.map(drop).map_err(|error| describe_io(path, "open", &error))
}
