//! Every row of the order of checks (DESIGN §5), and that the order is that one.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use gateway_user::snapshot::{Listener, Snapshot, Subscriber as _, Visibility, http::Access};

use crate::support::{Client, Reply, TOKEN, Upstream, World, domain, free_port, name, route, service};

fn ask(world: &World, head: &str) -> Reply {
    world.plain().call(&format!("{head}\r\n\r\n"))
}

#[test]
fn the_token_opens_the_service_in_both_spellings_and_nothing_else_does() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    let host = world.http;
    for good in ["sesame", "Bearer sesame", "bearer sesame"] {
        let reply =
            ask(&world, &format!("GET /api/predict/test HTTP/1.1\r\nHost: {host}\r\nAuthorization: {good}"));
        assert_eq!((reply.status, reply.text()), (200, "True"), "{good}");
    }
    for bad in [
        "Authorization: wrong",
        "Authorization: Basic sesame",
        "X: y",
        "Authorization: sesame\r\nAuthorization: sesame",
    ] {
        let reply = ask(&world, &format!("GET /api/predict/test/v1 HTTP/1.1\r\nHost: {host}\r\n{bad}"));
        assert_eq!(reply.refusal(), (401, "unauthorized"), "{bad}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"gateway\""));
    }
    assert_eq!(upstream.requests(), 3);
}

#[test]
fn no_auth_needs_no_token() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    world.edit(|service| service.access = Access::Open);
    let reply = ask(&world, &format!("GET /api/predict/test HTTP/1.1\r\nHost: {}", world.http));
    assert_eq!(reply.status, 200);
}

#[test]
fn hosts_are_known_or_404() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    world.add_domain(domain("api.example.org"));
    world.add_domain(domain("*.wild.example.org"));
    world.publish().unwrap();
    let status = |host: &str| {
        ask(&world, &format!("GET /api/predict/test HTTP/1.1\r\nHost: {host}\r\nAuthorization: {TOKEN}"))
            .status
    };
    for known in [
        "127.0.0.1",
        "127.0.0.1:1",
        "localhost:8080",
        "api.example.org",
        "API.Example.Org.:99",
        "a.wild.example.org",
    ] {
        assert_eq!(status(known), 200, "{known}");
    }
    for unknown in
        ["127.0.0.2", "example.org", "wild.example.org", "a.b.wild.example.org", "xapi.example.org"]
    {
        let reply = ask(
            &world,
            &format!("GET /api/predict/test HTTP/1.1\r\nHost: {unknown}\r\nAuthorization: {TOKEN}"),
        );
        assert_eq!(reply.refusal(), (404, "unknown_host"), "{unknown}");
    }
}

#[test]
fn malformed_hosts_and_lengths_are_400() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    let host = world.http;
    for (head, reason) in [
        ("GET / HTTP/1.1".to_owned(), "bad_host"),
        (format!("GET / HTTP/1.1\r\nHost: {host}\r\nHost: {host}"), "bad_host"),
        ("GET / HTTP/1.1\r\nHost: a b".to_owned(), "bad_host"),
        (format!("GET http://other.example/ HTTP/1.1\r\nHost: {host}"), "bad_host"),
        (format!("GET /api/predict/test/../other HTTP/1.1\r\nHost: {host}"), "bad_path"),
        (format!("GET /api/predict/test/%2e%2E/other HTTP/1.1\r\nHost: {host}"), "bad_path"),
    ] {
        assert_eq!(ask(&world, &head).refusal(), (400, reason), "{head}");
    }
    // hyper answers these before any service sees them; what counts is that nothing gets through.
    for head in [
        format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nContent-Length: 2"),
        format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: -1"),
        format!("POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: gzip"),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nX : y"),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nX: y\r\n folded"),
    ] {
        assert_eq!(ask(&world, &head).status, 400, "{head}");
    }
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn unknown_services_and_services_not_exposed_here_look_the_same() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    let mut hidden = service("hidden", &[upstream.address]);
    hidden.visibility = Visibility::AnyVpc;
    world.next.services.push(Arc::new(hidden));
    world.add_route(route("to-hidden", "/hidden", &[("hidden", 1)]));
    let host = world.http;
    let strip = |reply: &Reply| {
        let mut json = reply.json();
        json["error"]["request_id"].take();
        (reply.status, json)
    };
    let mut answers = Vec::new();
    for path in ["/api/predict/nobody", "/api/predict/hidden", "/hidden", "/api/predict/", "/", "/x?y"] {
        let reply = ask(&world, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {TOKEN}"));
        assert_eq!(reply.refusal(), (404, "no_route"), "{path}");
        answers.push(strip(&reply));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
}

#[test]
fn the_order_is_host_route_token_length_rate_instance() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    world.edit(|service| {
        service.qps = Some(1);
        service.body_limit = 10;
        service.instances.clear();
    });
    let host = world.http;
    let call = |host: &str, path: &str, token: &str, length: usize| {
        let reply = ask(
            &world,
            &format!(
                "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\nContent-Length: {length}\r\nConnection: close"
            ),
        );
        let (status, reason) = reply.refusal();
        (status, reason.to_owned(), reply.header("retry-after").map(str::to_owned))
    };
    let (here, service) = (host.to_string(), "/api/predict/test");
    assert_eq!(call("elsewhere", "/nowhere", "wrong", 11).1, "unknown_host");
    assert_eq!(call(&here, "/nowhere", "wrong", 11).1, "no_route");
    assert_eq!(call(&here, service, "wrong", 11).1, "unauthorized");
    assert_eq!(call(&here, service, TOKEN, 11).1, "body_too_large");
    assert_eq!(call(&here, service, TOKEN, 0), (503, "no_instance".into(), None));
    assert_eq!(call(&here, service, TOKEN, 0), (429, "throttled".into(), Some("1".into())));
}

