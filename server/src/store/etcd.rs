//! The engine for several servers: etcd, reached through `etcd-client`.
//!
//! Keys, revisions, conditions and watches are etcd's own; a conditional write is one transaction.
//! `connection` decides which member is asked, `watch` follows changes over the death of members,
//! `leases` lets keys end.
//!
//! Tasks: one, which compacts ([`HISTORY`]); every server asks, and for etcd it is the same which one was
//! first. It ends with the store.
//!
//! Invariants: an answer is given only once a quorum has the write on disk; reads are linearizable. When
//! nobody knows whether a write has happened, it is not sent again: the key is read, and only when it
//! shows the write is the answer a success. A relaxed write is like any other, for it is on several
//! machines' disks anyway.

mod connection;
mod leases;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Client, CompactionOptions, Compare, CompareOp, DeleteOptions, Error, GetOptions, GetResponse, KeyValue, PutOptions,
    ResponseHeader, Txn, TxnOp, TxnOpResponse, TxnResponse,
};
use futures::FutureExt;
use tokio_util::task::AbortOnDropHandle;

pub use self::connection::EtcdOptions;
use self::connection::{Connection, Effect, is, may_be_done, store_error};
use self::leases::Leases;
use super::{Expect, Put, Range, RangeResult, Record, Revision, Store, StoreError, Watch};

/// How much history is kept; upstream's `--etcd-compaction-interval`.
pub const HISTORY: Duration = Duration::from_secs(300);

const COMPACTED: &str = "required revision has been compacted";
const FUTURE: &str = "required revision is a future revision";
const LEASE_GONE: &str = "requested lease not found";

/// Read for the revision that comes with every answer.
const ANY_KEY: &str = "/registry/";

/// See the module.
pub struct EtcdStore {
    core: Arc<Core>,
    leases: Leases,
    _compactor: AbortOnDropHandle<()>,
}

/// What requests, watches and the compactor share.
struct Core {
    connection: Connection,
    /// The newest revision that somebody was told of and may wait for.
    asked: tokio::sync::watch::Sender<Revision>,
}

impl EtcdStore {
    /// Connects to etcd, and waits for it as long as it is away.
    pub async fn open(options: &EtcdOptions) -> Result<Self, StoreError> {
        let core = Arc::new(Core {
            connection: Connection::new(options)?,
            asked: tokio::sync::watch::channel(0).0,
        });
        while let Err(error) = core.revision().await {
            match error {
                StoreError::Unavailable(why) => tracing::warn!(why, "the datastore does not answer, trying again"),
                error => return Err(error),
            }
        }
        let compactor = tokio::spawn(compact_regularly(core.clone(), HISTORY));
        Ok(Self {
            core,
            leases: Leases::default(),
            _compactor: AbortOnDropHandle::new(compactor),
        })
    }

    async fn write(&self, put: &Put) -> Result<TxnResponse, Error> {
        let lease = match put.ttl {
            Some(ttl) => self.leases.get(&self.core.connection, ttl).await?,
            None => 0,
        };
        let keys_only = GetOptions::new().with_keys_only();
        let write = [
            TxnOp::put(&*put.key, &*put.value, Some(PutOptions::new().with_lease(lease))),
            TxnOp::get(&*put.key, Some(keys_only)),
        ];
        let txn = Txn::new()
            .when(conditions(&put.key, put.expect))
            .and_then(write)
            .or_else([TxnOp::get(&*put.key, None)]);
        self.core.transact(txn).await
    }

    /// Whether a write of which nobody knows has happened after all.
    async fn find_out(&self, put: &Put, error: StoreError) -> Result<Record, StoreError> {
        let before = match put.expect {
            Expect::Revision(revision) => revision,
            Expect::Any | Expect::Absent => 0,
        };
        match self.get(&put.key, None).await {
            Ok(Some(record)) if record.value == put.value && record.mod_revision > before => Ok(record),
            _ => Err(error),
        }
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.core.revision().await
    }

