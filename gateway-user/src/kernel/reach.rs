//! Whether attached networks can be reached: the interface is up, and the probe of a network that has one answers echo.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd as _,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    net::if_::InterfaceFlags,
    sys::socket::{SockaddrStorage, recvfrom},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    base::Name,
    observe::reach::Reachability,
    snapshot::{Snapshot, Vpc},
};

/// How often a probe is asked.
const INTERVAL: Duration = Duration::from_secs(2);
/// A network whose probe has not answered for this long cannot be reached.
const SILENCE: Duration = Duration::from_secs(6);

/// Watches the networks of the snapshot in force.
#[derive(Default)]
pub struct Reach {
    watched: BTreeMap<Name, Watched>,
}

struct Watched {
    vpc: Arc<Vpc>,
    /// Why the interface does not carry anything.
    down: Option<&'static str>,
    socket: Option<Echo>,
    sequence: u16,
    asked: Option<Instant>,
    answered: Option<Instant>,
    /// Why the probe could not be asked.
    error: Option<String>,
    detail: Option<String>,
}

/// An ICMP socket that is bound to the network's interface.
struct Echo {
    socket: Socket,
    /// Without the kernel's help: it gets every message and tells its own by their identifier.
    raw: bool,
}

// === impl Reach ===

impl Reach {
    /// Looks at interfaces, takes in what has been answered and asks again. Never blocks; call it every second.
    pub fn tick(&mut self, snapshot: &Snapshot, now: Instant) {
        self.watched.retain(|name, held| {
            snapshot
                .vpcs
                .iter()
                .any(|vpc| vpc.name == *name && (Arc::ptr_eq(vpc, &held.vpc) || **vpc == *held.vpc))
        });
        if snapshot.vpcs.is_empty() {
            return;
        }
        let up = interfaces();
        for vpc in &snapshot.vpcs {
            let watched = self.watched.entry(vpc.name.clone()).or_insert_with(|| Watched::new(vpc));
            watched.down = match up.get(&vpc.interface) {
                None => Some("there is no such interface now"),
                Some(false) => Some("the interface is down"),
                Some(true) => None,
            };
            watched.tick(now);
        }
    }

    /// What became of each network.
    #[must_use]
    pub fn status(&self) -> Vec<Reachability> {
        let told = |(name, watched): (&Name, &Watched)| Reachability {
            vpc: name.clone(),
            reachable: watched.detail.is_none(),
            detail: watched.detail.clone(),
        };
        self.watched.iter().map(told).collect()
    }
}

/// Which interfaces carry packets; one that is not there has no row.
fn interfaces() -> BTreeMap<String, bool> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return BTreeMap::new() };
    let both = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    all.map(|one| (one.interface_name, one.flags.contains(both))).collect()
}

// === impl Watched ===

impl Watched {
    fn new(vpc: &Arc<Vpc>) -> Self {
        Self {
            vpc: Arc::clone(vpc),
            down: None,
            socket: None,
            sequence: 0,
            asked: None,
            answered: None,
            error: None,
            detail: None,
        }
    }

    fn tick(&mut self, now: Instant) {
        let before = self.detail.take();
        self.detail = match (self.down, self.vpc.probe) {
            (Some(down), _) => {
                (self.socket, self.answered) = (None, None);
                Some(down.to_owned())
            }
            (None, None) => None,
            (None, Some(probe)) => self.probe(probe, now),
        };
        match (&before, &self.detail) {
            (None, Some(why)) => {
                tracing::warn!(vpc = &*self.vpc.name, "the network cannot be reached: {why}")
            }
            (Some(_), None) => tracing::info!(vpc = &*self.vpc.name, "the network can be reached"),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// Asks the probe; returns why the network counts as unreachable.
    fn probe(&mut self, probe: IpAddr, now: Instant) -> Option<String> {
        if self.socket.as_ref().is_some_and(|echo| echo.answered(probe)) {
            self.answered = Some(now);
        }
        if self.asked.is_none_or(|asked| now.duration_since(asked) >= INTERVAL) {
            self.asked = Some(now);
            self.sequence = self.sequence.wrapping_add(1);
            self.error =
                self.ask(probe).err().map(|error| format!("the probe {probe} cannot be asked: {error}"));
            if self.error.is_some() {
                // The interface may have been made anew; then the socket is bound to nothing.
                self.socket = None;
            }
        }
        if self.answered.is_some_and(|answered| now.duration_since(answered) < SILENCE) {
            return None;
        }
        Some(self.error.clone().unwrap_or_else(|| format!("the probe {probe} does not answer echo")))
    }

    fn ask(&mut self, probe: IpAddr) -> io::Result<()> {
        let echo = match &mut self.socket {
            Some(echo) => echo,
            none => none.insert(Echo::open(&self.vpc.interface, probe)?),
        };
        let request = request(probe, self.sequence);
        echo.socket.send_to(&request, &SocketAddr::new(probe, 0).into()).map(drop)
    }
}

// === impl Echo ===

impl Echo {
    fn open(interface: &str, probe: IpAddr) -> io::Result<Self> {
        let (domain, protocol) = match probe {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        // Most hosts let nobody use the first kind (net.ipv4.ping_group_range); the second needs CAP_NET_RAW, which the
        // daemon has for the sockets that it binds to interfaces.
        let (socket, raw) = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
            Ok(socket) => (socket, false),
            Err(_) => (Socket::new(domain, Type::RAW, Some(protocol))?, true),
        };
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, raw })
    }

