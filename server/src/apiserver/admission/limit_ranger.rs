//! Bounds and defaults for what one Pod, container or claim asks for, by the LimitRanges of its namespace.

use std::sync::Arc;

use async_trait::async_trait;
use mizzen_api::object::Object;
use mizzen_api::quantity::Quantity;
use mizzen_api::resource::Resource;
use mizzen_api::status::ApiResult;
use serde_json::Value;

use super::{Admission, AdmissionRequest, Operation, refuse};
use crate::apiserver::authorization::builtin_row;
use crate::apiserver::decode;
use crate::cache::Reader;
use crate::kinds::check::{each, section};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// The plugin.
pub struct LimitRanger {
    reader: Arc<dyn Reader>,
    ranges: Arc<Resource>,
}

impl LimitRanger {
    /// A plugin that finds the ranges here.
    pub fn new(reader: Arc<dyn Reader>) -> Self {
        Self {
            reader,
            ranges: builtin_row("", "limitranges"),
        }
    }

    /// All limits of a namespace of one type.
    fn limits(&self, namespace: &str, kind: &str) -> ApiResult<Vec<Value>> {
        let mut limits = Vec::new();
        for entry in self.reader.list(&self.ranges, Some(namespace)) {
            let range = decode::stored(&entry.json)?;
            let all = range.get("spec").and_then(|spec| spec["limits"].as_array().cloned());
            limits.extend(all.into_iter().flatten().filter(|limit| limit["type"] == kind));
        }
        Ok(limits)
    }
}

/// Whether the plugin has something to say of a write.
fn concerns(request: &AdmissionRequest<'_>) -> bool {
    let (pods, claims) = (request.is("", "pods"), request.is("", "persistentvolumeclaims"));
    match (request.operation, request.subresource) {
        (Operation::Create, "") => pods || claims,
        (Operation::Update, "") => claims,
        // What a Pod left open when it began stays open.
        (Operation::Update, "resize") => pods,
        _ => false,
    }
}

