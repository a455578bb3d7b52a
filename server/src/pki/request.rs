//! Certificates for keys that others hold: what a CertificateSigningRequest asks for, signed by our CA.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use time::OffsetDateTime;

use super::authority::Authority;

/// Clocks of those who check may be behind by this much.
const CLOCK_SKEW: time::Duration = time::Duration::minutes(5);

/// Who a request says it is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Common name.
    pub common_name: String,
    /// Organizations.
    pub organizations: Vec<String>,
    /// DNS names asked for.
    pub names: Vec<String>,
    /// Addresses asked for.
    pub addresses: Vec<IpAddr>,
    /// E-mail addresses and URIs asked for.
    pub others: usize,
}

impl Subject {
    /// Reads a request in PEM.
    pub fn read(pem: &str) -> Result<Self> {
        let params = CertificateSigningRequestParams::from_pem(pem).context("the request is malformed")?;
        let mut subject = Self::default();
        let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).context("the request is not PEM")?;
        let (_, request) = x509_parser::prelude::FromDer::from_der(&block.contents)
            .map(|(rest, request): (_, x509_parser::prelude::X509CertificationRequest<'_>)| (rest, request))
            .context("the request is malformed")?;
        let name = &request.certification_request_info.subject;
        let texts = |all: &mut dyn Iterator<Item = &x509_parser::x509::AttributeTypeAndValue<'_>>| -> Vec<String> {
            all.filter_map(|attribute| attribute.as_str().ok().map(str::to_owned))
                .collect()
        };
        subject.common_name = texts(&mut name.iter_common_name())
            .into_iter()
            .next()
            .unwrap_or_default();
        subject.organizations = texts(&mut name.iter_organization());
        for asked in &params.params.subject_alt_names {
            match asked {
                rcgen::SanType::DnsName(name) => subject.names.push(name.to_string()),
                rcgen::SanType::IpAddress(address) => subject.addresses.push(*address),
                _ => subject.others += 1,
            }
        }
        Ok(subject)
    }
}

impl Authority {
    /// Signs a request: the subject and names that it asks for, these usages, for so long.
    pub fn sign(&self, pem: &str, usages: &[&str], lifetime: Duration) -> Result<String> {
        let mut request = CertificateSigningRequestParams::from_pem(pem).context("the request is malformed")?;
        let params = &mut request.params;
        params.is_ca = IsCa::NoCa;
        params.key_usages = usages.iter().filter_map(|usage| key_usage(usage)).collect();
        params.extended_key_usages = usages.iter().filter_map(|usage| extended_usage(usage)).collect();
        ensure!(
            params.key_usages.len() + params.extended_key_usages.len() == usages.len(),
            "a usage is not known: {usages:?}"
        );
        let now = OffsetDateTime::now_utc();
        params.not_before = now - CLOCK_SKEW;
        params.not_after = now + time::Duration::try_from(lifetime).context("the lifetime is too long")?;
        let certificate = request.signed_by(self.issuer()).context("cannot sign the request")?;
        Ok(certificate.pem())
    }
}

fn key_usage(name: &str) -> Option<KeyUsagePurpose> {
    Some(match name {
        "digital signature" | "signing" => KeyUsagePurpose::DigitalSignature,
        "content commitment" => KeyUsagePurpose::ContentCommitment,
        "key encipherment" => KeyUsagePurpose::KeyEncipherment,
        "key agreement" => KeyUsagePurpose::KeyAgreement,
        "data encipherment" => KeyUsagePurpose::DataEncipherment,
        _ => return None,
    })
}

fn extended_usage(name: &str) -> Option<ExtendedKeyUsagePurpose> {
    Some(match name {
        "client auth" => ExtendedKeyUsagePurpose::ClientAuth,
        "server auth" => ExtendedKeyUsagePurpose::ServerAuth,
        _ => return None,
    })
}
