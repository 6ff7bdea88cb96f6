//! Edits that take away what connections and streams stand on, without taking anybody's access: they finish, for a while.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    num::NonZeroUsize,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::Bytes;
use gateway_user::{
    observe::traffic::ServiceTraffic,
    proxy::{Config, Limits},
    snapshot::{
        FilterPlan, Listener,
        http::{Protocol, Service},
        upstream::Balance,
    },
};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::{
    changes::add_listener,
    support::{Client, FOR_EVER, PATIENCE, TOKEN, Upstream, World, entry, eventually, free_port, service},
};

fn get(world: &World, path: &str) -> String {
    format!("GET /api/predict/{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n\r\n", world.http)
}

/// Nothing but the time to finish ends a connection.
fn drain(time: Duration) -> Limits {
    Limits { drain: time, keep_alive: FOR_EVER, ..Limits::default() }
}

/// All events of `/cued/N`, each said when the one before is here.
fn finish(client: &mut Client, upstream: &Upstream, count: u64) {
    for left in (0..count).rev() {
        upstream.seen.cue.notify_one();
        assert_eq!(client.chunk().unwrap(), Some(format!("data: {left}\n\n").into_bytes()));
    }
    assert_eq!(client.chunk().unwrap(), None);
}

/// Deletes the second listener.
fn delete(world: &mut World) {
    world.next.listeners.truncate(1);
    world.next.filter = Arc::new(FilterPlan {
        listeners: world.next.filter.listeners[..1].to_vec(),
        ..FilterPlan::clone(&world.next.filter)
    });
    world.publish().unwrap();
}

/// Gives the first listener another port.
fn move_port(world: &mut World, port: u16) {
    let mut moved = Listener::clone(&world.next.listeners[0]);
    moved.http = Some(port);
    let mut plan = FilterPlan::clone(&world.next.filter);
    plan.listeners[0].ports = vec![port, moved.https.unwrap()];
    world.next.listeners[0] = Arc::new(moved);
    world.next.filter = Arc::new(plan);
}

#[test]
fn a_deleted_listener_finishes_what_is_in_flight() {
    let upstream = Upstream::new();
    let mut world = World::limited(&[upstream.address], drain(FOR_EVER));
    add_listener(&mut world, "second", 2, |_| {});
    world.publish().unwrap();
    let port = world.next.listeners[1].http.unwrap();
    let connect = || Client::plain(([127, 0, 0, 1], port).into());
    let (mut short, mut endless, mut idle) = (connect(), connect(), connect());
    assert_eq!(idle.call(&get(&world, "test/who")).status, 200);
    short.send(get(&world, "test/cued/20"));
    short.head().unwrap();
    endless.send(get(&world, "test/events/1000"));
    endless.head().unwrap();
    delete(&mut world);
    assert_eq!(idle.ended(), Some(ErrorKind::UnexpectedEof));
    // Another edit meanwhile changes nothing about it.
    world.edit(|service| service.body_limit += 1);
    finish(&mut short, &upstream, 20);
    assert_eq!(short.ended(), Some(ErrorKind::UnexpectedEof));
    for _ in 0..5 {
        assert!(endless.chunk().unwrap().is_some());
    }
}

#[test]
fn what_a_deleted_listener_has_not_finished_in_its_time_is_cut() {
    let upstream = Upstream::new();
    let mut world = World::limited(&[upstream.address], drain(Duration::from_secs(2)));
    add_listener(&mut world, "second", 2, |_| {});
    world.publish().unwrap();
    let port = world.next.listeners[1].http.unwrap();
    let mut endless = Client::plain(([127, 0, 0, 1], port).into());
    endless.send(get(&world, "test/events/1000"));
    endless.head().unwrap();
    let start = Instant::now();
    delete(&mut world);
    assert_eq!(endless.ended(), Some(ErrorKind::ConnectionReset));
    assert!(start.elapsed() > Duration::from_millis(1500), "{:?}", start.elapsed());
}

