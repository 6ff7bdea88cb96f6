//! Server-sent events through the gateway: each arrives before the next is sent, and hardly later than without it.
//!
//! The origin sends an event only after the client has seen the one before, so an event that is held back by anybody is
//! waited for in vain. The same client takes turns between the gateway and the origin itself; what the gateway adds is the
//! difference of two neighbours. An event that is compressed on the way is there when the client has it decompressed: that
//! work is counted as added, too.

use std::{
    collections::HashMap,
    convert::Infallible,
    io::{self, Write},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use flate2::write::GzDecoder;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

use crate::{
    figures::Figures,
    link::{Client, Content, End, PATIENCE, Pieces, Version, empty, feed},
    scene::{Door, Scene},
    size,
};

/// Between two events: a model's pace is slower, and the machine is idle meanwhile.
const PAUSE: Duration = Duration::from_millis(2);
/// What the gateway may add to an event's way, in milliseconds, for 99 of 100.
const ADDED: f64 = 1.0;

/// An instance whose streams are written by the test.
#[derive(Clone)]
struct Origin {
    address: SocketAddr,
    streams: Arc<Mutex<HashMap<String, Pieces>>>,
}

/// What a client asks for, and must get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
}

/// One stream from end to end.
struct Stream {
    pieces: Pieces,
    body: Incoming,
    /// What came and is no whole event yet.
    text: Text,
    _client: Client,
}

/// The bytes of a body, decoded as they come.
enum Text {
    Plain(Vec<u8>),
    Gzip(Box<GzDecoder<Vec<u8>>>),
}

// === impl Origin ===

impl Origin {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Self { address: listener.local_addr().unwrap(), streams: Arc::default() };
        let shared = origin.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let origin = shared.clone();
                let service = service_fn(move |request| std::future::ready(origin.answer(&request)));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        origin
    }

    fn answer(&self, request: &Request<Incoming>) -> Result<Response<Content>, Infallible> {
        let (pieces, body) = feed();
        let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        self.streams.lock().unwrap().insert(name, pieces);
        let mut response = Response::new(body);
        response.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
        Ok(response)
    }

    /// Opens the stream `name` at `door`.
    async fn open(&self, door: &Door, version: Version, coding: Coding, name: &str) -> io::Result<Stream> {
        let mut client = Client::connect(door, version, End::Fin).await?;
        let request = client.request("GET", "events", &format!("/{name}"));
        let (request, text) = match coding {
            Coding::Identity => (request, Text::Plain(Vec::new())),
            Coding::Gzip => {
                (request.header("accept-encoding", "gzip"), Text::Gzip(Box::new(GzDecoder::new(Vec::new()))))
            }
        };
        let response = client.send(request.body(empty()).map_err(io::Error::other)?).await?;
        let got = response.headers().get("content-encoding").map(HeaderValue::as_bytes);
        let wanted = (coding == Coding::Gzip).then_some(&b"gzip"[..]);
        assert_eq!(got, wanted, "{version:?}, {coding:?}: {response:?}");
        let pieces = self.streams.lock().unwrap().remove(name).expect("the origin was asked");
        Ok(Stream { pieces, body: response.into_body(), text, _client: client })
    }
}

// === impl Stream ===

impl Stream {
    /// Sends event `number` and waits until it is there; says how long that took.
    async fn event(&mut self, number: usize) -> Result<Duration, String> {
        let event = format!("id: {number}\ndata: {{\"token\": \"number {number}\"}}\n\n");
        let start = Instant::now();
        let sent = self.pieces.send(Ok(Frame::data(event.clone().into())));
        sent.map_err(|_| format!("the origin's stream ended before event {number}"))?;
        while self.text.plain().len() < event.len() {
            let frame = timeout(PATIENCE, self.body.frame()).await;
            let frame = frame.map_err(|_| format!("event {number} was held back"))?;
            let frame = frame.ok_or_else(|| format!("ended before event {number}"))?;
            let data = frame.map_err(|error| error.to_string())?.into_data().unwrap_or_default();
            self.text.feed(&data).map_err(|error| error.to_string())?;
        }
        let elapsed = start.elapsed();
        let got = String::from_utf8(std::mem::take(self.text.plain())).map_err(|error| error.to_string())?;
        if got == event { Ok(elapsed) } else { Err(format!("{got:?} instead of {event:?}")) }
    }
}

// === impl Text ===

impl Text {
    fn feed(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(plain) => plain.write_all(data),
            Self::Gzip(decoder) => {
                decoder.write_all(data)?;
                // All that can be read of what came; the decoder keeps it else until more comes.
                decoder.flush()
            }
        }
    }

    fn plain(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Plain(plain) => plain,
            Self::Gzip(decoder) => decoder.get_mut(),
        }
    }
}

#[test]
fn an_event_arrives_before_the_next_is_sent() {
    let scene = Scene::new();
    scene.run(async || {
        let origin = Origin::start().await;
        scene.serve("events", &[origin.address], &["--compression", "gzip"]);
        let direct = Door { address: origin.address, tls: None };
        for (door, tls) in [(scene.plain(), false), (scene.tls(), true)] {
            for version in [Version::H1, Version::H2] {
                for coding in [Coding::Identity, Coding::Gzip] {
                    let what = format!("{version:?}, tls {tls}, {coding:?}");
                    let near = origin.open(&direct, Version::H1, Coding::Identity, "near").await.unwrap();
                    let far = origin.open(&door, version, coding, "far").await.unwrap();
                    let added = compare(near, far).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                    println!("{what}: added {added}");
                    if size::is_full() {
                        assert!(added.quantile(0.99) <= ADDED, "{what}: {added}");
                    }
                }
            }
        }
    });
}

/// Sends events on both streams by turns, and says what the second adds to the first.
async fn compare(mut near: Stream, mut far: Stream) -> Result<Figures, String> {
    let [mut without, mut with, mut added] = [(); 3].map(|()| Figures::default());
    for number in 0..size::of(100, 2000) {
        let near = near.event(number).await?;
        sleep(PAUSE).await;
        let far = far.event(number).await?;
        sleep(PAUSE).await;
        without.add(near);
        with.add(far);
        added.add_ms((far.as_secs_f64() - near.as_secs_f64()) * 1e3);
    }
    println!("    direct {without}\n    through the gateway {with}");
    Ok(added)
}
