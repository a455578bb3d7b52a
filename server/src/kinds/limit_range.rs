//! LimitRange: bounds and defaults for what one object of a namespace asks for.

use mizzen_api::object::Object;
use mizzen_api::status::FieldError;
use mizzen_api::validation::qualified_name;
use serde_json::Value;

use super::check::{Check, default, each, section};
use super::resource_quota::quantity;
use super::{Context, Strategy};

const TYPES: [&str; 3] = ["Container", "PersistentVolumeClaim", "Pod"];

/// Strategy of LimitRange.
pub(super) struct LimitRange;

impl Strategy for LimitRange {
    fn default(&self, _: &Context<'_>, object: &mut Object) {
        let spec = section(object, "spec");
        each(spec, "limits")
            .filter(|limit| limit.get("type").is_some_and(|kind| kind == "Container"))
            .for_each(container_defaults);
    }

    fn validate(&self, _: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        let mut seen = Vec::new();
        for limit in check.field("spec").field("limits").items() {
            let kind = limit.field("type");
            kind.problems(qualified_name(kind.str()));
            if !kind.str().contains('/') && !TYPES.contains(&kind.str()) {
                kind.invalid("must be a standard limit type or fully qualified");
            }
            if seen.contains(&kind.str()) {
                kind.duplicate();
            }
            seen.push(kind.str());
            check_limit(&limit);
        }
        check.finish()
    }
}

/// Limits default to the largest, requests to the limits, else to the smallest.
fn container_defaults(limit: &mut Object) {
    for (from, to) in [
        ("max", "default"),
        ("default", "defaultRequest"),
        ("min", "defaultRequest"),
    ] {
        let Some(amounts) = limit.get(from).and_then(Value::as_object).cloned() else {
            continue;
        };
        let target = section(limit, to);
        for (name, amount) in amounts {
            default(target, &name, amount);
        }
    }
}

fn check_limit(limit: &Check<'_>) {
    let kind = limit.field("type").str();
    if kind == "Pod" {
        for name in ["default", "defaultRequest"] {
            if !limit.field(name).is_empty() {
                limit.field(name).forbidden("may not be specified when `type` is 'Pod'");
            }
        }
    }
    if kind == "PersistentVolumeClaim" {
        let has = |list: &str| limit.field(list).entries().any(|(name, _)| name == "storage");
        if !has("min") && !has("max") {
            limit.required("either minimum or maximum storage value is required, but neither was provided");
        }
    }
    let mut names: Vec<&str> = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"]
        .iter()
        .flat_map(|list| limit.field(list).entries().map(|(name, _)| name))
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        check_resource(limit, name);
    }
}

fn check_resource(limit: &Check<'_>, name: &str) {
    let at = |list: &str| {
        limit
            .field(list)
            .entries()
            .find(|(key, _)| *key == name)
            .map(|(_, place)| place)
    };
    // Lower place, its name, upper place, its name, and which of the two is to blame.
    let ordered = |low: &str, low_name: &str, high: &str, high_name: &str, blamed: &str| {
        let (Some(low), Some(high), Some(blamed)) = (at(low), at(high), at(blamed)) else {
            return;
        };
        if let (Some(low), Some(high)) = (quantity(&low), quantity(&high))
            && low > high
        {
            blamed.invalid(format!(
                "{low_name} value {low} is greater than {high_name} value {high}"
            ));
        }
    };
    ordered("min", "min", "max", "max", "min");
    ordered("min", "min", "defaultRequest", "default request", "defaultRequest");
    ordered("defaultRequest", "default request", "max", "max", "defaultRequest");
    ordered(
        "defaultRequest",
        "default request",
        "default",
        "default limit",
        "defaultRequest",
    );
    ordered("min", "min", "default", "default", "default");
    ordered("default", "default", "max", "max", "default");
    let Some(ratio) = at("maxLimitRequestRatio") else {
        return;
    };
    let Some(value) = quantity(&ratio) else { return };
    if value.as_f64() < 1.0 {
        ratio.invalid(format!("ratio {value} is less than 1"));
    }
    if let (Some(min), Some(max)) = (
        at("min").and_then(|p| quantity(&p)),
        at("max").and_then(|p| quantity(&p)),
    ) {
        let most = max.as_f64() / min.as_f64();
        if value.as_f64() > most {
            ratio.invalid(format!("ratio {value} is greater than max/min = {most:.6}"));
        }
    }
}
