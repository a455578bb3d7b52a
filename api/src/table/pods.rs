//! Pods and Pod templates, and the one word that sums up how a Pod fares.

use jiff::Timestamp;
use serde_json::Value;

use super::{AGE, Cell, Column, NAME, Severity, container_columns};
use crate::duration;
use crate::view::{self, NONE, has, int, list, text};

pub(super) fn columns(group: &str, plural: &str) -> Option<&'static [Column]> {
    match (group, plural) {
        ("", "pods") => Some(PODS),
        ("", "podtemplates") => Some(POD_TEMPLATES),
        _ => None,
    }
}

const PODS: &[Column] = &[
    NAME,
    Column::new("Ready", "Containers that are ready, of all that run together.", ready),
    Column::new("Status", "How the Pod fares, in one word.", |o, _| {
        let status = status(o);
        Cell::text(status.word).severity(status.severity)
    }),
    Column::new(
        "Restarts",
        "How often containers were restarted, and when last.",
        restarts,
    ),
    AGE,
    Column::new("IP", "Address of the Pod.", |o, _| {
        Cell::or_none(text(o, "/status/podIPs/0/ip"))
    })
    .wide(),
    Column::new("Node", "Node that the Pod runs on.", |o, _| {
        Cell::or_none(text(o, "/spec/nodeName"))
    })
    .wide(),
    Column::new(
        "Nominated Node",
        "Node on which room is being made for the Pod.",
        |o, _| Cell::or_none(text(o, "/status/nominatedNodeName")),
    )
    .wide(),
    Column::new(
        "Readiness Gates",
        "Extra conditions for readiness that hold, of all.",
        readiness_gates,
    )
    .wide(),
];

const TEMPLATE: [Column; 2] = container_columns!("/template/spec/containers");
const POD_TEMPLATES: &[Column] = &[
    NAME,
    Column {
        wide: false,
        ..TEMPLATE[0]
    },
    Column {
        wide: false,
        ..TEMPLATE[1]
    },
    Column::new("Pod Labels", "Labels of the Pods.", |o, _| {
        Cell::text(view::labels(view::map(o, "/template/metadata/labels")))
    }),
];

/// How a Pod fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `Running`, `CrashLoopBackOff`, `Init:0/1`, `Terminating`, …
    pub word: String,
    /// What that means.
    pub severity: Severity,
    /// Containers that are ready.
    pub ready: i64,
    /// Containers that run together: the ordinary ones and the sidecars.
    pub total: i64,
    /// Restarts that count: of all init containers while those run, then of the rest.
    pub restarts: i64,
    /// When a container last restarted.
    pub last_restart: Option<Timestamp>,
}

/// Restarts with the time of the last one.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, container: &Value) {
        self.count += int(container, "/restartCount");
        self.last = self.last.max(view::time(container, "/lastState/terminated/finishedAt"));
    }
}

/// Sums up a Pod by upstream's rules.
pub fn status(pod: &Value) -> Status {
    let init = Init::of(pod);
    let phase = text(pod, "/status/phase");
    let mut word = match text(pod, "/status/reason") {
        "" => phase.to_owned(),
        reason => reason.to_owned(),
    };
    if view::condition(pod, "PodScheduled").is_some_and(|c| c["reason"] == "SchedulingGated") {
        "SchedulingGated".clone_into(&mut word);
    }
    let (mut restarts, mut ready) = (init.restarts, init.ready_sidecars);
    let initializing = init.stuck_at.is_some();
    if let Some(reason) = init.stuck_at {
        word = reason;
    }
    if !initializing || view::condition_true(pod, "Initialized") {
        restarts = init.sidecar_restarts;
        let mut running = false;
        for container in list(pod, "/status/containerStatuses").iter().rev() {
            restarts.add(container);
            if let Some(reason) = waiting_or_terminated(container) {
                word = reason;
            } else if view::flag(container, "/ready") && has(container, "/state/running") {
                running = true;
                ready += 1;
            }
        }
        // Some containers are done while others go on.
        if word == "Completed" && running {
            let all_ready = view::condition_true(pod, "Ready");
            (if all_ready { "Running" } else { "NotReady" }).clone_into(&mut word);
        }
    }
    if view::terminating(pod) {
        if text(pod, "/status/reason") == "NodeLost" {
            "Unknown".clone_into(&mut word);
        } else if !matches!(phase, "Succeeded" | "Failed") {
            "Terminating".clone_into(&mut word);
        }
    }
    let total = list(pod, "/spec/containers").len() as i64 + init.sidecars;
    Status {
        severity: severity(&word, ready < total),
        word,
        ready,
        total,
        restarts: restarts.count,
        last_restart: restarts.last,
    }
}

