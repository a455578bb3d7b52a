//! The one HTTP pipeline, a file per stage.
//!
//! A request passes: [`limits`], [`authentication`], resolution of its path into [`request`] terms,
//! [`authorization`], and then the handler of its verb, a file each. Writes go on through decoding,
//! defaulting, [`admission`], validation and the store in [`write`].
//!
//! [`ApiServer`] is the whole of it as one [`tower`] service: listeners serve it to the network, and
//! in-process clients call it directly with their identity as a request extension.
//!
//! Invariant: no handler knows a kind. What differs between kinds is in the registry's rows, in
//! `kinds`, and in the table of [`special`] subresources.

pub mod admission;
pub mod authentication;
pub mod authorization;
mod cacerts;
pub mod call;
mod connect;
mod create;
pub mod dashboard;
pub mod decode;
mod delete;
pub mod discovery;
#[cfg(test)]
mod fake;
pub mod gates;
mod get;
mod gzip;
mod health;
mod issuer;
mod limits;
mod list;
pub mod listener;
pub mod meta;
pub mod metrics;
pub mod negotiation;
mod openapi;
mod patch;
mod pipeline;
pub mod presence;
pub mod query;
pub mod request;
pub mod response;
mod scale;
pub mod special;
mod update;
mod view;
mod watch;
pub mod write;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use axum::body::Body;
use http::{Request, Response};
use mizzen_api::resource::Registry;
use parking_lot::RwLock;

use crate::cache::Cache;
use crate::identity::User;
use crate::store::Store;

use admission::Admission;
use admission::resource_quota::ResourceQuota;
use authorization::{Attributes, Authorizer, Decision};
use gates::Gates;
use limits::Limits;
use metrics::Metrics;

/// What an API server is made of.
pub struct Parts {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// Where they are read from.
    pub cache: Arc<Cache>,
    /// Which resources there are at first.
    pub registry: Registry,
    /// What lets requests in.
    pub gates: Gates,
    /// TLS for calling kubelets; without it their subresources answer 503.
    pub kubelet_tls: Option<Arc<rustls::ClientConfig>>,
}

/// Who knows the objects of resources that are computed, by group and plural.
type Sources = HashMap<(&'static str, &'static str), Arc<dyn special::Computed>>;

/// The API server: the pipeline and all it needs.
pub struct ApiServer {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) cache: Arc<Cache>,
    registry: RwLock<Arc<Registry>>,
    pub(crate) gates: Gates,
    pub(crate) kubelet_tls: Option<Arc<rustls::ClientConfig>>,
    pub(crate) metrics: Metrics,
    limits: Limits,
    computed: RwLock<Sources>,
    pub(crate) usage: special::Usage,
    dashboard: OnceLock<&'static [dashboard::Asset]>,
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer")
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl ApiServer {
    /// Puts the parts together.
    pub fn new(mut parts: Parts) -> Arc<Self> {
        // Quotas come last, after all that might refuse: they charge.
        let quotas = ResourceQuota::new(parts.cache.clone(), parts.store.clone());
        parts.gates.admission.push(Arc::new(quotas));
        Arc::new(Self {
            store: parts.store,
            cache: parts.cache,
            registry: RwLock::new(Arc::new(parts.registry)),
            gates: parts.gates,
            kubelet_tls: parts.kubelet_tls,
            metrics: Metrics::default(),
            limits: Limits::default(),
            computed: RwLock::default(),
            usage: special::Usage::default(),
            dashboard: OnceLock::new(),
        })
    }

    /// From now on, the objects of this group and plural are asked of `source`.
    pub fn compute(&self, group: &'static str, plural: &'static str, source: Arc<dyn special::Computed>) {
        self.computed.write().insert((group, plural), source);
    }

    /// Who knows the objects of a resource that is computed.
    pub(crate) fn computed(&self, group: &str, plural: &str) -> Option<Arc<dyn special::Computed>> {
        let computed = self.computed.read();
        let mut known = computed.iter();
        known.find_map(|(at, source)| (*at == (group, plural)).then(|| source.clone()))
    }

    /// The resources that are served now.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.read().clone()
    }

    /// Serves these files at `/dashboard/` from now on; later calls change nothing.
    pub fn serve_dashboard(&self, assets: &'static [dashboard::Asset]) {
        let _ = self.dashboard.set(assets);
    }

    /// The files of the dashboard.
    pub(crate) fn dashboard(&self) -> &'static [dashboard::Asset] {
        self.dashboard.get().copied().unwrap_or_default()
    }

    /// Decides whether a user may do something: the first authorizer with an opinion says it.
    pub async fn authorize(&self, user: &User, attributes: &Attributes) -> Decision {
        self.gates.authorization.authorize(user, attributes).await
    }

    /// The admission chain.
    pub(crate) fn admission(&self) -> &[Arc<dyn Admission>] {
        &self.gates.admission
    }

    /// Answers a request. Never fails: errors are answers too.
    pub async fn handle(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        pipeline::handle(self, request).await
    }

    /// The server as what listeners serve.
    pub fn router(self: &Arc<Self>) -> axum::Router {
        let server = self.clone();
        axum::Router::new().fallback(move |request: Request<Body>| server.clone().handle(request))
    }
}

#[cfg(test)]
mod tests;
