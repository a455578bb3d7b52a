//! HorizontalPodAutoscaler: bounds, metrics, and how fast it may follow them.

use mizzen_api::object::Object;
use mizzen_api::status::FieldError;
use mizzen_api::validation::path_segment;
use serde_json::{Value, json};

use super::check::{Check, default, existing, section};
use super::resource_quota::quantity;
use super::{Context, Strategy};

/// What a metric of each type is written under.
const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];
/// Upstream's limits of a policy's period and of the stabilization window.
const MAX_PERIOD_SECONDS: i64 = 1800;
const MAX_WINDOW_SECONDS: i64 = 3600;

/// Strategy of HorizontalPodAutoscaler, in both its versions.
pub(super) struct HorizontalPodAutoscaler;

impl Strategy for HorizontalPodAutoscaler {
    fn default(&self, context: &Context<'_>, object: &mut Object) {
        let spec = section(object, "spec");
        default(spec, "minReplicas", 1);
        if context.resource.version == "v1" {
            return;
        }
        let none = spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty);
        if none {
            let cpu = json!({"type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
            spec.insert("metrics".into(), json!([cpu]));
        }
        let Some(behavior) = existing(spec, "behavior") else {
            return;
        };
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        let up = section(behavior, "scaleUp");
        default(up, "stabilizationWindowSeconds", 0);
        default(up, "selectPolicy", "Max");
        default(up, "policies", json!([pods, percent]));
        let down = section(behavior, "scaleDown");
        default(down, "selectPolicy", "Max");
        default(down, "policies", json!([percent]));
    }

    fn prepare_create(&self, _: &Context<'_>, object: &mut Object) {
        object.insert("status".into(), json!({"desiredReplicas": 0, "currentMetrics": null}));
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        if context.subresource.is_empty() {
            check_spec(&check.field("spec"));
        } else {
            check.field("status").field("currentReplicas").not_negative();
            check.field("status").field("desiredReplicas").not_negative();
        }
        check.finish()
    }
}

fn check_spec(spec: &Check<'_>) {
    let (min, max) = (spec.field("minReplicas"), spec.field("maxReplicas"));
    if min.int().is_some_and(|n| n < 1) {
        min.invalid("must be greater than or equal to 1");
    }
    if max.int().unwrap_or_default() < 1 {
        max.invalid("must be greater than 0");
    }
    if max.int().unwrap_or_default() < min.int().unwrap_or(1) {
        max.invalid("must be greater than or equal to `minReplicas`");
    }
    check_reference(&spec.field("scaleTargetRef"));
    let cpu = spec.field("targetCPUUtilizationPercentage");
    if cpu.int().is_some_and(|n| n < 1) {
        cpu.invalid("must be greater than 0");
    }
    for metric in spec.field("metrics").items() {
        check_metric(&metric);
    }
    for direction in ["scaleUp", "scaleDown"] {
        check_rules(&spec.field("behavior").field(direction));
    }
}

fn check_reference(reference: &Check<'_>) {
    reference.field("kind").must_obey(path_segment);
    reference.field("name").must_obey(path_segment);
}

fn check_metric(metric: &Check<'_>) {
    let kind = metric.field("type");
    if !kind.must_exist("must specify a metric source type") {
        return;
    }
    let supported: Vec<&str> = SOURCES.iter().map(|(name, _)| *name).collect();
    kind.one_of(&supported);
    let Some((_, field)) = SOURCES.iter().find(|(name, _)| *name == kind.str()) else {
        return;
    };
    for (_, other) in SOURCES.iter().filter(|(_, other)| other != field) {
        if metric.field(other).exists() {
            metric
                .field(other)
                .forbidden("must populate the given metric source only");
        }
    }
    let source = metric.field(field);
    if !source.exists() {
        source.required(&format!(
            "must populate information for the given metric source {}",
            kind.str()
        ));
        return;
    }
    match *field {
        "resource" => drop(source.field("name").must_exist("must specify a resource name")),
        "containerResource" => {
            source.field("name").must_exist("must specify a resource name");
            source.field("container").must_exist("must specify a container");
        }
        _ => source.field("metric").field("name").must_obey(path_segment),
    }
    if *field == "object" {
        check_reference(&source.field("describedObject"));
    }
    check_target(&source.field("target"), field);
}

fn check_target(target: &Check<'_>, source: &str) {
    target
        .field("type")
        .must_be_one_of(&["AverageValue", "Utilization", "Value"]);
    for name in ["value", "averageValue"] {
        let place = target.field(name);
        if quantity(&place).is_some_and(|q| q.is_negative() || q.is_zero()) {
            place.invalid("must be positive");
        }
    }
    let percent = target.field("averageUtilization");
    if percent.int().is_some_and(|n| n < 1) {
        percent.invalid("must be greater than 0");
    }
    let has = |name: &str| target.field(name).exists();
    match source {
        "resource" | "containerResource" => {
            if !has("averageUtilization") && !has("averageValue") {
                percent.required("must set either a target raw value or a target utilization");
            }
            if has("averageUtilization") && has("averageValue") {
                target
                    .field("averageValue")
                    .forbidden("may not set both a target raw value and a target utilization");
            }
        }
        "pods" if !has("averageValue") => {
            target
                .field("averageValue")
                .required("must specify a positive target averageValue");
        }
        "object" | "external" if !has("value") && !has("averageValue") => {
            target
                .field("value")
                .required("must set either a target value or averageValue");
        }
        _ => {}
    }
}

fn check_rules(rules: &Check<'_>) {
    if !rules.exists() {
        return;
    }
    let window = rules.field("stabilizationWindowSeconds");
    window.not_negative();
    if window.int().is_some_and(|n| n > MAX_WINDOW_SECONDS) {
        window.invalid(format!("must be less than or equal to {MAX_WINDOW_SECONDS}"));
    }
    rules.field("selectPolicy").one_of(&["Disabled", "Max", "Min"]);
    let policies = rules.field("policies");
    if policies.is_empty() {
        policies.required("must specify at least one Policy");
    }
    for policy in policies.items() {
        policy.field("type").must_be_one_of(&["Percent", "Pods"]);
        for name in ["value", "periodSeconds"] {
            let place = policy.field(name);
            if place.int().unwrap_or_default() < 1 {
                place.invalid("must be greater than zero");
            }
        }
        let period = policy.field("periodSeconds");
        if period.int().is_some_and(|n| n > MAX_PERIOD_SECONDS) {
            period.invalid(format!("must be less than or equal to {MAX_PERIOD_SECONDS}"));
        }
    }
    if let Some(tolerance) = quantity(&rules.field("tolerance"))
        && tolerance.is_negative()
    {
        rules.field("tolerance").invalid("must be greater or equal to zero");
    }
}
