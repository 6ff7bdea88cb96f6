//! Bodies and event streams pass as they come, and a client that goes away is noticed at once.

use std::{
    io::{BufRead, BufReader, Read, Write},
    thread,
    time::Duration,
};

use harness::wait;

use crate::call::Call;

#[test]
fn events_arrive_one_by_one() {
    let call = Call::new();
    let mut stream = call.echo("/cued").stream();
    let mut lines =
        BufReader::new(stream.child().stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    for number in 0..10 {
        // Until this one is here, the instance says nothing more.
        call.upstream.cue();
        let event = lines.find(|line| line.starts_with("data:")).expect("the stream ended");
        assert_eq!(event, format!("data: {number}"));
    }
    assert_eq!(call.upstream.streams(), 1);
    // The instance is silent: nobody notices by writing to a client that is not there.
    stream.kill();
    wait::until("the instance's stream to end", || (call.upstream.streams() == 0).then_some(()));
    call.desk.gateway.wait_for_log("499");
}

#[test]
fn a_client_that_goes_while_it_waits_is_noticed() {
    let call = Call::new();
    let request = format!(
        "GET /api/predict/echo/slow HTTP/1.1\r\nHost: 127.0.0.2\r\nAuthorization: {}\r\n\r\n",
        call.token
    );
    let mut stream = call.connect();
    stream.write_all(request.as_bytes()).expect("sent");
    wait::until("the request upstream", || (call.upstream.requests() == 1).then_some(()));
    drop(stream);
    call.desk.gateway.wait_for_log("499");
}

/// A request body goes on while it is being sent; the gateway does not wait for its end.
#[test]
fn a_request_body_is_not_collected_first() {
    let call = Call::new();
    let head = format!(
        "POST /api/predict/echo/upload HTTP/1.1\r\nHost: 127.0.0.2\r\nAuthorization: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        call.token
    );
    let before = call.upstream.connections();
    let mut stream = call.connect();
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(b"5\r\nhello\r\n").expect("sent");
    wait::until("the instance's connection", || (call.upstream.connections() > before).then_some(()));
    thread::sleep(Duration::from_millis(50));
    assert_eq!(call.upstream.requests(), 0, "the body is not whole yet");
    stream.write_all(b"5\r\nworld\r\n0\r\n\r\n").expect("sent");
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(answer.get(..read).unwrap_or_default()).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(call.upstream.last().pointer("/body"), Some(&10.into()));
}

#[test]
fn requests_on_one_connection_follow_each_other() {
    let call = Call::new();
    let mut stream = call.connect();
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    for number in 0..20 {
        let body = "x".repeat(number * 100);
        let request = format!(
            "POST /api/predict/echo/n{number} HTTP/1.1\r\nHost: 127.0.0.2\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
            call.token,
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut length = 0;
        let mut status = String::new();
        reader.read_line(&mut status).expect("status line");
        assert!(status.contains(" 200 "), "request {number}: {status}");
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("header");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("body");
        let text = String::from_utf8_lossy(&body).into_owned();
        assert!(text.contains(&format!("/n{number}\"")), "request {number}: {text}");
    }
}
