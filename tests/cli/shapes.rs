//! What scripts rely on: exit codes, the shapes of `--json`, and that `--dry-run` changes nothing.

use std::{cell::Cell, process::Command};

use harness::{gateway, process};

use harness::desk::{Desk, add_front, assert_names};

const LIMIT: std::time::Duration = std::time::Duration::from_secs(20);

#[test]
fn changes_lists_and_items_have_their_shapes() {
    let desk = Desk::new();
    let last = Cell::new(desk.gateway.generation());
    let changed = |words: &[&str]| {
        let reply = desk.ok(words);
        assert_eq!(reply["changed"], true, "{words:?}: {reply}");
        let generation = reply["generation"].as_u64().unwrap_or_else(|| panic!("{words:?}: {reply}"));
        assert!(generation > last.get(), "{words:?}: {generation} after {last:?}");
        last.set(generation);
        reply
    };
    changed(&add_front("front", "127.0.0.2", "9080", "9443"));
    changed(&["allow", "add", "front", "127.0.0.0/8"]);
    changed(&["listener", "open", "front"]);
    let added = changed(&["service", "add", "echo", "--instance", "127.0.0.1:9"]);
    assert_eq!(added["name"], "echo");
    assert!(added["endpoints"].as_array().is_some_and(|urls| !urls.is_empty()), "{added}");
    assert!(added["token"].is_string(), "{added}");
    changed(&["route", "add", "all", "--path-prefix", "/", "--service", "echo"]);
    let authority = harness::Authority::new();
    let files = authority.leaf(&["a.example.org"]).write(desk.gateway.scratch(), "a");
    changed(&["cert", "add", "a", "--chain", files.chain(), "--key", files.key()]);
    changed(&["domain", "add", "a.example.org", "--exposure", "public", "--cert", "a"]);

    for (kind, name, key) in [
        ("listener", "front", "name"),
        ("service", "echo", "name"),
        ("route", "all", "name"),
        ("cert", "a", "name"),
        ("domain", "a.example.org", "host"),
    ] {
        let list = desk.ok(&[kind, "list"]);
        assert_eq!(list["generation"].as_u64(), Some(last.get()), "{list}");
        let items = list["items"].as_array().unwrap_or_else(|| panic!("{list}"));
        assert!(items.iter().any(|item| item[key] == name), "{list}");
    }
    for words in [["listener", "show", "front"], ["service", "show", "echo"], ["cert", "show", "a"]] {
        assert_eq!(desk.ok(&words)["name"], words[2]);
    }
    let allow = desk.ok(&["allow", "list", "front"]);
    assert_eq!((&allow["listener"], &allow["items"][0]["cidr"]), (&"front".into(), &"127.0.0.0/8".into()));
    for counter in ["packets", "bytes"] {
        assert!(allow["items"][0][counter].is_u64(), "{allow}");
    }
    let status = desk.ok(&["status"]);
    assert!(status["workers"].is_array() && status["filter"].is_array(), "{status}");
    assert_eq!(status["generation"].as_u64(), Some(last.get()));

    for words in [
        &["route", "delete", "all"][..],
        &["domain", "delete", "a.example.org"],
        &["cert", "delete", "a"],
        &["service", "delete", "echo"],
        &["allow", "remove", "front", "127.0.0.0/8"],
        &["listener", "close", "front"],
        &["listener", "delete", "front"],
    ] {
        changed(words);
    }
}

#[test]
fn pl_2_endpoint_services_and_the_gateway_have_their_shapes() {
    let desk = Desk::new();
    desk.ok(&["service", "add", "dsw", "--instance", "127.0.0.1:9", "--no-auth", "--exposure", "endpoint"]);
    let add = ["endpoint-service", "add", "dsw", "--service", "dsw", "--region", "cn-a,cn-b"];
    let names = ["--service-name", "com.example.privatelink.{region}.dsw", "--dns"];
    let added = desk.ok(&[&add[..], &names, &["dsw-vpc.{region}.example.com"]].concat());
    assert_eq!((&added["changed"], &added["item"]["regions"][1]), (&true.into(), &"cn-b".into()), "{added}");
    let error = desk.refused(&[&add[..], &names, &["dsw"]].concat());
    assert_eq!(error["code"], "exists");
    let error = desk.refused(&[&add[..], &names, &["dsw", "--replace"]].concat());
    assert_names(&error, &[("code", "invalid_template"), ("field", "dns")]);
    let list = desk.ok(&["endpoint-service", "list", "--search", "privatelink"]);
    assert_eq!(list["items"][0]["name"], "dsw");
    assert_eq!(desk.ok(&["endpoint-service", "show", "dsw"])["dns"], "dsw-vpc.{region}.example.com");
    let endpoint = ["endpoint", "add", "e", "--service", "dsw", "--vpc", "s1", "--subnet"];
    for (more, code) in [
        (&["a=10.0.0.20/24"][..], "not_found"),
        (&["10.0.0.20/24"], "invalid_subnet"),
        (&["a=10.0.0.20/24", "--ip-version", "ipv6"], "ipv4_only"),
        (&["a=10.0.0.20/24", "--client-token", ""], "invalid_client_token"),
    ] {
        let error = desk.refused(&[&endpoint[..], more].concat());
        assert_eq!(error["code"], code, "{more:?}: {error}");
    }
    assert_eq!(desk.ok(&["endpoint", "list"])["items"], serde_json::json!([]));
    assert_eq!(desk.refused(&["endpoint", "show", "e"])["code"], "not_found");
    assert_eq!(desk.refused(&["service", "delete", "dsw"])["code"], "in_use");
    // Without a zone in the settings the gateway has no names, and says so.
    let shown = desk.ok(&["show"]);
    assert_eq!((&shown["name"], &shown["region"]), (&"default".into(), &"local".into()));
    assert!(shown["public_name"].is_null() && shown["private_names"].is_array(), "{shown}");
    desk.ok(&["endpoint-service", "delete", "dsw"]);
}

