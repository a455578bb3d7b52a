//! What runs Pods: Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, CronJobs, autoscalers,
//! disruption budgets.

use jiff::Timestamp;
use serde_json::Value;

use super::{AGE, Cell, Column, NAME, Severity, container_columns};
use crate::duration;
use crate::view::{self, NONE, int, list, scalar, text};

pub(super) fn columns(group: &str, plural: &str) -> Option<&'static [Column]> {
    match (group, plural) {
        ("", "replicationcontrollers") => Some(REPLICATION_CONTROLLERS),
        ("apps", "deployments") => Some(DEPLOYMENTS),
        ("apps", "replicasets") => Some(REPLICA_SETS),
        ("apps", "statefulsets") => Some(STATEFUL_SETS),
        ("apps", "daemonsets") => Some(DAEMON_SETS),
        ("apps", "controllerrevisions") => Some(CONTROLLER_REVISIONS),
        ("batch", "jobs") => Some(JOBS),
        ("batch", "cronjobs") => Some(CRON_JOBS),
        ("autoscaling", "horizontalpodautoscalers") => Some(AUTOSCALERS),
        ("policy", "poddisruptionbudgets") => Some(DISRUPTION_BUDGETS),
        _ => None,
    }
}

const CONTAINERS: [Column; 2] = container_columns!("/spec/template/spec/containers");
const CRON_CONTAINERS: [Column; 2] = container_columns!("/spec/jobTemplate/spec/template/spec/containers");
const SELECTOR: Column = Column::new("Selector", "Labels of the Pods that belong to it.", |o, _| {
    Cell::text(view::selector(o, "/spec/selector"))
})
.wide();

const DEPLOYMENTS: &[Column] = &[
    NAME,
    Column::new("Ready", "Pods that are ready, of those wanted.", ready_of_wanted),
    Column::new("Up-to-date", "Pods made from the newest template.", |o, _| {
        Cell::int(int(o, "/status/updatedReplicas"))
    }),
    Column::new("Available", "Pods that have been ready long enough.", |o, _| {
        Cell::int(int(o, "/status/availableReplicas"))
    }),
    AGE,
    CONTAINERS[0],
    CONTAINERS[1],
    SELECTOR,
];

const STATEFUL_SETS: &[Column] = &[
    NAME,
    Column::new("Ready", "Pods that are ready, of those wanted.", ready_of_wanted),
    AGE,
    CONTAINERS[0],
    CONTAINERS[1],
];

const DESIRED: Column = Column::new("Desired", "How many Pods are wanted.", |o, _| {
    Cell::int(int(o, "/spec/replicas"))
})
.int();
const CURRENT: Column = Column::new("Current", "How many Pods there are.", |o, _| {
    Cell::int(int(o, "/status/replicas"))
})
.int();
const READY: Column = Column::new("Ready", "How many Pods are ready.", |o, _| {
    let (ready, wanted) = (int(o, "/status/readyReplicas"), int(o, "/spec/replicas"));
    Cell::int(ready).severity(Cell::ratio(ready, wanted).severity)
})
.int();

const REPLICA_SETS: &[Column] = &[
    NAME,
    DESIRED,
    CURRENT,
    READY,
    AGE,
    CONTAINERS[0],
    CONTAINERS[1],
    SELECTOR,
];

const REPLICATION_CONTROLLERS: &[Column] = &[
    NAME,
    DESIRED,
    CURRENT,
    READY,
    AGE,
    CONTAINERS[0],
    CONTAINERS[1],
    Column::new("Selector", "Labels of the Pods that belong to it.", |o, _| {
        Cell::text(view::labels(view::map(o, "/spec/selector")))
    })
    .wide(),
];

