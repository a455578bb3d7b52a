//! Where the cluster is: the kubeconfig that was named, or `$KUBECONFIG`, or the user's, or the
//! installation's; inside a Pod its service account.

use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

/// Where the server's installation keeps its administrator's access.
pub const INSTALLED: &str = "/etc/mizzen/mizzen.yaml";

/// Why no cluster was found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, #[source] KubeconfigError),
    /// What the files say does not lead to a cluster.
    #[error(transparent)]
    Use(#[from] KubeconfigError),
    /// There is nothing to read.
    #[error(
        "no cluster to talk to: neither --kubeconfig nor KUBECONFIG is set, and ~/.kube/config and {INSTALLED} do not exist"
    )]
    None,
}

/// Reads the kubeconfig; `None` inside a Pod, or where there is none.
pub fn read(file: Option<&Path>) -> Result<Option<Kubeconfig>, Error> {
    let user = std::env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config"));
    let file = match file {
        Some(file) => Some(file.to_owned()),
        None if std::env::var_os("KUBECONFIG").is_some_and(|v| !v.is_empty()) => None,
        None => [user, Some(INSTALLED.into())]
            .into_iter()
            .flatten()
            .find(|file| file.is_file()),
    };
    match file {
        Some(file) => match Kubeconfig::read_from(&file) {
            Ok(kubeconfig) => Ok(Some(kubeconfig)),
            Err(error) => Err(Error::Read(file, error)),
        },
        None => Ok(Kubeconfig::from_env()?),
    }
}

/// How to reach the cluster of a context, or of the current one.
pub async fn config(kubeconfig: Option<Kubeconfig>, context: Option<String>) -> Result<kube::Config, Error> {
    let options = KubeConfigOptions {
        context,
        ..KubeConfigOptions::default()
    };
    let mut config = match kubeconfig {
        Some(kubeconfig) => kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?,
        None => kube::Config::incluster().map_err(|_| Error::None)?,
    };
    // Watches and logs may be silent for as long as nothing happens.
    config.read_timeout = None;
    Ok(config)
}
