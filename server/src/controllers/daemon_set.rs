//! DaemonSet: one Pod on every node that it is for.
//!
//! Which nodes are is [`placement`], what to do about them [`plan`], both pure; old templates are
//! [`super::revisions`]. Pods are created for a node by affinity and bound by the scheduler.
//! [`super::expectations`] keeps a cache that is behind from making it act twice.

mod placement;
mod plan;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use jiff::Timestamp;
use mizzen_api::client::events::{Recorder, Severity};
use mizzen_api::client::reflector::{Key, Projection, Reflector};
use mizzen_api::client::rest::{self, Rest};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use self::placement::{Placement, Verdict};
use self::plan::{Place, Places, Plan, Seen, Update};
use super::expectations::Expectations;
use super::kinds::sets::{ControllerRevision, DaemonSet, DaemonSetStatus};
use super::kinds::{Node, Pod};
use super::ownership::{Parent, concerned, pod_changed};
use super::pod_control::{PodControl, in_batches};
use super::revisions::{History, Present};
use super::{Context, Controller, Next, template};
use crate::projection::{Labels, Watched, write_status};

const KIND: (&str, &str) = ("apps/v1", "DaemonSet");
/// Label of Pods and revisions with the hash of their template.
const HASH: &str = "controller-revision-hash";
/// Label of Pods with the number of their template.
const GENERATION: &str = "pod-template-generation";
/// How many Pods are created or deleted in one go (upstream's burst).
const BURST: usize = 250;
/// How long a node that failed a Pod is left alone at first, and at most (upstream's).
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(15);

/// When a node last failed a DaemonSet's Pod, and for how long it is left alone.
type Failures = HashMap<(Key, Box<str>), (Instant, Duration)>;

struct DaemonSets {
    rest: Rest,
    sets: Arc<Reflector<DaemonSet>>,
    pods: Arc<Reflector<Pod>>,
    nodes: Arc<Reflector<Node>>,
    revisions: Arc<Reflector<ControllerRevision>>,
    expectations: Arc<Expectations>,
    failures: Mutex<Failures>,
    pods_of: PodControl,
    events: Recorder,
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = DaemonSets {
        rest: context.rest.clone(),
        sets: context.caches.of(),
        pods: context.caches.of(),
        nodes: context.caches.of(),
        revisions: context.caches.of(),
        expectations: Arc::default(),
        failures: Mutex::default(),
        pods_of: PodControl::new(context),
        events: context.events.clone(),
    };
    let queue = context.queue.clone();
    controller
        .sets
        .subscribe(move |change| queue.add(change.latest().key()));
    let (sets, queue) = (controller.sets.clone(), context.queue.clone());
    let expectations = controller.expectations.clone();
    controller.pods.subscribe(move |change| {
        let adopters = |labels: &_| selecting(&sets, change.latest().namespace(), labels);
        pod_changed(change, KIND, &expectations, &queue, adopters);
    });
    let (sets, queue) = (controller.sets.clone(), context.queue.clone());
    controller.revisions.subscribe(move |change| {
        let metas = (change.old.map(|one| &one.metadata), change.new.map(|one| &one.metadata));
        let namespace = change.latest().namespace();
        let keys = concerned(metas, KIND, |labels| selecting(&sets, namespace, labels));
        keys.into_iter().for_each(|key| queue.add(key));
    });
    let (sets, queue) = (controller.sets.clone(), context.queue.clone());
    controller.nodes.subscribe(move |change| {
        let matters = |node: &Node| (node.metadata.labels.clone(), node.spec.taints.clone());
        if change.old.map(|node| matters(node)) != change.new.map(|node| matters(node)) {
            sets.all().iter().for_each(|set| queue.add(set.key()));
        }
    });
    Arc::new(controller)
}

fn selecting(sets: &Reflector<DaemonSet>, namespace: &str, labels: &Labels) -> Vec<Key> {
    let found = sets.select(namespace, |set| set.spec.selector.matches(labels));
    found.iter().map(|set| set.key()).collect()
}

