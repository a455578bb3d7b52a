//! Where Enter leads from a row, as k9s's does; and which rows of the bindings' table are a kind's own.

use std::sync::Arc;

use mizzen_api::relations;
use mizzen_api::resource::Resource;
use mizzen_api::view as read;

use super::Table;
use super::banner::{self, Banner};
use crate::data::Row;
use crate::view::{Cx, Do};
use crate::views;
use crate::views::containers::Containers;
use crate::views::policy;
use crate::views::text::{Text, What as Shown};

const RBAC: &str = "rbac.authorization.k8s.io";

type Lead = fn(&Row, &Arc<Resource>, &Cx<'_>) -> Vec<Do>;

/// Group, plural, where Enter leads. Every other kind is described.
const LEADS: &[(&str, &str, Lead)] = &[
    ("", "pods", |row, resource, _| {
        let (namespace, name) = row.key();
        vec![Do::Open(Box::new(Containers::new(resource.clone(), namespace, name)))]
    }),
    ("apps", "deployments", selected_pods),
    ("apps", "statefulsets", selected_pods),
    ("apps", "daemonsets", selected_pods),
    ("apps", "replicasets", selected_pods),
    ("batch", "jobs", selected_pods),
    ("", "services", selected_pods),
    ("", "replicationcontrollers", selected_pods),
    ("", "nodes", |row, resource, cx| {
        let pods = |table: Table| table.with_fields(&format!("spec.nodeName={}", row.row.name));
        open("pods", &[], cx, |table| {
            let banner = Banner::new(banner::What::Node, resource, row, cx);
            pods(table).of(format!("node {}", row.row.name)).below(banner)
        })
    }),
    ("", "namespaces", |row, _, _| {
        let name = row.row.name.to_string();
        vec![Do::Use(vec![name.clone()]), Do::Go(format!("pods {name}"))]
    }),
    ("batch", "cronjobs", |row, _, cx| {
        let namespace = [row.row.namespace.to_string()];
        open("jobs.batch", &namespace, cx, |mut table| {
            // Jobs carry their CronJob's name in front of the time.
            let _ = table.filter_with(&format!("name:^{}-", row.row.name));
            table.of(format!("cronjob {}", row.row.name))
        })
    }),
    (RBAC, "roles", |row, resource, _| policy::role(row, resource)),
    (RBAC, "clusterroles", |row, resource, _| policy::role(row, resource)),
    (RBAC, "rolebindings", |row, _, cx| policy::bound_role(row, cx)),
    (RBAC, "clusterrolebindings", |row, _, cx| policy::bound_role(row, cx)),
    ("", "serviceaccounts", |row, _, cx| {
        let (namespace, name) = row.key();
        match policy::can(&format!("s:{namespace}:{name}"), &[], cx) {
            Ok(view) => vec![Do::Open(view)],
            Err(error) => Do::why(error),
        }
    }),
    ("apiextensions.k8s.io", "customresourcedefinitions", |row, _, cx| {
        let namespaces: Vec<String> = cx.namespaces.iter().take(1).cloned().collect();
        open(&row.row.name, &namespaces, cx, |table| table)
    }),
];

/// The contexts of bindings that a kind's table has beside `table`.
pub(super) fn own_contexts(resource: &Resource) -> Vec<&'static str> {
    let known = mizzen_api::resource::builtin().by_path(&resource.group, &resource.version, &resource.plural);
    let bindings = crate::bindings::BINDINGS.iter().flat_map(|b| b.contexts);
    let habits = crate::bindings::k9s::HABITS.iter().flat_map(|habit| habit.contexts);
    let own = bindings
        .chain(habits)
        .copied()
        .find(|context| known.is_some() && *context == resource.plural);
    own.into_iter().collect()
}

/// Into a row.
pub(super) fn enter(resource: &Arc<Resource>, row: &Row, cx: &Cx<'_>) -> Vec<Do> {
    let lead = LEADS
        .iter()
        .find(|(group, plural, _)| *group == resource.group && *plural == resource.plural);
    match lead {
        Some((_, _, lead)) => lead(row, resource, cx),
        None => {
            let (namespace, name) = row.key();
            let text = Text::new(resource.clone(), namespace, name, Shown::Describe);
            vec![Do::Open(Box::new(text))]
        }
    }
}

/// The ReplicaSets of a Deployment.
pub(super) fn replica_sets(row: &Row, cx: &Cx<'_>) -> Vec<Do> {
    let labels = read::selector(&row.object(), "/spec/selector");
    let namespace = [row.row.namespace.to_string()];
    open("replicasets.apps", &namespace, cx, |table| {
        table.labelled(&labels).of(format!("deployment {}", row.row.name))
    })
}

fn selected_pods(row: &Row, resource: &Arc<Resource>, cx: &Cx<'_>) -> Vec<Do> {
    let Some(selector) = relations::pod_selector(&row.object()) else {
        return Do::why(format!("{} selects no Pods", row.row.name));
    };
    let namespace = [row.row.namespace.to_string()];
    let banner = match &*resource.plural {
        "deployments" => Some(banner::What::Deployment),
        "services" => Some(banner::What::Service),
        _ => None,
    };
    open("pods", &namespace, cx, |table| {
        let table = table
            .labelled(&selector.to_string())
            .of(format!("{} {}", resource.singular, row.row.name));
        match banner {
            Some(what) => table.below(Banner::new(what, resource, row, cx)),
            None => table,
        }
    })
}

fn open(kind: &str, namespaces: &[String], cx: &Cx<'_>, finish: impl FnOnce(Table) -> Table) -> Vec<Do> {
    match views::resource(kind, cx) {
        Ok(resource) => vec![Do::Open(Box::new(finish(Table::new(resource, namespaces))))],
        Err(error) => Do::why(error),
    }
}
