//! What is missing: room on the disk, the right to write, an interface. Needs mounts and namespaces.

use std::{fs, time::Duration};

use harness::{Gateway, NetNs};

use harness::desk::{Desk, add_front};

const LIMIT: Duration = Duration::from_secs(20);

/// A full disk refuses the change and keeps what is; with room again the same change passes.
#[test]
fn a_full_disk_refuses_changes_and_keeps_what_is() {
    harness::netns::require_root();
    let mut desk = Desk::prepare();
    let state = desk.gateway.scratch_mut().mount("state", "tmpfs", "size=16m,mode=0700");
    desk.gateway.run();
    desk.ok(&add_front("front", "127.0.0.2", "9080", "9443"));
    desk.ok(&["allow", "add", "front", "192.0.2.1"]);
    let filler = state.join("filler");
    let mut file = fs::File::create(&filler).expect("filler");
    while std::io::Write::write(&mut file, &[0; 4096]).is_ok_and(|wrote| wrote > 0) {}
    let before = desk.whole();
    // The store may have some room left inside; the file grows until it has none.
    let mut refused = None;
    for number in 0..2000 {
        let name = format!("s{number}");
        let reply = desk.gateway.cli(&["service", "add", &name, "--instance", "127.0.0.1:9", "--no-auth"]);
        if reply.code != 0 {
            refused = Some(reply.refused());
            break;
        }
    }
    let error = refused.expect("a full disk never refused anything");
    println!("{error}");
    assert!(error["remedy"].is_string(), "{error}");
    let full = desk.whole();
    assert!(full.1.contains("192.0.2.1/32") && full.0 >= before.0);
    // It goes on serving, and refusing, without harm.
    desk.gateway.cli(&["allow", "add", "front", "192.0.2.2"]).refused();
    assert_eq!(desk.whole(), full);
    drop(file);
    fs::remove_file(&filler).expect("room again");
    desk.ok(&["allow", "add", "front", "192.0.2.3"]);
    let export = desk.gateway.export();
    desk.gateway.stop();
    desk.gateway.run();
    assert_eq!(desk.gateway.export(), export);
}

/// A read-only state directory: the start is refused and says which directory.
#[test]
fn a_read_only_state_is_refused_at_start() {
    harness::netns::require_root();
    let mut desk = Desk::prepare();
    let state = desk.gateway.scratch_mut().mount("state", "tmpfs", "size=16m,mode=0700,ro");
    let finished = desk.gateway.run_to_end(LIMIT);
    assert_eq!(finished.code, Some(1), "{}", finished.framed());
    assert!(finished.stderr.contains(&*state.to_string_lossy()), "{}", finished.framed());
    assert!(!finished.stderr.contains("panicked"), "{}", finished.framed());
}

/// A listener whose interface is gone at restart is `failed` with its reason; the daemon starts all the same.
#[test]
fn a_lost_interface_does_not_stop_the_start() {
    harness::netns::require_root();
    let namespace = NetNs::new("lost");
    namespace.ip(&["link", "add", "v0", "type", "veth", "peer", "name", "v1"]);
    namespace.ip(&["addr", "add", "198.51.100.1/24", "dev", "v0"]);
    namespace.ip(&["link", "set", "v0", "up"]);
    namespace.ip(&["link", "set", "v1", "up"]);
    let mut gateway = Gateway::start(&namespace);
    let words = [
        "listener",
        "add",
        "public",
        "--exposure",
        "public",
        "--interface",
        "v0",
        "--address",
        "198.51.100.1",
    ];
    gateway.cli(&words).ok();
    let export = gateway.export();
    gateway.stop();
    gateway.detach().success();
    namespace.ip(&["link", "del", "v0"]);
    gateway.run();
    assert_eq!(gateway.export(), export);
    let status = gateway.cli(&["status"]).ok();
    let listener = &status["listeners"][0];
    assert_eq!((&listener["listener"], &listener["state"]), (&"public".into(), &"failed".into()), "{status}");
    assert!(listener["detail"].is_string(), "{status}");
}
