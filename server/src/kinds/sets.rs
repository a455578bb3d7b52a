//! StatefulSet, DaemonSet and the ControllerRevisions that they keep.

use mizzen_api::object::{Object, ObjectExt};
use mizzen_api::status::FieldError;
use serde_json::{Value, json};

use super::check::{Check, default, each, existing, section};
use super::workload::{check_common, check_share, common_defaults, is_zero, selector_stays};
use super::{Context, Strategy, pod_spec, storage};

/// What a StatefulSet's update may change.
const CHANGEABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];
const FIXED: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
/// How often a DaemonSet's template was changed.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Strategy of StatefulSet.
pub(super) struct StatefulSet;

impl Strategy for StatefulSet {
    fn default(&self, _: &Context<'_>, object: &mut Object) {
        let spec = section(object, "spec");
        common_defaults(spec);
        default(spec, "podManagementPolicy", "OrderedReady");
        default(spec, "revisionHistoryLimit", 10);
        let policy = section(spec, "persistentVolumeClaimRetentionPolicy");
        default(policy, "whenDeleted", "Retain");
        default(policy, "whenScaled", "Retain");
        let strategy = section(spec, "updateStrategy");
        default(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = section(strategy, "rollingUpdate");
            default(rolling, "partition", 0);
            default(rolling, "maxUnavailable", 1);
        }
        for claim in each(spec, "volumeClaimTemplates") {
            default(claim, "apiVersion", "v1");
            default(claim, "kind", "PersistentVolumeClaim");
            storage::claim_defaults(claim);
            default(section(claim, "status"), "phase", "Pending");
        }
    }

    fn prepare_create(&self, _: &Context<'_>, object: &mut Object) {
        object.insert("status".into(), json!({"replicas": 0, "availableReplicas": 0}));
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        check_counts(
            &check.field("status"),
            &[
                "replicas",
                "readyReplicas",
                "currentReplicas",
                "updatedReplicas",
                "availableReplicas",
            ],
        );
        if context.subresource.is_empty() {
            let spec = check.field("spec");
            let whole = with_claims(object);
            check_common(&check.beside(&whole).field("spec"), "statefulset", object);
            let management = spec.field("podManagementPolicy");
            if !matches!(management.str(), "OrderedReady" | "Parallel") {
                management.invalid("must be 'OrderedReady' or 'Parallel'");
            }
            check_stateful_strategy(&spec.field("updateStrategy"));
            let policy = spec.field("persistentVolumeClaimRetentionPolicy");
            policy.field("whenDeleted").one_of(&["Delete", "Retain"]);
            policy.field("whenScaled").one_of(&["Delete", "Retain"]);
            spec.field("revisionHistoryLimit").not_negative();
            spec.field("ordinals").field("start").not_negative();
            spec.field("serviceName").obeys(mizzen_api::validation::dns_subdomain);
            for claim in spec.field("volumeClaimTemplates").items() {
                claim
                    .field("metadata")
                    .field("name")
                    .must_obey(mizzen_api::validation::dns_label);
            }
        }
        check.finish()
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Vec<FieldError> {
        if !context.subresource.is_empty() {
            return Vec::new();
        }
        let fixed = |object: &Object| {
            let mut spec = object
                .get("spec")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default();
            spec.retain(|field, value| !CHANGEABLE.contains(&field.as_str()) && !value.is_null());
            spec
        };
        match fixed(object) == fixed(old) {
            true => Vec::new(),
            false => vec![FieldError::forbidden("spec", FIXED)],
        }
    }
}

/// The object with the volumes that its Pods will have, which the template's mounts may name.
fn with_claims(object: &Object) -> Object {
    let mut object = object.clone();
    let spec = section(&mut object, "spec");
    let claims = spec
        .get("volumeClaimTemplates")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let Some(pod) = existing(spec, "template").and_then(|template| existing(template, "spec")) else {
        return object;
    };
    let mut volumes = pod
        .get("volumes")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for claim in claims {
        let name = &claim["metadata"]["name"];
        if name.is_string() && !volumes.iter().any(|volume| volume["name"] == *name) {
            volumes.push(json!({"name": name, "emptyDir": {}}));
        }
    }
    if !volumes.is_empty() {
        pod.insert("volumes".into(), volumes.into());
    }
    object
}

fn check_stateful_strategy(strategy: &Check<'_>) {
    let (kind, rolling) = (strategy.field("type"), strategy.field("rollingUpdate"));
    match kind.str() {
        "RollingUpdate" => {
            rolling.field("partition").not_negative();
            let unavailable = rolling.field("maxUnavailable");
            check_share(&unavailable);
            if is_zero(&unavailable) {
                unavailable.invalid("cannot be 0");
            }
            check_percent(&unavailable);
        }
        "OnDelete" if rolling.exists() => rolling.invalid("only allowed for updateStrategy 'RollingUpdate'"),
        "OnDelete" => {}
        _ => kind.invalid("must be 'RollingUpdate' or 'OnDelete'"),
    }
}

fn check_percent(share: &Check<'_>) {
    if let Some(percent) = share.str().strip_suffix('%').and_then(|p| p.parse::<i64>().ok())
        && percent > 100
    {
        share.invalid("must not be greater than 100%");
    }
}

fn check_counts(status: &Check<'_>, names: &[&str]) {
    status.field("observedGeneration").not_negative();
    status.field("collisionCount").not_negative();
    let total = status.field("replicas").int();
    for name in names {
        status.field(name).not_negative();
        if total.zip(status.field(name).int()).is_some_and(|(total, n)| n > total) {
            status.field(name).invalid("cannot be greater than status.replicas");
        }
    }
}

/// Strategy of DaemonSet.
pub(super) struct DaemonSet;

impl Strategy for DaemonSet {
    fn default(&self, _: &Context<'_>, object: &mut Object) {
        let spec = section(object, "spec");
        if let Some(template) = existing(spec, "template")
            && let Some(pod) = existing(template, "spec")
        {
            pod_spec::set_defaults(pod);
        }
        default(spec, "revisionHistoryLimit", 10);
        let strategy = section(spec, "updateStrategy");
        default(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = section(strategy, "rollingUpdate");
            default(rolling, "maxUnavailable", 1);
            default(rolling, "maxSurge", 0);
        }
    }

