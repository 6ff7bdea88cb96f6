//! The filter outlives its daemon: `kill -9`, restarts and upgrades leave no moment in which an outsider gets through.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use harness::{
    Reach,
    behind::Behind,
    flood::Flood,
    frame,
    frame::Link,
    gateway,
    proof::{Side, Witness},
    reach,
    topology::GHOST_V4,
    wait, xdp,
};

use super::site::{HTTPS_V4, Site};

/// SYNs a second. The machine has other work; what counts is that none gets through.
const RATE: u64 = 20_000;

fn flood(site: &Site) -> Flood {
    let frames =
        (0..512).map(|port| frame::syn(&Link::default(), (GHOST_V4, 2000 + port).into(), HTTPS_V4)).collect();
    Flood::start(site.net.attacker(), frames, RATE)
}

/// Kills the daemon under a flood, starts it again as `change` says, and asserts that no outsider's SYN reached the host
/// at any time and that the configuration is what it was.
fn outlive(change: impl FnOnce(&mut Site)) -> Site {
    let mut site = Site::open();
    let served = site.serve();
    site.allow("198.51.100.10");
    served.call(&site, "/seed").run().expect(200);
    let export = site.gateway.export();
    let generation = site.gateway.generation();
    let behind = Behind::install(&site.net.gateway);
    let counted = || behind.packets("ghost_pub0") + behind.packets("ghost_ip");
    let flood = flood(&site);
    wait::until("the flood", || (flood.sent() > 2000).then_some(()));
    assert_eq!(counted(), 0, "before");

    let killed = Instant::now();
    site.gateway.kill();
    let during = flood.sent();
    wait::until("a flood without a daemon", || (flood.sent() > during + 5000).then_some(()));
    assert!(xdp::attached(&site.net.gateway, "pub0").is_some_and(|link| link.mode == xdp::Mode::Native));
    assert_eq!(counted(), 0, "without a daemon");

    change(&mut site);
    site.gateway.run();
    let down = killed.elapsed();
    let after = flood.sent();
    wait::until("a flood after the restart", || (flood.sent() > after + 5000).then_some(()));
    let sent = flood.stop();
    thread::sleep(Duration::from_millis(50));
    assert_eq!(counted(), 0, "after the restart");
    println!("{sent} SYNs, none reached the host; the daemon was away for {down:?}");
    assert_eq!(site.gateway.export(), export);
    assert_eq!(site.gateway.generation(), generation);
    served.call(&site, "/seed").run().expect(200);
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Timeout);
    site.allow("198.51.100.66");
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Open);
    site
}

#[test]
fn a_killed_daemon_leaves_the_filter_and_finds_it_again() {
    let site = outlive(|_| {});
    // A second look with every witness: the adopted link is the one that drops.
    let witness = Witness::new(&site.net);
    let syn = frame::syn(&Link::default(), (GHOST_V4, 1999).into(), HTTPS_V4);
    witness.assert_dropped_in_kernel("after adoption", Side::Public, &[syn]);
}

/// An upgrade whose tables have another layout: the same object, built with another hash.
#[test]
fn an_upgrade_to_another_layout_lets_nothing_through() {
    let object = layout_b();
    let mut before = None;
    let site = outlive(|site| {
        before = xdp::attached(&site.net.gateway, "pub0");
        site.gateway.set_environment("GATEWAY_FILTER_OBJECT", &object.to_string_lossy());
    });
    let after = xdp::attached(&site.net.gateway, "pub0");
    assert_ne!(before.map(|link| link.id), after.map(|link| link.id), "the program was not replaced");
}

fn layout_b() -> PathBuf {
    let default = gateway::target_dir().join("bpf/gateway-ebpf-layout-b");
    let object = std::env::var_os("GATEWAY_EBPF_LAYOUT_B").map_or(default, PathBuf::from);
    assert!(object.is_file(), "{} is missing: `cargo xtask build-ebpf` makes it", object.display());
    object.canonicalize().expect("a path")
}

/// An orderly stop leaves the filter too; what is down stays closed.
#[test]
fn a_stopped_daemon_leaves_the_port_closed() {
    let mut site = Site::open();
    site.allow("198.51.100.10");
    site.gateway.stop();
    assert!(xdp::attached(&site.net.gateway, "pub0").is_some());
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Timeout);
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Refused);
    site.gateway.run();
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Open);
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Timeout);
    assert_eq!(site.list("public"), ["198.51.100.10/32"]);
}

/// `detach` is a verb of its own: refused while the daemon runs, then it takes everything away.
#[test]
fn detach_takes_the_filter_away() {
    let mut site = Site::open();
    let refused = site.gateway.detach();
    assert_eq!(refused.code, Some(1), "{}", refused.framed());
    assert!(xdp::attached(&site.net.gateway, "pub0").is_some(), "a running daemon lost its filter");
    site.gateway.stop();
    site.gateway.detach().success();
    assert_eq!(xdp::attached(&site.net.gateway, "pub0"), None);
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Refused);
    // Once more is no error, and the next start filters again.
    site.gateway.detach().success();
    site.gateway.run();
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Timeout);
}

/// A foreign program on the interface is refused by name and stays.
#[test]
fn a_foreign_program_is_never_replaced() {
    let site = Site::bare();
    let pin = site.gateway.scratch().join("bpf/foreign");
    xdp::attach_foreign(&site.net.gateway, "pub0", &pin);
    let before = xdp::attached(&site.net.gateway, "pub0").expect("the foreign program");
    let words = ["listener", "add", "public", "--exposure", "public", "--interface", "pub0", "--address"];
    let error = site.gateway.cli(&[&words[..], &["198.51.100.1", "--open"]].concat()).refused();
    assert!(error.to_string().contains(&before.name), "{error}");
    assert!(error["remedy"].is_string(), "{error}");
    assert_eq!(xdp::attached(&site.net.gateway, "pub0"), Some(before));
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Refused);
    xdp::detach_foreign(&site.net.gateway, "pub0");
    site.add_public(&["--open"]);
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Timeout);
}
