//! CertificateSigningRequest: a request that stays as it was made, is approved once and signed once.

use mizzen_api::object::Object;
use mizzen_api::status::FieldError;
use serde_json::{Value, json};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use super::check::{Check, section};
use super::{Context, Strategy};

const MIN_SECONDS: i64 = 600;
const MAX_SIGNER_BYTES: usize = 571;
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Strategy of CertificateSigningRequest.
pub(super) struct CertificateSigningRequest;

impl Strategy for CertificateSigningRequest {
    fn prepare_create(&self, _: &Context<'_>, object: &mut Object) {
        object.insert("status".into(), json!({}));
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        if let Some(spec) = old.get("spec") {
            object.insert("spec".into(), spec.clone());
        }
        if context.subresource == "status" {
            keep_decision(object, old);
        }
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        if context.subresource.is_empty() {
            check_spec(&check.field("spec"));
        }
        check_conditions(&check.field("status").field("conditions"));
        check.finish()
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        let before = check.beside(old);
        let (status, old_status) = (check.field("status"), before.field("status"));
        for kind in ["Approved", "Denied", "Failed"] {
            let count = |status: &Check<'_>| conditions(status, kind).count();
            if count(&status) < count(&old_status) {
                let detail = format!("updates may not remove a condition of type {kind:?}");
                status.field("conditions").forbidden(&detail);
            }
        }
        let certificate = status.field("certificate");
        if context.subresource == "status"
            && old_status.field("certificate").exists()
            && !certificate.same(&old_status.field("certificate"))
        {
            certificate.forbidden("updates may not set status.certificate once it is set");
        }
        check.finish()
    }
}

fn conditions<'a>(status: &Check<'a>, kind: &'a str) -> impl Iterator<Item = Check<'a>> {
    status
        .field("conditions")
        .items()
        .filter(move |condition| condition.field("type").str() == kind)
}

/// Approval has a path of its own: through the status only other conditions change.
fn keep_decision(object: &mut Object, old: &Object) {
    let list = |object: &Object| {
        let conditions = object
            .get("status")
            .and_then(|status| status["conditions"].as_array().cloned());
        conditions.unwrap_or_default()
    };
    let decides = |condition: &Value| matches!(condition["type"].as_str(), Some("Approved" | "Denied"));
    let mut kept: Vec<Value> = list(old).into_iter().filter(decides).collect();
    kept.extend(list(object).into_iter().filter(|condition| !decides(condition)));
    let status = section(object, "status");
    match kept.is_empty() {
        true => drop(status.remove("conditions")),
        false => drop(status.insert("conditions".into(), kept.into())),
    }
}

fn check_spec(spec: &Check<'_>) {
    let request = spec.field("request");
    if let Err(problem) = parse(request.str()) {
        request.invalid(problem);
    }
    let usages = spec.field("usages");
    usages.must_exist("");
    for usage in usages.items() {
        usage.one_of(&USAGES);
    }
    usages.unique("");
    let signer = spec.field("signerName");
    if signer.must_exist("") {
        let (domain, path) = signer.str().split_once('/').unwrap_or_default();
        if path.is_empty() {
            signer.invalid("must be a fully qualified domain and path of the form 'example.com/signer-name'");
        } else {
            signer.problems(mizzen_api::validation::dns_subdomain(domain));
        }
        if signer.str().len() > MAX_SIGNER_BYTES {
            signer.report(FieldError::too_long(signer.path(), MAX_SIGNER_BYTES));
        }
        if signer.str() == "kubernetes.io/legacy-unknown" {
            signer.invalid("the legacy signerName is not allowed via this API version");
        }
    }
    let expiration = spec.field("expirationSeconds");
    if expiration.int().is_some_and(|n| n < MIN_SECONDS) {
        expiration.invalid("may not specify a duration less than 600 seconds (10 minutes)");
    }
}

/// Checks that this is a PEM block, in base64 as bytes are in JSON, of a request signed by its own key.
fn parse(text: &str) -> Result<(), String> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .map_err(|error| error.to_string())?;
    let mut blocks = Pem::iter_from_buffer(&bytes);
    let block = blocks.next().and_then(Result::ok);
    let block = block
        .filter(|block| block.label == "CERTIFICATE REQUEST")
        .ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    request.verify_signature().map_err(|error| error.to_string())
}

fn check_conditions(conditions: &Check<'_>) {
    let mut seen = Vec::new();
    for condition in conditions.items() {
        let (kind, status) = (condition.field("type"), condition.field("status"));
        kind.must_exist("");
        status.must_be_one_of(&["False", "True", "Unknown"]);
        if matches!(kind.str(), "Approved" | "Denied" | "Failed") && status.exists() && status.str() != "True" {
            status.report(FieldError::not_supported(status.path(), status.str(), &["True"]));
        }
        if seen.contains(&kind.str()) {
            kind.duplicate();
        }
        seen.push(kind.str());
    }
    if seen.contains(&"Approved") && seen.contains(&"Denied") {
        conditions.invalid("Approved and Denied conditions are mutually exclusive");
    }
}
