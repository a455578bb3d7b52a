//! What the keys for logs, shells, attaching, forwarding and copying mean on rows.

use std::sync::Arc;

use mizzen_api::client::logs::Containers;
use mizzen_api::client::pods::Target;
use mizzen_api::client::transfer::Place;
use mizzen_api::resource::Resource;
use mizzen_api::view;
use serde_json::Value;

use super::forwards::Forwards;
use super::logs::Logs;
use super::process::Process;
use crate::bindings::Act;
use crate::data::Row;
use crate::effect::Effect;
use crate::event::{Answer, Notice, Tone};
use crate::forwards::Request;
use crate::tasks::process::{Connect, What};
use crate::tasks::transfer::Transfer;
use crate::view::{Cx, Dialog, Do, Field, FieldKind};

/// Kinds whose Pods' logs can be read.
const LOGGED: &[&str] = &["Pod", "Deployment", "DaemonSet", "StatefulSet", "Job", "Service"];
/// Kinds that ports can be forwarded to.
const FORWARDED: &[&str] = &["Pod", "Service", "Deployment", "StatefulSet", "DaemonSet"];
const CONTAINER: &str = "Container";
const PORTS: &str = "Ports";
const ADDRESS: &str = "Address";
const DIRECTION: &str = "Direction";
const REMOTE: &str = "Path in the container";
const LOCAL: &str = "Path here";
const DOWNLOAD: &str = "from the container";
const UPLOAD: &str = "to the container";

/// Does what a key stands for with the rows that are chosen; `None` when it is no key of ours.
pub fn act(act: Act, resource: &Resource, rows: &[Arc<Row>], cx: &Cx<'_>) -> Option<Vec<Do>> {
    let kind = &*resource.kind;
    let done = match act {
        Act::Logs | Act::PreviousLogs if LOGGED.contains(&kind) => {
            let targets = rows.iter().map(|row| target(resource, row)).collect();
            let logs = Logs::new(targets, Containers::Default, act == Act::PreviousLogs);
            vec![Do::Open(Box::new(logs))]
        }
        Act::Shell | Act::Attach if kind == "Pod" => {
            let what = if act == Act::Shell { What::Shell } else { What::Attach };
            one(rows, |row| process(what, resource, row, cx))
        }
        Act::PortForward if FORWARDED.contains(&kind) => one(rows, |row| ask_ports(resource, row, cx)),
        Act::Transfer if kind == "Pod" => one(rows, |row| ask_paths(resource, row, cx)),
        Act::PortForwards => vec![Do::Open(Box::new(Forwards::default()))],
        Act::Logs | Act::PreviousLogs => Do::why(format!("a {kind} has no pods whose logs could be read")),
        Act::PortForward => Do::why(format!("no port of a {kind} can be forwarded")),
        Act::Shell | Act::Attach | Act::Transfer => Do::why("this is for pods"),
        _ => return None,
    };
    Some(done)
}

/// The verb and the subresource of Pods that a key of ours needs.
pub fn needs(act: Act) -> Option<(&'static str, &'static str)> {
    Some(match act {
        Act::Logs | Act::PreviousLogs => ("get", "log"),
        Act::Shell | Act::Transfer => ("create", "exec"),
        Act::Attach => ("create", "attach"),
        Act::PortForward => ("create", "portforward"),
        _ => return None,
    })
}

/// Does what a dialog of ours was answered with; `None` when it is no dialog of ours.
pub fn answered(answer: &Answer, cx: &Cx<'_>) -> Option<Vec<Do>> {
    let (word, rest) = answer.dialog.split_once(' ')?;
    let about = |done: fn(Target, &Answer, &Cx<'_>) -> Vec<Do>| {
        let target: Target = serde_json::from_str(rest).ok()?;
        Some(match answer.button.as_str() {
            "Cancel" => Vec::new(),
            _ => done(target, answer, cx),
        })
    };
    match word {
        "forward" => about(|target, answer, _| {
            let value = |label: &str| answer.values.get(label).map_or("", String::as_str);
            match Request::parse(target, value(PORTS), value(ADDRESS)) {
                Ok(request) => {
                    let notice = Notice {
                        tone: Tone::Info,
                        text: format!("forwarding to {} (f lists forwards)", request.target),
                        command: Some(request.command()),
                    };
                    vec![Do::Forward(request), Do::Say(notice)]
                }
                Err(error) => Do::why(error),
            }
        }),
        "shell" => about(|target, answer, _| chosen(What::Shell, &target, answer)),
        "attach" => about(|target, answer, _| chosen(What::Attach, &target, answer)),
        "transfer" => about(|target, answer, cx| {
            let value = |label: &str| answer.values.get(label).cloned().unwrap_or_default();
            let transfer = Transfer {
                place: Place {
                    namespace: target.namespace,
                    pod: target.name,
                    container: Some(value(CONTAINER)).filter(|name| !name.is_empty()),
                },
                remote: value(REMOTE),
                local: value(LOCAL).into(),
                upload: value(DIRECTION) == UPLOAD,
            };
            if transfer.remote.is_empty() || transfer.local.as_os_str().is_empty() {
                return Do::why("both paths are needed");
            }
            vec![
                Do::say(Tone::Info, "copying …"),
                Do::Effect(Effect::Start(cx.id, Box::new(transfer))),
            ]
        }),
        _ => None,
    }
}

