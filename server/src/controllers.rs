//! Controllers: the loops that turn desired state into children and status.
//!
//! [`Manager::run`] is the one driver. It builds every controller of [`TABLE`], starts one watch per
//! kind that any of them asked for, and works their queues: each key once at a time, several keys in
//! parallel, a failed key again after a growing pause. A controller is one file: it says in `build`
//! which changes concern which keys, and in [`Controller::reconcile`] what to do about a key.
//!
//! Invariant: nothing here polls. A reconcile happens because something changed, because the last try
//! failed, or because a time it named has come ([`Next::After`]); a second reconcile writes nothing.

mod autoscaler;
pub mod caches;
pub mod certificates;
mod cluster_role_aggregation;
mod cron_job;
mod daemon_set;
mod deployment;
mod discovery;
mod disruption;
mod endpoint_slice;
mod endpoints;
mod ephemeral_volume;
mod expectations;
mod garbage_collector;
mod job;
pub mod kinds;
pub(crate) mod local_path;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod node_password;
mod node_taints;
mod ownership;
mod pod_control;
mod pod_gc;
pub mod queue;
mod replicas;
mod replicaset;
mod replicationcontroller;
mod resource_quota;
mod revisions;
mod root_ca;
mod service_account;
mod service_lb;
mod stateful_set;
mod taint_eviction;
mod template;
mod token_cleaner;
mod ttl_after_finished;
mod volume_binder;
mod volume_protection;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kube::Client;
use mizzen_api::client::events::{self, Recorder};
use mizzen_api::client::reflector::Key;
use mizzen_api::client::rest::{self, Rest};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::caches::Caches;
use self::queue::{Queue, Work};

/// How controllers name themselves to the API server.
const AGENT: &str = "kube-controller-manager";

/// A client for each controller: `None` asks for the one that shared watches use, a name for the
/// controller's own ServiceAccount in kube-system. Over a network all may be one.
pub type Clients = Arc<dyn Fn(Option<&str>) -> Client + Send + Sync>;

/// What controllers have to be told.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The authority that signs the API server's certificate, as PEM: published in every namespace.
    pub root_ca_pem: String,
    /// Addresses that nodes get blocks of for their Pods.
    pub cluster_cidr: Option<ipnet::Ipv4Net>,
    /// The authorities that sign certificates; without them none is signed.
    pub signers: Option<certificates::Signers>,
    /// Longest life of a certificate, if not a year (upstream's `--cluster-signing-duration`).
    pub signing_duration: Option<Duration>,
}

/// When a key is looked at next, if nothing changes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Not before something changes.
    Change,
    /// After this long.
    After(Duration),
}

/// A control loop.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    /// Brings the world nearer to what the object of that key asks for.
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next>;
}

/// What a controller is built from.
#[derive(Debug)]
pub struct Context<'a> {
    /// Its client.
    pub rest: Rest,
    /// Shared copies of the kinds it reads.
    pub caches: &'a Caches,
    /// Its queue.
    pub queue: Queue,
    /// Its Events.
    pub events: Recorder,
    /// What controllers have to be told.
    pub config: &'a Config,
    /// The end of the process.
    pub stop: CancellationToken,
}

