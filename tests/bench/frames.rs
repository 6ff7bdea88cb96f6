//! The frames that the benches send: TCP SYNs to the policy's endpoint.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::policy::{ADDRESS_V4, ADDRESS_V6};

/// A SYN of 60 (IPv4) or 74 (IPv6) bytes with valid IPv4 checksum.
pub(crate) fn syn(source: IpAddr, port: u16) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    match source {
        IpAddr::V4(source) => {
            frame.extend([0x08, 0x00]);
            frame.extend(ipv4(source));
        }
        IpAddr::V6(source) => {
            frame.extend([0x86, 0xdd]);
            frame.extend(ipv6(source));
        }
    }
    frame.extend(tcp(port));
    frame.resize(frame.len().max(60), 0);
    frame
}

fn ipv4(source: Ipv4Addr) -> Vec<u8> {
    let mut header = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
    header.extend(source.octets());
    header.extend(ADDRESS_V4.octets());
    let sum = !fold(sum(&header));
    header[10..12].copy_from_slice(&sum.to_ne_bytes());
    header
}

fn ipv6(source: Ipv6Addr) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0, 0, 20, 6, 64];
    header.extend(source.octets());
    header.extend(ADDRESS_V6.octets());
    header
}

fn tcp(port: u16) -> Vec<u8> {
    let mut header = vec![0x9c, 0x40];
    header.extend(port.to_be_bytes());
    header.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xfa, 0xf0, 0, 0, 0, 0]);
    header
}

/// Ones' complement sums of a v4 frame's headers without what the packet source fills in: source address, source
/// port and both checksums. Words as they lie in memory (RFC 1071 §1.B: the sum does not depend on byte order).
pub(crate) fn sums(frame: &[u8]) -> (u32, u32) {
    let mut headers = frame[14..54].to_vec();
    headers[10..16].fill(0);
    headers[20..22].fill(0);
    headers[36..38].fill(0);
    let pseudo = [&headers[16..20], &[0, 6, 0, 20], &headers[20..40]].concat();
    (u32::from(fold(sum(&headers[..20]))), u32::from(fold(sum(&pseudo))))
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|pair| u32::from(u16::from_ne_bytes([pair[0], pair[1]]))).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
