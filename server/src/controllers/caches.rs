//! One watch per kind for all controllers of the process.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use mizzen_api::client::reflector::{Reflector, Selector};
use mizzen_api::client::rest::Rest;
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;

use crate::projection::Watched;

/// The reflectors that controllers asked for while they were built.
#[derive(Default)]
pub struct Caches {
    /// What comes and goes, of any kind.
    pub churn: Arc<Churn>,
    reflectors: Mutex<HashMap<TypeId, Slot>>,
}

/// Is called with a namespace.
type Listener = Box<dyn Fn(&str) + Send + Sync>;

/// Tells in which namespaces objects come and go. Who watches the metadata of everything tells it.
#[derive(Default)]
pub struct Churn(RwLock<Vec<Listener>>);

impl Churn {
    /// Calls `subscriber` with a namespace from now on. It must not block.
    pub fn subscribe(&self, subscriber: impl Fn(&str) + Send + Sync + 'static) {
        self.0.write().push(Box::new(subscriber));
    }

    /// Objects came or went in a namespace.
    pub fn tell(&self, namespace: &str) {
        self.0.read().iter().for_each(|subscriber| subscriber(namespace));
    }
}

struct Slot {
    /// `Arc<Reflector<T>>`.
    reflector: Arc<dyn Any + Send + Sync>,
    run: Box<dyn Fn(Rest, CancellationToken) -> BoxFuture<'static, ()> + Send + Sync>,
    synced: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
}

impl std::fmt::Debug for Caches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caches").finish_non_exhaustive()
    }
}

impl Caches {
    /// The shared copy of a kind.
    pub fn of<T: Watched>(&self) -> Arc<Reflector<T>> {
        let mut reflectors = self.reflectors.lock();
        let slot = reflectors.entry(TypeId::of::<T>()).or_insert_with(|| {
            let selector = Selector {
                fields: T::FIELDS.to_owned(),
                labels: T::LABELS.to_owned(),
                ..Selector::default()
            };
            let reflector = Reflector::<T>::selected(T::AT, selector);
            let (running, waiting) = (reflector.clone(), reflector.clone());
            Slot {
                reflector,
                run: Box::new(move |rest, stop| Box::pin(running.clone().run(rest, stop))),
                synced: Box::new(move || {
                    let waiting = waiting.clone();
                    Box::pin(async move { waiting.synced().await })
                }),
            }
        });
        slot.reflector
            .clone()
            .downcast()
            .expect("slots are keyed by the type of their reflector")
    }

    /// Starts all watches.
    pub fn start(&self, rest: &Rest, stop: &CancellationToken) {
        for slot in self.reflectors.lock().values() {
            tokio::spawn((slot.run)(rest.clone(), stop.clone()));
        }
    }

    /// Waits until every copy is complete.
    pub async fn synced(&self) {
        let waits: Vec<_> = self.reflectors.lock().values().map(|slot| (slot.synced)()).collect();
        futures::future::join_all(waits).await;
    }
}
