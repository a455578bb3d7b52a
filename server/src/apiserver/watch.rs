//! `watch`: frames of events as they happen, each made once and shared by all who get it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use http::{Response, StatusCode};
use mizzen_api::status::{ApiError, ApiResult};
use serde_json::json;
use tokio::time::Instant;

use super::call::Call;
use super::list::{check_options, parse_version};
use super::negotiation::Format;
use super::{response, view};
use crate::cache::{CacheError, Delivery, Entry, Event, EventKind, Snapshot, Subscription, View};
use crate::store::Revision;

/// Upstream's `--min-request-timeout`: watches that name no end are ended between this and twice this.
const MIN_TIMEOUT: Duration = Duration::from_secs(1800);

/// Answers with the stream of events.
pub(super) async fn watch(call: &Arc<Call>) -> ApiResult<Response<Body>> {
    check_options(call, true)?;
    if call.accept.format != Format::Json {
        return Err(ApiError::new(
            406,
            "NotAcceptable",
            "watches are only served as application/json",
        ));
    }
    let until = Instant::now() + timeout(call)?;
    let body = match open(call).await? {
        Ok(watch) => Body::from_stream(stream(call.clone(), watch, until)),
        Err(gone) => {
            let error = json!({"type": "ERROR", "object": gone.to_status()});
            Body::from(format!("{error}\n"))
        }
    };
    Ok(response::with_body(Format::Json, StatusCode::OK, body, false))
}

fn timeout(call: &Call) -> ApiResult<Duration> {
    let asked = call.query.number("timeoutSeconds")?.unwrap_or_default();
    Ok(match u64::try_from(asked) {
        Ok(seconds) if seconds > 0 => Duration::from_secs(seconds),
        _ => MIN_TIMEOUT.mul_f64(rand::random_range(1.0..2.0)),
    })
}

/// A watch that began: what there is first, then what happens.
struct Open {
    initial: Option<Snapshot>,
    events: Subscription,
    /// Whether the end of the initial state is marked by a bookmark.
    mark_end: bool,
}

/// Begins the watch. History that is gone is an error within the stream.
async fn open(call: &Call) -> ApiResult<Result<Open, ApiError>> {
    let cache = &call.server.cache;
    let (prefix, filter) = (call.prefix(), call.filter()?);
    let text = call.query.get("resourceVersion");
    let version = parse_version(text)?;
    let bookmarks = call.query.flag("allowWatchBookmarks");
    let asked = call.query.has("sendInitialEvents");
    let initial = if asked {
        call.query.flag("sendInitialEvents")
    } else {
        version == 0
    };
    if text.is_empty() {
        cache.wait_fresh().await.map_err(|error| call.cache_error(error))?;
    }
    if initial {
        cache.wait_for(version).await.map_err(|error| call.cache_error(error))?;
        let (snapshot, events) = cache.watch_now(&prefix, filter, bookmarks);
        return Ok(Ok(Open {
            initial: Some(snapshot),
            events,
            mark_end: asked && bookmarks,
        }));
    }
    let since = if version == 0 { cache.revision() } else { version };
    match cache.watch_since(&prefix, filter, since, bookmarks).await {
        Ok(events) => Ok(Ok(Open {
            initial: None,
            events,
            mark_end: false,
        })),
        Err(CacheError::Expired { oldest }) => {
            let words = format!("too old resource version: {since} ({oldest})");
            Ok(Err(ApiError::expired(words)))
        }
        Err(error) => Err(call.cache_error(error)),
    }
}

fn stream(call: Arc<Call>, watch: Open, until: Instant) -> impl futures::Stream<Item = Result<Bytes, Infallible>> {
    async_stream::stream! {
        let Open { initial, mut events, mark_end } = watch;
        // Only the first event of a table carries the columns.
        let mut headers = matches!(call.accept.view, View::Table(_));
        if let Some(snapshot) = initial {
            let revision = snapshot.revision;
            let filter = call.filter().unwrap_or_default();
            for entry in snapshot.entries.values().filter(|entry| filter.matches(entry)) {
                if let Some(frame) = initial_frame(&call, entry, headers) {
                    headers = false;
                    yield Ok(frame);
                }
            }
            if mark_end {
                yield Ok(bookmark(&call, revision, true));
            }
        }
        let end = tokio::time::sleep_until(until);
        tokio::pin!(end);
        loop {
            let delivery = tokio::select! {
                delivery = events.next() => delivery,
                () = &mut end => break,
            };
            match delivery {
                Some(Delivery::Event(kind, event)) => {
                    if let Some(frame) = event_frame(&call, kind, &event, headers) {
                        headers = false;
                        yield Ok(frame);
                    }
                }
                Some(Delivery::Bookmark(revision)) => yield Ok(bookmark(&call, revision, false)),
                None => break,
            }
        }
    }
}

fn initial_frame(call: &Call, entry: &Entry, headers: bool) -> Option<Bytes> {
    make_frame(call, EventKind::Added, &entry.json, headers)
}

fn event_frame(call: &Call, kind: EventKind, event: &Event, headers: bool) -> Option<Bytes> {
    if headers {
        return make_frame(call, kind, &event.json(kind), true);
    }
    let key = (kind, call.accept.view, view::frame_version(&call.resource));
    let frame = event.frame(key, |event| {
        make_frame(call, kind, &event.json(kind), false).unwrap_or_default()
    });
    (!frame.is_empty()).then_some(frame)
}

fn make_frame(call: &Call, kind: EventKind, json: &Bytes, headers: bool) -> Option<Bytes> {
    let object = view::served(&call.resource, json).and_then(|json| match call.accept.view {
        View::Object => Ok(json),
        View::Metadata => view::metadata(&json),
        View::Table(include) => {
            let row = view::row(call, include, &json)?;
            Ok(view::whole_table(call, None, headers, &[row]))
        }
    });
    match object {
        Ok(object) => Some(frame(kind.as_str(), &object)),
        Err(error) => {
            tracing::error!(%error, "an event cannot be shown");
            None
        }
    }
}

fn frame(kind: &str, object: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(object.len() + 40);
    out.put_slice(b"{\"type\":\"");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(object);
    out.put_slice(b"}\n");
    out.freeze()
}

fn bookmark(call: &Call, revision: Revision, end_of_initial: bool) -> Bytes {
    let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
    if end_of_initial {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    let (kind, api_version) = match call.accept.view {
        View::Object => (&*call.resource.kind, call.resource.api_version()),
        View::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1".into()),
        View::Table(_) => ("Table", "meta.k8s.io/v1".into()),
    };
    let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
    frame("BOOKMARK", object.to_string().as_bytes())
}
