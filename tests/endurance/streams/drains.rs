//! Streams of every kind, and what is taken away from under them: they go on until their time is over, then they end; and
//! what stands beside them is not disturbed.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::watch,
    task::{JoinSet, LocalSet},
    time::{sleep, timeout},
};

use super::{
    LIVE,
    kinds::{Home, KINDS, Kind, Stream},
    origin::Origin,
};
use crate::{
    control::{Control, Edit},
    link::{Client, End, PATIENCE, Version},
    scene::{Door, Scene},
    size,
};

/// The setting `limits.drain` here.
const DRAIN: Duration = Duration::from_secs(4);
/// Connections are looked at once a second, and the machine is busy.
const LATE: Duration = Duration::from_secs(10);
/// The daemon's clock for deadlines is coarse, and lags where the machine is busy.
const EARLY: Duration = Duration::from_millis(500);

/// Services beside.
const BESIDE: Home = Home { plain: "/api/predict/beside", grpc: "/api/predict/besides" };
/// The same services as [`LIVE`], by routes.
const ROUTED: Home = Home { plain: "/routed/live", grpc: "/routed/call" };

/// Streams under way, and what they say of themselves.
struct Running {
    streams: JoinSet<(Kind, Result<(), String>, Instant)>,
    count: usize,
    messages: Rc<RefCell<u64>>,
    finish: watch::Sender<bool>,
}

// === impl Running ===

impl Running {
    fn new(finish: watch::Sender<bool>) -> Self {
        Self { streams: JoinSet::new(), count: 0, messages: Rc::default(), finish }
    }

    fn add(&mut self, stream: Stream) {
        let (kind, messages, finishing) = (stream.kind, Rc::clone(&self.messages), self.finish.subscribe());
        self.count += 1;
        let phase = self.count as u64 * 173;
        self.streams.spawn_local(async move {
            let end = stream.run(phase, finishing, &messages).await;
            (kind, end, Instant::now())
        });
    }

