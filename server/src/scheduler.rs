//! The scheduler: gives every Pod without a node one.
//!
//! [`Scheduler::run`] is the loop. Two reflectors (Pods and Nodes) send what changes over one channel;
//! the loop applies it to the [`Core`], which holds the queue, the cache and the framework and does no
//! I/O, and has it schedule one Pod after the other. Each decision is carried out by a task of its own
//! (a Binding, or a condition and an Event), and what failed comes back over the same channel.
//!
//! Invariant: a Pod that was given a node counts there from that moment ([`snapshot::Cache::assume`]),
//! whether or not the Binding has been seen yet.

pub mod framework;
pub mod plugins;
pub mod pod;
pub mod queue;
pub mod snapshot;

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::core::params::{Patch, PatchParams};
use mizzen_api::client::events::{self, Recorder, Severity};
use mizzen_api::client::reflector::{Change, Reflector, Selector};
use mizzen_api::client::rest::{self, Gvr, Rest};
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::framework::{Event, Failure, Framework};
use self::pod::{Node, Pod};
use self::queue::Queue;
use self::snapshot::{Cache, Snapshot};

/// How the scheduler names itself to the API server.
const AGENT: &str = "kube-scheduler";
/// Name of the only profile: Pods of other schedulers are left alone.
const PROFILE: &str = "default-scheduler";
const PODS: Gvr<'static> = Gvr::new("", "v1", "pods");
const NODES: Gvr<'static> = Gvr::new("", "v1", "nodes");

/// What the loop is told.
enum News {
    Pod(Option<Arc<Pod>>, Option<Arc<Pod>>),
    Node(Option<Arc<Node>>, Option<Arc<Node>>),
    /// A Pod was not bound after all.
    BindFailed(Arc<Pod>, Box<str>),
}

/// The deterministic part: everything between news and decisions.
#[derive(Debug)]
pub struct Core {
    /// Plugins.
    pub framework: Framework,
    /// Pods that wait.
    pub queue: Queue,
    /// What is on the nodes.
    pub cache: Cache,
    snapshot: Snapshot,
}

/// What became of one Pod.
#[derive(Debug)]
pub enum Decision {
    /// It is to be bound to a node.
    Bind(Arc<Pod>, Box<str>),
    /// There is no node for it.
    Reject(Arc<Pod>, Failure),
}

impl Core {
    /// A core with these plugins.
    pub fn new(framework: Framework) -> Self {
        Self {
            framework,
            queue: Queue::default(),
            cache: Cache::default(),
            snapshot: Snapshot::default(),
        }
    }

    /// Takes in a change of a Pod.
    pub fn pod_changed(&mut self, old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>, now: Instant) {
        let alive = new.filter(|pod| !pod.finished);
        match alive {
            Some(pod) if !pod.node_name.is_empty() => {
                self.queue.remove(&pod.metadata.uid);
                self.cache.set_pod(pod.clone());
            }
            Some(pod) if is_ours(pod) => {
                if !self.cache.is_assumed(&pod.metadata.uid) {
                    self.queue.set(pod.clone(), &self.framework, now);
                }
            }
            _ => {
                let Some(pod) = new.or(old) else { return };
                self.queue.remove(&pod.metadata.uid);
                if self.cache.remove_pod(&pod.metadata.uid) {
                    self.queue.notify(&self.framework, &Event::PodRemoved(pod), now);
                }
            }
        }
    }

    /// Takes in a change of a Node.
    pub fn node_changed(&mut self, old: Option<&Arc<Node>>, new: Option<&Arc<Node>>, now: Instant) {
        match (old, new) {
            (None, Some(new)) => {
                self.cache.set_node(new.clone());
                self.queue.notify(&self.framework, &Event::NodeAdded(new), now);
            }
            (Some(old), Some(new)) => {
                // Heartbeats change what nobody here reads.
                if is_same(old, new) {
                    return;
                }
                self.cache.set_node(new.clone());
                self.queue
                    .notify(&self.framework, &Event::NodeChanged { old, new }, now);
            }
            (Some(old), None) => self.cache.remove_node(&old.metadata.name),
            (None, None) => {}
        }
    }

