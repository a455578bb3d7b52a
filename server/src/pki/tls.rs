//! TLS of our listeners: certificates picked per handshake, clients' certificates asked for but judged
//! by the request's authentication.
//!
//! A handshake only proves that the client holds the key of the certificate it shows. Whether we trust
//! that certificate is decided by [`ClientTrust::identify`], so that a client with a foreign or an
//! outlived certificate gets upstream's 401 and not a broken connection.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result};
use mizzen_api::client::tls::provider;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};

use super::authority::Authority;
use super::leaf::{self, Leaf};
use crate::identity::User;

/// What a client proved of itself in the TLS handshake; a request extension set by the listener alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerCertificate {
    /// It showed none.
    None,
    /// One that our client CA issued, and when it ends.
    Trusted(Arc<User>, SystemTime),
    /// One that we do not trust; with the reason for the log.
    Untrusted(Arc<str>),
}

/// The CAs that client certificates are checked against.
#[derive(Clone, Debug)]
pub struct ClientTrust(Arc<dyn ClientCertVerifier>);

impl ClientTrust {
    /// Trusts the certificates that this CA issued.
    pub fn new(authority: &Authority) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in authority.chain() {
            roots
                .add(certificate.clone())
                .with_context(|| format!("cannot trust {}", authority.path().display()))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .allow_unauthenticated()
            .build()
            .context("cannot verify clients")?;
        Ok(Self(verifier))
    }

    /// Who the client is, by the chain that it showed and proved to hold.
    pub fn identify(&self, chain: Option<&[CertificateDer<'_>]>) -> PeerCertificate {
        let Some((first, intermediates)) = chain.and_then(<[_]>::split_first) else {
            return PeerCertificate::None;
        };
        if let Err(error) = self.0.verify_client_cert(first, intermediates, UnixTime::now()) {
            return PeerCertificate::Untrusted(error.to_string().into());
        }
        match (user(first), leaf::end_of(first)) {
            (Some(user), Ok(not_after)) => PeerCertificate::Trusted(Arc::new(user), not_after),
            _ => PeerCertificate::Untrusted("the certificate names no user".into()),
        }
    }
}

/// `CN` is the user, every `O` a group.
fn user(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    if name.is_empty() {
        return None;
    }
    let mut user = User::new(name, []);
    for group in subject.iter_organization() {
        user.groups
            .insert(user.groups.len() - 1, group.as_str().ok()?.to_owned());
    }
    Some(user)
}

/// A TLS server that serves with `leaf` as it is at each handshake, and asks for client certificates.
pub(super) fn server_config(leaf: Arc<Leaf>, trust: &ClientTrust) -> Result<Arc<ServerConfig>> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .context("cannot set up TLS")?
        .with_client_cert_verifier(Arc::new(PossessionVerifier(trust.0.clone())))
        .with_cert_resolver(Arc::new(LeafResolver(leaf)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A TLS client that shows `leaf` as it is at each handshake, and trusts the servers of `authority`.
pub(super) fn client_config(leaf: Arc<Leaf>, authority: &Authority) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authority.chain().iter().cloned());
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .context("cannot set up TLS")?
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(LeafResolver(leaf)));
    Ok(Arc::new(config))
}

/// Answers every handshake with the leaf's certificate of now.
#[derive(Debug)]
struct LeafResolver(Arc<Leaf>);

impl ResolvesServerCert for LeafResolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.certified())
    }
}

impl ResolvesClientCert for LeafResolver {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.certified())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Checks that the client holds the key of its certificate, and leaves trust to [`ClientTrust`].
#[derive(Debug)]
struct PossessionVerifier(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for PossessionVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
