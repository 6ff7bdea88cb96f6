//! The instances behind the streams: they answer each message with its number, and break off where one is missing.
//!
//! `/events` sends numbered events until the test says that it is over; `/echo` answers a body of numbers with the same
//! numbers as they come; an upgrade answers WebSocket frames. The last word is always how many there were. `/quiet` answers with
//! a head and nothing after it, `/never` with nothing.

use std::{convert::Infallible, io, net::SocketAddr};

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::{
    body::{Frame, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
};

use super::kinds::{FINAL, PACE, frame};
use crate::link::{Content, Pieces, feed};

/// Both servers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) http: SocketAddr,
    pub(super) grpc: SocketAddr,
}

// === impl Origin ===

impl Origin {
    pub(super) async fn start(finishing: watch::Receiver<bool>) -> Self {
        let [http, grpc] = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let origin = Self { http: http.local_addr().unwrap(), grpc: grpc.local_addr().unwrap() };
        tokio::spawn(accept(http, false, finishing.clone()));
        tokio::spawn(accept(grpc, true, finishing));
        origin
    }
}

async fn accept(listener: TcpListener, prior_http2: bool, finishing: watch::Receiver<bool>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let finishing = finishing.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, finishing.clone()));
            let io = TokioIo::new(stream);
            if prior_http2 {
                // More streams than hyper's default of 200 come over one of the gateway's connections.
                let mut builder = http2::Builder::new(TokioExecutor::new());
                let _ = builder.max_concurrent_streams(10_000).serve_connection(io, service).await;
            } else {
                let _ = http1::Builder::new().serve_connection(io, service).with_upgrades().await;
            }
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    finishing: watch::Receiver<bool>,
) -> Result<Response<Content>, Infallible> {
    let (pieces, body) = feed();
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    if request.headers().contains_key("upgrade") {
        headers.insert("connection", HeaderValue::from_static("upgrade"));
        headers.insert("upgrade", HeaderValue::from_static("websocket"));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        tokio::spawn(websocket(request));
    } else if request.uri().path().ends_with("/never") {
        std::future::pending().await
    } else if request.uri().path().ends_with("/quiet") {
        tokio::spawn(async move { pieces.closed().await });
    } else if request.uri().path().ends_with("/events") {
        headers.insert("content-type", HeaderValue::from_static("text/event-stream"));
        tokio::spawn(events(pieces, finishing));
    } else {
        let grpc = request.headers().get("content-type").is_some_and(|kind| kind == "application/grpc");
        if grpc {
            headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        }
        tokio::spawn(echo(request.into_body(), pieces, grpc));
    }
    Ok(response)
}

async fn events(pieces: Pieces, mut finishing: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(PACE);
    for number in 0.. {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = finishing.wait_for(|over| *over) => {
                let _ = pieces.send(Ok(Frame::data(format!("data: end {number}\n\n").into())));
                return;
            }
        }
        if pieces.send(Ok(Frame::data(format!("id: {number}\ndata: {number}\n\n").into()))).is_err() {
            return;
        }
    }
}

/// Answers each number with itself; what is not the next number ends it without the last word.
async fn echo(mut body: Incoming, pieces: Pieces, grpc: bool) {
    let mut buffer = BytesMut::new();
    let prefix = if grpc { 5 } else { 0 };
    let mut expected = 0;
    while let Some(Ok(piece)) = body.frame().await {
        buffer.extend_from_slice(&piece.into_data().unwrap_or_default());
        while buffer.len() >= prefix + 8 {
            buffer.advance(prefix);
            if buffer.get_u64() != expected || pieces.send(Ok(Frame::data(frame(expected, grpc)))).is_err() {
                return;
            }
            expected += 1;
        }
    }
    let _ = pieces.send(Ok(Frame::data(frame(FINAL | expected, grpc))));
    if grpc {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let _ = pieces.send(Ok(Frame::trailers(trailers)));
    }
}

/// WebSocket frames of eight bytes (RFC 6455 §5.2): the client's are masked, ours are not; opcode 8 is the end.
async fn websocket(mut request: Request<Incoming>) -> io::Result<()> {
    let upgraded = hyper::upgrade::on(&mut request).await.map_err(io::Error::other)?;
    let mut stream = TokioIo::new(upgraded);
    let mut expected = 0_u64;
    let mut head = [0; 6];
    loop {
        stream.read_exact(&mut head).await?;
        let [opcode, length, mask @ ..] = head;
        if length == 0x80 && opcode == 0x88 {
            stream.write_all(&[0x88, 8]).await?;
            stream.write_all(&(FINAL | expected).to_be_bytes()).await?;
            return stream.shutdown().await;
        }
        let mut payload = [0; 8];
        stream.read_exact(&mut payload).await?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        if (opcode, length) != (0x82, 0x88) || u64::from_be_bytes(payload) != expected {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut reply = vec![0x82, 8];
        reply.extend_from_slice(&payload);
        stream.write_all(&reply).await?;
        expected += 1;
    }
}
