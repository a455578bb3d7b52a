//! Signed JSON Web Tokens (ES256), as ServiceAccounts carry them.
//!
//! Invariant: only ES256 is accepted, whatever a token's header asks for, and only by keys of ours.
//! Claims come out of [`Keys::verify`] alone: nobody reads a token that was not verified.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::files;

const ALGORITHM: &str = "ES256";

/// The keys that sign and verify tokens: the file's first signs, all of them verify.
#[derive(Debug)]
pub struct Keys {
    keys: Vec<Key>,
    random: SystemRandom,
}

#[derive(Debug)]
struct Key {
    id: String,
    pair: EcdsaKeyPair,
}

/// Why a token is not believed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// Not three base64 parts of JSON.
    #[error("the token is malformed")]
    Malformed,
    /// The header names an algorithm that we do not take.
    #[error("the token is not signed with {ALGORITHM}")]
    Algorithm,
    /// No key of ours made this signature.
    #[error("the token's signature is not ours")]
    Signature,
}

impl Keys {
    /// Loads the keys of a PEM file (PKCS#8, curve P-256), or makes one.
    pub fn open(path: &Path) -> Result<Self> {
        let pem = match files::read(path)? {
            Some(pem) => pem,
            None => {
                let pem = rcgen::KeyPair::generate()
                    .context("cannot generate a key")?
                    .serialize_pem();
                files::write(path, pem.as_bytes(), files::PRIVATE)?;
                tracing::info!(path = %path.display(), "created the key that signs ServiceAccount tokens");
                pem
            }
        };
        Self::parse(&pem).with_context(|| format!("cannot use the token keys in {}", path.display()))
    }

    /// Keys that no file holds and that end with the process: for tests.
    pub fn generate() -> Result<Self> {
        Self::parse(&rcgen::KeyPair::generate()?.serialize_pem())
    }

    fn parse(pem: &str) -> Result<Self> {
        let random = SystemRandom::new();
        let keys = PrivatePkcs8KeyDer::pem_slice_iter(pem.as_bytes())
            .map(|der| {
                let der = der.context("the file is not PEM of PKCS#8 keys")?;
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &random)
                    .map_err(|why| anyhow!("a key is not of curve P-256: {why}"))?;
                Ok(Key {
                    id: key_id(pair.public_key().as_ref()),
                    pair,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        if keys.is_empty() {
            bail!("the file holds no key");
        }
        Ok(Self { keys, random })
    }

    /// Signs claims.
    pub fn sign(&self, claims: &Value) -> Result<String> {
        let key = &self.keys[0];
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let header = json!({"alg": ALGORITHM, "kid": key.id});
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = key
            .pair
            .sign(&self.random, signed.as_bytes())
            .map_err(|_| anyhow!("cannot sign a token"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The claims of a token that one of these keys signed. Says nothing on times and audiences.
    pub fn verify<T: DeserializeOwned>(&self, token: &str) -> Result<T, TokenError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let header: Header = decode(header)?;
        if header.alg != ALGORITHM || header.crit.is_some() {
            return Err(TokenError::Algorithm);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed)?;
        let key = self
            .keys
            .iter()
            .find(|key| key.id == header.kid)
            .ok_or(TokenError::Signature)?;
        signature::UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.pair.public_key())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| TokenError::Signature)?;
        decode(claims)
    }

    /// The public keys as a JSON Web Key Set.
    pub fn key_set(&self) -> Value {
        let keys: Vec<_> = self
            .keys
            .iter()
            .map(|key| {
                // An uncompressed point: 4, then both coordinates.
                let point = &key.pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({
                    "use": "sig", "kty": "EC", "kid": key.id, "crv": "P-256", "alg": ALGORITHM,
                    "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
                })
            })
            .collect();
        json!({ "keys": keys })
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
    /// Extensions that a verifier must understand; we understand none.
    crit: Option<Value>,
}

fn decode<T: DeserializeOwned>(part: &str) -> Result<T, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed)
}

/// Hash of the key as a SubjectPublicKeyInfo, as upstream forms it.
fn key_id(point: &[u8]) -> String {
    /// DER of everything before the point, for an uncompressed point on P-256.
    const PREFIX: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    URL_SAFE_NO_PAD.encode(Sha256::new().chain_update(PREFIX).chain_update(point).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::parse(&rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap()
    }

    fn encode(part: &Value) -> String {
        URL_SAFE_NO_PAD.encode(part.to_string())
    }

    #[test]
    fn a_token_verifies_with_its_own_key_only() {
        let (ours, other) = (keys(), keys());
        let claims = json!({"sub": "system:serviceaccount:a:b", "exp": 1});
        let token = ours.sign(&claims).unwrap();
        assert_eq!(ours.verify::<Value>(&token), Ok(claims));
        assert_eq!(other.verify::<Value>(&token), Err(TokenError::Signature));
    }

    #[test]
    fn forged_tokens_are_refused() {
        let keys = keys();
        let claims = encode(&json!({"sub": "admin"}));
        let token = keys.sign(&json!({"sub": "user"})).unwrap();
        let parts: Vec<_> = token.split('.').collect();
        let header = |alg: &str| encode(&json!({"alg": alg, "kid": keys.keys[0].id}));
        let other_kid = encode(&json!({"alg": "ES256", "kid": "x"}));
        let crit = encode(&json!({"alg": "ES256", "kid": keys.keys[0].id, "crit": ["b64"]}));
        let cases = [
            ("", TokenError::Malformed),
            ("a.b", TokenError::Malformed),
            ("...", TokenError::Malformed),
            (&format!("{}.{claims}.", header("none")), TokenError::Algorithm),
            (
                &format!("{}.{claims}.{}", header("None"), parts[2]),
                TokenError::Algorithm,
            ),
            (
                &format!("{}.{claims}.{}", header("HS256"), parts[2]),
                TokenError::Algorithm,
            ),
            (&format!("{crit}.{}.{}", parts[1], parts[2]), TokenError::Algorithm),
            (&format!("{}.{claims}.{}", parts[0], parts[2]), TokenError::Signature),
            (&format!("{}.{}.", parts[0], parts[1]), TokenError::Signature),
            (&format!("{}.{}.AAAA", parts[0], parts[1]), TokenError::Signature),
            (&format!("{other_kid}.{}.{}", parts[1], parts[2]), TokenError::Signature),
            (&format!("{token}="), TokenError::Malformed),
            (&format!("{token}.{}", parts[2]), TokenError::Signature),
        ];
        for (token, expect) in cases {
            assert_eq!(keys.verify::<Value>(token), Err(expect), "{token}");
        }
        let zero = URL_SAFE_NO_PAD.encode([0; 64]);
        let null_signature = format!("{}.{}.{zero}", parts[0], parts[1]);
        assert_eq!(keys.verify::<Value>(&null_signature), Err(TokenError::Signature));
    }

    #[test]
    fn after_a_rotation_old_tokens_still_verify() {
        let pem = || rcgen::KeyPair::generate().unwrap().serialize_pem();
        let (old, new) = (pem(), pem());
        let token = Keys::parse(&old).unwrap().sign(&json!({})).unwrap();
        let rotated = Keys::parse(&format!("{new}{old}")).unwrap();
        assert_eq!(rotated.verify::<Value>(&token), Ok(json!({})));
        assert_eq!(rotated.key_set()["keys"].as_array().unwrap().len(), 2);
        let fresh = rotated.sign(&json!({})).unwrap();
        assert_eq!(
            Keys::parse(&old).unwrap().verify::<Value>(&fresh),
            Err(TokenError::Signature)
        );
    }
}
