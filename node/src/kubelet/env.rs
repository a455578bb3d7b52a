//! A container's environment: literal values with `$(NAME)` expansion, references to ConfigMaps
//! and Secrets, the downward API, and the variables of Services. Pure: the objects are handed in.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::downward::{self, PodFacts};
use super::objects::{Content, Kind};
use crate::services::Service;

/// Finds the ConfigMap or Secret of a name in the Pod's namespace; `None` when there is none.
pub type Lookup<'a> = &'a dyn Fn(Kind, &str) -> Option<Arc<Content>>;

/// The container's environment in the order in which it was defined.
///
/// # Errors
/// What keeps the container from starting, as the status' message has it.
pub(crate) fn build(
    pod: &Pod,
    container: &Container,
    facts: &PodFacts,
    services: &[Arc<Service>],
    lookup: Lookup<'_>,
) -> Result<Vec<(String, String)>, String> {
    let mut env = Ordered::default();
    for (name, value) in service_variables(pod, services) {
        env.set(name, value);
    }
    add_sources(&mut env, container, lookup)?;
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value_from, &variable.value) {
            (Some(source), _) => match from_source(pod, container, facts, source, lookup)? {
                Some(value) => value,
                None => continue,
            },
            (None, value) => expand(value.as_deref().unwrap_or_default(), &env.values),
        };
        env.set(variable.name.clone(), value);
    }
    Ok(env.into_pairs())
}

#[derive(Default)]
struct Ordered {
    order: Vec<String>,
    values: HashMap<String, String>,
}

impl Ordered {
    fn set(&mut self, name: String, value: String) {
        if self.values.insert(name.clone(), value).is_none() {
            self.order.push(name);
        }
    }

    fn into_pairs(mut self) -> Vec<(String, String)> {
        let values = &mut self.values;
        self.order
            .into_iter()
            .filter_map(|name| values.remove(&name).map(|value| (name, value)))
            .collect()
    }
}

fn add_sources(env: &mut Ordered, container: &Container, lookup: Lookup<'_>) -> Result<(), String> {
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let (kind, name, optional) = match (&source.config_map_ref, &source.secret_ref) {
            (Some(map), _) => (Kind::ConfigMap, &map.name, map.optional),
            (None, Some(secret)) => (Kind::Secret, &secret.name, secret.optional),
            (None, None) => continue,
        };
        let Some(content) = lookup(kind, name) else {
            if optional == Some(true) {
                continue;
            }
            return Err(format!("{} \"{name}\" not found", kind.word()));
        };
        for (key, value) in content.entries() {
            env.set(format!("{prefix}{key}"), String::from_utf8_lossy(value).into_owned());
        }
    }
    Ok(())
}

fn from_source(
    pod: &Pod,
    container: &Container,
    facts: &PodFacts,
    source: &k8s_openapi::api::core::v1::EnvVarSource,
    lookup: Lookup<'_>,
) -> Result<Option<String>, String> {
    if let Some(field) = &source.field_ref {
        return downward::field(pod, facts, field).map(Some);
    }
    if let Some(resource) = &source.resource_field_ref {
        return downward::resource(pod, facts, Some(container), resource).map(Some);
    }
    let (kind, name, key, optional) = if let Some(map) = &source.config_map_key_ref {
        (Kind::ConfigMap, &map.name, &map.key, map.optional)
    } else if let Some(secret) = &source.secret_key_ref {
        (Kind::Secret, &secret.name, &secret.key, secret.optional)
    } else {
        return Err("this source of an environment variable is not supported".to_owned());
    };
    let optional = optional == Some(true);
    match lookup(kind, name) {
        None if optional => Ok(None),
        None => Err(format!("{} \"{name}\" not found", kind.word())),
        Some(content) => match content.get(key) {
            Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
            None if optional => Ok(None),
            None => {
                let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
                Err(format!(
                    "couldn't find key {key} in {} {namespace}/{name}",
                    kind.title()
                ))
            }
        },
    }
}

