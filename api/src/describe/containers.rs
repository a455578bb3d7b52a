//! Containers, of Pods with their states and of templates without.

use serde_json::Value;

use super::Subject;
use super::writer::{Writer, entries, yes_no};
use crate::quantity::Quantity;
use crate::view::{NONE, flag, has, int, list, map, scalar, text, text_or};

/// Where containers are shown.
pub(super) struct Place<'a> {
    /// The Pod, which gives states and values of fields; none for a template.
    pub(super) pod: Option<&'a Value>,
    /// Indentation in front of headings.
    pub(super) space: &'static str,
}

impl Place<'_> {
    /// Containers in templates stand one space further in.
    fn name_indent(&self) -> &'static str {
        if self.space.is_empty() { "" } else { " " }
    }
}

pub(super) fn all(
    subject: &Subject<'_>,
    label: &str,
    (containers, statuses): (&[Value], &[Value]),
    place: &Place<'_>,
    out: &mut Writer,
) {
    let none = if containers.is_empty() { " <none>" } else { "" };
    out.line(0, format!("{}{label}:{none}", place.space));
    for container in containers {
        let status = statuses.iter().find(|s| s["name"] == container["name"]);
        out.line(1, format!("{}{}:", place.name_indent(), text(container, "/name")));
        basics(container, status, out);
        for (title, path) in [("Command", "/command"), ("Args", "/args")] {
            if !list(container, path).is_empty() {
                out.line(2, format!("{title}:"));
                for argument in list(container, path) {
                    scalar(argument).split('\n').for_each(|line| out.line(3, line));
                }
            }
        }
        if let Some(status) = status {
            state(subject, status, out);
        }
        resources(&container["resources"], 2, out);
        for (title, path) in [
            ("Liveness", "/livenessProbe"),
            ("Readiness", "/readinessProbe"),
            ("Startup", "/startupProbe"),
        ] {
            if let Some(probe) = container.pointer(path).filter(|p| !p.is_null()) {
                out.line(2, format!("{title}:\t{}", probe_words(probe)));
            }
        }
        environment_from(container, out);
        environment(container, place, out);
        mounts(container, out);
    }
}

fn basics(container: &Value, status: Option<&Value>, out: &mut Writer) {
    if let Some(status) = status {
        out.line(2, format!("Container ID:\t{}", text(status, "/containerID")));
    }
    out.line(2, format!("Image:\t{}", text(container, "/image")));
    if let Some(status) = status {
        out.line(2, format!("Image ID:\t{}", text(status, "/imageID")));
    }
    for (title, field) in [("Port", "/containerPort"), ("Host Port", "/hostPort")] {
        let ports = list(container, "/ports").iter();
        let ports: Vec<_> = ports
            .map(|p| format!("{}/{}", int(p, field), text(p, "/protocol")))
            .collect();
        let plural = if ports.len() > 1 { "s" } else { "" };
        let ports = if ports.is_empty() {
            NONE.to_owned()
        } else {
            ports.join(", ")
        };
        out.line(2, format!("{title}{plural}:\t{ports}"));
    }
    if let Some(profile) = container.pointer("/securityContext/seccompProfile") {
        out.line(2, format!("SeccompProfile:\t{}", text(profile, "/type")));
        if text(profile, "/type") == "Localhost" {
            out.line(3, format!("LocalhostProfile:\t{}", text(profile, "/localhostProfile")));
        }
    }
}

fn state(subject: &Subject<'_>, status: &Value, out: &mut Writer) {
    one_state(subject, "State", &status["state"], out);
    if has(status, "/lastState/terminated") {
        one_state(subject, "Last State", &status["lastState"], out);
    }
    out.line(2, format!("Ready:\t{}", yes_no(flag(status, "/ready"))));
    out.line(2, format!("Restart Count:\t{}", int(status, "/restartCount")));
}

fn one_state(subject: &Subject<'_>, title: &str, state: &Value, out: &mut Writer) {
    let word = match () {
        () if has(state, "/running") => "Running",
        () if has(state, "/terminated") => "Terminated",
        () => "Waiting",
    };
    out.line(2, format!("{title}:\t{word}"));
    let parts = [
        ("Reason", "/waiting/reason"),
        ("Reason", "/terminated/reason"),
        ("Message", "/terminated/message"),
    ];
    for (name, path) in parts {
        if !text(state, path).is_empty() {
            out.line(3, format!("{name}:\t{}", text(state, path)));
        }
    }
    match word {
        "Running" => out.line(3, format!("Started:\t{}", subject.date(state, "/running/startedAt"))),
        "Terminated" => {
            let ended = &state["terminated"];
            out.line(3, format!("Exit Code:\t{}", int(ended, "/exitCode")));
            if int(ended, "/signal") > 0 {
                out.line(3, format!("Signal:\t{}", int(ended, "/signal")));
            }
            out.line(3, format!("Started:\t{}", subject.date(ended, "/startedAt")));
            out.line(3, format!("Finished:\t{}", subject.date(ended, "/finishedAt")));
        }
        _ => {}
    }
}

/// Limits and requests.
pub(super) fn resources(resources: &Value, level: usize, out: &mut Writer) {
    for (title, path) in [("Limits", "/limits"), ("Requests", "/requests")] {
        let amounts = entries(map(resources, path));
        if !amounts.is_empty() {
            out.line(level, format!("{title}:"));
        }
        for (name, amount) in amounts {
            out.line(level + 1, format!("{name}:\t{}", scalar(amount)));
        }
    }
}

