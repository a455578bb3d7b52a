//! NodePorts: two Pods cannot take one port of a node.

use crate::scheduler::framework::{Event, Plugin, Rejection};
use crate::scheduler::pod::{HostPort, Node, Pod};
use crate::scheduler::snapshot::NodeInfo;

pub(super) struct NodePorts;

fn conflicts(a: &HostPort, b: &HostPort) -> bool {
    fn protocol(port: &HostPort) -> &str {
        if port.protocol.is_empty() {
            "TCP"
        } else {
            &port.protocol
        }
    }
    let any = |port: &HostPort| matches!(&*port.ip, "" | "0.0.0.0");
    a.port == b.port && protocol(a) == protocol(b) && (any(a) || any(b) || a.ip == b.ip)
}

fn share_a_port(pod: &Pod, other: &Pod) -> bool {
    pod.host_ports
        .iter()
        .any(|a| other.host_ports.iter().any(|b| conflicts(a, b)))
}

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn filter(&self, pod: &Pod, info: &NodeInfo, _node: &Node) -> Result<(), Rejection> {
        let taken = !pod.host_ports.is_empty() && info.pods.values().any(|other| share_a_port(pod, other));
        match taken {
            true => Err(Rejection::new(
                "node(s) didn't have free ports for the requested pod ports",
            )),
            false => Ok(()),
        }
    }

    fn may_help(&self, pod: &Pod, event: &Event<'_>) -> bool {
        match event {
            Event::NodeAdded(_) => true,
            Event::PodRemoved(other) => share_a_port(pod, other),
            Event::NodeChanged { .. } | Event::Updated => false,
        }
    }
}
