//! Nodes, namespaces, configuration, events, leases, quotas, priorities, runtime classes.

use jiff::Timestamp;
use serde_json::Value;

use super::{AGE, Cell, Column, NAME, Severity};
use crate::quantity::Quantity;
use crate::view::{self, int, list, scalar, text, text_or};

pub(super) fn columns(group: &str, plural: &str) -> Option<&'static [Column]> {
    match (group, plural) {
        ("", "nodes") => Some(NODES),
        ("metrics.k8s.io", "nodes" | "pods") => Some(METRICS),
        ("", "namespaces") => Some(NAMESPACES),
        ("", "configmaps") => Some(CONFIG_MAPS),
        ("", "secrets") => Some(SECRETS),
        ("", "serviceaccounts") => Some(SERVICE_ACCOUNTS),
        ("" | "events.k8s.io", "events") => Some(EVENTS),
        ("", "resourcequotas") => Some(QUOTAS),
        ("", "componentstatuses") => Some(COMPONENT_STATUSES),
        ("coordination.k8s.io", "leases") => Some(LEASES),
        ("scheduling.k8s.io", "priorityclasses") => Some(PRIORITY_CLASSES),
        ("node.k8s.io", "runtimeclasses") => Some(RUNTIME_CLASSES),
        _ => None,
    }
}

const NODES: &[Column] = &[
    NAME,
    Column::new("Status", "Whether the node is ready and takes Pods.", |o, _| {
        node_status(o)
    }),
    Column::new("Roles", "Roles, from the node's labels.", |o, _| {
        Cell::or_none(&node_roles(o).join(","))
    }),
    AGE,
    Column::new("Version", "Version of the node agent.", |o, _| {
        Cell::text(text(o, "/status/nodeInfo/kubeletVersion").to_owned())
    }),
    Column::new("Internal-IP", "Address inside the cluster.", |o, _| {
        Cell::or_none(node_address(o, "InternalIP"))
    })
    .wide(),
    Column::new("External-IP", "Address outside the cluster.", |o, _| {
        Cell::or_none(node_address(o, "ExternalIP"))
    })
    .wide(),
    Column::new("OS-Image", "Operating system.", |o, _| node_info(o, "osImage")).wide(),
    Column::new("Kernel-Version", "Kernel.", |o, _| node_info(o, "kernelVersion")).wide(),
    Column::new("Container-Runtime", "Container runtime and its version.", |o, _| {
        node_info(o, "containerRuntimeVersion")
    })
    .wide(),
];

/// As metrics-server prints them; a Pod's are its containers' together.
const METRICS: &[Column] = &[
    NAME,
    Column::new("cpu", "Time on processors per time.", |o, _| {
        Cell::text(Quantity::from_millis(used(o, "cpu").millis()).to_string())
    }),
    Column::new("memory", "Memory that cannot be taken back.", |o, _| {
        Cell::text(used(o, "memory").to_string())
    }),
    Column::new("Window", "Time over which use was measured.", |o, _| {
        Cell::text(text(o, "/window").to_owned())
    }),
];

fn used(metrics: &Value, resource: &str) -> Quantity {
    let own = std::iter::once(metrics).filter(|metrics| metrics["usage"].is_object());
    own.chain(list(metrics, "/containers"))
        .filter_map(|each| text(&each["usage"], &format!("/{resource}")).parse::<Quantity>().ok())
        .reduce(|sum, each| sum + each)
        .unwrap_or_default()
}

const NAMESPACES: &[Column] = &[
    NAME,
    Column::new("Status", "Whether it is in use or going away.", |o, _| {
        let phase = text(o, "/status/phase");
        let severity = if phase == "Terminating" {
            Severity::Progress
        } else {
            Severity::Ok
        };
        Cell::text(phase.to_owned()).severity(severity)
    }),
    AGE,
];

const CONFIG_MAPS: &[Column] = &[
    NAME,
    Column::new("Data", "Number of entries.", |o, _| {
        Cell::int(entries(o, "/data") + entries(o, "/binaryData"))
    }),
    AGE,
];

const SECRETS: &[Column] = &[
    NAME,
    Column::new("Type", "What it is for.", |o, _| {
        Cell::text(text(o, "/type").to_owned())
    }),
    Column::new("Data", "Number of entries.", |o, _| Cell::int(entries(o, "/data"))),
    AGE,
];

const SERVICE_ACCOUNTS: &[Column] = &[
    NAME,
    Column::new("Secrets", "Number of Secrets it refers to.", |o, _| {
        Cell::int(list(o, "/secrets").len() as i64)
    }),
    AGE,
];

const EVENTS: &[Column] = &[
    Column::new("Last Seen", "Time since it last happened.", last_seen),
    Column::new("Type", "Normal, or a Warning.", |o, _| {
        let kind = text(o, "/type");
        let severity = if kind == "Warning" {
            Severity::Warning
        } else {
            Severity::Plain
        };
        Cell::text(kind.to_owned()).severity(severity)
    }),
    Column::new("Reason", "What happened, in one word.", |o, _| {
        Cell::text(text(o, "/reason").to_owned())
    }),
    Column::new("Object", "Object it happened to.", |o, _| {
        let kind = text(o, "/involvedObject/kind").to_lowercase();
        Cell::text(match text(o, "/involvedObject/name") {
            "" => kind,
            name => format!("{kind}/{name}"),
        })
    }),
    Column::new("Subobject", "Part of the object.", |o, _| {
        Cell::text(text(o, "/involvedObject/fieldPath").to_owned())
    })
    .wide(),
    Column::new("Source", "Who reports it.", |o, _| Cell::text(event_source(o))).wide(),
    Column::new("Message", "What happened, in a sentence.", |o, _| {
        Cell::text(text(o, "/message").trim().to_owned())
    }),
    Column::new("First Seen", "Time since it first happened.", first_seen).wide(),
    Column::new("Count", "How often it happened.", |o, _| Cell::int(event_count(o))).wide(),
    NAME.wide(),
];

