//! The bridge, and what all links need, through netlink.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Context as _;
use futures::TryStreamExt as _;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkBridge, LinkUnspec, RouteMessageBuilder};

use super::Settings;

/// The first two bytes of a hardware address that is made from an IPv4 address, as the CNI plugins do.
const HARDWARE_PREFIX: [u8; 2] = [0x0a, 0x58];
const EXISTS: i32 = -nix::libc::EEXIST;

pub(super) async fn setup(settings: &Settings) -> anyhow::Result<()> {
    let handle = connect()?;
    let gateway = settings.gateway();
    let index = match index(&handle, &settings.bridge).await? {
        Some(index) => index,
        None => {
            let address = [&HARDWARE_PREFIX[..], &gateway.octets()].concat();
            let mut bridge = LinkBridge::new(&settings.bridge).address(address);
            if let Some(mtu) = settings.mtu {
                bridge = bridge.mtu(mtu);
            }
            handle.link().add(bridge.build()).execute().await?;
            index(&handle, &settings.bridge).await?.context("it is gone again")?
        }
    };
    let mut bridge = LinkUnspec::new_with_index(index).up();
    if let Some(mtu) = settings.mtu {
        bridge = bridge.mtu(mtu);
    }
    handle.link().set(bridge.build()).execute().await?;
    add_address(&handle, index, gateway, settings.pod_cidr.prefix_len()).await?;
    if let Some(dns) = settings.dns_ip {
        add_address(&handle, index, dns, 32).await?;
    }
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(settings.service_cidr.network(), settings.service_cidr.prefix_len())
        .output_interface(index)
        .pref_source(gateway)
        .scope(RouteScope::Link)
        .build();
    unless_exists(handle.route().add(route).execute().await).context("route to Services")
}

pub(super) async fn remove(name: &str) -> anyhow::Result<()> {
    let handle = connect()?;
    match index(&handle, name).await? {
        Some(index) => Ok(handle.link().del(index).execute().await?),
        None => Ok(()),
    }
}

pub(super) fn connect() -> anyhow::Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    // It ends when the handle is dropped.
    tokio::spawn(connection);
    Ok(handle)
}

pub(super) async fn index(handle: &Handle, name: &str) -> anyhow::Result<Option<u32>> {
    match handle
        .link()
        .get()
        .match_name(name.to_owned())
        .execute()
        .try_next()
        .await
    {
        Ok(link) => Ok(link.map(|link| link.header.index)),
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -nix::libc::ENODEV => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn add_address(handle: &Handle, index: u32, address: Ipv4Addr, prefix: u8) -> anyhow::Result<()> {
    let added = handle.address().add(index, IpAddr::V4(address), prefix).execute().await;
    unless_exists(added).with_context(|| format!("address {address}/{prefix}"))
}

pub(super) fn unless_exists(result: Result<(), rtnetlink::Error>) -> anyhow::Result<()> {
    match result {
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == EXISTS => Ok(()),
        other => Ok(other?),
    }
}

/// The largest packet of the link that has `address`, unless that is loopback.
pub(super) async fn underlay_mtu(address: Ipv4Addr) -> anyhow::Result<Option<u32>> {
    let handle = connect()?;
    let wanted = AddressAttribute::Local(IpAddr::V4(address));
    let mut addresses = handle.address().get().execute();
    let mut index = None;
    while let Some(message) = addresses.try_next().await? {
        if message.attributes.contains(&wanted) {
            index = Some(message.header.index);
        }
    }
    let Some(index) = index.filter(|_| !address.is_loopback()) else {
        return Ok(None);
    };
    let link = handle.link().get().match_index(index).execute().try_next().await?;
    Ok(link.and_then(|link| {
        link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        })
    }))
}
