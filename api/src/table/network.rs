//! Services, endpoints, ingresses, network policies, addresses.

use serde_json::Value;

use super::{AGE, Cell, Column, NAME, Severity};
use crate::view::{self, NONE, has, int, list, text, text_or};

pub(super) fn columns(group: &str, plural: &str) -> Option<&'static [Column]> {
    match (group, plural) {
        ("", "services") => Some(SERVICES),
        ("", "endpoints") => Some(ENDPOINTS),
        ("discovery.k8s.io", "endpointslices") => Some(ENDPOINT_SLICES),
        ("networking.k8s.io", "ingresses") => Some(INGRESSES),
        ("networking.k8s.io", "ingressclasses") => Some(INGRESS_CLASSES),
        ("networking.k8s.io", "networkpolicies") => Some(NETWORK_POLICIES),
        ("networking.k8s.io", "servicecidrs") => Some(SERVICE_CIDRS),
        ("networking.k8s.io", "ipaddresses") => Some(IP_ADDRESSES),
        _ => None,
    }
}

const SERVICES: &[Column] = &[
    NAME,
    Column::new("Type", "How the Service is reached.", |o, _| {
        Cell::text(text(o, "/spec/type").to_owned())
    }),
    Column::new("Cluster-IP", "Address inside the cluster.", |o, _| {
        Cell::or_none(text(o, "/spec/clusterIPs/0"))
    }),
    Column::new("External-IP", "Addresses outside the cluster.", |o, _| {
        let ip = external_ip(o);
        let severity = match &*ip {
            "<pending>" => Severity::Progress,
            NONE => Severity::Muted,
            _ => Severity::Plain,
        };
        Cell::text(ip).severity(severity)
    }),
    Column::new("Port(s)", "Ports, with node ports after a colon.", |o, _| {
        Cell::or_none(&ports(o))
    }),
    AGE,
    Column::new("Selector", "Labels of the Pods behind it.", |o, _| {
        Cell::text(view::labels(view::map(o, "/spec/selector")))
    })
    .wide(),
];

const ENDPOINTS: &[Column] = &[
    NAME,
    Column::new("Endpoints", "Addresses behind the Service.", |o, _| {
        let endpoints = format_endpoints(o, None);
        let severity = if endpoints == NONE {
            Severity::Warning
        } else {
            Severity::Plain
        };
        Cell::text(endpoints).severity(severity)
    }),
    AGE,
];

const ENDPOINT_SLICES: &[Column] = &[
    NAME,
    Column::new("AddressType", "Family of the addresses.", |o, _| {
        Cell::text(text(o, "/addressType").to_owned())
    }),
    Column::new("Ports", "Ports of the endpoints.", |o, _| {
        let port = |p: &Value| match p["port"].as_i64() {
            Some(number) => number.to_string(),
            None => text_or(p, "/name", "*").to_owned(),
        };
        Cell::text(some_of(list(o, "/ports").iter().map(port), "<unset>"))
    }),
    Column::new("Endpoints", "Addresses of the endpoints.", |o, _| {
        let addresses = list(o, "/endpoints")
            .iter()
            .flat_map(|e| list(e, "/addresses"))
            .map(view::scalar);
        Cell::text(some_of(addresses, "<unset>"))
    }),
    AGE,
];

const INGRESSES: &[Column] = &[
    NAME,
    Column::new("Class", "Class that serves it.", |o, _| {
        Cell::or_none(text(o, "/spec/ingressClassName"))
    }),
    Column::new("Hosts", "Hosts that it answers for.", |o, _| Cell::text(hosts(o))),
    Column::new("Address", "Where it can be reached.", |o, _| {
        Cell::text(load_balancer(o))
    }),
    Column::new("Ports", "Ports that it listens on.", |o, _| {
        Cell::text(if list(o, "/spec/tls").is_empty() {
            "80"
        } else {
            "80, 443"
        })
    }),
    AGE,
];

const INGRESS_CLASSES: &[Column] = &[
    NAME,
    Column::new("Controller", "Controller that serves the class.", |o, _| {
        Cell::text(text(o, "/spec/controller").to_owned())
    }),
    Column::new("Parameters", "Object with further settings.", |o, _| {
        let p = &o["spec"]["parameters"];
        Cell::text(match (text(p, "/kind"), text(p, "/apiGroup"), text(p, "/name")) {
            ("", _, _) => NONE.to_owned(),
            (kind, "", name) => format!("{kind}/{name}"),
            (kind, group, name) => format!("{kind}.{group}/{name}"),
        })
    }),
    AGE,
];

