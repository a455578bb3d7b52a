//! Namespace: a finalizer of its own kind in `spec`, and a phase.

use mizzen_api::object::{Object, ObjectExt};
use serde_json::json;

use super::check::{default, section};
use super::{Context, Strategy};

/// Strategy of Namespace.
pub(super) struct Namespace;

impl Strategy for Namespace {
    fn default(&self, _: &Context<'_>, object: &mut Object) {
        let name = object.name().to_owned();
        if !name.is_empty() {
            section(object.metadata_mut(), "labels").insert("kubernetes.io/metadata.name".into(), name.into());
        }
    }

    fn prepare_create(&self, _: &Context<'_>, object: &mut Object) {
        object.insert("status".into(), json!({"phase": "Active"}));
        let spec = section(object, "spec");
        default(spec, "finalizers", json!([]));
        let finalizers = spec["finalizers"].as_array_mut();
        if let Some(finalizers) = finalizers.filter(|f| !f.iter().any(|v| v == "kubernetes")) {
            finalizers.push("kubernetes".into());
        }
    }

    fn prepare_delete(&self, object: &mut Object) {
        section(object, "status").insert("phase".into(), "Terminating".into());
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        // Only the finalize subresource changes spec.finalizers.
        if context.subresource != "finalize"
            && let Some(spec) = old.get("spec")
        {
            object.insert("spec".into(), spec.clone());
        }
    }
}
