//! Binds the sockets of a view: a UDP and a TCP socket for one address. Nothing is answered or accepted yet.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
};

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::base::Refusal;

/// The port of DNS.
pub(super) const PORT: u16 = 53;
/// Connections that wait in the kernel.
const BACKLOG: i32 = 128;
/// Queries that wait in the kernel, in bytes: a burst of a few thousand.
const BUFFER: usize = 1 << 20;

/// Where a pair of sockets stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// `None`: every interface, for askers outside the private networks.
    pub(super) interface: Option<String>,
    pub(super) address: SocketAddr,
}

/// A bound pair.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) udp: std::net::UdpSocket,
    pub(super) tcp: std::net::TcpListener,
}

/// Why a bind failed.
#[derive(Debug)]
pub(super) struct BindError {
    step: &'static str,
    error: io::Error,
}

/// The number of the interface of this name; 0 when there is none.
pub(super) fn device(interface: Option<&str>) -> u32 {
    interface.and_then(|name| nix::net::if_::if_nametoindex(name).ok()).unwrap_or_default()
}

/// Binds both sockets of `key`.
pub(super) fn bind(key: &Key) -> Result<Pair, BindError> {
    let udp = socket(key, Type::DGRAM)?;
    // What the kernel allows at most is enough too.
    let _ = udp.set_recv_buffer_size(BUFFER);
    let tcp = socket(key, Type::STREAM)?;
    Ok(Pair { udp: udp.into(), tcp: tcp.into() })
}

/// Starts to take connections.
pub(super) fn listen(pair: &Pair) -> io::Result<()> {
    socket2::SockRef::from(&pair.tcp).listen(BACKLOG)
}

fn socket(key: &Key, kind: Type) -> Result<Socket, BindError> {
    let at = |step| move |error| BindError { step, error };
    let protocol = if kind == Type::DGRAM { Protocol::UDP } else { Protocol::TCP };
    let socket = Socket::new(Domain::for_address(key.address), kind, Some(protocol)).map_err(at("socket"))?;
    socket.set_nonblocking(true).map_err(at("nonblocking"))?;
    if kind == Type::STREAM {
        // Connections in TIME_WAIT must not keep the port. For UDP the option would let two programs share it.
        socket.set_reuse_address(true).map_err(at("reuseaddr"))?;
        socket.set_tcp_nodelay(true).map_err(at("nodelay"))?;
    }
    match key.address.ip() {
        // The gateway's own addresses come onto their interface at the commit, after this.
        IpAddr::V4(_) => socket.set_freebind_v4(true).map_err(at("freebind"))?,
        IpAddr::V6(_) => {
            socket.set_only_v6(true).map_err(at("v6only"))?;
            socket.set_freebind_v6(true).map_err(at("freebind"))?;
        }
    }
    if let Some(interface) = &key.interface {
        // Which private network asks is told by the interface, so a socket that hears others is none.
        socket.bind_device(Some(interface.as_bytes())).map_err(at("bind to device"))?;
    }
    socket.bind(&key.address.into()).map_err(at("bind"))?;
    Ok(socket)
}

// === impl Key ===

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.address)?;
        if let Some(interface) = &self.interface {
            write!(formatter, " on {interface}")?;
        }
        Ok(())
    }
}

// === impl BindError ===

impl BindError {
    /// The refusal that names view, address and cure.
    #[expect(clippy::wildcard_enum_match_arm, reason = "errno has a hundred values")]
    pub(super) fn refusal(&self, view: &str, key: &Key) -> Refusal {
        let address = key.address;
        let refusal = match self.error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw) {
            Errno::EADDRINUSE => {
                let port = address.port();
                Refusal::new("address_in_use", format!("names for {view}: {key} is in use")).remedy(format!(
                    "stop the name server that holds it, or have it listen on its own addresses only; \
                     `ss -lunp 'sport = :{port}'` and `ss -ltnp 'sport = :{port}'` show it"
                ))
            }
            Errno::ENODEV => Refusal::new(
                "interface_not_found",
                format!(
                    "names for {view}: there is no interface {}",
                    key.interface.as_deref().unwrap_or_default()
                ),
            )
            .remedy("`ip link` lists the interfaces"),
            Errno::EACCES | Errno::EPERM => Refusal::new(
                "permission_denied",
                format!("names for {view}: not allowed to bind {key} ({})", self.step),
            )
            .remedy("run as root or with CAP_NET_BIND_SERVICE and CAP_NET_RAW"),
            _ => {
                Refusal::new("bind_failed", format!("names for {view}: {key}: {}: {}", self.step, self.error))
            }
        };
        refusal.field("address", address)
    }
}
