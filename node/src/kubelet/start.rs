//! Carrying out the big steps of a Pod's life: making its sandbox, starting and ending its
//! containers, removing what is left. Each is one future of its Pod's worker.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_cri::v1::PodSandboxConfig;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use mizzen_api::client::events::Severity;
use mizzen_api::client::rest::{Gvr, Rest};

use super::config::{self, ContainerFacts, SandboxFacts};
use super::handler::{self, Answer, Question, Target};
use super::podinfo::{self, PodInfo};
use super::runtime::{Instance, InstanceState, LocalImage, Sandbox};
use super::shared::Shared;
use super::volumes::mounts::{self, Sources};
use super::volumes::{self, References, VolumePaths, blocking};
use super::{dns, env, resources, security};

/// The least time between the stop signal and the kill, even after a hook that used all of it.
const LEAST_GRACE: Duration = Duration::from_secs(2);
/// A hook without a limit of its own.
const LONG: Duration = Duration::from_secs(24 * 3600);
/// How long the runtime may take to notice that a container ended whose process is known to be gone: the older ones
/// wait for its output, for seconds.
pub const ENDED: Duration = Duration::from_secs(120);
/// The same where the process may live on.
pub const PERHAPS_ENDED: Duration = Duration::from_secs(2);

/// Why a container is not running.
#[derive(Clone, Debug)]
pub struct StartError {
    /// The status' reason.
    pub reason: &'static str,
    /// The status' message.
    pub message: String,
    /// Whether a pull failed, which has a back-off of its own.
    pub is_pull: bool,
    /// The instance that was made nevertheless.
    pub instance: Option<Instance>,
}

impl StartError {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            is_pull: false,
            instance: None,
        }
    }
}

/// The Pod's sandbox configuration.
#[must_use]
pub fn sandbox_config(shared: &Shared, pod: &Pod, attempt: u32) -> PodSandboxConfig {
    let (hostname, _) = dns::hostname(pod, &shared.resolver.cluster_domain, &shared.node.name);
    let facts = SandboxFacts {
        attempt,
        hostname,
        dns: dns::resolver(pod, &shared.resolver),
        log_dir: &shared.paths.pod_logs(pod.namespace(), pod.name(), pod.uid()),
        cgroup_parent: shared.cgroups.parent(resources::qos_class(pod), pod.uid()),
    };
    config::sandbox(pod, facts)
}

/// Makes the Pod's sandbox.
///
/// # Errors
/// What the runtime or CNI said.
pub async fn create_sandbox(shared: Arc<Shared>, pod: Arc<Pod>, attempt: u32) -> Result<Sandbox, String> {
    let handler = runtime_handler(&shared, &pod).await?;
    if pod.spec().host_users == Some(false) {
        // To run it with the host's users would be less than it was promised.
        return Err(format!(
            "RuntimeClass handler {handler:?} does not support user namespaces"
        ));
    }
    let (mine, of) = (Arc::clone(&shared), Arc::clone(&pod));
    blocking(move || {
        let logs = mine.paths.pod_logs(of.namespace(), of.name(), of.uid());
        let parts: Vec<PathBuf> = of.parts().map(|(_, container)| logs.join(&container.name)).collect();
        for dir in parts.iter().chain([&mine.paths.pod(of.uid())]) {
            std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        }
        mine.cgroups
            .make(resources::qos_class(&of), of.uid(), resources::for_pod(&of));
        Ok(())
    })
    .await?;
    let config = sandbox_config(&shared, &pod, attempt);
    let id = shared
        .runtime
        .run_sandbox(config, handler)
        .await
        .map_err(|status| rpc(&status))?;
    shared.index.add(&id, pod.uid());
    shared.runtime.sandbox(&id).await.map_err(|status| rpc(&status))
}

/// What the runtime calls the Pod's RuntimeClass.
async fn runtime_handler(shared: &Shared, pod: &Pod) -> Result<String, String> {
    const CLASSES: Gvr<'static> = Gvr::new("node.k8s.io", "v1", "runtimeclasses");
    let Some(name) = pod.spec().runtime_class_name.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(String::new());
    };
    let rest = Rest::new(shared.client.clone(), "kubelet");
    match rest.get::<serde_json::Value>(&CLASSES, "", name).await {
        Ok(Some(class)) => Ok(class["handler"].as_str().unwrap_or_default().to_owned()),
        Ok(None) => Err(format!("runtimeclass.node.k8s.io {name:?} not found")),
        Err(error) => Err(format!("failed to lookup RuntimeClass {name}: {error}")),
    }
}

