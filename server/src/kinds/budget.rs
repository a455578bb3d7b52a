//! PodDisruptionBudget: how many of its Pods must stay, or may go.

use mizzen_api::object::Object;
use mizzen_api::status::FieldError;
use serde_json::json;

use super::check::Check;
use super::pod_spec::validate::check_label_selector;
use super::workload::check_share;
use super::{Context, Strategy};

/// Strategy of PodDisruptionBudget.
pub(super) struct PodDisruptionBudget;

impl Strategy for PodDisruptionBudget {
    fn prepare_create(&self, _: &Context<'_>, object: &mut Object) {
        let zero = json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
        object.insert("status".into(), zero);
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        if context.subresource == "status" {
            let status = check.field("status");
            for name in [
                "disruptionsAllowed",
                "currentHealthy",
                "desiredHealthy",
                "expectedPods",
                "observedGeneration",
            ] {
                status.field(name).not_negative();
            }
            return check.finish();
        }
        let spec = check.field("spec");
        let (at_least, at_most) = (spec.field("minAvailable"), spec.field("maxUnavailable"));
        if at_least.exists() && at_most.exists() {
            spec.invalid("minAvailable and maxUnavailable cannot be both set");
        }
        for share in [at_least, at_most] {
            check_share(&share);
            if let Some(percent) = share.str().strip_suffix('%').and_then(|p| p.parse::<i64>().ok())
                && percent > 100
            {
                share.invalid("must not be greater than 100%");
            }
        }
        check_label_selector(&spec.field("selector"));
        spec.field("unhealthyPodEvictionPolicy")
            .one_of(&["AlwaysAllow", "IfHealthyBudget"]);
        check.finish()
    }
}
