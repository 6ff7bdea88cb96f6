//! Bodies: limits to the byte, streaming both ways, requests that somebody gives up.

use std::time::Duration;

use gateway_user::{proxy::Limits, snapshot::http::Timeouts};

use crate::support::{Client, FOR_EVER, Fault, Faulty, TOKEN, Upstream, World, eventually};

const LIMIT: usize = 1 << 20;

fn head(world: &World, path: &str, more: &str) -> String {
    format!(
        "POST /api/predict/test{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n{more}\r\n\r\n",
        world.http
    )
}

#[test]
fn the_limit_passes_and_one_more_byte_is_413() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    let body = vec![b'x'; LIMIT];
    let mut client = world.plain();
    client.send(head(&world, "/echo", &format!("Content-Length: {LIMIT}")));
    let mut reader = client;
    reader.send(&body);
    let reply = reader.reply(false);
    assert_eq!((reply.status, reply.body.len()), (200, LIMIT));

    let before = upstream.requests();
    let mut client = world.plain();
    client.send(head(&world, "/echo", &format!("Content-Length: {}", LIMIT + 1)));
    let reply = client.reply(false);
    assert_eq!(reply.refusal(), (413, "body_too_large"));
    assert!(reply.text().contains("1048576"), "the limit is named");
    assert_eq!(upstream.requests(), before, "refused before anything went upstream");
}

#[test]
fn a_chunked_body_is_413_at_the_crossing_byte_and_the_instance_is_let_go() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    let chunk = |size: usize| format!("{size:x}\r\n{}\r\n", "x".repeat(size));

    let mut client = world.plain();
    client.send(head(&world, "/echo", "Transfer-Encoding: chunked"));
    client.send(chunk(LIMIT));
    client.send("0\r\n\r\n");
    assert_eq!(client.reply(false).status, 200);

    let mut client = world.plain();
    client.send(head(&world, "/hang", "Transfer-Encoding: chunked"));
    for _ in 0..16 {
        client.send(chunk(LIMIT / 16));
    }
    eventually("the instance has the request", || upstream.requests() == 2);
    client.send(chunk(1));
    assert_eq!(client.reply(false).refusal(), (413, "body_too_large"));
    eventually("the instance is let go", || upstream.abandoned() == 1);
}

#[test]
fn a_refused_upload_can_still_read_its_answer() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    let mut client = world.plain();
    client.send(head(&world, "/", "Content-Length: 3000000").replace(TOKEN, "wrong"));
    // A client that sends everything first and reads then must not find its answer destroyed by a reset.
    let _ = client.try_send(vec![b'x'; 3_000_000]);
    assert_eq!(client.reply(false).refusal(), (401, "unauthorized"));
}

#[test]
fn requests_stream_up_while_the_answer_streams_down() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    for mut client in [world.plain(), world.tls(None)] {
        client.send(head(&world, "/echo", "Transfer-Encoding: chunked"));
        client.send("5\r\nfirst\r\n");
        let reply = client.head().unwrap();
        assert_eq!(reply.status, 200);
        assert_eq!(client.chunk().unwrap().unwrap(), b"first");
        client.send("6\r\nsecond\r\n");
        assert_eq!(client.chunk().unwrap().unwrap(), b"second");
        client.send("0\r\n\r\n");
        assert_eq!(client.chunk().unwrap(), None);
    }
}

#[test]
fn events_arrive_one_by_one() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    for mut client in [world.plain(), world.tls(None)] {
        client.send(head(&world, "/cued/6", "Content-Length: 0"));
        assert_eq!(client.head().unwrap().header("content-type"), Some("text/event-stream"));
        for left in (0..6).rev() {
            // Until this one is here, the instance says nothing more.
            upstream.seen.cue.notify_one();
            let event = client.chunk().unwrap().unwrap();
            assert_eq!(String::from_utf8_lossy(&event), format!("data: {left}\n\n"));
        }
        assert_eq!(client.chunk().unwrap(), None);
    }
}

