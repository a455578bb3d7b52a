//! The kubelet: makes the Pods of this node be what the API says, and tells the API what they are.
//!
//! Entry point: [`Kubelet::run`]. Tasks: the dispatcher (this module), one [`worker`] per Pod, the
//! runtime's [`runtime::events`], the node's [`node`] heartbeat, the Event
//! writer. Channels: the API's watch and the runtime's events come to the dispatcher, which
//! signals the worker concerned. Nothing polls: without events the only timers are the Lease, the
//! node's status, probes and a look at log sizes.
//!
//! Invariant: state is in the API and in the runtime; everything here can be lost at any time, and
//! Pods do not notice: the next start adopts them.

pub mod admission;
pub mod backoff;
pub mod cgroups;
pub mod config;
pub mod dns;
pub mod downward;
pub mod env;
pub mod events;
pub mod handler;
pub mod images;
pub mod logs;
pub mod node;
pub mod objects;
pub mod paths;
pub mod plan;
pub mod podinfo;
pub mod probes;
pub mod quantity;
pub mod resources;
pub mod runtime;
pub mod security;
pub mod shared;
pub mod start;
pub mod status;
pub mod termination;
pub mod volumes;
pub mod worker;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use mizzen_api::client::events::Severity;
use mizzen_api::client::feed::{self, News, Selector};
use mizzen_api::client::pods::PODS;
use mizzen_api::client::rest::Rest;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::agent::AgentConfig;
use crate::services::Services;
use admission::Refusal;
use podinfo::PodInfo;
use runtime::events::RuntimeEvent;
use runtime::{Runtime, SandboxOwner};
use shared::{Index, Shared};
use worker::Signal;

/// How often log sizes are looked at.
const LOG_PERIOD: Duration = Duration::from_secs(60);
/// How long an answer about the node may take.
const NODE_READ: Duration = Duration::from_secs(5);
/// Runtime events that wait for the dispatcher.
const EVENT_QUEUE: usize = 1024;

/// The kubelet of one node.
pub struct Kubelet {
    config: AgentConfig,
    client: kube::Client,
    runtime: Runtime,
    services: Services,
    network: Option<watch::Receiver<bool>>,
    doubts: Arc<Notify>,
}

impl Kubelet {
    /// A kubelet that acts through `client` and runs Pods in the runtime at `socket`. Somebody
    /// else runs `services`.
    #[must_use]
    pub fn new(config: AgentConfig, client: kube::Client, socket: &Path, services: Services) -> Self {
        Self {
            config,
            client,
            runtime: Runtime::connect(socket),
            services,
            network: None,
            doubts: Arc::default(),
        }
    }

    /// Says anew how the node is when `doubts` tell that others do not know.
    #[must_use]
    pub fn answering(mut self, doubts: Arc<Notify>) -> Self {
        self.doubts = doubts;
        self
    }

    /// Looks at the node's health at once when the Pod network is ready.
    #[must_use]
    pub fn on_network(mut self, ready: watch::Receiver<bool>) -> Self {
        self.network = Some(ready);
        self
    }