const NETWORK_POLICIES: &[Column] = &[
    NAME,
    Column::new("Pod-Selector", "Labels of the Pods it applies to.", |o, _| {
        Cell::text(view::selector(o, "/spec/podSelector"))
    }),
    AGE,
];

const SERVICE_CIDRS: &[Column] = &[
    NAME,
    Column::new("CIDRs", "Ranges from which Services get addresses.", |o, _| {
        Cell::text(view::join(o, "/spec/cidrs", ","))
    }),
    AGE,
];

const IP_ADDRESSES: &[Column] = &[
    NAME,
    Column::new("ParentRef", "Object that holds the address.", |o, _| {
        let p = &o["spec"]["parentRef"];
        if p.is_null() {
            return Cell::text(NONE);
        }
        let mut out = text(p, "/resource").to_lowercase();
        if has(p, "/group") && !text(p, "/group").is_empty() {
            out.push_str(&format!(".{}", text(p, "/group")));
        }
        for part in [text(p, "/namespace"), text(p, "/name")] {
            if !part.is_empty() {
                out.push_str(&format!("/{part}"));
            }
        }
        Cell::text(out)
    }),
    AGE,
];

/// The ports of a Service: `80:30080/TCP,443/TCP`.
pub(crate) fn ports(service: &Value) -> String {
    let port = |p: &Value| match int(p, "/nodePort") {
        0 => format!("{}/{}", int(p, "/port"), text(p, "/protocol")),
        node_port => format!("{}:{node_port}/{}", int(p, "/port"), text(p, "/protocol")),
    };
    let all: Vec<_> = list(service, "/spec/ports").iter().map(port).collect();
    all.join(",")
}

fn external_ip(service: &Value) -> String {
    let external = view::join(service, "/spec/externalIPs", ",");
    match text(service, "/spec/type") {
        "ClusterIP" | "NodePort" if external.is_empty() => NONE.to_owned(),
        "ClusterIP" | "NodePort" => external,
        "LoadBalancer" => match (load_balancer(service), external) {
            (balancer, external) if balancer.is_empty() && external.is_empty() => "<pending>".to_owned(),
            (balancer, external) if external.is_empty() => balancer,
            (balancer, external) if balancer.is_empty() => external,
            (balancer, external) => format!("{balancer},{external}"),
        },
        "ExternalName" => text(service, "/spec/externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

/// Addresses or names under which a load balancer serves, sorted.
fn load_balancer(object: &Value) -> String {
    let address = |i: &Value| match text(i, "/ip") {
        "" => text(i, "/hostname").to_owned(),
        ip => ip.to_owned(),
    };
    let mut all: Vec<_> = list(object, "/status/loadBalancer/ingress")
        .iter()
        .map(address)
        .collect();
    all.retain(|a| !a.is_empty());
    all.sort();
    all.dedup();
    all.join(",")
}

fn hosts(ingress: &Value) -> String {
    let rules = list(ingress, "/spec/rules");
    let named: Vec<_> = rules
        .iter()
        .map(|r| text(r, "/host"))
        .filter(|h| !h.is_empty())
        .collect();
    if named.is_empty() {
        return "*".to_owned();
    }
    match named.get(..3) {
        Some(first) if rules.len() > 3 => format!("{} + {} more...", first.join(","), rules.len() - 3),
        _ => named.join(","),
    }
}

/// Addresses with ports of an Endpoints object, at most three; of the port of this name only, if given.
pub(crate) fn format_endpoints(endpoints: &Value, port_name: Option<&str>) -> String {
    let mut all = Vec::new();
    for subset in list(endpoints, "/subsets") {
        let addresses = list(subset, "/addresses").iter().map(|a| text(a, "/ip"));
        let ports = list(subset, "/ports");
        if ports.is_empty() {
            all.extend(addresses.map(str::to_owned));
            continue;
        }
        for port in ports.iter().filter(|p| port_name.is_none_or(|n| n == text(p, "/name"))) {
            let number = int(port, "/port");
            all.extend(addresses.clone().map(|ip| join_host_port(ip, number)));
        }
    }
    let none = if list(endpoints, "/subsets").is_empty() {
        NONE
    } else {
        ""
    };
    some_of(all.into_iter(), none)
}

/// `ip:port`, with brackets around IPv6 addresses.
pub(crate) fn join_host_port(ip: &str, port: i64) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

/// At most three items and how many more there are.
pub(crate) fn some_of(items: impl Iterator<Item = String>, none: &str) -> String {
    let items: Vec<_> = items.collect();
    match items.len() {
        0 => none.to_owned(),
        1..=3 => items.join(","),
        count => format!("{} + {} more...", items[..3].join(","), count - 3),
    }
}
