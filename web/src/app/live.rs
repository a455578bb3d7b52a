//! Collections that keep themselves up to date, and how they fare.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use leptos::prelude::*;
use mizzen_api::console::follow::{Follow, Step};
use mizzen_api::console::headings::Served;
use mizzen_api::console::locator::Place;
use mizzen_api::console::metrics;
use mizzen_api::table;
use mizzen_api::view::{list, name, namespace, text};
use serde::Deserialize;
use serde_json::Value;
use wasm_bindgen_futures::spawn_local;
use web_sys::AbortController;

use super::state::App;
use super::transport::{Call, Failure};

/// How a collection fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Nothing came yet.
    #[default]
    Loading,
    /// As it is at the server.
    Live,
    /// Nothing can be heard since then; what is known is old.
    Lost(i64),
    /// The user may not; with the server's words.
    Forbidden(String),
    /// The server says no for another reason.
    Refused(String),
}

/// What happens to a collection.
pub enum Change {
    /// Objects as they are now.
    Put(Vec<Value>),
    /// Rows as the server makes them, for a source that is [`Source::served`].
    Rows(Served),
    /// An object that is gone.
    Remove(String, String),
}

/// What to follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Path of the collection.
    pub path: String,
    /// Field selector.
    pub fields: String,
    /// Label selector.
    pub labels: String,
    /// Only the metadata of objects.
    pub metadata_only: bool,
    /// The server makes the cells.
    pub served: bool,
}

const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// Objects of a page of a list.
const PAGE: u32 = 500;

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    object: Value,
}

/// Follows a source until the reactive owner of the caller is gone.
pub fn follow(app: App, source: Source, health: RwSignal<Health>, apply: impl Fn(Change) + 'static) {
    follow_with(app, source, health, Rc::new(apply));
}

/// Compiled once, whoever listens: copies of it would be a tenth of the program.
fn follow_with(app: App, source: Source, health: RwSignal<Health>, apply: Rc<dyn Fn(Change)>) {
    let stop = Rc::new(Cell::new(false));
    let abort = AbortController::new().ok();
    let signal = abort.as_ref().map(AbortController::signal);
    let cleanup = StoredValue::new_local((stop.clone(), abort));
    on_cleanup(move || {
        cleanup.with_value(|(stop, abort)| {
            stop.set(true);
            if let Some(abort) = abort {
                abort.abort();
            }
        });
    });
    let known = Rc::new(RefCell::new(HashSet::new()));
    spawn_local(async move {
        let mut course = Follow::default();
        let mut listed = HashSet::new();
        while !stop.get() {
            let ended = match course.step().clone() {
                Step::List(token) => {
                    if token.is_none() {
                        listed.clear();
                    }
                    let path = source.list(token.as_deref());
                    let call = Call {
                        accept: source.accept(METADATA_LIST),
                        signal: signal.as_ref(),
                        ..Call::get(&path)
                    };
                    match call.json().await {
                        Ok(_) if stop.get() => return,
                        Ok(mut page) => {
                            let change = taken(&mut page);
                            listed.extend(change.objects().map(key));
                            apply(change);
                            let (revision, token) = (
                                text(&page, "/metadata/resourceVersion"),
                                text(&page, "/metadata/continue"),
                            );
                            if course.listed(revision, token) {
                                let gone = known.replace(std::mem::take(&mut listed));
                                for (namespace, name) in gone.difference(&known.borrow()) {
                                    apply(Change::Remove(namespace.clone(), name.clone()));
                                }
                                health.set(Health::Live);
                            }
                            continue;
                        }
                        Err(failure) => Some(failure),
                    }
                }
                Step::Watch(revision) => {
                    let path = source.watch(&revision);
                    let call = Call {
                        accept: source.accept(METADATA),
                        signal: signal.as_ref(),
                        ..Call::get(&path)
                    };
                    watch(call, &mut course, &stop, health, &known, &*apply).await.err()
                }
            };
            if stop.get() {
                return;
            }
            match &ended {
                None => {}
                Some(failure @ Failure::Unauthorized) => {
                    // A login starts us anew.
                    app.heed(failure);
                    lose(health);
                    return;
                }
                Some(Failure::Status { code: 403, message }) => return health.set(Health::Forbidden(message.clone())),
                Some(Failure::Status {
                    code: 404 | 405,
                    message,
                }) => return health.set(Health::Refused(message.clone())),
                Some(Failure::Status { code: 410, .. }) => {}
                Some(_) => lose(health),
            }
            let pause = course.stopped(ended.as_ref().and_then(Failure::code));
            sleep(pause).await;
        }
    });
}

