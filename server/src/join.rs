//! What machines join with: the cluster's own tokens, kept in files where users of k3s look for them.
//!
//! `server/token` is for servers and, unless there is a token of its own for them (`server/agent-token`),
//! for agents; `server/node-token` leads to the one for agents. A file holds the whole token, with the
//! hash of the CA. Bootstrap tokens, which end by themselves, are Secrets and not this module's.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mizzen_api::join_token::{Credentials, JoinToken};
use rand::Rng;
use sha2::{Digest, Sha256};

use crate::pki::files;

/// User name that servers join with.
pub const SERVER: &str = "server";
/// User name that agents join with.
pub const NODE: &str = "node";
/// Group of what joins; upstream's.
pub const BOOTSTRAPPERS: &str = "system:bootstrappers";
/// Group of agents that join: rights to become a node are bound to it.
pub const NODE_BOOTSTRAPPERS: &str = "system:bootstrappers:mizzen:default-node-token";
/// Group of servers that join.
pub const SERVER_BOOTSTRAPPERS: &str = "system:bootstrappers:mizzen:server";
/// Namespace of bootstrap tokens, nodes' passwords and the agents' configuration.
pub const NAMESPACE: &str = "kube-system";
/// ConfigMap that tells agents about the cluster.
pub const AGENT_CONFIG: &str = "mizzen-agent";
/// Where an agent says its node's password.
pub const NODE_PASSWORD_HEADER: &str = "mizzen-node-password";
/// How its hash travels with a request for a certificate.
pub const NODE_PASSWORD_EXTRA: &str = "authentication.mizzen.io/node-password-hash";

/// Where the tokens are and what they should be.
#[derive(Clone, Default)]
pub struct Options {
    /// Where all state lives.
    pub data_dir: PathBuf,
    /// The server token, when the administrator chose one.
    pub server: Option<String>,
    /// The agents' token, when it is one of its own.
    pub agent: Option<String>,
}

/// The passwords of the cluster's own tokens.
#[derive(Clone)]
pub struct Tokens {
    server: String,
    agent: String,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// Reads the tokens, or makes them, and writes their files. `ca_pem` is the CA that joining machines
    /// will be shown.
    pub fn open(options: &Options, ca_pem: &str) -> Result<Self> {
        let directory = options.data_dir.join("server");
        files::private_directory(&directory)?;
        let hash = ca_hash(ca_pem);
        let path = |name: &str| directory.join(name);
        let known = Some(&*hash);
        let server = match password(options.server.as_deref(), &path("token"), known).context("--token")? {
            Some(password) => password,
            None => random(),
        };
        let agent = password(options.agent.as_deref(), &path("agent-token"), known).context("--agent-token")?;
        keep(&path("token"), &hash, SERVER, &server)?;
        let target = match &agent {
            Some(agent) => {
                keep(&path("agent-token"), &hash, NODE, agent)?;
                "agent-token"
            }
            None => "token",
        };
        link(&path("node-token"), target)?;
        Ok(Self {
            agent: agent.unwrap_or_else(|| server.clone()),
            server,
        })
    }

    /// Tokens that nobody knows.
    pub fn random() -> Self {
        Self {
            server: random(),
            agent: random(),
        }
    }

    /// The password that servers join with.
    pub fn server_password(&self) -> &str {
        &self.server
    }

    /// Whether this is the password of that user.
    pub fn accepts(&self, user: &str, password: &str) -> bool {
        match user {
            SERVER => same(&self.server, password),
            NODE => same(&self.agent, password),
            _ => false,
        }
    }
}

/// The server token's password before the CA is known: the one chosen, the file's, or a new one.
pub fn server_password(options: &Options) -> Result<String> {
    let known = password(options.server.as_deref(), &options.data_dir.join("server/token"), None)?;
    Ok(known.unwrap_or_else(random))
}

/// What a machine knows a cluster by: the hash of its CA, as `/cacerts` shows it.
pub fn ca_hash(pem: &str) -> String {
    hash(pem)
}

