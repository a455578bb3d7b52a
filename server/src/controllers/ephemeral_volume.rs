//! Ephemeral volumes: a claim for every Pod that brings a template, owned by the Pod.

use std::sync::Arc;

use async_trait::async_trait;
use mizzen_api::client::events::{Recorder, Severity};
use mizzen_api::client::reflector::{Key, Projection, Reflector};
use mizzen_api::client::rest::{self, Rest};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::kinds::Pod;
use super::kinds::storage::Claim;
use super::{Context, Controller, Next};
use crate::projection::Watched;

struct EphemeralVolumes {
    rest: Rest,
    pods: Arc<Reflector<Pod>>,
    claims: Arc<Reflector<Claim>>,
    events: Recorder,
}

/// Builds the controller; its keys are Pods.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = EphemeralVolumes {
        rest: context.rest.clone(),
        pods: context.caches.of(),
        claims: context.caches.of(),
        events: context.events.clone(),
    };
    let queue = context.queue.clone();
    controller.pods.subscribe(move |change| {
        let pod = change.latest();
        let brings = pod.spec.claims.iter().any(|claim| claim.is_ephemeral());
        if change.old.is_none() && brings && pod.is_active() {
            queue.add(pod.key());
        }
    });
    let (pods, queue) = (controller.pods.clone(), context.queue.clone());
    controller.claims.subscribe(move |change| {
        let claim = change.latest();
        if change.new.is_none()
            && let Some(owner) = claim.metadata.controller().filter(|owner| &*owner.kind == "Pod")
            && let Some(pod) = pods.get(claim.namespace(), &owner.name)
        {
            queue.add(pod.key());
        }
    });
    Arc::new(controller)
}

#[async_trait]
impl Controller for EphemeralVolumes {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(pod) = self.pods.get(&key.namespace, &key.name).filter(|pod| pod.is_active()) else {
            return Ok(Next::Change);
        };
        for used in pod.spec.claims.iter().filter(|used| used.is_ephemeral()) {
            let name = used.name(pod.name());
            match self.claims.get(&key.namespace, &name) {
                None => self.create(&pod, &name).await?,
                Some(claim) if claim.metadata.is_controlled_by(&pod.metadata.uid) => {}
                Some(_) => {
                    let words = format!(
                        "PVC {}/{name} was not created for pod {key} (pod is not owner)",
                        key.namespace
                    );
                    anyhow::bail!(words);
                }
            }
        }
        Ok(Next::Change)
    }
}

impl EphemeralVolumes {
    async fn create(&self, pod: &Pod, name: &str) -> rest::Result<()> {
        let live: Option<Value> = self.rest.get(&Pod::AT, pod.namespace(), pod.name()).await?;
        let live = live.filter(|live| live["metadata"]["uid"].as_str() == Some(&*pod.metadata.uid));
        let volumes = live.map(|mut live| live["spec"]["volumes"].take()).unwrap_or_default();
        let volumes = volumes.as_array().into_iter().flatten();
        let of_name = |volume: &&Value| {
            volume["name"]
                .as_str()
                .is_some_and(|v| format!("{}-{v}", pod.name()) == name)
        };
        let Some(volume) = volumes.into_iter().find(of_name) else {
            return Ok(());
        };
        let template = &volume["ephemeral"]["volumeClaimTemplate"];
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": name, "labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"],
                "ownerReferences": [pod.metadata.controller_reference("v1", "Pod")],
            },
            "spec": template["spec"],
        });
        let created = self
            .rest
            .create::<IgnoredAny>(&Claim::AT, pod.namespace(), &claim)
            .await;
        match created {
            Err(error) if !rest::is_already_exists(&error) => {
                let about = pod.metadata.reference("v1", "Pod");
                let words = format!(
                    "ephemeral volume controller: create PVC {}/{name}: {}",
                    pod.namespace(),
                    rest::message(&error)
                );
                self.events
                    .event(&about, Severity::Warning, "EphemeralVolumeCreationFailed", words);
                Err(error)
            }
            _ => Ok(()),
        }
    }
}