/// Replaces `$(NAME)` by the value of `NAME`; `$$` is a dollar; what is not defined stays.
#[must_use]
pub fn expand<S: std::hash::BuildHasher>(text: &str, values: &HashMap<String, String, S>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with("$$") {
            out.push('$');
            rest = &rest[2..];
        } else if let Some(end) = rest.strip_prefix("$(").and_then(|tail| tail.find(')')) {
            match values.get(&rest[2..end + 2]) {
                Some(value) => out.push_str(value),
                None => out.push_str(&rest[..end + 3]),
            }
            rest = &rest[end + 3..];
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

/// The variables of the Services that a Pod sees: those of its namespace, and always the API's.
fn service_variables(pod: &Pod, services: &[Arc<Service>]) -> BTreeMap<String, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.enable_service_links)
        .unwrap_or(true);
    let mut variables = BTreeMap::new();
    let is_api = |service: &Arc<Service>| &*service.namespace == "default" && &*service.name == "kubernetes";
    // The namespace's own services come last and win.
    let visible = services
        .iter()
        .filter(|s| is_api(s))
        .chain(services.iter().filter(|s| links && *s.namespace == *namespace));
    for service in visible {
        add_service(&mut variables, service);
    }
    variables
}

fn add_service(variables: &mut BTreeMap<String, String>, service: &Service) {
    let name = service.name.to_uppercase().replace('-', "_");
    let (Some(first), Some(ip)) = (service.ports.first(), service.cluster_ip) else {
        return;
    };
    variables.insert(format!("{name}_SERVICE_HOST"), ip.to_string());
    variables.insert(format!("{name}_SERVICE_PORT"), first.port.to_string());
    for port in &service.ports {
        if !port.name.is_empty() {
            let port_name = port.name.to_uppercase().replace('-', "_");
            variables.insert(format!("{name}_SERVICE_PORT_{port_name}"), port.port.to_string());
        }
    }
    for (index, port) in service.ports.iter().enumerate() {
        let protocol = port.protocol.name();
        let url = format!("{protocol}://{ip}:{}", port.port);
        if index == 0 {
            variables.insert(format!("{name}_PORT"), url.clone());
        }
        let prefix = format!("{name}_PORT_{}_{}", port.port, protocol.to_uppercase());
        variables.insert(prefix.clone(), url);
        variables.insert(format!("{prefix}_PROTO"), protocol.to_owned());
        variables.insert(format!("{prefix}_PORT"), port.port.to_string());
        variables.insert(format!("{prefix}_ADDR"), ip.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion() {
        let values = HashMap::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())]);
        for (text, expected) in [
            ("x$(A)y", "x1y"),
            ("$(B)", "$(A)"),
            ("$(NO)", "$(NO)"),
            ("$$(A)", "$(A)"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
            ("$$$(A)", "$1"),
        ] {
            assert_eq!(expand(text, &values), expected, "{text}");
        }
    }

    #[test]
    fn later_variables_see_earlier_ones_and_services() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": { "name": "p", "namespace": "n" },
            "spec": { "containers": [{ "name": "c", "env": [
                { "name": "WHO", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                { "name": "URL", "value": "http://$(WEB_SERVICE_HOST):$(WEB_SERVICE_PORT)/$(WHO)" },
                { "name": "MAYBE", "valueFrom": { "configMapKeyRef": { "name": "m", "key": "k", "optional": true } } },
            ] }] },
        }))
        .expect("a pod");
        let service: Service = serde_json::from_value(serde_json::json!({
            "metadata": { "name": "web", "namespace": "n" },
            "spec": { "clusterIP": "10.43.0.9", "ports": [{ "port": 80, "name": "http" }] },
        }))
        .expect("a service");
        let container = &pod.spec.as_ref().expect("spec").containers[0];
        let lookup: Lookup<'_> = &|_, _| None;
        let env = build(&pod, container, &PodFacts::default(), &[Arc::new(service)], lookup).expect("an environment");
        let find = |name: &str| env.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(find("URL"), Some("http://10.43.0.9:80/p"));
        assert_eq!(find("WEB_PORT_80_TCP_ADDR"), Some("10.43.0.9"));
        assert_eq!(find("MAYBE"), None);
    }
}
