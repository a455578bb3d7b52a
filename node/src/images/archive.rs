//! Importing image archives: OCI layouts and what `docker save` writes, plain or compressed with gzip or zstd.
//!
//! The archive is read once, front to back, on a blocking thread; every blob streams into containerd's content store
//! while it is read, and only the small files that tell names are kept in memory. An archive that was imported before
//! is recognised by a stamp (size and modification time) and not read at all.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::json;
use tokio_stream::wrappers::ReceiverStream;

use super::store::{Descriptor, ImageStore, References, Session};

const CHUNK_BYTES: usize = 1 << 20;
/// Larger files are blobs, whatever their name.
const METADATA_MAX_BYTES: u64 = 4 << 20;

/// An entry of `manifest.json` in an archive of `docker save`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// What one pass over an archive leaves.
#[derive(Default)]
struct Contents {
    /// Blobs by their path in the archive.
    blobs: HashMap<String, (String, u64)>,
    links: HashMap<String, String>,
    index: Option<Vec<u8>>,
    docker: Option<Vec<u8>>,
}

/// Imports every archive of a folder that changed since it was last imported.
pub(crate) async fn import_folder(store: &ImageStore, folder: &Path) -> anyhow::Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(());
    };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_archive(path))
        .collect();
    paths.sort();
    for path in paths {
        match import_once(store, &path).await {
            Ok(None) => {}
            Ok(Some(names)) => tracing::info!(archive = %path.display(), images = ?names, "images imported"),
            Err(error) => tracing::error!(archive = %path.display(), "image archive not imported: {error:#}"),
        }
    }
    Ok(())
}

fn is_archive(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    [".tar", ".tar.gz", ".tgz", ".tar.zst"]
        .iter()
        .any(|end| name.ends_with(end))
        && !name.starts_with('.')
}

/// Imports an archive unless its stamp tells that nothing changed and its images are still there.
async fn import_once(store: &ImageStore, path: &Path) -> anyhow::Result<Option<Vec<String>>> {
    let metadata = std::fs::metadata(path)?;
    let identity = format!("{} {}.{}", metadata.size(), metadata.mtime(), metadata.mtime_nsec());
    let stamp = path.with_file_name(format!(
        ".{}.imported",
        path.file_name().unwrap_or_default().to_string_lossy()
    ));
    if let Ok(text) = std::fs::read_to_string(&stamp) {
        let mut lines = text.lines();
        let mut present = lines.next() == Some(identity.as_str());
        for name in lines {
            present = present && store.target(name).await?.is_some();
        }
        if present {
            return Ok(None);
        }
    }
    let names = import(store, path).await?;
    std::fs::write(&stamp, format!("{identity}\n{}\n", names.join("\n")))?;
    Ok(Some(names))
}

/// Imports one archive; returns the names of its images.
pub(crate) async fn import(store: &ImageStore, path: &Path) -> anyhow::Result<Vec<String>> {
    let session = std::sync::Arc::new(store.session().await?);
    let (reader, writer) = (path.to_owned(), session.clone());
    let runtime = tokio::runtime::Handle::current();
    let contents = tokio::task::spawn_blocking(move || read(&reader, &writer, &runtime)).await??;
    let names = contents.tag(&session).await?;
    if let Some(session) = std::sync::Arc::into_inner(session) {
        session.close().await?;
    }
    Ok(names)
}

fn read(path: &Path, session: &std::sync::Arc<Session>, runtime: &tokio::runtime::Handle) -> anyhow::Result<Contents> {
    let mut archive = tar::Archive::new(open(path)?);
    let mut contents = Contents::default();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        let size = entry.size();
        match (entry.header().entry_type(), name.as_str()) {
            (tar::EntryType::Symlink | tar::EntryType::Link, _) => {
                let target = entry.link_name()?.unwrap_or_default().to_string_lossy().into_owned();
                contents.links.insert(name, target);
            }
            (tar::EntryType::Regular, "index.json" | "manifest.json") if size <= METADATA_MAX_BYTES => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                *(if name == "index.json" {
                    &mut contents.index
                } else {
                    &mut contents.docker
                }) = Some(bytes);
            }
            (tar::EntryType::Regular, "oci-layout" | "repositories") => {}
            (tar::EntryType::Regular, _) => {
                let digest = stream(&name, size, &mut entry, session, runtime)?;
                contents.blobs.insert(name, (digest, size));
            }
            _ => {}
        }
    }
    Ok(contents)
}

