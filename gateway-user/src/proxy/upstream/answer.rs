//! An instance's answer over HTTP/1.1 as it comes in: its head, then its body piece by piece, in a block that is held
//! only while there is something in it.

use std::{
    io,
    rc::Rc,
    task::{Context, Poll, ready},
};

use super::Stream;
use crate::proxy::{
    failure::Failure,
    h1::{Found, Reader, Scan},
    io::{Block, Blocks},
};

/// What came of an answer.
#[derive(Default)]
pub(crate) struct Answer {
    /// What was read and is not passed on yet.
    pub(crate) inbox: Option<Block>,
    scan: Scan,
    /// More came than the answer has.
    excess: bool,
}

// === impl Answer ===

impl Answer {
    /// Whether the connection stands where the next answer begins.
    pub(crate) fn is_clean(&self) -> bool {
        self.inbox.is_none() && !self.excess
    }

    /// Ready with the length of a complete head, which the inbox begins with.
    pub(crate) fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut Stream,
        blocks: &Rc<Blocks>,
    ) -> Poll<Result<usize, Failure>> {
        loop {
            if let Some(length) = self.head()? {
                return Poll::Ready(Ok(length));
            }
            match ready!(self.poll_more(context, stream, blocks)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(Err(Failure::Reset)),
            }
        }
    }

    /// Ready with the next piece of the body: so many bytes at the front of the inbox; `None` at its end.
    pub(crate) fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut Stream,
        blocks: &Rc<Blocks>,
        body: &mut Reader,
    ) -> Poll<Result<Option<usize>, Failure>> {
        loop {
            if let Some(count) = self.piece(body)? {
                return Poll::Ready(Ok(Some(count)));
            }
            if body.is_done() {
                return Poll::Ready(Ok(None));
            }
            match ready!(self.poll_more(context, stream, blocks)) {
                Ok(1..) => {}
                Ok(0) if body.ends() => return Poll::Ready(Ok(None)),
                Ok(0) | Err(_) => return Poll::Ready(Err(Failure::Broken)),
            }
        }
    }

    /// The length of the head that the inbox begins with, if all of it is at hand.
    pub(crate) fn head(&mut self) -> Result<Option<usize>, Failure> {
        let Some(inbox) = &mut self.inbox else { return Ok(None) };
        match self.scan.look(inbox.data()) {
            Found::Head { start, end } => {
                inbox.consume(start);
                self.scan = Scan::default();
                Ok(Some(end - start))
            }
            Found::Partial => {
                // An interim answer may have stood before it.
                inbox.make_room();
                if inbox.room() > 0 { Ok(None) } else { Err(Failure::BadAnswer) }
            }
            Found::Bad => Err(Failure::BadAnswer),
        }
    }

    /// What of the body is at hand; the inbox then ends with it.
    pub(crate) fn piece(&mut self, body: &mut Reader) -> Result<Option<usize>, Failure> {
        let Some(inbox) = &mut self.inbox else { return Ok(None) };
        let length = inbox.len();
        let step = body.take(inbox.data_mut()).map_err(|_| Failure::Broken)?;
        // All is consumed up to the end of the body; what follows belongs to no answer.
        self.excess |= step.used < length;
        inbox.truncate(step.data);
        if step.data == 0 {
            self.inbox = None;
            return Ok(None);
        }
        Ok(Some(step.data))
    }

    fn poll_more(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut Stream,
        blocks: &Rc<Blocks>,
    ) -> Poll<io::Result<usize>> {
        let mut inbox = self.inbox.take().unwrap_or_else(|| blocks.take());
        let result = inbox.poll_read(context, stream);
        if !inbox.is_empty() {
            self.inbox = Some(inbox);
        }
        result
    }
}
