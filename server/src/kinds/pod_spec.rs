//! The Pod spec: what Pods and every template of Pods have in common.

use mizzen_api::object::Object;
use serde_json::{Value, json};

use super::check::{default, each, existing, section, text};

pub(super) mod validate;

/// Fills in what upstream fills in for any Pod spec, of a Pod or of a template.
pub(super) fn set_defaults(spec: &mut Object) {
    default(spec, "restartPolicy", "Always");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "schedulerName", "default-scheduler");
    default(spec, "securityContext", json!({}));
    alias(spec, "serviceAccountName", "serviceAccount");
    let host_network = spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or(false);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in each(spec, list) {
            container_defaults(container, host_network);
        }
    }
    each(spec, "volumes").for_each(volume_defaults);
    for constraint in each(spec, "topologySpreadConstraints") {
        default(constraint, "nodeAffinityPolicy", "Honor");
        default(constraint, "nodeTaintsPolicy", "Ignore");
    }
}

/// Two names for the same field: whichever is set fills the other.
fn alias(object: &mut Object, name: &str, old_name: &str) {
    for (from, to) in [(name, old_name), (old_name, name)] {
        if let Some(value) = object.get(from).filter(|v| !v.is_null()).cloned() {
            default(object, to, value);
        }
    }
}

fn container_defaults(container: &mut Object, host_network: bool) {
    let image = text(container, "image").to_owned();
    if !image.is_empty() {
        default(
            container,
            "imagePullPolicy",
            if always_pulled(&image) {
                "Always"
            } else {
                "IfNotPresent"
            },
        );
    }
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
    default(container, "resources", json!({}));
    for port in each(container, "ports") {
        default(port, "protocol", "TCP");
        if host_network && let Some(number) = port.get("containerPort").cloned() {
            default(port, "hostPort", number);
        }
    }
    for variable in each(container, "env") {
        if let Some(source) = existing(variable, "valueFrom") {
            field_version(source);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = existing(container, probe) {
            default(probe, "timeoutSeconds", 1);
            default(probe, "periodSeconds", 10);
            default(probe, "successThreshold", 1);
            default(probe, "failureThreshold", 3);
            handler_defaults(probe);
        }
    }
    if let Some(lifecycle) = existing(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = existing(lifecycle, hook) {
                handler_defaults(hook);
            }
        }
    }
}

/// `:latest`, or no tag and no digest, means that the image is pulled every time.
fn always_pulled(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn handler_defaults(handler: &mut Object) {
    if let Some(get) = existing(handler, "httpGet") {
        default(get, "path", "/");
        default(get, "scheme", "HTTP");
    }
    if let Some(grpc) = existing(handler, "grpc") {
        default(grpc, "service", "");
    }
}

/// A resource with a limit and no request requests its limit: in Pods, not in templates.
pub(super) fn requests_from_limits(spec: &mut Object) {
    for list in ["initContainers", "containers"] {
        for container in each(spec, list) {
            if let Some(resources) = existing(container, "resources") {
                fill_requests(resources);
            }
        }
    }
}

fn fill_requests(resources: &mut Object) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else {
        return;
    };
    let requests = section(resources, "requests");
    for (name, amount) in limits {
        default(requests, &name, amount);
    }
}

fn volume_defaults(volume: &mut Object) {
    const SOURCES_WITH_MODE: [&str; 4] = ["configMap", "secret", "downwardAPI", "projected"];
    let has_source = volume.iter().any(|(key, value)| key != "name" && !value.is_null());
    if !has_source {
        volume.insert("emptyDir".into(), json!({}));
    }
    for source in SOURCES_WITH_MODE {
        if let Some(source) = existing(volume, source) {
            default(source, "defaultMode", 0o644);
        }
    }
    if let Some(path) = existing(volume, "hostPath") {
        default(path, "type", "");
    }
    if let Some(api) = existing(volume, "downwardAPI") {
        each(api, "items").for_each(field_version);
    }
    if let Some(projected) = existing(volume, "projected") {
        for source in each(projected, "sources") {
            if let Some(token) = existing(source, "serviceAccountToken") {
                default(token, "expirationSeconds", 3600);
            }
            if let Some(api) = existing(source, "downwardAPI") {
                each(api, "items").for_each(field_version);
            }
        }
    }
    if let Some(ephemeral) = existing(volume, "ephemeral")
        && let Some(template) = existing(ephemeral, "volumeClaimTemplate")
        && let Some(spec) = existing(template, "spec")
    {
        default(spec, "volumeMode", "Filesystem");
    }
}

fn field_version(holder: &mut Object) {
    if let Some(reference) = existing(holder, "fieldRef") {
        default(reference, "apiVersion", "v1");
    }
}

/// Quality of service: `Guaranteed` when every container's limits of cpu and memory equal its requests,
/// `BestEffort` when none has either, else `Burstable`.
pub(super) fn qos_class(spec: &Value) -> &'static str {
    const COUNTED: [&str; 2] = ["cpu", "memory"];
    let (mut guaranteed, mut best_effort) = (true, true);
    let lists = ["/containers", "/initContainers"]
        .into_iter()
        .filter_map(|list| spec.pointer(list)?.as_array());
    for container in lists.flatten() {
        for name in COUNTED {
            let amount = |side: &str| {
                let text = container.pointer(&format!("/resources/{side}/{name}"))?;
                Some(text.as_str().map_or_else(|| text.to_string(), str::to_owned)).filter(|amount| amount != "0")
            };
            let (request, limit) = (amount("requests"), amount("limits"));
            best_effort &= request.is_none() && limit.is_none();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (best_effort, guaranteed) {
        (true, _) => "BestEffort",
        (_, true) => "Guaranteed",
        _ => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_policy_follows_the_tag() {
        for (image, always) in [
            ("nginx", true),
            ("nginx:latest", true),
            ("nginx:1.2", false),
            ("host:5000/nginx", true),
            ("host:5000/nginx:1", false),
            ("nginx@sha256:00", false),
        ] {
            assert_eq!(always_pulled(image), always, "{image}");
        }
    }
}
