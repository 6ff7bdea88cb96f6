//! Watches the frames of an HTTP/2 connection as they pass between hyper and the client, and dismisses a client that
//! floods us, or sends what hyper would take and must not.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{
    blocks::{Blocks, Fault},
    frames::{Account, Flood, Frames, Piece},
};
use crate::proxy::worker::timer::Timers;

/// GOAWAY with an eight byte payload: last stream, code (RFC 9113 §6.8).
const GOAWAY: [u8; 9] = [0, 0, 8, 7, 0, 0, 0, 0, 0];
const PROTOCOL_ERROR: u32 = 1;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;
/// How long and how much of what the client still sends is taken in, so that the close does not destroy the GOAWAY.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

/// hyper's end of a watched stream.
pub(super) struct Guard<S>(Rc<RefCell<Watched<S>>>);

/// Our end.
pub(super) struct Watched<S> {
    stream: S,
    timers: Rc<Timers>,
    received: Frames,
    sent: Frames,
    account: Account,
    blocks: Blocks,
    dismissal: Option<Dismissal>,
}

/// Why a client is sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dismissal {
    Flood(Flood),
    Fault(Fault),
}

// === impl Watched ===

impl<S: AsyncRead + AsyncWrite + Unpin> Watched<S> {
    /// Watches `stream`, on which `preface` bytes come before the client's first frame; its table of fields may have so
    /// many bytes.
    pub(super) fn new(
        stream: S,
        preface: u32,
        table: u16,
        timers: &Rc<Timers>,
    ) -> (Rc<RefCell<Self>>, Guard<S>) {
        let watched = Rc::new(RefCell::new(Self {
            stream,
            timers: Rc::clone(timers),
            received: Frames::after(preface),
            sent: Frames::after(0),
            account: Account::open(timers.tick()),
            blocks: Blocks::new(table),
            dismissal: None,
        }));
        (Rc::clone(&watched), Guard(watched))
    }

    /// Why the client is sent away.
    pub(super) const fn dismissal(&self) -> Option<Dismissal> {
        self.dismissal
    }

    /// Says why the connection ends, if hyper was not in the middle of a frame, and ends it.
    pub(super) async fn dismiss(&mut self, why: Dismissal) {
        let deadline = self.timers.deadline(LINGER);
        let last = self.account.last();
        let Self { stream, sent, .. } = self;
        let farewell = async {
            if sent.between() {
                let mut frame = GOAWAY.to_vec();
                frame.extend(last.to_be_bytes());
                frame.extend(why.code().to_be_bytes());
                stream.write_all(&frame).await?;
            }
            stream.shutdown().await?;
            let mut block = vec![0; 16 * 1024];
            let mut left = LINGER_BYTES;
            while let length @ 1.. = stream.read(&mut block).await? {
                left = left.saturating_sub(length);
                if left == 0 {
                    break;
                }
            }
            io::Result::Ok(())
        };
        // Whatever becomes of it: the stream is closed when it is dropped.
        let _ = deadline.bound(farewell).await;
    }

    fn took(&mut self, mut bytes: &mut [u8]) -> Result<(), Dismissal> {
        let tick = self.timers.tick();
        while !bytes.is_empty() {
            let (count, piece) = self.received.next(bytes);
            let (taken, rest) = bytes.split_at_mut(count);
            match piece {
                Piece::Partial => {}
                Piece::Header(frame) => {
                    self.account.received(frame, tick)?;
                    self.blocks.begin(frame)?;
                }
                Piece::Payload => self.blocks.read(taken)?,
            }
            bytes = rest;
        }
        Ok(())
    }

    fn wrote(&mut self, bytes: &[u8]) {
        let (account, blocks) = (&mut self.account, &mut self.blocks);
        self.sent.pass(bytes, |frame| {
            account.sent(frame);
            blocks.sent(frame);
        });
    }
}

// === impl Dismissal ===

impl Dismissal {
    /// RFC 9113 §7.
    const fn code(self) -> u32 {
        match self {
            Self::Flood(_) => ENHANCE_YOUR_CALM,
            Self::Fault(Fault::Protocol) => PROTOCOL_ERROR,
            Self::Fault(Fault::Compression) => COMPRESSION_ERROR,
        }
    }
}

impl From<Flood> for Dismissal {
    fn from(flood: Flood) -> Self {
        Self::Flood(flood)
    }
}

impl From<Fault> for Dismissal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

// === impl Guard ===

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self.0.borrow_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        match this.took(buffer.filled_mut().get_mut(before..).unwrap_or_default()) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(why) => {
                this.dismissal = Some(why);
                // hyper gives up at once, and `Watched::dismiss` tells the client.
                Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self.0.borrow_mut();
        let count = ready!(Pin::new(&mut this.stream).poll_write(context, bytes))?;
        this.wrote(bytes.get(..count).unwrap_or(bytes));
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self.0.borrow_mut();
        let count = ready!(Pin::new(&mut this.stream).poll_write_vectored(context, slices))?;
        let mut left = count;
        for slice in slices {
            let part = left.min(slice.len());
            this.wrote(slice.get(..part).unwrap_or_default());
            left -= part;
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_shutdown(context)
    }
}
