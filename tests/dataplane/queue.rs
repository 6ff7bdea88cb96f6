//! Bounds on requests in flight, and who waits for a free place.

use std::{
    sync::atomic::Ordering::SeqCst,
    thread,
    time::{Duration, Instant},
};

use crate::support::{Client, FOR_EVER, TOKEN, Upstream, World, eventually};

fn bounded(world: &mut World, in_flight: u32, queue: u32, wait: Duration) {
    world.edit(|service| {
        service.upstream.bounds.in_flight = Some(in_flight);
        service.upstream.bounds.queue = queue;
        service.upstream.bounds.queue_wait = wait;
    });
}

fn send(world: &World, path: &str) -> Client {
    let mut client = world.plain();
    client.send(format!(
        "GET /api/predict/test{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n\r\n",
        world.http
    ));
    client
}

fn waiting(world: &World) -> u64 {
    world.traffic().services[0].queue.waiting
}

#[test]
fn one_waits_and_the_next_is_450() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    bounded(&mut world, 1, 1, Duration::from_secs(10));
    let mut first = send(&world, "/slow-start");
    eventually("the first is there", || upstream.requests() == 1);
    let mut second = send(&world, "/who");
    eventually("the second waits", || waiting(&world) == 1);
    assert_eq!(world.get("/api/predict/test/who").refusal(), (450, "queue_full"));
    assert_eq!(first.reply(false).text(), "late");
    assert_eq!(second.reply(false).text(), "test");
    let report = world.traffic().services[0].clone();
    assert_eq!((report.queue.waiting, report.queue.waited, report.queue.refused), (0, 2, 1));
    assert_eq!(upstream.seen.most.load(SeqCst), 1);
}

#[test]
fn a_wait_ends_and_a_queue_of_none_is_full() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    bounded(&mut world, 1, 5, Duration::from_millis(300));
    let hanging = send(&world, "/hang");
    eventually("the first is there", || upstream.requests() == 1);
    let start = Instant::now();
    assert_eq!(world.get("/api/predict/test/who").refusal(), (450, "queue_full"));
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    bounded(&mut world, 1, 0, Duration::from_secs(10));
    assert_eq!(world.get("/api/predict/test/who").refusal(), (450, "queue_full"));
    drop(hanging);
    eventually("the place is free again", || world.get("/api/predict/test/who").status == 200);
}

#[test]
fn a_waiter_whose_client_is_gone_leaves_at_once() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    bounded(&mut world, 1, 5, FOR_EVER);
    world.edit(|service| service.timeouts.first_byte = FOR_EVER);
    let hanging = send(&world, "/hang");
    eventually("the first is there", || upstream.requests() == 1);
    let gone = [send(&world, "/who"), send(&world, "/who")];
    eventually("two wait", || waiting(&world) == 2);
    let mut stays = send(&world, "/who");
    eventually("three wait", || waiting(&world) == 3);
    drop(gone);
    eventually("their places are given up", || waiting(&world) == 1);
    assert_eq!(upstream.requests(), 1, "and nobody asked the instance for them");
    drop(hanging);
    assert_eq!(stays.reply(false).text(), "test", "the one behind them is next");
    assert_eq!(upstream.requests(), 2);
}

#[test]
fn a_bound_is_one_for_all_workers_and_everybody_gets_a_turn() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    bounded(&mut world, 3, 64, Duration::from_secs(20));
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert_eq!(world.get("/api/predict/test/who").text(), "test");
                }
            });
        }
    });
    assert!(upstream.seen.most.load(SeqCst) <= 3);
    assert_eq!(upstream.requests(), 240);
    assert_eq!(waiting(&world), 0);
}

#[test]
fn a_wider_bound_lets_those_in_who_wait() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    bounded(&mut world, 1, 5, Duration::from_secs(20));
    let hanging = send(&world, "/hang");
    eventually("the first is there", || upstream.requests() == 1);
    let mut second = send(&world, "/who");
    eventually("the second waits", || waiting(&world) == 1);
    // What waits is bound to the settings that it came with; what comes now is not.
    bounded(&mut world, 2, 5, Duration::from_secs(20));
    drop(hanging);
    assert_eq!(second.reply(false).text(), "test");
    assert_eq!(world.get("/api/predict/test/who").text(), "test");
}