    /// Waits until there are as many more messages as there are streams.
    async fn go_on(&mut self) {
        let (start, wanted) = (Instant::now(), *self.messages.borrow() + self.count as u64);
        while *self.messages.borrow() < wanted {
            if let Some(early) = self.streams.try_join_next() {
                panic!("a stream ended: {early:?}");
            }
            assert!(start.elapsed() < PATIENCE, "streams are silent");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets them finish; each must have been whole.
    async fn finish(mut self) {
        self.finish.send(true).unwrap();
        while let Some(ended) = self.streams.join_next().await {
            ended.unwrap().1.unwrap_or_else(|error| panic!("disturbed: {error}"));
        }
    }

    /// Waits until all have ended, in this time from `start` and with an error that `is_meant`.
    async fn end(mut self, start: Instant, time: [Duration; 2], is_meant: impl Fn(Kind, &str) -> bool) {
        let mut ends = Vec::new();
        while let Some(ended) = self.streams.join_next().await {
            let (kind, end, at) = ended.unwrap();
            let (after, end) = (at - start, end.expect_err("a stream that nobody finished"));
            assert!((time[0]..time[1]).contains(&after), "after {after:?}: {end}");
            assert!(is_meant(kind, &end), "{kind:?}: {end}");
            ends.push(after);
        }
        println!(
            "{} streams ended after {:.1?} to {:.1?}",
            ends.len(),
            ends.iter().min().unwrap(),
            ends.iter().max().unwrap()
        );
    }
}

/// Two origins with a service of each sort: what the streams stand on, and what is beside.
struct Stage {
    scene: Scene,
    control: Control,
}

// === impl Stage ===

impl Stage {
    fn new() -> Self {
        let scene = Scene::with_settings(&format!("[limits]\ndrain = \"{}s\"\n", DRAIN.as_secs()));
        let control = scene.control();
        Self { scene, control }
    }

    /// Runs `work` with nothing but the origins of [`LIVE`] and [`BESIDE`].
    fn run(&self, work: impl AsyncFnOnce(Running, Running) + Send) {
        self.scene.run(async || {
            let [live, beside] = [(); 2].map(|()| watch::channel(false));
            for (names, finishing) in [(["live", "call"], live.1), (["beside", "besides"], beside.1)] {
                let origin = Origin::start(finishing).await;
                self.scene.serve(names[0], &[origin.http], &["--body-limit", "1GiB"]);
                self.scene.serve(names[1], &[origin.grpc], &["--protocol", "grpc", "--body-limit", "1GiB"]);
            }
            let work = async { work(Running::new(live.0), Running::new(beside.0)).await };
            LocalSet::new().run_until(work).await;
        });
    }

    /// A stream of each kind and one beside it, over one connection if the version can.
    async fn open_both(&self, own: &mut Running, beside: &mut Running) {
        for kind in KINDS {
            let door = &self.scene.doors(2)[usize::from(kind.tls)];
            let mut streams = Stream::open(kind, door, &[LIVE, BESIDE]).await.into_iter();
            own.add(streams.next().unwrap());
            beside.add(streams.next().unwrap());
        }
    }

    async fn edit(&self, method: &'static str, path: &str, body: Value) {
        let edit = Edit { method, path: path.to_owned(), body };
        let (status, answer) = self.control.ask(&edit).await;
        assert_eq!((status, &answer["changed"]), (200, &json!(true)), "{edit:?}\n{answer}");
    }
}

/// A new request's status.
async fn status(door: &Door, version: Version, target: &str) -> io::Result<u16> {
    Ok(Client::connect(door, version, End::Fin).await?.get_from(target).await?.status().as_u16())
}

/// The connection was reset. Whoever writes just then may only learn that nobody reads any more.
fn is_reset(error: &str) -> bool {
    error.to_ascii_lowercase().contains("reset") || error.contains("the upload was given up")
}

/// One stream of an HTTP/2 connection was reset.
fn is_broken_off(error: &str) -> bool {
    error.contains("INTERNAL_ERROR") || error.contains("the upload was given up")
}

#[test]
fn what_a_removed_service_does_has_its_time_and_neighbours_of_a_connection_go_on() {
    let stage = Stage::new();
    stage.run(async |mut own, mut beside| {
        stage.open_both(&mut own, &mut beside).await;
        let mut client = Client::connect(&stage.scene.tls(), Version::H2, End::Fin).await.unwrap();
        let quiet = client.get("live", "/quiet").await.unwrap();
        let request = client.request("GET", "live", "/never").body(crate::link::empty()).unwrap();
        let never = tokio::spawn(client.start(request).await.unwrap());
        own.go_on().await;
        beside.go_on().await;
        let start = Instant::now();
        for name in ["live", "call"] {
            stage.edit("DELETE", &format!("/v1/services/{name}"), Value::Null).await;
        }
        for door in stage.scene.doors(2) {
            for version in [Version::H1, Version::H2] {
                assert_eq!(status(&door, version, "/api/predict/live/events").await.unwrap(), 404);
            }
        }
        own.go_on().await;
        let time = [DRAIN - EARLY, DRAIN + LATE];
        let is_meant = |kind: Kind, error: &str| match kind.version {
            Version::H1 => is_reset(error),
            Version::H2 => is_broken_off(error),
        };
        own.end(start, time, is_meant).await;
        // Also where nothing moves.
        let end = timeout(LATE, quiet.into_body().collect()).await.expect("an end in time");
        let end = format!("{:?}", end.expect_err("no body came"));
        assert!(is_broken_off(&end), "{end}");
        let answer = timeout(LATE, never).await.expect("an answer in time").unwrap().unwrap();
        assert_eq!(answer.status(), 404);
        assert!(start.elapsed() < time[1]);
        beside.go_on().await;
        beside.finish().await;
    });
}

#[test]
fn what_a_changed_service_route_or_domain_does_goes_on() {
    let stage = Stage::new();
    stage.run(async |mut own, _| {
        let route = |name: &str, service: &str| json!({ "name": name, "path_prefix": format!("/routed/{name}"), "services": [service] });
        for name in ["live", "call"] {
            stage.edit("POST", "/v1/routes", route(name, name)).await;
        }
        for kind in KINDS {
            let door = &stage.scene.doors(2)[usize::from(kind.tls)];
            for stream in Stream::open(kind, door, &[LIVE, ROUTED]).await {
                own.add(stream);
            }
        }
        own.go_on().await;
        let get = async |target: &str| status(&stage.scene.tls(), Version::H2, target).await.unwrap();
        // Nobody listens there.
        for name in ["live", "call"] {
            stage.edit("PATCH", &format!("/v1/services/{name}"), json!({ "instances": ["127.0.0.1:9"] })).await;
            assert_eq!(get(&format!("/api/predict/{name}/events")).await, 502);
        }
        own.go_on().await;
        for (name, other) in [("live", "beside"), ("call", "besides")] {
            stage.edit("PUT", &format!("/v1/routes/{name}"), route(name, other)).await;
        }
        assert_eq!(get("/routed/live/events").await, 200);
        own.go_on().await;
        for name in ["live", "call"] {
            stage.edit("DELETE", &format!("/v1/routes/{name}"), Value::Null).await;
        }
        assert_eq!(get("/routed/live/events").await, 404);
        own.go_on().await;
        stage.edit("DELETE", &format!("/v1/domains/{}", crate::scene::HOST), Value::Null).await;
        // Longer than what is taken away has to finish.
        let start = Instant::now();
        while start.elapsed() < DRAIN + 2 * EARLY {
            own.go_on().await;
        }
        own.finish().await;
    });
}

#[test]
fn what_came_by_a_removed_listener_has_its_time() {
    let stage = Stage::new();
    stage.scene.desk.add_open_front("side", "127.0.0.3");
    stage.run(async |mut own, mut beside| {
        for kind in KINDS {
            for (running, host, home) in [(&mut own, 3, LIVE), (&mut beside, 2, BESIDE)] {
                let door = &stage.scene.doors(host)[usize::from(kind.tls)];
                Stream::open(kind, door, &[home]).await.into_iter().for_each(|stream| running.add(stream));
            }
        }
        own.go_on().await;
        let start = Instant::now();
        stage.edit("DELETE", "/v1/listeners/side", Value::Null).await;
        for door in stage.scene.doors(3) {
            let refused = TcpStream::connect(door.address).await.expect_err("nobody listens");
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        }
        own.go_on().await;
        own.end(start, [DRAIN - EARLY, DRAIN + LATE], |_, error| is_reset(error)).await;
        beside.go_on().await;
        beside.finish().await;
    });
}

/// How long a stop waits for what is in flight.
const GRACE: Duration = Duration::from_secs(20);

#[test]
fn a_stop_lets_streams_and_tunnels_finish_and_cuts_what_is_left() {
    let mut stage = Stage::new();
    stage.run(async |mut own, mut beside| {
        stage.open_both(&mut own, &mut beside).await;
        own.go_on().await;
        let gateway = &stage.scene.desk.gateway;
        let mut start = Instant::now();
        gateway.signal();
        while TcpStream::connect(stage.scene.plain().address).await.is_ok() {
            assert!(start.elapsed() < PATIENCE, "the port stays open");
            sleep(Duration::from_millis(20)).await;
        }
        own.go_on().await;
        beside.go_on().await;
        beside.finish().await;
        own.go_on().await;
        // The whole time, or until a second signal.
        let time = if size::is_full() {
            [GRACE - EARLY, GRACE + LATE]
        } else {
            start = Instant::now();
            gateway.signal();
            [Duration::ZERO, LATE]
        };
        own.end(start, time, |_, error| is_reset(error)).await;
    });
    assert_eq!(stage.scene.desk.gateway.wait_for_end(), Some(0));
}
