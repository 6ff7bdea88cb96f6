//! The frame of the second tier: a socket buffer, where a driver has no native XDP.
//!
//! Two things differ from a frame under XDP. The kernel has taken the outer VLAN tag off by now, whatever the driver
//! did (`skb_vlan_untag` in `__netif_receive_skb_core`), and keeps it beside the bytes; and a device without Ethernet
//! headers hands over packets that begin with their IP header. So the reading begins at the network header, with the
//! EtherType that the kernel found.
#![expect(unsafe_code, reason = "the context is read through a pointer, and packets by helpers")]

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes, programs::TcContext};
use gateway_common::{
    decide::Verdict,
    packet::Packet,
    parse::{Bytes, Upper, parse_behind, walk},
};

use crate::{
    defence, filter,
    frame::{Enforced, Frame, Linear},
    maps::LINK_HEADER,
    report,
};

/// Length of the Ethernet header.
const ETHERNET_HEADER: u32 = 14;

/// A packet as the kernel's stack has it.
pub(crate) struct Buffer {
    context: *mut __sk_buff,
    linear: Linear,
}

/// The bytes of a socket buffer, linear or not, read by copy.
struct Copied {
    context: *mut __sk_buff,
}

impl Buffer {
    #[inline(always)]
    pub(crate) fn new(context: &TcContext) -> Self {
        let linear = Linear::without_context(context.data(), context.data_end());
        Self { context: context.skb.skb, linear }
    }

    /// Whether the bytes show the whole packet in the shape that the short way knows.
    #[inline(always)]
    pub(crate) fn is_usual(&self) -> bool {
        // SAFETY: the context is the one that this program was called with.
        LINK_HEADER.load() == ETHERNET_HEADER && unsafe { (*self.context).vlan_present } == 0
    }
}

impl Frame for Buffer {
    #[inline(always)]
    fn linear(&self) -> &Linear {
        &self.linear
    }

    #[inline(always)]
    fn packet(&self) -> Packet {
        // SAFETY: the context is the one that this program was called with.
        let (protocol, present, tag) =
            unsafe { ((*self.context).protocol, (*self.context).vlan_present, (*self.context).vlan_tci) };
        let mut packet = Packet::OTHER;
        if present != 0 {
            packet.tags = 1;
            packet.vlan = tag as u16 & 0x0fff;
        }
        let ethertype = u16::from_be(protocol as u16);
        let bytes = Copied { context: self.context };
        parse_behind(&bytes, packet, ethertype, LINK_HEADER.load() as usize).unwrap_or(Packet::OTHER)
    }

    #[inline(always)]
    fn length(&self) -> u64 {
        // SAFETY: as above.
        u64::from(unsafe { (*self.context).len })
    }

    #[inline(always)]
    fn judge(&self) -> Verdict {
        // SAFETY: as above.
        Verdict::from_word(unsafe { judge_buffer(self.context) })
    }

    #[inline(always)]
    fn send(&self, verdict: Verdict) {
        // SAFETY: as above.
        unsafe { send_buffer(self.context, verdict.word()) };
    }

    #[inline(always)]
    fn defend(&self, verdict: Verdict) -> Verdict {
        // SAFETY: as above.
        Verdict::from_word(unsafe { defend_buffer(self.context, verdict.word()) })
    }

    #[inline(always)]
    fn general(&self) -> Enforced {
        // SAFETY: as above.
        unsafe { general_buffer(self.context) }
    }
}

impl Copied {
    #[inline(always)]
    fn copy<const SIZE: usize>(&self, offset: usize) -> Option<[u8; SIZE]> {
        let mut bytes = [0; SIZE];
        // SAFETY: the helper writes `SIZE` bytes to an array of `SIZE` bytes, or fails.
        let result = unsafe {
            bpf_skb_load_bytes(self.context.cast(), offset as u32, bytes.as_mut_ptr().cast(), SIZE as u32)
        };
        if result == 0 { Some(bytes) } else { None }
    }
}

impl Bytes for Copied {
    #[inline(always)]
    fn walk(&self, next: u8, offset: usize) -> Upper {
        // SAFETY: the context is the one that this program was called with.
        Upper::from_word(unsafe { walk_buffer(self.context, u32::from(next), offset as u32) })
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

/// [`filter::judge`] for a socket buffer.
///
/// # Safety
/// `context` is the one that the program was called with.
#[inline(never)]
#[unsafe(no_mangle)]
unsafe extern "C" fn judge_buffer(context: *mut __sk_buff) -> u64 {
    filter::judge(&Buffer::new(&TcContext::new(context))).word()
}

/// [`report::general`] for a socket buffer.
///
/// # Safety
/// `context` is the one that the program was called with.
#[inline(never)]
#[unsafe(no_mangle)]
unsafe extern "C" fn general_buffer(context: *mut __sk_buff) -> Enforced {
    report::general(&Buffer::new(&TcContext::new(context)))
}

/// Sends a drop of a socket buffer.
///
/// # Safety
/// `context` is the one that the program was called with.
#[inline(never)]
#[unsafe(no_mangle)]
unsafe extern "C" fn send_buffer(context: *mut __sk_buff, verdict: u64) -> u64 {
    report::send(&Buffer::new(&TcContext::new(context)), Verdict::from_word(verdict))
}

/// [`defence::defend`] for a socket buffer.
///
/// # Safety
/// `context` is the one that the program was called with.
#[inline(never)]
#[unsafe(no_mangle)]
unsafe extern "C" fn defend_buffer(context: *mut __sk_buff, verdict: u64) -> u64 {
    defence::defend(&Buffer::new(&TcContext::new(context)), Verdict::from_word(verdict)).word()
}

/// [`walk`] by copy.
///
/// # Safety
/// `context` is the one that the program was called with.
#[inline(never)]
#[unsafe(no_mangle)]
unsafe extern "C" fn walk_buffer(context: *mut __sk_buff, next: u32, offset: u32) -> u64 {
    walk(&Copied { context }, next as u8, offset as usize).word()
}
