//! Ctrl-C as a flag that the demo looks at, so that its guards clean up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};

/// Whether somebody wants the demo to end.
#[derive(Clone)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on SIGINT, SIGTERM and SIGHUP only set the flag. Children start with a clean mask (std sees to that)
    /// and in a process group of their own, so that the terminal's Ctrl-C does not reach them before the clean-up.
    pub(super) fn install() -> anyhow::Result<Self> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block().context("cannot block signals")?;
        let flag = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&flag);
        thread::spawn(move || {
            while signals.wait().is_ok() {
                seen.store(true, Ordering::Relaxed);
            }
        });
        Ok(Self(flag))
    }

    pub(super) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
