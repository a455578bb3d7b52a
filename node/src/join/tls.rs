//! TLS of a machine that joins: what it trusts, what it shows, how it knows its kubelet's callers.

use std::sync::Arc;

use anyhow::Context as _;
use mizzen_api::client::tls::provider;
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;

use super::certificate::Certificate;
use crate::kubelet_api;

/// Trusts the servers of this CA; shows a certificate if there is one.
pub(super) fn client(ca_pem: &str, own: Option<Arc<Certificate>>) -> anyhow::Result<ClientConfig> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(ca_pem)?);
    let mut config = match own {
        Some(own) => config.with_client_cert_resolver(own),
        None => config.with_no_client_auth(),
    };
    // A resumed session counts as opened with the certificate of the first one, which may have ended.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Serves with a certificate as it is at each handshake, for clients of this CA.
pub(super) fn kubelet_trust(serving: Arc<Certificate>, client_ca_pem: &str) -> anyhow::Result<kubelet_api::Trust> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(client_ca_pem)?), provider())
        .build()
        .context("cannot verify clients of the kubelet")?;
    let tls = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(serving);
    Ok(kubelet_api::Trust {
        tls: Arc::new(tls),
        // The handshake verified the chain.
        identify: Arc::new(|chain| groups(chain.first()?)),
    })
}

fn roots(pem: &str) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.context("a CA is not PEM")?)?;
    }
    Ok(roots)
}

/// Every `O` is a group.
fn groups(certificate: &CertificateDer<'_>) -> Option<Vec<String>> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let groups = parsed.subject().iter_organization();
    groups.map(|group| Some(group.as_str().ok()?.to_owned())).collect()
}
