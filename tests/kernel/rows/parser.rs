//! What is no plain segment: fragments, cut headers, long chains, ICMP, other protocols.

use gateway_common::reason::Reason;

use super::{HOST4, HOST6, LISTED4, LISTED6, Rows, STRANGER4, echo, is_v6, sources, to_port};
use crate::{
    packet::{Extension, Frame, SYN, Upper, protocol},
    policy::listener,
};

/// A listener by its addresses and one that takes all, each open to everybody: what is dropped is not so for its source.
fn exact_and_any() -> [&'static [&'static str]; 2] {
    [&[HOST4, HOST6], &["*"]]
}

const EVERYBODY: &[&str] = &["0.0.0.0/0", "::/0"];

/// As [`Frame::fragment`] and as a fragment header.
fn fragment(frame: &Frame, offset: u16, more: bool) -> Frame {
    let mut frame = Frame { fragment: offset | u16::from(more) << 13, ..frame.clone() };
    if is_v6(&frame) {
        frame.chain.push(Extension::fragment(offset, more));
    }
    frame
}

#[test]
fn fragments_of_tcp_do_not_reach_a_listener() {
    let mut rows = Rows::new();
    for addresses in exact_and_any() {
        rows.policy(&[listener(3, "wan", addresses, EVERYBODY)]);
        let exact = addresses.len() == 2;
        for (frame, _) in sources() {
            for tags in [0, 1, 2] {
                let frame = Frame { tags: vec![(0x8100, 9); tags], ..frame.clone() };
                let first = fragment(&frame, 0, true);
                rows.expect("first fragment", &first, Reason::Fragment, 3, None);
                rows.pass("first fragment to another port", &to_port(&first, 22, SYN));
                for (offset, more) in [(1, true), (1, false), (185, true), (8191, false)] {
                    let later = fragment(&frame, offset, more);
                    if exact {
                        rows.expect("later fragment, exact", &later, Reason::Fragment, 3, None);
                    } else {
                        rows.pass("later fragment, any", &later);
                    }
                    let udp = Frame { upper: Upper::Udp { port: 443 }, ..later };
                    rows.pass("later fragment of UDP", &udp);
                }
                let udp = Frame { upper: Upper::Udp { port: 443 }, ..first };
                rows.pass("first fragment of UDP", &udp);
            }
        }
        // IPv4: the do-not-fragment and the evil bit (RFC 3514) are no fragmentation.
        for flags in [0x0000, 0x4000, 0x8000, 0xc000] {
            let frame = Frame { fragment: flags, ..Frame::between(LISTED4, HOST4) };
            rows.expect("not a fragment", &frame, Reason::Allowed, 3, Some(0));
        }
        // Options move the ports of a first fragment, too.
        let frame = Frame { options: 5, ..fragment(&Frame::between(LISTED4, HOST4), 0, true) };
        rows.expect("first fragment with options", &frame, Reason::Fragment, 3, None);
    }
    rows.finish();
}

#[test]
fn fragments_hide_nothing_behind_their_header() {
    let mut rows = Rows::new();
    rows.policy(&[listener(3, "wan", &[HOST6], EVERYBODY)]);
    let frame = Frame::between(LISTED6, HOST6);
    let options = |number| Extension::of(number, 0);
    let chains: &[(&str, Vec<Extension>, Reason)] = &[
        (
            "options before and after a first fragment",
            vec![options(protocol::HOP_BY_HOP), Extension::fragment(0, true), options(protocol::DESTINATION)],
            Reason::Fragment,
        ),
        (
            "a later fragment whose upper layer is in another one",
            vec![Extension::fragment(4, false), options(protocol::DESTINATION)],
            Reason::Fragment,
        ),
        (
            "an atomic fragment, then a first one",
            vec![Extension::fragment(0, false), Extension::fragment(0, true)],
            Reason::Fragment,
        ),
        (
            "a first fragment, then an atomic one",
            vec![Extension::fragment(0, true), Extension::fragment(0, false)],
            Reason::Fragment,
        ),
        (
            "a fragment of a fragment",
            vec![Extension::fragment(0, true), Extension::fragment(7, true)],
            Reason::Fragment,
        ),
    ];
    for (about, chain, reason) in chains {
        rows.expect(about, &Frame { chain: chain.clone(), ..frame.clone() }, *reason, 3, None);
    }
    rows.finish();
}

