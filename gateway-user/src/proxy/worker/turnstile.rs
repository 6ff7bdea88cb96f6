//! The turn of TLS handshakes. One of them costs as much computing as ten requests, and a thousand hellos that arrive at
//! once would hold up every request that is on its way; so the expensive step of a handshake waits for its turn here,
//! oldest first, and between two rounds of a few handshakes everybody else who is ready runs once.
//!
//! What is bounded is work at a time, not handshakes in progress: a client that begins one and goes on slowly holds
//! memory, which the budget counts, and no turn; a bound on their number would let a few such clients shut out everybody.
//! How many wait is bounded by the gate in front of accept.
//!
//! A round is told by the runtime's own turn: the first who waits yields, which lets everybody run who is ready and then
//! has the sockets looked at, and begins a round when it runs again.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use tokio::task::yield_now;

/// Handshakes of one round.
const ROUND: u32 = 4;

/// One worker's turnstile.
#[derive(Default)]
pub(crate) struct Turnstile {
    /// What is left of the round.
    left: Cell<u32>,
    queue: RefCell<VecDeque<Rc<Waiter>>>,
    /// Whether somebody is on the way to begin a round.
    called: Cell<bool>,
    waiting: Cell<usize>,
}

struct Waiter {
    state: Cell<State>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Parked,
    /// Begins a round when it runs next.
    Called,
    Admitted,
    Gone,
}

/// Leaves the queue, whether its turn came or its connection ended first.
struct Place<'t> {
    turnstile: &'t Turnstile,
    waiter: Rc<Waiter>,
    passed: bool,
}

// === impl Turnstile ===

impl Turnstile {
    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.get()
    }

    /// Waits for the turn. Cancelling it is safe at any moment.
    pub(crate) async fn pass(&self) {
        if let Some(left) = self.left.get().checked_sub(1).filter(|_| self.waiting.get() == 0) {
            self.left.set(left);
            return;
        }
        let first = !self.called.replace(true);
        let state = Cell::new(if first { State::Called } else { State::Parked });
        let waiter = Rc::new(Waiter { state, waker: RefCell::default() });
        if !first {
            self.queue.borrow_mut().push_back(Rc::clone(&waiter));
        }
        self.waiting.set(self.waiting.get() + 1);
        let mut place = Place { turnstile: self, waiter, passed: false };
        let state = || place.waiter.state.get();
        poll_fn(|context| {
            if state() != State::Parked {
                return Poll::Ready(());
            }
            *place.waiter.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        if state() == State::Called {
            yield_now().await;
            self.begin_round();
        }
        place.passed = true;
    }

    /// Admits the next few, and calls the one after them to begin the next round. Who calls this is the first.
    fn begin_round(&self) {
        let mut left = ROUND - 1;
        while left > 0 && self.wake_next(State::Admitted) {
            left -= 1;
        }
        self.left.set(left);
        self.call_next();
    }

    fn call_next(&self) {
        let called = self.wake_next(State::Called);
        self.called.set(called);
    }

    fn wake_next(&self, state: State) -> bool {
        loop {
            let Some(waiter) = self.queue.borrow_mut().pop_front() else { return false };
            if waiter.state.get() != State::Gone {
                waiter.state.set(state);
                if let Some(waker) = waiter.waker.borrow_mut().take() {
                    waker.wake();
                }
                return true;
            }
        }
    }
}

// === impl Place ===

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.turnstile.waiting.set(self.turnstile.waiting.get().saturating_sub(1));
        let state = self.waiter.state.replace(State::Gone);
        // Whoever leaves with a call in hand passes it on; else nobody would begin a round again.
        if state == State::Called && !self.passed {
            self.turnstile.call_next();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        future::Future,
        pin::Pin,
        rc::Rc,
        task::{Context, Poll, Waker},
        time::Duration,
    };

    use tokio::{
        runtime::Builder,
        task::{LocalSet, spawn_local, yield_now},
        time::timeout,
    };

    use super::{ROUND, Turnstile};

    fn run(test: impl Future<Output = ()>) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async { timeout(Duration::from_secs(20), test).await.unwrap() });
    }

    /// A storm of handshakes that are all ready at once: requests keep their turn after every few of them, and the
    /// handshakes keep their order.
    #[test]
    fn requests_run_between_rounds_and_handshakes_in_their_order() {
        run(async {
            let turnstile = Rc::new(Turnstile::default());
            let order = Rc::new(RefCell::new(Vec::new()));
            let since = Rc::new(Cell::new(0_u32));
            let storm: Vec<_> = (0..500)
                .map(|number| {
                    let (turnstile, order, since) =
                        (Rc::clone(&turnstile), Rc::clone(&order), Rc::clone(&since));
                    spawn_local(async move {
                        turnstile.pass().await;
                        order.borrow_mut().push(number);
                        since.set(since.get() + 1);
                    })
                })
                .collect();
            let (seen, count) = (Rc::clone(&since), Rc::clone(&order));
            let request = spawn_local(async move {
                let mut most = 0;
                while count.borrow().len() < 500 {
                    yield_now().await;
                    most = most.max(seen.replace(0));
                }
                most
            });
            for handshake in storm {
                handshake.await.unwrap();
            }
            let most = request.await.unwrap();
            // Two rounds can meet between two turns of the request, not more.
            assert!((1..=2 * ROUND).contains(&most), "{most}");
            assert_eq!(*order.borrow(), (0..500).collect::<Vec<_>>());
            assert_eq!(turnstile.waiting(), 0);
        });
    }

    /// Clients leave at every point of the queue, and those who stay still get their turn.
    #[test]
    fn who_leaves_holds_nobody_up() {
        run(async {
            let (mut seed, mut passed) = (1_u64, 0);
            for _ in 0..200 {
                let turnstile = Rc::new(Turnstile::default());
                let mut waiting: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
                let mut context = Context::from_waker(Waker::noop());
                for _ in 0..100 {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let dice = (seed >> 33) as usize;
                    match dice % 3 {
                        0 => {
                            let turnstile = Rc::clone(&turnstile);
                            waiting.push(Box::pin(async move { turnstile.pass().await }));
                        }
                        1 if !waiting.is_empty() => {
                            let index = dice / 3 % waiting.len();
                            drop(waiting.remove(index));
                        }
                        _ if !waiting.is_empty() => {
                            let index = dice / 3 % waiting.len();
                            if waiting[index].as_mut().poll(&mut context).is_ready() {
                                passed += 1;
                                drop(waiting.remove(index));
                            }
                        }
                        _ => {}
                    }
                }
                // Now everybody who is left is polled in turn until all are through.
                for _ in 0..1000 {
                    waiting.retain_mut(|waiter| waiter.as_mut().poll(&mut context) == Poll::Pending);
                }
                assert!(waiting.is_empty(), "{} are stuck", waiting.len());
                assert_eq!(turnstile.waiting(), 0);
            }
            assert!(passed > 0);
        });
    }
}
