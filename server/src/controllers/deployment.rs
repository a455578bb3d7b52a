//! Deployment: one ReplicaSet per template, and the way from the old to the new.
//!
//! One reconcile takes at most one step (scale the new up, or the old down), because the next step
//! depends on what that one leads to; the ReplicaSet's change brings the key back. The arithmetic is
//! [`rollout`], the words are [`status`], both pure. Writes carry the revision that was decided upon,
//! so a cache that is behind leads to a conflict and never to a wrong number.

mod rollout;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kube::core::params::DeleteParams;
use mizzen_api::client::events::{Recorder, Severity};
use mizzen_api::client::reflector::{Change, Key, Projection, Reflector};
use mizzen_api::client::rest::{self, Rest};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use self::rollout::{Bounds, Share, Size};
use self::status::Family;
use super::kinds::{Deployment, DeploymentStatus, Pod, ReplicaSet};
use super::ownership::Parent;
use super::queue::Queue;
use super::template::{self, HASH_LABEL};
use super::{Context, Controller, Next};
use crate::projection::{Watched, update};

const KIND: (&str, &str) = ("apps/v1", "Deployment");
const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that its ReplicaSets do not inherit.
const NOT_INHERITED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
];
/// As many old revisions as kept upstream unless said otherwise.
const HISTORY: i64 = 10;

struct Deployments {
    rest: Rest,
    deployments: Arc<Reflector<Deployment>>,
    sets: Arc<Reflector<ReplicaSet>>,
    pods: Arc<Reflector<Pod>>,
    events: Recorder,
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = Deployments {
        rest: context.rest.clone(),
        deployments: context.caches.of(),
        sets: context.caches.of(),
        pods: context.caches.of(),
        events: context.events.clone(),
    };
    let queue = context.queue.clone();
    controller
        .deployments
        .subscribe(move |change| queue.add(change.latest().key()));
    let (deployments, queue) = (controller.deployments.clone(), context.queue.clone());
    controller
        .sets
        .subscribe(move |change| set_changed(change, &deployments, &queue));
    let (deployments, sets, queue) = (
        controller.deployments.clone(),
        controller.sets.clone(),
        context.queue.clone(),
    );
    controller
        .pods
        .subscribe(move |change| pod_changed(change, &deployments, &sets, &queue));
    Arc::new(controller)
}

fn owner_key(set: &ReplicaSet) -> Option<Key> {
    let owner = set.metadata.controller().filter(|owner| &*owner.kind == KIND.1)?;
    Some(Key::new(&set.metadata.namespace, &owner.name))
}

fn set_changed(change: &Change<'_, ReplicaSet>, deployments: &Reflector<Deployment>, queue: &Queue) {
    let set = change.latest();
    let owners = [change.old, change.new].into_iter().flatten();
    owners.filter_map(|set| owner_key(set)).for_each(|key| queue.add(key));
    if change.new.is_some() && set.metadata.controller().is_none() {
        let namespace = &set.metadata.namespace;
        for deployment in deployments.select(namespace, |d| d.spec.selector.matches(&set.metadata.labels)) {
            queue.add(deployment.key());
        }
    }
}

/// A Recreate rollout goes on when the last old Pod is gone, which no ReplicaSet tells.
fn pod_changed(
    change: &Change<'_, Pod>,
    deployments: &Reflector<Deployment>,
    sets: &Reflector<ReplicaSet>,
    queue: &Queue,
) {
    let pod = change.latest();
    if change.new.is_some_and(|pod| !pod.is_finished()) {
        return;
    }
    let Some(owner) = pod.metadata.controller() else { return };
    let set = sets.get(&pod.metadata.namespace, &owner.name);
    let key = set.as_deref().and_then(owner_key);
    let recreates = |key: &Key| {
        let deployment = deployments.get(&key.namespace, &key.name);
        deployment.is_some_and(|deployment| !deployment.is_rolling())
    };
    key.filter(recreates).into_iter().for_each(|key| queue.add(key));
}

/// Whether a reconcile may go on to its next step.
enum Step {
    /// Something was written: what it leads to brings the key back.
    Wait,
    /// Nothing had to be done.
    Go,
}

#[async_trait]
impl Controller for Deployments {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(deployment) = self.deployments.get(&key.namespace, &key.name) else {
            return Ok(Next::Change);
        };
        let work = Rollout {
            controller: self,
            deployment: &deployment,
            now: Timestamp::now(),
        };
        Ok(work.run().await?)
    }
}

