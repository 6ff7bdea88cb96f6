//! Bans and budgets, behind a positive verdict only.
//!
//! Whatever the allowlist drops never gets here. What it admits costs one read of a word while there is neither a ban
//! nor a budget; else the packet is read once more, out of line, so that the way of every packet keeps nothing for it.
#![expect(unsafe_code, reason = "maps are written in place; entry points call what is out of line")]

use aya_ebpf::{bindings::xdp_md, helpers::bpf_ktime_get_ns, programs::XdpContext};
use gateway_common::{
    decide::Verdict,
    defence::{GUARD_BANS, GUARD_BUDGETS, Source, Spent, spend},
    packet::Packet,
    reason::Reason,
};

use crate::{
    frame::{Frame, Linear, Whole},
    maps::{BANS, BUDGETS, GUARD, SHARES},
};

/// The verdict about `frame` once bans and budgets were asked.
#[inline(always)]
pub(crate) fn check<F: Frame>(frame: &F, verdict: Verdict) -> Verdict {
    match verdict.reason {
        Reason::Allowed | Reason::Draining if guard() != 0 => frame.defend(verdict),
        _ => verdict,
    }
}

#[inline(always)]
fn guard() -> u32 {
    GUARD.get(0).copied().unwrap_or(0)
}

/// Asks bans, then budgets.
#[inline(always)]
pub(crate) fn defend<F: Frame>(frame: &F, verdict: Verdict) -> Verdict {
    let packet = frame.packet();
    let guard = guard();
    if guard & GUARD_BANS != 0 && is_banned(&packet) {
        return refused(verdict, Reason::Banned);
    }
    // A draining entry's new connections never get here.
    if guard & GUARD_BUDGETS != 0 && packet.syn && !has_budget(&packet, verdict.listener) {
        return refused(verdict, Reason::SynBudget);
    }
    verdict
}

/// The entry did not let it in, so the entry does not count it.
#[inline(always)]
const fn refused(verdict: Verdict, reason: Reason) -> Verdict {
    Verdict { reason, listener: verdict.listener, entry: Verdict::NO_ENTRY }
}

#[inline(always)]
fn is_banned(packet: &Packet) -> bool {
    let source = Source::of(packet, 0);
    // SAFETY: a ban is replaced as a whole, never written in place; one that was just lifted may be read once more.
    let Some(ban) = (unsafe { BANS.get(source) }) else { return false };
    // SAFETY: the helper has no preconditions.
    ban.bites(unsafe { bpf_ktime_get_ns() })
}

/// Whether a new connection fits its source's share, or else what the listener has to spare. A connection within the
/// share always passes: what others do costs nobody his own.
#[inline(always)]
fn has_budget(packet: &Packet, listener: u32) -> bool {
    let Some(budget) = BUDGETS.get_ptr_mut(listener) else { return true };
    // SAFETY: a value of an array map is there for good. The daemon and other CPUs may write it meanwhile; each of its
    // words is read and written whole.
    let (interval, share, even) =
        unsafe { ((*budget).interval, (*budget).share, (&raw const (*budget).even).read_volatile()) };
    if interval == 0 && share == 0 {
        return true;
    }
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let source = Source::of(packet, listener);
    // SAFETY: the value is copied at once.
    let own = unsafe { SHARES.get(source) }.copied().unwrap_or(0);
    // A share of 0 is nobody's.
    let own = if share == 0 { Spent { conforms: false, even: own } } else { spend(own, now, share) };
    if own.conforms {
        // A full table forgets a source, and that source begins anew: nothing to be done about it here.
        let _ = SHARES.insert(source, own.even, 0);
    }
    if interval == 0 {
        return own.conforms;
    }
    let all = spend(even, now, interval);
    if all.conforms {
        // SAFETY: as above.
        unsafe { (&raw mut (*budget).even).write_volatile(all.even) };
    }
    own.conforms || all.conforms
}

/// [`defend`] for a frame in one buffer.
///
/// # Safety
/// `context` is the one that the program was called with.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn defend_linear(context: *mut xdp_md, verdict: u64) -> u64 {
    defend(&Linear::new(&XdpContext::new(context)), Verdict::from_word(verdict)).word()
}

/// [`defend`] for a frame in several buffers.
///
/// # Safety
/// `context` is the one that the program was called with.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn defend_whole(context: *mut xdp_md, verdict: u64) -> u64 {
    defend(&Whole::new(&XdpContext::new(context)), Verdict::from_word(verdict)).word()
}