/// One controller: a row of [`TABLE`].
#[derive(Debug)]
pub struct Row {
    /// The ServiceAccount as which it acts; upstream's names, which roles are bound to.
    pub account: &'static str,
    /// Source of its Events.
    pub component: &'static str,
    /// How many keys it works on at once.
    pub workers: usize,
    /// Builds it.
    pub build: fn(&Context<'_>) -> Arc<dyn Controller>,
}

/// All controllers.
pub const TABLE: &[Row] = &[
    Row {
        account: "deployment-controller",
        component: "deployment-controller",
        workers: 5,
        build: deployment::build,
    },
    Row {
        account: "replicaset-controller",
        component: "replicaset-controller",
        workers: 5,
        build: replicaset::build,
    },
    Row {
        account: "replication-controller",
        component: "replication-controller",
        workers: 5,
        build: replicationcontroller::build,
    },
    Row {
        account: "job-controller",
        component: "job-controller",
        workers: 5,
        build: job::build,
    },
    Row {
        account: "job-controller",
        component: "job-orphans",
        workers: 2,
        build: job::build_orphans,
    },
    Row {
        account: "cronjob-controller",
        component: "cronjob-controller",
        workers: 5,
        build: cron_job::build,
    },
    Row {
        account: "resourcequota-controller",
        component: "resourcequota-controller",
        workers: 2,
        build: resource_quota::build,
    },
    Row {
        account: "horizontal-pod-autoscaler",
        component: "horizontal-pod-autoscaler",
        workers: 2,
        build: autoscaler::build,
    },
    Row {
        account: "ttl-after-finished-controller",
        component: "ttl-after-finished-controller",
        workers: 1,
        build: ttl_after_finished::build,
    },
    Row {
        account: "daemon-set-controller",
        component: "daemonset-controller",
        workers: 2,
        build: daemon_set::build,
    },
    Row {
        account: "statefulset-controller",
        component: "statefulset-controller",
        workers: 5,
        build: stateful_set::build,
    },
    Row {
        account: "persistent-volume-binder",
        component: "persistentvolume-controller",
        workers: 2,
        build: volume_binder::build,
    },
    Row {
        account: "local-path-provisioner",
        component: "mizzen.local/local-path",
        workers: 2,
        build: local_path::build,
    },
    Row {
        account: "pvc-protection-controller",
        component: "pvc-protection-controller",
        workers: 1,
        build: volume_protection::build_claims,
    },
    Row {
        account: "pv-protection-controller",
        component: "pv-protection-controller",
        workers: 1,
        build: volume_protection::build_volumes,
    },
    Row {
        account: "ephemeral-volume-controller",
        component: "ephemeral_volume",
        workers: 1,
        build: ephemeral_volume::build,
    },
    Row {
        account: "disruption-controller",
        component: "controllermanager",
        workers: 1,
        build: disruption::build,
    },
    Row {
        account: "pod-garbage-collector",
        component: "pod-garbage-collector",
        workers: 1,
        build: pod_gc::build,
    },
    Row {
        account: "service-account-controller",
        component: "serviceaccount-controller",
        workers: 2,
        build: service_account::build,
    },
    Row {
        account: "service-controller",
        component: "service-controller",
        workers: 1,
        build: service_lb::build,
    },
    Row {
        account: "root-ca-cert-publisher",
        component: "root-ca-cert-publisher",
        workers: 2,
        build: root_ca::build,
    },
    Row {
        account: "endpointslice-controller",
        component: "endpoint-slice-controller",
        workers: 5,
        build: endpoint_slice::build,
    },
    Row {
        account: "endpointslicemirroring-controller",
        component: "endpoint-slice-mirroring-controller",
        workers: 2,
        build: endpoint_slice::mirroring::build,
    },
    Row {
        account: "certificate-controller",
        component: "certificate-controller",
        workers: 1,
        build: certificates::build,
    },
    Row {
        account: "certificate-controller",
        component: "node-password-controller",
        workers: 1,
        build: node_password::build,
    },
    Row {
        account: "token-cleaner",
        component: "tokencleaner",
        workers: 1,
        build: token_cleaner::build,
    },
    Row {
        account: "endpoint-controller",
        component: "endpoint-controller",
        workers: 5,
        build: endpoints::build,
    },
    Row {
        account: "clusterrole-aggregation-controller",
        component: "clusterrole-aggregation-controller",
        workers: 1,
        build: cluster_role_aggregation::build,
    },
    Row {
        account: "node-controller",
        component: "node-controller",
        workers: 2,
        build: node_taints::build,
    },
    Row {
        account: "node-controller",
        component: "node-controller",
        workers: 2,
        build: node_lifecycle::build,
    },
    Row {
        account: "node-controller",
        component: "taint-eviction-controller",
        workers: 4,
        build: taint_eviction::build,
    },
    Row {
        account: "node-controller",
        component: "cidrAllocator",
        workers: 1,
        build: node_ipam::build,
    },
    Row {
        account: "namespace-controller",
        component: "namespace-controller",
        workers: 5,
        build: namespace::build,
    },
    Row {
        account: "generic-garbage-collector",
        component: "garbage-collector-controller",
        workers: 10,
        build: garbage_collector::build,
    },
];

/// Counters of one controller, for `/metrics`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Reconciles that succeeded.
    pub done: AtomicU64,
    /// Reconciles that failed and were tried again.
    pub failed: AtomicU64,
}