fn probe_words(probe: &Value) -> String {
    let field = |name: &str| int(probe, name);
    let numbers = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        field("/initialDelaySeconds"),
        field("/timeoutSeconds"),
        field("/periodSeconds"),
        field("/successThreshold"),
        field("/failureThreshold")
    );
    let action = if has(probe, "/exec") {
        let command: Vec<_> = list(probe, "/exec/command").iter().map(scalar).collect();
        format!("exec [{}]", command.join(" "))
    } else if let Some(http) = probe.get("httpGet") {
        let scheme = text(http, "/scheme").to_lowercase();
        format!(
            "http-get {scheme}://{}:{}{}",
            text(http, "/host"),
            scalar(&http["port"]),
            text(http, "/path")
        )
    } else if let Some(tcp) = probe.get("tcpSocket") {
        format!("tcp-socket {}:{}", text(tcp, "/host"), scalar(&tcp["port"]))
    } else if let Some(grpc) = probe.get("grpc") {
        format!("grpc <pod>:{} {}", int(grpc, "/port"), text(grpc, "/service"))
    } else {
        "unknown".to_owned()
    };
    format!("{action} {numbers}")
}

fn environment_from(container: &Value, out: &mut Writer) {
    let sources = list(container, "/envFrom");
    if sources.is_empty() {
        return;
    }
    out.line(2, "Environment Variables from:");
    for source in sources {
        let (kind, of) = match source.get("configMapRef") {
            Some(of) => ("ConfigMap", of),
            None => ("Secret", &source["secretRef"]),
        };
        let prefix = match text(source, "/prefix") {
            "" => String::new(),
            prefix => format!(" with prefix '{prefix}'"),
        };
        let optional = flag(of, "/optional");
        out.line(
            3,
            format!("{}\t{kind}{prefix}\tOptional: {optional}", text(of, "/name")),
        );
    }
}

fn environment(container: &Value, place: &Place<'_>, out: &mut Writer) {
    let variables = list(container, "/env");
    let none = if variables.is_empty() { "\t<none>" } else { "" };
    out.line(2, format!("Environment:{none}"));
    for variable in variables {
        let name = text(variable, "/name");
        let from = &variable["valueFrom"];
        if from.is_null() {
            for (at, line) in text(variable, "/value").split('\n').enumerate() {
                let name = if at == 0 { format!("{name}:") } else { String::new() };
                out.line(3, format!("{name}\t{line}"));
            }
        } else if let Some(field) = from.get("fieldRef") {
            let path = text(field, "/fieldPath");
            let value = place.pod.map(|pod| field_value(pod, path)).unwrap_or_default();
            let version = text_or(field, "/apiVersion", "v1");
            out.line(3, format!("{name}:\t{value} ({version}:{path})"));
        } else if let Some(reference) = from.get("resourceFieldRef") {
            let resource = text(reference, "/resource");
            let value = resource_value(container, reference);
            out.line(3, format!("{name}:\t{value} ({resource})"));
        } else if let Some(key) = from.get("secretKeyRef") {
            let optional = flag(key, "/optional");
            let words = format!(
                "<set to the key '{}' in secret '{}'>",
                text(key, "/key"),
                text(key, "/name")
            );
            out.line(3, format!("{name}:\t{words}\tOptional: {optional}"));
        } else if let Some(key) = from.get("configMapKeyRef") {
            let optional = flag(key, "/optional");
            let words = format!(
                "<set to the key '{}' of config map '{}'>",
                text(key, "/key"),
                text(key, "/name")
            );
            out.line(3, format!("{name}:\t{words}\tOptional: {optional}"));
        }
    }
}

/// The value of a metadata field, as the downward API names it; kubectl shows no others.
fn field_value(pod: &Value, path: &str) -> String {
    if let Some((map_name, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        let pointer = format!("/{}", map_name.replace('.', "/"));
        return map(pod, &pointer)
            .and_then(|m| m.get(key))
            .map(scalar)
            .unwrap_or_default();
    }
    match path {
        "metadata.name" | "metadata.namespace" | "metadata.uid" => {
            text(pod, &format!("/{}", path.replace('.', "/"))).to_owned()
        }
        _ => String::new(),
    }
}

/// A container's own limit or request, in units of the divisor.
fn resource_value(container: &Value, reference: &Value) -> String {
    let resource = text(reference, "/resource");
    let amount = crate::view::quantity(&container["resources"], &format!("/{}", resource.replacen('.', "/", 1)));
    if amount.is_zero() && matches!(resource, "limits.cpu" | "limits.memory") {
        return "node allocatable".to_owned();
    }
    let divisor: Quantity = scalar(&reference["divisor"]).parse().unwrap_or(Quantity::ZERO);
    let divisor = if divisor.is_zero() {
        Quantity::new(1, crate::quantity::Format::DecimalSi)
    } else {
        divisor
    };
    format!("{}", (amount.as_f64() / divisor.as_f64()).ceil())
}

fn mounts(container: &Value, out: &mut Writer) {
    let mut mounts: Vec<&Value> = list(container, "/volumeMounts").iter().collect();
    mounts.sort_by_key(|m| text(m, "/mountPath"));
    let none = if mounts.is_empty() { "\t<none>" } else { "" };
    out.line(2, format!("Mounts:{none}"));
    for mount in mounts {
        let mut flags = if flag(mount, "/readOnly") {
            "ro".to_owned()
        } else {
            "rw".to_owned()
        };
        if !text(mount, "/subPath").is_empty() {
            flags.push_str(&format!(",path={:?}", text(mount, "/subPath")));
        }
        out.line(
            3,
            format!("{} from {} ({flags})", text(mount, "/mountPath"), text(mount, "/name")),
        );
    }
    let devices = list(container, "/volumeDevices");
    if !devices.is_empty() {
        out.line(2, "Devices:");
    }
    for device in devices {
        out.line(
            3,
            format!("{} from {}", text(device, "/devicePath"), text(device, "/name")),
        );
    }
}
