//! rtnetlink, as far as the filter and the addresses need it: dumps and single requests in this thread's namespace.
//!
//! A crate for it would bring an asynchronous runtime's worth of code for three dumps and four requests.

mod address;
mod link;
mod rule;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

pub(crate) use address::{Held, TAG, add, addresses, remove};
pub(crate) use link::{Link, links};
pub(crate) use rule::{Silence, silence, silences, unsilence};

/// Type and body of each message of an answer.
type Messages = Vec<(u16, Vec<u8>)>;

// === the wire: linux/netlink.h ===

const HEADER: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const FLAG_REQUEST: u16 = 1;
const FLAG_ACK: u16 = 4;
const FLAG_DUMP: u16 = 0x300;
const FLAG_INTERRUPTED: u16 = 0x10;
const CREATE: u16 = 0x400;
const EXCLUSIVE: u16 = 0x200;

/// The dump of `kind`, as it was at one moment.
///
/// # Errors
/// The kernel refused it.
fn consistent(kind: u16, body: &[u8]) -> io::Result<Messages> {
    // A dump that overlaps a change is marked as inconsistent; a few tries are enough on any host.
    for _ in 0..4 {
        let socket = send(kind, FLAG_DUMP, body)?;
        if let Some(messages) = collect(&socket)? {
            return Ok(messages);
        }
    }
    Err(io::Error::other("the list changed while it was read"))
}

/// Makes one request and waits for the kernel's answer.
///
/// # Errors
/// The kernel refused it.
fn request(kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let socket = send(kind, FLAG_ACK | flags, body)?;
    collect(&socket).map(drop)
}

fn send(kind: u16, flags: u16, body: &[u8]) -> io::Result<OwnedFd> {
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    let length = HEADER + body.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(&(length as u32).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&(FLAG_REQUEST | flags).to_ne_bytes());
    bytes.extend_from_slice(&1_u32.to_ne_bytes());
    bytes.extend_from_slice(&0_u32.to_ne_bytes());
    bytes.extend_from_slice(body);
    sendto(socket.as_raw_fd(), &bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    Ok(socket)
}

/// Reads to the end of a dump, or to the acknowledgement of a request. `None`: interrupted, ask again.
fn collect(socket: &OwnedFd) -> io::Result<Option<Messages>> {
    let mut messages = Vec::new();
    let mut consistent = true;
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some((message, following)) = split(rest, u32_at(rest, 0) as usize) {
            rest = following;
            consistent &= u16_at(message, 6) & FLAG_INTERRUPTED == 0;
            match u16_at(message, 4) {
                DONE => return Ok(consistent.then_some(messages)),
                ERROR => {
                    // 0 is an acknowledgement.
                    let errno = u32_at(message, HEADER).cast_signed();
                    return if errno == 0 {
                        Ok(Some(messages))
                    } else {
                        Err(io::Error::from_raw_os_error(-errno))
                    };
                }
                kind => messages.push((kind, message.get(HEADER..).unwrap_or_default().to_vec())),
            }
        }
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Appends an attribute.
fn put(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
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

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk().map(|octets: &[u8; 4]| Ipv4Addr::from(*octets).into()),
        16 => bytes.first_chunk().map(|octets: &[u8; 16]| Ipv6Addr::from(*octets).into()),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}
