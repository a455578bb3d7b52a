//! The overlay's device and its entries, through netlink.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::Context as _;
use futures::TryStreamExt as _;
use ipnet::Ipv4Net;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope};
use rtnetlink::{Handle, LinkUnspec, LinkVxlan, RouteMessageBuilder};

use super::{Entry, Operation, hardware, plan};
use crate::network::{Settings, link, sysctl};

/// The network number of VXLAN.
const NETWORK: u32 = 1;
/// The port that Linux has used since before there was an official one, and that others who do this use too.
const PORT: u16 = 8472;
/// What the kernel says of an entry that is not there (any more).
const GONE: [i32; 2] = [-nix::libc::ENOENT, -nix::libc::ESRCH];

/// Brings the device and its entries into the desired state; without entries there is no device.
pub(in crate::network) async fn apply(settings: &Settings, desired: &BTreeSet<Entry>) -> anyhow::Result<usize> {
    let Some(local) = settings.node_ip.filter(|_| !desired.is_empty()) else {
        link::remove(&settings.overlay).await?;
        return Ok(0);
    };
    let handle = link::connect()?;
    let index = device(&handle, settings, local).await.context("device")?;
    let present = present(&handle, index).await.context("what is there")?;
    let operations = plan(&present, desired);
    for operation in &operations {
        execute(&handle, settings, index, *operation)
            .await
            .with_context(|| format!("{operation:?}"))?;
    }
    Ok(operations.len())
}

/// The index of our device, which is made when it is missing, and anew when it is not as it should be.
async fn device(handle: &Handle, settings: &Settings, local: Ipv4Addr) -> anyhow::Result<u32> {
    let name = &settings.overlay;
    let hardware = hardware(settings.pod_cidr);
    let existing = match link::index(handle, name).await? {
        Some(index) => handle.link().get().match_index(index).execute().try_next().await?,
        None => None,
    };
    let index = match existing {
        Some(found) if is_ours(&found, local, hardware) => found.header.index,
        other => {
            if let Some(wrong) = other {
                handle.link().del(wrong.header.index).execute().await?;
            }
            let new = LinkVxlan::new(name, NETWORK)
                .local(local)
                .port(PORT)
                .learning(false)
                .address(hardware.to_vec());
            handle.link().add(new.build()).execute().await?;
            link::index(handle, name).await?.context("it is gone again")?
        }
    };
    let mut up = LinkUnspec::new_with_index(index).up();
    if let Some(mtu) = settings.mtu {
        up = up.mtu(mtu);
    }
    handle.link().set(up.build()).execute().await?;
    // What leaves through it in this node's name has the same address as what goes to Pods of its own.
    link::add_address(handle, index, settings.gateway(), 32).await?;
    sysctl::route_loopback(name)?;
    Ok(index)
}

fn is_ours(link: &LinkMessage, local: Ipv4Addr, hardware: [u8; 6]) -> bool {
    let infos = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().find_map(|info| match info {
            LinkInfo::Data(InfoData::Vxlan(infos)) => Some(infos),
            _ => None,
        }),
        _ => None,
    });
    let address = LinkAttribute::Address(hardware.to_vec());
    link.attributes.contains(&address)
        && infos.is_some_and(|infos| {
            let has = |info| infos.contains(&info);
            has(InfoVxlan::Id(NETWORK)) && has(InfoVxlan::Local(local)) && has(InfoVxlan::Port(PORT))
        })
}

/// Our entries, as the kernel has them.
async fn present(handle: &Handle, index: u32) -> anyhow::Result<BTreeSet<Entry>> {
    let mut entries = BTreeSet::new();
    for family in [AddressFamily::Bridge, AddressFamily::Inet] {
        let mut messages = handle.neighbours().get().set_address_family(family).execute();
        while let Some(message) = messages.try_next().await? {
            if message.header.ifindex == index {
                entries.extend(neighbour(&message));
            }
        }
    }
    let query = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let mut messages = handle.route().get(query).execute();
    while let Some(message) = messages.try_next().await? {
        if message.attributes.contains(&RouteAttribute::Oif(index)) {
            entries.extend(route(&message));
        }
    }
    Ok(entries)
}

