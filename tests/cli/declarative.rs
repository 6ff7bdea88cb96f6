//! The whole configuration as a file: `export`, `apply`, `diff`; and back again: `history`, `rollback`.

use std::{thread, time::Duration};

use harness::{
    desk::{Desk, add_front, assert_names},
    wait,
};

/// A configuration with one of everything.
fn furnished() -> Desk {
    let desk = Desk::with_front();
    let authority = harness::Authority::new();
    let files = authority.leaf(&["a.example.org"]).write(desk.gateway.scratch(), "a");
    for words in [
        &["allow", "add", "front", "192.0.2.0/24,2001:db8::/32"][..],
        &["listener", "open", "front"],
        &[
            "service",
            "add",
            "echo",
            "--instance",
            "127.0.0.1:9,127.0.0.1:10",
            "--qps",
            "7",
            "--body-limit",
            "2MiB",
        ],
        &["service", "add", "open", "--instance", "127.0.0.1:9", "--no-auth"],
        &["cert", "add", "a", "--chain", files.chain(), "--key", files.key()],
        &["domain", "add", "a.example.org", "--exposure", "public", "--cert", "a", "--https-only"],
        &[
            "route",
            "add",
            "r",
            "--host",
            "a.example.org",
            "--path-prefix",
            "/m",
            "--service",
            "echo=3,open=1",
        ],
    ] {
        desk.ok(words);
    }
    desk
}

#[test]
fn exporting_and_applying_is_the_identity() {
    let desk = furnished();
    let before = desk.whole();
    let file = desk.file("same.toml", &before.1);
    let same = desk.gateway.cli(&["diff", "-f", &file]);
    assert_eq!(same.code, 0, "{}", same.framed());
    assert_eq!(desk.ok(&["apply", "-f", &file])["changed"], false);
    assert_eq!(desk.whole(), before);
    // Without secrets: no token, no key.
    assert!(!before.1.contains("PRIVATE KEY"), "{}", before.1);

    // A change of the file is a change of exactly that.
    let other = desk.file("other.toml", before.1.replace("192.0.2.0/24", "198.51.100.0/24"));
    let different = desk.gateway.cli(&["diff", "-f", &other]);
    assert_eq!(different.code, 1, "{}", different.framed());
    assert!(different.finished.stdout.contains("198.51.100.0/24"), "{}", different.framed());
    assert_eq!(desk.whole(), before);
    assert_eq!(desk.ok(&["apply", "-f", &other])["changed"], true);
    assert_eq!(desk.gateway.export(), before.1.replace("192.0.2.0/24", "198.51.100.0/24"));
    assert_eq!(desk.ok(&["apply", "-f", &file])["changed"], true);
    assert_eq!(desk.gateway.export(), before.1);
    // What the file does not have is removed.
    let nothing = desk.file("nothing.toml", "");
    desk.ok(&["apply", "-f", &nothing]);
    assert_eq!(desk.ok(&["listener", "list"])["items"].as_array().map(Vec::len), Some(0));
}

#[test]
fn the_same_configuration_is_there_after_a_restart() {
    let mut desk = furnished();
    let before = desk.whole();
    desk.gateway.stop();
    desk.gateway.run();
    assert_eq!(desk.whole(), before);
    desk.gateway.kill();
    desk.gateway.run();
    assert_eq!(desk.whole(), before);
}

/// On another state the secrets are missing and named; `--with-secrets` is complete.
#[test]
fn secrets_travel_only_when_asked_for() {
    let desk = furnished();
    let export = desk.gateway.export();
    let secret = desk.gateway.scratch().join("secret.toml");
    let path = secret.to_str().expect("UTF-8").to_owned();
    desk.gateway.human(&["export", "--with-secrets", &path]).success();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&secret).expect("the file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let complete = std::fs::read_to_string(&secret).expect("the file");
    assert!(complete.contains("PRIVATE KEY"));
    drop(desk);

    let other = Desk::new();
    let file = other.file("poor.toml", &export);
    let error = other.refused(&["apply", "-f", &file]);
    assert!(
        error.to_string().contains("echo") || error.to_string().contains("`a`"),
        "names no secret: {error}"
    );
    let file = other.file("rich.toml", &complete);
    other.ok(&["apply", "-f", &file]);
    assert_eq!(other.gateway.export(), export);
}

