//! The container runtime, as the kubelet sees it: a CRI client over containerd's socket, and the
//! small model ([`PodRuntime`]) that the planning core reads.
//!
//! Entry point: [`Runtime`]. The channel is lazy and reconnects by itself when containerd comes
//! back. [`events`] tells at once that a container ended; there is no periodic relist.
//! Invariant: only this module and its children know CRI's client.

pub mod events;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_cri::v1 as cri;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tonic::transport::Channel;

/// Labels and annotations that the kubelet writes on sandboxes and containers: upstream's names,
/// so that `crictl` and friends show the right columns, and our memory across restarts.
pub mod keys {
    /// The Pod's name.
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    /// The Pod's namespace.
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    /// The Pod's UID.
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    /// The container's name in the Pod.
    pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
    /// A digest of what must not change in a running container.
    pub const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
    /// The resources that the container was made with.
    pub const CONTAINER_RESOURCES: &str = "io.mizzen.container.resources";
    /// How often the container was restarted.
    pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
    /// Where the container writes its termination message.
    pub const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
    /// When the log's end stands in for the message.
    pub const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
    /// The host's file behind the termination message path.
    pub const TERMINATION_HOST_PATH: &str = "io.mizzen.container.terminationMessageHostPath";
    /// The Pod's grace period, for Pods whose object is gone when we come back.
    pub const GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
}

/// A container's life as the runtime tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// Made, not started.
    Created,
    /// Its first process is alive.
    Running,
    /// It ended.
    Exited,
    /// The runtime lost track of it.
    Unknown,
}

/// One container that the runtime knows: an attempt at running a Pod's container.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The runtime's id.
    pub id: String,
    /// The sandbox it lives in.
    pub sandbox_id: String,
    /// The container's name in the Pod.
    pub name: String,
    /// 0 for the first, then counting restarts.
    pub attempt: u32,
    /// What it is doing.
    pub state: InstanceState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its process started.
    pub started_at: Option<Timestamp>,
    /// When its process ended.
    pub finished_at: Option<Timestamp>,
    /// How it ended.
    pub exit_code: i32,
    /// The runtime's word for why (`Completed`, `Error`, `OOMKilled`, …).
    pub reason: String,
    /// The runtime's message, or the container's termination message.
    pub message: String,
    /// The image as the Pod names it.
    pub image: String,
    /// The image as the runtime resolved it.
    pub image_id: String,
    /// The digest it was made with.
    pub hash: String,
    /// The resources that it was made with, as [`super::config::resources_text`] has them; empty when not known.
    pub resources: String,
    /// The log file.
    pub log_path: String,
    /// Where its termination message is read: host path and policy.
    pub termination: Option<(PathBuf, bool)>,
    /// uid, gid and groups of its first process, when the runtime tells.
    pub user: Option<(i64, i64, Vec<i64>)>,
}

/// One sandbox that the runtime knows.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// 0 for the Pod's first sandbox.
    pub attempt: u32,
    /// Whether containers can run in it.
    pub ready: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its addresses, the primary one first; none on the host's network.
    pub ips: Vec<String>,
}

/// What the runtime has of one Pod, newest first.
#[derive(Clone, Debug, Default)]
pub struct PodRuntime {
    /// The Pod's sandboxes.
    pub sandboxes: Vec<Sandbox>,
    /// The Pod's containers.
    pub instances: Vec<Instance>,
}