fn neighbour(message: &NeighbourMessage) -> Option<Entry> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(*ip),
        // What a bridge forwards to may be of any family, so the library leaves it alone.
        NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
            Some(<[u8; 4]>::try_from(bytes.as_slice()).ok()?.into())
        }
        _ => None,
    })?;
    let hardware = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => <[u8; 6]>::try_from(bytes.as_slice()).ok(),
        _ => None,
    })?;
    match message.header.family {
        AddressFamily::Bridge => Some(Entry::Forward(hardware, address)),
        // Others come and go by themselves.
        _ => (message.header.state == NeighbourState::Permanent).then_some(Entry::Neighbour(address, hardware)),
    }
}

fn route(message: &RouteMessage) -> Option<Entry> {
    let find = |wanted: fn(&RouteAttribute) -> Option<Ipv4Addr>| message.attributes.iter().find_map(wanted);
    let destination = find(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(ip)) => Some(*ip),
        _ => None,
    })?;
    let gateway = find(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(ip)) => Some(*ip),
        _ => None,
    })?;
    let network = Ipv4Net::new(destination, message.header.destination_prefix_length).ok()?;
    Some(Entry::Route(network, gateway))
}

async fn execute(handle: &Handle, settings: &Settings, index: u32, operation: Operation) -> anyhow::Result<()> {
    let neighbours = handle.neighbours();
    match operation {
        Operation::Add(Entry::Forward(hardware, to)) => {
            let entry = neighbours.add_bridge(index, &hardware).destination(IpAddr::V4(to));
            let entry = entry.flags(NeighbourFlags::Own).state(NeighbourState::Permanent);
            Ok(entry.replace().execute().await?)
        }
        Operation::Add(Entry::Neighbour(ip, hardware)) => {
            let entry = neighbours.add(index, IpAddr::V4(ip)).link_layer_address(&hardware);
            Ok(entry.replace().execute().await?)
        }
        Operation::Add(Entry::Route(network, gateway)) => {
            let route = to_peer(settings, index, network, gateway);
            Ok(handle.route().add(route).replace().execute().await?)
        }
        Operation::Remove(Entry::Forward(hardware, to)) => {
            let mut entry = neighbours.add_bridge(index, &hardware).destination(IpAddr::V4(to));
            entry = entry.flags(NeighbourFlags::Own);
            unless_gone(neighbours.del(entry.message_mut().clone()).execute().await)
        }
        Operation::Remove(Entry::Neighbour(ip, _)) => {
            let mut entry = neighbours.add(index, IpAddr::V4(ip));
            unless_gone(neighbours.del(entry.message_mut().clone()).execute().await)
        }
        Operation::Remove(Entry::Route(network, gateway)) => {
            // Whoever made it, and however: what matters is where it leads.
            let route = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(network.network(), network.prefix_len())
                .output_interface(index)
                .gateway(gateway)
                .protocol(RouteProtocol::Unspec)
                .scope(RouteScope::NoWhere)
                .onlink();
            unless_gone(handle.route().del(route.build()).execute().await)
        }
    }
}

fn to_peer(settings: &Settings, index: u32, network: Ipv4Net, gateway: Ipv4Addr) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(network.network(), network.prefix_len())
        .output_interface(index)
        .gateway(gateway)
        .pref_source(settings.gateway())
        // No address of ours is in the gateway's network: the neighbour is told instead of asked for.
        .onlink()
        .build()
}

fn unless_gone(result: Result<(), rtnetlink::Error>) -> anyhow::Result<()> {
    match result {
        Err(rtnetlink::Error::NetlinkError(error)) if GONE.contains(&error.raw_code()) => Ok(()),
        other => Ok(other?),
    }
}
