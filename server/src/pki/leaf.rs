//! Certificates that our CAs issue: what each is for, and the pair of files that holds it.
//!
//! A leaf is issued anew when it nears its end, when what it should say changed (a node's address), or
//! when its CA was replaced. Whoever serves with it takes [`Leaf::certified`] per handshake and so
//! needs no restart.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use parking_lot::RwLock;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use x509_parser::prelude::{GeneralName, X509Certificate};

use super::authority::Authority;
use super::files;

const LIFETIME_DAYS: i64 = 365;
/// Remaining life below which a leaf is renewed: a third, so that a long-stopped server still has time.
const RENEWAL_WINDOW: Duration = Duration::from_secs(120 * 24 * 3600);
/// Clocks of other machines may be behind ours by this much.
const CLOCK_SKEW_SECONDS: i64 = 3600;

/// What a certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// `CN`: the user name of a client.
    pub common_name: String,
    /// `O`: the group of a client.
    pub organization: Option<String>,
    /// Names a server answers to; a certificate with neither names nor addresses is a client's.
    pub names: Vec<String>,
    /// Addresses a server answers on.
    pub addresses: Vec<IpAddr>,
    /// Whether a serving certificate also identifies a client.
    pub client_too: bool,
}

impl Profile {
    /// A client certificate.
    pub fn client(common_name: impl Into<String>, organization: Option<&str>) -> Self {
        Self {
            common_name: common_name.into(),
            organization: organization.map(str::to_owned),
            ..Self::default()
        }
    }

    fn serves(&self) -> bool {
        !(self.names.is_empty() && self.addresses.is_empty())
    }

    fn params(&self) -> Result<CertificateParams> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(organization) = &self.organization {
            params
                .distinguished_name
                .push(DnType::OrganizationName, organization.as_str());
        }
        params
            .distinguished_name
            .push(DnType::CommonName, self.common_name.as_str());
        for name in &self.names {
            let name = name
                .as_str()
                .try_into()
                .with_context(|| format!("{name:?} cannot be a certificate's name"))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        for address in &self.addresses {
            params.subject_alt_names.push(SanType::IpAddress(*address));
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        if self.serves() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if !self.serves() || self.client_too {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, LIFETIME_DAYS);
        Ok(params)
    }

    fn matches(&self, certificate: &X509Certificate<'_>) -> bool {
        let subject = certificate.subject();
        let first = |mut values: Box<dyn Iterator<Item = Option<String>> + '_>| values.next().flatten();
        let common_name = first(Box::new(
            subject.iter_common_name().map(|v| v.as_str().ok().map(str::to_owned)),
        ));
        let organization = first(Box::new(
            subject.iter_organization().map(|v| v.as_str().ok().map(str::to_owned)),
        ));
        if common_name.as_ref() != Some(&self.common_name) || organization != self.organization {
            return false;
        }
        let (mut names, mut addresses) = alternative_names(certificate);
        let mut wanted = (self.names.clone(), self.addresses.clone());
        names.sort();
        addresses.sort();
        wanted.0.sort();
        wanted.1.sort();
        (names, addresses) == wanted
    }
}

/// A certificate with its files.
#[derive(Debug)]
pub struct Leaf {
    certificate_path: PathBuf,
    key_path: PathBuf,
    profile: Profile,
    authority: Arc<Authority>,
    current: RwLock<Arc<Issued>>,
}

/// A certificate and its key at one time.
pub struct Issued {
    /// PEM of the certificate, and of intermediates when the CA is one.
    pub certificate_pem: String,
    /// PEM of the private key.
    pub key_pem: String,
    /// When it ends.
    pub not_after: SystemTime,
    /// The same for rustls.
    pub certified: Arc<CertifiedKey>,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Leaf {
    /// Loads `{name}.crt` and `{name}.key`, and issues them anew when they are missing or not good.
    pub fn open(directory: &Path, name: &str, profile: Profile, authority: Arc<Authority>) -> Result<Self> {
        let certificate_path = directory.join(format!("{name}.crt"));
        let key_path = directory.join(format!("{name}.key"));
        let existing = load(&certificate_path, &key_path, &profile, &authority)?;
        let issued = match existing {
            Some(issued) if !is_due(&issued, SystemTime::now()) => issued,
            _ => issue(&certificate_path, &key_path, &profile, &authority)?,
        };
        Ok(Self {
            certificate_path,
            key_path,
            profile,
            authority,
            current: RwLock::new(Arc::new(issued)),
        })
    }

    /// The certificate of now.
    pub fn current(&self) -> Arc<Issued> {
        self.current.read().clone()
    }

    /// The certificate of now, for a TLS handshake.
    pub fn certified(&self) -> Arc<CertifiedKey> {
        self.current.read().certified.clone()
    }

    /// Where the certificate is.
    pub fn certificate_path(&self) -> &Path {
        &self.certificate_path
    }

    /// Where the key is.
    pub fn key_path(&self) -> &Path {
        &self.key_path
    }

    /// When [`Leaf::renew`] is due.
    pub fn renewal_time(&self) -> SystemTime {
        self.current.read().not_after - RENEWAL_WINDOW
    }

    /// Issues the certificate anew if it is due; tells whether it did.
    pub fn renew(&self, now: SystemTime) -> Result<bool> {
        if !is_due(&self.current(), now) {
            return Ok(false);
        }
        let issued = issue(&self.certificate_path, &self.key_path, &self.profile, &self.authority)?;
        *self.current.write() = Arc::new(issued);
        Ok(true)
    }
}

fn is_due(issued: &Issued, now: SystemTime) -> bool {
    issued
        .not_after
        .duration_since(now)
        .map_or(true, |left| left <= RENEWAL_WINDOW)
}

fn issue(certificate_path: &Path, key_path: &Path, profile: &Profile, authority: &Authority) -> Result<Issued> {
    let key = KeyPair::generate().context("cannot generate a key")?;
    let certificate = profile
        .params()?
        .signed_by(&key, authority.issuer())
        .with_context(|| format!("cannot issue {}", certificate_path.display()))?;
    let mut pem = certificate.pem();
    // Peers trust the root only, so intermediates go along; the root itself would be dead weight.
    for intermediate in authority.chain() {
        if !is_self_issued(intermediate) {
            pem.push_str(&super::to_pem("CERTIFICATE", intermediate));
        }
    }
    let key_pem = key.serialize_pem();
    // A crash between the two leaves a pair that does not match, which the next start replaces.
    files::write(key_path, key_pem.as_bytes(), files::PRIVATE)?;
    files::write(certificate_path, pem.as_bytes(), 0o644)?;
    tracing::debug!(path = %certificate_path.display(), "issued a certificate");
    parse(pem, key_pem)
}

/// What the files hold, unless it is unfit; only failure to read is an error.
fn load(certificate_path: &Path, key_path: &Path, profile: &Profile, authority: &Authority) -> Result<Option<Issued>> {
    let (Some(certificate), Some(key)) = (files::read(certificate_path)?, files::read(key_path)?) else {
        return Ok(None);
    };
    Ok(parse(certificate, key)
        .and_then(|issued| check(&issued, profile, authority).map(|()| issued))
        .inspect_err(|why| tracing::info!(path = %certificate_path.display(), "replacing a certificate: {why:#}"))
        .ok())
}

fn check(issued: &Issued, profile: &Profile, authority: &Authority) -> Result<()> {
    let (_, certificate) = x509_parser::parse_x509_certificate(issued.certified.end_entity_cert()?)?;
    ensure!(profile.matches(&certificate), "its names changed");
    let (_, ca) = x509_parser::parse_x509_certificate(&authority.chain()[0])?;
    certificate
        .verify_signature(Some(ca.public_key()))
        .context("another CA issued it")?;
    Ok(())
}

fn parse(certificate_pem: String, key_pem: String) -> Result<Issued> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate_pem.as_bytes())
        .collect::<Result<_, _>>()
        .context("the certificate is not PEM")?;
    let first = chain.first().context("the file holds no certificate")?;
    let not_after = end_of(first)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).context("the key is not PEM")?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key).context("the key cannot sign")?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().context("the key is not the certificate's")?;
    Ok(Issued {
        not_after,
        certificate_pem,
        key_pem,
        certified: Arc::new(certified),
    })
}

