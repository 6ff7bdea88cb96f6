//! Blocks: buffers of one size that a worker lends to whoever has bytes in hand, and takes back at once.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    task::coop,
};

/// Payload of a block: two whole TLS records.
pub(crate) const BLOCK: usize = 32 * 1024;
/// In front of bytes that are read: room for what is said before them (a rewritten head, a chunk's size), so that a
/// body is never moved to make place.
pub(crate) const HEADROOM: usize = 1024;
/// Behind them: the end of a chunk, and what TLS adds to two records.
const TAILROOM: usize = 1024;
/// Bytes of a block in all.
const SIZE: usize = HEADROOM + BLOCK + TAILROOM;
/// Blocks that a worker keeps for the next connection, at most; more are given back to the allocator.
const KEPT: usize = 256;
/// Nobody is charged for spare blocks, so that all workers together keep one part in so many of the byte budget.
const KEPT_PART: u64 = 16;
/// Bytes read for which a task pays one unit of its turn. A turn has 128 of them, and an operation costs one, however
/// large: a task that moves a body would have four megabytes moved before anybody else runs.
const UNIT: usize = 512;

/// The spare blocks of one worker.
pub(crate) struct Blocks {
    spare: RefCell<Vec<Box<[u8]>>>,
    kept: usize,
}

/// A buffer with bytes between `start` and `end`. Dropped, it goes back to its worker.
pub(crate) struct Block {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    home: Rc<Blocks>,
}

// === impl Blocks ===

impl Blocks {
    /// For one of so many workers that share a byte budget.
    pub(crate) fn new(budget: u64, workers: usize) -> Rc<Self> {
        let part = budget / KEPT_PART / (SIZE * workers.max(1)) as u64;
        let kept = usize::try_from(part).unwrap_or(KEPT).clamp(1, KEPT);
        Rc::new(Self { spare: RefCell::default(), kept })
    }

    /// An empty block with its headroom.
    pub(crate) fn take(self: &Rc<Self>) -> Block {
        let bytes = self.spare.borrow_mut().pop().unwrap_or_else(|| vec![0; SIZE].into());
        Block { bytes, start: HEADROOM, end: HEADROOM, home: Rc::clone(self) }
    }

    /// An empty block that holds at least `payload` bytes: for the rare head that is larger than a block.
    pub(crate) fn take_large(self: &Rc<Self>, payload: usize) -> Block {
        let size = HEADROOM + payload.max(BLOCK) + TAILROOM;
        Block { bytes: vec![0; size].into(), start: HEADROOM, end: HEADROOM, home: Rc::clone(self) }
    }
}

// === impl Block ===

impl Block {
    /// The bytes in it.
    pub(crate) fn data(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// The bytes in it, to be changed in place.
    pub(crate) fn data_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes of memory that it takes, however little is in it.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Takes `count` bytes off the front; an empty block has its whole room again.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.is_empty() {
            self.clear();
        }
    }

    /// Drops everything behind the first `count` bytes.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.end = self.end.min(self.start + count);
    }

    pub(crate) fn clear(&mut self) {
        self.start = HEADROOM;
        self.end = HEADROOM;
    }

    /// Room behind the bytes, without the tailroom.
    pub(crate) fn room(&self) -> usize {
        (self.bytes.len() - TAILROOM).saturating_sub(self.end)
    }

    /// Moves the bytes to the front if there is little room behind them.
    pub(crate) fn make_room(&mut self) {
        if self.room() < BLOCK / 2 && self.start > HEADROOM {
            let length = self.len();
            self.bytes.copy_within(self.start..self.end, HEADROOM);
            (self.start, self.end) = (HEADROOM, HEADROOM + length);
        }
    }

    /// The room, to be read into; see [`Self::filled`].
    pub(crate) fn room_mut(&mut self) -> &mut [u8] {
        let limit = self.bytes.len() - TAILROOM;
        self.bytes.get_mut(self.end..limit).unwrap_or_default()
    }

    /// Reads from `reader` into the room; 0: nothing more comes, or there is no room.
    pub(crate) fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(self.room_mut());
        ready!(Pin::new(reader).poll_read(context, &mut buffer))?;
        let count = buffer.filled().len();
        self.filled(count);
        spend(context, count / UNIT);
        Poll::Ready(Ok(count))
    }

    /// All that is behind the bytes, with the tailroom: for whoever knows that it ends there.
    pub(crate) fn rest_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// `count` bytes were written behind the bytes.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// Appends as much of `bytes` as there is room for and says how much that was.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        if let (Some(room), Some(bytes)) = (self.room_mut().get_mut(..count), bytes.get(..count)) {
            room.copy_from_slice(bytes);
        }
        self.filled(count);
        count
    }

    /// Appends `bytes` into room and tailroom; false, and nothing is changed, where they do not fit.
    #[must_use]
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        let Some(room) = self.rest_mut().get_mut(..bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        self.filled(bytes.len());
        true
    }

    /// Puts `bytes` in front of the bytes; false, and nothing is changed, where they do not fit.
    #[must_use]
    pub(crate) fn prepend(&mut self, bytes: &[u8]) -> bool {
        let Some(start) = self.start.checked_sub(bytes.len()) else { return false };
        let Some(room) = self.bytes.get_mut(start..self.start) else { return false };
        room.copy_from_slice(bytes);
        self.start = start;
        true
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut spare = self.home.spare.borrow_mut();
        if bytes.len() == SIZE && spare.len() < self.home.kept {
            spare.push(bytes);
        }
    }
}