#[test]
fn headers_that_end_too_early_do_not_reach_a_listener() {
    let mut rows = Rows::new();
    for addresses in exact_and_any() {
        rows.policy(&[listener(3, "wan", addresses, EVERYBODY)]);
        for (frame, _) in sources() {
            for tags in [0, 1, 2] {
                let frame = Frame { tags: vec![(0x88a8, 9); tags], ..frame.clone() };
                let ip = 14 + 4 * tags + if is_v6(&frame) { 40 } else { 20 };
                // TEST_RUN takes no less than an Ethernet header.
                for cut in 14..ip {
                    rows.pass("within the IP header", &Frame { cut: Some(cut), ..frame.clone() });
                }
                for cut in ip..ip + 14 {
                    let about = format!("{} bytes of TCP", cut - ip);
                    let frame = Frame { cut: Some(cut), ..frame.clone() };
                    rows.expect(&about, &frame, Reason::Truncated, 3, None);
                }
                for cut in ip + 14..ip + 20 {
                    let about = format!("{} bytes of TCP", cut - ip);
                    let entry = u8::from(is_v6(&frame));
                    let frame = Frame { cut: Some(cut), ..frame.clone() };
                    rows.expect(&about, &frame, Reason::Allowed, 3, Some(entry));
                }
                // A first fragment needs its ports only.
                let chain = if is_v6(&frame) { 8 } else { 0 };
                for (cut, reason) in [(3, Reason::Truncated), (4, Reason::Fragment)] {
                    let frame = Frame { cut: Some(ip + chain + cut), ..fragment(&frame, 0, true) };
                    rows.expect("a first fragment", &frame, reason, 3, None);
                }
                let ping = Frame { cut: Some(ip), ..echo(&frame) };
                rows.expect("ICMP without its type", &ping, Reason::Truncated, 3, None);
                let udp = Frame { cut: Some(ip), upper: Upper::Udp { port: 443 }, ..frame.clone() };
                rows.pass("UDP without anything", &udp);
            }
        }
        let frame = Frame::between(LISTED6, HOST6);
        for length in 0..8 {
            let chain = vec![Extension::of(protocol::DESTINATION, 0)];
            let frame = Frame { chain, cut: Some(54 + length), ..frame.clone() };
            rows.expect("an extension header that is cut", &frame, Reason::Truncated, 3, None);
        }
        // It says that it is longer than the frame.
        let mut beyond = Extension::of(protocol::DESTINATION, 0);
        beyond.rest[0] = 255;
        let frame = Frame { chain: vec![beyond], ..frame };
        rows.expect("an extension header that leads out of the frame", &frame, Reason::Truncated, 3, None);
    }
    // To an address that no listener has, nothing of this is the filter's business.
    rows.policy(&[listener(3, "wan", &[HOST4, HOST6], EVERYBODY)]);
    rows.pass("cut, to another address", &Frame { cut: Some(40), ..Frame::between(LISTED4, "198.51.100.2") });
    rows.finish();
}

