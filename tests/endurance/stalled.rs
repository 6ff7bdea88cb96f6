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
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    link::{Client, End, PATIENCE, Version},
    scene::{Door, Scene},
};

/// The service's deadlines: long enough for a busy machine to answer in, short enough for a test to wait for.
const DEADLINE: Duration = Duration::from_secs(2);
/// Requests of one wave.
const WAVE: usize = 24;
/// Waves, so that a pool which loses a place with each has none left at the end.
const WAVES: usize = 2;

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
}

/// An instance that can be told to stop.
struct Instance {
    address: SocketAddr,
    stop: watch::Sender<Stop>,
    /// Connections that are open now.
    open: Arc<AtomicUsize>,
}

// === impl Instance ===

impl Instance {
    async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(Stop::Nowhere);
        let open = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&open);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (stopped, counted) = (stopped.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    counted.fetch_add(1, SeqCst);
                    let _ = serve(stream, name, stopped).await;
                    counted.fetch_sub(1, SeqCst);
                });
            }
        });
        Self { address, stop, open }
    }
}

/// Answers with the instance's name. A connection that was stopped once never speaks again, as after a lost packet.
async fn serve(mut stream: TcpStream, name: &str, stopped: watch::Receiver<Stop>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        if *stopped.borrow() == Stop::Deaf {
            // Its buffers fill, and it learns of the end without reading.
            while !stream.ready(Interest::READABLE).await?.is_read_closed() {
                sleep(Duration::from_millis(10)).await;
            }
            return Ok(());
        }
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let said = match *stopped.borrow() {
            Stop::Nowhere => None,
            Stop::Silent | Stop::Deaf => Some(String::new()),
            Stop::MidHead => Some("HTTP/1.1 200 OK\r\nContent-Le".to_owned()),
            Stop::MidBody => Some(format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{name}")),
        };
        match said {
            None => {
                let length = name.len();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}");
                stream.write_all(answer.as_bytes()).await?;
            }
            Some(said) => {
                stream.write_all(said.as_bytes()).await?;
                while stream.read(&mut [0; 64]).await? > 0 {}
                return Ok(());
            }
        }
    }
}

/// What became of a request: the instance's name, or the reason of the gateway's refusal, or how the answer broke off.
async fn ask(door: Door, version: Version) -> Result<String, String> {
    let text = |error: io::Error| error.to_string();
    let mut client = Client::connect(&door, version, End::Fin).await.map_err(text)?;
    let response = client.get("pair", "/x").await.map_err(text)?;
    if let Some(reason) = response.headers().get("x-gateway-error") {
        return Err(reason.to_str().unwrap_or_default().to_owned());
    }
    match timeout(PATIENCE, response.into_body().collect()).await {
        Ok(Ok(body)) => Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned()),
        Ok(Err(_)) => Err("broken off".to_owned()),
        Err(_) => Err("no end in time".to_owned()),
    }
}

/// A wave of requests at once. Tells how often each outcome came, after checking that who was answered did not wait for
/// those who hang.
async fn wave(doors: &[Door; 2], stop: Stop) -> BTreeMap<Result<String, String>, usize> {
    let mut running = JoinSet::new();
    let start = Instant::now();
    for index in 0..WAVE {
        let version = if index % 4 < 2 { Version::H1 } else { Version::H2 };
        let request = ask(doors[index % 2].clone(), version);
        running.spawn(async move { (request.await, start.elapsed()) });
    }
    let mut outcomes = BTreeMap::new();
    while let Some(ended) = running.join_next().await {
        let (outcome, elapsed) = ended.unwrap();
        if outcome.is_ok() {
            assert!(elapsed < DEADLINE, "{stop:?}: an answer waited for a stranger's deadline: {elapsed:?}");
        } else {
            assert!(elapsed < 3 * DEADLINE, "{stop:?}: {outcome:?} only after {elapsed:?}");
        }
        *outcomes.entry(outcome).or_default() += 1;
    }
    outcomes
}

#[test]
fn a_stalled_instance_wedges_nothing_and_recovers_without_restart() {
    let scene = Scene::new();
    scene.run(async || {
        let good = Instance::start("good").await;
        let ill = Instance::start("ill").await;
        let seconds = format!("{}s", DEADLINE.as_secs());
        let timeouts =
            ["--connect-timeout", &seconds, "--first-byte-timeout", &seconds, "--idle-timeout", &seconds];
        scene.serve("pair", &[good.address, ill.address], &timeouts);
        let doors = [scene.plain(), scene.tls()];
        let both = wave(&doors, Stop::Nowhere).await;
        assert_eq!(both.keys().cloned().collect::<Vec<_>>(), [Ok("good".to_owned()), Ok("ill".to_owned())]);
        for stop in [Stop::Silent, Stop::Deaf, Stop::MidHead, Stop::MidBody] {
            ill.stop.send(stop).unwrap();
            for _ in 0..WAVES {
                let outcomes = wave(&doors, stop).await;
                println!("{stop:?}: {outcomes:?}");
                let answered = outcomes.get(&Ok("good".to_owned())).copied().unwrap_or_default();
                // Every second one at least goes to the instance that is well.
                assert!(answered >= WAVE / 3, "{stop:?}: {outcomes:?}");
                let expected =
                    if stop == Stop::MidBody { "broken off" } else { "upstream_first_byte_timeout" };
                for outcome in outcomes.keys() {
                    assert!(
                        *outcome == Ok("good".to_owned()) || *outcome == Err(expected.to_owned()),
                        "{stop:?}: {outcome:?}"
                    );
                }
            }
            ill.stop.send(Stop::Nowhere).unwrap();
            let start = Instant::now();
            while !wave(&doors, Stop::Nowhere).await.contains_key(&Ok("ill".to_owned())) {
                assert!(start.elapsed() < PATIENCE, "{stop:?}: not used again after {PATIENCE:?}");
                sleep(Duration::from_millis(100)).await;
            }
        }
        // What hung was cut, not kept: no more connections than the pools of the workers may hold.
        let start = Instant::now();
        while ill.open.load(SeqCst) > WAVE {
            assert!(start.elapsed() < PATIENCE, "{} connections are still open", ill.open.load(SeqCst));
            sleep(Duration::from_millis(50)).await;
        }
    });
}
