//! As another user, with just the capabilities that are needed; and without any.

use std::fs;

use harness::{
    Gateway, Net, Reach, frame,
    frame::Link,
    proof::{Side, Witness},
    reach,
    topology::GHOST_V4,
};

use super::site::{HTTPS_V4, Site};

/// `--user nobody`: the daemon filters, serves and restarts without being root.
#[test]
fn the_daemon_works_as_nobody() {
    let net = Net::new();
    let mut gateway = Gateway::prepare(Some(&net.gateway)).with(&["--user", "nobody"]);
    gateway.run();
    let mut site = Site { gateway, net };
    site.add_public(&["--open"]);
    let served = site.serve();
    site.allow("198.51.100.10");
    served.call(&site, "/seed").run().expect(200);
    let witness = Witness::new(&site.net);
    let syn = frame::syn(&Link::default(), (GHOST_V4, 4000).into(), HTTPS_V4);
    witness.assert_dropped_in_kernel("as nobody", Side::Public, &[syn]);

    let status = fs::read_to_string(format!("/proc/{}/status", site.gateway.id())).expect("status");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).unwrap_or_default().to_owned()
    };
    assert_ne!(field("Uid:"), "0", "{status}");
    // CAP_NET_BIND_SERVICE 10, CAP_NET_ADMIN 12, CAP_NET_RAW 13, CAP_PERFMON 38, CAP_BPF 39: nothing else.
    let allowed: u64 = 1 << 10 | 1 << 12 | 1 << 13 | 1 << 38 | 1 << 39;
    for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
        let have = u64::from_str_radix(&field(set), 16).expect("a mask");
        if set != "CapBnd:" {
            assert_eq!(have & !allowed, 0, "{set} {have:x}");
        }
    }
    // Worker threads have none.
    let workers = fs::read_dir(format!("/proc/{}/task", site.gateway.id())).expect("threads").flatten();
    let bare = workers
        .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
        .filter(|status| {
            status.lines().any(|line| line.starts_with("CapEff:") && line.ends_with("0000000000000000"))
        })
        .count();
    assert!(bare >= 1, "no thread without capabilities");

    site.gateway.kill();
    site.gateway.run();
    served.call(&site, "/seed").run().expect(200);
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Timeout);
    site.allow("198.51.100.66");
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Open);
}

/// The state directory and its files are the daemon's alone.
#[test]
fn secrets_are_not_for_others() {
    use std::os::unix::fs::PermissionsExt;

    let mut site = Site::open();
    let _served = site.serve();
    let state = site.gateway.state();
    let mode = |path: &std::path::Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    let mut folders = vec![state.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("state").flatten() {
            let path = entry.path();
            if path.is_dir() {
                assert_eq!(mode(&path), 0o700, "{}", path.display());
                folders.push(path);
            } else {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
            }
        }
    }
    // Looser than that is refused at start.
    site.gateway.stop();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).expect("chmod");
    let finished = site.gateway.run_to_end(std::time::Duration::from_secs(20));
    assert_eq!(finished.code, Some(1), "{}", finished.framed());
    assert!(finished.stderr.contains("0700"), "{}", finished.framed());
}
