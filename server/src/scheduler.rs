//! The scheduler: gives every Pod without a node one.
//!
//! [`Scheduler::run`] is the loop. One reflector per kind that matters sends what changes over one
//! channel; the loop applies it to the [`Core`], which holds the queue, the cluster and the profiles and
//! does no I/O, and has it schedule one Pod after the other. Each decision is carried out by a task of
//! its own (a Binding, or a condition and an Event), and what failed comes back over the same channel.
//!
//! Invariant: a Pod that was given a node counts there from that moment ([`cluster::Cluster::assume`]),
//! whether or not the Binding has been seen yet.

pub mod affinity;
pub mod arguments;
pub mod cluster;
pub mod config;
mod core;
pub mod framework;
pub mod groups;
mod hands;
pub mod memo;
pub mod node;
pub mod plugins;
pub mod pod;
pub mod profiles;
pub mod queue;
pub mod resources;
pub mod verdicts;
pub mod volumes;

use std::sync::Arc;

use kube::Client;
use mizzen_api::client::events::{self, Recorder};
use mizzen_api::client::reflector::{Change, Projection, Reflector, Selector};
use mizzen_api::client::rest::{Gvr, Rest};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::config::Configuration;
pub use self::core::{Core, Decision};
use self::framework::Event;
use self::hands::Hands;
use self::pod::Pod;
use self::verdicts::Verdicts;
use crate::projection::Watched;

/// How the scheduler names itself to the API server.
const AGENT: &str = "kube-scheduler";
const PODS: Gvr<'static> = Gvr::new("", "v1", "pods");
/// How many Bindings are under way at once: enough to share commits, few enough to hear of them in time.
const MOST_BINDINGS: usize = 512;

/// What the loop is told: how the core changes.
type News = Box<dyn FnOnce(&mut Core, Instant) + Send>;

/// The scheduler as a component.
#[derive(Debug)]
pub struct Scheduler {
    rest: Rest,
    recorder: Recorder,
    writer: events::Writer,
    host: Box<str>,
    configuration: Configuration,
    verdicts: Arc<Verdicts>,
}

impl Scheduler {
    /// A scheduler over this client, whose user should be `system:kube-scheduler`; `host` names the
    /// machine in Events.
    pub fn new(client: Client, host: &str) -> Self {
        let (recorder, writer) = events::channel(client.clone(), AGENT, "");
        Self {
            rest: Rest::new(client, AGENT),
            recorder,
            writer,
            host: host.into(),
            configuration: Configuration::default(),
            verdicts: Arc::default(),
        }
    }

    /// The scheduler, deciding by this configuration.
    #[must_use]
    pub fn configured(mut self, configuration: Configuration) -> Self {
        self.configuration = configuration;
        self
    }

    /// The scheduler, leaving its verdicts here.
    #[must_use]
    pub fn telling(mut self, verdicts: Arc<Verdicts>) -> Self {
        self.verdicts = verdicts;
        self
    }

    /// Schedules until `stop`.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let (sender, mut news) = mpsc::unbounded_channel();
        let mut watches = Watches {
            rest: self.rest.clone(),
            news: sender.clone(),
            stop: stop.clone(),
            tasks: JoinSet::new(),
            synced: Vec::new(),
        };
        watches.start();
        let mut core = Core::new(&self.configuration, rand::random());
        core.verdicts = self.verdicts;
        let hands = Arc::new(Hands {
            profiles: core.profiles.clone(),
            rest: self.rest,
            recorder: self.recorder,
            host: self.host,
            news: sender,
        });
        let Watches { mut tasks, synced, .. } = watches;
        tasks.spawn(self.writer.run());
        tokio::select! {
            _ = futures::future::join_all(synced) => {}
            () = stop.cancelled() => return Ok(()),
        }
        tracing::info!("the scheduler is running");
        tokio::select! {
            () = schedule(core, &mut news, &hands) => {}
            () = stop.cancelled() => {}
        }
        tasks.shutdown().await;
        Ok(())
    }
}

/// The reflectors.
struct Watches {
    rest: Rest,
    news: mpsc::UnboundedSender<News>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    synced: Vec<futures::future::BoxFuture<'static, ()>>,
}

/// How the core takes in a change of an object.
type Take<T> = fn(&mut Core, Option<&Arc<T>>, Option<&Arc<T>>, Instant);

impl Watches {
    fn start(&mut self) {
        // Pods that ended use nothing: the server need not tell of them.
        let selector = Selector {
            fields: "status.phase!=Succeeded,status.phase!=Failed".to_owned(),
            ..Selector::default()
        };
        self.watch(Reflector::<Pod>::selected(PODS, selector), Core::pod_changed);
        self.all(Core::node_changed);
        self.all(Core::namespace_changed);
        self.all(Core::claim_changed);
        self.all(|core, old, new, _| core.cluster.groups.services.set(old, new));
        self.all(|core, old, new, _| core.cluster.groups.controllers.set(old, new));
        self.all(|core, old, new, _| core.cluster.groups.replica_sets.set(old, new));
        self.all(|core, old, new, _| core.cluster.groups.stateful_sets.set(old, new));
        self.all(|core, old, new, _| core.cluster.budgets.set(old, new));
        self.all(|core, old, new, now| {
            core.cluster.volumes.volumes.set(old, new);
            core.notify(&Event::StorageChanged, now);
        });
        self.all(|core, old, new, now| {
            core.cluster.volumes.classes.set(old, new);
            core.notify(&Event::StorageChanged, now);
        });
        self.all(|core, old, new, now| {
            core.cluster.volumes.csi_nodes.set(old, new);
            core.notify(&Event::StorageChanged, now);
        });
    }

    fn all<T: Watched>(&mut self, take: Take<T>) {
        self.watch(Reflector::<T>::new(T::AT), take);
    }

    fn watch<T: Projection>(&mut self, reflector: Arc<Reflector<T>>, take: Take<T>) {
        let sender = self.news.clone();
        reflector.subscribe(move |change: &Change<'_, T>| {
            let (old, new) = (change.old.cloned(), change.new.cloned());
            let news: News = Box::new(move |core, now| take(core, old.as_ref(), new.as_ref(), now));
            // Nobody listens only while the scheduler ends.
            let _ = sender.send(news);
        });
        self.tasks
            .spawn(reflector.clone().run(self.rest.clone(), self.stop.clone()));
        self.synced.push(Box::pin(async move { reflector.synced().await }));
    }
}

async fn schedule(mut core: Core, news: &mut mpsc::UnboundedReceiver<News>, hands: &Arc<Hands>) {
    let mut working = JoinSet::new();
    let bindings = Arc::new(Semaphore::new(MOST_BINDINGS));
    loop {
        while let Ok(news) = news.try_recv() {
            news(&mut core, Instant::now());
        }
        while working.try_join_next().is_some() {}
        if let Some(decision) = core.step(Instant::now()) {
            // Whoever waits for volumes holds up nobody else.
            let waits = matches!(&decision, Decision::Bind(pod, _) if !pod.claims.is_empty());
            let permit = match waits {
                true => None,
                false => bindings.clone().acquire_owned().await.ok(),
            };
            let hands = hands.clone();
            working.spawn(async move {
                hands.carry_out(decision).await;
                drop(permit);
            });
            // Lets news in between, on a runtime of one thread too.
            tokio::task::yield_now().await;
            continue;
        }
        let due = core.queue.next_due();
        tokio::select! {
            Some(news) = news.recv() => news(&mut core, Instant::now()),
            () = until(due) => {}
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