#[test]
fn a_client_that_leaves_frees_the_instance_in_every_phase() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    // No deadline frees it.
    world.edit(|service| {
        service.timeouts = Timeouts { connect: FOR_EVER, first_byte: FOR_EVER, idle: FOR_EVER };
    });
    for (index, path) in ["/hang", "/cued/1000"].into_iter().enumerate() {
        let mut client = world.plain();
        client.send(head(&world, path, "Content-Length: 0"));
        eventually("the request is there", || upstream.requests() == 2 * index + 1);
        if path != "/hang" {
            client.head().unwrap();
            upstream.seen.cue.notify_one();
            client.chunk().unwrap();
        }
        drop(client);
        eventually("the instance is let go", || upstream.abandoned() == 2 * index + 1);

        // In the middle of its own body.
        let mut client = world.plain();
        client.send(head(&world, "/echo", "Content-Length: 1000"));
        client.send("half");
        eventually("the request is there", || upstream.requests() == 2 * index + 2);
        drop(client);
        eventually("the instance is let go", || upstream.abandoned() == 2 * index + 2);
    }
    let report = world.proxy().traffic();
    assert_eq!((report.services[0].classes["499"], report.services[0].active), (4, 0));
}

#[test]
fn an_upload_that_stops_is_408() {
    let upstream = Upstream::new();
    let limits = Limits { body_idle: Duration::from_millis(300), ..Limits::default() };
    let world = World::limited(&[upstream.address], limits);
    let mut client = world.plain();
    client.send(head(&world, "/hang", "Content-Length: 10"));
    client.send("12345");
    assert_eq!(client.reply(false).refusal(), (408, "client_timeout"));
}

#[test]
fn an_answer_that_stops_or_breaks_is_not_passed_off_as_whole() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    world.edit(|service| service.timeouts.idle = Duration::from_millis(300));
    let mut client = world.plain();
    client.send(head(&world, "/break", "Content-Length: 0"));
    assert!(client.try_reply(false).is_err());
}

#[test]
fn slow_clients_are_reaped() {
    let upstream = Upstream::new();
    let limits = Limits {
        handshake: Duration::from_millis(300),
        header: Duration::from_millis(300),
        keep_alive: Duration::from_millis(300),
        ..Limits::default()
    };
    let mut world = World::limited(&[upstream.address], limits);
    assert!(Client::plain(world.http).ended().is_some(), "says nothing on a plain port");
    assert!(Client::plain(world.https).ended().is_some(), "says nothing on a TLS port");
    let mut half = world.plain();
    half.send("GET / HTTP/1.1\r\nHost:");
    assert!(half.ended().is_some(), "stops in its head");
    let mut idle = world.plain();
    assert_eq!(idle.call(&head(&world, "/", "Content-Length: 0")).status, 200);
    assert!(idle.ended().is_some(), "asks nothing more");
    eventually("no connection is left", || world.traffic().listeners[0].live == 0);
    assert_eq!(world.proxy().traffic().connection_panics, 0);
}

#[test]
fn large_answers_pass_whole() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    for mut client in [world.plain(), world.tls(None)] {
        for size in [0, 1, 16_384, 1 << 20, 20 << 20] {
            let reply = client.call(&head(&world, &format!("/bytes/{size}"), "Content-Length: 0"));
            assert_eq!((reply.status, reply.body.len()), (200, size));
        }
    }
}

#[test]
fn a_client_that_waits_for_a_100_has_it_from_the_instance() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    let mut client = world.plain();
    client.send(head(&world, "/hang-up", "Content-Length: 4\r\nExpect: 100-continue"));
    let mut line = [0; 25];
    let count = client.read_some(&mut line).unwrap();
    assert!(line[..count].starts_with(b"HTTP/1.1 100"), "{:?}", String::from_utf8_lossy(&line));
    client.send("body");
    assert_eq!(client.head().map(|reply| reply.status).unwrap(), 200);
    // One that answers without the body is heard, and the client knows that it need not send it.
    let mut client = world.plain();
    client.send(head(&world, "/status/403", "Content-Length: 4\r\nExpect: 100-continue"));
    assert_eq!(client.head().map(|reply| reply.status).unwrap(), 403);
}

#[test]
fn a_client_whose_instance_says_no_100_is_told_to_go_on() {
    let upstream = Upstream::new();
    let faulty = Faulty::new(upstream.address, Fault::StallAfter(0));
    let world = World::new(&[faulty.address]);
    let mut client = world.plain();
    client.send(head(&world, "/", "Content-Length: 4\r\nExpect: 100-continue"));
    let mut line = [0; 25];
    let count = client.read_some(&mut line).unwrap();
    assert_eq!(&line[..count], b"HTTP/1.1 100 Continue\r\n\r\n");
}
