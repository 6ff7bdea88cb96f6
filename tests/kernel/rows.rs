//! One packet, one policy, one verdict: every rule of DESIGN §4 by its row, through both entry points.

use gateway_common::{decide::Verdict, reason::Reason};
use gateway_user::snapshot::filter::{Echo, FilterListener, FilterTables};

use crate::{
    packet::{ACK, ETHERNET, Extension, Frame, RST, SYN, Upper, protocol},
    policy::{WAN, listener, tables},
    rig::{ENTRY_POINTS, Observed, Rig},
};

/// Checks rows in one rig; all failures are shown at once.
pub(crate) struct Rows {
    rig: Rig,
    generation: u64,
    ids: Vec<u32>,
    failures: Vec<String>,
}

impl Rows {
    fn new() -> Self {
        Self { rig: Rig::load(WAN), generation: 0, ids: Vec::new(), failures: Vec::new() }
    }

    fn policy(&mut self, listeners: &[FilterListener]) -> FilterTables {
        self.generation += 1;
        self.ids = listeners.iter().map(|it| u32::from(it.id)).collect();
        let tables = tables(self.generation, listeners.to_vec());
        self.rig.publish(&tables);
        tables
    }

    /// `frame` gets `reason`, on the account of the listener `id`, by its entry at `entry`.
    fn expect(&mut self, description: &str, frame: &Frame, reason: Reason, id: u32, entry: Option<u8>) {
        let bytes = frame.bytes();
        let entry = entry.unwrap_or(Verdict::NO_ENTRY);
        let expected = Observed { action: reason.action(), verdict: Verdict { reason, listener: id, entry } };
        for name in ENTRY_POINTS {
            let observed = self.rig.observe(name, &bytes, &self.ids);
            if observed != expected {
                self.failures.push(format!(
                    "{name}: {description}: expected {expected:?}, observed {observed:?}\n  {frame:?}"
                ));
            }
        }
    }

    fn pass(&mut self, description: &str, frame: &Frame) {
        self.expect(description, frame, Reason::NotListener, 0, None);
    }

    fn finish(self) {
        assert!(self.failures.is_empty(), "{} rows fail:\n{}", self.failures.len(), self.failures.join("\n"));
    }
}

const HOST4: &str = "198.51.100.1";
const HOST6: &str = "2001:db8:1::1";
const LISTED4: &str = "192.0.2.1";
const LISTED6: &str = "2001:db8:2::1";
const STRANGER4: &str = "203.0.113.9";
const STRANGER6: &str = "2001:db8:3::9";

const TAGGED: [&[(u16, u16)]; 6] = [
    &[],
    &[(0x8100, 5)],
    &[(0x88a8, 5)],
    // Priority, DEI and id.
    &[(0x8100, 0xf005)],
    &[(0x88a8, 7), (0x8100, 5)],
    &[(0x8100, 7), (0x8100, 5)],
];

/// The same destination from a listed and from another source, in both families.
fn sources() -> [(Frame, bool); 4] {
    [
        (Frame::between(LISTED4, HOST4), true),
        (Frame::between(STRANGER4, HOST4), false),
        (Frame::between(LISTED6, HOST6), true),
        (Frame::between(STRANGER6, HOST6), false),
    ]
}

fn is_v6(frame: &Frame) -> bool {
    frame.destination.is_ipv6()
}

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
                let echo = Frame { upper: Upper::Icmp { kind: echo_kind(&frame) }, ..frame.clone() };
                rows.expect("deep echo, to a listener", &echo, Reason::VlanDepth, 3, None);
                let upper = Upper::Tcp { source_port: 1, port: 22, flags: SYN };
                rows.pass("deep, to another port", &Frame { upper, ..frame });
            }
            for depth in 5..=6 {
                let frame = Frame { tags: vec![(0x88a8, 5); depth], ..frame.clone() };
                rows.expect("deeper than read", &frame, Reason::VlanDepth, 0, None);
            }
        }
    }
    rows.finish();
}

fn echo_kind(frame: &Frame) -> u8 {
    if is_v6(frame) { 128 } else { 8 }
}
