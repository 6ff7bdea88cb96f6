//! A client's connections: TCP or TLS, HTTP/1.1 or HTTP/2, ended in order or with a reset.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, combinators::BoxBody};
use hyper::{
    body::{Body, Frame, Incoming},
    client::conn::{http1, http2},
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
    task::AbortHandle,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::scene::{Door, HOST, TOKEN};

/// Longer than anything takes on a busy machine; a test that waits for it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A byte stream, whatever lies below.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for S {}

/// How a connection ends when it is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Reset,
}

/// The version that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    H1,
    H2,
}

pub(crate) type Content = BoxBody<Bytes, io::Error>;
/// The end of a body that is written while it is sent.
pub(crate) type Pieces = mpsc::UnboundedSender<io::Result<Frame<Bytes>>>;

/// An HTTP client on one connection. Dropped, the connection goes with everything on it.
pub(crate) struct Client {
    sender: Sender,
    /// `http` or `https`, as the target of an HTTP/2 request says it.
    scheme: &'static str,
    tasks: Tasks,
}

/// Runs a connection's tasks, and ends them all at once: hyper's own end of an HTTP/2 connection is a polite one.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<AbortHandle>>>);

enum Sender {
    One(http1::SendRequest<Content>),
    Many(http2::SendRequest<Content>),
}

/// Opens a byte stream; TLS offers `protocol` by ALPN.
pub(crate) async fn open(door: &Door, protocol: Version, end: End) -> io::Result<Box<dyn Wire>> {
    let stream = timeout(PATIENCE, TcpStream::connect(door.address)).await??;
    stream.set_nodelay(true)?;
    if end == End::Reset {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    }
    let Some(config) = &door.tls else { return Ok(Box::new(stream)) };
    let mut config = rustls::ClientConfig::clone(config);
    config.alpn_protocols = vec![match protocol {
        Version::H1 => b"http/1.1".to_vec(),
        Version::H2 => b"h2".to_vec(),
    }];
    let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
    let stream = timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await??;
    Ok(Box::new(stream))
}

// === impl Client ===

impl Client {
    pub(crate) async fn connect(door: &Door, version: Version, end: End) -> io::Result<Self> {
        let io = TokioIo::new(open(door, version, end).await?);
        let tasks = Tasks::default();
        let sender = match version {
            Version::H1 => {
                let (sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
                tasks.execute(async move { drop(connection.await) });
                Sender::One(sender)
            }
            Version::H2 => {
                let (sender, connection) =
                    http2::handshake(tasks.clone(), io).await.map_err(io::Error::other)?;
                tasks.execute(async move { drop(connection.await) });
                Sender::Many(sender)
            }
        };
        Ok(Self { sender, scheme: if door.tls.is_some() { "https" } else { "http" }, tasks })
    }

    /// A request for `path` of `service`, with the token.
    pub(crate) fn request(&self, method: &str, service: &str, path: &str) -> http::request::Builder {
        self.request_for(method, &format!("/api/predict/{service}{path}"))
    }

    /// A request for `target`, with the token.
    pub(crate) fn request_for(&self, method: &str, target: &str) -> http::request::Builder {
        let request = Request::builder().method(method).header("authorization", TOKEN);
        match self.sender {
            Sender::One(_) => request.uri(target).header("host", HOST),
            Sender::Many(_) => request.uri(format!("{}://{HOST}{target}", self.scheme)),
        }
    }

    /// Begins to send it; the future is the answer's head, and dropping it gives the request up.
    pub(crate) async fn start(
        &mut self,
        request: Request<Content>,
    ) -> io::Result<impl Future<Output = io::Result<Response<Incoming>>> + Send + use<>> {
        let answer: Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>> =
            match &mut self.sender {
                Sender::One(sender) => {
                    timeout(PATIENCE, sender.ready()).await?.map_err(io::Error::other)?;
                    Box::pin(sender.send_request(request))
                }
                Sender::Many(sender) => {
                    timeout(PATIENCE, sender.ready()).await?.map_err(io::Error::other)?;
                    Box::pin(sender.send_request(request))
                }
            };
        Ok(async move { answer.await.map_err(io::Error::other) })
    }

    /// Sends it; the answer's head must come in time.
    pub(crate) async fn send(&mut self, request: Request<Content>) -> io::Result<Response<Incoming>> {
        let answer = self.start(request).await?;
        timeout(PATIENCE, answer).await.map_err(|_| io::Error::other("no answer in time"))?
    }

    /// Sends a GET for `path` of `service`.
    pub(crate) async fn get(&mut self, service: &str, path: &str) -> io::Result<Response<Incoming>> {
        self.get_from(&format!("/api/predict/{service}{path}")).await
    }

    /// Sends a GET for `target`.
    pub(crate) async fn get_from(&mut self, target: &str) -> io::Result<Response<Incoming>> {
        let request = self.request_for("GET", target).body(empty()).map_err(io::Error::other)?;
        self.send(request).await
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.tasks.0.lock().unwrap().iter().for_each(AbortHandle::abort);
    }
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        let task = tokio::spawn(async move { drop(future.await) });
        self.0.lock().unwrap().push(task.abort_handle());
    }
}

pub(crate) fn empty() -> Content {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A body that is written while it is sent, and the end to write to: dropped, the body is complete; an error breaks it.
pub(crate) fn feed() -> (Pieces, Content) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, BodyExt::boxed(Feed(receiver)))
}

struct Feed(mpsc::UnboundedReceiver<io::Result<Frame<Bytes>>>);

impl Body for Feed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context)
    }
}
