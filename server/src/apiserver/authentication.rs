//! Who sent this request? Authenticators are asked in turn; the first that knows answers.

use async_trait::async_trait;
use mizzen_api::status::ApiResult;

use crate::identity::User;

/// A way to find out who sent a request.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// The user; `None` when the request has no credentials of this kind; an error (401) when it has
    /// wrong ones. Client certificates come as a request extension set by the TLS listener.
    async fn authenticate(&self, parts: &http::request::Parts) -> ApiResult<Option<User>>;
}
