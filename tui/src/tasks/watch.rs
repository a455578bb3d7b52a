//! One watch: a paged list whose rows are told at once, then news; reconnects, and lists anew on 410.

use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncBufReadExt as _, StreamExt as _};
use jiff::Timestamp;
use kube::Client;
use mizzen_api::client::rest;
use mizzen_api::console::headings::{Served, served_row};
use mizzen_api::resource::{self, Resource, Scope};
use mizzen_api::view;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Session;
use crate::data::{Batch, Heading, Row, Source, Trouble, headings, row_of};
use crate::event::Event;

/// Rows per page of a list.
const PAGE: u32 = 500;
/// Most events that are told together.
const TOGETHER: usize = 256;
/// First and longest pause between attempts.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// Longest pause where what is wrong may be over any moment.
const SHORT: Duration = Duration::from_millis(500);

/// Watches until it is dropped.
pub async fn run(
    mut session: tokio::sync::watch::Receiver<Option<Session>>,
    source: Arc<Source>,
    events: mpsc::Sender<Event>,
) {
    let known = resource::builtin().by_path(&source.group, &source.version, &source.plural);
    let Some(client) = session.borrow_and_update().as_ref().map(|s| s.rest.client().clone()) else {
        return;
    };
    let mut watch = Watch {
        client,
        typed: known.is_some(),
        resource: known.cloned().unwrap_or_else(|| Arc::new(unknown(&source))),
        source,
        events,
    };
    let mut pause = PAUSE.0;
    let mut revision = None;
    loop {
        let from = match revision.take() {
            Some(revision) => Ok(revision),
            None => watch.list().await,
        };
        let outcome = match from {
            Ok(from) => {
                pause = PAUSE.0;
                watch.follow(from).await
            }
            Err(error) => Err((None, error)),
        };
        let last = match outcome {
            // The server ends watches in its own time.
            Ok(last) => {
                tokio::time::sleep(PAUSE.0).await;
                revision = Some(last);
                continue;
            }
            Err((_, error)) if rest::is_gone(&error) => continue,
            Err((last, error)) => {
                let trouble = trouble(&error);
                // Without an answer trying costs nothing; other credentials may be there any moment.
                let most = if matches!(trouble.code, 0 | 401) {
                    SHORT
                } else {
                    PAUSE.1
                };
                pause = pause.min(most);
                watch.tell(Batch::Trouble(trouble)).await;
                last
            }
        };
        revision = last;
        // Other credentials or other kinds may be what it waits for.
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE.1),
            changed = session.changed() => {
                if changed.is_err() {
                    return;
                }
                pause = PAUSE.0;
            }
        }
        if let Some(current) = session.borrow_and_update().as_ref() {
            watch.client = current.rest.client().clone();
        }
    }
}

struct Watch {
    client: Client,
    resource: Arc<Resource>,
    typed: bool,
    source: Arc<Source>,
    events: mpsc::Sender<Event>,
}

/// A page of a list, or of a Table.
#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    rows: Option<Vec<&'a RawValue>>,
    #[serde(default, rename = "columnDefinitions")]
    columns: Option<Vec<Value>>,
}

#[derive(Default, Deserialize)]
struct ListMeta {
    #[serde(default, rename = "continue")]
    next: Option<String>,
    #[serde(default, rename = "resourceVersion")]
    revision: Option<String>,
    #[serde(default, rename = "remainingItemCount")]
    remaining: Option<i64>,
}