#[test]
fn history_names_every_change_and_rollback_goes_back() {
    let desk = Desk::with_front();
    desk.ok(&["allow", "add", "front", "192.0.2.1"]);
    let narrow = desk.whole();
    desk.ok(&["allow", "add", "front", "192.0.2.2"]);
    let wide = desk.whole();
    let history = desk.ok(&["history"]);
    let items = history["items"].as_array().expect("items");
    assert!(items.iter().any(|item| item["generation"].as_u64() == Some(wide.0)), "{history}");
    assert!(
        items.iter().any(|item| item["summary"].as_str().is_some_and(|text| text.contains("192.0.2.2"))),
        "{history}"
    );

    // Back to less access goes without a question; back to more wants `--yes` and says what would be widened.
    let back = desk.ok(&["rollback", &narrow.0.to_string()]);
    assert_eq!(back["changed"], true);
    assert!(back["generation"].as_u64() > Some(wide.0), "a rollback is a generation of its own");
    assert_eq!(desk.gateway.export(), narrow.1);
    let error = desk.refused(&["rollback", &wide.0.to_string()]);
    assert!(error.to_string().contains("192.0.2.2"), "{error}");
    assert_names(&error, &[("remedy", "--yes")]);
    desk.ok(&["rollback", &wide.0.to_string(), "--yes"]);
    assert_eq!(desk.gateway.export(), wide.1);
    desk.refused(&["rollback", "999999"]);
}

/// `apply --confirm`: what nobody confirms is undone in time; what somebody does stays.
#[test]
fn an_unconfirmed_change_is_undone() {
    let desk = Desk::with_front();
    desk.ok(&["allow", "add", "front", "192.0.2.1"]);
    let before = desk.gateway.export();
    let after = before.replace("192.0.2.1/32", "192.0.2.2/32");
    let file = desk.file("next.toml", &after);
    desk.gateway.cli(&["confirm"]).refused();
    desk.refused(&["apply", "-f", &file, "--confirm", "0s"]);
    desk.refused(&["apply", "-f", &file, "--confirm", "soon"]);
    assert_eq!(desk.ok(&["apply", "-f", &file, "--confirm", "1s"])["changed"], true);
    assert_eq!(desk.gateway.export(), after);
    // Nothing else is changed while it waits.
    let error = desk.refused(&["allow", "add", "front", "192.0.2.3"]);
    assert_names(&error, &[("code", "confirm_pending"), ("remedy", "confirm")]);
    wait::until("the undoing", || (desk.gateway.export() == before).then_some(()));
    desk.ok(&["apply", "-f", &file, "--confirm", "2s"]);
    assert_eq!(desk.ok(&["confirm"])["changed"], true);
    thread::sleep(Duration::from_secs(3));
    assert_eq!(desk.gateway.export(), after);
}

/// A rollback never brings back a token that was revoked.
#[test]
fn a_rollback_revives_no_token() {
    let desk = Desk::with_front();
    desk.ok(&["service", "add", "echo", "--instance", "127.0.0.1:9"]);
    let old = desk.gateway.generation();
    desk.ok(&["token", "rotate", "echo"]);
    let tokens = |desk: &Desk| desk.ok(&["service", "show", "echo"])["tokens"].clone();
    let rotated = tokens(&desk);
    desk.ok(&["allow", "add", "front", "192.0.2.1"]);
    let reply = desk.gateway.cli(&["rollback", &old.to_string()]);
    assert!(reply.code <= 1, "{}", reply.framed());
    assert_eq!(tokens(&desk), rotated, "{}", reply.framed());
}

#[test]
fn everything_that_a_name_holds_up_is_refused() {
    let desk = furnished();
    for (words, holder) in [(["service", "delete", "echo"], "r"), (["cert", "delete", "a"], "a.example.org")]
    {
        let error = desk.refused(&words);
        assert!(error.to_string().contains(holder), "{error}");
    }
    let error = desk.refused(&["route", "add", "s", "--path-prefix", "/", "--service", "absent"]);
    assert!(error.to_string().contains("absent"), "{error}");
    let error = desk.refused(&["domain", "add", "b.example.org", "--exposure", "public", "--cert", "absent"]);
    assert!(error.to_string().contains("absent"), "{error}");
    let error = desk.refused(&add_front("front", "127.0.0.3", "9081", "9444"));
    assert!(error.to_string().contains("front"), "{error}");
}
