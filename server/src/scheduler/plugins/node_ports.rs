//! NodePorts: two Pods cannot take one port of a node.

use crate::scheduler::cluster::NodeInfo;
use crate::scheduler::framework::{Cycle, Event, NODE_ADDED, POD_REMOVED, Plugin, Prepared, Rejection};
use crate::scheduler::pod::{HostPort, Pod};

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

fn takes_any(pod: &Pod, ports: &[HostPort]) -> bool {
    let mut own = pod.host_ports.iter();
    own.any(|a| ports.iter().any(|b| conflicts(a, b)))
}

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        match cycle.pod.host_ports.is_empty() {
            true => Ok(Prepared::Skip),
            false => Ok(Prepared::Plain),
        }
    }

    fn filter(&self, cycle: Cycle<'_>, info: &NodeInfo) -> Result<(), Rejection> {
        match takes_any(cycle.pod, &info.ports) {
            true => Err(Rejection::new(
                "node(s) didn't have free ports for the requested pod ports",
            )),
            false => Ok(()),
        }
    }

    fn events(&self) -> u16 {
        NODE_ADDED | POD_REMOVED
    }

    fn may_help(&self, pod: &Pod, event: &Event<'_>) -> bool {
        match event {
            Event::PodRemoved(other) => takes_any(pod, &other.host_ports),
            _ => true,
        }
    }
}
