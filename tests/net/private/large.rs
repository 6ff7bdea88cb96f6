//! An allowlist of a hundred thousand entries: loaded at once, right in every place, and quick enough to print.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use harness::{Reach, frame, proof::Witness, reach};

use super::Private;

const ENTRIES: u32 = 100_000;

/// The `number`th entry: every second /32 of 10.128.0.0/14, so that each has neighbours that are not on the list.
fn entry(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 128, 0, 0)) + 2 * number)
}

fn text(client: Ipv4Addr) -> String {
    let mut text = String::with_capacity(ENTRIES as usize * 16);
    for number in 0..ENTRIES - 1 {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{}", entry(number));
    }
    let _ = writeln!(text, "{client}");
    text
}

/// A hundred thousand entries by standard input: first, last and others pass, their neighbours do not; a list with one
/// bad line changes nothing; while it is loaded a host of both lists is never refused.
#[test]
fn pv_3_a_list_of_a_hundred_thousand_entries_is_atomic_and_right() {
    let private = Private::bare();
    private.attach("red", &private.red);
    let client = private.red.host(10);
    let target = SocketAddr::from((private.red.vip(), 443));
    let list = text(client);
    private.site.gateway.cli(&["allow", "set", "vpc:red", &client.to_string()]).ok();

    // Whoever is on the old list and on the new one gets in at every moment.
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    let (reply, elapsed, tries) = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut tries = 0;
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(reach(&private.red.i, target), Reach::Open, "refused while the list was loaded");
                tries += 1;
            }
            tries
        });
        let reply = private.site.gateway.cli_with_input(&["allow", "set", "vpc:red", "-"], &list);
        let elapsed = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        (reply, elapsed, watch.join().expect("the watch"))
    });
    assert_eq!(reply.ok()["changed"], true);
    println!(
        "{ENTRIES} entries by `allow set -` in {elapsed:?} with the command's process; {tries} connections meanwhile"
    );

    let witness = Witness::with(&private.site.net, &["red0"]);
    let syn = |source: Ipv4Addr, port: u16| {
        frame::syn(&private.red.link(), (IpAddr::V4(source), port).into(), target)
    };
    // Spread over the list by a step that shares no factor with its length.
    let picks: Vec<u32> =
        (0..40).map(|turn: u32| turn * 24_971 % (ENTRIES - 1)).chain([0, 1, ENTRIES - 2]).collect();
    for (turn, number) in picks.into_iter().enumerate() {
        let port = 4000 + u16::try_from(turn).expect("a port");
        witness.assert_passed_on(&format!("entry {number}"), &private.red, &[syn(entry(number), port)]);
        let beside = Ipv4Addr::from(u32::from(entry(number)) + 1);
        witness.assert_dropped_on(&format!("beside entry {number}"), &private.red, &[syn(beside, port)]);
    }
    let below = Ipv4Addr::from(u32::from(entry(0)) - 1);
    witness.assert_dropped_on("below the first", &private.red, &[syn(below, 5000)]);
    assert_eq!(reach(&private.red.i, target), Reach::Open);
    assert_eq!(reach(&private.red.k, target), Reach::Timeout);
    assert_eq!(private.site.list("vpc:red").len(), ENTRIES as usize);

    // All or nothing: one bad line among a hundred thousand.
    let before = private.site.gateway.generation();
    let bad = list.replacen("10.128.4.0\n", "10.128.4.0/24x\n", 1);
    assert_ne!(bad, list);
    let error = private.site.gateway.cli_with_input(&["allow", "set", "vpc:red", "-"], &bad).refused();
    assert!(error.to_string().contains("10.128.4.0/24x"), "{error}");
    assert_eq!(private.site.gateway.generation(), before);
    witness.assert_passed_on("after the refused list", &private.red, &[syn(entry(7), 5001)]);

    // One entry more or less of many.
    private.site.gateway.cli(&["allow", "add", "vpc:red", "10.1.0.20"]).ok();
    assert_eq!(reach(&private.red.k, target), Reach::Open);
    private.site.gateway.cli(&["allow", "remove", "vpc:red", &entry(7).to_string()]).ok();
    witness.assert_dropped_on("a removed entry", &private.red, &[syn(entry(7), 5002)]);
    witness.assert_passed_on("its neighbour", &private.red, &[syn(entry(8), 5003)]);
}
