//! The table of what is not generic: subresources and kinds that are answered rather than stored.
//!
//! A new one is a file with a handler, and a row here.

use std::sync::Arc;

use axum::body::Body;
use futures::future::BoxFuture;
use http::Response;
use mizzen_api::resource::Resource;
use mizzen_api::status::ApiResult;

use super::call::Call;

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

const TABLE: &[Special] = &[];

/// The row for a resource and subresource, if it has one.
pub fn find(resource: &Resource, subresource: &str) -> Option<&'static Special> {
    TABLE
        .iter()
        .find(|row| row.subresource == subresource && row.plural == resource.plural && row.group == resource.group)
}
