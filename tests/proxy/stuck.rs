//! A worker that stands still: the others take every change, and whoever makes one is told who does not.

use harness::{Desk, frozen::Frozen, wait};
use serde_json::{Value, json};

/// What `status` warns of, among workers alone.
fn warnings(status: &Value) -> Vec<&Value> {
    let all = status["warnings"].as_array().expect("status has warnings").iter();
    all.filter(|text| text.as_str().is_some_and(|text| text.starts_with("worker "))).collect()
}

#[test]
fn who_makes_a_change_is_told_of_a_worker_that_does_not_take_it() {
    let desk = Desk::with_settings("workers = 2\n").open();
    let serves =
        |zero: u64, one: u64| json!([{"worker": 0, "generation": zero}, {"worker": 1, "generation": one}]);
    let before = desk.gateway.generation();
    assert_eq!(desk.ok(&["status"])["workers"], serves(before, before));

    let frozen = Frozen::new(desk.gateway.id(), "worker-1");
    let change = desk.ok(&["allow", "add", "front", "192.0.2.0/24"]);
    let after = before + 1;
    let told = format!("worker 1 is stuck: it serves generation {before}, not {after}");
    assert_eq!((&change["changed"], &change["notes"]), (&true.into(), &json!([told])), "{change}");
    let status = desk.ok(&["status"]);
    assert_eq!(
        (&status["workers"], warnings(&status)),
        (&serves(after, before), vec![&told.into()]),
        "{status}"
    );

    // It finds the change as soon as it moves again.
    drop(frozen);
    let status = wait::until("the worker to serve it", || {
        let status = desk.ok(&["status"]);
        (status["workers"] == serves(after, after)).then_some(status)
    });
    assert!(warnings(&status).is_empty(), "{status}");
    let change = desk.ok(&["allow", "remove", "front", "192.0.2.0/24"]);
    assert!(change.get("notes").is_none(), "{change}");
}