    async fn get(&self, key: &str, revision: Option<Revision>) -> Result<Option<Record>, StoreError> {
        let mut answer = self.core.read(key, GetOptions::new(), revision).await?;
        Ok(answer.take_kvs().into_iter().next().map(record))
    }

    async fn range(&self, range: Range) -> Result<RangeResult, StoreError> {
        let options = GetOptions::new()
            .with_range(&*range.end)
            .with_limit(i64::try_from(range.limit).unwrap_or(0));
        let mut answer = self.core.read(&range.start, options, range.revision).await?;
        let revision = range.revision.unwrap_or_else(|| revision_of(answer.header()));
        let total = usize::try_from(answer.count()).unwrap_or(0);
        let records: Vec<_> = answer.take_kvs().into_iter().map(record).collect();
        Ok(RangeResult {
            remaining: total.saturating_sub(records.len()),
            records,
            revision,
        })
    }

    async fn put(&self, put: Put) -> Result<Record, StoreError> {
        let mut answer = self.write(&put).await;
        if answer.as_ref().is_err_and(|error| is(error, LEASE_GONE)) {
            self.leases.forget().await;
            answer = self.write(&put).await;
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if may_be_done(&error) => return self.find_out(&put, store_error(error)).await,
            Err(error) => return Err(store_error(error)),
        };
        let found = first_kv(&answer);
        if !answer.succeeded() {
            let current = found.map(|kv| Box::new(record(kv)));
            return Err(StoreError::Conflict { current });
        }
        let mod_revision = revision_of(answer.header());
        Ok(Record {
            create_revision: found.map_or(mod_revision, |kv| kv.create_revision() as Revision),
            key: put.key,
            value: put.value,
            mod_revision,
        })
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<(Record, Revision), StoreError> {
        if expect == Expect::Absent {
            let current = self.get(key, None).await?.map(Box::new);
            return Err(StoreError::Conflict { current });
        }
        let mut when = conditions(key, expect);
        when.push(Compare::create_revision(key, CompareOp::Greater, 0));
        let txn = Txn::new()
            .when(when)
            .and_then([TxnOp::delete(key, Some(DeleteOptions::new().with_prev_key()))])
            .or_else([TxnOp::get(key, None)]);
        let answer = self.core.transact(txn).await.map_err(store_error)?;
        let found = first_kv(&answer).map(record);
        match found {
            Some(record) if answer.succeeded() => Ok((record, revision_of(answer.header()))),
            found => Err(StoreError::Conflict {
                current: found.map(Box::new),
            }),
        }
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        watch::watch(self.core.clone(), prefix, from).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.core.compact(revision).await
    }
}

impl Core {
    async fn revision(&self) -> Result<Revision, StoreError> {
        let answer = self.read(ANY_KEY, GetOptions::new().with_count_only(), None).await?;
        let revision = revision_of(answer.header());
        self.asked.send_if_modified(|asked| {
            let newer = revision > *asked;
            *asked = revision.max(*asked);
            newer
        });
        Ok(revision)
    }

    async fn read(
        &self,
        key: &str,
        options: GetOptions,
        revision: Option<Revision>,
    ) -> Result<GetResponse, StoreError> {
        // To etcd, 0 is now.
        let at = revision.map_or(0, |revision| signed(revision.max(1)));
        let options = options.with_revision(at);
        let get = |client: Client| {
            let (key, options) = (key.to_owned(), options.clone());
            let mut keys = client.kv_client().max_decoding_message_size(usize::MAX);
            async move { keys.get(key, Some(options)).await }.boxed()
        };
        match self.connection.call(Effect::Read, &get).await {
            Ok(answer) => Ok(answer),
            Err(error) if is(&error, COMPACTED) => Err(StoreError::Compacted {
                oldest: self.oldest().await?,
            }),
            Err(error) if is(&error, FUTURE) => Err(StoreError::Future {
                current: Box::pin(self.revision()).await?,
            }),
            Err(error) => Err(store_error(error)),
        }
    }

