//! Counts verdicts, and sends a sample of the drops to the daemon.
//!
//! No clock and no random numbers, and nothing that is not already at hand: the counter of a verdict also numbers its
//! packets, and the mask says which of them are sent. When the daemon falls behind, the mask goes up, so a drop costs
//! the same under any flood.
#![expect(unsafe_code, reason = "counters are written in place; an entry point calls what is out of line")]

use aya_ebpf::{
    bindings::{BPF_RB_NO_WAKEUP, xdp_action, xdp_md},
    programs::XdpContext,
};
use gateway_common::{
    counters::{Counter, SAMPLE_FLOOD, entry_index, verdict_index},
    decide::{Outcome, Tables, Verdict},
    event::DropEvent,
    packet::Family,
    reason::{Action, Reason},
    table::Slot,
};

use crate::{
    defence,
    filter::Live,
    frame::{Enforced, Frame, Linear, Whole},
    maps::{ENTRIES, EVENTS, INTERFACE, LOST, SAMPLE, VERDICTS},
};

/// Judges and counts a frame of whatever shape.
#[inline(always)]
pub(crate) fn general<F: Frame>(frame: &F) -> Enforced {
    enforce(report(frame, frame.judge()))
}

/// [`general`] for a frame in one buffer. The verifier checks what is out of line once.
///
/// # Safety
/// `context` is the one that the program was called with.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn general_linear(context: *mut xdp_md) -> Enforced {
    general(&Linear::new(&XdpContext::new(context)))
}

/// [`general`] for a frame in several buffers.
///
/// # Safety
/// `context` is the one that the program was called with.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn general_whole(context: *mut xdp_md) -> Enforced {
    general(&Whole::new(&XdpContext::new(context)))
}

/// The code of an action.
#[inline(always)]
pub(crate) fn enforce(action: Action) -> Enforced {
    u64::from(match action {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
    })
}

/// Counts what comes out about a frame, and says what it does to the packet.
pub(crate) struct Report<'f, F>(pub(crate) &'f F);

impl<F: Frame> Outcome for Report<'_, F> {
    type Done = Action;

    #[inline(always)]
    fn refused(self, slot: &Slot) -> Action {
        let number = count(VERDICTS.get_ptr_mut(slot.refused), self.0.length());
        if is_sampled(number) {
            self.0.send(Verdict::refused(slot));
        }
        Action::Drop
    }

    #[inline(always)]
    fn judged(self, verdict: Verdict) -> Action {
        report(self.0, verdict)
    }

    #[inline(always)]
    fn general(self) -> Action {
        report(self.0, self.0.judge())
    }
}

/// Counts the verdict about `frame` and returns what it does to the packet.
#[inline(always)]
pub(crate) fn report<F: Frame>(frame: &F, verdict: Verdict) -> Action {
    if matches!(verdict.reason, Reason::NotListener) {
        return Action::Pass;
    }
    let verdict = defence::check(frame, verdict);
    let length = frame.length();
    if verdict.entry != Verdict::NO_ENTRY {
        count(ENTRIES.get_ptr_mut(entry_index(verdict.listener, verdict.entry)), length);
    }
    let number = count(VERDICTS.get_ptr_mut(verdict_index(verdict.listener, verdict.reason)), length);
    match verdict.reason.action() {
        Action::Pass => Action::Pass,
        Action::Drop => {
            if is_sampled(number) {
                frame.send(verdict);
            }
            Action::Drop
        }
    }
}

/// Whether the drop that its counter gave this number is sent.
#[inline(always)]
fn is_sampled(number: u64) -> bool {
    SAMPLE.get(0).is_some_and(|mask| number & u64::from(*mask) == 0)
}

/// Counts a packet, and says how many there are.
#[inline(always)]
fn count(counter: Option<*mut Counter>, length: u64) -> u64 {
    let Some(counter) = counter else { return 0 };
    // SAFETY: a per-CPU value; XDP programs do not interrupt one another on a CPU, and the daemon only reads it.
    let counter = unsafe { &mut *counter };
    counter.packets += 1;
    counter.bytes += length;
    counter.packets
}

/// Sends a drop of a frame in one buffer.
///
/// # Safety
/// `context` is the one that the program was called with.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn send_linear(context: *mut xdp_md, verdict: u64) -> u64 {
    send(&Linear::new(&XdpContext::new(context)), Verdict::from_word(verdict))
}

/// Sends a drop of a frame in several buffers.
///
/// # Safety
/// `context` is the one that the program was called with.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn send_whole(context: *mut xdp_md, verdict: u64) -> u64 {
    send(&Whole::new(&XdpContext::new(context)), Verdict::from_word(verdict))
}

/// Sends an event. The frame is parsed once more: this is rare, and so the way of every packet keeps nothing for it.
#[inline(always)]
pub(crate) fn send<F: Frame>(frame: &F, verdict: Verdict) -> u64 {
    let packet = frame.packet();
    let generation = Live::tables().map_or(0, |live| live.generation());
    let Some(mut event) = EVENTS.reserve_untyped::<DropEvent>(0) else {
        lose();
        return 0;
    };
    event.write(DropEvent {
        source: packet.source,
        destination: packet.destination,
        generation,
        ifindex: INTERFACE.load(),
        length: frame.length() as u32,
        listener: verdict.listener,
        source_port: packet.source_port,
        destination_port: packet.port,
        vlan: packet.vlan,
        family: match packet.family {
            Family::V4 => 4,
            Family::V6 => 6,
        },
        reason: verdict.reason as u8,
        reserved: [0; 2],
    });
    event.submit(u64::from(BPF_RB_NO_WAKEUP));
    1
}

/// The ring buffer is full: from now on only a sample is sent.
#[inline(always)]
fn lose() {
    if let Some(lost) = LOST.get_ptr_mut(0) {
        // SAFETY: as in `count`.
        unsafe { *lost += 1 };
    }
    if let Some(mask) = SAMPLE.get_ptr_mut(0) {
        // SAFETY: one aligned word; who reads it meanwhile sees the old mask or this one.
        unsafe { mask.write(SAMPLE_FLOOD) };
    }
}