#[async_trait]
impl Admission for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> ApiResult<()> {
        if request.operation != Operation::Create || !concerns(request) || !request.is("", "pods") {
            return Ok(());
        }
        let limits = self.limits(request.namespace, "Container")?;
        let Some(pod) = request.object.as_deref_mut().filter(|_| !limits.is_empty()) else {
            return Ok(());
        };
        let mut notes = Vec::new();
        for limit in &limits {
            for (list, word) in [("containers", "container"), ("initContainers", "init container")] {
                for container in each(section(pod, "spec"), list) {
                    fill(container, limit, word, &mut notes);
                }
            }
        }
        if !notes.is_empty() {
            let note = format!("LimitRanger plugin set: {}", notes.join("; "));
            section(section(pod, "metadata"), "annotations").insert(ANNOTATION.into(), note.into());
        }
        Ok(())
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> ApiResult<()> {
        let Some(object) = request.object.as_deref().filter(|_| concerns(request)) else {
            return Ok(());
        };
        let mut problems = Vec::new();
        if request.is("", "pods") {
            for limit in self.limits(request.namespace, "Container")? {
                for list in ["containers", "initContainers"] {
                    let containers = object.get("spec").and_then(|spec| spec[list].as_array());
                    for container in containers.into_iter().flatten() {
                        let resources = &container["resources"];
                        check(
                            &limit,
                            "Container",
                            &|side, name| quantity(&resources[side][name]),
                            &mut problems,
                        );
                    }
                }
            }
            for limit in self.limits(request.namespace, "Pod")? {
                let sums = ["requests", "limits"].map(|side| sum(object, side));
                let amount = |side: &str, name: &str| {
                    let sums = &sums[usize::from(side == "limits")];
                    sums.iter().find(|(known, _)| known == name).map(|(_, amount)| *amount)
                };
                check(&limit, "Pod", &amount, &mut problems);
            }
        } else {
            for limit in self.limits(request.namespace, "PersistentVolumeClaim")? {
                let requests = object
                    .get("spec")
                    .map(|spec| spec["resources"]["requests"].clone())
                    .unwrap_or_default();
                // A claim is bounded by what it requests; it has no limits.
                let amount = |_: &str, name: &str| quantity(&requests[name]);
                check(&limit, "PersistentVolumeClaim", &amount, &mut problems);
            }
        }
        match problems.len() {
            0 => Ok(()),
            1 => Err(refuse(request, &problems[0])),
            _ => Err(refuse(request, format_args!("[{}]", problems.join(", ")))),
        }
    }
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Gives a container the defaults that it lacks.
fn fill(container: &mut Object, limit: &Value, word: &str, notes: &mut Vec<String>) {
    let name = container
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    for (side, from, singular) in [
        ("requests", "defaultRequest", "request"),
        ("limits", "default", "limit"),
    ] {
        let mut set = Vec::new();
        for (resource, amount) in limit[from].as_object().into_iter().flatten() {
            let amounts = section(section(container, "resources"), side);
            if amounts.get(resource).is_none_or(Value::is_null) {
                amounts.insert(resource.clone(), amount.clone());
                set.push(resource.clone());
            }
        }
        if !set.is_empty() {
            set.sort();
            notes.push(format!("{} {singular} for {word} {name}", set.join(", ")));
        }
    }
}

/// The sums over a Pod, as upstream takes them: all containers, or any init container if that is more.
fn sum(pod: &Object, side: &str) -> Vec<(String, Quantity)> {
    let mut sums: Vec<(String, Quantity)> = Vec::new();
    let spec = pod.get("spec").cloned().unwrap_or_default();
    let read = |container: &Value| -> Vec<(String, Quantity)> {
        let amounts = container["resources"][side].as_object().cloned().unwrap_or_default();
        let amounts = amounts.into_iter();
        amounts
            .filter_map(|(name, value)| Some((name, quantity(&value)?)))
            .collect()
    };
    let mut merge = |amounts: Vec<(String, Quantity)>, combine: fn(Quantity, Quantity) -> Quantity| {
        for (name, amount) in amounts {
            match sums.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = combine(*known, amount),
                None => sums.push((name, amount)),
            }
        }
    };
    let list = |name: &str| spec[name].as_array().cloned().unwrap_or_default();
    for container in list("containers") {
        merge(read(&container), |a, b| a + b);
    }
    for container in list("initContainers") {
        let combine: fn(Quantity, Quantity) -> Quantity = match container["restartPolicy"] == "Always" {
            true => |a, b| a + b,
            false => Quantity::max,
        };
        merge(read(&container), combine);
    }
    sums
}

