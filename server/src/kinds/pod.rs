//! Pod: graceful deletion, a phase, and a spec of which little may change.

use mizzen_api::object::{Object, ObjectExt};
use serde_json::{Value, json};

use super::check::{default, section};
use super::{Context, Strategy, pod_spec};

/// Strategy of Pod.
pub(super) struct Pod;

impl Strategy for Pod {
    fn default(&self, _: &Context<'_>, object: &mut Object) {
        let spec = section(object, "spec");
        default(spec, "enableServiceLinks", true);
        pod_spec::set_defaults(spec);
    }

    fn prepare_create(&self, _: &Context<'_>, object: &mut Object) {
        let class = pod_spec::qos_class(object.get("spec").unwrap_or(&Value::Null));
        object.insert("status".into(), json!({"phase": "Pending", "qosClass": class}));
    }

    fn deletion_grace_seconds(&self, object: &Object, requested: Option<i64>) -> Option<i64> {
        let pointer = |path: &str| {
            object
                .get("spec")
                .and_then(|spec| spec.pointer(path))
                .cloned()
                .unwrap_or_default()
        };
        let phase = object
            .get("status")
            .and_then(|s| s.get("phase"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        // No node will ever stop what was never placed, and what has ended needs no time.
        let nothing_runs =
            pointer("/nodeName").as_str().is_none_or(str::is_empty) || matches!(phase, "Succeeded" | "Failed");
        if nothing_runs {
            return Some(0);
        }
        let already = object
            .metadata()
            .and_then(|m| m.get("deletionGracePeriodSeconds"))
            .and_then(Value::as_i64);
        let wanted = requested
            .or_else(|| pointer("/terminationGracePeriodSeconds").as_i64())
            .unwrap_or(30)
            .max(0);
        Some(already.map_or(wanted, |already| already.min(wanted)))
    }
}
