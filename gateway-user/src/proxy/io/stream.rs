//! A client's stream, plain or TLS, in blocks. It is also what hyper reads and writes for HTTP/2.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{BLOCK, Block, Blocks, Outbox};
use crate::proxy::{listener::socket::Socket, tls::Session};

/// A client's stream.
pub(crate) struct Stream {
    socket: Socket,
    tls: Option<Box<Session>>,
    out: Outbox,
    /// Plaintext that a reader without blocks did not take yet.
    unread: Option<Block>,
    /// Goodbye was said.
    ended: bool,
    blocks: Rc<Blocks>,
}

// === impl Stream ===

impl Stream {
    pub(crate) fn plain(socket: Socket, blocks: &Rc<Blocks>) -> Self {
        Self {
            socket,
            tls: None,
            out: Outbox::new(blocks),
            unread: None,
            ended: false,
            blocks: Rc::clone(blocks),
        }
    }

    /// The bare socket.
    pub(crate) fn tcp(&self) -> &TcpStream {
        self.socket.tcp()
    }

    /// Shakes hands. `turn` is waited for before the first expensive step.
    ///
    /// # Errors
    /// The socket's, or [`rustls::Error`] inside: then the client has its alert.
    pub(crate) async fn secure(
        &mut self,
        config: Arc<ServerConfig>,
        turn: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut session = Box::new(Session::new(config).map_err(io::Error::other)?);
        let (blocks, socket) = (&self.blocks, &mut self.socket);
        if poll_fn(|context| poll_ciphertext(&mut session, blocks, socket, context)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        turn.await;
        self.tls = Some(session);
        poll_fn(|context| self.poll_handshake(context)).await
    }

    /// Bytes of memory that wait in it to be read or sent: none, while nothing is on its way.
    pub(crate) fn held(&self) -> usize {
        let inbox = self.tls.as_ref().and_then(|session| session.inbox.as_ref());
        inbox.map_or(0, Block::size) + self.unread.as_ref().map_or(0, Block::size) + self.out.held()
    }

    /// Puts bytes back in front of what is read next.
    pub(crate) fn put_back(&mut self, bytes: Block) {
        self.unread = Some(bytes);
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(session) = &mut self.tls else { return Poll::Ready(Ok(())) };
        loop {
            let processed = session.process(None, &mut self.out);
            ready!(self.out.poll_flush(context, &mut self.socket))?;
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if !session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if ready!(poll_ciphertext(session, &self.blocks, &mut self.socket, context))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// The TLS side, if there is one.
    pub(crate) fn session(&mut self) -> Option<&mut Session> {
        self.tls.as_deref_mut()
    }

    /// Appends what the client sent to `into`, which must have room; 0: it sends no more.
    pub(crate) fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        into: &mut Block,
    ) -> Poll<io::Result<usize>> {
        if let Some(unread) = &mut self.unread {
            let count = into.append(unread.data());
            unread.consume(count);
            if unread.is_empty() {
                self.unread = None;
            }
            return Poll::Ready(Ok(count));
        }
        into.make_room();
        if into.room() == 0 {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        let Some(session) = &mut self.tls else {
            return into.poll_read(context, &mut self.socket);
        };
        loop {
            let early = session.take_early(into);
            if early > 0 {
                return Poll::Ready(Ok(early));
            }
            let before = into.len();
            let processed = match session.inbox {
                Some(_) => session.process(Some(into), &mut self.out).map(drop),
                None => Ok(()),
            };
            if !self.out.is_empty() {
                // Tickets, key updates, alerts. What the client does not take now goes with the next bytes.
                let _ = self.out.poll_flush(context, &mut self.socket)?;
            }
            if into.len() > before {
                return Poll::Ready(Ok(into.len() - before));
            }
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if session.is_closed() {
                return Poll::Ready(Ok(0));
            }
            if ready!(poll_ciphertext(session, &self.blocks, &mut self.socket, context))? == 0 {
                return Poll::Ready(Ok(0));
            }
        }
    }

    /// Appends what the client sent to a block that exists only while there is something in it.
    pub(crate) fn poll_inbox(
        &mut self,
        context: &mut Context<'_>,
        inbox: &mut Option<Block>,
    ) -> Poll<io::Result<usize>> {
        // While there is nothing to decrypt, no block is taken for what it says.
        if let Some(session) = self.tls.as_deref_mut().filter(|session| session.is_empty())
            && self.unread.is_none()
            && ready!(poll_ciphertext(session, &self.blocks, &mut self.socket, context))? == 0
        {
            return Poll::Ready(Ok(0));
        }
        let mut block = inbox.take().unwrap_or_else(|| self.blocks.take());
        let filled = self.poll_fill(context, &mut block);
        if !block.is_empty() {
            *inbox = Some(block);
        }
        filled
    }

    /// Whether the client, as far as the kernel goes, has taken all that was sent.
    pub(crate) fn is_sent(&self) -> bool {
        self.out.is_empty()
    }

    /// Ready once everything that was sent is with the kernel.
    pub(crate) fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.out.poll_flush(context, &mut self.socket)
    }

    /// Sends `bytes`. What the kernel does not take at once is kept; whoever sends much waits for
    /// [`Self::poll_sent`] before.
    pub(crate) fn send(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(session) => session.send(bytes, &mut self.out).map_err(io::Error::other)?,
            None if self.out.is_empty() => match Pin::new(&mut self.socket).poll_write(context, bytes)? {
                Poll::Ready(count) if count == bytes.len() => return Ok(()),
                Poll::Ready(count) => self.out.push(bytes.get(count..).unwrap_or_default()),
                Poll::Pending => self.out.push(bytes),
            },
            None => self.out.push(bytes),
        }
        match self.poll_sent(context) {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// Keeps `bytes` to be sent with the next [`Self::poll_sent`].
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        match &mut self.tls {
            // A session that cannot send any more has nobody to send to.
            Some(session) => drop(session.send(bytes, &mut self.out)),
            None => self.out.push(bytes),
        }
    }

    /// Ends our side: says goodbye, sends what is left, shuts the socket down.
    pub(crate) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.ended, true)
            && let Some(session) = &mut self.tls
        {
            session.goodbye(&mut self.out);
        }
        ready!(self.poll_sent(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// Reads ciphertext into the session's inbox, which exists only while there is something in it.
fn poll_ciphertext(
    session: &mut Session,
    blocks: &Rc<Blocks>,
    socket: &mut Socket,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut inbox = session.inbox.take().unwrap_or_else(|| blocks.take());
    inbox.make_room();
    if inbox.room() == 0 {
        // More than two records without one that is whole.
        return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
    }
    let result = inbox.poll_read(context, socket);
    if !inbox.is_empty() {
        session.inbox = Some(inbox);
    }
    result
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.tls.is_none() && this.unread.is_none() {
            return Pin::new(&mut this.socket).poll_read(context, buffer);
        }
        if this.unread.is_none() {
            let mut block = this.blocks.take();
            ready!(this.poll_fill(context, &mut block))?;
            this.unread = Some(block);
        }
        if let Some(unread) = &mut this.unread {
            let count = unread.len().min(buffer.remaining());
            buffer.put_slice(unread.data().get(..count).unwrap_or_default());
            unread.consume(count);
            if unread.is_empty() {
                this.unread = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_sent(context))?;
        let bytes = bytes.get(..bytes.len().min(BLOCK)).unwrap_or_default();
        self.send(context, bytes)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_sent(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_end(context)
    }
}
