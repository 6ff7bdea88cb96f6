//! Content codings: answers compressed where the service asks for it, request bodies decompressed within bounds.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress};
use gateway_user::snapshot::http::Encoding;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::support::{Client, TOKEN, Upstream, World, eventually};

const ALL: [Encoding; 3] = [Encoding::Gzip, Encoding::Brotli, Encoding::Zstd];

fn ask(world: &World, path: &str, more: &str) -> String {
    let host = world.http;
    format!("GET /api/predict/test{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {TOKEN}\r\n{more}\r\n")
}

fn plain(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap(),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut plain).unwrap(),
        "zstd" => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut plain).unwrap(),
        other => panic!("{other}"),
    };
    plain
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn compressing(upstream: &Upstream) -> World {
    let mut world = World::new(&[upstream.address]);
    world.edit(|service| service.compression = ALL.to_vec());
    world
}

#[test]
fn an_answer_is_compressed_as_the_client_wants_it() {
    let upstream = Upstream::new();
    let world = compressing(&upstream);
    let mut client = world.plain();
    let whole = "{\"a\":1}\n".repeat(12_500);
    for (accept, coding) in
        [("gzip", "gzip"), ("br;q=0.9, gzip;q=0.1", "br"), ("zstd, br;q=0.5", "zstd"), ("*", "gzip")]
    {
        let reply = client.call(&ask(&world, "/json/100000", &format!("Accept-Encoding: {accept}\r\n")));
        assert_eq!(reply.status, 200);
        for (name, value) in [
            ("content-encoding", Some(coding)),
            ("vary", Some("accept-encoding")),
            ("etag", Some("W/\"v1\"")),
            ("content-type", Some("application/json")),
            ("content-length", None),
            ("accept-ranges", None),
        ] {
            assert_eq!(reply.header(name), value, "{accept}: {name}");
        }
        assert!(reply.body.len() < 5000, "{}", reply.body.len());
        assert_eq!(plain(coding, &reply.body), whole.as_bytes());
    }
    // What another client would get compressed says so; nothing else of it is changed.
    let reply = client.call(&ask(&world, "/json/100000", ""));
    assert_eq!((reply.header("vary"), reply.header("content-encoding")), (Some("accept-encoding"), None));
    assert_eq!((reply.header("etag"), reply.text()), (Some("\"v1\""), &*whole));
    // Small ones, and what is no text, pass as they are.
    for path in ["/json/800", "/bytes/100000"] {
        let reply = client.call(&ask(&world, path, "Accept-Encoding: gzip\r\n"));
        assert_eq!((reply.header("vary"), reply.header("content-encoding")), (None, None), "{path}");
    }
    let head = ask(&world, "/json/100000", "Accept-Encoding: gzip\r\n").replacen("GET", "HEAD", 1);
    assert_eq!(client.call(&head).header("content-length"), Some("100000"));
    assert_eq!(upstream.connections(), 1, "a compressed answer leaves its connection whole");
}

#[test]
fn without_the_setting_nothing_is_compressed() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    let reply = world.plain().call(&ask(&world, "/json/100000", "Accept-Encoding: gzip\r\n"));
    assert_eq!((reply.header("vary"), reply.header("content-encoding")), (None, None));
}

/// Events that come so far, from the compressed bytes that came so far.
struct Events {
    inflate: Decompress,
    text: String,
    head: usize,
}

impl Events {
    fn new() -> Self {
        Self { inflate: Decompress::new(false), text: String::new(), head: 10 }
    }

    fn feed(&mut self, mut bytes: &[u8]) -> usize {
        // The header of gzip: ten bytes, as the gateway writes it.
        let head = self.head.min(bytes.len());
        (bytes, self.head) = (&bytes[head..], self.head - head);
        let mut plain = vec![0; 4096];
        let before = self.inflate.total_out();
        self.inflate.decompress(bytes, &mut plain, FlushDecompress::None).unwrap();
        let count = (self.inflate.total_out() - before) as usize;
        self.text.push_str(std::str::from_utf8(&plain[..count]).unwrap());
        self.text.matches("\n\n").count()
    }
}

#[test]
fn each_event_can_be_read_before_the_next() {
    let upstream = Upstream::new();
    let world = compressing(&upstream);
    for mut client in [world.plain(), Client::tls(world.https, None, &[]).unwrap()] {
        client.send(ask(&world, "/cued/6", "Accept-Encoding: gzip\r\n"));
        let head = client.head().unwrap();
        assert_eq!(
            (head.header("content-encoding"), head.header("content-type")),
            (Some("gzip"), Some("text/event-stream"))
        );
        let mut events = Events::new();
        for number in 1..=6 {
            // Until this one can be read, the instance says nothing more.
            upstream.seen.cue.notify_one();
            while events.feed(&client.chunk().unwrap().unwrap()) < number {}
        }
        while client.chunk().unwrap().is_some() {}
        assert_eq!(events.text, (0..6).rev().map(|left| format!("data: {left}\n\n")).collect::<String>());
    }
}

