//! Deadlines of one worker, kept coarsely: one tick for all instead of a timer for each read.
//!
//! A deadline is a slot in a table that the worker's tick walks. Arming it is one store, so every await can have one.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

/// Length of a tick. Deadlines are late by up to one tick, never early.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// The deadlines of one worker.
pub(crate) struct Timers {
    tick: Cell<u32>,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
}

struct Slot {
    /// 0: not armed.
    at: u32,
    waker: Option<Waker>,
}

/// One deadline. It stays registered until it is dropped and can be armed again and again.
pub(crate) struct Deadline {
    timers: Rc<Timers>,
    index: usize,
}

/// The deadline passed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Late;

// === impl Timers ===

impl Timers {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self { tick: Cell::new(1), slots: RefCell::default(), free: RefCell::default() })
    }

    /// Ticks in a second.
    pub(crate) const PER_SECOND: u32 = (1000 / TICK.as_millis()) as u32;

    /// The tick at this time since the ticks' origin. Tick 0 means "not armed", so time begins at 1.
    pub(crate) fn at(elapsed: Duration) -> u32 {
        u32::try_from(elapsed.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX / 2) + 1
    }

    /// Ticks that cover `duration`.
    pub(crate) fn ticks(duration: Duration) -> u32 {
        let ticks = duration.as_millis().div_ceil(TICK.as_millis()).saturating_add(1);
        u32::try_from(ticks).unwrap_or(u32::MAX / 2).min(u32::MAX / 2)
    }

    /// The current tick.
    pub(crate) fn tick(&self) -> u32 {
        self.tick.get()
    }

    /// A deadline, armed to pass after `duration`.
    pub(crate) fn deadline(self: &Rc<Self>, duration: Duration) -> Deadline {
        let mut slots = self.slots.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(Slot { at: 0, waker: None });
            slots.len() - 1
        });
        if let Some(slot) = slots.get_mut(index) {
            slot.at = self.tick.get().saturating_add(Self::ticks(duration));
        }
        Deadline { timers: Rc::clone(self), index }
    }

    /// Advances to `tick` and wakes whoever's deadline passed.
    pub(crate) fn advance(&self, tick: u32) {
        self.tick.set(tick);
        let mut due = Vec::new();
        for slot in self.slots.borrow_mut().iter_mut() {
            if slot.at != 0 && slot.at <= tick {
                due.extend(slot.waker.take());
            }
        }
        due.into_iter().for_each(Waker::wake);
    }
}

// === impl Deadline ===

impl Deadline {
    /// Sets the deadline anew.
    pub(crate) fn arm(&self, duration: Duration) {
        self.set(self.timers.tick.get().saturating_add(Timers::ticks(duration)));
    }

    /// Switches the deadline off.
    pub(crate) fn disarm(&self) {
        self.set(0);
    }

    fn set(&self, at: u32) {
        if let Some(slot) = self.timers.slots.borrow_mut().get_mut(self.index) {
            slot.at = at;
        }
    }

    /// Ready once the deadline has passed; else the task is woken when it does.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<Late> {
        let mut slots = self.timers.slots.borrow_mut();
        let Some(slot) = slots.get_mut(self.index) else { return Poll::Pending };
        if slot.at != 0 && slot.at <= self.timers.tick.get() {
            return Poll::Ready(Late);
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => slot.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Runs `future` until the deadline.
    pub(crate) async fn bound<F: Future>(&self, future: F) -> Result<F::Output, Late> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|context| {
            if let Poll::Ready(output) = Pin::new(&mut future).poll(context) {
                return Poll::Ready(Ok(output));
            }
            self.poll(context).map(Err)
        })
        .await
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(slot) = self.timers.slots.borrow_mut().get_mut(self.index) {
            *slot = Slot { at: 0, waker: None };
        }
        self.timers.free.borrow_mut().push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        task::{Context, Poll, Waker},
        time::Duration,
    };

    use super::{Late, Timers};

    #[test]
    fn a_deadline_is_never_early_and_can_be_armed_again() {
        let timers = Timers::new();
        let context = Context::from_waker(Waker::noop());
        let deadline = timers.deadline(Duration::from_millis(250));
        timers.advance(4);
        assert_eq!(deadline.poll(&context), Poll::Pending);
        timers.advance(5);
        assert_eq!(deadline.poll(&context), Poll::Ready(Late));
        deadline.arm(Duration::from_secs(1));
        assert_eq!(deadline.poll(&context), Poll::Pending);
        deadline.disarm();
        timers.advance(1_000_000);
        assert_eq!(deadline.poll(&context), Poll::Pending);
    }

    #[test]
    fn slots_are_used_again() {
        let timers = Timers::new();
        let first = timers.deadline(Duration::ZERO).index;
        assert_eq!(timers.deadline(Duration::ZERO).index, first);
    }
}
