//! A bounded flood of frames from a thread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::wire::Wire;

/// Frames on the way until the guard goes or the limit is reached.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    worker: Option<JoinHandle<()>>,
}

/// However wrong a test goes, a flood ends.
const LONGEST: Duration = Duration::from_secs(60);
/// Frames per burst; between bursts the thread sleeps, because the machine has other work.
const BURST: u64 = 32;

// === impl Flood ===

impl Flood {
    /// Sends `frames` in turn at about `per_second`.
    #[must_use]
    pub fn start(wire: Wire, frames: Vec<Vec<u8>>, per_second: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let worker = thread::spawn(move || {
            let start = Instant::now();
            let mut turn = frames.iter().cycle();
            while !stopped.load(Ordering::Relaxed) && start.elapsed() < LONGEST {
                for frame in turn.by_ref().take(BURST as usize) {
                    if wire.try_send(frame).is_ok() {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
                let due = Duration::from_secs(1)
                    * u32::try_from(count.load(Ordering::Relaxed)).unwrap_or(u32::MAX)
                    / u32::try_from(per_second).unwrap_or(u32::MAX).max(1);
                thread::sleep(due.saturating_sub(start.elapsed()));
            }
        });
        Self { stop, sent, worker: Some(worker) }
    }

    /// Frames sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it and says how many were sent.
    pub fn stop(mut self) -> u64 {
        self.end();
        self.sent()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.end();
    }
}