const DAEMON_SETS: &[Column] = &[
    NAME,
    Column::new("Desired", "Nodes that should run a Pod.", |o, _| {
        Cell::int(int(o, "/status/desiredNumberScheduled"))
    })
    .int(),
    Column::new("Current", "Nodes that have a Pod and should.", |o, _| {
        Cell::int(int(o, "/status/currentNumberScheduled"))
    })
    .int(),
    Column::new("Ready", "Nodes with a ready Pod.", |o, _| {
        let (ready, wanted) = (int(o, "/status/numberReady"), int(o, "/status/desiredNumberScheduled"));
        Cell::int(ready).severity(Cell::ratio(ready, wanted).severity)
    })
    .int(),
    Column::new(
        "Up-to-date",
        "Nodes with a Pod made from the newest template.",
        |o, _| Cell::int(int(o, "/status/updatedNumberScheduled")),
    )
    .int(),
    Column::new(
        "Available",
        "Nodes with a Pod that has been ready long enough.",
        |o, _| Cell::int(int(o, "/status/numberAvailable")),
    )
    .int(),
    Column::new("Node Selector", "Labels of the nodes it runs on.", |o, _| {
        Cell::text(view::labels(view::map(o, "/spec/template/spec/nodeSelector")))
    }),
    AGE,
    CONTAINERS[0],
    CONTAINERS[1],
    SELECTOR,
];

const CONTROLLER_REVISIONS: &[Column] = &[
    NAME,
    Column::new("Controller", "Object whose past this is.", |o, _| {
        Cell::text(view::controller(o).map_or_else(|| NONE.to_owned(), controller_name))
    }),
    Column::new("Revision", "Number of the revision.", |o, _| {
        Cell::int(int(o, "/revision"))
    }),
    AGE,
];

const JOBS: &[Column] = &[
    NAME,
    Column::new("Status", "How the Job fares.", |o, _| job_status(o)),
    Column::new("Completions", "Pods that succeeded, of those needed.", |o, _| {
        completions(o)
    }),
    Column::new("Duration", "How long it has run, or ran.", job_duration),
    AGE,
    CONTAINERS[0],
    CONTAINERS[1],
    SELECTOR,
];

const CRON_JOBS: &[Column] = &[
    NAME,
    Column::new("Schedule", "When it runs, in cron's syntax.", |o, _| {
        Cell::text(text(o, "/spec/schedule").to_owned())
    }),
    Column::new("Timezone", "Time zone of the schedule.", |o, _| {
        Cell::or_none(text(o, "/spec/timeZone"))
    }),
    Column::new("Suspend", "Whether it is suspended.", |o, _| {
        match o.pointer("/spec/suspend").and_then(Value::as_bool) {
            Some(true) => Cell::text("True").severity(Severity::Warning),
            Some(false) => Cell::text("False"),
            None => Cell::text("<unset>"),
        }
    })
    .boolean(),
    Column::new("Active", "Jobs that run now.", |o, _| {
        Cell::int(list(o, "/status/active").len() as i64)
    })
    .int(),
    Column::new(
        "Last Schedule",
        "Time since a Job was last due.",
        |o, now| match view::time(o, "/status/lastScheduleTime") {
            Some(_) => Cell::since(o, "/status/lastScheduleTime", now),
            None => Cell::text(NONE).severity(Severity::Muted),
        },
    ),
    AGE,
    CRON_CONTAINERS[0],
    CRON_CONTAINERS[1],
    Column::new("Selector", "Labels of the Pods that belong to it.", |o, _| {
        Cell::text(view::selector(o, "/spec/jobTemplate/spec/selector"))
    })
    .wide(),
];

const AUTOSCALERS: &[Column] = &[
    NAME,
    Column::new("Reference", "What it scales.", |o, _| {
        let target = &o["spec"]["scaleTargetRef"];
        Cell::text(format!("{}/{}", text(target, "/kind"), text(target, "/name")))
    }),
    Column::new("Targets", "Metrics, as they are and as they should be.", |o, _| {
        Cell::text(metrics(o))
    }),
    Column::new("MinPods", "Fewest Pods.", |o, _| {
        let min = view::int_opt(o, "/spec/minReplicas");
        Cell::text(min.map_or_else(|| "<unset>".to_owned(), |n| n.to_string()))
    }),
    Column::new("MaxPods", "Most Pods.", |o, _| Cell::int(int(o, "/spec/maxReplicas"))),
    Column::new("Replicas", "Pods there are.", |o, _| {
        Cell::int(int(o, "/status/currentReplicas"))
    }),
    AGE,
];

const DISRUPTION_BUDGETS: &[Column] = &[
    NAME,
    Column::new("Min Available", "Pods that must stay available.", |o, _| {
        or_not_applicable(o, "/spec/minAvailable")
    }),
    Column::new("Max Unavailable", "Pods that may be unavailable.", |o, _| {
        or_not_applicable(o, "/spec/maxUnavailable")
    }),
    Column::new("Allowed Disruptions", "Pods that may be evicted now.", |o, _| {
        Cell::int(int(o, "/status/disruptionsAllowed"))
    })
    .int(),
    AGE,
];

