//! Requests that wait for a free place at an instance: first come, first served, in each worker.
//!
//! A service's queue is counted over all workers; whoever gives a place back wakes the first of one worker's line, and
//! whoever leaves a line, for whatever reason, wakes the next. So a place that is free while somebody waits always has
//! somebody on the way to it, and a waiter is a future: dropped when its client goes away, it is out of the line at once.
//!
//! Order matters in two places. A waiter is counted before it looks for a place, and a place is given back before the
//! count is read (both sequentially consistent): one of the two sees the other. A waker is at the door before the
//! waiter is counted there.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::{
        Arc,
        atomic::{
            AtomicU32, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll, Waker},
};

use atomic_waker::AtomicWaker;

use crate::proxy::{
    failure::Failure,
    worker::timer::{Deadline, Late},
};

/// A service's queue, shared by the workers.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: AtomicU32,
    doors: Box<[Door]>,
    /// Where the next free place is offered.
    turn: AtomicUsize,
}

/// One worker's end of the queue.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Door {
    /// Wakes the first in line.
    first: AtomicWaker,
    waiting: AtomicU32,
}

/// One worker's line.
pub(crate) struct Line {
    queue: Arc<Queue>,
    worker: usize,
    waiters: RefCell<VecDeque<Rc<Waiter>>>,
}

#[derive(Default)]
struct Waiter {
    waker: RefCell<Option<Waker>>,
    /// The door counts it.
    counted: Cell<bool>,
}

/// A place in the line, given up when it is dropped.
struct Spot<'a> {
    line: &'a Line,
    me: Rc<Waiter>,
}

// === impl Queue ===

impl Queue {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            waiting: AtomicU32::new(0),
            doors: (0..workers).map(|_| Door::default()).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Whether nobody waits: then a place may be taken without standing in line.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.load(SeqCst) == 0
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// A place was given back.
    pub(crate) fn freed(&self) {
        if self.is_empty() {
            return;
        }
        let start = self.turn.fetch_add(1, Relaxed);
        let doors = self.doors.iter().cycle().skip(start % self.doors.len().max(1)).take(self.doors.len());
        if let Some(door) = doors.into_iter().find(|door| door.waiting.load(SeqCst) > 0) {
            door.first.wake();
        }
    }
}

// === impl Line ===

impl Line {
    pub(crate) fn new(queue: Arc<Queue>, worker: usize) -> Self {
        Self { queue, worker, waiters: RefCell::default() }
    }

    pub(crate) fn is_of(&self, queue: &Arc<Queue>) -> bool {
        Arc::ptr_eq(&self.queue, queue)
    }

    /// Lets the first look again: places appear also by edits, and by instances that come back.
    pub(crate) fn nudge(&self) {
        if let Some(first) = self.waiters.borrow().front() {
            first.wake();
        }
    }

    /// Waits until `take` gives something, which is asked for whenever this is the first in line and a place may be
    /// free. Refused where `most` wait already, over all workers, and when the deadline passes.
    pub(crate) async fn wait<T>(
        &self,
        most: u32,
        deadline: &Deadline,
        mut take: impl FnMut() -> Option<T>,
    ) -> Result<T, Failure> {
        let spot = self.enter(most)?;
        std::future::poll_fn(|context| {
            spot.register(context);
            if spot.is_first()
                && let Some(taken) = take()
            {
                return Poll::Ready(Ok(taken));
            }
            deadline.poll(context).map(|Late| Err(Failure::QueueFull))
        })
        .await
    }

    fn enter(&self, most: u32) -> Result<Spot<'_>, Failure> {
        let more = |count| (count < most).then_some(count + 1);
        self.queue.waiting.fetch_update(SeqCst, SeqCst, more).map_err(|_| Failure::QueueFull)?;
        let me = Rc::<Waiter>::default();
        self.waiters.borrow_mut().push_back(Rc::clone(&me));
        Ok(Spot { line: self, me })
    }

    fn door(&self) -> Option<&Door> {
        self.queue.doors.get(self.worker)
    }
}

// === impl Waiter ===

impl Waiter {
    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

// === impl Spot ===

impl Spot<'_> {
    fn is_first(&self) -> bool {
        self.line.waiters.borrow().front().is_some_and(|first| Rc::ptr_eq(first, &self.me))
    }

    fn register(&self, context: &Context<'_>) {
        match &mut *self.me.waker.borrow_mut() {
            Some(waker) => waker.clone_from(context.waker()),
            empty => *empty = Some(context.waker().clone()),
        }
        let Some(door) = self.line.door() else { return };
        if self.is_first() {
            door.first.register(context.waker());
        }
        if !self.me.counted.replace(true) {
            door.waiting.fetch_add(1, SeqCst);
        }
    }
}