    /// Runs until `stop`; Pods keep running.
    ///
    /// # Errors
    /// When the node cannot be described (no `/proc`).
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let machine = node::machine()?;
        let (recorder, writer) =
            mizzen_api::client::events::channel(self.client.clone(), "kubelet", &self.config.node_name);
        let mut tasks = JoinSet::new();
        tasks.spawn(writer.run());
        let events = events::Events::new(recorder, &self.config.node_name);
        let paths = paths::Paths::new(&self.config.agent_dir(), &self.config.pod_log_dir);
        let shared = Arc::new(Shared {
            images: images::Images::new(self.runtime.clone()),
            objects: objects::Objects::new(self.client.clone()),
            services: self.services.clone(),
            volumes: volumes::Volumes::new(paths.clone(), self.client.clone()),
            cgroups: cgroups::Cgroups::new(&self.config.cgroup_root),
            resolver: dns::Resolver {
                cluster_dns: self.config.cluster_dns.clone(),
                cluster_domain: self.config.cluster_domain.clone(),
                host_config: std::fs::read_to_string(&self.config.resolv_conf).unwrap_or_default(),
            },
            node: shared::NodeFacts {
                name: self.config.node_name.clone(),
                ips: vec![self.config.node_ip.to_string()],
                memory: machine.memory,
                cpu_milli: machine.cpus * 1000,
            },
            node_object: watch::Sender::new(None),
            index: Index::default(),
            client: self.client.clone(),
            runtime: self.runtime.clone(),
            events,
            paths,
        });
        let (from_runtime, runtime_events) = mpsc::channel(EVENT_QUEUE);
        tasks.spawn(runtime::events::follow(
            self.runtime.clone(),
            from_runtime,
            stop.child_token(),
        ));
        let heartbeat = node::Heartbeat::new(self.config.clone(), Arc::clone(&shared), machine);
        let (to_node, node_news) = mpsc::channel(EVENT_QUEUE);
        tasks.spawn(heartbeat.run(node_news, self.doubts, stop.child_token()));
        if let Some(mut ready) = self.network {
            let to_node = to_node.clone();
            tasks.spawn(async move {
                if ready.wait_for(|ready| *ready).await.is_ok() {
                    // The runtime sees the configuration a moment later.
                    let _ = to_node.send(RuntimeEvent::Reconnected).await;
                }
            });
        }
        let dispatcher = Dispatcher::new(shared, to_node);
        dispatcher.run(runtime_events, stop).await;
        Ok(())
    }
}

/// A Pod and its worker.
struct Hosted {
    worker: mpsc::UnboundedSender<Signal>,
    /// As the API has it; `None` when it has let go of it, or the node never took it: it uses nothing.
    pod: Option<Arc<Pod>>,
}

struct Dispatcher {
    shared: Arc<Shared>,
    /// The Pods that are here, by UID.
    workers: HashMap<Arc<str>, Hosted>,
    tasks: JoinSet<Arc<str>>,
    cleanups: JoinSet<()>,
    to_node: mpsc::Sender<RuntimeEvent>,
    /// Pods that the runtime had when we came; all others are new to it.
    found: HashSet<String>,
    first_list: bool,
}

impl Dispatcher {
    fn new(shared: Arc<Shared>, to_node: mpsc::Sender<RuntimeEvent>) -> Self {
        Self {
            shared,
            workers: HashMap::new(),
            tasks: JoinSet::new(),
            cleanups: JoinSet::new(),
            to_node,
            found: HashSet::new(),
            first_list: true,
        }
    }

