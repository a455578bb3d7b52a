//! The downward API: what a Pod may learn about itself through its environment or a volume. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ObjectFieldSelector, Pod, ResourceFieldSelector};

use super::quantity;

/// What the Pod itself does not tell but its fields may ask for.
#[derive(Clone, Debug, Default)]
pub struct PodFacts {
    /// The node's addresses.
    pub host_ips: Vec<String>,
    /// The Pod's addresses, once it has them.
    pub pod_ips: Vec<String>,
    /// What the node has for Pods, for limits that are not set: thousandths of CPU and bytes.
    pub allocatable_cpu_milli: i64,
    /// See `allocatable_cpu_milli`.
    pub allocatable_memory: i64,
}

/// The value of a field of the Pod.
///
/// # Errors
/// When there is no such field.
pub fn field(pod: &Pod, facts: &PodFacts, selector: &ObjectFieldSelector) -> Result<String, String> {
    let path = selector.field_path.as_str();
    let spec = pod.spec.as_ref();
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    if let Some((map, key)) = subscript(path) {
        let values = match map {
            "metadata.labels" => pod.metadata.labels.as_ref(),
            "metadata.annotations" => pod.metadata.annotations.as_ref(),
            _ => return Err(unsupported(path)),
        };
        return Ok(text(values.and_then(|values| values.get(key))));
    }
    Ok(match path {
        "metadata.name" => text(pod.metadata.name.as_ref()),
        "metadata.namespace" => text(pod.metadata.namespace.as_ref()),
        "metadata.uid" => text(pod.metadata.uid.as_ref()),
        "metadata.labels" => lines(pod.metadata.labels.as_ref()),
        "metadata.annotations" => lines(pod.metadata.annotations.as_ref()),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.hostIP" => facts.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => facts.host_ips.join(","),
        "status.podIP" => facts.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.pod_ips.join(","),
        _ => return Err(unsupported(path)),
    })
}

fn unsupported(path: &str) -> String {
    format!("unsupported fieldPath: {path}")
}

fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", quote(value)))
        .collect();
    lines.join("\n")
}

/// A string in double quotes, as the file format of labels and annotations has it.
fn quote(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

/// The value of a container's request or limit, in units of the divisor, rounded up.
///
/// # Errors
/// When there is no such container or resource.
pub fn resource(
    pod: &Pod,
    facts: &PodFacts,
    default_container: Option<&Container>,
    selector: &ResourceFieldSelector,
) -> Result<String, String> {
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let container = match named {
        Some(name) => super::resources::all_containers(pod)
            .find(|container| container.name == name)
            .ok_or_else(|| format!("container {name} not found"))?,
        None => default_container.ok_or("no container named")?,
    };
    let (kind, name) = selector
        .resource
        .split_once('.')
        .ok_or_else(|| format!("unsupported container resource: {}", selector.resource))?;
    let resources = container.resources.as_ref();
    let list = match kind {
        "limits" => resources.and_then(|r| r.limits.as_ref()),
        "requests" => resources.and_then(|r| r.requests.as_ref()),
        _ => return Err(format!("unsupported container resource: {}", selector.resource)),
    };
    let found = list.and_then(|list| list.get(name));
    let is_limit = kind == "limits";
    let (amount, divisor) = if name == "cpu" {
        let amount = found
            .map(quantity::milli)
            .unwrap_or(if is_limit { facts.allocatable_cpu_milli } else { 0 });
        (amount, selector.divisor.as_ref().map_or(0, quantity::milli).max(0))
    } else {
        let default = if is_limit && name == "memory" {
            facts.allocatable_memory
        } else {
            0
        };
        (
            found.map_or(default, quantity::value),
            selector.divisor.as_ref().map_or(0, quantity::value),
        )
    };
    let divisor = match (divisor, name) {
        (0, "cpu") => 1000,
        (0, _) => 1,
        (given, _) => given,
    };
    Ok((amount / divisor + i64::from(amount % divisor != 0)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_resources() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": { "name": "p", "labels": { "b": "2", "a": "say \"hi\"" } },
            "spec": { "containers": [{ "name": "c", "resources": { "limits": { "cpu": "1500m", "memory": "64Mi" } } }] },
        }))
        .expect("a pod");
        let facts = PodFacts {
            allocatable_memory: 7,
            pod_ips: vec!["10.0.0.1".into()],
            ..Default::default()
        };
        let check = |path: &str| {
            field(
                &pod,
                &facts,
                &ObjectFieldSelector {
                    field_path: path.into(),
                    ..Default::default()
                },
            )
        };
        assert_eq!(check("metadata.name").as_deref(), Ok("p"));
        assert_eq!(check("metadata.labels").as_deref(), Ok("a=\"say \\\"hi\\\"\"\nb=\"2\""));
        assert_eq!(check("metadata.labels['b']").as_deref(), Ok("2"));
        assert_eq!(check("status.podIP").as_deref(), Ok("10.0.0.1"));
        assert!(check("spec.nothing").is_err());
        let container = &pod.spec.as_ref().expect("spec").containers[0];
        let amount = |what: &str, divisor: Option<&str>| {
            let divisor = divisor.map(|d| k8s_openapi::apimachinery::pkg::api::resource::Quantity(d.into()));
            let selector = ResourceFieldSelector {
                resource: what.into(),
                divisor,
                container_name: None,
            };
            resource(&pod, &facts, Some(container), &selector).expect("a value")
        };
        assert_eq!(amount("limits.cpu", None), "2");
        assert_eq!(amount("limits.cpu", Some("1m")), "1500");
        assert_eq!(amount("limits.memory", Some("1Mi")), "64");
        assert_eq!(amount("requests.memory", None), "0");
    }
}
