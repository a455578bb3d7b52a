//! Fills Secrets of type `kubernetes.io/service-account-token`: a token of the ServiceAccount that an
//! annotation names, and what a client needs beside it.
//!
//! Upstream's controller does this after the fact; here the Secret is complete when it is answered. The
//! account owns the Secret, so that it goes with it.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mizzen_api::object::{Object, ObjectExt};
use mizzen_api::status::{ApiError, ApiResult};
use serde_json::{Value, json};

use super::{Admission, AdmissionRequest, Operation, array_mut};
use crate::apiserver::authentication::service_account::Tokens;
use crate::kinds::check::{default, section, text};

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

/// The plugin.
pub struct TokenSecret {
    tokens: Arc<Tokens>,
    root_ca_pem: String,
}

impl TokenSecret {
    /// A plugin that takes tokens from here, and tells clients to trust this CA.
    pub fn new(tokens: Arc<Tokens>, root_ca_pem: String) -> Self {
        Self { tokens, root_ca_pem }
    }

    fn fill(&self, namespace: &str, secret: &mut Object) -> ApiResult<()> {
        let name = secret.name().to_owned();
        let annotations = section(secret.metadata_mut(), "annotations");
        let (account, uid) = (
            text(annotations, ACCOUNT_NAME).to_owned(),
            text(annotations, ACCOUNT_UID).to_owned(),
        );
        let Some(live) = self.tokens.account_uid(namespace, &account) else {
            return Ok(());
        };
        if !uid.is_empty() && uid != live {
            return Ok(());
        }
        annotations.insert(ACCOUNT_UID.into(), live.as_str().into());
        let token = self.tokens.issue_legacy(namespace, &account, &live, &name);
        let token = token.map_err(ApiError::internal)?;
        let owner = json!({"apiVersion": "v1", "kind": "ServiceAccount", "name": account, "uid": live});
        let owners = array_mut(secret.metadata_mut(), "ownerReferences");
        if !owners.iter().any(|own| own["uid"] == owner["uid"]) {
            owners.push(owner);
        }
        let data = section(secret, "data");
        for (key, value) in [
            ("token", &*token),
            ("ca.crt", &*self.root_ca_pem),
            ("namespace", namespace),
        ] {
            default(data, key, STANDARD.encode(value));
        }
        Ok(())
    }
}

#[async_trait]
impl Admission for TokenSecret {
    fn name(&self) -> &'static str {
        "ServiceAccountTokenSecret"
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> ApiResult<()> {
        if request.operation != Operation::Create || !request.is("", "secrets") {
            return Ok(());
        }
        let namespace = request.namespace;
        match request.object.as_deref_mut() {
            // A token names its Secret, so one without a name yet cannot have it.
            Some(secret) if secret.get("type") == Some(&Value::from(TYPE)) && !secret.name().is_empty() => {
                self.fill(namespace, secret)
            }
            _ => Ok(()),
        }
    }
}
