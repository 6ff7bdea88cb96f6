//! The decision over the maps: the short way for what most packets are, the general way for the rest.
//!
//! Both ways are `gateway_common::decide`; they differ in how they read the frame. The general way classifies it whole
//! ([`Packet`](gateway_common::packet::Packet) has a dozen fields, more than a BPF program has registers). The short way
//! knows one shape, an untagged frame with TCP right behind a plain IP header, checks its bounds once, and reads a field
//! when it is asked for. The suite `kernel` holds both to the same verdicts.
//!
//! Traffic for nobody leaves first ([`enter`]), after one look at the port's mark; a segment to a listener goes straight
//! on. All that is rarer is out of line.
#![expect(unsafe_code, reason = "a hash map's values may be replaced while they are looked at")]

use gateway_common::{
    branch::differs,
    decide::{Outcome, Slots, Tables, Verdict, decide, decide_segment},
    list::Listed,
    packet::halves,
    table::{EndpointKey, PORT_GENERATION, Slot, port_index, port_mark},
};

use crate::{
    frame::{Frame, Head, Linear},
    list::{large_list4, large_list6},
    maps::{ENDPOINTS, INTERFACE, MARKS, PORTS, Ports, SLOT_TABLE},
};

/// EtherType, version and header length of IPv4 without options; the type of service between them does not count.
const IPV4: u32 = u32::from_ne_bytes([0x08, 0x00, 0x45, 0]);
const IPV4_MASK: u32 = u32::from_ne_bytes([0xff, 0xff, 0xff, 0]);
/// EtherType and version of IPv6.
const IPV6: u32 = u32::from_ne_bytes([0x86, 0xdd, 0x60, 0]);
const IPV6_MASK: u32 = u32::from_ne_bytes([0xff, 0xff, 0xf0, 0]);
/// Fragment bits and offset (RFC 791 §3.1), and protocol: no fragment of TCP.
const WHOLE_TCP: u32 = u32::from_ne_bytes([0, 0, 0, TCP]);
const WHOLE_TCP_MASK: u32 = u32::from_ne_bytes([0x3f, 0xff, 0, 0xff]);

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

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

/// Where [`enter`] sends a packet.
pub(crate) trait Way {
    type Done;
    /// None of the filter's business.
    fn pass(self) -> Self::Done;
    /// An IPv4 segment to a marked port: [`segment4`].
    fn segment4(self) -> Self::Done;
    /// An IPv6 segment to a marked port: [`segment6`].
    fn segment6(self) -> Self::Done;
    /// Another shape: [`judge`].
    fn general(self) -> Self::Done;
}

/// Looks what a frame is, and whether its port may be a listener's.
#[inline(always)]
pub(crate) fn enter<W: Way>(frame: &Linear, way: W) -> W::Done {
    let Some(head) = frame.head::<SEGMENT4>() else { return way.general() };
    let first = head.word::<12>();
    if differs::<IPV4>(first & IPV4_MASK) {
        return if first & IPV6_MASK == IPV6 { enter6(frame, &head, way) } else { way.general() };
    }
    if differs::<WHOLE_TCP>(head.word::<20>() & WHOLE_TCP_MASK) {
        return match head.byte::<23>() {
            TCP | ICMP => way.general(),
            // Whatever its header says else: neither TCP nor echo is none of the filter's business.
            _ => way.pass(),
        };
    }
    if is_marked(head.half::<36>()) { way.segment4() } else { way.pass() }
}

#[inline(always)]
fn enter6<W: Way>(frame: &Linear, head: &Head<SEGMENT4>, way: W) -> W::Done {
    match head.byte::<20>() {
        TCP => {}
        UDP => return way.pass(),
        _ => return way.general(),
    }
    let Some(head) = frame.head::<SEGMENT6>() else { return way.general() };
    if is_marked(head.half::<56>()) { way.segment6() } else { way.pass() }
}

/// Whether a port, as it came off the wire, may be a listener's.
#[inline(always)]
fn is_marked(port: u16) -> bool {
    let (word, bit) = port_mark(u32::from(port));
    MARKS.word(word) & bit != 0
}

/// Judges an IPv4 segment that [`enter`] has seen.
#[inline(always)]
pub(crate) fn segment4<O: Outcome>(frame: &Linear, outcome: O) -> O::Done {
    let Some(head) = frame.head::<SEGMENT4>() else { return outcome.general() };
    let Some(live) = Live::tables() else { return outcome.judged(Verdict::NOT_LISTENER) };
    let word = live.word(head.half::<36>());
    let (destination, source) = (head.word::<30>(), || head.word::<26>());
    decide_segment(&live, INTERFACE.load(), word, destination, source, || is_syn(head.byte::<47>()), outcome)
}

/// Judges an IPv6 segment that [`enter`] has seen.
#[inline(always)]
pub(crate) fn segment6<O: Outcome>(frame: &Linear, outcome: O) -> O::Done {
    let Some(head) = frame.head::<SEGMENT6>() else { return outcome.general() };
    let Some(live) = Live::tables() else { return outcome.judged(Verdict::NOT_LISTENER) };
    let word = live.word(head.half::<56>());
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

    /// The word of a port as it came off the wire.
    #[inline(always)]
    fn word(&self, port: u16) -> u32 {
        self.ports.get(u32::from(port)).copied().unwrap_or(0)
    }
}

impl Slots for Live {
    #[inline(always)]
    fn slot(&self, number: u32) -> Option<&Slot> {
        SLOT_TABLE.get(number)
    }

    #[inline(always)]
    fn listed4(&self, list: u32, source: u32) -> Listed {
        large_list4(list, source)
    }

    #[inline(always)]
    fn listed6(&self, list: u32, [high, low]: [u64; 2]) -> Listed {
        large_list6(list, high, low)
    }
}

impl Tables for Live {
    #[inline(always)]
    fn port(&self, port: u16) -> Option<u32> {
        self.ports.get(port_index(port)).copied()
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
