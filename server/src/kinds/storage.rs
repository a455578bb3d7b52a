//! PersistentVolume, PersistentVolumeClaim and StorageClass.

use mizzen_api::object::Object;
use mizzen_api::quantity::Quantity;
use mizzen_api::status::FieldError;
use serde_json::{Value, json};

use super::check::{Check, default, existing, section};
use super::pod_spec::validate::check_label_selector;
use super::{Context, Strategy};

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];
const RECLAIM_POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];
/// Fields of a volume's spec that are not the source of its data.
const NOT_SOURCES: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

/// Fills in what upstream fills in for a claim, of its own or in a template.
pub(super) fn claim_defaults(claim: &mut Object) {
    default(section(claim, "spec"), "volumeMode", "Filesystem");
}

/// Strategy of PersistentVolumeClaim.
pub(super) struct Claim;

impl Strategy for Claim {
    fn default(&self, _: &Context<'_>, object: &mut Object) {
        claim_defaults(object);
    }

    fn prepare_create(&self, _: &Context<'_>, object: &mut Object) {
        object.insert("status".into(), json!({"phase": "Pending"}));
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        if context.subresource.is_empty() {
            check_claim(&check.field("spec"));
        }
        check.finish()
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Vec<FieldError> {
        if !context.subresource.is_empty() {
            return Vec::new();
        }
        let spec = |object: &Object| object.get("spec").cloned().unwrap_or_default();
        let (mut new, old_spec) = (spec(object), spec(old));
        let bound = old.get("status").is_some_and(|status| status["phase"] == "Bound");
        let check = Check::of(object);
        check_growth(&check, old, bound);
        // The binder sets the volume, and a class may come once.
        for field in ["volumeName", "storageClassName"] {
            if old_spec[field].is_null() || (field == "volumeName" && old_spec[field] == "") {
                put_back(&mut new, &old_spec, field);
            }
        }
        put_back(&mut new, &old_spec, "volumeAttributesClassName");
        if bound {
            put_back(&mut new, &old_spec, "resources");
        }
        if new != old_spec {
            check.field("spec").forbidden(
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
            );
        }
        check.finish()
    }
}

fn put_back(new: &mut Value, old: &Value, field: &str) {
    let Some(new) = new.as_object_mut() else { return };
    match old.get(field) {
        Some(value) => drop(new.insert(field.to_owned(), value.clone())),
        None => drop(new.remove(field)),
    }
}

fn check_growth(check: &Check<'_>, old: &Object, bound: bool) {
    let (new, before) = (request(check), request(&check.beside(old)));
    if bound && bytes(&new) < bytes(&before) {
        // Down to what was granted, a request that cannot be met may be taken back.
        let granted = check.beside(old).field("status").field("capacity").field("storage");
        if bytes(&new) < bytes(&granted) || !granted.exists() {
            new.forbidden("field can not be less than status.capacity");
        }
    }
}

fn request<'a>(check: &Check<'a>) -> Check<'a> {
    check
        .field("spec")
        .field("resources")
        .field("requests")
        .field("storage")
}

fn bytes(quantity: &Check<'_>) -> i64 {
    quantity.str().parse().map_or(0, Quantity::value)
}

fn check_claim(spec: &Check<'_>) {
    check_modes(&spec.field("accessModes"), "at least 1 access mode is required");
    check_label_selector(&spec.field("selector"));
    spec.field("volumeMode").one_of(VOLUME_MODES);
    spec.field("storageClassName")
        .obeys(mizzen_api::validation::dns_subdomain);
    let storage = spec.field("resources").field("requests").field("storage");
    if !storage.exists() {
        storage.required("");
    } else if bytes(&storage) <= 0 {
        storage.invalid("must be greater than zero");
    }
}

fn check_modes(modes: &Check<'_>, none: &str) {
    if modes.is_empty() {
        modes.required(none);
    }
    for mode in modes.items() {
        mode.one_of(MODES);
    }
    let alone = modes.items().any(|mode| mode.str() == "ReadWriteOncePod");
    if alone && modes.items().count() > 1 {
        modes.forbidden("may not use ReadWriteOncePod with other access modes");
    }
}

/// Strategy of PersistentVolume.
pub(super) struct Volume;

impl Strategy for Volume {
    fn default(&self, _: &Context<'_>, object: &mut Object) {
        let spec = section(object, "spec");
        default(spec, "persistentVolumeReclaimPolicy", "Retain");
        default(spec, "volumeMode", "Filesystem");
        if let Some(path) = existing(spec, "hostPath") {
            default(path, "type", "");
        }
        default(section(object, "status"), "phase", "Pending");
    }

