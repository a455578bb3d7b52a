//! A certificate of this node with its file: asked for, shown in handshakes, renewed in time.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use mizzen_api::client::files;
use parking_lot::RwLock;
use rand::Rng;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{GeneralName, X509Certificate};

use super::{Failure, request};

/// Part of its life after which a certificate is renewed, at the earliest and at the latest: nodes that joined together
/// do not come back together.
const RENEWAL: std::ops::Range<f64> = 0.7..0.8;
/// The longest sleep: the clock may have been set, or the machine suspended, meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(24 * 3600);
/// Pauses after a renewal that failed.
const RETRY: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(300);

/// What a certificate should say.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub signer: &'static str,
    pub usages: &'static [&'static str],
    common_name: String,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Wanted {
    /// What the kubelet shows the API server.
    pub fn client(user: &str) -> Self {
        Self {
            signer: "kubernetes.io/kube-apiserver-client-kubelet",
            usages: &["digital signature", "client auth"],
            common_name: user.to_owned(),
            names: Vec::new(),
            addresses: Vec::new(),
        }
    }

    /// What the kubelet serves its API with.
    pub fn serving(user: &str, name: &str, address: IpAddr) -> Self {
        Self {
            signer: "kubernetes.io/kubelet-serving",
            usages: &["digital signature", "server auth"],
            common_name: user.to_owned(),
            names: vec![name.to_owned()],
            addresses: vec![address],
        }
    }

    fn request(&self, key: &KeyPair) -> anyhow::Result<String> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params
            .distinguished_name
            .push(DnType::CommonName, self.common_name.as_str());
        for name in &self.names {
            let name = name.as_str().try_into();
            let name = name.with_context(|| format!("{:?} cannot be a certificate's name", self.names))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        let addresses = self.addresses.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(addresses);
        Ok(params.serialize_request(key)?.pem()?)
    }

    fn is_met(&self, certificate: &X509Certificate<'_>) -> bool {
        let mut names = certificate.subject().iter_common_name();
        let named = names.any(|name| name.as_str().is_ok_and(|name| name == self.common_name));
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        let general = alternatives
            .map(|found| found.value.general_names.as_slice())
            .unwrap_or_default();
        let address = |address: &IpAddr| match address {
            IpAddr::V4(address) => general.contains(&GeneralName::IPAddress(&address.octets())),
            IpAddr::V6(address) => general.contains(&GeneralName::IPAddress(&address.octets())),
        };
        named
            && general.len() == self.names.len() + self.addresses.len()
            && self
                .names
                .iter()
                .all(|name| general.contains(&GeneralName::DNSName(name)))
            && self.addresses.iter().all(address)
    }
}

/// A certificate and its key at one time.
#[derive(Debug)]
struct Issued {
    certified: Arc<CertifiedKey>,
    from: SystemTime,
    until: SystemTime,
}

/// A certificate with its file.
#[derive(Debug)]
pub(super) struct Certificate {
    path: PathBuf,
    wanted: Wanted,
    current: RwLock<Option<Arc<Issued>>>,
    version: AtomicU64,
}

impl Certificate {
    /// Loads what the file has; what does not fit counts as missing.
    pub fn open(path: PathBuf, wanted: Wanted) -> anyhow::Result<Self> {
        let loaded = files::read(&path)?.and_then(|text| {
            let issued = parse(&text).and_then(|issued| {
                // A file that was put back is as old as the certificate in it.
                let written = std::fs::metadata(&path)?.modified()?;
                check(&issued, &wanted)?;
                Ok(Issued {
                    from: issued.from.max(written),
                    ..issued
                })
            });
            issued
                .inspect_err(|why| tracing::info!(path = %path.display(), "asking for a new certificate: {why:#}"))
                .ok()
        });
        Ok(Self {
            path,
            wanted,
            current: RwLock::new(loaded.map(Arc::new)),
            version: AtomicU64::new(0),
        })
    }

    /// Whether there is one that still counts.
    pub fn is_usable(&self) -> bool {
        let current = self.current.read();
        current.as_ref().is_some_and(|issued| SystemTime::now() < issued.until)
    }

    /// Goes up with every renewal.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Asks the cluster for one, with a new key.
    pub async fn obtain(&self, client: &kube::Client) -> Result<(), Failure> {
        let key = KeyPair::generate()
            .context("cannot generate a key")
            .map_err(Failure::Never)?;
        let pem = self.wanted.request(&key).map_err(Failure::Never)?;
        let mut text = request::certificate(client, &self.wanted, pem).await?;
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&key.serialize_pem());
        let mut issued = parse(&text).map_err(Failure::Later)?;
        issued.from = SystemTime::now();
        files::write(&self.path, text.as_bytes(), files::PRIVATE)?;
        *self.current.write() = Some(Arc::new(issued));
        self.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Renews it for as long as this is polled.
    pub async fn keep(&self, client: kube::Client) {
        let mut pause = *RETRY.start();
        loop {
            let due = self.due(rand::rng().random_range(RENEWAL));
            while let Ok(left) = due.duration_since(SystemTime::now()) {
                tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
            }
            match self.obtain(&client).await {
                Ok(()) => {
                    tracing::info!(path = %self.path.display(), "renewed a certificate");
                    pause = *RETRY.start();
                }
                Err(Failure::Later(error) | Failure::Never(error)) => {
                    tracing::warn!(path = %self.path.display(), "cannot renew a certificate, trying again: {error:#}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(*RETRY.end());
                }
            }
        }
    }

    fn due(&self, part: f64) -> SystemTime {
        self.current.read().as_ref().map_or_else(SystemTime::now, |issued| {
            let life = issued.until.duration_since(issued.from).unwrap_or_default();
            issued.from + life.mul_f64(part)
        })
    }

    fn certified(&self) -> Option<Arc<CertifiedKey>> {
        self.current.read().as_ref().map(|issued| issued.certified.clone())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }
}

impl ResolvesClientCert for Certificate {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }

    fn has_certs(&self) -> bool {
        self.current.read().is_some()
    }
}

fn parse(text: &str) -> anyhow::Result<Issued> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .context("the certificate is not PEM")?;
    let first = chain.first().context("the file holds no certificate")?;
    let (_, parsed) = x509_parser::parse_x509_certificate(first).context("the certificate is malformed")?;
    let time = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let (from, until) = (
        time(parsed.validity().not_before.timestamp()),
        time(parsed.validity().not_after.timestamp()),
    );
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).context("the key is not PEM")?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key).context("the key cannot sign")?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().context("the key is not the certificate's")?;
    Ok(Issued {
        certified: Arc::new(certified),
        from,
        until,
    })
}

fn check(issued: &Issued, wanted: &Wanted) -> anyhow::Result<()> {
    let (_, certificate) = x509_parser::parse_x509_certificate(issued.certified.end_entity_cert()?)?;
    ensure!(wanted.is_met(&certificate), "it says something else than it should");
    Ok(())
}
