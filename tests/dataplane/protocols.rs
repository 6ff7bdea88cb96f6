//! HTTP/2 towards clients, gRPC both ways, WebSocket.

use std::{
    num::NonZeroUsize,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use bytes::Bytes;
use gateway_user::{
    proxy::{Config, Limits},
    snapshot::http::{Protocol, Timeouts},
};
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::support::{FOR_EVER, PATIENCE, TOKEN, Upstream, World, config, eventually, service};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.unwrap() })
}

async fn prior_knowledge(world: &World) -> http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(world.http).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(world: &World, path: &str, token: &str) -> http::request::Builder {
    Request::post(format!("http://{}{path}", world.http)).header("authorization", token)
}

async fn collect(response: Response<Incoming>) -> (u16, HeaderMap, Bytes, Option<HeaderMap>) {
    let (head, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned();
    (head.status.as_u16(), head.headers, collected.to_bytes(), trailers)
}

#[test]
fn http2_clients_reach_http1_instances() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    block_on(async {
        let mut sender = prior_knowledge(&world).await;
        let ask = request(&world, "/api/predict/test/echo", TOKEN).body(Full::from("hello")).unwrap();
        let response = sender.send_request(ask).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_2);
        let (status, _, body, _) = collect(response).await;
        assert_eq!((status, &body[..]), (200, &b"hello"[..]));

        let ask = request(&world, "/api/predict/test/head?q=1", TOKEN)
            .header("cookie", "a=1")
            .header("cookie", "b=2");
        let (_, _, body, _) =
            collect(sender.send_request(ask.body(Full::default()).unwrap()).await.unwrap()).await;
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let headers: Vec<(String, String)> = serde_json::from_value(json["headers"].clone()).unwrap();
        assert_eq!(json["uri"], "/head?q=1");
        assert!(
            headers.contains(&("cookie".into(), "a=1; b=2".into()))
                && headers.contains(&("host".into(), world.http.to_string()))
        );

        let ask = request(&world, "/api/predict/test", "wrong").body(Full::default()).unwrap();
        let (status, headers, ..) = collect(sender.send_request(ask).await.unwrap()).await;
        assert_eq!((status, &headers["x-gateway-error"]), (401, &"unauthorized".parse().unwrap()));

        let ask =
            request(&world, "/api/predict/test", TOKEN).body(Full::from(vec![0; (1 << 20) + 1])).unwrap();
        let (status, ..) = collect(sender.send_request(ask).await.unwrap()).await;
        assert_eq!(status, 413);
    });
}

#[test]
fn many_streams_share_a_connection() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    block_on(async {
        let sender = prior_knowledge(&world).await;
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let mut sender = sender.clone();
                let ask = request(&world, "/api/predict/test/events/5", TOKEN).body(Full::default()).unwrap();
                tokio::spawn(async move { collect(sender.send_request(ask).await.unwrap()).await.2.len() })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), 5 * "data: 1\n\n".len());
        }
    });
}

#[test]
fn a_reset_stream_frees_the_instance() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    // No deadline frees it.
    world.edit(|service| {
        service.timeouts = Timeouts { connect: FOR_EVER, first_byte: FOR_EVER, idle: FOR_EVER };
    });
    block_on(async {
        let mut sender = prior_knowledge(&world).await;
        let ask = request(&world, "/api/predict/test/hang", TOKEN).body(Full::default()).unwrap();
        let pending = tokio::spawn(sender.send_request(ask));
        while upstream.requests() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(upstream.abandoned(), 0);
        pending.abort();
        while upstream.abandoned() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let ask = request(&world, "/api/predict/test/who", TOKEN).body(Full::default()).unwrap();
        assert_eq!(collect(sender.send_request(ask).await.unwrap()).await.0, 200);
    });
}

