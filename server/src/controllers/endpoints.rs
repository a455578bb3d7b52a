//! Endpoints: the elder form of EndpointSlice, one object per Service, for clients that still read it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use kube::core::params::DeleteParams;
use mizzen_api::client::reflector::{Key, Reflector};
use mizzen_api::client::rest::{self, Rest};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::endpoint_slice::backends::{self, Port, Target};
use super::endpoint_slice::follow_services_and_pods;
use super::kinds::{Pod, Service};
use super::{Context, Controller, Next};
use crate::projection::{Labels, Meta, Watched, projection, update};

const HEADLESS: &str = "service.kubernetes.io/headless";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// How many addresses one object holds at most (upstream's).
const CAPACITY: usize = 1000;

/// The Endpoints of a Service as they exist.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Endpoints {
    /// Metadata.
    pub(super) metadata: Meta<Labels>,
    /// Addresses and ports, as they were written.
    pub(super) subsets: Value,
}
projection!(Endpoints, "", "v1", "endpoints");

struct Controlled {
    rest: Rest,
    services: Arc<Reflector<Service>>,
    pods: Arc<Reflector<Pod>>,
    endpoints: Arc<Reflector<Endpoints>>,
}

/// Builds the controller; its keys are Services.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = Controlled {
        rest: context.rest.clone(),
        services: context.caches.of(),
        pods: context.caches.of(),
        endpoints: context.caches.of(),
    };
    follow_services_and_pods(context);
    let queue = context.queue.clone();
    controller.endpoints.subscribe(move |change| {
        let meta = &change.latest().metadata;
        queue.add(Key::new(&meta.namespace, &meta.name));
    });
    Arc::new(controller)
}

#[async_trait]
impl Controller for Controlled {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let existing = self.endpoints.get(&key.namespace, &key.name);
        let Some(service) = self.services.get(&key.namespace, &key.name) else {
            // Ours are named by their label; others may stand without a Service.
            if existing.is_some_and(|e| e.metadata.labels.get(MANAGED_BY).is_some()) {
                self.rest
                    .delete(&Endpoints::AT, &key.namespace, &key.name, &DeleteParams::default())
                    .await?;
            }
            return Ok(Next::Change);
        };
        if !service.is_selecting() || service.metadata.is_deleting() {
            return Ok(Next::Change);
        }
        let pods = self.pods.select(&key.namespace, |pod| service.selects(pod));
        let (subsets, over) = subsets(&service, &pods);
        let labels = json!(labels(&service));
        let written = match existing {
            Some(existing) => self.replace(&existing, &subsets, &labels, over).await,
            None => self.create(key, &subsets, labels, over).await,
        };
        match written {
            Err(error) if !rest::is_namespace_terminating(&error) => Err(error.into()),
            _ => Ok(Next::Change),
        }
    }
}

impl Controlled {
    async fn replace(&self, existing: &Endpoints, subsets: &Value, labels: &Value, over: bool) -> rest::Result<()> {
        let present = match &existing.subsets {
            Value::Null => json!([]),
            subsets => subsets.clone(),
        };
        let marked = existing.metadata.annotations.get(OVER_CAPACITY).is_some();
        if present == *subsets && json!(existing.metadata.labels.to_map()) == *labels && marked == over {
            return Ok(());
        }
        update(&self.rest, &Endpoints::AT, &existing.metadata, "", |live| {
            live["subsets"] = subsets.clone();
            live["metadata"]["labels"] = labels.clone();
            if over {
                live["metadata"]["annotations"][OVER_CAPACITY] = json!("truncated");
            } else if let Some(annotations) = live["metadata"]["annotations"].as_object_mut() {
                annotations.remove(OVER_CAPACITY);
            }
        })
        .await
    }

    async fn create(&self, key: &Key, subsets: &Value, labels: Value, over: bool) -> rest::Result<()> {
        let mut endpoints = json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": {"name": key.name, "labels": labels},
            "subsets": subsets,
        });
        if over {
            endpoints["metadata"]["annotations"] = json!({OVER_CAPACITY: "truncated"});
        }
        let created = self
            .rest
            .create::<IgnoredAny>(&Endpoints::AT, &key.namespace, &endpoints);
        match created.await {
            Err(error) if !rest::is_already_exists(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.to_map();
    labels.remove(HEADLESS);
    labels.insert(MANAGED_BY.to_owned(), "endpoint-controller".to_owned());
    if service.is_headless() {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

/// Addresses by the ports they serve, ready and not ready apart; and whether some had to be left out.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> (Value, bool) {
    type Addresses = BTreeMap<Box<str>, Value>;
    let family = service.spec.ip_families.first().map_or("IPv4", |family| &**family);
    let publish = service.spec.publish_not_ready_addresses;
    let mut groups: BTreeMap<Vec<Port>, [Addresses; 2]> = BTreeMap::new();
    let mut count = 0;
    for pod in pods {
        if pod.is_finished() || (pod.metadata.is_deleting() && !publish) {
            continue;
        }
        let Some(ip) = backends::address(pod, family) else {
            continue;
        };
        let ports = backends::ports(service, pod);
        if ports.is_empty() && !service.spec.ports.is_empty() {
            continue;
        }
        count += 1;
        if count > CAPACITY {
            break;
        }
        let unready = usize::from(!publish && !pod.is_ready());
        let address = address(service, pod, &ip);
        groups.entry(ports).or_default()[unready].insert(ip, address);
    }
    let subsets = groups.into_iter().map(|(ports, [ready, unready])| {
        let mut subset = json!({});
        for (field, addresses) in [("addresses", ready), ("notReadyAddresses", unready)] {
            if !addresses.is_empty() {
                subset[field] = addresses.into_values().collect();
            }
        }
        if !ports.is_empty() {
            subset["ports"] = ports.iter().map(port).collect();
        }
        subset
    });
    (subsets.collect(), count > CAPACITY)
}

fn address(service: &Service, pod: &Pod, ip: &str) -> Value {
    let mut address = json!({"ip": ip, "targetRef": Target::of(pod)});
    if let Some(hostname) = backends::hostname(service, pod) {
        address["hostname"] = json!(hostname);
    }
    if !pod.spec.node_name.is_empty() {
        address["nodeName"] = json!(pod.spec.node_name);
    }
    address
}

/// A port; here, unlike in slices, an empty name is left out.
fn port(port: &Port) -> Value {
    let mut value = json!(port);
    if let Some(fields) = value.as_object_mut().filter(|_| port.name.is_empty()) {
        fields.remove("name");
    }
    value
}
