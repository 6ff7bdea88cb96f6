//! Which listener a packet is for, and what the listener's state does with it.

use gateway_common::reason::Reason;
use gateway_user::snapshot::filter::{Echo, FilterListener};

use super::{HOST4, HOST6, LISTED4, LISTED6, Rows, STRANGER4, STRANGER6, echo, is_v6, sources, to_port};
use crate::{
    packet::{ACK, Extension, Frame, RST, SYN, Upper, protocol},
    policy::listener,
};

const EVERYBODY: &[&str] = &["0.0.0.0/0", "::/0"];

/// Listeners of 64 addresses of their own on port 443, each with a list of its own.
fn many(count: u16, interface: &str) -> Vec<FilterListener> {
    (0..count)
        .map(|number| {
            let addresses = [format!("198.51.100.{number}"), format!("2001:db8:1::{number:x}")];
            let entries = [format!("10.{number}.0.0/16"), format!("2001:db8:ff:{number:x}::/64")];
            listener(
                number + 1,
                interface,
                &addresses.each_ref().map(|it| it.as_str()),
                &entries.each_ref().map(|it| it.as_str()),
            )
        })
        .collect()
}

#[test]
fn one_port_has_one_or_five_or_sixty_four_listeners_each_with_its_list() {
    let mut rows = Rows::new();
    for count in [1, 2, 3, 4, 5, 6, 64] {
        let listeners = many(count, "wan");
        let tables = rows.policy(&listeners);
        assert!(tables.slots(0, &[]).count() <= 2 * usize::from(count));
        for number in 0..count {
            let id = u32::from(number) + 1;
            let other = (number + 1) % 200;
            for (family, source, stranger, destination) in [
                (0, format!("10.{number}.3.4"), format!("10.{other}.3.4"), format!("198.51.100.{number}")),
                (
                    1,
                    format!("2001:db8:ff:{number:x}::5"),
                    format!("2001:db8:ff:{other:x}::5"),
                    format!("2001:db8:1::{number:x}"),
                ),
            ] {
                let frame = Frame::between(&source, &destination);
                rows.expect("its own", &frame, Reason::Allowed, id, Some(family));
                let frame = Frame::between(&stranger, &destination);
                rows.expect("its neighbour's", &frame, Reason::NotAllowed, id, None);
                rows.expect("echo", &echo(&frame), Reason::Echo, id, None);
            }
        }
        rows.pass("an address between them", &Frame::between(LISTED4, "198.51.100.200"));
        rows.pass("another port", &to_port(&Frame::between(LISTED4, "198.51.100.0"), 80, SYN));
    }
    rows.finish();
}

#[test]
fn an_endpoint_is_reached_through_its_own_interface_only() {
    let mut rows = Rows::new();
    for crowd in [0, 60] {
        // With a crowd on the same port, the endpoint table is asked instead of the chain.
        let mut listeners = many(crowd, "wan");
        listeners.push(listener(101, "lan", &["203.0.113.1", "2001:db8:9::1"], EVERYBODY));
        rows.policy(&listeners);
        for frame in [Frame::between(LISTED4, "203.0.113.1"), Frame::between(LISTED6, "2001:db8:9::1")] {
            rows.expect("lan's address through wan", &frame, Reason::WrongInterface, 101, None);
            let frame = Frame { tags: vec![(0x8100, 5)], ..frame };
            rows.expect("with a tag", &frame, Reason::WrongInterface, 101, None);
            rows.expect("echo", &echo(&frame), Reason::WrongInterface, 101, None);
            rows.pass("another port", &to_port(&frame, 22, SYN));
            let first = Frame { fragment: 0x2000, chain: frame.chain.clone(), ..frame.clone() };
            if !is_v6(&frame) {
                rows.expect("first fragment", &first, Reason::WrongInterface, 101, None);
                let later = Frame { fragment: 0x0001, ..frame.clone() };
                rows.expect("later fragment", &later, Reason::Fragment, 101, None);
            } else {
                let chain = vec![Extension::of(protocol::DESTINATION, 0); 9];
                rows.expect("long chain", &Frame { chain, ..frame.clone() }, Reason::ExtChain, 101, None);
            }
            let cut = Some(18 + if is_v6(&frame) { 40 } else { 20 });
            rows.expect("cut", &Frame { cut, ..frame.clone() }, Reason::Truncated, 101, None);
        }
    }
    // A wildcard listener takes what comes in on its interface, and only that.
    rows.policy(&[listener(1, "lan", &["*"], EVERYBODY)]);
    rows.pass("lan's wildcard is none of wan's business", &Frame::between(LISTED4, HOST4));
    rows.policy(&[listener(1, "lan", &[HOST4], EVERYBODY), listener(2, "wan", &["*"], &["192.0.2.0/24"])]);
    rows.expect(
        "wan's wildcard takes lan's address, as the kernel's sockets do",
        &Frame::between(LISTED4, HOST4),
        Reason::Allowed,
        2,
        Some(0),
    );
    rows.policy(&[listener(1, "gone", &[HOST4], EVERYBODY), listener(2, "gone", &["*"], EVERYBODY)]);
    rows.expect(
        "the address of an interface that does not exist",
        &Frame::between(LISTED4, HOST4),
        Reason::WrongInterface,
        1,
        None,
    );
    rows.pass("and its wildcard", &Frame::between(LISTED4, "198.51.100.2"));
    rows.finish();
}

