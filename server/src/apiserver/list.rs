//! `list`: a snapshot of the cache, written out as a stream of copied bytes.

use std::sync::Arc;

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use http::{Response, StatusCode};
use mizzen_api::status::{ApiError, ApiResult, FieldError};
use serde::{Deserialize, Serialize};

use super::call::Call;
use super::negotiation::Format;
use super::{gzip, response, view};
use crate::cache::{CacheError, Entry, Filter, Snapshot, View};
use crate::store::{Revision, StoreError, prefix_end};

/// Bytes that are gathered before they are handed to the connection.
const CHUNK_BYTES: usize = 64 * 1024;

/// `resourceVersion` as a number.
pub(super) fn parse_version(text: &str) -> ApiResult<Revision> {
    match text {
        "" => Ok(0),
        text => text.parse().map_err(|_| {
            ApiError::bad_request(format!(
                "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
            ))
        }),
    }
}

/// What a continue token says: upstream's form, base64 of JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    v: String,
    /// Revision of the list; -1 to go on with the latest state, however different.
    rv: i64,
    /// First key of the next page, without the resource's prefix.
    start: String,
}

impl Token {
    fn new(rv: i64, start: &str) -> Self {
        Self {
            v: "meta.k8s.io/v1".into(),
            rv,
            start: start.into(),
        }
    }

    fn encode(&self) -> String {
        // Strings and numbers always encode.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("a token encodes"))
    }

    fn decode(text: &str) -> ApiResult<Self> {
        let bad = |why: String| ApiError::bad_request(format!("continue key is not valid: {why}"));
        let json = URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|error| bad(error.to_string()))?;
        let token: Self = serde_json::from_slice(&json).map_err(|error| bad(error.to_string()))?;
        if token.v != "meta.k8s.io/v1" || token.rv == 0 || token.start.is_empty() || token.start.contains("..") {
            return Err(bad("server does not recognize this encoded version".into()));
        }
        Ok(token)
    }
}

/// Refuses combinations of options that make no sense, as upstream.
pub(super) fn check_options(call: &Call, watch: bool) -> ApiResult<()> {
    let query = &call.query;
    let (version, version_match) = (query.get("resourceVersion"), query.get("resourceVersionMatch"));
    let initial = query.has("sendInitialEvents");
    let mut errors = Vec::new();
    let mut forbid = |field: &str, why: &str| errors.push(FieldError::forbidden(field, why));
    const FIELD: &str = "resourceVersionMatch";
    if watch && !version_match.is_empty() && !initial {
        forbid(
            FIELD,
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        );
    }
    if initial && !watch {
        forbid("sendInitialEvents", "sendInitialEvents is forbidden for list");
    }
    if initial && watch && version_match.is_empty() {
        forbid(
            FIELD,
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        );
    }
    if initial && watch && !query.get("continue").is_empty() {
        forbid("continue", "continue is forbidden for watch");
    }
    if !version_match.is_empty() && !watch {
        if version.is_empty() {
            forbid(
                FIELD,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            );
        }
        if !query.get("continue").is_empty() {
            forbid(FIELD, "resourceVersionMatch is forbidden when continue is provided");
        }
        if version_match == "Exact" && version == "0" {
            forbid(
                FIELD,
                "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"",
            );
        }
    }
    let supported: &[&str] = if watch {
        &["NotOlderThan"]
    } else {
        &["Exact", "NotOlderThan", ""]
    };
    if !version_match.is_empty() && !supported.contains(&version_match) {
        errors.push(FieldError::not_supported(FIELD, version_match, supported));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid_options("ListOptions", &errors))
}

/// A page of a list.
struct Page {
    revision: Revision,
    entries: Vec<Arc<Entry>>,
    next: Option<String>,
    remaining: Option<usize>,
}

/// Answers with the list.
pub(super) async fn list(call: &Call) -> ApiResult<Response<Body>> {
    check_options(call, false)?;
    let filter = call.filter()?;
    let limit = call.query.number("limit")?.unwrap_or_default();
    let limit = usize::try_from(limit).unwrap_or_default();
    let token = match call.query.get("continue") {
        "" => None,
        text => Some(Token::decode(text)?),
    };
    let snapshot = state(call, token.as_ref(), limit).await?;
    let page = page(call, &snapshot, &filter, token.as_ref().map(|t| &*t.start), limit);
    respond(call, page)
}

