//! The store: every sort of damage is refused by name and left as it is, modes are guarded, a kill leaves old or new whole,
//! a full or read-only disk changes nothing.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::world::{World, certificate, cidrs, config, domain, n, route, service};
use crate::{
    base::Refusal,
    control::{Control, Edit, FirstStart, Options},
};

fn open(state: &Path) -> Result<Control, Refusal> {
    Control::open(config(state.to_owned(), FirstStart::Empty), Vec::new())
}

fn refused(state: &Path) -> Refusal {
    match open(state) {
        Err(refusal) => refusal,
        Ok(_) => panic!("the store was taken"),
    }
}

/// A closed store with one of everything.
fn furnished() -> (tempfile::TempDir, std::path::PathBuf) {
    let World { directory, mut control, .. } = World::new(FirstStart::Local);
    let edits = [
        Edit::CertificateAdd { certificate: certificate("c", &["a.org"]), replace: false },
        Edit::DomainAdd { domain: domain("a.org", Some("c")), replace: false },
        Edit::ServiceAdd(Box::new(service("chat", "10.0.0.7:80"))),
        Edit::RouteAdd(route("r", "/v1", "chat")),
    ];
    for edit in edits {
        control.edit(edit, Options::default()).unwrap();
    }
    drop(control);
    let state = directory.path().join("state");
    (directory, state)
}

#[test]
fn every_damage_is_refused_by_name_and_left_as_it_is() {
    let (_directory, state) = furnished();
    let file = state.join("gateway.redb");
    let good = fs::read(&file).unwrap();
    let whole = open(&state).unwrap().export(true);
    let good_after = fs::read(&file).unwrap();
    let mut silent = 0;
    let mut damages: Vec<(String, Vec<u8>)> = Vec::new();
    for length in [0, 7, 100, 4096, good.len() / 2 + 13, good.len() - 4096, good.len() - 1] {
        damages.push((format!("cut to {length}"), good[..length].to_vec()));
    }
    damages.push(("overwritten".to_owned(), vec![0x5a; good.len()]));
    damages.push(("zeroed".to_owned(), vec![0; good.len()]));
    for place in (0..good.len()).step_by(509) {
        let mut bytes = good.clone();
        bytes[place] ^= 0x10;
        damages.push((format!("bit at {place}"), bytes));
    }
    for page in (0..good.len()).step_by(4096) {
        let mut bytes = good.clone();
        let end = good.len().min(page + 4096);
        if bytes[page..end].iter().all(|byte| *byte == 0) {
            continue;
        }
        bytes[page..end].fill(0);
        damages.push((format!("page at {page} zeroed"), bytes));
    }
    let count = damages.len();
    for (what, bytes) in damages {
        fs::write(&file, &bytes).unwrap();
        match open(&state) {
            // A place that holds nothing of the configuration: then nothing may be different either.
            Ok(control) => {
                assert_eq!(control.export(true), whole, "{what}");
                silent += 1;
            }
            Err(refusal) => {
                assert_eq!(refusal.code, "corrupt_state", "{what}: {refusal}");
                assert!(refusal.value.as_deref().unwrap().ends_with("gateway.redb"), "{what}: {refusal:?}");
                assert!(refusal.remedy.is_some());
                assert_eq!(fs::read(&file).unwrap(), bytes, "{what}: the evidence was changed");
            }
        }
    }
    println!("{count} damages, {silent} of them of nothing");
    fs::write(&file, good_after).unwrap();
    assert_eq!(open(&state).unwrap().export(true), whole);
}

#[test]
fn loose_modes_are_refused_with_the_cure() {
    let (_directory, state) = furnished();
    for (path, loose, tight) in [(state.clone(), 0o750, 0o700), (state.join("gateway.redb"), 0o644, 0o600)] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, tight);
        fs::set_permissions(&path, fs::Permissions::from_mode(loose)).unwrap();
        let refusal = refused(&state);
        assert_eq!(refusal.code, "state_mode");
        assert!(refusal.remedy.unwrap().starts_with(&format!("`chmod {tight:o}")));
        fs::set_permissions(&path, fs::Permissions::from_mode(tight)).unwrap();
    }
    open(&state).unwrap();
}

#[test]
fn secrets_are_where_they_belong() {
    let (_directory, state) = furnished();
    let control = open(&state).unwrap();
    let whole = control.export(true).text().unwrap();
    assert!(whole.contains("PRIVATE KEY") && whole.contains("sha256:"));
    let poor = control.export(false).text().unwrap();
    assert!(!poor.contains("PRIVATE KEY") && !poor.contains("sha256:"));
    drop(control);
    // A deleted key is not in the file's live rows; redb may keep its freed page until it is used again.
    let control = open(&state).unwrap();
    let held: Vec<_> = control.history().unwrap().items;
    assert_eq!(held.len(), 5);
}

/// Runs one of the child tests below in a process of its own.
fn child(test: &str, state: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("control::tests::storage::{test}"), "--nocapture", "--ignored"]);
    command.env("CONTROL_STATE", state).stdout(Stdio::piped()).stdin(Stdio::piped());
    command
}

