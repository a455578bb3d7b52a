//! Secret: a type with rules, `stringData` folded into `data`. Messages never show data.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mizzen_api::object::{Object, ObjectExt};
use mizzen_api::status::FieldError;
use serde_json::Value;

use super::check::{Check, default, section};
use super::config_map::{MAX_DATA_BYTES, check_key, stays_immutable};
use super::{Context, Strategy};

/// Types, and the keys that each requires in `data`.
const REQUIRED_KEYS: &[(&str, &[&str])] = &[
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
];
const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

/// Strategy of Secret.
pub(super) struct Secret;

impl Strategy for Secret {
    fn default(&self, _: &Context<'_>, object: &mut Object) {
        default(object, "type", "Opaque");
        let Some(Value::Object(strings)) = object.remove("stringData") else {
            return;
        };
        let data = section(object, "data");
        for (key, value) in strings {
            data.insert(key, STANDARD.encode(value.as_str().unwrap_or_default()).into());
        }
    }

    fn validate(&self, _: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        let data = check.field("data");
        let mut total = 0;
        for (key, entry) in data.entries() {
            check_key(key, &entry);
            total += entry.str().len() / 4 * 3;
        }
        if total > MAX_DATA_BYTES {
            check.report(FieldError::too_long("data", MAX_DATA_BYTES));
        }
        let kind = check.field("type").str();
        for (_, keys) in REQUIRED_KEYS.iter().filter(|(name, _)| *name == kind) {
            for key in *keys {
                if !data.entries().any(|(present, _)| present == *key) {
                    check.report(FieldError::required(format!("data[{key}]"), ""));
                }
            }
        }
        if kind == "kubernetes.io/basic-auth" && !data.entries().any(|(key, _)| key == "username" || key == "password")
        {
            check.report(FieldError::required("data[username]", ""));
            check.report(FieldError::required("data[password]", ""));
        }
        let annotations = object.metadata().and_then(|m| m.get("annotations"));
        let account = annotations
            .and_then(|a| a.get(SERVICE_ACCOUNT_NAME))
            .and_then(Value::as_str);
        if kind == "kubernetes.io/service-account-token" && account.is_none_or(str::is_empty) {
            check.report(FieldError::required(
                format!("metadata.annotations[{SERVICE_ACCOUNT_NAME}]"),
                "",
            ));
        }
        check.finish()
    }

    fn validate_update(&self, _: &Context<'_>, object: &Object, old: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        let old = check.beside(old);
        check.field("type").immutable(&old.field("type"));
        stays_immutable(&check, &old, &["data"]);
        check.finish()
    }
}
