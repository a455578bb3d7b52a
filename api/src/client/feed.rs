//! Following one collection with one list and one watch: what comes, in order, whoever wants it.
//!
//! The course is [`Follow`]'s: lost connections resume at the last revision; a revision that the server no longer
//! has leads to a new list. All that waits deals in text and is compiled once; a [`Sink`] knows the type.

use std::ops::ControlFlow;
use std::sync::Arc;

use futures::AsyncBufReadExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::Request;
use kube::core::params::{ListParams, WatchParams};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::rest::{self, Gvr, List, ListMeta, Rest};
use crate::console::follow::{Follow, Step};

/// Which objects are watched, all of them by default, and how much of them.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// Only metadata is asked for.
    pub metadata_only: bool,
    /// Only of this namespace; empty for all.
    pub namespace: String,
    /// Field selector.
    pub fields: String,
    /// Label selector.
    pub labels: String,
}

/// What a collection has to tell.
#[derive(Debug)]
pub enum News<T> {
    /// All there is now, whatever was before.
    Listed(Vec<T>),
    /// A new object, or a new state of one.
    Changed(T),
    /// An object is gone; its last state.
    Deleted(T),
}

/// Follows the objects that `selector` selects, until `stop` or until nobody listens.
pub fn follow<T>(
    at: Gvr<'_>,
    selector: Selector,
    rest: Rest,
    stop: CancellationToken,
) -> mpsc::UnboundedReceiver<News<T>>
where
    T: k8s_openapi::Metadata<Ty = ObjectMeta> + DeserializeOwned + Send + 'static,
{
    let (sender, receiver) = mpsc::unbounded_channel();
    let closed = sender.clone();
    let feed = Arc::new(Feed {
        path: at.path(&selector.namespace),
        selector,
        pages: Pages::default(),
        sender,
    });
    tokio::spawn(async move {
        tokio::select! {
            () = keep(feed, rest, stop) => {}
            () = closed.closed() => {}
        }
    });
    receiver
}

impl Selector {
    /// The one object of this name.
    pub fn named(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            fields: format!("metadata.name={name}"),
            ..Self::default()
        }
    }
}