impl PodRuntime {
    /// The newest sandbox, if it is usable.
    #[must_use]
    pub fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|sandbox| sandbox.ready)
    }

    /// The newest instance of the container `name`.
    #[must_use]
    pub fn latest(&self, name: &str) -> Option<&Instance> {
        self.instances.iter().find(|instance| instance.name == name)
    }

    /// The newest instance of `name` in the newest sandbox.
    #[must_use]
    pub fn current(&self, name: &str) -> Option<&Instance> {
        let sandbox = self.sandboxes.first()?;
        self.latest(name).filter(|instance| instance.sandbox_id == sandbox.id)
    }

    /// The newest instance of `name` before `than`.
    #[must_use]
    pub fn previous(&self, than: &Instance) -> Option<&Instance> {
        self.instances
            .iter()
            .find(|instance| instance.name == than.name && instance.attempt < than.attempt)
    }

    /// Whether anything of the Pod runs.
    #[must_use]
    pub fn any_running(&self) -> bool {
        self.instances
            .iter()
            .any(|instance| instance.state == InstanceState::Running)
    }

    /// Adds or replaces an instance, keeping the order.
    pub fn upsert(&mut self, instance: Instance) {
        self.instances.retain(|other| other.id != instance.id);
        self.instances.push(instance);
        self.sort();
    }

    fn sort(&mut self) {
        self.sandboxes
            .sort_by_key(|sandbox| Reverse((sandbox.created_at, sandbox.attempt)));
        self.instances
            .sort_by_key(|instance| Reverse((instance.created_at, instance.attempt)));
    }
}

/// A sandbox of a Pod that may no longer exist.
#[derive(Clone, Debug)]
pub struct SandboxOwner {
    /// The Pod's UID.
    pub uid: String,
    /// The Pod's namespace.
    pub namespace: String,
    /// The Pod's name.
    pub name: String,
    /// The sandbox's id.
    pub id: String,
    /// The Pod's grace period in seconds.
    pub grace_s: i64,
}

/// An image in the runtime's store.
#[derive(Clone, Debug)]
pub struct LocalImage {
    /// The image's id (the digest of its configuration).
    pub id: String,
    /// Tags and digests it is known by.
    pub names: Vec<String>,
    /// Its size in bytes.
    pub size: u64,
    /// The numeric user the image runs as, if it names one.
    pub uid: Option<i64>,
    /// The user's name, if the image gives one.
    pub username: String,
    /// Whether it must never be removed (the pause image).
    pub pinned: bool,
}

/// What an exec in a container gave.
#[derive(Clone, Debug)]
pub struct ExecOutput {
    /// The process's exit code.
    pub exit_code: i32,
    /// stdout then stderr, lossily as text.
    pub output: String,
}

/// A client of the container runtime. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    channel: Channel,
}

/// How long an ordinary call may take; sandbox creation and stops have their own.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Sandbox creation includes CNI, which may wait for a lock.
const SANDBOX_TIMEOUT: Duration = Duration::from_secs(240);
/// Lists of a full node with long annotations exceed tonic's default of 4 MiB.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

type Call<T> = Result<T, tonic::Status>;

impl Runtime {
    /// A client of the runtime at `socket`; connects when first used and again whenever needed.
    #[must_use]
    pub fn connect(socket: &Path) -> Self {
        Self {
            channel: crate::containerd::channel(socket),
        }
    }

