//! Who asks for a certificate, who may approve it, and who may sign it.
//!
//! The requester is written into the request by us, never by the client: approvers and signers go by it.

use std::sync::Arc;

use async_trait::async_trait;
use mizzen_api::object::Object;
use mizzen_api::status::ApiResult;
use serde_json::{Value, json};

use super::{Admission, AdmissionRequest, Operation, refuse};
use crate::apiserver::authorization::{Attributes, Chain};
use crate::identity::MASTERS;
use crate::pki::request::Subject;

const GROUP: &str = "certificates.k8s.io";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";

/// The plugin.
pub struct Certificates {
    authorization: Arc<Chain>,
}

impl Certificates {
    /// A plugin that asks here who may approve and sign.
    pub fn new(authorization: Arc<Chain>) -> Self {
        Self { authorization }
    }

    /// Refuses the write unless its user may do that with requests to the signer.
    async fn require(&self, request: &AdmissionRequest<'_>, verb: &str, signer: &str) -> ApiResult<()> {
        let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
        for name in [signer.to_owned(), format!("{domain}/*")] {
            let attributes = Attributes {
                verb: verb.into(),
                group: GROUP.into(),
                version: "*".into(),
                resource: "signers".into(),
                name,
                ..Attributes::default()
            };
            if self.authorization.allows(request.user, &attributes).await {
                return Ok(());
            }
        }
        let doing = if verb == "sign" { "sign" } else { "approve" };
        Err(refuse(
            request,
            format_args!("user not permitted to {doing} requests with signerName {signer:?}"),
        ))
    }
}

fn signer(object: Option<&Object>) -> String {
    let spec = object.and_then(|object| object.get("spec"));
    let signer = spec.and_then(|spec| spec["signerName"].as_str());
    signer.unwrap_or_default().to_owned()
}

fn status(object: Option<&Object>, field: &str) -> Value {
    let status = object.and_then(|object| object.get("status"));
    status.map(|status| status[field].clone()).unwrap_or_default()
}

/// Whether a request asks for a certificate that may do anything.
fn wants_everything(object: &Object) -> bool {
    use base64::Engine;
    let text = object
        .get("spec")
        .and_then(|spec| spec["request"].as_str())
        .unwrap_or_default();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap_or_default();
    let subject = Subject::read(&String::from_utf8_lossy(&bytes)).unwrap_or_default();
    subject.organizations.iter().any(|organization| organization == MASTERS)
}

#[async_trait]
impl Admission for Certificates {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> ApiResult<()> {
        if request.operation != Operation::Create || !request.is(GROUP, "certificatesigningrequests") {
            return Ok(());
        }
        let user = request.user;
        if let Some(spec) = request.object_mut("spec") {
            spec.insert("username".into(), json!(user.name));
            spec.insert("groups".into(), json!(user.groups));
            spec.insert("uid".into(), json!(user.uid));
            spec.insert("extra".into(), json!(user.extra));
            // What is empty is left out, as of any object.
            spec.retain(|key, value| {
                !matches!(key.as_str(), "uid" | "extra") || (*value != json!("") && *value != json!({}))
            });
        }
        Ok(())
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> ApiResult<()> {
        if !request.is(GROUP, "certificatesigningrequests") {
            return Ok(());
        }
        let object = request.object.as_deref();
        match (request.operation, request.subresource) {
            (Operation::Create, _) => match object {
                Some(object) if signer(Some(object)) == CLIENT && wants_everything(object) => Err(refuse(
                    request,
                    format_args!("use of {CLIENT} signer with {MASTERS} group is not allowed"),
                )),
                _ => Ok(()),
            },
            (Operation::Update, "approval") => self.require(request, "approve", &signer(request.old)).await,
            (Operation::Update, "status") if status(object, "certificate") != status(request.old, "certificate") => {
                self.require(request, "sign", &signer(request.old)).await
            }
            _ => Ok(()),
        }
    }
}