#[test]
fn a_chain_of_more_than_eight_headers_does_not_reach_a_listener() {
    let mut rows = Rows::new();
    for addresses in exact_and_any() {
        rows.policy(&[listener(3, "wan", addresses, EVERYBODY)]);
        for number in [protocol::DESTINATION, protocol::ROUTING, protocol::HOP_BY_HOP] {
            for count in 0..=12 {
                let chain = vec![Extension::of(number, 0); count];
                let frame = Frame { chain, ..Frame::between(LISTED6, HOST6) };
                let (reason, entry) =
                    if count <= 8 { (Reason::Allowed, Some(1)) } else { (Reason::ExtChain, None) };
                rows.expect(&format!("{count} headers"), &frame, reason, 3, entry);
                if count <= 8 {
                    rows.pass("to another port", &to_port(&frame, 22, SYN));
                }
            }
        }
        // 8 headers of 2048 bytes: far beyond one buffer, so the frags program reads by copy.
        let chain = vec![Extension::of(protocol::DESTINATION, 255); 2];
        let frame = Frame { chain, ..Frame::between(LISTED6, HOST6) };
        let bytes = frame.bytes();
        assert!(bytes.len() > 4096);
        let observed = rows.rig.observe("gateway_frags", &bytes, &[3]);
        assert_eq!((observed.verdict.reason, observed.verdict.entry()), (Reason::Allowed, Some(1)));
        let observed = rows.rig.observe("gateway_frags", &to_port(&frame, 22, SYN).bytes(), &[3]);
        assert_eq!(observed.verdict.reason, Reason::NotListener);
    }
    rows.finish();
}

#[test]
fn what_is_no_tcp_passes_whatever_it_is_wrapped_in() {
    let mut rows = Rows::new();
    for addresses in exact_and_any() {
        rows.policy(&[listener(3, "wan", addresses, &[])]);
        for (frame, _) in sources() {
            let v6 = is_v6(&frame);
            // Errors (path MTU!), neighbour discovery, replies; everything but an echo request.
            for kind in (0..=255).filter(|kind| *kind != super::echo_kind(&frame)) {
                rows.pass("ICMP", &Frame { upper: Upper::Icmp { kind }, ..frame.clone() });
            }
            let handled = [
                protocol::HOP_BY_HOP,
                protocol::ROUTING,
                protocol::FRAGMENT,
                protocol::AUTHENTICATION,
                protocol::DESTINATION,
                protocol::ICMPV6,
            ];
            for number in (0..=255).filter(|number| *number != protocol::TCP) {
                if v6 && handled.contains(&number) || !v6 && number == protocol::ICMP {
                    continue;
                }
                let upper = Upper::Raw { protocol: number, bytes: vec![0x01, 0xbb, 0x01, 0xbb, 0, 0, 0, 0] };
                rows.pass(&format!("protocol {number}"), &Frame { upper, ..frame.clone() });
            }
            for number in [protocol::ESP, protocol::NONE, protocol::UDP] {
                if v6 {
                    let chain = vec![Extension::of(protocol::DESTINATION, 0)];
                    let upper = Upper::Raw { protocol: number, bytes: vec![0; 8] };
                    rows.pass("behind options", &Frame { chain, upper, ..frame.clone() });
                }
            }
        }
    }
    rows.finish();
}

#[test]
fn what_is_no_ip_passes() {
    let mut rows = Rows::new();
    rows.policy(&[listener(3, "wan", &["*"], &[])]);
    let frame = Frame::between(STRANGER4, HOST4).bytes();
    for ethertype in [0x0806_u16, 0x8864, 0x8847, 0x88cc, 0x0000, 0x05dc, 0x9100, 0xffff] {
        let mut bytes = frame.clone();
        bytes[12..14].copy_from_slice(&ethertype.to_be_bytes());
        rows.bytes(&format!("EtherType {ethertype:#x}"), &bytes, Reason::NotListener, 0, None);
    }
    // Versions and header lengths that the kernel refuses.
    for first in [0x35, 0x55, 0x65, 0x05, 0x44, 0x40] {
        let mut bytes = frame.clone();
        bytes[14] = first;
        rows.bytes(&format!("first byte {first:#x}"), &bytes, Reason::NotListener, 0, None);
    }
    let mut bytes = Frame::between(LISTED6, HOST6).bytes();
    bytes[14] = 0x45;
    rows.bytes("IPv6 of version 4", &bytes, Reason::NotListener, 0, None);
    rows.finish();
}
