//! After a 101: bytes both ways until both sides ended (WebSocket and other upgrades). The end of one side is passed on
//! and the other may still talk.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite as _;

use crate::proxy::{
    io::{Block, Blocks, Stream},
    upstream,
};

/// Both directions of a tunnel.
pub(crate) struct Tunnel {
    /// What the client sent and the instance did not take yet.
    up: Option<Block>,
    /// What the instance sent.
    down: Option<Block>,
    up_ended: bool,
    down_ended: bool,
    /// The instance takes no more; what it said before is still on its way down.
    refused: bool,
    /// One side broke off: the other has a moment to end, too.
    pub(crate) lingers: bool,
    pub(crate) passed_up: u64,
    pub(crate) passed_down: u64,
    blocks: Rc<Blocks>,
}

// === impl Tunnel ===

impl Tunnel {
    /// Begins with what both sides sent already.
    pub(crate) fn new(up: Option<Block>, down: Option<Block>, blocks: &Rc<Blocks>) -> Self {
        Self {
            up,
            down,
            up_ended: false,
            down_ended: false,
            refused: false,
            lingers: false,
            passed_up: 0,
            passed_down: 0,
            blocks: Rc::clone(blocks),
        }
    }

    /// Ready when both sides ended; an error, when the client is gone.
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Stream,
        instance: &mut upstream::Stream,
    ) -> Poll<io::Result<()>> {
        let up = self.poll_up(context, client, instance)?;
        let down = self.poll_down(context, client, instance)?;
        if up.is_ready() && down.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_up(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Stream,
        instance: &mut upstream::Stream,
    ) -> Poll<io::Result<()>> {
        loop {
            if ready!(self.poll_write_up(context, instance)).is_err() {
                (self.refused, self.lingers, self.up) = (true, true, None);
            }
            if self.up_ended {
                // An instance that is gone need not know that nothing more comes.
                let _ = ready!(Pin::new(instance).poll_shutdown(context));
                return Poll::Ready(Ok(()));
            }
            let mut block = self.blocks.take();
            match ready!(client.poll_fill(context, &mut block))? {
                0 => self.up_ended = true,
                _ if self.refused => {}
                _ => self.up = Some(block),
            }
        }
    }

    fn poll_write_up(
        &mut self,
        context: &mut Context<'_>,
        instance: &mut upstream::Stream,
    ) -> Poll<io::Result<()>> {
        while let Some(block) = &mut self.up {
            let count = ready!(Pin::new(&mut *instance).poll_write(context, block.data()))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.passed_up += count as u64;
            block.consume(count);
            if block.is_empty() {
                self.up = None;
            }
        }
        if self.refused { Poll::Ready(Ok(())) } else { Pin::new(instance).poll_flush(context) }
    }

    fn poll_down(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Stream,
        instance: &mut upstream::Stream,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(client.poll_sent(context))?;
            if let Some(block) = self.down.take() {
                self.passed_down += block.len() as u64;
                client.send(context, block.data())?;
                continue;
            }
            if self.down_ended {
                return client.poll_end(context);
            }
            let mut block = self.blocks.take();
            match ready!(block.poll_read(context, instance)) {
                Ok(0) => self.down_ended = true,
                Ok(_) => self.down = Some(block),
                Err(_) => (self.down_ended, self.lingers) = (true, true),
            }
        }
    }
}