fn ready_of_wanted(o: &Value, _: Timestamp) -> Cell {
    Cell::ratio(int(o, "/status/readyReplicas"), int(o, "/spec/replicas"))
}

fn or_not_applicable(o: &Value, path: &str) -> Cell {
    Cell::text(o.pointer(path).map_or_else(|| "N/A".to_owned(), scalar))
}

/// `kind.group/name`, in lower case.
fn controller_name(owner: &Value) -> String {
    let kind = text(owner, "/kind").to_lowercase();
    match text(owner, "/apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", text(owner, "/name")),
        None => format!("{kind}/{}", text(owner, "/name")),
    }
}

fn job_status(o: &Value) -> Cell {
    let (word, severity) = match () {
        () if view::condition_true(o, "Complete") => ("Complete", Severity::Muted),
        () if view::condition_true(o, "Failed") => ("Failed", Severity::Failure),
        () if view::terminating(o) => ("Terminating", Severity::Progress),
        () if view::condition_true(o, "Suspended") => ("Suspended", Severity::Warning),
        () if view::condition_true(o, "FailureTarget") => ("FailureTarget", Severity::Failure),
        () => ("Running", Severity::Ok),
    };
    Cell::text(word).severity(severity)
}

fn completions(o: &Value) -> Cell {
    let (succeeded, parallel) = (int(o, "/status/succeeded"), int(o, "/spec/parallelism"));
    match view::int_opt(o, "/spec/completions") {
        Some(wanted) => Cell::ratio(succeeded, wanted).severity(Severity::Plain),
        None if parallel > 1 => Cell::text(format!("{succeeded}/1 of {parallel}")),
        None => Cell::text(format!("{succeeded}/1")),
    }
}

fn job_duration(o: &Value, now: Timestamp) -> Cell {
    let Some(start) = view::time(o, "/status/startTime") else {
        return Cell::text("");
    };
    let span = view::time(o, "/status/completionTime")
        .unwrap_or(now)
        .duration_since(start);
    Cell::text(duration::human(span)).sort(span.as_secs())
}

/// `cpu: 12%/80%, 3/10 + 1 more...`
fn metrics(o: &Value) -> String {
    let specs = list(o, "/spec/metrics");
    let statuses = list(o, "/status/currentMetrics");
    if specs.is_empty() {
        return NONE.to_owned();
    }
    let shown = specs.iter().enumerate().take(2);
    let mut out = shown
        .map(|(at, spec)| metric(spec, statuses.get(at).unwrap_or(&Value::Null)))
        .collect::<Vec<_>>()
        .join(", ");
    if specs.len() > 2 {
        out.push_str(&format!(" + {} more...", specs.len() - 2));
    }
    out
}

fn metric(spec: &Value, status: &Value) -> String {
    let kind = text(spec, "/type");
    let key = match kind {
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        _ => return "<unknown type>".to_owned(),
    };
    let (target, current) = (&spec[key]["target"], &status[key]["current"]);
    let value = |of: &Value, field: &str, other: &str| match &of[field] {
        Value::Null => other.to_owned(),
        value => scalar(value),
    };
    let percent = |of: &Value, other: &str| match of["averageUtilization"].as_i64() {
        Some(percent) => format!("{percent}%"),
        None => other.to_owned(),
    };
    let averaged = !target["averageValue"].is_null();
    let unknown = "<unknown>";
    match kind {
        "Resource" | "ContainerResource" => {
            let name = text(&spec[key], "/name");
            let (current, target) = if averaged {
                (
                    value(current, "averageValue", unknown),
                    value(target, "averageValue", ""),
                )
            } else {
                (percent(current, unknown), percent(target, "<auto>"))
            };
            format!("{name}: {current}/{target}")
        }
        _ if averaged => {
            let suffix = if kind == "Pods" { "" } else { " (avg)" };
            let current = value(current, "averageValue", unknown);
            format!("{current}/{}{suffix}", value(target, "averageValue", ""))
        }
        _ => format!("{}/{}", value(current, "value", unknown), value(target, "value", "")),
    }
}
