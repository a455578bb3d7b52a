//! Pod: graceful deletion, a phase, and a spec of which little may change.

use mizzen_api::object::{Object, ObjectExt};
use mizzen_api::status::FieldError;
use serde_json::{Value, json};

use super::check::{Check, default, section};
use super::{Context, Strategy, pod_spec};

/// Strategy of Pod.
pub(super) struct Pod;

impl Strategy for Pod {
    fn default(&self, _: &Context<'_>, object: &mut Object) {
        let spec = section(object, "spec");
        default(spec, "enableServiceLinks", true);
        pod_spec::set_defaults(spec);
        pod_spec::requests_from_limits(spec);
    }

    fn prepare_create(&self, _: &Context<'_>, object: &mut Object) {
        let class = pod_spec::qos_class(object.get("spec").unwrap_or(&Value::Null));
        let gates = object.get("spec").and_then(|spec| spec["schedulingGates"].as_array());
        let is_gated = gates.is_some_and(|gates| !gates.is_empty());
        let mut status = json!({"phase": "Pending", "qosClass": class});
        if is_gated {
            status["conditions"] = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates"}]);
        }
        object.insert("status".into(), status);
    }

    fn prepare_update(&self, _: &Context<'_>, object: &mut Object, old: &Object) {
        // Binding sets the node; an ordinary update neither moves a Pod nor changes its quality of service.
        if let Some(class) = old.get("status").and_then(|status| status.get("qosClass")) {
            section(object, "status").insert("qosClass".into(), class.clone());
        }
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Vec<FieldError> {
        if !matches!(context.subresource, "" | "ephemeralcontainers" | "resize") {
            return Vec::new();
        }
        let check = Check::of(object);
        pod_spec::validate::validate(&check.field("spec"));
        check.finish()
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Vec<FieldError> {
        if context.subresource == "ephemeralcontainers" {
            return only_added(&spec_of(object), &spec_of(old));
        }
        let (new_spec, old_spec) = (spec_of(object), spec_of(old));
        if context.subresource == "resize" {
            return only_resized(new_spec, old_spec);
        }
        if !context.subresource.is_empty() {
            return Vec::new();
        }
        let mut errors = Vec::new();
        for list in ["containers", "initContainers"] {
            let count = |spec: &Object| spec.get(list).and_then(Value::as_array).map_or(0, Vec::len);
            if count(&new_spec) != count(&old_spec) {
                errors.push(FieldError::forbidden(
                    format!("spec.{list}"),
                    "pod updates may not add or remove containers",
                ));
                return errors;
            }
        }
        if fixed_part(new_spec.clone(), &old_spec) != old_spec {
            errors.push(FieldError::forbidden("spec", FIXED));
        }
        let deadline = |spec: &Object| spec.get("activeDeadlineSeconds").and_then(Value::as_i64);
        match (deadline(&old_spec), deadline(&new_spec)) {
            (Some(old), Some(new)) if new > old => {
                let detail = "must be less than or equal to previous value";
                errors.push(FieldError::invalid("spec.activeDeadlineSeconds", new, detail));
            }
            (Some(_), None) => errors.push(FieldError::invalid(
                "spec.activeDeadlineSeconds",
                Value::Null,
                "must not update from a positive integer to nil value",
            )),
            _ => {}
        }
        errors
    }

    fn deletion_grace_seconds(&self, object: &Object, requested: Option<i64>) -> Option<i64> {
        let pointer = |path: &str| {
            object
                .get("spec")
                .and_then(|spec| spec.pointer(path))
                .cloned()
                .unwrap_or_default()
        };
        let phase = object
            .get("status")
            .and_then(|s| s.get("phase"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        // No node will ever stop what was never placed, and what has ended needs no time.
        let nothing_runs =
            pointer("/nodeName").as_str().is_none_or(str::is_empty) || matches!(phase, "Succeeded" | "Failed");
        if nothing_runs {
            return Some(0);
        }
        let already = object
            .metadata()
            .and_then(|m| m.get("deletionGracePeriodSeconds"))
            .and_then(Value::as_i64);
        let wanted = requested
            .or_else(|| pointer("/terminationGracePeriodSeconds").as_i64())
            .unwrap_or(30)
            .max(0);
        Some(already.map_or(wanted, |already| already.min(wanted)))
    }
}

/// Ephemeral containers come, and neither change nor go.
fn only_added(spec: &Object, old: &Object) -> Vec<FieldError> {
    let list = |spec: &Object| {
        spec.get("ephemeralContainers")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let after = list(spec);
    let refused = list(old).into_iter().filter_map(|before| {
        let now = after.iter().find(|c| c["name"] == before["name"]);
        let name = before["name"].as_str().unwrap_or_default();
        let detail = match now {
            Some(now) if *now == before => return None,
            Some(_) => format!("existing ephemeral containers {name:?} may not be changed\n"),
            None => format!("existing ephemeral containers {name:?} may not be removed\n"),
        };
        Some(FieldError::forbidden("spec.ephemeralContainers", detail))
    });
    refused.collect()
}

/// A spec without what a resize may change.
fn without_amounts(mut spec: Object) -> Object {
    for list in ["containers", "initContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for resources in containers
            .into_iter()
            .flatten()
            .filter_map(|c| c["resources"].as_object_mut())
        {
            for kind in ["requests", "limits"] {
                let Some(amounts) = resources.get_mut(kind).and_then(Value::as_object_mut) else {
                    continue;
                };
                amounts.retain(|name, _| !matches!(name.as_str(), "cpu" | "memory"));
                if amounts.is_empty() {
                    resources.remove(kind);
                }
            }
        }
    }
    spec
}

/// Containers get more or less processor time and memory, and the Pod stays of its quality of service.
fn only_resized(spec: Object, old: Object) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let class = |spec: &Object| pod_spec::qos_class(&Value::Object(spec.clone()));
    let (was, becomes) = (class(&old), class(&spec));
    if was != becomes {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid("spec", becomes, detail));
    }
    if without_amounts(spec) != without_amounts(old) {
        errors.push(FieldError::forbidden(
            "spec",
            "only cpu and memory resources are mutable",
        ));
    }
    errors
}

const FIXED: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

fn spec_of(object: &Object) -> Object {
    object
        .get("spec")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

/// A new spec with what may change put back as it was: equal to the old one if only that changed.
fn fixed_part(mut spec: Object, old: &Object) -> Object {
    for list in ["containers", "initContainers"] {
        let Some(Value::Array(before)) = old.get(list) else {
            continue;
        };
        let Some(Value::Array(after)) = spec.get_mut(list) else {
            continue;
        };
        for (new, old) in after.iter_mut().zip(before) {
            put_back(new, old, "image");
        }
    }
    let added_only = {
        let list = |spec: &Object| {
            spec.get("tolerations")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let after = list(&spec);
        list(old).iter().all(|toleration| after.contains(toleration))
    };
    let mut whole = Value::Object(spec);
    let before = Value::Object(old.clone());
    put_back(&mut whole, &before, "activeDeadlineSeconds");
    if added_only {
        put_back(&mut whole, &before, "tolerations");
    }
    // Scheduling gates may be taken away, and while there are any, placement may be narrowed.
    if before
        .get("schedulingGates")
        .and_then(Value::as_array)
        .is_some_and(|gates| !gates.is_empty())
    {
        for name in ["schedulingGates", "nodeSelector", "affinity"] {
            put_back(&mut whole, &before, name);
        }
    }
    match whole {
        Value::Object(spec) => spec,
        _ => Object::new(),
    }
}

fn put_back(new: &mut Value, old: &Value, name: &str) {
    let Some(new) = new.as_object_mut() else { return };
    match old.get(name) {
        Some(value) => drop(new.insert(name.to_owned(), value.clone())),
        None => drop(new.remove(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resize_changes_amounts_and_nothing_else() {
        let spec = |container: Value| {
            spec_of(
                json!({"spec": {"containers": [container]}})
                    .as_object()
                    .expect("an object"),
            )
        };
        let requesting = |cpu: &str| json!({"name": "a", "image": "b", "resources": {"requests": {"cpu": cpu}}});
        let check = |new: Value| {
            let errors = only_resized(spec(new), spec(requesting("1")));
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(check(requesting("2")), "");
        let mut more = requesting("1");
        more["resources"]["limits"] = json!({"memory": "1Gi"});
        assert_eq!(check(more), "");
        let mut other = requesting("2");
        other["image"] = json!("c");
        assert_eq!(
            check(other),
            "spec: Forbidden: only cpu and memory resources are mutable"
        );
        let without = json!({"name": "a", "image": "b", "resources": {}});
        insta::assert_snapshot!(check(without), @r#"spec: Invalid value: "BestEffort": Pod QOS Class may not change as a result of resizing"#);
    }
}
