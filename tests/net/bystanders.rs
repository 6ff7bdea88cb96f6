//! What is not addressed to a listener passes, whatever it looks like: the filter judges only what is its own (DESIGN §4.1).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use harness::{
    frame::{self, DOT1Q, Ipv4, Link, Tcp, extension},
    proof::{Side, Witness},
    topology::{GHOST_V4, GHOST_V6, LAN_MAC, PUBLIC_V4, PUBLIC_V6},
};

use super::{
    attempts::source,
    site::{HTTPS_V4, HTTPS_V6, Site},
};

/// Another address of the host on the same interface.
const OTHER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// An ICMP or ICMPv6 message about a packet of the listener's, or an echo.
fn icmp(link: &Link, v6: bool, kind: u8, code: u8) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0, 0, 0, 5, 0];
    if v6 {
        message.extend(frame::ipv6(PUBLIC_V6, GHOST_V6, &[], 6, &[0; 20]));
        frame::seal_icmpv6(&mut message, GHOST_V6, PUBLIC_V6);
        link.v6(&frame::ipv6(GHOST_V6, PUBLIC_V6, &[], 58, &message))
    } else {
        let header = Ipv4 { source: PUBLIC_V4, destination: GHOST_V4, ..Ipv4::new() };
        message.extend(header.packet(&[0; 20]));
        frame::seal_icmp(&mut message);
        let header = Ipv4 { source: GHOST_V4, destination: PUBLIC_V4, protocol: 1, ..Ipv4::new() };
        link.v4(&header.packet(&message))
    }
}

fn rows() -> Vec<(&'static str, Side, Vec<Vec<u8>>)> {
    let plain = Link::default();
    let lan = Link { destination: LAN_MAC, ..Link::default() };
    let tagged = Link::tagged(&[(DOT1Q, 0)]);
    let syn = |link: &Link, target: SocketAddr| {
        let from = if target.is_ipv4() { source(GHOST_V4) } else { source(GHOST_V6) };
        frame::syn(link, from, target)
    };
    let optioned = Ipv4 { source: GHOST_V4, destination: PUBLIC_V4, option_words: 3, ..Ipv4::new() };
    let ssh: SocketAddr = (PUBLIC_V4, 22).into();
    let ssh_v6: SocketAddr = (PUBLIC_V6, 22).into();
    let first = Ipv4 { source: GHOST_V4, destination: OTHER, fragment: 0x2000, ..Ipv4::new() };
    let last = Ipv4 { fragment: 4, ..first.clone() };
    let pieces = Tcp::syn().segment(source(GHOST_V4), (OTHER, 443).into(), &[0; 44]);
    let (head, tail) = pieces.split_at(32);
    let datagram = |target: SocketAddr| {
        let from = if target.is_ipv4() { source(GHOST_V4) } else { source(GHOST_V6) };
        frame::udp(&plain, from, target, b"hello")
    };
    let chain = [extension::options(0), extension::options(60)];
    let chained =
        frame::ipv6(GHOST_V6, PUBLIC_V6, &chain, 6, &Tcp::syn().segment(source(GHOST_V6), ssh_v6, &[]));
    let public = |what, frame| (what, Side::Public, vec![frame]);
    vec![
        public("a SYN to another port", syn(&plain, ssh)),
        public("a SYN to another port, v6", syn(&plain, ssh_v6)),
        public("a SYN to a port beside the listener's", syn(&plain, (PUBLIC_V4, 444).into())),
        public("a SYN to another address", syn(&plain, (OTHER, 443).into())),
        public("a tagged SYN to another port", syn(&tagged, ssh)),
        public("a SYN with options to another port", {
            plain.v4(&optioned.packet(&Tcp::syn().segment(source(GHOST_V4), ssh, &[])))
        }),
        public("a SYN behind extension headers to another port", plain.v6(&chained)),
        (
            "fragments to another address",
            Side::Public,
            vec![plain.v4(&first.packet(head)), plain.v4(&last.packet(tail))],
        ),
        public("UDP to the listener's port", datagram(HTTPS_V4)),
        public("UDP to the listener's port, v6", datagram(HTTPS_V6)),
        public("an echo request", icmp(&plain, false, 8, 0)),
        public("an echo request, v6", icmp(&plain, true, 128, 0)),
        public("fragmentation needed", icmp(&plain, false, 3, 4)),
        public("packet too big", icmp(&plain, true, 2, 0)),
        public("an ARP frame", plain.bare(0x0806, &[0; 28])),
        public("an LLDP frame", plain.bare(0x88cc, &[0; 46])),
        public("a frame of no known kind", plain.bare(0x1234, &[0xff; 46])),
        (
            "a SYN to the other interface's own address",
            Side::Lan,
            vec![syn(&lan, (IpAddr::V4(Ipv4Addr::new(10, 7, 0, 1)), 22).into())],
        ),
    ]
}

#[test]
fn what_is_not_addressed_to_a_listener_passes() {
    let site = Site::open();
    site.net.gateway_address("pub0", &format!("{OTHER}/24"));
    let witness = Witness::new(&site.net);
    for (what, side, frames) in rows() {
        witness.assert_passed(what, side, &frames);
    }
    for reason in
        ["not_allowed", "closed", "fragment", "truncated", "ext_chain", "vlan_depth", "wrong_interface"]
    {
        assert_eq!(site.drops("public", reason), 0, "{reason}");
    }
}
