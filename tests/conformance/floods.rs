//! Attacks on HTTP/2, replayed: each ends with its connection closed, has cost a bounded amount of work and memory, is
//! counted by what it flooded with, and a client on another connection is served throughout.

use std::{fs, time::Duration};

use harness::{Upstream, process, wait};
use serde_json::Value;

use crate::stage::{HOST, HTTPS, Stage, assert_all_pass, verdicts};

/// The attack, whether it must be counted as one, and the requests that its instance may see.
const ATTACKS: &[(&str, bool, u64)] = &[
    // Cancelled in the same bytes: next to none is let through.
    ("rapid reset", true, 25),
    // A burst of 300, and those in flight when it is empty.
    ("patient reset", true, 360),
    ("CONTINUATION", true, 0),
    ("empty CONTINUATION", true, 0),
    ("SETTINGS", true, 0),
    ("empty SETTINGS", true, 0),
    ("PING", true, 0),
    ("PRIORITY", true, 0),
    ("WINDOW_UPDATE", true, 0),
    ("unknown frames", true, 0),
    // A client that has said goodbye is let go.
    ("GOAWAY", false, 0),
    ("empty DATA", true, 1),
    ("forced reset: window", true, 140),
    ("forced reset: content-length", true, 140),
    ("forced reset: second head", true, 140),
    ("forced reset: malformed head", true, 0),
    // The one that fills the table is an ordinary request.
    ("table bomb", true, 1),
    // Refused request by request; the connection goes on.
    ("many fields", false, 0),
];
/// All attacks together, on a debug build: the streams and buffers of one connection, and the allocator's slack.
const MEMORY: u64 = 48 << 20;

#[test]
fn every_attack_ends_with_its_connection_in_bounded_work() {
    let stage = Stage::new();
    let victim = stage.desk.within(|| Upstream::local("victim"));
    stage.desk.ok(&["service", "add", "victim", "--no-auth", "--instance", &victim.instance()]);
    let known = process::run(stage.python("h2/floods.py").arg("list"), Duration::from_secs(20));
    let names: Vec<&str> = ATTACKS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(known.success().lines().collect::<Vec<_>>(), names, "the two lists of attacks differ");

    let before = resident(&stage);
    for (name, counted, most) in ATTACKS {
        let (requests, floods_before) = (victim.requests(), floods(&stage));
        let mut judge = stage.python("h2/floods.py");
        judge.args([HOST, HTTPS, "tls", "/api/predict/victim", "/api/predict/echo", name]);
        assert_all_pass(&verdicts(&mut judge), 1);
        let seen = victim.requests() - requests;
        assert!(seen <= *most, "{name}: the instance saw {seen} requests, {most} at most were expected");
        if *counted {
            let what = format!("{name} to be counted as a flood");
            wait::until(&what, || (floods(&stage) > floods_before).then_some(()));
        }
    }
    let grown = resident(&stage).saturating_sub(before);
    assert!(grown < MEMORY, "the daemon grew by {} KiB", grown >> 10);
}

/// Connections closed for flooding, as `gateway stats` shows them.
#[track_caller]
fn floods(stage: &Stage) -> u64 {
    let stats = stage.desk.ok(&["stats"]);
    let listeners = stats.pointer("/listeners").and_then(Value::as_array).into_iter().flatten();
    let counts: Vec<u64> = listeners
        .filter_map(|listener| listener.pointer("/floods")?.as_object())
        .flat_map(|floods| floods.values().filter_map(Value::as_u64))
        .collect();
    assert!(!counts.is_empty(), "no such figures: {stats}");
    counts.iter().sum()
}

/// Bytes of memory that the daemon holds.
#[track_caller]
fn resident(stage: &Stage) -> u64 {
    let path = format!("/proc/{}/statm", stage.desk.gateway.id());
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_else(|| panic!("{path}: {text}")) * 4096
}
