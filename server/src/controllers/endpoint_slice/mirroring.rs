//! Mirroring: Endpoints that people keep by hand become EndpointSlices, which is what proxies read.
//!
//! Only those of a Service without a selector are mirrored: all others have slices already.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use kube::core::params::DeleteParams;
use mizzen_api::client::reflector::{Key, Reflector};
use mizzen_api::client::rest::{self, Rest};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::backends::{Endpoint, Group, Port};
use super::slices::{self, Slice, SliceForm};
use super::{MANAGED_BY, SERVICE_NAME, TRIGGER_TIME};
use crate::controllers::endpoints::Endpoints;
use crate::controllers::expectations::Expectations;
use crate::controllers::kinds::Service;
use crate::controllers::{Context, Controller, Next};
use crate::projection::{Watched, update};

/// Who manages mirrored slices.
pub(super) const MIRROR: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// How many addresses of a subset are mirrored (upstream's).
const MOST: usize = 1000;

struct Mirroring {
    rest: Rest,
    endpoints: Arc<Reflector<Endpoints>>,
    services: Arc<Reflector<Service>>,
    slices: Arc<Reflector<Slice>>,
    expectations: Arc<Expectations>,
}

/// Builds the controller; its keys are Endpoints, which are named as their Services.
pub(in crate::controllers) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = Mirroring {
        rest: context.rest.clone(),
        endpoints: context.caches.of(),
        services: context.caches.of(),
        slices: context.caches.of(),
        expectations: Arc::default(),
    };
    let queue = context.queue.clone();
    controller.endpoints.subscribe(move |change| {
        let meta = &change.latest().metadata;
        queue.add(Key::new(&meta.namespace, &meta.name));
    });
    let queue = context.queue.clone();
    controller.services.subscribe(move |change| {
        let selecting = |service: Option<&Arc<Service>>| service.map(|service| service.spec.selector.is_some());
        if selecting(change.old) != selecting(change.new) {
            let meta = &change.latest().metadata;
            queue.add(Key::new(&meta.namespace, &meta.name));
        }
    });
    let (expectations, queue) = (controller.expectations.clone(), context.queue.clone());
    controller.slices.subscribe(move |change| {
        let slice = change.latest();
        if slice.metadata.labels.get(MANAGED_BY) != Some(MIRROR) {
            return;
        }
        if let Some(service) = slice.metadata.labels.get(SERVICE_NAME) {
            let key = Key::new(&slice.metadata.namespace, service);
            if change.old.is_none() {
                expectations.created(&key, 1);
            }
            queue.add(key);
        }
    });
    Arc::new(controller)
}

#[async_trait]
impl Controller for Mirroring {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        if !self.expectations.satisfied(key) {
            return Ok(Next::Change);
        }
        let existing = self.slices.select(&key.namespace, |slice| {
            let labels = &slice.metadata.labels;
            labels.get(MANAGED_BY) == Some(MIRROR)
                && labels.get(SERVICE_NAME) == Some(&*key.name)
                && !slice.metadata.is_deleting()
        });
        let service = self.services.get(&key.namespace, &key.name);
        let by_hand = service.is_some_and(|service| service.spec.selector.is_none());
        let endpoints = self.endpoints.get(&key.namespace, &key.name);
        let Some(endpoints) = endpoints.filter(|endpoints| by_hand && is_mirrored(endpoints)) else {
            for slice in &existing {
                self.delete(slice).await?;
            }
            return Ok(Next::Change);
        };
        let labels = labels(&endpoints);
        let plan = slices::plan(desired(&endpoints.subsets), &existing, &labels);
        match self.carry_out(key, &endpoints, plan, &labels).await {
            Err(error) if !rest::is_namespace_terminating(&error) => Err(error.into()),
            _ => Ok(Next::Change),
        }
    }
}

