//! A shared copy of one resource, kept by one list and one watch.
//!
//! [`Reflector::run`] is the only task; it writes the copy ([`Reflector`]) and then tells every
//! subscriber of the change with the object before and after. Objects are projections: small types
//! that skip what their readers do not need. A new list (see [`super::feed`]) is told by its difference.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use super::feed::Selector;
use super::feed::{self, Pages, Sink};
use super::rest::{Gvr, ListMeta, Rest};

/// Namespace (empty for cluster scope) and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Namespace; empty for cluster scope.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl Key {
    /// The key of an object.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.namespace {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// What a reflector needs of an object.
pub trait Projection: DeserializeOwned + Clone + Send + Sync + 'static {
    /// Namespace; empty for cluster scope.
    fn namespace(&self) -> &str;
    /// Name.
    fn name(&self) -> &str;
    /// `metadata.resourceVersion`.
    fn resource_version(&self) -> &str;

    /// The uid of the owner that manages it; empty when nobody does, or the type does not tell.
    fn controller_uid(&self) -> &str {
        ""
    }

    /// Namespace and name.
    fn key(&self) -> Key {
        Key::new(self.namespace(), self.name())
    }
}

/// One change: the object before (unless it is new) and after (unless it is gone).
#[derive(Debug)]
pub struct Change<'a, T> {
    /// The object as it was known before.
    pub old: Option<&'a Arc<T>>,
    /// The object as it is now.
    pub new: Option<&'a Arc<T>>,
    /// Whether this is part of the first list rather than news.
    pub initial: bool,
}

impl<'a, T> Change<'a, T> {
    /// The latest known state, whether or not the object still exists.
    pub fn latest(&self) -> &'a Arc<T> {
        self.new.or(self.old).expect("a change has a before or an after")
    }
}

/// Objects by namespace, so that one can be listed without visiting the rest.
type Objects<T> = HashMap<Arc<str>, Namespace<T>>;

/// The objects of one namespace.
struct Namespace<T> {
    by_name: HashMap<Arc<str>, Arc<T>>,
    /// From the first question for somebody's children on.
    by_controller: Option<Index>,
}

/// Names by the uid of the owner that manages their object; the empty uid has those that nobody manages.
#[derive(Default)]
struct Index(HashMap<Box<str>, HashSet<Arc<str>>>);

impl Index {
    fn insert(&mut self, uid: &str, name: Arc<str>) {
        match self.0.get_mut(uid) {
            Some(names) => names.insert(name),
            None => self.0.insert(uid.into(), HashSet::from([name])).is_none(),
        };
    }

    fn remove(&mut self, uid: &str, name: &str) {
        if let Some(names) = self.0.get_mut(uid) {
            names.remove(name);
            if names.is_empty() {
                self.0.remove(uid);
            }
        }
    }
}

impl<T> Default for Namespace<T> {
    fn default() -> Self {
        Self {
            by_name: HashMap::new(),
            by_controller: None,
        }
    }
}

impl<T: Projection> Namespace<T> {
    fn insert(&mut self, name: Arc<str>, object: &Arc<T>) -> Option<Arc<T>> {
        let old = self.by_name.insert(name.clone(), object.clone());
        if let Some(index) = &mut self.by_controller {
            let before = old.as_ref().map(|old| old.controller_uid());
            if before != Some(object.controller_uid()) {
                before.into_iter().for_each(|uid| index.remove(uid, &name));
                index.insert(object.controller_uid(), name);
            }
        }
        old
    }

    fn remove(&mut self, name: &str) -> Option<Arc<T>> {
        let old = self.by_name.remove(name)?;
        if let Some(index) = &mut self.by_controller {
            index.remove(old.controller_uid(), name);
        }
        Some(old)
    }

    /// The objects that an owner manages, if there is an index.
    fn children(&self, uid: &str) -> Option<impl Iterator<Item = &Arc<T>>> {
        let names = self.by_controller.as_ref()?.0.get(uid);
        Some(names.into_iter().flatten().filter_map(|name| self.by_name.get(name)))
    }

    fn index(&mut self) {
        let mut index = Index::default();
        for (name, object) in &self.by_name {
            index.insert(object.controller_uid(), name.clone());
        }
        self.by_controller = Some(index);
    }
}

