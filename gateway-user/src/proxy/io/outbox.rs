//! What is to be sent and was not taken yet. It holds a block only while there is something in it.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;

use super::{Block, Blocks};

/// Bytes on their way out.
pub(crate) struct Outbox {
    block: Option<Block>,
    blocks: Rc<Blocks>,
}

impl Outbox {
    pub(crate) fn new(blocks: &Rc<Blocks>) -> Self {
        Self { block: None, blocks: Rc::clone(blocks) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.block.is_none()
    }

    /// Bytes of memory that it takes.
    pub(crate) fn held(&self) -> usize {
        self.block.as_ref().map_or(0, Block::size)
    }

    /// At least `size` bytes to write into; see [`Self::filled`].
    pub(crate) fn reserve(&mut self, size: usize) -> &mut [u8] {
        let fits = self.block.as_mut().is_some_and(|block| block.rest_mut().len() >= size);
        if !fits {
            let waiting = self.block.take();
            let held = waiting.as_ref().map_or(0, Block::len);
            let mut block = self.blocks.take();
            if block.rest_mut().len() < held + size {
                block = self.blocks.take_large(held + size);
            }
            if let Some(waiting) = waiting {
                // Into the tailroom, too, which it may have filled.
                let _ = block.push(waiting.data());
            }
            self.block = Some(block);
        }
        self.block.as_mut().map(Block::rest_mut).unwrap_or_default()
    }

    /// `count` bytes were written into what [`Self::reserve`] gave.
    pub(crate) fn filled(&mut self, count: usize) {
        if let Some(block) = &mut self.block {
            block.filled(count);
            if block.is_empty() {
                self.block = None;
            }
        }
    }

    /// Keeps `bytes` to be sent.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.reserve(bytes.len()).get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.filled(bytes.len());
    }

    /// Ready once everything is with `socket`.
    pub(crate) fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        socket: &mut S,
    ) -> Poll<io::Result<()>> {
        while let Some(block) = &mut self.block {
            let count = ready!(Pin::new(&mut *socket).poll_write(context, block.data()))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            block.consume(count);
            if block.is_empty() {
                self.block = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::{
        super::{BLOCK, Block, Blocks},
        Outbox,
    };

    /// What fills a block to its last byte, and of which the front is gone, fits into another with what is added; not,
    /// though, into the part of it that is read into.
    #[test]
    fn what_waits_stays_whole_when_more_comes() {
        let mut out = Outbox::new(&Blocks::new(1 << 30, 1));
        let whole = BLOCK + 1024;
        out.push(&vec![b'x'; whole]);
        let (mut taker, _rest) = tokio::io::duplex(400);
        assert!(out.poll_flush(&mut Context::from_waker(Waker::noop()), &mut taker).is_pending());
        out.push(&[b'y'; 300]);
        let left = out.block.as_ref().map(Block::data).unwrap();
        assert!(left == [vec![b'x'; whole - 400], vec![b'y'; 300]].concat(), "{} bytes", left.len());
    }
}
