//! Pods, and what makes them.

use serde_json::Value;

use super::Subject;
use super::containers::{self, Place};
use super::volumes;
use super::writer::Writer;
use crate::view::{self, NONE, has, int, list, map, text};

pub(super) fn pod(subject: &Subject<'_>, out: &mut Writer) {
    let pod = subject.object;
    subject.heading(out);
    if has(pod, "/spec/priority") {
        out.line(0, format!("Priority:\t{}", int(pod, "/spec/priority")));
    }
    optional(
        pod,
        out,
        0,
        &[
            ("Priority Class Name", "/spec/priorityClassName"),
            ("Runtime Class Name", "/spec/runtimeClassName"),
            ("Service Account", "/spec/serviceAccountName"),
        ],
    );
    let node = match text(pod, "/spec/nodeName") {
        "" => NONE.to_owned(),
        node => format!("{node}/{}", text(pod, "/status/hostIP")),
    };
    out.line(0, format!("Node:\t{node}"));
    if has(pod, "/status/startTime") {
        out.line(0, format!("Start Time:\t{}", subject.date(pod, "/status/startTime")));
    }
    subject.labels_and_annotations(out);
    let phase = text(pod, "/status/phase");
    if view::terminating(pod) && !matches!(phase, "Failed" | "Succeeded") {
        let lasts = view::since(pod, "/metadata/deletionTimestamp", subject.timestamp());
        out.line(0, format!("Status:\tTerminating (lasts {lasts})"));
        let grace = int(pod, "/metadata/deletionGracePeriodSeconds");
        out.line(0, format!("Termination Grace Period:\t{grace}s"));
    } else {
        out.line(0, format!("Status:\t{phase}"));
    }
    optional(
        pod,
        out,
        0,
        &[
            ("Reason", "/status/reason"),
            ("Message", "/status/message"),
            ("SeccompProfile", "/spec/securityContext/seccompProfile/type"),
            (
                "LocalhostProfile",
                "/spec/securityContext/seccompProfile/localhostProfile",
            ),
        ],
    );
    out.line(0, format!("IP:\t{}", text(pod, "/status/podIP")));
    match list(pod, "/status/podIPs") {
        [] => out.line(0, "IPs:\t<none>"),
        ips => {
            out.line(0, "IPs:");
            ips.iter()
                .for_each(|ip| out.line(1, format!("IP:\t{}", text(ip, "/ip"))));
        }
    }
    subject.controlled_by(out);
    optional(pod, out, 0, &[("NominatedNodeName", "/status/nominatedNodeName")]);
    if has(pod, "/spec/resources") {
        out.line(0, "Resources:");
        containers::resources(&pod["spec"]["resources"], 1, out);
    }
    let place = Place {
        pod: Some(pod),
        space: "",
    };
    for (label, kind, always) in [
        ("Init Containers", "initContainer", false),
        ("Containers", "container", true),
        ("Ephemeral Containers", "ephemeralContainer", false),
    ] {
        let specs = list(pod, &format!("/spec/{kind}s"));
        if always || !specs.is_empty() {
            let statuses = list(pod, &format!("/status/{kind}Statuses"));
            containers::all(subject, label, (specs, statuses), &place, out);
        }
    }
    pod_conditions(pod, out);
    volumes::all(list(pod, "/spec/volumes"), "", out);
    out.line(
        0,
        format!("QoS Class:\t{}", view::text_or(pod, "/status/qosClass", "BestEffort")),
    );
    placement(&pod["spec"], "", out);
    subject.events(out);
}

fn pod_conditions(pod: &Value, out: &mut Writer) {
    let gates = list(pod, "/spec/readinessGates");
    if !gates.is_empty() {
        out.line(0, "Readiness Gates:");
        out.line(1, "Type\tStatus");
        for gate in gates {
            let kind = text(gate, "/conditionType");
            let status = view::condition(pod, kind).map_or(NONE, |c| text(c, "/status"));
            out.line(1, format!("{kind} \t{status} "));
        }
    }
    let conditions = list(pod, "/status/conditions");
    if !conditions.is_empty() {
        out.line(0, "Conditions:");
        out.line(1, "Type\tStatus");
        for c in conditions {
            out.line(1, format!("{} \t{} ", text(c, "/type"), text(c, "/status")));
        }
    }
}

