//! Event: about an object of the namespace that the Event is in.

use mizzen_api::object::{Object, ObjectExt};
use mizzen_api::status::FieldError;

use super::check::Check;
use super::{Context, Strategy};

/// Strategy of Event, of both groups: they share one stored form.
pub(super) struct Event;

impl Strategy for Event {
    fn validate(&self, _: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        let subject = ["involvedObject", "regarding"]
            .map(|name| check.field(name))
            .into_iter()
            .find(Check::exists);
        if let Some(subject) = subject {
            let namespace = subject.field("namespace");
            // Events about objects without a namespace go to "default".
            let allowed = match namespace.str() {
                "" => matches!(object.namespace(), "default" | "kube-system" | ""),
                name => name == object.namespace(),
            };
            if !allowed {
                namespace.invalid("does not match event.namespace");
            }
        }
        check.finish()
    }
}