    /// Takes back a decision that could not be carried out.
    pub fn bind_failed(&mut self, pod: &Arc<Pod>, node: &str, now: Instant) {
        self.framework.unreserve(pod, node);
        self.cache.forget(&pod.metadata.uid);
        self.queue.retry(&pod.metadata.uid, now);
        self.queue.notify(&self.framework, &Event::PodRemoved(pod), now);
    }

    /// Decides about the next Pod, if one waits.
    pub fn step(&mut self, now: Instant) -> Option<Decision> {
        let pod = self.queue.pop(&self.framework, now)?;
        self.cache.refresh(&mut self.snapshot);
        let reserved =
            self.framework
                .schedule(&pod, &self.snapshot)
                .and_then(|node| match self.framework.reserve(&pod, &node) {
                    Ok(()) => Ok(node),
                    Err((plugin, rejection)) => Err(Failure::of(plugin, rejection, self.snapshot.len())),
                });
        match reserved {
            Ok(node) => {
                self.cache.assume(pod.clone(), &node);
                Some(Decision::Bind(pod, node))
            }
            Err(failure) => {
                self.queue.reject(&pod.metadata.uid, failure.plugins.clone(), now);
                Some(Decision::Reject(pod, failure))
            }
        }
    }
}

fn is_ours(pod: &Pod) -> bool {
    &*pod.scheduler_name == PROFILE && !pod.metadata.is_deleting()
}

fn is_same(old: &Node, new: &Node) -> bool {
    old.metadata.labels == new.metadata.labels
        && old.unschedulable == new.unschedulable
        && old.taints == new.taints
        && old.allocatable == new.allocatable
        && old.max_pods == new.max_pods
}

/// The scheduler as a component.
#[derive(Debug)]
pub struct Scheduler {
    rest: Rest,
    recorder: Recorder,
    writer: events::Writer,
}

impl Scheduler {
    /// A scheduler over this client, whose user should be `system:kube-scheduler`; `host` names the
    /// machine in Events.
    pub fn new(client: Client, host: &str) -> Self {
        let (recorder, writer) = events::channel(client.clone(), AGENT, "");
        Self {
            rest: Rest::new(client, AGENT),
            recorder: recorder.named(PROFILE, host),
            writer,
        }
    }

    /// Schedules until `stop`.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let (sender, mut news) = mpsc::unbounded_channel();
        // Pods that ended use nothing: the server need not tell of them.
        let selector = Selector {
            fields: "status.phase!=Succeeded,status.phase!=Failed".to_owned(),
            ..Selector::default()
        };
        let pods = Reflector::<Pod>::selected(PODS, selector);
        let nodes = Reflector::<Node>::new(NODES);
        subscribe(&pods, &sender, News::Pod);
        subscribe(&nodes, &sender, News::Node);
        let framework = Framework::new(plugins::default_profile(), rand::random());
        let hands = Arc::new(Hands {
            framework: framework.clone(),
            rest: self.rest.clone(),
            recorder: self.recorder,
            news: sender,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(pods.clone().run(self.rest.clone(), stop.clone()));
        tasks.spawn(nodes.clone().run(self.rest, stop.clone()));
        tasks.spawn(self.writer.run());
        tokio::select! {
            _ = futures::future::join(pods.synced(), nodes.synced()) => {}
            () = stop.cancelled() => return Ok(()),
        }
        tracing::info!("the scheduler is running");
        let core = Core::new(framework);
        tokio::select! {
            () = schedule(core, &mut news, &hands) => {}
            () = stop.cancelled() => {}
        }
        tasks.shutdown().await;
        Ok(())
    }
}

fn subscribe<T: mizzen_api::client::reflector::Projection>(
    reflector: &Arc<Reflector<T>>,
    sender: &mpsc::UnboundedSender<News>,
    news: fn(Option<Arc<T>>, Option<Arc<T>>) -> News,
) {
    let sender = sender.clone();
    reflector.subscribe(move |change: &Change<'_, T>| {
        // Nobody listens only while the scheduler ends.
        let _ = sender.send(news(change.old.cloned(), change.new.cloned()));
    });
}