#[test]
fn exit_codes_are_as_documented() {
    let desk = Desk::with_front();
    // 0 also when there was nothing to do; 1 refused; 2 usage.
    desk.ok(&["allow", "add", "front", "192.0.2.1"]);
    assert_eq!(desk.ok(&["allow", "add", "front", "192.0.2.1/32"])["changed"], false);
    let error = desk.refused(&["allow", "remove", "front", "192.0.2.2"]);
    assert_names(&error, &[("code", "not_found"), ("value", "192.0.2.2")]);
    for words in
        [&["allow", "add"][..], &["no-such-verb"], &["listener", "add", "x", "--no-such-option"], &["allow"]]
    {
        let finished = desk.gateway.human(words);
        assert_eq!(finished.code, Some(2), "{}", finished.framed());
        assert!(!finished.stderr.is_empty(), "{}", finished.framed());
    }
    for words in [["listener", "show", "none"], ["service", "show", "none"], ["allow", "list", "none"]] {
        assert_names(&desk.gateway.cli(&words).refused(), &[("code", "not_found"), ("value", "none")]);
    }
    // 3: nobody at the socket. The four verbs without a daemon do not care.
    let mut lonely = Command::new(gateway::binary());
    lonely.args(["status", "--json", "--socket", "/nonexistent/control.sock"]).env_remove("GATEWAY_SOCKET");
    let finished = process::run(&mut lonely, LIMIT);
    assert_eq!(finished.code, Some(3), "{}", finished.framed());
    assert!(finished.stderr.contains("gateway run"), "no remedy: {}", finished.framed());
    let version = process::run(Command::new(gateway::binary()).arg("version"), LIMIT);
    assert!(version.success().contains(env!("CARGO_PKG_VERSION")));
    // `explain` is 0 for either verdict.
    let explained = desk.ok(&["explain", "192.0.2.9", "127.0.0.2:9443"]);
    assert_eq!(explained["verdict"], "drop", "{explained}");
    let explained = desk.ok(&["explain", "192.0.2.9", "127.0.0.2:22"]);
    assert_eq!(explained["verdict"], "pass", "{explained}");
}

#[test]
fn errors_have_one_shape_on_stdout_and_prose_on_stderr() {
    let desk = Desk::with_front();
    let reply = desk.gateway.cli(&["allow", "add", "front", "192.0.2.1/24"]);
    let stderr = reply.finished.stderr.clone();
    let error = reply.refused();
    assert_names(
        &error,
        &[
            ("code", ""),
            ("message", ""),
            ("field", ""),
            ("value", "192.0.2.1/24"),
            ("remedy", "192.0.2.0/24"),
        ],
    );
    assert!(stderr.contains("192.0.2.0/24") && !stderr.trim_start().starts_with('{'), "{stderr}");
    // The human form says the same and keeps stdout clean.
    let finished = desk.gateway.human(&["allow", "add", "front", "192.0.2.1/24"]);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{}", finished.framed());
    assert!(finished.stderr.contains("192.0.2.0/24"), "{}", finished.framed());
}