fn lose(health: RwSignal<Health>) {
    if !matches!(health.try_get_untracked(), None | Some(Health::Lost(_))) {
        health.set(Health::Lost(Timestamp::now().as_second()));
    }
}

async fn watch(
    call: Call<'_>,
    course: &mut Follow,
    stop: &Cell<bool>,
    health: RwSignal<Health>,
    known: &RefCell<HashSet<(String, String)>>,
    apply: &dyn Fn(Change),
) -> Result<(), Failure> {
    let mut failure = None;
    let response = call.send().await?;
    if stop.get() {
        return Ok(());
    }
    if !matches!(health.get_untracked(), Health::Live) {
        health.set(Health::Live);
    }
    let heard = super::transport::lines_of(&response, |line| {
        let Ok(Event { kind, mut object }) = serde_json::from_str(line) else {
            return;
        };
        if stop.get() {
            return;
        }
        if &*kind == "ERROR" {
            failure = Some(Failure::Status {
                code: object["code"].as_u64().unwrap_or(500) as u16,
                message: text(&object, "/message").to_owned(),
            });
            return;
        }
        let change = taken(&mut object);
        let revision = change.objects().next().unwrap_or(&object);
        let revision = text(revision, "/metadata/resourceVersion").to_owned();
        match &*kind {
            "ADDED" | "MODIFIED" => {
                known.borrow_mut().extend(change.objects().map(key));
                apply(change);
            }
            "DELETED" => {
                for key in change.objects().map(key) {
                    known.borrow_mut().remove(&key);
                    apply(Change::Remove(key.0, key.1));
                }
            }
            _ => {}
        }
        course.moved(&revision);
    });
    heard.await?;
    failure.map_or(Ok(()), Err)
}

fn key(object: &Value) -> (String, String) {
    (namespace(object).to_owned(), name(object).to_owned())
}

/// Who owns which field is most of an object's text and nothing that is shown here.
fn slim(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

impl Change {
    /// What it says of objects that are there.
    fn objects(&self) -> impl Iterator<Item = &Value> {
        let (objects, rows): (&[Value], &[(Value, Vec<table::Cell>)]) = match self {
            Self::Put(objects) => (objects, &[]),
            Self::Rows(served) => (&[], &served.rows),
            Self::Remove(..) => (&[], &[]),
        };
        objects.iter().chain(rows.iter().map(|(object, _)| object))
    }
}

/// What is in a list, a Table or an object.
fn taken(answer: &mut Value) -> Change {
    if let Some(served) = Served::take(answer, Timestamp::now()) {
        return Change::Rows(served);
    }
    match answer.get("items") {
        Some(Value::Array(_)) => Change::Put(take_items(answer)),
        _ => Change::Put(vec![slim(std::mem::take(answer))]),
    }
}

/// The items of a list, with the kind and version that lists leave out.
fn take_items(page: &mut Value) -> Vec<Value> {
    let version = page["apiVersion"].clone();
    let kind = text(page, "/kind").trim_end_matches("List").to_owned();
    let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) else {
        return Vec::new();
    };
    let complete = |mut item: Value| {
        item["apiVersion"] = version.clone();
        item["kind"] = kind.clone().into();
        slim(item)
    };
    items.into_iter().map(complete).collect()
}

