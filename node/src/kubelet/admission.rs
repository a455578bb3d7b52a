//! Whether this node takes a Pod that was bound to it: who binds may not know what the kubelet knows, or may not have
//! asked the scheduler. Pure. Reasons and messages are upstream's, whose controllers and people read them.
//!
//! Entry point: [`refusal`].

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, Pod, Taint, Toleration};
use mizzen_api::selector::{Operator, Requirement};

use super::podinfo::{Part, PodInfo};
use super::resources::{self, CRITICAL_PRIORITY, QosClass, REQUESTS, total};
use super::{quantity, security};

/// Why a Pod is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status' reason.
    pub reason: Cow<'static, str>,
    /// The Event's message.
    pub message: String,
}

type Labels = BTreeMap<String, String>;

/// Kernel parameters that belong to a Pod alone, and harm nobody else.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];
const OS_LABEL: &str = "kubernetes.io/os";
const ANY_ADDRESS: &str = "0.0.0.0";

/// Why the node cannot take the Pod beside the others that it has; `None` when it can.
#[must_use]
pub fn refusal(pod: &Pod, others: &[&Pod], node: &Node) -> Option<Refusal> {
    let no = |reason: &'static str, message: &str| {
        Some(Refusal {
            reason: reason.into(),
            message: message.to_owned(),
        })
    };
    let predicate = |name: &'static str, why: &str| no(name, &format!("Predicate {name} failed: {why}"));
    let spec = pod.spec();
    let empty = Labels::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    if let Some(pressure) = pressure(pod, node) {
        return no("Evicted", &format!("The node had condition: [{pressure}]. "));
    }
    if let Some(why) = forbidden_sysctl(pod) {
        return no("SysctlForbidden", &format!("forbidden sysctl: {why}"));
    }
    let selector = spec.node_selector.as_ref();
    if selector
        .and_then(|labels| labels.get(OS_LABEL))
        .is_some_and(|os| os != "linux")
    {
        let message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return no("PodOSSelectorNodeLabelDoesNotMatch", message);
    }
    if spec.os.as_ref().is_some_and(|os| os.name != "linux") {
        return no(
            "PodOSNotSupported",
            "Failed to admit pod as the OS field doesn't match node OS",
        );
    }
    if let Some(refusal) = lacks(pod, others, node) {
        return Some(refusal);
    }
    if !attracts(pod, node, labels) {
        return predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector");
    }
    let taken: Vec<_> = others.iter().flat_map(|other| host_ports(other)).collect();
    if host_ports(pod).any(|port| taken.iter().any(|other| collide(port, *other))) {
        return predicate(
            "NodePorts",
            "node(s) didn't have free ports for the requested pod ports",
        );
    }
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    if taints
        .filter(|taint| taint.effect == "NoExecute")
        .any(|taint| !tolerates(pod, taint))
    {
        return predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate");
    }
    None
}

/// The first kind of pressure that the node is under and that the Pod would make worse.
fn pressure<'n>(pod: &Pod, node: &'n Node) -> Option<&'n str> {
    if pod.spec().priority.unwrap_or_default() >= CRITICAL_PRIORITY {
        return None;
    }
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut bad = conditions
        .filter(|condition| condition.status == "True")
        .map(|condition| &*condition.type_);
    bad.find(|kind| match *kind {
        "DiskPressure" | "PIDPressure" => true,
        "MemoryPressure" => {
            let taint = Taint {
                key: "node.kubernetes.io/memory-pressure".to_owned(),
                effect: "NoSchedule".to_owned(),
                ..Taint::default()
            };
            resources::qos_class(pod) == QosClass::BestEffort && !tolerates(pod, &taint)
        }
        _ => false,
    })
}

fn forbidden_sysctl(pod: &Pod) -> Option<String> {
    let spec = pod.spec();
    let mut names: Vec<String> = security::sysctls(pod).into_keys().collect();
    names.sort();
    names.into_iter().find_map(|name| {
        if spec.host_network == Some(true) && name.starts_with("net.") {
            Some(format!("{name:?} not allowed with host net enabled"))
        } else if spec.host_ipc == Some(true) && name.starts_with("kernel.") {
            Some(format!("{name:?} not allowed with host ipc enabled"))
        } else {
            (!SAFE_SYSCTLS.contains(&&*name)).then(|| format!("{name:?} not allowlisted"))
        }
    })
}

