//! Binds a listener's sockets, one per worker, without listening yet: a staged change answers nobody.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::{SocketKey, holder};
use crate::base::Refusal;

/// Connections that wait in the kernel for one worker; the kernel caps it at `net.core.somaxconn`.
pub(crate) const BACKLOG: i32 = 4096;

/// Whether the missing privilege for SO_BINDTODEVICE was reported already.
static UNBOUND: AtomicBool = AtomicBool::new(false);

/// Why a bind failed, for status and for the decision whether to try again.
#[derive(Debug)]
pub(crate) struct BindError {
    pub(crate) step: &'static str,
    pub(crate) error: io::Error,
}

/// What is to be known for a bind beside the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct How {
    /// This process holds an overlapping address already, which makes a probe fail for the wrong reason.
    pub(crate) shared: bool,
    /// The gateway adds the address to the interface itself, after this bind.
    pub(crate) owned: bool,
}

/// One socket per worker, bound to `key`.
pub(crate) fn bind(key: &SocketKey, workers: usize, how: How) -> Result<Vec<TcpListener>, BindError> {
    if !how.shared {
        // SO_REUSEPORT would let us join another process of the same user in silence, so the address is tried without.
        drop(socket(key, false, how.owned)?);
    }
    (0..workers).map(|_| socket(key, true, how.owned).map(Into::into)).collect()
}

/// The number of the interface of this name; 0 when there is none. The question needs a descriptor, so that it may not
/// be answered is no sign that there is none.
pub(crate) fn device(interface: &str) -> io::Result<u32> {
    match nix::net::if_::if_nametoindex(interface) {
        Ok(number) => Ok(number),
        Err(Errno::ENODEV | Errno::ENXIO) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Starts to take connections.
pub(crate) fn listen(listener: &TcpListener) -> io::Result<()> {
    socket2::SockRef::from(listener).listen(BACKLOG)
}

fn socket(key: &SocketKey, reuse_port: bool, owned: bool) -> Result<Socket, BindError> {
    let at = |step| move |error| BindError { step, error };
    let socket = Socket::new(Domain::for_address(key.address), Type::STREAM, Some(Protocol::TCP))
        .map_err(at("socket"))?;
    socket.set_nonblocking(true).map_err(at("nonblocking"))?;
    // Connections in TIME_WAIT of an earlier run must not keep the address; a listening socket still does.
    socket.set_reuse_address(true).map_err(at("reuseaddr"))?;
    if reuse_port {
        socket.set_reuse_port(true).map_err(at("reuseport"))?;
    }
    if key.address.is_ipv6() {
        socket.set_only_v6(true).map_err(at("v6only"))?;
    }
    if owned {
        // The socket may be there before its address, and outlives the address's absence.
        match key.address.ip() {
            IpAddr::V4(_) => socket.set_freebind_v4(true),
            IpAddr::V6(_) => socket.set_freebind_v6(true),
        }
        .map_err(at("freebind"))?;
    }
    // Accepted sockets inherit it (tcp(7)): no system call per connection.
    socket.set_tcp_nodelay(true).map_err(at("nodelay"))?;
    bind_device(&socket, &key.interface)?;
    socket.bind(&key.address.into()).map_err(at("bind"))?;
    Ok(socket)
}

fn bind_device(socket: &Socket, interface: &str) -> Result<(), BindError> {
    match socket.bind_device(Some(interface.as_bytes())) {
        Ok(()) => Ok(()),
        // Since Linux 5.7 a socket that is not bound to a device yet needs no privilege; older kernels want CAP_NET_RAW.
        Err(error)
            if error.raw_os_error() == Some(Errno::EPERM as i32) && !nix::unistd::geteuid().is_root() =>
        {
            if !UNBOUND.swap(true, Relaxed) {
                tracing::warn!(
                    interface,
                    "listener sockets are not bound to their interface: that needs CAP_NET_RAW; \
                     other interfaces reach them too"
                );
            }
            Ok(())
        }
        Err(error) => Err(BindError { step: "bind to device", error }),
    }
}

// === impl BindError ===

impl BindError {
    /// The address may appear later: it, or its interface, is missing.
    pub(crate) fn may_come(&self) -> bool {
        matches!(self.errno(), Errno::EADDRNOTAVAIL | Errno::ENODEV)
    }

    /// The kernel has no such address family.
    pub(crate) fn no_family(&self) -> bool {
        matches!(self.errno(), Errno::EAFNOSUPPORT)
    }

    pub(crate) fn errno(&self) -> Errno {
        self.error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
    }

    /// The refusal that names address, port and cure.
    #[expect(clippy::wildcard_enum_match_arm, reason = "errno has a hundred values")]
    pub(crate) fn refusal(&self, listener: &str, key: &SocketKey) -> Refusal {
        let SocketKey { interface, address, .. } = key;
        match self.errno() {
            Errno::EADDRINUSE => {
                let refusal =
                    Refusal::new("address_in_use", format!("listener {listener}: {address} is in use"));
                match holder::of(*address) {
                    Some(holder) => {
                        refusal.remedy(format!("stop {holder}, or choose another address or port"))
                    }
                    None => refusal.remedy(format!(
                        "choose another address or port; `ss -ltnp 'sport = :{}'` shows who holds it",
                        address.port()
                    )),
                }
            }
            Errno::EADDRNOTAVAIL => Refusal::new(
                "address_not_available",
                format!(
                    "listener {listener}: interface {interface} does not have the address {}",
                    address.ip()
                ),
            )
            .remedy("add the address to the interface first, or use --wait-address"),
            Errno::ENODEV => Refusal::new(
                "interface_not_found",
                format!("listener {listener}: there is no interface {interface}"),
            )
            .remedy("`ip link` lists the interfaces"),
            Errno::EACCES | Errno::EPERM => Refusal::new(
                "permission_denied",
                format!("listener {listener}: not allowed to bind {address} ({})", self.step),
            )
            .remedy("run as root or with CAP_NET_BIND_SERVICE, or use ports from 1024 on"),
            _ => Refusal::new(
                "bind_failed",
                format!("listener {listener}: {address}: {}: {}", self.step, self.error),
            ),
        }
        .field("address", address)
    }
}

/// Whether two addresses claim some of the same packets.
pub(crate) fn overlap(left: SocketAddr, right: SocketAddr) -> bool {
    left.port() == right.port()
        && left.is_ipv4() == right.is_ipv4()
        && (left.ip() == right.ip() || left.ip().is_unspecified() || right.ip().is_unspecified())
}
