//! How a whole kind fares, and how much of a cluster is in use: for overviews.

use std::collections::BTreeMap;

use serde_json::Value;

use super::rows::Row;
use crate::describe::{Amounts, add, pod_amounts};
use crate::quantity::Quantity;
use crate::table::Severity;
use crate::view::{self, text};

/// How many objects fare how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Health {
    /// As they should be, or done.
    pub ok: usize,
    /// On their way.
    pub progressing: usize,
    /// To be looked at.
    pub warning: usize,
    /// Broken.
    pub failed: usize,
}

impl Health {
    /// Counts rows.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Self {
        let mut health = Self::default();
        rows.into_iter().for_each(|row| *health.slot(row.severity()) += 1);
        health
    }

    /// Takes a change into account: what the object said before, unless it is new, and what it says
    /// now, unless it is gone.
    pub fn change(&mut self, before: Option<Severity>, after: Option<Severity>) {
        if let Some(severity) = before {
            let slot = self.slot(severity);
            *slot = slot.saturating_sub(1);
        }
        if let Some(severity) = after {
            *self.slot(severity) += 1;
        }
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.ok + self.progressing + self.warning + self.failed
    }

    /// The worst there is.
    pub fn worst(&self) -> Severity {
        match self {
            Self { failed: 1.., .. } => Severity::Failure,
            Self { warning: 1.., .. } => Severity::Warning,
            Self { progressing: 1.., .. } => Severity::Progress,
            Self { ok: 1.., .. } => Severity::Ok,
            _ => Severity::Muted,
        }
    }

    fn slot(&mut self, severity: Severity) -> &mut usize {
        match severity {
            Severity::Plain | Severity::Muted | Severity::Ok => &mut self.ok,
            Severity::Progress => &mut self.progressing,
            Severity::Warning => &mut self.warning,
            Severity::Failure => &mut self.failed,
        }
    }
}

/// The kinds of an overview, as `plural` or `plural.group`.
pub const OVERVIEW: &[&str] = &[
    "nodes",
    "namespaces",
    "pods",
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "replicasets.apps",
    "jobs.batch",
    "cronjobs.batch",
    "horizontalpodautoscalers.autoscaling",
    "services",
    "ingresses.networking.k8s.io",
    "persistentvolumes",
    "persistentvolumeclaims",
    "configmaps",
    "secrets",
];

/// Amounts of one resource, of all nodes or of one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Use {
    /// What Pods may have in all.
    pub capacity: Quantity,
    /// What Pods ask for.
    pub requested: Quantity,
    /// What Pods may take at most.
    pub limited: Quantity,
    /// What is used, as metrics tell it.
    pub used: Quantity,
}

impl Use {
    /// A share of the capacity in percent.
    pub fn percent(&self, of: Quantity) -> f64 {
        match self.capacity.is_zero() {
            true => 0.0,
            false => of.as_f64() / self.capacity.as_f64() * 100.0,
        }
    }
}

/// CPU and memory of a set of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU.
    pub cpu: Use,
    /// Memory.
    pub memory: Use,
    /// Pods that the nodes take.
    pub pods_allowed: i64,
    /// Pods that are there.
    pub pods: i64,
}

/// Sums up nodes, the Pods on them, and their metrics (`NodeMetrics`; none where they are not served).
pub fn usage<'a>(
    nodes: impl IntoIterator<Item = &'a Value>,
    pods: impl IntoIterator<Item = &'a Value>,
    metrics: impl IntoIterator<Item = &'a Value>,
) -> Usage {
    let mut usage = Usage::default();
    for node in nodes {
        usage.cpu.capacity += view::quantity(node, "/status/allocatable/cpu");
        usage.memory.capacity += view::quantity(node, "/status/allocatable/memory");
        usage.pods_allowed += view::quantity(node, "/status/allocatable/pods").value();
    }
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    // Pods that are over hold nothing any more; those without a node hold nothing yet.
    let holds = |pod: &&Value| {
        !text(pod, "/spec/nodeName").is_empty() && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
    };
    for pod in pods.into_iter().filter(holds) {
        usage.pods += 1;
        add(&mut requests, &pod_amounts(pod, "requests"));
        add(&mut limits, &pod_amounts(pod, "limits"));
    }
    let of = |amounts: &Amounts, name: &str| amounts.get(name).copied().unwrap_or_default();
    usage.cpu.requested = of(&requests, "cpu");
    usage.cpu.limited = of(&limits, "cpu");
    usage.memory.requested = of(&requests, "memory");
    usage.memory.limited = of(&limits, "memory");
    for metric in metrics {
        usage.cpu.used += view::quantity(metric, "/usage/cpu");
        usage.memory.used += view::quantity(metric, "/usage/memory");
    }
    usage
}

/// The pods of each node, counted.
pub fn pods_by_node<'a>(pods: impl IntoIterator<Item = &'a Value>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for pod in pods {
        *counts.entry(text(pod, "/spec/nodeName")).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::builtin;
    use jiff::Timestamp;
    use serde_json::json;

    fn pod(phase: &str, cpu: &str) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}]},
            "status": {"phase": phase}})
    }

    #[test]
    fn kinds_are_counted_by_how_they_fare() {
        let resource = builtin().resolve("pods").expect("pods");
        let row = |phase: &str| Row::new(resource, &pod(phase, "1"), Timestamp::UNIX_EPOCH);
        let rows = ["Pending", "Failed", "Succeeded", "Succeeded"].map(row);
        let mut health = Health::of(&rows);
        assert_eq!(
            health,
            Health {
                ok: 2,
                progressing: 1,
                warning: 0,
                failed: 1
            }
        );
        health.change(Some(Severity::Failure), Some(Severity::Ok));
        assert_eq!((health.worst(), health.total()), (Severity::Progress, 4));
        for name in OVERVIEW {
            assert!(builtin().resolve(name).is_some(), "{name}");
        }
    }

    #[test]
    fn amounts_add_up() {
        let node = json!({"status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}}});
        let metric = json!({"usage": {"cpu": "500m", "memory": "2Gi"}});
        let pods = [pod("Running", "500m"), pod("Running", "1500m"), pod("Succeeded", "9")];
        let usage = usage([&node], &pods, [&metric]);
        assert_eq!((usage.pods, usage.pods_allowed), (2, 110));
        assert_eq!(usage.cpu.percent(usage.cpu.requested), 50.0);
        assert_eq!(usage.memory.percent(usage.memory.used), 25.0);
        assert_eq!(Use::default().percent(Quantity::ZERO), 0.0);
    }
}
