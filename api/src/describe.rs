//! `describe`: all there is to say about one object, with the objects around it, in kubectl's layout.
//!
//! Pure: [`needs`] says which other objects help, the caller fetches them, [`describe`] writes the text.
//! A kind with a layout of its own is one row in [`layout`]; every other kind is shown field by field.

mod access;
mod cluster;
mod config;
mod containers;
mod generic;
mod service;
mod volumes;
mod workloads;
mod writer;

use std::collections::BTreeMap;

use jiff::{Timestamp, Zoned};
use serde_json::Value;

use crate::duration;
use crate::resource::Resource;
use crate::view::{self, int, list, text, text_or};
pub(crate) use cluster::{Amounts, add, pod_amounts};
use writer::Writer;

/// Other objects that a description draws on: a list call to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Name of the resource, with its group where needed; also where [`Related`] keeps the answer.
    pub resource: &'static str,
    /// Where to look; everywhere when empty.
    pub namespace: String,
    /// Label selector; empty for none.
    pub labels: String,
    /// Field selector; empty for none.
    pub fields: String,
}

/// What was fetched, by the resource's name. What could not be fetched is missing.
pub type Related = BTreeMap<&'static str, Vec<Value>>;

/// What a description is written from.
struct Subject<'a> {
    object: &'a Value,
    related: &'a Related,
    now: &'a Zoned,
}

type Layout = fn(&Subject<'_>, &mut Writer);

/// The table of kinds with a layout of their own.
fn layout(resource: &Resource) -> Option<Layout> {
    Some(match (&*resource.group, &*resource.kind) {
        ("", "Pod") => workloads::pod,
        ("", "ReplicationController") => workloads::replication_controller,
        ("apps", "ReplicaSet") => workloads::replica_set,
        ("apps", "Deployment") => workloads::deployment,
        ("", "Service") => service::service,
        ("", "Node") => cluster::node,
        ("", "Namespace") => cluster::namespace,
        ("", "ConfigMap") => config::config_map,
        ("", "Secret") => config::secret,
        ("", "ServiceAccount") => config::service_account,
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => access::role,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => access::binding,
        _ => return None,
    })
}

/// Which other objects the description of an object draws on.
pub fn needs(resource: &Resource, object: &Value) -> Vec<Need> {
    let (name, namespace) = (view::name(object), view::namespace(object));
    let need = |resource: &'static str, labels: &str, fields: String| Need {
        resource,
        namespace: namespace.to_owned(),
        labels: labels.to_owned(),
        fields,
    };
    // The node agent does not know the uid of its node.
    let about = match &*resource.kind {
        "Node" => format!("involvedObject.kind=Node,involvedObject.name={name}"),
        _ => format!("involvedObject.uid={}", text(object, "/metadata/uid")),
    };
    let mut needs = vec![need("events", "", about)];
    match (&*resource.group, &*resource.kind) {
        ("", "Service") => needs.push(need(
            "endpointslices.discovery.k8s.io",
            &format!("kubernetes.io/service-name={name}"),
            String::new(),
        )),
        ("", "ReplicationController") => {
            let selector = view::labels(view::map(object, "/spec/selector"));
            needs.push(need("pods", &selector, String::new()));
        }
        ("apps", "ReplicaSet") => needs.push(need("pods", &view::selector(object, "/spec/selector"), String::new())),
        ("apps", "Deployment") => {
            let selector = view::selector(object, "/spec/selector");
            needs.push(need("replicasets.apps", &selector, String::new()));
        }
        ("", "Node") => {
            let fields = format!("spec.nodeName={name},status.phase!=Failed,status.phase!=Succeeded");
            needs.push(need("pods", "", fields));
            needs.push(Need {
                namespace: "kube-node-lease".to_owned(),
                ..need("leases.coordination.k8s.io", "", format!("metadata.name={name}"))
            });
        }
        ("", "Namespace") => {
            for resource in ["resourcequotas", "limitranges"] {
                needs.push(Need {
                    namespace: name.to_owned(),
                    ..need(resource, "", String::new())
                });
            }
        }
        ("", "ServiceAccount") => needs.push(need("secrets", "", String::new())),
        _ => {}
    }
    needs
}

/// Writes the description of an object.
pub fn describe(resource: &Resource, object: &Value, related: &Related, now: &Zoned) -> String {
    let subject = Subject { object, related, now };
    let mut out = Writer::default();
    match layout(resource) {
        Some(layout) => layout(&subject, &mut out),
        None => generic::object(&subject, &mut out),
    }
    out.finish()
}

