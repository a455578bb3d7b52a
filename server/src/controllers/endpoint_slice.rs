//! EndpointSlice: the addresses behind every Service with a selector, in slices of at most a hundred.
//!
//! [`backends`] says which Pods are behind a Service and how; [`slices`] plans with as few writes as
//! possible; both are pure. What was created and not yet seen is expected, so that a cache that is
//! behind does not lead to a second slice.

pub(super) mod backends;
pub(super) mod mirroring;
mod slices;

use std::sync::Arc;

use async_trait::async_trait;
use kube::core::params::DeleteParams;
use mizzen_api::client::events::{Recorder, Severity};
use mizzen_api::client::reflector::{Change, Key, Projection, Reflector};
use mizzen_api::client::rest::{self, Rest};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use self::slices::{Slice, SliceForm};
use super::expectations::Expectations;
use super::kinds::{Node, Pod, Service};
use super::queue::Queue;
use super::{Context, Controller, Next};
use crate::projection::{Watched, update};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
const ZONE: &str = "topology.kubernetes.io/zone";

struct EndpointSlices {
    rest: Rest,
    services: Arc<Reflector<Service>>,
    pods: Arc<Reflector<Pod>>,
    nodes: Arc<Reflector<Node>>,
    slices: Arc<Reflector<Slice>>,
    expectations: Arc<Expectations>,
    events: Recorder,
}

/// Builds the controller; its keys are Services.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = EndpointSlices {
        rest: context.rest.clone(),
        services: context.caches.of(),
        pods: context.caches.of(),
        nodes: context.caches.of(),
        slices: context.caches.of(),
        expectations: Arc::default(),
        events: context.events.clone(),
    };
    follow_services_and_pods(context);
    let (expectations, queue) = (controller.expectations.clone(), context.queue.clone());
    controller.slices.subscribe(move |change| {
        let slice = change.latest();
        let ours = slice.metadata.labels.get(MANAGED_BY) == Some(MANAGER);
        let Some(service) = slice.metadata.labels.get(SERVICE_NAME).filter(|_| ours) else {
            return;
        };
        let key = Key::new(&slice.metadata.namespace, service);
        if change.old.is_none() {
            expectations.created(&key, 1);
        }
        queue.add(key);
    });
    let (services, queue) = (controller.services.clone(), context.queue.clone());
    controller.nodes.subscribe(move |change| {
        let zone = |node: Option<&Arc<Node>>| node.and_then(|n| n.metadata.labels.get(ZONE).map(str::to_owned));
        if zone(change.old) != zone(change.new) {
            services.all().iter().for_each(|service| queue.add(service.key()));
        }
    });
    Arc::new(controller)
}

/// Queues Services that change, and those whose Pods do.
pub(super) fn follow_services_and_pods(context: &Context<'_>) {
    let (services, pods) = (context.caches.of::<Service>(), context.caches.of::<Pod>());
    let queue = context.queue.clone();
    services.subscribe(move |change| queue.add(change.latest().key()));
    let queue = context.queue.clone();
    pods.subscribe(move |change| pod_changed(change, &services, &queue));
}

fn pod_changed(change: &Change<'_, Pod>, services: &Reflector<Service>, queue: &Queue) {
    if let (Some(old), Some(new)) = (change.old, change.new)
        && !backends::differ(old, new)
    {
        return;
    }
    let selects = |service: &Service| {
        let mut states = [change.old, change.new].into_iter().flatten();
        states.any(|pod| service.selects(pod))
    };
    for service in services.select(&change.latest().metadata.namespace, selects) {
        queue.add(service.key());
    }
}

#[async_trait]
impl Controller for EndpointSlices {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let service = self.services.get(&key.namespace, &key.name);
        let Some(service) = service.filter(|service| service.is_selecting()) else {
            // Slices of a Service that is gone go with it: they are owned.
            self.expectations.forget(key);
            return Ok(Next::Change);
        };
        if !self.expectations.satisfied(key) || service.metadata.is_deleting() {
            return Ok(Next::Change);
        }
        let pods = self.pods.select(&key.namespace, |pod| service.selects(pod));
        let zone_of = |node: &str| {
            let node = self.nodes.get("", node)?;
            node.metadata.labels.get(ZONE).map(Into::into)
        };
        let desired = backends::of(&service, &pods, &zone_of);
        let existing = self.slices.select(&key.namespace, |slice| {
            let labels = &slice.metadata.labels;
            labels.get(MANAGED_BY) == Some(MANAGER)
                && labels.get(SERVICE_NAME) == Some(&*key.name)
                && !slice.metadata.is_deleting()
        });
        let labels = labels(&service);
        let plan = slices::plan(desired, &existing, &labels);
        let trigger = backends::last_change(&service, &pods);
        if let Err(error) = self.carry_out(key, &service, plan, &labels, trigger.as_deref()).await {
            if rest::is_namespace_terminating(&error) {
                return Ok(Next::Change);
            }
            if !rest::is_conflict(&error) {
                let about = service.metadata.reference("v1", "Service");
                let message = format!(
                    "Error updating Endpoint Slices for Service {key}: {}",
                    rest::message(&error)
                );
                self.events
                    .event(&about, Severity::Warning, "FailedToUpdateEndpointSlices", message);
            }
            return Err(error.into());
        }
        Ok(Next::Change)
    }
}

impl EndpointSlices {
    async fn carry_out(
        &self,
        key: &Key,
        service: &Service,
        plan: slices::Plan,
        labels: &Value,
        trigger: Option<&str>,
    ) -> rest::Result<()> {
        for slice in &plan.delete {
            let name = &slice.metadata.name;
            self.rest
                .delete(&Slice::AT, &key.namespace, name, &DeleteParams::default())
                .await?;
        }
        for (slice, form) in &plan.update {
            update(&self.rest, &Slice::AT, &slice.metadata, "", |live| {
                live["endpoints"] = json!(form.endpoints);
                live["metadata"]["labels"] = labels.clone();
                if let Some(trigger) = trigger {
                    live["metadata"]["annotations"][TRIGGER_TIME] = json!(trigger);
                }
            })
            .await?;
        }
        self.expectations.expect(key, plan.create.len(), []);
        for (at, form) in plan.create.iter().enumerate() {
            let slice = new_slice(service, form, labels, trigger);
            let created = self.rest.create::<IgnoredAny>(&Slice::AT, &key.namespace, &slice).await;
            if let Err(error) = created {
                self.expectations.created(key, plan.create.len() - at);
                return Err(error);
            }
        }
        Ok(())
    }
}

fn new_slice(service: &Service, form: &SliceForm, labels: &Value, trigger: Option<&str>) -> Value {
    let mut slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": format!("{}-", service.metadata.name),
            "labels": labels,
            "ownerReferences": [service.metadata.controller_reference("v1", "Service")],
        },
        "addressType": form.address_type,
        "ports": form.ports,
        "endpoints": form.endpoints,
    });
    if let Some(trigger) = trigger {
        slice["metadata"]["annotations"] = json!({TRIGGER_TIME: trigger});
    }
    slice
}

/// The Service's labels, with those by which slices are found.
fn labels(service: &Service) -> Value {
    let mut labels = service.metadata.labels.to_map();
    labels.remove(HEADLESS);
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.to_string());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if service.is_headless() {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    json!(labels)
}
