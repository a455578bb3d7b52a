//! What the proxy and DNS know of the cluster: Services and their EndpointSlices, as small projections.
//!
//! Both read the same two copies ([`Services`]), which two reflectors keep; nothing else of the node watches them.

mod projection;

use std::collections::HashMap;
use std::sync::Arc;

use mizzen_api::client::reflector::{Change, Key, Projection as _, Reflector};
use mizzen_api::client::rest::{Gvr, Rest};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

pub(crate) use projection::{Endpoint, EndpointPort, EndpointSlice, Protocol, Service, ServicePort, ServiceType};

const SERVICES: Gvr<'static> = Gvr::new("", "v1", "services");
const ENDPOINT_SLICES: Gvr<'static> = Gvr::new("discovery.k8s.io", "v1", "endpointslices");

/// The shared copies.
#[derive(Debug, Clone)]
pub struct Services {
    pub(crate) services: Arc<Reflector<Service>>,
    pub(crate) slices: Arc<Reflector<EndpointSlice>>,
    by_service: Arc<RwLock<HashMap<Key, Vec<Arc<EndpointSlice>>>>>,
}

impl Default for Services {
    fn default() -> Self {
        let (slices, by_service) = (Reflector::<EndpointSlice>::new(ENDPOINT_SLICES), Arc::default());
        let index: Arc<RwLock<HashMap<Key, Vec<Arc<EndpointSlice>>>>> = Arc::clone(&by_service);
        // The first to be told: whoever subscribes later finds the index up to date.
        slices.subscribe(move |change| file(&mut index.write(), change));
        Self {
            services: Reflector::new(SERVICES),
            slices,
            by_service,
        }
    }
}

/// Keeps the slices of every Service together.
fn file(index: &mut HashMap<Key, Vec<Arc<EndpointSlice>>>, change: &Change<'_, EndpointSlice>) {
    if let Some(old) = change.old {
        let key = Key::new(&old.namespace, &old.service);
        if let Some(slices) = index.get_mut(&key) {
            slices.retain(|slice| slice.name() != old.name());
            if slices.is_empty() {
                index.remove(&key);
            }
        }
    }
    if let Some(new) = change.new {
        let slices = index.entry(Key::new(&new.namespace, &new.service)).or_default();
        slices.push(Arc::clone(new));
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
        let key = Key::new(namespace, service);
        self.by_service.read().get(&key).cloned().unwrap_or_default()
    }
}
