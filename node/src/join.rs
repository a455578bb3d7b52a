//! Joining a cluster: from an address and a token to a client and certificates, and keeping both good.
//!
//! Entry points: [`join`], then [`Joined::run`] beside the agent. The machine checks the server's CA by the
//! token's hash before it says anything secret, asks for a client certificate with the token, and for the
//! certificate that its kubelet serves with as the node that it then is. Everything is kept below `agent/`, so that
//! the token is needed once. Tasks of `Joined::run`: one per certificate, which renews it, and one that follows where
//! servers are ([`balancer`]).
//!
//! Invariant: private keys are made here and never leave; files that hold them are 0600.

pub mod balancer;
mod certificate;
mod connection;
mod request;
mod tls;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mizzen_api::client::files;
use mizzen_api::client::rest::{Gvr, Rest};
use mizzen_api::join_token::{Credentials, JoinToken};
use rand::Rng;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::kubelet_api;
use balancer::Balancer;
use certificate::{Certificate, Wanted};
use connection::Identity;

const NODE_PASSWORD_HEADER: &str = "mizzen-node-password";
/// Who sees what carries Services, policies and the Pod network; nodes may act as it.
const PROXY: &str = "system:kube-proxy";
const CONFIG: Gvr<'static> = Gvr::new("", "v1", "configmaps");
const CONFIG_AT: (&str, &str) = ("kube-system", "mizzen-agent");
/// Files of the node's certificates, each with its key.
const CERTIFICATES: [&str; 2] = ["client-kubelet.pem", "serving-kubelet.pem"];
/// Between two tries while no server answers.
const RETRY: Duration = Duration::from_secs(2);

/// What a machine that joins has to be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `https://HOST[:PORT]` of any server.
    pub server: String,
    /// The token; needed until the machine has a certificate.
    pub token: Option<JoinToken>,
    /// Name of the node.
    pub node_name: String,
    /// Its address.
    pub node_ip: IpAddr,
    /// Mizzen's data directory.
    pub data_dir: PathBuf,
}

/// What the servers tell every agent.
#[derive(Clone, Debug, Deserialize)]
pub struct Cluster {
    /// The CA behind clients' certificates, as PEM.
    #[serde(rename = "clientCA")]
    pub client_ca: String,
    /// Addresses of Pods.
    #[serde(rename = "clusterCIDR", deserialize_with = "network")]
    pub cluster_cidr: ipnet::Ipv4Net,
    /// Addresses of Services.
    #[serde(rename = "serviceCIDR", deserialize_with = "network")]
    pub service_cidr: ipnet::Ipv4Net,
    /// Address of the cluster DNS.
    #[serde(rename = "clusterDNS")]
    pub cluster_dns: IpAddr,
    /// Domain of the cluster.
    #[serde(rename = "clusterDomain")]
    pub cluster_domain: String,
    /// `true` when a Service of the cluster answers DNS.
    #[serde(rename = "disableDNS", default)]
    pub disable_dns: String,
    /// Whether nobody enforces NetworkPolicies (`true`), or nobody of ours.
    #[serde(rename = "disableNetworkPolicy", default)]
    pub disable_network_policy: String,
}

fn network<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ipnet::Ipv4Net, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map_err(serde::de::Error::custom)
}

#[derive(Deserialize)]
struct ConfigMap {
    data: Cluster,
}

/// A machine that has joined.
pub struct Joined {
    /// Calls the API as the node, through whichever server answers.
    pub client: kube::Client,
    /// What the servers told.
    pub cluster: Cluster,
    /// Certificates for the kubelet's API.
    pub trust: kubelet_api::Trust,
    certificates: [Arc<Certificate>; 2],
    balancer: Arc<Balancer>,
}

/// Why joining did not succeed.
enum Failure {
    /// It may later.
    Later(anyhow::Error),
    /// Somebody has to change something.
    Never(anyhow::Error),
}

