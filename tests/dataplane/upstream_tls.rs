//! TLS towards instances, and names with several addresses.

use std::{
    io::Read,
    net::TcpListener,
    time::{Duration, Instant},
};

use gateway_user::snapshot::{
    http::Protocol,
    upstream::{Tls, Verify},
};

use crate::support::{Upstream, World, client::der};

const H1: &[u8] = b"http/1.1";
const H2: &[u8] = b"h2";

/// Sets what `test` is reached with.
fn secure(world: &mut World, server_name: Option<&str>, verify: Verify) {
    let server_name = server_name.map(str::to_owned);
    world.edit(|service| service.upstream.tls = Some(Tls { server_name, verify }));
}

fn authorities(world: &World) -> Verify {
    Verify::Authorities(der(&world.authority.pem))
}

#[test]
fn an_instance_is_asked_for_its_name_and_must_prove_it() {
    let mut world = World::new(&[]);
    let leaf = world.authority.leaf(&["model.example"]);
    let upstream = Upstream::tls("secure", &leaf, &[H2, H1]);
    world.edit(|service| {
        service.instances = crate::support::service("x", &[upstream.address]).instances;
    });
    let trusted = authorities(&world);
    secure(&mut world, Some("model.example"), trusted.clone());
    let reply = world.get("/api/predict/test/who");
    assert_eq!((reply.status, reply.text()), (200, "secure"));
    // The host's own name is 127.0.0.1, which the certificate does not say.
    secure(&mut world, None, trusted.clone());
    assert_eq!(world.get("/api/predict/test/who").refusal(), (502, "upstream_tls"));
    secure(&mut world, Some("other.example"), trusted.clone());
    assert_eq!(world.get("/api/predict/test/who").refusal(), (502, "upstream_tls"));
    // The host's trust store does not know a test's authority, and another authority is not this one.
    secure(&mut world, Some("model.example"), Verify::System);
    assert_eq!(world.get("/api/predict/test/who").refusal(), (502, "upstream_tls"));
    let stranger = Verify::Authorities(der(&harness::ca::Authority::new().pem));
    secure(&mut world, Some("model.example"), stranger);
    assert_eq!(world.get("/api/predict/test/who").refusal(), (502, "upstream_tls"));
    secure(&mut world, None, Verify::Insecure);
    assert_eq!(world.get("/api/predict/test/who").text(), "secure");
    let requests = upstream.requests();
    assert_eq!(requests, 2, "nothing was sent to whoever could not prove its name");
    secure(&mut world, Some("model.example"), trusted);
    assert_eq!(world.get("/api/predict/test/who").text(), "secure");
}

#[test]
fn http2_over_tls_is_agreed_on_or_not_spoken() {
    let mut world = World::new(&[]);
    let leaf = world.authority.leaf(&["model.example"]);
    let both = Upstream::tls("both", &leaf, &[H1, H2]);
    let silent = Upstream::tls("silent", &leaf, &[]);
    let trusted = authorities(&world);
    for (upstream, expected) in [(&both, 200), (&silent, 502)] {
        world.edit(|service| {
            service.instances = crate::support::service("x", &[upstream.address]).instances;
            service.protocol = Protocol::Http2;
        });
        secure(&mut world, Some("model.example"), trusted.clone());
        let reply = world.get("/api/predict/test/head");
        assert_eq!(reply.status, expected);
        if expected == 200 {
            assert!(reply.json()["uri"].as_str().unwrap().starts_with("https://"), "{}", reply.text());
        }
    }
    // A server without ALPN is good enough for HTTP/1.1.
    world.edit(|service| service.protocol = Protocol::Http);
    assert_eq!(world.get("/api/predict/test/who").text(), "silent");
}

#[test]
fn an_instance_that_stops_in_mid_handshake_costs_the_connect_deadline_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut world = World::new(&[listener.local_addr().unwrap()]);
    let held = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = [0; 16];
        stream.read_exact(&mut hello).unwrap();
        // It has the hello and says nothing until the other side gives up.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    });
    secure(&mut world, None, Verify::Insecure);
    let start = Instant::now();
    let reply = world.get("/api/predict/test/who");
    assert_eq!(reply.refusal(), (504, "upstream_connect_timeout"));
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
    held.join().unwrap();
}

#[test]
fn a_name_with_a_dead_address_is_reached_by_the_other() {
    let upstream = Upstream::new();
    let mut world = World::new(&[]);
    world.edit(|service| {
        service.instances = crate::support::service("x", &[upstream.address]).instances;
        // Both loopback addresses in most hosts' tables; only the IPv4 one is heard.
        service.instances[0].host = "localhost".into();
    });
    assert_eq!(world.get("/api/predict/test/who").text(), "test");
    world.edit(|service| service.instances[0].host = "nobody.invalid".into());
    assert_eq!(world.get("/api/predict/test/who").refusal(), (502, "upstream_resolve"));
}
