//! StatefulSet: Pods with names, addresses and volumes that stay theirs.
//!
//! What to do is [`plan`], pure; claims are [`claims`]; old templates are [`super::revisions`]. A Pod is
//! its name: it is created only when none of that name is there, and deleted by uid, so that a cache
//! that is behind leads to a refusal and never to a second Pod of one identity.

mod claims;
mod plan;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use jiff::Timestamp;
use mizzen_api::client::events::{Recorder, Severity};
use mizzen_api::client::reflector::{Change, Key, Projection, Reflector};
use mizzen_api::client::rest::{self, Rest};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use self::plan::{Action, Pods, Seen, Update, Wanted};
use super::kinds::Pod;
use super::kinds::sets::{ControllerRevision, StatefulSet, StatefulSetStatus};
use super::kinds::storage::Claim;
use super::ownership::{Parent, concerned};
use super::pod_control::{delete_exactly, in_batches};
use super::queue::Queue;
use super::revisions::{History, Present, template_of};
use super::{Context, Controller, Next, template};
use crate::projection::{Labels, Watched, update, write_status};

const KIND: (&str, &str) = ("apps/v1", "StatefulSet");
/// Label of Pods with the name of their revision.
const REVISION: &str = "controller-revision-hash";
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

struct StatefulSets {
    rest: Rest,
    sets: Arc<Reflector<StatefulSet>>,
    pods: Arc<Reflector<Pod>>,
    claims: Arc<Reflector<Claim>>,
    revisions: Arc<Reflector<ControllerRevision>>,
    events: Recorder,
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = StatefulSets {
        rest: context.rest.clone(),
        sets: context.caches.of(),
        pods: context.caches.of(),
        claims: context.caches.of(),
        revisions: context.caches.of(),
        events: context.events.clone(),
    };
    let queue = context.queue.clone();
    controller
        .sets
        .subscribe(move |change| queue.add(change.latest().key()));
    let (sets, queue) = (controller.sets.clone(), context.queue.clone());
    controller.pods.subscribe(move |change| {
        let metas = (change.old.map(|pod| &pod.metadata), change.new.map(|pod| &pod.metadata));
        let namespace = change.latest().namespace();
        queue_all(
            &queue,
            concerned(metas, KIND, |labels| selecting(&sets, namespace, labels)),
        );
    });
    let (sets, queue) = (controller.sets.clone(), context.queue.clone());
    controller.revisions.subscribe(move |change| {
        let metas = (change.old.map(|one| &one.metadata), change.new.map(|one| &one.metadata));
        let namespace = change.latest().namespace();
        queue_all(
            &queue,
            concerned(metas, KIND, |labels| selecting(&sets, namespace, labels)),
        );
    });
    let (sets, queue) = (controller.sets.clone(), context.queue.clone());
    controller
        .claims
        .subscribe(move |change| claim_changed(change, &sets, &queue));
    Arc::new(controller)
}

fn queue_all(queue: &Queue, keys: Vec<Key>) {
    keys.into_iter().for_each(|key| queue.add(key));
}

fn selecting(sets: &Reflector<StatefulSet>, namespace: &str, labels: &Labels) -> Vec<Key> {
    let found = sets.select(namespace, |set| set.spec.selector.matches(labels));
    found.iter().map(|set| set.key()).collect()
}

/// A set may wait for a claim to be gone, or have to make it anew.
fn claim_changed(change: &Change<'_, Claim>, sets: &Reflector<StatefulSet>, queue: &Queue) {
    if change.new.is_some_and(|claim| !claim.metadata.is_deleting()) {
        return;
    }
    let claim = change.latest();
    let (owner, _) = claim.name().rsplit_once('-').unwrap_or_default();
    let has_it = |set: &StatefulSet| set.spec.volume_claim_templates.is_some() && owner.ends_with(set.name());
    queue_all(
        queue,
        sets.select(claim.namespace(), has_it)
            .iter()
            .map(|set| set.key())
            .collect(),
    );
}

/// The ordinal of a set's Pod.
fn ordinal(set: &str, pod: &str) -> Option<i64> {
    let digits = pod.strip_prefix(set)?.strip_prefix('-')?;
    let number: i64 = digits.parse().ok()?;
    (number >= 0 && number.to_string() == digits).then_some(number)
}

