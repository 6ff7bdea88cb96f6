//! Rows of [`super::evasion`]: every way to get round the list that we know, as frames.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering},
};

use harness::{
    frame::{self, DOT1AD, DOT1Q, Ipv4, Link, Tcp, extension},
    proof::Side,
    topology::{GHOST_V4, GHOST_V6, LAN_MAC, PUBLIC_V4, PUBLIC_V6},
};

use super::site::{HTTPS_V4, HTTPS_V6, Site};

/// A closed listener that allows everybody of IPv4.
pub(crate) const SHUT: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 5)), 443);
/// An open one that does so, too, at an IPv6 address.
pub(crate) const FAMILY_V6: SocketAddr =
    SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 6)), 443);
/// More listeners of a port than are compared in line (DESIGN §4.3).
const MANY: [&str; 6] = ["many-0", "many-1", "many-2", "many-3", "many-4", "many-5"];

fn many() -> impl Iterator<Item = SocketAddr> {
    (0..6).map(|number| (std::net::Ipv4Addr::new(198, 51, 100, 20 + number), 443).into())
}

/// The listeners that the rows are sent to: `public` admits nobody, `inside` makes the other interface a filtered one.
pub(crate) fn site() -> Site {
    let site = Site::open();
    let add = |name: &str, interface: &str, addresses: &[&str], open: bool, allow: &str| {
        let mut words = vec!["listener", "add", name, "--exposure", "public", "--interface", interface];
        for address in addresses {
            if interface == "pub0" {
                let length = if address.contains(':') { 64 } else { 24 };
                site.net.gateway_address(interface, &format!("{address}/{length}"));
            }
            words.extend(["--address", address]);
        }
        if open {
            words.push("--open");
        }
        site.gateway.cli(&words).ok();
        if !allow.is_empty() {
            site.gateway.cli(&["allow", "add", name, allow]).ok();
        }
    };
    add("inside", "lan0", &["10.7.0.1", "2001:db8:7::1"], true, "");
    add("shut", "pub0", &["198.51.100.5"], false, "0.0.0.0/0");
    add("family", "pub0", &["198.51.100.6", "2001:db8:100::6"], true, "0.0.0.0/0");
    for (name, address) in MANY.iter().zip(many()) {
        add(name, "pub0", &[&address.ip().to_string()], true, "198.51.100.10");
    }
    site
}

/// One way to get round the list.
pub(crate) struct Attempt {
    pub(crate) what: &'static str,
    pub(crate) side: Side,
    pub(crate) frames: Vec<Vec<u8>>,
    /// The listener that counts the drop.
    pub(crate) listener: &'static str,
    /// The name under which the drop is counted.
    pub(crate) reason: &'static str,
    /// Whether the host answers it when nothing filters: it is a whole SYN that the stack understands.
    pub(crate) answered: bool,
}

/// A source port of its own for every frame: the host answers a repeated SYN only twice a second.
static PORT: AtomicU16 = AtomicU16::new(4000);

pub(crate) fn source(ghost: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(ghost.into(), PORT.fetch_add(1, Ordering::Relaxed))
}

fn attempt(what: &'static str, reason: &'static str, answered: bool, frames: Vec<Vec<u8>>) -> Attempt {
    Attempt { what, side: Side::Public, frames, listener: "public", reason, answered }
}

/// A SYN to the listener in an IPv4 packet with these option words.
fn optioned(words: u8) -> Vec<u8> {
    let segment = Tcp::syn().segment(source(GHOST_V4), HTTPS_V4, &[]);
    let header = Ipv4 { source: GHOST_V4, destination: PUBLIC_V4, option_words: words, ..Ipv4::new() };
    Link::default().v4(&header.packet(&segment))
}

/// A SYN to the listener behind these IPv6 extension headers.
fn chained(link: &Link, chain: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let segment = Tcp::syn().segment(source(GHOST_V6), HTTPS_V6, &[]);
    link.v6(&frame::ipv6(GHOST_V6, PUBLIC_V6, chain, 6, &segment))
}

/// A SYN with data, cut into two IPv4 fragments, the first of `first` bytes.
fn fragments_v4(first: usize) -> Vec<Vec<u8>> {
    let segment = Tcp::syn().segment(source(GHOST_V4), HTTPS_V4, &[0; 44]);
    let (head, tail) = segment.split_at(first);
    let header = Ipv4 { source: GHOST_V4, destination: PUBLIC_V4, ..Ipv4::new() };
    let offset = u16::try_from(first / 8).expect("a small offset");
    vec![
        Link::default().v4(&Ipv4 { fragment: 0x2000, ..header.clone() }.packet(head)),
        Link::default().v4(&Ipv4 { fragment: offset, ..header }.packet(tail)),
    ]
}

fn fragments_v6() -> Vec<Vec<u8>> {
    let segment = Tcp::syn().segment(source(GHOST_V6), HTTPS_V6, &[0; 44]);
    let (head, tail) = segment.split_at(32);
    let part = |offset, more, payload: &[u8]| {
        let chain = [extension::fragment(offset, more, 77)];
        Link::default().v6(&frame::ipv6(GHOST_V6, PUBLIC_V6, &chain, 6, payload))
    };
    vec![part(0, true, head), part(4, false, tail)]
}

