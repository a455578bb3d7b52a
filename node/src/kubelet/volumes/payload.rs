//! What the files of a volume hold, from ConfigMaps, Secrets, the downward API and tokens. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, DownwardAPIVolumeFile, KeyToPath, Pod, SecretProjection, ServiceAccountTokenProjection, Volume,
};

use crate::kubelet::downward::{self, PodFacts};
use crate::kubelet::env::Lookup;
use crate::kubelet::objects::{Key, Kind};
use crate::kubelet::podinfo::PodInfo;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its content.
    pub data: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
}

/// Files by their path in the volume.
pub type Payload = BTreeMap<String, File>;

/// Tokens by the path they go to.
pub type TokenFiles = HashMap<String, String>;

/// How a kind of volume with content is kept.
pub struct Plugin {
    /// Its directory's name after `kubernetes.io~`.
    pub name: &'static str,
    /// Whether it must not touch a disk.
    pub tmpfs: bool,
}

const DEFAULT_MODE: i32 = 0o644;

/// How the volume is kept, if it is one with content.
#[must_use]
pub fn plugin(volume: &Volume) -> Option<Plugin> {
    let (name, tmpfs) = if volume.config_map.is_some() {
        ("configmap", false)
    } else if volume.secret.is_some() {
        ("secret", true)
    } else if volume.downward_api.is_some() {
        ("downward-api", false)
    } else if volume.projected.is_some() {
        ("projected", true)
    } else {
        return None;
    };
    Some(Plugin { name, tmpfs })
}

/// What to say about a volume of a kind that is not supported.
#[must_use]
pub fn unsupported(volume: &Volume) -> String {
    let kinds = serde_json::to_value(volume).ok();
    let kind = kinds
        .as_ref()
        .and_then(|value| value.as_object()?.keys().find(|key| *key != "name").cloned());
    format!(
        "no volume plugin matched: {} is not supported",
        kind.as_deref().unwrap_or("an empty volume source")
    )
}

/// Every ConfigMap and Secret that the Pod names.
#[must_use]
pub fn references(pod: &Pod) -> BTreeSet<Key> {
    let mut keys = BTreeSet::new();
    let mut add = |kind, name: Option<&str>| {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            keys.insert(Key {
                kind,
                namespace: pod.namespace().into(),
                name: name.into(),
            });
        }
    };
    for volume in pod.spec().volumes.iter().flatten() {
        add(Kind::ConfigMap, volume.config_map.as_ref().map(|map| map.name.as_str()));
        add(
            Kind::Secret,
            volume.secret.as_ref().and_then(|secret| secret.secret_name.as_deref()),
        );
        for source in volume
            .projected
            .iter()
            .flat_map(|projected| projected.sources.iter().flatten())
        {
            add(Kind::ConfigMap, source.config_map.as_ref().map(|map| map.name.as_str()));
            add(Kind::Secret, source.secret.as_ref().map(|secret| secret.name.as_str()));
        }
    }
    for (_, container) in pod.parts() {
        for source in container.env_from.iter().flatten() {
            add(
                Kind::ConfigMap,
                source.config_map_ref.as_ref().map(|map| map.name.as_str()),
            );
            add(
                Kind::Secret,
                source.secret_ref.as_ref().map(|secret| secret.name.as_str()),
            );
        }
        for source in container
            .env
            .iter()
            .flatten()
            .filter_map(|variable| variable.value_from.as_ref())
        {
            add(
                Kind::ConfigMap,
                source.config_map_key_ref.as_ref().map(|map| map.name.as_str()),
            );
            add(
                Kind::Secret,
                source.secret_key_ref.as_ref().map(|secret| secret.name.as_str()),
            );
        }
    }
    for secret in pod.spec().image_pull_secrets.iter().flatten() {
        add(Kind::Secret, Some(&secret.name));
    }
    keys
}

/// The token projections of a volume.
pub fn token_projections(volume: &Volume) -> impl Iterator<Item = &ServiceAccountTokenProjection> {
    let sources = volume
        .projected
        .iter()
        .flat_map(|projected| projected.sources.iter().flatten());
    sources.filter_map(|source| source.service_account_token.as_ref())
}

/// The volume's files.
///
/// # Errors
/// What keeps the volume from being made, as the Event's message has it.
pub fn build(
    pod: &Pod,
    facts: &PodFacts,
    volume: &Volume,
    lookup: Lookup<'_>,
    tokens: &TokenFiles,
) -> Result<Payload, String> {
    let mut build = Builder {
        pod,
        facts,
        lookup,
        payload: Payload::new(),
    };
    if let Some(map) = &volume.config_map {
        let mode = map.default_mode.unwrap_or(DEFAULT_MODE);
        build.object(Kind::ConfigMap, &map.name, map.items.as_deref(), map.optional, mode)?;
    } else if let Some(secret) = &volume.secret {
        let mode = secret.default_mode.unwrap_or(DEFAULT_MODE);
        let name = secret.secret_name.as_deref().unwrap_or_default();
        build.object(Kind::Secret, name, secret.items.as_deref(), secret.optional, mode)?;
    } else if let Some(source) = &volume.downward_api {
        build.downward(source.items.as_deref(), source.default_mode.unwrap_or(DEFAULT_MODE))?;
    } else if let Some(projected) = &volume.projected {
        let mode = projected.default_mode.unwrap_or(DEFAULT_MODE);
        for source in projected.sources.iter().flatten() {
            if let Some(ConfigMapProjection { name, items, optional }) = &source.config_map {
                build.object(Kind::ConfigMap, name, items.as_deref(), *optional, mode)?;
            } else if let Some(SecretProjection { name, items, optional }) = &source.secret {
                build.object(Kind::Secret, name, items.as_deref(), *optional, mode)?;
            } else if let Some(source) = &source.downward_api {
                build.downward(source.items.as_deref(), mode)?;
            } else if let Some(source) = &source.service_account_token {
                let token = tokens.get(&source.path).ok_or("the token is not there yet")?;
                // With a group to read it, nobody else has to.
                let mode = if super::fs_group(pod).is_some() { 0o600 } else { mode };
                build.add(&source.path, token.clone().into_bytes(), mode);
            } else {
                return Err("this source of a projected volume is not supported yet".to_owned());
            }
        }
    }
    Ok(build.payload)
}

