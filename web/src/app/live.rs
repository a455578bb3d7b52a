//! Collections that keep themselves up to date, and how they fare.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use leptos::prelude::*;
use mizzen_api::console::follow::{Follow, Step};
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
                        accept: if source.metadata_only { METADATA_LIST } else { "" },
                        signal: signal.as_ref(),
                        ..Call::get(&path)
                    };
                    match call.json().await {
                        Ok(_) if stop.get() => return,
                        Ok(mut page) => {
                            let items = take_items(&mut page);
                            listed.extend(items.iter().map(key));
                            apply(Change::Put(items));
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
                        accept: if source.metadata_only { METADATA } else { "" },
                        signal: signal.as_ref(),
                        ..Call::get(&path)
                    };
                    watch(call, &mut course, &stop, health, &known, &apply).await.err()
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
    apply: &impl Fn(Change),
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
        let Ok(Event { kind, object }) = serde_json::from_str(line) else {
            return;
        };
        if stop.get() {
            return;
        }
        let revision = text(&object, "/metadata/resourceVersion").to_owned();
        match &*kind {
            "ADDED" | "MODIFIED" => {
                known.borrow_mut().insert(key(&object));
                apply(Change::Put(vec![slim(object)]));
            }
            "DELETED" => {
                let key = key(&object);
                known.borrow_mut().remove(&key);
                apply(Change::Remove(key.0, key.1));
            }
            "ERROR" => {
                failure = Some(Failure::Status {
                    code: object["code"].as_u64().unwrap_or(500) as u16,
                    message: text(&object, "/message").to_owned(),
                });
                return;
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
