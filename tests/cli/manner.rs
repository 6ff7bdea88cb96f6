//! How changes are made: tried first, undone unless confirmed.

use std::time::Duration;

use harness::{
    desk::{Desk, assert_names},
    wait,
};

/// Every verb that changes something takes `--confirm`; status counts down, and nobody else changes anything.
#[test]
fn every_change_can_wait_for_its_confirmation() {
    let desk = Desk::with_open_front();
    desk.ok(&["service", "add", "echo", "--instance", "127.0.0.1:9"]);
    let before = desk.gateway.export();
    let changes: [&[&str]; 11] = [
        &["allow", "add", "front", "192.0.2.1"],
        &["allow", "remove", "front", "127.0.0.0/8"],
        &["allow", "set", "front", "192.0.2.1"],
        &["listener", "close", "front"],
        &["listener", "delete", "front"],
        &[
            "listener",
            "add",
            "other",
            "--interface",
            "lo",
            "--address",
            "127.0.0.3",
            "--http",
            "9081",
            "--no-https",
        ],
        &["service", "update", "echo", "--qps", "5"],
        &["service", "delete", "echo"],
        &["token", "rotate", "echo"],
        &["route", "add", "all", "--path-prefix", "/", "--service", "echo"],
        &["domain", "add", "a.example.org"],
    ];
    for words in changes {
        let words = [words, &["--confirm", "60s"]].concat();
        let generation = desk.gateway.generation();
        let reply = desk.ok(&words);
        let status = desk.ok(&["status"]);
        assert_eq!(status["confirm"]["by"], reply["confirm_by"], "{words:?}: {reply} {status}");
        assert_eq!(status["confirm"]["back_to"], generation);
        assert!((1..=60).contains(&status["confirm"]["left"].as_u64().unwrap()), "{status}");
        assert_names(&desk.refused(&["listener", "open", "front"]), &[("code", "confirm_pending")]);
        desk.ok(&["rollback", &generation.to_string(), "--yes"]);
        assert!(desk.ok(&["status"])["confirm"].is_null());
        // A token that was replaced does not come back; everything else does.
        if words.first() != Some(&"token") && words.get(1) != Some(&"delete") {
            assert_eq!(desk.gateway.export(), before, "{words:?}");
        }
    }
}

/// The text for people says how to keep the change, and until when.
#[test]
fn people_are_told_how_to_confirm() {
    let desk = Desk::with_open_front();
    let told = desk.gateway.human(&["listener", "close", "front", "--confirm", "60s"]).success();
    assert!(told.contains("60s") && told.contains("`gateway confirm`"), "{told}");
    let status = desk.gateway.human(&["status"]).success();
    assert!(status.contains(" s (back to generation") && status.contains("`gateway confirm`"), "{status}");
    desk.gateway.human(&["confirm"]).success();
    let status = desk.gateway.human(&["status"]).success();
    assert!(!status.contains("`gateway confirm`"), "{status}");
}

/// A daemon that was killed while a change waited undoes it as soon as it is back, if its time is over.
#[test]
fn a_kill_does_not_keep_what_nobody_confirmed() {
    let mut desk = Desk::with_open_front();
    let before = desk.gateway.export();
    desk.ok(&["listener", "close", "front", "--confirm", "1s"]);
    desk.gateway.kill();
    // Only to be past the deadline; how long it was does not matter.
    std::thread::sleep(Duration::from_secs(2));
    desk.gateway.run();
    assert_eq!(desk.gateway.export(), before);
    assert_eq!(desk.ok(&["listener", "show", "front"])["open"], true);

    desk.ok(&["listener", "close", "front", "--confirm", "3s"]);
    desk.gateway.kill();
    desk.gateway.run();
    wait::until("the undoing", || (desk.gateway.export() == before).then_some(()));
}
