//! Certificate choice by SNI, hot change, 421.

use gateway_user::{
    proxy::{Config, Limits, UnknownSni},
    snapshot::{Exposure, Visibility},
};

use crate::support::{
    Client, FOR_EVER, Reply, TOKEN, Upstream, World, client::der, config, domain, eventually, name,
};

fn ask(client: &mut Client, host: &str) -> Reply {
    client.call(&format!("GET /api/predict/test HTTP/1.1\r\nHost: {host}\r\nAuthorization: {TOKEN}\r\n\r\n"))
}

fn bind(world: &mut World, host: &str, certificate: &str) {
    let mut bound = domain(host);
    bound.certificate = Some(name(certificate));
    world.add_domain(bound);
}

#[test]
fn exact_beats_wildcard_beats_default() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    let exact = world.certificate("exact", &["a.example.org"]);
    let wild = world.certificate("wild", &["*.example.org"]);
    bind(&mut world, "a.example.org", "exact");
    bind(&mut world, "*.example.org", "wild");
    world.publish().unwrap();
    let shown = |sni: Option<&str>| world.tls(sni).certificate;
    let leaf = |pem: &str| der(pem)[0].clone();
    assert_eq!(shown(Some("a.example.org")), leaf(&exact.certificate));
    assert_eq!(shown(Some("A.Example.ORG")), leaf(&exact.certificate));
    assert_eq!(shown(Some("b.example.org")), leaf(&wild.certificate));
    let default = shown(None);
    assert!(!default.is_empty() && default != leaf(&wild.certificate));
    assert_eq!(shown(Some("other.example")), default);
    assert_eq!(shown(Some("a.b.example.org")), default, "a wildcard is one label");
    assert_eq!(ask(&mut world.tls(Some("b.example.org")), "b.example.org").status, 200);
    assert_eq!(ask(&mut world.tls(None), "127.0.0.1").status, 200);
    assert_eq!(ask(&mut world.tls(Some("other.example")), "other.example").refusal(), (404, "unknown_host"));
}

#[test]
fn a_new_certificate_shows_at_the_next_handshake_and_disturbs_nobody() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    let first = world.certificate("cert", &["a.example.org"]);
    bind(&mut world, "a.example.org", "cert");
    world.publish().unwrap();
    let mut open = world.tls(Some("a.example.org"));
    assert_eq!(open.certificate, der(&first.certificate)[0]);
    assert_eq!(ask(&mut open, "a.example.org").status, 200);
    let second = world.certificate("cert", &["a.example.org"]);
    world.publish().unwrap();
    assert_eq!(world.tls(Some("a.example.org")).certificate, der(&second.certificate)[0]);
    assert_eq!(ask(&mut open, "a.example.org").status, 200);
}

#[test]
fn a_host_that_the_certificate_does_not_cover_is_misdirected() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    world.certificate("pair", &["a.example.org", "b.example.org"]);
    world.certificate("single", &["c.example.org"]);
    for host in ["a.example.org", "b.example.org"] {
        bind(&mut world, host, "pair");
    }
    bind(&mut world, "c.example.org", "single");
    world.publish().unwrap();
    let mut client = world.tls(Some("a.example.org"));
    assert_eq!(ask(&mut client, "b.example.org").status, 200, "covered by the same certificate");
    assert_eq!(ask(&mut client, "c.example.org").refusal(), (421, "misdirected"));
    assert_eq!(ask(&mut client, "127.0.0.1").refusal(), (421, "misdirected"));
    assert_eq!(ask(&mut client, "a.example.org:444").status, 200);
    assert_eq!(
        ask(&mut world.tls(None), "c.example.org").status,
        200,
        "who names no server is not misdirected"
    );
}

#[test]
fn a_domain_of_another_exposure_is_unknown_here() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    let certificate = world.certificate("cert", &["a.example.org"]);
    let mut private = domain("a.example.org");
    private.visibility = Visibility::Vpc(name("blue"));
    private.certificate = Some(name("cert"));
    world.add_domain(private);
    world.publish().unwrap();
    let mut client = world.tls(Some("a.example.org"));
    assert_ne!(client.certificate, der(&certificate.certificate)[0]);
    assert_eq!(ask(&mut client, "a.example.org").refusal(), (404, "unknown_host"));

    let mut listener = (*world.next.listeners[0]).clone();
    listener.exposure = Exposure::Vpc(name("blue"));
    world.next.listeners[0] = listener.into();
    world.publish().unwrap();
    assert_eq!(world.tls(Some("a.example.org")).certificate, der(&certificate.certificate)[0]);
}

#[test]
fn unknown_names_can_be_rejected() {
    let upstream = Upstream::new();
    let world = World::with(Config { unknown_sni: UnknownSni::Reject, ..config() }, &[upstream.address]);
    assert!(Client::tls(world.https, Some("other.example"), &[]).is_err());
    assert!(Client::tls(world.https, None, &[]).is_ok());
}

#[test]
fn garbage_on_the_tls_port_is_counted_and_closed() {
    let upstream = Upstream::new();
    let limits = Limits { handshake: FOR_EVER, ..Limits::default() };
    let world = World::limited(&[upstream.address], limits);
    let mut client = Client::plain(world.https);
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert!(client.ended().is_some());
    eventually("it is counted", || world.traffic().listeners[0].handshake_failures == 1);
}

#[test]
fn the_first_suite_is_aes_128() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    let mut tcp = std::net::TcpStream::connect(world.https).unwrap();
    let config = crate::support::client::tls_config();
    let server = rustls::pki_types::ServerName::try_from("a.example.org").unwrap();
    let mut connection = rustls::ClientConnection::new(std::sync::Arc::new(config), server).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut tcp).unwrap();
    }
    let suite = connection.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
}