#[test]
fn clients_of_a_port_that_moved_are_asked_to_come_back_one_by_one() {
    let upstream = Upstream::new();
    let config =
        Config { workers: NonZeroUsize::new(1), limits: drain(FOR_EVER), ..crate::support::config() };
    let mut world = World::with(config, &[upstream.address]);
    let old = world.http;
    let mut clients: Vec<Client> = (0..20).map(|_| Client::plain(old)).collect();
    for client in &mut clients {
        assert_eq!(client.call(&get(&world, "test/who")).status, 200);
    }
    let mut stream = Client::plain(old);
    stream.send(get(&world, "test/cued/40"));
    stream.head().unwrap();
    move_port(&mut world, free_port());
    world.publish().unwrap();
    assert_eq!(Client::connect(old).err().map(|error| error.kind()), Some(ErrorKind::ConnectionRefused));
    // One is asked at once. In such a long time the next one is, with so few, long after this test.
    let mut left = Vec::new();
    eventually("the first leaves", || {
        left = clients.iter_mut().map(|client| !client.is_quiet(Duration::from_millis(1))).collect();
        left.contains(&true)
    });
    assert_eq!(left.iter().filter(|left| **left).count(), 1, "{left:?}");
    for (client, left) in clients.iter_mut().zip(left) {
        if left {
            assert_eq!(client.ended(), Some(ErrorKind::UnexpectedEof));
        } else {
            assert_eq!(client.call(&get(&world, "test/who")).status, 200, "whose turn has not come");
        }
    }
    finish(&mut stream, &upstream, 40);
}

#[test]
fn all_clients_of_a_port_that_moved_are_gone_when_the_time_is_over() {
    let upstream = Upstream::new();
    let mut world = World::limited(&[upstream.address], drain(Duration::from_secs(2)));
    let mut clients: Vec<Client> = (0..20).map(|_| world.plain()).collect();
    for client in &mut clients {
        assert_eq!(client.call(&get(&world, "test/who")).status, 200);
    }
    let mut stream = world.plain();
    stream.send(get(&world, "test/events/1000"));
    stream.head().unwrap();
    move_port(&mut world, free_port());
    let start = Instant::now();
    world.publish().unwrap();
    for client in &mut clients {
        assert!(client.ended().is_some());
    }
    assert_eq!(stream.ended(), Some(ErrorKind::ConnectionReset));
    assert!(start.elapsed() > Duration::from_millis(1500), "{:?}", start.elapsed());
}

#[test]
fn who_is_not_on_the_list_of_a_listener_that_moved_is_cut_at_once() {
    let upstream = Upstream::new();
    let mut world = World::limited(&[upstream.address], drain(FOR_EVER));
    let mut client = world.plain();
    assert_eq!(client.call(&get(&world, "test/who")).status, 200);
    move_port(&mut world, free_port());
    world.filter(|listener| listener.entries = vec![entry("192.0.2.0/24", 0)]);
    assert_eq!(client.ended(), Some(ErrorKind::ConnectionReset));
}

#[test]
fn streams_of_a_removed_service_may_finish() {
    let upstream = Upstream::new();
    let mut world = World::limited(&[upstream.address], drain(FOR_EVER));
    world.next.services.push(Arc::new(service("gone", &[upstream.address])));
    world.publish().unwrap();
    let mut client = world.plain();
    client.send(get(&world, "gone/cued/20"));
    client.head().unwrap();
    world.next.services.retain(|service| &*service.name != "gone");
    world.publish().unwrap();
    assert_eq!(world.get("/api/predict/gone/who").status, 404);
    finish(&mut client, &upstream, 20);
}

#[test]
fn streams_of_a_removed_service_end_with_its_time_and_others_go_on() {
    let upstream = Upstream::new();
    let mut world = World::limited(&[upstream.address], drain(Duration::from_secs(2)));
    let gone = Service::clone(&service("gone", &[upstream.address]));
    world.next.services.push(Arc::new(gone.clone()));
    world.publish().unwrap();
    let open = |path: &str| {
        let mut client = world.plain();
        client.send(get(&world, path));
        assert_eq!(client.head().unwrap().status, 200);
        client
    };
    let (mut endless, mut other) = (open("gone/events/1000"), open("test/events/1000"));
    // An older request has the service as it was before an edit.
    let mut edited = gone;
    edited.body_limit = 7;
    let address = world.http;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut mine, mut theirs) = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut open = async |path: &str| {
            let request = Request::get(format!("http://{address}/api/predict/{path}"))
                .header("authorization", TOKEN)
                .body(Full::<Bytes>::default())
                .unwrap();
            sender.send_request(request).await.unwrap().into_body()
        };
        (open("gone/events/1000").await, open("test/events/1000").await)
    });
    world.next.services.retain(|service| &*service.name != "gone");
    world.next.services.push(Arc::new(edited));
    world.publish().unwrap();
    let start = Instant::now();
    world.next.services.retain(|service| &*service.name != "gone");
    world.publish().unwrap();
    assert_eq!(world.get("/api/predict/gone/who").status, 404);
    assert_eq!(endless.ended(), Some(ErrorKind::ConnectionReset));
    runtime.block_on(async {
        // The instance would end it in due form.
        while mine.frame().await.expect("it is cut").is_ok() {}
        for _ in 0..5 {
            assert!(theirs.frame().await.unwrap().is_ok(), "the stream beside it was disturbed");
        }
    });
    assert!(start.elapsed() > Duration::from_millis(1500), "{:?}", start.elapsed());
    for _ in 0..5 {
        assert!(other.chunk().unwrap().is_some());
    }
    drop((mine, theirs));
    eventually("the instance is let go", || upstream.abandoned() >= 2);
}

