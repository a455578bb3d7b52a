//! Addresses of Services of type LoadBalancer: those of the cluster's own nodes, whose proxies answer there.
//!
//! Every Ready node balances. Of two Services that
//! want the same port the older has it, and the other waits without an address until that one goes. Services with a
//! `loadBalancerClass` are somebody else's.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use mizzen_api::client::reflector::{Key, Projection, Reflector};
use mizzen_api::client::rest::Rest;
use serde_json::{Value, json};

use super::kinds::{Node, Service};
use super::{Context, Controller, Next};
use crate::projection::{Watched, update};

const LOAD_BALANCER: &str = "LoadBalancer";
/// Nodes with this label balance nothing.
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

struct ServiceLb {
    rest: Rest,
    services: Arc<Reflector<Service>>,
    nodes: Arc<Reflector<Node>>,
}

/// Builds the controller; its keys are Services.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = ServiceLb {
        rest: context.rest.clone(),
        services: context.caches.of(),
        nodes: context.caches.of(),
    };
    let (services, queue) = (controller.services.clone(), context.queue.clone());
    controller.services.subscribe(move |change| {
        let concerned = |service: &Service| is_ours(service) || !service.status.load_balancer.ingress.is_empty();
        let (old, new) = (
            change.old.filter(|old| concerned(old)),
            change.new.filter(|new| concerned(new)),
        );
        if let Some(new) = new {
            queue.add(new.key());
        }
        // What it held may be what others wait for.
        if old.is_some_and(|old| new.is_none_or(|new| ports(old) != ports(new) || !is_ours(new))) {
            queue_all(&services, &queue);
        }
    });
    let (services, queue) = (controller.services.clone(), context.queue.clone());
    controller.nodes.subscribe(move |change| {
        if change.old.map(|node| address(node)) != change.new.map(|node| address(node)) {
            queue_all(&services, &queue);
        }
    });
    Arc::new(controller)
}

fn queue_all(services: &Reflector<Service>, queue: &super::queue::Queue) {
    services
        .all()
        .iter()
        .filter(|service| is_ours(service))
        .for_each(|service| queue.add(service.key()));
}

#[async_trait]
impl Controller for ServiceLb {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(service) = self.services.get(&key.namespace, &key.name) else {
            return Ok(Next::Change);
        };
        let somebody_elses = &*service.spec.kind == LOAD_BALANCER && !is_ours(&service);
        if service.metadata.is_deleting() || somebody_elses {
            return Ok(Next::Change);
        }
        let wanted = match is_ours(&service) {
            true => addresses(&service, &self.services.all(), &self.nodes.all()),
            false => BTreeSet::new(),
        };
        let current = service.status.load_balancer.ingress.iter().map(|ingress| &*ingress.ip);
        if !current.eq(wanted.iter().map(|ip| &**ip)) {
            let ingress: Vec<Value> = wanted.iter().map(|ip| json!({ "ip": ip, "ipMode": "VIP" })).collect();
            update(&self.rest, &Service::AT, &service.metadata, "status", |live| {
                live["status"]["loadBalancer"] = if ingress.is_empty() {
                    json!({})
                } else {
                    json!({ "ingress": ingress })
                };
            })
            .await?;
        }
        Ok(Next::Change)
    }
}

fn is_ours(service: &Service) -> bool {
    &*service.spec.kind == LOAD_BALANCER && service.spec.load_balancer_class.is_none()
}

/// The ports that a Service needs on every node.
fn ports(service: &Service) -> BTreeSet<(i64, &str)> {
    fn protocol(name: &str) -> &str {
        if name.is_empty() { "TCP" } else { name }
    }
    service
        .spec
        .ports
        .iter()
        .map(|port| (port.port, protocol(&port.protocol)))
        .collect()
}

/// Where a Service is to be reached: nowhere while an older one has one of its ports.
fn addresses(service: &Service, services: &[Arc<Service>], nodes: &[Arc<Node>]) -> BTreeSet<Box<str>> {
    let age = |service: &Service| (service.metadata.creation_timestamp, service.key());
    let (own, since) = (ports(service), age(service));
    let taken = services
        .iter()
        .filter(|other| is_ours(other) && !other.metadata.is_deleting() && age(other) < since)
        .any(|other| !ports(other).is_disjoint(&own));
    if taken {
        BTreeSet::new()
    } else {
        nodes.iter().filter_map(|node| address(node)).collect()
    }
}

/// The address that a node balances on, the external one first.
fn address(node: &Node) -> Option<Box<str>> {
    let ready = node
        .status
        .conditions
        .iter()
        .any(|condition| condition.kind == "Ready" && condition.status == "True");
    if !ready || node.metadata.is_deleting() || node.metadata.labels.get(EXCLUDED).is_some() {
        return None;
    }
    let find = |kind: &str| node.status.addresses.iter().find(|address| &*address.kind == kind);
    find("ExternalIP")
        .or_else(|| find("InternalIP"))
        .map(|address| address.address.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, created: &str, port: i64) -> Arc<Service> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": { "name": name, "namespace": "default", "creationTimestamp": created },
                "spec": { "type": "LoadBalancer", "ports": [{ "port": port }] },
            }))
            .expect("a Service"),
        )
    }

    fn node(ready: &str, label: &str) -> Arc<Node> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": { "name": "one", "labels": { label: "" } },
                "status": {
                    "conditions": [{ "type": "Ready", "status": ready }],
                    "addresses": [{ "type": "Hostname", "address": "one" }, { "type": "InternalIP", "address": "192.0.2.1" }],
                },
            }))
            .expect("a Node"),
        )
    }

    #[test]
    fn the_oldest_has_the_port_on_every_ready_node() {
        let old = service("b", "2026-01-01T00:00:00Z", 80);
        let young = service("a", "2026-01-02T00:00:00Z", 80);
        let other = service("c", "2026-01-03T00:00:00Z", 81);
        let all = [old.clone(), young.clone(), other.clone()];
        let count = |service: &Service, node: Arc<Node>| addresses(service, &all, &[node]).len();
        assert_eq!(count(&old, node("True", "")), 1);
        assert_eq!(count(&young, node("True", "")), 0, "it waits");
        assert_eq!(count(&other, node("True", "")), 1);
        assert_eq!(count(&old, node("False", "")), 0);
        assert_eq!(count(&old, node("True", EXCLUDED)), 0);
        assert_eq!(
            addresses(&young, &all[1..], &[node("True", "")])
                .first()
                .map(|ip| &**ip),
            Some("192.0.2.1")
        );
    }
}
