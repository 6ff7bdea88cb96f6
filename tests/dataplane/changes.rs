//! Edits under traffic, cuts, drains, binding, stops.

use std::{
    io::ErrorKind,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use gateway_user::{
    proxy::Limits,
    snapshot::{FilterPlan, Listener, Subscriber, filter::ListenAddress, http::Service},
};

use crate::support::{
    Client, FOR_EVER, TOKEN, Upstream, World, entry, eventually, free_port, listener, route, service,
};

fn request(world: &World, path: &str) -> String {
    format!("GET /api/predict/test{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n\r\n", world.http)
}

/// No deadline that ends a connection while a test looks on.
fn endless() -> Limits {
    Limits { keep_alive: FOR_EVER, drain: FOR_EVER, ..Limits::default() }
}

#[test]
fn edits_elsewhere_disturb_neither_streams_nor_requests() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    let mut streams: Vec<Client> =
        (0..10).map(|index| if index % 2 == 0 { world.plain() } else { world.tls(None) }).collect();
    for stream in &mut streams {
        stream.send(request(&world, "/events/60"));
        assert_eq!(stream.head().unwrap().status, 200);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, address, text) = (Arc::clone(&stop), world.http, request(&world, "/who"));
    let load = thread::spawn(move || {
        let mut client = Client::plain(address);
        let mut count = 0;
        while !flag.load(SeqCst) {
            assert_eq!(client.call(&text).status, 200);
            count += 1;
        }
        count
    });
    let accepted = world.proxy().traffic().listeners[0].accepted;
    for turn in 0..200_u64 {
        world.next.services.retain(|service| &*service.name == "test");
        world.next.services.push(Arc::new(service(&format!("other-{turn}"), &[upstream.address])));
        world.next.routes = vec![Arc::new(route(&format!("r{turn}"), "/r", &[("test", 1)]))];
        // Also the streams' own service: what runs keeps what it began with.
        let mut own = Service::clone(&world.next.services[0]);
        own.body_limit = 1000 + turn;
        world.next.services[0] = Arc::new(own);
        world.publish().unwrap();
    }
    stop.store(true, SeqCst);
    assert!(load.join().unwrap() > 10);
    for stream in &mut streams {
        let mut events = 0;
        while stream.chunk().unwrap().is_some() {
            events += 1;
        }
        assert_eq!(events, 60);
    }
    assert!(world.proxy().traffic().listeners[0].accepted <= accepted + 1);
}

#[test]
fn removal_cuts_live_streams_with_a_reset_at_once() {
    let upstream = Upstream::new();
    // Nothing ends by itself: not by a deadline, and not by an instance that has said everything.
    let mut world = World::limited(&[upstream.address], endless());
    world.edit(|service| service.timeouts.idle = FOR_EVER);
    let mut streams = [world.plain(), world.tls(None)];
    for stream in &mut streams {
        stream.send(request(&world, "/cued/1000"));
        stream.head().unwrap();
    }
    let mut idle = world.plain();
    assert_eq!(idle.call(&request(&world, "/who")).status, 200);
    world.filter(|listener| listener.entries = vec![entry("192.0.2.0/24", 0)]);
    for stream in streams.iter_mut().chain([&mut idle]) {
        assert_eq!(stream.ended(), Some(ErrorKind::ConnectionReset));
    }
    eventually("the instance works for nobody", || upstream.abandoned() == 2);
    assert_eq!(world.proxy().traffic().listeners[0].cut, 3);
}

#[test]
fn a_draining_entry_keeps_its_streams_and_takes_no_more() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    let mut stream = world.plain();
    stream.send(request(&world, "/events/1000"));
    stream.head().unwrap();
    world.filter(|listener| listener.entries[0].draining = true);
    for _ in 0..5 {
        assert!(stream.chunk().unwrap().is_some());
    }
    assert!(Client::is_reset(world.http));
    world.filter(|listener| listener.entries.clear());
    assert_eq!(stream.ended(), Some(ErrorKind::ConnectionReset));
    assert_eq!(world.proxy().traffic().listeners[0].refused["draining_new"], 1);
}

pub(crate) fn add_listener(world: &mut World, text: &str, id: u16, edit: impl FnOnce(&mut Listener)) {
    let (mut added, mut filter) = listener(text, id, Some(free_port()), None);
    edit(&mut added);
    filter.interface = added.interface.clone();
    filter.addresses = added.addresses.clone();
    filter.ports = added.http.into_iter().collect();
    world.next.listeners.push(Arc::new(added));
    let mut plan = FilterPlan::clone(&world.next.filter);
    plan.listeners.push(filter);
    world.next.filter = Arc::new(plan);
}

#[test]
fn listeners_come_and_go_without_touching_others() {
    let upstream = Upstream::new();
    let mut world = World::limited(&[upstream.address], endless());
    let mut stream = world.plain();
    stream.send(request(&world, "/events/40"));
    stream.head().unwrap();
    add_listener(&mut world, "second", 2, |_| {});
    world.publish().unwrap();
    let port = world.next.listeners[1].http.unwrap();
    let mut second = Client::plain(([127, 0, 0, 1], port).into());
    assert_eq!(second.call(&request(&world, "/who")).status, 200);
    world.next.listeners.truncate(1);
    world.publish().unwrap();
    // It had nothing to finish.
    assert_eq!(second.ended(), Some(ErrorKind::UnexpectedEof));
    assert_eq!(
        Client::connect(([127, 0, 0, 1], port).into()).err().map(|error| error.kind()),
        Some(ErrorKind::ConnectionRefused)
    );
    let mut events = 0;
    while stream.chunk().unwrap().is_some() {
        events += 1;
    }
    assert_eq!(events, 40);
}

