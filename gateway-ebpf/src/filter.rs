//! The decision over the maps: the short way for what most packets are, the general way for the rest.
//!
//! Both ways are `gateway_common::decide`; they differ in how they read the frame. The general way classifies it whole
//! ([`Packet`](gateway_common::packet::Packet) has a dozen fields, more than a BPF program has registers) and is out of
//! line. The short way knows one shape, an untagged frame with TCP right behind a plain IP header, checks its bounds
//! once, and reads a field when it is asked for. The suite `kernel` holds both to the same verdicts.
#![expect(unsafe_code, reason = "a hash map's values may be replaced while they are looked at")]

use gateway_common::{
    decide::{Outcome, Tables, Verdict, decide, decide_segment},
    packet::halves,
    table::{EndpointKey, PORT_GENERATION, Slot},
};

use crate::{
    frame::{Frame, Head, Linear},
    maps::{ENDPOINTS, INTERFACE, PORTS, Ports, SLOT_TABLE},
};

// EtherTypes and protocol numbers, the former as they are on the wire.
const IPV4: u16 = 0x0800_u16.to_be();
const IPV6: u16 = 0x86dd_u16.to_be();
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// More fragments, and the fragment's offset (RFC 791 §3.1).
const FRAGMENT: u16 = 0x3fff_u16.to_be();

/// Ethernet, IPv4 without options, TCP.
const SEGMENT4: usize = 14 + 20 + 20;
/// Ethernet, IPv6, TCP.
const SEGMENT6: usize = 14 + 40 + 20;

/// The verdict about a frame in whatever shape.
#[inline(always)]
pub(crate) fn judge<F: Frame>(frame: &F) -> Verdict {
    match Live::tables() {
        Some(live) => decide(&live, INTERFACE.load(), &frame.packet()),
        // No policy was ever published.
        None => Verdict::NOT_LISTENER,
    }
}

/// Judges a frame, if it has the usual shape; else [`judge`] has to look.
#[inline(always)]
pub(crate) fn judge_usual<O: Outcome>(frame: &Linear, outcome: O) -> O::Done {
    let Some(head) = frame.head::<SEGMENT4>() else { return outcome.general() };
    match head.half::<12>() {
        IPV4 => segment4(&head, outcome),
        IPV6 => segment6(frame, &head, outcome),
        _ => outcome.general(),
    }
}

#[inline(always)]
fn segment4<O: Outcome>(head: &Head<SEGMENT4>, outcome: O) -> O::Done {
    match head.byte::<23>() {
        TCP => {}
        ICMP => return outcome.general(),
        // Whatever its header says else: neither TCP nor echo is none of the filter's business.
        _ => return outcome.judged(Verdict::NOT_LISTENER),
    }
    if head.byte::<14>() != 0x45 || head.half::<20>() & FRAGMENT != 0 {
        return outcome.general();
    }
    let Some(live) = Live::tables() else { return outcome.judged(Verdict::NOT_LISTENER) };
    let word = live.port(u16::from_be(head.half::<36>())).unwrap_or(0);
    if word == 0 {
        return outcome.judged(Verdict::NOT_LISTENER);
    }
    let (destination, source) = (head.word::<30>(), || head.word::<26>());
    decide_segment(&live, INTERFACE.load(), word, destination, source, || is_syn(head.byte::<47>()), outcome)
}

#[inline(always)]
fn segment6<O: Outcome>(frame: &Linear, head: &Head<SEGMENT4>, outcome: O) -> O::Done {
    match head.byte::<20>() {
        TCP => {}
        UDP => return outcome.judged(Verdict::NOT_LISTENER),
        _ => return outcome.general(),
    }
    let Some(head) = frame.head::<SEGMENT6>() else { return outcome.general() };
    if head.byte::<14>() >> 4 != 6 {
        return outcome.general();
    }
    let Some(live) = Live::tables() else { return outcome.judged(Verdict::NOT_LISTENER) };
    let word = live.port(u16::from_be(head.half::<56>())).unwrap_or(0);
    if word == 0 {
        return outcome.judged(Verdict::NOT_LISTENER);
    }
    let destination = halves(&[head.word::<38>(), head.word::<42>(), head.word::<46>(), head.word::<50>()]);
    let source = || halves(&[head.word::<22>(), head.word::<26>(), head.word::<30>(), head.word::<34>()]);
    decide_segment(&live, INTERFACE.load(), word, destination, source, || is_syn(head.byte::<67>()), outcome)
}

#[inline(always)]
const fn is_syn(flags: u8) -> bool {
    flags & (SYN | ACK) == SYN
}

/// The generation that a packet is judged by.
pub(crate) struct Live {
    ports: &'static Ports,
}

impl Live {
    #[inline(always)]
    pub(crate) fn tables() -> Option<Self> {
        PORTS.get(0).map(|ports| Self { ports })
    }
}

impl Tables for Live {
    #[inline(always)]
    fn port(&self, port: u16) -> Option<u32> {
        self.ports.get(u32::from(port)).copied()
    }

    #[inline(always)]
    fn slot(&self, number: u32) -> Option<&Slot> {
        SLOT_TABLE.get(number)
    }

    #[inline(always)]
    fn endpoint(&self, key: &EndpointKey) -> Option<u32> {
        // SAFETY: the value is copied at once. Should the daemon delete the row meanwhile, it belonged to a
        // generation that no program uses any more.
        unsafe { ENDPOINTS.get(key) }.copied()
    }

    #[inline(always)]
    fn generation(&self) -> u32 {
        self.ports.get(PORT_GENERATION).copied().unwrap_or(0)
    }
}