    async fn run(mut self, mut runtime_events: mpsc::Receiver<RuntimeEvent>, stop: CancellationToken) {
        let owners = tokio::select! {
            owners = self.wait_for_runtime(&mut runtime_events) => owners,
            () = stop.cancelled() => return,
        };
        self.found = owners.iter().map(|owner| owner.uid.clone()).collect();
        let mut owners = Some(owners);
        // Whether a Pod can be taken is known when the node is.
        let mut node = self.shared.node_object.subscribe();
        tokio::select! {
            _ = node.wait_for(Option::is_some) => {}
            () = stop.cancelled() => return,
        }
        let selector = Selector {
            fields: format!("spec.nodeName={}", self.shared.node.name),
            ..Selector::default()
        };
        let rest = Rest::new(self.shared.client.clone(), "kubelet");
        let mut pods = feed::follow(PODS, selector, rest, stop.child_token());
        let mut log_timer = tokio::time::interval(LOG_PERIOD);
        log_timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(news) = pods.recv() => {
                    let listed = matches!(news, News::Listed(_));
                    Box::pin(self.pod_news(news)).await;
                    if listed && let Some(owners) = owners.take() {
                        self.remove_orphans(owners);
                    }
                }
                Some(event) = runtime_events.recv() => self.runtime_event(event).await,
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => self.worker_ended(ended),
                Some(_) = self.cleanups.join_next(), if !self.cleanups.is_empty() => {}
                _ = log_timer.tick(), if !self.workers.is_empty() => self.tell_all(|| Signal::RotateLogs),
            }
        }
    }

    /// Waits for the runtime to answer, and asks what it runs.
    async fn wait_for_runtime(&mut self, events: &mut mpsc::Receiver<RuntimeEvent>) -> Vec<SandboxOwner> {
        loop {
            let event = events.recv().await;
            let connected = event == Some(RuntimeEvent::Reconnected);
            if let Some(event) = event {
                let _ = self.to_node.try_send(event);
            }
            if connected && let Ok(owners) = self.shared.runtime.sandbox_owners().await {
                return owners;
            }
        }
    }

    async fn pod_news(&mut self, news: News<Pod>) {
        match news {
            News::Listed(mut pods) => {
                // Whoever was here first stays.
                pods.sort_by_key(|pod| (!was_taken(pod), pod.metadata.creation_timestamp.clone()));
                let listed: HashSet<Arc<str>> = pods.iter().map(|pod| pod.uid().into()).collect();
                for (uid, hosted) in self.workers.iter_mut().filter(|(uid, _)| !listed.contains(*uid)) {
                    tracing::debug!(%uid, "pod is no longer in the API");
                    hosted.pod = None;
                    let _ = hosted.worker.send(Signal::Gone(None));
                }
                for pod in pods {
                    self.pod(pod).await;
                }
                self.first_list = false;
            }
            News::Changed(pod) => self.pod(pod).await,
            News::Deleted(mut pod) => {
                slim(&mut pod);
                if let Some(hosted) = self.workers.get_mut(pod.uid()) {
                    hosted.pod = None;
                    let _ = hosted.worker.send(Signal::Gone(Some(Arc::new(pod))));
                }
            }
        }
    }

    async fn pod(&mut self, mut pod: Pod) {
        if pod.spec.is_none() || pod.uid().is_empty() {
            return;
        }
        slim(&mut pod);
        let uid: Arc<str> = pod.uid().into();
        let pod = Arc::new(pod);
        if let Some(hosted) = self.workers.get_mut(&uid)
            && hosted.worker.send(Signal::Pod(Arc::clone(&pod))).is_ok()
        {
            hosted.pod = hosted.pod.take().map(|_| pod);
            return;
        }
        let fresh = !self.found.contains(&*uid);
        let refusal = if fresh && !was_taken(&pod) && !pod.is_terminal() && pod.deletion().is_none() {
            Box::pin(self.refusal(&pod)).await
        } else {
            None
        };
        let kept = refusal.is_none().then(|| Arc::clone(&pod));
        let worker = worker::spawn(&mut self.tasks, Arc::clone(&self.shared), pod, fresh, refusal);
        self.workers.insert(uid, Hosted { worker, pod: kept });
    }

    /// Why the Pod cannot be here. Before it is refused the Node object is read anew: it may have changed since it was
    /// last seen, and whoever placed the Pod saw that.
    async fn refusal(&self, pod: &Pod) -> Option<Refusal> {
        let hosted = self.workers.values().filter_map(|hosted| hosted.pod.as_deref());
        let others: Vec<&Pod> = hosted.filter(|other| !other.is_terminal()).collect();
        let known = self.shared.node_object.borrow().clone()?;
        admission::refusal(pod, &others, &known)?;
        let nodes: kube::Api<Node> = kube::Api::all(self.shared.client.clone());
        let fresh = match tokio::time::timeout(NODE_READ, nodes.get_opt(&self.shared.node.name)).await {
            Ok(Ok(Some(node))) => Arc::new(node),
            _ => known,
        };
        let refusal = admission::refusal(pod, &others, &fresh)?;
        let (reason, message) = (&refusal.reason, &*refusal.message);
        self.shared.events.pod(pod, Severity::Warning, reason, message);
        Some(refusal)
    }

    async fn runtime_event(&mut self, event: RuntimeEvent) {
        let signal = |dispatcher: &Self, id: String, make: fn(String) -> Signal| {
            let uid = dispatcher.shared.index.pod_of(&id);
            if let Some(hosted) = uid.and_then(|uid| dispatcher.workers.get(&uid)) {
                let _ = hosted.worker.send(make(id));
            }
        };
        match event {
            RuntimeEvent::Exited(id) => signal(self, id, Signal::Ended),
            RuntimeEvent::OutOfMemory(id) => signal(self, id, Signal::OutOfMemory),
            RuntimeEvent::Removed(id) => signal(self, id, Signal::Removed),
            RuntimeEvent::Reconnected => {
                self.tell_all(|| Signal::Look);
                let _ = self.to_node.send(RuntimeEvent::Reconnected).await;
            }
            other => {
                let _ = self.to_node.send(other).await;
            }
        }
    }

    fn tell_all(&self, signal: impl Fn() -> Signal) {
        for hosted in self.workers.values() {
            let _ = hosted.worker.send(signal());
        }
    }

    fn worker_ended(&mut self, ended: Result<Arc<str>, tokio::task::JoinError>) {
        match ended {
            Ok(uid) => {
                self.workers.remove(&uid);
                self.found.remove(&*uid);
            }
            // The next event of its Pod starts it anew, from what the runtime has.
            Err(error) => {
                tracing::error!(%error, "a pod's worker failed");
                let dead: Vec<Arc<str>> = self
                    .workers
                    .iter()
                    .filter(|(_, hosted)| hosted.worker.is_closed())
                    .map(|(uid, _)| Arc::clone(uid))
                    .collect();
                for uid in dead {
                    self.workers.remove(&uid);
                    self.found.insert(uid.to_string());
                }
            }
        }
    }

    /// Ends and removes what the runtime and the disk have of Pods that no longer exist.
    fn remove_orphans(&mut self, owners: Vec<SandboxOwner>) {
        for owner in owners {
            if !self.workers.contains_key(owner.uid.as_str()) {
                self.cleanups.spawn(remove_orphan(Arc::clone(&self.shared), owner));
            }
        }
        let entries = std::fs::read_dir(self.shared.paths.pods())
            .into_iter()
            .flatten()
            .flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        for uid in names.filter(|uid| !self.workers.contains_key(uid.as_str()) && !self.found.contains(uid)) {
            let shared = Arc::clone(&self.shared);
            self.cleanups.spawn(async move { remove_traces(&shared, uid).await });
        }
    }
}