/// One reconcile of one Deployment.
struct Rollout<'a> {
    controller: &'a Deployments,
    deployment: &'a Deployment,
    now: Timestamp,
}

impl Rollout<'_> {
    async fn run(&self) -> rest::Result<Next> {
        let deployment = self.deployment;
        if deployment.spec.selector.is_empty() {
            let words = "This deployment is selecting all pods. A non-empty selector is required.";
            self.tell(Severity::Warning, "SelectingAll", words.to_owned());
            let mut status = deployment.status.clone();
            status.observed_generation = deployment.metadata.generation;
            return self.write_status(status, None).await.map(|()| Next::Change);
        }
        let family = self.family().await?;
        if deployment.metadata.is_deleting() {
            let status = status::counted(deployment, &family, self.now);
            return self.write_status(status, None).await.map(|()| Next::Change);
        }
        if let Step::Wait = self.note_pause().await? {
            return Ok(Next::Change);
        }
        if deployment.spec.paused || self.was_scaled(&family) {
            return self.scale(&family).await;
        }
        if let Step::Wait = self.prepare_new(&family, deployment.is_rolling()).await? {
            return Ok(Next::Change);
        }
        let step = match deployment.is_rolling() {
            true => self.roll(&family).await?,
            false => self.recreate(&family).await?,
        };
        if let Step::Go = step
            && deployment.is_complete(&deployment.status)
        {
            self.clean_up(&family).await?;
        }
        let status = status::rolled(deployment, &family, self.now);
        let next = status::next_deadline(deployment, &status, self.now);
        self.write_status(status, self.revision_of(&family)).await?;
        Ok(next.map_or(Next::Change, Next::After))
    }

    /// The Deployment's ReplicaSets, adopted where needed, oldest first.
    async fn family(&self) -> rest::Result<Family> {
        let meta = &self.deployment.metadata;
        let parent = Parent {
            rest: &self.controller.rest,
            meta,
            selector: &self.deployment.spec.selector,
            at: Deployment::AT,
            kind: KIND,
        };
        let sets = &self.controller.sets;
        let mut sets = parent.claim(sets, |_| true, |set| &set.metadata).await?;
        sets.sort_by(|a, b| {
            let key = |set: &ReplicaSet| (set.metadata.creation_timestamp, set.metadata.name.clone());
            key(a).cmp(&key(b))
        });
        let wanted = template::read(self.deployment.spec.template.as_deref());
        let at = sets
            .iter()
            .position(|set| template::read(set.spec.template.as_deref()) == wanted);
        let new = at.map(|at| sets.remove(at));
        Ok(Family { new, old: sets })
    }

    /// Pausing and resuming stop and restart the clock of the deadline.
    async fn note_pause(&self) -> rest::Result<Step> {
        let reason = status::progress_reason(&self.deployment.status);
        if reason == Some("ProgressDeadlineExceeded") {
            return Ok(Step::Go);
        }
        let (reason, message) = match (self.deployment.spec.paused, reason == Some("DeploymentPaused")) {
            (true, false) => ("DeploymentPaused", "Deployment is paused"),
            (false, true) => ("DeploymentResumed", "Deployment is resumed"),
            _ => return Ok(Step::Go),
        };
        let mut status = self.deployment.status.clone();
        status::set_progressing(
            self.deployment,
            &mut status,
            ("Unknown", reason),
            message.to_owned(),
            self.now,
        );
        if status == self.deployment.status {
            return Ok(Step::Go);
        }
        self.write_status(status, None).await?;
        Ok(Step::Wait)
    }

    /// Whether the number of replicas changed since the ReplicaSets were last scaled.
    fn was_scaled(&self, family: &Family) -> bool {
        let mut active = family.all().filter(|set| set.replicas() > 0);
        active.any(|set| number(set, DESIRED).is_some_and(|desired| desired != self.deployment.replicas()))
    }

    /// Scales without rolling out: while paused, or when only the number changed.
    async fn scale(&self, family: &Family) -> rest::Result<Next> {
        for (set, replicas) in self.scaled_sizes(family) {
            self.resize(&set, replicas).await?;
        }
        if self.deployment.spec.paused {
            self.clean_up(family).await?;
        }
        let status = status::counted(self.deployment, family, self.now);
        self.write_status(status, self.revision_of(family)).await?;
        Ok(Next::Change)
    }

    fn scaled_sizes(&self, family: &Family) -> Vec<(Arc<ReplicaSet>, i64)> {
        let replicas = self.deployment.replicas();
        let mut active: Vec<_> = family.all().filter(|set| set.replicas() > 0).cloned().collect();
        if active.len() <= 1 {
            // The one that is active, else the new one, else the latest.
            let one = active
                .pop()
                .or_else(|| family.new.clone())
                .or_else(|| family.old.last().cloned());
            return one.map(|set| (set, replicas)).into_iter().collect();
        }
        if family.new.as_ref().is_some_and(|new| self.is_saturated(new)) {
            return family.old.iter().map(|set| (set.clone(), 0)).collect();
        }
        if !self.deployment.is_rolling() {
            return Vec::new();
        }
        let surge = Bounds::of(self.deployment).surge;
        let total: i64 = active.iter().map(|set| set.replicas()).sum();
        let growing = replicas + surge > total;
        // The largest first; among equals the newest when growing, the oldest when shrinking.
        active.sort_by(|a, b| {
            let age = a.metadata.creation_timestamp.cmp(&b.metadata.creation_timestamp);
            let age = if growing { age.reverse() } else { age };
            b.replicas().cmp(&a.replicas()).then(age)
        });
        let share = |set: &Arc<ReplicaSet>| Share {
            wanted: set.replicas(),
            out_of: number(set, MAX).unwrap_or(self.deployment.status.replicas),
        };
        let shares: Vec<_> = active.iter().map(share).collect();
        let next = rollout::proportional(replicas, surge, &shares);
        active.into_iter().zip(next).collect()
    }

    fn is_saturated(&self, new: &ReplicaSet) -> bool {
        let replicas = self.deployment.replicas();
        new.replicas() == replicas
            && number(new, DESIRED) == Some(replicas)
            && new.status.available_replicas == replicas
    }

    /// Makes sure that the new ReplicaSet exists (when `create`) and carries the Deployment's
    /// annotations and the latest revision.
    async fn prepare_new(&self, family: &Family, create: bool) -> rest::Result<Step> {
        let newest = family.old.iter().filter_map(|set| number(set, REVISION)).max();
        let revision = newest.unwrap_or(0) + 1;
        let Some(new) = &family.new else {
            return match create {
                true => self.create_new(family, revision).await.map(|()| Step::Wait),
                false => Ok(Step::Go),
            };
        };
        let mut annotations = new.metadata.annotations.to_map();
        self.inherit(&mut annotations, revision);
        let same_pause = new.spec.min_ready_seconds == self.deployment.spec.min_ready_seconds;
        if annotations == new.metadata.annotations.to_map() && same_pause {
            return self.note_found(new).await;
        }
        update(&self.controller.rest, &ReplicaSet::AT, &new.metadata, "", |live| {
            live["metadata"]["annotations"] = json!(annotations);
            live["spec"]["minReadySeconds"] = json!(self.deployment.spec.min_ready_seconds);
        })
        .await?;
        Ok(Step::Wait)
    }

    /// An existing ReplicaSet of the present template begins the progress, as a created one does.
    async fn note_found(&self, new: &ReplicaSet) -> rest::Result<Step> {
        if status::progress_reason(&self.deployment.status).is_some() {
            return Ok(Step::Go);
        }
        let mut status = self.deployment.status.clone();
        let message = format!("Found new replica set {:?}", new.metadata.name);
        let reason = ("True", "FoundNewReplicaSet");
        status::set_progressing(self.deployment, &mut status, reason, message, self.now);
        if status == self.deployment.status {
            return Ok(Step::Go);
        }
        let revision = new.metadata.annotations.get(REVISION).map(str::to_owned);
        self.write_status(status, revision).await?;
        Ok(Step::Wait)
    }

    /// Gives a ReplicaSet's annotations what it inherits, and its revision if that grew.
    fn inherit(&self, annotations: &mut BTreeMap<String, String>, revision: i64) {
        let inherited = self.deployment.metadata.annotations.iter();
        for (key, value) in inherited.filter(|(key, _)| !NOT_INHERITED.contains(key)) {
            annotations.insert(key.to_owned(), value.to_owned());
        }
        let before = annotations.get(REVISION).cloned();
        let known = before.as_deref().and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        if known < revision {
            annotations.insert(REVISION.to_owned(), revision.to_string());
            // A revision that comes back remembers what it was called before.
            if let Some(before) = before {
                let history = annotations.entry(REVISION_HISTORY.to_owned()).or_default();
                let comma = if history.is_empty() { "" } else { "," };
                *history = format!("{history}{comma}{before}");
            }
        }
    }

    async fn create_new(&self, family: &Family, revision: i64) -> rest::Result<()> {
        let meta = &self.deployment.metadata;
        let mut template = template::read(self.deployment.spec.template.as_deref());
        let hash = template::hash(&template, self.deployment.status.collision_count);
        let name = format!("{}-{hash}", meta.name);
        template["metadata"]["labels"][HASH_LABEL] = json!(hash);
        let replicas = match self.deployment.is_rolling() {
            true => {
                let old: Vec<_> = family.old.iter().map(|set| size(set)).collect();
                rollout::grow_new(
                    self.deployment.replicas(),
                    Bounds::of(self.deployment),
                    Size::default(),
                    &old,
                )
            }
            false => self.deployment.replicas(),
        };
        let mut annotations = BTreeMap::new();
        self.inherit(&mut annotations, revision);
        self.mark(&mut annotations);
        let live: Option<Value> = self
            .controller
            .rest
            .get(&Deployment::AT, &meta.namespace, &meta.name)
            .await?;
        let mut selector = live.map(|mut live| live["spec"]["selector"].take()).unwrap_or_default();
        selector["matchLabels"][HASH_LABEL] = json!(hash);
        let set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": name, "namespace": meta.namespace,
                "labels": template["metadata"]["labels"], "annotations": annotations,
                "ownerReferences": [meta.controller_reference(KIND.0, KIND.1)],
            },
            "spec": {
                "replicas": replicas, "minReadySeconds": self.deployment.spec.min_ready_seconds,
                "selector": selector, "template": template,
            },
        });
        let rest = &self.controller.rest;
        let created = rest.create::<IgnoredAny>(&ReplicaSet::AT, &meta.namespace, &set).await;
        match created {
            Ok(_) => self.note_created(&name, replicas, revision).await,
            Err(error) if rest::is_already_exists(&error) => self.meet(&name).await,
            Err(error) if rest::is_namespace_terminating(&error) => Ok(()),
            Err(error) => {
                let message = format!("Failed to create new replica set {name:?}: {}", rest::message(&error));
                self.tell(Severity::Warning, "ReplicaSetCreateError", message.clone());
                let mut status = self.deployment.status.clone();
                let reason = ("False", "ReplicaSetCreateError");
                status::set_progressing(self.deployment, &mut status, reason, message, self.now);
                self.write_status(status, None).await?;
                Err(error)
            }
        }
    }

    async fn note_created(&self, name: &str, replicas: i64, revision: i64) -> rest::Result<()> {
        if replicas > 0 {
            let words = format!("Scaled up replica set {name} from 0 to {replicas}");
            self.tell(Severity::Normal, "ScalingReplicaSet", words);
        }
        let mut status = self.deployment.status.clone();
        let message = format!("Created new replica set {name:?}");
        let reason = ("True", "NewReplicaSetCreated");
        status::set_progressing(self.deployment, &mut status, reason, message, self.now);
        self.write_status(status, Some(revision.to_string())).await
    }

    /// A ReplicaSet has the name of ours: it is ours and not yet in the cache, or the hashes collide
    /// and the next try counts one collision more.
    async fn meet(&self, name: &str) -> rest::Result<()> {
        let meta = &self.deployment.metadata;
        let live: Option<ReplicaSet> = self.controller.rest.get(&ReplicaSet::AT, &meta.namespace, name).await?;
        let Some(live) = live else { return Ok(()) };
        let wanted = template::read(self.deployment.spec.template.as_deref());
        let ours = live.metadata.is_controlled_by(&meta.uid);
        if ours && template::read(live.spec.template.as_deref()) == wanted {
            return Ok(());
        }
        let mut status = self.deployment.status.clone();
        status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        self.write_status(status, None).await
    }

    async fn roll(&self, family: &Family) -> rest::Result<Step> {
        let Some(new) = &family.new else { return Ok(Step::Wait) };
        let (replicas, bounds) = (self.deployment.replicas(), Bounds::of(self.deployment));
        let active: Vec<_> = family.old.iter().filter(|set| set.replicas() > 0).collect();
        let old: Vec<_> = active.iter().map(|set| size(set)).collect();
        let grown = rollout::grow_new(replicas, bounds, size(new), &old);
        if let Step::Wait = self.resize(new, grown).await? {
            return Ok(Step::Wait);
        }
        let mut step = Step::Go;
        for (set, next) in active
            .iter()
            .zip(rollout::shrink_old(replicas, bounds, size(new), &old))
        {
            if next != set.replicas() {
                self.resize(set, next).await?;
                step = Step::Wait;
            }
        }
        Ok(step)
    }

    async fn recreate(&self, family: &Family) -> rest::Result<Step> {
        let mut step = Step::Go;
        for set in family.old.iter().filter(|set| set.replicas() > 0) {
            self.resize(set, 0).await?;
            step = Step::Wait;
        }
        if matches!(step, Step::Wait) || self.old_pods_run(family) {
            return Ok(Step::Wait);
        }
        match &family.new {
            None => self.prepare_new(family, true).await,
            Some(new) => self.resize(new, self.deployment.replicas()).await,
        }
    }

    fn old_pods_run(&self, family: &Family) -> bool {
        let namespace = &self.deployment.metadata.namespace;
        let unfinished = |set: &Arc<ReplicaSet>| {
            let pods = &self.controller.pods;
            pods.children(namespace, &set.metadata.uid, |pod| !pod.is_finished())
        };
        family.old.iter().any(|set| set.status.replicas > 0) || family.old.iter().any(|set| !unfinished(set).is_empty())
    }

    /// Annotates what the numbers were when a ReplicaSet was last scaled.
    fn mark(&self, annotations: &mut BTreeMap<String, String>) {
        let replicas = self.deployment.replicas();
        let max = replicas + Bounds::of(self.deployment).surge;
        annotations.insert(DESIRED.to_owned(), replicas.to_string());
        annotations.insert(MAX.to_owned(), max.to_string());
    }

    /// Scales a ReplicaSet, or at least its annotations, if need be.
    async fn resize(&self, set: &ReplicaSet, replicas: i64) -> rest::Result<Step> {
        let before = set.replicas();
        let mut annotations = set.metadata.annotations.to_map();
        self.mark(&mut annotations);
        if before == replicas && annotations == set.metadata.annotations.to_map() {
            return Ok(Step::Go);
        }
        update(&self.controller.rest, &ReplicaSet::AT, &set.metadata, "", |live| {
            live["spec"]["replicas"] = json!(replicas);
            live["metadata"]["annotations"] = json!(annotations);
        })
        .await?;
        if before != replicas {
            let direction = if before < replicas { "up" } else { "down" };
            let name = &set.metadata.name;
            let words = format!("Scaled {direction} replica set {name} from {before} to {replicas}");
            self.tell(Severity::Normal, "ScalingReplicaSet", words);
        }
        Ok(Step::Wait)
    }

    /// Deletes the oldest revisions beyond the history that is kept.
    async fn clean_up(&self, family: &Family) -> rest::Result<()> {
        let limit = self.deployment.spec.revision_history_limit.unwrap_or(HISTORY);
        let mut old: Vec<_> = family.old.iter().filter(|set| !set.metadata.is_deleting()).collect();
        old.sort_by_key(|set| (number(set, REVISION).unwrap_or(0), set.metadata.creation_timestamp));
        let excess = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        for set in old.into_iter().take(excess) {
            let settled = set.metadata.generation <= set.status.observed_generation;
            if set.replicas() == 0 && set.status.replicas == 0 && settled {
                let rest = &self.controller.rest;
                let (namespace, name) = (&set.metadata.namespace, &set.metadata.name);
                rest.delete(&ReplicaSet::AT, namespace, name, &DeleteParams::default())
                    .await?;
            }
        }
        Ok(())
    }

    fn revision_of(&self, family: &Family) -> Option<String> {
        let new = family.new.as_ref()?;
        new.metadata.annotations.get(REVISION).map(str::to_owned)
    }

    /// Writes status and revision if either differs from what stands.
    async fn write_status(&self, status: DeploymentStatus, revision: Option<String>) -> rest::Result<()> {
        let meta = &self.deployment.metadata;
        let same_revision = revision
            .as_deref()
            .is_none_or(|r| meta.annotations.get(REVISION) == Some(r));
        if status == self.deployment.status && same_revision {
            return Ok(());
        }
        update(&self.controller.rest, &Deployment::AT, meta, "status", |live| {
            live["status"] = json!(status);
            if let Some(revision) = revision {
                live["metadata"]["annotations"][REVISION] = json!(revision);
            }
        })
        .await
    }

    fn tell(&self, severity: Severity, reason: &'static str, message: String) {
        let about = self.deployment.metadata.reference(KIND.0, KIND.1);
        self.controller.events.event(&about, severity, reason, message);
    }
}

fn size(set: &ReplicaSet) -> Size {
    Size {
        wanted: set.replicas(),
        available: set.status.available_replicas,
    }
}

/// A number in an annotation.
fn number(set: &ReplicaSet, annotation: &str) -> Option<i64> {
    set.metadata.annotations.get(annotation)?.parse().ok()
}
