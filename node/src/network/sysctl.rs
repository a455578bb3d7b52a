//! Kernel settings that the Pod network needs. What they were before is kept in a file, so that they can be restored.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

/// Without this, answers between two Pods of one bridge pass the address translation by.
const BRIDGE_FILTER: &str = "net/bridge/bridge-nf-call-iptables";

/// Sets what differs, and saves what was there.
pub(super) fn set(saved: &Path) -> anyhow::Result<()> {
    if !path(BRIDGE_FILTER).exists() {
        // Built into some kernels, a module in others; a failure shows below.
        let _ = Command::new("modprobe").arg("br_netfilter").status();
    }
    let mut before = String::new();
    for name in ["net/ipv4/ip_forward", BRIDGE_FILTER] {
        let value = match std::fs::read_to_string(path(name)) {
            Ok(value) => value,
            Err(error) if name == BRIDGE_FILTER => {
                tracing::warn!("{name} cannot be read, Pods of one node may not reach each other's Services: {error}");
                continue;
            }
            Err(error) => return Err(error).with_context(|| name.to_owned()),
        };
        if value.trim() != "1" {
            std::fs::write(path(name), "1").with_context(|| name.to_owned())?;
            let _ = writeln!(before, "{name}={}", value.trim());
        }
    }
    if before.is_empty() || saved.exists() {
        Ok(())
    } else {
        super::write(saved, &before)
    }
}

/// Lets answers to clients on loopback come back through `link`. It goes with the link, and needs no restoring.
pub(super) fn route_loopback(link: &str) -> anyhow::Result<()> {
    let name = format!("net/ipv4/conf/{link}/route_localnet");
    std::fs::write(path(&name), "1").context(name)
}

/// Restores what [`set`] changed.
pub(super) fn restore(saved: &Path) -> anyhow::Result<()> {
    let Ok(text) = std::fs::read_to_string(saved) else {
        return Ok(());
    };
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        if path(name).exists() {
            std::fs::write(path(name), value).with_context(|| name.to_owned())?;
        }
    }
    std::fs::remove_file(saved).with_context(|| saved.display().to_string())
}

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}
