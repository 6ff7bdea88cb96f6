//! Instances that note what they see of a request, and when: its head, the first piece of its body, its end.
//!
//! The one of HTTP/1.1 is bytes on a socket, so that the end is the end of the connection and nothing else; the one of
//! HTTP/2 is a hyper server, where the end is that of the stream.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::{
    body::{Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::interval,
};

use crate::link::{Content, feed};

/// Between two pieces of a streaming answer.
const PACE: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Head,
    Piece,
    /// The body has come to its end, which the client never sent.
    Whole,
    End,
}

/// What was seen of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) number: u64,
    pub(super) event: Event,
    pub(super) time: Instant,
}

/// Both instances. A path is `/PHASE/nNUMBER`.
pub(super) struct Witness {
    pub(super) http: SocketAddr,
    pub(super) grpc: SocketAddr,
    connections: Arc<AtomicUsize>,
    last: u64,
}

type Notes = mpsc::UnboundedSender<Seen>;

/// Notes events of one request, and its end when it goes.
struct Note {
    number: u64,
    notes: Notes,
}

// === impl Witness ===

impl Witness {
    pub(super) async fn start() -> (Self, mpsc::UnboundedReceiver<Seen>) {
        let (notes, events) = mpsc::unbounded_channel();
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let witness = Self {
            http: http.local_addr().unwrap(),
            grpc: grpc.local_addr().unwrap(),
            connections: Arc::clone(&connections),
            last: 0,
        };
        let second = notes.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = http.accept().await.unwrap();
                connections.fetch_add(1, SeqCst);
                tokio::spawn(bytes(stream, notes.clone()));
            }
        });
        tokio::spawn(async move {
            loop {
                let (stream, _) = grpc.accept().await.unwrap();
                tokio::spawn(streams(stream, second.clone()));
            }
        });
        (witness, events)
    }

    /// The next request's number.
    pub(super) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Connections to the instance of HTTP/1.1 so far.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

// === impl Note ===

impl Note {
    fn new(path: &str, notes: Notes) -> Self {
        let number = path.rsplit("/n").next().and_then(|text| text.parse().ok());
        let note = Self { number: number.unwrap_or_else(|| panic!("{path}")), notes };
        note.tell(Event::Head);
        note
    }

    fn tell(&self, event: Event) {
        let _ = self.notes.send(Seen { number: self.number, event, time: Instant::now() });
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        self.tell(Event::End);
    }
}

/// Serves one connection of HTTP/1.1.
async fn bytes(mut stream: TcpStream, notes: Notes) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let text = String::from_utf8_lossy(&head);
        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
        let note = Note::new(&path, notes.clone());
        match path.split('/').nth(1) {
            Some("well") => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell").await?;
                continue;
            }
            Some("headed" | "streaming" | "pausing") => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
            }
            _ => {}
        }
        let (mut read, mut write) = stream.split();
        let reading = async {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = read.read(&mut buffer).await {
                let whole = buffer[..length].ends_with(b"0\r\n\r\n");
                note.tell(if whole { Event::Whole } else { Event::Piece });
            }
        };
        let writing = async {
            if path.starts_with("/streaming") {
                let mut ticks = interval(PACE);
                while write.write_all(b"5\r\npiece\r\n").await.is_ok() {
                    ticks.tick().await;
                }
            } else if path.starts_with("/pausing") {
                let _ = write.write_all(b"5\r\npiece\r\n").await;
                std::future::pending::<()>().await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! { () = reading => {}, () = writing => {} }
        return Ok(());
    }
}

/// Serves one connection of HTTP/2.
async fn streams(stream: TcpStream, notes: Notes) {
    let service = service_fn(move |request| answer(request, notes.clone()));
    let _ = stream.set_nodelay(true);
    let builder = http2::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, notes: Notes) -> Result<Response<Content>, Infallible> {
    let path = request.uri().path().to_owned();
    let note = Note::new(&path, notes);
    let (pieces, body) = feed();
    let piece = || Ok(Frame::data(Bytes::from_static(b"piece")));
    match path.split('/').nth(1) {
        Some("waiting") => std::future::pending().await,
        Some("uploading") => {
            let mut body = request.into_body();
            loop {
                match body.frame().await {
                    Some(Ok(_)) => note.tell(Event::Piece),
                    Some(Err(_)) => break,
                    None => {
                        note.tell(Event::Whole);
                        break;
                    }
                }
            }
            drop(note);
            return std::future::pending().await;
        }
        _ => {}
    }
    // The answer's body has ended when nobody takes from it any more.
    tokio::spawn(async move {
        if !path.starts_with("/headed") {
            let _ = pieces.send(piece());
        }
        let mut ticks = interval(PACE);
        loop {
            tokio::select! {
                () = pieces.closed() => break,
                _ = ticks.tick(), if path.starts_with("/streaming") => drop(pieces.send(piece())),
            }
        }
        drop(note);
    });
    Ok(Response::new(body))
}
