//! Server-sent events through the gateway: each arrives before the next is sent, and hardly later than without it.
//!
//! The origin sends an event only after the client has seen the one before, so an event that is held back by anybody is
//! waited for in vain. The same client takes turns between the gateway and the origin itself; what the gateway adds is the
//! difference of two neighbours.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

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
    link::{Client, Content, End, PATIENCE, Pieces, Version, feed},
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

/// One stream from end to end.
struct Stream {
    pieces: Pieces,
    body: Incoming,
    /// What came and is no whole event yet.
    text: String,
    _client: Client,
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
    async fn open(&self, door: &Door, version: Version, name: &str) -> io::Result<Stream> {
        let mut client = Client::connect(door, version, End::Fin).await?;
        let body = client.get("events", &format!("/{name}")).await?.into_body();
        let pieces = self.streams.lock().unwrap().remove(name).expect("the origin was asked");
        Ok(Stream { pieces, body, text: String::new(), _client: client })
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
        while self.text.len() < event.len() {
            let frame = timeout(PATIENCE, self.body.frame()).await;
            let frame = frame.map_err(|_| format!("event {number} was held back"))?;
            let frame = frame.ok_or_else(|| format!("ended before event {number}"))?;
            let data = frame.map_err(|error| error.to_string())?.into_data().unwrap_or_default();
            self.text.push_str(std::str::from_utf8(&data).map_err(|error| error.to_string())?);
        }
        let elapsed = start.elapsed();
        let got = std::mem::take(&mut self.text);
        if got == event { Ok(elapsed) } else { Err(format!("{got:?} instead of {event:?}")) }
    }
}

#[test]
fn an_event_arrives_before_the_next_is_sent() {
    let scene = Scene::new();
    scene.run(async || {
        let origin = Origin::start().await;
        scene.serve("events", &[origin.address], &[]);
        let direct = Door { address: origin.address, tls: None };
        for (door, tls) in [(scene.plain(), false), (scene.tls(), true)] {
            for version in [Version::H1, Version::H2] {
                let what = format!("{version:?}, tls {tls}");
                let mut near = origin.open(&direct, Version::H1, "near").await.unwrap();
                let mut far = origin.open(&door, version, "far").await.unwrap();
                let [mut without, mut with, mut added] = [(); 3].map(|()| Figures::default());
                for number in 0..size::of(100, 3000) {
                    let near = near.event(number).await.unwrap();
                    sleep(PAUSE).await;
                    let far = far.event(number).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                    sleep(PAUSE).await;
                    without.add(near);
                    with.add(far);
                    added.add_ms((far.as_secs_f64() - near.as_secs_f64()) * 1e3);
                }
                println!("{what}: added {added}\n    direct {without}\n    through the gateway {with}");
                if size::is_full() {
                    assert!(added.quantile(0.99) <= ADDED, "{what}: {added}");
                }
            }
        }
    });
}
