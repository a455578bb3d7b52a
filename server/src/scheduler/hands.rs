//! Carries decisions out: binds Pods, sends others away for them, and says why they wait.

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::params::{DeleteParams, Patch, PatchParams, Preconditions};
use mizzen_api::client::events::{Recorder, Severity};
use mizzen_api::client::rest::{self, Rest};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::core::Decision;
use super::framework::failure::{Failure, Nomination};
use super::pod::Pod;
use super::profiles::Profiles;
use super::{News, PODS};

pub(super) struct Hands {
    /// For the points of the binding cycle.
    pub(super) profiles: Profiles,
    pub(super) rest: Rest,
    pub(super) recorder: Recorder,
    pub(super) host: Box<str>,
    pub(super) news: mpsc::UnboundedSender<News>,
}

impl Hands {
    pub(super) async fn carry_out(&self, decision: Decision) {
        match decision {
            Decision::Bind(pod, node) => match self.bind(&pod, &node).await {
                Ok(()) => {
                    let (namespace, name) = key(&pod);
                    let note = format!("Successfully assigned {namespace}/{name} to {node}");
                    self.note(&pod, None, Severity::Normal, ("Scheduled", "Binding"), note);
                }
                Err(message) => {
                    let failed = pod.clone();
                    self.report(move |core, now| core.bind_failed(&failed, &node, now));
                    self.tell(&pod, "SchedulerError", message, None).await;
                }
            },
            Decision::Reject(pod, failure) => self.reject(&pod, &failure).await,
        }
    }

    fn report(&self, news: impl FnOnce(&mut super::Core, tokio::time::Instant) + Send + 'static) {
        // Nobody listens only while the scheduler ends.
        let _ = self.news.send(Box::new(news));
    }

    fn note(
        &self,
        pod: &Pod,
        related: Option<&ObjectReference>,
        severity: Severity,
        what: (&str, &'static str),
        note: String,
    ) {
        let recorder = self.recorder.named(&pod.scheduler_name, &self.host);
        recorder.note(&reference(pod), related, severity, what, note);
    }

    /// The binding cycle: Permit, PreBind, Bind, PostBind.
    async fn bind(&self, pod: &Pod, node: &str) -> Result<(), String> {
        let profile = self.profiles.of(pod);
        for plugin in profile.plugins() {
            let permitted = plugin.permit(pod, node).await;
            permitted.map_err(|rejection| rejection.text())?;
        }
        for plugin in profile.plugins() {
            let prepared = plugin.pre_bind(&self.rest, pod, node).await;
            prepared.map_err(|error| format!("running PreBind plugin {:?}: {error}", plugin.name()))?;
        }
        for plugin in profile.plugins() {
            if let Some(bound) = plugin.bind(&self.rest, pod, node).await {
                bound.map_err(|error| {
                    let (name, message) = (plugin.name(), rest::message(&error));
                    format!("binding rejected: running Bind plugin {name:?}: {message}")
                })?;
                break;
            }
        }
        profile.plugins().for_each(|plugin| plugin.post_bind(pod, node));
        Ok(())
    }

    async fn reject(&self, pod: &Arc<Pod>, failure: &Failure) {
        let mut nominated = None;
        if let Some(nomination) = &failure.nomination {
            if self.preempt(pod, nomination).await {
                nominated = Some(json!(nomination.node));
            } else {
                let pod = pod.clone();
                self.report(move |core, _| core.preemption_failed(&pod));
            }
        } else if !failure.keep_nomination && !pod.nominated.is_empty() {
            nominated = Some(Value::Null);
        }
        self.tell(pod, "Unschedulable", failure.to_string(), nominated).await;
    }

    /// Sends the victims away. Returns whether all of them go.
    async fn preempt(&self, pod: &Pod, nomination: &Nomination) -> bool {
        let evicted = nomination
            .victims
            .iter()
            .map(|victim| self.evict(pod, victim, nomination));
        let all = join_all(evicted).await.into_iter().all(|gone| gone);
        // Less important Pods that hoped for the node look elsewhere.
        let cleared = nomination.displaced.iter().map(|other| {
            let patch = json!({"metadata": {"uid": other.metadata.uid}, "status": {"nominatedNodeName": null}});
            self.patch_status(other, patch)
        });
        join_all(cleared).await;
        all
    }

    async fn evict(&self, pod: &Pod, victim: &Pod, nomination: &Nomination) -> bool {
        if victim.metadata.is_deleting() {
            return true;
        }
        let message = format!(
            "{}: preempting to accommodate a higher priority pod",
            pod.scheduler_name
        );
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": message,
            "lastProbeTime": null, "lastTransitionTime": now(),
            "observedGeneration": victim.metadata.generation,
        });
        let patch = json!({"metadata": {"uid": victim.metadata.uid}, "status": {"conditions": [condition]}});
        let told = self.patch_status(victim, patch).await;
        let (namespace, name) = key(victim);
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(victim.metadata.uid.to_string()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let gone = match told {
            Ok(()) => self.rest.delete(&PODS, namespace, name, &params).await,
            Err(error) => Err(error),
        };
        match gone {
            Ok(()) => {
                let note = format!("Preempted by pod {} on node {}", pod.metadata.uid, nomination.node);
                let preempted = ("Preempted", "Preempting");
                self.note(victim, Some(&reference(pod)), Severity::Normal, preempted, note);
                true
            }
            Err(error) if rest::is_not_found(&error) => true,
            Err(error) => {
                let error = rest::message(&error);
                tracing::warn!(pod = %format!("{namespace}/{name}"), error, "cannot preempt a pod");
                false
            }
        }
    }

    async fn patch_status(&self, pod: &Pod, patch: Value) -> rest::Result<()> {
        let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
        let patched = self
            .rest
            .patch::<IgnoredAny>(&PODS, key(pod), "status", &params, &patch);
        match patched.await {
            Err(error) if !rest::is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Records why a Pod has no node: as an Event, and in its status unless it stands there already.
    async fn tell(&self, pod: &Pod, reason: &str, message: String, nominated: Option<Value>) {
        let failed = ("FailedScheduling", "Scheduling");
        self.note(pod, None, Severity::Warning, failed, message.clone());
        let known = pod
            .verdict
            .as_deref()
            .is_some_and(|(r, m)| **r == *reason && **m == *message);
        if known && nominated.is_none() {
            return;
        }
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
            "lastProbeTime": null, "lastTransitionTime": now(),
            "observedGeneration": pod.metadata.generation,
        });
        let mut patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
        if let Some(node) = nominated {
            patch["status"]["nominatedNodeName"] = node;
        }
        if let Err(error) = self.patch_status(pod, patch).await {
            let ((namespace, name), error) = (key(pod), rest::message(&error));
            tracing::warn!(pod = %format!("{namespace}/{name}"), error, "cannot record why the pod is not scheduled");
        }
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn key(pod: &Pod) -> (&str, &str) {
    (&pod.metadata.namespace, &pod.metadata.name)
}

fn reference(pod: &Pod) -> ObjectReference {
    pod.metadata.reference("v1", "Pod")
}
