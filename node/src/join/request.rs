//! Asking the cluster for a certificate: a CertificateSigningRequest, and waiting for what becomes of it.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use mizzen_api::client::feed::{self, Selector};
use mizzen_api::client::rest::{Gvr, Rest};

use super::Failure;
use super::certificate::Wanted;

/// Who decides does so at once, unless it is a person.
const PATIENCE: Duration = Duration::from_secs(60);

const REQUESTS: Gvr<'static> = Gvr::new("certificates.k8s.io", "v1", "certificatesigningrequests");

/// The signed certificate, as PEM.
pub(super) async fn certificate(client: &kube::Client, wanted: &Wanted, pem: String) -> Result<String, Failure> {
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let request = CertificateSigningRequest {
        metadata: ObjectMeta {
            generate_name: Some("csr-".to_owned()),
            ..Default::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: wanted.signer.to_owned(),
            usages: Some(wanted.usages.iter().map(ToString::to_string).collect()),
            ..Default::default()
        },
        status: None,
    };
    let created = api.create(&PostParams::default(), &request).await;
    let created = created.map_err(|error| Failure::of_call(error, "ask for a certificate"))?;
    let name = created.metadata.name.unwrap_or_default();
    let own = Selector::named("", &name);
    let decided = feed::until(REQUESTS, own, Rest::new(client.clone(), "kubelet"), |request| {
        outcome(&request)
    });
    match tokio::time::timeout(PATIENCE, decided).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::Later(anyhow::anyhow!(
            "nobody decided about the request {name} within {} s: see `mizzen get csr`; \
             do the controllers run, and may this token ask for a node's certificate?",
            PATIENCE.as_secs()
        ))),
    }
}

/// What became of a request; `None` while nothing did.
fn outcome(request: &CertificateSigningRequest) -> Option<Result<String, Failure>> {
    let status = request.status.as_ref()?;
    for condition in status.conditions.iter().flatten() {
        if matches!(&*condition.type_, "Denied" | "Failed") {
            let message = condition.message.as_deref().unwrap_or("no reason was given");
            return Some(Err(Failure::Never(anyhow::anyhow!("the cluster refuses: {message}"))));
        }
    }
    let certificate = status.certificate.as_ref()?;
    match String::from_utf8(certificate.0.clone()) {
        Ok(pem) => Some(Ok(pem)),
        Err(error) => Some(Err(Failure::Later(error.into()))),
    }
}