#[test]
fn instances_that_do_not_answer_are_502_and_504() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    world.edit(|service| service.timeouts.first_byte = std::time::Duration::from_millis(300));
    assert_eq!(world.get("/api/predict/test/hang").refusal(), (504, "upstream_first_byte_timeout"));
    assert_eq!(world.get("/api/predict/test/drop").refusal(), (502, "upstream_reset"));
    let nobody: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    world.edit(|service| service.instances[0].port = nobody.port());
    assert_eq!(world.get("/api/predict/test").refusal(), (502, "upstream_connect"));
    // A listening socket whose queue is full answers no SYN.
    world.edit(|service| service.instances[0].host = "host.invalid".into());
    assert_eq!(world.get("/api/predict/test").refusal(), (502, "upstream_resolve"));
}

#[test]
fn the_gateway_is_never_its_own_instance() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    let own = world.http;
    world.edit(|service| service.instances[0].port = own.port());
    assert_eq!(world.get("/api/predict/test").refusal(), (503, "upstream_loop"));
}

#[test]
fn https_only_domains_redirect_and_keep_path_and_query() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    let mut only = domain("api.example.org");
    only.https_only = true;
    world.add_domain(only);
    world.publish().unwrap();
    let reply =
        ask(&world, "POST /api/predict/test/a?b=c HTTP/1.1\r\nHost: api.example.org:80\r\nContent-Length: 0");
    let place = format!("https://api.example.org:{}/api/predict/test/a?b=c", world.https.port());
    assert_eq!((reply.status, reply.header("location")), (308, Some(place.as_str())));
    let mut tls = world.tls(Some("api.example.org"));
    let reply = tls.call(&format!(
        "GET /api/predict/test HTTP/1.1\r\nHost: api.example.org\r\nAuthorization: {TOKEN}\r\n\r\n"
    ));
    assert_eq!(reply.status, 200);
}

#[test]
fn http_1_0_without_host_reaches_the_listeners_own_services() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    let reply = ask(&world, &format!("GET /api/predict/test HTTP/1.0\r\nAuthorization: {TOKEN}"));
    assert_eq!((reply.status, reply.text()), (200, "True"));
}

#[test]
fn routes_by_host_prefix_method_and_header() {
    let upstream = Upstream::new();
    let other = Upstream::named("other", false);
    let mut world = World::new(&[upstream.address]);
    world.next.services.push(Arc::new(service("other", &[other.address])));
    world.add_route(route("all", "/", &[("test", 1)]));
    let mut posts = route("posts", "/who", &[("other", 1)]);
    posts.methods = vec!["POST".into()];
    world.add_route(posts);
    let mut canary = route("canary", "/", &[("other", 1)]);
    canary.headers = vec![("x-canary".into(), "1".into())];
    world.add_route(canary);
    let mut hosted = route("hosted", "/v1", &[("other", 1)]);
    hosted.host = Some("models.example.org".into());
    hosted.strip_prefix = true;
    world.add_route(hosted);
    let host = world.http;
    let who = |line: &str| ask(&world, &format!("{line}\r\nAuthorization: {TOKEN}"));
    assert_eq!(who(&format!("GET /who HTTP/1.1\r\nHost: {host}")).text(), "test");
    assert_eq!(who(&format!("POST /who HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0")).text(), "other");
    assert_eq!(who(&format!("GET /who HTTP/1.1\r\nHost: {host}\r\nX-Canary: 1")).text(), "other");
    assert_eq!(who("GET /v1/who HTTP/1.1\r\nHost: models.example.org").text(), "other");
    // A route's host answers to its routes, and to the built-in prefix only if it is a domain.
    assert_eq!(who("GET /api/predict/test/who HTTP/1.1\r\nHost: models.example.org").text(), "True");
    assert_eq!(who(&format!("GET /api/predict/test/who HTTP/1.1\r\nHost: {host}")).text(), "test");
}

#[test]
fn sources_that_are_not_allowed_are_reset_at_accept() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    world.filter(|listener| listener.entries.clear());
    assert!(Client::is_reset(world.http));
    world.filter(|listener| listener.open = false);
    assert!(Client::is_reset(world.http));
    let report = world.proxy().traffic();
    assert_eq!((report.listeners[0].refused["not_allowed"], report.listeners[0].refused["closed"]), (1, 1));
    assert_eq!(report.listeners[0].accepted, 0);
    assert_eq!(name("public").as_str(), report.listeners[0].name);
}

/// Before a change is committed, what it closes or deletes is silent; a change that is forgotten answers again.
#[test]
fn what_is_about_to_go_answers_nothing() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    let address = world.http;
    let knock =
        || TcpStream::connect_timeout(&address, Duration::from_millis(300)).map_err(|error| error.kind());
    let mut closed = world.next.clone();
    closed.listeners = vec![Arc::new(Listener { open: false, ..Listener::clone(&world.next.listeners[0]) })];
    let gone = Snapshot { listeners: Vec::new(), filter: Arc::default(), ..world.next.clone() };
    for next in [closed, gone].map(Arc::new) {
        let proxy = world.proxy();
        proxy.stage(&next).unwrap();
        knock().unwrap();
        proxy.hush();
        assert_eq!(knock().unwrap_err(), ErrorKind::TimedOut);
        proxy.abandon();
        knock().unwrap();
    }
}
