//! A Pod's volumes: made before its containers, kept current while it runs, gone with it.
//!
//! Entry points: [`Volumes::prepare`], [`Volumes::keep_current`], [`tear_down`]. What a volume
//! holds is computed purely ([`payload`]), written atomically ([`atomic`]); what needs the kernel
//! is in [`disk`]. Task: one per Pod that has volumes with content, owned by the Pod's worker.

pub mod atomic;
pub mod claims;
pub mod disk;
pub mod mounts;
pub mod payload;
pub mod tokens;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use k8s_openapi::api::core::v1::{Pod, Volume};
use tokio::sync::watch;

use super::downward::PodFacts;
use super::objects::{Content, Followed, Key, Kind, Objects};
use super::paths::Paths;
use super::podinfo::PodInfo;
use super::quantity;
use tokens::Tokens;

/// Where each volume of a Pod is on the host.
pub type VolumePaths = HashMap<String, PathBuf>;

/// Why a volume cannot be mounted.
#[derive(Clone, Debug)]
pub struct VolumeError {
    /// The volume.
    pub volume: String,
    /// What is wrong.
    pub message: String,
}

impl VolumeError {
    /// The Event's message.
    #[must_use]
    pub fn event(&self) -> String {
        format!(
            "MountVolume.SetUp failed for volume \"{}\" : {}",
            self.volume, self.message
        )
    }
}

/// The objects that a Pod refers to, each followed while the Pod is here.
#[derive(Clone, Default)]
pub struct References(HashMap<Key, Followed>);

impl References {
    /// Follows everything `pod` refers to.
    #[must_use]
    pub fn of(pod: &Pod, objects: &Objects) -> Self {
        Self(
            payload::references(pod)
                .into_iter()
                .map(|key| (key.clone(), objects.follow(&key)))
                .collect(),
        )
    }

    /// Everything's content now, waiting for the first answers.
    pub async fn contents(&self) -> Contents {
        let mut contents = HashMap::new();
        for (key, followed) in &self.0 {
            if let Some(content) = followed.content().await {
                contents.insert((key.kind, key.name.to_string()), content);
            }
        }
        Contents(contents)
    }

    /// Waits until anything changes.
    async fn changed(receivers: &mut [watch::Receiver<super::objects::State>]) {
        let mut waits: FuturesUnordered<_> = receivers.iter_mut().map(watch::Receiver::changed).collect();
        if !matches!(waits.next().await, Some(Ok(()))) {
            std::future::pending::<()>().await;
        }
    }

    /// Completes when any of the objects changes.
    pub async fn any_change(&self) {
        let mut receivers: Vec<_> = self.0.values().map(Followed::changes).collect();
        Self::changed(&mut receivers).await;
    }
}

/// The content of everything a Pod refers to, at one moment.
pub struct Contents(HashMap<(Kind, String), Arc<Content>>);

impl Contents {
    /// The content of one object of the Pod's namespace.
    #[must_use]
    pub fn get(&self, kind: Kind, name: &str) -> Option<Arc<Content>> {
        self.0.get(&(kind, name.to_owned())).cloned()
    }
}

/// Makes and keeps volumes.
#[derive(Clone)]
pub struct Volumes {
    paths: Paths,
    tokens: Tokens,
    claims: claims::Claims,
}

impl Volumes {
    /// Volumes below `paths`, with tokens from the API.
    #[must_use]
    pub fn new(paths: Paths, client: kube::Client) -> Self {
        Self {
            claims: claims::Claims::new(client.clone(), &paths),
            paths,
            tokens: Tokens::new(client),
        }
    }

    /// Makes every volume of the Pod, or says what keeps them from being made.
    ///
    /// # Errors
    /// One per volume that failed.
    pub async fn prepare(
        &self,
        pod: &Pod,
        facts: &PodFacts,
        references: &References,
    ) -> Result<VolumePaths, Vec<VolumeError>> {
        let contents = references.contents().await;
        let (mut made, mut errors) = (VolumePaths::new(), Vec::new());
        for volume in pod.spec().volumes.iter().flatten() {
            match self.one(pod, facts, volume, &contents).await {
                Ok(path) => {
                    made.insert(volume.name.clone(), path);
                }
                Err(message) => errors.push(VolumeError {
                    volume: volume.name.clone(),
                    message,
                }),
            }
        }
        if errors.is_empty() { Ok(made) } else { Err(errors) }
    }

