//! The IP addresses of interfaces: read, added, removed.

use std::{io, net::IpAddr};

use ipnet::IpNet;

use super::{CREATE, EXCLUSIVE, attributes, consistent, ip, put, request, u32_at};

/// Marks the addresses that a gateway added (`IFA_PROTO`, Linux 5.18); iproute2 since 6.3 shows it as `proto 0x67`.
pub(crate) const TAG: u8 = b'g';

/// One address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) index: u32,
    pub(crate) address: IpNet,
    /// Who added it, as far as the kernel knows; 0 on kernels before 5.18 too.
    pub(crate) tag: u8,
}

/// Every address in this thread's network namespace.
///
/// # Errors
/// The kernel refused the dump.
pub(crate) fn addresses() -> io::Result<Vec<Held>> {
    let messages = consistent(GET_ADDRESS, &[0; IFADDR])?;
    Ok(messages.iter().filter(|(kind, _)| *kind == NEW_ADDRESS).filter_map(|(_, body)| parse(body)).collect())
}

/// Adds `address` to the interface `index`.
///
/// # Errors
/// The kernel refused it; `EEXIST` where it is there.
pub(crate) fn add(index: u32, address: IpNet) -> io::Result<()> {
    let mut body = message(index, address);
    put(&mut body, PROTO, &[TAG]);
    if address.addr().is_ipv6() {
        // Usable at once: whether the address is free was decided by who configured it.
        put(&mut body, FLAGS, &NODAD.to_ne_bytes());
        // Deprecated from the first moment: it answers, but the host's own connections do not start from it.
        let mut lifetime = [0; 16];
        lifetime[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
        put(&mut body, CACHE_INFO, &lifetime);
    }
    request(NEW_ADDRESS, CREATE | EXCLUSIVE, &body)
}

/// Removes `address` from the interface `index`.
///
/// # Errors
/// The kernel refused it; `EADDRNOTAVAIL` where it is not there.
pub(crate) fn remove(index: u32, address: IpNet) -> io::Result<()> {
    request(DELETE_ADDRESS, 0, &message(index, address))
}

// === the wire: linux/rtnetlink.h, linux/if_addr.h ===

const IFADDR: usize = 8;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const CACHE_INFO: u16 = 6;
const FLAGS: u16 = 8;
const PROTO: u16 = 11;
const NODAD: u32 = 2;

fn message(index: u32, address: IpNet) -> Vec<u8> {
    let (family, octets) = match address.addr() {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let mut body = vec![family as u8, address.prefix_len(), 0, 0];
    body.extend_from_slice(&index.to_ne_bytes());
    put(&mut body, LOCAL, &octets);
    put(&mut body, ADDRESS, &octets);
    body
}

/// One `RTM_NEWADDR` without its netlink header.
fn parse(message: &[u8]) -> Option<Held> {
    let (mut local, mut address, mut tag) = (None, None, 0);
    for (kind, value) in attributes(message.get(IFADDR..)?) {
        match kind {
            LOCAL => local = ip(value),
            // The other end of a point-to-point interface, where both are given.
            ADDRESS => address = ip(value),
            PROTO => tag = value.first().copied().unwrap_or_default(),
            _ => {}
        }
    }
    let address = IpNet::new(local.or(address)?, *message.get(1)?).ok()?;
    Some(Held { index: u32_at(message, 4), address, tag })
}

#[cfg(test)]
mod tests {
    use super::{addresses, message, parse};

    #[test]
    fn messages_are_read_back() {
        for address in ["192.0.2.7/24", "2001:db8::7/64", "10.0.0.1/32"] {
            let held = parse(&message(9, address.parse().unwrap())).unwrap();
            assert_eq!((held.index, held.address.to_string().as_str(), held.tag), (9, address, 0));
        }
        assert_eq!(parse(&[2, 24, 0, 0, 1, 0, 0, 0]), None, "without an address");
        assert_eq!(parse(&[]), None);
    }

    #[test]
    fn the_namespace_can_be_asked() {
        // Which addresses there are is the host's business.
        addresses().unwrap();
    }
}
