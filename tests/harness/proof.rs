//! Who dropped it? Five witnesses of one packet's fate, so that a test can tell the kernel's drop from the proxy's.

use std::{thread, time::Duration};

use crate::{
    Net, Segment,
    behind::{self, Behind},
    topology::{GATE, GHOST_MAC, LAN, NIC, PUBLIC},
    wait,
    wire::Wire,
    xdp::{self, Counting, Mode},
};

/// The interface of the gateway at which frames arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Public,
    Lan,
}

/// Everything that watches while frames are sent.
#[derive(Debug)]
pub struct Witness<'a> {
    net: &'a Net,
    behind: Behind,
    counting: Counting,
}

/// What the witnesses saw. All five true: XDP dropped it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The interface has a program attached in native mode.
    pub link_native: bool,
    /// That program ran at least once per frame.
    pub program_ran: bool,
    /// A capture on the interface does not have the frames.
    pub not_captured: bool,
    /// The host's packet filter, at its earliest hook, did not count them.
    pub not_counted: bool,
    /// Nothing came back: no SYN-ACK, no RST.
    pub no_answer: bool,
}

/// Time for an answer to come back, once the program has run or the capture has the frames.
const SETTLE: Duration = Duration::from_millis(40);

// === impl Witness ===

impl<'a> Witness<'a> {
    #[must_use]
    #[track_caller]
    pub fn new(net: &'a Net) -> Self {
        Self::with(net, &[PUBLIC, LAN])
    }

    /// Watches these interfaces of the gateway.
    #[must_use]
    #[track_caller]
    pub fn with(net: &'a Net, interfaces: &[&str]) -> Self {
        Self { net, behind: Behind::watch(&net.gateway, interfaces), counting: Counting::start() }
    }

    /// The counters behind XDP.
    #[must_use]
    pub fn behind(&self) -> &Behind {
        &self.behind
    }

    /// Sends frames with the ghost's MAC to one side of the gateway and watches what becomes of them.
    #[must_use]
    #[track_caller]
    pub fn send(&self, side: Side, frames: &[Vec<u8>]) -> Proof {
        match side {
            Side::Public => self.send_by(PUBLIC, &Wire::open(&self.net.wire, GATE), frames),
            Side::Lan => self.send_by(LAN, &Wire::open(&self.net.office, NIC), frames),
        }
    }

    /// As [`Self::send`], by the hand that holds the far end of the gateway's `interface`.
    #[must_use]
    #[track_caller]
    pub fn send_by(&self, interface: &str, hand: &Wire, frames: &[Vec<u8>]) -> Proof {
        let counter = &behind::ghost(interface);
        let eye = Wire::open(&self.net.gateway, interface);
        let link = xdp::attached(&self.net.gateway, interface);
        let runs = || link.as_ref().and_then(|link| self.counting.runs(link.id)).unwrap_or_default();
        let (runs_before, counted_before) = (runs(), self.behind.packets(counter));
        for frame in frames {
            assert_eq!(
                frame.get(6..12),
                Some(GHOST_MAC.as_slice()),
                "the witnesses look for the ghost's MAC"
            );
            hand.send(frame);
        }
        let wanted = frames.len() as u64;
        let mut captured = Vec::new();
        let mut look = || {
            captured.extend(
                eye.drain().into_iter().filter(|seen| !seen.outgoing && seen.is_from_mac(&GHOST_MAC)),
            );
            captured.len()
        };
        let arrived = wait::whether(Duration::from_secs(1), || {
            runs() >= runs_before + wanted || look() >= frames.len()
        });
        thread::sleep(SETTLE);
        look();
        assert!(arrived, "{interface}: neither the program nor a capture has seen the frames");
        let answers = hand.drain().into_iter().filter(|seen| {
            !seen.outgoing && seen.bytes.get(..6) == Some(GHOST_MAC.as_slice()) && seen.tcp_flags().is_some()
        });
        Proof {
            link_native: link.as_ref().is_some_and(|link| link.mode == Mode::Native),
            program_ran: runs() >= runs_before + wanted,
            not_captured: captured.is_empty(),
            not_counted: self.behind.packets(counter) == counted_before,
            no_answer: answers.count() == 0,
        }
    }

    /// Sends the frames and asserts that the kernel dropped every one of them.
    #[track_caller]
    pub fn assert_dropped_in_kernel(&self, case: &str, side: Side, frames: &[Vec<u8>]) {
        let proof = self.send(side, frames);
        assert_eq!(proof, Proof::dropped_in_kernel(), "{case}");
    }

    /// As [`Self::assert_dropped_in_kernel`], on a segment's cable.
    #[track_caller]
    pub fn assert_dropped_on(&self, case: &str, segment: &Segment, frames: &[Vec<u8>]) {
        let proof = self.send_by(segment.interface, &segment.attacker(), frames);
        assert_eq!(proof, Proof::dropped_in_kernel(), "{case}");
    }

    /// As [`Self::assert_passed`], on a segment's cable.
    #[track_caller]
    pub fn assert_passed_on(&self, case: &str, segment: &Segment, frames: &[Vec<u8>]) {
        let proof = self.send_by(segment.interface, &segment.attacker(), frames);
        assert!(!proof.not_captured && !proof.not_counted, "{case}: dropped in the kernel\n{proof:?}");
    }

    /// Sends the frames and asserts that every one of them got past XDP.
    #[track_caller]
    pub fn assert_passed(&self, case: &str, side: Side, frames: &[Vec<u8>]) {
        let proof = self.send(side, frames);
        assert!(!proof.not_captured && !proof.not_counted, "{case}: dropped in the kernel\n{proof:?}");
    }
}

// === impl Proof ===

impl Proof {
    /// What a drop in the kernel looks like.
    #[must_use]
    pub const fn dropped_in_kernel() -> Self {
        Self { link_native: true, program_ran: true, not_captured: true, not_counted: true, no_answer: true }
    }
}
