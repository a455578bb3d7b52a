//! What this node's things on the host are called, so that two instances never meet.
//!
//! The instance in the usual data directory has the plain names; any other adds a mark of its directory.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// The usual data directory.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/mizzen";

/// Names of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The bridge that Pods are attached to.
    pub bridge: String,
    /// The device that carries packets to the Pods of other nodes.
    pub overlay: String,
    /// The nftables table.
    pub table: String,
    /// The cgroup below which all Pods live.
    pub cgroup: String,
    /// Where container logs go.
    pub pod_logs: PathBuf,
    /// Where what does not outlive a boot goes.
    pub run: PathBuf,
}

impl Names {
    /// The names that go with a data directory.
    pub fn of(data_dir: &Path) -> Self {
        if data_dir == Path::new(DEFAULT_DATA_DIR) {
            return Self {
                bridge: "mizzen0".into(),
                overlay: "mizzen.1".into(),
                table: "mizzen".into(),
                cgroup: "mizzen".into(),
                pod_logs: "/var/log/pods".into(),
                run: "/run/mizzen".into(),
            };
        }
        let mut hasher = DefaultHasher::new();
        data_dir.hash(&mut hasher);
        // Names of network links hold at most 15 bytes.
        let mark = hasher.finish() as u32;
        Self {
            bridge: format!("mizzen{mark:08x}"),
            overlay: format!("mzn{mark:08x}.1"),
            table: format!("mizzen-{mark:08x}"),
            cgroup: format!("mizzen-{mark:08x}"),
            pod_logs: data_dir.join("agent/log/pods"),
            run: data_dir.join("agent/run"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_do_not_share_names() {
        let (usual, one, two) = (
            Names::of(Path::new(DEFAULT_DATA_DIR)),
            Names::of(Path::new("/srv/a")),
            Names::of(Path::new("/srv/b")),
        );
        assert_eq!(usual.bridge, "mizzen0");
        assert_ne!(one, two);
        assert!(one.bridge.len() <= 15 && one.overlay.len() <= 15);
        assert_eq!(one, Names::of(Path::new("/srv/a")));
    }
}
