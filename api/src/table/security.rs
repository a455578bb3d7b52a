//! Bindings of roles, and certificates.

use serde_json::Value;

use super::{AGE, Cell, Column, NAME, Severity};
use crate::duration;
use crate::view::{self, NONE, list, text, text_or};

pub(super) fn columns(group: &str, plural: &str) -> Option<&'static [Column]> {
    match (group, plural) {
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => Some(BINDINGS),
        ("certificates.k8s.io", "certificatesigningrequests") => Some(SIGNING_REQUESTS),
        ("certificates.k8s.io", "clustertrustbundles") => Some(TRUST_BUNDLES),
        _ => None,
    }
}

const BINDINGS: &[Column] = &[
    NAME,
    Column::new("Role", "Role that is granted.", |o, _| {
        Cell::text(format!("{}/{}", text(o, "/roleRef/kind"), text(o, "/roleRef/name")))
    }),
    AGE,
    Column::new("Users", "Users who get it.", |o, _| Cell::text(subjects(o, "User"))).wide(),
    Column::new("Groups", "Groups that get it.", |o, _| Cell::text(subjects(o, "Group"))).wide(),
    Column::new("ServiceAccounts", "Service accounts that get it.", |o, _| {
        Cell::text(subjects(o, "ServiceAccount"))
    })
    .wide(),
];

const SIGNING_REQUESTS: &[Column] = &[
    NAME,
    AGE,
    Column::new("SignerName", "Who should sign.", |o, _| {
        Cell::text(text_or(o, "/spec/signerName", NONE).to_owned())
    }),
    Column::new("Requestor", "Who asks.", |o, _| {
        Cell::text(text(o, "/spec/username").to_owned())
    }),
    Column::new("RequestedDuration", "For how long.", |o, _| {
        Cell::text(match view::int_opt(o, "/spec/expirationSeconds") {
            Some(seconds) => duration::human(jiff::SignedDuration::from_secs(seconds)),
            None => NONE.to_owned(),
        })
    }),
    Column::new("Condition", "Whether it is approved and issued.", |o, _| {
        request_condition(o)
    }),
];

const TRUST_BUNDLES: &[Column] = &[
    NAME,
    Column::new("SignerName", "Signer whose certificates it lists.", |o, _| {
        Cell::text(text_or(o, "/spec/signerName", NONE).to_owned())
    }),
];

fn subjects(o: &Value, kind: &str) -> String {
    let name = |s: &Value| match kind {
        "ServiceAccount" => format!("{}/{}", text(s, "/namespace"), text(s, "/name")),
        _ => text(s, "/name").to_owned(),
    };
    let fitting = list(o, "/subjects").iter().filter(|s| s["kind"] == kind);
    fitting.map(name).collect::<Vec<_>>().join(", ")
}

fn request_condition(o: &Value) -> Cell {
    let has = |kind: &str| view::condition(o, kind).is_some();
    let (mut words, mut severity) = match (has("Denied"), has("Approved")) {
        (true, _) => ("Denied".to_owned(), Severity::Warning),
        (_, true) => ("Approved".to_owned(), Severity::Ok),
        _ => ("Pending".to_owned(), Severity::Progress),
    };
    if has("Failed") {
        words.push_str(",Failed");
        severity = Severity::Failure;
    }
    if !text(o, "/status/certificate").is_empty() {
        words.push_str(",Issued");
    }
    Cell::text(words).severity(severity)
}
