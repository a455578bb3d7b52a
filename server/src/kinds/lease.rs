//! Lease: who holds what, for how long.

use mizzen_api::object::Object;
use mizzen_api::status::FieldError;

use super::check::Check;
use super::{Context, Strategy};

/// Strategy of Lease.
pub(super) struct Lease;

impl Strategy for Lease {
    fn validate(&self, _: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        let spec = check.field("spec");
        spec.field("leaseDurationSeconds").positive();
        spec.field("leaseTransitions").not_negative();
        check.finish()
    }
}
