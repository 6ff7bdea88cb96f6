//! One packet, one policy, one verdict: every rule of DESIGN §4 by its row, through both entry points.
//!
//! - `segment`: TCP to a listener, in every wrapping.
//! - `parser`: fragments, truncation, chains, ICMP: what is no plain segment.
//! - `endpoint`: which listener a packet is for, and what its state does.

mod endpoint;
mod parser;
mod segment;

use gateway_common::{decide::Verdict, reason::Reason};
use gateway_user::snapshot::filter::{FilterListener, FilterTables};

use crate::{
    packet::{Frame, Upper},
    policy::{WAN, tables},
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
        self.bytes(&format!("{description}\n  {frame:?}"), &frame.bytes(), reason, id, entry);
    }

    /// The same for bytes as they are.
    fn bytes(&mut self, description: &str, bytes: &[u8], reason: Reason, id: u32, entry: Option<u8>) {
        let entry = entry.unwrap_or(Verdict::NO_ENTRY);
        let expected = Observed { action: reason.action(), verdict: Verdict { reason, listener: id, entry } };
        let explained = self.rig.explain(bytes);
        if explained != expected.verdict {
            self.failures.push(format!("explained as {explained:?}, expected {expected:?}: {description}"));
        }
        for name in ENTRY_POINTS.into_iter().filter(|name| Rig::takes(name, bytes)) {
            let observed = self.rig.observe(name, bytes, &self.ids);
            if observed != expected {
                self.failures
                    .push(format!("{name}: expected {expected:?}, observed {observed:?}: {description}"));
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

fn echo_kind(frame: &Frame) -> u8 {
    if is_v6(frame) { 128 } else { 8 }
}

/// An echo request from and to the ends of `frame`.
fn echo(frame: &Frame) -> Frame {
    Frame { upper: Upper::Icmp { kind: echo_kind(frame) }, ..frame.clone() }
}

/// A segment to `port` between the ends of `frame`.
fn to_port(frame: &Frame, port: u16, flags: u8) -> Frame {
    Frame { upper: Upper::Tcp { source_port: 40000, port, flags }, ..frame.clone() }
}