impl Page<'_> {
    fn is_table(&self) -> bool {
        self.kind == "Table"
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

impl Watch {
    async fn tell(&self, batch: Batch) {
        let _ = self.events.send(Event::Data(self.source.clone(), batch)).await;
    }

    fn request(&self, query: &[(&str, &str)]) -> Result<http::Request<Vec<u8>>, kube::Error> {
        let mut uri = self.source.gvr().path(&self.source.namespace);
        let mut separator = '?';
        let selectors = [
            ("labelSelector", self.source.labels.as_str()),
            ("fieldSelector", self.source.fields.as_str()),
            ("includeObject", if self.typed { "" } else { "Object" }),
        ];
        for (key, value) in query.iter().chain(&selectors).filter(|(_, value)| !value.is_empty()) {
            uri.push(separator);
            uri.push_str(key);
            uri.push('=');
            uri.extend(percent(value));
            separator = '&';
        }
        let accept = if self.typed { "application/json" } else { Served::ACCEPT };
        let request = http::Request::get(uri).header(http::header::ACCEPT, accept);
        request.body(Vec::new()).map_err(kube::Error::HttpError)
    }

    /// Lists in pages and returns the list's revision. The next page is on its way while one is read.
    async fn list(&self) -> Result<String, kube::Error> {
        let limit = PAGE.to_string();
        let mut pages = JoinSet::new();
        let ask = |next: &str| {
            let request = self.request(&[("limit", &limit), ("continue", next)])?;
            let client = self.client.clone();
            Ok::<_, kube::Error>(async move { client.request_text(request).await })
        };
        pages.spawn(ask("")?);
        let mut first = true;
        let mut revision = String::new();
        while let Some(page) = pages.join_next().await {
            let text = page.map_err(|error| kube::Error::Service(error.into()))??;
            let page: Page<'_> = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
            let next = page.metadata.next.as_deref().unwrap_or_default();
            if !next.is_empty() {
                pages.spawn(ask(next)?);
            }
            if std::mem::take(&mut first) {
                self.tell(Batch::Headings(self.headings(&page).into())).await;
                self.tell(Batch::Begin).await;
            }
            let remaining = page.metadata.remaining.and_then(|n| u64::try_from(n).ok());
            self.tell(Batch::Rows(self.listed(&page)?, remaining.filter(|_| !next.is_empty())))
                .await;
            revision = page.metadata.revision.unwrap_or_default();
        }
        self.tell(Batch::End).await;
        Ok(revision)
    }

    /// The rows of a page, read one by one: a page as a whole would be many times as large in memory.
    fn listed(&self, page: &Page<'_>) -> Result<Vec<Arc<Row>>, kube::Error> {
        let parts = page.items.iter().chain(&page.rows).flatten();
        let rows = parts.map(|part| {
            let object: Value = serde_json::from_str(part.get())?;
            Ok(match page.is_table() {
                true => self.row_of_table(object),
                false => self.row(object),
            })
        });
        rows.collect::<Result<_, _>>().map_err(kube::Error::SerdeError)
    }

    /// Tells news until the watch ends; gives the revision to go on from, also after most errors.
    async fn follow(&self, mut revision: String) -> Result<String, (Option<String>, kube::Error)> {
        let query = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", &revision),
        ];
        let request = self.request(&query).map_err(|e| (None, e))?;
        let stream = self.client.request_stream(request).await;
        let stream = stream.map_err(|e| (Some(revision.clone()), e))?;
        self.tell(Batch::Well).await;
        let mut chunks = Box::pin(stream.lines()).ready_chunks(TOGETHER);
        while let Some(lines) = chunks.next().await {
            let (mut rows, mut gone) = (Vec::new(), Vec::new());
            for line in lines {
                let line = line.map_err(|e| (Some(revision.clone()), kube::Error::ReadEvents(e)))?;
                if line.is_empty() {
                    continue;
                }
                let event: Line<'_> = serde_json::from_str(&line).map_err(|e| (None, kube::Error::SerdeError(e)))?;
                let object = event.object.get();
                let mut object: Value = serde_json::from_str(object).map_err(|e| (None, kube::Error::SerdeError(e)))?;
                if event.kind == "ERROR" {
                    self.news(rows, gone).await;
                    let status = serde_json::from_value(object).map_err(|e| (None, kube::Error::SerdeError(e)))?;
                    return Err((None, kube::Error::Api(Box::new(status))));
                }
                if let Some(at) = revision_of(&object) {
                    at.clone_into(&mut revision);
                }
                match event.kind {
                    "BOOKMARK" => {}
                    "DELETED" => {
                        for row in self.rows(&mut object) {
                            rows.retain(|r: &Arc<Row>| r.key() != row.key());
                            gone.push((row.row.namespace.clone(), row.row.name.clone()));
                        }
                    }
                    _ => {
                        for row in self.rows(&mut object) {
                            gone.retain(|key: &(Arc<str>, Arc<str>)| (&*key.0, &*key.1) != row.key());
                            rows.push(row);
                        }
                    }
                }
            }
            self.news(rows, gone).await;
        }
        Ok(revision)
    }

    async fn news(&self, rows: Vec<Arc<Row>>, gone: Vec<(Arc<str>, Arc<str>)>) {
        if !(rows.is_empty() && gone.is_empty()) {
            self.tell(Batch::News(rows, gone)).await;
        }
    }

    fn headings(&self, page: &Page<'_>) -> Vec<Heading> {
        if self.typed || !page.is_table() {
            return headings(&self.resource);
        }
        let columns = page.columns.iter().flatten();
        columns.map(Heading::read).collect()
    }

    /// The rows of an event: of a Table, or of one object.
    fn rows(&self, answer: &mut Value) -> Vec<Arc<Row>> {
        if view::text(answer, "/kind") == "Table" {
            return match answer["rows"].take() {
                Value::Array(rows) => rows.into_iter().map(|row| self.row_of_table(row)).collect(),
                _ => Vec::new(),
            };
        }
        vec![self.row(answer.take())]
    }

    fn row(&self, object: Value) -> Arc<Row> {
        Arc::new(row_of(&self.resource, object, None, Timestamp::now()))
    }

    fn row_of_table(&self, row: Value) -> Arc<Row> {
        let now = Timestamp::now();
        let (object, cells) = served_row(row, now);
        Arc::new(row_of(&self.resource, object, Some(cells), now))
    }
}