    fn prepare_create(&self, _: &Context<'_>, object: &mut Object) {
        let zero = json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0,
            "numberReady": 0});
        object.insert("status".into(), zero);
        count_templates(object, 1);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        if context.subresource.is_empty() {
            let template = |object: &Object| object.get("spec").and_then(|spec| spec.get("template")).cloned();
            let annotation = |metadata: &Object| {
                let text = metadata.get("annotations")?.get(TEMPLATE_GENERATION)?.as_str()?;
                text.parse::<i64>().ok()
            };
            let before = old.metadata().and_then(annotation).unwrap_or(1);
            let changed = template(object) != template(old);
            count_templates(object, before + i64::from(changed));
        }
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        check_counts(
            &check.field("status"),
            &[
                "currentNumberScheduled",
                "numberMisscheduled",
                "desiredNumberScheduled",
                "numberReady",
                "updatedNumberScheduled",
                "numberAvailable",
                "numberUnavailable",
            ],
        );
        if context.subresource.is_empty() {
            let spec = check.field("spec");
            check_common(&spec, "daemonset", object);
            spec.field("revisionHistoryLimit").not_negative();
            check_daemon_strategy(&spec.field("updateStrategy"));
        }
        check.finish()
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Vec<FieldError> {
        selector_stays(context, object, old)
    }
}

fn count_templates(object: &mut Object, generation: i64) {
    section(object.metadata_mut(), "annotations").insert(TEMPLATE_GENERATION.into(), generation.to_string().into());
}

fn check_daemon_strategy(strategy: &Check<'_>) {
    let (kind, rolling) = (strategy.field("type"), strategy.field("rollingUpdate"));
    kind.one_of(&["OnDelete", "RollingUpdate"]);
    if kind.str() != "RollingUpdate" {
        return;
    }
    let (unavailable, surge) = (rolling.field("maxUnavailable"), rolling.field("maxSurge"));
    check_share(&unavailable);
    check_share(&surge);
    check_percent(&unavailable);
    check_percent(&surge);
    match (
        is_zero(&unavailable) || !unavailable.exists(),
        is_zero(&surge) || !surge.exists(),
    ) {
        (true, true) => unavailable.invalid("cannot be 0 when maxSurge is 0"),
        (false, false) => surge.invalid("may not be set when maxUnavailable is non-zero"),
        _ => {}
    }
}

/// Strategy of ControllerRevision: what it holds never changes.
pub(super) struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn validate(&self, _: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        let (data, revision) = (check.field("data"), check.field("revision"));
        if !data.exists() {
            data.required("data is mandatory");
        }
        revision.not_negative();
        check.finish()
    }

    fn validate_update(&self, _: &Context<'_>, object: &Object, old: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        check.field("data").immutable(&check.beside(old).field("data"));
        check.finish()
    }
}
