//! Client certificates, as the TLS listener saw them.

use std::time::SystemTime;

use async_trait::async_trait;
use http::request::Parts;
use mizzen_api::status::{ApiError, ApiResult};

use super::Authenticator;
use crate::identity::User;
use crate::pki::PeerCertificate;

/// `CN` is the user, every `O` a group.
pub struct Certificate;

#[async_trait]
impl Authenticator for Certificate {
    async fn authenticate(&self, parts: &Parts) -> ApiResult<Option<User>> {
        match parts.extensions.get::<PeerCertificate>() {
            None | Some(PeerCertificate::None) => Ok(None),
            // A connection may outlive the certificate that it was opened with.
            Some(PeerCertificate::Trusted(user, not_after)) if SystemTime::now() <= *not_after => {
                Ok(Some((**user).clone()))
            }
            Some(_) => Err(ApiError::unauthorized()),
        }
    }
}