#[test]
fn a_dry_run_says_everything_and_changes_nothing() {
    let desk = Desk::with_front();
    desk.ok(&["allow", "add", "front", "192.0.2.1"]);
    let before = desk.whole();
    let file = desk.file("next.toml", desk.gateway.export().replace("192.0.2.1/32", "192.0.2.2/32"));
    for words in [
        &["allow", "add", "front", "198.51.100.0/24", "--dry-run"][..],
        &["allow", "remove", "front", "192.0.2.1", "--dry-run"],
        &["allow", "set", "front", "10.0.0.0/8", "--dry-run"],
        &["listener", "open", "front", "--dry-run"],
        &["listener", "delete", "front", "--dry-run"],
        &["service", "add", "echo", "--instance", "127.0.0.1:9", "--dry-run"],
        &["apply", "-f", &file, "--dry-run"],
    ] {
        let reply = desk.ok(words);
        assert_eq!(reply["changed"], true, "{words:?}: {reply}");
        assert_eq!(desk.whole(), before, "{words:?}");
    }
    // What would be refused is refused in a dry run, too.
    desk.refused(&["allow", "add", "front", "192.0.2.1/24", "--dry-run"]);
}

#[test]
fn people_get_words_and_machines_get_json() {
    let desk = Desk::with_front();
    desk.ok(&["allow", "add", "front", "192.0.2.1"]);
    for words in [
        &["status"][..],
        &["listener", "list"],
        &["listener", "show", "front"],
        &["allow", "list", "front"],
        &["service", "list"],
        &["route", "list"],
        &["cert", "list"],
        &["domain", "list"],
        &["stats"],
        &["drops"],
        &["history"],
        &["explain", "192.0.2.1", "127.0.0.2:9443"],
    ] {
        let human = desk.gateway.human(words).success();
        assert!(!human.trim().is_empty(), "{words:?} says nothing");
        assert!(serde_json::from_str::<serde_json::Value>(&human).is_err(), "{words:?} gives JSON to people");
        desk.ok(words);
    }
    assert!(desk.gateway.human(&["allow", "list", "front"]).success().contains("192.0.2.1/32"));
    for words in [&["completions", "bash"][..], &["--help"], &["allow", "add", "--help"]] {
        assert!(desk.gateway.human(words).success().contains("gateway"), "{words:?}");
    }
}

/// The socket speaks plain HTTP: `curl` is a client, and the description is there.
#[test]
fn the_socket_speaks_http() {
    let desk = Desk::with_front();
    let ask = |path: &str, more: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-q", "-sS", "--max-time", "5", "--unix-socket"]).arg(desk.gateway.socket());
        command.args(more).arg(format!("http://localhost{path}"));
        process::run(&mut command, LIMIT).success()
    };
    let api: serde_json::Value = serde_json::from_str(&ask("/v1/openapi.json", &[])).expect("JSON");
    assert!(api["openapi"].as_str().is_some_and(|version| version.starts_with("3.")), "{api}");
    let paths = api["paths"].as_object().expect("paths");
    assert!(paths.keys().any(|path| path.contains("allow")), "{:?}", paths.keys().collect::<Vec<_>>());
    let status: serde_json::Value = serde_json::from_str(&ask("/v1/status", &[])).expect("JSON");
    assert_eq!(status["generation"].as_u64(), Some(desk.gateway.generation()));
    let missing = ask("/v1/nothing", &["-w", "%{http_code}"]);
    assert!(missing.ends_with("404"), "{missing}");
}

/// `drops --follow` gives a line per sample as it happens, and ends quietly when its reader goes.
#[test]
fn drops_can_be_followed() {
    let desk = Desk::with_front();
    let mut command = desk.gateway.cli_command(&["drops", "--follow", "--json"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut follower = process::Running::spawn(&mut command);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(follower.ended(), None, "it does not wait for samples");
    drop(follower);
    desk.ok(&["status"]);
}

/// `doctor` needs no daemon, says what it looked at, and 1 only where something fails.
#[test]
fn the_doctor_looks_at_the_host() {
    let desk = Desk::prepare();
    let reply = desk.gateway.cli(&["doctor"]);
    assert!(matches!(reply.code, 0 | 1), "{}", reply.framed());
    let checks = reply.json["checks"].as_array().unwrap_or_else(|| panic!("{}", reply.framed()));
    assert!(
        checks.iter().any(|check| check["check"] == "kernel" && check["ok"] == true),
        "{}",
        reply.framed()
    );
    assert_eq!(reply.code == 0, checks.iter().all(|check| check["ok"] == true), "{}", reply.framed());
}

/// `domain check` looks at name, listener and certificate, and exits 1 when one of them fails.
#[test]
fn a_domain_can_be_checked() {
    let desk = Desk::with_front();
    desk.ok(&["domain", "add", "a.invalid", "--exposure", "public"]);
    let reply = desk.gateway.cli(&["domain", "check", "a.invalid"]);
    assert_eq!((reply.code, &reply.json["ok"]), (1, &false.into()), "{}", reply.framed());
    assert!(reply.json["checks"].as_array().is_some_and(|checks| checks.len() > 1), "{}", reply.framed());
    desk.gateway.cli(&["domain", "check", "b.invalid"]).refused();
}