/// Fields that are shown when they are set.
fn optional(object: &Value, out: &mut Writer, level: usize, fields: &[(&str, &str)]) {
    for (title, path) in fields {
        if !text(object, path).is_empty() {
            out.line(level, format!("{title}:\t{}", text(object, path)));
        }
    }
}

/// Node selectors, tolerations and spreading of a Pod spec.
fn placement(spec: &Value, space: &str, out: &mut Writer) {
    out.labels(&format!("{space}Node-Selectors"), map(spec, "/nodeSelector"));
    let mut tolerations: Vec<_> = list(spec, "/tolerations").iter().collect();
    tolerations.sort_by_key(|t| text(t, "/key"));
    let tolerations: Vec<_> = tolerations.into_iter().map(toleration).collect();
    out.multi(&format!("{space}Tolerations"), &tolerations);
    if space.is_empty() {
        spreading(spec, space, out);
    }
}

fn spreading(spec: &Value, space: &str, out: &mut Writer) {
    let mut constraints: Vec<_> = list(spec, "/topologySpreadConstraints").iter().collect();
    constraints.sort_by_key(|c| text(c, "/topologyKey"));
    let words = |c: &&Value| {
        let selector = match has(c, "/labelSelector") {
            true => format!(" for selector {}", view::selector(c, "/labelSelector")),
            false => String::new(),
        };
        let (key, when, skew) = (
            text(c, "/topologyKey"),
            text(c, "/whenUnsatisfiable"),
            int(c, "/maxSkew"),
        );
        format!("{key}:{when} when max skew {skew} is exceeded{selector}")
    };
    let constraints: Vec<_> = constraints.iter().map(words).collect();
    if !constraints.is_empty() {
        out.multi(&format!("{space}Topology Spread Constraints"), &constraints);
    }
}

fn toleration(t: &Value) -> String {
    let mut words = text(t, "/key").to_owned();
    if !text(t, "/value").is_empty() {
        words.push_str(&format!("={}", text(t, "/value")));
    }
    if !text(t, "/effect").is_empty() {
        words.push_str(&format!(":{}", text(t, "/effect")));
    }
    if text(t, "/operator") == "Exists" && text(t, "/value").is_empty() {
        words.push_str(if words.is_empty() { "op=Exists" } else { " op=Exists" });
    }
    if let Some(seconds) = view::int_opt(t, "/tolerationSeconds") {
        words.push_str(&format!(" for {seconds}s"));
    }
    words
}

/// The template of a workload's Pods.
fn template(subject: &Subject<'_>, out: &mut Writer) {
    let template = &subject.object["spec"]["template"];
    let spec = &template["spec"];
    out.line(0, "Pod Template:");
    out.labels("  Labels", map(template, "/metadata/labels"));
    if map(template, "/metadata/annotations").is_some_and(|a| !a.is_empty()) {
        out.annotations("  Annotations", map(template, "/metadata/annotations"));
    }
    optional(spec, out, 1, &[("Service Account", "/serviceAccountName")]);
    let place = Place { pod: None, space: "  " };
    let init = list(spec, "/initContainers");
    if !init.is_empty() {
        containers::all(subject, "Init Containers", (init, &[]), &place, out);
    }
    containers::all(subject, "Containers", (list(spec, "/containers"), &[]), &place, out);
    volumes::all(list(spec, "/volumes"), "  ", out);
    spreading(spec, "  ", out);
    optional(spec, out, 1, &[("Priority Class Name", "/priorityClassName")]);
    placement(spec, "  ", out);
}

/// How many of the workload's own Pods are in which phase.
fn pods_status(subject: &Subject<'_>, out: &mut Writer) {
    let uid = text(subject.object, "/metadata/uid");
    let own = |p: &&Value| view::controller(p).is_some_and(|c| text(c, "/uid") == uid);
    let pods: Vec<_> = subject.related("pods").iter().filter(own).collect();
    let count = |phase: &str| pods.iter().filter(|p| text(p, "/status/phase") == phase).count();
    out.line(
        0,
        format!(
            "Pods Status:\t{} Running / {} Waiting / {} Succeeded / {} Failed",
            count("Running"),
            count("Pending"),
            count("Succeeded"),
            count("Failed")
        ),
    );
}