#[test]
fn an_address_in_use_is_refused_by_name_and_nothing_changes() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap();
    let before = world.next.clone();
    add_listener(&mut world, "second", 2, |listener| listener.http = Some(taken.port()));
    let refusal = world.publish().unwrap_err();
    assert_eq!(refusal.code, "address_in_use");
    assert_eq!(refusal.value, Some(taken.to_string()));
    let me = std::process::id().to_string();
    assert!(
        refusal.remedy.as_ref().is_some_and(|remedy| remedy.contains(&me)),
        "the holder is named: {refusal}"
    );
    world.next = before;
    assert_eq!(world.get("/api/predict/test").status, 200);
    drop(held);
    add_listener(&mut world, "second", 2, |listener| listener.http = Some(taken.port()));
    world.publish().unwrap();
}

#[test]
fn two_listeners_cannot_have_one_address() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    let port = world.http.port();
    add_listener(&mut world, "second", 2, |listener| listener.http = Some(port));
    assert_eq!(world.publish().unwrap_err().code, "endpoint_taken");
}

#[test]
fn a_missing_address_is_refused_unless_it_may_come_later() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    let before = world.next.clone();
    let missing =
        |listener: &mut Listener| listener.addresses = vec![ListenAddress::Ip("192.0.2.77".parse().unwrap())];
    add_listener(&mut world, "second", 2, missing);
    let refusal = world.publish().unwrap_err();
    assert_eq!(refusal.code, "address_not_available");
    assert!(refusal.remedy.is_some_and(|remedy| remedy.contains("--wait-address")));
    world.next = before.clone();
    add_listener(&mut world, "second", 2, |listener| {
        missing(listener);
        listener.wait_address = true;
    });
    world.publish().unwrap();
    let status = world.proxy().listeners();
    assert_eq!((status[0].state, status[1].state), ("listening", "waiting"));
    assert!(status[1].error.as_ref().is_some_and(|error| error.contains("EADDRNOTAVAIL")), "{status:?}");
    assert!(!world.proxy().retry().unwrap());
    world.next = before;
    add_listener(&mut world, "third", 3, |listener| listener.interface = "nosuch0".into());
    assert_eq!(world.publish().unwrap_err().code, "interface_not_found");
}

#[test]
fn a_wildcard_and_an_exact_address_share_a_port_and_the_exact_one_wins() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    let port = world.http.port();
    add_listener(&mut world, "wild", 2, |listener| {
        listener.http = Some(port);
        listener.addresses = vec![ListenAddress::Any];
    });
    world.publish().unwrap();
    for address in ["127.0.0.1", "127.0.0.9"] {
        let mut client = Client::plain((address.parse::<std::net::Ipv4Addr>().unwrap(), port).into());
        let reply = client.call(&format!(
            "GET /api/predict/test HTTP/1.1\r\nHost: {address}\r\nAuthorization: {TOKEN}\r\n\r\n"
        ));
        assert_eq!(reply.status, 200, "{address}");
    }
    let report = world.proxy().traffic();
    assert_eq!((report.listeners[0].accepted, report.listeners[1].accepted), (1, 1));
}

#[test]
fn what_is_staged_answers_nobody_and_an_abandoned_stage_leaves_nothing() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    add_listener(&mut world, "second", 2, |_| {});
    let port = world.next.listeners[1].http.unwrap();
    let mut snapshot = world.next.clone();
    snapshot.generation = snapshot.generation.next();
    let snapshot = Arc::new(snapshot);
    world.proxy().stage(&snapshot).unwrap();
    let refused = || Client::connect(([127, 0, 0, 1], port).into()).err().map(|error| error.kind());
    assert_eq!(refused(), Some(ErrorKind::ConnectionRefused));
    world.proxy().abandon();
    assert!(TcpListener::bind(("127.0.0.1", port)).is_ok());
    assert!(world.proxy().commit().is_err());
    assert_eq!(world.get("/api/predict/test").status, 200);
}

#[test]
fn a_stop_lets_requests_finish_and_waits_for_nobody_else() {
    let upstream = Upstream::new();
    let mut world = World::limited(&[upstream.address], endless());
    let mut finishing = world.plain();
    finishing.send(request(&world, "/cued/3"));
    finishing.head().unwrap();
    let mut idle = world.plain();
    assert_eq!(idle.call(&request(&world, "/who")).status, 200);
    let proxy = world.proxy.take().unwrap();
    let stop = thread::spawn(move || proxy.shutdown(FOR_EVER));
    assert_eq!(idle.ended(), Some(ErrorKind::UnexpectedEof));
    for left in (0..3).rev() {
        // Only now does the instance say it.
        upstream.seen.cue.notify_one();
        assert_eq!(finishing.chunk().unwrap(), Some(format!("data: {left}\n\n").into_bytes()));
    }
    assert_eq!(finishing.chunk().unwrap(), None);
    assert_eq!(finishing.ended(), Some(ErrorKind::UnexpectedEof));
    eventually("it does not wait any more", || stop.is_finished());
    stop.join().unwrap();
    assert!(Client::connect(world.http).is_err());
}

#[test]
fn a_stop_cuts_what_is_not_finished_in_its_time() {
    let upstream = Upstream::new();
    let mut world = World::limited(&[upstream.address], endless());
    world.edit(|service| service.timeouts.idle = FOR_EVER);
    let mut endless = world.tls(None);
    endless.send(request(&world, "/cued/1000"));
    endless.head().unwrap();
    let proxy = world.proxy.take().unwrap();
    let start = Instant::now();
    proxy.shutdown(Duration::from_millis(1200));
    assert!(start.elapsed() >= Duration::from_millis(1200), "{:?}", start.elapsed());
    assert_eq!(endless.ended(), Some(ErrorKind::ConnectionReset));
}