#[async_trait]
impl Controller for StatefulSets {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(set) = self.sets.get(&key.namespace, &key.name) else {
            return Ok(Next::Change);
        };
        let pass = Pass {
            controller: self,
            set: &set,
            now: Timestamp::now(),
        };
        Ok(pass.run().await?)
    }
}

/// One reconcile of one set.
struct Pass<'a> {
    controller: &'a StatefulSets,
    set: &'a StatefulSet,
    now: Timestamp,
}

/// The two revisions between which a set is.
struct Versions {
    current: Arc<ControllerRevision>,
    newest: Arc<ControllerRevision>,
}

impl Pass<'_> {
    async fn run(&self) -> rest::Result<Next> {
        let set = self.set;
        let revisions = self.revisions().await?;
        let pods = self.pods().await?;
        if set.metadata.is_deleting() {
            return Ok(Next::Change);
        }
        let history = History {
            rest: &self.controller.rest,
            meta: &set.metadata,
            at: StatefulSet::AT,
            kind: KIND,
            hash_label: "controller.kubernetes.io/hash",
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
        let is_current = |revision: &&Arc<ControllerRevision>| revision.metadata.name == set.status.current_revision;
        let current = revisions.iter().find(is_current).unwrap_or(&newest).clone();
        let versions = Versions { current, newest };
        let done = self.act(&versions, &pods).await;
        let status = self.status(&versions, &pods);
        let (current, update) = (status.current_revision.clone(), status.update_revision.clone());
        self.write_status(status).await?;
        done?;
        let live = |revision: &ControllerRevision| {
            let name = &revision.metadata.name;
            *name == current || *name == update || pods.iter().any(|(_, pod)| revision_of(pod) == &**name)
        };
        history
            .truncate(&revisions, live, set.spec.revision_history_limit)
            .await?;
        Ok(self.next_available(&pods))
    }

    async fn revisions(&self) -> rest::Result<Vec<Arc<ControllerRevision>>> {
        let revisions = &self.controller.revisions;
        self.parent().claim(revisions, |_| true, |one| &one.metadata).await
    }

    /// The set's Pods, adopted where needed, by ordinal.
    async fn pods(&self) -> rest::Result<Vec<(i64, Arc<Pod>)>> {
        let meta = &self.set.metadata;
        let has_ordinal = |pod: &Pod| ordinal(&meta.name, pod.name()).is_some();
        let pods = &self.controller.pods;
        let ours = self.parent().claim(pods, has_ordinal, |pod| &pod.metadata).await?;
        let mut numbered: Vec<_> = ours
            .into_iter()
            .filter_map(|pod| Some((ordinal(&meta.name, pod.name())?, pod)))
            .collect();
        numbered.sort_by_key(|(ordinal, _)| *ordinal);
        Ok(numbered)
    }

    fn parent(&self) -> Parent<'_, crate::projection::NoAnnotations> {
        Parent {
            rest: &self.controller.rest,
            meta: &self.set.metadata,
            selector: &self.set.spec.selector,
            at: StatefulSet::AT,
            kind: KIND,
        }
    }

    fn wanted(&self, versions: &Versions) -> Wanted {
        let spec = &self.set.spec;
        let bounds = &spec.update_strategy.rolling_update;
        let replicas = self.set.replicas();
        let max_unavailable = bounds
            .max_unavailable
            .as_ref()
            .map_or(1, |share| share.of(replicas, true));
        Wanted {
            start: spec.ordinals.start,
            replicas,
            parallel: &*spec.pod_management_policy == "Parallel",
            update: match &*spec.update_strategy.kind {
                "OnDelete" => Update::OnDelete,
                _ => Update::Rolling {
                    partition: bounds.partition,
                    max_unavailable: max_unavailable.max(1),
                },
            },
            current: versions.current.metadata.name.clone(),
            newest: versions.newest.metadata.name.clone(),
        }
    }

    fn is_available(&self, pod: &Pod) -> bool {
        is_running_and_ready(pod)
            && pod
                .available_at(self.set.spec.min_ready_seconds)
                .is_some_and(|at| at <= self.now)
    }

    async fn act(&self, versions: &Versions, pods: &[(i64, Arc<Pod>)]) -> rest::Result<()> {
        let wanted = self.wanted(versions);
        let seen: Pods = pods
            .iter()
            .map(|(ordinal, pod)| {
                let seen = Seen {
                    revision: revision_of(pod).into(),
                    ended: pod.is_finished(),
                    terminating: pod.metadata.is_deleting(),
                    available: self.is_available(pod),
                };
                (*ordinal, seen)
            })
            .collect();
        self.keep_identities(&wanted, pods).await?;
        let (creates, deletes): (Vec<_>, Vec<_>) = plan::plan(&wanted, &seen)
            .into_iter()
            .partition(|action| matches!(action, Action::Create(..)));
        let deleted = join_all(deletes.iter().map(|action| self.delete(action, pods))).await;
        let created = in_batches(creates, |action| self.create(versions, action)).await;
        deleted.into_iter().collect::<rest::Result<()>>()?;
        created.error.map_or(Ok(()), Err)
    }

    /// Gives back what makes Pods and claims the set's: labels, claims that are missing, their owners.
    async fn keep_identities(&self, wanted: &Wanted, pods: &[(i64, Arc<Pod>)]) -> rest::Result<()> {
        let templates = claims::templates(self.set);
        for (ordinal, pod) in pods.iter().filter(|(_, pod)| !pod.metadata.is_deleting()) {
            if pod.metadata.labels.get(POD_NAME) != Some(pod.name()) {
                update(&self.controller.rest, &Pod::AT, &pod.metadata, "", |live| {
                    live["metadata"]["labels"][POD_NAME] = pod.name().into();
                })
                .await?;
            }
            if &*pod.status.phase == "Pending" && !templates.is_empty() {
                self.make_claims(*ordinal, Some(&pod.metadata.uid)).await?;
            }
            for template in &templates {
                self.own_claim(template, *ordinal, pod, wanted.has(*ordinal)).await?;
            }
        }
        Ok(())
    }

    async fn own_claim(&self, template: &Value, ordinal: i64, pod: &Pod, wanted: bool) -> rest::Result<()> {
        let name = claims::name(template, &self.set.metadata.name, ordinal);
        let Some(claim) = self.controller.claims.get(&self.set.metadata.namespace, &name) else {
            return Ok(());
        };
        let present = &claim.metadata.owner_references;
        if present.is_empty() && !claims::may_delete(&self.set.spec.persistent_volume_claim_retention_policy) {
            return Ok(());
        }
        let Some(owners) = claims::owners(present, self.set, pod, wanted) else {
            return Ok(());
        };
        update(&self.controller.rest, &Claim::AT, &claim.metadata, "", |live| {
            live["metadata"]["ownerReferences"] = owners.into();
        })
        .await
    }

    async fn delete(&self, action: &Action, pods: &[(i64, Arc<Pod>)]) -> rest::Result<()> {
        let (Action::Delete(at) | Action::Recreate(at) | Action::Create(at, _)) = action;
        let Some((_, pod)) = pods.iter().find(|(ordinal, _)| ordinal == at) else {
            return Ok(());
        };
        let meta = &self.set.metadata;
        if matches!(action, Action::Recreate(_)) {
            let words = format!(
                "StatefulSet {}/{} is recreating failed Pod {}",
                meta.namespace,
                meta.name,
                pod.name()
            );
            self.tell(Severity::Warning, "RecreatingFailedPod", words);
        }
        let result = delete_exactly(&self.controller.rest, &pod.metadata).await;
        self.tell_of(("delete", "SuccessfulDelete", "FailedDelete"), pod.name(), &result);
        result
    }

    async fn create(&self, versions: &Versions, action: Action) -> rest::Result<()> {
        let Action::Create(ordinal, revision) = action else {
            return Ok(());
        };
        if !self.make_claims(ordinal, None).await? {
            return Ok(());
        }
        let version = match revision == versions.newest.metadata.name {
            true => &versions.newest,
            false => &versions.current,
        };
        let pod = self.pod(version, ordinal);
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let namespace = &self.set.metadata.namespace;
        let result = self
            .controller
            .rest
            .create::<IgnoredAny>(&Pod::AT, namespace, &pod)
            .await
            .map(drop);
        match &result {
            // The cache is behind, and its next event brings the key back; or the name is somebody else's.
            Err(error) if rest::is_already_exists(error) && self.controller.pods.get(namespace, name).is_none() => {
                return Ok(());
            }
            Err(error) if rest::is_namespace_terminating(error) => return Ok(()),
            _ => self.tell_of(("create", "SuccessfulCreate", "FailedCreate"), name, &result),
        }
        result
    }

    /// Makes the claims of an ordinal that are missing; whether all are there to be used.
    async fn make_claims(&self, ordinal: i64, live_uid: Option<&str>) -> rest::Result<bool> {
        let meta = &self.set.metadata;
        let pod = format!("{}-{ordinal}", meta.name);
        let mut usable = true;
        for template in claims::templates(self.set) {
            let claim = claims::claim(&template, self.set, ordinal);
            let name = claim["metadata"]["name"].as_str().unwrap_or_default();
            if let Some(present) = self.controller.claims.get(&meta.namespace, name) {
                let stale = claims::is_stale(&present.metadata.owner_references, &pod, live_uid);
                usable &= !stale && !present.metadata.is_deleting();
                continue;
            }
            let rest = &self.controller.rest;
            match rest.create::<IgnoredAny>(&Claim::AT, &meta.namespace, &claim).await {
                Ok(_) => {
                    let words = format!("create Claim {name} Pod {pod} in StatefulSet {} success", meta.name);
                    self.tell(Severity::Normal, "SuccessfulCreate", words);
                }
                Err(error) if rest::is_already_exists(&error) => {}
                Err(error) => {
                    let words = format!(
                        "create Claim {name} for Pod {pod} in StatefulSet {} failed error: {}",
                        meta.name,
                        rest::message(&error)
                    );
                    self.tell(Severity::Warning, "FailedCreate", words);
                    return Err(error);
                }
            }
        }
        Ok(usable)
    }

    fn pod(&self, version: &ControllerRevision, ordinal: i64) -> Value {
        let raw = RawValue::from_string(template_of(version).to_string()).ok();
        let templates = claims::templates(self.set);
        identified(self.set, raw.as_deref(), &templates, &version.metadata.name, ordinal)
    }

    fn status(&self, versions: &Versions, pods: &[(i64, Arc<Pod>)]) -> StatefulSetStatus {
        let (current, newest) = (&versions.current.metadata.name, &versions.newest.metadata.name);
        let count = |keep: &dyn Fn(&Pod) -> bool| {
            let created = pods.iter().filter(|(_, pod)| !pod.status.phase.is_empty() && keep(pod));
            i64::try_from(created.count()).unwrap_or(i64::MAX)
        };
        let of = |name: &str| count(&|pod| !pod.metadata.is_deleting() && revision_of(pod) == name);
        let mut status = StatefulSetStatus {
            observed_generation: self.set.metadata.generation,
            replicas: count(&|_| true),
            ready_replicas: count(&is_running_and_ready),
            current_replicas: of(current),
            updated_replicas: of(newest),
            available_replicas: count(&|pod| self.is_available(pod)),
            current_revision: current.clone(),
            update_revision: newest.clone(),
            collision_count: Some(self.set.status.collision_count.unwrap_or(0)),
            conditions: self.set.status.conditions.clone(),
        };
        let all = self.set.replicas();
        let rolls = &*self.set.spec.update_strategy.kind != "OnDelete";
        if rolls && [status.replicas, status.ready_replicas, status.updated_replicas] == [all; 3] {
            status.current_revision = newest.clone();
            status.current_replicas = status.updated_replicas;
        }
        status
    }

    async fn write_status(&self, status: StatefulSetStatus) -> rest::Result<()> {
        let seen = (&self.set.metadata, &self.set.status);
        write_status(&self.controller.rest, &StatefulSet::AT, seen, &status).await
    }

    /// When the next Pod that is ready counts as available.
    fn next_available(&self, pods: &[(i64, Arc<Pod>)]) -> Next {
        let ready = pods.iter().filter(|(_, pod)| is_running_and_ready(pod));
        let times = ready.filter_map(|(_, pod)| pod.available_at(self.set.spec.min_ready_seconds));
        let next = times.filter(|at| *at > self.now).min();
        let pause = next.and_then(|at| at.duration_since(self.now).try_into().ok());
        pause.map_or(Next::Change, Next::After)
    }

    fn tell_of(&self, (verb, good, bad): (&str, &'static str, &'static str), pod: &str, result: &rest::Result<()>) {
        let set = &self.set.metadata.name;
        match result {
            Ok(()) => {
                let words = format!("{verb} Pod {pod} in StatefulSet {set} successful");
                self.tell(Severity::Normal, good, words);
            }
            Err(error) => {
                let words = format!(
                    "{verb} Pod {pod} in StatefulSet {set} failed error: {}",
                    rest::message(error)
                );
                self.tell(Severity::Warning, bad, words);
            }
        }
    }

    fn tell(&self, severity: Severity, reason: &'static str, message: String) {
        let about = self.set.metadata.reference(KIND.0, KIND.1);
        self.controller.events.event(&about, severity, reason, message);
    }
}