#[test]
fn http2_clients_get_the_same() {
    let upstream = Upstream::new();
    let world = compressing(&upstream);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(world.http).await.unwrap();
        let (mut sender, connection) =
            http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        for (path, coding, events) in
            [("/json/100000", "br", 0), ("/events/3", "gzip", 3), ("/json/100000", "zstd", 0)]
        {
            let request = Request::get(format!("http://{}/api/predict/test{path}", world.http))
                .header("authorization", TOKEN)
                .header("accept-encoding", coding);
            let response = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
            assert_eq!(response.headers()["content-encoding"], coding);
            assert!(!response.headers().contains_key("content-length"));
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let plain = String::from_utf8(plain(coding, &body)).unwrap();
            assert_eq!(plain.matches("\n\n").count(), events);
            assert!(events > 0 || plain.len() == 100_000);
        }
    });
}

fn post(world: &World, path: &str, coding: &str, body: &[u8]) -> Vec<u8> {
    let host = world.http;
    let head = format!(
        "POST /api/predict/test{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {TOKEN}\r\n\
         Content-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[test]
fn instances_get_request_bodies_plain_if_the_service_says_so() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    let text = "all work and no play ".repeat(5000);
    let call = |world: &World, request: Vec<u8>| {
        let mut client = world.plain();
        client.send(request);
        client.reply(false)
    };
    let body = gzip(text.as_bytes());
    assert_eq!(call(&world, post(&world, "/echo", "gzip", &body)).body, body, "untouched by default");
    world.edit(|service| service.decompress = true);
    let mut br = Vec::new();
    brotli::CompressorWriter::new(&mut br, 4096, 5, 22).write_all(text.as_bytes()).unwrap();
    let zst = zstd::stream::encode_all(text.as_bytes(), 3).unwrap();
    for (coding, body) in [("gzip", &body), ("br", &br), ("zstd", &zst)] {
        assert_eq!(call(&world, post(&world, "/echo", coding, body)).text(), text, "{coding}");
    }
    let reply = call(&world, post(&world, "/head", "gzip", &body));
    let headers: Vec<(String, String)> = serde_json::from_value(reply.json()["headers"].clone()).unwrap();
    assert!(
        headers.iter().all(|(name, _)| name != "content-encoding" && name != "content-length"),
        "{headers:?}"
    );
    assert!(headers.contains(&("transfer-encoding".into(), "chunked".into())), "{headers:?}");
    // An instance that has read nothing whole has answered nothing. Both sizes count: 2 MiB of zeros are some 2 KiB.
    let reply = call(&world, post(&world, "/hang", "gzip", &gzip(&vec![0; 2 << 20])));
    assert_eq!(reply.refusal(), (413, "body_too_large"));
    for (coding, body) in [
        ("deflate", &body[..]),
        ("gzip, gzip", &body),
        ("gzip", b"not gzip at all"),
        ("br", &body),
        ("gzip", &body[..body.len() - 1]),
        ("gzip", &[&body[..], b"x"].concat()),
    ] {
        let reply = call(&world, post(&world, "/hang", coding, body));
        assert_eq!(reply.refusal(), (415, "bad_encoding"), "{coding}");
        assert_eq!(reply.header("accept-encoding"), Some("gzip, br, zstd"));
    }
    assert_eq!(call(&world, post(&world, "/echo", "identity", b"plain")).text(), "plain");
}

/// Each frame of the name in a gzip member stands for nothing: a call within a call for each would use up the stack.
#[test]
fn thousands_of_frames_that_stand_for_nothing_are_read_one_after_the_other() {
    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let [.., a, b, c] = payload.len().to_be_bytes();
        [&[a, b, c, kind, flags, 0, 0, 0, stream][..], payload].concat()
    }
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    world.edit(|service| service.decompress = true);
    let mut block = b"\x83\x86".to_vec();
    let host = world.http.to_string();
    for (name, value) in [
        (":authority", host.as_str()),
        (":path", "/api/predict/test/hang-up"),
        ("authorization", TOKEN),
        ("content-encoding", "gzip"),
    ] {
        block.extend(
            [&[0, name.len() as u8][..], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat(),
        );
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, b""));
    bytes.extend(frame(1, 4, 1, &block));
    bytes.extend(frame(0, 0, 1, b"\x1f\x8b\x08\x08\0\0\0\0\0\xff"));
    for _ in 0..2000 {
        bytes.extend(frame(0, 0, 1, b"x"));
    }
    bytes.extend(frame(0, 1, 1, b"x"));
    let mut client = world.plain();
    client.send(bytes);
    eventually("it is refused", || world.traffic().services[0].classes["4xx"] == 1);
    assert_eq!(world.get("/api/predict/test/who").status, 200);
}
