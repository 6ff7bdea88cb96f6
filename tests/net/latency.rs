//! How soon a change is in force, from the start of the command's process. The figures are printed, the order of
//! events is asserted: when the command returns, the change holds.

use std::{
    thread,
    time::{Duration, Instant},
};

use harness::{
    frame,
    frame::Link,
    topology::{GHOST_MAC, GHOST_V4},
    xdp,
};

use super::site::{HTTPS_V4, Site};

const EDITS: usize = 30;

/// A SYN is sent every half millisecond while an entry is removed. The first one that the program drops marks the
/// moment; none sent after the command returned may pass.
#[test]
fn from_the_command_to_the_first_refused_syn() {
    let site = Site::open();
    site.net.gateway.check("sysctl", &["-q", "-w", "net.ipv4.tcp_synack_retries=0"]);
    assert!(xdp::attached(&site.net.gateway, "pub0").is_some());
    let eye = harness::wire::Wire::open(&site.net.gateway, "pub0");
    let hand = site.net.attacker();
    let mut latencies = Vec::new();
    let mut commands = Vec::new();
    for edit in 0..EDITS {
        site.allow("198.51.100.99");
        let _ = eye.drain();
        let mut remove = site.gateway.cli_command(&["allow", "remove", "public", "198.51.100.99", "--json"]);
        let start = Instant::now();
        let command = thread::spawn(move || {
            let finished = harness::process::run(&mut remove, Duration::from_secs(20));
            (Instant::now(), finished)
        });
        // Each SYN has a source port of its own: what the capture behind XDP has of them, passed.
        let mut sent = Vec::new();
        while !command.is_finished() || sent.len() < 4 {
            let port = u16::try_from(10_000 + sent.len() % 50_000).expect("a port");
            sent.push(Instant::now());
            hand.send(&frame::syn(&Link::default(), (GHOST_V4, port).into(), HTTPS_V4));
            thread::sleep(Duration::from_micros(500));
        }
        let (returned, finished) = command.join().expect("command");
        finished.success();
        let after = u16::try_from(10_000 + sent.len() % 50_000).expect("a port");
        hand.send(&frame::syn(&Link::default(), (GHOST_V4, after).into(), HTTPS_V4));
        thread::sleep(Duration::from_millis(20));
        let passed: Vec<u16> = eye
            .drain()
            .into_iter()
            .filter(|seen| !seen.outgoing && seen.is_from_mac(&GHOST_MAC))
            .filter_map(|seen| Some(u16::from_be_bytes([*seen.bytes.get(34)?, *seen.bytes.get(35)?])))
            .collect();
        assert!(!passed.contains(&after), "edit {edit}: a SYN passed after the command had returned");
        // Drops form one block at the end.
        let last = passed.iter().max().map_or(0, |port| usize::from(*port) - 10_000 + 1);
        assert_eq!(passed.len(), last, "edit {edit}: a SYN passed after one was dropped");
        if let Some(first) = sent.get(last) {
            latencies.push(first.duration_since(start));
        }
        commands.push(returned.duration_since(start));
    }
    report("first refused SYN", &mut latencies);
    report("command returned", &mut commands);
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1)));
    println!("{what} after the start of the command: p50 {:?}, p99 {:?}, n {}", at(50), at(99), times.len());
}
