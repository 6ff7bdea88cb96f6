//! Pure: what a request says of its way here, whom that is believed of, and what the instance is told of it.
//!
//! A client may write anything into `Forwarded` and `X-Forwarded-*`. Only what a *forwarder* of the listener
//! (`Listener.forwarders`) says is read and continued; from everybody else it is replaced, as if it had not been there.
//! The forwarder is whoever speaks HTTP to us: the TCP peer, or whom a PROXY protocol header declares.
//!
//! The way is a chain of nodes, each written by the one to its right. The client is the right-most node that is no
//! forwarder: further left is its own say-so. It counts for logs and for hash balancing, never for the allowlist, bans
//! and caps, which judge the TCP peer: a field cannot open the port.
//!
//! What is not plain is not believed at all: one malformed element, or `Forwarded` and `X-Forwarded-For` that name
//! different nodes (one of them is the client's own, passed on by a forwarder that writes only the other), and everything that the
//! forwarder told is dropped.

mod chain;

use std::{io::Write as _, net::IpAddr};

use ipnet::IpNet;
use memchr::memchr2;

use self::chain::Chain;
use super::http::head::Fields;
use crate::observe::access;

/// How a request reached the gateway, as far as its connection tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hop<'a> {
    /// Who speaks HTTP to us, in its canonical form.
    pub(crate) address: IpAddr,
    /// The same as text.
    pub(crate) text: &'a str,
    pub(crate) https: bool,
    /// The port that it reached.
    pub(crate) port: u16,
    /// The version of HTTP that it speaks, as `Via` says it: `1.0`, `1.1`, `2`.
    pub(crate) version: &'static str,
}

/// What a request tells of its way, if it is believed.
#[derive(Debug)]
pub(crate) enum Told<'a> {
    /// Nothing, or nothing that counts.
    Nothing,
    Chain(Chain<'a>),
}

/// How many fields [`Told::write`] writes.
pub(crate) const FIELDS: usize = OURS.len() + 1;

/// What [`Told::write`] writes, besides `via`, which it adds to.
const OURS: [&str; 6] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Reads what the request tells. `forwarders` are the listener's.
pub(crate) fn read<'a, F: Fields>(fields: &'a F, speaker: IpAddr, forwarders: &[IpNet]) -> Told<'a> {
    if !is_among(speaker, forwarders) {
        return Told::Nothing;
    }
    match Chain::read(fields, |address| is_among(address, forwarders)) {
        Ok(chain) => Told::Chain(chain),
        Err(chain::Malformed) => Told::Nothing,
    }
}

/// Whether the address is a forwarder's. Most listeners have none.
pub(crate) fn is_among(address: IpAddr, forwarders: &[IpNet]) -> bool {
    forwarders.iter().any(|net| net.contains(&address))
}

/// Whether a field of a request must not pass: its name is one that we write ourselves, or one that only a forwarder
/// may send; `believed` is [`Told::believed`]. Underscores count as hyphens: in the environment of a CGI or WSGI program
/// they are the same.
pub(crate) fn replaces(name: &[u8], believed: bool) -> bool {
    // Nearly every name ends here.
    if !matches!(name.first(), Some(b'f' | b'F' | b'x' | b'X')) {
        return false;
    }
    let begins = |text: &str| {
        let same = |(a, b): (&u8, u8)| a.to_ascii_lowercase() == b || (*a == b'_' && b == b'-');
        name.len() >= text.len() && name.iter().zip(text.bytes()).all(same)
    };
    let ours = OURS.iter().any(|text| begins(text) && text.len() == name.len());
    ours || (!believed && begins("x-forwarded-"))
}

// === impl Told ===

impl Told<'_> {
    /// Whether a forwarder made the request, and what it tells is believed.
    pub(crate) fn believed(&self) -> bool {
        matches!(self, Self::Chain(_))
    }

    /// The client, if the way tells another than who speaks to us.
    pub(crate) fn client(&self) -> Option<IpAddr> {
        match self {
            Self::Nothing => None,
            Self::Chain(chain) => chain.client,
        }
    }

    /// Writes the values of the fields for the instance to `out`. `begin` is called with its name before each, `end`
    /// after it: the HTTP/1.1 writer adds `name: ` and a line end there, who keeps fields otherwise notes where they
    /// are. `host` is the request's own, checked by `Head::host`.
    pub(crate) fn write(
        &self,
        hop: &Hop<'_>,
        host: &[u8],
        out: &mut Vec<u8>,
        mut begin: impl FnMut(&mut Vec<u8>, &'static str),
        mut end: impl FnMut(&mut Vec<u8>),
    ) {
        let chain = match self {
            Self::Nothing => None,
            Self::Chain(chain) => Some(chain),
        };
        let mut put = |name, fill: &mut dyn FnMut(&mut Vec<u8>)| {
            begin(out, name);
            fill(out);
            end(out);
        };
        put("forwarded", &mut |out| {
            if let Some(chain) = chain {
                chain.forwarded(out);
            }
            element(out, hop, host);
        });
        put("x-forwarded-for", &mut |out| {
            for node in chain.iter().flat_map(|chain| &chain.nodes) {
                node.write(out);
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(hop.text.as_bytes());
        });
        put("x-real-ip", &mut |out| match self.client() {
            Some(client) => address(out, client),
            None => out.extend_from_slice(hop.text.as_bytes()),
        });
        let told = chain.and_then(|chain| chain.proto);
        let own: &[u8] = if hop.https { b"https" } else { b"http" };
        put("x-forwarded-proto", &mut |out| out.extend_from_slice(told.unwrap_or(own)));
        let shown = chain.and_then(|chain| chain.host.as_deref());
        put("x-forwarded-host", &mut |out| out.extend_from_slice(shown.unwrap_or(host)));
        // A forwarder that tells the scheme but not the port was reached at the scheme's own.
        let usual = |proto: &[u8]| if matches!(proto, b"https" | b"wss") { 443 } else { 80 };
        let port = chain.and_then(|chain| chain.port).or(told.map(usual)).unwrap_or(hop.port);
        put("x-forwarded-port", &mut |out| access::number(out, u64::from(port)));
        // RFC 9110 §7.6.3: the name stands for the gateway, so that its own need not be known.
        put("via", &mut |out| {
            out.extend_from_slice(hop.version.as_bytes());
            out.extend_from_slice(b" gateway");
        });
    }
}

/// Our own element of `Forwarded` (RFC 7239 §4): who asked us, for which host, over what.
fn element(out: &mut Vec<u8>, hop: &Hop<'_>, host: &[u8]) {
    // The text is at hand; an IPv6 address is in brackets, and with them no token (RFC 7239 §6).
    let (begin, end): (&[u8], &[u8]) =
        if hop.address.is_ipv6() { (b"for=\"[", b"]\";host=") } else { (b"for=", b";host=") };
    out.extend_from_slice(begin);
    out.extend_from_slice(hop.text.as_bytes());
    out.extend_from_slice(end);
    quoted(out, host);
    out.extend_from_slice(if hop.https { b";proto=https" } else { b";proto=http" });
}

/// A host that `Host::parse` let in, quoted where it is no token (RFC 9110 §5.6.4): with a port, or in brackets.
fn quoted(out: &mut Vec<u8>, host: &[u8]) {
    let quote: &[u8] = if memchr2(b':', b'[', host).is_some() { b"\"" } else { b"" };
    out.extend_from_slice(quote);
    out.extend_from_slice(host);
    out.extend_from_slice(quote);
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    // Writing into a vector does not fail.
    let _ = write!(out, "{address}");
}

#[cfg(test)]
mod tests;