/// Asks two things of the service `gone` over one HTTP/2 connection; how they are refused, if it is before patience ends.
fn refusals(world: &World, path: &'static str) -> JoinHandle<Option<Vec<(u16, String)>>> {
    let address = world.http;
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answered = async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let answers = [(); 2].map(|()| {
                let request = Request::get(format!("http://{address}/api/predict/gone{path}"));
                let request = request.header("authorization", TOKEN).body(Full::<Bytes>::default()).unwrap();
                tokio::spawn(sender.send_request(request))
            });
            let mut refusals = Vec::new();
            for answer in answers {
                let answer = answer.await.unwrap().unwrap();
                let reason = answer.headers()["x-gateway-error"].to_str().unwrap().to_owned();
                refusals.push((answer.status().as_u16(), reason));
            }
            refusals
        };
        runtime.block_on(async { tokio::time::timeout(PATIENCE, answered).await.ok() })
    })
}

/// A service `gone` whose instances have for ever to take a connection.
fn patient(instances: &[SocketAddr]) -> Service {
    let mut gone = service("gone", instances);
    gone.protocol = Protocol::Http2;
    gone.timeouts.connect = FOR_EVER;
    gone
}

fn gone(world: &World) -> ServiceTraffic {
    world.traffic().services.into_iter().find(|service| service.name == "gone").unwrap()
}

#[test]
fn http2_requests_of_a_removed_service_that_wait_for_an_instance_are_answered_within_its_time() {
    // It is connected to, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut world = World::limited(&[], drain(Duration::from_secs(1)));
    let mut service = patient(&[silent.local_addr().unwrap()]);
    service.upstream.bounds.in_flight = Some(1);
    service.upstream.bounds.queue_wait = FOR_EVER;
    world.next.services.push(Arc::new(service));
    world.publish().unwrap();
    let asked = refusals(&world, "/who");
    eventually("one connects and the other waits for its place", || gone(&world).queue.waiting == 1);
    world.next.services.retain(|service| &*service.name != "gone");
    world.publish().unwrap();
    let refusals = asked.join().unwrap().expect("they were answered");
    assert_eq!(refusals, [(); 2].map(|()| (404, "no_route".to_owned())));
}

#[test]
fn so_are_those_that_wait_for_another_instance_after_one_has_failed() {
    let (failing, silent) = (Upstream::grpc(), TcpListener::bind("127.0.0.1:0").unwrap());
    let config = Config {
        workers: NonZeroUsize::new(1),
        limits: drain(Duration::from_secs(1)),
        ..crate::support::config()
    };
    let mut world = World::with(config, &[]);
    let mut service = patient(&[failing.address, silent.local_addr().unwrap()]);
    service.upstream.balance = Balance::RoundRobin;
    world.next.services.push(Arc::new(service));
    world.publish().unwrap();
    let asked = refusals(&world, "/drop");
    // By turns: one waits for the silent instance from its beginning, and one since the other instance has dropped it.
    eventually("one is sent again", || gone(&world).retries == 1 && failing.requests() == 1);
    assert_eq!(gone(&world).active, 2, "and both wait");
    world.next.services.retain(|service| &*service.name != "gone");
    world.publish().unwrap();
    let refusals = asked.join().unwrap().expect("they were answered");
    assert_eq!(refusals, [(); 2].map(|()| (404, "no_route".to_owned())));
}
