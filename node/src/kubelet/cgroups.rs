//! The cgroups above the containers': one per Pod, below one per QoS class. The containers' own
//! are the runtime's. Works on cgroup v1 (a tree per controller) and v2 (one tree).

use std::fs;
use std::path::{Path, PathBuf};

use super::resources::{CPU_PERIOD_US, PodCgroup, QosClass};

const ROOT: &str = "/sys/fs/cgroup";
/// The controllers a Pod needs; without one of them the rest still works.
const CONTROLLERS: [&str; 4] = ["cpuset", "cpu", "memory", "pids"];
/// The range of v2's CPU weight, mapped from v1's shares.
const SHARES: (i64, i64) = (2, 262_144);
const WEIGHTS: (i64, i64) = (1, 10_000);

/// The tree of cgroups that Pods live in.
#[derive(Clone, Debug)]
pub struct Cgroups {
    root: String,
    v2: bool,
}

impl Cgroups {
    /// The tree below `root` (`kubepods`).
    #[must_use]
    pub fn new(root: &str) -> Self {
        Self {
            root: root.trim_matches('/').to_owned(),
            v2: Path::new(ROOT).join("cgroup.controllers").exists(),
        }
    }

    /// The Pod's cgroup as the runtime wants it.
    #[must_use]
    pub fn parent(&self, class: QosClass, uid: &str) -> String {
        match class.cgroup() {
            Some(class) => format!("/{}/{class}/pod{uid}", self.root),
            None => format!("/{}/pod{uid}", self.root),
        }
    }

    /// Makes the Pod's cgroup and sets its limits. What the machine does not let us set is logged:
    /// the containers' own limits hold without it.
    pub fn make(&self, class: QosClass, uid: &str, limits: PodCgroup) {
        let parent = self.parent(class, uid);
        for dir in self.directories(&parent) {
            if let Err(error) = self.make_one(&dir) {
                tracing::debug!(dir = %dir.display(), %error, "cgroup not made");
            }
        }
        for (file, value) in self.settings(limits) {
            let (controller, _) = file.split_once('.').unwrap_or((file, ""));
            let path = self.directory(controller, &parent).join(file);
            if let Err(error) = fs::write(&path, &value) {
                tracing::debug!(path = %path.display(), value, %error, "cgroup setting not made");
            }
        }
    }

    fn settings(&self, limits: PodCgroup) -> Vec<(&'static str, String)> {
        let quota = limits.cpu_quota_us;
        let mut settings = Vec::new();
        if self.v2 {
            settings.push(("cpu.weight", weight(limits.cpu_shares).to_string()));
            settings.extend(quota.map(|quota| ("cpu.max", format!("{quota} {CPU_PERIOD_US}"))));
            settings.extend(limits.memory_limit.map(|bytes| ("memory.max", bytes.to_string())));
        } else {
            settings.push(("cpu.shares", limits.cpu_shares.to_string()));
            settings.extend(quota.map(|_| ("cpu.cfs_period_us", CPU_PERIOD_US.to_string())));
            settings.extend(quota.map(|quota| ("cpu.cfs_quota_us", quota.to_string())));
            settings.extend(
                limits
                    .memory_limit
                    .map(|bytes| ("memory.limit_in_bytes", bytes.to_string())),
            );
        }
        settings
    }

    fn directory(&self, controller: &str, parent: &str) -> PathBuf {
        let tree = if self.v2 {
            PathBuf::from(ROOT)
        } else {
            Path::new(ROOT).join(controller)
        };
        tree.join(parent.trim_start_matches('/'))
    }

    fn directories(&self, parent: &str) -> Vec<PathBuf> {
        if self.v2 {
            return vec![self.directory("", parent)];
        }
        CONTROLLERS
            .iter()
            .map(|controller| self.directory(controller, parent))
            .collect()
    }

    fn make_one(&self, dir: &Path) -> std::io::Result<()> {
        fs::create_dir_all(dir)?;
        if self.v2 {
            // Controllers reach a cgroup only when every one above hands them down.
            let above: Vec<&Path> = dir
                .ancestors()
                .skip(1)
                .take_while(|above| above.starts_with(ROOT))
                .collect();
            for above in above.into_iter().rev() {
                for controller in CONTROLLERS {
                    let _ = fs::write(above.join("cgroup.subtree_control"), format!("+{controller}"));
                }
            }
        } else if dir.starts_with(Path::new(ROOT).join("cpuset")) {
            // A v1 cpuset takes no process before it has CPUs and memory nodes.
            let above: Vec<&Path> = dir.ancestors().take_while(|above| above.starts_with(ROOT)).collect();
            for pair in above.windows(2).rev() {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    if fs::read_to_string(pair[0].join(file)).is_ok_and(|text| text.trim().is_empty()) {
                        fs::write(pair[0].join(file), fs::read_to_string(pair[1].join(file))?)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes the Pod's cgroup in every tree, with what the runtime left in it.
    pub fn remove(&self, class: QosClass, uid: &str) {
        let parent = self.parent(class, uid);
        let trees: Vec<PathBuf> = if self.v2 {
            vec![PathBuf::from(ROOT)]
        } else {
            fs::read_dir(ROOT)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .collect()
        };
        for tree in trees {
            remove(&tree.join(parent.trim_start_matches('/')));
        }
    }
}

fn remove(dir: &Path) {
    let below = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path());
    }
    let _ = fs::remove_dir(dir);
}

fn weight(shares: i64) -> i64 {
    WEIGHTS.0 + (shares.clamp(SHARES.0, SHARES.1) - SHARES.0) * (WEIGHTS.1 - WEIGHTS.0) / (SHARES.1 - SHARES.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_settings() {
        let (v1, v2) = (
            Cgroups {
                root: "kubepods".into(),
                v2: false,
            },
            Cgroups {
                root: "kubepods".into(),
                v2: true,
            },
        );
        assert_eq!(v1.parent(QosClass::Burstable, "u"), "/kubepods/burstable/podu");
        assert_eq!(v1.parent(QosClass::Guaranteed, "u"), "/kubepods/podu");
        let limits = PodCgroup {
            cpu_shares: 1024,
            cpu_quota_us: Some(50_000),
            memory_limit: Some(7),
        };
        let words = |cgroups: &Cgroups| -> Vec<String> {
            cgroups
                .settings(limits)
                .iter()
                .map(|(file, value)| format!("{file}={value}"))
                .collect()
        };
        let expected = [
            "cpu.shares=1024",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=50000",
            "memory.limit_in_bytes=7",
        ];
        assert_eq!(words(&v1), expected);
        assert_eq!(words(&v2), ["cpu.weight=39", "cpu.max=50000 100000", "memory.max=7"]);
    }
}
