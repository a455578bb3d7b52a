//! May this user do that? Authorizers are asked in turn; the first that allows or denies decides.

use async_trait::async_trait;

use crate::identity::User;

/// What a request wants, in the terms of RBAC.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    /// `get`, `list`, `create`, …; for paths outside the API the lower-case HTTP method.
    pub verb: String,
    /// API group; empty for the core group and for paths outside the API.
    pub group: String,
    /// Version of the group.
    pub version: String,
    /// Plural of the resource; empty for paths outside the API.
    pub resource: String,
    /// Subresource; may be empty.
    pub subresource: String,
    /// Namespace; empty for cluster scope or all namespaces.
    pub namespace: String,
    /// Object name; empty for collections.
    pub name: String,
    /// Path, for requests outside the API.
    pub path: String,
}

/// An authorizer's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Allowed; with the reason for a SubjectAccessReview.
    Allow(String),
    /// Denied whatever others say.
    Deny(String),
    /// Nothing known in favour; the reason may be empty.
    NoOpinion(String),
}

/// A source of decisions.
#[async_trait]
pub trait Authorizer: Send + Sync {
    /// Decides on one request.
    async fn authorize(&self, user: &User, attributes: &Attributes) -> Decision;
}
