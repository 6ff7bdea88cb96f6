//! The packet's bytes: the only file that touches packet pointers.
#![expect(unsafe_code, reason = "packets are read through pointers that the verifier checks")]

use core::arch::asm;

use aya_ebpf::{
    bindings::xdp_md,
    helpers::generated::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::XdpContext,
};
use gateway_common::{
    decide::Verdict,
    packet::{Kind, Packet},
    parse::{Bytes, Upper, parse, walk},
};

use crate::{defence, filter, report};

/// A frame as an entry point gets it.
pub(crate) trait Frame {
    /// The frame's first buffer.
    fn linear(&self) -> &Linear;
    /// What the filter must know of it.
    fn packet(&self) -> Packet;
    /// Length of the whole frame in bytes.
    fn length(&self) -> u64;
    /// The verdict of `filter::judge`, out of line.
    fn judge(&self) -> Verdict;
    /// Sends the drop as an event, out of line.
    fn send(&self, verdict: Verdict);
    /// The verdict of `defence::defend`, out of line.
    fn defend(&self, verdict: Verdict) -> Verdict;
    /// Judges and counts a frame of whatever shape, out of line.
    fn general(&self) -> Enforced;
}

/// What happens to a packet, as the code of XDP that a function of the program returns.
pub(crate) type Enforced = u64;

/// Ethernet and IPv4 headers.
const SHORTEST: usize = 14 + 20;

/// A frame in one buffer, or the first buffer of a frame.
pub(crate) struct Linear {
    context: *mut xdp_md,
    start: usize,
    end: usize,
}

/// A frame that may continue in further buffers.
pub(crate) struct Whole {
    linear: Linear,
}

/// The first `SIZE` bytes of a frame, checked at once.
pub(crate) struct Head<const SIZE: usize> {
    start: usize,
}

/// The bytes of a frame in whatever buffers, read by copy.
struct Copied {
    context: *mut xdp_md,
}

impl Linear {
    #[inline(always)]
    pub(crate) fn new(context: &XdpContext) -> Self {
        Self { context: context.ctx, start: context.data(), end: context.data_end() }
    }

    /// Bytes that are looked at through [`Self::head`] alone, of a packet that is no XDP frame.
    #[inline(always)]
    pub(crate) fn without_context(start: usize, end: usize) -> Self {
        Self { context: core::ptr::null_mut(), start, end }
    }

    /// The first `SIZE` bytes.
    #[inline(always)]
    pub(crate) fn head<const SIZE: usize>(&self) -> Option<Head<SIZE>> {
        if self.start + SIZE > self.end { None } else { Some(Head { start: self.start }) }
    }

    /// Where the IP packet behind an untagged Ethernet header ends, as its header says. `None`: it is no such frame, or
    /// a length of 0 stands for one that the field does not hold (RFC 2675).
    #[inline(always)]
    fn announced(&self) -> Option<u64> {
        let head = self.head::<SHORTEST>()?;
        let (before, length) = match u16::from_be(head.half::<12>()) {
            0x0800 => (14, u16::from_be(head.half::<16>())),
            0x86dd => (14 + 40, u16::from_be(head.half::<18>())),
            _ => return None,
        };
        if length == 0 { None } else { Some(before + u64::from(length)) }
    }