impl Drop for Spot<'_> {
    fn drop(&mut self) {
        let was_first = self.is_first();
        let mut waiters = self.line.waiters.borrow_mut();
        waiters.retain(|waiter| !Rc::ptr_eq(waiter, &self.me));
        if let Some(door) = self.line.door().filter(|_| self.me.counted.get()) {
            door.waiting.fetch_sub(1, SeqCst);
        }
        self.line.queue.waiting.fetch_sub(1, SeqCst);
        // Whatever woke this one may be of use to the next.
        match waiters.front().filter(|_| was_first) {
            Some(next) => next.wake(),
            None if was_first => self.line.queue.freed(),
            None => {}
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
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering::SeqCst},
        },
        task::{Context, Waker},
        thread,
        time::{Duration, Instant},
    };

    use super::{Line, Queue};
    use crate::proxy::{failure::Failure, upstream::balance::simulation::seeds, worker::timer::Timers};

    type Waiting<'a> = Pin<Box<dyn Future<Output = Result<u32, Failure>> + 'a>>;

    /// Waiters come, go away and are served at random in two workers' lines; nobody overtakes in a line, the bound holds
    /// and no free place is left while somebody waits.
    #[test]
    fn first_come_first_served_whoever_goes_away() {
        seeds(300, |random| {
            let queue = Arc::new(Queue::new(2));
            let lines = [0, 1].map(|worker| Line::new(Arc::clone(&queue), worker));
            let timers = Timers::new();
            let deadline = timers.deadline(Duration::from_secs(60));
            let free = Cell::new(0_u32);
            let served = RefCell::new([Vec::new(), Vec::new()]);
            let mut waiting: Vec<(usize, u32, Waiting<'_>)> = Vec::new();
            let mut context = Context::from_waker(Waker::noop());
            for number in 0..200_u32 {
                match random.below(4) {
                    0 | 1 => {
                        let worker = random.below(2) as usize;
                        let (line, free, served, deadline) = (&lines[worker], &free, &served, &deadline);
                        let take = move || {
                            free.set(free.get().checked_sub(1)?);
                            served.borrow_mut()[worker].push(number);
                            Some(number)
                        };
                        let mut future: Waiting<'_> =
                            Box::pin(async move { line.wait(8, deadline, take).await });
                        let full = queue.waiting() == 8;
                        match future.as_mut().poll(&mut context) {
                            std::task::Poll::Ready(result) => {
                                assert_eq!(result.err(), full.then_some(Failure::QueueFull));
                            }
                            std::task::Poll::Pending => waiting.push((worker, number, future)),
                        }
                    }
                    2 => {
                        free.set(free.get() + 1);
                        queue.freed();
                    }
                    _ if !waiting.is_empty() => {
                        drop(waiting.remove(random.below(waiting.len() as u64) as usize));
                        queue.freed();
                    }
                    _ => {}
                }
                // With a waker that does nothing everybody is polled, which is more than would be woken, in any order.
                let mut index = 0;
                while index < waiting.len() {
                    if waiting[index].2.as_mut().poll(&mut context).is_ready() {
                        drop(waiting.remove(index));
                        index = 0;
                    } else {
                        index += 1;
                    }
                }
                assert_eq!(queue.waiting() as usize, waiting.len());
                assert!(waiting.len() <= 8);
                assert!(free.get() == 0 || waiting.is_empty(), "a place is free and somebody waits");
            }
            for served in &*served.borrow() {
                assert!(served.is_sorted(), "{served:?}");
            }
        });
    }

    /// Real threads, real wakers, fewer places than requests: nobody is left waiting, the bound holds.
    #[test]
    fn no_wake_up_is_lost_between_workers() {
        const PLACES: u32 = 3;
        let queue = Arc::new(Queue::new(2));
        let taken = Arc::new(AtomicU32::new(0));
        let workers = [0, 1].map(|worker| {
            let (queue, taken) = (Arc::clone(&queue), Arc::clone(&taken));
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime, async move {
                    let line = Rc::new(Line::new(Arc::clone(&queue), worker));
                    // A deadline that nobody advances never passes: a lost wake-up is a hang, which the test sees.
                    let deadline = Rc::new(Timers::new().deadline(Duration::from_secs(1)));
                    let mut tasks = Vec::new();
                    for number in 0..400_u64 {
                        let (line, deadline) = (Rc::clone(&line), Rc::clone(&deadline));
                        let (queue, taken) = (Arc::clone(&queue), Arc::clone(&taken));
                        tasks.push(tokio::task::spawn_local(async move {
                            let more = |count| (count < PLACES).then_some(count + 1);
                            let take = || taken.fetch_update(SeqCst, SeqCst, more).ok();
                            let before = line.wait(1000, &deadline, take).await.unwrap();
                            assert!(before < PLACES);
                            if number % 3 == 0 {
                                tokio::task::yield_now().await;
                            }
                            taken.fetch_sub(1, SeqCst);
                            queue.freed();
                        }));
                    }
                    for (number, task) in tasks.into_iter().enumerate() {
                        // Some clients go away in between.
                        if number % 7 == 0 {
                            tokio::task::yield_now().await;
                        }
                        task.await.unwrap();
                    }
                });
            })
        });
        let start = Instant::now();
        while workers.iter().any(|worker| !worker.is_finished()) {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{} wait, {} places are taken",
                queue.waiting(),
                taken.load(SeqCst)
            );
            thread::sleep(Duration::from_millis(5));
        }
        for worker in workers {
            worker.join().unwrap();
        }
        assert!(queue.is_empty());
    }
}
