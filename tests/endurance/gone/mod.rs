//! A client that goes away is seen by the instance at once, in every phase of a request: what it began is ended, also
//! where nothing moves that could run into the broken connection.

mod queued;
mod witness;

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use bytes::Bytes;
use harness::wait;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc::UnboundedReceiver,
    time::timeout,
};

use crate::{
    figures::Figures,
    link::{Client, End, PATIENCE, Pieces, Version, Wire, empty, feed, open},
    scene::{Door, HOST, Scene, TOKEN},
    size,
};
use witness::{Event, Seen, Witness};

/// On a machine that is busy with other tests; on a quiet one it is [`QUIET`].
const CEILING: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_millis(100);

/// How far a request is when its client goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// The instance has the head and says nothing.
    Waiting,
    /// The instance has answered with a head, and nothing after it.
    Headed,
    /// Pieces of the answer come every few milliseconds.
    Streaming,
    /// One piece has come, and then silence.
    Pausing,
    /// The client has sent a part of its body.
    Uploading,
}

const PHASES: [Phase; 5] =
    [Phase::Waiting, Phase::Headed, Phase::Streaming, Phase::Pausing, Phase::Uploading];

/// How it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    H1(End),
    H2(End),
    /// The stream is reset (`CANCEL`), and the connection stays.
    Cancel,
}

const WAYS: [Way; 5] =
    [Way::H1(End::Fin), Way::H1(End::Reset), Way::H2(End::Fin), Way::H2(End::Reset), Way::Cancel];

/// What a client holds of a request under way. Dropping it is going away.
enum Held {
    Wire(Box<dyn Wire>),
    Call(Call, Client),
}

/// A request over HTTP/2.
struct Call {
    answer: tokio::task::JoinHandle<()>,
    upload: Pieces,
}

// === impl Held ===

impl Held {
    /// Brings a request for `path` of `service` into `phase`, as far as its client can tell.
    async fn begin(door: &Door, service: &str, phase: Phase, way: Way, path: &str) -> io::Result<Self> {
        match way {
            Way::H1(end) => Ok(Self::Wire(raw(door, service, phase, end, path).await?)),
            Way::H2(end) => begin(door, service, phase, end, path).await,
            Way::Cancel => begin(door, service, phase, End::Fin, path).await,
        }
    }

    /// Goes away; what is only cancelled leaves its connection.
    fn go(self, way: Way) -> Option<Client> {
        match self {
            Self::Wire(wire) => {
                drop(wire);
                None
            }
            Self::Call(call, client) => {
                call.answer.abort();
                let broken = io::Error::from(io::ErrorKind::ConnectionAborted);
                let _ = call.upload.send(Err(broken));
                (way == Way::Cancel).then_some(client)
            }
        }
    }
}

