//! Instances that are dead, stall or break: what is tried again, who is taken out, and how they come back.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    num::NonZeroUsize,
    thread::{self, sleep},
    time::{Duration, Instant},
};

use gateway_user::{
    observe::instances::{InstanceStatus, InstanceTraffic},
    proxy::Config,
    snapshot::{
        http::Protocol,
        upstream::{Balance, Tls, Verify},
    },
};

use crate::support::{
    Fault, Faulty, PATIENCE, Reply, TOKEN, Upstream, World, config, eventually, route, service,
};

fn instances(world: &World) -> Vec<InstanceTraffic> {
    world.traffic().services[0].instances.clone()
}

/// One worker, so that turns are exact whatever connection a request comes by.
fn single(instances: &[SocketAddr]) -> World {
    World::with(Config { workers: NonZeroUsize::new(1), ..config() }, instances)
}

fn post(world: &World, path: &str, body: &str) -> Reply {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\nContent-Length: {}\r\n\r\n{body}",
        world.http,
        body.len()
    );
    world.plain().call(&head)
}

/// Two instances in turn; short deadlines, out after two failures for a second.
fn hasty(world: &mut World) {
    world.edit(|service| {
        service.timeouts.connect = Duration::from_millis(300);
        service.timeouts.first_byte = Duration::from_millis(300);
        service.timeouts.idle = Duration::from_millis(300);
        service.upstream.balance = Balance::RoundRobin;
        service.upstream.outlier.failures = 2;
        service.upstream.outlier.ejection = Duration::from_secs(1);
    });
}

/// A stalled instance costs retries, then nothing, and is back by itself when it works again.
fn stalls(fault: Fault, tls: bool) {
    let mut world = World::new(&[]);
    let leaf = world.authority.leaf(&["model.example"]);
    let start = |name| if tls { Upstream::tls(name, &leaf, &[]) } else { Upstream::named(name, false) };
    let (bad, good) = (start("bad"), start("good"));
    let relay = Faulty::new(bad.address, fault);
    world.edit(|service| {
        service.instances = crate::support::service("x", &[relay.address, good.address]).instances;
        service.upstream.tls = tls.then_some(Tls { server_name: None, verify: Verify::Insecure });
    });
    hasty(&mut world);
    for turn in 0..8 {
        let reply = world.get("/api/predict/test/who");
        assert_eq!((reply.status, reply.text()), (200, "good"), "{fault:?}, turn {turn}");
    }
    let seen = instances(&world);
    assert!(seen[0].ejections >= 1 && seen[0].failures >= 2, "{fault:?}: {seen:?}");
    assert_eq!((seen[1].ejections, seen[1].failures), (0, 0), "{seen:?}");
    relay.set(Fault::None);
    let start = Instant::now();
    while world.get("/api/predict/test/who").text() != "bad" {
        assert!(start.elapsed() < PATIENCE, "{fault:?}: it works again and nobody asks it");
        sleep(Duration::from_millis(20));
    }
    eventually("its standing is good again", || instances(&world)[0].status == InstanceStatus::Up);
}

#[test]
fn an_instance_that_says_nothing_is_passed_over_and_recovers() {
    stalls(Fault::StallAfter(0), false);
}

#[test]
fn an_instance_that_stops_in_mid_handshake_is_passed_over_and_recovers() {
    stalls(Fault::StallAfter(100), true);
}

#[test]
fn an_instance_that_stops_in_mid_header_is_passed_over_and_recovers() {
    stalls(Fault::StallAfter(20), false);
}

#[test]
fn an_instance_that_stops_in_mid_body_is_passed_over_and_recovers() {
    let (bad, good) = (Upstream::named("bad", false), Upstream::named("good", false));
    let relay = Faulty::new(bad.address, Fault::StallAfter(50_000));
    let mut world = World::new(&[relay.address, good.address]);
    hasty(&mut world);
    let fetch = |world: &World| {
        let mut client = world.plain();
        client.send(format!(
            "GET /api/predict/test/bytes/200000 HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n\r\n",
            world.http
        ));
        client.try_reply(false).is_ok_and(|reply| reply.body.len() == 200_000)
    };
    // Nothing can be tried again after the first byte: each broken answer is seen, until the instance is out.
    let whole: Vec<bool> = (0..6).map(|_| fetch(&world)).collect();
    assert_eq!(whole.iter().filter(|whole| !**whole).count(), 2, "{whole:?}");
    assert_eq!(instances(&world)[0].status, InstanceStatus::Ejected);
    relay.set(Fault::None);
    eventually("it is back and whole", || fetch(&world) && good.requests() > 0 && bad.requests() > 2);
    eventually("its standing is good again", || {
        fetch(&world) && instances(&world)[0].status == InstanceStatus::Up
    });
}

