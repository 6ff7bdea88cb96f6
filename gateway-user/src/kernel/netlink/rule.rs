//! Routing rules that drop what comes in on an interface for an address: read, added, removed.

use std::{collections::BTreeSet, io, net::IpAddr};

use super::{CREATE, EXCLUSIVE, TAG, attributes, consistent, ip, put, request, text};

/// An address to which packets of an interface go nowhere, without a word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(crate) struct Silence {
    /// By name: the rule holds for whatever interface has it.
    pub(crate) interface: String,
    pub(crate) address: IpAddr,
}

/// Every such rule of a gateway in this thread's network namespace.
///
/// # Errors
/// The kernel refused the dump.
pub(crate) fn silences() -> io::Result<BTreeSet<Silence>> {
    let mut found = BTreeSet::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut body = vec![0; HEADER];
        if let Some(first) = body.first_mut() {
            *first = family as u8;
        }
        match consistent(GET_RULE, &body) {
            Ok(rules) => found.extend(rules.iter().filter_map(|(_, rule)| parse(rule))),
            // A kernel without IPv6 has no rules of it.
            Err(error) if family == libc::AF_INET6 => tracing::debug!(%error, "no IPv6 rules"),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Adds the rule.
///
/// # Errors
/// The kernel refused it; `EEXIST` where it is there.
pub(crate) fn silence(silence: &Silence) -> io::Result<()> {
    request(NEW_RULE, CREATE | EXCLUSIVE, &message(silence))
}

/// Removes the rule.
///
/// # Errors
/// The kernel refused it; `ENOENT` where it is not there.
pub(crate) fn unsilence(silence: &Silence) -> io::Result<()> {
    request(DELETE_RULE, 0, &message(silence))
}

// === the wire: linux/fib_rules.h ===

const HEADER: usize = 12;
const NEW_RULE: u16 = 32;
const DELETE_RULE: u16 = 33;
const GET_RULE: u16 = 34;
const DESTINATION: u16 = 1;
const INTERFACE: u16 = 3;
const PRIORITY: u16 = 6;
const PROTOCOL: u16 = 21;
const BLACKHOLE: u8 = 6;
/// Behind the host's own addresses (0), so that an address that is used again is served, and before all routes.
const BEFORE_ROUTES: u32 = TAG as u32;

fn message(silence: &Silence) -> Vec<u8> {
    let (family, octets) = match silence.address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let mut body = vec![family as u8, (octets.len() * 8) as u8, 0, 0, 0, 0, 0, BLACKHOLE, 0, 0, 0, 0];
    put(&mut body, DESTINATION, &octets);
    put(&mut body, INTERFACE, &[silence.interface.as_bytes(), &[0]].concat());
    put(&mut body, PRIORITY, &BEFORE_ROUTES.to_ne_bytes());
    put(&mut body, PROTOCOL, &[TAG]);
    body
}

/// One `RTM_NEWRULE` without its netlink header. `None`: it is none of a gateway's.
fn parse(message: &[u8]) -> Option<Silence> {
    let (mut address, mut interface, mut tag) = (None, None, 0);
    for (kind, value) in attributes(message.get(HEADER..)?) {
        match kind {
            DESTINATION => address = ip(value),
            INTERFACE => interface = Some(text(value)),
            PROTOCOL => tag = value.first().copied().unwrap_or_default(),
            _ => {}
        }
    }
    let ours = tag == TAG && message.get(7) == Some(&BLACKHOLE);
    ours.then_some(Silence { interface: interface?, address: address? })
}

#[cfg(test)]
mod tests {
    use super::{BLACKHOLE, Silence, message, parse, silences};

    #[test]
    fn messages_are_read_back_and_those_of_others_are_not() {
        for address in ["192.0.2.7", "2001:db8::7"] {
            let silence = Silence { interface: "eth0.7".to_owned(), address: address.parse().unwrap() };
            let mut rule = message(&silence);
            assert_eq!(parse(&rule), Some(silence));
            assert_eq!(rule[7], BLACKHOLE);
            rule[7] = 1;
            assert_eq!(parse(&rule), None, "a rule that looks up a table");
        }
        assert_eq!(parse(&[]), None);
    }

    #[test]
    fn the_namespace_can_be_asked() {
        silences().unwrap();
    }
}
