//! Conversion between the versions of one built-in resource: Events and HorizontalPodAutoscalers.
//!
//! Objects are stored in the version that [`Storage`](crate::resource::Storage) names; whoever serves
//! another version converts on the way in and out with [`to_stored`] and [`from_stored`].

mod autoscaler;

use serde_json::{Value, json};

use crate::object::Object;
use crate::resource::Resource;

/// Turns an object of `resource`'s version into the form in which it is stored.
pub fn to_stored(resource: &Resource, object: &mut Object) {
    match conversion(resource) {
        Some(Conversion::Event) => {
            rename(object, EVENT_FIELDS.iter().map(|&(stored, served)| (served, stored)));
            set_api_version(object, "v1");
        }
        Some(Conversion::Autoscaler) => {
            autoscaler::to_v2(object);
            set_api_version(object, "autoscaling/v2");
        }
        None => {}
    }
}

/// Turns a stored object into `resource`'s version.
pub fn from_stored(resource: &Resource, object: &mut Object) {
    match conversion(resource) {
        Some(Conversion::Event) => {
            rename(object, EVENT_FIELDS.iter().copied());
            set_api_version(object, "events.k8s.io/v1");
        }
        Some(Conversion::Autoscaler) => {
            autoscaler::to_v1(object);
            set_api_version(object, "autoscaling/v1");
        }
        None => {}
    }
}

enum Conversion {
    Event,
    Autoscaler,
}

fn conversion(resource: &Resource) -> Option<Conversion> {
    match (&*resource.group, &*resource.version, &*resource.kind) {
        ("events.k8s.io", "v1", "Event") => Some(Conversion::Event),
        ("autoscaling", "v1", "HorizontalPodAutoscaler") => Some(Conversion::Autoscaler),
        _ => None,
    }
}

/// Fields of an Event that only differ in name: in `v1` and in `events.k8s.io/v1`.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("message", "note"),
    ("involvedObject", "regarding"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn rename<'a>(object: &mut Object, names: impl Iterator<Item = (&'a str, &'a str)>) {
    for (from, to) in names {
        if let Some(value) = object.remove(from) {
            object.insert(to.to_owned(), value);
        }
    }
}

fn set_api_version(object: &mut Object, version: &str) {
    object.insert("apiVersion".to_owned(), json!(version));
}

/// The object at `key`, made one if it was none.
fn child<'a>(object: &'a mut Object, key: &str) -> &'a mut Object {
    let entry = object.entry(key).or_insert_with(|| Value::Object(Object::new()));
    if !entry.is_object() {
        *entry = Value::Object(Object::new());
    }
    entry.as_object_mut().expect("just made an object")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::builtin;

    fn check(group: &str, kind: &str, served: Value, stored: Value) {
        let resource = builtin().by_kind(group, "v1", kind).expect("a row");
        let mut object = served.as_object().expect("an object").clone();
        to_stored(resource, &mut object);
        assert_eq!(Value::Object(object.clone()), stored);
        from_stored(resource, &mut object);
        assert_eq!(Value::Object(object), served);
    }

    #[test]
    fn events_share_storage() {
        check(
            "events.k8s.io",
            "Event",
            json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "note": "hi", "reportingController": "c",
                   "regarding": {"kind": "Pod"}, "deprecatedCount": 3, "type": "Normal"}),
            json!({"apiVersion": "v1", "kind": "Event", "message": "hi", "reportingComponent": "c",
                   "involvedObject": {"kind": "Pod"}, "count": 3, "type": "Normal"}),
        );
    }

    #[test]
    fn autoscalers_are_stored_as_v2() {
        check(
            "autoscaling",
            "HorizontalPodAutoscaler",
            json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
                   "spec": {"maxReplicas": 4, "targetCPUUtilizationPercentage": 80},
                   "status": {"currentReplicas": 1, "currentCPUUtilizationPercentage": 12}}),
            json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
                   "spec": {"maxReplicas": 4, "metrics": [{"type": "Resource", "resource": {
                       "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]},
                   "status": {"currentReplicas": 1, "currentMetrics": [{"type": "Resource", "resource": {
                       "name": "cpu", "current": {"averageUtilization": 12}}}]}}),
        );
    }

    #[test]
    fn what_v1_cannot_say_travels_in_annotations() {
        let resource = builtin()
            .by_kind("autoscaling", "v1", "HorizontalPodAutoscaler")
            .expect("a row");
        let v2 = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {"maxReplicas": 4,
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
                "metrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
                    {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
                    {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "10"}}},
                    {"type": "External", "external": {"metric": {"name": "q", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "Value", "value": "30"}}},
                ]},
            "status": {"conditions": [{"type": "AbleToScale", "status": "True"}]}});
        let mut object = v2.as_object().expect("an object").clone();
        from_stored(resource, &mut object);
        let metrics = &object["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"];
        let metrics: Value = serde_json::from_str(metrics.as_str().unwrap_or_default()).expect("JSON");
        assert_eq!(
            metrics,
            json!([{"type": "Resource", "resource": {"name": "memory", "targetAverageValue": "1Gi"}},
                   {"type": "Pods", "pods": {"targetAverageValue": "10", "metricName": "rps"}},
                   {"type": "External", "external": {"targetValue": "30", "metricName": "q",
                       "metricSelector": {"matchLabels": {"a": "b"}}}}])
        );
        to_stored(resource, &mut object);
        assert_eq!(Value::Object(object), v2);
    }
}