    /// The channel, for containerd's own services beside CRI.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    fn cri(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Name and version of the runtime.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub async fn version(&self) -> Call<(String, String)> {
        let answer = timed(CALL_TIMEOUT, self.cri().version(cri::VersionRequest::default())).await?;
        Ok((answer.runtime_name, answer.runtime_version))
    }

    /// What keeps the runtime from running Pods, in its words; `None` when nothing does.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub async fn trouble(&self) -> Call<Option<String>> {
        let request = cri::StatusRequest { verbose: false };
        let answer = timed(Duration::from_secs(10), self.cri().status(request)).await?;
        let conditions = answer.status.map(|status| status.conditions).unwrap_or_default();
        let bad: Vec<String> = conditions
            .into_iter()
            .filter(|condition| !condition.status)
            .map(|c| {
                let what = if c.r#type == "NetworkReady" {
                    "container runtime network not ready"
                } else {
                    "container runtime not ready"
                };
                format!("{what}: {}=false reason:{} message:{}", c.r#type, c.reason, c.message)
            })
            .collect();
        Ok((!bad.is_empty()).then(|| bad.join(", ")))
    }

    /// Every sandbox that a kubelet made, whatever its state.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub async fn sandbox_owners(&self) -> Call<Vec<SandboxOwner>> {
        let request = cri::ListPodSandboxRequest { filter: None };
        let answer = timed(CALL_TIMEOUT, self.cri().list_pod_sandbox(request)).await?;
        Ok(answer.items.into_iter().filter_map(owner).collect())
    }

    /// Everything the runtime has of the Pod `uid`.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub async fn observe(&self, uid: &str) -> Call<PodRuntime> {
        let by_uid = HashMap::from([(keys::POD_UID.to_owned(), uid.to_owned())]);
        let filter = cri::PodSandboxFilter {
            label_selector: by_uid.clone(),
            ..Default::default()
        };
        let mut client = self.cri();
        let request = cri::ListPodSandboxRequest { filter: Some(filter) };
        let sandboxes = timed(CALL_TIMEOUT, client.list_pod_sandbox(request)).await?;
        let mut seen = PodRuntime::default();
        for sandbox in sandboxes.items {
            if let Some(sandbox) = absent_is_none(self.sandbox(&sandbox.id).await)? {
                seen.sandboxes.push(sandbox);
            }
        }
        let filter = cri::ContainerFilter {
            label_selector: by_uid,
            ..Default::default()
        };
        let containers = timed(
            CALL_TIMEOUT,
            client.list_containers(cri::ListContainersRequest { filter: Some(filter) }),
        )
        .await?;
        for container in containers.containers {
            if let Some(mut instance) = absent_is_none(self.instance(&container.id).await)? {
                instance.sandbox_id = container.pod_sandbox_id;
                seen.instances.push(instance);
            }
        }
        seen.sort();
        Ok(seen)
    }

    /// One sandbox's state and addresses.
    ///
    /// # Errors
    /// When the runtime does not answer or does not know it.
    pub async fn sandbox(&self, id: &str) -> Call<Sandbox> {
        let request = cri::PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: false,
        };
        let answer = timed(CALL_TIMEOUT, self.cri().pod_sandbox_status(request)).await?;
        answer
            .status
            .map(sandbox)
            .ok_or_else(|| tonic::Status::internal("no status in the answer"))
    }

    /// One container's state, its termination message read if it has ended. The sandbox id is
    /// left empty: CRI does not tell it here.
    ///
    /// # Errors
    /// When the runtime does not answer or does not know it.
    pub async fn instance(&self, id: &str) -> Call<Instance> {
        let request = cri::ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: false,
        };
        let answer = timed(CALL_TIMEOUT, self.cri().container_status(request)).await?;
        let mut found = answer
            .status
            .map(instance)
            .ok_or_else(|| tonic::Status::internal("no status in the answer"))?;
        if found.state == InstanceState::Exited {
            crate::kubelet::termination::fill_message(&mut found).await;
        }
        Ok(found)
    }

    /// Makes and starts a sandbox, in the way that `handler` names; empty is the usual one.
    ///
    /// # Errors
    /// When the runtime or CNI fails.
    pub async fn run_sandbox(&self, config: cri::PodSandboxConfig, handler: String) -> Call<String> {
        let request = cri::RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: handler,
        };
        Ok(timed(SANDBOX_TIMEOUT, self.cri().run_pod_sandbox(request))
            .await?
            .pod_sandbox_id)
    }

    /// Stops a sandbox: its containers, its network, its pause process.
    ///
    /// # Errors
    /// When the runtime or CNI fails; an unknown sandbox is not an error.
    pub async fn stop_sandbox(&self, id: &str) -> Call<()> {
        let request = cri::StopPodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        absent_is_none(timed(CALL_TIMEOUT, self.cri().stop_pod_sandbox(request)).await).map(drop)
    }

    /// Removes a sandbox and its containers.
    ///
    /// # Errors
    /// When the runtime fails; an unknown sandbox is not an error.
    pub async fn remove_sandbox(&self, id: &str) -> Call<()> {
        let request = cri::RemovePodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        absent_is_none(timed(CALL_TIMEOUT, self.cri().remove_pod_sandbox(request)).await).map(drop)
    }

    /// Makes a container in a sandbox.
    ///
    /// # Errors
    /// When the runtime refuses.
    pub async fn create_container(
        &self,
        sandbox_id: &str,
        config: cri::ContainerConfig,
        sandbox: cri::PodSandboxConfig,
    ) -> Call<String> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox),
        };
        Ok(timed(CALL_TIMEOUT, self.cri().create_container(request))
            .await?
            .container_id)
    }

    /// Starts a made container.
    ///
    /// # Errors
    /// When its first process cannot start.
    pub async fn start_container(&self, id: &str) -> Call<()> {
        let request = cri::StartContainerRequest {
            container_id: id.to_owned(),
        };
        timed(CALL_TIMEOUT, self.cri().start_container(request)).await.map(drop)
    }

    /// Sends the stop signal, and SIGKILL when `grace` is over.
    ///
    /// # Errors
    /// When the runtime fails; an unknown container is not an error.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Call<()> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = cri::StopContainerRequest {
            container_id: id.to_owned(),
            timeout,
        };
        absent_is_none(timed(grace + CALL_TIMEOUT, self.cri().stop_container(request)).await).map(drop)
    }

    /// Removes a container that has ended.
    ///
    /// # Errors
    /// When the runtime fails; an unknown container is not an error.
    pub async fn remove_container(&self, id: &str) -> Call<()> {
        let request = cri::RemoveContainerRequest {
            container_id: id.to_owned(),
        };
        absent_is_none(timed(CALL_TIMEOUT, self.cri().remove_container(request)).await).map(drop)
    }

    /// Runs a command in a container and waits for it, at most `timeout`.
    ///
    /// # Errors
    /// When it cannot start, or takes longer (`DeadlineExceeded`).
    pub async fn exec(&self, id: &str, command: &[String], timeout: Duration) -> Call<ExecOutput> {
        let request = cri::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.to_vec(),
            timeout: i64::try_from(timeout.as_secs().max(1)).unwrap_or(i64::MAX),
        };
        let answer = timed(timeout + Duration::from_secs(5), self.cri().exec_sync(request)).await?;
        let output = String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
        Ok(ExecOutput {
            exit_code: answer.exit_code,
            output,
        })
    }

    /// Makes the runtime open a container's log file anew, after it was renamed.
    ///
    /// # Errors
    /// When the runtime fails.
    pub async fn reopen_log(&self, id: &str) -> Call<()> {
        let request = cri::ReopenContainerLogRequest {
            container_id: id.to_owned(),
        };
        timed(CALL_TIMEOUT, self.cri().reopen_container_log(request))
            .await
            .map(drop)
    }

    /// The local image that `name` means, if there is one.
    ///
    /// # Errors
    /// When the runtime does not answer or the name cannot be one.
    pub async fn image(&self, name: &str) -> Call<Option<LocalImage>> {
        let request = cri::ImageStatusRequest {
            image: Some(image_spec(name)),
            verbose: false,
        };
        let answer = timed(CALL_TIMEOUT, self.images().image_status(request)).await?;
        Ok(answer.image.map(local_image))
    }

    /// All local images.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub async fn list_images(&self) -> Call<Vec<LocalImage>> {
        let answer = timed(
            CALL_TIMEOUT,
            self.images().list_images(cri::ListImagesRequest { filter: None }),
        )
        .await?;
        Ok(answer.images.into_iter().map(local_image).collect())
    }

    /// Fetches an image from its registry.
    ///
    /// # Errors
    /// What the registry or the runtime said.
    pub async fn pull(&self, name: &str, auth: Option<cri::AuthConfig>) -> Call<String> {
        let request = cri::PullImageRequest {
            image: Some(image_spec(name)),
            auth,
            sandbox_config: None,
        };
        // No deadline: a large image over a slow line is not an error, and stopping the Pod drops
        // the call.
        Ok(self.images().pull_image(request).await?.into_inner().image_ref)
    }
}

