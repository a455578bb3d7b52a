//! The stages that every request passes, in order.

use std::any::Any;
use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use futures::FutureExt;
use http::header::{HeaderMap, HeaderValue, UPGRADE};
use http::{Request, Response};
use mizzen_api::status::{ApiError, ApiResult};
use parking_lot::Mutex;

use super::authentication::impersonation;
use super::authorization::Attributes;
use super::call::Call;
use super::limits::Permit;
use super::negotiation::Accept;
use super::query::Query;
use super::request::RequestInfo;
use super::{
    ApiServer, cacerts, create, dashboard, delete, discovery, get, health, issuer, list, openapi, patch, response,
    scale, special, update, watch,
};
use crate::cache::Reader;
use crate::identity::User;

/// How long a request that is not a stream may take, as upstream.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Passes a request through the pipeline.
pub(super) async fn handle(server: Arc<ApiServer>, request: Request<Body>) -> Response<Body> {
    let began = Instant::now();
    let query = Query::parse(request.uri().query());
    let info = RequestInfo::resolve(request.method(), request.uri().path(), &query);
    let summary = info.clone();
    let errors = Accept::negotiate(request.headers(), &query, false).unwrap_or_default();

    let answer = AssertUnwindSafe(admit(server.clone(), info, query, request))
        .catch_unwind()
        .await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(panic) => {
            tracing::error!(path = %summary.attributes.path, panic = panic_text(&*panic), "a request panicked");
            Err(ApiError::internal(
                "This request caused apiserver to panic. Look in the logs for details.",
            ))
        }
    };
    let mut response = answer.unwrap_or_else(|error| response::error(errors, &error));
    let id = uuid::Uuid::new_v4().to_string();
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("audit-id", id);
    }
    let code = response.status().as_u16();
    server.metrics.record(&summary, code, began.elapsed());
    tracing::debug!(
        verb = summary.attributes.verb,
        path = summary.attributes.path,
        code,
        elapsed_us = began.elapsed().as_micros() as u64,
        "request"
    );
    response
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown")
}

async fn admit(
    server: Arc<ApiServer>,
    info: RequestInfo,
    query: Query,
    request: Request<Body>,
) -> ApiResult<Response<Body>> {
    let (mut parts, body) = request.into_parts();
    if dashboard::concerns(&info.attributes.path) {
        return dashboard::answer(&server, &parts, body).await;
    }
    if cacerts::concerns(&info.attributes.path) {
        return cacerts::answer(&server, &parts);
    }
    let gates = &server.gates;
    let requester = gates.authentication.authenticate(&parts).await?;
    let user = impersonation::impersonate(requester, &parts.headers, &gates.authorization).await?;
    impersonation::strip(&mut parts.headers);
    let permit = server.limits.enter(&info, &user).await?;
    let in_flight = server.metrics.in_flight(info.is_read_only());
    for attributes in required(&info, &parts.headers) {
        gates.authorization.require(&user, &attributes).await?;
    }
    let long_running = info.is_long_running();
    let work = dispatch(server, user, info, query, parts, body);
    let response = if long_running {
        // Streams count only until they begin.
        work.await?
    } else {
        tokio::time::timeout(REQUEST_TIMEOUT, work)
            .await
            .map_err(|_| ApiError::timeout("request did not complete within the allotted timeout"))??
    };
    drop::<Permit>(permit);
    drop(in_flight);
    Ok(response)
}

/// What the user must be allowed to do.
fn required<'a>(info: &'a RequestInfo, headers: &HeaderMap) -> impl Iterator<Item = Cow<'a, Attributes>> {
    let attributes = &info.attributes;
    // A WebSocket begins with GET, but what it opens is as strong as what SPDY opens by POST.
    let opens = attributes.verb == "get"
        && matches!(&*attributes.subresource, "attach" | "exec" | "portforward")
        && headers.contains_key(UPGRADE);
    let create = opens.then(|| Attributes {
        verb: "create".to_owned(),
        ..attributes.clone()
    });
    std::iter::once(Cow::Borrowed(attributes)).chain(create.map(Cow::Owned))
}