#[test]
fn what_clients_cause_takes_nobody_out() {
    let upstreams = ["a", "b"].map(|name| Upstream::named(name, false));
    let mut world = World::new(&upstreams.each_ref().map(|upstream| upstream.address));
    world.edit(|service| service.upstream.balance = Balance::RoundRobin);
    for (path, status) in [("/status/500", 500), ("/status/404", 404), ("/status/429", 429), ("/drop", 502)] {
        for _ in 0..20 {
            assert_eq!(world.get(&format!("/api/predict/test{path}")).status, status, "{path}");
        }
    }
    let seen = instances(&world);
    assert!(seen.iter().all(|one| one.failures == 0 && one.status == InstanceStatus::Up), "{seen:?}");
    // 502, 503 and 504 do, but never more than the share: somebody has to be asked.
    for status in [502, 503, 504].into_iter().cycle().take(40) {
        assert_eq!(world.get(&format!("/api/predict/test/status/{status}")).status, status);
    }
    let seen = instances(&world);
    assert_eq!(seen.iter().map(|one| one.ejections).sum::<u64>(), 1, "{seen:?}");
    assert!(seen.iter().all(|one| one.failures >= 5), "{seen:?}");
}

#[test]
fn where_all_are_out_all_are_asked() {
    let upstream = Upstream::new();
    let relay = Faulty::new(upstream.address, Fault::StallAfter(0));
    let mut world = World::new(&[relay.address]);
    hasty(&mut world);
    for _ in 0..3 {
        assert_eq!(world.get("/api/predict/test/who").refusal(), (504, "upstream_first_byte_timeout"));
    }
    assert_eq!(instances(&world)[0].status, InstanceStatus::Ejected);
    relay.set(Fault::None);
    assert_eq!(world.get("/api/predict/test/who").text(), "test", "it is out, and the only one");
}

#[test]
fn a_post_is_sent_again_only_where_the_route_says_so() {
    let good = Upstream::named("good", false);
    let relay = Faulty::new(good.address, Fault::Close);
    let mut world = single(&[relay.address, good.address]);
    world.edit(|service| {
        service.upstream.balance = Balance::RoundRobin;
        service.upstream.retry.budget_percent = 100;
    });
    for (name, prefix, retry_unsafe) in [("once", "/once", false), ("again", "/again", true)] {
        let mut route = route(name, prefix, &[("test", 1)]);
        route.strip_prefix = true;
        route.retry_unsafe = retry_unsafe;
        world.add_route(route);
    }
    let statuses = |path: &str| -> Vec<u16> { (0..6).map(|_| post(&world, path, "hello").status).collect() };
    let once = statuses("/once/echo");
    assert_eq!(once.iter().filter(|status| **status == 502).count(), 3, "{once:?}");
    assert_eq!(once.iter().filter(|status| **status == 200).count(), 3, "{once:?}");
    let before = relay.connections();
    assert_eq!(statuses("/again/echo"), [200; 6]);
    assert!(relay.connections() > before, "it was tried there first");
    assert_eq!(post(&world, "/again/echo", "the whole body").text(), "the whole body");
    // A body that is too large to be kept is streamed, and not sent again.
    let large = "x".repeat(200_000);
    let replies: Vec<Reply> = (0..4).map(|_| post(&world, "/again/echo", &large)).collect();
    assert!(replies.iter().any(|reply| reply.status == 502), "a body of 200 kB was kept");
    assert!(replies.iter().any(|reply| reply.body.len() == large.len()));
    let get: Vec<u16> = (0..6).map(|_| world.get("/once/who").status).collect();
    assert_eq!(get, [200; 6], "a GET may always be");
}

#[test]
fn retries_end_with_their_budget() {
    let good = Upstream::new();
    let relays = [(); 3].map(|()| Faulty::new(good.address, Fault::Close));
    let mut world = World::new(&relays.each_ref().map(|relay| relay.address));
    world.edit(|service| service.upstream.retry.budget_percent = 0);
    let start = Instant::now();
    for _ in 0..60 {
        assert_eq!(world.get("/api/predict/test/who").refusal(), (502, "upstream_reset"));
    }
    let seconds = start.elapsed().as_secs() + 2;
    let report = world.traffic().services[0].clone();
    assert!(report.retries >= 3 && report.retries <= 3 * seconds, "{} in {seconds} s", report.retries);
    assert!(report.retries_refused > 0);
    world.edit(|service| service.upstream.retry.attempts = 1);
    let before = world.traffic().services[0].retries;
    world.get("/api/predict/test/who");
    assert_eq!(world.traffic().services[0].retries, before, "one attempt is one attempt");
}

