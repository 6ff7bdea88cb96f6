//! An instance that stops in the middle of anything wedges nothing: while requests hang on it, others are answered by its
//! neighbour; what hangs ends at its deadline; and when the instance is well again it is used again, without a restart.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use http_body_util::BodyExt;
use rustls::{ServerConfig, ServerConnection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    link::{Client, End, PATIENCE, Version, Wire},
    scene::{Door, Scene},
};

/// The service's deadlines: long enough for a busy machine to answer in, short enough for a test to wait for.
const DEADLINE: Duration = Duration::from_secs(2);
/// Requests of one wave.
const WAVE: usize = 24;
/// Waves, so that a pool which loses a place with each has none left at the end.
const WAVES: usize = 2;

/// An instance that failed is spared for ten seconds, then for longer; a wave may have found it in its second time out.
const RECOVERY: Duration = Duration::from_secs(45);

/// A service for each, so that what is remembered of an instance is of one stop.
const STOPS: [(&str, Stop); 6] = [
    ("silent", Stop::Silent),
    ("deaf", Stop::Deaf),
    ("head", Stop::MidHead),
    ("body", Stop::MidBody),
    ("hello", Stop::Hello),
    ("handshake", Stop::MidHandshake),
];

/// Where the instance stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Nowhere,
    /// It accepts, reads and says nothing.
    Silent,
    /// It accepts and does not even read.
    Deaf,
    MidHead,
    MidBody,
    /// It speaks TLS, reads the client's hello and says nothing.
    Hello,
    /// It speaks TLS, says its own hello and a part of what comes next.
    MidHandshake,
}

/// An instance that can be told to stop.
struct Instance {
    address: SocketAddr,
    stop: watch::Sender<Stop>,
    /// Connections that are open now.
    open: Arc<AtomicUsize>,
}

// === impl Stop ===

impl Stop {
    fn is_in_tls(self) -> bool {
        matches!(self, Self::Hello | Self::MidHandshake)
    }

    /// What becomes of requests besides a neighbour's answer. Over a connection that was never made nothing was sent, so
    /// all of them are sent elsewhere.
    fn outcome(self) -> Option<&'static str> {
        match self {
            Self::Hello | Self::MidHandshake => None,
            Self::MidBody => Some("broken off"),
            Self::Nowhere | Self::Silent | Self::Deaf | Self::MidHead => Some("upstream_first_byte_timeout"),
        }
    }
}

// === impl Instance ===

impl Instance {
    async fn start(name: &'static str, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(Stop::Nowhere);
        let open = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&open);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (stopped, counted, tls) = (stopped.clone(), Arc::clone(&counted), tls.clone());
                tokio::spawn(async move {
                    counted.fetch_add(1, SeqCst);
                    let _ = match tls {
                        None => serve(stream, name, stopped).await,
                        Some(tls) => secure(stream, tls, name, stopped).await,
                    };
                    counted.fetch_sub(1, SeqCst);
                });
            }
        });
        Self { address, stop, open }
    }
}

/// Speaks TLS first. Connections that are open when the instance stops end, so that what stops are new ones.
async fn secure(
    mut stream: TcpStream,
    tls: Arc<ServerConfig>,
    name: &str,
    mut stopped: watch::Receiver<Stop>,
) -> io::Result<()> {
    let stop = *stopped.borrow_and_update();
    if stop == Stop::Nowhere {
        let wire = TlsAcceptor::from(tls).accept(stream).await?;
        return tokio::select! {
            end = serve(wire, name, stopped.clone()) => end,
            Ok(()) = stopped.changed() => Ok(()),
        };
    }
    let mut server = ServerConnection::new(tls).map_err(io::Error::other)?;
    while !server.wants_write() {
        let mut block = [0; 4096];
        let length = stream.read(&mut block).await?;
        if length == 0 {
            return Ok(());
        }
        server.read_tls(&mut &block[..length])?;
        server.process_new_packets().map_err(io::Error::other)?;
    }
    let mut flight = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut flight)?;
    }
    if stop == Stop::MidHandshake {
        // The first record is the hello; of what follows come a few bytes.
        let hello = 5 + usize::from(u16::from_be_bytes([flight[3], flight[4]]));
        stream.write_all(&flight[..hello + 20]).await?;
    }
    while stream.read(&mut [0; 64]).await? > 0 {}
    Ok(())
}

/// Answers with the instance's name. A connection that was stopped once never speaks again, as after a lost packet.
async fn serve(mut stream: impl Wire, name: &str, mut stopped: watch::Receiver<Stop>) -> io::Result<()> {
    loop {
        if *stopped.borrow_and_update() == Stop::Deaf {
            // Not even the end of the connection is read.
            let _ = stopped.changed().await;
            return Ok(());
        }
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let said = match *stopped.borrow() {
            Stop::Nowhere => None,
            Stop::Silent | Stop::Deaf | Stop::Hello | Stop::MidHandshake => Some(String::new()),
            Stop::MidHead => Some("HTTP/1.1 200 OK\r\nContent-Le".to_owned()),
            Stop::MidBody => Some(format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{name}")),
        };
        match said {
            None => {
                let length = name.len();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}");
                stream.write_all(answer.as_bytes()).await?;
                stream.flush().await?;
            }
            Some(said) => {
                stream.write_all(said.as_bytes()).await?;
                stream.flush().await?;
                while stream.read(&mut [0; 64]).await? > 0 {}
                return Ok(());
            }
        }
    }
}

