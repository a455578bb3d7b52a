//! Node: what a node may be given but not changed.

use mizzen_api::object::Object;
use mizzen_api::status::FieldError;

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
