//! What the proxy and DNS know of the cluster: Services and their EndpointSlices, as small projections.
//!
//! Both read the same two copies ([`Services`]), which two reflectors keep; nothing else of the node watches them.

mod projection;

use std::sync::Arc;

use mizzen_api::client::reflector::Reflector;
use mizzen_api::client::rest::{Gvr, Rest};
use tokio_util::sync::CancellationToken;

pub(crate) use projection::{Endpoint, EndpointPort, EndpointSlice, Protocol, Service, ServicePort, ServiceType};

const SERVICES: Gvr<'static> = Gvr::new("", "v1", "services");
const ENDPOINT_SLICES: Gvr<'static> = Gvr::new("discovery.k8s.io", "v1", "endpointslices");

/// The shared copies.
#[derive(Debug, Clone)]
pub struct Services {
    pub(crate) services: Arc<Reflector<Service>>,
    pub(crate) slices: Arc<Reflector<EndpointSlice>>,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            services: Reflector::new(SERVICES),
            slices: Reflector::new(ENDPOINT_SLICES),
        }
    }
}

impl Services {
    /// Keeps the copies up to date until `stop`. Subscribe before this runs.
    pub async fn run(self, client: kube::Client, stop: CancellationToken) -> anyhow::Result<()> {
        let rest = Rest::new(client, "mizzen-node");
        tokio::join!(
            self.services.run(rest.clone(), stop.clone()),
            self.slices.run(rest, stop)
        );
        Ok(())
    }

    /// Waits until both copies are complete for the first time.
    pub async fn synced(&self) {
        tokio::join!(self.services.synced(), self.slices.synced());
    }

    /// The slices of one Service.
    pub(crate) fn slices_of(&self, namespace: &str, service: &str) -> Vec<Arc<EndpointSlice>> {
        self.slices.select(namespace, |slice| &*slice.service == service)
    }
}
