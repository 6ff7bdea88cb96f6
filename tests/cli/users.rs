//! Who may do what: the control socket's peers, and the first try of somebody without root.

use std::{process::Command, time::Duration};

use harness::{Gateway, NetNs, client::curl, gateway, process};

use harness::desk::Desk;

const LIMIT: Duration = Duration::from_secs(20);

/// A command as another user, without groups.
fn as_nobody(program: &std::path::Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program);
    command
}

/// Another user may not change anything; whether it may connect at all is the socket's mode.
#[test]
fn another_user_changes_nothing() {
    harness::netns::require_root();
    let desk = Desk::with_front();
    let before = desk.whole();
    let binary = desk.gateway.scratch().join("gateway");
    std::fs::copy(gateway::binary(), &binary).expect("a copy that everybody may run");
    for words in [
        &["allow", "add", "front", "192.0.2.1"][..],
        &["listener", "open", "front"],
        &["listener", "delete", "front"],
    ] {
        let mut command = as_nobody(&binary);
        command.args(words).arg("--json").env("GATEWAY_SOCKET", desk.gateway.socket());
        let finished = process::run(&mut command, LIMIT);
        assert!(matches!(finished.code, Some(1 | 3)), "{}", finished.framed());
        assert!(!finished.stderr.trim().is_empty(), "{}", finished.framed());
    }
    assert_eq!(desk.whole(), before);
}

/// `gateway run` without root and without configuration: a listener on loopback, a certificate of its own, no filter in
/// the kernel, and all of that said clearly.
#[test]
fn the_first_try_without_root_works() {
    harness::netns::require_root();
    let namespace = NetNs::new("first");
    let holder = Gateway::prepare(Some(&namespace));
    let folder = holder.scratch().join("home");
    std::fs::create_dir(&folder).expect("home");
    std::os::unix::fs::chown(&folder, Some(65534), Some(65534)).expect("chown");
    let binary = holder.scratch().join("gateway");
    std::fs::copy(gateway::binary(), &binary).expect("a copy that everybody may run");
    let environment = |command: &mut Command| {
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &folder);
        command.env("XDG_STATE_HOME", folder.join("state")).env("XDG_RUNTIME_DIR", &folder);
    };
    let mut command = namespace.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&binary).arg("run");
    environment(&mut command);
    let log = std::fs::File::create(holder.scratch().join("first.log")).expect("log");
    command.stdin(std::process::Stdio::null()).stdout(log.try_clone().expect("log")).stderr(log);
    let mut daemon = process::Running::spawn(&mut command);
    let said = || std::fs::read_to_string(holder.scratch().join("first.log")).unwrap_or_default();
    let cli = |words: &[&str]| {
        let mut command = as_nobody(&binary);
        environment(&mut command);
        process::run(command.args(words), LIMIT)
    };
    harness::wait::until("the daemon to answer", || {
        assert_eq!(daemon.ended(), None, "the daemon ended:\n{}", said());
        (cli(&["status"]).code == Some(0)).then_some(())
    });

    let status: serde_json::Value =
        serde_json::from_str(&cli(&["status", "--json"]).success()).expect("JSON");
    assert_eq!(status["listeners"][0]["listener"], "local", "{status}");
    assert!(
        status["filter"].as_array().is_some_and(|all| all.iter().all(|one| one["mode"] == "accept")),
        "{status}"
    );
    let human = cli(&["status"]).success();
    assert!(human.contains("accept"), "{human}");
    assert!(said().contains("filter"), "the log does not speak of the filter:\n{}", said());

    let upstream = namespace.within(|| harness::Upstream::local("one"));
    let added = cli(&["service", "add", "echo", "--instance", &upstream.instance(), "--json"]).success();
    let added: serde_json::Value = serde_json::from_str(&added).expect("JSON");
    let token = added["token"].as_str().expect("a token");
    let plain = curl(&namespace, "http://127.0.0.1:8080/api/predict/echo/seed").token(token).run();
    assert_eq!(plain.expect(200).body, "True");
    let secure = curl(&namespace, "https://localhost:8443/api/predict/echo/seed").token(token);
    assert_eq!(secure.run().exit, 60, "the certificate is its own");
    let secure = curl(&namespace, "https://127.0.0.1:8443/api/predict/echo/seed").token(token).insecure();
    assert_eq!(secure.run().expect(200).body, "True");
    assert_eq!(daemon.terminate(Duration::from_secs(15)), Some(0));
}