    /// Reads all that has come; whether an answer of the probe is among it.
    fn answered(&self, probe: IpAddr) -> bool {
        let mut answered = false;
        let mut buffer = [0; 256];
        // Bounded: whoever floods the interface with echo replies does not hold up the daemon.
        for _ in 0..1024 {
            let Ok((length, from)) = recvfrom::<SockaddrStorage>(self.socket.as_raw_fd(), &mut buffer) else {
                break;
            };
            let source = from.and_then(|from| {
                let v4 = from.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
                v4.or_else(|| from.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
            });
            let message = buffer.get(..length).unwrap_or_default();
            answered |= source == Some(probe) && is_reply(message, probe, self.raw.then(identifier));
        }
        answered
    }
}

// === the wire: RFC 792, RFC 4443 §4 ===

const HEADER: usize = 8;
const IPV4_HEADER: usize = 20;

/// Tells this daemon's messages from others' on the host.
fn identifier() -> u16 {
    (std::process::id() & 0xffff) as u16
}

fn request(probe: IpAddr, sequence: u16) -> [u8; HEADER] {
    let ([i, d], [s, e]) = (identifier().to_be_bytes(), sequence.to_be_bytes());
    match probe {
        IpAddr::V4(_) => {
            let [c, k] = checksum(&[8, 0, 0, 0, i, d, s, e]).to_be_bytes();
            [8, 0, c, k, i, d, s, e]
        }
        // The kernel fills in the checksum, which covers the addresses.
        IpAddr::V6(_) => [128, 0, 0, 0, i, d, s, e],
    }
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Whether this is an echo reply; of raw sockets, one to `identifier`, behind an IPv4 header.
fn is_reply(message: &[u8], probe: IpAddr, identifier: Option<u16>) -> bool {
    let (kind, message) = match probe {
        IpAddr::V4(_) if identifier.is_some() => {
            let length = message.first().map_or(IPV4_HEADER, |byte| usize::from(byte & 0x0f) * 4);
            (0, message.get(length..).unwrap_or_default())
        }
        IpAddr::V4(_) => (0, message),
        IpAddr::V6(_) => (129, message),
    };
    match message {
        [held, 0, _, _, i, d, ..] => {
            *held == kind && identifier.is_none_or(|own| own == u16::from_be_bytes([*i, *d]))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{checksum, identifier, is_reply, request};

    #[test]
    fn a_request_has_a_right_checksum_and_only_its_answer_is_taken() {
        let (v4, v6) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let asked = request(v4, 7);
        assert_eq!(checksum(&asked), 0);
        assert!(!is_reply(&asked, v4, None));
        let [_, rest @ ..] = asked;
        let reply = [&[0][..], &rest].concat();
        assert!(is_reply(&reply, v4, None));
        let raw = [&[0x46][..], &[0; 23], &reply].concat();
        assert!(is_reply(&raw, v4, Some(identifier())));
        assert!(!is_reply(&raw, v4, Some(identifier().wrapping_add(1))));
        let [_, rest @ ..] = request(v6, 7);
        assert!(is_reply(&[&[129][..], &rest].concat(), v6, Some(identifier())));
        assert!(!is_reply(&[129], v6, None) && !is_reply(&[], v4, Some(1)));
    }
}
