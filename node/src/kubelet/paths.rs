//! Where the kubelet keeps what belongs to a Pod: upstream's layout under our data directory.

use std::path::{Path, PathBuf};

/// The kubelet's directories.
#[derive(Clone, Debug)]
pub struct Paths {
    root: PathBuf,
    logs: PathBuf,
    storage: PathBuf,
}

impl Paths {
    /// Directories under the agent's data directory, and the log directory.
    #[must_use]
    pub fn new(data_dir: &Path, logs: &Path) -> Self {
        Self {
            root: data_dir.join("kubelet"),
            logs: logs.to_owned(),
            storage: storage(data_dir),
        }
    }

    /// The directory that holds local volumes.
    #[must_use]
    pub fn storage(&self) -> PathBuf {
        self.storage.clone()
    }

    /// The directory that holds one directory per Pod.
    #[must_use]
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// The Pod's directory.
    #[must_use]
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }

    /// A volume's directory.
    #[must_use]
    pub fn volume(&self, uid: &str, plugin: &str, name: &str) -> PathBuf {
        self.pod(uid)
            .join("volumes")
            .join(format!("kubernetes.io~{plugin}"))
            .join(name)
    }

    /// The hosts file that all the Pod's containers see.
    #[must_use]
    pub fn etc_hosts(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("etc-hosts")
    }

    /// A container's directory, for its termination messages.
    #[must_use]
    pub fn container(&self, uid: &str, name: &str) -> PathBuf {
        self.pod(uid).join("containers").join(name)
    }

    /// The Pod's log directory.
    #[must_use]
    pub fn pod_logs(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.logs.join(format!("{namespace}_{name}_{uid}"))
    }

    /// The directory of all Pods' logs.
    #[must_use]
    pub fn logs(&self) -> &Path {
        &self.logs
    }
}

/// The directory that holds local volumes, by the agent's data directory.
#[must_use]
pub fn storage(agent_dir: &Path) -> PathBuf {
    agent_dir.join("storage")
}
