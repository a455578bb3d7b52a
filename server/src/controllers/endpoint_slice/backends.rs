//! Which Pods stand behind a Service, at which addresses and ports, and in which condition. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::controllers::kinds::{IntOrPercent, Pod, Service, ServicePort};
use crate::projection::LabelSelector;

/// A port of endpoints, the same for all endpoints of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::controllers) struct Port {
    /// Name of the Service's port.
    pub(in crate::controllers) name: Box<str>,
    /// Number on the Pod.
    pub(in crate::controllers) port: i64,
    /// Protocol.
    pub(in crate::controllers) protocol: Box<str>,
    /// Application protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::controllers) app_protocol: Option<Box<str>>,
}

/// An endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::controllers) struct Endpoint {
    /// Its address.
    pub(in crate::controllers) addresses: Vec<Box<str>>,
    /// Its condition.
    pub(in crate::controllers) conditions: Conditions,
    /// Host name under the Service's DNS name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::controllers) hostname: Option<Box<str>>,
    /// Its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::controllers) node_name: Option<Box<str>>,
    /// The Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::controllers) target_ref: Option<Target>,
    /// Zone of its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::controllers) zone: Option<Box<str>>,
}

/// Conditions of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::controllers) struct Conditions {
    /// Gets new connections.
    pub(in crate::controllers) ready: bool,
    /// Answers, even if about to end.
    pub(in crate::controllers) serving: bool,
    /// About to end.
    pub(in crate::controllers) terminating: bool,
}

/// The Pod of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::controllers) struct Target {
    kind: Box<str>,
    namespace: Box<str>,
    name: Box<str>,
    uid: Box<str>,
}

impl Target {
    /// The reference to a Pod.
    pub(in crate::controllers) fn of(pod: &Pod) -> Self {
        Self {
            kind: "Pod".into(),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
        }
    }
}

/// What all endpoints of a slice share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    /// `IPv4` or `IPv6`.
    pub(super) address_type: Box<str>,
    /// Ports, in order.
    pub(super) ports: Vec<Port>,
}

impl Service {
    /// Whether its endpoints are ours to keep.
    pub(in crate::controllers) fn is_selecting(&self) -> bool {
        self.spec.selector.is_some() && &*self.spec.kind != "ExternalName"
    }

    /// Whether a Pod is behind it.
    pub(in crate::controllers) fn selects(&self, pod: &Pod) -> bool {
        let selector = self.spec.selector.clone();
        self.is_selecting()
            && selector.is_some_and(|labels| LabelSelector::equalities(labels).matches(&pod.metadata.labels))
    }

    /// Whether it has no address of its own.
    pub(in crate::controllers) fn is_headless(&self) -> bool {
        &*self.spec.cluster_ip == "None"
    }
}

/// Whether a change of a Pod can change endpoints.
pub(super) fn differ(old: &Pod, new: &Pod) -> bool {
    let addresses = |pod: &Pod| pod.status.pod_ips.iter().map(|ip| ip.ip.clone()).collect::<Vec<_>>();
    old.is_ready() != new.is_ready()
        || old.is_finished() != new.is_finished()
        || old.metadata.is_deleting() != new.metadata.is_deleting()
        || old.metadata.labels != new.metadata.labels
        || old.spec.node_name != new.spec.node_name
        || addresses(old) != addresses(new)
        || old.status.pod_ip != new.status.pod_ip
}

/// The endpoints of a Service by what they share; at least an empty group for each address type.
pub(super) fn of(
    service: &Service,
    pods: &[Arc<Pod>],
    zone_of: &dyn Fn(&str) -> Option<Box<str>>,
) -> BTreeMap<Group, Vec<Endpoint>> {
    let mut groups: BTreeMap<Group, Vec<Endpoint>> = BTreeMap::new();
    for address_type in address_types(service) {
        let mut any = false;
        for pod in pods.iter().filter(|pod| !pod.is_finished()) {
            let Some(address) = address(pod, &address_type) else {
                continue;
            };
            let group = Group {
                address_type: address_type.clone(),
                ports: ports(service, pod),
            };
            groups
                .entry(group)
                .or_default()
                .push(endpoint(service, pod, address, zone_of));
            any = true;
        }
        if !any {
            let group = Group {
                address_type,
                ports: Vec::new(),
            };
            groups.insert(group, Vec::new());
        }
    }
    groups
}

fn address_types(service: &Service) -> Vec<Box<str>> {
    match service.spec.ip_families.is_empty() {
        true => vec!["IPv4".into()],
        false => service.spec.ip_families.to_vec(),
    }
}

/// The Pod's address of a family.
pub(in crate::controllers) fn address(pod: &Pod, address_type: &str) -> Option<Box<str>> {
    let all = pod.status.pod_ips.iter().map(|ip| &ip.ip).chain([&pod.status.pod_ip]);
    let is_v6 = address_type == "IPv6";
    let mut fitting = all.filter(|ip| !ip.is_empty() && ip.contains(':') == is_v6);
    fitting.next().cloned()
}

