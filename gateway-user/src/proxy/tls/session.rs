//! One client's TLS state over rustls' unbuffered API: it holds no buffer of its own, so an idle connection costs the
//! keys and little else.
//!
//! Knows no socket: [`crate::proxy::io::Stream`] brings ciphertext in and takes it away.

use std::sync::Arc;

use rustls::{
    Error, ServerConfig,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic},
};

use super::resolver::{self, Shown};
use crate::proxy::io::{Block, Outbox};

/// What a record adds to its plaintext at most: header, explicit nonce, tag, content type (RFC 8446 §5.2, RFC 5288 §3).
const OVERHEAD: usize = 64;
/// Largest plaintext of a record (RFC 8446 §5.1).
const RECORD: usize = 16 * 1024;

/// TLS state of one connection.
pub(crate) struct Session {
    tls: UnbufferedServerConnection,
    /// Ciphertext that is not processed yet; none while nothing waits.
    pub(crate) inbox: Option<Block>,
    /// Plaintext that was decrypted when there was no room for it.
    early: Vec<u8>,
    /// The client said that it sends no more.
    closed: bool,
    /// Whom the client asked for, and what it was shown.
    shown: Option<Shown>,
}

/// Where the session stands when it can do nothing more by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    Handshake,
    Open,
    Closed,
}

/// What is to be sent once the session may.
enum Want<'a> {
    Nothing,
    Bytes(&'a [u8]),
    Goodbye,
}

// === impl Session ===

impl Session {
    /// # Errors
    /// The configuration cannot be used.
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        let tls = UnbufferedServerConnection::new(config)?;
        Ok(Self { tls, inbox: None, early: Vec::new(), closed: false, shown: None })
    }

    /// Whether the handshake is not over.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// The protocol that both sides agreed on.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// Whom the client asked for, and what it was shown.
    pub(crate) fn shown(&mut self) -> Option<Shown> {
        self.shown.take()
    }

    /// Whether nothing more will come.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed && self.early.is_empty()
    }

    /// Whether nothing of the client's is at hand, neither ciphertext nor plaintext, and more may come.
    pub(crate) fn is_empty(&self) -> bool {
        self.inbox.is_none() && self.early.is_empty() && !self.closed
    }

    /// Moves plaintext that was decrypted before into `into`.
    pub(crate) fn take_early(&mut self, into: &mut Block) -> usize {
        if self.early.is_empty() {
            return 0;
        }
        let count = into.append(&self.early);
        self.early.drain(..count);
        if self.early.is_empty() {
            self.early = Vec::new();
        }
        count
    }

    /// Processes the ciphertext at hand: plaintext goes to `into`, what the protocol itself has to say to `out`.
    ///
    /// # Errors
    /// The client broke the protocol; the alert is in `out`.
    pub(crate) fn process(&mut self, into: Option<&mut Block>, out: &mut Outbox) -> Result<Stand, Error> {
        let result = resolver::noting(|| self.drive(&Want::Nothing, into, out));
        let (stand, shown) = result;
        if shown.is_some() {
            self.shown = shown;
        }
        if stand.is_err() {
            // What is left makes no sense any more; with nothing at hand the session hands out its alert.
            self.inbox = None;
            let _ = self.drive(&Want::Nothing, None, out);
        }
        stand
    }

    /// Encrypts `bytes` into `out`.
    ///
    /// # Errors
    /// The session is over, or its keys are used up.
    pub(crate) fn send(&mut self, bytes: &[u8], out: &mut Outbox) -> Result<(), Error> {
        match self.drive(&Want::Bytes(bytes), None, out)? {
            Stand::Open => Ok(()),
            Stand::Handshake | Stand::Closed => Err(Error::HandshakeNotComplete),
        }
    }

    /// Says that nothing more is sent (RFC 8446 §6.1).
    pub(crate) fn goodbye(&mut self, out: &mut Outbox) {
        // A session that cannot say it has nobody to say it to.
        let _ = self.drive(&Want::Goodbye, None, out);
    }

    fn drive(
        &mut self,
        want: &Want<'_>,
        mut into: Option<&mut Block>,
        out: &mut Outbox,
    ) -> Result<Stand, Error> {
        loop {
            let incoming = self.inbox.as_mut().map_or(&mut [][..], Block::data_mut);
            let UnbufferedStatus { mut discard, state, .. } = self.tls.process_tls_records(incoming);
            let step = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    let mut step = Ok(None);
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                discard += record.discard;
                                let room = into.as_deref_mut().filter(|_| self.early.is_empty());
                                let taken = room.map_or(0, |block| block.append(record.payload));
                                self.early.extend_from_slice(record.payload.get(taken..).unwrap_or_default());
                            }
                            Err(error) => step = Err(error),
                        }
                    }
                    step
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out).map(|()| None),
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    // It is in `out`, which is sent before anything that follows.
                    data.done();
                    Ok(None)
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.closed = true;
                    Ok(None)
                }
                Ok(ConnectionState::WriteTraffic(mut traffic)) => match want {
                    Want::Nothing => Ok(()),
                    Want::Bytes(bytes) => encrypt(&mut traffic, bytes, out),
                    Want::Goodbye => goodbye(&mut traffic, out),
                }
                .map(|()| Some(Stand::Open)),
                Ok(ConnectionState::BlockedHandshake) => Ok(Some(Stand::Handshake)),
                Ok(ConnectionState::Closed) => {
                    self.closed = true;
                    Ok(Some(Stand::Closed))
                }
                // Early data is never offered.
                Ok(_) => Err(Error::General("a state that this server never enters".into())),
                Err(error) => Err(error),
            };
            if let Some(inbox) = &mut self.inbox {
                inbox.consume(discard);
                if inbox.is_empty() {
                    self.inbox = None;
                }
            }
            if let Some(stand) = step? {
                return Ok(stand);
            }
        }
    }
}

fn encode<D>(data: &mut EncodeTlsData<'_, D>, out: &mut Outbox) -> Result<(), Error> {
    let mut size = RECORD;
    loop {
        match data.encode(out.reserve(size)) {
            Ok(count) => {
                out.filled(count);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(error)) if error.required_size > size => {
                size = error.required_size;
            }
            Err(error) => return Err(Error::General(error.to_string())),
        }
    }
}

fn encrypt<D>(traffic: &mut WriteTraffic<'_, D>, bytes: &[u8], out: &mut Outbox) -> Result<(), Error> {
    let records = bytes.len().div_ceil(RECORD).max(1);
    let count = traffic.encrypt(bytes, out.reserve(bytes.len() + records * OVERHEAD)).map_err(unencrypted)?;
    out.filled(count);
    Ok(())
}

fn goodbye<D>(traffic: &mut WriteTraffic<'_, D>, out: &mut Outbox) -> Result<(), Error> {
    let count = traffic.queue_close_notify(out.reserve(2 * OVERHEAD)).map_err(unencrypted)?;
    out.filled(count);
    Ok(())
}

fn unencrypted(error: EncryptError) -> Error {
    match error {
        EncryptError::EncryptExhausted => Error::EncryptError,
        EncryptError::InsufficientSize(_) => Error::General(error.to_string()),
    }
}