fn replicas(subject: &Subject<'_>, out: &mut Writer) {
    let (current, desired) = (
        int(subject.object, "/status/replicas"),
        int(subject.object, "/spec/replicas"),
    );
    out.line(0, format!("Replicas:\t{current} current / {desired} desired"));
}

pub(super) fn replication_controller(subject: &Subject<'_>, out: &mut Writer) {
    subject.heading(out);
    out.line(
        0,
        format!("Selector:\t{}", view::labels(map(subject.object, "/spec/selector"))),
    );
    subject.labels_and_annotations(out);
    replicas(subject, out);
    pods_status(subject, out);
    template(subject, out);
    subject.conditions(out);
    subject.events(out);
}

pub(super) fn replica_set(subject: &Subject<'_>, out: &mut Writer) {
    subject.heading(out);
    out.line(
        0,
        format!("Selector:\t{}", view::selector(subject.object, "/spec/selector")),
    );
    subject.labels_and_annotations(out);
    subject.controlled_by(out);
    replicas(subject, out);
    pods_status(subject, out);
    template(subject, out);
    subject.conditions(out);
    subject.events(out);
}

pub(super) fn deployment(subject: &Subject<'_>, out: &mut Writer) {
    let d = subject.object;
    subject.heading(out);
    let created = subject.date(d, "/metadata/creationTimestamp");
    out.line(0, format!("CreationTimestamp:\t{created}"));
    subject.labels_and_annotations(out);
    out.line(0, format!("Selector:\t{}", view::selector(d, "/spec/selector")));
    let status = |field: &str| int(d, &format!("/status/{field}"));
    out.line(
        0,
        format!(
            "Replicas:\t{} desired | {} updated | {} total | {} available | {} unavailable",
            int(d, "/spec/replicas"),
            status("updatedReplicas"),
            status("replicas"),
            status("availableReplicas"),
            status("unavailableReplicas")
        ),
    );
    out.line(0, format!("StrategyType:\t{}", text(d, "/spec/strategy/type")));
    out.line(0, format!("MinReadySeconds:\t{}", int(d, "/spec/minReadySeconds")));
    if let Some(rolling) = d.pointer("/spec/strategy/rollingUpdate") {
        let amount = |field: &str| view::scalar(&rolling[field]);
        let words = format!(
            "{} max unavailable, {} max surge",
            amount("maxUnavailable"),
            amount("maxSurge")
        );
        out.line(0, format!("RollingUpdateStrategy:\t{words}"));
    }
    template(subject, out);
    subject.conditions(out);
    replica_sets(subject, out);
    subject.events(out);
}

fn replica_sets(subject: &Subject<'_>, out: &mut Writer) {
    let uid = text(subject.object, "/metadata/uid");
    let revision = "/metadata/annotations/deployment.kubernetes.io~1revision";
    let number = |o: &Value| text(o, revision).parse::<i64>().unwrap_or(0);
    let own = |rs: &&Value| view::controller(rs).is_some_and(|c| text(c, "/uid") == uid);
    let sets: Vec<_> = subject.related("replicasets.apps").iter().filter(own).collect();
    let newest = number(subject.object);
    let (new, old): (Vec<&Value>, Vec<&Value>) = sets.into_iter().partition(|rs| number(rs) == newest);
    if new.is_empty() && old.is_empty() {
        return;
    }
    let words = |sets: &[&Value]| {
        let one = |rs: &&Value| {
            let (made, wanted) = (int(rs, "/status/replicas"), int(rs, "/spec/replicas"));
            format!("{} ({made}/{wanted} replicas created)", view::name(rs))
        };
        let all: Vec<_> = sets.iter().map(one).collect();
        if all.is_empty() {
            NONE.to_owned()
        } else {
            all.join(", ")
        }
    };
    out.line(0, format!("OldReplicaSets:\t{}", words(&old)));
    out.line(0, format!("NewReplicaSet:\t{}", words(&new)));
}