/// Whether the runtime said that it does not know the thing.
#[must_use]
pub fn is_absent(status: &tonic::Status) -> bool {
    status.code() == tonic::Code::NotFound
}

/// Whether the runtime itself could not be reached.
#[must_use]
pub fn is_unreachable(status: &tonic::Status) -> bool {
    matches!(status.code(), tonic::Code::Unavailable | tonic::Code::Cancelled)
}

fn absent_is_none<T>(answer: Call<T>) -> Call<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(status) if is_absent(&status) => Ok(None),
        Err(status) => Err(status),
    }
}

/// Boxed, because the calls' futures are large and most of them are made inside others.
fn timed<'a, T: 'a>(
    limit: Duration,
    call: impl Future<Output = Call<tonic::Response<T>>> + Send + 'a,
) -> BoxFuture<'a, Call<T>> {
    Box::pin(async move {
        match tokio::time::timeout(limit, call).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(tonic::Status::deadline_exceeded(format!(
                "no answer from the runtime within {limit:?}"
            ))),
        }
    })
}

fn image_spec(name: &str) -> cri::ImageSpec {
    cri::ImageSpec {
        image: name.to_owned(),
        ..Default::default()
    }
}

fn local_image(image: cri::Image) -> LocalImage {
    let mut names = image.repo_tags;
    names.extend(image.repo_digests);
    LocalImage {
        id: image.id,
        names,
        size: image.size,
        uid: image.uid.map(|uid| uid.value),
        username: image.username,
        pinned: image.pinned,
    }
}

