//! What is used, as `metrics.k8s.io` tells it, beside what was asked for: columns of Pods and nodes.
//!
//! That API can be read but not watched, and is not on every server. The columns are always there; they say
//! `n/a` until something was measured.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::describe::pod_amounts;
use crate::quantity::Quantity;
use crate::resource::Resource;
use crate::table::{Cell, Severity};
use crate::view::{self, list, text};

/// Where it is served.
pub const GROUP: &str = "metrics.k8s.io";
/// The version of it that we read.
pub const VERSION: &str = "v1beta1";
/// Where nothing was measured.
const NOT_MEASURED: &str = "n/a";
/// Share of a node from which on its use should be looked at, in percent.
const CRITICAL: i64 = 90;
const MEBI: i64 = 1 << 20;

/// CPU in thousandths of a core, and memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// CPU.
    pub cpu: i64,
    /// Memory.
    pub memory: i64,
}

impl Used {
    fn read(object: &Value, path: &str) -> Self {
        Self {
            cpu: view::quantity(object, &format!("{path}/cpu")).millis(),
            memory: view::quantity(object, &format!("{path}/memory")).value(),
        }
    }

    /// Adds.
    pub fn add(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.memory += other.memory;
    }

    /// Takes away.
    pub fn take(&mut self, other: Self) {
        self.cpu -= other.cpu;
        self.memory -= other.memory;
    }

    /// CPU as people read it: `250m`.
    pub fn cpu_text(self) -> String {
        format!("{}m", self.cpu)
    }

    /// Memory as people read it: `64Mi`.
    pub fn memory_text(self) -> String {
        format!("{}Mi", self.memory / MEBI)
    }
}

/// What was measured of a node, or of a Pod and its containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// Namespace; empty for nodes.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// In all.
    pub used: Used,
    /// By container.
    pub containers: Box<[(Box<str>, Used)]>,
}

impl Measure {
    /// Reads a NodeMetrics or a PodMetrics.
    pub fn read(object: &Value) -> Self {
        let container = |c: &Value| (text(c, "/name").into(), Used::read(c, "/usage"));
        let containers: Box<[_]> = list(object, "/containers").iter().map(container).collect();
        let mut used = Used::read(object, "/usage");
        containers.iter().for_each(|(_, of)| used.add(*of));
        Self {
            namespace: view::namespace(object).into(),
            name: view::name(object).into(),
            used,
            containers,
        }
    }
}

/// What may be used: of a Pod what it asks for and what it is limited to, of a node what it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Requests; of a node what Pods may have in all.
    pub asked: Used,
    /// Limits.
    pub limit: Used,
}

impl Bounds {
    /// The bounds of a Pod or a node; none of anything else. A Pod that is over, or on no node, holds nothing.
    pub fn of(resource: &Resource, object: &Value) -> Self {
        match measured(resource) {
            Some(Kind::Node) => Self {
                asked: Used::read(object, "/status/allocatable"),
                limit: Used::default(),
            },
            Some(Kind::Pod) if holds(object) => {
                let amounts = |field: &str| {
                    let amounts = pod_amounts(object, field);
                    let of = |name: &str| amounts.get(name).copied().unwrap_or(Quantity::ZERO);
                    Used {
                        cpu: of("cpu").millis(),
                        memory: of("memory").value(),
                    }
                };
                Self {
                    asked: amounts("requests"),
                    limit: amounts("limits"),
                }
            }
            _ => Self::default(),
        }
    }
}

fn holds(pod: &Value) -> bool {
    !text(pod, "/spec/nodeName").is_empty() && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pod,
    Node,
}

fn measured(resource: &Resource) -> Option<Kind> {
    match (&*resource.group, &*resource.plural) {
        ("", "pods") => Some(Kind::Pod),
        ("", "nodes") => Some(Kind::Node),
        _ => None,
    }
}

/// Columns of Pods, and whether they are shown on demand only.
const PODS: &[(&str, bool)] = &[
    ("CPU", false),
    ("MEM", false),
    ("%CPU/R", true),
    ("%CPU/L", true),
    ("%MEM/R", true),
    ("%MEM/L", true),
];
/// Columns of nodes.
const NODES: &[(&str, bool)] = &[("CPU", false), ("%CPU", false), ("MEM", false), ("%MEM", false)];

/// The columns that a kind has beside its own.
pub fn columns(resource: &Resource) -> &'static [(&'static str, bool)] {
    match measured(resource) {
        Some(Kind::Pod) => PODS,
        Some(Kind::Node) => NODES,
        None => &[],
    }
}

/// Whether a column goes up and down by itself, so that it is neither searched nor marked as changed.
pub fn drifts(heading: &str) -> bool {
    PODS.iter().chain(NODES).any(|(name, _)| *name == heading)
}

