//! HorizontalPodAutoscaler: `autoscaling/v1` says one CPU target in fields and everything else in
//! annotations, whose JSON has an older shape of metrics.

use serde_json::{Map, Value, json};

use super::child;
use crate::object::{Object, ObjectExt};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// How the two shapes name the parts of a target, and of an observed value.
struct Words {
    /// Name of the struct in v2.
    part: &'static str,
    /// Names in v1 for `averageUtilization`, `averageValue` and `value`.
    flat: [&'static str; 3],
}

const TARGET: Words = Words {
    part: "target",
    flat: ["targetAverageUtilization", "targetAverageValue", "targetValue"],
};
const CURRENT: Words = Words {
    part: "current",
    flat: ["currentAverageUtilization", "currentAverageValue", "currentValue"],
};
const PARTS: [(&str, &str); 3] = [
    ("averageUtilization", "Utilization"),
    ("averageValue", "AverageValue"),
    ("value", "Value"),
];

pub(super) fn to_v2(object: &mut Object) {
    let mut metrics = take_annotation(object, METRICS).map_or_else(Vec::new, |list| each(list, |m| nest(m, &TARGET)));
    let mut current =
        take_annotation(object, CURRENT_METRICS).map_or_else(Vec::new, |list| each(list, |m| nest(m, &CURRENT)));
    let behavior = take_annotation(object, BEHAVIOR);
    let conditions = take_annotation(object, CONDITIONS);
    let spec = child(object, "spec");
    if let Some(percent) = spec.remove("targetCPUUtilizationPercentage") {
        metrics.insert(0, cpu(&TARGET, percent));
    }
    put_list(spec, "metrics", metrics);
    if let Some(behavior) = behavior {
        spec.insert("behavior".to_owned(), behavior);
    }
    let status = object.get_mut("status").and_then(Value::as_object_mut);
    let percent = status.and_then(|s| s.remove("currentCPUUtilizationPercentage"));
    if let Some(percent) = percent {
        current.insert(0, cpu(&CURRENT, percent));
    }
    if !current.is_empty() {
        put_list(child(object, "status"), "currentMetrics", current);
    }
    if let Some(conditions) = conditions {
        child(object, "status").insert("conditions".to_owned(), conditions);
    }
}

pub(super) fn to_v1(object: &mut Object) {
    let spec = child(object, "spec");
    let mut metrics = take_list(spec, "metrics");
    if let Some(percent) = take_cpu(&mut metrics, &TARGET) {
        spec.insert("targetCPUUtilizationPercentage".to_owned(), percent);
    }
    let behavior = spec.remove("behavior");
    let (mut current, mut conditions) = (Vec::new(), None);
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        current = take_list(status, "currentMetrics");
        if let Some(percent) = take_cpu(&mut current, &CURRENT) {
            status.insert("currentCPUUtilizationPercentage".to_owned(), percent);
        }
        conditions = status.remove("conditions");
    }
    let flat = |list: Vec<Value>, words: &Words| {
        let list: Vec<_> = list.into_iter().map(|m| flatten(m, words)).collect();
        (!list.is_empty()).then_some(Value::Array(list))
    };
    annotate(object, METRICS, flat(metrics, &TARGET));
    annotate(object, CURRENT_METRICS, flat(current, &CURRENT));
    annotate(object, CONDITIONS, conditions);
    annotate(object, BEHAVIOR, behavior);
}

fn cpu(words: &Words, percent: Value) -> Value {
    let mut part = json!({"averageUtilization": percent});
    if words.part == "target" {
        part = json!({"type": "Utilization", "averageUtilization": part["averageUtilization"]});
    }
    json!({"type": "Resource", "resource": {"name": "cpu", (words.part): part}})
}

fn take_cpu(metrics: &mut Vec<Value>, words: &Words) -> Option<Value> {
    let percent = |m: &Value| m["resource"][words.part]["averageUtilization"].clone();
    let at = metrics
        .iter()
        .position(|m| m["type"] == "Resource" && m["resource"]["name"] == "cpu" && !percent(m).is_null())?;
    Some(percent(&metrics.remove(at)))
}

/// The older, flat shape of a metric.
fn flatten(mut metric: Value, words: &Words) -> Value {
    let Some((kind, source)) = source_mut(&mut metric) else {
        return metric;
    };
    if let Some(mut part) = source.remove(words.part) {
        for ((field, _), flat) in PARTS.iter().zip(words.flat) {
            if let Some(value) = part.as_object_mut().and_then(|p| p.remove(*field)) {
                source.insert(flat.to_owned(), value);
            }
        }
    }
    if let Some(Value::Object(mut identity)) = source.remove("metric") {
        if let Some(name) = identity.remove("name") {
            source.insert("metricName".to_owned(), name);
        }
        if let Some(selector) = identity.remove("selector") {
            let key = if kind == "external" {
                "metricSelector"
            } else {
                "selector"
            };
            source.insert(key.to_owned(), selector);
        }
    }
    if let Some(object) = source.remove("describedObject") {
        source.insert("target".to_owned(), object);
    }
    metric
}

/// The newer, nested shape of a metric.
fn nest(mut metric: Value, words: &Words) -> Value {
    let Some((kind, source)) = source_mut(&mut metric) else {
        return metric;
    };
    if kind == "object"
        && let Some(described) = source.remove("target")
    {
        source.insert("describedObject".to_owned(), described);
    }
    let mut part = Map::new();
    for ((field, name), flat) in PARTS.iter().zip(words.flat) {
        if let Some(value) = source.remove(flat) {
            if words.part == "target" && part.is_empty() {
                part.insert("type".to_owned(), json!(name));
            }
            part.insert((*field).to_owned(), value);
        }
    }
    source.insert(words.part.to_owned(), Value::Object(part));
    if let Some(name) = source.remove("metricName") {
        let mut identity = Map::from_iter([("name".to_owned(), name)]);
        for key in ["selector", "metricSelector"] {
            if let Some(selector) = source.remove(key) {
                identity.insert("selector".to_owned(), selector);
            }
        }
        source.insert("metric".to_owned(), Value::Object(identity));
    }
    metric
}

/// Kind and body of a metric's one source: `resource`, `pods`, `object`, `external`, `containerResource`.
fn source_mut(metric: &mut Value) -> Option<(String, &mut Object)> {
    let fields = metric.as_object_mut()?;
    let (kind, source) = fields.iter_mut().find(|(_, value)| value.is_object())?;
    Some((kind.clone(), source.as_object_mut()?))
}

fn each(list: Value, convert: impl Fn(Value) -> Value) -> Vec<Value> {
    match list {
        Value::Array(list) => list.into_iter().map(convert).collect(),
        _ => Vec::new(),
    }
}

fn take_list(object: &mut Object, key: &str) -> Vec<Value> {
    match object.remove(key) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

fn put_list(object: &mut Object, key: &str, list: Vec<Value>) {
    if !list.is_empty() {
        object.insert(key.to_owned(), Value::Array(list));
    }
}

fn annotate(object: &mut Object, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        child(object.metadata_mut(), "annotations").insert(key.to_owned(), json!(value.to_string()));
    }
}

/// Takes a JSON annotation away; drops `annotations` with its last entry.
fn take_annotation(object: &mut Object, key: &str) -> Option<Value> {
    let metadata = object.metadata_mut();
    let annotations = metadata.get_mut("annotations")?.as_object_mut()?;
    let text = annotations.remove(key);
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    serde_json::from_str(text?.as_str()?).ok()
}