/// The revision of an object, or of the object in a Table's row.
fn revision_of(object: &Value) -> Option<&str> {
    let places = ["/metadata/resourceVersion", "/rows/0/object/metadata/resourceVersion"];
    let mut found = places.iter().map(|path| view::text(object, path));
    found.find(|text| !text.is_empty())
}

fn trouble(error: &kube::Error) -> Trouble {
    let code = match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    };
    Trouble {
        message: match error {
            kube::Error::Api(status) => status.message.clone(),
            kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => {
                format!("cannot reach the server: {}", root(error))
            }
            other => other.to_string(),
        },
        code,
    }
}

/// The innermost cause, which is the one that tells.
fn root(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn percent(text: &str) -> impl Iterator<Item = char> + '_ {
    text.bytes().flat_map(|byte| {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let hex = |n: u8| char::from_digit(u32::from(n), 16).map(|c| c.to_ascii_uppercase());
        let encoded = [Some('%'), hex(byte >> 4), hex(byte & 15)];
        let kept = [Some(char::from(byte)), None, None];
        if plain { kept } else { encoded }.into_iter().flatten()
    })
}

/// A kind that only the server knows.
fn unknown(source: &Source) -> Resource {
    let own = |text: &str| text.to_owned().into();
    Resource {
        group: own(&source.group),
        version: own(&source.version),
        kind: own(""),
        plural: own(&source.plural),
        singular: own(""),
        short_names: Vec::new().into(),
        categories: Vec::new().into(),
        scope: Scope::Namespaced,
        verbs: Vec::new().into(),
        subresources: Vec::new().into(),
        storage: None,
        selectable_fields: Vec::new().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_travel_in_the_query() {
        let text: String = percent("app in (a,b)/é").collect();
        assert_eq!(text, "app%20in%20%28a%2Cb%29%2F%C3%A9");
    }
}
