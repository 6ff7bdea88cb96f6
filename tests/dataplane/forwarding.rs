//! What an instance sees of a request, and a client of an answer.

use std::net::Ipv6Addr;

use gateway_user::snapshot::filter::ListenAddress;

use crate::support::{TOKEN, Upstream, World, entry, route};

fn seen(world: &World, request: &str) -> (serde_json::Value, Vec<(String, String)>) {
    let reply = world.plain().call(request);
    assert_eq!(reply.status, 200, "{reply:?}");
    let json = reply.json();
    let mut headers: Vec<(String, String)> = serde_json::from_value(json["headers"].clone()).unwrap();
    headers.sort();
    (json, headers)
}

#[test]
fn the_prefix_is_stripped_and_the_query_kept() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    let mut stripped = route("stripped", "/models/v1", &[("test", 1)]);
    stripped.strip_prefix = true;
    world.add_route(stripped);
    world.add_route(route("kept", "/head", &[("test", 1)]));
    let host = world.http;
    for (path, uri) in [
        ("/api/predict/test/head?a=b&c", "/head?a=b&c"),
        ("/models/v1/head", "/head"),
        ("/head?x=%2F..%2F", "/head?x=%2F..%2F"),
    ] {
        let (json, _) =
            seen(&world, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {TOKEN}\r\n\r\n"));
        assert_eq!(json["uri"], uri);
    }
    // Nothing behind the prefix is the root, also with a query.
    for path in ["/api/predict/test", "/api/predict/test/", "/api/predict/test?q", "/models/v1"] {
        let reply = world.get(path);
        assert_eq!((reply.status, reply.text()), (200, "True"), "{path}");
    }
}

#[test]
fn forwarding_fields_are_the_gateways_own() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    let host = world.http.to_string();
    let (_, headers) = seen(
        &world,
        &format!(
            "GET /api/predict/test/head HTTP/1.1\r\nHost: {host}\r\nAuthorization: {TOKEN}\r\nX-Forwarded-For: 6.6.6.6\r\n\
             X-Forwarded-Proto: gopher\r\nX_Forwarded_For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Request-Id: mine\r\n\
             Connection: x-hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Connection: 1\r\nTE: gzip\r\nUser-Agent: me\r\n\r\n"
        ),
    );
    let id = headers.iter().find(|(name, _)| name == "x-request-id").map(|(_, id)| id.clone()).unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let forwarded = format!("for=127.0.0.1;host=\"{host}\";proto=http");
    let port = world.http.port().to_string();
    let expected = [
        ("forwarded", forwarded.as_str()),
        ("host", &host),
        ("user-agent", "me"),
        ("via", "1.1 gateway"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", &host),
        ("x-forwarded-port", &port),
        ("x-forwarded-proto", "http"),
        ("x-real-ip", "127.0.0.1"),
        ("x-request-id", &id),
    ];
    let expected: Vec<_> =
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(headers, expected);
}

#[test]
fn the_token_is_stripped_unless_the_service_wants_it() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    let request = format!(
        "GET /api/predict/test/head HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n",
        world.http
    );
    let token = |world: &World| seen(world, &request).1.into_iter().find(|(name, _)| name == "authorization");
    assert_eq!(token(&world), None);
    world.edit(|service| service.forward_token = true);
    assert_eq!(token(&world), Some(("authorization".into(), format!("Bearer {TOKEN}"))));
}

#[test]
fn answers_pass_unchanged_but_for_hop_by_hop_fields() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    for status in [201, 204, 304, 400, 404, 429, 500, 503] {
        let reply = world.get(&format!("/api/predict/test/status/{status}"));
        assert_eq!(reply.status, status);
        assert_eq!((reply.header("x-gateway-error"), reply.header("x-request-id")), (None, None));
    }
    let mut client = world.plain();
    let request = |path: &str| {
        format!(
            "GET /api/predict/test{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n\r\n",
            world.http
        )
    };
    let reply = client.call(&request("/close"));
    assert_eq!((reply.text(), reply.header("connection"), reply.header("x-hop")), ("closing", None, None));
    assert_eq!(client.call(&request("/who")).text(), "test", "the client's connection is not the instance's");
}

#[test]
fn head_has_the_length_and_no_body() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    let mut client = world.plain();
    for path in ["/bytes/77", "/nothing-special"] {
        let reply = client.call(&format!(
            "HEAD /api/predict/test{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n\r\n",
            world.http
        ));
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-length"), Some(if path == "/bytes/77" { "77" } else { "4" }));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    let mut client = world.plain();
    let one = |path: &str| {
        format!(
            "GET /api/predict/test{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n\r\n",
            world.http
        )
    };
    client.send(format!("{}{}{}", one("/slow-start"), one("/who"), one("/x")));
    let texts: Vec<String> = (0..3).map(|_| client.reply(false).text().to_owned()).collect();
    assert_eq!(texts, ["late", "test", "True"]);
}

/// HTTP/1.1 to the instance needs a Host (RFC 9112 §3.2): the listener's address, and of IPv6 in brackets.
#[test]
fn an_instance_is_told_the_address_that_http_1_0_without_host_came_to() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    let told = |world: &World| {
        let head = format!("GET /api/predict/test/head HTTP/1.0\r\nAuthorization: {TOKEN}\r\n\r\n");
        let headers = seen(world, &head).1;
        ["host", "forwarded"].map(|name| {
            headers
                .iter()
                .find(|(other, _)| other == name)
                .map(|(_, value)| value.clone())
                .unwrap_or_default()
        })
    };
    assert_eq!(told(&world), ["127.0.0.1", "for=127.0.0.1;host=127.0.0.1;proto=http"]);

    let loopback = [ListenAddress::Ip(Ipv6Addr::LOCALHOST.into())];
    world.filter(|filter| {
        filter.addresses = loopback.to_vec();
        filter.entries = vec![entry("::1/128", 0)];
    });
    world.edit_listener(|listener| listener.addresses = loopback.to_vec());
    world.http = (Ipv6Addr::LOCALHOST, world.http.port()).into();
    assert_eq!(told(&world), ["[::1]", "for=\"[::1]\";host=\"[::1]\";proto=http"]);
}