/// The cells below [`columns`].
pub fn cells(resource: &Resource, bounds: Bounds, used: Option<Used>) -> Vec<Cell> {
    let cpu = || number(used.map(|u| (u.cpu, u.cpu_text())));
    let memory = || number(used.map(|u| (u.memory / MEBI, u.memory_text())));
    let share = |of: fn(Used) -> i64, bound: Used| {
        let percent = used.filter(|_| of(bound) > 0).map(|u| of(u) * 100 / of(bound));
        number(percent.map(|p| (p, p.to_string())))
    };
    let by_cpu = |u: Used| u.cpu;
    let by_memory = |u: Used| u.memory;
    match measured(resource) {
        None => Vec::new(),
        Some(Kind::Pod) => vec![
            cpu(),
            memory(),
            share(by_cpu, bounds.asked),
            share(by_cpu, bounds.limit),
            share(by_memory, bounds.asked),
            share(by_memory, bounds.limit),
        ],
        Some(Kind::Node) => {
            let warn = |cell: Cell| match cell.sort {
                Some(CRITICAL..) => cell.severity(Severity::Warning),
                _ => cell,
            };
            vec![
                cpu(),
                warn(share(by_cpu, bounds.asked)),
                memory(),
                warn(share(by_memory, bounds.asked)),
            ]
        }
    }
}

/// Makes the last of a row's cells anew: those below [`columns`].
pub fn measure(row: &mut Box<[Cell]>, resource: &Resource, bounds: Bounds, used: Option<Used>) {
    let measured = cells(resource, bounds, used);
    let own = row.len().saturating_sub(measured.len());
    row[own..].clone_from_slice(&measured);
}

/// When to read measurements again after so many bytes of them: as often as they are made where they are
/// few; where they are many, seldom enough that an idle console stays within [`BUDGET`].
pub fn pause(bytes: usize) -> Duration {
    match bytes <= FEW {
        true => OFTEN,
        false => Duration::from_secs((bytes / BUDGET) as u64),
    }
}

/// How often measurements are made, by default.
const OFTEN: Duration = Duration::from_secs(15);
/// Up to so many bytes they are read as often as they are made.
const FEW: usize = 16 << 10;
/// Bytes a second above that.
const BUDGET: usize = 1024;
/// Before another try after a failure.
pub const RETRY: Duration = Duration::from_secs(30);

fn number(value: Option<(i64, String)>) -> Cell {
    match value {
        Some((sort, text)) => Cell::text(text).sort(sort),
        None => Cell::text(NOT_MEASURED).severity(Severity::Muted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::builtin;
    use serde_json::json;

    #[test]
    fn use_stands_beside_what_was_asked_for() {
        let pods = builtin().resolve("pods").expect("pods");
        let pod = json!({"spec": {"nodeName": "n", "containers": [{"resources":
            {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}}]}, "status": {"phase": "Running"}});
        let measure = Measure::read(&json!({"metadata": {"name": "p", "namespace": "s"}, "containers": [
            {"name": "a", "usage": {"cpu": "12345678n", "memory": "32Mi"}}, {"name": "b", "usage": {"cpu": "37m", "memory": "16384Ki"}}]}));
        let bounds = Bounds::of(pods, &pod);
        let line = |used: Option<Used>| {
            let cells = cells(pods, bounds, used);
            assert_eq!(cells.len(), columns(pods).len());
            cells.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line(Some(measure.used)), "50m 48Mi 50 n/a 75 37");
        assert_eq!(line(None), "n/a n/a n/a n/a n/a n/a");
        assert_eq!(
            Bounds::of(pods, &json!({"status": {"phase": "Failed"}, "spec": pod["spec"]})),
            Bounds::default()
        );
    }

    #[test]
    fn much_is_read_seldom() {
        for (bytes, seconds) in [(0, 15), (FEW, 15), (4 << 20, 4096)] {
            assert_eq!(pause(bytes).as_secs(), seconds, "{bytes}");
        }
    }

    #[test]
    fn a_node_that_is_full_is_to_be_looked_at() {
        let nodes = builtin().resolve("nodes").expect("nodes");
        let node = json!({"status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}});
        let measure = Measure::read(&json!({"metadata": {"name": "n"}, "usage": {"cpu": "1900m", "memory": "512Mi"}}));
        let cells = cells(nodes, Bounds::of(nodes, &node), Some(measure.used));
        let shown: Vec<_> = cells.iter().map(|c| (c.to_string(), c.severity)).collect();
        let plain = Severity::Plain;
        let expect = [
            ("1900m", plain),
            ("95", Severity::Warning),
            ("512Mi", plain),
            ("50", plain),
        ];
        assert_eq!(shown, expect.map(|(text, severity)| (text.to_owned(), severity)));
    }
}