fn owner(sandbox: cri::PodSandbox) -> Option<SandboxOwner> {
    let label = |key: &str| sandbox.labels.get(key).cloned();
    Some(SandboxOwner {
        uid: label(keys::POD_UID)?,
        namespace: label(keys::POD_NAMESPACE)?,
        name: label(keys::POD_NAME)?,
        grace_s: sandbox
            .annotations
            .get(keys::GRACE_PERIOD)
            .and_then(|s| s.parse().ok())
            .unwrap_or(30),
        id: sandbox.id.clone(),
    })
}

fn sandbox(status: cri::PodSandboxStatus) -> Sandbox {
    let network = status.network.unwrap_or_default();
    let ips = std::iter::once(network.ip)
        .chain(network.additional_ips.into_iter().map(|ip| ip.ip))
        .filter(|ip| !ip.is_empty())
        .collect();
    Sandbox {
        id: status.id,
        attempt: status.metadata.map(|metadata| metadata.attempt).unwrap_or_default(),
        ready: status.state == cri::PodSandboxState::SandboxReady as i32,
        created_at: nanoseconds(status.created_at).unwrap_or_default(),
        ips,
    }
}

fn instance(status: cri::ContainerStatus) -> Instance {
    let state = match cri::ContainerState::try_from(status.state) {
        Ok(cri::ContainerState::ContainerCreated) => InstanceState::Created,
        Ok(cri::ContainerState::ContainerRunning) => InstanceState::Running,
        Ok(cri::ContainerState::ContainerExited) => InstanceState::Exited,
        _ => InstanceState::Unknown,
    };
    let (name, attempt) = status.metadata.map(|m| (m.name, m.attempt)).unwrap_or_default();
    let annotation = |key: &str| status.annotations.get(key).cloned();
    let on_error = annotation(keys::TERMINATION_POLICY).as_deref() == Some("FallbackToLogsOnError");
    Instance {
        id: status.id,
        sandbox_id: String::new(),
        name,
        attempt,
        state,
        created_at: nanoseconds(status.created_at).unwrap_or_default(),
        started_at: nanoseconds(status.started_at),
        finished_at: nanoseconds(status.finished_at),
        exit_code: status.exit_code,
        reason: status.reason,
        message: status.message,
        image: status.image.map(|image| image.image).unwrap_or_default(),
        image_id: status.image_ref,
        hash: annotation(keys::CONTAINER_HASH).unwrap_or_default(),
        resources: annotation(keys::CONTAINER_RESOURCES).unwrap_or_default(),
        log_path: status.log_path,
        termination: annotation(keys::TERMINATION_HOST_PATH).map(|path| (PathBuf::from(path), on_error)),
        user: status
            .user
            .and_then(|user| user.linux)
            .map(|user| (user.uid, user.gid, user.supplemental_groups)),
    }
}

fn nanoseconds(value: i64) -> Option<Timestamp> {
    (value > 0)
        .then(|| Timestamp::from_nanosecond(i128::from(value)).ok())
        .flatten()
}