#[test]
fn a_wildcard_takes_nothing_for_a_private_address_of_another_interface() {
    let mut rows = Rows::new();
    for crowd in [0, 60] {
        let mut listeners = many(crowd, "wan");
        let private = listener(101, "lan", &["203.0.113.1", "2001:db8:9::1"], EVERYBODY);
        listeners.push(FilterListener { echo: Echo::Allowlist, ..private });
        let wildcard = listener(102, "wan", &["*"], EVERYBODY);
        listeners.push(FilterListener { ports: vec![443, 8443], ..wildcard });
        rows.policy(&listeners);
        for frame in [Frame::between(LISTED4, "203.0.113.1"), Frame::between(LISTED6, "2001:db8:9::1")] {
            for tags in [vec![], vec![(0x8100, 5)]] {
                let frame = Frame { tags, ..frame.clone() };
                rows.expect("a SYN", &frame, Reason::WrongInterface, 101, None);
                rows.expect("no SYN", &to_port(&frame, 443, ACK), Reason::WrongInterface, 101, None);
                let own = to_port(&frame, 8443, SYN);
                rows.expect("the wildcard's own port", &own, Reason::WrongInterface, 101, None);
                rows.expect("echo", &echo(&frame), Reason::Silent, 101, None);
                rows.pass("a port of neither", &to_port(&frame, 22, SYN));
            }
        }
        for (family, source, target) in [(0, LISTED4, "203.0.113.2"), (1, LISTED6, "2001:db8:9::2")] {
            let frame = Frame::between(source, target);
            rows.expect("the wildcard's own address", &frame, Reason::Allowed, 102, Some(family));
            rows.expect("echo", &echo(&frame), Reason::Echo, 102, None);
        }
    }
    rows.finish();
}

#[test]
fn a_listener_of_a_vlan_takes_its_tag_only() {
    let mut rows = Rows::new();
    for crowd in [0, 60] {
        let mut listeners = many(crowd, "wan");
        listeners.push(listener(101, "wan.5", &["203.0.113.1", "2001:db8:9::1"], EVERYBODY));
        listeners.push(listener(102, "wan.5", &["*"], &["192.0.2.0/24", "2001:db8:2::/48"]));
        rows.policy(&listeners);
        for frame in [Frame::between(LISTED4, "203.0.113.1"), Frame::between(LISTED6, "2001:db8:9::1")] {
            let entry = Some(u8::from(is_v6(&frame)));
            for (tags, own) in [
                (vec![(0x8100, 5)], true),
                (vec![(0x88a8, 0xb005)], true),
                (vec![(0x8100, 5), (0x8100, 6)], true),
                // A tag with id 0 carries a priority and no VLAN.
                (vec![(0x8100, 0xe000), (0x8100, 5)], true),
                (vec![], false),
                (vec![(0x8100, 6)], false),
                (vec![(0x8100, 6), (0x8100, 5)], false),
                (vec![(0x8100, 0)], false),
            ] {
                let frame = Frame { tags: tags.clone(), ..frame.clone() };
                let (reason, entry) =
                    if own { (Reason::Allowed, entry) } else { (Reason::WrongInterface, None) };
                rows.expect(&format!("{tags:?}"), &frame, reason, 101, entry);
                let ping = if own { Reason::Echo } else { Reason::WrongInterface };
                rows.expect(&format!("echo {tags:?}"), &echo(&frame), ping, 101, None);
            }
        }
        for frame in [Frame::between(STRANGER4, "203.0.113.77"), Frame::between(STRANGER6, "2001:db8:9::77")]
        {
            rows.pass("any address, untagged", &frame);
            let frame = Frame { tags: vec![(0x8100, 5)], ..frame };
            rows.expect("any address, tagged", &frame, Reason::NotAllowed, 102, None);
        }
    }
    // The listener that names the VLAN goes before the one that takes any.
    rows.policy(&[
        listener(1, "wan", &[HOST4], &["192.0.2.0/24"]),
        listener(2, "wan.5", &[HOST4], &["203.0.113.0/24"]),
    ]);
    let frame = Frame::between(LISTED4, HOST4);
    rows.expect("untagged", &frame, Reason::Allowed, 1, Some(0));
    rows.expect("VLAN 6", &Frame { tags: vec![(0x8100, 6)], ..frame.clone() }, Reason::Allowed, 1, Some(0));
    rows.expect("VLAN 5", &Frame { tags: vec![(0x8100, 5)], ..frame }, Reason::NotAllowed, 2, None);
    rows.finish();
}

