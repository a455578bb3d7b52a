//! Everything that is signed: our certificate authorities, the certificates that they issue, the key
//! behind ServiceAccount tokens, and the kubeconfigs.
//!
//! Files live in `{data-dir}/server/tls` (k3s's names), kubeconfigs of components beside it in
//! `{data-dir}/server/cred`, a node's own certificates in `{data-dir}/agent`. What is there is used
//! again; what is missing, damaged or about to end is issued anew, at start and (by [`Pki::run`])
//! while running. Listeners pick up the new certificate at the next handshake.
//!
//! Invariant: private keys are written with 0600 into directories with 0700, and are never logged.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use rustls::{ClientConfig, ServerConfig};
use tokio_util::sync::CancellationToken;

pub use authority::Authority;
pub use jwt::Keys;
pub use leaf::{Issued, Leaf, Profile};
pub use mizzen_api::client::files;
pub use tls::{ClientTrust, PeerCertificate};

mod authority;
pub mod jwt;
pub mod kubeconfig;
mod leaf;
pub mod request;
pub mod shared;
mod tls;

use crate::identity;

/// The longest that [`Pki::run`] sleeps: the clock may have been set, or the machine suspended, meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(24 * 3600);

/// What certificates must say.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where all state lives.
    pub data_dir: PathBuf,
    /// Names of this server beside the ones every cluster has (`--tls-san`, the host's name).
    pub names: Vec<String>,
    /// Addresses of this server beside loopback.
    pub addresses: Vec<IpAddr>,
    /// Address of the `kubernetes` Service.
    pub service_address: IpAddr,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// How components on this machine reach the API server, such as `https://127.0.0.1:6443`.
    pub server_url: String,
}

/// A node's own certificates.
#[derive(Clone, Debug)]
pub struct NodeCertificates {
    /// Identifies the kubelet to the API server, as `system:node:NAME`.
    pub client: Arc<Leaf>,
    /// What the kubelet serves its API with.
    pub serving: Arc<Leaf>,
}

/// The authorities and what they issued.
#[derive(Debug)]
pub struct Pki {
    data_dir: PathBuf,
    server_url: String,
    server_ca: Arc<Authority>,
    client_ca: Arc<Authority>,
    request_header_ca: Arc<Authority>,
    token_keys: Arc<Keys>,
    serving: Arc<Leaf>,
    kubelet_client: Arc<Leaf>,
    admin: Arc<Leaf>,
    /// Everything to renew, with the kubeconfig that holds a copy.
    leaves: Mutex<Vec<(Arc<Leaf>, Option<Kubeconfig>)>>,
}

/// A kubeconfig file of ours, kept in step with its certificate.
#[derive(Clone, Debug)]
struct Kubeconfig {
    path: PathBuf,
    mode: u32,
    server_url: String,
}

impl Pki {
    /// The authorities that sign what CertificateSigningRequests ask for.
    pub fn signers(&self) -> crate::controllers::certificates::Signers {
        crate::controllers::certificates::Signers {
            client: self.client_ca.clone(),
            serving: self.server_ca.clone(),
        }
    }

    /// Loads or makes everything a server needs.
    pub fn open(options: &Options) -> Result<Self> {
        let server = options.data_dir.join("server");
        let directory = server.join("tls");
        files::private_directory(&directory)?;
        let [server_ca, client_ca, request_header_ca] =
            shared::AUTHORITIES.map(|(name, common_name)| Authority::open(&directory, name, common_name).map(Arc::new));
        let (server_ca, client_ca, request_header_ca) = (server_ca?, client_ca?, request_header_ca?);
        let client = |name: &str, user: &str, group: Option<&str>| {
            Leaf::open(&directory, name, Profile::client(user, group), client_ca.clone()).map(Arc::new)
        };
        let serving = Leaf::open(
            &directory,
            "serving-kube-apiserver",
            serving_profile(options),
            server_ca.clone(),
        )?;
        let pki = Self {
            data_dir: options.data_dir.clone(),
            server_url: options.server_url.clone(),
            token_keys: Arc::new(Keys::open(&directory.join(shared::TOKEN_KEY))?),
            serving: Arc::new(serving),
            kubelet_client: client("client-kube-apiserver", "system:apiserver", Some(identity::MASTERS))?,
            admin: client("client-admin", "system:admin", Some(identity::MASTERS))?,
            leaves: Mutex::default(),
            server_ca,
            client_ca: client_ca.clone(),
            request_header_ca,
        };
        for leaf in [&pki.serving, &pki.kubelet_client, &pki.admin] {
            pki.leaves.lock().push((leaf.clone(), None));
        }
        // For upstream components that replace ours; ours run in this process and need no files.
        let credentials = server.join("cred");
        files::private_directory(&credentials)?;
        for (name, user) in [
            ("controller", "system:kube-controller-manager"),
            ("scheduler", "system:kube-scheduler"),
            ("kube-proxy", "system:kube-proxy"),
        ] {
            let leaf = client(&format!("client-{name}"), user, None)?;
            let path = credentials.join(format!("{name}.kubeconfig"));
            pki.keep_kubeconfig(leaf, path, files::PRIVATE, &options.server_url)?;
        }
        Ok(pki)
    }

