//! Entry points of the filter's programs, and what each verdict does to the packet.
//!
//! Reading order: [`frame`] (the packet's bytes) → `gateway_common::parse` (what they say) → `gateway_common::decide`
//! over [`maps`] and [`filter`] (the verdict) → [`defence`] (bans and budgets of who may come in) → [`report`] (counters and events) → an XDP action, here.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod defence;
#[cfg(target_arch = "bpf")]
mod explain;
#[cfg(target_arch = "bpf")]
mod filter;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod list;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod report;
#[cfg(target_arch = "bpf")]
mod tc;

#[cfg(target_arch = "bpf")]
mod program {
    #![expect(unsafe_code, reason = "entry points and the license are found by section and symbol")]

    use crate::{
        explain,
        filter::{self, Way},
        frame::{Enforced, Frame, Linear, Whole},
        report::{Report, enforce},
        tc::Buffer,
    };
    use aya_ebpf::{
        bindings::xdp_action,
        macros::{classifier, xdp},
        programs::{TcContext, XdpContext},
    };

    /// Go on with the next program, or up the stack (`TCX_NEXT`, `TC_ACT_UNSPEC`).
    const TC_NEXT: i32 = -1;
    /// Drop the packet (`TCX_DROP`, `TC_ACT_SHOT`).
    const TC_DROP: i32 = 2;

    /// For interfaces whose frames always fit one buffer.
    #[xdp]
    pub(crate) fn gateway(context: XdpContext) -> u32 {
        run(&Linear::new(&context))
    }

    /// The same for frames in several buffers (jumbo frames, GRO in hardware); needs Linux 5.18.
    #[xdp(frags)]
    pub(crate) fn gateway_frags(context: XdpContext) -> u32 {
        run(&Whole::new(&context))
    }

    /// For interfaces whose driver has no native XDP: TCX or clsact at ingress.
    #[classifier]
    pub(crate) fn gateway_tc(context: TcContext) -> i32 {
        let buffer = Buffer::new(&context);
        let enforced = if buffer.is_usual() {
            filter::enter(buffer.linear(), Enforce(&buffer))
        } else {
            buffer.general()
        };
        if enforced == u64::from(xdp_action::XDP_PASS) { TC_NEXT } else { TC_DROP }
    }

    /// Never attached: the daemon runs it on a made-up frame and reads the verdict from what it returns.
    #[xdp]
    pub(crate) fn gateway_explain(context: XdpContext) -> u32 {
        explain::answer(&Linear::new(&context))
    }

    #[inline(always)]
    fn run<F: Frame>(frame: &F) -> u32 {
        filter::enter(frame.linear(), Enforce(frame)) as u32
    }

    /// Judges and counts. Only the general way is out of line: a call and its return cost as much as the rest of a
    /// refused segment's way, more where returns are guarded against speculation.
    struct Enforce<'f, F>(&'f F);

    impl<F: Frame> Way for Enforce<'_, F> {
        type Done = Enforced;

        #[inline(always)]
        fn pass(self) -> Enforced {
            u64::from(xdp_action::XDP_PASS)
        }

        #[inline(always)]
        fn segment4(self) -> Enforced {
            enforce(filter::segment4(self.0.linear(), Report(self.0)))
        }

        #[inline(always)]
        fn segment6(self) -> Enforced {
            enforce(filter::segment6(self.0.linear(), Report(self.0)))
        }

        #[inline(always)]
        fn general(self) -> Enforced {
            self.0.general()
        }
    }

    /// The kernel asks for it; none of the helpers used here is reserved for GPL programs.
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