type Subscriber<T> = Box<dyn Fn(&Change<'_, T>) + Send + Sync>;

/// A watched copy of one resource.
pub struct Reflector<T> {
    path: String,
    selector: Selector,
    objects: RwLock<Objects<T>>,
    /// Of a list that is under way.
    pages: Pages<T>,
    subscribers: RwLock<Vec<Subscriber<T>>>,
    synced: watch::Sender<bool>,
}

impl<T> std::fmt::Debug for Reflector<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reflector")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl<T: Projection> Reflector<T> {
    /// An empty copy of all objects of a resource.
    pub fn new(at: Gvr<'_>) -> Arc<Self> {
        Self::selected(at, Selector::default())
    }

    /// An empty copy of the objects that `selector` selects.
    pub fn selected(at: Gvr<'_>, selector: Selector) -> Arc<Self> {
        Arc::new(Self {
            path: at.path(&selector.namespace),
            selector,
            objects: RwLock::default(),
            pages: Pages::default(),
            subscribers: RwLock::default(),
            synced: watch::Sender::new(false),
        })
    }

    /// Calls `subscriber` on every change from now on, after the copy has changed. It must not block.
    pub fn subscribe(&self, subscriber: impl Fn(&Change<'_, T>) + Send + Sync + 'static) {
        self.subscribers.write().push(Box::new(subscriber));
    }

    /// Waits for the first list.
    pub async fn synced(&self) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Whether the first list is there.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.objects.read().get(namespace)?.by_name.get(name).cloned()
    }

    /// All objects of a namespace, in no order.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<T>> {
        self.select(namespace, |_| true)
    }

    /// The objects of a namespace that `keep` keeps, in no order.
    pub fn select(&self, namespace: &str, keep: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        let objects = self.objects.read();
        let all = objects.get(namespace).into_iter().flat_map(|n| n.by_name.values());
        all.filter(|object| keep(object)).cloned().collect()
    }

    /// The objects of a namespace that the owner with this uid manages (nobody, when it is empty) and that
    /// `keep` keeps, in no order. Costs what these children cost, however many others there are.
    pub fn children(&self, namespace: &str, uid: &str, keep: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        let children = |of: &Namespace<T>| -> Option<Vec<Arc<T>>> {
            Some(of.children(uid)?.filter(|object| keep(object)).cloned().collect())
        };
        {
            let objects = self.objects.read();
            let Some(inner) = objects.get(namespace) else {
                return Vec::new();
            };
            if let Some(found) = children(inner) {
                return found;
            }
        }
        let mut objects = self.objects.write();
        let Some(inner) = objects.get_mut(namespace) else {
            return Vec::new();
        };
        inner.index();
        children(inner).unwrap_or_default()
    }

    /// All objects, in no order.
    pub fn all(&self) -> Vec<Arc<T>> {
        let objects = self.objects.read();
        objects.values().flat_map(|n| n.by_name.values()).cloned().collect()
    }

    /// Keeps the copy up to date until `stop`.
    pub async fn run(self: Arc<Self>, rest: Rest, stop: CancellationToken) {
        feed::keep(self, rest, stop).await;
    }

    fn replace(&self, items: Vec<T>) {
        let initial = !*self.synced.borrow();
        let mut gone: HashMap<Key, Arc<T>> = self.all().into_iter().map(|o| (o.key(), o)).collect();
        for item in items {
            if let Some(old) = gone.remove(&item.key())
                && old.resource_version() == item.resource_version()
            {
                continue;
            }
            self.apply(Arc::new(item), initial);
        }
        for old in gone.into_values() {
            self.remove(old.namespace(), old.name(), None);
        }
        self.synced.send_replace(true);
    }

    fn apply(&self, object: Arc<T>, initial: bool) {
        let key = object.key();
        let old = {
            let mut objects = self.objects.write();
            let namespace = objects.entry(key.namespace).or_default();
            namespace.insert(key.name, &object)
        };
        self.tell(&Change {
            old: old.as_ref(),
            new: Some(&object),
            initial,
        });
    }

    /// `last` is the object's final state, when the server told it.
    fn remove(&self, namespace: &str, name: &str, last: Option<Arc<T>>) {
        let old = {
            let mut objects = self.objects.write();
            let Some(inner) = objects.get_mut(namespace) else {
                return;
            };
            let old = inner.remove(name);
            if inner.by_name.is_empty() {
                objects.remove(namespace);
            }
            old
        };
        if let Some(old) = last.or(old) {
            self.tell(&Change {
                old: Some(&old),
                new: None,
                initial: false,
            });
        }
    }

    fn tell(&self, change: &Change<'_, T>) {
        for subscriber in self.subscribers.read().iter() {
            subscriber(change);
        }
    }
}

impl<T: Projection> Sink for Reflector<T> {
    fn of(&self) -> (&str, &Selector) {
        (&self.path, &self.selector)
    }

    fn page(&self, body: &str, first: bool) -> serde_json::Result<ListMeta> {
        self.pages.add(body, first)
    }

    fn listed(&self) {
        self.replace(self.pages.take());
    }

    fn event(&self, deleted: bool, object: &str) -> serde_json::Result<String> {
        let object: Arc<T> = Arc::new(serde_json::from_str(object)?);
        let revision = object.resource_version().to_owned();
        match deleted {
            true => self.remove(object.namespace(), object.name(), Some(object.clone())),
            false => self.apply(object, false),
        }
        Ok(revision)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
    struct Child {
        name: String,
        owner: String,
    }

    impl Projection for Child {
        fn namespace(&self) -> &str {
            "n"
        }
        fn name(&self) -> &str {
            &self.name
        }
        fn resource_version(&self) -> &str {
            "1"
        }
        fn controller_uid(&self) -> &str {
            &self.owner
        }
    }

    proptest! {
        #[test]
        fn children_are_who_names_the_owner(steps in prop::collection::vec((0..6_u8, 0..4_u8, 0..3_u8), 1..60)) {
            let copy = Reflector::<Child>::new(Gvr::new("", "v1", "children"));
            for (name, owner, step) in steps {
                let child = Child { name: name.to_string(), owner: ["", "a", "b", "c"][usize::from(owner)].to_owned() };
                match step {
                    0 => copy.remove("n", &child.name, None),
                    // A name that is taken may get another owner.
                    _ => copy.apply(Arc::new(child.clone()), false),
                }
                let told = |objects: Vec<Arc<Child>>| {
                    let mut children: Vec<_> = objects.iter().map(|o| Child::clone(o)).collect();
                    children.sort();
                    children
                };
                let is_even = |child: &Child| child.name.as_bytes()[0].is_multiple_of(2);
                let expect = copy.select("n", |other| other.owner == child.owner && is_even(other));
                prop_assert_eq!(told(copy.children("n", &child.owner, is_even)), told(expect));
            }
        }
    }
}
