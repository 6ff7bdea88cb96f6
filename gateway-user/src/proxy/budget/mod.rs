//! Pure: one budget of bytes for everything that clients can make the gateway hold, so that memory is bounded by
//! construction: who wants to hold something asks first, and a refusal is an answer (503) or a closed connection, never
//! a process that is killed.
//!
//! The budget is one number that all workers share. A worker has a [`Purse`] of bytes that it drew in advance, so the
//! shared atomic is touched once in many grants, and a grant costs an addition and a subtraction in plain memory. A
//! [`Grant`] gives its bytes back when it is dropped, whatever the way: by a panic, too. What the purses hold unused is
//! at most one part in [`PARTS`] of the budget for each, twice.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// All purses together draw one part in so many of the budget at once.
const PARTS: u64 = 128;
/// A purse draws at most this much more than it is asked for.
const CHUNK_MAX: u64 = 1 << 20;

/// What things are charged with: estimates from above of what they hold in this process and in the kernel.
pub(crate) mod cost {
    use crate::proxy::io::BLOCK;

    /// A client connection that waits: its task, its place in the tables, the TLS session, the kernel's socket.
    pub(crate) const CONNECTION: usize = 16 << 10;
    /// What comes before the first request, beside the connection. A TLS handshake: hello, certificate chain, key
    /// schedule; on a plain port the bytes that tell what the client speaks.
    pub(crate) const HANDSHAKE: usize = 32 << 10;
    /// An HTTP/2 connection, beside the connection: frame buffers, header tables, its streams' states.
    pub(crate) const HTTP2: usize = 48 << 10;
    /// A request in flight: heads and a block for each direction.
    pub(crate) const REQUEST: usize = 64 << 10;
    /// What a client may send of an HTTP/2 request's body before the instance takes it: the stream's window.
    pub(crate) const WINDOW: usize = 256 << 10;
    /// What waits in an HTTP/2 stream until the client's window and its socket take it.
    pub(crate) const SEND_BUFFER: usize = 64 << 10;
    /// The send buffer takes another piece as long as there is any room in it, and the next one waits before it.
    pub(crate) const ANSWER: usize = SEND_BUFFER + 2 * BLOCK;

    /// A request over HTTP/2. Its body may fill the window that the stream was promised, its answer the send buffer.
    pub(crate) fn stream(body: bool, declared: Option<u64>) -> usize {
        let unread = declared.map_or(WINDOW, |length| usize::try_from(length).unwrap_or(WINDOW).min(WINDOW));
        REQUEST + ANSWER + if body { unread } else { 0 }
    }
}

/// The bytes that all workers share.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    drawn: AtomicU64,
    chunk: u64,
}

/// One worker's access to the budget.
#[derive(Debug)]
pub(crate) struct Purse {
    budget: Arc<Budget>,
    spare: Cell<u64>,
}

/// Bytes that their holder may use until this is dropped.
#[derive(Debug)]
#[must_use = "the bytes go back when the grant is dropped"]
pub(crate) struct Grant {
    purse: Rc<Purse>,
    bytes: u64,
}

// === impl Budget ===

impl Budget {
    /// A budget of `limit` bytes for so many workers.
    pub(crate) fn new(limit: u64, workers: usize) -> Arc<Self> {
        let chunk = (limit / PARTS / (workers.max(1) as u64)).min(CHUNK_MAX);
        Arc::new(Self { limit, drawn: AtomicU64::new(0), chunk })
    }

    /// Bytes that may be held.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes that are held, and those that wait in purses.
    pub(crate) fn used(&self) -> u64 {
        self.drawn.load(Relaxed)
    }

    fn draw(&self, bytes: u64) -> bool {
        // Nothing else is published by this number, so it needs no order with other memory.
        self.drawn
            .fetch_update(Relaxed, Relaxed, |drawn| {
                drawn.checked_add(bytes).filter(|drawn| *drawn <= self.limit)
            })
            .is_ok()
    }

    fn put_back(&self, bytes: u64) {
        self.drawn.fetch_sub(bytes, Relaxed);
    }
}

// === impl Purse ===

impl Purse {
    pub(crate) fn new(budget: &Arc<Budget>) -> Rc<Self> {
        Rc::new(Self { budget: Arc::clone(budget), spare: Cell::new(0) })
    }

    /// Permission to hold so many bytes; `None`: the budget is used up.
    #[inline]
    pub(crate) fn grant(self: &Rc<Self>, bytes: usize) -> Option<Grant> {
        let bytes = bytes as u64;
        self.take(bytes).then(|| Grant { purse: Rc::clone(self), bytes })
    }

    #[inline]
    fn take(&self, bytes: u64) -> bool {
        match self.spare.get().checked_sub(bytes) {
            Some(left) => {
                self.spare.set(left);
                true
            }
            None => self.draw(bytes),
        }
    }

    /// Draws what is missing and a chunk for the next grants, or only what is missing when the end is near.
    #[cold]
    fn draw(&self, bytes: u64) -> bool {
        let missing = bytes.saturating_sub(self.spare.get());
        let chunk = self.budget.chunk;
        let left = if missing.checked_add(chunk).is_some_and(|all| self.budget.draw(all)) {
            chunk
        } else if self.budget.draw(missing) {
            0
        } else {
            return false;
        };
        self.spare.set(left);
        true
    }

    #[inline]
    fn put_back(&self, bytes: u64) {
        let spare = self.spare.get() + bytes;
        self.spare.set(spare);
        if spare > 2 * self.budget.chunk {
            self.budget.put_back(spare - self.budget.chunk);
            self.spare.set(self.budget.chunk);
        }
    }
}

impl Drop for Purse {
    fn drop(&mut self) {
        // The worker ends or starts anew; every grant holds the purse, so this is all that is left.
        self.budget.put_back(self.spare.get());
    }
}

// === impl Grant ===

impl Grant {
    /// Asks for so many bytes more. A refusal leaves the grant as it was.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let granted = self.purse.take(bytes as u64);
        if granted {
            self.bytes += bytes as u64;
        }
        granted
    }

    /// Asks for what is missing to `bytes`. A refusal leaves the grant as it was.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> bool {
        usize::try_from(self.bytes).is_ok_and(|held| held >= bytes || self.grow(bytes - held))
    }

    /// Gives back what is beyond `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let left = self.bytes.min(bytes as u64);
        self.purse.put_back(self.bytes - left);
        self.bytes = left;
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.purse.put_back(self.bytes);
    }
}

#[cfg(test)]
mod tests;
