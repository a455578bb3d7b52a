//! ConfigMap: keys are file names, and an immutable one stays as it is.

use mizzen_api::object::Object;
use mizzen_api::status::FieldError;
use mizzen_api::validation::config_key;

use super::check::Check;
use super::{Context, Strategy};

/// Most bytes of data that a ConfigMap or a Secret may hold.
pub(super) const MAX_DATA_BYTES: usize = 1024 * 1024;

/// Strategy of ConfigMap.
pub(super) struct ConfigMap;

impl Strategy for ConfigMap {
    fn validate(&self, _: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        let (data, binary) = (check.field("data"), check.field("binaryData"));
        let mut total = 0;
        for (key, entry) in data.entries().chain(binary.entries()) {
            check_key(key, &entry);
            total += entry.str().len();
        }
        for (key, entry) in data.entries() {
            if binary.entries().any(|(other, _)| other == key) {
                entry.report(FieldError::invalid(
                    entry.path(),
                    key,
                    "duplicate of key present in binaryData",
                ));
            }
        }
        if total > MAX_DATA_BYTES {
            check.report(FieldError::too_long("", MAX_DATA_BYTES));
        }
        check.finish()
    }

    fn validate_update(&self, _: &Context<'_>, object: &Object, old: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        stays_immutable(&check, &check.beside(old), &["data", "binaryData"]);
        check.finish()
    }
}

/// A key of `data` is a file name.
pub(super) fn check_key(key: &str, entry: &Check<'_>) {
    for problem in config_key(key) {
        entry.report(FieldError::invalid(entry.path(), key, problem));
    }
}

/// Once `immutable` is true, neither it nor these fields may change.
pub(super) fn stays_immutable(new: &Check<'_>, old: &Check<'_>, fields: &[&str]) {
    const WHY: &str = "field is immutable when `immutable` is set";
    if !old.field("immutable").bool() {
        return;
    }
    if !new.field("immutable").bool() {
        new.field("immutable").forbidden(WHY);
    }
    for name in fields {
        if !new.field(name).same(&old.field(name)) {
            new.field(name).forbidden(WHY);
        }
    }
}
