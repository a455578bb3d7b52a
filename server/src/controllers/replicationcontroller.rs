//! ReplicationController: the elder form of ReplicaSet. All of it is [`super::replicas`].

use std::sync::Arc;

use super::kinds::{ReplicaSet, ReplicationController};
use super::replicas::{Family, Replicas};
use super::{Context, Controller};

impl Family for ReplicationController {
    const KIND: (&'static str, &'static str) = ("v1", "ReplicationController");

    fn form(&self) -> &ReplicaSet {
        &self.0
    }
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    Replicas::<ReplicationController>::build(context)
}
