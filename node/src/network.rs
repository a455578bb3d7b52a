//! The Pod network of this node: a bridge, its addresses and routes, kernel settings and the CNI configuration.
//!
//! Entry points: [`PodNetwork`], which follows the Node objects: its own says which addresses this node's Pods have, the
//! others are the peers of the overlay ([`overlay`], pure; [`overlay::kernel`] carries it out); [`setup`], which may run
//! again at any time, and [`remove`], which undoes all of it exactly. Pods join through
//! the standard CNI plugins `bridge` and `host-local`; the bridge is made here first, with a fixed hardware address (a
//! bridge otherwise takes that of its lowest port, and Pods lose their gateway for a moment whenever that changes).
//! The range of Services is routed to the bridge, so that the node reaches them without a default route. Masquerade
//! and everything else in nftables is [`crate::proxy`]'s.

mod link;
mod overlay;
mod pod_network;
mod sysctl;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ipnet::Ipv4Net;
use serde_json::{Value, json};

pub use pod_network::PodNetwork;

use crate::names::Names;

/// How this node's part of the cluster network looks.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This node's name.
    pub node_name: String,
    /// Mizzen's data directory; address leases live under `agent/`.
    pub data_dir: PathBuf,
    /// Where the CNI configuration is written.
    pub cni_conf_dir: PathBuf,
    /// The bridge that Pods are attached to.
    pub bridge: String,
    /// The device that carries packets to the Pods of other nodes; it exists while there are any.
    pub overlay: String,
    /// The address that other nodes reach this node at; without one there is no overlay.
    pub node_ip: Option<Ipv4Addr>,
    /// The nftables table.
    pub table: String,
    /// Addresses of this node's Pods; the first is the bridge's.
    pub pod_cidr: Ipv4Net,
    /// Addresses of all Pods.
    pub cluster_cidr: Ipv4Net,
    /// Addresses of Services.
    pub service_cidr: Ipv4Net,
    /// The address that cluster DNS answers on, here on the node; `None` when a Service of the cluster does.
    pub dns_ip: Option<Ipv4Addr>,
    /// The largest packet of a Pod; the kernel's default when `None`.
    pub mtu: Option<u32>,
}

impl Settings {
    /// The usual network of the node called `node_name`.
    pub fn new(node_name: &str, data_dir: &Path) -> Self {
        let names = Names::of(data_dir);
        Self {
            node_name: node_name.to_owned(),
            data_dir: data_dir.to_owned(),
            cni_conf_dir: data_dir.join("agent/etc/cni/net.d"),
            bridge: names.bridge,
            overlay: names.overlay,
            node_ip: None,
            table: names.table,
            pod_cidr: Ipv4Net::new_assert([10, 42, 0, 0].into(), 24),
            cluster_cidr: Ipv4Net::new_assert([10, 42, 0, 0].into(), 16),
            service_cidr: Ipv4Net::new_assert([10, 43, 0, 0].into(), 16),
            dns_ip: Some([10, 43, 0, 10].into()),
            mtu: None,
        }
    }

    /// The bridge's address: the first of the Pods' range.
    pub fn gateway(&self) -> Ipv4Addr {
        gateway(self.pod_cidr)
    }

    fn conflist(&self) -> PathBuf {
        self.cni_conf_dir.join("10-mizzen.conflist")
    }

    fn saved_sysctls(&self) -> PathBuf {
        self.data_dir.join("agent/etc/sysctl.saved")
    }
}

/// What a node itself is called in its Pods' range.
fn gateway(pod_cidr: Ipv4Net) -> Ipv4Addr {
    pod_cidr.hosts().next().unwrap_or(pod_cidr.addr())
}

/// Brings the node's network into its state.
pub async fn setup(settings: &Settings) -> anyhow::Result<()> {
    link::setup(settings)
        .await
        .with_context(|| format!("bridge {}", settings.bridge))?;
    sysctl::set(&settings.saved_sysctls()).context("kernel settings")?;
    sysctl::route_loopback(&settings.bridge)?;
    write(&settings.conflist(), &format!("{:#}\n", conflist(settings)))
}

/// Removes the links with their routes, the nftables table and the CNI configuration, and restores the kernel's settings.
pub async fn remove(settings: &Settings) -> anyhow::Result<()> {
    crate::proxy::remove(&settings.table).await?;
    for link in [&settings.overlay, &settings.bridge] {
        link::remove(link).await.with_context(|| format!("link {link}"))?;
    }
    sysctl::restore(&settings.saved_sysctls())?;
    match std::fs::remove_file(settings.conflist()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The address that this host uses towards others; without a default route, any that is not loopback.
pub fn host_address() -> Option<IpAddr> {
    // Connecting a datagram socket sends nothing: it only asks the kernel for a route.
    let routed = || {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.connect("192.0.2.1:9").ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let any = || {
        let all = nix::ifaddrs::getifaddrs()
            .ok()?
            .filter_map(|i| Some(i.address?.as_sockaddr_in()?.ip()));
        all.into_iter().find(|ip| !ip.is_loopback()).map(IpAddr::V4)
    };
    routed().or_else(any)
}

fn conflist(settings: &Settings) -> Value {
    let mut bridge = json!({
        "type": "bridge",
        "bridge": settings.bridge,
        "isGateway": true,
        "hairpinMode": true,
        "ipam": {
            "type": "host-local",
            "dataDir": settings.data_dir.join("agent/cni/networks"),
            "ranges": [[{ "subnet": settings.pod_cidr.to_string() }]],
            "routes": [{ "dst": "0.0.0.0/0" }],
        },
    });
    if let Some(mtu) = settings.mtu {
        bridge["mtu"] = mtu.into();
    }
    json!({ "cniVersion": "1.0.0", "name": settings.bridge, "plugins": [bridge] })
}

/// Writes a file that readers never see half of.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let temporary = path.with_extension("tmp");
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&temporary, text))
        .and_then(|()| std::fs::rename(&temporary, path));
    written.with_context(|| path.display().to_string())
}
