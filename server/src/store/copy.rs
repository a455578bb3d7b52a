//! Moves a cluster from one store to another while nothing serves it.
//!
//! Objects are written in the order in which they were created, so that whoever goes by age or by
//! revision of creation finds the same order; the revisions themselves are the new store's. What servers
//! keep only while they run ([`is_transient`]) stays behind. Afterwards all is read back and compared.

use std::time::Duration;

use super::{Durability, Expect, Put, Range, Record, Store, StoreError, prefix_end};

/// Prefix of all that belongs to a cluster.
const ROOT: &str = "/registry/";
/// Servers that are alive: they tell that a store is in use.
pub const SERVERS: &str = "/registry/masterleases/";
/// What requests hold while they are under way.
pub const RESERVATIONS: &str = "/registry/ranges/";
/// Events end by themselves; how long they have left is not kept, so they start anew.
const EVENTS: &str = "/registry/events/";
/// Upstream's `--event-ttl`.
pub const EVENT_TTL: Duration = Duration::from_secs(3600);
/// Records per request.
const PAGE: usize = 500;

/// Why a cluster was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A server runs on the source.
    #[error("servers run on the source ({0}); stop them first, one that was killed is forgotten after 15 s")]
    InUse(String),
    /// The destination has a cluster.
    #[error("the destination is not empty: it has {0}; remove its data first")]
    NotEmpty(String),
    /// What was written is not what was read.
    #[error("the copy differs from the source at {0}; remove the destination's data and copy again")]
    Differs(String),
    /// A store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Copies everything; answers with how many objects that were.
pub async fn copy(from: &dyn Store, to: &dyn Store) -> Result<usize, CopyError> {
    let servers = read(from, SERVERS).await?;
    if !servers.is_empty() {
        let names = servers.iter().map(|record| record.key.trim_start_matches(SERVERS));
        return Err(CopyError::InUse(names.collect::<Vec<_>>().join(", ")));
    }
    let any = Range {
        start: ROOT.to_owned(),
        end: prefix_end(ROOT),
        limit: 1,
        revision: None,
    };
    if let Some(record) = to.range(any).await?.records.first() {
        return Err(CopyError::NotEmpty(record.key.to_string()));
    }
    let mut records = read(from, ROOT).await?;
    records.retain(|record| !is_transient(&record.key));
    records.sort_by_key(|record| record.create_revision);
    let last = records.len().saturating_sub(1);
    for (number, record) in records.iter().enumerate() {
        let put = Put {
            key: record.key.clone(),
            value: record.value.clone(),
            expect: Expect::Absent,
            ttl: record.key.starts_with(EVENTS).then_some(EVENT_TTL),
            // The last one takes all before it to the disk.
            durability: if number == last {
                Durability::Synced
            } else {
                Durability::Relaxed
            },
        };
        to.put(put).await?;
    }
    verify(to, records).await
}

async fn verify(to: &dyn Store, mut expected: Vec<Record>) -> Result<usize, CopyError> {
    expected.sort_by(|one, other| one.key.cmp(&other.key));
    let found = read(to, ROOT).await?;
    let same = |(one, other): &(&Record, &Record)| one.key == other.key && one.value == other.value;
    let wrong = expected
        .iter()
        .zip(&found)
        .find(|pair| !same(pair))
        .map(|(one, _)| &one.key);
    let wrong = wrong.or_else(|| {
        expected
            .get(found.len())
            .or(found.get(expected.len()))
            .map(|record| &record.key)
    });
    match wrong {
        Some(key) => Err(CopyError::Differs(key.to_string())),
        None => Ok(expected.len()),
    }
}

/// Whether a key means something only while servers run.
pub fn is_transient(key: &str) -> bool {
    key.starts_with(SERVERS) || key.starts_with(RESERVATIONS)
}

/// All records under a prefix, of one revision.
async fn read(store: &dyn Store, prefix: &str) -> Result<Vec<Record>, StoreError> {
    let mut range = Range {
        start: prefix.to_owned(),
        end: prefix_end(prefix),
        limit: PAGE,
        revision: None,
    };
    let mut all = Vec::new();
    loop {
        let page = store.range(range.clone()).await?;
        range.revision = Some(page.revision);
        range.start = page
            .records
            .last()
            .map(|last| format!("{}\0", last.key))
            .unwrap_or_default();
        all.extend(page.records);
        if page.remaining == 0 {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::{SqliteOptions, SqliteStore};
    use crate::store::suite::write;

    #[tokio::test]
    async fn a_copy_keeps_everything_and_the_order_of_creation() {
        let directory = tempfile::tempdir().unwrap();
        let open = |name| SqliteStore::open(&directory.path().join(name), SqliteOptions::default()).unwrap();
        let (from, to) = (open("from"), open("to"));
        for name in ["pods/b", "pods/a", "events/e", "pods/c"] {
            let key = format!("{ROOT}{name}");
            from.put(write(&key, name, Expect::Absent)).await.unwrap();
        }
        from.put(write("/registry/pods/b", "changed", Expect::Any))
            .await
            .unwrap();
        from.put(write("/registry/ranges/x", "held", Expect::Any))
            .await
            .unwrap();
        assert_eq!(copy(&from, &to).await.unwrap(), 4);
        let mut copied = read(&to, ROOT).await.unwrap();
        copied.sort_by_key(|record| record.create_revision);
        let text = |record: &Record| format!("{}={}", record.key, String::from_utf8_lossy(&record.value));
        let copied: Vec<_> = copied.iter().map(text).collect();
        assert_eq!(
            copied.join(" "),
            "/registry/pods/b=changed /registry/pods/a=pods/a /registry/events/e=events/e /registry/pods/c=pods/c"
        );

        let again = copy(&from, &to).await.unwrap_err().to_string();
        assert!(again.starts_with("the destination is not empty"), "{again}");
        from.put(write("/registry/masterleases/192.0.2.1", "", Expect::Any))
            .await
            .unwrap();
        let used = copy(&from, &open("other")).await.unwrap_err().to_string();
        assert!(used.starts_with("servers run on the source (192.0.2.1)"), "{used}");
    }
}
