//! Edits that take away what connections and streams stand on, without taking anybody's access: they finish, for a while.

use std::{
    io::ErrorKind,
    net::TcpListener,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use gateway_user::{
    proxy::Limits,
    snapshot::{
        FilterPlan, Listener,
        http::{Protocol, Service},
    },
};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::{
    changes::add_listener,
    support::{Client, TOKEN, Upstream, World, entry, eventually, free_port, service},
};

fn get(world: &World, path: &str) -> String {
    format!("GET /api/predict/{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n\r\n", world.http)
}

fn drain(time: Duration) -> Limits {
    Limits { drain: time, ..Limits::default() }
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
fn a_deleted_listener_finishes_what_is_in_flight_within_its_time() {
    let upstream = Upstream::new();
    let mut world = World::limited(&[upstream.address], drain(Duration::from_secs(3)));
    add_listener(&mut world, "second", 2, |_| {});
    world.publish().unwrap();
    let port = world.next.listeners[1].http.unwrap();
    let connect = || Client::plain(([127, 0, 0, 1], port).into());
    let (mut short, mut endless, mut idle) = (connect(), connect(), connect());
    assert_eq!(idle.call(&get(&world, "test/who")).status, 200);
    short.send(get(&world, "test/events/20"));
    short.head().unwrap();
    endless.send(get(&world, "test/events/1000"));
    endless.head().unwrap();
    let start = Instant::now();
    world.next.listeners.truncate(1);
    world.next.filter = Arc::new(FilterPlan {
        listeners: world.next.filter.listeners[..1].to_vec(),
        ..FilterPlan::clone(&world.next.filter)
    });
    world.publish().unwrap();
    assert_eq!(idle.ended(Duration::from_secs(1)), Some(ErrorKind::UnexpectedEof));
    // Another edit meanwhile changes nothing about it.
    world.edit(|service| service.body_limit += 1);
    let mut events = 0;
    while short.chunk().unwrap().is_some() {
        events += 1;
    }
    assert_eq!(events, 20);
    assert_eq!(short.ended(Duration::from_secs(1)), Some(ErrorKind::UnexpectedEof));
    assert_eq!(endless.ended(Duration::from_secs(10)), Some(ErrorKind::ConnectionReset));
    let took = start.elapsed();
    assert!(took > Duration::from_millis(2500) && took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn clients_of_a_port_that_moved_are_asked_to_come_back_one_by_one() {
    let upstream = Upstream::new();
    let mut world = World::limited(&[upstream.address], drain(Duration::from_secs(6)));
    let old = world.http;
    let mut clients: Vec<Client> = (0..20).map(|_| Client::plain(old)).collect();
    for client in &mut clients {
        assert_eq!(client.call(&get(&world, "test/who")).status, 200);
    }
    let mut stream = Client::plain(old);
    stream.send(get(&world, "test/events/40"));
    stream.head().unwrap();
    move_port(&mut world, free_port());
    let start = Instant::now();
    world.publish().unwrap();
    assert_eq!(Client::connect(old).err().map(|error| error.kind()), Some(ErrorKind::ConnectionRefused));
    // Those whose turn has not come are served as before.
    let served = clients
        .iter_mut()
        .filter_map(|client| {
            client.try_send(get(&world, "test/who")).ok()?;
            client.try_reply(false).ok().filter(|reply| reply.status == 200)
        })
        .count();
    assert!(served >= 10, "{served}");
    let mut ends: Vec<u64> = clients
        .iter_mut()
        .map(|client| {
            assert!(client.ended(Duration::from_secs(10)).is_some());
            start.elapsed().as_millis() as u64 / 100
        })
        .collect();
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    ends.dedup();
    assert!(ends.len() > 2, "all at once: {ends:?}");
    let mut events = 0;
    while stream.chunk().unwrap().is_some() {
        events += 1;
    }
    assert_eq!(events, 40);
}

#[test]
fn who_is_not_on_the_list_of_a_listener_that_moved_is_cut_at_once() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    let mut client = world.plain();
    assert_eq!(client.call(&get(&world, "test/who")).status, 200);
    move_port(&mut world, free_port());
    world.filter(|listener| listener.entries = vec![entry("192.0.2.0/24", 0)]);
    assert_eq!(client.ended(Duration::from_millis(900)), Some(ErrorKind::ConnectionReset));
}

#[test]
fn streams_of_a_removed_service_end_within_its_time_and_others_go_on() {
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
    let (mut short, mut endless, mut other) =
        (open("gone/events/20"), open("gone/events/1000"), open("test/events/1000"));
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
    let mut events = 0;
    while short.chunk().unwrap().is_some() {
        events += 1;
    }
    assert_eq!(events, 20);
    assert!(endless.ended(Duration::from_secs(10)).is_some());
    runtime.block_on(async {
        while let Some(Ok(_)) = mine.frame().await {
            assert!(start.elapsed() < Duration::from_secs(10), "it goes on for ever");
        }
        for _ in 0..5 {
            assert!(theirs.frame().await.unwrap().is_ok(), "the stream beside it was disturbed");
        }
    });
    let took = start.elapsed();
    assert!(took > Duration::from_millis(1500) && took < Duration::from_secs(8), "{took:?}");
    for _ in 0..5 {
        assert!(other.chunk().unwrap().is_some());
    }
    drop((mine, theirs));
    eventually("the instance is let go", || upstream.abandoned() >= 2);
    thread::sleep(Duration::from_millis(10));
}

#[test]
fn http2_requests_of_a_removed_service_that_wait_for_an_instance_are_answered_within_its_time() {
    // Longer than the test waits for anything.
    const FOR_EVER: Duration = Duration::from_secs(300);
    // It is connected to, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut world = World::limited(&[], drain(Duration::from_secs(1)));
    let mut gone = service("gone", &[silent.local_addr().unwrap()]);
    gone.protocol = Protocol::Http2;
    gone.timeouts.connect = FOR_EVER;
    gone.upstream.bounds.in_flight = Some(1);
    gone.upstream.bounds.queue_wait = FOR_EVER;
    world.next.services.push(Arc::new(gone));
    world.publish().unwrap();
    let address = world.http;
    let asked = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answered = async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let answers = [(); 2].map(|()| {
                let request = Request::get(format!("http://{address}/api/predict/gone/who"));
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
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), answered).await })
    });
    eventually("one connects and the other waits for its place", || {
        world.traffic().services.iter().any(|service| service.queue.waiting == 1)
    });
    world.next.services.retain(|service| &*service.name != "gone");
    world.publish().unwrap();
    let refusals = asked.join().unwrap().expect("they were answered");
    assert_eq!(refusals, [(); 2].map(|()| (404, "no_route".to_owned())));
}
