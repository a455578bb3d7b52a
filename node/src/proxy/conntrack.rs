//! Forgetting connections without an end: UDP and SCTP flows that the kernel would keep sending to a backend that is
//! gone, or to nobody, because it remembers an earlier choice.
//!
//! Speaks ctnetlink: one dump of the connection table per changed set of backends, then one deletion per stale flow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, bail};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, socket,
};

use super::rules::{Front, Target};
use crate::services::Protocol;

/// Where clients send, with the backends that they may now reach.
pub(crate) type Fronts = BTreeMap<Front, BTreeSet<Target>>;

const HEADER_BYTES: usize = 20;
const TABLE_GET: u16 = 1 << 8 | 1;
const TABLE_DELETE: u16 = 1 << 8 | 2;
const FLAG_REQUEST: u16 = 1;
const FLAG_ACK: u16 = 4;
const FLAG_DUMP: u16 = 0x300;
const MESSAGE_ERROR: u16 = 2;
const MESSAGE_DONE: u16 = 3;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;
const NESTED: u16 = 0x8000;
const NO_ENTRY: i32 = -2;
const BUFFER_BYTES: usize = 64 << 10;

/// One direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tuple {
    source: Target,
    destination: Target,
    protocol: u8,
}

/// Deletes the flows that were sent through one of `fronts` to something that is not one of its backends.
pub(crate) fn forget(fronts: &Fronts) -> anyhow::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )
    .context("netfilter netlink")?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    let send = |message: &[u8]| sendto(socket.as_raw_fd(), message, &NetlinkAddr::new(0, 0), MsgFlags::empty());
    send(&message(TABLE_GET, FLAG_REQUEST | FLAG_DUMP, &[]))?;
    let mut stale = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    'dump: loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        for (kind, body) in messages(&buffer[..length]) {
            match kind {
                MESSAGE_DONE => break 'dump,
                MESSAGE_ERROR => bail!("the connection table cannot be read: {}", error_code(body)),
                _ => stale.extend(stale_original(body, fronts)),
            }
        }
    }
    for original in stale {
        send(&message(TABLE_DELETE, FLAG_REQUEST | FLAG_ACK, &original))?;
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        for (kind, body) in messages(&buffer[..length]) {
            // One that ended by itself in between is as good.
            if kind == MESSAGE_ERROR && !matches!(error_code(body), 0 | NO_ENTRY) {
                bail!("a connection cannot be forgotten: {}", error_code(body));
            }
        }
    }
    Ok(())
}

/// The original tuple's attribute, ready to be sent back, of a flow that is stale.
fn stale_original(body: &[u8], fronts: &Fronts) -> Option<Vec<u8>> {
    // Four bytes of netfilter's own header come before the attributes.
    let body = body.get(4..)?;
    let find = |wanted| {
        attributes(body)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    };
    let value = find(TUPLE_ORIGINAL)?;
    let (original, reply) = (tuple(value)?, tuple(find(TUPLE_REPLY)?)?);
    is_stale(original, reply, fronts).then(|| {
        let mut attribute = Vec::with_capacity(4 + value.len());
        attribute.extend_from_slice(&u16::try_from(4 + value.len()).unwrap_or(u16::MAX).to_ne_bytes());
        attribute.extend_from_slice(&(TUPLE_ORIGINAL | NESTED).to_ne_bytes());
        attribute.extend_from_slice(value);
        attribute
    })
}

fn is_stale(original: Tuple, reply: Tuple, fronts: &Fronts) -> bool {
    let protocol = match original.protocol {
        17 => Protocol::Udp,
        132 => Protocol::Sctp,
        _ => return false,
    };
    let (address, port) = original.destination;
    [Some(address), None]
        .into_iter()
        .find_map(|address| {
            fronts.get(&Front {
                address,
                protocol,
                port,
            })
        })
        .is_some_and(|targets| !targets.contains(&reply.source))
}

fn tuple(value: &[u8]) -> Option<Tuple> {
    let find = |bytes, wanted| {
        attributes(bytes)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    };
    let (addresses, ports) = (find(value, 1)?, find(value, 2)?);
    let address = |kind| Some(Ipv4Addr::from(<[u8; 4]>::try_from(find(addresses, kind)?).ok()?));
    let port = |kind| Some(u16::from_be_bytes(find(ports, kind)?.try_into().ok()?));
    Some(Tuple {
        source: (address(1)?, port(2)?),
        destination: (address(2)?, port(3)?),
        protocol: *find(ports, 1)?.first()?,
    })
}

/// The length and type before a payload, which is padded to four bytes.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & ATTRIBUTE_TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The messages of one datagram: type and what follows the header.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let body = bytes.get(16..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

fn message(kind: u16, flags: u16, attributes: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + attributes.len());
    bytes.extend_from_slice(
        &u32::try_from(HEADER_BYTES + attributes.len())
            .unwrap_or_default()
            .to_ne_bytes(),
    );
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]);
    // Family IPv4, version 0, resource 0.
    bytes.extend_from_slice(&[nix::libc::AF_INET as u8, 0, 0, 0]);
    bytes.extend_from_slice(attributes);
    bytes
}

fn error_code(body: &[u8]) -> i32 {
    body.get(..4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, i32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_to_former_backends_are_stale() {
        let service = Ipv4Addr::new(10, 43, 0, 10);
        let backend = Ipv4Addr::new(10, 42, 0, 5);
        let front = |address| Front {
            address,
            protocol: Protocol::Udp,
            port: 53,
        };
        let fronts = Fronts::from([(front(Some(service)), BTreeSet::from([(backend, 1053)]))]);
        let client = (Ipv4Addr::new(10, 42, 0, 9), 40_000);
        let flow = |to, answers, protocol| {
            let original = Tuple {
                source: client,
                destination: to,
                protocol,
            };
            is_stale(
                original,
                Tuple {
                    source: answers,
                    destination: client,
                    protocol,
                },
                &fronts,
            )
        };
        assert!(!flow((service, 53), (backend, 1053), 17), "a flow to a backend stays");
        assert!(
            flow((service, 53), (Ipv4Addr::new(10, 42, 0, 6), 1053), 17),
            "one to a former backend goes"
        );
        assert!(flow((service, 53), (service, 53), 17), "one to nobody goes");
        assert!(!flow((service, 53), (service, 53), 6), "TCP ends by itself");
        assert!(!flow((service, 54), (service, 54), 17), "other ports are not touched");
    }
}