/// Sends one file of the archive into the content store.
fn stream(
    name: &str,
    size: u64,
    file: &mut impl Read,
    session: &std::sync::Arc<Session>,
    runtime: &tokio::runtime::Handle,
) -> anyhow::Result<String> {
    let expected = name.strip_prefix("blobs/sha256/").map(|hex| format!("sha256:{hex}"));
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    let (session, reference) = (session.clone(), name.replace('/', "-"));
    let write = runtime.spawn(async move {
        session
            .write(expected.as_deref(), &reference, size, ReceiverStream::new(receiver))
            .await
    });
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES.min(usize::try_from(size)?));
        // A receiver that is gone has the blob already, or failed: the answer below tells which.
        if file.take(CHUNK_BYTES as u64).read_to_end(&mut chunk)? == 0 || sender.blocking_send(chunk).is_err() {
            break;
        }
    }
    drop(sender);
    runtime.block_on(write)?
}

/// Opens an archive, decompressing by what it starts with.
fn open(path: &Path) -> anyhow::Result<Box<dyn Read>> {
    let mut magic = [0; 4];
    let mut file = File::open(path)?;
    let length = file.read(&mut magic)?;
    let file = BufReader::with_capacity(CHUNK_BYTES, File::open(path)?);
    Ok(match &magic[..length] {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(ruzstd::decoding::StreamingDecoder::new(file)?),
        _ => Box::new(file),
    })
}

impl Contents {
    async fn tag(&self, session: &Session) -> anyhow::Result<Vec<String>> {
        let images = match (&self.index, &self.docker) {
            (Some(index), _) => Self::layout(index)?,
            (None, Some(manifest)) => self.docker(manifest, session).await?,
            (None, None) => bail!("neither index.json nor manifest.json is in it; not an image archive"),
        };
        if images.is_empty() {
            bail!("no image in it has a name; name it with the annotation io.containerd.image.name");
        }
        for (name, target) in &images {
            session.tag(name, target).await?;
        }
        Ok(images.into_iter().map(|(name, _)| name).collect())
    }

    /// The named images of an OCI layout.
    fn layout(index: &[u8]) -> anyhow::Result<Vec<(String, Descriptor)>> {
        let index: References = serde_json::from_slice(index).context("index.json")?;
        let name = |image: &Descriptor| {
            ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
                .iter()
                .find_map(|key| image.annotations.get(*key))
                // A bare tag names nothing.
                .filter(|name| name.contains(['/', ':']))
                .map(|name| normalize(name))
        };
        Ok(index
            .manifests
            .into_iter()
            .filter_map(|image| Some((name(&image)?, image)))
            .collect())
    }

    /// The images of `docker save`, for which manifests are written here.
    async fn docker(&self, manifest: &[u8], session: &Session) -> anyhow::Result<Vec<(String, Descriptor)>> {
        let images: Vec<DockerImage> = serde_json::from_slice(manifest).context("manifest.json")?;
        let mut named = Vec::new();
        for image in images {
            let layers: anyhow::Result<Vec<_>> = image
                .layers
                .iter()
                .map(|path| self.descriptor(path, "application/vnd.docker.image.rootfs.diff.tar"))
                .collect();
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": self.descriptor(&image.config, "application/vnd.docker.container.image.v1+json")?,
                "layers": layers?,
            });
            let bytes = manifest.to_string().into_bytes();
            let size = bytes.len() as u64;
            let reference = format!("manifest-of-{}", image.config.replace('/', "-"));
            let digest = session
                .write(None, &reference, size, futures::stream::iter([bytes]))
                .await?;
            let target = Descriptor {
                media_type: "application/vnd.docker.distribution.manifest.v2+json".into(),
                digest: digest.into(),
                size,
                annotations: HashMap::new(),
            };
            named.extend(
                image
                    .repo_tags
                    .unwrap_or_default()
                    .iter()
                    .map(|tag| (normalize(tag), target.clone())),
            );
        }
        Ok(named)
    }

    fn descriptor(&self, path: &str, media_type: &str) -> anyhow::Result<serde_json::Value> {
        let linked = || {
            let target = self.links.get(path)?;
            let name = target.rsplit_once("../").map_or(target.as_str(), |(_, name)| name);
            self.blobs.get(name)
        };
        let (digest, size) = self
            .blobs
            .get(path)
            .or_else(linked)
            .with_context(|| format!("{path} is named but not in the archive"))?;
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": size }))
    }
}

/// A full reference, as the CRI plugin looks images up: registry, path and tag are spelled out.
fn normalize(name: &str) -> String {
    let (registry, rest) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("docker.io", name),
    };
    let library = if registry == "docker.io" && !rest.contains('/') {
        "library/"
    } else {
        ""
    };
    let tag = if rest.contains([':', '@']) { "" } else { ":latest" };
    format!("{registry}/{library}{rest}{tag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_out() {
        for (name, expect) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("rancher/k3s:v1", "docker.io/rancher/k3s:v1"),
            ("localhost/a:1", "localhost/a:1"),
            ("registry:5000/a/b", "registry:5000/a/b:latest"),
            ("mizzen.local/hello:v1", "mizzen.local/hello:v1"),
            ("ghcr.io/a/b@sha256:00", "ghcr.io/a/b@sha256:00"),
        ] {
            assert_eq!(normalize(name), expect);
        }
    }
}
