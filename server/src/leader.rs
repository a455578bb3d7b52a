//! One of several servers does the work: leader election by Lease, as upstream's components do it.
//!
//! [`lead`] runs a component while this server holds the Lease. The holder renews it every
//! [`RETRY_PERIOD`] and stops the component when it could not for [`RENEW_DEADLINE`]. Everybody else
//! watches the Lease and takes it when nobody has renewed it for as long as it says, by their own clock,
//! or at once when it was given back. The API server's optimistic concurrency lets one of them win.
//!
//! Upstream's times are 15 s, 10 s and 2 s. Ours are shorter, so that a server that dies is replaced
//! within 5 s; only a component's start is paid for a false alarm.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::BoxFuture;
use mizzen_api::client::reflector::{Reflector, Selector};
use mizzen_api::client::rest::{self, Gvr, Rest};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::projection::{Meta, projection};

/// How long a Lease holds without being renewed.
const LEASE_DURATION: Duration = Duration::from_secs(3);
/// How long the holder goes on without having renewed it.
const RENEW_DEADLINE: Duration = Duration::from_millis(2500);
/// How often it is renewed, or an attempt repeated.
const RETRY_PERIOD: Duration = Duration::from_secs(1);

const LEASES: Gvr<'static> = Gvr::new("coordination.k8s.io", "v1", "leases");
const NAMESPACE: &str = "kube-system";
/// How we name ourselves to the API server.
const AGENT: &str = "leader-election";

/// Who is elected for what.
#[derive(Clone)]
pub struct Candidate {
    /// Reads and writes the Lease.
    pub client: kube::Client,
    /// Name of the Lease, such as `kube-scheduler`.
    pub name: &'static str,
    /// Who we are: no two servers have the same.
    pub identity: String,
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidate")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Starts a component; it runs until the token is cancelled.
pub type Start = Box<dyn Fn(CancellationToken) -> Result<BoxFuture<'static, Result<()>>> + Send + Sync>;

/// Runs the component whenever, and as long as, this server leads.
pub async fn lead(candidate: Candidate, start: Start, stop: CancellationToken) -> Result<()> {
    let election = Election::new(candidate, &stop);
    loop {
        let acquired = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            acquired = election.acquire() => acquired,
        };
        tracing::info!(lease = election.candidate.name, "leading");
        let term = CancellationToken::new();
        let mut work = tokio::spawn(start(term.clone())?);
        let ended = tokio::select! {
            () = stop.cancelled() => None,
            () = election.hold(acquired) => None,
            ended = &mut work => Some(ended),
        };
        term.cancel();
        match ended {
            Some(ended) => {
                election.release().await;
                return ended?;
            }
            None => work.await??,
        }
        if stop.is_cancelled() {
            election.release().await;
            return Ok(());
        }
        tracing::warn!(lease = election.candidate.name, "not leading any more");
    }
}

/// The Lease as it is watched.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Lease {
    metadata: Meta,
    spec: Spec,
}
projection!(Lease, "coordination.k8s.io", "v1", "leases");

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    holder_identity: Box<str>,
    lease_duration_seconds: u64,
    renew_time: Box<str>,
}

struct Election {
    candidate: Candidate,
    rest: Rest,
    watched: Arc<Reflector<Lease>>,
    changed: Arc<Notify>,
}

impl Election {
    fn new(candidate: Candidate, stop: &CancellationToken) -> Self {
        let rest = Rest::new(candidate.client.clone(), AGENT);
        let selector = Selector {
            namespace: NAMESPACE.to_owned(),
            fields: format!("metadata.name={}", candidate.name),
            ..Selector::default()
        };
        let watched = Reflector::<Lease>::selected(LEASES, selector);
        let changed = Arc::new(Notify::new());
        let notify = changed.clone();
        watched.subscribe(move |_| notify.notify_one());
        tokio::spawn(watched.clone().run(rest.clone(), stop.clone()));
        Self {
            candidate,
            rest,
            watched,
            changed,
        }
    }

