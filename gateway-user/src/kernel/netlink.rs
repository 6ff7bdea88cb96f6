//! Reads the network interfaces of this thread's namespace over rtnetlink.
//!
//! Not from `/sys/class/net`: that shows the namespace in which sysfs was mounted, which is another one for a thread
//! or a service that entered a namespace. One dump answers every question that the attach has: index, MTU, bond,
//! VLAN, and which XDP programs are there.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// One network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mtu: u32,
    pub(crate) loopback: bool,
    /// Link kind: `vlan`, `bond`, `veth`; empty for hardware.
    pub(crate) kind: String,
    /// 802.1Q id of a VLAN interface.
    pub(crate) vlan: Option<u16>,
    /// What a stacked interface stands on; of another namespace if `parent_elsewhere`.
    pub(crate) parent: Option<u32>,
    pub(crate) parent_elsewhere: bool,
    /// The bond or bridge that it belongs to.
    pub(crate) master: Option<u32>,
    /// Ids of the XDP programs on it, native ones first.
    pub(crate) programs: Vec<u32>,
}

/// Every interface of this thread's network namespace.
///
/// # Errors
/// The kernel refused the dump.
pub(crate) fn links() -> io::Result<Vec<Link>> {
    // A dump that overlaps a change is marked as inconsistent; a few tries are enough on any host.
    for _ in 0..4 {
        if let Some(links) = dump()? {
            return Ok(links);
        }
    }
    Err(io::Error::other("the list of interfaces changed while it was read"))
}

// === the wire: linux/netlink.h, linux/rtnetlink.h, linux/if_link.h ===

const HEADER: usize = 16;
const IFINFO: usize = 16;
const DONE: u16 = 3;
const ERROR: u16 = 2;
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const FLAG_REQUEST: u16 = 1;
const FLAG_DUMP: u16 = 0x300;
const FLAG_INTERRUPTED: u16 = 0x10;
const IFNAME: u16 = 3;
const MTU: u16 = 4;
const LINK: u16 = 5;
const MASTER: u16 = 10;
const LINKINFO: u16 = 18;
const EXT_MASK: u16 = 29;
const LINK_NETNSID: u16 = 37;
const XDP: u16 = 43;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VLAN_ID: u16 = 1;
const XDP_PROG_ID: u16 = 4;
const XDP_DRV_PROG_ID: u16 = 5;
const XDP_SKB_PROG_ID: u16 = 6;
const XDP_HW_PROG_ID: u16 = 7;
/// Statistics are most of a dump and nobody here reads them.
const SKIP_STATS: u32 = 1 << 3;
const IFF_LOOPBACK: u32 = 8;

fn dump() -> io::Result<Option<Vec<Link>>> {
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    sendto(socket.as_raw_fd(), &request(), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    collect(&socket)
}

fn request() -> Vec<u8> {
    let length = HEADER + IFINFO + 8;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(&(length as u32).to_ne_bytes());
    bytes.extend_from_slice(&GET_LINK.to_ne_bytes());
    bytes.extend_from_slice(&(FLAG_REQUEST | FLAG_DUMP).to_ne_bytes());
    bytes.extend_from_slice(&1_u32.to_ne_bytes());
    bytes.extend_from_slice(&0_u32.to_ne_bytes());
    bytes.extend_from_slice(&[0; IFINFO]);
    bytes.extend_from_slice(&8_u16.to_ne_bytes());
    bytes.extend_from_slice(&EXT_MASK.to_ne_bytes());
    bytes.extend_from_slice(&SKIP_STATS.to_ne_bytes());
    bytes
}

/// Reads to the end of the dump. `None`: interrupted, ask again.
fn collect(socket: &OwnedFd) -> io::Result<Option<Vec<Link>>> {
    let mut links = Vec::new();
    let mut consistent = true;
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some((message, following)) = split(rest, u32_at(rest, 0) as usize) {
            rest = following;
            let (kind, flags) = (u16_at(message, 4), u16_at(message, 6));
            consistent &= flags & FLAG_INTERRUPTED == 0;
            match kind {
                DONE => return Ok(consistent.then_some(links)),
                ERROR => {
                    let errno = u32_at(message, HEADER).cast_signed();
                    return Err(io::Error::from_raw_os_error(-errno));
                }
                NEW_LINK => links.push(parse(message.get(HEADER..).unwrap_or_default())),
                _ => {}
            }
        }
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// One `RTM_NEWLINK` without its netlink header.
fn parse(message: &[u8]) -> Link {
    let mut link = Link {
        index: u32_at(message, 4),
        loopback: u32_at(message, 8) & IFF_LOOPBACK != 0,
        ..Link::default()
    };
    for (kind, value) in attributes(message.get(IFINFO..).unwrap_or_default()) {
        match kind {
            IFNAME => link.name = text(value),
            MTU => link.mtu = u32_at(value, 0),
            LINK => link.parent = Some(u32_at(value, 0)),
            LINK_NETNSID => link.parent_elsewhere = true,
            MASTER => link.master = Some(u32_at(value, 0)),
            LINKINFO => parse_info(&mut link, value),
            XDP => {
                for (kind, value) in attributes(value) {
                    let id = u32_at(value, 0);
                    let names_program =
                        matches!(kind, XDP_PROG_ID | XDP_DRV_PROG_ID | XDP_SKB_PROG_ID | XDP_HW_PROG_ID);
                    if names_program && id != 0 && !link.programs.contains(&id) {
                        link.programs.push(id);
                    }
                }
            }
            _ => {}
        }
    }
    link
}

fn parse_info(link: &mut Link, info: &[u8]) {
    let mut data = None;
    for (kind, value) in attributes(info) {
        match kind {
            INFO_KIND => link.kind = text(value),
            INFO_DATA => data = Some(value),
            _ => {}
        }
    }
    if link.kind == "vlan" {
        link.vlan = data
            .and_then(|data| attributes(data).find(|(kind, _)| *kind == VLAN_ID))
            .map(|(_, value)| u16_at(value, 0));
    }
}

/// Type and value of each attribute; the upper two bits of the type are flags.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (attribute, following) = split(rest, u16_at(rest, 0) as usize)?;
        rest = following;
        Some((u16_at(attribute, 2) & 0x3fff, attribute.get(4..)?))
    })
}

/// The first `length` bytes, and what follows at the next multiple of four.
fn split(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let first = bytes.get(..length).filter(|first| first.len() >= 4)?;
    Some((first, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    bytes.get(offset..).and_then(|bytes| bytes.first_chunk()).map_or(0, |chunk| u16::from_ne_bytes(*chunk))
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    bytes.get(offset..).and_then(|bytes| bytes.first_chunk()).map_or(0, |chunk| u32::from_ne_bytes(*chunk))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{links, parse};

    #[test]
    fn every_namespace_has_its_loopback() {
        let links = links().unwrap();
        let loopback = links.iter().find(|link| link.name == "lo").unwrap();
        assert!(loopback.loopback && loopback.index == 1 && loopback.mtu > 0);
        assert!(loopback.kind.is_empty() && loopback.vlan.is_none() && loopback.programs.is_empty());
    }

    #[test]
    fn cut_messages_give_what_is_there() {
        assert_eq!(parse(&[]), super::Link::default());
        assert_eq!(parse(&[0; 19]), super::Link::default());
        // An attribute that claims more than there is ends the list.
        let mut message = vec![0_u8; 16];
        message.extend_from_slice(&[200, 0, 3, 0, b'x']);
        assert_eq!(parse(&message).name, "");
    }
}
