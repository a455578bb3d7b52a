//! ReplicaSet: as many Pods as asked for. All of it is [`super::replicas`].

use std::sync::Arc;

use super::kinds::ReplicaSet;
use super::replicas::{Family, Replicas};
use super::{Context, Controller};

impl Family for ReplicaSet {
    const KIND: (&'static str, &'static str) = ("apps/v1", "ReplicaSet");

    fn form(&self) -> &ReplicaSet {
        self
    }
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    Replicas::<ReplicaSet>::build(context)
}