fn endpoint(service: &Service, pod: &Pod, address: Box<str>, zone_of: &dyn Fn(&str) -> Option<Box<str>>) -> Endpoint {
    let (serving, terminating) = (pod.is_ready(), pod.metadata.is_deleting());
    let node = &pod.spec.node_name;
    Endpoint {
        addresses: vec![address],
        conditions: Conditions {
            ready: service.spec.publish_not_ready_addresses || (serving && !terminating),
            serving,
            terminating,
        },
        hostname: hostname(service, pod),
        node_name: (!node.is_empty()).then(|| node.clone()),
        zone: zone_of(node),
        target_ref: Some(Target::of(pod)),
    }
}

/// The name that a Pod has under its headless Service.
pub(in crate::controllers) fn hostname(service: &Service, pod: &Pod) -> Option<Box<str>> {
    let named = !pod.spec.hostname.is_empty() && pod.spec.subdomain == service.metadata.name;
    named.then(|| pod.spec.hostname.clone())
}

/// The Service's ports as a Pod serves them; ports that the Pod does not name are left out.
pub(in crate::controllers) fn ports(service: &Service, pod: &Pod) -> Vec<Port> {
    let served = |port: &ServicePort| {
        Some(Port {
            name: port.name.clone(),
            port: target(port, pod)?,
            protocol: protocol(&port.protocol).into(),
            app_protocol: port.app_protocol.clone(),
        })
    };
    let mut ports: Vec<_> = service.spec.ports.iter().filter_map(served).collect();
    ports.sort();
    ports
}

fn protocol(text: &str) -> &str {
    if text.is_empty() { "TCP" } else { text }
}

fn target(port: &ServicePort, pod: &Pod) -> Option<i64> {
    let name = match &port.target_port {
        None | Some(IntOrPercent::Int(0)) => return Some(port.port),
        Some(IntOrPercent::Int(number)) => return Some(*number),
        Some(IntOrPercent::Percent(name)) => name,
    };
    let sidecars = pod.spec.init_containers.iter();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = pod
        .spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| &container.ports);
    let mut named = ports.filter(|p| p.name == *name && protocol(&p.protocol) == protocol(&port.protocol));
    named.next().map(|p| i64::from(p.container_port))
}

/// The latest time at which anything behind the Service changed, for measuring how fast it is told.
pub(super) fn last_change(service: &Service, pods: &[Arc<Pod>]) -> Option<String> {
    let readiness = |pod: &Arc<Pod>| {
        let ready = pod.status.conditions.iter().find(|c| &*c.kind == "Ready")?;
        ready.last_transition_time
    };
    let latest = pods
        .iter()
        .filter_map(readiness)
        .max()
        .max(service.metadata.creation_timestamp)?;
    Some(latest.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn groups(service: Value, pod: Value) -> Value {
        let service = serde_json::from_value(service).expect("a Service");
        let pod = Arc::new(serde_json::from_value(pod).expect("a Pod"));
        let groups = of(&service, &[pod], &|node| Some(format!("zone-{node}").into()));
        let shown = groups.into_iter().map(|(g, e)| json!([g.address_type, g.ports, e]));
        shown.collect()
    }

    fn service() -> Value {
        json!({"metadata": {"name": "web"}, "spec": {
            "selector": {"app": "web"}, "clusterIP": "10.0.0.1",
            "ports": [{"name": "http", "port": 80, "targetPort": "web"}]}})
    }

    fn pod() -> Value {
        json!({"metadata": {"name": "p", "namespace": "d", "uid": "u"},
               "spec": {"nodeName": "n", "containers": [{"ports": [{"name": "web", "containerPort": 8080}]}]},
               "status": {"phase": "Running", "podIP": "10.1.0.1", "podIPs": [{"ip": "10.1.0.1"}],
                          "conditions": [{"type": "Ready", "status": "True"}]}})
    }

    #[test]
    fn a_ready_pod_is_an_endpoint() {
        assert_eq!(
            groups(service(), pod()),
            json!([["IPv4", [{"name": "http", "port": 8080, "protocol": "TCP"}], [{
                "addresses": ["10.1.0.1"],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": "n", "zone": "zone-n",
                "targetRef": {"kind": "Pod", "namespace": "d", "name": "p", "uid": "u"},
            }]]])
        );
    }

    #[test]
    fn conditions_follow_the_pod() {
        let check = |change: &dyn Fn(&mut Value, &mut Value), expect: Value| {
            let (mut service, mut pod) = (service(), pod());
            change(&mut service, &mut pod);
            assert_eq!(groups(service, pod)[0][2][0]["conditions"], expect);
        };
        let unready = |pod: &mut Value| pod["status"]["conditions"][0]["status"] = json!("False");
        let dying = |pod: &mut Value| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        check(
            &|_, p| unready(p),
            json!({"ready": false, "serving": false, "terminating": false}),
        );
        check(
            &|_, p| dying(p),
            json!({"ready": false, "serving": true, "terminating": true}),
        );
        check(
            &|s, p| {
                unready(p);
                s["spec"]["publishNotReadyAddresses"] = json!(true);
            },
            json!({"ready": true, "serving": false, "terminating": false}),
        );
        check(&|_, p| p["status"]["phase"] = json!("Failed"), Value::Null);
    }
}