/// What there is too little of. What the node does not name is not the kubelet's to count.
fn lacks(pod: &Pod, others: &[&Pod], node: &Node) -> Option<Refusal> {
    let allocatable = node.status.as_ref()?.allocatable.as_ref()?;
    let of = |pod: &Pod, name: &str| match name {
        "pods" => 1,
        "cpu" => total(pod, REQUESTS, name, quantity::milli).0,
        _ => total(pod, REQUESTS, name, quantity::value).0,
    };
    let usual = ["pods", "cpu", "memory", "ephemeral-storage"];
    let lists = pod
        .parts()
        .filter_map(|(_, container)| container.resources.as_ref()?.requests.as_ref());
    let more: BTreeSet<&str> = lists.flat_map(|list| list.keys().map(String::as_str)).collect();
    let names = usual
        .into_iter()
        .chain(more.into_iter().filter(|name| !usual.contains(name)));
    for name in names {
        let (Some(capacity), requested) = (allocatable.get(name), of(pod, name)) else {
            continue;
        };
        let capacity = if name == "cpu" {
            quantity::milli(capacity)
        } else {
            quantity::value(capacity)
        };
        let used: i64 = others.iter().map(|other| of(other, name)).sum();
        if requested > 0 && used + requested > capacity {
            let message = format!(
                "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
            );
            return Some(Refusal {
                reason: format!("OutOf{name}").into(),
                message,
            });
        }
    }
    None
}

/// Whether the Pod's node selector and required affinity allow the node.
fn attracts(pod: &Pod, node: &Node, labels: &Labels) -> bool {
    let spec = pod.spec();
    let mut selector = spec.node_selector.iter().flatten();
    if !selector.all(|(key, value)| labels.get(key) == Some(value)) {
        return false;
    }
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref());
    let Some(required) = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref()) else {
        return true;
    };
    let name = node.metadata.name.clone().unwrap_or_default();
    let fields = Labels::from([("metadata.name".to_owned(), name)]);
    required.node_selector_terms.iter().any(|term| {
        let by_label = term.match_expressions.iter().flatten().map(|wanted| (wanted, labels));
        let by_field = term.match_fields.iter().flatten().map(|wanted| (wanted, &fields));
        let mut all = by_label.chain(by_field).peekable();
        // A term without conditions matches nothing.
        all.peek().is_some() && all.all(|(wanted, have)| meets(wanted, have))
    })
}

fn meets(wanted: &NodeSelectorRequirement, have: &Labels) -> bool {
    let operator = match &*wanted.operator {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => return false,
    };
    let values = wanted
        .values
        .iter()
        .flatten()
        .map(|value| value.as_str().into())
        .collect();
    Requirement {
        key: wanted.key.as_str().into(),
        operator,
        values,
    }
    .matches(have)
}

/// Address, protocol and number of every port of the node that the Pod takes.
fn host_ports(pod: &Pod) -> impl Iterator<Item = (&str, &str, i32)> {
    let lasting = pod
        .parts()
        .filter(|(part, _)| matches!(part, Part::Main | Part::Sidecar));
    let ports = lasting.flat_map(|(_, container)| container.ports.iter().flatten());
    ports.filter_map(|port| {
        let address = port.host_ip.as_deref().filter(|ip| !ip.is_empty());
        let number = port.host_port.filter(|number| *number > 0)?;
        Some((
            address.unwrap_or(ANY_ADDRESS),
            port.protocol.as_deref().unwrap_or("TCP"),
            number,
        ))
    })
}

fn collide(one: (&str, &str, i32), other: (&str, &str, i32)) -> bool {
    let same_address = one.0 == other.0 || one.0 == ANY_ADDRESS || other.0 == ANY_ADDRESS;
    same_address && (one.1, one.2) == (other.1, other.2)
}

fn tolerates(pod: &Pod, taint: &Taint) -> bool {
    let fits = |toleration: &Toleration| {
        let is = |own: &Option<String>, other: &str| own.as_deref().is_none_or(|own| own.is_empty() || own == other);
        let values = [&toleration.value, &taint.value].map(|value| value.as_deref().unwrap_or_default());
        let numbers = values.map(|value| value.parse::<i64>().ok());
        let fits = match toleration.operator.as_deref() {
            Some("Exists") => true,
            Some("Lt") => numbers[1] < numbers[0] && numbers[1].is_some(),
            Some("Gt") => numbers[1] > numbers[0] && numbers[0].is_some(),
            _ => values[0] == values[1],
        };
        fits && is(&toleration.effect, &taint.effect) && is(&toleration.key, &taint.key)
    };
    pod.spec().tolerations.iter().flatten().any(fits)
}

#[cfg(test)]
mod tests;
