//! Short readings of a Pod that many parts of the kubelet need.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, EphemeralContainer, Pod, PodSpec};

/// The grace period when a Pod says nothing.
const DEFAULT_GRACE_S: i64 = 30;

/// Readings of a [`Pod`]. Absent strings read as empty.
pub trait PodInfo {
    /// Its UID.
    fn uid(&self) -> &str;
    /// Its namespace.
    fn namespace(&self) -> &str;
    /// Its name.
    fn name(&self) -> &str;
    /// Its spec.
    ///
    /// # Panics
    /// When the Pod has none; the watch never lets such a Pod in.
    fn spec(&self) -> &PodSpec;
    /// Its containers with their part, in the order in which they start.
    fn parts(&self) -> impl Iterator<Item = (Part, &Container)>;
    /// The container `name`.
    fn container(&self, name: &str) -> Option<(Part, &Container)> {
        self.parts().find(|(_, container)| container.name == name)
    }
    /// Since when it is to go.
    fn deletion(&self) -> Option<Timestamp>;
    /// How long its containers may take to end, in seconds.
    fn grace_s(&self) -> i64;
    /// Whether the API already has it in a phase that it never leaves.
    fn is_terminal(&self) -> bool;
    /// Whether it lives on the host's network.
    fn on_host_network(&self) -> bool;
    /// What the API last knew of the container `name`.
    fn reported(&self, name: &str) -> Option<&ContainerStatus>;
}

/// What a container is to its Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Runs to its end before those after it.
    Init,
    /// An init container that keeps running.
    Sidecar,
    /// An ordinary container.
    Main,
    /// Added to a Pod that runs, to look into it; runs once.
    Ephemeral,
}

/// Puts ephemeral containers behind the ordinary ones, as containers: the kubelet handles all alike, and
/// [`PodInfo::parts`] tells them apart. Only done to the kubelet's own copy of a Pod.
pub fn adopt_ephemeral(pod: &mut Pod) {
    let Some(spec) = &mut pod.spec else { return };
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(as_container);
    spec.containers.extend(ephemeral.collect::<Vec<_>>());
}

/// The container whose processes an ephemeral container sees, if it names one.
#[must_use]
pub fn target_of<'p>(pod: &'p Pod, name: &str) -> Option<&'p str> {
    let mut ephemeral = pod.spec().ephemeral_containers.iter().flatten();
    let target = ephemeral.find(|c| c.name == name)?.target_container_name.as_deref();
    target.filter(|target| !target.is_empty())
}

/// The fields of an ephemeral container that it may have; it has no ports, probes, hooks or resources.
fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let of = ephemeral.clone();
    Container {
        args: of.args,
        command: of.command,
        env: of.env,
        env_from: of.env_from,
        image: of.image,
        image_pull_policy: of.image_pull_policy,
        name: of.name,
        security_context: of.security_context,
        stdin: of.stdin,
        stdin_once: of.stdin_once,
        termination_message_path: of.termination_message_path,
        termination_message_policy: of.termination_message_policy,
        tty: of.tty,
        volume_devices: of.volume_devices,
        volume_mounts: of.volume_mounts,
        working_dir: of.working_dir,
        ..Container::default()
    }
}

impl PodInfo for Pod {
    fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    fn spec(&self) -> &PodSpec {
        self.spec.as_ref().expect("pods without a spec are refused at the door")
    }

    fn parts(&self) -> impl Iterator<Item = (Part, &Container)> {
        let spec = self.spec();
        let init = spec.init_containers.iter().flatten();
        let init = init.map(|c| {
            (
                if super::resources::is_sidecar(c) {
                    Part::Sidecar
                } else {
                    Part::Init
                },
                c,
            )
        });
        let is_ephemeral = |c: &Container| spec.ephemeral_containers.iter().flatten().any(|e| e.name == c.name);
        let others = spec.containers.iter();
        let others = others.map(move |c| (if is_ephemeral(c) { Part::Ephemeral } else { Part::Main }, c));
        init.chain(others)
    }

    fn deletion(&self) -> Option<Timestamp> {
        self.metadata.deletion_timestamp.as_ref().map(|time| time.0)
    }

    fn grace_s(&self) -> i64 {
        let own = self.spec().termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE_S);
        match self.deletion() {
            // One second is upstream's least: even a forced deletion lets SIGTERM arrive.
            Some(_) => self.metadata.deletion_grace_period_seconds.unwrap_or(own).max(1),
            None => own.max(1),
        }
    }

    fn is_terminal(&self) -> bool {
        let phase = self.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    fn on_host_network(&self) -> bool {
        self.spec().host_network == Some(true)
    }

    fn reported(&self, name: &str) -> Option<&ContainerStatus> {
        let status = self.status.as_ref()?;
        let all = status
            .init_container_statuses
            .iter()
            .chain(&status.container_statuses)
            .chain(&status.ephemeral_container_statuses)
            .flatten();
        all.into_iter().find(|status| status.name == name)
    }
}
