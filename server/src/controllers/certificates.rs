//! Certificates: approves what nodes ask for ([`approval`]), signs what was approved, forgets what is old.
//!
//! The signers are upstream's. Certificates of clients come from the client CA, those that kubelets serve
//! with from the server CA, as all of ours do. What a signer signs is decided by [`refusal`], pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use kube::core::params::DeleteParams;
use mizzen_api::client::reflector::{Key, Projection, Reflector};
use mizzen_api::client::rest::{self, Rest};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Context, Controller, Next};
use crate::pki::Authority;
use crate::pki::request::Subject;
use crate::projection::{Meta, Watched, projection};

pub mod approval;

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Longest life of a certificate, unless configured.
const LONGEST: Duration = Duration::from_hours(365 * 24);
/// How long requests are kept: undecided, decided, and in either case at most a year after their end.
const PENDING: SignedDuration = SignedDuration::from_hours(24);
const DECIDED: SignedDuration = SignedDuration::from_hours(1);

/// The authorities that sign.
#[derive(Clone, Debug)]
pub struct Signers {
    /// Signs certificates of clients.
    pub client: Arc<Authority>,
    /// Signs certificates that kubelets serve with.
    pub serving: Arc<Authority>,
}

/// A request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Request {
    metadata: Meta,
    spec: RequestSpec,
    status: RequestStatus,
}
projection!(Request, "certificates.k8s.io", "v1", "certificatesigningrequests");

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RequestSpec {
    request: Box<str>,
    signer_name: Box<str>,
    usages: Vec<Box<str>>,
    username: Box<str>,
    groups: Vec<Box<str>>,
    extra: BTreeMap<Box<str>, Vec<Box<str>>>,
    expiration_seconds: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RequestStatus {
    certificate: Option<Box<str>>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    #[serde(rename = "type")]
    kind: Box<str>,
    last_update_time: Option<Timestamp>,
}

impl Request {
    fn is(&self, kind: &str) -> bool {
        self.status.conditions.iter().any(|condition| &*condition.kind == kind)
    }

    fn pem(&self) -> String {
        let bytes = STANDARD.decode(&*self.spec.request).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn uses(&self, allowed: &[&str], needed: &[&str]) -> bool {
        let usages: Vec<&str> = self.spec.usages.iter().map(|usage| &**usage).collect();
        usages.iter().all(|usage| allowed.contains(usage)) && needed.iter().all(|usage| usages.contains(usage))
    }
}

struct Certificates {
    rest: Rest,
    requests: Arc<Reflector<Request>>,
    signers: Option<Signers>,
    longest: Duration,
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = Certificates {
        rest: context.rest.clone(),
        requests: context.caches.of(),
        signers: context.config.signers.clone(),
        longest: context.config.signing_duration.unwrap_or(LONGEST),
    };
    let queue = context.queue.clone();
    controller.requests.subscribe(move |change| {
        if let Some(request) = change.new {
            queue.add(request.key());
        }
    });
    Arc::new(controller)
}

#[async_trait]
impl Controller for Certificates {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(request) = self.requests.get("", &key.name) else {
            return Ok(Next::Change);
        };
        let left = lapses_at(&request).duration_since(Timestamp::now());
        if !left.is_positive() {
            return match self
                .rest
                .delete(&Request::AT, "", &key.name, &DeleteParams::default())
                .await
            {
                Err(error) if !rest::is_not_found(&error) => Err(error.into()),
                _ => Ok(Next::Change),
            };
        }
        if !request.is("Approved") && !request.is("Denied") {
            self.approve(&request).await?;
        } else if request.is("Approved") && !request.is("Failed") && request.status.certificate.is_none() {
            self.sign(&request).await?;
        }
        Ok(Next::After(Duration::try_from(left)?))
    }
}

/// When a request is of no use any more.
fn lapses_at(request: &Request) -> Timestamp {
    let decided = ["Approved", "Denied", "Failed"].iter().any(|kind| request.is(kind));
    let changes = request
        .status
        .conditions
        .iter()
        .filter_map(|condition| condition.last_update_time);
    let since = changes.max().or(request.metadata.creation_timestamp);
    since.unwrap_or_else(Timestamp::now) + if decided { DECIDED } else { PENDING }
}

impl Certificates {
    async fn sign(&self, request: &Request) -> rest::Result<()> {
        let Some(signers) = &self.signers else { return Ok(()) };
        let authority = match &*request.spec.signer_name {
            CLIENT | KUBELET_CLIENT => &signers.client,
            KUBELET_SERVING => &signers.serving,
            // Somebody else's.
            _ => return Ok(()),
        };
        let pem = request.pem();
        let refused = match Subject::read(&pem) {
            Ok(subject) => refusal(request, &subject),
            Err(error) => Some(format!("unable to parse csr {:?}: {error:#}", request.metadata.name)),
        };
        if let Some(why) = refused {
            return self
                .add_condition(request, "status", "Failed", ("SignerValidationFailure", &why), None)
                .await;
        }
        let usages: Vec<&str> = request.spec.usages.iter().map(|usage| &**usage).collect();
        let asked = request.spec.expiration_seconds.map(Duration::from_secs);
        let lifetime = asked.map_or(self.longest, |asked| asked.min(self.longest));
        match authority.sign(&pem, &usages, lifetime) {
            Ok(certificate) => {
                self.change(request, "status", |live| {
                    live["status"]["certificate"] = json!(STANDARD.encode(certificate));
                })
                .await
            }
            Err(error) => {
                let why = format!("{error:#}");
                self.add_condition(request, "status", "Failed", ("SignerValidationFailure", &why), None)
                    .await
            }
        }
    }

    async fn add_condition(
        &self,
        request: &Request,
        subresource: &str,
        kind: &str,
        (reason, message): (&str, &str),
        now: Option<Timestamp>,
    ) -> rest::Result<()> {
        let now = now.unwrap_or_else(Timestamp::now);
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let condition = json!({"type": kind, "status": "True", "reason": reason, "message": message,
            "lastUpdateTime": now, "lastTransitionTime": now});
        self.change(request, subresource, |live| {
            let mut conditions = live["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.push(condition);
            live["status"]["conditions"] = conditions.into();
        })
        .await
    }

    async fn change(&self, request: &Request, subresource: &str, change: impl FnOnce(&mut Value)) -> rest::Result<()> {
        crate::projection::update(&self.rest, &Request::AT, &request.metadata, subresource, change).await
    }
}

/// Why a signer does not sign a request, in upstream's words.
fn refusal(request: &Request, subject: &Subject) -> Option<String> {
    let of_node = subject.organizations == ["system:nodes"] && subject.common_name.starts_with("system:node:");
    let named = !(subject.names.is_empty() && subject.addresses.is_empty());
    let why = match &*request.spec.signer_name {
        CLIENT => {
            let allowed = ["digital signature", "key encipherment", "client auth"];
            match request.uses(&allowed, &["client auth"]) {
                true => return None,
                false => "usages did not match",
            }
        }
        KUBELET_CLIENT => match () {
            () if subject.organizations != ["system:nodes"] => "subject organization is not system:nodes",
            () if named || subject.others > 0 => "DNS or IP subjectAltNames are not allowed",
            () if !of_node => "subject common name does not begin with system:node:",
            () if !request.uses(
                &["digital signature", "key encipherment", "client auth"],
                &["digital signature", "client auth"],
            ) =>
            {
                "usages did not match"
            }
            () => return None,
        },
        KUBELET_SERVING => match () {
            () if subject.organizations != ["system:nodes"] => "subject organization is not system:nodes",
            () if !named => "DNS or IP subjectAltName is required",
            () if subject.others > 0 => "Email and URI subjectAltNames are not allowed",
            () if !of_node => "subject common name does not begin with system:node:",
            () if *request.spec.username != *subject.common_name => "requested common name is not the requester's",
            () if !request.uses(
                &["digital signature", "key encipherment", "server auth"],
                &["digital signature", "server auth"],
            ) =>
            {
                "usages did not match"
            }
            () => return None,
        },
        _ => return None,
    };
    Some(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(signer: &str, usages: &[&str], subject: Subject, expect: Option<&str>) {
        let request = json!({"spec": {"signerName": signer, "usages": usages, "username": "system:node:n1"}});
        let request: Request = serde_json::from_value(request).unwrap();
        assert_eq!(refusal(&request, &subject).as_deref(), expect);
    }

    #[test]
    fn signers_sign_only_what_they_are_for() {
        let node = |names: usize| Subject {
            common_name: "system:node:n1".into(),
            organizations: vec!["system:nodes".into()],
            names: vec!["n1".into(); names],
            ..Subject::default()
        };
        let client = ["digital signature", "client auth"];
        let serving = ["digital signature", "server auth"];
        check(KUBELET_CLIENT, &client, node(0), None);
        check(
            KUBELET_CLIENT,
            &client,
            node(1),
            Some("DNS or IP subjectAltNames are not allowed"),
        );
        check(KUBELET_CLIENT, &serving, node(0), Some("usages did not match"));
        check(
            KUBELET_CLIENT,
            &client,
            Subject::default(),
            Some("subject organization is not system:nodes"),
        );
        check(KUBELET_SERVING, &serving, node(1), None);
        check(
            KUBELET_SERVING,
            &serving,
            node(0),
            Some("DNS or IP subjectAltName is required"),
        );
        check(CLIENT, &["client auth"], Subject::default(), None);
        check(
            CLIENT,
            &["server auth", "client auth"],
            Subject::default(),
            Some("usages did not match"),
        );
    }

    #[test]
    fn a_request_is_signed_for_its_subject() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(directory.path(), "ca", "test-ca").unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "system:node:n1");
        params
            .distinguished_name
            .push(rcgen::DnType::OrganizationName, "system:nodes");
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        let subject = Subject::read(&pem).unwrap();
        assert_eq!(subject.common_name, "system:node:n1");
        assert_eq!(subject.organizations, ["system:nodes"]);
        let signed = authority
            .sign(&pem, &["digital signature", "client auth"], Duration::from_secs(3600))
            .unwrap();
        let (_, block) = x509_parser::pem::parse_x509_pem(signed.as_bytes()).unwrap();
        let certificate = block.parse_x509().unwrap();
        assert!(certificate.subject().to_string().contains("system:node:n1"));
        assert!(!certificate.is_ca());
        assert!(authority.sign(&pem, &["cert sign"], Duration::from_secs(3600)).is_err());
    }
}
