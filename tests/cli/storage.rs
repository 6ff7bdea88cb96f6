//! The state on disk: corrupt, loose, killed in mid-write, shared by two daemons.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, thread, time::Duration};

use harness::{Gateway, wait};

use harness::desk::Desk;

const LIMIT: Duration = Duration::from_secs(20);

/// Files of the state directory, largest first.
fn files(gateway: &Gateway) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![gateway.state()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("state").flatten() {
            if entry.path().is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files
        .sort_by_key(|file| std::cmp::Reverse(fs::metadata(file).map(|data| data.len()).unwrap_or_default()));
    files
}

/// A second daemon on the same state is refused, names the directory, and does not disturb the first.
#[test]
fn a_second_daemon_is_refused() {
    let desk = Desk::with_front();
    let before = desk.whole();
    let finished = harness::process::run(&mut desk.gateway.daemon_command(), LIMIT);
    assert_eq!(finished.code, Some(1), "{}", finished.framed());
    let said = &finished.stderr;
    assert!(said.contains("state") && said.contains("another"), "{}", finished.framed());
    assert_eq!(desk.whole(), before);
    desk.ok(&["allow", "add", "front", "192.0.2.1"]);
}

/// The store's file cut short or overwritten: exit code 1, the file and a cure named, nothing deleted.
#[test]
fn a_corrupt_store_stops_the_start_and_says_so() {
    for damage in ["truncated", "overwritten", "emptied"] {
        let mut desk = Desk::with_front();
        desk.gateway.stop();
        let file = files(&desk.gateway).into_iter().next().expect("a store");
        let length = fs::metadata(&file).expect("the store").len();
        match damage {
            "truncated" => {
                fs::OpenOptions::new().write(true).open(&file).and_then(|file| file.set_len(length / 2 + 13))
            }
            "emptied" => fs::OpenOptions::new().write(true).open(&file).and_then(|file| file.set_len(7)),
            _ => fs::write(&file, vec![0x5a; usize::try_from(length).expect("a size")]),
        }
        .expect("damage");
        let damaged = fs::read(&file).expect("the store");
        let finished = desk.gateway.run_to_end(LIMIT);
        assert_eq!(finished.code, Some(1), "{damage}: {}", finished.framed());
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(finished.stderr.contains(name), "{damage}: the file is not named\n{}", finished.framed());
        assert!(!finished.stderr.contains("panicked"), "{damage}: {}", finished.framed());
        assert_eq!(fs::read(&file).expect("the store"), damaged, "{damage}: the evidence was changed");
    }
}

/// `kill -9` at any moment of an apply: after the restart there is the old or the new configuration, whole.
#[test]
fn a_kill_in_the_middle_of_an_apply_leaves_the_old_or_the_new() {
    let mut desk = Desk::with_front();
    desk.ok(&["allow", "add", "front", "192.0.2.1"]);
    let old = desk.gateway.export();
    let service =
        |n: u32| format!("\n[[service]]\nname = \"s{n}\"\ninstances = [\"127.0.0.1:9\"]\nno_auth = true\n");
    let new_file = desk.file("new.toml", format!("{old}{}", (0..200).map(service).collect::<String>()));
    let old_file = desk.file("old.toml", &old);
    desk.ok(&["apply", "-f", &new_file]);
    let new = desk.gateway.export();
    desk.ok(&["apply", "-f", &old_file]);
    assert_eq!(desk.gateway.export(), old);
    let mut seen = [0; 2];
    for round in 0..16_u64 {
        let mut apply = desk.gateway.cli_command(&["apply", "-f", &new_file]);
        apply.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut apply = harness::process::Running::spawn(&mut apply);
        thread::sleep(Duration::from_millis(1 + round * 3));
        desk.gateway.kill();
        wait::until("the client to end", || apply.ended());
        desk.gateway.run();
        let now = desk.gateway.export();
        assert!(now == old || now == new, "round {round}: neither the old nor the new:\n{now}");
        seen[usize::from(now == new)] += 1;
        if now == new {
            desk.ok(&["apply", "-f", &old_file]);
        }
    }
    println!("after {} kills: {} times the old, {} times the new configuration", 16, seen[0], seen[1]);
}

/// A state directory that others may read is refused.
#[test]
fn a_loose_state_directory_is_refused() {
    let mut desk = Desk::with_front();
    desk.gateway.stop();
    let state = desk.gateway.state();
    assert_eq!(fs::metadata(&state).expect("state").permissions().mode() & 0o777, 0o700);
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).expect("chmod");
    let finished = desk.gateway.run_to_end(LIMIT);
    assert_eq!(finished.code, Some(1), "{}", finished.framed());
    assert!(finished.stderr.contains("0700") || finished.stderr.contains("chmod"), "{}", finished.framed());
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).expect("chmod");
    desk.gateway.run();
}