impl Source {
    fn selected(&self, mut path: String) -> String {
        if !self.fields.is_empty() {
            path.push_str("&fieldSelector=");
            path.push_str(&encode(&self.fields));
        }
        if !self.labels.is_empty() {
            path.push_str("&labelSelector=");
            path.push_str(&encode(&self.labels));
        }
        path
    }

    fn accept(&self, metadata: &'static str) -> &'static str {
        match (self.served, self.metadata_only) {
            (true, _) => Served::ACCEPT,
            (false, true) => metadata,
            (false, false) => "",
        }
    }

    fn list(&self, token: Option<&str>) -> String {
        let token = token
            .map(|token| format!("&continue={}", encode(token)))
            .unwrap_or_default();
        self.selected(format!("{}?limit={PAGE}{token}", self.path))
    }

    fn watch(&self, revision: &str) -> String {
        self.selected(format!(
            "{}?watch=1&allowWatchBookmarks=true&resourceVersion={revision}",
            self.path
        ))
    }
}

/// The objects of a source as they are now, as much of each as is wanted; a handle that copies.
pub struct Gathered<T: 'static> {
    all: StoredValue<BTreeMap<Place, T>>,
    changed: RwSignal<u32>,
    /// How it fares.
    pub health: RwSignal<Health>,
}

impl<T> Clone for Gathered<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Gathered<T> {}

impl<T: Send + Sync + 'static> Gathered<T> {
    /// What there is; runs again when that changes.
    pub fn with<R>(&self, read: impl FnOnce(&BTreeMap<Place, T>) -> R) -> R {
        self.changed.track();
        self.all.with_value(read)
    }

    /// What there is now.
    pub fn with_untracked<R>(&self, read: impl FnOnce(&BTreeMap<Place, T>) -> R) -> R {
        self.all.with_value(read)
    }

    /// Runs the reader again when something changes.
    pub fn track(&self) {
        self.changed.track();
    }
}

/// Follows a source from every login on; what is kept of each object is made by `keep`. Readers run once a
/// frame at most, however much happens.
pub fn gather<T: Send + Sync + 'static>(
    source: impl Fn() -> Option<Source> + 'static,
    keep: impl Fn(Value) -> T + 'static,
) -> Gathered<T> {
    let gathered = Gathered {
        all: StoredValue::new(BTreeMap::new()),
        changed: RwSignal::new(0),
        health: RwSignal::new(Health::Loading),
    };
    let apply = move |news: News| {
        let _ = gathered.all.try_update_value(|all| match news {
            News::Begin => all.clear(),
            News::Put(place, object) => drop(all.insert(place, keep(object))),
            News::Remove(place) => drop(all.remove(&place)),
        });
    };
    gather_with(Box::new(source), gathered.health, gathered.changed, Rc::new(apply));
    gathered
}

/// What happens to what is gathered.
enum News {
    Begin,
    Put(Place, Value),
    Remove(Place),
}

fn gather_with(
    source: Box<dyn Fn() -> Option<Source>>,
    health: RwSignal<Health>,
    changed: RwSignal<u32>,
    apply: Rc<dyn Fn(News)>,
) {
    let app = super::state::app();
    let waits = StoredValue::new(false);
    Effect::new(move || {
        let epoch = app.epoch.get();
        let (Some(source), 1..) = (source(), epoch) else { return };
        apply(News::Begin);
        health.set(Health::Loading);
        let apply = apply.clone();
        follow(app, source, health, move |change| {
            match change {
                Change::Put(objects) => {
                    for object in objects {
                        apply(News::Put(Place::new(namespace(&object), name(&object)), object));
                    }
                }
                Change::Rows(_) => {}
                Change::Remove(namespace, name) => apply(News::Remove(Place::new(&namespace, &name))),
            }
            each_frame(waits, changed);
        });
    });
}

