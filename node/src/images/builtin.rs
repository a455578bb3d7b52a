//! The images inside the binary: the pause image of every sandbox and two versions of the demo server.

use anyhow::Context as _;

use super::store::{Descriptor, ImageStore};

/// The image of every Pod sandbox.
pub const PAUSE: &str = "mizzen.local/pause:1";

struct BuiltIn {
    name: &'static str,
    manifest: &'static str,
    size: u64,
}

struct Blob {
    digest: &'static str,
    bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// Imports what is not there yet.
pub(crate) async fn import(store: &ImageStore) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for image in IMAGES {
        if store.target(image.name).await?.as_deref() != Some(image.manifest) {
            missing.push(image);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let session = store.session().await?;
    for blob in BLOBS {
        session
            .put(blob.digest, blob.bytes)
            .await
            .with_context(|| format!("built-in blob {}", blob.digest))?;
    }
    for image in missing {
        let target = Descriptor {
            media_type: "application/vnd.oci.image.manifest.v1+json".into(),
            digest: image.manifest.into(),
            size: image.size,
            annotations: Default::default(),
        };
        session
            .tag(image.name, &target)
            .await
            .with_context(|| format!("built-in image {}", image.name))?;
    }
    session.close().await
}
