//! What all servers of a cluster have in common, kept in the datastore that they share: the authorities
//! and the key of ServiceAccount tokens, encrypted with the server token.
//!
//! The first server makes them (or brings its own) and puts them there; only one can be first. All later
//! ones take them from there. A server that has others already is refused: it belongs to another cluster.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rand::Rng;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::pbkdf2;

use super::authority::Authority;
use super::files;
use super::jwt::Keys;
use crate::store::{Durability, Expect, Put, Store, StoreError};

/// Where it is: beside the cluster's objects, not among them.
const KEY: &str = "/mizzen/bootstrap";
/// The authorities, by the names of their files.
pub(super) const AUTHORITIES: [(&str, &str); 3] = [
    ("server-ca", "mizzen-server-ca"),
    ("client-ca", "mizzen-client-ca"),
    ("request-header-ca", "mizzen-request-header-ca"),
];
/// The file with the key of ServiceAccount tokens.
pub(super) const TOKEN_KEY: &str = "service.key";

const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;
const ITERATIONS: NonZeroU32 = NonZeroU32::new(100_000).expect("not zero");

/// File contents by name.
type Files = BTreeMap<String, String>;

/// Puts the cluster's files below `data_dir`, before [`super::Pki::open`] looks there. `password` is the
/// server token's.
pub async fn share(store: &dyn Store, data_dir: &Path, password: &str) -> Result<()> {
    let directory = data_dir.join("server/tls");
    files::private_directory(&directory)?;
    let shared = match store.get(KEY, None).await? {
        Some(record) => decrypt(&record.value, password)?,
        None => put(store, offer(&directory)?, password).await?,
    };
    for (name, content) in &shared {
        let path = directory.join(name);
        match files::read(&path)? {
            Some(own) => ensure!(
                own == *content,
                "{} is not that of the cluster in the datastore; to join it, remove {}",
                path.display(),
                directory.display()
            ),
            None => files::write(&path, content.as_bytes(), mode(name))?,
        }
    }
    Ok(())
}

/// Offers the files; answers with those that count.
async fn put(store: &dyn Store, offered: Files, password: &str) -> Result<Files> {
    let put = Put {
        key: KEY.into(),
        value: encrypt(&offered, password)?,
        expect: Expect::Absent,
        ttl: None,
        durability: Durability::Synced,
    };
    match store.put(put).await {
        Ok(_) => Ok(offered),
        Err(StoreError::Conflict { current: Some(winner) }) => decrypt(&winner.value, password),
        Err(error) => Err(error.into()),
    }
}

/// The files that this server has, or new ones.
fn offer(directory: &Path) -> Result<Files> {
    let own = collect(directory)?;
    if !own.is_empty() {
        // What is missing is made where it belongs: these files are used already.
        make(directory)?;
        return collect(directory);
    }
    // Another server may be first: these must not be found in place then.
    let scratch = directory.join("new");
    let _ = std::fs::remove_dir_all(&scratch);
    files::private_directory(&scratch)?;
    make(&scratch)?;
    let made = collect(&scratch);
    std::fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    made
}

fn make(directory: &Path) -> Result<()> {
    for (name, common_name) in AUTHORITIES {
        Authority::open(directory, name, common_name)?;
    }
    Keys::open(&directory.join(TOKEN_KEY)).map(drop)
}

fn collect(directory: &Path) -> Result<Files> {
    let pairs = AUTHORITIES
        .iter()
        .flat_map(|(name, _)| [format!("{name}.crt"), format!("{name}.key")]);
    let mut found = Files::new();
    for name in pairs.chain([TOKEN_KEY.to_owned()]) {
        if let Some(content) = files::read(&directory.join(&name))? {
            found.insert(name, content);
        }
    }
    Ok(found)
}

fn mode(name: &str) -> u32 {
    if name.ends_with(".crt") { 0o644 } else { files::PRIVATE }
}

fn key(password: &str, salt: &[u8]) -> Result<LessSafeKey> {
    let mut bytes = [0; 32];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        ITERATIONS,
        salt,
        password.as_bytes(),
        &mut bytes,
    );
    let key = UnboundKey::new(&AES_256_GCM, &bytes)
        .ok()
        .context("cannot make a key")?;
    Ok(LessSafeKey::new(key))
}

/// Base64 of salt, nonce and ciphertext.
fn encrypt(content: &Files, password: &str) -> Result<Bytes> {
    let (salt, nonce): ([u8; SALT_BYTES], [u8; NONCE_BYTES]) = (rand::rng().random(), rand::rng().random());
    let mut data = serde_json::to_vec(content)?;
    key(password, &salt)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(KEY), &mut data)
        .ok()
        .context("cannot encrypt")?;
    Ok(STANDARD.encode([&salt[..], &nonce, &data].concat()).into())
}

fn decrypt(stored: &[u8], password: &str) -> Result<Files> {
    let all = STANDARD
        .decode(stored)
        .with_context(|| format!("{KEY} in the datastore is damaged"))?;
    let (Some((salt, rest)), true) = (all.split_at_checked(SALT_BYTES), all.len() > SALT_BYTES + NONCE_BYTES) else {
        bail!("{KEY} in the datastore is damaged");
    };
    let (nonce, data) = rest.split_at(NONCE_BYTES);
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok().context("no nonce")?;
    let mut data = data.to_vec();
    let plain = key(password, salt)?
        .open_in_place(nonce, Aad::from(KEY), &mut data)
        .ok();
    let plain =
        plain.context("the server token is not that of the cluster in the datastore; give its token (--token)")?;
    Ok(serde_json::from_slice(plain)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::{SqliteOptions, SqliteStore};

    #[tokio::test]
    async fn servers_with_the_token_get_the_same_files() {
        let world = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&world.path().join("db"), SqliteOptions::default()).unwrap();
        let data = |name: &str| world.path().join(name);
        let files_of = |name: &str| collect(&data(name).join("server/tls")).unwrap();
        share(&store, &data("a"), "secret").await.unwrap();
        share(&store, &data("b"), "secret").await.unwrap();
        assert_eq!(files_of("a").len(), 7);
        assert_eq!(files_of("a"), files_of("b"));
        share(&store, &data("a"), "secret").await.expect("again");

        let stored = store.get(KEY, None).await.unwrap().unwrap().value;
        let stored = STANDARD.decode(stored).unwrap();
        assert!(!stored.windows(7).any(|part| part == b"PRIVATE"), "it is encrypted");
        let wrong = share(&store, &data("c"), "guess").await.unwrap_err().to_string();
        insta::assert_snapshot!(wrong, @"the server token is not that of the cluster in the datastore; give its token (--token)");
        make(&data("d")).unwrap_err();
        files::private_directory(&data("d/server/tls")).unwrap();
        make(&data("d/server/tls")).unwrap();
        let other = share(&store, &data("d"), "secret").await.unwrap_err().to_string();
        assert!(other.contains("is not that of the cluster in the datastore"), "{other}");
    }
}