    /// Waits until the Lease is ours; answers with when it was known to be.
    async fn acquire(&self) -> Instant {
        self.watched.synced().await;
        let mut seen: Option<(Spec, Instant)> = None;
        loop {
            let lease = self.watched.get(NAMESPACE, self.candidate.name);
            let free_in = match &lease {
                None => Duration::ZERO,
                Some(lease) => {
                    let since = match &seen {
                        Some((spec, since)) if *spec == lease.spec => *since,
                        _ => Instant::now(),
                    };
                    seen = Some((lease.spec.clone(), since));
                    self.free_in(&lease.spec, since)
                }
            };
            if !free_in.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(free_in) => {}
                    () = self.changed.notified() => {}
                }
                continue;
            }
            let begin = Instant::now();
            match self.claim(lease.as_deref()).await {
                Ok(()) => return begin,
                Err(error) if rest::is_conflict(&error) || rest::is_already_exists(&error) => {}
                Err(error) => {
                    let error = rest::message(&error);
                    tracing::warn!(lease = self.candidate.name, error, "cannot take the lease");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY_PERIOD) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// How long the Lease is somebody else's, if nobody renews it.
    fn free_in(&self, spec: &Spec, since: Instant) -> Duration {
        if spec.holder_identity.is_empty() || *spec.holder_identity == *self.candidate.identity {
            return Duration::ZERO;
        }
        Duration::from_secs(spec.lease_duration_seconds).saturating_sub(since.elapsed())
    }

    /// Takes the Lease if it still is as it was seen.
    async fn claim(&self, seen: Option<&Lease>) -> rest::Result<()> {
        let now = now();
        let spec = |transitions: u64| {
            json!({"holderIdentity": self.candidate.identity, "leaseDurationSeconds": LEASE_DURATION.as_secs(),
                "acquireTime": now, "renewTime": now, "leaseTransitions": transitions})
        };
        let Some(seen) = seen else {
            let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": self.candidate.name, "namespace": NAMESPACE}, "spec": spec(0)});
            return self.rest.create::<Value>(&LEASES, NAMESPACE, &lease).await.map(drop);
        };
        let Some(mut lease) = self.read().await? else {
            return Err(stale());
        };
        if lease["metadata"]["resourceVersion"] != *seen.metadata.resource_version {
            return Err(stale());
        }
        let before = lease["spec"]["leaseTransitions"].as_u64().unwrap_or(0);
        let again = lease["spec"]["holderIdentity"] == *self.candidate.identity;
        lease["spec"] = spec(before + u64::from(!again));
        self.write(&lease).await
    }

    /// Renews the Lease until that fails for too long.
    async fn hold(&self, acquired: Instant) {
        let mut renewed = acquired;
        loop {
            tokio::time::sleep(RETRY_PERIOD.saturating_sub(renewed.elapsed())).await;
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            let begin = Instant::now();
            match tokio::time::timeout(left, self.renew()).await {
                Ok(Ok(true)) => renewed = begin,
                Ok(Ok(false)) | Err(_) => return,
                Ok(Err(error)) => {
                    let error = rest::message(&error);
                    tracing::warn!(lease = self.candidate.name, error, "cannot renew the lease");
                    tokio::time::sleep(RETRY_PERIOD / 4).await;
                }
            }
        }
    }

    /// Whether the Lease is still ours.
    async fn renew(&self) -> rest::Result<bool> {
        let Some(mut lease) = self.read().await? else {
            return Ok(false);
        };
        if lease["spec"]["holderIdentity"] != *self.candidate.identity {
            return Ok(false);
        }
        lease["spec"]["renewTime"] = now().into();
        self.write(&lease).await.map(|()| true)
    }

    /// Gives the Lease back, so that the next one need not wait for it to end.
    async fn release(&self) {
        if !matches!(tokio::time::timeout(RENEW_DEADLINE, self.give_back()).await, Ok(Ok(()))) {
            tracing::debug!(
                lease = self.candidate.name,
                "cannot give the lease back: it ends by itself"
            );
        }
    }

    async fn give_back(&self) -> rest::Result<()> {
        let Some(mut lease) = self.read().await? else {
            return Ok(());
        };
        if lease["spec"]["holderIdentity"] != *self.candidate.identity {
            return Ok(());
        }
        lease["spec"]["holderIdentity"] = "".into();
        lease["spec"]["leaseDurationSeconds"] = 1.into();
        lease["spec"]["renewTime"] = now().into();
        self.write(&lease).await
    }

    async fn read(&self) -> rest::Result<Option<Value>> {
        self.rest.get(&LEASES, NAMESPACE, self.candidate.name).await
    }

    async fn write(&self, lease: &Value) -> rest::Result<()> {
        let at = (NAMESPACE, self.candidate.name);
        self.rest.replace::<Value>(&LEASES, at, "", lease).await.map(drop)
    }
}

/// The Lease is not the one that was seen.
fn stale() -> kube::Error {
    let status = kube::core::Status::failure("the lease changed meanwhile", "Conflict").with_code(409);
    kube::Error::Api(Box::new(status))
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}
