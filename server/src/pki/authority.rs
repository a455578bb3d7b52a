//! A certificate authority: a certificate and its key in two files.
//!
//! An administrator may put files of an own CA in place before the first start, with an intermediate
//! first and its chain after it; what is there is used and never written over.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::files;

const LIFETIME_DAYS: i64 = 3650;

/// A CA that can issue.
#[derive(Debug)]
pub struct Authority {
    path: PathBuf,
    pem: String,
    chain: Vec<CertificateDer<'static>>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Loads `{name}.crt` and `{name}.key`, or makes them.
    pub fn open(directory: &Path, name: &str, common_name: &str) -> Result<Self> {
        let path = directory.join(format!("{name}.crt"));
        let key_path = directory.join(format!("{name}.key"));
        let Some(pem) = files::read(&path)? else {
            // A key without certificate is what a crash in here leaves; nobody has seen it yet.
            return Self::create(path, &key_path, common_name);
        };
        let Some(key) = files::read(&key_path)? else {
            bail!(
                "{} is missing, its certificate {} is there; put the key back, or remove both to start a new CA",
                key_path.display(),
                path.display(),
            );
        };
        Self::load(path.clone(), pem, &key)
            .with_context(|| format!("cannot use the CA in {} and {}", path.display(), key_path.display()))
    }

    /// The certificate file's content, chain included: what clients trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Certificates of the file, the issuing one first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Where the certificate is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    fn create(path: PathBuf, key_path: &Path, common_name: &str) -> Result<Self> {
        let key = KeyPair::generate().context("cannot generate a key")?;
        let mut params = CertificateParams::default();
        // The time of creation tells apart CAs of clusters (and of reinstalls) in error messages.
        let stamp = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("{common_name}@{stamp}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        super::leaf::set_validity(&mut params, LIFETIME_DAYS);
        let pem = params.self_signed(&key).context("cannot sign a CA certificate")?.pem();
        files::write(key_path, key.serialize_pem().as_bytes(), files::PRIVATE)?;
        files::write(&path, pem.as_bytes(), 0o644)?;
        tracing::info!(path = %path.display(), "created a certificate authority");
        Self::load(path, pem, &key.serialize_pem())
    }

    fn load(path: PathBuf, pem: String, key: &str) -> Result<Self> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .context("the certificate is not PEM")?;
        let first = chain.first().context("the file holds no certificate")?;
        let key = KeyPair::from_pem(key).context("the key is not PEM of a private key that we can use")?;
        let (_, parsed) = x509_parser::parse_x509_certificate(first).context("the certificate is malformed")?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            bail!("the key is not the certificate's");
        }
        if !parsed.is_ca() {
            bail!("the certificate is not one of a CA");
        }
        let issuer = Issuer::from_ca_cert_der(first, key).context("the certificate cannot issue")?;
        Ok(Self {
            path,
            issuer,
            pem,
            chain,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_ca_is_made_once_and_then_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let first = Authority::open(directory.path(), "ca", "test").unwrap();
        let again = Authority::open(directory.path(), "ca", "test").unwrap();
        assert_eq!(first.pem(), again.pem());
    }

    #[test]
    fn files_that_do_not_fit_are_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        Authority::open(directory.path(), "a", "test").unwrap();
        Authority::open(directory.path(), "b", "test").unwrap();
        let message = |error: anyhow::Error| format!("{error:#}").replace(directory.path().to_str().unwrap(), "DIR");

        fs::copy(path("b.key"), path("a.key")).unwrap();
        let error = Authority::open(directory.path(), "a", "test").unwrap_err();
        insta::assert_snapshot!(message(error), @"cannot use the CA in DIR/a.crt and DIR/a.key: the key is not the certificate's");

        fs::remove_file(path("a.key")).unwrap();
        let error = Authority::open(directory.path(), "a", "test").unwrap_err();
        insta::assert_snapshot!(message(error), @"DIR/a.key is missing, its certificate DIR/a.crt is there; put the key back, or remove both to start a new CA");
        assert!(!path("a.key").exists());
    }
}
