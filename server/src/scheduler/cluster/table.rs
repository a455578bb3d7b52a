//! Objects by namespace and name.

use std::collections::HashMap;
use std::sync::Arc;

use mizzen_api::client::reflector::Projection;

/// Objects of one kind.
#[derive(Debug)]
pub struct Table<T> {
    objects: HashMap<Box<str>, HashMap<Box<str>, Arc<T>>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            objects: HashMap::new(),
        }
    }
}

impl<T: Projection> Table<T> {
    /// Takes in a change.
    pub fn set(&mut self, old: Option<&Arc<T>>, new: Option<&Arc<T>>) {
        match (old, new) {
            (_, Some(new)) => {
                let namespace = self.objects.entry(new.namespace().into()).or_default();
                namespace.insert(new.name().into(), new.clone());
            }
            (Some(old), None) => {
                if let Some(namespace) = self.objects.get_mut(old.namespace()) {
                    namespace.remove(old.name());
                    if namespace.is_empty() {
                        self.objects.remove(old.namespace());
                    }
                }
            }
            (None, None) => {}
        }
    }

    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        self.objects.get(namespace)?.get(name)
    }

    /// All objects of a namespace; of the cluster for an empty one.
    pub fn within(&self, namespace: &str) -> impl Iterator<Item = &Arc<T>> {
        self.objects.get(namespace).into_iter().flat_map(HashMap::values)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}