/// Waits until an object of those that `selector` selects gives an answer.
pub async fn until<T, R>(at: Gvr<'_>, selector: Selector, rest: Rest, answer: impl Fn(T) -> Option<R>) -> R
where
    T: k8s_openapi::Metadata<Ty = ObjectMeta> + DeserializeOwned + Send + 'static,
{
    let mut news = follow::<T>(at, selector, rest, CancellationToken::new());
    loop {
        let found = match news.recv().await {
            Some(News::Listed(objects)) => objects.into_iter().find_map(&answer),
            Some(News::Changed(object)) => answer(object),
            Some(News::Deleted(_)) => None,
            // The follower ends with the runtime, and so does this.
            None => std::future::pending().await,
        };
        if let Some(found) = found {
            return found;
        }
    }
}

struct Feed<T> {
    path: String,
    selector: Selector,
    pages: Pages<T>,
    sender: mpsc::UnboundedSender<News<T>>,
}

impl<T> Sink for Feed<T>
where
    T: k8s_openapi::Metadata<Ty = ObjectMeta> + DeserializeOwned + Send,
{
    fn of(&self) -> (&str, &Selector) {
        (&self.path, &self.selector)
    }

    fn page(&self, body: &str, first: bool) -> serde_json::Result<ListMeta> {
        self.pages.add(body, first)
    }

    fn listed(&self) {
        // Nobody listens any more: the task is about to end.
        let _ = self.sender.send(News::Listed(self.pages.take()));
    }

    fn event(&self, deleted: bool, object: &str) -> serde_json::Result<String> {
        let object: T = serde_json::from_str(object)?;
        let revision = object.metadata().resource_version.clone().unwrap_or_default();
        let _ = self.sender.send(match deleted {
            true => News::Deleted(object),
            false => News::Changed(object),
        });
        Ok(revision)
    }
}

/// Where text goes: it knows the type, and does not wait.
pub(super) trait Sink: Send + Sync {
    /// Where the collection is, and how much of it is wanted.
    fn of(&self) -> (&str, &Selector);
    /// Takes a page of a list, whose `first` one makes a new list begin.
    fn page(&self, body: &str, first: bool) -> serde_json::Result<ListMeta>;
    /// All pages are there.
    fn listed(&self);
    /// Takes the object of an event and gives its revision.
    fn event(&self, deleted: bool, object: &str) -> serde_json::Result<String>;
}

/// The pages of a list that is under way.
pub(super) struct Pages<T>(Mutex<Vec<T>>);

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: DeserializeOwned> Pages<T> {
    /// One more page; the `first` one forgets those of a list that was never finished.
    pub(super) fn add(&self, body: &str, first: bool) -> serde_json::Result<ListMeta> {
        let list: List<T> = serde_json::from_str(body)?;
        let mut pages = self.0.lock();
        if first {
            pages.clear();
        }
        pages.extend(list.items);
        Ok(list.metadata)
    }

    /// The objects of all pages.
    pub(super) fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// Keeps a sink fed until `stop`.
pub(super) async fn keep(sink: Arc<dyn Sink>, rest: Rest, stop: CancellationToken) {
    tokio::select! {
        () = run(&*sink, &rest) => {}
        () = stop.cancelled() => {}
    }
}

async fn run(sink: &dyn Sink, rest: &Rest) {
    let mut course = Follow::default();
    loop {
        let ended = match course.step().clone() {
            Step::List(token) => list(sink, rest, token, &mut course).await,
            Step::Watch(revision) => watch(sink, rest, &revision, &mut course).await,
        };
        let code = match ended {
            Ok(ControlFlow::Continue(())) => continue,
            Ok(ControlFlow::Break(())) => None,
            Err(error) => {
                let (path, error_text) = (sink.of().0, rest::message(&error));
                match course.step() {
                    Step::List(_) => tracing::warn!(path, error = %error_text, "cannot list, will retry"),
                    Step::Watch(_) => tracing::debug!(path, error = %error_text, "watch failed, resuming"),
                }
                rest::code(&error)
            }
        };
        // Jitter, so that clients do not come back together.
        let jitter = f64::from(jiff::Timestamp::now().subsec_nanosecond() % 1000) / 1000.0;
        tokio::time::sleep(course.stopped(code).mul_f64(0.75 + jitter / 2.0)).await;
    }
}

async fn list(
    sink: &dyn Sink,
    rest: &Rest,
    token: Option<String>,
    course: &mut Follow,
) -> rest::Result<ControlFlow<()>> {
    let (path, selector) = sink.of();
    let mut params = ListParams::default().limit(500);
    params.field_selector = some(&selector.fields);
    params.label_selector = some(&selector.labels);
    params.continue_token = token;
    let request = Request::new(path);
    let request = match selector.metadata_only {
        true => request.list_metadata(&params),
        false => request.list(&params),
    };
    let body = rest.text(request).await?;
    let page = sink.page(&body, params.continue_token.is_none());
    let page = page.map_err(kube::Error::SerdeError)?;
    if course.listed(&page.resource_version, &page.next) {
        sink.listed();
    }
    Ok(ControlFlow::Continue(()))
}

/// Watches until the connection ends, by itself (`Break`) or with an error.
async fn watch(sink: &dyn Sink, rest: &Rest, revision: &str, course: &mut Follow) -> rest::Result<ControlFlow<()>> {
    let (path, selector) = sink.of();
    let params = WatchParams {
        field_selector: some(&selector.fields),
        label_selector: some(&selector.labels),
        ..WatchParams::default()
    };
    let request = Request::new(path);
    let request = match selector.metadata_only {
        true => request.watch_metadata(&params, revision),
        false => request.watch(&params, revision),
    };
    let mut lines = std::pin::pin!(rest.stream(request).await?);
    let mut line = String::new();
    loop {
        line.clear();
        // A connection that breaks off is one that ended.
        if !matches!(lines.read_line(&mut line).await, Ok(1..)) || !line.ends_with('\n') {
            return Ok(ControlFlow::Break(()));
        }
        course.moved(&take(sink, &line)?);
    }
}

/// Gives one line of a watch to the sink, and the revision that it stands at.
fn take(sink: &dyn Sink, line: &str) -> rest::Result<String> {
    let read = || {
        let event: rest::Event<'_> = serde_json::from_str(line)?;
        let object = event.object.get();
        Ok(match &*event.kind {
            "ERROR" => Err(kube::Error::Api(serde_json::from_str(object)?)),
            "BOOKMARK" => Ok(serde_json::from_str::<rest::Bookmark>(object)?
                .metadata
                .resource_version),
            kind => Ok(sink.event(kind == "DELETED", object)?),
        })
    };
    read().map_err(kube::Error::SerdeError)?
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}