    /// A pointer to `SIZE` readable bytes at `offset`.
    #[inline(always)]
    fn at<const SIZE: usize>(&self, offset: usize) -> Option<*const u8> {
        let first = self.start + offset;
        let mut last = first;
        // LLVM would make `first >= end` of the check for one byte, from which the verifier learns nothing when the
        // offset is variable (`find_good_pkt_pointers`): it must not know what is added.
        // SAFETY: an addition.
        unsafe {
            asm!(
                "{last} += {size}",
                last = inout(reg) last,
                size = const SIZE,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        if last > self.end { None } else { Some(first as *const u8) }
    }
}

impl<const SIZE: usize> Head<SIZE> {
    #[inline(always)]
    pub(crate) fn byte<const AT: usize>(&self) -> u8 {
        const { assert!(AT < SIZE) };
        // SAFETY: the first `SIZE` bytes are readable.
        unsafe { ((self.start + AT) as *const u8).read() }
    }

    /// Two bytes, as they came off the wire.
    #[inline(always)]
    pub(crate) fn half<const AT: usize>(&self) -> u16 {
        const { assert!(AT + 2 <= SIZE && AT % 2 == 0) };
        // SAFETY: as above; the address of a frame is even (NET_IP_ALIGN is 0 or 2).
        unsafe { ((self.start + AT) as *const u16).read() }
    }

    /// Four bytes, as they came off the wire.
    #[inline(always)]
    pub(crate) fn word<const AT: usize>(&self) -> u32 {
        const { assert!(AT + 4 <= SIZE) };
        let word: u64;
        // SAFETY: as above; why it is not a Rust load, `Linear::word` says.
        unsafe {
            asm!(
                "{word} = *(u32 *)({start} + {at})",
                word = out(reg) word,
                start = in(reg) self.start,
                at = const AT,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        word as u32
    }
}

impl Bytes for Linear {
    #[inline(always)]
    fn walk(&self, next: u8, offset: usize) -> Upper {
        // SAFETY: the context is the one that this program was called with.
        Upper::from_word(unsafe { walk_linear(self.context, u32::from(next), offset as u32) })
    }

    #[inline(always)]
    fn byte(&self, offset: usize) -> Option<u8> {
        let at = self.at::<1>(offset)?;
        // SAFETY: `at` checked that one byte is readable there.
        Some(unsafe { at.read() })
    }

    #[inline(always)]
    fn half(&self, offset: usize) -> Option<u16> {
        let at = self.at::<2>(offset)?;
        // SAFETY: `at` checked that two bytes are readable there. Every offset that the parser uses is even, and so is
        // the address of a frame (NET_IP_ALIGN is 0 or 2).
        Some(unsafe { at.cast::<u16>().read() })
    }

    #[inline(always)]
    fn word(&self, offset: usize) -> Option<u32> {
        let at = self.at::<4>(offset)?;
        let word: u64;
        // SAFETY: `at` checked that four bytes are readable there. They may be misaligned, which Rust's loads would
        // answer with four single bytes; the instruction itself may be misaligned wherever the verifier lets it.
        unsafe {
            asm!(
                "{word} = *(u32 *)({at} + 0)",
                word = out(reg) word,
                at = in(reg) at,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        Some(word as u32)
    }
}

impl Frame for Linear {
    #[inline(always)]
    fn linear(&self) -> &Linear {
        self
    }

    #[inline(always)]
    fn judge(&self) -> Verdict {
        // SAFETY: the context is the one that this program was called with.
        Verdict::from_word(unsafe { judge_linear(self.context) })
    }

    #[inline(always)]
    fn send(&self, verdict: Verdict) {
        // SAFETY: as above.
        unsafe { report::send_linear(self.context, verdict.word()) };
    }

    #[inline(always)]
    fn defend(&self, verdict: Verdict) -> Verdict {
        // SAFETY: as above.
        Verdict::from_word(unsafe { defence::defend_linear(self.context, verdict.word()) })
    }

    #[inline(always)]
    fn general(&self) -> Enforced {
        // SAFETY: as above.
        unsafe { report::general_linear(self.context) }
    }

    #[inline(always)]
    fn packet(&self) -> Packet {
        parse(self).unwrap_or(Packet::OTHER)
    }

    #[inline(always)]
    fn length(&self) -> u64 {
        (self.end - self.start) as u64
    }
}

impl Whole {
    #[inline(always)]
    pub(crate) fn new(context: &XdpContext) -> Self {
        Self { linear: Linear::new(context) }
    }
}

impl Frame for Whole {
    #[inline(always)]
    fn linear(&self) -> &Linear {
        &self.linear
    }

    #[inline(always)]
    fn judge(&self) -> Verdict {
        // SAFETY: the context is the one that this program was called with.
        Verdict::from_word(unsafe { judge_whole(self.linear.context) })
    }

    #[inline(always)]
    fn send(&self, verdict: Verdict) {
        // SAFETY: as above.
        unsafe { report::send_whole(self.linear.context, verdict.word()) };
    }

    #[inline(always)]
    fn defend(&self, verdict: Verdict) -> Verdict {
        // SAFETY: as above.
        Verdict::from_word(unsafe { defence::defend_whole(self.linear.context, verdict.word()) })
    }

    #[inline(always)]
    fn general(&self) -> Enforced {
        // SAFETY: as above.
        unsafe { report::general_whole(self.linear.context) }
    }

    #[inline(always)]
    fn packet(&self) -> Packet {
        match parse(&self.linear) {
            Some(packet) if packet.kind != Kind::Truncated => packet,
            // The first buffer ends within the headers; there may be more of them in the next.
            _ => parse(&Copied { context: self.linear.context }).unwrap_or(Packet::OTHER),
        }
    }

    /// A packet that its own header says to end in the first buffer is as long as that: asking the kernel costs more
    /// than all else that is done about a refused segment. What a sender may have put behind the packet is not counted.
    #[inline(always)]
    fn length(&self) -> u64 {
        let first = self.linear.length();
        match self.linear.announced() {
            Some(announced) if announced <= first => first,
            // SAFETY: the context is the one that this program was called with.
            _ => unsafe { bpf_xdp_get_buff_len(self.linear.context) },
        }
    }
}

impl Copied {
    #[inline(always)]
    fn copy<const SIZE: usize>(&self, offset: usize) -> Option<[u8; SIZE]> {
        let mut bytes = [0; SIZE];
        // SAFETY: the helper writes `SIZE` bytes to an array of `SIZE` bytes, or fails.
        let result = unsafe {
            bpf_xdp_load_bytes(self.context, offset as u32, bytes.as_mut_ptr().cast(), SIZE as u32)
        };
        if result == 0 { Some(bytes) } else { None }
    }
}

impl Bytes for Copied {
    #[inline(always)]
    fn walk(&self, next: u8, offset: usize) -> Upper {
        // SAFETY: the context is the one that this program was called with.
        Upper::from_word(unsafe { walk_copied(self.context, u32::from(next), offset as u32) })
    }

    #[inline(always)]
    fn byte(&self, offset: usize) -> Option<u8> {
        self.copy::<1>(offset).map(|[byte]| byte)
    }

    #[inline(always)]
    fn half(&self, offset: usize) -> Option<u16> {
        self.copy(offset).map(u16::from_ne_bytes)
    }

    #[inline(always)]
    fn word(&self, offset: usize) -> Option<u32> {
        self.copy(offset).map(u32::from_ne_bytes)
    }
}

/// Where an IPv6 chain begins at most: behind an Ethernet header, four tags and an IPv6 header.
const CHAIN_START: u32 = 14 + 4 * 4 + 40;

/// [`filter::judge`] for a frame in one buffer.
///
/// # Safety
/// `context` is the one that the program was called with.
#[inline(never)]
#[unsafe(no_mangle)]
unsafe extern "C" fn judge_linear(context: *mut xdp_md) -> u64 {
    filter::judge(&Linear::new(&XdpContext::new(context))).word()
}

/// [`filter::judge`] for a frame in several buffers.
///
/// # Safety
/// `context` is the one that the program was called with.
#[inline(never)]
#[unsafe(no_mangle)]
unsafe extern "C" fn judge_whole(context: *mut xdp_md) -> u64 {
    filter::judge(&Whole::new(&XdpContext::new(context))).word()
}

/// [`walk`] over the first buffer. Functions with external linkage are checked by the verifier once, for any argument.
///
/// # Safety
/// `context` is the one that the program was called with.
#[inline(never)]
#[unsafe(no_mangle)]
unsafe extern "C" fn walk_linear(context: *mut xdp_md, next: u32, offset: u32) -> u64 {
    if offset > CHAIN_START {
        return Upper::TRUNCATED.word();
    }
    let linear = Linear::new(&XdpContext::new(context));
    walk(&linear, next as u8, offset as usize).word()
}

/// [`walk`] by copy.
///
/// # Safety
/// `context` is the one that the program was called with.
#[inline(never)]
#[unsafe(no_mangle)]
unsafe extern "C" fn walk_copied(context: *mut xdp_md, next: u32, offset: u32) -> u64 {
    walk(&Copied { context }, next as u8, offset as usize).word()
}