#[test]
fn grpc_crosses_with_trailers_and_its_errors_are_trailers_only() {
    let (plain, grpc) = (Upstream::new(), Upstream::grpc());
    let mut world = World::new(&[plain.address]);
    let mut speaks = service("speaks", &[grpc.address]);
    speaks.protocol = Protocol::Grpc;
    world.next.services.push(Arc::new(speaks));
    world.publish().unwrap();
    block_on(async {
        let mut sender = prior_knowledge(&world).await;
        let call = |path: &str, token: &str| {
            request(&world, path, token)
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Full::from(&b"\0\0\0\0\x02hi"[..]))
                .unwrap()
        };
        for _ in 0..10 {
            let response = sender.send_request(call("/api/predict/speaks/trailers", TOKEN)).await.unwrap();
            let (status, _, body, trailers) = collect(response).await;
            assert_eq!((status, &body[..]), (200, &b"message"[..]));
            assert_eq!(trailers.unwrap()["grpc-status"], "0");
        }
        assert_eq!(grpc.connections(), 1, "calls share a connection");

        let response = sender.send_request(call("/api/predict/speaks/head", TOKEN)).await.unwrap();
        let (_, _, body, _) = collect(response).await;
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let headers: Vec<(String, String)> = serde_json::from_value(json["headers"].clone()).unwrap();
        assert!(headers.contains(&("te".into(), "trailers".into())), "{headers:?}");
        assert_eq!(json["uri"], format!("http://{}/head", world.http));

        for (path, token, code) in [
            ("/api/predict/speaks/x", "wrong", "16"),
            ("/api/predict/nobody/x", TOKEN, "12"),
            ("/api/predict/test/x", TOKEN, "12"),
        ] {
            let (status, headers, body, _) =
                collect(sender.send_request(call(path, token)).await.unwrap()).await;
            assert_eq!(
                (status, body.len(), headers["grpc-status"].to_str().unwrap()),
                (200, 0, code),
                "{path}"
            );
            assert!(headers.contains_key("grpc-message") && headers["content-type"] == "application/grpc");
        }
    });
}

/// One message, and then nothing for longer than a body may stop: the answer goes on all the while.
struct Silent {
    first: Option<Bytes>,
    silence: std::pin::Pin<Box<tokio::time::Sleep>>,
}

impl http_body::Body for Silent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        if let Some(first) = self.first.take() {
            return std::task::Poll::Ready(Some(Ok(http_body::Frame::data(first))));
        }
        self.silence.as_mut().poll(context).map(|()| None)
    }
}

#[test]
fn who_calls_a_grpc_stream_may_be_silent_while_it_is_answered() {
    let (plain, grpc) = (Upstream::new(), Upstream::grpc());
    let limits = Limits { body_idle: Duration::from_millis(300), ..Limits::default() };
    let mut world = World::limited(&[plain.address], limits);
    let mut speaks = service("speaks", &[grpc.address]);
    speaks.protocol = Protocol::Grpc;
    // A dialogue is silent when neither side talks.
    speaks.timeouts.idle = Duration::from_millis(500);
    world.next.services.push(Arc::new(speaks));
    world.publish().unwrap();
    block_on(async {
        let stream = TcpStream::connect(world.http).await.unwrap();
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let silence = Box::pin(tokio::time::sleep(Duration::from_secs(10)));
        let body = Silent { first: Some(Bytes::from_static(b"\0\0\0\0\x02hi")), silence };
        let ask = request(&world, "/api/predict/speaks/events/30", TOKEN)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(body)
            .unwrap();
        let (status, _, events, _) = collect(sender.send_request(ask).await.unwrap()).await;
        assert_eq!((status, events.len()), (200, (0..30).map(|n| format!("data: {n}\n\n").len()).sum()));
    });
}

#[test]
fn http2_over_tls_is_chosen_by_alpn() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    let mut client = crate::support::Client::tls(world.https, None, &[b"h2", b"http/1.1"]).unwrap();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    let mut frame = [0; 9];
    assert!(client.read_some(&mut frame).unwrap() >= 4);
    assert_eq!(frame[3], 4, "the server's SETTINGS come first");
}

#[test]
fn websockets_pass_both_ways_after_the_101() {
    let upstream = Upstream::new();
    let world = World::new(&[upstream.address]);
    for mut client in [world.plain(), world.tls(None)] {
        client.send(format!(
            "GET /api/predict/test/echo HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
            world.http
        ));
        let reply = client.reply(false);
        assert_eq!((reply.status, reply.header("upgrade")), (101, Some("websocket")), "{reply:?}");
        for message in ["one", "two", "three"] {
            client.send(message);
            let mut back = [0; 5];
            let count = client.read_some(&mut back).unwrap();
            assert_eq!(&back[..count], message.as_bytes());
        }
    }
    eventually("both are over", || {
        let service = &world.traffic().services[0];
        (service.classes["1xx"], service.active) == (2, 0)
    });
    // Without an upgrade granted, the answer is an ordinary one.
    let reply = world.plain().call(&format!(
        "GET /api/predict/test/who HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        world.http
    ));
    assert_eq!((reply.status, reply.text()), (200, "test"));
}

