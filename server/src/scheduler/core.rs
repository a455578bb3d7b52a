//! The deterministic part: everything between news and decisions.

use std::sync::Arc;

use tokio::time::Instant;

use super::cluster::Cluster;
use super::config::Configuration;
use super::framework::Event;
use super::framework::cycle::Search;
use super::framework::failure::Failure;
use super::groups::Namespace;
use super::node::Node;
use super::pod::Pod;
use super::profiles::Profiles;
use super::queue::Queue;
use super::verdicts::Verdicts;
use super::volumes;

/// The state of a scheduler.
#[derive(Debug)]
pub struct Core {
    /// Plugins.
    pub profiles: Profiles,
    /// Pods that wait.
    pub queue: Queue,
    /// What is on the nodes.
    pub cluster: Cluster,
    /// Why Pods wait.
    pub verdicts: Arc<Verdicts>,
    search: Search,
}

/// What became of one Pod.
#[derive(Debug)]
pub enum Decision {
    /// It is to be bound to a node.
    Bind(Arc<Pod>, Box<str>),
    /// There is no node for it, or not yet.
    Reject(Arc<Pod>, Box<Failure>),
}

impl Default for Core {
    fn default() -> Self {
        Self::new(&Configuration::default(), 1)
    }
}

impl Core {
    /// A core that decides by this seed among equally good nodes.
    pub fn new(configuration: &Configuration, seed: u64) -> Self {
        let (shortest, longest) = configuration.backoff;
        Self {
            profiles: configuration.profiles.clone(),
            queue: Queue::new(shortest, longest),
            cluster: Cluster::default(),
            verdicts: Arc::default(),
            search: Search::new(seed),
        }
    }

    /// Takes in a change of a Pod.
    pub fn pod_changed(&mut self, old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>, now: Instant) {
        match new.filter(|pod| !pod.finished) {
            Some(pod) if !pod.node_name.is_empty() => self.pod_bound(old, pod, now),
            Some(pod) if self.profiles.get(pod).is_some() && !pod.metadata.is_deleting() => {
                self.pod_waits(old, pod, now);
            }
            _ => {
                let Some(pod) = new.or(old) else { return };
                self.pod_gone(pod, now);
            }
        }
    }

    fn pod_bound(&mut self, old: Option<&Arc<Pod>>, pod: &Arc<Pod>, now: Instant) {
        if old.is_none_or(|old| old.node_name.is_empty()) {
            self.queue.remove(&pod.metadata.uid);
            self.verdicts.forget(pod);
        }
        let was_assumed = self.cluster.is_assumed(&pod.metadata.uid);
        if self.cluster.set_pod(pod.clone()) || was_assumed {
            self.notify(&Event::PodPlaced(pod), now);
        }
    }

    fn pod_waits(&mut self, old: Option<&Arc<Pod>>, pod: &Arc<Pod>, now: Instant) {
        if self.cluster.is_assumed(&pod.metadata.uid) {
            return;
        }
        if !pod.nominated.is_empty() && old.is_none_or(|old| old.nominated != pod.nominated) {
            self.cluster.nominate(pod, &pod.nominated);
        }
        self.queue.set(pod.clone(), &self.profiles, now);
    }

    fn pod_gone(&mut self, pod: &Arc<Pod>, now: Instant) {
        self.queue.remove(&pod.metadata.uid);
        self.verdicts.forget(pod);
        let was_expected = self.cluster.nomination(&pod.metadata.uid).is_some();
        if self.cluster.remove_pod(&pod.metadata.uid).is_some() || was_expected {
            self.notify(&Event::PodRemoved(pod), now);
        }
    }

    /// Takes in a change of a Node.
    pub fn node_changed(&mut self, old: Option<&Arc<Node>>, new: Option<&Arc<Node>>, now: Instant) {
        match (old, new) {
            (None, Some(new)) => {
                self.cluster.set_node(new.clone());
                self.notify(&Event::NodeAdded(new), now);
            }
            (Some(old), Some(new)) if !old.is_same(new) => {
                self.cluster.set_node(new.clone());
                self.notify(&Event::NodeChanged { old, new }, now);
            }
            (Some(old), None) => {
                self.cluster.remove_node(&old.metadata.name);
                self.notify(&Event::NodeRemoved(old), now);
            }
            _ => {}
        }
    }

