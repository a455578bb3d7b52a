//! ServiceAccount: every namespace has one named `default`.

use std::sync::Arc;

use async_trait::async_trait;
use mizzen_api::client::reflector::{Key, Reflector};
use mizzen_api::client::rest::{self, Rest};
use serde::de::IgnoredAny;
use serde_json::json;

use super::kinds::{Namespace, ServiceAccount};
use super::{Context, Controller, Next};
use crate::projection::Watched;

const NAME: &str = "default";

struct ServiceAccounts {
    rest: Rest,
    namespaces: Arc<Reflector<Namespace>>,
    accounts: Arc<Reflector<ServiceAccount>>,
}

/// Builds the controller; its keys are namespaces.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = ServiceAccounts {
        rest: context.rest.clone(),
        namespaces: context.caches.of(),
        accounts: context.caches.of(),
    };
    let queue = context.queue.clone();
    controller
        .namespaces
        .subscribe(move |change| queue.add(change.latest().key_of()));
    let queue = context.queue.clone();
    controller.accounts.subscribe(move |change| {
        if change.new.is_none() {
            queue.add(Key::new("", &change.latest().metadata.namespace));
        }
    });
    Arc::new(controller)
}

impl Namespace {
    /// The key of the namespace.
    pub(super) fn key_of(&self) -> Key {
        Key::new("", &self.metadata.name)
    }

    /// Whether objects can be made in it.
    pub(super) fn is_active(&self) -> bool {
        !self.metadata.is_deleting() && &*self.status.phase != "Terminating"
    }
}

#[async_trait]
impl Controller for ServiceAccounts {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let active = self
            .namespaces
            .get("", &key.name)
            .is_some_and(|namespace| namespace.is_active());
        if !active || self.accounts.get(&key.name, NAME).is_some() {
            return Ok(Next::Change);
        }
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME}});
        match self
            .rest
            .create::<IgnoredAny>(&ServiceAccount::AT, &key.name, &account)
            .await
        {
            Err(error) if !may_be_ignored(&error) => Err(error.into()),
            _ => Ok(Next::Change),
        }
    }
}

/// Whether creating failed because the object is there already, or its namespace about to vanish.
pub(super) fn may_be_ignored(error: &rest::Error) -> bool {
    rest::is_already_exists(error) || rest::is_namespace_terminating(error) || rest::is_not_found(error)
}
