//! TCP to a listener in every wrapping: tags, options, extension headers; lists hit, missed and empty.

use gateway_common::reason::Reason;

use super::{HOST4, HOST6, Rows, TAGGED, echo, is_v6, sources, to_port};
use crate::{
    packet::{ACK, Extension, Frame, RST, SYN, Upper, protocol},
    policy::listener,
};

#[test]
fn a_segment_to_a_listener_is_judged_by_its_list_however_it_is_wrapped() {
    let mut rows = Rows::new();
    let lists: [(&str, &[&str]); 2] =
        [("a list", &["192.0.2.0/24", "2001:db8:2::/48"]), ("an empty list", &[])];
    for (list, entries) in lists {
        for addresses in [&[HOST4, HOST6][..], &["*"], &["0.0.0.0", "::"]] {
            rows.policy(&[listener(3, "wan", addresses, entries)]);
            for tags in TAGGED {
                for (frame, listed) in sources() {
                    let frame = Frame { tags: tags.to_vec(), ..frame };
                    let (reason, entry) = if listed && !entries.is_empty() {
                        (Reason::Allowed, Some(u8::from(is_v6(&frame))))
                    } else {
                        (Reason::NotAllowed, None)
                    };
                    let about = format!("{list}, {addresses:?}, tags {tags:?}, {}", frame.source);
                    for flags in [SYN, ACK, SYN | ACK, RST, 0, 0xff] {
                        let upper = Upper::Tcp { source_port: 1, port: 443, flags };
                        let frame = Frame { upper, ..frame.clone() };
                        rows.expect(&format!("{about}, flags {flags:#x}"), &frame, reason, 3, entry);
                    }
                    for port in [22, 80, 442, 444, 0, 65535] {
                        let upper = Upper::Tcp { source_port: 443, port, flags: SYN };
                        rows.pass(&format!("{about}, port {port}"), &Frame { upper, ..frame.clone() });
                    }
                    rows.pass(
                        &format!("{about}, UDP"),
                        &Frame { upper: Upper::Udp { port: 443 }, ..frame.clone() },
                    );
                    for options in 1..=10 {
                        if !is_v6(&frame) {
                            let about = format!("{about}, {options} words of options");
                            rows.expect(&about, &Frame { options, ..frame.clone() }, reason, 3, entry);
                        }
                    }
                    if is_v6(&frame) {
                        for (name, chain) in chains() {
                            let frame = Frame { chain, ..frame.clone() };
                            rows.expect(&format!("{about}, {name}"), &frame, reason, 3, entry);
                        }
                    }
                }
            }
        }
    }
    rows.finish();
}

/// Extension headers behind which TCP is found.
fn chains() -> Vec<(String, Vec<Extension>)> {
    let mut chains = Vec::new();
    for number in [protocol::HOP_BY_HOP, protocol::ROUTING, protocol::DESTINATION] {
        for units in [0, 1, 31] {
            chains.push((format!("header {number} of {units}"), vec![Extension::of(number, units)]));
        }
    }
    for words in [1, 4, 9] {
        chains.push((format!("authentication of {words}"), vec![Extension::authentication(words)]));
    }
    chains.push(("an atomic fragment".to_owned(), vec![Extension::fragment(0, false)]));
    chains.push((
        "all of them".to_owned(),
        vec![
            Extension::of(protocol::HOP_BY_HOP, 1),
            Extension::of(protocol::DESTINATION, 0),
            Extension::of(protocol::ROUTING, 2),
            Extension::fragment(0, false),
            Extension::authentication(4),
            Extension::of(protocol::DESTINATION, 3),
            Extension::of(protocol::DESTINATION, 0),
            Extension::of(protocol::DESTINATION, 0),
        ],
    ));
    chains
}

#[test]
fn more_than_two_tags_never_reach_a_listener() {
    let mut rows = Rows::new();
    for addresses in [&[HOST4, HOST6][..], &["*"]] {
        rows.policy(&[listener(3, "wan", addresses, &["0.0.0.0/0", "::/0"])]);
        for (frame, _) in sources() {
            for depth in 3..=4 {
                let frame = Frame { tags: vec![(0x8100, 5); depth], ..frame.clone() };
                rows.expect("deep, to a listener", &frame, Reason::VlanDepth, 3, None);
                let ping = echo(&frame);
                rows.expect("deep echo, to a listener", &ping, Reason::VlanDepth, 3, None);
                let frame = to_port(&frame, 22, SYN);
                rows.pass("deep, to another port", &frame);
            }
            for depth in 5..=6 {
                let frame = Frame { tags: vec![(0x88a8, 5); depth], ..frame.clone() };
                rows.expect("deeper than read", &frame, Reason::VlanDepth, 0, None);
            }
        }
    }
    rows.finish();
}
