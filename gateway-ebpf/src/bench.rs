//! Programs for `cargo xtask bench` only, never shipped: the empty program that the filter is compared with, and a
//! packet source for live frames.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod program {
    #![expect(unsafe_code, reason = "entry points, globals and packet pointers")]

    use aya_ebpf::{
        Global,
        bindings::xdp_action,
        helpers::{bpf_get_prandom_u32, bpf_redirect},
        macros::xdp,
        programs::XdpContext,
    };

    /// Where the packet source sends its frames.
    #[unsafe(no_mangle)]
    static TARGET: Global<u32> = Global::new(0);
    /// Ones' complement sum of the IPv4 header without source and checksum, as the header's words lie in memory.
    #[unsafe(no_mangle)]
    static IP_SUM: Global<u32> = Global::new(0);
    /// The same of the TCP pseudo header and header, without source address, source port and checksum.
    #[unsafe(no_mangle)]
    static TCP_SUM: Global<u32> = Global::new(0);

    /// The least that an XDP program can do.
    #[xdp]
    pub(crate) fn empty(_context: XdpContext) -> u32 {
        xdp_action::XDP_DROP
    }

    /// Gives an Ethernet/IPv4/TCP frame a random source address and port, with valid checksums, and sends it.
    #[xdp]
    pub(crate) fn source(context: XdpContext) -> u32 {
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