#[async_trait]
impl Controller for DaemonSets {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(set) = self.sets.get(&key.namespace, &key.name) else {
            self.expectations.forget(key);
            self.failures.lock().retain(|(set, _), _| set != key);
            return Ok(Next::Change);
        };
        let pass = Pass {
            controller: self,
            key,
            set: &set,
            now: Timestamp::now(),
        };
        Ok(pass.run().await?)
    }
}

/// One reconcile of one DaemonSet.
struct Pass<'a> {
    controller: &'a DaemonSets,
    key: &'a Key,
    set: &'a DaemonSet,
    now: Timestamp,
}

/// What is seen of the world.
struct View {
    pods: Vec<Arc<Pod>>,
    places: Places,
    /// Pods that no node will ever run.
    lost: Vec<usize>,
}

impl Pass<'_> {
    async fn run(&self) -> rest::Result<Next> {
        let set = self.set;
        if set.spec.selector.is_empty() {
            let words = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.tell(Severity::Warning, "SelectingAll", words.to_owned());
            return Ok(Next::Change);
        }
        // Asked before reading Pods: whatever satisfied it is then among what is read.
        let may_act = self.controller.expectations.satisfied(self.key);
        let revisions = self.revisions().await?;
        let pods = self.pods().await?;
        if set.metadata.is_deleting() {
            return Ok(Next::Change);
        }
        let history = History {
            rest: &self.controller.rest,
            meta: &set.metadata,
            at: DaemonSet::AT,
            kind: KIND,
            hash_label: HASH,
            collisions: set.status.collision_count,
        };
        let newest = match history.present(set.spec.template.as_deref(), &revisions).await? {
            Present::Revision(revision) => revision,
            Present::Collision => {
                let mut status = set.status.clone();
                status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
                return self.write_status(status).await.map(|()| Next::Change);
            }
        };
        let hash = newest.metadata.labels.get(HASH).unwrap_or_default().to_owned();
        let view = self.view(pods, &hash);
        let mut again = self.next_available(&view);
        let mut done = Ok(());
        if may_act {
            let mut plan = plan::plan(self.update(&view.places), &view.places);
            plan.delete.extend(&view.lost);
            again = [again, plan.again].into_iter().flatten().min();
            done = self.act(&view, &plan, &hash).await;
        }
        self.write_status(self.status(&view)).await?;
        done?;
        let live = |revision: &ControllerRevision| {
            let own = revision.metadata.labels.get(HASH);
            own == Some(&*hash) || view.pods.iter().any(|pod| pod.metadata.labels.get(HASH) == own)
        };
        history
            .truncate(&revisions, live, set.spec.revision_history_limit)
            .await?;
        Ok(again.map_or(Next::Change, Next::After))
    }

    async fn revisions(&self) -> rest::Result<Vec<Arc<ControllerRevision>>> {
        let revisions = &self.controller.revisions;
        self.parent().claim(revisions, |_| true, |one| &one.metadata).await
    }

    /// The DaemonSet's Pods, adopted where needed, oldest first.
    async fn pods(&self) -> rest::Result<Vec<Arc<Pod>>> {
        let pods = &self.controller.pods;
        let mut ours = self.parent().claim(pods, |_| true, |pod| &pod.metadata).await?;
        // Of several on a node one that is placed is kept, and among equals the oldest.
        ours.sort_by(|a, b| {
            let key = |pod: &Pod| (pod.spec.node_name.is_empty(), pod.metadata.creation_timestamp);
            key(a).cmp(&key(b)).then_with(|| a.name().cmp(b.name()))
        });
        Ok(ours)
    }

    fn parent(&self) -> Parent<'_, super::kinds::sets::DaemonSetAnnotations> {
        Parent {
            rest: &self.controller.rest,
            meta: &self.set.metadata,
            selector: &self.set.spec.selector,
            at: DaemonSet::AT,
            kind: KIND,
        }
    }

    fn view(&self, pods: Vec<Arc<Pod>>, hash: &str) -> View {
        let placement = Placement::read(self.set.spec.template.as_deref());
        let mut places: Places = self
            .controller
            .nodes
            .all()
            .iter()
            .map(|node| {
                let verdict = placement.verdict(node);
                (
                    node.metadata.name.clone(),
                    Place {
                        verdict,
                        pods: Vec::new(),
                    },
                )
            })
            .collect();
        let mut lost = Vec::new();
        for (id, pod) in pods.iter().enumerate() {
            match pod.node().and_then(|node| places.get_mut(node)) {
                Some(place) => place.pods.push(self.seen(id, pod, hash)),
                // One that was placed is for the garbage collector of Pods.
                None if pod.spec.node_name.is_empty() && !pod.metadata.is_deleting() => lost.push(id),
                None => {}
            }
        }
        View { pods, places, lost }
    }

    fn seen(&self, id: usize, pod: &Pod, hash: &str) -> Seen {
        let failed = &*pod.status.phase == "Failed";
        let ready_at = pod.available_at(self.set.spec.min_ready_seconds);
        Seen {
            id,
            terminating: pod.metadata.is_deleting(),
            failed,
            succeeded: &*pod.status.phase == "Succeeded",
            ready: pod.is_ready(),
            available: ready_at.is_some_and(|at| at <= self.now),
            updated: pod.metadata.labels.get(HASH) == Some(hash),
            left_alone: failed
                .then(|| self.left_alone(pod.node().unwrap_or_default()))
                .flatten(),
        }
    }

    /// How much longer a node that failed a Pod is left alone.
    fn left_alone(&self, node: &str) -> Option<Duration> {
        let failures = self.controller.failures.lock();
        let (since, pause) = failures.get(&(self.key.clone(), node.into()))?;
        (*since + *pause)
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
    }

    /// A node failed a Pod: the next failure there is left alone for twice as long.
    fn note_failure(&self, node: &str) {
        let mut failures = self.controller.failures.lock();
        let entry = failures.entry((self.key.clone(), node.into()));
        let (since, pause) = entry.or_insert((Instant::now(), Duration::ZERO));
        let forgotten = since.elapsed() > LONGEST_PAUSE * 2;
        *pause = match forgotten || pause.is_zero() {
            true => FIRST_PAUSE,
            false => (*pause * 2).min(LONGEST_PAUSE),
        };
        *since = Instant::now();
    }

    fn update(&self, places: &Places) -> Update {
        let strategy = &self.set.spec.update_strategy;
        if &*strategy.kind == "OnDelete" {
            return Update::OnDelete;
        }
        let desired = places.values().filter(|place| place.verdict == Verdict::Run).count();
        let desired = i64::try_from(desired).unwrap_or(i64::MAX);
        let of = |share: Option<&super::kinds::IntOrPercent>| {
            usize::try_from(share.map_or(0, |share| share.of(desired, true))).unwrap_or(0)
        };
        let bounds = &strategy.rolling_update;
        let (unavailable, surge) = (of(bounds.max_unavailable.as_ref()), of(bounds.max_surge.as_ref()));
        Update::Rolling {
            unavailable: if surge == 0 { unavailable.max(1) } else { unavailable },
            surge,
        }
    }

    async fn act(&self, view: &View, plan: &Plan, hash: &str) -> rest::Result<()> {
        let about = self.set.metadata.reference(KIND.0, KIND.1);
        for id in &plan.ended {
            self.tell_of_end(&view.pods[*id]);
        }
        let victims: Vec<_> = plan.delete.iter().take(BURST).map(|id| &view.pods[*id]).collect();
        let nodes: Vec<_> = plan.create.iter().take(BURST).collect();
        let uids = victims.iter().map(|pod| &*pod.metadata.uid);
        self.controller.expectations.expect(self.key, nodes.len(), uids);
        let deleted = join_all(victims.iter().map(|pod| async {
            let deleted = self.controller.pods_of.delete(&about, &pod.metadata).await;
            if deleted.is_err() {
                self.controller.expectations.deleted(self.key, &pod.metadata.uid);
            }
            deleted
        }));
        let base = self.pod(hash);
        let created = in_batches(&nodes, |node| {
            let mut pod = base.clone();
            placement::aim(&mut pod["spec"], node);
            let (namespace, about) = (&self.set.metadata.namespace, &about);
            async move { self.controller.pods_of.create(namespace, about, &pod).await }
        });
        let (deleted, created) = tokio::join!(deleted, created);
        self.controller
            .expectations
            .created(self.key, nodes.len() - created.done);
        deleted.into_iter().collect::<rest::Result<()>>()?;
        match created.error {
            Some(error) if !rest::is_namespace_terminating(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn pod(&self, hash: &str) -> Value {
        let meta = &self.set.metadata;
        let owner = meta.controller_reference(KIND.0, KIND.1);
        let mut pod = template::pod(self.set.spec.template.as_deref(), owner);
        pod["metadata"]["generateName"] = format!("{}-", meta.name).into();
        pod["metadata"]["labels"][HASH] = hash.into();
        if let Some(generation) = &meta.annotations.template_generation {
            pod["metadata"]["labels"][GENERATION] = (&**generation).into();
        }
        placement::bear(&mut pod["spec"]);
        pod
    }

    fn tell_of_end(&self, pod: &Pod) {
        let (namespace, name, node) = (pod.namespace(), pod.name(), pod.node().unwrap_or_default());
        if &*pod.status.phase == "Failed" {
            self.note_failure(node);
            let words = format!("Found failed daemon pod {namespace}/{name} on node {node}, will try to kill it");
            self.tell(Severity::Warning, "FailedDaemonPod", words);
        } else {
            let words = format!("Found succeeded daemon pod {namespace}/{name} on node {node}, will try to delete it");
            self.tell(Severity::Normal, "SucceededDaemonPod", words);
        }
    }

    fn status(&self, view: &View) -> DaemonSetStatus {
        let places = view.places.values();
        let wanted: Vec<_> = places.clone().filter(|place| place.verdict == Verdict::Run).collect();
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let count = |keep: &dyn Fn(&Seen) -> bool| {
            // A node counts by its first Pod that lasts, or by the first at all.
            let first = |place: &&&Place| {
                let pods = &place.pods;
                pods.iter()
                    .find(|pod| !pod.terminating)
                    .or(pods.first())
                    .is_some_and(keep)
            };
            number(wanted.iter().filter(first).count())
        };
        let misplaced = places.filter(|place| place.verdict != Verdict::Run && !place.pods.is_empty());
        let (desired, available) = (number(wanted.len()), count(&|pod| pod.available));
        DaemonSetStatus {
            current_number_scheduled: count(&|_| true),
            number_misscheduled: number(misplaced.count()),
            desired_number_scheduled: desired,
            number_ready: count(&|pod| pod.ready),
            observed_generation: self.set.metadata.generation,
            updated_number_scheduled: count(&|pod| pod.updated),
            number_available: available,
            number_unavailable: desired - available,
            collision_count: self.set.status.collision_count,
            conditions: self.set.status.conditions.clone(),
        }
    }

    async fn write_status(&self, status: DaemonSetStatus) -> rest::Result<()> {
        let seen = (&self.set.metadata, &self.set.status);
        write_status(&self.controller.rest, &DaemonSet::AT, seen, &status).await
    }

    /// How long until the next Pod that is ready counts as available.
    fn next_available(&self, view: &View) -> Option<Duration> {
        let times = view
            .pods
            .iter()
            .filter_map(|pod| pod.available_at(self.set.spec.min_ready_seconds));
        let next = times.filter(|at| *at > self.now).min()?;
        next.duration_since(self.now).try_into().ok()
    }

    fn tell(&self, severity: Severity, reason: &'static str, message: String) {
        let about = self.set.metadata.reference(KIND.0, KIND.1);
        self.controller.events.event(&about, severity, reason, message);
    }
}
