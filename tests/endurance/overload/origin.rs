//! The instances: what they say is known beforehand, so that a wrong answer is seen.
//!
//! `/say/WORD` answers the word, `/count` how many bytes the body had, `/much` [`MUCH`] bytes.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::link::Content;

/// More than sockets' buffers take, so that a slow reader holds the whole way up.
pub(super) const MUCH: usize = 16 << 20;
/// What bodies consist of.
pub(super) const PIECE: &[u8] = &[b'x'; 64 << 10];

/// So many bytes that are nowhere in memory.
struct Mass(usize);

/// Starts an instance on the caller's runtime.
pub(super) async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    });
    address
}

async fn answer(request: Request<Incoming>) -> Result<Response<Content>, Infallible> {
    let (head, mut body) = request.into_parts();
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => count += frame.data_ref().map_or(0, Bytes::len),
            // The client is gone; nobody reads what we say.
            Err(_) => break,
        }
    }
    let body = match head.uri.path().strip_prefix("/say/") {
        Some(word) => whole(word.to_owned()),
        None if head.uri.path() == "/much" => Mass(MUCH).boxed(),
        None => whole(count.to_string()),
    };
    Ok(Response::new(body))
}

fn whole(text: String) -> Content {
    Full::from(text).map_err(|never| match never {}).boxed()
}

impl Body for Mass {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = PIECE.get(..self.0.min(PIECE.len())).unwrap_or_default();
        self.0 -= piece.len();
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(Bytes::from_static(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0 as u64)
    }
}
