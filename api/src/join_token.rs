//! What a machine joins a cluster with: `K10<SHA-256 of the cluster's CA>::<credentials>`, k3s's form.
//!
//! The hash lets the machine know the server before it says anything secret. The credentials are a user
//! with a password, or a bootstrap token (`abcdef.0123456789abcdef`) that ends by itself. Both may come
//! without the first part; then nothing is known of the server.

use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "K10";
/// Who a password without a user name is for.
const NODE: &str = "node";

/// A token, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// SHA-256 of the PEM of the cluster's CA, in hexadecimal digits.
    pub ca_hash: Option<String>,
    /// What the machine proves itself with.
    pub credentials: Credentials,
}

/// What a machine proves itself with.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// The cluster's own token: a user (`server` or `node`) and a password.
    Password {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
    /// A bootstrap token, kept as a Secret of `kube-system`.
    Bootstrap {
        /// Public part, six characters.
        id: String,
        /// Secret part, sixteen characters.
        secret: String,
    },
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing is there.
    #[error("the token is empty")]
    Empty,
    /// The part with the hash is damaged.
    #[error("the token is malformed: expected K10, 64 hexadecimal digits, two colons and the credentials")]
    Hash,
}

/// The parts of a bootstrap token.
pub fn split_bootstrap(text: &str) -> Option<(&str, &str)> {
    let part =
        |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.split_once('.')
        .filter(|(id, secret)| part(id, 6) && part(secret, 16))
}

impl FromStr for JoinToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let (ca_hash, rest) = match text.strip_prefix(PREFIX) {
            None => (None, text),
            Some(rest) => {
                let (hash, rest) = rest.split_once("::").ok_or(Error::Hash)?;
                if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(Error::Hash);
                }
                (Some(hash.to_ascii_lowercase()), rest)
            }
        };
        if rest.is_empty() {
            return Err(Error::Empty);
        }
        let credentials = match (split_bootstrap(rest), rest.split_once(':')) {
            (Some((id, secret)), _) => Credentials::Bootstrap {
                id: id.into(),
                secret: secret.into(),
            },
            // A password on its own may hold colons.
            (None, Some((user, password))) if ca_hash.is_some() => Credentials::Password {
                user: user.into(),
                password: password.into(),
            },
            _ => Credentials::Password {
                user: NODE.into(),
                password: rest.into(),
            },
        };
        Ok(Self { ca_hash, credentials })
    }
}

impl JoinToken {
    /// The whole token. Not `Display`, so that it does not reach a log by accident.
    pub fn reveal(&self) -> String {
        let credentials = match &self.credentials {
            Credentials::Password { user, password } => format!("{user}:{password}"),
            Credentials::Bootstrap { id, secret } => format!("{id}.{secret}"),
        };
        match &self.ca_hash {
            Some(hash) => format!("{PREFIX}{hash}::{credentials}"),
            None => credentials,
        }
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("ca_hash", &self.ca_hash)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_in_several_forms() {
        let hash = "0f".repeat(32);
        let whole = |rest: &str| format!("K10{hash}::{rest}");
        let password = |user: &str, password: &str| Credentials::Password {
            user: user.into(),
            password: password.into(),
        };
        let bootstrap = Credentials::Bootstrap {
            id: "abcdef".into(),
            secret: "0123456789abcdef".into(),
        };
        for (text, known, expect) in [
            (whole("server:secret"), true, password("server", "secret")),
            (whole("node:a:b"), true, password("node", "a:b")),
            (whole("abcdef.0123456789abcdef"), true, bootstrap.clone()),
            ("abcdef.0123456789abcdef".into(), false, bootstrap),
            ("mine:is:this".into(), false, password("node", "mine:is:this")),
        ] {
            let token: JoinToken = text.parse().unwrap();
            assert_eq!(token.ca_hash.is_some(), known, "{text}");
            assert!(token.credentials == expect, "{text}");
            if known {
                assert_eq!(token.reveal(), text);
            }
        }
    }

    #[test]
    fn damaged_tokens_are_told() {
        for (text, expect) in [
            ("", Error::Empty),
            ("  ", Error::Empty),
            ("K10abc::node:x", Error::Hash),
            ("K10abc", Error::Hash),
        ] {
            assert_eq!(text.parse::<JoinToken>(), Err(expect));
        }
        let hash = "0f".repeat(32);
        assert_eq!(format!("K10{hash}::").parse::<JoinToken>(), Err(Error::Empty));
    }
}