/// A runtime's error in upstream's words.
#[must_use]
pub fn rpc(status: &tonic::Status) -> String {
    format!("rpc error: code = {:?} desc = {}", status.code(), status.message())
}

/// What is needed to start a container.
pub struct Starting {
    /// What all share.
    pub shared: Arc<Shared>,
    /// The Pod.
    pub pod: Arc<Pod>,
    /// The container's name.
    pub name: String,
    /// How often it was restarted.
    pub attempt: u32,
    /// The sandbox it goes into.
    pub sandbox: Sandbox,
    /// The runtime's id of the container whose processes it is to see.
    pub target: Option<String>,
    /// The Pod's addresses.
    pub pod_ips: Vec<String>,
    /// Where its volumes are.
    pub volumes: Arc<VolumePaths>,
    /// What the Pod refers to.
    pub references: Arc<References>,
}

impl Starting {
    /// Pulls the image if needed, makes the container, starts it, runs its hook.
    ///
    /// # Errors
    /// Why it does not run; the Events are recorded.
    pub async fn run(self) -> Result<Instance, StartError> {
        let pod = Arc::clone(&self.pod);
        let (_, container) = pod.container(&self.name).expect("planned from this Pod");
        let outcome = Box::pin(self.try_start(container)).await;
        if let Err(error) = &outcome
            && !error.is_pull
        {
            let message = format!("Error: {}", error.message);
            self.shared
                .events
                .container(&pod, container, Severity::Warning, "Failed", message);
        }
        outcome
    }

    fn event(&self, container: &Container, reason: &str, message: String) {
        self.shared
            .events
            .container(&self.pod, container, Severity::Normal, reason, message);
    }

