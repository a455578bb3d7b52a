//! Deletes bootstrap tokens when they end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kube::core::params::{DeleteParams, Preconditions};
use mizzen_api::client::reflector::{Key, Projection, Reflector};
use mizzen_api::client::rest::Rest;
use serde::Deserialize;

use super::{Context, Controller, Next};
use crate::join::NAMESPACE;
use crate::projection::{Meta, Watched as _, projection};

/// A Secret that holds a bootstrap token.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Token {
    metadata: Meta,
    data: Data,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Data {
    expiration: Option<Box<str>>,
}

projection!(Token, "", "v1", "secrets", fields: "type=bootstrap.kubernetes.io/token,metadata.namespace=kube-system");

struct TokenCleaner {
    rest: Rest,
    tokens: Arc<Reflector<Token>>,
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = TokenCleaner {
        rest: context.rest.clone(),
        tokens: context.caches.of(),
    };
    let queue = context.queue.clone();
    controller.tokens.subscribe(move |change| {
        if let Some(token) = change.new {
            queue.add(token.key());
        }
    });
    Arc::new(controller)
}

/// When a token ends; one without a readable end never does.
fn end(token: &Token) -> Option<Timestamp> {
    let text = STANDARD.decode(&**token.data.expiration.as_ref()?).ok()?;
    std::str::from_utf8(&text).ok()?.parse().ok()
}

#[async_trait]
impl Controller for TokenCleaner {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(token) = self.tokens.get(&key.namespace, &key.name) else {
            return Ok(Next::Change);
        };
        let Some(left) = end(&token).map(|end| end.duration_since(Timestamp::now())) else {
            return Ok(Next::Change);
        };
        if left.is_positive() {
            return Ok(Next::After(Duration::try_from(left)?));
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(token.metadata.uid.to_string()),
                // It may have been prolonged a moment ago.
                resource_version: Some(token.metadata.resource_version.to_string()),
            }),
            ..DeleteParams::default()
        };
        self.rest.delete(&Token::AT, NAMESPACE, &key.name, &params).await?;
        Ok(Next::Change)
    }
}
