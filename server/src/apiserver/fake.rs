//! A [`Reader`] over objects that a test wrote down.

use std::collections::BTreeMap;
use std::sync::Arc;

use mizzen_api::resource::{Resource, builtin};
use parking_lot::RwLock;
use serde_json::Value;

use crate::cache::{Entry, Reader};
use crate::store::Revision;

/// Objects by resource, namespace and name.
#[derive(Default)]
pub(crate) struct Fake {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    revision: Revision,
    objects: BTreeMap<(String, String, String), Arc<Entry>>,
    changes: BTreeMap<String, Revision>,
}

impl Fake {
    /// A reader of these objects, each with `apiVersion` and `kind`.
    pub(crate) fn new(objects: impl IntoIterator<Item = Value>) -> Arc<Self> {
        let fake = Arc::new(Self::default());
        objects.into_iter().for_each(|object| fake.put(object));
        fake
    }

    /// Creates or replaces an object.
    pub(crate) fn put(&self, object: Value) {
        let key = key_of(&object);
        let mut state = self.state.write();
        state.revision += 1;
        let entry = Entry {
            key: format!("{}/{}/{}", key.0, key.1, key.2).into(),
            revision: state.revision,
            json: object.to_string().into(),
            namespace: key.1.as_str().into(),
            name: key.2.as_str().into(),
            labels: Box::default(),
            fields: Box::default(),
            shape: Arc::default(),
        };
        let revision = state.revision;
        state.changes.insert(key.0.clone(), revision);
        state.objects.insert(key, Arc::new(entry));
    }

    /// Deletes the object of that kind, namespace and name.
    pub(crate) fn delete(&self, object: &Value) {
        let key = key_of(object);
        let mut state = self.state.write();
        state.revision += 1;
        let revision = state.revision;
        state.changes.insert(key.0.clone(), revision);
        state.objects.remove(&key).expect("an object to delete");
    }
}

fn key_of(object: &Value) -> (String, String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let api_version = text(&object["apiVersion"]);
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let row = builtin()
        .by_kind(group, version, &text(&object["kind"]))
        .unwrap_or_else(|| panic!("a built-in kind: {object}"));
    let metadata = &object["metadata"];
    (
        row.qualified_name().into_owned(),
        text(&metadata["namespace"]),
        text(&metadata["name"]),
    )
}

impl Reader for Fake {
    fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        let key = (
            resource.qualified_name().into_owned(),
            namespace.to_owned(),
            name.to_owned(),
        );
        self.state.read().objects.get(&key).cloned()
    }

    fn list(&self, resource: &Resource, namespace: Option<&str>) -> Vec<Arc<Entry>> {
        let state = self.state.read();
        let wanted = resource.qualified_name();
        let objects = state.objects.iter();
        objects
            .filter(|((resource, in_namespace, _), _)| {
                *resource == wanted && namespace.is_none_or(|namespace| namespace == in_namespace)
            })
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    fn last_change(&self, resource: &Resource) -> Revision {
        let state = self.state.read();
        state
            .changes
            .get(&*resource.qualified_name())
            .copied()
            .unwrap_or_default()
    }
}
