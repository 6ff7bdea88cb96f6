//! Counts verdicts, and sends a sample of the drops to the daemon. No clock and no random numbers: the daemon refills
//! a budget, which keeps a drop's cost the same under any flood.
#![expect(unsafe_code, reason = "per-CPU values are written in place")]

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use gateway_common::{
    counters::{Counter, Sampling, entry_index, verdict_index},
    decide::{Tables, Verdict},
    event::DropEvent,
    packet::Family,
    reason::{Action, Reason},
};

use crate::{
    filter::Judged,
    frame::Frame,
    maps::{ENTRIES, EVENTS, INTERFACE, SAMPLING, VERDICTS},
};

/// Without budget, every drop whose number is a multiple of this is sent.
const SAMPLE: u64 = 1024;

/// Counts the verdict and returns what it does to the packet.
#[inline(always)]
pub(crate) fn report<F: Frame>(frame: &F, judged: Judged) -> Action {
    let verdict = judged.verdict;
    let action = verdict.reason.action();
    if matches!(verdict.reason, Reason::NotListener) {
        return action;
    }
    let length = frame.length();
    count(VERDICTS.get_ptr_mut(verdict_index(verdict.listener, verdict.reason)), length);
    if verdict.entry != Verdict::NO_ENTRY {
        count(ENTRIES.get_ptr_mut(entry_index(verdict.listener, verdict.entry)), length);
    }
    if matches!(action, Action::Drop) {
        sample(&judged, length);
    }
    action
}

#[inline(always)]
fn count(counter: Option<*mut Counter>, length: u64) {
    if let Some(counter) = counter {
        // SAFETY: a per-CPU value; XDP programs are not preempted by one another on a CPU, and the daemon only reads.
        let counter = unsafe { &mut *counter };
        counter.packets += 1;
        counter.bytes += length;
    }
}

#[inline(always)]
fn sample(judged: &Judged, length: u64) {
    let Some(sampling) = SAMPLING.get_ptr_mut(0) else { return };
    // SAFETY: as in `count`. The daemon also writes `budget`: a refill that races with a spending loses one of them.
    let sampling = unsafe { &mut *sampling };
    sampling.seen += 1;
    if sampling.budget > 0 {
        sampling.budget -= 1;
    } else if sampling.seen % SAMPLE != 0 {
        return;
    }
    send(judged, length, sampling);
}

#[inline(always)]
fn send(judged: &Judged, length: u64, sampling: &mut Sampling) {
    let Some(mut event) = EVENTS.reserve_untyped::<DropEvent>(0) else {
        sampling.lost += 1;
        return;
    };
    let packet = &judged.packet;
    event.write(DropEvent {
        source: packet.source,
        destination: packet.destination,
        generation: judged.live.as_ref().map_or(0, Tables::generation),
        ifindex: INTERFACE.load(),
        length: length as u32,
        listener: judged.verdict.listener,
        source_port: packet.source_port,
        destination_port: packet.port,
        vlan: packet.vlan,
        family: match packet.family {
            Family::V4 => 4,
            Family::V6 => 6,
        },
        reason: judged.verdict.reason as u8,
        reserved: [0; 2],
    });
    event.submit(u64::from(BPF_RB_NO_WAKEUP));
}