impl Failure {
    /// What came of a call: what the server refuses for good stays refused, all else may change.
    fn of_call(error: kube::Error, doing: &'static str) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 401 => Self::Never(anyhow::anyhow!(
                "cannot {doing}: the server does not take our credentials: the token is wrong or has expired; \
                 `mizzen token create` on a server makes a new one"
            )),
            kube::Error::Api(status) if status.code == 403 => Self::Never(anyhow::Error::from(error).context(doing)),
            _ => Self::Later(anyhow::Error::from(error).context(format!("cannot {doing}"))),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Never(error.into())
    }
}

/// Joins, or comes back to the cluster that this machine has joined. Waits for a server to answer.
///
/// # Errors
/// When the server is not the one of the token, or refuses us.
pub async fn join(settings: &Settings) -> anyhow::Result<Joined> {
    loop {
        match attempt(settings).await {
            Ok(joined) => return Ok(joined),
            Err(Failure::Never(error)) => return Err(error),
            Err(Failure::Later(error)) => {
                tracing::warn!("not joined yet, trying again: {error:#}");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn attempt(settings: &Settings) -> Result<Joined, Failure> {
    let directory = settings.data_dir.join("agent");
    files::private_directory(&directory)?;
    let balancer = Balancer::open(&settings.server, directory.join("etc/mizzen-agent-load-balancer.json"))
        .map_err(Failure::Never)?;
    let balancer = Arc::new(balancer);
    let ca = authority(settings, &directory.join("server-ca.crt"), &balancer).await?;
    let node = format!("system:node:{}", settings.node_name);
    let certificate = |file: &str, wanted| Certificate::open(directory.join(file), wanted).map(Arc::new);
    let own = certificate(CERTIFICATES[0], Wanted::client(&node)).map_err(Failure::Never)?;
    let serving = Wanted::serving(&node, &settings.node_name, settings.node_ip);
    let serving = certificate(CERTIFICATES[1], serving).map_err(Failure::Never)?;

    let client = connection::client(&balancer, &ca, Identity::Certificate(own.clone())).map_err(Failure::Never)?;
    let rest = Rest::new(client.clone(), "mizzen-agent");
    let known = match own.is_usable() {
        true => match config(&rest).await {
            Err(Failure::Never(error)) if settings.token.is_some() => {
                tracing::warn!("joining anew: {error:#}");
                None
            }
            other => Some(other?),
        },
        false => None,
    };
    let cluster = match known {
        Some(cluster) => cluster,
        None => {
            let Some(token) = &settings.token else {
                return Err(Failure::Never(anyhow::anyhow!(
                    "this machine has not joined yet, and no token is given: set --token or MIZZEN_TOKEN; \
                     a server has it in server/node-token of its data directory"
                )));
            };
            let identity = Identity::Token {
                authorization: authorization(token),
                node_password: password(&settings.data_dir).map_err(Failure::Never)?,
            };
            let joining = connection::client(&balancer, &ca, identity).map_err(Failure::Never)?;
            own.obtain(&joining).await?;
            tracing::info!(node = settings.node_name, "joined the cluster");
            config(&rest).await?
        }
    };
    if !serving.is_usable() {
        serving.obtain(&client).await?;
    }
    let trust = tls::kubelet_trust(serving.clone(), &cluster.client_ca).map_err(Failure::Never)?;
    Ok(Joined {
        client,
        cluster,
        trust,
        certificates: [own, serving],
        balancer,
    })
}

/// The cluster's CA: the one that is kept, or the one that the server shows if the token says that it is this.
async fn authority(settings: &Settings, path: &Path, balancer: &Arc<Balancer>) -> Result<String, Failure> {
    let hash = settings.token.as_ref().and_then(|token| token.ca_hash.as_ref());
    if let Some(kept) = files::read(path)?
        && hash.is_none_or(|hash| *hash == digest(&kept))
    {
        return Ok(kept);
    }
    if settings.token.is_none() {
        return Err(Failure::Never(anyhow::anyhow!(
            "this machine has not joined yet, and no token is given: set --token or MIZZEN_TOKEN"
        )));
    }
    let shown = connection::show_authority(balancer).await.map_err(Failure::Later)?;
    match hash {
        Some(hash) if *hash != digest(&shown) => {
            return Err(Failure::Never(anyhow::anyhow!(
                "token CA hash does not match the cluster's CA certificate hash: {hash} != {}; \
                 the token is another cluster's, or {} is not the server that it says it is",
                digest(&shown),
                settings.server
            )));
        }
        Some(_) => {}
        None => tracing::warn!(
            "the token has no CA hash: taking {} at its word; use the whole token, K10…, to be sure of the server",
            settings.server
        ),
    }
    if CertificateDer::from_pem_slice(shown.as_bytes()).is_err() {
        return Err(Failure::Later(anyhow::anyhow!(
            "{} does not show a CA: is it a server of a mizzen cluster?",
            settings.server
        )));
    }
    // What another cluster issued is of no use here.
    for certificate in CERTIFICATES {
        let _ = std::fs::remove_file(path.with_file_name(certificate));
    }
    files::write(path, shown.as_bytes(), 0o644)?;
    Ok(shown)
}

async fn config(rest: &Rest) -> Result<Cluster, Failure> {
    let found = rest.get::<ConfigMap>(&CONFIG, CONFIG_AT.0, CONFIG_AT.1).await;
    match found.map_err(|error| Failure::of_call(error, "read what the cluster is like"))? {
        Some(map) => Ok(map.data),
        None => Err(Failure::Later(anyhow::anyhow!(
            "the cluster has no ConfigMap {}/{} yet",
            CONFIG_AT.0,
            CONFIG_AT.1
        ))),
    }
}

impl Joined {
    /// Calls the API as the proxy, which sees of other nodes what a node by itself does not.
    #[must_use]
    pub fn proxy_client(&self) -> kube::Client {
        connection::acting_as(self.client.clone(), PROXY)
    }

    /// Renews certificates and follows where servers are, until `stop`.
    ///
    /// # Errors
    /// Never; failures are logged and tried again.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(self.balancer.clone().follow(self.proxy_client()));
        for certificate in self.certificates {
            let client = self.client.clone();
            tasks.spawn(async move { certificate.keep(client).await });
        }
        stop.cancelled().await;
        Ok(())
    }
}

/// SHA-256 in hexadecimal digits.
fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn authorization(token: &JoinToken) -> String {
    match &token.credentials {
        Credentials::Password { user, password } => {
            format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
        }
        Credentials::Bootstrap { id, secret } => format!("Bearer {id}.{secret}"),
    }
}

/// The password by which this machine shows that it is the one that had its node's name before.
///
/// # Errors
/// When it cannot be kept.
pub fn password(data_dir: &Path) -> anyhow::Result<String> {
    kept(data_dir, "node-password", 16)
}

/// An id for this installation, for names of nodes that would otherwise be the same.
///
/// # Errors
/// When it cannot be kept.
pub fn id(data_dir: &Path) -> anyhow::Result<String> {
    kept(data_dir, "node-id", 4)
}

/// Random bytes in hexadecimal digits that stay the same from the first call on.
fn kept(data_dir: &Path, name: &str, length: usize) -> anyhow::Result<String> {
    let directory = data_dir.join("agent");
    files::private_directory(&directory)?;
    let path = directory.join(name);
    if let Some(text) = files::read(&path)? {
        match text.trim() {
            "" => bail!("{} is empty: remove it, or put back what it had", path.display()),
            text => return Ok(text.to_owned()),
        }
    }
    let mut bytes = vec![0; length];
    rand::rng().fill(&mut *bytes);
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    files::write(&path, text.as_bytes(), files::PRIVATE).context("cannot keep who this node is")?;
    Ok(text)
}