/// Compares with one limit; `amount` gives what is asked for, by side and resource.
fn check(limit: &Value, kind: &str, amount: &dyn Fn(&str, &str) -> Option<Quantity>, problems: &mut Vec<String>) {
    let bounds = |list: &str| {
        limit[list]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(n, v)| Some((n, quantity(v)?)))
    };
    for (name, least) in bounds("min") {
        match (amount("requests", name), amount("limits", name)) {
            (None, _) => problems.push(format!(
                "minimum {name} usage per {kind} is {least}.  No request is specified"
            )),
            (Some(request), _) if request < least => {
                problems.push(format!(
                    "minimum {name} usage per {kind} is {least}, but request is {request}"
                ));
            }
            (_, Some(limit)) if limit < least => {
                problems.push(format!(
                    "minimum {name} usage per {kind} is {least}, but limit is {limit}"
                ));
            }
            _ => {}
        }
    }
    for (name, most) in bounds("max") {
        match (amount("requests", name), amount("limits", name)) {
            (_, None) => problems.push(format!(
                "maximum {name} usage per {kind} is {most}.  No limit is specified"
            )),
            (_, Some(limit)) if limit > most => {
                problems.push(format!(
                    "maximum {name} usage per {kind} is {most}, but limit is {limit}"
                ));
            }
            (Some(request), _) if request > most => {
                problems.push(format!(
                    "maximum {name} usage per {kind} is {most}, but request is {request}"
                ));
            }
            _ => {}
        }
    }
    for (name, most) in bounds("maxLimitRequestRatio") {
        match (amount("requests", name), amount("limits", name)) {
            (None, _) => problems.push(format!(
                "{name} max limit to request ratio per {kind} is {most}, but no request is specified or request is 0"
            )),
            (_, None) => problems.push(format!(
                "{name} max limit to request ratio per {kind} is {most}, but no limit is specified or limit is 0"
            )),
            (Some(request), Some(limit)) => {
                let ratio = limit.as_f64() / request.as_f64();
                if ratio > most.as_f64() {
                    problems.push(format!(
                        "{name} max limit to request ratio per {kind} is {most}, but provided ratio is {ratio:.6}"
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::admission::testing::{Case, admit};
    use crate::apiserver::fake::Fake;
    use serde_json::json;

    async fn check(limit: Value, resources: Value) -> String {
        write(limit, resources, false).await
    }

    async fn write(limit: Value, resources: Value, resizes: bool) -> String {
        let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l", "namespace": "n"}, "spec": {"limits": [limit]}});
        let plugin = LimitRanger::new(Fake::new([range]));
        let mut pod = Case::create("pods")
            .in_namespace("n")
            .named("p")
            .with(json!({"spec": {"containers": [{"name": "c", "resources": resources}]}}));
        if resizes {
            pod = pod.operation(Operation::Update).subresource("resize");
        }
        match admit(&plugin, pod).await {
            Ok(pod) => format!(
                "{} {}",
                pod["spec"]["containers"][0]["resources"], pod["metadata"]["annotations"][ANNOTATION]
            ),
            Err(error) => format!("{} {}", error.code, error.message),
        }
    }

    #[tokio::test]
    async fn a_pod_that_grows_keeps_to_bounds_and_gets_nothing() {
        let limit = json!({"type": "Container", "default": {"memory": "1Gi"}, "max": {"cpu": "1"}});
        let resources = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
        insta::assert_snapshot!(write(limit.clone(), resources("1"), true).await, @r#"{"limits":{"cpu":"1"},"requests":{"cpu":"1"}} null"#);
        insta::assert_snapshot!(write(limit, resources("2"), true).await, @r#"403 pods "p" is forbidden: maximum cpu usage per Container is 1, but limit is 2"#);
    }

    #[tokio::test]
    async fn containers_get_defaults_and_keep_to_bounds() {
        let limit = json!({"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"},
            "max": {"cpu": "1"}, "min": {"cpu": "50m"}, "maxLimitRequestRatio": {"cpu": "5"}});
        insta::assert_snapshot!(check(limit.clone(), json!({})).await, @r#"{"limits":{"cpu":"500m"},"requests":{"cpu":"100m"}} "LimitRanger plugin set: cpu request for container c; cpu limit for container c""#);
        insta::assert_snapshot!(check(limit.clone(), json!({"limits": {"cpu": "2"}, "requests": {"cpu": "10m"}})).await, @r#"403 pods "p" is forbidden: [minimum cpu usage per Container is 50m, but request is 10m, maximum cpu usage per Container is 1, but limit is 2, cpu max limit to request ratio per Container is 5, but provided ratio is 200.000000]"#);
        insta::assert_snapshot!(check(json!({"type": "Pod", "max": {"memory": "1Gi"}}), json!({})).await, @r#"403 pods "p" is forbidden: maximum memory usage per Pod is 1Gi.  No limit is specified"#);
        insta::assert_snapshot!(check(json!({"type": "Pod", "max": {"memory": "1Gi"}}), json!({"limits": {"memory": "2Gi"}})).await, @r#"403 pods "p" is forbidden: maximum memory usage per Pod is 1Gi, but limit is 2Gi"#);
    }
}
