//! Object metadata: what the server sets, carries over and refuses, for every kind alike.

use mizzen_api::object::{Object, ObjectExt};
use mizzen_api::resource::Resource;
use mizzen_api::status::FieldError;
use mizzen_api::validation::{self, Problems};
use serde_json::Value;

use crate::kinds::{self, rules};

/// Length to which `generateName` is cut before the random part.
const GENERATED_BASE_MAX: usize = 58;
/// Total size of annotations, as upstream.
const ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;

/// Now, as API objects write it.
pub fn now() -> String {
    in_seconds(0)
}

/// A time to come, as API objects write it.
pub(super) fn in_seconds(seconds: i64) -> String {
    let time = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A name for `generateName`.
pub(super) fn generate_name(base: &str) -> String {
    // No vowels and nothing that looks alike: no words come out by chance, as upstream.
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut name: String = base.chars().take(GENERATED_BASE_MAX).collect();
    name.extend((0..5).map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())])));
    name
}

/// Gives a new object what only the server may set.
pub(super) fn begin(object: &mut Object, resource: &Resource) {
    let metadata = object.metadata_mut();
    for key in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "resourceVersion",
        "generation",
    ] {
        metadata.remove(key);
    }
    metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".into(), now().into());
    if rules::counts_generations(resource) {
        metadata.insert("generation".into(), 1.into());
    }
}

/// Carries over from the old object what only the server may change.
pub(super) fn carry_over(object: &mut Object, old: &Object) {
    const SERVER_OWNED: [&str; 5] = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ];
    let metadata = object.metadata_mut();
    for key in SERVER_OWNED {
        match old.metadata().and_then(|metadata| metadata.get(key)) {
            Some(value) => metadata.insert(key.into(), value.clone()),
            None => metadata.remove(key),
        };
    }
    metadata.remove("selfLink");
}

/// Raises the generation when anything but metadata and status changed.
pub(super) fn count_generation(object: &mut Object, old: &Object, resource: &Resource) {
    if !rules::counts_generations(resource) || same_desire(object, old) {
        return;
    }
    let generation = old
        .metadata()
        .and_then(|m| m.get("generation"))
        .and_then(Value::as_i64)
        .unwrap_or_default();
    object
        .metadata_mut()
        .insert("generation".into(), (generation + 1).into());
}

fn same_desire(a: &Object, b: &Object) -> bool {
    fn desire(object: &Object) -> impl Iterator<Item = (&String, &Value)> {
        object
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "metadata" | "status"))
    }
    desire(a).eq(desire(b))
}

/// What is wrong with the metadata of a new or changed object.
pub(super) fn validate(object: &Object, resource: &Resource) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let metadata = object.metadata();
    let text = |key: &str| object.meta_str(key);
    let strategy = kinds::strategy(resource);
    let generate = text("generateName");
    if !generate.is_empty() {
        let trimmed = generate.trim_end_matches(['-', '.']);
        blame(
            &mut errors,
            "metadata.generateName",
            generate,
            strategy.name_problems(trimmed),
        );
    }
    let name = text("name");
    if name.is_empty() {
        errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else {
        blame(&mut errors, "metadata.name", name, strategy.name_problems(name));
    }
    let namespace = text("namespace");
    if resource.namespaced() {
        if namespace.is_empty() {
            errors.push(FieldError::required("metadata.namespace", ""));
        } else {
            blame(
                &mut errors,
                "metadata.namespace",
                namespace,
                validation::dns_label(namespace),
            );
        }
    } else if !namespace.is_empty() {
        errors.push(FieldError::forbidden("metadata.namespace", "not allowed on this type"));
    }
    let map = |key: &str| metadata.and_then(|m| m.get(key)).and_then(Value::as_object);
    for (key, value) in map("labels").into_iter().flatten() {
        blame(&mut errors, "metadata.labels", key, validation::qualified_name(key));
        let value = value.as_str().unwrap_or_default();
        blame(&mut errors, "metadata.labels", value, validation::label_value(value));
    }
    let mut annotations_bytes = 0;
    for (key, value) in map("annotations").into_iter().flatten() {
        blame(
            &mut errors,
            "metadata.annotations",
            key,
            validation::qualified_name(&key.to_lowercase()),
        );
        annotations_bytes += key.len() + value.as_str().unwrap_or_default().len();
    }
    if annotations_bytes > ANNOTATIONS_MAX_BYTES {
        errors.push(FieldError::too_long("metadata.annotations", ANNOTATIONS_MAX_BYTES));
    }
    let list = |key: &str| metadata.and_then(|m| m.get(key)).and_then(Value::as_array);
    owners(&mut errors, list("ownerReferences").map_or(&[], Vec::as_slice));
    for finalizer in list("finalizers").into_iter().flatten().filter_map(Value::as_str) {
        blame(
            &mut errors,
            "metadata.finalizers",
            finalizer,
            validation::qualified_name(finalizer),
        );
    }
    errors
}

fn owners(errors: &mut Vec<FieldError>, owners: &[Value]) {
    let mut controllers = Vec::new();
    for (at, owner) in owners.iter().enumerate() {
        let text = |key: &str| owner[key].as_str().unwrap_or_default();
        for key in ["apiVersion", "kind", "name", "uid"] {
            if text(key).is_empty() {
                let field = format!("metadata.ownerReferences[{at}].{key}");
                errors.push(FieldError::invalid(field, "", format!("{key} must not be empty")));
            }
        }
        if owner["controller"] == true {
            controllers.push(text("name"));
        }
    }
    if controllers.len() > 1 {
        let detail = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
            controllers[0], controllers[1]
        );
        errors.push(FieldError::invalid(
            "metadata.ownerReferences",
            Value::Array(owners.to_vec()),
            detail,
        ));
    }
}

/// What is wrong with how metadata changed.
pub(super) fn validate_update(object: &Object, old: &Object) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut immutable = |field: &str, new: &str, old: &str| {
        if new != old {
            errors.push(FieldError::invalid(
                format!("metadata.{field}"),
                new,
                "field is immutable",
            ));
        }
    };
    immutable("name", object.name(), old.name());
    immutable("namespace", object.namespace(), old.namespace());
    if old.meta_str("deletionTimestamp").is_empty() {
        return errors;
    }
    let finalizers = |o: &Object| -> Vec<String> {
        let list = o.metadata().and_then(|m| m.get("finalizers")).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(|f| f.as_str().map(str::to_owned))
            .collect()
    };
    let before = finalizers(old);
    let added: Vec<_> = finalizers(object).into_iter().filter(|f| !before.contains(f)).collect();
    if !added.is_empty() {
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers {}",
            serde_json::to_string(&added)
                .unwrap_or_default()
                .replace("\",\"", "\", \"")
        );
        errors.push(FieldError::forbidden("metadata.finalizers", detail));
    }
    errors
}

fn blame(errors: &mut Vec<FieldError>, field: &str, value: &str, problems: Problems) {
    errors.extend(
        problems
            .into_iter()
            .map(|problem| FieldError::invalid(field, value, problem)),
    );
}