struct Builder<'a> {
    pod: &'a Pod,
    facts: &'a PodFacts,
    lookup: Lookup<'a>,
    payload: Payload,
}

impl Builder<'_> {
    fn add(&mut self, path: &str, data: Vec<u8>, mode: i32) {
        let mode = u32::try_from(mode).unwrap_or(0o644) & 0o7777;
        self.payload.insert(path.to_owned(), File { data, mode });
    }

    fn object(
        &mut self,
        kind: Kind,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: i32,
    ) -> Result<(), String> {
        let optional = optional == Some(true);
        let Some(content) = (self.lookup)(kind, name) else {
            return if optional {
                Ok(())
            } else {
                Err(format!("{} \"{name}\" not found", kind.word()))
            };
        };
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            for (key, value) in content.entries() {
                self.add(key, value.clone(), mode);
            }
            return Ok(());
        };
        for item in items {
            match content.get(&item.key) {
                Some(value) => self.add(&item.path, value.to_vec(), item.mode.unwrap_or(mode)),
                None if optional => {}
                None => {
                    return Err(format!(
                        "{} references non-existent {} key: {}",
                        kind.word(),
                        kind.word(),
                        item.key
                    ));
                }
            }
        }
        Ok(())
    }

    fn downward(&mut self, items: Option<&[DownwardAPIVolumeFile]>, mode: i32) -> Result<(), String> {
        for item in items.into_iter().flatten() {
            let value = match (&item.field_ref, &item.resource_field_ref) {
                (Some(field), _) => downward::field(self.pod, self.facts, field)?,
                (None, Some(resource)) => downward::resource(self.pod, self.facts, None, resource)?,
                (None, None) => continue,
            };
            self.add(&item.path, value.into_bytes(), item.mode.unwrap_or(mode));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::kubelet::objects::Content;

    fn files(volume: serde_json::Value) -> Result<Vec<String>, String> {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": { "name": "p", "namespace": "n", "labels": { "a": "1" } },
            "spec": { "containers": [], "volumes": [volume] },
        }))
        .expect("a pod");
        let content = Arc::new(Content::from(BTreeMap::from([
            ("k".to_owned(), b"v".to_vec()),
            ("l".into(), b"w".to_vec()),
        ])));
        let lookup = |_: Kind, name: &str| (name == "there").then(|| Arc::clone(&content));
        let tokens = TokenFiles::from([("token".to_owned(), "secret".to_owned())]);
        let volume = &pod.spec().volumes.as_ref().expect("volumes")[0];
        let payload = build(&pod, &PodFacts::default(), volume, &lookup, &tokens)?;
        Ok(payload
            .iter()
            .map(|(p, f)| format!("{p} {:o} {}", f.mode, String::from_utf8_lossy(&f.data)))
            .collect())
    }

    #[test]
    fn contents() {
        let all = files(serde_json::json!({ "name": "v", "configMap": { "name": "there" } }));
        assert_eq!(all.expect("files"), ["k 644 v", "l 644 w"]);
        let some = serde_json::json!({ "name": "v", "secret": { "secretName": "there", "defaultMode": 0o400,
            "items": [{ "key": "k", "path": "dir/f" }] } });
        assert_eq!(files(some).expect("files"), ["dir/f 400 v"]);
        let missing = files(serde_json::json!({ "name": "v", "secret": { "secretName": "gone" } }));
        assert_eq!(missing.expect_err("a refusal"), "secret \"gone\" not found");
        let optional = files(serde_json::json!({ "name": "v", "configMap": { "name": "gone", "optional": true } }));
        assert!(optional.expect("files").is_empty());
        let no_key = serde_json::json!({ "name": "v", "configMap": { "name": "there", "items": [{ "key": "x", "path": "x" }] } });
        assert_eq!(
            files(no_key).expect_err("a refusal"),
            "configmap references non-existent configmap key: x"
        );
        let projected = serde_json::json!({ "name": "v", "projected": { "sources": [
            { "serviceAccountToken": { "path": "token" } },
            { "configMap": { "name": "there", "items": [{ "key": "k", "path": "ca.crt" }] } },
            { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": { "fieldPath": "metadata.namespace" } }] } },
        ] } });
        assert_eq!(
            files(projected).expect("files"),
            ["ca.crt 644 v", "namespace 644 n", "token 644 secret"]
        );
    }
}