/// By hand: a formatter of any format is a good part of what the dashboard loads.
fn mail_date(at: &jiff::Zoned) -> String {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let day = DAYS[at.weekday().to_monday_zero_offset() as usize];
    let month = MONTHS[at.month() as usize - 1];
    let minutes = at.offset().seconds() / 60;
    let (sign, far) = if minutes < 0 { ('-', -minutes) } else { ('+', minutes) };
    format!(
        "{day}, {:02} {month} {} {:02}:{:02}:{:02} {sign}{:02}{:02}",
        at.day(),
        at.year(),
        at.hour(),
        at.minute(),
        at.second(),
        far / 60,
        far % 60
    )
}

impl Subject<'_> {
    fn related(&self, resource: &str) -> &[Value] {
        self.related.get(resource).map_or(&[], Vec::as_slice)
    }

    fn timestamp(&self) -> Timestamp {
        self.now.timestamp()
    }

    /// A time in the reader's zone, as mail writes it.
    fn date(&self, object: &Value, path: &str) -> String {
        match view::time(object, path) {
            Some(time) => mail_date(&time.to_zoned(self.now.time_zone().clone())),
            None => "Mon, 01 Jan 0001 00:00:00 +0000".to_owned(),
        }
    }

    fn name(&self, out: &mut Writer) {
        out.line(0, format!("Name:\t{}", view::name(self.object)));
    }

    /// Name and namespace.
    fn heading(&self, out: &mut Writer) {
        self.name(out);
        if !view::namespace(self.object).is_empty() {
            out.line(0, format!("Namespace:\t{}", view::namespace(self.object)));
        }
    }

    fn labels_and_annotations(&self, out: &mut Writer) {
        out.labels("Labels", view::map(self.object, "/metadata/labels"));
        out.annotations("Annotations", view::map(self.object, "/metadata/annotations"));
    }

    fn controlled_by(&self, out: &mut Writer) {
        if let Some(owner) = view::controller(self.object) {
            let owner = format!("{}/{}", text(owner, "/kind"), text(owner, "/name"));
            out.line(0, format!("Controlled By:\t{owner}"));
        }
    }

    /// Conditions with their reasons, for kinds that show no more of them.
    fn conditions(&self, out: &mut Writer) {
        let conditions = list(self.object, "/status/conditions");
        if conditions.is_empty() {
            return;
        }
        out.line(0, "Conditions:");
        out.line(1, "Type\tStatus\tReason");
        out.line(1, "----\t------\t------");
        for c in conditions {
            let field = |path| text(c, path);
            out.line(
                1,
                format!("{} \t{}\t{}", field("/type"), field("/status"), field("/reason")),
            );
        }
    }

    /// What happened to the object, oldest first. Left out when Events could not be read.
    fn events(&self, out: &mut Writer) {
        let Some(events) = self.related.get("events") else {
            return;
        };
        if events.is_empty() {
            out.line(0, "Events:\t<none>");
            return;
        }
        out.flush();
        let mut events: Vec<&Value> = events.iter().collect();
        // Those of the new API, which have no such time, come first, as in kubectl.
        events.sort_by_key(|e| view::time(e, "/lastTimestamp"));
        out.line(0, "Events:");
        out.line(1, "Type\tReason\tAge\tFrom\tMessage");
        out.line(1, "----\t------\t----\t----\t-------");
        for e in events {
            let source = text_or(e, "/source/component", text(e, "/reportingComponent"));
            let part = match text(e, "/involvedObject/fieldPath") {
                "" => String::new(),
                path => format!("{path}: "),
            };
            out.line(
                1,
                format!(
                    "{}\t{}\t{}\t{source}\t{part}{}",
                    text(e, "/type"),
                    text(e, "/reason"),
                    self.event_age(e),
                    text(e, "/message").trim()
                ),
            );
        }
    }

    /// `30s (x3 over 5m)`
    fn event_age(&self, e: &Value) -> String {
        let since = |path: &str| duration::since(text(e, path), self.timestamp());
        let first = match text(e, "/eventTime") {
            "" => since("/firstTimestamp"),
            _ => since("/eventTime"),
        };
        match (view::int_opt(e, "/series/count"), int(e, "/count")) {
            (Some(count), _) => format!("{} (x{count} over {first})", since("/series/lastObservedTime")),
            (None, count) if count > 1 => format!("{} (x{count} over {first})", since("/lastTimestamp")),
            _ => first,
        }
    }
}

#[cfg(test)]
mod tests;
