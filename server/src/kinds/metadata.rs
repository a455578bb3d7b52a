//! Metadata: the rules that hold for objects of every kind.

use mizzen_api::object::Object;
use mizzen_api::resource::Resource;
use mizzen_api::status::FieldError;
use mizzen_api::validation::{Problems, dns_1035_label, dns_label, dns_subdomain, path_segment, qualified_name};

use super::check::Check;
use super::pod_spec::validate::check_labels;

/// Most bytes of annotations, keys and values together.
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;
const FINALIZERS: &[&str] = &["foregroundDeletion", "kubernetes", "orphan"];

/// How objects of a kind may be called.
fn name_rule(resource: &Resource) -> fn(&str) -> Problems {
    match (resource.group.as_ref(), resource.kind.as_ref()) {
        ("", "Namespace") => dns_label,
        ("", "Service") => dns_1035_label,
        ("rbac.authorization.k8s.io", _) => path_segment,
        _ => dns_subdomain,
    }
}

/// What is wrong with an object's metadata by itself.
pub fn validate(resource: &Resource, object: &Object) -> Vec<FieldError> {
    let check = Check::of(object);
    let metadata = check.field("metadata");
    let (name, namespace) = (metadata.field("name"), metadata.field("namespace"));
    match name.is_empty() {
        true => name.required("name or generateName is required"),
        false => name.problems(name_rule(resource)(name.str())),
    }
    match resource.namespaced() {
        true if namespace.is_empty() => namespace.required(""),
        true => namespace.problems(dns_label(namespace.str())),
        false if !namespace.is_empty() => namespace.forbidden("not allowed on this type"),
        false => {}
    }
    check_labels(&metadata.field("labels"));
    check_annotations(&metadata.field("annotations"));
    check_owners(&metadata.field("ownerReferences"));
    for finalizer in metadata.field("finalizers").items() {
        finalizer.problems(qualified_name(finalizer.str()));
        if !finalizer.str().contains('/') && !FINALIZERS.contains(&finalizer.str()) {
            finalizer.invalid("name is neither a standard finalizer name nor is it fully qualified");
        }
    }
    check.finish()
}

/// What is wrong with the change of an object's metadata from `old`.
pub fn validate_update(object: &Object, old: &Object) -> Vec<FieldError> {
    let check = Check::of(object);
    let (new, old) = (check.field("metadata"), check.beside(old).field("metadata"));
    for fixed in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        new.field(fixed).immutable(&old.field(fixed));
    }
    if old.field("deletionTimestamp").exists() {
        let before: Vec<_> = old.field("finalizers").items().map(|f| f.str()).collect();
        let added: Vec<_> = new
            .field("finalizers")
            .items()
            .map(|f| f.str())
            .filter(|f| !before.contains(f))
            .collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
            );
            new.field("finalizers").forbidden(&detail);
        }
    }
    check.finish()
}

fn check_annotations(annotations: &Check<'_>) {
    let mut total = 0;
    for (key, value) in annotations.entries() {
        for problem in qualified_name(&key.to_lowercase()) {
            annotations.report(FieldError::invalid(annotations.path(), key, problem));
        }
        total += key.len() + value.str().len();
    }
    if total > MAX_ANNOTATION_BYTES {
        annotations.report(FieldError::too_long(annotations.path(), MAX_ANNOTATION_BYTES));
    }
}

fn check_owners(owners: &Check<'_>) {
    let mut controllers = 0;
    for owner in owners.items() {
        for name in ["apiVersion", "kind", "name", "uid"] {
            let field = owner.field(name);
            if field.is_empty() {
                field.invalid(if name == "apiVersion" {
                    "version must not be empty"
                } else {
                    "must not be empty"
                });
            }
        }
        if owner.field("kind").str() == "Event" && owner.field("apiVersion").str() == "v1" {
            owner.invalid("Event is disallowed from being an owner");
        }
        controllers += usize::from(owner.field("controller").bool());
    }
    if controllers > 1 {
        owners.invalid("Only one reference can have Controller set to true");
    }
}
