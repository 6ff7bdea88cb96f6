//! Behind balancers and other proxies: who the client is then, and who is not asked.

use std::{
    io,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use gateway_user::{
    observe::{access::Target, metrics::Metrics},
    proxy::{Config, Limits},
};

use crate::support::{Client, PATIENCE, TOKEN, Upstream, World, config, eventually};

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";
/// The same in version 2, with a TLV that nobody knows.
const BLOCK: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\xc0\0\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb\xea\0\x01x";
/// A balancer's own health check.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn head(world: &World, more: &str) -> String {
    format!(
        "GET /api/predict/test/head HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n{more}\r\n",
        world.http
    )
}

/// What the instance was told of the way.
fn told(reply: &crate::support::Reply, name: &str) -> String {
    assert_eq!(reply.status, 200, "{reply:?}");
    let headers: Vec<(String, String)> = serde_json::from_value(reply.json()["headers"].clone()).unwrap();
    headers.into_iter().find(|(key, _)| key == name).map(|(_, value)| value).unwrap_or_default()
}

fn behind(upstream: &Upstream, config: Config) -> World {
    let mut world = World::with(config, &[upstream.address]);
    world.edit_listener(|listener| listener.proxy_protocol = true);
    world
}

fn lines(path: &Path, count: usize) -> Vec<serde_json::Value> {
    let start = Instant::now();
    loop {
        let text = std::fs::read_to_string(path).unwrap();
        if text.lines().count() == count {
            return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        }
        assert!(start.elapsed() < PATIENCE, "{text}");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_declared_source_is_the_client() {
    let upstream = Upstream::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let world = behind(&upstream, Config { access_log: Target::File(path.clone()), ..config() });
    let request = head(&world, "");
    for header in [LINE, BLOCK] {
        // In one segment with the request: not a byte of it may be lost.
        let mut client = world.plain();
        client.send([header, request.as_bytes()].concat());
        let reply = client.reply(false);
        assert_eq!(told(&reply, "x-forwarded-for"), "192.0.2.7");
        assert_eq!(told(&reply, "x-real-ip"), "192.0.2.7");
        assert_eq!(told(&reply, "x-forwarded-port"), "443");
        assert!(told(&reply, "forwarded").starts_with("for=192.0.2.7;"));
        // The connection stays the client's.
        assert_eq!(told(&client.call(&request), "x-forwarded-for"), "192.0.2.7");
        // Before TLS.
        let mut client = Client::tls_announced(world.https, header, None, &[]).unwrap();
        assert_eq!(told(&client.call(&request), "x-forwarded-for"), "192.0.2.7");
    }
    let lines = lines(&path, 6);
    for line in &lines {
        let seen = (line["client"].as_str(), line["client_port"].as_u64(), line["peer"].as_str());
        assert_eq!(seen, (Some("192.0.2.7"), Some(56324), Some("127.0.0.1")), "{line}");
    }
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let upstream = Upstream::new();
    let world = behind(&upstream, config());
    for header in [LINE, BLOCK] {
        let mut client = world.plain();
        for byte in header {
            client.send([*byte]);
            // Long enough for the other side to see this byte alone, mostly.
            sleep(Duration::from_millis(1));
        }
        assert_eq!(told(&client.call(&head(&world, "")), "x-forwarded-for"), "192.0.2.7");
    }
}

#[test]
fn a_balancer_may_speak_for_itself() {
    let upstream = Upstream::new();
    let world = behind(&upstream, config());
    for header in [LOCAL, b"PROXY UNKNOWN\r\n"] {
        let mut client = world.plain();
        client.send([header, head(&world, "").as_bytes()].concat());
        assert_eq!(told(&client.reply(false), "x-forwarded-for"), "127.0.0.1");
    }
}

#[test]
fn without_the_header_nothing_is_served() {
    let upstream = Upstream::new();
    let limits = Limits { handshake: Duration::from_millis(300), ..Limits::default() };
    let world = behind(&upstream, Config { limits, ..config() });
    let failures = || world.traffic().listeners[0].handshake_failures;
    let refused = |reason| world.traffic().listeners[0].refused[reason];
    let closed = |end| matches!(end, Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset));
    let garbage =
        [head(&world, "").into_bytes(), b"PROXY TCP4 1.2.3.4\r\n".to_vec(), b"\x16\x03\x01\x02".to_vec()];
    for (count, bytes) in garbage.iter().enumerate() {
        let mut client = world.plain();
        client.send(bytes);
        assert!(closed(client.ended()), "{}", bytes.escape_ascii());
        eventually("it is counted", || failures() == count as u64 + 1);
    }
    let garbage = garbage.len() as u64;
    assert_eq!((refused("proxy_header"), refused("proxy_header_late")), (garbage, 0));
    // One that stops in the middle is not waited for, and one that says nothing neither, on either port.
    let mut late = 0;
    for address in [world.http, world.https] {
        for bytes in [&LINE[..20], &BLOCK[..20], b""] {
            let mut client = Client::plain(address);
            client.send(bytes);
            assert!(closed(client.ended()), "{}", bytes.escape_ascii());
            late += 1;
            eventually("it is counted", || refused("proxy_header_late") == late);
        }
    }
    assert_eq!((refused("proxy_header"), failures()), (garbage, garbage + late));
    assert_eq!(upstream.requests(), 0);
    // A probe that only opens the port is no failure.
    drop(world.plain());
    sleep(Duration::from_millis(100));
    assert_eq!(failures(), garbage + late);
    // One that goes away in the middle is.
    let mut client = world.plain();
    client.send(&LINE[..20]);
    drop(client);
    eventually("it is counted", || refused("proxy_header") == garbage + 1);
    // With the header only the handshake is late, and that is another matter.
    let mut client = Client::plain(world.https);
    client.send(LINE);
    assert!(closed(client.ended()));
    eventually("it is counted", || failures() == garbage + late + 2);
    assert_eq!(refused("proxy_header_late"), late);
    let text = Metrics::new(world.proxy.as_ref().unwrap().counters()).render();
    let labels = r#"gateway="default",listener="public",channel="public",reason="proxy_header_late""#;
    let line = format!("gateway_connections_refused_total{{{labels}}} {late}");
    assert!(text.lines().any(|found| found == line), "{text}");
}

#[test]
fn a_listener_without_the_setting_knows_no_header() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    let mut client = world.plain();
    client.send([LINE, head(&world, "").as_bytes()].concat());
    assert_eq!(client.reply(false).status, 400);
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn only_forwarders_are_believed_and_the_allowlist_never_asks_them() {
    let upstream = Upstream::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let mut world =
        World::with(Config { access_log: Target::File(path.clone()), ..config() }, &[upstream.address]);
    let fields = "X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: out.example\r\n\
                  X-Forwarded-Prefix: /api\r\nVia: 2 edge\r\n";
    let ask = |world: &World| world.plain().call(&head(world, fields));
    assert_eq!(told(&ask(&world), "x-forwarded-for"), "127.0.0.1");
    world.edit_listener(|listener| listener.forwarders = ["127.0.0.0/8".parse().unwrap()].into());
    let reply = ask(&world);
    for (name, value) in [
        ("x-forwarded-for", "6.6.6.6, 192.0.2.7, 127.0.0.1"),
        ("x-real-ip", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "out.example"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-prefix", "/api"),
    ] {
        assert_eq!(told(&reply, name), value, "{name}");
    }
    let own = format!("for=127.0.0.1;host=\"{}\";proto=http", world.http);
    let chain = format!("for=6.6.6.6, for=192.0.2.7;host=out.example;proto=https, {own}");
    assert_eq!(told(&reply, "forwarded"), chain);
    // Two workers write: the generation tells which line is whose.
    let mut lines = lines(&path, 2);
    lines.sort_by_key(|line| line["generation"].as_u64());
    assert_eq!((lines[0]["client"].as_str(), lines[0]["peer"].as_str()), (Some("127.0.0.1"), None));
    assert_eq!(
        (lines[1]["client"].as_str(), lines[1]["peer"].as_str()),
        (Some("192.0.2.7"), Some("127.0.0.1"))
    );
    assert_eq!(lines[1]["client_port"], serde_json::Value::Null);
    // A field cannot open the port: the list names the address that is claimed, and the peer is not on it.
    world.filter(|listener| listener.entries = vec![crate::support::entry("192.0.2.0/24", 0)]);
    assert!(Client::is_reset(world.http));
}
