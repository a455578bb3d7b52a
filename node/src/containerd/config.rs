//! The `config.toml` of our own containerd.
//!
//! It is written in configuration version 2, which 1.6 and 1.7 read and 2.x converts while loading.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::images::PAUSE;

/// Where distributions put the standard CNI plugins.
const CNI_BIN_DIRS: &[&str] = &["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];
/// Plugins that would only cost start time or wake up for nothing.
const DISABLED: &[&str] = &[
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.internal.v1.restart",
    "io.containerd.monitor.container.v1.restart",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.nri.v1.nri",
];
const CAP_SYS_RESOURCE: u32 = 24;

/// What the configuration depends on.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) root: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) cni_conf_dir: PathBuf,
    pub(crate) cni_bin_dir: PathBuf,
    pub(crate) registry_dir: PathBuf,
    pub(crate) runtime: PathBuf,
    pub(crate) restrict_oom_score_adj: bool,
}

impl Config {
    pub(crate) fn render(&self) -> String {
        let mut text = String::from("# Written by mizzen at every start.\nversion = 2\n");
        let cri = "plugins.\"io.containerd.grpc.v1.cri\"";
        let mut line = |text_line: std::fmt::Arguments<'_>| _ = writeln!(text, "{text_line}");
        line(format_args!(
            "root = {:?}\nstate = {:?}\noom_score = -999",
            self.root, self.state
        ));
        line(format_args!("disabled_plugins = {DISABLED:?}"));
        line(format_args!("\n[grpc]\naddress = {:?}", self.socket));
        line(format_args!(
            "\n[plugins.\"io.containerd.internal.v1.opt\"]\npath = {:?}",
            self.root.join("opt")
        ));
        line(format_args!("\n[{cri}]\nsandbox_image = {PAUSE:?}"));
        line(format_args!(
            "netns_mounts_under_state_dir = true\nstream_server_address = \"127.0.0.1\"\nstream_server_port = \"0\""
        ));
        line(format_args!(
            "enable_unprivileged_ports = true\nenable_unprivileged_icmp = true"
        ));
        line(format_args!("restrict_oom_score_adj = {}", self.restrict_oom_score_adj));
        line(format_args!(
            "\n[{cri}.containerd]\nsnapshotter = \"overlayfs\"\ndefault_runtime_name = \"runc\""
        ));
        line(format_args!(
            "\n[{cri}.containerd.runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\""
        ));
        line(format_args!(
            "\n[{cri}.containerd.runtimes.runc.options]\nBinaryName = {:?}",
            self.runtime
        ));
        line(format_args!("SystemdCgroup = false"));
        line(format_args!(
            "\n[{cri}.cni]\nbin_dir = {:?}\nconf_dir = {:?}",
            self.cni_bin_dir, self.cni_conf_dir
        ));
        line(format_args!(
            "\n[{cri}.registry]\nconfig_path = {:?}",
            self.registry_dir
        ));
        text
    }
}

/// The folder with the CNI plugins; the first of the usual ones when none has them.
pub(crate) fn cni_bin_dir() -> PathBuf {
    let found = CNI_BIN_DIRS.iter().find(|dir| Path::new(dir).join("bridge").exists());
    PathBuf::from(found.unwrap_or(&CNI_BIN_DIRS[0]))
}

/// A program of the system, from `PATH` and the folders that root's `PATH` may lack.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ]
    .map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(usual)
        .map(|dir| dir.join(name))
        .find(|program| program.is_file())
}

/// Whether this process may lower OOM scores, which containerd otherwise has to avoid.
pub(crate) fn may_lower_oom_score() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or_default();
    bits >> CAP_SYS_RESOURCE & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_is_complete() {
        let config = Config {
            root: "/data/agent/containerd".into(),
            state: "/run/mizzen/containerd".into(),
            socket: "/run/mizzen/containerd/containerd.sock".into(),
            cni_conf_dir: "/data/agent/etc/cni/net.d".into(),
            cni_bin_dir: "/opt/cni/bin".into(),
            registry_dir: "/data/agent/etc/containerd/certs.d".into(),
            runtime: "/usr/sbin/runc".into(),
            restrict_oom_score_adj: true,
        };
        insta::assert_snapshot!(config.render());
    }
}
