//! Who sent this request? Authenticators are asked in turn; the first that knows answers.
//!
//! In this order: the identity of an in-process client (a [`User`] extension, which no network listener
//! lets through), the client certificate, the bearer token,
//! the session of a browser, the token of a machine that joins. A request without credentials is anonymous
//! on the paths that tell public things ([`anonymous`]) and refused with 401 elsewhere; wrong credentials
//! are refused everywhere. Impersonation comes after ([`impersonation`]).

use std::sync::Arc;

use async_trait::async_trait;
use http::header::AUTHORIZATION;
use http::request::Parts;
use mizzen_api::status::{ApiError, ApiResult};

use crate::identity::User;

pub mod anonymous;
pub mod certificate;
pub mod impersonation;
pub mod join;
pub mod service_account;
pub mod session;

/// A way to find out who sent a request.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// The user; `None` when the request has no credentials of this kind; an error (401) when it has
    /// wrong ones. Client certificates come as a request extension set by the TLS listener.
    async fn authenticate(&self, parts: &Parts) -> ApiResult<Option<User>>;
}

/// All ways, in order.
pub struct Authentication(Vec<Arc<dyn Authenticator>>);

impl Authentication {
    /// Certificates, then these.
    pub fn new(authenticators: impl IntoIterator<Item = Arc<dyn Authenticator>>) -> Self {
        let first: Arc<dyn Authenticator> = Arc::new(certificate::Certificate);
        Self(std::iter::once(first).chain(authenticators).collect())
    }

    /// Who sent the request, or 401.
    pub async fn authenticate(&self, parts: &Parts) -> ApiResult<User> {
        if let Some(user) = parts.extensions.get::<User>() {
            return Ok(user.clone());
        }
        let mut wrong = None;
        for authenticator in &self.0 {
            match authenticator.authenticate(parts).await {
                Ok(Some(user)) => return Ok(user),
                Ok(None) => {}
                Err(error) => wrong = Some(error),
            }
        }
        // Credentials that nobody takes are as wrong as those that somebody refuses.
        if wrong.is_none() && !parts.headers.contains_key(AUTHORIZATION) && anonymous::may_ask(parts) {
            return Ok(User::anonymous());
        }
        Err(wrong.unwrap_or_else(ApiError::unauthorized))
    }
}

/// The bearer token of a request, if it has one. Browsers cannot set headers on WebSockets, so there it
/// may come as a subprotocol, as upstream takes it.
pub fn bearer_token(parts: &Parts) -> Option<String> {
    if let Some(value) = parts.headers.get(AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        let token = token.trim();
        return (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned());
    }
    websocket_token(parts)
}

/// Prefix of the subprotocol that carries a token in base64url.
pub const WEBSOCKET_TOKEN_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

fn websocket_token(parts: &Parts) -> Option<String> {
    use base64::Engine;
    let values = parts.headers.get_all(http::header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut protocols = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let encoded = protocols.find_map(|protocol| protocol.trim().strip_prefix(WEBSOCKET_TOKEN_PREFIX))?;
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(encoded).ok()?;
    String::from_utf8(token).ok().filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests;