/// What became of a request: the instance's name, or the reason of the gateway's refusal, or how the answer broke off.
async fn ask(service: &str, door: Door, version: Version) -> Result<String, String> {
    let text = |error: io::Error| error.to_string();
    let mut client = Client::connect(&door, version, End::Fin).await.map_err(text)?;
    let response = client.get(service, "/x").await.map_err(text)?;
    if let Some(reason) = response.headers().get("x-gateway-error") {
        return Err(reason.to_str().unwrap_or_default().to_owned());
    }
    match timeout(PATIENCE, response.into_body().collect()).await {
        Ok(Ok(body)) => Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned()),
        Ok(Err(_)) => Err("broken off".to_owned()),
        Err(_) => Err("no end in time".to_owned()),
    }
}

/// A wave of requests at once: how often each outcome came, and how many were answered before any deadline passed.
async fn wave(service: &'static str, doors: &[Door; 2], stop: Stop) -> (Outcomes, usize) {
    let mut running = JoinSet::new();
    let start = Instant::now();
    for index in 0..WAVE {
        let version = if index % 4 < 2 { Version::H1 } else { Version::H2 };
        let request = ask(service, doors[index % 2].clone(), version);
        running.spawn(async move { (request.await, start.elapsed()) });
    }
    let (mut outcomes, mut prompt) = (Outcomes::new(), 0);
    while let Some(ended) = running.join_next().await {
        let (outcome, elapsed) = ended.unwrap();
        // What hung may have been tried again elsewhere, and hung there on an instance that was tried last.
        assert!(elapsed < 4 * DEADLINE, "{stop:?}: {outcome:?} only after {elapsed:?}");
        prompt += usize::from(outcome.is_ok() && elapsed < DEADLINE);
        *outcomes.entry(outcome).or_default() += 1;
    }
    (outcomes, prompt)
}

type Outcomes = BTreeMap<Result<String, String>, usize>;

#[test]
fn a_stalled_instance_wedges_nothing_and_recovers_without_restart() {
    let scene = Scene::new();
    scene.run(async || {
        let seconds = format!("{}s", DEADLINE.as_secs());
        let deadlines =
            ["--connect-timeout", &seconds, "--first-byte-timeout", &seconds, "--idle-timeout", &seconds];
        let doors = [scene.plain(), scene.tls()];
        let (tls, proof) = (scene.instance_tls(), scene.proof());
        let mut running = JoinSet::new();
        for (service, stop) in STOPS {
            let secure = stop.is_in_tls().then_some(&tls);
            let good = Instance::start("good", secure.cloned()).await;
            let ill = Instance::start("ill", secure.cloned()).await;
            let mut further = deadlines.to_vec();
            if stop.is_in_tls() {
                further.extend(["--tls", "verify"]);
                further.extend(proof.iter().map(String::as_str));
            }
            scene.serve(service, &[good.address, ill.address], &further);
            let doors = doors.clone();
            running.spawn(async move { stall(service, &doors, stop, &ill).await });
        }
        running.join_all().await;
    });
}

async fn stall(service: &'static str, doors: &[Door; 2], stop: Stop, ill: &Instance) {
    let (both, _) = wave(service, doors, Stop::Nowhere).await;
    assert_eq!(both.into_keys().collect::<Vec<_>>(), [Ok("good".to_owned()), Ok("ill".to_owned())]);
    ill.stop.send(stop).unwrap();
    for _ in 0..WAVES {
        let (outcomes, prompt) = wave(service, doors, stop).await;
        println!("{stop:?}: {prompt} of {WAVE} answered before a deadline; {outcomes:?}");
        // Nobody who goes to the instance that is well waits for those who hang on the other.
        assert!(prompt >= WAVE / 4, "{stop:?}: {prompt} prompt of {outcomes:?}");
        for outcome in outcomes.keys() {
            let known = match outcome {
                Ok(name) => name == "good",
                Err(how) => Some(how.as_str()) == stop.outcome(),
            };
            assert!(known, "{stop:?}: {outcome:?}");
        }
    }
    ill.stop.send(Stop::Nowhere).unwrap();
    let start = Instant::now();
    while !wave(service, doors, Stop::Nowhere).await.0.contains_key(&Ok("ill".to_owned())) {
        assert!(start.elapsed() < RECOVERY, "{stop:?}: not used again after {RECOVERY:?}");
        sleep(Duration::from_millis(500)).await;
    }
    println!("{stop:?}: used again after {:.1?}", start.elapsed());
    // What hung was cut, not kept: no more connections than the pools of the workers may hold.
    let start = Instant::now();
    while ill.open.load(SeqCst) > WAVE {
        assert!(start.elapsed() < PATIENCE, "{} connections are still open", ill.open.load(SeqCst));
        sleep(Duration::from_millis(50)).await;
    }
}
