//! Container images that come without a registry: those built into the binary, and archives in `agent/images`.
//!
//! Entry points: [`import_built_in`], which the supervisor of containerd awaits before it reports ready (a sandbox needs
//! the pause image), and [`import_folder`], which may take long and runs beside. Both only write what is missing.

mod archive;
mod builtin;
pub(crate) mod store;

use std::path::Path;

use containerd_client::tonic::transport::Channel;

pub use builtin::PAUSE;

/// Imports the images inside the binary.
pub async fn import_built_in(containerd: Channel) -> anyhow::Result<()> {
    builtin::import(&store::ImageStore::new(containerd)).await
}

/// Imports the archives of a folder (`*.tar`, `*.tar.gz`, `*.tar.zst`).
pub async fn import_folder(containerd: Channel, folder: &Path) -> anyhow::Result<()> {
    archive::import_folder(&store::ImageStore::new(containerd), folder).await
}
