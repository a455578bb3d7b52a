//! The table of what is not generic: subresources and kinds that are answered rather than stored.
//!
//! A new one is a file with a handler, and a row here.

mod binding;
mod computed;
mod eviction;
mod kubelet;
mod proxy;
mod reviews;
mod token;
mod usage;

use std::sync::Arc;

use axum::body::Body;
pub use computed::Computed;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Response, StatusCode};
use mizzen_api::resource::Resource;
use mizzen_api::status::ApiResult;
use serde_json::json;
pub use usage::Usage;

use super::call::Call;
use super::response;

/// Answers a call.
pub type Handler = fn(Arc<Call>, Body) -> BoxFuture<'static, ApiResult<Response<Body>>>;

/// A row of the table.
pub struct Special {
    /// Group of the resource.
    pub group: &'static str,
    /// Plural of the resource.
    pub plural: &'static str,
    /// Subresource; empty for the resource itself.
    pub subresource: &'static str,
    /// Whether the answer is not an object, so that its form is not negotiated.
    pub raw: bool,
    /// Who answers.
    pub handler: Handler,
}

/// A row of the core group.
const fn core(plural: &'static str, subresource: &'static str, raw: bool, handler: Handler) -> Special {
    Special {
        group: "",
        plural,
        subresource,
        raw,
        handler,
    }
}

/// A row of a kind that is answered and not stored.
const fn review(group: &'static str, plural: &'static str) -> Special {
    Special {
        group,
        plural,
        subresource: "",
        raw: false,
        handler: |call, body| reviews::answer(call, body).boxed(),
    }
}

/// A row of a kind that is computed when it is read.
const fn computed(group: &'static str, plural: &'static str) -> Special {
    Special {
        group,
        plural,
        subresource: "",
        raw: false,
        handler: |call, _| computed::answer(call).boxed(),
    }
}

/// A row of what nodes or Pods use.
const fn used(plural: &'static str) -> Special {
    Special {
        group: "metrics.k8s.io",
        plural,
        subresource: "",
        raw: false,
        handler: |call, _| usage::answer(call).boxed(),
    }
}

/// The group of what our consoles read beyond upstream's API.
pub const CONSOLE: &str = "console.mizzen.io";
const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

const TABLE: &[Special] = &[
    core("bindings", "", false, |call, body| binding::bind(call, body).boxed()),
    core("nodes", "proxy", true, |call, body| proxy::node(call, body).boxed()),
    core("pods", "attach", true, |call, body| {
        kubelet::stream(call, body, "attach").boxed()
    }),
    core("pods", "binding", false, |call, body| binding::bind(call, body).boxed()),
    core("pods", "eviction", false, |call, body| {
        eviction::evict(call, body).boxed()
    }),
    core("pods", "exec", true, |call, body| {
        kubelet::stream(call, body, "exec").boxed()
    }),
    core("pods", "log", true, |call, body| kubelet::log(call, body).boxed()),
    core("pods", "portforward", true, |call, body| {
        kubelet::port_forward(call, body).boxed()
    }),
    core("pods", "proxy", true, |call, body| proxy::pod(call, body).boxed()),
    core("serviceaccounts", "token", false, |call, body| {
        token::issue(call, body).boxed()
    }),
    computed(CONSOLE, "schedulingverdicts"),
    used("nodes"),
    used("pods"),
    review(AUTHENTICATION, "selfsubjectreviews"),
    review(AUTHENTICATION, "tokenreviews"),
    review(AUTHORIZATION, "localsubjectaccessreviews"),
    review(AUTHORIZATION, "selfsubjectaccessreviews"),
    review(AUTHORIZATION, "selfsubjectrulesreviews"),
    review(AUTHORIZATION, "subjectaccessreviews"),
    core("services", "proxy", true, |call, body| {
        proxy::service(call, body).boxed()
    }),
];

/// The row for a resource and subresource, if it has one.
pub fn find(resource: &Resource, subresource: &str) -> Option<&'static Special> {
    TABLE
        .iter()
        .find(|row| row.subresource == subresource && row.plural == resource.plural && row.group == resource.group)
}

/// The answer of what changes something and has nothing to show.
fn created(call: &Call) -> ApiResult<Response<Body>> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    response::document(call.accept, StatusCode::CREATED, status.to_string().into())
}