    async fn one(&self, pod: &Pod, facts: &PodFacts, volume: &Volume, contents: &Contents) -> Result<PathBuf, String> {
        let group = fs_group(pod);
        if let Some(plugin) = payload::plugin(volume) {
            let path = self.paths.volume(pod.uid(), plugin.name, &volume.name);
            let payload = self.payload(pod, facts, volume, contents).await?;
            let (target, tmpfs) = (path.clone(), plugin.tmpfs);
            return blocking(move || {
                disk::directory(&target, tmpfs.then_some(disk::Tmpfs { size: None }))?;
                atomic::write(&target, &payload, group)
            })
            .await
            .map(|()| path);
        }
        if let Some(empty) = &volume.empty_dir {
            let path = self.paths.volume(pod.uid(), "empty-dir", &volume.name);
            let size = empty.size_limit.as_ref().map(quantity::value).filter(|size| *size > 0);
            let in_memory = empty.medium.as_deref() == Some("Memory");
            let target = path.clone();
            return blocking(move || {
                // What a running Pod has made of an adopted volume is left alone.
                let fresh = disk::directory(&target, in_memory.then_some(disk::Tmpfs { size }))?;
                if fresh {
                    disk::open_to_all(&target, group)
                } else {
                    Ok(())
                }
            })
            .await
            .map(|()| path);
        }
        if let Some(host) = volume.host_path.clone() {
            let path = PathBuf::from(&host.path);
            let kind = host.type_.unwrap_or_default();
            return blocking(move || disk::check_host_path(Path::new(&host.path), &kind))
                .await
                .map(|()| path);
        }
        if let Some(claim) = claims::claim_name(pod, volume) {
            return self.claims.mount(pod, &claim).await;
        }
        Err(payload::unsupported(volume))
    }

    async fn payload(
        &self,
        pod: &Pod,
        facts: &PodFacts,
        volume: &Volume,
        contents: &Contents,
    ) -> Result<payload::Payload, String> {
        let tokens = self.tokens.all_of(pod, volume).await?;
        let lookup = |kind: Kind, name: &str| contents.get(kind, name);
        payload::build(pod, facts, volume, &lookup, &tokens)
    }

    /// Rewrites what changed, until dropped: on every change of an object, of the Pod's own
    /// labels and annotations, and before a token ages. A failure is logged and tried again.
    pub async fn keep_current(self, mut pods: watch::Receiver<Arc<Pod>>, facts: PodFacts, references: References) {
        const RETRY: Duration = Duration::from_secs(10);
        let mut receivers: Vec<_> = references.0.values().map(Followed::changes).collect();
        let mut failed = false;
        // What changed between the volumes' making and now would otherwise be missed.
        let mut first = true;
        loop {
            let pod = Arc::clone(&pods.borrow_and_update());
            if !std::mem::take(&mut first) || !receivers.is_empty() {
                failed = self.rewrite(&pod, &facts, &references).await.is_err();
            }
            let due = match self.tokens.next_refresh(pod.uid()) {
                Some(wait) if failed => wait.min(RETRY),
                None if failed => RETRY,
                Some(wait) => wait,
                None => Duration::MAX,
            };
            tokio::select! {
                () = References::changed(&mut receivers) => {}
                changed = pods.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(due.min(Duration::from_secs(1 << 30))) => {}
            }
        }
    }

    async fn rewrite(&self, pod: &Arc<Pod>, facts: &PodFacts, references: &References) -> Result<(), ()> {
        let contents = references.contents().await;
        let mut outcome = Ok(());
        for volume in pod
            .spec()
            .volumes
            .iter()
            .flatten()
            .filter(|volume| payload::plugin(volume).is_some())
        {
            if let Err(message) = self.one(pod, facts, volume, &contents).await {
                tracing::warn!(
                    pod = pod.name(),
                    volume = volume.name,
                    message,
                    "volume not brought up to date"
                );
                outcome = Err(());
            }
        }
        outcome
    }

    /// Forgets what was kept for a Pod.
    pub fn forget(&self, uid: &str) {
        self.tokens.forget(uid);
        self.claims.forget(uid);
    }
}

/// The group that a Pod's volumes belong to.
fn fs_group(pod: &Pod) -> Option<u32> {
    let group = pod
        .spec()
        .security_context
        .as_ref()
        .and_then(|context| context.fs_group)?;
    u32::try_from(group).ok()
}

/// Whether the Pod has volumes whose content can change.
#[must_use]
pub fn has_content(pod: &Pod) -> bool {
    pod.spec()
        .volumes
        .iter()
        .flatten()
        .any(|volume| payload::plugin(volume).is_some())
}

/// Unmounts and removes everything under a Pod's directory, and leaves that: by it the Pod's log is known to be ours.
///
/// # Errors
/// The path and what the kernel said.
pub async fn empty(pod_dir: PathBuf) -> Result<(), String> {
    blocking(move || {
        let existed = pod_dir.exists();
        disk::remove_tree(&pod_dir)?;
        match existed {
            true => std::fs::create_dir(&pod_dir).map_err(|error| disk::named(&pod_dir, error)),
            false => Ok(()),
        }
    })
    .await
}

/// Unmounts and removes a Pod's directory and everything under it.
///
/// # Errors
/// The path and what the kernel said.
pub async fn tear_down(pod_dir: PathBuf) -> Result<(), String> {
    blocking(move || disk::remove_tree(&pod_dir)).await
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| error.to_string())?
}