/// Takes `units` off the task's turn; at its end the next operation yields to others.
fn spend(context: &mut Context<'_>, units: usize) {
    for _ in 0..units {
        if !coop::has_budget_remaining() {
            return;
        }
        if let Poll::Ready(unit) = coop::poll_proceed(context) {
            unit.made_progress();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use tokio::task::coop;

    use super::{BLOCK, Blocks, HEADROOM, KEPT, SIZE};

    #[test]
    fn bytes_are_put_before_and_behind_what_was_read() {
        let blocks = Blocks::new(1 << 30, 1);
        let mut block = blocks.take();
        assert_eq!(block.append(&vec![b'x'; BLOCK + 5]), BLOCK, "the tailroom is not for reading");
        assert!(block.push(b"end") && block.prepend(&[b'h'; HEADROOM]) && !block.prepend(b"h"));
        assert_eq!(block.len(), HEADROOM + BLOCK + 3);
        block.consume(HEADROOM);
        block.truncate(1);
        assert_eq!(block.data(), b"x");
        block.consume(7);
        assert!(block.is_empty() && block.room() == BLOCK);
    }

    #[test]
    fn what_is_left_moves_to_the_front_when_room_is_short() {
        let blocks = Blocks::new(1 << 30, 1);
        let mut block = blocks.take();
        assert_eq!(block.append(&vec![b'x'; BLOCK - 1]), BLOCK - 1);
        assert_eq!(block.append(b"yz"), 1);
        block.consume(BLOCK - 1);
        block.make_room();
        assert_eq!((block.data(), block.room()), (&b"y"[..], BLOCK - 1));
    }

    #[test]
    fn spare_blocks_are_a_small_part_of_the_budget() {
        let kept = |budget, workers| Blocks::new(budget, workers).kept;
        assert_eq!((kept(1 << 40, 64), kept(0, 1)), (KEPT, 1));
        assert_eq!(kept(16 << 20, 2), (1 << 20) / (2 * SIZE));
    }

    /// Who moves much lets others run after a few blocks.
    #[tokio::test]
    async fn a_turn_is_a_few_blocks() {
        let (mut block, mut source) = (Blocks::new(1 << 30, 1).take(), tokio::io::repeat(b'x'));
        let mut read = 0;
        poll_fn(|context| {
            while coop::has_budget_remaining() {
                block.clear();
                let Poll::Ready(Ok(count)) = block.poll_read(context, &mut source) else { break };
                read += count;
            }
            Poll::Ready(())
        })
        .await;
        assert!((2 * BLOCK..=5 * BLOCK).contains(&read), "{read}");
    }

    #[test]
    fn blocks_come_back_and_large_ones_do_not() {
        let blocks = Blocks::new(1 << 30, 1);
        drop((blocks.take(), blocks.take_large(3 * BLOCK)));
        assert_eq!(blocks.spare.borrow().len(), 1);
        let block = blocks.take();
        assert!(blocks.spare.borrow().is_empty() && block.is_empty());
    }
}