async fn remove_orphan(shared: Arc<Shared>, owner: SandboxOwner) {
    tracing::info!(
        pod = owner.name,
        namespace = owner.namespace,
        "removing what is left of a pod"
    );
    if let Ok(seen) = shared.runtime.observe(&owner.uid).await {
        let grace = Duration::from_secs(u64::try_from(owner.grace_s).unwrap_or_default());
        let running = seen
            .instances
            .iter()
            .filter(|i| i.state == runtime::InstanceState::Running);
        let stops = running.map(|instance| shared.runtime.stop_container(&instance.id, grace));
        futures::future::join_all(stops).await;
    }
    let _ = shared.runtime.stop_sandbox(&owner.id).await;
    start::remove_sandbox(&shared, &owner.id).await;
    let logs = shared.paths.pod_logs(&owner.namespace, &owner.name, &owner.uid);
    let _ = tokio::fs::remove_dir_all(logs).await;
    remove_traces(&shared, owner.uid).await;
}

async fn remove_traces(shared: &Shared, uid: String) {
    if let Err(error) = volumes::tear_down(shared.paths.pod(&uid)).await {
        tracing::warn!(error, "directory of a pod not removed");
    }
    for class in [
        resources::QosClass::Guaranteed,
        resources::QosClass::Burstable,
        resources::QosClass::BestEffort,
    ] {
        shared.cgroups.remove(class, &uid);
    }
}

/// Whether the kubelet has told of the Pod before.
fn was_taken(pod: &Pod) -> bool {
    pod.status.as_ref().is_some_and(|status| status.start_time.is_some())
}

/// Drops what the kubelet never reads, before the Pod is kept, and has one list of containers.
fn slim(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    if let Some(annotations) = pod.metadata.annotations.as_mut() {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    podinfo::adopt_ephemeral(pod);
}
