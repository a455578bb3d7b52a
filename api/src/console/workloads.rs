//! All kinds that run something, in one table with columns that fit every one of them.

use super::rows::Row;
use crate::resource::Resource;
use crate::table::{self, Cell, Content, Severity};

/// The kinds, as `plural` or `plural.group`.
pub const KINDS: &[&str] = &[
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "replicasets.apps",
    "replicationcontrollers",
    "jobs.batch",
    "cronjobs.batch",
    "pods",
];

/// The columns.
pub const HEADINGS: [&str; 5] = ["Kind", "Name", "Ready", "Status", "Age"];

/// Name of an object among those of other kinds.
pub fn name(resource: &Resource, row: &Row) -> String {
    format!("{}/{}", resource.singular, row.name)
}

/// The cells of a workload's row below [`HEADINGS`].
pub fn cells(resource: &Resource, row: &Row) -> [Cell; 5] {
    let columns = table::columns(resource);
    let cell = |heading: &str| {
        let at = columns.iter().position(|c| c.name == heading)?;
        row.cells.get(at).cloned()
    };
    let number = |cell: &Cell| match cell.content {
        Content::Integer(number) => Some(number),
        _ => None,
    };
    let ready = match (cell("Ready"), cell("Desired")) {
        (Some(ready), Some(desired)) => match (number(&ready), number(&desired)) {
            (Some(ready), Some(desired)) => Cell::ratio(ready, desired),
            _ => ready,
        },
        (Some(ready), None) => ready,
        _ => cell("Completions")
            .or_else(|| cell("Active"))
            .unwrap_or_else(|| Cell::text("")),
    };
    let worst = row.severity();
    let status = cell("Status").unwrap_or_else(|| {
        let word = match (cell("Suspend"), worst) {
            (Some(suspend), _) if suspend.to_string() == "True" => "suspended",
            (Some(_), Severity::Plain | Severity::Ok) => "scheduled",
            (_, Severity::Plain | Severity::Ok) => "ready",
            (_, Severity::Muted) => "idle",
            (_, Severity::Progress) => "progressing",
            (_, Severity::Warning) => "look",
            (_, Severity::Failure) => "failed",
        };
        Cell::text(word).severity(worst)
    });
    let age = cell("Age").unwrap_or_else(|| Cell::text(""));
    [
        Cell::text(resource.singular.to_string()),
        Cell::text(row.name.to_string()),
        ready,
        status,
        age,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::builtin;
    use jiff::Timestamp;
    use serde_json::{Value, json};

    #[test]
    fn every_kind_says_how_ready_it_is() {
        let line = |kind: &str, object: Value| {
            let resource = builtin().resolve(kind).expect("a kind");
            let row = Row::new(resource, &object, Timestamp::UNIX_EPOCH);
            let cells = cells(resource, &row);
            let text = cells[..4].iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            format!("{}: {text}", name(resource, &row))
        };
        let named = |spec: Value, status: Value| json!({"metadata": {"name": "a"}, "spec": spec, "status": status});
        let lines = [
            line(
                "deployments",
                named(json!({"replicas": 2}), json!({"readyReplicas": 1})),
            ),
            line("replicasets", named(json!({"replicas": 0}), json!({}))),
            line(
                "daemonsets",
                named(json!({}), json!({"desiredNumberScheduled": 3, "numberReady": 3})),
            ),
            line("cronjobs", named(json!({"suspend": true}), json!({}))),
            line("pods", named(json!({"containers": [{}]}), json!({"phase": "Pending"}))),
        ];
        insta::assert_snapshot!(lines.join("\n"));
        for kind in KINDS {
            assert!(builtin().resolve(kind).is_some(), "{kind}");
        }
    }
}
