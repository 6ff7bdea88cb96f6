//! Frames in and out of an interface as they are on the wire: the attacker's hand and the witness's eye.
//!
//! A packet socket sees a received frame after native XDP and before everything else of the host, like `tcpdump`, but
//! it is open when `open` returns and hands over each frame at once.
#![expect(unsafe_code, reason = "packet sockets are not in the safe wrappers that we use")]

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket},
};

use crate::netns::NetNs;

/// A packet socket on one interface.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    index: i32,
}

/// A frame that the socket saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// From the destination MAC on; a VLAN tag that the kernel took out is missing.
    pub bytes: Vec<u8>,
    /// Sent by this host, not received.
    pub outgoing: bool,
}

// === impl Seen ===

impl Seen {
    /// Whether the frame carries `address` (4 or 16 bytes) as IP source or destination; tags in the frame are skipped.
    fn address_at(&self, v4: usize, v6: usize, address: &[u8]) -> bool {
        let mut at = 12;
        loop {
            match self.bytes.get(at..at + 2) {
                Some([0x81, 0x00] | [0x88, 0xa8]) => at += 4,
                Some([0x08, 0x00]) if address.len() == 4 => {
                    return self.bytes.get(at + 2 + v4..at + 6 + v4) == Some(address);
                }
                Some([0x86, 0xdd]) if address.len() == 16 => {
                    return self.bytes.get(at + 2 + v6..at + 18 + v6) == Some(address);
                }
                _ => return false,
            }
        }
    }

    /// The source MAC is `mac`.
    #[must_use]
    pub fn is_from_mac(&self, mac: &[u8; 6]) -> bool {
        self.bytes.get(6..12) == Some(mac)
    }

    #[must_use]
    pub fn is_from(&self, address: std::net::IpAddr) -> bool {
        self.address_at(12, 8, &octets(address))
    }

    #[must_use]
    pub fn is_to(&self, address: std::net::IpAddr) -> bool {
        self.address_at(16, 24, &octets(address))
    }

    /// An untagged TCP segment with SYN and ACK.
    #[must_use]
    pub fn is_syn_ack(&self) -> bool {
        self.tcp_flags().is_some_and(|flags| flags & 0x12 == 0x12)
    }

    /// The flags of an untagged TCP segment without IPv6 extension headers.
    #[must_use]
    pub fn tcp_flags(&self) -> Option<u8> {
        let at = match self.bytes.get(12..14)? {
            [0x08, 0x00] if *self.bytes.get(23)? == 6 => 14 + usize::from(self.bytes.get(14)? & 15) * 4,
            [0x86, 0xdd] if *self.bytes.get(20)? == 6 => 54,
            _ => return None,
        };
        self.bytes.get(at + 13).copied()
    }
}

fn octets(address: std::net::IpAddr) -> Vec<u8> {
    match address {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    }
}

// === impl Wire ===

impl Wire {
    /// Opens `interface` of `namespace`; every later frame will be seen.
    #[must_use]
    #[track_caller]
    pub fn open(namespace: &NetNs, interface: &str) -> Self {
        namespace.within(|| {
            let socket = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
                SockProtocol::EthAll,
            )
            .expect("packet socket");
            let index = nix::net::if_::if_nametoindex(interface)
                .unwrap_or_else(|error| panic!("interface {interface}: {error}"));
            let index = i32::try_from(index).expect("an interface index fits");
            let wire = Self { socket, index };
            wire.bind();
            wire
        })
    }

    fn bind(&self) {
        let address = self.link();
        // SAFETY: `address` is a whole sockaddr_ll that lives through the call, and the length is its size.
        let result = unsafe {
            libc::bind(
                self.socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        assert_eq!(result, 0, "bind a packet socket: {}", io::Error::last_os_error());
        let bytes: libc::c_int = 8 << 20;
        // SAFETY: the value is a c_int that lives through the call, and the length is its size.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVBUFFORCE,
                (&raw const bytes).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        assert_eq!(result, 0, "receive buffer: {}", io::Error::last_os_error());
        // What arrived between socket() and bind() came from any interface.
        while self.take().is_some() {}
    }

    fn link(&self) -> libc::sockaddr_ll {
        libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
            sll_ifindex: self.index,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        }
    }

    /// Sends one frame as it is.
    ///
    /// # Errors
    /// The queue is full; everything else panics.
    pub fn try_send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the pointer and length are those of `frame`.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENOBUFS | libc::EAGAIN) => Err(error),
            _ => panic!("send a frame: {error}"),
        }
    }

    /// Sends one frame; waits for room in the queue.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        crate::wait::until("room in the send queue", || self.try_send(frame).ok());
    }

    /// The next frame that is already here.
    #[must_use]
    pub fn take(&self) -> Option<Seen> {
        let mut bytes = vec![0_u8; 65_536];
        let mut from = self.link();
        let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the buffer, its length, the address and its length are valid for the call.
        let read = unsafe {
            libc::recvfrom(
                self.socket.as_raw_fd(),
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                0,
                (&raw mut from).cast(),
                &raw mut length,
            )
        };
        bytes.truncate(usize::try_from(read).ok()?);
        Some(Seen { bytes, outgoing: from.sll_pkttype == libc::PACKET_OUTGOING })
    }

    /// Every frame that is here now.
    #[must_use]
    pub fn drain(&self) -> Vec<Seen> {
        std::iter::from_fn(|| self.take()).collect()
    }

    /// Waits for a frame that `wanted` accepts.
    #[must_use]
    pub fn wait_for(&self, limit: Duration, wanted: impl Fn(&Seen) -> bool) -> Option<Seen> {
        let deadline = Instant::now() + limit;
        loop {
            while let Some(seen) = self.take() {
                if wanted(&seen) {
                    return Some(seen);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let mut set = [PollFd::new(std::os::fd::AsFd::as_fd(&self.socket), PollFlags::POLLIN)];
            let left = u16::try_from(left.as_millis().max(1)).unwrap_or(u16::MAX);
            let _ = poll(&mut set, PollTimeout::from(left));
        }
    }
}
