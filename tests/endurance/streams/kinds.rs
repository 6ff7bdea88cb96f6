//! The kinds of live streams, seen from the client.

use std::{cell::RefCell, io, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    link::{Client, End, PATIENCE, Pieces, Version, Wire, feed, open},
    scene::{Door, HOST, TOKEN},
};

/// Between two messages of a stream.
pub(super) const PACE: Duration = Duration::from_millis(400);
/// Marks the last word of a stream, which says how many messages there were.
pub(super) const FINAL: u64 = 1 << 63;

/// What travels, and over what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    what: What,
    pub(super) version: Version,
    pub(super) tls: bool,
}

/// Where streams lead: below which path there are events, echoes and WebSockets, and below which gRPC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home {
    pub(super) plain: &'static str,
    pub(super) grpc: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Events,
    Upload,
    WebSocket,
    Grpc,
}

const fn kind(what: What, version: Version, tls: bool) -> Kind {
    Kind { what, version, tls }
}

/// Every kind that exists: WebSocket is of HTTP/1.1, gRPC of HTTP/2.
pub(super) const KINDS: [Kind; 12] = [
    kind(What::Events, Version::H1, false),
    kind(What::Events, Version::H1, true),
    kind(What::Events, Version::H2, false),
    kind(What::Events, Version::H2, true),
    kind(What::Upload, Version::H1, false),
    kind(What::Upload, Version::H1, true),
    kind(What::Upload, Version::H2, false),
    kind(What::Upload, Version::H2, true),
    kind(What::WebSocket, Version::H1, false),
    kind(What::WebSocket, Version::H1, true),
    kind(What::Grpc, Version::H2, false),
    kind(What::Grpc, Version::H2, true),
];

/// One open stream.
pub(super) struct Stream {
    pub(super) kind: Kind,
    ends: Ends,
    /// Keeps the connection; the streams of one HTTP/2 connection share it.
    _client: Option<std::rc::Rc<Client>>,
}

enum Ends {
    Events(Incoming),
    Echo(Pieces, Incoming),
    Wire(Box<dyn Wire>),
}

/// A message on its way: eight bytes, in gRPC with a prefix of five (flag and length).
pub(super) fn frame(number: u64, grpc: bool) -> Bytes {
    let mut bytes = BytesMut::with_capacity(13);
    if grpc {
        bytes.put_u8(0);
        bytes.put_u32(8);
    }
    bytes.put_u64(number);
    bytes.freeze()
}

// === impl Stream ===

impl Stream {
    /// Opens a stream to each of `homes`: over one connection if the version can, else over one each.
    pub(super) async fn open(kind: Kind, door: &Door, homes: &[Home]) -> Vec<Self> {
        let mut streams = Vec::with_capacity(homes.len());
        if kind.version == Version::H1 {
            for home in homes {
                let stream = Self::alone(kind, door, *home).await;
                streams.push(stream.unwrap_or_else(|error| panic!("{kind:?}: {error}")));
            }
            return streams;
        }
        let mut client = Client::connect(door, kind.version, End::Fin).await.unwrap();
        let mut ends = Vec::new();
        for home in homes {
            ends.push(
                kind.begin(&mut client, *home).await.unwrap_or_else(|error| panic!("{kind:?}: {error}")),
            );
        }
        let client = std::rc::Rc::new(client);
        streams.extend(ends.into_iter().map(|ends| Self {
            kind,
            ends,
            _client: Some(std::rc::Rc::clone(&client)),
        }));
        streams
    }

    async fn alone(kind: Kind, door: &Door, home: Home) -> io::Result<Self> {
        if kind.what == What::WebSocket {
            return Ok(Self { kind, ends: Ends::Wire(upgrade(door, home).await?), _client: None });
        }
        let mut client = Client::connect(door, kind.version, End::Fin).await?;
        let ends = kind.begin(&mut client, home).await?;
        Ok(Self { kind, ends, _client: Some(std::rc::Rc::new(client)) })
    }

    /// Lives until `finishing`, then ends in order. The error says what disturbed it.
    pub(super) async fn run(
        self,
        phase: u64,
        finishing: watch::Receiver<bool>,
        counted: &RefCell<u64>,
    ) -> Result<(), String> {
        // Streams that were opened together do not speak together.
        sleep(PACE.mul_f64((phase % 1000) as f64 / 1000.0)).await;
        let Self { kind, ends, .. } = self;
        let grpc = kind.what == What::Grpc;
        let result = match ends {
            Ends::Events(body) => events(body, counted).await,
            Ends::Echo(pieces, body) => echo(pieces, body, grpc, finishing, counted).await,
            Ends::Wire(wire) => websocket(wire, finishing, counted).await,
        };
        result.map_err(|error| format!("{kind:?}: {error}"))
    }
}

// === impl Kind ===

impl Kind {
    async fn begin(self, client: &mut Client, home: Home) -> io::Result<Ends> {
        let (pieces, body) = feed();
        let ends = match self.what {
            What::Events => {
                Ends::Events(client.get_from(&format!("{}/events", home.plain)).await?.into_body())
            }
            What::Upload => {
                let request = client.request_for("POST", &format!("{}/echo", home.plain));
                let request = request.body(body).map_err(io::Error::other)?;
                Ends::Echo(pieces, client.send(request).await?.into_body())
            }
            What::Grpc => {
                let request = client.request_for("POST", &format!("{}/echo.Echo/Chat", home.grpc));
                let request = request.header("content-type", "application/grpc").header("te", "trailers");
                let response = client.send(request.body(body).map_err(io::Error::other)?).await?;
                Ends::Echo(pieces, response.into_body())
            }
            What::WebSocket => unreachable!("it begins with an upgrade"),
        };
        Ok(ends)
    }
}