impl Mirroring {
    async fn delete(&self, slice: &Slice) -> rest::Result<()> {
        let meta = &slice.metadata;
        let params = DeleteParams::default();
        match self.rest.delete(&Slice::AT, &meta.namespace, &meta.name, &params).await {
            Err(error) if !rest::is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn carry_out(
        &self,
        key: &Key,
        endpoints: &Endpoints,
        plan: slices::Plan,
        labels: &Value,
    ) -> rest::Result<()> {
        for slice in &plan.delete {
            self.delete(slice).await?;
        }
        for (slice, form) in &plan.update {
            update(&self.rest, &Slice::AT, &slice.metadata, "", |live| {
                live["endpoints"] = json!(form.endpoints);
                live["metadata"]["labels"] = labels.clone();
            })
            .await?;
        }
        self.expectations.expect(key, plan.create.len(), []);
        for (at, form) in plan.create.iter().enumerate() {
            let slice = new_slice(endpoints, form, labels);
            let created = self.rest.create::<IgnoredAny>(&Slice::AT, &key.namespace, &slice).await;
            if let Err(error) = created {
                self.expectations.created(key, plan.create.len() - at);
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Whether these Endpoints are to have slices.
fn is_mirrored(endpoints: &Endpoints) -> bool {
    let meta = &endpoints.metadata;
    !meta.is_deleting() && meta.labels.get(SKIP) != Some("true") && meta.annotations.get(LEADER).is_none()
}

fn labels(endpoints: &Endpoints) -> Value {
    let mut labels = endpoints.metadata.labels.to_map();
    labels.insert(SERVICE_NAME.to_owned(), endpoints.metadata.name.to_string());
    labels.insert(MANAGED_BY.to_owned(), MIRROR.to_owned());
    json!(labels)
}

/// The endpoints by what they share.
fn desired(subsets: &Value) -> BTreeMap<Group, Vec<Endpoint>> {
    let mut groups: BTreeMap<Group, Vec<Endpoint>> = BTreeMap::new();
    for subset in subsets.as_array().into_iter().flatten() {
        let mut ports: Vec<Port> = serde_json::from_value(subset["ports"].clone()).unwrap_or_default();
        for port in ports.iter_mut().filter(|port| port.protocol.is_empty()) {
            port.protocol = "TCP".into();
        }
        ports.sort();
        let lists = [("addresses", true), ("notReadyAddresses", false)];
        let addresses = lists.iter().flat_map(|(list, ready)| {
            let addresses = subset[*list].as_array().into_iter().flatten();
            addresses.map(move |address| (address, *ready))
        });
        for (address, ready) in addresses.take(MOST) {
            let Some(ip) = address["ip"].as_str() else { continue };
            let group = Group {
                address_type: if ip.contains(':') { "IPv6" } else { "IPv4" }.into(),
                ports: ports.clone(),
            };
            groups.entry(group).or_default().push(endpoint(address, ip, ready));
        }
    }
    groups
}

fn endpoint(address: &Value, ip: &str, ready: bool) -> Endpoint {
    let mut endpoint = json!({
        "addresses": [ip],
        "conditions": {"ready": ready, "serving": ready, "terminating": false},
    });
    for field in ["hostname", "nodeName", "targetRef"] {
        if let Some(value) = address.get(field).filter(|value| !value.is_null()) {
            endpoint[field] = value.clone();
        }
    }
    serde_json::from_value(endpoint).unwrap_or_default()
}

fn new_slice(endpoints: &Endpoints, form: &SliceForm, labels: &Value) -> Value {
    let meta = &endpoints.metadata;
    let mut annotations = meta.annotations.to_map();
    annotations.remove(TRIGGER_TIME);
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    let mut metadata = json!({
        "generateName": format!("{}-", meta.name),
        "labels": labels,
        "ownerReferences": [meta.controller_reference("v1", "Endpoints")],
    });
    if !annotations.is_empty() {
        metadata["annotations"] = json!(annotations);
    }
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
        "addressType": form.address_type, "ports": form.ports, "endpoints": form.endpoints,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_become_groups() {
        let subsets = json!([
            {"addresses": [{"ip": "10.1.2.4"}, {"ip": "fd00::1"}], "notReadyAddresses": [{"ip": "10.1.2.5", "hostname": "h"}],
             "ports": [{"name": "b", "port": 80}, {"name": "a", "port": 90, "protocol": "UDP"}]},
        ]);
        let groups = desired(&subsets);
        let shown: Vec<_> = groups
            .iter()
            .map(|(group, endpoints)| {
                let ports: Vec<_> = group
                    .ports
                    .iter()
                    .map(|p| format!("{} {}", p.name, p.protocol))
                    .collect();
                let all: Vec<_> = endpoints
                    .iter()
                    .map(|e| (e.addresses[0].to_string(), e.conditions.ready))
                    .collect();
                format!("{} {ports:?} {all:?}", group.address_type)
            })
            .collect();
        assert_eq!(
            shown,
            [
                r#"IPv4 ["a UDP", "b TCP"] [("10.1.2.4", true), ("10.1.2.5", false)]"#,
                r#"IPv6 ["a UDP", "b TCP"] [("fd00::1", true)]"#,
            ]
        );
    }
}
