//! Node: what a node may be given but not changed.

use mizzen_api::object::Object;
use mizzen_api::status::FieldError;
use mizzen_api::validation::{label_value, qualified_name};

use super::check::Check;
use super::{Context, Strategy};

/// Strategy of Node.
pub(super) struct Node;

impl Strategy for Node {
    fn default(&self, _: &Context<'_>, object: &mut Object) {
        let Some(status) = super::check::existing(object, "status") else {
            return;
        };
        if let Some(capacity) = status.get("capacity").cloned() {
            super::check::default(status, "allocatable", capacity);
        }
    }

    fn validate(&self, _: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        let mut seen = Vec::new();
        for taint in check.field("spec").field("taints").items() {
            taint.field("key").must_obey(qualified_name);
            taint.field("value").obeys(label_value);
            taint
                .field("effect")
                .must_be_one_of(&["NoExecute", "NoSchedule", "PreferNoSchedule"]);
            let id = (taint.field("key").str(), taint.field("effect").str());
            if seen.contains(&id) {
                taint.invalid("taints must be unique by key and effect pair");
            }
            seen.push(id);
        }
        check.finish()
    }

    fn validate_update(&self, _: &Context<'_>, object: &Object, old: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        let (new, old) = (check.field("spec"), check.beside(old).field("spec"));
        if old.field("podCIDR").exists() && !new.field("podCIDR").same(&old.field("podCIDR")) {
            new.field("podCIDR")
                .forbidden("node updates may not change podCIDR except from \"\" to valid");
        }
        if old.field("providerID").exists() && !new.field("providerID").same(&old.field("providerID")) {
            new.field("providerID")
                .forbidden("node updates may not change providerID except from \"\" to valid");
        }
        check.finish()
    }
}
