//! etcd's leases for keys that end by themselves: one for all keys written within a short while, as
//! upstream does it, so that a storm of Events is not one of leases too.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use etcd_client::Error;
use futures::FutureExt;
use tokio::sync::Mutex;

use super::connection::{Connection, Effect};

/// For this long at most, and for this part of the time to live, keys get the same lease.
const SHARED_FOR: Duration = Duration::from_secs(60);
const SHARED_PART: u32 = 20;
/// The keys of a lease end in one transaction: not too many of them.
const KEYS: usize = 1000;

/// The lease that new keys get, for each time to live.
#[derive(Default)]
pub(super) struct Leases(Mutex<HashMap<Duration, Lease>>);

struct Lease {
    id: i64,
    until: Instant,
    keys_left: usize,
}

impl Leases {
    /// A lease for a key that is to live for `ttl`.
    pub(super) async fn get(&self, connection: &Connection, ttl: Duration) -> Result<i64, Error> {
        let mut held = self.0.lock().await;
        if let Some(lease) = held.get_mut(&ttl).filter(|lease| lease.is_open()) {
            lease.keys_left -= 1;
            return Ok(lease.id);
        }
        let shared_for = SHARED_FOR.min(ttl / SHARED_PART);
        let seconds = (ttl + shared_for).as_secs_f64().ceil() as i64;
        // One lease too many ends by itself.
        let grant =
            move |client: etcd_client::Client| async move { client.lease_client().grant(seconds, None).await }.boxed();
        let id = connection.call(Effect::Read, &grant).await?.id();
        let lease = Lease {
            id,
            until: Instant::now() + shared_for,
            keys_left: KEYS - 1,
        };
        held.insert(ttl, lease);
        Ok(id)
    }

    /// Forgets all: one of them etcd does not know.
    pub(super) async fn forget(&self) {
        self.0.lock().await.clear();
    }
}

impl Lease {
    fn is_open(&self) -> bool {
        self.keys_left > 0 && Instant::now() < self.until
    }
}