    /// The certificates of a node on this machine.
    pub fn node(&self, name: &str, addresses: &[IpAddr]) -> Result<NodeCertificates> {
        let directory = self.data_dir.join("agent");
        files::private_directory(&directory)?;
        let user = format!("system:node:{name}");
        let client = Profile::client(user.clone(), Some("system:nodes"));
        let serving = Profile {
            names: vec![name.to_owned(), "localhost".into()],
            addresses: with_loopback(addresses),
            ..Profile::client(user, Some("system:nodes"))
        };
        let open =
            |file: &str, profile, ca: &Arc<Authority>| Leaf::open(&directory, file, profile, ca.clone()).map(Arc::new);
        let certificates = NodeCertificates {
            client: open("client-kubelet", client, &self.client_ca)?,
            serving: open("serving-kubelet", serving, &self.server_ca)?,
        };
        self.leaves.lock().push((certificates.serving.clone(), None));
        let path = directory.join("kubelet.kubeconfig");
        self.keep_kubeconfig(certificates.client.clone(), path, files::PRIVATE, &self.server_url)?;
        Ok(certificates)
    }

    /// Writes the administrator's kubeconfig, and keeps it in step with renewals.
    pub fn write_admin_kubeconfig(&self, path: &Path, mode: u32, server_url: &str) -> Result<()> {
        self.keep_kubeconfig(self.admin.clone(), path.to_owned(), mode, server_url)
    }

    /// TLS for the API listener.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>> {
        tls::server_config(self.serving.clone(), &self.client_trust()?)
    }

    /// TLS for a node's kubelet API, which takes the same client certificates as the API server.
    pub fn kubelet_server_config(&self, node: &NodeCertificates) -> Result<Arc<ServerConfig>> {
        tls::server_config(node.serving.clone(), &self.client_trust()?)
    }

    /// Judges client certificates.
    pub fn client_trust(&self) -> Result<ClientTrust> {
        ClientTrust::new(&self.client_ca)
    }

    /// The keys of ServiceAccount tokens.
    pub fn token_keys(&self) -> Arc<Keys> {
        self.token_keys.clone()
    }

    /// The CA behind serving certificates, which clients must trust.
    pub fn server_ca(&self) -> &Authority {
        &self.server_ca
    }

    /// The CA behind client certificates.
    pub fn client_ca(&self) -> &Authority {
        &self.client_ca
    }

    /// The CA behind front proxies' certificates.
    pub fn request_header_ca(&self) -> &Authority {
        &self.request_header_ca
    }

    /// With what the API server calls kubelets.
    pub fn kubelet_client(&self) -> Arc<Leaf> {
        self.kubelet_client.clone()
    }

    /// TLS for calling kubelets.
    pub fn kubelet_client_config(&self) -> Result<Arc<ClientConfig>> {
        tls::client_config(self.kubelet_client.clone(), &self.server_ca)
    }

    /// The administrator's certificate.
    pub fn admin(&self) -> Arc<Leaf> {
        self.admin.clone()
    }

    /// Renews certificates as they become due, until stopped.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<()> {
        while let Some(due) = stop.run_until_cancelled(self.next_renewal()).await {
            self.renew(due);
        }
        Ok(())
    }

    async fn next_renewal(&self) -> SystemTime {
        let due = self.leaves.lock().iter().map(|(leaf, _)| leaf.renewal_time()).min();
        let left = due.and_then(|due| due.duration_since(SystemTime::now()).ok());
        // Also the pause after a renewal that failed, which leaves its time in the past.
        let pause = left.unwrap_or(Duration::from_secs(300));
        tokio::time::sleep(pause.min(LONGEST_SLEEP)).await;
        SystemTime::now()
    }

    fn renew(&self, now: SystemTime) {
        let leaves = self.leaves.lock().clone();
        for (leaf, kubeconfig) in leaves {
            let path = leaf.certificate_path().display();
            match leaf.renew(now) {
                Ok(false) => continue,
                Ok(true) => tracing::info!(%path, "renewed a certificate"),
                Err(error) => tracing::error!(%path, "cannot renew a certificate: {error:#}"),
            }
            if let Some(kubeconfig) = kubeconfig
                && let Err(error) = self.write_kubeconfig(&leaf, &kubeconfig)
            {
                tracing::error!("cannot renew a kubeconfig: {error:#}");
            }
        }
    }

    fn keep_kubeconfig(&self, leaf: Arc<Leaf>, path: PathBuf, mode: u32, server_url: &str) -> Result<()> {
        let kubeconfig = Kubeconfig {
            path,
            mode,
            server_url: server_url.to_owned(),
        };
        self.write_kubeconfig(&leaf, &kubeconfig)?;
        self.leaves.lock().push((leaf, Some(kubeconfig)));
        Ok(())
    }

    fn write_kubeconfig(&self, leaf: &Leaf, kubeconfig: &Kubeconfig) -> Result<()> {
        let Kubeconfig { path, mode, server_url } = kubeconfig;
        let text = kubeconfig::render("default", server_url, self.server_ca.pem(), &leaf.current());
        if files::read(path)?.as_deref() == Some(&text) && files::mode(path)? == *mode {
            return Ok(());
        }
        Ok(files::write(path, text.as_bytes(), *mode)?)
    }
}

fn serving_profile(options: &Options) -> Profile {
    let mut names: Vec<String> = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "localhost",
    ]
    .map(str::to_owned)
    .into();
    names.push(format!("kubernetes.default.svc.{}", options.cluster_domain));
    names.extend_from_slice(&options.names);
    let mut addresses = with_loopback(&options.addresses);
    addresses.push(options.service_address);
    names.sort();
    names.dedup();
    addresses.sort();
    addresses.dedup();
    Profile {
        common_name: "kube-apiserver".into(),
        names,
        addresses,
        ..Profile::default()
    }
}

fn with_loopback(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut all = addresses.to_vec();
    all.extend([IpAddr::from([127, 0, 0, 1]), "::1".parse().expect("an address")]);
    all.sort();
    all.dedup();
    all
}

/// DER as PEM.
fn to_pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        out.extend(line.iter().map(|byte| char::from(*byte)));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests;
