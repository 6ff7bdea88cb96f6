//! Access log, counters, metrics.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use gateway_user::{
    observe::{access::Target, metrics::Metrics},
    proxy::Config,
};

use crate::support::{PATIENCE, TOKEN, Upstream, World, config, eventually};

#[test]
fn every_request_is_one_json_line() {
    let upstream = Upstream::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let world =
        World::with(Config { access_log: Target::File(path.clone()), ..config() }, &[upstream.address]);
    let mut client = world.plain();
    let host = world.http;
    client.call(&format!(
        "POST /api/predict/test/echo?secret=1 HTTP/1.1\r\nHost: {host}\r\nAuthorization: {TOKEN}\r\nContent-Length: 5\r\n\r\nhello"
    ));
    client.call("GET /\"quoted\\ HTTP/1.1\r\nHost: nowhere.example\r\n\r\n");
    let reply = client.call(&format!("GET /api/predict/test HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let start = Instant::now();
    let lines = loop {
        let text = std::fs::read_to_string(&path).unwrap();
        if text.lines().count() == 3 {
            break text;
        }
        assert!(start.elapsed() < PATIENCE, "{text}");
        sleep(Duration::from_millis(20));
    };
    assert!(!lines.contains(TOKEN) && !lines.contains("secret"), "{lines}");
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = &lines[0];
    for (field, value) in [
        ("listener", "public".into()),
        ("client", "127.0.0.1".into()),
        ("client_port", client.local().port().into()),
        ("method", "POST".into()),
        ("host", "127.0.0.1".into()),
        ("path", "/api/predict/test/echo".into()),
        ("service", "test".into()),
        ("instance", upstream.address.to_string().into()),
        ("generation", 1.into()),
        ("status", 200.into()),
        ("bytes_in", 5.into()),
        ("bytes_out", 5.into()),
        ("reason", serde_json::Value::Null),
    ] {
        assert_eq!(first[field], value, "{field}: {first}");
    }
    assert!(
        first["duration_us"].as_u64() >= first["first_byte_us"].as_u64() && first["time"].as_str().is_some()
    );
    assert_eq!((lines[1]["status"].as_u64(), lines[1]["reason"].as_str()), (Some(400), Some("bad_path")));
    assert_eq!((lines[2]["status"].as_u64(), lines[2]["reason"].as_str()), (Some(401), Some("unauthorized")));
    assert_eq!(lines[2]["request_id"].as_str(), reply.header("x-request-id"));
}

/// Neither of them gets as far as the stages that know host and path: one has no end that is believed, the other a field
/// that is none.
#[test]
fn what_is_no_request_head_is_logged_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let world = World::with(Config { access_log: Target::File(path.clone()), ..config() }, &[]);
    for bad in ["GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost : a\r\n\r\n"] {
        let mut client = world.plain();
        let reply = client.call(bad);
        assert_eq!(reply.refusal(), (400, "bad_head"));
        let own = |line: &serde_json::Value| line["request_id"].as_str() == reply.header("x-request-id");
        let line = || {
            let text = std::fs::read_to_string(&path).unwrap();
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).find(own)
        };
        eventually("it is logged", || line().is_some());
        let line: serde_json::Value = line().unwrap();
        for (field, value) in [
            ("listener", "public".into()),
            ("generation", 1.into()),
            ("client_port", client.local().port().into()),
            ("status", serde_json::Value::from(400)),
            ("reason", "bad_head".into()),
        ] {
            assert_eq!(line[field], value, "{field}: {line}");
        }
    }
}

#[test]
fn counters_and_metrics_name_what_operators_named() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    for _ in 0..10 {
        assert_eq!(world.get("/api/predict/test").status, 200);
    }
    assert_eq!(
        world.plain().call(&format!("GET /api/predict/test HTTP/1.1\r\nHost: {}\r\n\r\n", world.http)).status,
        401
    );
    assert_eq!(world.get("/nowhere").status, 404);
    let _ = world.tls(None);
    sleep(Duration::from_millis(50));
    let report = world.proxy().traffic();
    let service = &report.services[0];
    assert_eq!((service.requests, service.classes["2xx"], service.classes["4xx"]), (11, 10, 1));
    assert_eq!((service.unauthorized, service.active, service.bytes_out), (1, 0, 40));
    assert!(service.p99_us >= service.p50_us && service.p50_us > 0 && service.mean_us > 0);
    let listener = &report.listeners[0];
    assert_eq!((listener.classes["4xx"], listener.handshakes, listener.accepted), (1, 1, 13));
    let text = Metrics::new(world.proxy().counters()).render();
    for line in [
        "gateway_requests_total{gateway=\"default\",service=\"test\",class=\"2xx\"} 10",
        "gateway_unauthorized_total{gateway=\"default\",service=\"test\"} 1",
        "gateway_own_answers_total{gateway=\"default\",listener=\"public\",class=\"4xx\"} 1",
        "gateway_request_duration_seconds_count{gateway=\"default\",service=\"test\"} 11",
        "gateway_connections_refused_total{gateway=\"default\",listener=\"public\",channel=\"public\",reason=\"not_allowed\"} 0",
        "gateway_generation 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}
