//! Pure: version 2 of the PROXY protocol, a binary block.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Declared, Header, LONGEST, Reason, crc32c::crc32c};

/// What a block begins with.
pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED: usize = 16;
/// Type of the TLV with the CRC-32C of the whole header.
const TLV_CRC32C: u8 = 0x03;

/// Reads a block; `None`: it goes on.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, Reason> {
    // Each field is judged as it arrives: who is refused should not be waited for.
    let Some(rest) = bytes.get(SIGNATURE.len()..) else { return Ok(None) };
    let local = match rest.first() {
        None => return Ok(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(Reason::Command),
    };
    let Some([_, family, high, low]) = rest.first_chunk() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let whole = FIXED + length;
    if whole > LONGEST {
        return Err(Reason::TooLong);
    }
    // Bytes of the addresses; of a family that is not IP nothing but the length is known to us.
    let addresses = match family {
        // The sender speaks for itself, and whatever it says of addresses is to be ignored.
        _ if local => 0,
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ => return Err(Reason::Family),
    };
    if length < addresses {
        return Err(Reason::Length);
    }
    let Some(block) = bytes.get(FIXED..whole) else { return Ok(None) };
    let declared = match addresses {
        12 => block.first_chunk().map(four),
        36 => block.first_chunk().map(six),
        _ => None,
    };
    if declared.is_some() {
        tlvs(bytes.get(..whole).unwrap_or_default(), FIXED + addresses)?;
    }
    Ok(Some(Header { declared, consumed: whole }))
}

fn four(block: &[u8; 12]) -> Declared {
    let [a, b, c, d, e, f, g, h, ports @ ..] = *block;
    ends(Ipv4Addr::new(a, b, c, d).into(), Ipv4Addr::new(e, f, g, h).into(), ports)
}

fn six(block: &[u8; 36]) -> Declared {
    // The two addresses and the ports, taken from the back: each split leaves an array.
    let (source, rest) = block.split_first_chunk::<16>().map_or(([0; 16], &[][..]), |(a, b)| (*a, b));
    let (destination, rest) = rest.split_first_chunk::<16>().map_or(([0; 16], &[][..]), |(a, b)| (*a, b));
    let ports = rest.first_chunk::<4>().copied().unwrap_or_default();
    ends(Ipv6Addr::from(source).into(), Ipv6Addr::from(destination).into(), ports)
}

fn ends(source: IpAddr, destination: IpAddr, [a, b, c, d]: [u8; 4]) -> Declared {
    Declared {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    }
}

/// Walks the TLVs behind the addresses: each must lie within the header, and a checksum must be right.
fn tlvs(header: &[u8], mut at: usize) -> Result<(), Reason> {
    while let Some([kind, high, low]) = header.get(at..).and_then(|rest| rest.first_chunk()) {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let value = header.get(at + 3..at + 3 + length).ok_or(Reason::Length)?;
        if *kind == TLV_CRC32C {
            let told: [u8; 4] = value.try_into().map_err(|_| Reason::Length)?;
            // It is made over the header with its own place zeroed.
            let (before, after) = (header.get(..at + 3), header.get(at + 7..));
            let parts = [before.unwrap_or_default(), &[0; 4], after.unwrap_or_default()];
            if crc32c(parts) != u32::from_be_bytes(told) {
                return Err(Reason::Checksum);
            }
        }
        at += 3 + length;
    }
    if at == header.len() { Ok(()) } else { Err(Reason::Length) }
}
