//! Which servers answer, when there are several: upstream's lease reconciler.
//!
//! Each server keeps a key of its own alive (`/registry/masterleases/ADDRESS`) and watches those of all.
//! Whenever they change it brings the `kubernetes` Endpoints and EndpointSlice in line with them. All
//! servers do so; who is not first finds nothing to do.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures::StreamExt;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::bootstrap;
use crate::store::copy::SERVERS;
use crate::store::{Durability, Expect, Put, Range, Store, StoreError, prefix_end};

/// How long a server that says nothing is still believed to be there; upstream's.
const LEASE: Duration = Duration::from_secs(15);
/// How often it says so; upstream's.
const RENEW: Duration = Duration::from_secs(10);
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Tells of this server and publishes all of them, until stopped; then this one is taken out.
pub async fn run(
    store: Arc<dyn Store>,
    client: kube::Client,
    address: SocketAddr,
    stop: CancellationToken,
) -> Result<()> {
    let presence = Presence { store, client, address };
    tokio::select! {
        () = stop.cancelled() => {}
        () = presence.tell() => {}
        () = presence.publish() => {}
    }
    // Upstream's servers leave as politely; who cannot is forgotten after a while.
    let left = tokio::time::timeout(RETRY, presence.leave()).await;
    if !matches!(left, Ok(Ok(()))) {
        tracing::debug!("cannot sign off: the others will notice");
    }
    Ok(())
}

struct Presence {
    store: Arc<dyn Store>,
    client: kube::Client,
    address: SocketAddr,
}

impl Presence {
    fn key(&self) -> String {
        format!("{SERVERS}{}", self.address.ip())
    }

    async fn tell(&self) {
        let endpoints = json!({"kind": "Endpoints", "apiVersion": "v1", "metadata": {},
            "subsets": [{"addresses": [{"ip": self.address.ip().to_string()}]}]});
        let value = Bytes::from(endpoints.to_string());
        loop {
            let put = Put {
                key: self.key().into(),
                value: value.clone(),
                expect: Expect::Any,
                ttl: Some(LEASE),
                durability: Durability::Relaxed,
            };
            let told = self.store.put(put).await;
            if let Err(error) = &told {
                tracing::warn!(%error, "cannot tell the other servers that this one is there");
            }
            tokio::time::sleep(if told.is_ok() { RENEW } else { RETRY }).await;
        }
    }

    async fn publish(&self) {
        let mut published = BTreeSet::new();
        loop {
            if let Err(error) = self.follow(&mut published).await {
                tracing::warn!("cannot publish the servers: {error:#}");
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn follow(&self, published: &mut BTreeSet<String>) -> Result<()> {
        let from = self.store.revision().await? + 1;
        let mut watch = self.store.watch(SERVERS, from).await?;
        loop {
            let servers = self.servers().await?;
            // Ourselves are there, even when the key is only just being written.
            if servers != *published && servers.contains(&self.address.ip().to_string()) {
                let addresses: Vec<_> = servers.iter().cloned().collect();
                bootstrap::publish_servers(self.client.clone(), &addresses, self.address).await?;
                *published = servers;
            }
            match watch.next().await {
                Some(batch) => drop(batch?),
                None => return Ok(()),
            }
        }
    }

    async fn servers(&self) -> Result<BTreeSet<String>, StoreError> {
        let range = Range {
            start: SERVERS.to_owned(),
            end: prefix_end(SERVERS),
            limit: 0,
            revision: None,
        };
        let found = self.store.range(range).await?.records;
        Ok(found.iter().map(|record| record.key.replace(SERVERS, "")).collect())
    }

    async fn leave(&self) -> Result<(), StoreError> {
        match self.store.delete(&self.key(), Expect::Any).await {
            Ok(_) | Err(StoreError::Conflict { current: None }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
