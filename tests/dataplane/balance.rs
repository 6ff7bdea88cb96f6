//! Which instance takes a request, connection reuse, dead instances.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use gateway_user::snapshot::upstream::{Balance, HashKey};

use crate::support::{TOKEN, Upstream, World, eventually, free_port, route, service};

/// A GET with the token and further header lines.
fn request(world: &World, path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n{more}\r\n", world.http)
}

fn count(world: &World, path: &str, requests: usize) -> BTreeMap<String, usize> {
    let mut client = world.plain();
    let mut seen = BTreeMap::new();
    for _ in 0..requests {
        let reply = client.call(&request(world, path, ""));
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
fn instances_take_turns_by_weight() {
    let upstreams = ["a", "b", "c"].map(|name| Upstream::named(name, false));
    let mut world = World::new(&upstreams.each_ref().map(|upstream| upstream.address));
    world.edit(|service| service.upstream.balance = Balance::RoundRobin);
    let seen = count(&world, "/api/predict/test/who", 90);
    assert_eq!(seen.values().collect::<Vec<_>>(), [&30, &30, &30]);
    world.edit(|service| service.instances[0].weight = 7);
    let seen = count(&world, "/api/predict/test/who", 90);
    assert_eq!(seen.values().collect::<Vec<_>>(), [&70, &10, &10]);
    let connections: usize = upstreams.iter().map(Upstream::connections).sum();
    assert!(connections <= 6, "an edit of weights keeps the connections: {connections}");
}

#[test]
fn without_load_the_least_loaded_are_shared_by_weight() {
    let upstreams = ["a", "b"].map(|name| Upstream::named(name, false));
    let mut world = World::new(&upstreams.each_ref().map(|upstream| upstream.address));
    world.edit(|service| service.instances[0].weight = 4);
    let seen = count(&world, "/api/predict/test/who", 500);
    assert!((330..470).contains(&seen["a"]), "{seen:?}");
}

#[test]
fn a_stream_weighs_on_its_instance() {
    let upstreams = ["a", "b"].map(|name| Upstream::named(name, false));
    let world = World::new(&upstreams.each_ref().map(|upstream| upstream.address));
    let mut streams: Vec<_> = (0..20)
        .map(|_| {
            let mut client = world.plain();
            client.send(request(&world, "/api/predict/test/events/1000", ""));
            assert_eq!(client.head().unwrap().status, 200);
            client
        })
        .collect();
    let active = |world: &World| -> Vec<u64> {
        world.traffic().services[0].instances.iter().map(|instance| instance.active).collect()
    };
    let spread = active(&world);
    assert_eq!(spread.iter().sum::<u64>(), 20);
    assert!(spread.iter().all(|active| (8..=12).contains(active)), "{spread:?}");
    streams.clear();
    eventually("places are given back", || active(&world) == [0, 0]);
}

#[test]
fn a_key_stays_with_its_instance_when_others_come_and_go() {
    let upstreams = ["a", "b", "c", "d"].map(|name| Upstream::named(name, false));
    let addresses = upstreams.each_ref().map(|upstream| upstream.address);
    let mut world = World::new(&addresses[..3]);
    world.edit(|service| {
        service.upstream.balance = Balance::Hash(HashKey::Header("x-session".to_owned()));
    });
    let map = |world: &World| -> Vec<String> {
        let mut client = world.plain();
        let mut ask = |key: usize| {
            let header = format!("x-session: {key}\r\n");
            client.call(&request(world, "/api/predict/test/who", &header)).text().to_owned()
        };
        (0..60).map(&mut ask).collect()
    };
    let before = map(&world);
    assert_eq!(map(&world), before, "from any worker");
    assert!(["a", "b", "c"].iter().all(|name| before.iter().any(|at| at == name)), "{before:?}");
    world.edit(|service| service.instances = crate::support::service("x", &addresses).instances);
    let with = map(&world);
    let moved = before.iter().zip(&with).filter(|(old, new)| old != new);
    let moved: Vec<_> = moved.map(|(_, new)| new.as_str()).collect();
    assert!(!moved.is_empty() && moved.len() < 30 && moved.iter().all(|new| *new == "d"), "{moved:?}");
    world.edit(|service| drop(service.instances.pop()));
    assert_eq!(map(&world), before);
}

#[test]
fn connections_to_an_instance_are_kept_and_shared() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    for _ in 0..5 {
        count(&world, "/api/predict/test/connection", 20);
    }
    assert!(upstream.connections() <= 2, "one per worker: {}", upstream.connections());
    // A client has its last byte a moment before the request is counted.
    eventually("every request is counted", || world.traffic().services[0].requests == 100);
    assert_eq!(world.traffic().services[0].connects, upstream.connections() as u64);
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
