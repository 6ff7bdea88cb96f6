//! A service instance: a small HTTP/1.1 server on threads, with a memory of what it was asked.
//!
//! - `/seed`: `True`, as the first example of the product's documentation.
//! - `/fixed`: 128 bytes. `/chunked`: three chunks. `/slow`: answers after a second.
//! - `/stream`: server-sent events, one every 20 ms, until the peer goes. `/cued`: the same, each on [`Upstream::cue`].
//! - everything else: JSON with method, target, headers and body length. Every answer has `x-instance: NAME`.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::netns::NetNs;

/// A running instance; its sockets close when it goes.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    name: String,
    stop: AtomicBool,
    requests: AtomicU64,
    connections: AtomicU64,
    /// Streams that are being written now.
    streams: AtomicU64,
    /// Events of `/cued` that may still be said.
    cues: AtomicU64,
    last: Mutex<Value>,
}

// === impl Upstream ===

impl Upstream {
    /// Listens at `address` inside `namespace`; port 0 chooses one.
    #[must_use]
    #[track_caller]
    pub fn start(namespace: &NetNs, address: IpAddr, port: u16, name: &str) -> Self {
        let listener = namespace.within(|| TcpListener::bind((address, port)).expect("upstream listens"));
        Self::serve(listener, name)
    }

    /// Listens on loopback of this process's own namespace.
    #[must_use]
    #[track_caller]
    pub fn local(name: &str) -> Self {
        Self::local_at(name, 0)
    }

    /// As [`Self::local`], at a port of the caller's choice.
    #[must_use]
    #[track_caller]
    pub fn local_at(name: &str, port: u16) -> Self {
        Self::serve(TcpListener::bind(("127.0.0.1", port)).expect("upstream listens"), name)
    }

    fn serve(listener: TcpListener, name: &str) -> Self {
        let address = listener.local_addr().expect("own address");
        let shared = Arc::new(Shared { name: name.to_owned(), ..Shared::default() });
        let state = Arc::clone(&shared);
        listener.set_nonblocking(true).expect("nonblocking");
        thread::spawn(move || {
            while !state.stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        state.connections.fetch_add(1, Ordering::Relaxed);
                        let state = Arc::clone(&state);
                        thread::spawn(move || converse(&stream, &state));
                    }
                    Err(_) => thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        Self { address, shared }
    }

    /// `HOST:PORT` as `service add --instance` takes it.
    #[must_use]
    pub fn instance(&self) -> String {
        self.address.to_string()
    }

    /// Requests answered so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Event streams that are open now.
    #[must_use]
    pub fn streams(&self) -> u64 {
        self.shared.streams.load(Ordering::Relaxed)
    }

    /// Lets the next event of `/cued` go.
    pub fn cue(&self) {
        self.shared.cues.fetch_add(1, Ordering::Relaxed);
    }

    /// The last request as JSON: method, target, headers (lower-case names), body length.
    #[must_use]
    pub fn last(&self) -> Value {
        self.shared.last.lock().expect("no panic holds it").clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn converse(stream: &TcpStream, state: &Shared) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
    let mut reader = BufReader::new(stream);
    while !state.stop.load(Ordering::Relaxed) {
        match reader.fill_buf() {
            Ok([]) => return,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => continue,
            Err(_) => return,
        }
        if answer(&mut reader, stream, state).is_none() {
            return;
        }
    }
}

fn answer(reader: &mut BufReader<&TcpStream>, mut stream: &TcpStream, state: &Shared) -> Option<()> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = serde_json::Map::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), Value::from(value.trim()));
    }
    let text = |name: &str| headers.get(name).and_then(Value::as_str);
    if text("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let length = match text("content-length").and_then(|value| value.parse::<u64>().ok()) {
        Some(length) => std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?,
        None if text("transfer-encoding").is_some() => chunks(reader)?,
        None => 0,
    };
    state.requests.fetch_add(1, Ordering::Relaxed);
    let echo = json!({"instance": state.name, "method": method, "target": target, "headers": headers, "body": length});
    *state.last.lock().ok()? = echo.clone();
    let path = target.split('?').next().unwrap_or_default();
    let mut send = |kind: &str, body: &[u8]| {
        let mut bytes = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nx-instance: {}\r\n\r\n",
            body.len(),
            state.name
        )
        .into_bytes();
        bytes.extend(body);
        stream.write_all(&bytes).ok()
    };
    // Prefixes that a route did not strip may stand in front.
    match path.rsplit('/').next().unwrap_or_default() {
        "seed" => send("text/plain", b"True"),
        "fixed" => send("application/octet-stream", &[b'x'; 128]),
        "slow" => {
            thread::sleep(Duration::from_secs(1));
            send("text/plain", b"at last")
        }
        "chunked" => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n";
            let tail = "\r\n3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n";
            stream.write_all(format!("{head}x-instance: {}\r\n{tail}", state.name).as_bytes()).ok()
        }
        kind @ ("stream" | "cued") => {
            state.streams.fetch_add(1, Ordering::Relaxed);
            let result = events(stream, state, kind == "cued");
            state.streams.fetch_sub(1, Ordering::Relaxed);
            result
        }
        _ => send("application/json", echo.to_string().as_bytes()),
    }
}

fn events(mut stream: &TcpStream, state: &Shared, cued: bool) -> Option<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).ok()?;
    for number in 0.. {
        if state.stop.load(Ordering::Relaxed) {
            return None;
        }
        if cued {
            await_cue(stream, state)?;
        }
        let event = format!("data: {number}\n\n");
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).ok()?;
        if !cued {
            thread::sleep(Duration::from_millis(20));
        }
    }
    None
}

/// Waits for a cue; nothing, if the peer goes meanwhile.
fn await_cue(stream: &TcpStream, state: &Shared) -> Option<()> {
    let taken = |cues: u64| cues.checked_sub(1);
    stream.set_nonblocking(true).ok()?;
    while state.cues.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_err() {
        let gone = match stream.peek(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        };
        if gone || state.stop.load(Ordering::Relaxed) {
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
    stream.set_nonblocking(false).ok()
}

fn chunks(reader: &mut BufReader<&TcpStream>) -> Option<u64> {
    let mut total = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let size = u64::from_str_radix(line.trim().split(';').next()?, 16).ok()?;
        total += std::io::copy(&mut reader.take(size), &mut std::io::sink()).ok()?;
        let mut end = String::new();
        reader.read_line(&mut end).ok()?;
        if size == 0 {
            return Some(total);
        }
    }
}
