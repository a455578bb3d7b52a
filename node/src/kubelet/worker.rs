//! A Pod's worker: one task per Pod that plans, carries out, observes and reports until the Pod
//! is gone without a trace.
//!
//! Entry point: [`spawn`]. Channels: [`Signal`]s in; probes report through a channel of their own.
//! Everything the worker does runs inside its task as futures, except blocking work on disk.
//! Tasks spawned: the probes ([`super::probes`]) and, for Pods whose volumes have content, the one
//! that keeps them current. Invariant: one thing at a time per key of [`Action::key`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{AbortHandle, BoxFuture, FutureExt, abortable};
use futures::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use mizzen_api::client::events::Severity;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::admission::Refusal;
use super::backoff::Backoff;
use super::handler::Target;
use super::plan::{self, Action, Input, Memory, Plan, Probed, VolumeState, Waiting};
use super::podinfo::{self, Part, PodInfo};
use super::probes::{self, Found, Verdict};
use super::runtime::{Instance, InstanceState, PodRuntime, Sandbox};
use super::shared::Shared;
use super::start::{self, Ending, StartError, Starting};
use super::status;
use super::volumes::{self, References, VolumeError, VolumePaths};

/// What a worker is told.
#[derive(Debug)]
pub enum Signal {
    /// The Pod as it is now.
    Pod(Arc<Pod>),
    /// The API has let go of the Pod; its last state, if it was told.
    Gone(Option<Arc<Pod>>),
    /// This container or sandbox ended.
    Ended(String),
    /// Something in this container or sandbox ran out of memory and was killed.
    OutOfMemory(String),
    /// Somebody removed this container or sandbox.
    Removed(String),
    /// Anything may have happened.
    Look,
    /// Rotate what is too large.
    RotateLogs,
}

/// After a step that should have worked failed.
const RETRY: SignedDuration = SignedDuration::from_secs(10);
/// How long an accepted deletion may take to be seen before it is asked for again.
const DELETE_AGAIN: SignedDuration = SignedDuration::from_mins(10);
const VOLUME_RETRY: SignedDuration = SignedDuration::from_secs(2);

/// How a step ended.
enum Done {
    Volumes(Result<VolumePaths, Vec<VolumeError>>),
    Sandbox(Result<Sandbox, String>),
    Stopped(String, Result<(), tonic::Status>),
    Removed,
    Started(String, Option<Result<Instance, StartError>>),
    Ended(String, Option<Instance>),
    SandboxSeen(String, Option<Sandbox>),
    TornDown(Result<(), String>),
    Written(Box<Result<Pod, kube::Error>>, serde_json::Value),
    Deleted(Result<(), kube::Error>),
    Forgotten,
}

/// Starts the worker of a Pod; `fresh` when the runtime cannot know anything of it yet. One that is refused ends at once.
pub fn spawn(
    tasks: &mut JoinSet<Arc<str>>,
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    fresh: bool,
    refusal: Option<Refusal>,
) -> mpsc::UnboundedSender<Signal> {
    let (sender, inbox) = mpsc::unbounded_channel();
    let uid: Arc<str> = pod.uid().into();
    let mut worker = Worker::new(shared, pod);
    worker.memory.refused = refusal.is_some();
    worker.memory.failed = refusal;
    tasks.spawn(async move {
        worker.run(inbox, fresh).await;
        uid
    });
    sender
}

struct Worker {
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    runtime: PodRuntime,
    memory: Memory,
    plan: Plan,
    references: Arc<References>,
    volume_paths: Arc<VolumePaths>,
    pod_ips: Vec<String>,
    probes: HashMap<String, probes::Running>,
    found: (mpsc::UnboundedSender<Found>, mpsc::UnboundedReceiver<Found>),
    steps: FuturesUnordered<BoxFuture<'static, (String, Done)>>,
    starting: Option<AbortHandle>,
    /// Ends that were told of before the start that they belong to was done.
    early_ends: HashSet<String>,
    /// Tells the keeper of the volumes of changes to the Pod.
    pods: watch::Sender<Arc<Pod>>,
    keeper: JoinSet<()>,
    /// The status that the API has, and the revision at which it has it.
    written: (PodStatus, u64),
    /// The patch that was taken last: a server that answers it with something else is not asked
    /// the same for ever.
    taken: Option<serde_json::Value>,
    /// Instances for which the back-off was told in an Event.
    told: HashSet<String>,
}