/// The state that the options ask for.
async fn state(call: &Call, token: Option<&Token>, limit: usize) -> ApiResult<Snapshot> {
    let cache = &call.server.cache;
    let prefix = call.prefix();
    let text = call.query.get("resourceVersion");
    let version = parse_version(text)?;
    let exact = |revision| async move {
        let snapshot = cache.snapshot_at(&call.prefix(), revision).await;
        snapshot.map_err(|error| expired(call, token, error))
    };
    if let Some(token) = token {
        if version > 0 {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        if let Ok(revision) = Revision::try_from(token.rv) {
            return exact(revision).await;
        }
    }
    let fresh = match (call.query.get("resourceVersionMatch"), text) {
        ("Exact", _) => return exact(version).await,
        ("", _) if limit > 0 && version > 0 => return exact(version).await,
        (_, "") => cache.wait_fresh().await,
        _ => cache.wait_for(version).await,
    };
    fresh.map_err(|error| call.cache_error(error))?;
    Ok(cache.snapshot(&prefix))
}

/// History that is gone: for a continued list with a token to go on without it.
fn expired(call: &Call, token: Option<&Token>, error: CacheError) -> ApiError {
    let gone = matches!(
        error,
        CacheError::Expired { .. } | CacheError::Store(StoreError::Compacted { .. })
    );
    let Some(token) = token.filter(|_| gone) else {
        return call.cache_error(error);
    };
    let mut error = ApiError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    error.continue_token = Some(Token::new(-1, &token.start).encode().into());
    error
}

fn page(call: &Call, snapshot: &Snapshot, filter: &Filter, start: Option<&str>, limit: usize) -> Page {
    let prefix = call.prefix();
    let within = match filter.namespace().filter(|_| call.resource.namespaced()) {
        Some(namespace) => format!("{prefix}{namespace}/"),
        None => prefix.clone(),
    };
    let first: Arc<str> = match start {
        Some(start) => format!("{prefix}{start}").max(within.clone()).into(),
        None => within.as_str().into(),
    };
    let end: Arc<str> = prefix_end(&within).into();
    let mut entries = Vec::new();
    let mut next = None;
    let mut remaining = None;
    if first < end {
        let mut range = snapshot.entries.range(first..end);
        for (key, entry) in range.by_ref().filter(|(_, entry)| filter.matches(entry)) {
            if limit > 0 && entries.len() == limit {
                next = Some(Token::new(snapshot.revision as i64, &key[prefix.len()..]).encode());
                break;
            }
            entries.push(entry.clone());
        }
        if next.is_some() && filter.selects_all() {
            remaining = Some(range.count() + 1);
        }
    }
    Page {
        revision: snapshot.revision,
        entries,
        next,
        remaining,
    }
}

fn head(call: &Call, page: &Page) -> Bytes {
    let (kind, api_version) = match call.accept.view {
        View::Object => (format!("{}List", call.resource.kind), call.resource.api_version()),
        View::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".into()),
        View::Table(_) => ("Table".to_owned(), "meta.k8s.io/v1".into()),
    };
    let mut metadata = serde_json::json!({"resourceVersion": page.revision.to_string()});
    if let Some(next) = &page.next {
        metadata["continue"] = next.as_str().into();
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    let mut out = format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{metadata},"#).into_bytes();
    if let View::Table(_) = call.accept.view {
        out.extend_from_slice(b"\"columnDefinitions\":");
        out.extend_from_slice(&view::columns(&call.resource));
        out.extend_from_slice(b",\"rows\":[");
    } else {
        out.extend_from_slice(b"\"items\":[");
    }
    out.into()
}

fn item(call: &Call, entry: &Entry) -> ApiResult<Bytes> {
    let json = view::served(&call.resource, &entry.json)?;
    match call.accept.view {
        View::Object => Ok(json),
        View::Metadata => view::metadata(&json),
        View::Table(include) => view::row(call, include, &json),
    }
}

/// Rewrites nothing where the bytes are what is sent.
fn sent_as_stored(call: &Call) -> bool {
    call.accept.view == View::Object && !call.resource.is_converted()
}

fn respond(call: &Call, page: Page) -> ApiResult<Response<Body>> {
    let head = head(call, &page);
    let items: Vec<Bytes> = if sent_as_stored(call) {
        page.entries.into_iter().map(|entry| entry.json.clone()).collect()
    } else {
        page.entries
            .iter()
            .map(|entry| item(call, entry))
            .collect::<ApiResult<_>>()?
    };
    let total: usize = head.len() + items.iter().map(|item| item.len() + 1).sum::<usize>() + 2;
    let plain = call.accept.format == Format::Json && !call.accept.pretty;
    if !plain || total <= CHUNK_BYTES {
        let mut all = BytesMut::with_capacity(total);
        Chunks::new(head, items).for_each(|chunk| all.put(chunk));
        return response::document(call.accept, StatusCode::OK, all.freeze());
    }
    let compress = call.accept.gzip && total >= response::GZIP_MIN_BYTES;
    let chunks = futures::stream::iter(Chunks::new(head, items));
    let body = if compress {
        Body::from_stream(gzip::stream(chunks).map(Ok::<_, std::convert::Infallible>))
    } else {
        Body::from_stream(chunks.map(Ok::<_, std::convert::Infallible>))
    };
    Ok(response::with_body(Format::Json, StatusCode::OK, body, compress))
}

/// The document in pieces of about [`CHUNK_BYTES`].
struct Chunks {
    head: Option<Bytes>,
    items: std::vec::IntoIter<Bytes>,
    first: bool,
    done: bool,
}

impl Chunks {
    fn new(head: Bytes, items: Vec<Bytes>) -> Self {
        Self {
            head: Some(head),
            items: items.into_iter(),
            first: true,
            done: false,
        }
    }
}

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4);
        if let Some(head) = self.head.take() {
            chunk.put(head);
        }
        while chunk.len() < CHUNK_BYTES {
            let Some(item) = self.items.next() else {
                chunk.put_slice(b"]}");
                self.done = true;
                break;
            };
            if !std::mem::take(&mut self.first) {
                chunk.put_u8(b',');
            }
            chunk.put(item);
        }
        Some(chunk.freeze())
    }
}