#[test]
fn an_edit_does_not_forget_who_is_out() {
    let good = Upstream::named("good", false);
    let relay = Faulty::new(good.address, Fault::StallAfter(0));
    let mut world = single(&[relay.address, good.address]);
    hasty(&mut world);
    world.edit(|service| service.upstream.outlier.ejection = Duration::from_secs(60));
    for _ in 0..5 {
        assert_eq!(world.get("/api/predict/test/who").status, 200);
    }
    assert_eq!(instances(&world)[0].status, InstanceStatus::Ejected);
    let before = relay.connections();
    world.edit(|service| {
        service.instances[0].weight = 5;
        service.body_limit += 1;
    });
    world.next.services.push(std::sync::Arc::new(service("unrelated", &[good.address])));
    world.publish().unwrap();
    for _ in 0..10 {
        assert_eq!(world.get("/api/predict/test/who").text(), "good");
    }
    assert_eq!(instances(&world)[0].status, InstanceStatus::Ejected);
    assert_eq!(relay.connections(), before, "nobody asked it");
}

/// Whoever asks, and over whichever protocol: an instance that answers too late has failed.
#[test]
fn an_instance_that_speaks_http2_and_is_too_slow_has_failed() {
    let upstream = Upstream::grpc();
    let mut world = World::new(&[upstream.address]);
    world.edit(|service| {
        service.protocol = Protocol::Http2;
        service.timeouts.first_byte = Duration::from_millis(300);
    });
    assert_eq!(world.get("/api/predict/test/hang").refusal(), (504, "upstream_first_byte_timeout"));
    assert_eq!(world.traffic().services[0].instances[0].failures, 1);
}

/// An instance that closes each connection over HTTP/2 as soon as it has a request's head. It ends with the test's process.
fn closing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            // SETTINGS, and none of them. Then the client's preface, and frames until HEADERS (RFC 9113 §3.4, §4.1, §6.2).
            connection.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
            connection.read_exact(&mut [0; 24]).unwrap();
            let mut head = [0; 9];
            while connection.read_exact(&mut head).is_ok() {
                let length = u64::from(u32::from_be_bytes([0, head[0], head[1], head[2]]));
                std::io::copy(&mut std::io::Read::take(&mut connection, length), &mut std::io::sink())
                    .unwrap();
                if head[3] == 1 {
                    break;
                }
            }
        }
    });
    address
}

/// A client of HTTP/1.1 is helped like one of HTTP/2, unless a body would have to be sent again: nothing is kept of it.
#[test]
fn what_an_instance_that_speaks_http2_left_is_sent_to_another() {
    let good = Upstream::named("good", true);
    let mut world = single(&[closing(), good.address]);
    world.edit(|service| {
        service.protocol = Protocol::Http2;
        service.upstream.retry.budget_percent = 100;
        service.upstream.outlier.failures = 0;
    });
    for _ in 0..20 {
        assert_eq!(world.get("/api/predict/test/who").text(), "good");
    }
    assert!(world.traffic().services[0].retries > 0);
    let put = format!(
        "PUT /api/predict/test/who HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\nContent-Length: 1\r\n\r\nx",
        world.http
    );
    let statuses: Vec<u16> = (0..20).map(|_| world.plain().call(&put).status).collect();
    assert!(statuses.contains(&200) && statuses.contains(&502), "{statuses:?}");
}

/// Each of the two heads fits into a buffer, and both do not.
#[test]
fn a_large_head_follows_a_large_interim_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let world = World::new(&[listener.local_addr().unwrap()]);
    let mut client = world.plain();
    client.send(format!(
        "GET /api/predict/test HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n\r\n",
        world.http
    ));
    let (mut instance, _) = listener.accept().unwrap();
    assert!(instance.read(&mut [0; 4096]).unwrap() > 0);
    let large = "x".repeat(20 << 10);
    let answer = format!(
        "HTTP/1.1 103 Early Hints\r\nX-Large: {large}\r\n\r\n\
         HTTP/1.1 200 OK\r\nX-Large: {large}\r\nContent-Length: 2\r\n\r\nok"
    );
    instance.write_all(answer.as_bytes()).unwrap();
    assert_eq!(client.head().unwrap().status, 103);
    let reply = client.reply(false);
    assert_eq!((reply.status, reply.header("x-large"), reply.text()), (200, Some(large.as_str()), "ok"));
}
