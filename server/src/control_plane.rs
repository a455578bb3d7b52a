//! Puts the control plane together and runs it.
//!
//! [`ControlPlane::start`] opens the store, loads the cache and starts following the store; from then on
//! the API is there, in-process through [`ControlPlane::client`] and for listeners through
//! [`ControlPlane::router`]. When the token is cancelled the cache stops and watches end.

use std::sync::Arc;

use anyhow::{Context, Result};
use http::Request;
use kube::client::Body;
use tokio_util::sync::CancellationToken;

use crate::apiserver::gates::Gates;
use crate::apiserver::{ApiServer, Parts};
use crate::cache::Cache;
use crate::identity::User;
use crate::store::Store;

/// What the control plane is built on.
pub struct Config {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// Builds what lets requests in, once the cache that it reads from is there.
    pub gates: BuildGates,
    /// TLS for calling kubelets; without it their subresources answer 503.
    pub kubelet_tls: Option<Arc<rustls::ClientConfig>>,
}

/// Builds the gates over a cache.
pub type BuildGates = Box<dyn FnOnce(&Arc<Cache>) -> Gates + Send>;

/// A running control plane.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    server: Arc<ApiServer>,
}

impl ControlPlane {
    /// Loads the state and starts to follow it.
    pub async fn start(config: Config, stop: CancellationToken) -> Result<Self> {
        let registry = mizzen_api::resource::builtin();
        let cache = Cache::load(config.store.clone(), registry)
            .await
            .context("cannot load the state from the store")?;
        let gates = (config.gates)(&cache);
        let server = ApiServer::new(Parts {
            store: config.store,
            cache: cache.clone(),
            registry: registry.clone(),
            gates,
            kubelet_tls: config.kubelet_tls,
        });
        tokio::spawn(async move {
            if let Err(error) = cache.run(stop).await {
                tracing::error!("the watch cache stopped: {error:#}");
            }
        });
        Ok(Self { server })
    }

    /// A client that calls the API server in-process as this user. All rules after authentication hold.
    pub fn client(&self, user: User) -> kube::Client {
        let server = self.server.clone();
        let service = tower::service_fn(move |mut request: Request<Body>| {
            let server = server.clone();
            request.extensions_mut().insert(user.clone());
            async move { Ok::<_, std::convert::Infallible>(server.handle(request.map(axum::body::Body::new)).await) }
        });
        kube::Client::new(service, "default")
    }

    /// The API server, for what runs inside it.
    pub fn server(&self) -> &Arc<ApiServer> {
        &self.server
    }

    /// The API as what a listener serves.
    pub fn router(&self) -> axum::Router {
        self.server.router()
    }
}
