//! Volumes behind claims: where a Pod's claim leads, and the directories of this node that are volumes.
//!
//! Claim and volume are read live when a Pod starts: a node may read those of its own Pods only. What
//! the built-in provisioner calls local volumes are directories below [`Paths::storage`]; they are made
//! open to all when first mounted, and removed by [`remove`] when the control plane says so.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use kube::{Api, Client};
use parking_lot::Mutex;

use super::{blocking, disk, fs_group};
use crate::kubelet::paths::Paths;
use crate::kubelet::podinfo::PodInfo;

/// The claim behind a Pod's volume, if it is one.
#[must_use]
pub fn claim_name(pod: &Pod, volume: &Volume) -> Option<String> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some(claim.claim_name.clone());
    }
    volume
        .ephemeral
        .as_ref()
        .map(|_| format!("{}-{}", pod.name(), volume.name))
}

/// Mounts claims.
#[derive(Clone)]
pub struct Claims {
    client: Client,
    storage: PathBuf,
    /// Volumes that one Pod alone may use, and which has them.
    alone: Arc<Mutex<HashMap<String, String>>>,
}

/// A directory or file of this node that is a volume.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    path: PathBuf,
    /// What a `hostPath` must be; `None` for a `local` volume, which must be there.
    kind: Option<String>,
    /// Whether one Pod alone may use it.
    alone: bool,
}

impl Claims {
    /// Claims read through `client`.
    #[must_use]
    pub fn new(client: Client, paths: &Paths) -> Self {
        Self {
            client,
            storage: paths.storage(),
            alone: Arc::default(),
        }
    }

    /// Where the data of a Pod's claim is, made ready for it.
    ///
    /// # Errors
    /// Why it cannot be used, or not yet.
    pub async fn mount(&self, pod: &Pod, claim: &str) -> Result<PathBuf, String> {
        let (claim, volume) = self.read(pod, claim).await?;
        let name = volume.metadata.name.clone().unwrap_or_default();
        let source = source(&claim, &volume)?;
        if source.alone {
            self.take(&name, pod.uid())?;
        }
        let (path, own, group) = (source.path, self.storage.clone(), fs_group(pod));
        blocking(move || {
            let ours = path.starts_with(&own);
            match source.kind {
                // Whoever runs in the Pod is to write there, as in a fresh volume of any kind.
                Some(_) if ours => {
                    if disk::directory(&path, None)? {
                        disk::open_to_all(&path, group)?;
                    }
                }
                Some(kind) => disk::check_host_path(&path, &kind)?,
                None => {
                    if !path.exists() {
                        return Err(format!("path {:?} does not exist", path.display().to_string()));
                    }
                    if let Some(group) = group {
                        disk::give_to_group(&path, group, disk::Access::Write)?;
                    }
                }
            }
            Ok(path)
        })
        .await
    }

    async fn read(&self, pod: &Pod, name: &str) -> Result<(PersistentVolumeClaim, PersistentVolume), String> {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), pod.namespace());
        let claim = claims.get_opt(name).await.map_err(|error| error.to_string())?;
        let claim = claim.ok_or_else(|| format!("persistentvolumeclaim {name:?} not found"))?;
        let spec = claim.spec.as_ref();
        let bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
        let volume = spec.and_then(|spec| spec.volume_name.as_deref()).filter(|_| bound);
        let Some(volume) = volume.filter(|volume| !volume.is_empty()) else {
            return Err(format!("persistentvolumeclaim {name:?} is not bound"));
        };
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let found = volumes.get_opt(volume).await.map_err(|error| error.to_string())?;
        let found = found.ok_or_else(|| format!("persistentvolume {volume:?} not found"))?;
        Ok((claim, found))
    }

    fn take(&self, volume: &str, pod: &str) -> Result<(), String> {
        let mut alone = self.alone.lock();
        let holder = alone.entry(volume.to_owned()).or_insert_with(|| pod.to_owned());
        if holder == pod {
            return Ok(());
        }
        Err("volume uses the ReadWriteOncePod access mode and is already in use by another pod".to_owned())
    }

    /// Gives back what a Pod had alone.
    pub fn forget(&self, pod: &str) {
        self.alone.lock().retain(|_, holder| holder != pod);
    }
}