    async fn try_start(&self, container: &Container) -> Result<Instance, StartError> {
        let (shared, pod) = (&self.shared, &self.pod);
        let contents = self.references.contents().await;
        let image = shared
            .images
            .ensure(pod, container, &shared.events, &contents)
            .await
            .map_err(|error| StartError {
                is_pull: true,
                ..StartError::new(error.reason, error.message)
            })?;
        let refused = |message: String| StartError::new("CreateContainerConfigError", message);
        security::verify_non_root(pod, container, &image).map_err(refused)?;
        shared.services.services.synced().await;
        let mut services = shared.services.services.in_namespace(pod.namespace());
        services.extend(shared.services.services.get("default", "kubernetes"));
        let lookup = |kind, name: &str| contents.get(kind, name);
        let facts = shared.pod_facts(&self.pod_ips);
        let env = env::build(pod, container, &facts, &services, &lookup).map_err(refused)?;
        let config = self.config(container, &image, env).await.map_err(refused)?;
        let id = shared
            .runtime
            .create_container(
                &self.sandbox.id,
                config,
                sandbox_config(shared, pod, self.sandbox.attempt),
            )
            .await
            .map_err(|status| StartError::new("CreateContainerError", status.message()))?;
        shared.index.add(&id, pod.uid());
        self.event(container, "Created", format!("Container created: {}", container.name));
        if let Err(status) = shared.runtime.start_container(&id).await {
            let instance = self.read(&id).await.ok();
            return Err(StartError {
                instance,
                ..StartError::new("RunContainerError", status.message())
            });
        }
        self.event(container, "Started", format!("Container started: {}", container.name));
        if let Some(hook) = container
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.post_start.as_ref())
        {
            self.post_start(container, &id, hook).await?;
        }
        self.read(&id).await
    }

    async fn read(&self, id: &str) -> Result<Instance, StartError> {
        let instance = self.shared.runtime.instance(id).await;
        let mut instance = instance.map_err(|status| StartError::new("ContainerStatusUnknown", rpc(&status)))?;
        instance.sandbox_id.clone_from(&self.sandbox.id);
        Ok(instance)
    }

    async fn config(
        &self,
        container: &Container,
        image: &LocalImage,
        env: Vec<(String, String)>,
    ) -> Result<k8s_cri::v1::ContainerConfig, String> {
        let (shared, pod) = (&self.shared, &self.pod);
        let termination_file = shared
            .paths
            .container(pod.uid(), &container.name)
            .join(self.attempt.to_string());
        let sources = Sources {
            volumes: (*self.volumes).clone(),
            pod_dir: shared.paths.pod(pod.uid()),
            etc_hosts: shared.paths.etc_hosts(pod.uid()),
            termination_file: termination_file.clone(),
            env: env.clone(),
        };
        let (hostname, full_name) = dns::hostname(pod, &shared.resolver.cluster_domain, &shared.node.name);
        let (of, ips, container_copy) = (
            Arc::clone(pod),
            self.pod_ips.clone(),
            mounts::restricted(container, pod),
        );
        let log_dir = shared
            .paths
            .pod_logs(pod.namespace(), pod.name(), pod.uid())
            .join(&container.name);
        let mounts = blocking(move || {
            let host = if of.on_host_network() {
                std::fs::read_to_string("/etc/hosts").unwrap_or_default()
            } else {
                String::new()
            };
            let hosts = dns::etc_hosts(&of, &ips, &hostname, full_name.as_deref(), &host);
            write_if_changed(&sources.etc_hosts, &hosts)?;
            std::fs::create_dir_all(&log_dir).map_err(|error| format!("{}: {error}", log_dir.display()))?;
            open_file(&sources.termination_file)?;
            mounts::build(&container_copy, &sources)
        })
        .await?;
        let facts = ContainerFacts {
            attempt: self.attempt,
            image,
            env,
            mounts,
            termination_file: &termination_file,
            node_memory: shared.node.memory,
            target: self.target()?,
        };
        Ok(config::container(pod, container, facts))
    }

    /// The container whose processes this one sees, which has to run.
    fn target(&self) -> Result<Option<String>, String> {
        match podinfo::target_of(&self.pod, &self.name) {
            Some(target) if self.target.is_none() => Err(format!("unable to find target container {target}")),
            _ => Ok(self.target.clone()),
        }
    }

    async fn post_start(&self, container: &Container, id: &str, hook: &LifecycleHandler) -> Result<(), StartError> {
        let (shared, pod) = (&self.shared, &self.pod);
        let problem = match run_hook(shared, pod, container, id, &self.pod_ips, hook, LONG).await {
            Ok(()) => return Ok(()),
            Err(problem) => problem,
        };
        let event = |severity, reason: &str, message: String| {
            shared.events.container(pod, container, severity, reason, message)
        };
        event(
            Severity::Warning,
            "FailedPostStartHook",
            format!("PostStartHook failed: {problem}"),
        );
        event(Severity::Normal, "Killing", "FailedPostStartHook".to_owned());
        let grace = Duration::from_secs(u64::try_from(pod.grace_s()).unwrap_or_default());
        if let Err(status) = shared.runtime.stop_container(id, grace).await {
            tracing::warn!(%status, id, "container with a failed hook not stopped");
        }
        let instance = self.read(id).await.ok();
        Err(StartError {
            instance,
            ..StartError::new("PostStartHookError", format!("PostStartHookError: {problem}"))
        })
    }
}

async fn run_hook(
    shared: &Shared,
    pod: &Pod,
    container: &Container,
    id: &str,
    pod_ips: &[String],
    hook: &LifecycleHandler,
    limit: Duration,
) -> Result<(), String> {
    let Some(question) = Question::of_hook(hook) else {
        return Ok(());
    };
    let ips = if pod.on_host_network() {
        &shared.node.ips
    } else {
        pod_ips
    };
    let target = Target {
        runtime: shared.runtime.clone(),
        id: id.to_owned(),
        ip: ips.first().cloned().unwrap_or_default(),
        container: Arc::new(container.clone()),
    };
    match tokio::time::timeout(limit, handler::ask(&target, &question, limit)).await {
        Ok(Answer::Good) => Ok(()),
        Ok(Answer::Bad(output) | Answer::Unasked(output)) => Err(output),
        Err(_) => Err(format!("not done within {limit:?}")),
    }
}