    async fn check_readable(&self, revision: Revision) -> Result<(), StoreError> {
        let options = GetOptions::new().with_count_only();
        self.read(ANY_KEY, options, Some(revision)).await.map(drop)
    }

    async fn transact(&self, txn: Txn) -> Result<TxnResponse, Error> {
        let send = |client: Client| {
            let (txn, mut keys) = (txn.clone(), client.kv_client().max_decoding_message_size(usize::MAX));
            async move { keys.txn(txn).await }.boxed()
        };
        self.connection.call(Effect::Write, &send).await
    }

    /// The oldest revision that can be watched from: the one after what was compacted. etcd tells it to
    /// whoever asks for what is gone.
    async fn oldest(&self) -> Result<Revision, StoreError> {
        let ask = |client: Client| ask_oldest(client).boxed();
        self.connection.call(Effect::Read, &ask).await.map_err(store_error)
    }

    /// One less than asked for stays, so that the oldest event that can be watched has the state before it.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        let current = self.revision().await?;
        if revision > current {
            return Err(StoreError::Future { current });
        }
        if revision <= 1 {
            return Ok(());
        }
        let compact = |client: Client| {
            let options = CompactionOptions::new();
            async move { client.kv_client().compact(signed(revision - 1), Some(options)).await }.boxed()
        };
        match self.connection.call(Effect::Read, &compact).await {
            Ok(_) => Ok(()),
            Err(error) if is(&error, COMPACTED) => match self.oldest().await? {
                oldest if oldest <= revision => Ok(()),
                oldest => Err(StoreError::Compacted { oldest }),
            },
            Err(error) => Err(store_error(error)),
        }
    }
}

async fn ask_oldest(client: Client) -> Result<Revision, Error> {
    let options = etcd_client::WatchOptions::new().with_start_revision(1);
    let mut stream = client.watch_client().watch(ANY_KEY, Some(options)).await?;
    while let Some(answer) = stream.message().await? {
        if answer.compact_revision() > 0 {
            return Ok(answer.compact_revision() as Revision + 1);
        }
    }
    Err(Error::WatchError("the stream ended".to_owned()))
}

/// Compacts to where the store was one `interval` ago, again and again.
async fn compact_regularly(core: Arc<Core>, interval: Duration) {
    let mut before = None;
    loop {
        if let Some(revision) = before {
            match core.compact(revision).await {
                Ok(()) | Err(StoreError::Compacted { .. }) => {}
                Err(error) => tracing::warn!(%error, "cannot compact the datastore"),
            }
        }
        before = core.revision().await.ok();
        tokio::time::sleep(interval).await;
    }
}

fn conditions(key: &str, expect: Expect) -> Vec<Compare> {
    match expect {
        Expect::Any => Vec::new(),
        Expect::Absent => vec![Compare::create_revision(key, CompareOp::Equal, 0)],
        // 0 would be a key that does not exist. No key has revision 1: that is where etcd starts.
        Expect::Revision(revision) => vec![Compare::mod_revision(key, CompareOp::Equal, signed(revision.max(1)))],
    }
}

/// The key that a transaction found or deleted.
fn first_kv(answer: &TxnResponse) -> Option<KeyValue> {
    answer.op_responses().into_iter().find_map(|response| match response {
        TxnOpResponse::Get(mut got) => got.take_kvs().into_iter().next(),
        TxnOpResponse::Delete(mut deleted) => deleted.take_prev_kvs().into_iter().next(),
        TxnOpResponse::Put(_) | TxnOpResponse::Txn(_) => None,
    })
}

fn record(kv: KeyValue) -> Record {
    let (create_revision, mod_revision) = (kv.create_revision() as Revision, kv.mod_revision() as Revision);
    let (key, value) = kv.into_key_value();
    Record {
        key: String::from_utf8_lossy(&key).into(),
        value: Bytes::from(value),
        create_revision,
        mod_revision,
    }
}

fn revision_of(header: Option<&ResponseHeader>) -> Revision {
    header.map_or(0, ResponseHeader::revision) as Revision
}

fn signed(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