#[test]
fn the_instance_sees_at_once_that_the_client_is_gone() {
    let scene = Scene::new();
    scene.run(async || {
        let (mut witness, mut events) = Witness::start().await;
        scene.serve("one", &[witness.http], &["--body-limit", "1GiB"]);
        scene.serve("many", &[witness.grpc], &["--protocol", "grpc", "--body-limit", "1GiB"]);
        let mut figures: BTreeMap<(Phase, &str), Figures> = BTreeMap::new();
        let mut count = 0;
        for _ in 0..size::of(2, 25) {
            for door in [scene.plain(), scene.tls()] {
                for (service, phase, way) in cases() {
                    count += 1;
                    let number = witness.next();
                    let time = go(&door, service, phase, way, number, &mut events).await;
                    let what = format!("{phase:?} {way:?} to `{service}`, tls {}", door.tls.is_some());
                    let time = time.unwrap_or_else(|error| panic!("{what}: {error}"));
                    let ceiling = if size::is_full() { QUIET } else { CEILING };
                    assert!(time < ceiling, "{what}: seen after {time:?}");
                    figures.entry((phase, service)).or_default().add(time);
                }
            }
        }
        for ((phase, service), figures) in &figures {
            println!(
                "{phase:?}, instance of HTTP/{}: {figures}",
                if *service == "one" { "1.1" } else { "2" }
            );
        }
        // Each is logged as what it was; every worker writes its lines when it comes to it.
        wait::until("all in the log", || {
            let log = scene.desk.gateway.log();
            let lines = log.lines().filter(|line| line.contains(r#""status":499,"reason":"client_gone""#));
            (lines.count() == count).then_some(())
        });
    });
}

/// A head that does not come to its end is nobody's business but ours.
#[test]
fn before_the_head_is_complete_the_instance_sees_nothing() {
    let scene = Scene::new();
    scene.run(async || {
        let (mut witness, mut events) = Witness::start().await;
        scene.serve("one", &[witness.http], &[]);
        for door in [scene.plain(), scene.tls()] {
            for end in [End::Fin, End::Reset] {
                let mut wire = open(&door, Version::H1, end).await.unwrap();
                let head = format!("GET /api/predict/one/waiting/n0 HTTP/1.1\r\nHost: {HOST}\r\nAuthor");
                wire.write_all(head.as_bytes()).await.unwrap();
                wire.flush().await.unwrap();
            }
        }
        // What comes next is the only thing that was ever seen.
        let number = witness.next();
        go(&scene.plain(), "one", Phase::Headed, Way::H1(End::Fin), number, &mut events).await.unwrap();
        assert_eq!(witness.connections(), 1);
    });
}

fn cases() -> impl Iterator<Item = (&'static str, Phase, Way)> {
    let ways = || WAYS.into_iter().flat_map(|way| PHASES.map(|phase| (phase, way)));
    let one = ways().map(|(phase, way)| ("one", phase, way));
    // A service that speaks gRPC is called over HTTP/1.1 too: that is the gateway's to translate.
    one.chain(ways().map(|(phase, way)| ("many", phase, way)))
}

/// Brings a request into `phase`, goes away, and tells how long it took until the instance knew.
async fn go(
    door: &Door,
    service: &str,
    phase: Phase,
    way: Way,
    number: u64,
    events: &mut UnboundedReceiver<Seen>,
) -> io::Result<Duration> {
    let path = format!("/{}/n{number}", format!("{phase:?}").to_lowercase());
    let held = Held::begin(door, service, phase, way, &path).await?;
    let needed = if phase == Phase::Uploading { Event::Piece } else { Event::Head };
    wait_for(events, number, needed).await?;
    let start = Instant::now();
    let rest = held.go(way);
    let seen = wait_for(events, number, Event::End).await?;
    if let Some(mut client) = rest {
        // What was cancelled is the stream, not its neighbours.
        let response = client.get("one", "/well/n0").await?;
        assert_eq!(response.status(), 200);
        assert_eq!(response.into_body().collect().await.map_err(io::Error::other)?.to_bytes(), "well");
    }
    Ok(seen.saturating_duration_since(start))
}

/// Waits for `wanted` of request `number`; what is left over of earlier requests is passed by.
async fn wait_for(events: &mut UnboundedReceiver<Seen>, number: u64, wanted: Event) -> io::Result<Instant> {
    loop {
        let seen = timeout(PATIENCE, events.recv())
            .await
            .map_err(|_| io::Error::other(format!("never saw {wanted:?}")))?;
        let seen = seen.ok_or(io::ErrorKind::UnexpectedEof)?;
        if (seen.number, seen.event) == (number, wanted) {
            return Ok(seen.time);
        }
        if seen.number == number && matches!(seen.event, Event::Whole | Event::End) {
            return Err(io::Error::other(format!("{:?} before {wanted:?}", seen.event)));
        }
    }
}

/// A request over HTTP/1.1, written by hand so that the connection is ours to end.
async fn raw(door: &Door, service: &str, phase: Phase, end: End, path: &str) -> io::Result<Box<dyn Wire>> {
    let mut wire = open(door, Version::H1, end).await?;
    let upload = phase == Phase::Uploading;
    let (method, framing) = if upload { ("POST", "Transfer-Encoding: chunked\r\n") } else { ("GET", "") };
    let mut request = format!(
        "{method} /api/predict/{service}{path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: {TOKEN}\r\n{framing}\r\n"
    );
    if upload {
        request += "5\r\npiece\r\n";
    }
    wire.write_all(request.as_bytes()).await?;
    wire.flush().await?;
    let wanted: &[u8] = match phase {
        Phase::Waiting | Phase::Uploading => return Ok(wire),
        Phase::Headed => b"\r\n\r\n",
        Phase::Streaming | Phase::Pausing => b"piece",
    };
    let mut seen = Vec::new();
    while !seen.windows(wanted.len()).any(|window| window == wanted) {
        let mut buffer = [0; 4096];
        let length = timeout(PATIENCE, wire.read(&mut buffer)).await??;
        if length == 0 {
            return Err(io::Error::other(String::from_utf8_lossy(&seen).into_owned()));
        }
        seen.extend_from_slice(&buffer[..length]);
    }
    Ok(wire)
}

/// A request over HTTP/2, with a real client.
async fn begin(door: &Door, service: &str, phase: Phase, end: End, path: &str) -> io::Result<Held> {
    let mut client = Client::connect(door, Version::H2, end).await?;
    let (upload, body) = feed();
    let (method, body) = if phase == Phase::Uploading { ("POST", body) } else { ("GET", empty()) };
    let request = client.request(method, service, path).body(body).map_err(io::Error::other)?;
    let _ = upload.send(Ok(Frame::data(Bytes::from_static(b"piece"))));
    let answer = client.start(request).await?;
    let (ready, reached) = tokio::sync::oneshot::channel();
    let answer = tokio::spawn(async move {
        let Ok(response) = answer.await else { return };
        let mut body: Incoming = response.into_body();
        if phase == Phase::Headed || body.frame().await.is_some() {
            let _ = ready.send(());
        }
        // Held until the test ends it.
        while body.frame().await.is_some() {}
    });
    if matches!(phase, Phase::Headed | Phase::Streaming | Phase::Pausing) {
        timeout(PATIENCE, reached).await?.map_err(io::Error::other)?;
    }
    Ok(Held::Call(Call { answer, upload }, client))
}