fn is_running_and_ready(pod: &Pod) -> bool {
    &*pod.status.phase == "Running" && pod.is_ready()
}

fn revision_of(pod: &Pod) -> &str {
    pod.metadata.labels.get(REVISION).unwrap_or_default()
}

/// A Pod of the template with the identity of an ordinal: name, address, volumes.
fn identified(
    set: &StatefulSet,
    template: Option<&RawValue>,
    claim_templates: &[Value],
    revision: &str,
    ordinal: i64,
) -> Value {
    let name = format!("{}-{ordinal}", set.metadata.name);
    let mut pod = template::pod(template, set.metadata.controller_reference(KIND.0, KIND.1));
    let metadata = &mut pod["metadata"];
    metadata["name"] = name.as_str().into();
    for (label, value) in [
        (REVISION, revision),
        (POD_NAME, &name),
        (POD_INDEX, &ordinal.to_string()),
    ] {
        metadata["labels"][label] = value.into();
    }
    let spec = &mut pod["spec"];
    spec["hostname"] = name.into();
    if !set.spec.service_name.is_empty() {
        spec["subdomain"] = (&*set.spec.service_name).into();
    }
    if claim_templates.is_empty() {
        return pod;
    }
    let mut volumes: Vec<Value> = claim_templates
        .iter()
        .map(|template| {
            let claim = claims::name(template, &set.metadata.name, ordinal);
            json!({"name": template["metadata"]["name"], "persistentVolumeClaim": {"claimName": claim}})
        })
        .collect();
    let of_template = spec["volumes"].as_array().cloned().unwrap_or_default();
    let shadowed = |volume: &Value| claim_templates.iter().any(|t| t["metadata"]["name"] == volume["name"]);
    volumes.extend(of_template.into_iter().filter(|volume| !shadowed(volume)));
    spec["volumes"] = volumes.into();
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_are_plain_numbers() {
        for (pod, expect) in [
            ("db-0", Some(0)),
            ("db-12", Some(12)),
            ("db-01", None),
            ("db--1", None),
            ("db-x", None),
            ("dbx-1", None),
            ("db-a-1", None),
        ] {
            assert_eq!(ordinal("db", pod), expect, "{pod}");
        }
    }

    #[test]
    fn a_pod_has_name_address_and_volumes() {
        let set = json!({"metadata": {"name": "db", "uid": "u", "namespace": "default"},
            "spec": {"serviceName": "dbs", "selector": {"matchLabels": {"app": "db"}}}});
        let set: StatefulSet = serde_json::from_str(&set.to_string()).expect("a set");
        let template = json!({"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [], "volumes": [
            {"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]}});
        let raw = RawValue::from_string(template.to_string()).expect("JSON");
        let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}});
        let pod = identified(&set, Some(&raw), std::slice::from_ref(&claim), "db-abc", 3);
        insta::assert_snapshot!(pod["metadata"]["labels"], @r#"{"app":"db","apps.kubernetes.io/pod-index":"3","controller-revision-hash":"db-abc","statefulset.kubernetes.io/pod-name":"db-3"}"#);
        insta::assert_snapshot!(pod["spec"], @r#"{"containers":[],"hostname":"db-3","subdomain":"dbs","volumes":[{"name":"data","persistentVolumeClaim":{"claimName":"data-db-3"}},{"emptyDir":{},"name":"tmp"}]}"#);
        insta::assert_snapshot!(claims::claim(&claim, &set, 3), @r#"{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"labels":{"app":"db"},"name":"data-db-3"},"spec":{"accessModes":["ReadWriteOnce"]}}"#);
    }
}