#[test]
#[ignore = "the child of `a_kill_at_any_moment_leaves_old_or_new`"]
fn child_that_edits_until_it_is_killed() {
    let state = std::env::var("CONTROL_STATE").unwrap();
    let mut control = open(Path::new(&state)).unwrap();
    println!("ready");
    for round in 0_u32.. {
        // Each state is one of two wholes: 40 services and as many routes, or none.
        let mut text = String::new();
        for number in (0..40).take_while(|_| round % 2 == 0) {
            text += &format!("[[service]]\nname='s{number}'\ninstance='10.0.0.1:80'\nno_auth=true\n");
            text += &format!("[[route]]\nname='r{number}'\npath_prefix='/{number}'\nservice='s{number}'\n");
        }
        let document = crate::control::Document::parse(&text).unwrap();
        control.edit(Edit::Apply(Box::new(document)), Options::default()).unwrap();
    }
}

#[test]
fn a_kill_at_any_moment_leaves_old_or_new() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let mut generation = 0;
    let mut seen = std::collections::BTreeMap::new();
    for round in 0..12_u64 {
        let mut running = child("child_that_edits_until_it_is_killed", &state).spawn().unwrap();
        let lines = BufReader::new(running.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains("ready")));
        std::thread::sleep(Duration::from_millis(5 + round * 7));
        running.kill().unwrap();
        running.wait().unwrap();
        let control = open(&state).unwrap_or_else(|refusal| panic!("round {round}: {refusal}"));
        let (services, routes) = (control.services().items.len(), control.routes().items.len());
        assert!(
            (services, routes) == (0, 0) || (services, routes) == (40, 40),
            "{services} services, {routes} routes"
        );
        assert!(control.generation().0 >= generation);
        generation = control.generation().0;
        let newest = control.history().unwrap().items[0].generation.0;
        assert_eq!(newest, generation, "the history ends with the generation in force");
        *seen.entry(services).or_insert(0) += 1;
    }
    println!("{generation} generations, {seen:?}");
}

#[test]
#[ignore = "the child of `a_full_or_read_only_disk_changes_nothing`, in a mount namespace of its own"]
fn child_on_a_small_disk() {
    let mount = std::env::var("CONTROL_STATE").unwrap();
    let state = Path::new(&mount).join("state");
    let mut control = Control::open(config(state.clone(), FirstStart::Local), Vec::new()).unwrap();
    let mut filler = fs::File::create(Path::new(&mount).join("filler")).unwrap();
    while filler.write(&[7; 4096]).is_ok_and(|wrote| wrote > 0) {}
    let mut refusal = None;
    for number in 0..5000 {
        let before = (control.export(true), control.generation());
        let edit = Edit::ServiceAdd(Box::new(service(&format!("s{number}"), "10.0.0.1:80")));
        if let Err(why) = control.edit(edit, Options::default()) {
            assert_eq!((control.export(true), control.generation()), before);
            refusal = Some(why);
            break;
        }
    }
    let refusal = refusal.expect("the disk never was full");
    assert_eq!(refusal.code, "state_unwritable", "{refusal}");
    assert!(refusal.remedy.unwrap().contains("free some space"));
    let again = control.edit(Edit::ListenerClose { listener: n("local") }, Options::default());
    assert_eq!(again.unwrap_err().code, "state_unwritable");
    let held = control.export(true);
    drop(filler);
    fs::remove_file(Path::new(&mount).join("filler")).unwrap();
    control.edit(Edit::ListenerClose { listener: n("local") }, Options::default()).unwrap();
    assert!(control.history().unwrap().items.len() >= 2);
    assert_ne!(control.export(true), held);
    let held = control.export(true);
    drop(control);
    assert_eq!(open(&state).unwrap().export(true), held);

    // Read-only at start. (While a file is open for writing the kernel refuses to remount.)
    assert!(Command::new("mount").args(["-o", "remount,ro", &mount]).status().unwrap().success());
    let refusal = refused(&state);
    assert_eq!(refusal.code, "state_unwritable", "{refusal}");
    println!("small disk: all said");
}

#[test]
fn a_full_or_read_only_disk_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let inner = child("child_on_a_small_disk", directory.path());
    let words: Vec<String> = std::iter::once(inner.get_program())
        .chain(inner.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let script = format!(
        "mount -t tmpfs -o size=8m,mode=0700 gateway-test '{0}' && exec {1}",
        directory.path().display(),
        words.join(" ")
    );
    // A mount namespace of its own, and a user namespace where the test is not root.
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .env("CONTROL_STATE", directory.path())
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("small disk: all said"), "{said}");
}

#[test]
fn a_state_that_somebody_else_wrote_later_is_not_taken_over() {
    let mut world = World::new(FirstStart::Local);
    world.ok(Edit::AllowAdd { listener: n("local"), cidrs: cidrs("10.0.0.0/8") });
    let file = world.state().join("gateway.redb");
    let copy = world.state().join("copy");
    fs::copy(&file, &copy).unwrap();
    fs::rename(&copy, &file).unwrap();
    let refusal = world.refused(Edit::AllowAdd { listener: n("local"), cidrs: cidrs("11.0.0.0/8") });
    assert_eq!(refusal.code, "state_gone");
}