/// When a certificate ends.
pub(super) fn end_of(certificate: &CertificateDer<'_>) -> Result<SystemTime> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).context("the certificate is malformed")?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

pub(super) fn set_validity(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::seconds(CLOCK_SKEW_SECONDS);
    params.not_after = now + time::Duration::days(days);
}

fn is_self_issued(certificate: &CertificateDer<'_>) -> bool {
    x509_parser::parse_x509_certificate(certificate)
        .is_ok_and(|(_, parsed)| parsed.subject().as_raw() == parsed.issuer().as_raw())
}

fn alternative_names(certificate: &X509Certificate<'_>) -> (Vec<String>, Vec<IpAddr>) {
    let mut names = Vec::new();
    let mut addresses = Vec::new();
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return (names, addresses);
    };
    for name in &extension.value.general_names {
        match name {
            GeneralName::DNSName(name) => names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
            _ => {}
        }
    }
    (names, addresses)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(names: &[&str], addresses: &[&str]) -> Profile {
        Profile {
            common_name: "server".into(),
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            ..Profile::default()
        }
    }

    #[test]
    fn a_leaf_is_kept_until_something_about_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let open_ca = |name| Arc::new(Authority::open(directory.path(), name, name).unwrap());
        let (ca, other) = (open_ca("ca"), open_ca("other"));
        let open = |profile: Profile, ca: &Arc<Authority>| {
            let leaf = Leaf::open(directory.path(), "leaf", profile, ca.clone()).unwrap();
            leaf.current().certificate_pem.clone()
        };
        let profile = server(&["a", "localhost"], &["127.0.0.1", "::1"]);
        let first = open(profile.clone(), &ca);
        let reordered = server(&["localhost", "a"], &["::1", "127.0.0.1"]);
        assert_eq!(first, open(reordered, &ca), "the same set of names");
        let second = open(server(&["a", "localhost"], &["127.0.0.1", "192.0.2.1"]), &ca);
        assert_ne!(first, second, "an address changed");
        let third = open(profile.clone(), &other);
        let fourth = open(profile.clone(), &ca);
        assert_ne!(third, fourth, "the CA was replaced");
        std::fs::write(directory.path().join("leaf.key"), "no key").unwrap();
        assert_ne!(fourth, open(profile, &ca), "the key was damaged");
    }

    #[test]
    fn a_leaf_is_renewed_in_place_when_it_nears_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let ca = Arc::new(Authority::open(directory.path(), "ca", "ca").unwrap());
        let leaf = Leaf::open(directory.path(), "leaf", Profile::client("u", Some("g")), ca).unwrap();
        let before = leaf.certified();
        assert!(!leaf.renew(leaf.renewal_time() - Duration::from_secs(60)).unwrap());
        assert!(leaf.renew(leaf.renewal_time()).unwrap());
        assert_ne!(before.cert, leaf.certified().cert);
        let stored = std::fs::read_to_string(leaf.certificate_path()).unwrap();
        assert_eq!(stored, leaf.current().certificate_pem);
    }
}
