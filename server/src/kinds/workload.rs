//! Deployment, ReplicaSet and ReplicationController: replicas of a template.

use mizzen_api::object::{Object, ObjectExt};
use mizzen_api::selector::LabelSelector;
use mizzen_api::status::FieldError;
use serde_json::{Value, json};

use super::check::{Check, default, existing, section};
use super::pod_spec::validate::{check_label_selector, check_labels};
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

    fn validate(&self, context: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        check_status(&check);
        if context.subresource.is_empty() {
            let spec = check.field("spec");
            check_common(&spec, "deployment", object);
            spec.field("revisionHistoryLimit").not_negative();
            check_strategy(&spec.field("strategy"));
            let (deadline, ready) = (spec.field("progressDeadlineSeconds"), spec.field("minReadySeconds"));
            deadline.not_negative();
            if deadline.int().is_some_and(|n| n <= ready.int().unwrap_or_default()) {
                deadline.invalid("must be greater than minReadySeconds");
            }
        }
        check.finish()
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Vec<FieldError> {
        selector_stays(context, object, old)
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

    fn validate(&self, context: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        check_status(&check);
        if context.subresource.is_empty() {
            check_common(&check.field("spec"), "replicaset", object);
        }
        check.finish()
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Vec<FieldError> {
        selector_stays(context, object, old)
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

    fn validate(&self, context: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        check_status(&check);
        if context.subresource.is_empty() {
            let spec = check.field("spec");
            let selector = spec.field("selector");
            check_labels(&selector);
            if selector.must_exist("") {
                check_template(
                    &spec,
                    &LabelSelector::from_map(selector.value().and_then(Value::as_object)),
                    "ReplicaSet",
                );
            }
            check_replicas(&spec);
        }
        check.finish()
    }
}

/// Which Pods an object owns is decided when it is made.
pub(super) fn selector_stays(context: &Context<'_>, object: &Object, old: &Object) -> Vec<FieldError> {
    let check = Check::of(object);
    if context.subresource.is_empty() {
        check
            .field("spec")
            .field("selector")
            .immutable(&check.beside(old).field("spec").field("selector"));
    }
    check.finish()
}

pub(super) fn common_defaults(spec: &mut Object) {
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

pub(super) fn check_common(spec: &Check<'_>, kind: &str, object: &Object) {
    check_replicas(spec);
    let selector = spec.field("selector");
    if !selector.exists() {
        selector.required("");
        return;
    }
    check_label_selector(&selector);
    if selector.field("matchLabels").is_empty() && selector.field("matchExpressions").is_empty() {
        selector.invalid(format!("empty selector is invalid for {kind}"));
    } else if let Ok(parsed) = LabelSelector::from_object(object.get("spec").and_then(|s| s.get("selector"))) {
        check_template(spec, &parsed, kind_in_words(kind));
    }
}

/// Deployments and ReplicaSets share a message that names the latter.
fn kind_in_words(kind: &str) -> &'static str {
    match kind {
        "statefulset" => "StatefulSet",
        "daemonset" => "DaemonSet",
        _ => "ReplicaSet",
    }
}

fn check_replicas(spec: &Check<'_>) {
    spec.field("replicas").not_negative();
    spec.field("minReadySeconds").not_negative();
}

fn check_template(spec: &Check<'_>, selector: &LabelSelector, kind: &str) {
    let template = spec.field("template");
    if !template.exists() {
        template.required("");
        return;
    }
    let labels = template.field("metadata").field("labels");
    let none = Object::new();
    if !selector.matches(labels.value().and_then(Value::as_object).unwrap_or(&none)) {
        labels.invalid("`selector` does not match template `labels`");
    }
    check_labels(&labels);
    let pod = template.field("spec");
    pod_spec::validate::validate(&pod);
    let restart = pod.field("restartPolicy");
    if matches!(restart.str(), "Never" | "OnFailure") {
        restart.one_of(&["Always"]);
    }
    if pod.field("activeDeadlineSeconds").exists() {
        pod.field("activeDeadlineSeconds")
            .forbidden(&format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}

fn check_strategy(strategy: &Check<'_>) {
    let (kind, rolling) = (strategy.field("type"), strategy.field("rollingUpdate"));
    kind.one_of(&["Recreate", "RollingUpdate"]);
    if kind.str() == "Recreate" && rolling.exists() {
        rolling.forbidden("may not be specified when strategy `type` is 'Recreate'");
    }
    if kind.str() != "RollingUpdate" {
        return;
    }
    let (unavailable, surge) = (rolling.field("maxUnavailable"), rolling.field("maxSurge"));
    check_share(&unavailable);
    check_share(&surge);
    if is_zero(&unavailable) && is_zero(&surge) {
        unavailable.invalid("may not be 0 when `maxSurge` is 0");
    }
    if let Some(percent) = unavailable.str().strip_suffix('%').and_then(|p| p.parse::<i64>().ok())
        && percent > 100
    {
        unavailable.invalid("must not be greater than 100%");
    }
}

/// A number, or a share of the replicas such as `25%`.
pub(super) fn check_share(share: &Check<'_>) {
    match share.value() {
        Some(Value::String(text)) => {
            let digits = text.strip_suffix('%').unwrap_or_default();
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                share.invalid("a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')");
            }
        }
        _ => share.not_negative(),
    }
}

pub(super) fn is_zero(share: &Check<'_>) -> bool {
    share.int() == Some(0) || share.str().strip_suffix('%').is_some_and(|n| n.parse() == Ok(0))
}

fn check_status(object: &Check<'_>) {
    let status = object.field("status");
    for name in [
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "fullyLabeledReplicas",
        "observedGeneration",
    ] {
        status.field(name).not_negative();
    }
    let total = status.field("replicas").int().unwrap_or_default();
    for name in [
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "fullyLabeledReplicas",
    ] {
        if status.field(name).int().is_some_and(|n| n > total) {
            status.field(name).invalid("cannot be greater than status.replicas");
        }
    }
}
