//! Weights, round robin, connection reuse, dead instances.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use crate::support::{TOKEN, Upstream, World, free_port, route, service};

fn count(world: &World, path: &str, requests: usize) -> BTreeMap<String, usize> {
    let mut client = world.plain();
    let mut seen = BTreeMap::new();
    for _ in 0..requests {
        let reply = client
            .call(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n\r\n", world.http));
        assert_eq!(reply.status, 200, "{reply:?}");
        *seen.entry(reply.text().to_owned()).or_insert(0) += 1;
    }
    seen
}

#[test]
fn weights_hold_exactly_over_their_sum() {
    let upstreams = ["a", "b", "c"].map(|name| Upstream::named(name, false));
    let mut world = World::new(&[upstreams[0].address]);
    for (name, upstream) in ["sa", "sb", "sc"].iter().zip(&upstreams) {
        world.next.services.push(Arc::new(service(name, &[upstream.address])));
    }
    world.add_route(route("split", "/who", &[("sa", 90), ("sb", 10), ("sc", 0)]));
    assert_eq!(count(&world, "/who", 200), [("a".to_owned(), 180), ("b".to_owned(), 20)].into());
}

#[test]
fn instances_take_turns() {
    let upstreams = ["a", "b", "c"].map(|name| Upstream::named(name, false));
    let world = World::new(&upstreams.each_ref().map(|upstream| upstream.address));
    let seen = count(&world, "/api/predict/test/who", 90);
    assert_eq!(seen.values().collect::<Vec<_>>(), [&30, &30, &30]);
}

#[test]
fn connections_to_an_instance_are_kept_and_shared() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    for _ in 0..5 {
        count(&world, "/api/predict/test/connection", 20);
    }
    assert!(upstream.connections() <= 2, "one per worker: {}", upstream.connections());
    let report = world.proxy().traffic();
    assert_eq!(
        (report.services[0].requests, report.services[0].connects),
        (100, upstream.connections() as u64)
    );
}

#[test]
fn a_dead_instance_costs_nothing_while_another_lives() {
    let upstream = Upstream::new();
    let dead: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let world = World::new(&[dead, upstream.address]);
    assert_eq!(count(&world, "/api/predict/test/who", 50), [("test".to_owned(), 50)].into());
}

#[test]
fn an_instance_that_comes_back_is_used_again_and_old_connections_hurt_nobody() {
    let first = Upstream::new();
    let world = World::new(&[first.address]);
    count(&world, "/api/predict/test/who", 5);
    // It closes the connection after every answer: the pool must notice each time.
    for _ in 0..30 {
        assert_eq!(world.get("/api/predict/test/close").text(), "closing");
    }
}