/// What is needed to end a container.
pub struct Ending {
    /// What all share.
    pub shared: Arc<Shared>,
    /// The Pod.
    pub pod: Arc<Pod>,
    /// The container's name.
    pub name: String,
    /// The runtime's id.
    pub id: String,
    /// The Pod's addresses.
    pub pod_ips: Vec<String>,
    /// How long it may take in seconds.
    pub grace_s: i64,
    /// The Event's message.
    pub message: String,
}

impl Ending {
    /// Runs the hook, sends the signal, waits, kills; then tells how it ended.
    pub async fn run(self) -> Option<Instance> {
        let Self { shared, pod, id, .. } = &self;
        let grace = Duration::from_secs(u64::try_from(self.grace_s).unwrap_or_default());
        let begun = Instant::now();
        if let Some((_, container)) = pod.container(&self.name) {
            shared
                .events
                .container(pod, container, Severity::Normal, "Killing", self.message.clone());
            let hook = container
                .lifecycle
                .as_ref()
                .and_then(|lifecycle| lifecycle.pre_stop.as_ref());
            if let Some(hook) = hook
                && let Err(problem) = run_hook(shared, pod, container, id, &self.pod_ips, hook, grace).await
            {
                let message = format!("PreStopHook failed: {problem}");
                shared
                    .events
                    .container(pod, container, Severity::Warning, "FailedPreStopHook", message);
            }
        }
        let left = grace.saturating_sub(begun.elapsed());
        let left = if begun.elapsed() > Duration::from_secs(1) {
            left.max(LEAST_GRACE)
        } else {
            left
        };
        if let Err(status) = shared.runtime.stop_container(id, left).await {
            tracing::warn!(%status, id, "container not stopped, will try again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        observe_end(shared, id, PERHAPS_ENDED).await
    }
}

/// Waits until the runtime itself has noticed that a container ended, and reads how. Mostly that follows its event
/// closely; not where output is still on its way. `None` when the runtime does not know the container.
pub async fn observe_end(shared: &Shared, id: &str, patience: Duration) -> Option<Instance> {
    let (begun, mut pause) = (Instant::now(), Duration::from_millis(2));
    loop {
        let impatient = begun.elapsed() > patience;
        match shared.runtime.instance(id).await {
            Ok(instance) if instance.state != InstanceState::Running || impatient => return Some(instance),
            Err(status) if impatient || super::runtime::is_absent(&status) => return None,
            _ => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

/// Removes the last traces of a Pod: sandboxes and their containers, logs, cgroup.
pub async fn forget(shared: Arc<Shared>, pod: Arc<Pod>, sandboxes: Vec<String>) {
    for id in sandboxes {
        remove_sandbox(&shared, &id).await;
    }
    let logs = shared.paths.pod_logs(pod.namespace(), pod.name(), pod.uid());
    let (class, uid, cgroups) = (resources::qos_class(&pod), pod.uid().to_owned(), shared.cgroups.clone());
    let removed = blocking(move || {
        cgroups.remove(class, &uid);
        match std::fs::remove_dir_all(&logs) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {error}", logs.display())),
            _ => Ok(()),
        }
    });
    // The directory last: until then it says whose the logs are.
    let removed = match removed.await {
        Ok(()) => volumes::tear_down(shared.paths.pod(pod.uid())).await,
        failed => failed,
    };
    if let Err(error) = removed {
        tracing::warn!(error, pod = pod.name(), "logs and directory not removed");
    }
    shared.volumes.forget(pod.uid());
    shared.index.forget(pod.uid());
}

/// Removes a sandbox, trying for a while.
pub async fn remove_sandbox(shared: &Shared, id: &str) {
    let mut pause = Duration::from_millis(50);
    while let Err(status) = shared.runtime.remove_sandbox(id).await {
        if pause > Duration::from_secs(30) {
            tracing::warn!(%status, id, "sandbox not removed");
            return;
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

fn write_if_changed(path: &Path, text: &str) -> Result<(), String> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let named = |error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(named)?;
    }
    std::fs::write(path, text).map_err(named)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).map_err(named)
}

/// An empty file that the container may write to as any user.
fn open_file(path: &Path) -> Result<(), String> {
    let named = |error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(named)?;
    }
    std::fs::write(path, b"").map_err(named)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(named)
}
