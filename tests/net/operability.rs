//! What an operator is told before and after a change, and what he is kept from doing by mistake.

use harness::{
    client::{Reach, connect, reach},
    desk::assert_names,
    topology::{CLIENT_V4, OFFICE_V4, OUTSIDER_V4},
};
use serde_json::Value;

use super::site::{HTTPS_V4, Site};

/// A shell on the gateway host, from the client's machine.
fn shell() -> String {
    format!("{CLIENT_V4} 51000 {} 22", HTTPS_V4.ip())
}

fn rows(reply: &Value) -> Vec<(String, u64, bool)> {
    let rows = reply["would_cut"].as_array().expect("who would be cut");
    assert_eq!(reply["would_cut_total"], rows.len());
    rows.iter()
        .map(|row| {
            assert_eq!(row["listener"], "public");
            assert!(row["last_seen"].as_u64().expect("a time") > 1_700_000_000, "{row}");
            let source = row["source"].as_str().expect("a source").to_owned();
            (source, row["connections"].as_u64().expect("a number"), row["cut"] == true)
        })
        .collect()
}

/// A change that cuts connections of the machine that the operator sits at is refused, unless he says --force.
#[test]
fn nobody_cuts_off_himself_by_mistake() {
    let site = Site::open();
    site.allow("198.51.100.0/24");
    let ssh = shell();
    // Nothing of the caller's goes through the gateway yet, so nothing of his is cut.
    site.gateway.cli_over_ssh(&ssh, &["listener", "close", "public"]).ok();
    site.gateway.cli_over_ssh(&ssh, &["listener", "open", "public"]).ok();
    let mine = connect(&site.net.client, HTTPS_V4);
    let file = site.gateway.scratch().write("empty.toml", "");
    let file = file.to_str().expect("UTF-8");
    for words in [
        &["listener", "close", "public"][..],
        &["listener", "delete", "public"],
        &["allow", "remove", "public", "198.51.100.0/24"],
        &["allow", "set", "public", "198.51.100.66"],
        &["apply", "-f", file],
    ] {
        let before = (site.gateway.generation(), site.gateway.export());
        let error = site.gateway.cli_over_ssh(&ssh, words).refused();
        assert_names(&error, &[("code", "would_cut_caller"), ("remedy", "--force")]);
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains("1 connection of your address 198.51.100.10 to listener public"), "{error}");
        assert_eq!((site.gateway.generation(), site.gateway.export()), before, "{words:?}");
        // A dry run says the same as a note.
        let dry = site.gateway.cli_over_ssh(&ssh, &[words, &["--dry-run"]].concat()).ok();
        assert!(dry["notes"].to_string().contains("198.51.100.10"), "{words:?}: {dry}");
        assert_eq!(rows(&dry), [(CLIENT_V4.to_string(), 1, true)]);
    }
    // What leaves him in, others' changes, and a change that is meant.
    site.gateway.cli_over_ssh(&ssh, &["allow", "set", "public", "198.51.100.10"]).ok();
    site.gateway.cli_over_ssh(&format!("{OFFICE_V4} 5 10.7.0.1 22"), &["listener", "close", "public"]).ok();
    site.gateway.cli(&["listener", "open", "public"]).ok();
    drop(mine);
    let _mine = connect(&site.net.client, HTTPS_V4);
    site.gateway.cli_over_ssh(&ssh, &["listener", "close", "public"]).refused();
    site.gateway.cli_over_ssh(&ssh, &["listener", "close", "public", "--force", "--confirm", "60s"]).ok();
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Timeout);
}

/// A new listener on the port of the operator's own shell would cut it: the filter would judge its packets.
#[test]
fn a_listener_on_the_shells_port_is_refused() {
    let site = Site::open();
    let add = [
        "listener",
        "add",
        "two",
        "--interface",
        "pub0",
        "--address",
        "198.51.100.1",
        "--no-http",
        "--https",
        "22",
    ];
    let error = site.gateway.cli_over_ssh(&shell(), &[&add[..], &["--open"]].concat()).refused();
    assert_names(&error, &[("code", "would_cut_caller"), ("message", "SSH connection from 198.51.100.10")]);
    site.gateway.cli_over_ssh(&shell(), &[&add[..], &["--open", "--force"]].concat()).ok();
    // Once he is on its list, closing it is what would cut him.
    site.gateway.cli(&["allow", "add", "two", "198.51.100.10"]).ok();
    let error = site.gateway.cli_over_ssh(&shell(), &["listener", "close", "two"]).refused();
    assert_names(&error, &[("code", "would_cut_caller"), ("message", "(closed)")]);
}

