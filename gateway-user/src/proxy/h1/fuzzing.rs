//! What [`crate::proxy::fuzzing`] shows of this room: a message as the gateway reads it, whatever pieces it comes in, next
//! to what it writes of it.

use std::net::IpAddr;

use super::{
    Reader,
    chunked::{self, Decoder},
    download,
    head::{self, Bounds, Request, Response},
    scan::Scan,
    upload::end_chunks,
    write::{self, ForClient, ForInstance},
};
use crate::proxy::{
    encode::Choice,
    failure::Failure,
    forwarded::{self, Hop},
    http::{
        framing::{self, Body, Version},
        head::Fields as _,
        hop::Connection,
        pipeline::{self, Decision},
    },
    io::Blocks,
    upstream::Answer,
};

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    None,
    Declared(u64),
    Chunked,
    Close,
}

/// A request head that passed every stage that looks at the head alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// As it is passed on.
    pub host: Vec<u8>,
    pub length: Length,
    /// Where the head begins, and where it ends, in what came.
    pub place: (usize, usize),
    /// The instance's head.
    pub written: Vec<u8>,
}

/// A chunked body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    pub body: Vec<u8>,
    pub consumed: usize,
    /// The body in the gateway's own chunks, one for each piece that was at hand.
    pub written: Vec<u8>,
}

/// What a client gets of an instance's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relayed {
    /// The heads, interim ones too.
    pub heads: Vec<u8>,
    /// The body alone.
    pub body: Vec<u8>,
    /// The body as it is framed for the client.
    pub framed: Vec<u8>,
    /// The answer is through.
    pub done: bool,
}

/// A request head of at most `bytes` and `fields`; `None`: it has not ended. `believed`: a forwarder sends it.
#[must_use]
pub fn head(
    pieces: &[&[u8]],
    (bytes, fields): (usize, usize),
    believed: bool,
) -> Option<Result<Taken, &'static str>> {
    let (mut scan, mut came) = (Scan::default(), Vec::new());
    for piece in pieces {
        came.extend_from_slice(piece);
        match Request::find(&mut scan, &came, Bounds { bytes, fields }) {
            Ok(None) => {}
            Ok(Some(place)) => {
                let bytes = came.get(place.clone()).unwrap_or_default();
                let taken = take(bytes, fields, believed);
                return Some(
                    taken
                        .map_err(Failure::name)
                        .map(|taken| Taken { place: (place.start, place.end), ..taken }),
                );
            }
            Err(failure) => return Some(Err(failure.name())),
        }
    }
    None
}

fn take(bytes: &[u8], fields_max: usize, believed: bool) -> Result<Taken, Failure> {
    const CLIENT: &str = "192.0.2.1";
    let mut room = head::room();
    let head = Request::parse(bytes, &mut room, fields_max)?;
    let mut decision = Decision::default();
    pipeline::plain(&head.view(), &mut decision)?;
    let host = match (head.authority, head.fields.all("host").next()) {
        (Some(authority), _) => authority.as_bytes(),
        (None, Some(host)) => host,
        (None, None) => b"127.0.0.1",
    };
    let address = IpAddr::from([192, 0, 2, 1]);
    let forwarders = if believed { vec![address.into()] } else { Vec::new() };
    let told = forwarded::read(&head.fields, address, &forwarders);
    let connection = Connection::read(&head.fields);
    let asked = ForInstance {
        method: head.method,
        target: head.target,
        strip: 0,
        host,
        body: decision.body,
        upgrade: head
            .fields
            .all("upgrade")
            .next()
            .filter(|_| connection.upgrade && decision.body == Body::None),
        expect: head.fields.all("expect").next().is_some() && !decision.body.is_empty(),
        id: b"7",
        token: believed,
        believed: told.believed(),
        decoded: false,
    };
    let mut written = Vec::new();
    let hop = Hop { address, text: CLIENT, https: believed, port: 443, version: "1.1" };
    write::request(&mut written, &asked, &head.fields, head.fields.iter(), connection, |out| {
        told.write(&hop, host, out, write::begin_field, write::end_field);
    });
    Ok(Taken {
        method: head.method.to_owned(),
        target: head.target.to_owned(),
        host: host.to_vec(),
        length: length(decision.body),
        place: (0, bytes.len()),
        written,
    })
}

