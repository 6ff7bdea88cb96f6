//! Copies of requests for another service.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering::SeqCst},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use gateway_user::{
    observe::traffic::MirrorTraffic,
    snapshot::{
        Visibility,
        http::{Instance, Mirror, Protocol, Service},
    },
};
use http::Request;
use http_body_util::BodyExt as _;
use hyper::{body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::support::{
    FOR_EVER, Fault, Faulty, Reply, TOKEN, Upstream, World, eventually, free_port, name, route, service,
};

/// A route `/m` to `test` with copies for the service `copy` at `mirror`, which nobody else reaches.
fn world(main: SocketAddr, mirror: SocketAddr, percent: u8, change: impl FnOnce(&mut Service)) -> World {
    let mut world = World::new(&[main]);
    let mut copy = service("copy", &[mirror]);
    copy.visibility = Visibility::AnyVpc;
    change(&mut copy);
    world.next.services.push(Arc::new(copy));
    let mut route = route("m", "/m", &[("test", 1)]);
    route.strip_prefix = true;
    route.mirror = Some(Mirror { service: name("copy"), percent });
    world.add_route(route);
    world
}

fn mirrored(world: &World) -> MirrorTraffic {
    world.traffic().services.iter().find(|service| service.name == "copy").unwrap().mirror
}

fn post(world: &World, path: &str, body: &str) -> Reply {
    let length = body.len();
    world.plain().call(&format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\nContent-Length: {length}\r\n\r\n{body}",
        world.http
    ))
}

#[test]
fn a_share_of_the_requests_is_copied_and_only_the_original_answered() {
    let (main, other) = (Upstream::named("main", false), Upstream::named("other", false));
    for (percent, least, most) in [(0, 0, 0), (30, 30, 90), (100, 200, 200)] {
        let before = other.requests();
        let world = world(main.address, other.address, percent, |_| {});
        for _ in 0..200 {
            assert_eq!(world.get("/m/who").text(), "main");
        }
        let done = |world: &World| mirrored(world).sent as usize == other.requests() - before;
        eventually("all copies are there", || done(&world) && other.seen.running.load(SeqCst) == 0);
        let copies = other.requests() - before;
        assert!((least..=most).contains(&copies), "{copies} of 200 at {percent} %");
        assert!(other.connections() < 200, "connections are used again");
        assert_eq!(world.get("/api/predict/copy/who").status, 404, "it is not to be had otherwise");
    }
}

#[test]
fn a_body_is_copied_whole_or_not_at_all() {
    let (main, other) = (Upstream::named("main", false), Upstream::named("other", false));
    for protocol in [Protocol::Http, Protocol::Http2] {
        let grpc = Upstream::grpc();
        let mirror = if protocol == Protocol::Http { &other } else { &grpc };
        let world = world(main.address, mirror.address, 100, |copy| copy.protocol = protocol);
        assert_eq!(post(&world, "/m/echo", &"x".repeat(60_000)).body.len(), 60_000);
        eventually("the copy is there", || mirror.seen.bytes.load(SeqCst) == 60_000);
        assert_eq!(post(&world, "/m/echo", &"x".repeat(70_000)).body.len(), 70_000);
        eventually("too large", || mirrored(&world).dropped == 1);
        // A chunked body has no length to be judged by; what passes is.
        let mut client = world.plain();
        client.send(format!(
            "POST /m/echo HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\n\r\n",
            world.http
        ));
        assert_eq!(client.reply(false).text(), "hello");
        eventually("and its copy", || mirror.seen.bytes.load(SeqCst) == 60_005);
        assert_eq!(mirror.requests(), 2);
    }
}

#[test]
fn a_mirror_that_is_dead_or_silent_neither_delays_nor_fails_the_original() {
    let main = Upstream::named("main", false);
    let dead: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let silent = Faulty::new(main.address, Fault::StallAfter(0));
    let soon = Duration::from_millis(500);
    for (mirror, patience) in [(dead, soon), (silent.address, soon), (silent.address, FOR_EVER)] {
        let before = silent.connections();
        let world = world(main.address, mirror, 100, |copy| copy.timeouts.first_byte = patience);
        for _ in 0..200 {
            assert_eq!(world.get("/m/who").text(), "main");
        }
        // Where copies are waited for without end, originals are answered all the same.
        let held = || if patience == FOR_EVER { silent.connections() - before } else { 0 };
        eventually("every copy is accounted for", || {
            let counts = mirrored(&world);
            counts.sent == 0 && (counts.failed + counts.dropped) as usize + held() == 200
        });
        assert!(held() <= 2 * 64, "64 at once in each worker, {}", held());
    }
}

async fn prior_knowledge(world: &World) -> http2::SendRequest<Sent> {
    let stream = TcpStream::connect(world.http).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A body of one piece, and whether it ends.
struct Sent(Option<Bytes>, bool);

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None if self.1 => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none() && self.1
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), future).await.unwrap() })
}

/// The path without what the route takes off, and none of the client's own words about the way that it came.
#[test]
fn the_copy_is_what_the_instance_gets_whatever_the_client_speaks() {
    let (one, two) = (Upstream::named("main", false), Upstream::named("main", true));
    for (main, protocol) in [(one, Protocol::Http), (two, Protocol::Http2)] {
        let other = Upstream::named("other", false);
        let mut world = world(main.address, other.address, 100, |_| {});
        world.edit(|service| service.protocol = protocol);
        block_on(async {
            let mut sender = prior_knowledge(&world).await;
            let ask = Request::post(format!("http://{}/m/echo", world.http)).header("authorization", TOKEN);
            let ask = ask.body(Sent(Some(Bytes::from_static(b"hello")), true)).unwrap();
            let answer = sender.send_request(ask).await.unwrap();
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
        });
        eventually("the copy is there", || mirrored(&world).sent == 1);
        assert_eq!(other.seen.bytes.load(SeqCst), 5, "only /echo reads a body: {protocol:?}");
    }
}

/// What was kept of a body in case that it must be sent once more goes with its request, and so does its copy: there may
/// be 64 of them in a worker.
#[test]
fn requests_that_fail_in_the_middle_of_their_body_leave_nothing_behind() {
    let [main, next, other] = ["main", "next", "other"].map(|name| Upstream::named(name, false));
    let mut world = world(main.address, other.address, 100, |_| {});
    let next_port = next.address.port();
    world.edit(|service| {
        service.instances.push(Instance { port: next_port, ..service.instances[0].clone() });
    });
    block_on(async {
        let mut sender = prior_knowledge(&world).await;
        let put = |path: &str, body| {
            let ask = Request::put(format!("http://{}/m/{path}", world.http));
            ask.header("authorization", TOKEN).body(body).unwrap()
        };
        for _ in 0..70 {
            let ask = put("drop", Sent(Some(Bytes::from_static(b"x")), false));
            assert_eq!(sender.send_request(ask).await.unwrap().status(), 502);
        }
        for _ in 0..20 {
            let ask = put("who", Sent(None, true));
            assert_eq!(sender.send_request(ask).await.unwrap().status(), 200);
        }
    });
    eventually("all copies are there", || mirrored(&world).sent + mirrored(&world).dropped == 20);
    assert_eq!(mirrored(&world).dropped, 0);
}