async fn upgrade(door: &Door, home: Home) -> io::Result<Box<dyn Wire>> {
    let mut wire = open(door, Version::H1, End::Fin).await?;
    let request = format!(
        "GET {}/socket HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: {TOKEN}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        home.plain
    );
    wire.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, wire.read_u8()).await??);
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        return Err(io::Error::other(String::from_utf8_lossy(&head).into_owned()));
    }
    Ok(wire)
}

/// The next piece of a body; `None` at its end.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, String> {
    match timeout(PATIENCE, body.frame()).await {
        Err(_) => Err("silence".to_owned()),
        Ok(None) => Ok(None),
        Ok(Some(Err(error))) => Err(format!("broken: {error:?}")),
        Ok(Some(Ok(frame))) => match frame.into_data() {
            Ok(data) => Ok(Some(data)),
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) if trailers.get("grpc-status").is_some_and(|status| status == "0") => {
                    Ok(Some(Bytes::new()))
                }
                other => Err(format!("odd trailers: {other:?}")),
            },
        },
    }
}

async fn events(mut body: Incoming, counted: &RefCell<u64>) -> Result<(), String> {
    let mut text = String::new();
    let mut expected = 0_u64;
    while let Some(piece) = next(&mut body).await? {
        text.push_str(std::str::from_utf8(&piece).map_err(|error| error.to_string())?);
        while let Some(end) = text.find("\n\n") {
            let event: String = text.drain(..end + 2).collect();
            if event == format!("data: end {expected}\n\n") {
                return if text.is_empty() { ended(&mut body).await } else { Err(format!("more: {text:?}")) };
            }
            if event != format!("id: {expected}\ndata: {expected}\n\n") {
                return Err(format!("gap: {event:?} instead of {expected}"));
            }
            expected += 1;
            *counted.borrow_mut() += 1;
        }
    }
    Err(format!("closed after {expected} events"))
}

async fn echo(
    pieces: Pieces,
    mut body: Incoming,
    grpc: bool,
    finishing: watch::Receiver<bool>,
    counted: &RefCell<u64>,
) -> Result<(), String> {
    let mut buffer = BytesMut::new();
    for number in 0.. {
        let over = *finishing.borrow();
        if !over {
            pieces
                .send(Ok(Frame::data(frame(number, grpc))))
                .map_err(|_| "the upload was given up".to_owned())?;
        }
        let wanted = if over { FINAL | number } else { number };
        if over {
            drop(pieces);
            return last(&mut body, &mut buffer, wanted, grpc).await;
        }
        let got = word(&mut body, &mut buffer, grpc).await?;
        if got != wanted {
            return Err(format!("gap: {got} instead of {wanted}"));
        }
        *counted.borrow_mut() += 1;
        sleep(PACE).await;
    }
    Ok(())
}

/// The last word, and the end after it.
async fn last(body: &mut Incoming, buffer: &mut BytesMut, wanted: u64, grpc: bool) -> Result<(), String> {
    let got = word(body, buffer, grpc).await?;
    if got != wanted {
        return Err(format!("the last word is {got:x} instead of {wanted:x}"));
    }
    ended(body).await
}

/// The end of a body, and nothing before it: HTTP/2 may tell it by an empty frame.
async fn ended(body: &mut Incoming) -> Result<(), String> {
    while let Some(piece) = next(body).await? {
        if !piece.is_empty() {
            return Err(format!("more after the end: {piece:?}"));
        }
    }
    Ok(())
}

async fn word(body: &mut Incoming, buffer: &mut BytesMut, grpc: bool) -> Result<u64, String> {
    let prefix = if grpc { 5 } else { 0 };
    while buffer.len() < prefix + 8 {
        let piece = next(body).await?.ok_or("closed")?;
        buffer.extend_from_slice(&piece);
    }
    buffer.advance(prefix);
    Ok(buffer.get_u64())
}

async fn websocket(
    mut wire: Box<dyn Wire>,
    finishing: watch::Receiver<bool>,
    counted: &RefCell<u64>,
) -> Result<(), String> {
    const MASK: [u8; 4] = [0x5a, 0xa5, 0x3c, 0xc3];
    let text = |error: io::Error| format!("broken: {error}");
    for number in 0_u64.. {
        let over = *finishing.borrow();
        let mut sent = vec![if over { 0x88 } else { 0x82 }, if over { 0x80 } else { 0x88 }];
        sent.extend_from_slice(&MASK);
        if !over {
            sent.extend(number.to_be_bytes().iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
        wire.write_all(&sent).await.map_err(text)?;
        wire.flush().await.map_err(text)?;
        let mut got = [0; 10];
        timeout(PATIENCE, wire.read_exact(&mut got))
            .await
            .map_err(|_| "silence".to_owned())?
            .map_err(text)?;
        let wanted = if over { FINAL | number } else { number };
        if got[0] != sent[0] || got[1] != 8 || got[2..] != wanted.to_be_bytes() {
            return Err(format!("gap: {got:x?} instead of {wanted:x}"));
        }
        if over {
            let mut more = Vec::new();
            let end =
                timeout(PATIENCE, wire.read_to_end(&mut more)).await.map_err(|_| "no end".to_owned())?;
            return match end {
                Ok(0) => Ok(()),
                other => Err(format!("no clean end: {other:?} {more:x?}")),
            };
        }
        *counted.borrow_mut() += 1;
        sleep(PACE).await;
    }
    Ok(())
}