/// `--dry-run` and `diff` say from live connections and recent sources who would be kept out.
#[test]
fn diff_and_dry_run_say_who_would_be_cut() {
    let site = Site::open();
    site.allow("198.51.100.10,198.51.100.66");
    let (_open, second) = (connect(&site.net.client, HTTPS_V4), connect(&site.net.client, HTTPS_V4));
    // The outsider was in, and has no connection any more.
    drop(connect(&site.net.outsider, HTTPS_V4));
    harness::wait::until("the outsider's connection to end", std::time::Duration::from_secs(10), || {
        let dry = site.gateway.cli(&["listener", "close", "public", "--dry-run"]).ok();
        (rows(&dry) == [(CLIENT_V4.to_string(), 2, true), (OUTSIDER_V4.to_string(), 0, false)]).then_some(())
    });
    let remove = |cidr: &str, more: &[&str]| {
        site.gateway.cli(&[&["allow", "remove", "public", cidr, "--dry-run"], more].concat()).ok()
    };
    assert_eq!(rows(&remove("198.51.100.66", &[])), [(OUTSIDER_V4.to_string(), 0, false)]);
    // A drain lets connections finish; new ones are refused.
    assert_eq!(rows(&remove("198.51.100.10", &["--drain", "30s"])), [(CLIENT_V4.to_string(), 2, false)]);
    assert!(rows(&site.gateway.cli(&["allow", "add", "public", "192.0.2.1", "--dry-run"]).ok()).is_empty());
    let narrow =
        site.gateway.export().replace("\"198.51.100.10/32\",", "").replace("\"198.51.100.10/32\"", "");
    let file = site.gateway.scratch().write("narrow.toml", narrow);
    let file = file.to_str().expect("UTF-8");
    let diff = site.gateway.cli(&["diff", "-f", file]);
    assert_eq!(
        (diff.code, rows(&diff.json)),
        (1, vec![(CLIENT_V4.to_string(), 2, true)]),
        "{}",
        diff.framed()
    );
    let told = site.gateway.human(&["diff", "-f", file]).stdout;
    assert!(told.contains("198.51.100.10") && told.contains("would be kept out"), "{told}");
    drop(second);
}

/// `explain` asks the kernel's program over its live tables, counts nothing, and says what is known of the source.
#[test]
fn explain_names_tier_entry_reason_count_and_last_seen() {
    let site = Site::open();
    site.allow("198.51.100.10");
    let explain = |words: &[&str]| site.gateway.cli(&[&["explain"], words].concat()).ok();
    let denied = || explain(&["198.51.100.66", "198.51.100.1:443"]);
    let fresh = denied();
    assert_eq!(
        (&fresh["verdict"], &fresh["reason"], &fresh["tier"]),
        (&"drop".into(), &"not_allowed".into(), &"xdp".into())
    );
    assert_eq!(
        (&fresh["kernel"]["reason"], &fresh["host"]["reason"]),
        (&"not_allowed".into(), &"not_allowed".into())
    );
    assert!(fresh["last_seen"].is_null() && fresh["warnings"] == serde_json::json!([]), "{fresh}");
    // Asking is not counting.
    assert_eq!((&fresh["count"]["of"], fresh["count"]["packets"].as_u64()), (&"reason".into(), Some(0)));
    assert_eq!(denied()["count"], fresh["count"]);
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Timeout);
    let told = harness::wait::until("the sampled drop", std::time::Duration::from_secs(5), || {
        Some(denied()).filter(|told| told["last_seen"].is_u64())
    });
    assert!(told["count"]["packets"].as_u64() >= Some(1), "{told}");

    let _open = connect(&site.net.client, HTTPS_V4);
    let told = explain(&["198.51.100.10", "198.51.100.1:443", "--interface", "pub0"]);
    assert_eq!((&told["verdict"], &told["entry"]), (&"pass".into(), &"198.51.100.10/32".into()), "{told}");
    assert_eq!((&told["count"]["of"], &told["connections"]), (&"entry".into(), &1.into()), "{told}");
    assert!(told["count"]["packets"].as_u64() >= Some(2) && told["last_seen"].is_u64(), "{told}");
    // A listener without a VLAN takes tagged frames too; one with three VLANs would be another matter.
    let tagged = explain(&["198.51.100.10", "198.51.100.1:443", "--interface", "pub0", "--vlan", "7"]);
    assert_eq!((&tagged["verdict"], &tagged["kernel"]), (&told["verdict"], &told["kernel"]));
    assert_eq!(site.gateway.cli(&["explain", "198.51.100.10", "198.51.100.1:443", "--vlan", "7"]).code, 2);

    // Where no program judges, that is said, and the check at accept names itself.
    let other = explain(&["198.51.100.10", "198.51.100.1:443", "--interface", "up0"]);
    assert_eq!((&other["tier"], &other["reason"]), (&"accept".into(), &"wrong_interface".into()), "{other}");
    assert!(other["kernel"].is_null() && other["warnings"][0].to_string().contains("up0"), "{other}");
    let people = site.gateway.human(&["explain", "198.51.100.66", "198.51.100.1:443"]).success();
    for part in ["drop: not_allowed", "in the kernel: drop", "last seen 20", "packets of this listener"] {
        assert!(people.contains(part), "no `{part}` in\n{people}");
    }
}