/// What is kept of a node's password.
pub fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares secrets in a time that tells nothing about them.
pub fn same(one: &str, other: &str) -> bool {
    Sha256::digest(one) == Sha256::digest(other)
}

/// The password that was chosen, or that the file has.
fn password(chosen: Option<&str>, path: &Path, hash: Option<&str>) -> Result<Option<String>> {
    let (text, from_file) = match chosen {
        Some(text) => (text.to_owned(), false),
        None => match files::read(path)? {
            Some(text) => (text, true),
            None => return Ok(None),
        },
    };
    let token: JoinToken = text.parse()?;
    // A file says what it said; its hash is written anew when the CA was replaced.
    if let (Some(hash), Some(told), false) = (hash, &token.ca_hash, from_file) {
        ensure!(
            told == hash,
            "the token's CA hash is not that of this cluster's CA: {told} != {hash}"
        );
    }
    match token.credentials {
        Credentials::Password { password, .. } => Ok(Some(password)),
        Credentials::Bootstrap { .. } => Ok(Some(text.trim().to_owned())),
    }
}

fn keep(path: &Path, hash: &str, user: &str, password: &str) -> Result<()> {
    let token = JoinToken {
        ca_hash: Some(hash.to_owned()),
        credentials: Credentials::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        },
    };
    let text = format!("{}\n", token.reveal());
    if files::read(path)?.as_deref() == Some(&text) && files::mode(path)? == files::PRIVATE {
        return Ok(());
    }
    Ok(files::write(path, text.as_bytes(), files::PRIVATE)?)
}

fn link(path: &Path, target: &str) -> Result<()> {
    if std::fs::read_link(path).is_ok_and(|now| now == Path::new(target)) {
        return Ok(());
    }
    let _ = std::fs::remove_file(path);
    symlink(target, path).with_context(|| format!("cannot link {}", path.display()))
}

/// A new bootstrap token.
pub fn bootstrap_token() -> String {
    const CHARACTERS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut random = rand::rng();
    let mut part = |length| -> String {
        let one = |_| char::from(CHARACTERS[random.random_range(0..CHARACTERS.len())]);
        (0..length).map(one).collect()
    };
    format!("{}.{}", part(6), part(16))
}

fn random() -> String {
    let bytes: [u8; 16] = rand::rng().random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_made_once_and_follow_what_is_chosen() {
        let directory = tempfile::tempdir().unwrap();
        let open = |server: Option<&str>, agent: Option<&str>| {
            let options = Options {
                data_dir: directory.path().into(),
                server: server.map(str::to_owned),
                agent: agent.map(str::to_owned),
            };
            Tokens::open(&options, "pem")
        };
        let read = |name: &str| std::fs::read_to_string(directory.path().join("server").join(name)).unwrap();
        let first = open(None, None).unwrap();
        assert_eq!(open(None, None).unwrap().server, first.server);
        assert!(first.accepts("server", &first.server) && first.accepts("node", &first.server));
        assert!(!first.accepts("node", "x") && !first.accepts("other", &first.server));
        assert_eq!(read("node-token"), read("token"));
        assert_eq!(
            read("token"),
            format!("K10{}::server:{}\n", ca_hash("pem"), first.server)
        );

        let second = open(Some("mine"), Some("theirs")).unwrap();
        assert!(second.accepts("server", "mine") && second.accepts("node", "theirs"));
        assert!(!second.accepts("node", "mine"));
        assert_eq!(read("node-token"), format!("K10{}::node:theirs\n", ca_hash("pem")));
        assert!(open(None, None).unwrap().accepts("node", "theirs"));

        let other = format!("K10{}::server:mine", "0".repeat(64));
        let error = open(Some(&other), None).unwrap_err();
        assert!(
            format!("{error:#}").contains("is not that of this cluster's CA"),
            "{error:#}"
        );
    }
}
