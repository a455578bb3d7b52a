//! The ConfigMaps and Secrets that this node's Pods use, each followed by a watch of its own:
//! a node may not see any other, and changes reach volumes at once.
//!
//! Entry point: [`Objects::follow`], which gives a [`Followed`]; the watch ends when the last of
//! them is dropped. Tasks: one per object in use, channel: a `watch` with the newest state.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use mizzen_api::client::feed::{self, News, Selector};
use mizzen_api::client::rest::{Gvr, Rest};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The two kinds whose content Pods use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

impl Kind {
    /// As messages name it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }

    /// As paths name it.
    fn plural(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
        }
    }

    /// As the API names it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

/// What a ConfigMap or Secret holds. Not `Debug`: secrets must not reach a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    data: BTreeMap<String, Vec<u8>>,
}

impl Content {
    /// Every key and value.
    pub fn entries(&self) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        self.data.iter()
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.data.get(key).map(Vec::as_slice)
    }
}

impl From<BTreeMap<String, Vec<u8>>> for Content {
    fn from(data: BTreeMap<String, Vec<u8>>) -> Self {
        Self { data }
    }
}

impl From<ConfigMap> for Content {
    fn from(map: ConfigMap) -> Self {
        let text = map
            .data
            .into_iter()
            .flatten()
            .map(|(key, value)| (key, value.into_bytes()));
        let binary = map.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0));
        Self {
            data: text.chain(binary).collect(),
        }
    }
}

impl From<Secret> for Content {
    fn from(secret: Secret) -> Self {
        Self {
            data: secret
                .data
                .into_iter()
                .flatten()
                .map(|(key, value)| (key, value.0))
                .collect(),
        }
    }
}

/// What is known of an object.
#[derive(Clone)]
pub enum State {
    /// Nothing yet.
    Unknown,
    /// It does not exist.
    Missing,
    /// It exists.
    Present(Arc<Content>),
}

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

struct Watched {
    state: watch::Receiver<State>,
    task: tokio::task::AbortHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An object that is being followed as long as this lives.
#[derive(Clone)]
pub struct Followed(Arc<Watched>);

impl Followed {
    /// What the object holds now, waiting for the first answer; `None` when it does not exist.
    pub async fn content(&self) -> Option<Arc<Content>> {
        let mut state = self.0.state.clone();
        let known = state.wait_for(|state| !matches!(state, State::Unknown)).await;
        match known.as_deref() {
            Ok(State::Present(content)) => Some(Arc::clone(content)),
            _ => None,
        }
    }

    /// A receiver that sees every later state, the present one counted as seen.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<State> {
        let mut receiver = self.0.state.clone();
        receiver.mark_unchanged();
        receiver
    }
}

/// All objects that are being followed.
#[derive(Clone)]
pub struct Objects {
    rest: Rest,
    watched: Arc<Mutex<HashMap<Key, Weak<Watched>>>>,
}

impl Objects {
    /// Follows nothing yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            rest: Rest::new(client, "kubelet"),
            watched: Arc::default(),
        }
    }

    /// Follows an object, sharing the watch with whoever follows it already.
    #[must_use]
    pub fn follow(&self, key: &Key) -> Followed {
        let mut watched = self.watched.lock();
        if let Some(found) = watched.get(key).and_then(Weak::upgrade) {
            return Followed(found);
        }
        watched.retain(|_, weak| weak.strong_count() > 0);
        let (sender, state) = watch::channel(State::Unknown);
        let task = match key.kind {
            Kind::ConfigMap => tokio::spawn(track::<ConfigMap>(self.rest.clone(), key.clone(), sender)),
            Kind::Secret => tokio::spawn(track::<Secret>(self.rest.clone(), key.clone(), sender)),
        };
        let fresh = Arc::new(Watched {
            state,
            task: task.abort_handle(),
        });
        watched.insert(key.clone(), Arc::downgrade(&fresh));
        Followed(fresh)
    }
}

/// Keeps `sender` at the object's newest state.
async fn track<K>(rest: Rest, key: Key, sender: watch::Sender<State>)
where
    K: k8s_openapi::Metadata<Ty = ObjectMeta> + Into<Content> + serde::de::DeserializeOwned + Send + 'static,
{
    let selector = Selector::named(&key.namespace, &key.name);
    let at = Gvr::new("", "v1", key.kind.plural());
    let mut news = feed::follow::<K>(at, selector, rest, CancellationToken::new());
    while let Some(news) = news.recv().await {
        let now = match news {
            News::Listed(objects) => objects.into_iter().next(),
            News::Changed(object) => Some(object),
            News::Deleted(_) => None,
        };
        match now {
            Some(object) => publish(&sender, object.into()),
            None => drop(sender.send_replace(State::Missing)),
        }
    }
}

/// Tells of new content, but not of changes that leave the content alone.
fn publish(sender: &watch::Sender<State>, content: Content) {
    sender.send_if_modified(|state| {
        let same = matches!(state, State::Present(old) if **old == content);
        if !same {
            *state = State::Present(Arc::new(content));
        }
        !same
    });
}
