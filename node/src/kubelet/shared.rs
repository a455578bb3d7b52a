//! What all Pod workers of a node share.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::cgroups::Cgroups;
use super::dns::Resolver;
use super::downward::PodFacts;
use super::events::Events;
use super::images::Images;
use super::objects::Objects;
use super::paths::Paths;
use super::runtime::Runtime;
use super::volumes::Volumes;
use crate::services::Services;

/// Which Pod a container or sandbox belongs to, for the runtime's events.
#[derive(Clone, Default)]
pub struct Index(Arc<Mutex<HashMap<String, Arc<str>>>>);

impl Index {
    /// Notes that `id` belongs to the Pod `uid`.
    pub fn add(&self, id: &str, uid: &str) {
        self.0.lock().insert(id.to_owned(), uid.into());
    }

    /// The Pod that `id` belongs to.
    #[must_use]
    pub fn pod_of(&self, id: &str) -> Option<Arc<str>> {
        self.0.lock().get(id).cloned()
    }

    /// Forgets everything of a Pod.
    pub fn forget(&self, uid: &str) {
        self.0.lock().retain(|_, owner| **owner != *uid);
    }

    /// Forgets one container or sandbox.
    pub fn remove(&self, id: &str) {
        self.0.lock().remove(id);
    }
}

/// The node, as its Pods need it.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Its addresses, the primary one first.
    pub ips: Vec<String>,
    /// Its memory in bytes.
    pub memory: i64,
    /// Its CPUs in thousandths.
    pub cpu_milli: i64,
}

/// What all Pod workers share.
pub struct Shared {
    /// The API.
    pub client: kube::Client,
    /// The runtime.
    pub runtime: Runtime,
    /// Its images.
    pub images: Images,
    /// ConfigMaps and Secrets in use.
    pub objects: Objects,
    /// Services, for environments.
    pub services: Services,
    /// Volumes.
    pub volumes: Volumes,
    /// Directories.
    pub paths: Paths,
    /// The Pods' cgroups.
    pub cgroups: Cgroups,
    /// Events.
    pub events: Events,
    /// Name resolution.
    pub resolver: Resolver,
    /// The node.
    pub node: NodeFacts,
    /// The Node object as it was last seen; `None` before it is registered.
    pub node_object: watch::Sender<Option<Arc<Node>>>,
    /// Whose container is whose.
    pub index: Index,
}

impl Shared {
    /// What a Pod with these addresses can learn about itself and the node.
    #[must_use]
    pub fn pod_facts(&self, pod_ips: &[String]) -> PodFacts {
        PodFacts {
            host_ips: self.node.ips.clone(),
            pod_ips: pod_ips.to_vec(),
            allocatable_cpu_milli: self.node.cpu_milli,
            allocatable_memory: self.node.memory,
        }
    }
}
