//! The clients of the flood, one visit each.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Frame;
use rustls::{ClientConnection, client::Resumption, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

use super::{
    origin::{MUCH, PIECE},
    steady::ask,
    tally::{Kind, Outcome, Tally},
};
use crate::{
    link::{Client, End, PATIENCE, Version, Wire, feed, open},
    scene::{Door, HOST, Scene, TOKEN},
};

/// Between two requests of a connection that stays: longer than the gateway leaves idle connections alone.
const STAY: Duration = Duration::from_secs(2);
/// Between two bytes of who is slow.
const TRICKLE: Duration = Duration::from_secs(1);
/// The beginning of a slow head; the gateway takes 64 KiB (`head_bytes`).
const HEAD: usize = 48 << 10;
/// What a slow reader takes at once.
const SIP: usize = 100;
/// An upload: so many pieces, one after each pause.
const PIECES: usize = 32;
const PACE: Duration = Duration::from_millis(50);

/// What all of them share.
pub(super) struct Place {
    plain: Door,
    tls: Door,
    /// The TLS port, for who speaks no TLS.
    raw: Door,
    /// A ClientHello. Sent again and again, it costs its sender nothing and the gateway a whole key exchange.
    hello: Vec<u8>,
    pub(super) tally: Tally,
}

// === impl Place ===

impl Place {
    pub(super) fn new(scene: &Scene, tally: &Tally) -> Self {
        let mut tls = scene.tls();
        let mut config = rustls::ClientConfig::clone(tls.tls.as_ref().expect("the door has TLS"));
        // Each handshake is a whole one.
        config.resumption = Resumption::disabled();
        let config = Arc::new(config);
        tls.tls = Some(Arc::clone(&config));
        let mut hello = Vec::new();
        ClientConnection::new(config, ServerName::try_from(HOST).unwrap())
            .unwrap()
            .write_tls(&mut hello)
            .unwrap();
        let raw = Door { address: tls.address, tls: None };
        Self { plain: scene.plain(), tls, raw, hello, tally: tally.clone() }
    }

    fn door(&self, tls: bool) -> &Door {
        if tls { &self.tls } else { &self.plain }
    }

    /// One visit of the client `index`; the error is an answer that must not be.
    pub(super) async fn visit(&self, kind: Kind, index: usize) -> Result<Outcome, String> {
        let door = self.door(index.is_multiple_of(2));
        let result = match kind {
            Kind::Connection => self.stay(door, index).await,
            Kind::Handshake => self.greet().await,
            Kind::SlowHead => slow_head(door).await,
            Kind::SlowBody => slow_body(door).await,
            Kind::SlowReader => slow_reader(door).await,
            Kind::Upload => upload(&self.tls, index).await,
            Kind::Steady | Kind::Rate => return Err("not of the flood".to_owned()),
        };
        // A connection that failed is one that the gateway ended or did not take.
        result.unwrap_or(Ok(Outcome::Gone))
    }

    /// Asks, and stays until it has to leave.
    async fn stay(&self, door: &Door, index: usize) -> io::Result<Result<Outcome, String>> {
        let version = if index % 4 < 2 { Version::H1 } else { Version::H2 };
        let mut client = Client::connect(door, version, End::Reset).await?;
        for number in 0_u64.. {
            let result = ask(&mut client, "bulk", &format!("guest{index}n{number}")).await?;
            self.tally.note(Kind::Connection, result);
            sleep(STAY).await;
        }
        Ok(Ok(Outcome::Gone))
    }

    /// Begins a handshake and leaves once the gateway has done its part.
    async fn greet(&self) -> io::Result<Result<Outcome, String>> {
        let mut wire = open(&self.raw, Version::H1, End::Reset).await?;
        wire.write_all(&self.hello).await?;
        let length = timeout(PATIENCE, wire.read(&mut [0; 512])).await??;
        Ok(Ok(if length == 0 { Outcome::Gone } else { Outcome::Served }))
    }
}

/// A head that goes on and never ends. Much of it comes at once: what is held of it must be counted, too.
async fn slow_head(door: &Door) -> io::Result<Result<Outcome, String>> {
    let much = "x".repeat(HEAD);
    let begin = format!("GET /api/predict/bulk/say/slow HTTP/1.1\r\nHost: {HOST}\r\nX-Slow: {much}");
    trickle(open(door, Version::H1, End::Reset).await?, &begin).await
}

/// A body that goes on and never ends.
async fn slow_body(door: &Door) -> io::Result<Result<Outcome, String>> {
    let begin = format!(
        "POST /api/predict/bulk/count HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: {TOKEN}\r\nContent-Length: 100000\r\n\r\n"
    );
    trickle(open(door, Version::H1, End::Reset).await?, &begin).await
}

/// Sends `begin`, then a byte at a time until the gateway says something or ends it.
async fn trickle(wire: Box<dyn Wire>, begin: &str) -> io::Result<Result<Outcome, String>> {
    let (mut reader, mut writer) = tokio::io::split(wire);
    writer.write_all(begin.as_bytes()).await?;
    let write = async {
        loop {
            writer.flush().await?;
            sleep(TRICKLE).await;
            writer.write_all(b"x").await?;
        }
    };
    tokio::select! {
        biased;
        head = read_head(&mut reader) => head,
        ended = write => ended,
    }
}

/// Asks for much and takes little.
async fn slow_reader(door: &Door) -> io::Result<Result<Outcome, String>> {
    let mut wire = open(door, Version::H1, End::Reset).await?;
    let request =
        format!("GET /api/predict/bulk/much HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: {TOKEN}\r\n\r\n");
    wire.write_all(request.as_bytes()).await?;
    wire.flush().await?;
    let head = read_head(&mut wire).await?;
    if head != Ok(Outcome::Served) {
        return Ok(head);
    }
    let mut taken = 0;
    while taken < MUCH {
        sleep(TRICKLE).await;
        match wire.read(&mut [0; SIP]).await? {
            0 => return Ok(Ok(Outcome::Gone)),
            read => taken += read,
        }
    }
    Ok(head)
}

/// Sends megabytes at a pace that every network has.
async fn upload(door: &Door, index: usize) -> io::Result<Result<Outcome, String>> {
    let version = if index.is_multiple_of(2) { Version::H1 } else { Version::H2 };
    let mut client = Client::connect(door, version, End::Reset).await?;
    let (pieces, body) = feed();
    let request = client.request("POST", "bulk", "/count").body(body).map_err(io::Error::other)?;
    let answer = client.start(request).await?;
    let write = async {
        for _ in 0..PIECES {
            let _ = pieces.send(Ok(Frame::data(Bytes::from_static(PIECE))));
            sleep(PACE).await;
        }
        drop(pieces);
        std::future::pending::<()>().await;
    };
    let response = tokio::select! {
        response = answer => response?,
        () = write => return Ok(Err("unreachable".to_owned())),
        () = sleep(2 * PATIENCE) => return Ok(Err("no answer to an upload in time".to_owned())),
    };
    let outcome = Outcome::of(response.status(), response.headers());
    let body = timeout(PATIENCE, response.into_body().collect()).await?.map_err(io::Error::other)?.to_bytes();
    Ok(match outcome {
        Ok(Outcome::Served) if body != (PIECES * PIECE.len()).to_string() => {
            Err(format!("{body:?} of {} bytes arrived", PIECES * PIECE.len()))
        }
        outcome => outcome,
    })
}

/// Reads until an answer's head is whole.
async fn read_head(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Result<Outcome, String>> {
    let mut seen = Vec::new();
    loop {
        if let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(parse(&String::from_utf8_lossy(&seen[..end])));
        }
        let mut buffer = [0; 1024];
        match reader.read(&mut buffer).await? {
            0 => return Ok(Ok(Outcome::Gone)),
            length => seen.extend_from_slice(&buffer[..length]),
        }
    }
}

fn parse(head: &str) -> Result<Outcome, String> {
    let (first, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = first.split(' ').nth(1).and_then(|text| text.parse::<StatusCode>().ok());
    let status = status.ok_or_else(|| format!("{first:?} is no status line"))?;
    let fields = fields.lines().filter_map(|line| line.split_once(": ")).filter_map(|(name, value)| {
        Some((name.parse::<HeaderName>().ok()?, value.parse::<HeaderValue>().ok()?))
    });
    Outcome::of(status, &fields.collect::<HeaderMap>())
}