fn chosen(what: What, target: &Target, answer: &Answer) -> Vec<Do> {
    let container = answer.values.get(CONTAINER).map_or("", String::as_str);
    vec![Do::Open(Box::new(Process::new(connect(what, target, container, None))))]
}

fn one(rows: &[Arc<Row>], work: impl FnOnce(&Row) -> Vec<Do>) -> Vec<Do> {
    match rows {
        [row] => work(row),
        many => Do::why(format!("this is for one row, and {} are marked", many.len())),
    }
}

fn target(resource: &Resource, row: &Row) -> Target {
    Target::new(&row.row.namespace, &resource.group, &resource.kind, &row.row.name)
}

/// Why a subresource may not be used, if we know so. Some servers want one verb for it, some the other.
fn forbidden(resource: &Resource, subresource: &str, row: &Row, cx: &Cx<'_>) -> Option<Vec<Do>> {
    let create = cx.forbids("create", resource, subresource, &row.row.namespace)?;
    if !cx.read_only {
        cx.forbids("get", resource, subresource, &row.row.namespace)?;
    }
    Some(Do::why(create))
}

fn dialog(word: &str, target: &Target, (title, line): (String, &str), fields: Vec<Field>, button: &str) -> Vec<Do> {
    let about = serde_json::to_string(target).unwrap_or_default();
    vec![Do::Ask(Dialog {
        name: format!("{word} {about}"),
        title,
        lines: vec![line.to_owned()],
        fields,
        buttons: vec!["Cancel".to_owned(), button.to_owned()],
        ..Dialog::default()
    })]
}

fn field(label: &str, value: &str, kind: FieldKind) -> Field {
    Field {
        label: label.to_owned(),
        value: value.to_owned(),
        kind,
    }
}

/// Names of a Pod's containers, the one that is meant first.
fn containers(pod: &Value) -> Vec<String> {
    let all = ["containers", "initContainers", "ephemeralContainers"];
    let all = all.iter().flat_map(|kind| view::list(pod, &format!("/spec/{kind}")));
    let mut names: Vec<String> = all.map(|c| view::text(c, "/name").to_owned()).collect();
    let meant = view::text(pod, "/metadata/annotations/kubectl.kubernetes.io~1default-container");
    names.sort_by_key(|name| name != meant);
    names
}

/// Does what a key stands for with one container of a Pod; `None` when it is no key of ours.
pub fn act_in(act: Act, resource: &Resource, row: &Row, name: &str, cx: &Cx<'_>) -> Option<Vec<Do>> {
    let target = target(resource, row);
    let done = match act {
        Act::Logs | Act::PreviousLogs | Act::Enter => {
            let containers = Containers::Named(name.to_owned());
            let logs = Logs::new(vec![target], containers, act == Act::PreviousLogs);
            vec![Do::Open(Box::new(logs))]
        }
        Act::Shell | Act::Attach => {
            let what = if act == Act::Shell { What::Shell } else { What::Attach };
            if let Some(why) = forbidden(resource, words(&what).1, row, cx) {
                return Some(why);
            }
            let connect = connect(what, &target, name, Some(&row.object()));
            vec![Do::Open(Box::new(Process::new(connect)))]
        }
        Act::PortForward => ask_ports(resource, row, cx),
        Act::Transfer => ask_paths(resource, row, cx),
        _ => return None,
    };
    Some(done)
}

/// How a way to connect is called, and which subresource it takes.
fn words(what: &What) -> (&'static str, &'static str) {
    match what {
        What::Shell => ("shell", "exec"),
        What::Attach => ("attach", "attach"),
    }
}

fn process(what: What, resource: &Resource, row: &Row, cx: &Cx<'_>) -> Vec<Do> {
    let (word, subresource) = words(&what);
    if let Some(why) = forbidden(resource, subresource, row, cx) {
        return why;
    }
    let pod = row.object();
    let target = target(resource, row);
    match containers(&pod).as_slice() {
        [] => Do::why("this pod has no containers"),
        [only] => vec![Do::Open(Box::new(Process::new(connect(
            what,
            &target,
            only,
            Some(&pod),
        ))))],
        many => {
            let choice = field(CONTAINER, &many[0], FieldKind::Choice(many.to_vec()));
            let title = format!("{word} in {}", row.row.name);
            dialog(
                word,
                &target,
                (title, "which of its containers?"),
                vec![choice],
                "Connect",
            )
        }
    }
}

