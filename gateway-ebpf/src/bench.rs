//! Programs for `cargo xtask bench` only, never shipped: the empty program that the filter is compared with, and a
//! packet source for live frames.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod program {
    #![expect(unsafe_code, reason = "entry points, globals and packet pointers")]

    use aya_ebpf::{
        Global,
        bindings::xdp_action,
        btf_maps::{Array, PerCpuArray, ProgramArray},
        helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_redirect},
        macros::{btf_map, xdp},
        programs::XdpContext,
    };

    #[btf_map]
    static COUNTERS: PerCpuArray<[u64; 2], 16> = PerCpuArray::new();

    /// The program that `random4` and `random6` go on with.
    #[btf_map]
    static NEXT: ProgramArray<1> = ProgramArray::new();

    /// Gives an IPv4 frame a random source, and goes on with another program.
    #[xdp]
    pub(crate) fn random4(context: XdpContext) -> u32 {
        let start = context.data();
        if start + 54 > context.data_end() {
            return xdp_action::XDP_ABORTED;
        }
        // SAFETY: the helper has no preconditions; the bytes are inside the frame, and every field is 2-byte aligned.
        unsafe {
            let address = bpf_get_prandom_u32();
            *((start + 26) as *mut u16) = address as u16;
            *((start + 28) as *mut u16) = (address >> 16) as u16;
            let _ = NEXT.tail_call(&context, 0);
        }
        xdp_action::XDP_ABORTED
    }

    /// The same for IPv6: a source in 2000::/3 whose first half is random.
    #[xdp]
    pub(crate) fn random6(context: XdpContext) -> u32 {
        let start = context.data();
        if start + 74 > context.data_end() {
            return xdp_action::XDP_ABORTED;
        }
        // SAFETY: as above.
        unsafe {
            let (first, second) = (bpf_get_prandom_u32(), bpf_get_prandom_u32());
            *((start + 22) as *mut u16) = (first as u16) & 0xff1f | 0x20;
            *((start + 24) as *mut u16) = (first >> 16) as u16;
            *((start + 26) as *mut u16) = second as u16;
            *((start + 28) as *mut u16) = (second >> 16) as u16;
            let _ = NEXT.tail_call(&context, 0);
        }
        xdp_action::XDP_ABORTED
    }

    /// Where the packet source sends its frames.
    #[unsafe(no_mangle)]
    static TARGET: Global<u32> = Global::new(0);
    /// Ones' complement sum of the IPv4 header without source and checksum, as the header's words lie in memory.
    #[unsafe(no_mangle)]
    static IP_SUM: Global<u32> = Global::new(0);
    /// The same of the TCP pseudo header and header, without source address, source port and checksum.
    #[unsafe(no_mangle)]
    static TCP_SUM: Global<u32> = Global::new(0);

    /// Nanoseconds between two frames of `paced`.
    #[unsafe(no_mangle)]
    static GAP: Global<u64> = Global::new(0);
    /// Of `paced`: when the last frame was due, whether to end (not 0; the only word that the bench writes), frames sent.
    #[btf_map]
    static PACE: Array<u64, 3> = Array::new();
    /// A sender that fell behind by more than this many nanoseconds leaves the missed frames out: no burst makes up
    /// for them.
    const LATE: u64 = 100_000;
    /// Looks at the clock while waiting for a frame's time; several times what one gap takes.
    const LOOKS: u32 = 2048;

    /// The least that an XDP program can do.
    #[xdp]
    pub(crate) fn empty(_context: XdpContext) -> u32 {
        xdp_action::XDP_DROP
    }

    /// Reads what a filter must read of an IPv4 segment, and drops it: what the frame itself costs.
    #[xdp]
    pub(crate) fn reads(context: XdpContext) -> u32 {
        match headers(&context) {
            0 => xdp_action::XDP_ABORTED,
            _ => xdp_action::XDP_DROP,
        }
    }

    /// Reads the same, and counts the packet and its bytes: the least that a filter can do.
    #[xdp]
    pub(crate) fn counts(context: XdpContext) -> u32 {
        if headers(&context) == 0 {
            return xdp_action::XDP_ABORTED;
        }
        if let Some(counter) = COUNTERS.get_ptr_mut(1) {
            // SAFETY: a per-CPU value that only this program writes.
            unsafe {
                (*counter)[0] += 1;
                (*counter)[1] += (context.data_end() - context.data()) as u64;
            }
        }
        xdp_action::XDP_DROP
    }

    /// Type, protocol, fragment, addresses, ports and flags in one number, which is not 0 for a SYN.
    #[inline(always)]
    fn headers(context: &XdpContext) -> u32 {
        let start = context.data();
        if start + 54 > context.data_end() {
            return 0;
        }
        // SAFETY: the 54 bytes of the three headers are inside the frame, and every field is 2-byte aligned.
        unsafe {
            let half = |at: usize| ((start + at) as *const u16).read() as u32;
            half(12) | half(14) | half(20) | half(22) | half(26) | half(28) | half(30) | half(36) | half(46)
        }
    }

    /// Gives an Ethernet/IPv4/TCP frame a random source address and port, with valid checksums, and sends it.
    #[xdp]
    pub(crate) fn source(context: XdpContext) -> u32 {
        send(&context)
    }

    #[inline(always)]
    fn send(context: &XdpContext) -> u32 {
        let start = context.data();
        if start + 54 > context.data_end() {
            return xdp_action::XDP_ABORTED;
        }
        // SAFETY: the helper has no preconditions.
        let (address, port) = unsafe { (bpf_get_prandom_u32(), bpf_get_prandom_u32() as u16) };
        let low = (address & 0xffff) + (address >> 16);
        // SAFETY: the 54 bytes of the three headers are inside the frame, and every field is 2-byte aligned.
        unsafe {
            *((start + 26) as *mut u16) = address as u16;
            *((start + 28) as *mut u16) = (address >> 16) as u16;
            *((start + 34) as *mut u16) = port;
            *((start + 24) as *mut u16) = checksum(IP_SUM.load() + low);
            *((start + 50) as *mut u16) = checksum(TCP_SUM.load() + low + port as u32);
        }
        // SAFETY: an interface index that does not exist only loses the frame.
        unsafe { bpf_redirect(TARGET.load(), 0) as u32 }
    }

    /// As `source`, one frame every `GAP` nanoseconds: the pace is kept here, because every test run costs milliseconds.
    #[xdp]
    pub(crate) fn paced(context: XdpContext) -> u32 {
        let (Some(last), Some(end), Some(sent)) = (PACE.get_ptr_mut(0), PACE.get(1), PACE.get_ptr_mut(2))
        else {
            return xdp_action::XDP_ABORTED;
        };
        if *end != 0 {
            return xdp_action::XDP_DROP;
        }
        // SAFETY: the helper has no preconditions.
        let clock = || unsafe { bpf_ktime_get_ns() };
        // SAFETY: one test run at a time uses the map, so that nobody else writes the words.
        let mut due = unsafe { *last } + GAP.load();
        let now = clock();
        if due + LATE < now {
            due = now;
        }
        for _ in 0..LOOKS {
            if clock() >= due {
                break;
            }
        }
        // SAFETY: as above.
        unsafe {
            *last = due;
            *sent += 1;
        }
        send(&context)
    }

    #[inline(always)]
    fn checksum(sum: u32) -> u16 {
        let folded = (sum & 0xffff) + (sum >> 16);
        !((folded & 0xffff) + (folded >> 16)) as u16
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        // Never reached: the verifier refuses a program that could loop here.
        loop {}
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
