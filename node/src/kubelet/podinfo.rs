//! Short readings of a Pod that many parts of the kubelet need.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec};

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
        init.chain(spec.containers.iter().map(|container| (Part::Main, container)))
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
            .flatten();
        all.into_iter().find(|status| status.name == name)
    }
}
