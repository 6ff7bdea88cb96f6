//! The API end to end over a real socket, with a real control plane and no data plane: here the server and what it
//! refuses, in `contract` the shapes that scripts rely on.

mod contract;

use std::{
    cell::RefCell,
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::PathBuf,
    rc::Rc,
    thread,
};

use http::Method;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{
    Context, Process, Sources, Writers, bind,
    client::{Call, Client, Failure},
    serve, wire,
};
use crate::{
    base::{Refusal, clock},
    control::{Config, Control, FirstStart},
};

/// A daemon without a data plane.
struct Daemon {
    socket: PathBuf,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Self {
        Self::with(Sources::default)
    }

    /// A daemon whose other rooms are made up.
    fn with(sources: impl FnOnce() -> Sources + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (state, socket) = (dir.path().join("state"), dir.path().join("run/control.sock"));
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let path = socket.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, async {
                let own = vec![SocketAddr::from(([127, 0, 0, 1], 9145))];
                let config = Config {
                    state: state.clone(),
                    owner: None,
                    first_start: FirstStart::Empty,
                    own,
                    site: crate::base::Site::default(),
                };
                let control = Rc::new(RefCell::new(Control::open(config, Vec::new()).unwrap()));
                let writers = Writers::new(None).unwrap();
                let listener = bind(&path, 0o600, &writers).unwrap();
                let process = Process { version: "9.9.9", started: clock::now(), state };
                let context = Rc::new(Context::new(control, process, sources()));
                ready.send(()).unwrap();
                serve(listener, context, writers, async { stopped.await.unwrap_or_default() }).await;
            });
        });
        is_ready.recv().unwrap();
        let client = Client::new(vec![socket.clone()]).unwrap();
        Self { socket, client, stop: Some(stop), thread: Some(thread), _dir: dir }
    }

    fn send(&self, call: Call) -> Value {
        self.client.send(call).unwrap()
    }

    fn refused(&self, call: Call) -> Refusal {
        match self.client.send(call) {
            Err(Failure::Refused(refusal)) => refusal,
            other => panic!("should be refused: {other:?}"),
        }
    }

    /// Sends bytes as they are and returns all that comes back before the other side closes.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(bytes);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn reads_answer_without_a_data_plane() {
    let daemon = Daemon::start();
    let status = daemon.send(Call::get(&["status"]));
    assert_eq!(status["version"], "9.9.9");
    for key in ["generation", "filter", "workers", "listeners", "warnings", "uptime_seconds", "state"] {
        assert!(status.get(key).is_some(), "{key}");
    }
    for list in ["gateways", "listeners", "certificates", "domains", "services", "routes"] {
        let reply = daemon.send(Call::get(&[list]));
        assert!(reply["items"].is_array() && reply["generation"].is_u64(), "{list}: {reply}");
    }
    let stats = daemon.send(Call::get(&["stats"]));
    assert!(stats["filter"].is_array() && stats["services"].is_array(), "{stats}");
    assert!(daemon.send(Call::get(&["drops"]))["items"].is_array());
    assert_eq!(daemon.send(Call::get(&["openapi.json"]))["openapi"], "3.1.0");
    assert_eq!(daemon.refused(Call::get(&["listeners", "nobody"])).code, "not_found");
}

#[test]
fn refusals_name_what_is_wrong() {
    let daemon = Daemon::start();
    let unknown = Call::post(&["listeners"]).json(&json!({"name": "a", "interfaces": "lo"}));
    let refusal = daemon.refused(unknown);
    assert_eq!((refusal.code.as_str(), refusal.value.as_deref()), ("unknown_field", Some("interfaces")));
    let parameter = daemon.refused(Call::get(&["status"]).query("verbose", true));
    assert_eq!(parameter.value.as_deref(), Some("verbose"));
    assert_eq!(daemon.refused(Call::new(Method::PUT, &["status"])).code, "method_not_allowed");
    assert_eq!(daemon.refused(Call::get(&["nothing"])).code, "unknown_path");
    let explain = Call::get(&["explain"]).query("source", "192.0.2.1").query("destination", "[::1]:443");
    assert_eq!(daemon.refused(explain).code, "invalid_address");
    let toml = daemon.refused(Call::post(&["apply"]).toml("[[listner]]\nname = 'a'\n".to_owned()));
    assert_eq!(toml.code, "unknown_field");
    let none = Call::post(&["listeners", "edge", "allow"]).json(&json!({"cidrs": " , \n"}));
    assert_eq!(daemon.refused(none).code, "missing_field");
    let drain =
        Call::post(&["listeners", "edge", "allow"]).json(&json!({"cidrs": "10.0.0.0/8", "drain": "3s"}));
    assert_eq!(daemon.refused(drain).value.as_deref(), Some("drain"));
}

#[test]
fn garbage_and_oversized_bodies_are_answered_and_the_server_lives() {
    let daemon = Daemon::start();
    let post = |body: &[u8]| {
        let head = format!(
            "POST /v1/listeners HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        daemon.raw(&[head.as_bytes(), body].concat())
    };
    for body in [&b""[..], b"{", b"\xff\xfe\x00", b"[]", b"null", b"{\"name\":{}}"] {
        let answer = post(body);
        assert!(answer.starts_with("HTTP/1.1 4") && answer.contains("\"error\""), "{body:?}: {answer}");
    }
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    assert!(post(&deep).starts_with("HTTP/1.1 4"));
    let large =
        format!("POST /v1/apply HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", wire::BODY_LIMIT + 1);
    let answer = daemon.raw(large.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("too_large"), "{answer}");
    assert!(daemon.raw(b"\x16\x03\x01 hello\r\n\r\n").starts_with("HTTP/1.1 400"));
    for path in ["/v1/listeners/%zz", "/v1/listeners/%ff", "/v1/status?a=%"] {
        let answer =
            daemon.raw(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 4") && answer.contains("\"error\""), "{path}: {answer}");
    }
    assert_eq!(daemon.send(Call::get(&["version"]))["version"], "9.9.9");
}

#[test]
fn a_followed_stream_ends_with_its_reader() {
    let daemon = Daemon::start();
    let mut stream = UnixStream::connect(&daemon.socket).unwrap();
    stream.write_all(b"GET /v1/drops?follow=true HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    drop(stream);
    assert_eq!(daemon.send(Call::get(&["version"]))["version"], "9.9.9");
}

#[test]
fn a_followed_stream_ends_whole_when_the_daemon_stops() {
    let daemon = Daemon::start();
    let mut stream = UnixStream::connect(&daemon.socket).unwrap();
    stream.write_all(b"GET /v1/drops?follow=true HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).unwrap();
    drop(daemon);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    // RFC 9112 §7.1: the last chunk.
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "{rest}");
}
