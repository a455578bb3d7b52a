//! The API server's extension points and flow control.

use serde_json::Value;

use super::{AGE, Cell, Column, NAME, Severity};
use crate::view::{self, NONE, int, list, scalar, text, text_or};

pub(super) fn columns(group: &str, plural: &str) -> Option<&'static [Column]> {
    match (group, plural) {
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations" | "validatingwebhookconfigurations") => {
            Some(WEBHOOKS)
        }
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => Some(VALIDATING_POLICIES),
        ("admissionregistration.k8s.io", "mutatingadmissionpolicies") => Some(MUTATING_POLICIES),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings" | "mutatingadmissionpolicybindings") => {
            Some(POLICY_BINDINGS)
        }
        ("apiregistration.k8s.io", "apiservices") => Some(API_SERVICES),
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => Some(FLOW_SCHEMAS),
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => Some(PRIORITY_LEVELS),
        ("storagemigration.k8s.io", "storageversionmigrations") => Some(MIGRATIONS),
        _ => None,
    }
}

const WEBHOOKS: &[Column] = &[
    NAME,
    Column::new("Webhooks", "Number of webhooks.", |o, _| {
        Cell::int(list(o, "/webhooks").len() as i64)
    })
    .int(),
    AGE,
];

const PARAM_KIND: Column = Column::new("ParamKind", "Kind of the parameters.", |o, _| {
    let kind = &o["spec"]["paramKind"];
    Cell::text(match kind.is_null() {
        true => "<unset>".to_owned(),
        false => format!("{}/{}", text(kind, "/apiVersion"), text(kind, "/kind")),
    })
});

const VALIDATING_POLICIES: &[Column] = &[
    NAME,
    Column::new("Validations", "Number of rules.", |o, _| {
        Cell::int(list(o, "/spec/validations").len() as i64)
    })
    .int(),
    PARAM_KIND,
    AGE,
];

const MUTATING_POLICIES: &[Column] = &[
    NAME,
    Column::new("Mutations", "Number of rules.", |o, _| {
        Cell::int(list(o, "/spec/mutations").len() as i64)
    })
    .int(),
    PARAM_KIND,
    AGE,
];

const POLICY_BINDINGS: &[Column] = &[
    NAME,
    Column::new("PolicyName", "Policy that is put to use.", |o, _| {
        Cell::text(text(o, "/spec/policyName").to_owned())
    }),
    Column::new("ParamRef", "Object with the parameters.", |o, _| {
        let p = &o["spec"]["paramRef"];
        Cell::text(match text(p, "/name") {
            "" if p["selector"].is_null() => "<unset>".to_owned(),
            "" => view::selector(p, "/selector"),
            name => format!("{}/{name}", text_or(p, "/namespace", "*")),
        })
    }),
    AGE,
];

const API_SERVICES: &[Column] = &[
    NAME,
    Column::new("Service", "Service that answers for the group version.", |o, _| {
        let s = &o["spec"]["service"];
        Cell::text(match s.is_null() {
            true => "Local".to_owned(),
            false => format!("{}/{}", text(s, "/namespace"), text(s, "/name")),
        })
    }),
    Column::new("Available", "Whether it answers.", |o, _| {
        match view::condition(o, "Available") {
            Some(c) if c["status"] == "True" => Cell::text("True").severity(Severity::Ok),
            Some(c) => {
                let status = text(c, "/status");
                let text = match text(c, "/reason") {
                    "" => status.to_owned(),
                    reason => format!("{status} ({reason})"),
                };
                Cell::text(text).severity(Severity::Failure)
            }
            None => Cell::text("Unknown").severity(Severity::Warning),
        }
    }),
    AGE,
];

const FLOW_SCHEMAS: &[Column] = &[
    NAME,
    Column::new("PriorityLevel", "Priority level of its requests.", |o, _| {
        Cell::text(text(o, "/spec/priorityLevelConfiguration/name").to_owned())
    }),
    Column::new("MatchingPrecedence", "Order in which schemas are tried.", |o, _| {
        Cell::int(int(o, "/spec/matchingPrecedence"))
    }),
    Column::new("DistinguisherMethod", "What tells flows apart.", |o, _| {
        Cell::text(text_or(o, "/spec/distinguisherMethod/type", NONE).to_owned())
    }),
    AGE,
    Column::new("MissingPL", "Whether its priority level is missing.", |o, _| {
        Cell::text(
            view::condition(o, "Dangling")
                .map_or("?", |c| text(c, "/status"))
                .to_owned(),
        )
    }),
];

const PRIORITY_LEVELS: &[Column] = &[
    NAME,
    Column::new("Type", "Whether requests are limited.", |o, _| {
        Cell::text(text(o, "/spec/type").to_owned())
    }),
    Column::new("NominalConcurrencyShares", "Share of the server.", |o, _| {
        number_or_none(o, "/spec/limited/nominalConcurrencyShares")
    }),
    Column::new("Queues", "Number of queues.", |o, _| {
        number_or_none(o, "/spec/limited/limitResponse/queuing/queues")
    }),
    Column::new("HandSize", "Queues that a flow may use.", |o, _| {
        number_or_none(o, "/spec/limited/limitResponse/queuing/handSize")
    }),
    Column::new("QueueLengthLimit", "Requests that may wait in a queue.", |o, _| {
        number_or_none(o, "/spec/limited/limitResponse/queuing/queueLengthLimit")
    }),
    AGE,
];

const MIGRATIONS: &[Column] = &[
    Column { format: "", ..NAME },
    Column::new("Resource", "Resource whose objects are rewritten.", |o, _| {
        let r = &o["spec"]["resource"];
        let part = |path| text(r, path);
        Cell::text(format!("{}.{}", part("/resource"), part("/group")))
    }),
];

fn number_or_none(o: &Value, path: &str) -> Cell {
    match o.pointer(path).and_then(Value::as_i64) {
        Some(number) => Cell::int(number),
        None => Cell::text(o.pointer(path).map_or_else(|| NONE.to_owned(), scalar)),
    }
}