/// `pod` tells whether the container has a terminal to attach to; an unknown one is taken to have one.
fn connect(what: What, target: &Target, container: &str, pod: Option<&Value>) -> Connect {
    let spec = pod.and_then(|pod| {
        view::list(pod, "/spec/containers")
            .iter()
            .find(|c| view::text(c, "/name") == container)
    });
    let flag = |name: &str| what == What::Shell || spec.is_none_or(|spec| view::flag(spec, name));
    Connect {
        namespace: target.namespace.clone(),
        pod: target.name.clone(),
        container: Some(container.to_owned()),
        what: what.clone(),
        size: (80, 24),
        tty: flag("/tty"),
        stdin: flag("/stdin"),
    }
}

fn ask_ports(resource: &Resource, row: &Row, cx: &Cx<'_>) -> Vec<Do> {
    let pods = cx.registry.resolve("pods").cloned();
    if let Some(why) = pods.and_then(|pods| forbidden(&pods, "portforward", row, cx)) {
        return why;
    }
    let object = row.object();
    let ports = ports(&object, &resource.kind);
    let value = match ports.first() {
        Some(port) => format!("{port}:{port}"),
        None => String::new(),
    };
    let target = target(resource, row);
    let told = match ports.is_empty() {
        true => "its containers tell of no port".to_owned(),
        false => {
            let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
            format!("ports: {}", ports.join(", "))
        }
    };
    let fields = vec![
        field(PORTS, &value, FieldKind::Text),
        field(ADDRESS, "localhost", FieldKind::Text),
    ];
    let title = format!("Forward to {target}");
    dialog("forward", &target, (title, &told), fields, "Forward")
}

/// Ports that an object tells of.
fn ports(object: &Value, kind: &str) -> Vec<i64> {
    if kind == "Service" {
        let ports = view::list(object, "/spec/ports").iter();
        return ports.map(|port| view::int(port, "/port")).collect();
    }
    let path = match kind {
        "Pod" => "/spec/containers",
        _ => "/spec/template/spec/containers",
    };
    let ports = view::list(object, path).iter().flat_map(|c| view::list(c, "/ports"));
    let tcp = ports.filter(|port| matches!(view::text(port, "/protocol"), "" | "TCP"));
    tcp.map(|port| view::int(port, "/containerPort")).collect()
}

fn ask_paths(resource: &Resource, row: &Row, cx: &Cx<'_>) -> Vec<Do> {
    if let Some(why) = forbidden(resource, "exec", row, cx) {
        return why;
    }
    let names = containers(&row.object());
    let first = names.first().cloned().unwrap_or_default();
    let directions = vec![DOWNLOAD.to_owned(), UPLOAD.to_owned()];
    let fields = vec![
        field(DIRECTION, DOWNLOAD, FieldKind::Choice(directions)),
        field(REMOTE, "", FieldKind::Text),
        field(LOCAL, ".", FieldKind::Text),
        field(CONTAINER, &first, FieldKind::Choice(names)),
    ];
    let target = target(resource, row);
    let title = format!("Copy files, {}", row.row.name);
    dialog(
        "transfer",
        &target,
        (title, "the container needs a tar"),
        fields,
        "Copy",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_come_from_where_a_kind_has_them() {
        let containers = json!([{"ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]}, {"ports": [{"containerPort": 81}]}]);
        assert_eq!(ports(&json!({"spec": {"containers": containers}}), "Pod"), [80, 81]);
        assert_eq!(
            ports(
                &json!({"spec": {"template": {"spec": {"containers": containers}}}}),
                "Deployment"
            ),
            [80, 81]
        );
        assert_eq!(ports(&json!({"spec": {"ports": [{"port": 443}]}}), "Service"), [443]);
    }

    #[test]
    fn the_container_that_is_meant_comes_first() {
        let pod = json!({"metadata": {"annotations": {"kubectl.kubernetes.io/default-container": "b"}},
            "spec": {"containers": [{"name": "a"}, {"name": "b", "tty": true}], "initContainers": [{"name": "i"}]}});
        assert_eq!(containers(&pod), ["b", "a", "i"]);
        let target = Target::pod("ns", "p");
        let attach = connect(What::Attach, &target, "b", Some(&pod));
        assert_eq!((attach.tty, attach.stdin), (true, false));
        assert!(connect(What::Shell, &target, "a", Some(&pod)).tty);
    }
}
