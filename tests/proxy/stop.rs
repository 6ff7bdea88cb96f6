//! How the daemon stops: it says so, takes nobody more, lets requests finish, and cuts what is left when it is told twice.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use harness::{gateway::free_address, wait};

use crate::call::Call;

/// What a stop gives to requests in flight.
const GRACE: Duration = Duration::from_secs(20);
const LISTENER: &str = "127.0.0.2:9080";

/// A daemon that serves metrics and health at an address of its own.
fn call() -> (Call, String) {
    let admin = free_address();
    let call = Call::with_settings(&format!("admin = \"{admin}\"\n"));
    (call, admin)
}

/// One answer's head and the beginning of its body, if anybody answers.
fn ask(call: &Call, address: &str, request: &str) -> Option<(String, TcpStream)> {
    let target: SocketAddr = address.parse().expect("an address");
    call.desk.within(|| {
        let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = [0; 4096];
        let read = stream.read(&mut answer).ok()?;
        Some((String::from_utf8_lossy(answer.get(..read)?).into_owned(), stream))
    })
}

fn get(call: &Call, path: &str) -> Option<(String, TcpStream)> {
    let token = &call.token;
    ask(
        call,
        LISTENER,
        &format!("GET /api/predict/echo{path} HTTP/1.1\r\nHost: 127.0.0.2\r\nAuthorization: {token}\r\n\r\n"),
    )
}

fn health(call: &Call, admin: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    ask(call, admin, &request).map_or_else(String::new, |(answer, _)| answer)
}

#[test]
fn a_stop_says_so_first_and_a_second_signal_cuts() {
    let (mut call, admin) = call();
    assert!(health(&call, &admin, "/readyz").starts_with("HTTP/1.1 200"));
    let (answer, mut idle) = get(&call, "/fixed").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (answer, mut stream) = get(&call, "/stream").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let start = Instant::now();
    call.desk.gateway.signal();
    wait::until("readiness to go", || {
        health(&call, &admin, "/readyz").starts_with("HTTP/1.1 503").then_some(())
    });
    assert!(health(&call, &admin, "/healthz").starts_with("HTTP/1.1 200"));
    wait::until("the port to close", || get(&call, "/fixed").is_none().then_some(()));
    assert!(health(&call, &admin, "/metrics").starts_with("HTTP/1.1 200"), "a stop can be watched");
    // Who waits with nothing to do is let go at once; who is served goes on.
    let mut block = [0; 4096];
    while idle.read(&mut block).expect("an end, no reset") > 0 {}
    for _ in 0..10 {
        assert!(stream.read(&mut block).expect("an event") > 0);
    }
    call.desk.gateway.signal();
    let end = loop {
        match stream.read(&mut block) {
            Ok(0) => break None,
            Ok(_) => {}
            Err(error) => break Some(error.kind()),
        }
    };
    assert_eq!(end, Some(ErrorKind::ConnectionReset));
    assert_eq!(call.desk.gateway.wait_for_end(), Some(0));
    // Without the second one it would have been later.
    assert!(start.elapsed() < GRACE, "{:?}", start.elapsed());
    call.desk.gateway.wait_for_log("second signal");
}

#[test]
fn a_stop_waits_for_requests_in_flight() {
    let (mut call, _) = call();
    let (call_token, target) = (call.token.clone(), LISTENER.parse::<SocketAddr>().expect("an address"));
    let mut slow = call.desk.within(|| TcpStream::connect(target)).expect("connected");
    slow.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    let request = format!(
        "GET /api/predict/echo/slow HTTP/1.1\r\nHost: 127.0.0.2\r\nAuthorization: {call_token}\r\n\r\n"
    );
    slow.write_all(request.as_bytes()).expect("sent");
    wait::until("the request upstream", || (call.upstream.requests() == 1).then_some(()));
    call.desk.gateway.signal();
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).expect("an answer and an end");
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200") && answer.contains("connection: close"), "{answer}");
    assert_eq!(call.desk.gateway.wait_for_end(), Some(0));
}
