//! Opens a connection to an instance: resolve, refuse loops, connect, TLS; all within one deadline.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use nix::errno::Errno;
use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{
    race,
    resolve::Resolver,
    stream::Stream,
    tls::{self, ClientTls},
};
use crate::proxy::{failure::Failure, view::View};

/// Where connections lead and what they are wrapped in.
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Option<Wrap>,
    /// `host:port`, for logs.
    pub(crate) name: String,
}

/// TLS to one place.
pub(crate) struct Wrap {
    pub(crate) client: Arc<ClientTls>,
    /// `None`: the host is no name that TLS knows; such an instance is never reached.
    name: Option<ServerName<'static>>,
}

// === impl Place ===

impl Place {
    pub(crate) fn new(host: &str, port: u16, client: Option<Arc<ClientTls>>) -> Self {
        let tls = client.map(|client| Wrap { name: tls::server_name(&client.settings, host), client });
        Self { host: host.to_owned(), port, tls, name: place_name(host, port) }
    }

    /// Whether connections to this place are what these settings ask for.
    pub(crate) fn wrapped_in(&self, client: Option<&Arc<ClientTls>>) -> bool {
        match (&self.tls, client) {
            (None, None) => true,
            (Some(wrap), Some(client)) => Arc::ptr_eq(&wrap.client, client),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(crate) fn place_name(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Connects within `limit`, the TLS handshake included: an instance that stops in the middle of it is as good as none.
pub(crate) async fn dial(
    place: &Place,
    resolver: &Rc<Resolver>,
    view: &View,
    limit: Duration,
) -> Result<Stream, Failure> {
    match timeout(limit, open(place, resolver, view)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::ConnectTimeout),
    }
}

async fn open(place: &Place, resolver: &Rc<Resolver>, view: &View) -> Result<Stream, Failure> {
    let addresses = resolver.resolve(&place.host).await.ok_or(Failure::Resolve)?;
    let addresses: Vec<SocketAddr> =
        addresses.iter().map(|address| SocketAddr::new(*address, place.port)).collect();
    // One address of ours among others is a mistake, too, and every third request would show it.
    if addresses.iter().any(|address| is_own(view, *address, None)) {
        return Err(Failure::Loop);
    }
    let socket = race::connect(addresses).await.map_err(|error| {
        tracing::debug!(instance = place.name, %error, "connect");
        if is_ours(&error) { Failure::Overloaded } else { Failure::Connect }
    })?;
    let peer = socket.peer_addr().map_err(|_| Failure::Connect)?;
    if is_own(view, peer, socket.local_addr().ok()) {
        return Err(Failure::Loop);
    }
    let _ = socket.set_nodelay(true);
    let Some(wrap) = &place.tls else { return Ok(Stream::Plain(socket)) };
    let Some(name) = &wrap.name else { return Err(Failure::UpstreamTls) };
    let connector = TlsConnector::from(Arc::clone(&wrap.client.config));
    let stream = connector.connect(name.clone(), socket).await.map_err(|error| {
        tracing::debug!(instance = place.name, %error, "TLS with an instance");
        Failure::UpstreamTls
    })?;
    // RFC 9113 §3.3: HTTP/2 is only spoken where the server agreed to it.
    if wrap.client.http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        tracing::debug!(instance = place.name, "the instance does not speak HTTP/2");
        return Err(Failure::UpstreamTls);
    }
    Ok(Stream::Tls(Box::new(stream)))
}

/// Whether this host had nothing left for another connection: no fault of the instance, which must not be ejected for it.
fn is_ours(error: &std::io::Error) -> bool {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
    matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::EADDRNOTAVAIL)
}

/// Whether the address is one of the gateway's own sockets. A wildcard socket is told by the connection itself: its
/// local address equals the remote one only on this very host.
fn is_own(view: &View, address: SocketAddr, local: Option<SocketAddr>) -> bool {
    view.own.iter().any(|own| {
        own.port() == address.port()
            && (own.ip() == address.ip()
                || (own.ip().is_unspecified()
                    && own.is_ipv4() == address.is_ipv4()
                    && !address.ip().is_loopback()
                    && local.is_some_and(|local| local.ip() == address.ip())))
    })
}