async fn dispatch(
    server: Arc<ApiServer>,
    user: User,
    info: RequestInfo,
    query: Query,
    parts: http::request::Parts,
    body: Body,
) -> ApiResult<Response<Body>> {
    let attributes = &info.attributes;
    let resource = server
        .registry()
        .by_path(&attributes.group, &attributes.version, &attributes.resource)
        .cloned();
    let Some(resource) = resource.filter(|_| info.is_resource) else {
        return outside(&server, &info, &query, &parts).await;
    };
    let special = special::find(&resource, &attributes.subresource);
    // Bytes that are not ours (logs, proxied answers) are not ours to negotiate.
    let accept = match special {
        Some(row) if row.raw => Accept::default(),
        _ => Accept::negotiate(&parts.headers, &query, true)?,
    };
    let call = Arc::new(Call {
        server,
        user,
        info,
        resource,
        query,
        accept,
        parts,
        warnings: Mutex::default(),
    });
    check_path(&call)?;
    let mut response = match special {
        Some(row) => (row.handler)(call.clone(), body).await?,
        None => generic(&call, body).await?,
    };
    if !call.info.is_read_only() && call.resource.storage.is_some() {
        // Whoever has this answer finds it true: a right just given or taken holds for the next request.
        Reader::fresh(&*call.server.cache).await;
    }
    response::add_warnings(&mut response, &call.warnings.lock());
    Ok(response)
}

/// Whether the path fits the resource's scope and the verb is served there.
fn check_path(call: &Call) -> ApiResult<()> {
    let attributes = &call.info.attributes;
    let namespaced = call.resource.namespaced();
    let in_namespace = !attributes.namespace.is_empty();
    let is_namespaces = call.resource.group.is_empty() && call.resource.plural == "namespaces";
    if in_namespace && !namespaced && !is_namespaces {
        return Err(ApiError::no_such_path());
    }
    let collection_everywhere = matches!(&*attributes.verb, "list" | "watch");
    if namespaced && !in_namespace && !collection_everywhere {
        let review = call.resource.storage.is_none();
        return Err(if attributes.name.is_empty() && !review {
            ApiError::method_not_allowed()
        } else {
            ApiError::no_such_path()
        });
    }
    if attributes.subresource.is_empty() {
        if !call.resource.allows(&attributes.verb) || (attributes.verb == "create" && !attributes.name.is_empty()) {
            return Err(ApiError::method_not_allowed());
        }
        return Ok(());
    }
    let Some(row) = call.resource.subresource(&attributes.subresource) else {
        return Err(ApiError::no_such_path());
    };
    if !row.verbs.iter().any(|verb| *verb == attributes.verb) {
        return Err(ApiError::method_not_allowed());
    }
    Ok(())
}

async fn generic(call: &Arc<Call>, body: Body) -> ApiResult<Response<Body>> {
    let attributes = &call.info.attributes;
    match (&*attributes.verb, &*attributes.subresource) {
        ("get", "" | "status" | "approval" | "ephemeralcontainers" | "resize") => get::get(call).await,
        ("list", "") => list::list(call).await,
        ("watch", "") => watch::watch(call).await,
        ("create", "") if call.resource.storage.is_some() => create::create(call, body).await,
        ("update", "" | "status" | "approval" | "ephemeralcontainers" | "finalize" | "resize") => {
            update::update(call, body).await
        }
        ("patch", "" | "status" | "approval" | "ephemeralcontainers" | "resize") => patch::patch(call, body).await,
        ("delete", "") => delete::delete(call, body).await,
        ("deletecollection", "") => delete::delete_collection(call, body).await,
        ("get" | "update" | "patch", "scale") => scale::scale(call, body).await,
        (_, subresource) => Err(ApiError::new(
            501,
            "NotImplemented",
            format!(
                "{} of {}/{subresource} is not built yet",
                attributes.verb, attributes.resource
            ),
        )),
    }
}

/// Answers to what is not a resource: discovery, health, metrics, OpenAPI.
async fn outside(
    server: &Arc<ApiServer>,
    info: &RequestInfo,
    query: &Query,
    parts: &http::request::Parts,
) -> ApiResult<Response<Body>> {
    if let Some(answer) = discovery::answer(server, parts, query)? {
        return Ok(answer);
    }
    if let Some(answer) = openapi::answer(server, parts, query).await? {
        return Ok(answer);
    }
    if let Some(answer) = issuer::answer(server, &info.attributes.path) {
        return Ok(answer);
    }
    if let Some(answer) = health::answer(server, &info.attributes.path, query).await {
        return Ok(answer);
    }
    Err(ApiError::no_such_path())
}