/// What of this node is behind a claim and its volume.
fn source(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Result<Source, String> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let spec = volume.spec.as_ref().ok_or("the volume has no spec")?;
    let holder = spec.claim_ref.as_ref().and_then(|claim| claim.uid.as_deref());
    if holder != claim.metadata.uid.as_deref() {
        return Err(format!("persistentvolume {name:?} is bound to another claim"));
    }
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err(format!(
            "persistentvolume {name:?} is a block device, which is not supported"
        ));
    }
    let mut modes = spec.access_modes.iter().flatten();
    let alone = modes.any(|mode| mode == "ReadWriteOncePod");
    if let Some(host) = &spec.host_path {
        return Ok(Source {
            path: PathBuf::from(&host.path),
            kind: Some(host.type_.clone().unwrap_or_default()),
            alone,
        });
    }
    if let Some(local) = &spec.local {
        return Ok(Source {
            path: PathBuf::from(&local.path),
            kind: None,
            alone,
        });
    }
    Err(format!(
        "persistentvolume {name:?} is of a type that is not supported: only hostPath and local are"
    ))
}

/// Removes a local volume's directory; one that is not there counts as removed. Blocks.
///
/// # Errors
/// What keeps it from being removed.
pub fn remove(storage: &Path, name: &str) -> Result<(), String> {
    let mut parts = Path::new(name).components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    if !plain {
        return Err(format!("{name:?} is not the name of a local volume"));
    }
    let path = storage.join(name);
    if std::fs::symlink_metadata(&path).is_ok_and(|meta| !meta.is_dir()) {
        return Err(format!("{}: not a directory", path.display()));
    }
    disk::remove_tree(&path)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(spec: Value, expect: &str) {
        let mut volume = json!({"metadata": {"name": "v"}, "spec": {"claimRef": {"uid": "u"}}});
        for (key, value) in spec.as_object().expect("an object") {
            volume["spec"][key] = value.clone();
        }
        let claim = serde_json::from_value(json!({"metadata": {"uid": "u"}})).expect("a claim");
        let volume = serde_json::from_value(volume).expect("a volume");
        let found = source(&claim, &volume);
        let found = found.map(|source| format!("{} {:?} {}", source.path.display(), source.kind, source.alone));
        assert_eq!(found.unwrap_or_else(|why| why), expect);
    }

    #[test]
    fn directories_of_this_node_are_volumes() {
        check(json!({"hostPath": {"path": "/a"}}), r#"/a Some("") false"#);
        check(
            json!({"local": {"path": "/a"}, "accessModes": ["ReadWriteOncePod"]}),
            "/a None true",
        );
        check(
            json!({"claimRef": {"uid": "x"}}),
            r#"persistentvolume "v" is bound to another claim"#,
        );
        check(
            json!({"nfs": {"server": "s", "path": "/"}}),
            r#"persistentvolume "v" is of a type that is not supported: only hostPath and local are"#,
        );
    }

    #[test]
    fn only_a_volumes_own_directory_is_removed() {
        let storage = tempfile::tempdir().expect("a directory");
        let (one, two) = (storage.path().join("one"), storage.path().join("two"));
        for dir in [&one, &two] {
            std::fs::create_dir(dir).expect("made");
            std::fs::write(dir.join("file"), "data").expect("written");
        }
        for name in ["", ".", "..", "a/b", "/etc", "one/", "./one", "../one"] {
            assert!(remove(storage.path(), name).is_err(), "{name:?}");
        }
        assert!(one.exists());
        remove(storage.path(), "one").expect("removed");
        remove(storage.path(), "one").expect("nothing to do");
        assert!(!one.exists() && two.join("file").exists());
        std::os::unix::fs::symlink(&two, storage.path().join("link")).expect("linked");
        assert!(remove(storage.path(), "link").is_err());
        assert!(two.join("file").exists());
    }
}
