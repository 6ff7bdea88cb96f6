//! Peers that are slow, stuck or silent: each phase has its end, and whoever goes on is left alone.

use std::{
    io::Write as _,
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use gateway_user::{
    observe::access::Target,
    proxy::{Config, Limits},
    snapshot::http::Protocol,
};

use crate::support::{Client, FOR_EVER, PATIENCE, TOKEN, Upstream, World, config, eventually};

fn post(world: &World, path: &str, more: &str) -> String {
    format!(
        "POST /api/predict/test{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n{more}\r\n\r\n",
        world.http
    )
}

/// A byte before each deadline of silence kept an upload alive for as long as its sender liked.
#[test]
fn an_upload_that_trickles_is_408_and_one_that_keeps_the_rate_passes() {
    for (upstream, protocol) in [(Upstream::new(), Protocol::Http), (Upstream::grpc(), Protocol::Http2)] {
        let limits = Limits { body_idle: Duration::from_secs(1), body_rate: 1000, ..Limits::default() };
        let mut world = World::limited(&[upstream.address], limits);
        world.edit(|service| service.protocol = protocol);
        let start = Instant::now();
        let trickle = thread::spawn({
            let mut client = world.plain();
            client.send(post(&world, "/hang", "Content-Length: 1000"));
            move || {
                // Three bytes a second, never silent for longer than a third of what a silence may be.
                while client.try_send("x").is_ok() && client.is_quiet(Duration::from_millis(300)) {
                    assert!(start.elapsed() < PATIENCE, "it lives for ever");
                }
                client.reply(false)
            }
        });
        let mut steady = world.plain();
        steady.send(post(&world, "/hang-up", "Content-Length: 10000"));
        for _ in 0..20 {
            steady.send("x".repeat(500));
            thread::sleep(Duration::from_millis(150));
        }
        assert_eq!(steady.reply(false).status, 200, "{protocol:?}");
        assert_eq!(trickle.join().unwrap().refusal(), (408, "client_timeout"), "{protocol:?}");
    }
}

/// Once the instance answers, the two talk to each other, and the rest of the body comes when there is something to say.
#[test]
fn a_dialogue_may_be_silent_for_as_long_as_the_service_says() {
    let upstream = Upstream::new();
    let limits = Limits { body_idle: Duration::from_millis(300), ..Limits::default() };
    let world = World::limited(&[upstream.address], limits);
    let mut client = world.plain();
    client.send(post(&world, "/echo", "Transfer-Encoding: chunked"));
    client.send("1\r\na\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.chunk().unwrap(), Some(b"a".to_vec()));
    thread::sleep(Duration::from_millis(1500));
    client.send("1\r\nb\r\n0\r\n\r\n");
    assert_eq!(client.chunk().unwrap(), Some(b"b".to_vec()));
    assert_eq!(client.chunk().unwrap(), None);
}

/// A dialogue is silent when neither side talks: who listens is not cut while the other goes on, and both are once
/// nobody does.
#[test]
fn who_listens_in_a_dialogue_is_not_silent() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    world.edit(|service| service.timeouts.idle = Duration::from_millis(500));
    let mut listens = world.plain();
    listens.send(post(&world, "/events/30", "Transfer-Encoding: chunked"));
    listens.send("1\r\na\r\n");
    assert_eq!(listens.head().unwrap().status, 200);
    for left in (0..30).rev() {
        assert_eq!(listens.chunk().unwrap(), Some(format!("data: {left}\n\n").into_bytes()));
    }
    assert_eq!(listens.chunk().unwrap(), None);

    let mut talks = world.plain();
    talks.send(post(&world, "/echo", "Transfer-Encoding: chunked"));
    talks.send("1\r\na\r\n");
    assert_eq!(talks.head().unwrap().status, 200);
    assert_eq!(talks.chunk().unwrap(), Some(b"a".to_vec()));
    assert!(talks.ended().is_some(), "nobody talks");
}

/// An instance that takes the connection and a part of the body, and no more, held the request for ever.
#[test]
fn an_instance_that_stops_to_read_is_504() {
    for protocol in [Protocol::Http, Protocol::Http2] {
        let stuck = TcpListener::bind("127.0.0.1:0").unwrap();
        let limits = Limits { body_idle: FOR_EVER, ..Limits::default() };
        let mut world = World::limited(&[stuck.local_addr().unwrap()], limits);
        world.edit(|service| {
            service.protocol = protocol;
            service.timeouts.first_byte = Duration::from_millis(500);
            service.body_limit = 64 << 20;
        });
        let mut client = world.plain();
        client.send(post(&world, "/", &format!("Content-Length: {}", 64 << 20)));
        let (mut connection, _) = stuck.accept().unwrap();
        if protocol == Protocol::Http2 {
            // It says what every server begins with: SETTINGS, and none of them (RFC 9113 §3.4).
            connection.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
        }
        let start = Instant::now();
        let block = vec![b'x'; 1 << 20];
        while client.try_send(&block).is_ok() && client.is_quiet(Duration::from_millis(1)) {
            assert!(start.elapsed() < PATIENCE, "it waits for ever");
        }
        assert_eq!(client.reply(false).refusal(), (504, "upstream_first_byte_timeout"), "{protocol:?}");
        assert_eq!(world.traffic().services[0].instances[0].failures, 1, "{protocol:?}");
    }
}

/// A client that reads slowly but steadily gets all of it, also when the socket's buffer is so large that it takes
/// longer than a stall may last until there is room in it again.
#[test]
fn a_steady_reader_gets_everything_and_a_stuck_one_is_cut() {
    let upstream = Upstream::new();
    let limits = Limits { write_stall: Duration::from_secs(1), ..Limits::default() };
    let world = World::limited(&[upstream.address], limits);
    let length = 24 << 20;
    let get = format!(
        "GET /api/predict/test/bytes/{length} HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n\r\n",
        world.http
    );
    let mut stuck = world.plain();
    stuck.send(&get);
    let mut steady = world.plain();
    steady.send(&get);
    steady.head().unwrap();
    let mut block = vec![0; 256 << 10];
    let mut taken = 0;
    while taken < length {
        let count = steady.read_some(&mut block).unwrap();
        assert!(count > 0, "it ended after {taken}");
        taken += count;
        thread::sleep(Duration::from_millis(20));
    }
    eventually("only the steady one is left", || world.traffic().listeners[0].live == 1);
    // What lies in the buffers is still there to be read; the rest never comes.
    let mut whole = 0;
    loop {
        match stuck.read_some(&mut block) {
            Ok(0) | Err(_) => break,
            Ok(count) => whole += count,
        }
    }
    assert!(whole < length, "{whole}");
}

/// TLS is up, and the client says nothing more, whichever protocol it chose.
#[test]
fn a_client_that_is_silent_after_its_handshake_is_reaped() {
    let upstream = Upstream::new();
    let limits = Limits {
        handshake: FOR_EVER,
        header: Duration::from_millis(300),
        keep_alive: FOR_EVER,
        ..Limits::default()
    };
    let world = World::limited(&[upstream.address], limits);
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let mut client = Client::tls(world.https, None, &[protocol]).unwrap();
        assert!(client.ended().is_some(), "{protocol:?}");
    }
    let mut prior = world.plain();
    prior.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(prior.ended().is_some());
}

