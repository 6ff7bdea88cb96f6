//! Pure: the header of the PROXY protocol, versions 1 and 2, with which a load balancer says for whom it connects.
//!
//! The text is `doc/proxy-protocol.txt` of HAProxy, version 2.9 and later. A receiver must not guess whether the header is there:
//! a listener either demands it of every connection or knows nothing of it, because a client that could choose would
//! write one itself. `parse` looks at what has arrived so far and never asks for a byte that may not belong to the
//! header, so whoever reads from the socket can leave the rest where it is. The socket is `accept`'s.

mod accept;
mod crc32c;
mod v1;
mod v2;

use std::net::SocketAddr;

pub(crate) use accept::{accept, late};

/// The longest header that is taken. The address block of version 2 is at most 216 bytes; what follows are TLVs, of
/// which certificates' names are the longest in use. The protocol's 65,551 bytes would be kept for each handshake.
pub(crate) const LONGEST: usize = 4096;

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// The beginning of a header: all of these bytes belong to it, and at least one more.
    NeedMore,
    Done(Header),
    Refused(Reason),
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The client and the address that it reached. `None`: the balancer speaks for itself (a health check), or of a
    /// client that has no such address; the peer stays who it is.
    pub(crate) declared: Option<Declared>,
    /// Length of the header.
    pub(crate) consumed: usize,
}

/// The two ends of the connection that the balancer took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

/// Why these bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Neither version's first bytes.
    Signature,
    /// Longer than the protocol or [`LONGEST`] allows.
    TooLong,
    /// Version 1: not the words of a header.
    Words,
    /// Version 2: a version or command that does not exist.
    Command,
    /// Version 2: a family or transport that no TCP connection has.
    Family,
    /// Version 2: the length does not hold the addresses, or a TLV leaves it.
    Length,
    /// Version 2: the checksum is wrong.
    Checksum,
}

impl Reason {
    /// The stable name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::TooLong => "too_long",
            Self::Words => "words",
            Self::Command => "command",
            Self::Family => "family",
            Self::Length => "length",
            Self::Checksum => "checksum",
        }
    }
}

/// Reads the header at the front of `bytes`, all that has arrived so far.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let result = if begins(bytes, &v2::SIGNATURE) {
        v2::parse(bytes)
    } else if begins(bytes, v1::BEGIN) {
        v1::parse(bytes)
    } else {
        Err(Reason::Signature)
    };
    match result {
        Ok(None) => Parsed::NeedMore,
        Ok(Some(header)) => Parsed::Done(header),
        Err(reason) => Parsed::Refused(reason),
    }
}

/// Whether `bytes` are the beginning of `signature`, or it of them.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let length = bytes.len().min(signature.len());
    bytes.get(..length) == signature.get(..length)
}

#[cfg(test)]
mod tests;
