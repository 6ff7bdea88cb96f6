//! What a source still gets after its entry is removed: nothing, at once; or, drained, what it has already.

use std::{
    io::Read,
    thread,
    time::{Duration, Instant},
};

use harness::{
    Reach, frame,
    frame::Link,
    process::Running,
    proof::{Side, Witness},
    reach,
    topology::{CLIENT_V4, GHOST_V4},
    wait,
};

use super::site::{HTTPS_V4, Served, Site};

/// curl's word for a connection that was reset; its own time running out is 28.
const RESET: i32 = 56;

/// An event stream of the allowed client that is flowing.
struct Stream {
    curl: Running,
}

impl Stream {
    #[track_caller]
    fn open(site: &Site, served: &Served) -> Self {
        let mut curl = served.call(site, "/stream").with(&["--max-time", "300"]).stream();
        let mut text = Vec::new();
        wait::until("the first events", || {
            let mut bytes = [0; 4096];
            let read = curl.child().stdout.as_mut()?.read(&mut bytes).ok()?;
            text.extend_from_slice(bytes.get(..read)?);
            String::from_utf8_lossy(&text).contains("data: 3").then_some(())
        });
        Self { curl }
    }

    fn flows(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let read = self.curl.child().stdout.as_mut().and_then(|pipe| pipe.read(&mut bytes).ok());
        read.is_some_and(|read| read > 0)
    }

    /// Reads on until the stream ends; says when and with which exit code of curl.
    #[track_caller]
    fn end(mut self) -> (Instant, i32) {
        while self.flows() {}
        let end = Instant::now();
        let code = wait::until("curl to end", || self.curl.ended());
        (end, code)
    }
}

/// PA-9: removing an entry cuts its live HTTPS stream within a second with a reset, leaves the neighbour's alone, and a
/// SYN sent by hand afterwards is found in the drop counter.
#[test]
fn pa_9_removal_cuts_a_live_stream_and_drops_the_next_syn() {
    let site = Site::open();
    let served = site.serve();
    site.allow("198.51.100.10,198.51.100.11,198.51.100.99");
    site.net.client_address("198.51.100.11/24");
    let stream = Stream::open(&site, &served);
    let mut other = Stream {
        curl: served
            .call(&site, "/stream")
            .with(&["--interface", "198.51.100.11", "--max-time", "300"])
            .stream(),
    };
    assert!(other.flows());
    wait::until("two streams upstream", || (served.upstream.streams() == 2).then_some(()));

    let start = Instant::now();
    let reader = thread::spawn(move || stream.end());
    site.disallow("198.51.100.10,198.51.100.99");
    let answered = start.elapsed();
    let (end, code) = reader.join().expect("reader");
    let cut = end.saturating_duration_since(start);
    println!("stream cut {cut:?} after the start of the command, which took {answered:?}");
    // Neither its own end nor curl's time: nothing else ends it than the cut.
    assert_eq!(code, RESET, "the stream must not look finished");
    assert!(other.flows(), "the neighbour's stream was cut");
    // The instance is told at once that nobody listens any more.
    wait::until("the instance's stream to end", || (served.upstream.streams() == 1).then_some(()));

    let witness = Witness::new(&site.net);
    let before = site.drops("public", "not_allowed");
    let syn = frame::syn(&Link::default(), (GHOST_V4, 4000).into(), HTTPS_V4);
    witness.assert_dropped_in_kernel("a SYN after removal", Side::Public, &[syn]);
    assert_eq!(site.drops("public", "not_allowed"), before + 1);
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Timeout);
    assert!(other.flows());
}

/// PA-9 with `--drain`: the stream goes on for the time given, new connections do not come in, and then it ends.
#[test]
fn pa_9_draining_keeps_what_is_there_and_lets_nothing_new_in() {
    let site = Site::open();
    let served = site.serve();
    site.allow(&CLIENT_V4.to_string());
    let stream = Stream::open(&site, &served);
    let start = Instant::now();
    let reply = site.gateway.cli(&["allow", "remove", "public", "198.51.100.10", "--drain", "3s"]).ok();
    assert_eq!(reply["changed"], true);
    let reader = thread::spawn(move || stream.end());
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Timeout);
    assert!(site.drops("public", "draining_new") >= 1);
    assert_eq!(served.upstream.streams(), 1, "the stream was cut before its time");
    let (end, code) = reader.join().expect("reader");
    let lasted = end.duration_since(start);
    println!("a drain of 3 s ended the stream after {lasted:?}");
    assert!(lasted > Duration::from_millis(2500), "cut after {lasted:?}");
    assert_eq!(code, RESET);
    assert!(site.list("public").is_empty());
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Timeout);
}

/// Closing the portal cuts what is open, too: closed means nobody.
#[test]
fn closing_the_portal_cuts_streams() {
    let site = Site::open();
    let served = site.serve();
    site.allow("198.51.100.10");
    let stream = Stream::open(&site, &served);
    let reader = thread::spawn(move || stream.end());
    site.gateway.cli(&["listener", "close", "public"]).ok();
    let (_, code) = reader.join().expect("reader");
    assert_eq!(code, RESET);
}

/// Edits beside a stream do not disturb it: other entries, other listeners, services, routes and certificates.
#[test]
fn unrelated_edits_do_not_disturb_a_stream() {
    let site = Site::open();
    let served = site.serve();
    site.allow("198.51.100.10");
    let mut stream = Stream::open(&site, &served);
    let cli = |words: &[&str]| site.gateway.cli(words).ok();
    site.allow("203.0.113.1");
    site.disallow("203.0.113.1");
    let words = ["listener", "add", "inside", "--exposure", "public", "--interface", "lan0", "--address"];
    cli(&[&words[..], &["10.7.0.1", "--open"]].concat());
    cli(&["listener", "delete", "inside"]);
    cli(&["service", "add", "other", "--instance", "10.9.0.2:1"]);
    cli(&["route", "add", "r", "--host", "x.example.org", "--path-prefix", "/", "--service", "other"]);
    cli(&["route", "delete", "r"]);
    cli(&["service", "delete", "other"]);
    let files = served.authority.leaf(&["y.example.org"]).write(site.gateway.scratch(), "y");
    cli(&["cert", "add", "y", "--chain", files.chain(), "--key", files.key()]);
    cli(&["cert", "delete", "y"]);
    assert_eq!(served.upstream.streams(), 1);
    for _ in 0..20 {
        assert!(stream.flows(), "the stream was disturbed");
    }
    assert!(stream.curl.ended().is_none());
}
