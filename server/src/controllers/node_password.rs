//! Forgets a node's password when the node is deleted, so that another machine may have its name.

use std::sync::Arc;

use async_trait::async_trait;
use kube::core::params::DeleteParams;
use mizzen_api::client::reflector::{Key, Projection, Reflector};
use mizzen_api::client::rest::{Gvr, Rest};

use super::certificates::approval::password_secret_name;
use super::kinds::Node;
use super::{Context, Controller, Next};
use crate::join::NAMESPACE;

const SECRETS: Gvr<'static> = Gvr::new("", "v1", "secrets");

struct NodePassword {
    rest: Rest,
    nodes: Arc<Reflector<Node>>,
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = NodePassword {
        rest: context.rest.clone(),
        nodes: context.caches.of(),
    };
    let queue = context.queue.clone();
    controller.nodes.subscribe(move |change| {
        if change.new.is_none() {
            queue.add(change.latest().key());
        }
    });
    Arc::new(controller)
}

#[async_trait]
impl Controller for NodePassword {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        // It may be back already: then the password is its own.
        if self.nodes.get("", &key.name).is_none() {
            let name = password_secret_name(&key.name);
            let params = DeleteParams::default();
            self.rest.delete(&SECRETS, NAMESPACE, &name, &params).await?;
        }
        Ok(Next::Change)
    }
}
