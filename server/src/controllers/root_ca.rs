//! Root CA publisher: every namespace has a ConfigMap with the authority that vouches for the API
//! server, which Pods mount beside their token.

use std::sync::Arc;

use async_trait::async_trait;
use mizzen_api::client::reflector::{Key, Reflector};
use mizzen_api::client::rest::{self, Rest};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::kinds::Namespace;
use super::service_account::may_be_ignored;
use super::{Context, Controller, Next};
use crate::projection::{Meta, Watched, projection, update};

const NAME: &str = "kube-root-ca.crt";

/// The published ConfigMap.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Published {
    metadata: Meta,
    data: Data,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Data {
    #[serde(rename = "ca.crt")]
    ca: Box<str>,
}

// Only these: other ConfigMaps are many and large.
projection!(Published, "", "v1", "configmaps", fields: "metadata.name=kube-root-ca.crt");

struct RootCa {
    rest: Rest,
    namespaces: Arc<Reflector<Namespace>>,
    published: Arc<Reflector<Published>>,
    pem: String,
}

/// Builds the controller; its keys are namespaces.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = RootCa {
        rest: context.rest.clone(),
        namespaces: context.caches.of(),
        published: context.caches.of(),
        pem: context.config.root_ca_pem.clone(),
    };
    let queue = context.queue.clone();
    controller
        .namespaces
        .subscribe(move |change| queue.add(change.latest().key_of()));
    let queue = context.queue.clone();
    controller
        .published
        .subscribe(move |change| queue.add(Key::new("", &change.latest().metadata.namespace)));
    Arc::new(controller)
}

#[async_trait]
impl Controller for RootCa {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let active = self
            .namespaces
            .get("", &key.name)
            .is_some_and(|namespace| namespace.is_active());
        if !active || self.pem.is_empty() {
            return Ok(Next::Change);
        }
        match self.published.get(&key.name, NAME) {
            Some(published) if *published.data.ca == *self.pem => {}
            Some(published) => {
                let data = json!({"ca.crt": self.pem});
                update(&self.rest, &Published::AT, &published.metadata, "", |live| {
                    live["data"] = data
                })
                .await?;
            }
            None => self.create(&key.name).await?,
        }
        Ok(Next::Change)
    }
}

impl RootCa {
    async fn create(&self, namespace: &str) -> rest::Result<()> {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": NAME, "annotations": {
                "kubernetes.io/description": "The authority that signs the certificate of the cluster's API server.",
            }},
            "data": {"ca.crt": self.pem},
        });
        match self.rest.create::<IgnoredAny>(&Published::AT, namespace, &map).await {
            Err(error) if !may_be_ignored(&error) => Err(error),
            _ => Ok(()),
        }
    }
}
