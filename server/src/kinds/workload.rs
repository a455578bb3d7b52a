//! Deployment, ReplicaSet and ReplicationController: replicas of a template.

use mizzen_api::object::{Object, ObjectExt};
use serde_json::{Value, json};

use super::check::{default, existing, section};
use super::{Context, Strategy, pod_spec};

/// Strategy of Deployment.
pub(super) struct Deployment;

impl Strategy for Deployment {
    fn default(&self, _: &Context<'_>, object: &mut Object) {
        let spec = section(object, "spec");
        common_defaults(spec);
        default(spec, "revisionHistoryLimit", 10);
        default(spec, "progressDeadlineSeconds", 600);
        let strategy = section(spec, "strategy");
        default(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = section(strategy, "rollingUpdate");
            default(rolling, "maxUnavailable", "25%");
            default(rolling, "maxSurge", "25%");
        }
    }

    fn prepare_create(&self, _: &Context<'_>, object: &mut Object) {
        object.insert("status".into(), json!({}));
    }
}

/// Strategy of ReplicaSet.
pub(super) struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn default(&self, _: &Context<'_>, object: &mut Object) {
        common_defaults(section(object, "spec"));
    }

    fn prepare_create(&self, _: &Context<'_>, object: &mut Object) {
        object.insert("status".into(), json!({"replicas": 0}));
    }
}

/// Strategy of ReplicationController.
pub(super) struct ReplicationController;

impl Strategy for ReplicationController {
    fn default(&self, _: &Context<'_>, object: &mut Object) {
        common_defaults(section(object, "spec"));
        inherit_labels(object);
    }

    fn prepare_create(&self, _: &Context<'_>, object: &mut Object) {
        object.insert("status".into(), json!({"replicas": 0}));
    }
}

fn common_defaults(spec: &mut Object) {
    default(spec, "replicas", 1);
    if let Some(template) = existing(spec, "template")
        && let Some(pod) = existing(template, "spec")
    {
        pod_spec::set_defaults(pod);
    }
}

/// A ReplicationController without labels or selector takes its template's labels.
fn inherit_labels(object: &mut Object) {
    let is_empty = |labels: Option<&Value>| labels.and_then(Value::as_object).is_none_or(Object::is_empty);
    let labels = object
        .get("spec")
        .and_then(|spec| spec.pointer("/template/metadata/labels"))
        .cloned();
    let Some(labels) = labels.filter(|labels| !is_empty(Some(labels))) else {
        return;
    };
    let spec = section(object, "spec");
    if is_empty(spec.get("selector")) {
        spec.insert("selector".into(), labels.clone());
    }
    if is_empty(object.metadata().and_then(|m| m.get("labels"))) {
        object.metadata_mut().insert("labels".into(), labels);
    }
}
