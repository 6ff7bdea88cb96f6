//! The daemon runs out of file descriptors.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use harness::{process, wait};
use serde_json::Value;

use crate::call::Call;

/// Descriptors that the daemon gets beyond those that it has open.
const ROOM: usize = 24;

/// A client that has asked for `path`; what is answered is read later.
fn client(call: &Call, path: &str) -> TcpStream {
    let target: SocketAddr = "127.0.0.2:9080".parse().expect("an address");
    let mut stream = call.desk.within(|| TcpStream::connect(target)).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    let token = &call.token;
    let request =
        format!("GET /api/predict/echo{path} HTTP/1.1\r\nHost: 127.0.0.2\r\nAuthorization: {token}\r\n\r\n");
    // It may have been sent away already.
    let _ = stream.write_all(request.as_bytes());
    stream
}

fn status(stream: &mut TcpStream) -> Option<u16> {
    let mut answer = [0; 512];
    let read = stream.read(&mut answer).ok()?;
    std::str::from_utf8(answer.get(9..12.min(read))?).ok()?.parse().ok()
}

fn load(call: &Call, pointer: &str) -> u64 {
    let stats = call.desk.ok(&["stats"]);
    stats.pointer(&format!("/load{pointer}")).and_then(Value::as_u64).expect("a figure")
}

fn limit_descriptors(call: &Call) {
    let id = call.desk.gateway.id();
    let open = fs::read_dir(format!("/proc/{id}/fd")).expect("its descriptors").count();
    let limit = (open + ROOM).to_string();
    process::check("prlimit", &["--pid", &id.to_string(), &format!("--nofile={limit}:{limit}")]);
}

/// Clock ticks (a hundredth of a second) that the daemon has computed for: utime and stime of proc(5).
fn computed(call: &Call) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/stat", call.desk.gateway.id())).expect("stat");
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

#[test]
fn idle_clients_make_room_when_descriptors_run_out() {
    let call = Call::new();
    limit_descriptors(&call);
    let mut idle: Vec<TcpStream> = Vec::new();
    for _ in 0..2 * ROOM {
        idle.push(client(&call, "/fixed"));
        thread::sleep(Duration::from_millis(10));
    }
    // More clients than descriptors, and none of them is forgotten: they wait until the first have been idle long enough.
    // Where the descriptor was the last, there is none for the instance.
    let told: Vec<Option<u16>> = idle.iter_mut().map(status).collect();
    assert!(told.iter().all(|status| matches!(status, Some(200 | 503))), "{told:?}");
    assert!(told.iter().filter(|status| **status == Some(200)).count() >= ROOM / 2, "{told:?}");
    assert!(load(&call, "/pauses/descriptors") > 0);
    assert!(load(&call, "/evicted") > 0);
    drop(idle);
    wait::until("the daemon to serve again", || {
        (status(&mut client(&call, "/fixed")) == Some(200)).then_some(())
    });
    assert_eq!(load(&call, "/paused/descriptors"), 0);
}

#[test]
fn a_daemon_without_descriptors_does_not_spin_and_keeps_its_streams() {
    let call = Call::new();
    limit_descriptors(&call);
    // Streams make no room; those that find no descriptor for the instance are told, and those after them wait.
    let mut streams: Vec<TcpStream> = Vec::new();
    for _ in 0..2 * ROOM {
        streams.push(client(&call, "/stream"));
        thread::sleep(Duration::from_millis(10));
    }
    let before = computed(&call);
    thread::sleep(Duration::from_secs(2));
    let used = computed(&call) - before;
    assert!(used < 100, "{used} hundredths of a second in two seconds");
    let log = call.desk.gateway.log();
    assert!(log.matches("overloaded: ").count() < 20, "{log}");
    assert!(log.contains("descriptors"), "{log}");
    let live = call.upstream.streams();
    assert!(live >= 5, "{live} streams");
    let first = streams.first_mut().expect("a stream");
    let mut block = [0; 65536];
    for _ in 0..5 {
        assert!(first.read(&mut block).expect("an event") > 0);
    }
    drop(streams);
    wait::until("the daemon to serve again", || {
        (status(&mut client(&call, "/fixed")) == Some(200)).then_some(())
    });
}
