//! Servers that read requests as leniently as servers have been known to, and remember what they read. They take a bare LF
//! for a line end, folded lines, sizes with anything behind them, and any Transfer-Encoding with `chunked` in it; where
//! both framings are there one prefers the one, one the other. They keep their connections.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// Which framing wins where a request has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefers {
    Encoding,
    Length,
}

/// A request as such a server read it.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) target: String,
    /// Names in lower case.
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// The body has come to its end.
    pub(super) complete: bool,
}

// === impl Seen ===

impl Seen {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A running server.
#[derive(Clone, Debug)]
pub(super) struct Lenient {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

// === impl Lenient ===

impl Lenient {
    pub(super) async fn start(prefers: Prefers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let seen = Arc::clone(&server.seen);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    let _ = serve(stream, prefers, &seen).await;
                });
            }
        });
        server
    }

    /// Everything so far, in the order in which it ended.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(stream: TcpStream, prefers: Prefers, all: &Mutex<Vec<Seen>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut seen = Seen::default();
        let read = read(&mut stream, prefers, &mut seen).await;
        if seen.method.is_empty() {
            return read;
        }
        seen.complete = read.is_ok();
        let head_only = seen.method == "HEAD";
        let body = if head_only { String::new() } else { seen.target.clone() };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", seen.target.len());
        all.lock().unwrap().push(seen);
        read?;
        stream.get_mut().write_all(answer.as_bytes()).await?;
    }
}

async fn read(stream: &mut BufReader<TcpStream>, prefers: Prefers, seen: &mut Seen) -> io::Result<()> {
    let mut first = line(stream).await?;
    while first.is_empty() {
        first = line(stream).await?;
    }
    let mut words = first.split_ascii_whitespace();
    seen.method = words.next().unwrap_or("?").to_owned();
    seen.target = words.next().unwrap_or("?").to_owned();
    loop {
        let text = line(stream).await?;
        if text.is_empty() {
            break;
        }
        match (text.starts_with([' ', '\t']), seen.fields.last_mut()) {
            (true, Some((_, value))) => *value += text.trim(),
            _ => {
                let (name, value) = text.split_once(':').unwrap_or((&text, ""));
                seen.fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
    }
    let chunked =
        seen.field("transfer-encoding").is_some_and(|value| value.to_lowercase().contains("chunked"));
    let length = seen.field("content-length").map(|value| number(value, 10));
    match length {
        Some(length) if !chunked || prefers == Prefers::Length => some(stream, length, &mut seen.body).await,
        _ if chunked => chunks(stream, &mut seen.body).await,
        _ => Ok(()),
    }
}

async fn chunks(stream: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let length = number(line(stream).await?.trim(), 16);
        if length == 0 {
            while !line(stream).await?.is_empty() {}
            return Ok(());
        }
        some(stream, length, body).await?;
        line(stream).await?;
    }
}

async fn some(stream: &mut BufReader<TcpStream>, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let read = stream.take(length).read_to_end(body).await?;
    if read as u64 == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Up to the next LF, without it and a CR before it.
async fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut bytes = Vec::new();
    stream.read_until(b'\n', &mut bytes).await?;
    if bytes.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.pop_if(|byte| *byte == b'\r');
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The digits that a text begins with.
fn number(text: &str, radix: u32) -> u64 {
    let end = text.find(|digit: char| !digit.is_digit(radix)).unwrap_or(text.len());
    u64::from_str_radix(&text[..end], radix).unwrap_or_default()
}