/// The objects of a kind in the namespace of the address. Of several namespaces all objects are followed: the
/// reader picks.
pub fn in_view(app: App, kind: &str) -> Option<Source> {
    let resource = app.resource(kind)?;
    let namespace = app.locator.with(|locator| match &locator.namespaces[..] {
        [one] if resource.namespaced() => one.clone(),
        _ => String::new(),
    });
    Some(Source {
        path: resource.path(&namespace, ""),
        ..Source::default()
    })
}

/// Where what is used is told of Pods in a namespace, or of nodes, when the server tells.
pub fn measures(app: App, plural: &str, namespace: &str) -> Option<String> {
    app.registry.with(|registry| {
        let served = registry.by_path(metrics::GROUP, metrics::VERSION, plural)?;
        Some(served.path(namespace, ""))
    })
}

/// Reads measurements in turns, as they cannot be watched; not while nobody looks at the page.
pub fn poll(path: Memo<Option<String>>, each: impl Fn(&Value) + 'static) {
    poll_with(path, Rc::new(each));
}

fn poll_with(path: Memo<Option<String>>, each: Rc<dyn Fn(&Value)>) {
    let app = super::state::app();
    Effect::new(move || {
        let (Some(path), 1..) = (path.get(), app.epoch.get()) else {
            return;
        };
        let stop = Rc::new(Cell::new(false));
        let cleanup = StoredValue::new_local(stop.clone());
        on_cleanup(move || cleanup.with_value(|stop| stop.set(true)));
        let each = each.clone();
        spawn_local(async move {
            while !stop.get() {
                let mut pause = metrics::pause(0);
                if !document().hidden() {
                    let answer = Call::get(&path).text().await;
                    if stop.get() {
                        return;
                    }
                    pause = match answer {
                        Ok(answer) => {
                            each(&serde_json::from_str(&answer).unwrap_or_default());
                            metrics::pause(answer.len())
                        }
                        Err(_) => metrics::RETRY,
                    };
                }
                sleep(pause).await;
            }
        });
    });
}

/// A signal that changes a while after what is tracked did, with whatever changed meanwhile.
pub fn settled(after: Duration, track: impl Fn() + 'static) -> RwSignal<u32> {
    let (changed, waits) = (RwSignal::new(0_u32), StoredValue::new(false));
    Effect::new(move || {
        track();
        if waits.try_update_value(|waits| std::mem::replace(waits, true)) == Some(false) {
            let settle = move || {
                // The page may be gone by now.
                if waits.try_update_value(|waits| *waits = false).is_some() {
                    changed.update(|n| *n = n.wrapping_add(1));
                }
            };
            set_timeout(settle, after);
        }
    });
    changed
}

/// Lets readers of a signal run at the next frame.
pub fn each_frame(waits: StoredValue<bool>, changed: RwSignal<u32>) {
    if waits.try_update_value(|waits| std::mem::replace(waits, true)) == Some(false) {
        request_animation_frame(move || {
            let _ = waits.try_update_value(|waits| *waits = false);
            let _ = changed.try_update(|n| *n = n.wrapping_add(1));
        });
    }
}

/// Reads all that there is now, in one list.
pub async fn list_once(path: &str) -> Result<Vec<Value>, Failure> {
    let mut page = Call::get(path).json().await?;
    if list(&page, "/items").is_empty() {
        return Ok(Vec::new());
    }
    Ok(take_items(&mut page))
}

/// Text as a part of an address.
pub fn encode(text: &str) -> String {
    js_sys::encode_uri_component(text).into()
}

/// Waits.
pub async fn sleep(time: Duration) {
    let promise = js_sys::Promise::new(&mut |done, _| {
        let _ = window().set_timeout_with_callback_and_timeout_and_arguments_0(&done, time.as_millis() as i32);
    });
    let _ = wasm_bindgen_futures::JsFuture::from(promise).await;
}