const QUOTAS: &[Column] = &[
    NAME,
    Column::new("Request", "Requests in use, of those allowed.", |o, _| {
        Cell::text(quota(o, |r| !is_limit(r)))
    }),
    Column::new("Limit", "Limits in use, of those allowed.", |o, _| {
        Cell::text(quota(o, is_limit))
    }),
    AGE,
];

const COMPONENT_STATUSES: &[Column] = &[
    NAME,
    Column::new("Status", "Whether it is healthy.", |o, _| {
        Cell::text(match component_health(o)["status"].as_str() {
            Some("True") => "Healthy",
            Some(_) => "Unhealthy",
            None => "Unknown",
        })
    }),
    Column::new("Message", "What it says.", |o, _| {
        Cell::text(text(component_health(o), "/message").to_owned())
    }),
    Column::new("Error", "What is wrong.", |o, _| {
        Cell::text(text(component_health(o), "/error").to_owned())
    }),
];

const LEASES: &[Column] = &[
    NAME,
    Column::new("Holder", "Who holds it.", |o, _| {
        Cell::text(text(o, "/spec/holderIdentity").to_owned())
    }),
    AGE,
];

const PRIORITY_CLASSES: &[Column] = &[
    NAME,
    Column::new("Value", "Priority of its Pods.", |o, _| Cell::int(int(o, "/value"))).int(),
    Column::new("Global-Default", "Whether Pods without a class get it.", |o, _| {
        Cell::flag(view::flag(o, "/globalDefault"))
    })
    .boolean(),
    AGE,
    // Upstream gives it priority 0: it shows without being asked for.
    Column::new("PreemptionPolicy", "Whether its Pods may displace others.", |o, _| {
        Cell::text(text(o, "/preemptionPolicy").to_owned())
    }),
];

const RUNTIME_CLASSES: &[Column] = &[
    NAME,
    Column::new("Handler", "Configuration of the runtime.", |o, _| {
        Cell::text(text(o, "/handler").to_owned())
    }),
    AGE,
];

fn entries(o: &Value, path: &str) -> i64 {
    view::map(o, path).map_or(0, |m| m.len() as i64)
}

fn node_status(node: &Value) -> Cell {
    let (mut status, mut severity) = match view::condition(node, "Ready") {
        Some(c) if c["status"] == "True" => ("Ready".to_owned(), Severity::Ok),
        Some(_) => ("NotReady".to_owned(), Severity::Failure),
        None => ("Unknown".to_owned(), Severity::Warning),
    };
    if view::flag(node, "/spec/unschedulable") {
        status.push_str(",SchedulingDisabled");
        severity = severity.max(Severity::Warning);
    }
    Cell::text(status).severity(severity)
}

/// Roles that the labels of a node give it, sorted.
pub(crate) fn node_roles(node: &Value) -> Vec<&str> {
    let labels = view::map(node, "/metadata/labels").into_iter().flatten();
    let mut roles: Vec<&str> = labels
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            None if key == "kubernetes.io/role" => value.as_str(),
            role => role,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    roles
}

fn node_address<'a>(node: &'a Value, kind: &str) -> &'a str {
    let mut fitting = list(node, "/status/addresses").iter().filter(|a| a["type"] == kind);
    fitting.next().map_or("", |a| text(a, "/address"))
}

fn node_info(node: &Value, field: &str) -> Cell {
    Cell::text(text_or(&node["status"]["nodeInfo"], &format!("/{field}"), "<unknown>").to_owned())
}

/// The path of the first time that is set.
fn first_time<'a>(event: &Value, paths: &[&'a str]) -> &'a str {
    let set = |path: &&&str| !text(event, path).is_empty();
    paths.iter().find(set).copied().unwrap_or("/eventTime")
}

fn first_seen(event: &Value, now: Timestamp) -> Cell {
    Cell::since(event, first_time(event, &["/firstTimestamp", "/eventTime"]), now)
}

fn last_seen(event: &Value, now: Timestamp) -> Cell {
    if view::has(event, "/series") {
        return Cell::since(event, "/series/lastObservedTime", now);
    }
    let path = first_time(event, &["/lastTimestamp", "/firstTimestamp", "/eventTime"]);
    Cell::since(event, path, now)
}

fn event_count(event: &Value) -> i64 {
    match (view::int_opt(event, "/series/count"), int(event, "/count")) {
        (Some(count), _) => count,
        (None, 0) => 1,
        (None, count) => count,
    }
}

/// Component and host that report an event.
pub(crate) fn event_source(event: &Value) -> String {
    let component = text_or(event, "/source/component", text(event, "/reportingComponent"));
    match text_or(event, "/source/host", text(event, "/reportingInstance")) {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    }
}

fn is_limit(resource: &str) -> bool {
    resource.starts_with("limits.")
}

fn quota(o: &Value, shown: impl Fn(&str) -> bool) -> String {
    let used = |resource: &str| match &o["status"]["used"][resource] {
        Value::Null => "0".to_owned(),
        value => scalar(value),
    };
    let hard = view::map(o, "/status/hard").into_iter().flatten();
    let mut parts: Vec<_> = hard
        .filter(|(resource, _)| shown(resource))
        .map(|(resource, hard)| format!("{resource}: {}/{}", used(resource), scalar(hard)))
        .collect();
    parts.sort();
    parts.join(", ")
}

fn component_health(o: &Value) -> &Value {
    let mut health = list(o, "/conditions").iter().filter(|c| c["type"] == "Healthy");
    health.next().unwrap_or(&Value::Null)
}