/// Every row.
pub(crate) fn attempts() -> Vec<Attempt> {
    let plain = Link::default();
    // The host takes a frame with VLAN id 0 ("priority tag") as untagged: the tags that really lead inside.
    let priority = |tags: &[(u16, u16)]| Link::tagged(tags);
    let lan = Link { destination: LAN_MAC, ..Link::default() };
    let options = extension::options;
    let mut rows = vec![
        attempt("plain v4", "not_allowed", true, vec![frame::syn(&plain, source(GHOST_V4), HTTPS_V4)]),
        attempt("plain v6", "not_allowed", true, vec![frame::syn(&plain, source(GHOST_V6), HTTPS_V6)]),
        attempt(
            "plain v4 to the HTTP port",
            "not_allowed",
            true,
            vec![frame::syn(&plain, source(GHOST_V4), (PUBLIC_V4, 80).into())],
        ),
        attempt(
            "802.1Q priority tag, v4",
            "not_allowed",
            true,
            vec![frame::syn(&priority(&[(DOT1Q, 0)]), source(GHOST_V4), HTTPS_V4)],
        ),
        attempt(
            "802.1Q priority tag, v6",
            "not_allowed",
            true,
            vec![frame::syn(&priority(&[(DOT1Q, 0)]), source(GHOST_V6), HTTPS_V6)],
        ),
        attempt(
            "802.1Q tag",
            "not_allowed",
            false,
            vec![frame::syn(&priority(&[(DOT1Q, 10)]), source(GHOST_V4), HTTPS_V4)],
        ),
        attempt(
            "802.1ad tag",
            "not_allowed",
            false,
            vec![frame::syn(&priority(&[(DOT1AD, 10)]), source(GHOST_V6), HTTPS_V6)],
        ),
        attempt(
            "two priority tags, v4",
            "not_allowed",
            true,
            vec![frame::syn(&priority(&[(DOT1AD, 0), (DOT1Q, 0)]), source(GHOST_V4), HTTPS_V4)],
        ),
        attempt(
            "two tags, v6",
            "not_allowed",
            false,
            vec![frame::syn(&priority(&[(DOT1Q, 10), (DOT1Q, 20)]), source(GHOST_V6), HTTPS_V6)],
        ),
        attempt(
            "three tags",
            "vlan_depth",
            false,
            vec![frame::syn(&priority(&[(DOT1AD, 1), (DOT1Q, 2), (DOT1Q, 3)]), source(GHOST_V4), HTTPS_V4)],
        ),
        attempt("one word of IPv4 options", "not_allowed", true, vec![optioned(1)]),
        attempt("ten words of IPv4 options", "not_allowed", true, vec![optioned(10)]),
        attempt("hop-by-hop options", "not_allowed", true, vec![chained(&plain, &[options(0)])]),
        attempt(
            "destination options",
            "not_allowed",
            true,
            vec![chained(&plain, &[options(60), options(60)])],
        ),
        attempt(
            "an atomic fragment",
            "not_allowed",
            true,
            vec![chained(&plain, &[extension::fragment(0, false, 5)])],
        ),
        attempt(
            "nine extension headers",
            "ext_chain",
            true,
            vec![chained(
                &plain,
                &[
                    options(60),
                    options(60),
                    options(60),
                    options(60),
                    options(60),
                    options(60),
                    options(60),
                    options(60),
                    options(60),
                ],
            )],
        ),
        attempt(
            "extension headers behind a tag",
            "not_allowed",
            true,
            vec![chained(&priority(&[(DOT1Q, 0)]), &[options(60)])],
        ),
        attempt("v4 fragments", "fragment", true, fragments_v4(32)),
        attempt("v4 fragments, the first without flags", "fragment", true, fragments_v4(8)),
        attempt("v6 fragments", "fragment", true, fragments_v6()),
    ];
    for (what, source, target) in [
        ("v4 by the other interface", source(GHOST_V4), HTTPS_V4),
        ("v6 by the other interface", source(GHOST_V6), HTTPS_V6),
    ] {
        rows.push(Attempt {
            what,
            side: Side::Lan,
            frames: vec![frame::syn(&lan, source, target)],
            listener: "public",
            reason: "wrong_interface",
            answered: false,
        });
    }
    // Segments that belong to no connection: an answer would tell that somebody is there.
    for (what, flags, answered) in [
        ("a bare ACK", frame::ACK, true),
        ("a SYN with ACK", frame::SYN | frame::ACK, true),
        ("no flags at all", 0, false),
        ("a FIN", 0x01, false),
        ("every flag", 0x3f, false),
    ] {
        let from = source(GHOST_V4);
        let segment = Tcp { flags, ..Tcp::syn() }.segment(from, HTTPS_V4, &[]);
        let frame = plain.around(from.ip(), HTTPS_V4.ip(), 6, &segment);
        rows.push(attempt(what, "not_allowed", answered, vec![frame]));
    }
    let to = |listener, what, reason, target: SocketAddr| {
        let from = if target.is_ipv4() { source(GHOST_V4) } else { source(GHOST_V6) };
        let frames = vec![frame::syn(&plain, from, target)];
        Attempt { listener, ..attempt(what, reason, true, frames) }
    };
    // Without the filter its socket is silent, too.
    let shut = to("shut", "a closed portal that would allow it", "closed", SHUT);
    rows.push(Attempt { answered: false, ..shut });
    rows.push(to("family", "v6 to a listener that allows 0.0.0.0/0", "not_allowed", FAMILY_V6));
    for (listener, target) in MANY.iter().zip(many()) {
        rows.push(to(listener, "one of many listeners on the port", "not_allowed", target));
    }
    rows
}