#[test]
fn an_exact_address_goes_before_a_wildcard() {
    let mut rows = Rows::new();
    for crowd in [0, 60] {
        let mut listeners = many(crowd, "wan");
        listeners.push(listener(101, "wan", &["*"], &["192.0.2.0/24"]));
        listeners.push(listener(102, "wan", &["203.0.113.1"], &["203.0.113.0/24"]));
        rows.policy(&listeners);
        let frame = Frame::between(LISTED4, "203.0.113.1");
        rows.expect("exact", &frame, Reason::NotAllowed, 102, None);
        rows.expect("exact", &Frame::between(STRANGER4, "203.0.113.1"), Reason::Allowed, 102, Some(0));
        rows.expect("any", &Frame::between(LISTED4, "203.0.113.2"), Reason::Allowed, 101, Some(0));
        rows.expect("any", &Frame::between(LISTED6, "2001:db8:9::1"), Reason::NotAllowed, 101, None);
    }
    // One family only.
    rows.policy(&[listener(1, "wan", &["0.0.0.0"], &["0.0.0.0/0"])]);
    rows.expect("any IPv4", &Frame::between(LISTED4, HOST4), Reason::Allowed, 1, Some(0));
    rows.pass("no IPv6", &Frame::between(LISTED6, HOST6));
    rows.finish();
}

#[test]
fn a_closed_listener_drops_tcp_and_answers_echo_by_its_rule() {
    let mut rows = Rows::new();
    for (rule, reply) in [(Echo::Everybody, None), (Echo::Allowlist, Some(()))] {
        for open in [true, false] {
            let entries = &["192.0.2.0/24", "2001:db8:2::/48"];
            let closed = FilterListener { open, echo: rule, ..listener(3, "wan", &[HOST4, HOST6], entries) };
            rows.policy(&[closed]);
            for (frame, listed) in sources() {
                let entry = Some(u8::from(is_v6(&frame)));
                for flags in [SYN, ACK, RST] {
                    let (reason, entry) = match (open, listed) {
                        (false, _) => (Reason::Closed, None),
                        (true, true) => (Reason::Allowed, entry),
                        (true, false) => (Reason::NotAllowed, None),
                    };
                    rows.expect("segment", &to_port(&frame, 443, flags), reason, 3, entry);
                }
                let (reason, entry) = match (reply, listed) {
                    (None, _) => (Reason::Echo, None),
                    (Some(()), true) => (Reason::Echo, entry),
                    (Some(()), false) => (Reason::NotAllowed, None),
                };
                rows.expect("echo", &echo(&frame), reason, 3, entry);
            }
        }
    }
    rows.finish();
}

#[test]
fn a_silent_endpoint_answers_nothing() {
    let mut rows = Rows::new();
    let silent = FilterListener { echo: Echo::Silent, ..listener(3, "wan", &[HOST4, HOST6], EVERYBODY) };
    rows.policy(std::slice::from_ref(&silent));
    for (frame, _) in sources() {
        rows.expect("segment", &frame, Reason::Silent, 3, None);
        rows.expect("echo", &echo(&frame), Reason::Silent, 3, None);
    }
    // A new network may have the address of a deleted one.
    rows.policy(&[silent, listener(4, "wan", &[HOST4], EVERYBODY)]);
    let frame = Frame::between(LISTED4, HOST4);
    rows.expect("segment", &frame, Reason::Allowed, 4, Some(0));
    rows.expect("echo", &echo(&frame), Reason::Echo, 4, None);
    rows.finish();
}