/// A head that began and does not end is answered and said in the log; whoever has not begun one asked for nothing, and
/// the connection is closed without a word, which some client would take for the answer to its next request.
#[test]
fn a_head_that_stops_is_408_and_one_that_never_began_is_no_request() {
    let upstream = Upstream::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let limits = Limits { header: Duration::from_secs(2), ..Limits::default() };
    let world = World::with(
        Config { limits, access_log: Target::File(path.clone()), ..config() },
        &[upstream.address],
    );
    let get = format!("GET /api/predict/test HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n", world.http);
    let whole = format!("{get}\r\n");
    let secure = || Client::tls(world.https, None, &[b"http/1.1"]).unwrap();
    // As short as can be, one that HTTP/2 begins with too, and a second request of a connection.
    let mut late = Vec::new();
    for (mut client, served, begun) in [
        (world.plain(), "", "G"),
        (world.plain(), "", "PRI * HT"),
        (world.plain(), "", &get),
        (world.plain(), &whole, &get),
        (secure(), "", "G"),
        (secure(), &whole, "\r\nGET"),
    ] {
        if !served.is_empty() {
            assert_eq!(client.call(served).status, 200);
        }
        client.send(begun);
        late.push((client, begun));
    }
    let mut silent = vec![secure(), secure(), world.plain(), secure()];
    // Empty lines are no beginning.
    for (client, bytes) in silent.iter_mut().skip(1).zip(["\r\n", "\r\n", &format!("{whole}\r\n")]) {
        client.send(bytes);
    }
    assert_eq!(silent[3].reply(false).status, 200);
    let count = late.len();
    for (mut client, begun) in late {
        let reply = client.reply(false);
        assert_eq!(reply.refusal(), (408, "head_timeout"), "{begun:?}");
        assert_eq!(reply.header("connection"), Some("close"), "{begun:?}");
        assert_eq!(client.ended(), Some(std::io::ErrorKind::UnexpectedEof));
    }
    for mut client in silent {
        assert_eq!(client.read_some(&mut [0; 1]).unwrap(), 0);
    }
    let told = || std::fs::read_to_string(&path).unwrap();
    eventually("it is logged", || told().lines().count() == count + 3);
    let lines: Vec<serde_json::Value> =
        told().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let refused: Vec<_> = lines.iter().filter(|line| line["reason"] == "head_timeout").collect();
    assert_eq!(refused.len(), count, "{lines:?}");
    for line in refused {
        assert_eq!(
            (line["status"].as_u64(), line["listener"].as_str()),
            (Some(408), Some("public")),
            "{line}"
        );
        assert_eq!(line["generation"].as_u64(), Some(1), "{line}");
    }
    assert_eq!(world.traffic().listeners[0].classes["4xx"], count as u64);
}

/// How long an instance may be silent is no measure for a client that has not taken yet what it said.
#[test]
fn a_client_that_pauses_is_no_silence_of_the_instance() {
    for (upstream, protocol) in [(Upstream::new(), Protocol::Http), (Upstream::grpc(), Protocol::Http2)] {
        let mut world = World::new(&[upstream.address]);
        world.edit(|service| {
            service.protocol = protocol;
            service.timeouts.idle = Duration::from_secs(1);
        });
        let length = 24 << 20;
        let mut client = world.plain();
        client.send(format!(
            "GET /api/predict/test/bytes/{length} HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n\r\n",
            world.http
        ));
        thread::sleep(Duration::from_secs(3));
        assert_eq!(client.try_reply(false).map(|reply| reply.body.len()).ok(), Some(length), "{protocol:?}");
        eventually("it is noted", || world.traffic().services[0].active == 0);
        assert_eq!(world.traffic().services[0].instances[0].failures, 0);
    }
}