/// A window that is never opened, and one that is opened once: either way nothing of the answer is asked for any more.
#[test]
fn a_client_that_keeps_its_window_shut_is_cut() {
    let upstream = Upstream::new();
    let limits = Limits { write_stall: Duration::from_millis(500), ..Limits::default() };
    let world = World::limited(&[upstream.address], limits);
    for window in [0, 1000] {
        block_on(async {
            let stream = TcpStream::connect(world.http).await.unwrap();
            let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(window)
                .handshake(TokioIo::new(stream))
                .await
                .unwrap();
            let connection = tokio::spawn(connection);
            let ask = request(&world, "/api/predict/test/bytes/1000000", TOKEN)
                .body(Full::<Bytes>::default())
                .unwrap();
            let response: Response<Incoming> = sender.send_request(ask).await.unwrap();
            // The body is held and never read: the window stays shut.
            let _ = connection.await.unwrap();
            drop(response);
        });
        eventually("the stream is let go", || world.traffic().services[0].active == 0);
    }
}

#[test]
fn more_calls_than_a_connection_carries_get_another_connection() {
    let upstream = Upstream::grpc();
    upstream.seen.streams.store(2, SeqCst);
    let mut world = World::with(Config { workers: NonZeroUsize::new(1), ..config() }, &[upstream.address]);
    world.edit(|service| service.protocol = Protocol::Http2);
    assert_eq!(world.get("/api/predict/test/who").status, 200);
    assert_eq!(world.get("/api/predict/test/who").status, 200);
    assert_eq!(upstream.connections(), 1, "one after the other needs one");
    let mut clients: Vec<_> = (0..6)
        .map(|_| {
            let mut client = world.plain();
            client.send(format!(
                "GET /api/predict/test/slow-start HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n\r\n",
                world.http
            ));
            client
        })
        .collect();
    for client in &mut clients {
        assert_eq!(client.reply(false).text(), "late");
    }
    assert_eq!(upstream.seen.most.load(SeqCst), 6, "nobody waited for a stream");
    assert!((3..=6).contains(&upstream.connections()), "{}", upstream.connections());
}

#[test]
fn an_instance_that_goes_away_finishes_its_calls_and_gets_new_ones_on_a_new_connection() {
    let upstream = Upstream::grpc();
    let mut world = World::with(Config { workers: NonZeroUsize::new(1), ..config() }, &[upstream.address]);
    world.edit(|service| service.protocol = Protocol::Http2);
    let mut stream = world.plain();
    stream.send(format!(
        "GET /api/predict/test/events/20 HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n\r\n",
        world.http
    ));
    assert_eq!(stream.head().unwrap().status, 200);
    upstream.seen.goaway.notify_waiters();
    eventually("a new connection", || world.get("/api/predict/test/connection").text() == "2");
    for _ in 0..10 {
        assert_eq!(world.get("/api/predict/test/connection").text(), "2");
    }
    let mut events = 0;
    while stream.chunk().unwrap().is_some() {
        events += 1;
    }
    assert_eq!(events, 20, "the old one ended with its last call");
}

/// A client that speaks HTTP/1.1 and goes away in the middle of its body, after the answer has begun: its stream ends, too,
/// or it would take one of those that the instance allows for ever.
#[test]
fn an_instance_that_speaks_http2_learns_that_a_body_breaks_off() {
    let upstream = Upstream::grpc();
    let mut world = World::new(&[upstream.address]);
    world.edit(|service| service.protocol = Protocol::Http2);
    for gone in 1..=3 {
        let mut client = world.plain();
        client.send(format!(
            "POST /api/predict/test/echo HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n\
             Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
            world.http
        ));
        assert_eq!(client.head().unwrap().status, 200);
        assert_eq!(client.chunk().unwrap(), Some(b"a".to_vec()));
        drop(client);
        eventually("the instance is told", || upstream.abandoned() == gone);
    }
}

/// HTTP/2 has frames for a body that may not be; in HTTP/1.1 it would be the next answer.
#[test]
fn a_body_that_may_not_be_is_not_passed_on() {
    let upstream = Upstream::grpc();
    let mut world = World::new(&[upstream.address]);
    world.edit(|service| service.protocol = Protocol::Http2);
    let get = |path: &str| {
        format!(
            "GET /api/predict/test{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n\r\n",
            world.http
        )
    };
    let mut client = world.plain();
    for status in [204, 304] {
        assert_eq!(client.call(&get(&format!("/status/{status}"))).status, status);
        assert_eq!(client.call(&get("/who")).text(), "grpc");
    }
}