fn revision(pod: &Pod) -> u64 {
    pod.metadata
        .resource_version
        .as_deref()
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}

impl Worker {
    fn new(shared: Arc<Shared>, pod: Arc<Pod>) -> Self {
        let references = Arc::new(References::of(&pod, &shared.objects));
        let status = pod.status.clone().unwrap_or_default();
        let memory = Memory {
            started_at: Some(status.start_time.as_ref().map_or_else(Timestamp::now, |time| time.0)),
            ..Memory::default()
        };
        let pod_ips = status.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect();
        Self {
            references,
            written: (status, revision(&pod)),
            taken: None,
            pods: watch::Sender::new(Arc::clone(&pod)),
            shared,
            pod,
            runtime: PodRuntime::default(),
            memory,
            plan: Plan::default(),
            volume_paths: Arc::default(),
            pod_ips,
            probes: HashMap::new(),
            found: mpsc::unbounded_channel(),
            steps: FuturesUnordered::new(),
            starting: None,
            early_ends: HashSet::new(),
            keeper: JoinSet::new(),
            told: HashSet::new(),
        }
    }

    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Signal>, fresh: bool) {
        if !fresh {
            self.look().await;
        }
        let mut wait_for_objects = None;
        loop {
            self.turn();
            if self.wants_objects() {
                let references = Arc::clone(&self.references);
                wait_for_objects.get_or_insert_with(|| async move { references.any_change().await }.boxed());
            } else {
                wait_for_objects = None;
            }
            let wake = sleep_until(self.plan.wake_at);
            let objects = async {
                match &mut wait_for_objects {
                    Some(wait) => wait.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                signal = inbox.recv() => match signal {
                    Some(signal) => self.hear(signal).await,
                    None => return,
                },
                Some((key, done)) = self.steps.next() => {
                    self.memory.under_way.remove(&key);
                    if matches!(done, Done::Forgotten) {
                        return;
                    }
                    self.finish(done).await;
                }
                Some(found) = self.found.1.recv() => self.probed(found),
                () = objects => {
                    wait_for_objects = None;
                    self.try_again();
                }
                () = wake => {}
            }
        }
    }

    /// Plans, begins what is planned, reports.
    fn turn(&mut self) {
        self.follow_probes();
        let input = Input {
            pod: &self.pod,
            runtime: &self.runtime,
            memory: &self.memory,
            now: Timestamp::now(),
        };
        self.plan = plan::plan(input);
        if self.plan.finished {
            self.probes.clear();
            // A start that nobody wants any more is not waited for.
            if let Some(starting) = self.starting.take() {
                starting.abort();
            }
        }
        self.tell_backoffs();
        let blocked = self.write_status();
        for action in std::mem::take(&mut self.plan.actions) {
            // The object must not go before its last status is there.
            if !(blocked && action == Action::DeleteObject) {
                self.begin(action);
            }
        }
    }

    // ---- Hearing.

    async fn hear(&mut self, signal: Signal) {
        match signal {
            Signal::Pod(pod) => self.update(pod),
            Signal::Gone(last) => {
                if let Some(last) = last {
                    self.update(last);
                }
                self.memory.gone = true;
            }
            Signal::Ended(id) => self.see(id, start::ENDED),
            Signal::OutOfMemory(id) => self.see(id, start::PERHAPS_ENDED),
            Signal::Removed(id) => {
                if self.runtime.instances.iter().any(|i| i.id == id)
                    || self.runtime.sandboxes.iter().any(|s| s.id == id)
                {
                    self.look().await;
                }
            }
            Signal::Look => self.look().await,
            Signal::RotateLogs => self.rotate_logs(),
        }
    }

    fn update(&mut self, pod: Arc<Pod>) {
        let revision = revision(&pod);
        if revision >= self.written.1 {
            self.written = (pod.status.clone().unwrap_or_default(), revision);
        }
        self.taken = None;
        let images_changed = pod.spec != self.pod.spec;
        if pod.metadata.labels != self.pod.metadata.labels || pod.metadata.annotations != self.pod.metadata.annotations
        {
            self.pods.send_replace(Arc::clone(&pod));
        }
        self.pod = pod;
        if images_changed {
            // An ephemeral container may have come, with references of its own.
            self.references = Arc::new(References::of(&self.pod, &self.shared.objects));
            self.try_again();
        }
    }

    /// What failed for reasons that may be gone now is tried at once.
    fn try_again(&mut self) {
        let now = Timestamp::now();
        if matches!(self.memory.volumes, VolumeState::Failed { .. }) {
            self.memory.volumes = VolumeState::Failed { retry_at: now };
        }
        for memory in self.memory.containers.values_mut() {
            let is_config = memory
                .waiting
                .as_ref()
                .is_some_and(|waiting| waiting.reason == "CreateContainerConfigError");
            if is_config {
                memory.retry_at = None;
            }
        }
    }

    fn wants_objects(&self) -> bool {
        let waits = |memory: &plan::ContainerMemory| {
            memory
                .waiting
                .as_ref()
                .is_some_and(|waiting| waiting.reason == "CreateContainerConfigError")
        };
        matches!(self.memory.volumes, VolumeState::Failed { .. }) || self.memory.containers.values().any(waits)
    }

    /// Reads everything from the runtime.
    async fn look(&mut self) {
        match self.shared.runtime.observe(self.pod.uid()).await {
            Ok(seen) => {
                let ids = seen
                    .sandboxes
                    .iter()
                    .map(|s| &s.id)
                    .chain(seen.instances.iter().map(|i| &i.id));
                for id in ids {
                    self.shared.index.add(id, self.pod.uid());
                }
                self.runtime = seen;
                self.note_sandbox();
            }
            // The event stream's reconnection makes us look again.
            Err(status) => tracing::debug!(%status, pod = self.pod.name(), "runtime not observed"),
        }
    }

    fn note_sandbox(&mut self) {
        if let Some(sandbox) = self.runtime.ready_sandbox()
            && !sandbox.ips.is_empty()
        {
            self.pod_ips.clone_from(&sandbox.ips);
        }
        for instance in &self.runtime.instances {
            let memory = self.memory.containers.entry(instance.name.clone()).or_default();
            memory.attempts = memory.attempts.max(Some(instance.attempt));
        }
    }

    /// Finds out how a container or sandbox is that something happened to.
    fn see(&mut self, id: String, patience: Duration) {
        let shared = Arc::clone(&self.shared);
        if self.runtime.instances.iter().any(|instance| instance.id == id) {
            self.step(format!("see {id} {}", patience.as_secs()), async move {
                let instance = start::observe_end(&shared, &id, patience).await;
                Done::Ended(id, instance)
            });
        } else if self.runtime.sandboxes.iter().any(|sandbox| sandbox.id == id) {
            self.step(format!("see {id}"), async move {
                let mut pause = Duration::from_millis(2);
                loop {
                    let sandbox = shared.runtime.sandbox(&id).await.ok();
                    if pause > Duration::from_secs(1) || sandbox.as_ref().is_none_or(|sandbox| !sandbox.ready) {
                        return Done::SandboxSeen(id, sandbox);
                    }
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            });
        } else {
            self.early_ends.insert(id);
        }
    }

    fn probed(&mut self, found: Found) {
        let Some(memory) = self.memory.containers.get_mut(&found.name) else {
            return;
        };
        if memory.probed.instance != found.instance {
            return;
        }
        match found.verdict {
            Verdict::Started => {
                memory.probed.started = true;
                let container = self.pod.container(&found.name);
                memory.probed.ready = container.is_some_and(|(_, c)| c.readiness_probe.is_none());
            }
            Verdict::Ready(ready) => memory.probed.ready = ready,
            Verdict::Unhealthy(probe, grace_s) => memory.probed.unhealthy = Some((probe, grace_s)),
        }
    }

    // ---- Beginning.

    fn step(&mut self, key: String, work: impl Future<Output = Done> + Send + 'static) {
        if self.memory.under_way.insert(key.clone()) {
            self.steps.push(async move { (key, work.await) }.boxed());
        }
    }

    fn begin(&mut self, action: Action) {
        let key = action.key();
        let (shared, pod) = (Arc::clone(&self.shared), Arc::clone(&self.pod));
        match action {
            Action::PrepareVolumes => {
                let references = Arc::clone(&self.references);
                let facts = shared.pod_facts(&self.pod_ips);
                self.step(key, async move {
                    Done::Volumes(shared.volumes.prepare(&pod, &facts, &references).await)
                });
            }
            Action::CreateSandbox { attempt } => {
                if attempt > 0 {
                    let message = "Pod sandbox changed, it will be killed and re-created.";
                    shared.events.pod(&pod, Severity::Normal, "SandboxChanged", message);
                }
                let old = self.runtime.sandboxes.first().map(|sandbox| sandbox.id.clone());
                self.step(key, async move {
                    if let Some(old) = old {
                        // Its network has to go before the new one's comes.
                        let _ = shared.runtime.stop_sandbox(&old).await;
                    }
                    Done::Sandbox(start::create_sandbox(shared, pod, attempt).await)
                });
            }
            Action::StopSandbox { id } => self.step(key, async move {
                let stopped = shared.runtime.stop_sandbox(&id).await;
                if stopped.is_err() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Done::Stopped(id, stopped)
            }),
            Action::RemoveSandbox { id } => {
                self.runtime.sandboxes.retain(|sandbox| sandbox.id != id);
                self.step(key, async move {
                    start::remove_sandbox(&shared, &id).await;
                    shared.index.remove(&id);
                    Done::Removed
                });
            }
            Action::Remove { id } => {
                self.runtime.instances.retain(|instance| instance.id != id);
                self.step(key, async move {
                    if let Err(status) = shared.runtime.remove_container(&id).await {
                        tracing::debug!(%status, id, "container not removed; it goes with its sandbox");
                    }
                    shared.index.remove(&id);
                    Done::Removed
                });
            }
            Action::Start { name, attempt } => self.begin_start(key, name, attempt),
            Action::Kill {
                id,
                name,
                grace_s,
                message,
            } => {
                let until = Timestamp::now() + SignedDuration::from_secs(grace_s);
                self.memory.kills.insert(id.clone(), until);
                let ending = Ending {
                    shared,
                    pod,
                    name,
                    id: id.clone(),
                    pod_ips: self.pod_ips.clone(),
                    grace_s,
                    message,
                };
                self.step(key, async move { Done::Ended(id, ending.run().await) });
            }
            Action::Fail { reason, message } => {
                shared.events.pod(&pod, Severity::Normal, reason, message);
                self.memory.failed = Some(Refusal {
                    reason: reason.into(),
                    message: message.to_owned(),
                });
                // Plan again at once, from the new state.
                self.step(key, async { Done::Removed });
            }
            Action::TearDown => {
                self.keeper.abort_all();
                let dir = shared.paths.pod(pod.uid());
                self.step(key, async move {
                    let torn = volumes::empty(dir).await;
                    if torn.is_err() {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                    Done::TornDown(torn)
                });
            }
            Action::DeleteObject => self.step(key, async move {
                let api: Api<Pod> = Api::namespaced(shared.client.clone(), pod.namespace());
                let preconditions = Preconditions {
                    uid: pod.metadata.uid.clone(),
                    resource_version: None,
                };
                let params = DeleteParams {
                    grace_period_seconds: Some(0),
                    preconditions: Some(preconditions),
                    ..DeleteParams::default()
                };
                Done::Deleted(api.delete(pod.name(), &params).await.map(drop))
            }),
            Action::Forget => {
                let sandboxes = self
                    .runtime
                    .sandboxes
                    .iter()
                    .map(|sandbox| sandbox.id.clone())
                    .collect();
                self.step(key, async move {
                    start::forget(shared, pod, sandboxes).await;
                    Done::Forgotten
                });
            }
        }
    }

    fn begin_start(&mut self, key: String, name: String, attempt: u32) {
        let Some(sandbox) = self.runtime.ready_sandbox().cloned() else {
            return;
        };
        let now = Timestamp::now();
        let memory = self.memory.containers.entry(name.clone()).or_default();
        if let Some(ended) = self.runtime.latest(&name).filter(|i| i.state == InstanceState::Exited) {
            let failed_at = ended.finished_at.unwrap_or(ended.created_at);
            memory.backoff = Some(Backoff::next(memory.backoff, failed_at, now));
        }
        memory.retry_at = None;
        let target = podinfo::target_of(&self.pod, &name).and_then(|target| self.runtime.current(target));
        let target = target.filter(|instance| instance.state == InstanceState::Running);
        let starting = Starting {
            shared: Arc::clone(&self.shared),
            pod: Arc::clone(&self.pod),
            name: name.clone(),
            attempt,
            target: target.map(|instance| instance.id.clone()),
            sandbox,
            pod_ips: self.pod_ips.clone(),
            volumes: Arc::clone(&self.volume_paths),
            references: Arc::clone(&self.references),
        };
        let (work, abort) = abortable(starting.run());
        self.starting = Some(abort);
        self.step(key, async move { Done::Started(name, work.await.ok()) });
    }

    // ---- Finishing.

    async fn finish(&mut self, done: Done) {
        let now = Timestamp::now();
        match done {
            Done::Volumes(Ok(paths)) => {
                self.volume_paths = Arc::new(paths);
                self.memory.volumes = VolumeState::Ready;
                self.keep_volumes();
            }
            Done::Volumes(Err(errors)) => {
                for error in errors {
                    self.shared
                        .events
                        .pod(&self.pod, Severity::Warning, "FailedMount", error.event());
                }
                self.memory.volumes = VolumeState::Failed {
                    retry_at: now + VOLUME_RETRY,
                };
            }
            Done::Sandbox(Ok(sandbox)) => {
                self.memory.sandbox_failures = 0;
                self.memory.sandbox_retry_at = None;
                self.runtime.sandboxes.insert(0, sandbox);
                self.note_sandbox();
            }
            Done::Sandbox(Err(message)) => self.sandbox_failed(&message, now).await,
            Done::Stopped(id, Ok(())) => {
                for sandbox in self.runtime.sandboxes.iter_mut().filter(|sandbox| sandbox.id == id) {
                    sandbox.ready = false;
                }
            }
            Done::Stopped(id, Err(status)) => {
                let message = format!(
                    "error killing pod: failed to \"KillPodSandbox\" for \"{id}\": {}",
                    start::rpc(&status)
                );
                self.shared
                    .events
                    .pod(&self.pod, Severity::Warning, "FailedKillPod", message);
            }
            Done::Removed | Done::Forgotten => {}
            Done::Started(name, outcome) => self.started(&name, outcome, now).await,
            Done::Ended(id, instance) => self.ended(&id, instance),
            Done::SandboxSeen(id, seen) => match seen {
                Some(seen) => self
                    .runtime
                    .sandboxes
                    .iter_mut()
                    .filter(|s| s.id == id)
                    .for_each(|s| s.ready = seen.ready),
                None => self.runtime.sandboxes.retain(|sandbox| sandbox.id != id),
            },
            Done::TornDown(Ok(())) => self.memory.volumes = VolumeState::Gone,
            Done::TornDown(Err(error)) => {
                tracing::warn!(error, pod = self.pod.name(), "volumes not removed, trying again")
            }
            Done::Written(outcome, patch) => self.status_written(*outcome, patch, now),
            Done::Deleted(outcome) => self.deleted(outcome, now),
        }
    }

    async fn sandbox_failed(&mut self, message: &str, now: Timestamp) {
        let failures = &mut self.memory.sandbox_failures;
        *failures += 1;
        let pause = SignedDuration::from_millis(500) * (1 << (*failures - 1).min(6));
        self.memory.sandbox_retry_at = Some(now + pause.min(RETRY * 3));
        let message = format!("Failed to create pod sandbox: {message}");
        self.shared
            .events
            .pod(&self.pod, Severity::Warning, "FailedCreatePodSandBox", message);
        // A half-made one may be there, under the name that the next one would take.
        self.look().await;
    }

    async fn started(&mut self, name: &str, outcome: Option<Result<Instance, StartError>>, now: Timestamp) {
        self.starting = None;
        let Some(outcome) = outcome else {
            return self.look().await;
        };
        let memory = self.memory.containers.entry(name.to_owned()).or_default();
        let instance = match outcome {
            Ok(instance) => {
                memory.waiting = None;
                memory.pull_backoff = None;
                Some(instance)
            }
            Err(error) => {
                let delay = if error.is_pull {
                    let backoff = Backoff::next(memory.pull_backoff, now, now);
                    memory.pull_backoff = Some(backoff);
                    backoff.delay
                } else {
                    RETRY
                };
                // What was made and ended has the back-off of a crash.
                memory.retry_at = error.instance.is_none().then(|| now + delay);
                memory.waiting = Some(Waiting {
                    reason: error.reason.to_owned(),
                    message: error.message,
                });
                error.instance
            }
        };
        if let Some(instance) = instance {
            memory.attempts = memory.attempts.max(Some(instance.attempt));
            let id = instance.id.clone();
            self.runtime.upsert(instance);
            if self.early_ends.remove(&id) {
                self.see(id, start::ENDED);
            }
        }
    }

    fn ended(&mut self, id: &str, instance: Option<Instance>) {
        self.memory.kills.remove(id);
        match instance {
            Some(mut instance) => {
                let known = self.runtime.instances.iter().find(|known| known.id == id);
                let Some(known) = known else { return };
                instance.sandbox_id.clone_from(&known.sandbox_id);
                if instance.state != InstanceState::Running {
                    self.probes.remove(id);
                }
                self.runtime.upsert(instance);
            }
            None => {
                self.probes.remove(id);
                self.runtime.instances.retain(|instance| instance.id != id);
            }
        }
    }

    fn keep_volumes(&mut self) {
        if !self.keeper.is_empty() || !volumes::has_content(&self.pod) {
            return;
        }
        let (keeper, facts) = (self.shared.volumes.clone(), self.shared.pod_facts(&self.pod_ips));
        let references = References::clone(&self.references);
        self.keeper
            .spawn(keeper.keep_current(self.pods.subscribe(), facts, references));
    }

    fn deleted(&mut self, outcome: Result<(), kube::Error>, now: Timestamp) {
        let again = match outcome {
            Ok(()) => DELETE_AGAIN,
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                // Gone, or another Pod has its name: ours is gone either way.
                self.memory.gone = true;
                return;
            }
            Err(error) => {
                tracing::warn!(%error, pod = self.pod.name(), "the API did not take the Pod's deletion, trying again");
                RETRY
            }
        };
        self.memory.delete_retry_at = Some(now + again);
    }

    // ---- Probes.

    /// Has probes running for what runs.
    fn follow_probes(&mut self) {
        if self.plan.finished {
            return;
        }
        let running: Vec<Instance> = self
            .runtime
            .instances
            .iter()
            .filter(|i| i.state == InstanceState::Running)
            .cloned()
            .collect();
        self.probes
            .retain(|id, _| running.iter().any(|instance| instance.id == *id));
        for instance in running {
            if !self.probes.contains_key(&instance.id) {
                self.start_probes(&instance);
            }
        }
    }

    fn start_probes(&mut self, instance: &Instance) {
        let Some((part, container)) = self.pod.container(&instance.name) else {
            return;
        };
        // A container that we find running is as ready as it was, until a probe says otherwise.
        let id = format!("containerd://{}", instance.id);
        let adopted = self
            .pod
            .reported(&instance.name)
            .filter(|status| status.container_id.as_deref() == Some(&id));
        let started = container.startup_probe.is_none() || adopted.is_some_and(|status| status.started == Some(true));
        let ready = adopted.map_or(container.readiness_probe.is_none(), |status| status.ready) && started;
        let ready = ready || (started && container.readiness_probe.is_none());
        let probed = Probed {
            instance: instance.id.clone(),
            started,
            ready,
            unhealthy: None,
        };
        let probes = [
            &container.startup_probe,
            &container.readiness_probe,
            &container.liveness_probe,
        ];
        let has_probes = part != Part::Init && probes.iter().any(|probe| probe.is_some());
        let ips = if self.pod.on_host_network() {
            &self.shared.node.ips
        } else {
            &self.pod_ips
        };
        let start = has_probes.then(|| probes::Start {
            pod: Arc::clone(&self.pod),
            target: Target {
                runtime: self.shared.runtime.clone(),
                id: instance.id.clone(),
                ip: ips.first().cloned().unwrap_or_default(),
                container: Arc::new(container.clone()),
            },
            started_at: instance.started_at.unwrap_or(instance.created_at),
            started,
            ready,
            events: self.shared.events.clone(),
            out: self.found.0.clone(),
        });
        let memory = self.memory.containers.entry(instance.name.clone()).or_default();
        if memory.probed.instance != instance.id {
            memory.probed = probed;
        }
        if let Some(start) = start {
            self.probes.insert(instance.id.clone(), probes::start(start));
        }
    }

    // ---- Reporting.

    fn tell_backoffs(&mut self) {
        for (name, waiting) in &self.plan.waiting {
            let Some(instance) = self.runtime.latest(name) else {
                continue;
            };
            let Some((_, container)) = self.pod.container(name) else {
                continue;
            };
            if waiting.reason == "CrashLoopBackOff" && self.told.insert(instance.id.clone()) {
                let (pod, namespace, uid) = (self.pod.name(), self.pod.namespace(), self.pod.uid());
                let message = format!("Back-off restarting failed container {name} in pod {pod}_{namespace}({uid})");
                self.shared
                    .events
                    .container(&self.pod, container, Severity::Warning, "BackOff", message);
            }
        }
        self.told
            .retain(|id| self.runtime.instances.iter().any(|instance| instance.id == *id));
    }

    /// Writes the status if it changed. True while the API does not have the newest one.
    fn write_status(&mut self) -> bool {
        if self.memory.gone {
            return false;
        }
        let mut pod = Pod::clone(&self.pod);
        pod.status = Some(self.written.0.clone());
        let status = status::build(status::Facts {
            pod: &pod,
            runtime: &self.runtime,
            memory: &self.memory,
            plan: &self.plan,
            pod_ips: &self.pod_ips,
            host_ips: &self.shared.node.ips,
            now: Timestamp::now(),
        });
        let Some(patch) = status::patch(self.pod.uid(), &self.written.0, &status) else {
            return false;
        };
        if self.taken.as_ref() == Some(&patch) {
            return false;
        }
        if self.memory.under_way.contains("status") {
            return true;
        }
        let (client, pod) = (self.shared.client.clone(), Arc::clone(&self.pod));
        self.step("status".to_owned(), async move {
            let api: Api<Pod> = Api::namespaced(client, pod.namespace());
            let written = api
                .patch_status(pod.name(), &PatchParams::default(), &Patch::Strategic(&patch))
                .await;
            if written.is_err() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Done::Written(Box::new(written), patch)
        });
        true
    }

    fn status_written(&mut self, outcome: Result<Pod, kube::Error>, patch: serde_json::Value, now: Timestamp) {
        match outcome {
            Ok(pod) => {
                self.taken = Some(patch);
                let revision = revision(&pod);
                if revision >= self.written.1 {
                    self.written = (pod.status.unwrap_or_default(), revision);
                }
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                // The watch tells what became of it.
                tracing::debug!(reason = status.reason, pod = self.pod.name(), "status not taken");
                self.memory.gone |= status.code == 404;
            }
            Err(error) => tracing::warn!(%error, pod = self.pod.name(), "status not written, trying again"),
        }
        self.back_off_pulls(now);
    }

    /// A failed pull is reported as such once, and as a back-off from then on.
    fn back_off_pulls(&mut self, now: Timestamp) {
        for (name, memory) in &mut self.memory.containers {
            let Some(waiting) = memory
                .waiting
                .as_mut()
                .filter(|waiting| waiting.reason == "ErrImagePull")
            else {
                continue;
            };
            let reported = |status: &k8s_openapi::api::core::v1::ContainerStatus| {
                let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
                waiting.and_then(|waiting| waiting.reason.as_deref()) == Some("ErrImagePull")
            };
            let status = &self.written.0;
            let all = status
                .init_container_statuses
                .iter()
                .chain(&status.container_statuses)
                .chain(&status.ephemeral_container_statuses)
                .flatten();
            if !all.into_iter().any(|status| status.name == *name && reported(status))
                || memory.retry_at.is_none_or(|at| at <= now)
            {
                continue;
            }
            let Some((_, container)) = self.pod.container(name) else {
                continue;
            };
            let image = container.image.as_deref().unwrap_or_default();
            let message = format!("Back-off pulling image \"{image}\"");
            self.shared
                .events
                .container(&self.pod, container, Severity::Normal, "BackOff", message.clone());
            self.shared.events.container(
                &self.pod,
                container,
                Severity::Warning,
                "Failed",
                "Error: ImagePullBackOff",
            );
            *waiting = Waiting {
                reason: "ImagePullBackOff".to_owned(),
                message: format!("{message}: ErrImagePull: {}", waiting.message),
            };
        }
    }

    fn rotate_logs(&mut self) {
        let running = self
            .runtime
            .instances
            .iter()
            .filter(|i| i.state == InstanceState::Running && !i.log_path.is_empty());
        let logs: Vec<(String, String)> = running.map(|i| (i.id.clone(), i.log_path.clone())).collect();
        let runtime = self.shared.runtime.clone();
        self.step("logs".to_owned(), async move {
            for (id, path) in logs {
                super::logs::rotate_if_large(&runtime, &id, path.as_ref()).await;
            }
            Done::Removed
        });
    }
}

async fn sleep_until(at: Option<Timestamp>) {
    match at {
        Some(at) => {
            let wait = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
            // Rounded up, so that the plan finds the time to have come.
            tokio::time::sleep(wait + Duration::from_millis(1)).await;
        }
        None => std::future::pending().await,
    }
}