#[test]
fn a_draining_entry_keeps_its_flows_and_gets_no_new_ones() {
    let mut rows = Rows::new();
    let entries = &["-192.0.2.0/24", "192.0.2.128/25", "-2001:db8:2::/48", "-203.0.113.0/24"];
    rows.policy(&[listener(3, "wan", &["*"], entries)]);
    for (source, host, id) in [(LISTED4, HOST4, 0), (LISTED6, HOST6, 2), (STRANGER4, HOST4, 3)] {
        let frame = Frame::between(source, host);
        for flags in [SYN, SYN | 0xc0, SYN | RST] {
            let frame = to_port(&frame, 443, flags);
            rows.expect("new", &frame, Reason::DrainingNew, 3, Some(id));
        }
        for flags in [ACK, SYN | ACK, RST, 0] {
            let frame = to_port(&frame, 443, flags);
            rows.expect("established", &frame, Reason::Draining, 3, Some(id));
        }
    }
    rows.expect("still allowed", &Frame::between("192.0.2.200", HOST4), Reason::Allowed, 3, Some(1));
    let private = FilterListener { echo: Echo::Allowlist, ..listener(3, "wan", &["*"], &["-192.0.2.0/24"]) };
    rows.policy(&[private]);
    let ping = echo(&Frame::between(LISTED4, HOST4));
    rows.expect("echo from a draining entry", &ping, Reason::NotAllowed, 3, None);
    rows.finish();
}

#[test]
fn the_longest_prefix_counts_and_thirty_entries_fit() {
    let mut rows = Rows::new();
    let mut entries = vec!["0.0.0.0/0".to_owned(), "10.0.0.0/8".to_owned(), "10.1.0.0/16".to_owned()];
    entries.extend((3..15).map(|number| format!("10.1.{number}.0/24")));
    entries.extend((0..15).map(|number| format!("-10.1.{number}.1/32")));
    let entries = entries.iter().map(String::as_str).collect::<Vec<_>>();
    rows.policy(&[listener(3, "wan", &[HOST4], &entries)]);
    for (source, id) in [("9.9.9.9", 0), ("10.9.9.9", 1), ("10.1.1.1", 2), ("10.1.14.1", 14), ("10.1.3.2", 3)]
    {
        let frame = Frame::between(source, HOST4);
        // What an entry allows is not draining, even where a draining one is longer.
        rows.expect(source, &frame, Reason::Allowed, 3, Some(id));
    }
    let mut entries = (0..15).map(|number| format!("172.16.{number}.0/24")).collect::<Vec<_>>();
    entries.extend((0..15).map(|number| format!("-10.1.{number}.0/24")));
    let entries = entries.iter().map(String::as_str).collect::<Vec<_>>();
    rows.policy(&[listener(3, "wan", &[HOST4], &entries)]);
    for number in 0..15 {
        let frame = Frame::between(&format!("172.16.{number}.9"), HOST4);
        rows.expect("allowed", &frame, Reason::Allowed, 3, Some(number));
        let frame = Frame::between(&format!("10.1.{number}.9"), HOST4);
        rows.expect("draining", &frame, Reason::DrainingNew, 3, Some(15 + number));
    }
    rows.expect("neither", &Frame::between("10.1.15.9", HOST4), Reason::NotAllowed, 3, None);
    rows.finish();
}

#[test]
fn a_listener_without_ports_still_owns_its_address() {
    let mut rows = Rows::new();
    let portless = FilterListener {
        ports: Vec::new(),
        echo: Echo::Allowlist,
        ..listener(3, "wan", &[HOST4], &["192.0.2.0/24"])
    };
    rows.policy(&[portless]);
    rows.pass("a segment", &Frame::between(STRANGER4, HOST4));
    rows.expect("echo", &echo(&Frame::between(STRANGER4, HOST4)), Reason::NotAllowed, 3, None);
    rows.expect("echo", &echo(&Frame::between(LISTED4, HOST4)), Reason::Echo, 3, Some(0));
    let udp = Frame { upper: Upper::Udp { port: 443 }, ..Frame::between(STRANGER4, HOST4) };
    rows.pass("UDP", &udp);
    rows.finish();
}