    /// Takes in a change of a namespace.
    pub fn namespace_changed(&mut self, old: Option<&Arc<Namespace>>, new: Option<&Arc<Namespace>>, now: Instant) {
        let Some(latest) = new.or(old) else { return };
        let labels = new.map(|namespace| namespace.metadata.labels.clone());
        if self.cluster.set_namespace(&latest.metadata.name, labels) {
            self.notify(&Event::NamespaceChanged, now);
        }
    }

    /// Takes in a change of a claim.
    pub fn claim_changed(
        &mut self,
        old: Option<&Arc<volumes::Claim>>,
        new: Option<&Arc<volumes::Claim>>,
        now: Instant,
    ) {
        self.cluster.volumes.claims.set(old, new);
        if let Some(claim) = new {
            self.notify(&Event::ClaimChanged(claim), now);
        }
    }

    /// Tells plugins and waiting Pods of an event.
    pub fn notify(&mut self, event: &Event<'_>, now: Instant) {
        if let Event::ClaimChanged(_) = event {
            let plugins = self.profiles.iter().flat_map(|profile| profile.plugins());
            plugins.for_each(|plugin| plugin.observe(event));
        }
        self.queue.notify(&self.profiles, event, now);
    }

    /// Takes back a decision that could not be carried out.
    pub fn bind_failed(&mut self, pod: &Arc<Pod>, node: &str, now: Instant) {
        self.profiles.of(pod).unreserve(pod, node);
        self.cluster.forget(&pod.metadata.uid);
        self.queue.retry(&pod.metadata.uid, now);
        self.notify(&Event::PodRemoved(pod), now);
    }

    /// Pods could not be sent away for this one: it is tried again later.
    pub fn preemption_failed(&mut self, pod: &Pod) {
        self.cluster.spare_victims_of(&pod.metadata.uid);
        self.cluster.unnominate(&pod.metadata.uid);
    }

    /// Decides about the next Pod, if one waits.
    pub fn step(&mut self, now: Instant) -> Option<Decision> {
        let pod = self.queue.pop(&self.profiles, now)?;
        self.cluster.settle();
        let profile = self.profiles.of(&pod);
        let chosen = profile.schedule(&pod, &self.cluster, &mut self.search);
        let reserved = chosen.and_then(|slot| match profile.reserve(&pod, &self.cluster, slot) {
            Ok(()) => Ok(self.cluster.info(slot).name.clone()),
            Err((plugin, rejection)) => {
                let nodes = self.cluster.order().len();
                Err(Box::new(Failure::of(plugin, rejection, nodes)))
            }
        });
        Some(match reserved {
            Ok(node) => {
                self.cluster.assume(pod.clone(), &node);
                Decision::Bind(pod, node)
            }
            Err(failure) => {
                self.reject(&pod, &failure, now);
                Decision::Reject(pod, failure)
            }
        })
    }

    fn reject(&mut self, pod: &Arc<Pod>, failure: &Failure, now: Instant) {
        let uid = &pod.metadata.uid;
        self.verdicts.record(pod, failure, &self.cluster);
        self.queue.reject(uid, failure.plugins.clone(), &self.profiles, now);
        match &failure.nomination {
            Some(nomination) => {
                self.cluster.nominate(pod, &nomination.node);
                let displaced = nomination.displaced.iter();
                displaced.for_each(|other| self.cluster.unnominate(&other.metadata.uid));
                let victims = nomination.victims.iter();
                victims.for_each(|victim| self.cluster.set_victim(&victim.metadata.uid, uid));
            }
            None if !failure.keep_nomination => self.cluster.unnominate(uid),
            None => {}
        }
    }
}