/// A chunked body; `None`: it has not ended.
#[must_use]
pub fn chunks(pieces: &[&[u8]]) -> Option<Result<Chunks, &'static str>> {
    let (mut decoder, mut seen) = (Decoder::default(), Chunks::default());
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let step = match decoder.decode(&mut bytes) {
            Ok(step) => step,
            Err(failure) => return Some(Err(failure.name())),
        };
        seen.consumed += step.used;
        bytes.truncate(step.data);
        seen.body.extend_from_slice(&bytes);
        // An empty one would be the last.
        if !bytes.is_empty() {
            chunked::chunk(&mut seen.written, &bytes);
        }
        if decoder.is_done() {
            end_chunks(&mut seen.written, decoder.trailers());
            return Some(Ok(seen));
        }
    }
    None
}

/// An instance's answer to a GET or HEAD of a client that speaks HTTP/1.1 or 1.0; after the last piece the instance closes.
///
/// # Errors
/// The name of the failure, with what the client got until then.
pub fn answer(pieces: &[&[u8]], to_head: bool, old: bool) -> Result<Relayed, (&'static str, Relayed)> {
    let version = if old { Version::Http10 } else { Version::Http11 };
    let blocks = Blocks::new(1 << 30, 1);
    let mut relay =
        Relay { answer: Answer::default(), body: None, seen: Relayed::default(), version, to_head };
    let mut result = Ok(());
    for piece in pieces {
        let mut block = relay.answer.inbox.take().unwrap_or_else(|| blocks.take());
        block.append(piece);
        relay.answer.inbox = Some(block).filter(|block| !block.is_empty());
        result = relay.go_on();
        if result.is_err() || relay.seen.done {
            break;
        }
    }
    let Relay { body, mut seen, .. } = relay;
    let failure = match (result, body) {
        (Err(failure), _) => failure,
        (Ok(()), Some(_)) if seen.done => return Ok(seen),
        (Ok(()), Some((mut reader, chunked))) => {
            seen.done = reader.ends();
            if seen.done && chunked {
                end_chunks(&mut seen.framed, reader.trailers());
            }
            if seen.done {
                return Ok(seen);
            }
            Failure::Broken
        }
        (Ok(()), None) => Failure::Reset,
    };
    Err((failure.name(), seen))
}

/// An answer on its way.
struct Relay {
    answer: Answer,
    /// Its body, and whether the client's is chunked; `None`: the head is not through.
    body: Option<(Reader, bool)>,
    seen: Relayed,
    version: Version,
    to_head: bool,
}

// === impl Relay ===

impl Relay {
    /// Relays what is at hand.
    fn go_on(&mut self) -> Result<(), Failure> {
        loop {
            let Some((reader, chunked)) = &mut self.body else {
                let Some(length) = self.answer.head()? else { return Ok(()) };
                let Some(mut inbox) = self.answer.inbox.take() else { return Err(Failure::BadAnswer) };
                self.head(inbox.data().get(..length).unwrap_or_default())?;
                inbox.consume(length);
                self.answer.inbox = Some(inbox).filter(|inbox| !inbox.is_empty());
                continue;
            };
            let piece = self.answer.piece(reader)?;
            let block = self.answer.inbox.take().filter(|_| piece.is_some());
            let done = reader.is_done();
            if let Some(mut block) = block {
                self.seen.body.extend_from_slice(block.data());
                let mut tail = Vec::new();
                let whole =
                    !*chunked || download::frame(&mut block, done.then(|| reader.trailers()), &mut tail);
                self.seen.framed.extend_from_slice(block.data());
                if !whole {
                    self.seen.framed.extend_from_slice(&tail);
                }
            } else if done && *chunked {
                end_chunks(&mut self.seen.framed, reader.trailers());
            }
            self.seen.done = done;
            return Ok(());
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut room = head::room();
        let head = Response::parse(bytes, &mut room)?;
        let date = b"Sun, 06 Nov 1994 08:49:37 GMT";
        let mut answer = ForClient {
            body: Body::None,
            version: self.version,
            keep_alive: true,
            date,
            coding: Choice::Pass,
            switching: false,
        };
        if head.status == 101 {
            return Err(Failure::BadAnswer);
        }
        if head.status >= 200 {
            let body = framing::response(&head.fields, head.version, head.status, self.to_head)?;
            answer.body = download::for_client(body, self.version);
            answer.keep_alive = answer.body != Body::Close;
            self.body = Some((Reader::new(body), answer.body == Body::Chunked));
        }
        if head.status < 200 && self.version == Version::Http10 {
            return Ok(());
        }
        write::response(&mut self.seen.heads, &head, Connection::read(&head.fields), &answer)
    }
}

fn length(body: Body) -> Length {
    match body {
        Body::None => Length::None,
        Body::Length(length) => Length::Declared(length),
        Body::Chunked => Length::Chunked,
        Body::Close => Length::Close,
    }
}
