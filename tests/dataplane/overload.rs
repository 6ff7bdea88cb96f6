//! No room: who is refused and how, who is sent away, and that it ends when the load does.

use std::{
    thread,
    time::{Duration, Instant},
};

use gateway_user::{observe::load::LoadReport, proxy::Config, proxy::Limits};

use crate::support::{Client, PATIENCE, TOKEN, Upstream, World, config, eventually};

fn get(world: &World, path: &str) -> String {
    format!("GET /api/predict/test{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n\r\n", world.http)
}

fn load(world: &World) -> LoadReport {
    world.traffic().load
}

/// A client that was served, and waits with nothing to do.
fn connected(world: &World) -> Client {
    let mut client = world.plain();
    assert_eq!(client.call(&get(world, "/who")).status, 200);
    client
}

/// Whether a new client gets its answer; it may be sent away at any point.
fn is_served(world: &World) -> bool {
    let Ok(mut client) = Client::connect(world.http) else { return false };
    client.try_send(get(world, "/who")).is_ok()
        && client.try_reply(false).is_ok_and(|reply| reply.status == 200)
}

#[test]
fn without_memory_requests_get_503_and_new_clients_are_sent_away_until_there_is_some() {
    let upstream = Upstream::new();
    // By the estimates, room for twenty clients that wait or ten requests.
    let world = World::with(Config { memory: Some(1 << 20), ..config() }, &[upstream.address]);
    // One after the other: who has not spoken yet holds more than who waits.
    let mut clients: Vec<Client> = (0..20).map(|_| connected(&world)).collect();
    let before = upstream.requests();
    let mut held = 0;
    while load(&world).refused == 0 {
        clients[held].send(get(&world, "/hang"));
        held += 1;
        eventually("the request is upstream or refused", || {
            upstream.requests() == before + held || load(&world).refused == 1
        });
    }
    assert!((5..20).contains(&held), "{held}");
    // A client that is connected is told; it does not hang.
    let told = clients.swap_remove(held - 1).reply(false);
    assert_eq!(told.refusal(), (503, "overloaded"));
    assert_eq!(told.header("retry-after"), Some("1"));
    // Whoever comes now waits in the kernel's queue, until those leave who do nothing.
    eventually("the pause began and ended", || {
        load(&world).pauses["memory"] > 0 && load(&world).paused["memory"] == 0
    });
    assert!(load(&world).evicted > 0);
    let mut late = world.plain();
    assert_eq!(late.call(&get(&world, "/who")).status, 200);
    // Requests in flight keep their memory, whatever comes.
    assert_eq!(upstream.abandoned(), 0);
    drop(clients);
    eventually("what was held comes back", || load(&world).memory_used < 100 << 10);
}

/// What came of a head is held until the rest comes, however slowly: it is counted like everything else.
#[test]
fn heads_that_are_not_whole_are_counted_and_refused_where_there_is_no_memory() {
    let upstream = Upstream::new();
    let world = World::with(Config { memory: Some(1 << 20), ..config() }, &[upstream.address]);
    let mut clients: Vec<Client> = (0..24).map(|_| connected(&world)).collect();
    let request = get(&world, "/who");
    let (begin, rest) = request.split_at(20);
    let block = 32 << 10;
    let settled = |used: u64| eventually("it is given back", || load(&world).memory_used <= used);
    eventually("all are counted", || load(&world).memory_used >= 24 * (16 << 10));
    settled(24 * (16 << 10) + (16 << 10));
    let before = load(&world).memory_used;
    clients[0].send(begin);
    eventually("the head is counted", || load(&world).memory_used + (16 << 10) >= before + block);
    assert_eq!(clients[0].call(rest).status, 200);
    settled(before + block / 2);
    // All of them together are too many. Who is not told goes on, and each is told as much.
    for client in &mut clients {
        client.send(begin);
    }
    eventually("somebody is told", || load(&world).refused > 0);
    let mut told = 0;
    for mut client in clients {
        // One that was told may be closed already.
        let _ = client.try_send(rest);
        let reply = client.reply(false);
        if reply.status != 200 {
            assert_eq!((reply.refusal(), reply.header("retry-after")), ((503, "overloaded"), Some("1")));
            told += 1;
        }
    }
    assert!((1..24).contains(&told), "{told}");
    assert_eq!(told, load(&world).refused);
}

#[test]
fn new_clients_are_sent_away_when_nobody_can_make_room() {
    let upstream = Upstream::new();
    let limits = Limits { connections: 4, ..Limits::default() };
    let world = World::limited(&[upstream.address], limits);
    let mut held: Vec<Client> = (0..4).map(|_| world.plain()).collect();
    for (number, client) in held.iter_mut().enumerate() {
        client.send(get(&world, "/hang"));
        eventually("the request is upstream", || upstream.requests() > number);
    }
    let start = Instant::now();
    assert!(world.plain().ended().is_some());
    assert!(start.elapsed() > Duration::from_millis(500), "it was not kept waiting at all");
    assert!(world.traffic().listeners[0].refused["capacity"] >= 1);
    assert_eq!((load(&world).evicted, upstream.abandoned()), (0, 0));
    held.pop();
    eventually("a place is free", || is_served(&world));
}

#[test]
fn the_longest_idle_client_leaves_first_when_all_places_are_taken() {
    let upstream = Upstream::new();
    let limits = Limits { connections: 40, ..Limits::default() };
    let config = Config { workers: std::num::NonZeroUsize::new(1), limits, ..config() };
    let world = World::with(config, &[upstream.address]);
    let mut clients = Vec::new();
    for number in 0..40 {
        let mut client = if number % 2 == 0 { world.plain() } else { world.tls(None) };
        assert_eq!(client.call(&get(&world, "/who")).status, 200);
        clients.push(client);
        if number == 5 {
            // Ticks tell the first six from the others.
            thread::sleep(Duration::from_millis(300));
        }
    }
    // All places are taken, and nobody has been idle for a second: the next one waits its turn.
    let mut late = world.plain();
    assert_eq!(late.call(&get(&world, "/who")).status, 200);
    assert!((1..=6).contains(&load(&world).evicted), "{:?}", load(&world));
    let mut gone = Vec::new();
    eventually("they see it", || {
        gone = clients.iter_mut().map(|client| !client.is_quiet(Duration::from_millis(1))).collect();
        gone.iter().filter(|gone| **gone).count() as u64 == load(&world).evicted
    });
    assert!(gone.iter().skip(6).all(|gone| !gone), "{gone:?}");
    assert_eq!(load(&world).paused.values().sum::<u64>(), 0);
    assert!(load(&world).pauses["connections"] >= 1);
}

/// Handshakes that do not go on make room too, but only after those who wait with nothing to do.
#[test]
fn stuck_handshakes_make_room() {
    let upstream = Upstream::new();
    let limits = Limits { connections: 20, handshake: Duration::from_secs(60), ..Limits::default() };
    let world = World::limited(&[upstream.address], limits);
    let stuck: Vec<Client> = (0..20).map(|_| Client::plain(world.https)).collect();
    eventually("all places are taken", || world.traffic().listeners[0].live == 20);
    let start = Instant::now();
    // Sent away while nobody may be, then served.
    while !is_served(&world) {
        assert!(start.elapsed() < PATIENCE, "{:?}", load(&world));
    }
    assert!(load(&world).evicted >= 1);
    drop(stuck);
}