async fn schedule(mut core: Core, news: &mut mpsc::UnboundedReceiver<News>, hands: &Arc<Hands>) {
    let mut working = JoinSet::new();
    loop {
        while let Ok(news) = news.try_recv() {
            core.take(news);
        }
        while working.try_join_next().is_some() {}
        if let Some(decision) = core.step(Instant::now()) {
            let hands = hands.clone();
            working.spawn(async move { hands.carry_out(decision).await });
            // Lets news in between, on a runtime of one thread too.
            tokio::task::yield_now().await;
            continue;
        }
        let due = core.queue.next_due();
        tokio::select! {
            Some(news) = news.recv() => core.take(news),
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

impl Core {
    fn take(&mut self, news: News) {
        let now = Instant::now();
        match news {
            News::Pod(old, new) => self.pod_changed(old.as_ref(), new.as_ref(), now),
            News::Node(old, new) => self.node_changed(old.as_ref(), new.as_ref(), now),
            News::BindFailed(pod, node) => self.bind_failed(&pod, &node, now),
        }
    }
}

/// Carries decisions out.
struct Hands {
    /// For the points of the binding cycle.
    framework: Framework,
    rest: Rest,
    recorder: Recorder,
    news: mpsc::UnboundedSender<News>,
}

impl Hands {
    async fn carry_out(&self, decision: Decision) {
        match decision {
            Decision::Bind(pod, node) => {
                let result = self.bind(&pod, &node).await;
                let about = reference(&pod);
                match result {
                    Ok(()) => {
                        let Key { namespace, name } = key(&pod);
                        let note = format!("Successfully assigned {namespace}/{name} to {node}");
                        self.recorder
                            .note(&about, None, Severity::Normal, ("Scheduled", "Binding"), note);
                    }
                    Err(message) => {
                        let _ = self.news.send(News::BindFailed(pod.clone(), node));
                        self.tell(&pod, "SchedulerError", message).await;
                    }
                }
            }
            Decision::Reject(pod, failure) => self.tell(&pod, "Unschedulable", failure.to_string()).await,
        }
    }

    /// The binding cycle: Permit, PreBind, Bind, PostBind.
    async fn bind(&self, pod: &Pod, node: &str) -> Result<(), String> {
        for plugin in self.framework.plugins() {
            let permitted = plugin.permit(pod, node).await;
            permitted.map_err(|rejection| rejection.reasons.join(", "))?;
        }
        for plugin in self.framework.plugins() {
            let prepared = plugin.pre_bind(&self.rest, pod, node).await;
            prepared
                .map_err(|error| format!("running PreBind plugin {:?}: {}", plugin.name(), rest::message(&error)))?;
        }
        for plugin in self.framework.plugins() {
            if let Some(bound) = plugin.bind(&self.rest, pod, node).await {
                bound.map_err(|error| {
                    let (name, message) = (plugin.name(), rest::message(&error));
                    format!("binding rejected: running Bind plugin {name:?}: {message}")
                })?;
                break;
            }
        }
        self.framework.plugins().for_each(|plugin| plugin.post_bind(pod, node));
        Ok(())
    }

    /// Records why a Pod has no node: as an Event, and as a condition unless it stands there already.
    async fn tell(&self, pod: &Pod, reason: &str, message: String) {
        let about = reference(pod);
        self.recorder.note(
            &about,
            None,
            Severity::Warning,
            ("FailedScheduling", "Scheduling"),
            &message,
        );
        let known = pod
            .verdict
            .as_deref()
            .is_some_and(|(r, m)| **r == *reason && **m == *message);
        if known {
            return;
        }
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
            "lastProbeTime": null,
            "lastTransitionTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "observedGeneration": pod.metadata.generation,
        });
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
        let Key { namespace, name } = key(pod);
        let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
        let patched = self
            .rest
            .patch::<IgnoredAny>(&PODS, (namespace, name), "status", &params, &patch);
        match patched.await {
            Err(error) if !rest::is_not_found(&error) => {
                let error = rest::message(&error);
                tracing::warn!(pod = %format!("{namespace}/{name}"), error, "cannot record why the pod is not scheduled");
            }
            _ => {}
        }
    }
}

struct Key<'a> {
    namespace: &'a str,
    name: &'a str,
}

fn key(pod: &Pod) -> Key<'_> {
    Key {
        namespace: &pod.metadata.namespace,
        name: &pod.metadata.name,
    }
}

fn reference(pod: &Pod) -> ObjectReference {
    pod.metadata.reference("v1", "Pod")
}

#[cfg(test)]
mod tests;