    fn prepare_create(&self, _: &Context<'_>, object: &mut Object) {
        object.insert("status".into(), json!({"phase": "Pending"}));
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        if context.subresource.is_empty() {
            check_volume(&check.field("spec"));
        }
        check.finish()
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        if !context.subresource.is_empty() {
            return check.finish();
        }
        let (new, old) = (check.field("spec"), check.beside(old).field("spec"));
        let source = |spec: &Check<'_>| {
            let fields = spec.value().and_then(Value::as_object).into_iter().flatten();
            let sources = fields.filter(|(key, value)| !NOT_SOURCES.contains(&key.as_str()) && !value.is_null());
            sources
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect::<Object>()
        };
        if source(&new) != source(&old) {
            new.forbidden("spec.persistentvolumesource is immutable after creation");
        }
        new.field("volumeMode").immutable(&old.field("volumeMode"));
        if old.field("nodeAffinity").exists() {
            new.field("nodeAffinity").immutable(&old.field("nodeAffinity"));
        }
        check.finish()
    }
}

fn check_volume(spec: &Check<'_>) {
    check_modes(&spec.field("accessModes"), "");
    let capacity = spec.field("capacity");
    if capacity.must_exist("") {
        if capacity.entries().count() != 1 || !capacity.field("storage").exists() {
            let only = FieldError::not_supported(capacity.path(), "", &["storage"]);
            capacity.report(only);
        }
        if bytes(&capacity.field("storage")) <= 0 {
            capacity.field("storage").invalid("must be greater than zero");
        }
    }
    spec.field("persistentVolumeReclaimPolicy").one_of(RECLAIM_POLICIES);
    spec.field("volumeMode").one_of(VOLUME_MODES);
    spec.field("storageClassName")
        .obeys(mizzen_api::validation::dns_subdomain);
    let fields = spec.value().and_then(Value::as_object).into_iter().flatten();
    let mut sources = fields.filter(|(key, value)| !NOT_SOURCES.contains(&key.as_str()) && !value.is_null());
    let (first, second) = (sources.next(), sources.next());
    if first.is_none() {
        spec.required("must specify a volume type");
    }
    if let Some((name, _)) = second {
        spec.field(name).forbidden("may not specify more than 1 volume type");
    }
    let (host, local) = (spec.field("hostPath"), spec.field("local"));
    for path in [&host, &local].into_iter().filter(|path| path.exists()) {
        let place = path.field("path");
        if place.must_exist("") && place.str().split('/').any(|part| part == "..") {
            place.invalid("must not contain '..'");
        }
    }
    if host.exists()
        && host.field("path").str() == "/"
        && spec.field("persistentVolumeReclaimPolicy").str() == "Recycle"
    {
        spec.field("persistentVolumeReclaimPolicy")
            .forbidden("may not be 'recycle' for a hostPath mount of '/'");
    }
    if local.exists() && !spec.field("nodeAffinity").field("required").exists() {
        spec.field("nodeAffinity")
            .required("Local volume requires node affinity");
    }
}

/// Strategy of StorageClass.
pub(super) struct StorageClass;

impl Strategy for StorageClass {
    fn default(&self, _: &Context<'_>, object: &mut Object) {
        default(object, "reclaimPolicy", "Delete");
        default(object, "volumeBindingMode", "Immediate");
    }

    fn validate(&self, _: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        check.field("provisioner").must_exist("");
        check.field("reclaimPolicy").one_of(&["Delete", "Retain"]);
        check
            .field("volumeBindingMode")
            .one_of(&["Immediate", "WaitForFirstConsumer"]);
        let parameters = check.field("parameters");
        for (key, _) in parameters.entries().filter(|(key, _)| key.is_empty()) {
            parameters.report(FieldError::invalid(parameters.path(), key, "field can not be empty."));
        }
        check.finish()
    }

    fn validate_update(&self, _: &Context<'_>, object: &Object, old: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        let old = check.beside(old);
        let (new_parameters, parameters) = (check.field("parameters"), old.field("parameters"));
        if !new_parameters.same(&parameters) {
            new_parameters.forbidden("updates to parameters are forbidden.");
        }
        if !check.field("provisioner").same(&old.field("provisioner")) {
            check
                .field("provisioner")
                .forbidden("updates to provisioner are forbidden.");
        }
        if !check.field("reclaimPolicy").same(&old.field("reclaimPolicy")) {
            check
                .field("reclaimPolicy")
                .forbidden("updates to reclaimPolicy are forbidden.");
        }
        check
            .field("volumeBindingMode")
            .immutable(&old.field("volumeBindingMode"));
        check.finish()
    }
}