/// The driver of all controllers.
pub struct Manager {
    clients: Clients,
    config: Config,
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manager").finish_non_exhaustive()
    }
}

impl Manager {
    /// A driver over these clients.
    pub fn new(clients: Clients, config: Config) -> Self {
        Self { clients, config }
    }

    /// Runs all controllers until `stop`.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let shared = (self.clients)(None);
        let (recorder, writer) = events::channel(shared.clone(), AGENT, "");
        let caches = Caches::default();
        let mut loops = JoinSet::new();
        let built: Vec<_> = TABLE
            .iter()
            .map(|row| {
                let context = Context {
                    rest: Rest::new((self.clients)(Some(row.account)), AGENT),
                    caches: &caches,
                    queue: Queue::default(),
                    events: recorder.named(row.component, ""),
                    config: &self.config,
                    stop: stop.clone(),
                };
                let controller = (row.build)(&context);
                (row, controller, context.queue)
            })
            .collect();
        caches.start(&Rest::new(shared, AGENT), &stop);
        loops.spawn(async move {
            writer.run().await;
        });
        tokio::select! {
            () = caches.synced() => {}
            () = stop.cancelled() => return Ok(()),
        }
        tracing::info!(controllers = built.len(), "controllers are running");
        for (row, controller, queue) in built {
            loops.spawn(drive(row, controller, queue));
        }
        stop.cancelled().await;
        loops.shutdown().await;
        Ok(())
    }
}

/// Works one queue, ending when its task is aborted.
async fn drive(row: &'static Row, controller: Arc<dyn Controller>, queue: Queue) {
    let counters = Arc::new(Counters::default());
    let mut working = JoinSet::new();
    loop {
        while working.len() >= row.workers {
            working.join_next().await;
        }
        let work = tokio::select! {
            work = queue.next() => work,
            Some(_) = working.join_next() => continue,
        };
        let (controller, queue, counters) = (controller.clone(), queue.clone(), counters.clone());
        working.spawn(async move { step(row, &*controller, &queue, work, &counters).await });
    }
}

async fn step(row: &Row, controller: &dyn Controller, queue: &Queue, work: Work, counters: &Counters) {
    match controller.reconcile(&work.key).await {
        Ok(next) => {
            counters.done.fetch_add(1, Ordering::Relaxed);
            if let Next::After(pause) = next {
                queue.add_after(work.key.clone(), pause);
            }
            work.succeed();
        }
        Err(error) => {
            counters.failed.fetch_add(1, Ordering::Relaxed);
            let key = work.key.clone();
            let pause = work.fail();
            // A conflict is the ordinary sign that the cache was behind; it heals itself.
            if error.downcast_ref::<kube::Error>().is_some_and(rest::is_conflict) {
                tracing::debug!(controller = row.component, %key, ?pause, "conflict, trying again");
            } else {
                let error = describe(&error);
                tracing::warn!(controller = row.component, %key, ?pause, %error, "reconcile failed, trying again");
            }
        }
    }
}

fn describe(error: &anyhow::Error) -> String {
    match error.downcast_ref::<kube::Error>() {
        Some(error) => rest::message(error),
        None => format!("{error:#}"),
    }
}

#[cfg(test)]
mod tests;