/// What init containers say about their Pod.
struct Init {
    /// What initialization hangs on, when it is not over.
    stuck_at: Option<String>,
    restarts: Restarts,
    sidecars: i64,
    sidecar_restarts: Restarts,
    ready_sidecars: i64,
}

impl Init {
    fn of(pod: &Value) -> Self {
        let specs = list(pod, "/spec/initContainers");
        let is_sidecar = |spec: &Value| spec["restartPolicy"] == "Always";
        let mut this = Self {
            stuck_at: None,
            restarts: Restarts::default(),
            sidecars: specs.iter().filter(|s| is_sidecar(s)).count() as i64,
            sidecar_restarts: Restarts::default(),
            ready_sidecars: 0,
        };
        for (at, container) in list(pod, "/status/initContainerStatuses").iter().enumerate() {
            this.restarts.add(container);
            let sidecar = specs.iter().any(|s| s["name"] == container["name"] && is_sidecar(s));
            if sidecar {
                this.sidecar_restarts.add(container);
            }
            if container.pointer("/state/terminated/exitCode") == Some(&Value::from(0)) {
                continue;
            }
            if sidecar && view::flag(container, "/started") {
                this.ready_sidecars += i64::from(view::flag(container, "/ready"));
                continue;
            }
            let waits = text(container, "/state/waiting/reason");
            this.stuck_at = Some(if has(container, "/state/terminated") {
                format!("Init:{}", terminated(container))
            } else if !matches!(waits, "" | "PodInitializing") {
                format!("Init:{waits}")
            } else {
                format!("Init:{at}/{}", specs.len())
            });
            break;
        }
        this
    }
}

fn waiting_or_terminated(container: &Value) -> Option<String> {
    match text(container, "/state/waiting/reason") {
        "" if has(container, "/state/terminated") => Some(terminated(container)),
        "" => None,
        reason => Some(reason.to_owned()),
    }
}

fn terminated(container: &Value) -> String {
    match (
        text(container, "/state/terminated/reason"),
        int(container, "/state/terminated/signal"),
    ) {
        ("", 0) => format!("ExitCode:{}", int(container, "/state/terminated/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn severity(word: &str, unready: bool) -> Severity {
    match word {
        "Running" if unready => Severity::Progress,
        "Running" => Severity::Ok,
        "Completed" | "Succeeded" => Severity::Muted,
        "Pending" | "ContainerCreating" | "PodInitializing" | "Terminating" | "SchedulingGated" => Severity::Progress,
        "NotReady" | "Unknown" => Severity::Warning,
        _ => match word.strip_prefix("Init:") {
            // `Init:0/2` only counts; anything else names what went wrong.
            Some(count) if count.contains('/') => Severity::Progress,
            _ => Severity::Failure,
        },
    }
}

fn ready(pod: &Value, _: Timestamp) -> Cell {
    let status = status(pod);
    let cell = Cell::ratio(status.ready, status.total);
    match status.severity {
        Severity::Muted => cell.severity(Severity::Muted),
        _ => cell,
    }
}

fn restarts(pod: &Value, now: Timestamp) -> Cell {
    let status = status(pod);
    let ago = status.last_restart.filter(|_| status.restarts != 0);
    let text = match ago {
        Some(last) => format!(
            "{} ({} ago)",
            status.restarts,
            duration::human(now.duration_since(last))
        ),
        None => status.restarts.to_string(),
    };
    // A restart within the last hour is still news.
    let recent = ago.is_some_and(|last| now.duration_since(last).as_hours() < 1);
    let severity = if recent { Severity::Warning } else { Severity::Plain };
    Cell::text(text).sort(status.restarts).severity(severity)
}

fn readiness_gates(pod: &Value, _: Timestamp) -> Cell {
    let gates = list(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return Cell::text(NONE).severity(Severity::Muted);
    }
    let holds = |gate: &&Value| view::condition_true(pod, text(gate, "/conditionType"));
    Cell::ratio(gates.iter().filter(holds).count() as i64, gates.len() as i64)
}
