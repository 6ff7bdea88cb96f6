//! Whatever becomes of the kernel filter, an outsider gets nothing. Each test is a row of the table in docs/filter.md.

use std::{
    net::Ipv4Addr,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use harness::{
    Gateway, Net, Reach, gateway, reach, reach_from,
    topology::{LAN, LAN_V4, OFFICE_V4, PUBLIC},
    wait, xdp,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::Value;

use super::site::{HTTPS_V4, Site};

/// Time for what the daemon does once a second, on a busy machine.
const UPKEEP: Duration = Duration::from_secs(15);
const LAN_HTTPS: (Ipv4Addr, u16) = (LAN_V4, 443);

/// The outsider gets no answer from the listener: dropped, refused, or cut at accept.
#[track_caller]
fn assert_closed(site: &Site, when: &str) {
    let outsider = reach(&site.net.outsider, HTTPS_V4);
    assert!(matches!(outsider, Reach::Timeout | Reach::Refused | Reach::Cut), "{when}: {outsider:?}");
}

/// Runs `work` while the outsider tries to get in all the time; it never may.
#[track_caller]
fn while_knocking(site: &Site, work: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let knocking = scope.spawn(|| {
            let mut seen = Vec::new();
            // At least once after the work's end.
            loop {
                let last = stop.load(Relaxed);
                seen.push(reach(&site.net.outsider, HTTPS_V4));
                if last {
                    break seen;
                }
            }
        });
        // Also when the work panics, so that the scope ends.
        let stopper = Stopper(&stop);
        work();
        drop(stopper);
        knocking.join().expect("the outsider")
    });
    assert!(!seen.contains(&Reach::Open), "{seen:?}");
}

struct Stopper<'a>(&'a AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// The pinned links of the daemon's filter.
fn links(site: &Site) -> Vec<PathBuf> {
    let links = std::fs::read_dir(site.gateway.pins().join("links")).expect("pins");
    links.flatten().map(|entry| entry.path()).collect()
}

fn is_native(site: &Site) -> bool {
    xdp::attached(&site.net.gateway, PUBLIC).is_some_and(|link| link.mode == xdp::Mode::Native)
}

/// Open for the client, closed for the outsider, by the driver.
#[track_caller]
fn assert_whole(site: &Site) {
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Open);
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Timeout);
    assert!(is_native(site));
    assert_eq!(row(site, "filter", "interface", PUBLIC)["mode"], "native");
}

/// A site whose listener admits the client.
#[track_caller]
fn open() -> Site {
    let site = Site::open();
    site.allow("198.51.100.10");
    site
}

/// The row of `status` with this value under this key.
#[track_caller]
fn row(site: &Site, table: &str, key: &str, value: &str) -> Value {
    let status = site.gateway.cli(&["status"]).ok();
    let rows = status[table].as_array().unwrap_or_else(|| panic!("no {table} in {status}"));
    rows.iter().find(|row| row[key] == value).unwrap_or_else(|| panic!("no {value}: {status}")).clone()
}

fn until(what: &str, condition: impl Fn() -> bool) {
    wait::until(what, || condition().then_some(()));
}

fn lan(site: &Site) {
    let words = ["listener", "add", "lan", "--exposure", "public", "--interface", "lan0"];
    site.gateway.cli(&[&words[..], &["--address", "10.7.0.1", "--open"]].concat()).ok();
    site.gateway.cli(&["allow", "add", "lan", "10.7.0.10"]).ok();
}

/// At a start, an interface that cannot be guarded fails its own listeners, which are not bound; the others serve.
#[test]
fn fs_1_no_attach_at_start_fails_that_interface_alone() {
    let mut site = Site::open();
    site.allow("198.51.100.10");
    lan(&site);
    assert_eq!(reach(&site.net.office, LAN_HTTPS), Reach::Open);
    site.gateway.stop();
    site.gateway.detach().success();
    let pin = site.gateway.scratch().join("bpf/foreign");
    xdp::attach_foreign(&site.net.gateway, PUBLIC, &pin);
    site.gateway.run();

    assert_eq!(reach(&site.net.office, LAN_HTTPS), Reach::Open, "the other interface serves");
    assert_closed(&site, "foreign program at start");
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Refused, "not bound");
    let public = row(&site, "listeners", "listener", "public");
    assert_eq!(public["state"], "failed", "{public}");
    let detail = public["detail"].as_str().expect("a detail");
    assert!(detail.contains("foreign") && detail.contains("xdp off"), "{detail}");
    assert_eq!(row(&site, "filter", "interface", PUBLIC)["mode"], "detached");

    // Edits go on, but none may add a listener there.
    site.gateway.cli(&["allow", "add", "lan", "10.7.0.11"]).ok();
    let words =
        ["listener", "add", "second", "--exposure", "public", "--interface", PUBLIC, "--https", "8443"];
    let error =
        site.gateway.cli(&[&words[..], &["--address", "198.51.100.1", "--no-http"]].concat()).refused();
    assert_eq!(error["code"], "filter_foreign_program", "{error}");

    xdp::detach_foreign(&site.net.gateway, PUBLIC);
    until("the listener", || reach(&site.net.client, HTTPS_V4) == Reach::Open);
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Timeout);
    assert_eq!(row(&site, "listeners", "listener", "public")["state"], "listening");
}

/// A driver without native XDP: the second tier drops in the kernel.
#[test]
fn fs_2_no_native_xdp_is_guarded_at_ingress() {
    let site = Site::bare();
    site.net.gateway.ip_batch(
        "addr del 10.7.0.1/24 dev lan0\nlink add br9 type bridge stp_state 0 forward_delay 0\n\
         link set lan0 master br9\naddr add 10.7.0.1/24 dev br9\nlink set br9 up\n",
    );
    site.net.office.ip(&["addr", "add", "10.7.0.66/24", "dev", "eth0"]);
    let words = ["listener", "add", "lan", "--exposure", "public", "--interface", "br9", "--open"];
    site.gateway.cli(&[&words[..], &["--address", "10.7.0.1"]].concat()).ok();
    site.gateway.cli(&["allow", "add", "lan", "10.7.0.10"]).ok();
    let status = row(&site, "filter", "interface", "br9");
    assert_eq!(status["mode"], "tcx", "{status}");
    assert!(status["detail"].as_str().is_some_and(|why| why.contains("no native XDP")), "{status}");
    let from = |source: Ipv4Addr| reach_from(&site.net.office, source.into(), LAN_HTTPS);
    until("the bridge", || from(OFFICE_V4) == Reach::Open);
    assert_eq!(from(Ipv4Addr::new(10, 7, 0, 66)), Reach::Timeout);
    assert!(site.drops("lan", "not_allowed") > 0, "dropped in the kernel");
}

/// The verifier refuses the new program at an upgrade: the old one stays on, nothing is bound, and the next good one
/// takes over.
#[test]
fn fs_3_a_program_that_the_verifier_refuses() {
    let mut site = open();
    let spoiled = spoiled_object(&site);
    site.gateway.stop();
    site.gateway.set_environment("GATEWAY_FILTER_OBJECT", &spoiled.to_string_lossy());
    while_knocking(site_after(&mut site, Gateway::run), || thread::sleep(Duration::from_millis(300)));
    assert!(is_native(&site), "what an earlier run attached stays");
    let public = row(&site, "listeners", "listener", "public");
    assert_eq!(public["state"], "failed", "{public}");
    assert!(public["detail"].as_str().is_some_and(|why| why.contains("verifier")), "{public}");
    assert_eq!(row(&site, "filter", "interface", PUBLIC)["mode"], "detached");
    assert_closed(&site, "a refused program");
    assert_ne!(reach(&site.net.client, HTTPS_V4), Reach::Open, "nothing is bound");

    // Without anything of an earlier run.
    site.gateway.stop();
    site.gateway.detach().success();
    site.gateway.run();
    assert_eq!(xdp::attached(&site.net.gateway, PUBLIC), None);
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Refused);

    site.gateway.stop();
    site.gateway.set_environment("GATEWAY_FILTER_OBJECT", &built_object().to_string_lossy());
    site.gateway.run();
    assert_whole(&site);
}

/// Somebody removes the pins under the running daemon: the program goes with its link, and comes back.
#[test]
fn fs_5_pins_are_removed() {
    let site = open();
    while_knocking(&site, || {
        for pin in links(&site) {
            std::fs::remove_file(pin).expect("the pin");
        }
        site.gateway.wait_for_log("the filter's interface or program is gone");
        until("the filter", || is_native(&site) && !links(&site).is_empty());
    });
    until("the status", || row(&site, "filter", "interface", PUBLIC)["mode"] == "native");
    assert_whole(&site);
    // The tables' pins: new tables are made, and edits go on.
    let layouts = std::fs::read_dir(site.gateway.pins().join("maps")).expect("maps").flatten();
    for layout in layouts {
        std::fs::remove_dir_all(layout.path()).expect("the tables' pins");
    }
    site.gateway.cli(&["allow", "add", "public", "198.51.100.11"]).ok();
    assert_whole(&site);
    site.gateway.cli(&["allow", "add", "public", "198.51.100.66"]).ok();
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Open);
    site.gateway.cli(&["allow", "remove", "public", "198.51.100.66"]).ok();
    assert_whole(&site);
    let mut site = site;
    site.gateway.kill();
    assert_closed(&site, "no daemon");
    site.gateway.run();
    assert_whole(&site);
}

/// The BPF file system is unmounted under the running daemon, which still holds it; after the daemon's end the filter
/// is gone with it, and the next start is refused until there is one.
#[test]
fn fs_5_the_bpf_file_system_is_unmounted() {
    let mut site = open();
    let folder = site.gateway.scratch().join("bpf");
    while_knocking(&site, || umount2(&folder, MntFlags::MNT_DETACH).expect("umount"));
    assert_whole(&site);
    site.gateway.cli(&["allow", "add", "public", "198.51.100.11"]).ok();
    assert_whole(&site);
    site.gateway.kill();
    wait::until("the filter to go with its file system", || (!is_native(&site)).then_some(()));
    assert_closed(&site, "no daemon");
    let finished = site.gateway.run_to_end(UPKEEP);
    assert_eq!(finished.code, Some(1), "{}", finished.framed());
    assert!(finished.stderr.contains("mount -t bpf"), "{}", finished.framed());
    assert_closed(&site, "refused start");
    mount(Some("bpf"), &folder, Some("bpf"), MsFlags::empty(), Some("mode=0755")).expect("mount");
    site.gateway.run();
    assert_whole(&site);
}

/// Ordinary tools cannot take the program off; a forced detach of its link is noticed and undone.
#[test]
fn fs_6_the_link_is_stolen() {
    let site = open();
    let tries: [(&str, &[&str]); 3] = [
        ("ip", &["link", "set", "dev", PUBLIC, "xdp", "off"]),
        ("ip", &["link", "set", "dev", PUBLIC, "xdpdrv", "off"]),
        ("bpftool", &["net", "detach", "xdp", "dev", PUBLIC]),
    ];
    for (program, arguments) in tries {
        let mut command = site.net.gateway.command(program);
        let _ = harness::process::run(command.args(arguments), Duration::from_secs(10));
        assert!(is_native(&site), "{program} {arguments:?}");
    }
    while_knocking(&site, || {
        let pin = links(&site).into_iter().next().expect("a link");
        site.net.gateway.check("bpftool", &["link", "detach", "pinned", &pin.to_string_lossy()]);
        site.gateway.wait_for_log("the filter's interface or program is gone");
        until("the filter", || is_native(&site));
    });
    until("the status", || row(&site, "filter", "interface", PUBLIC)["mode"] == "native");
    assert_whole(&site);
}

/// Stolen for good: another program is on the device now. The check at accept refuses, and the status is loud.
#[test]
fn fs_6_the_link_is_stolen_and_the_place_is_taken() {
    let site = open();
    let foreign = site.gateway.scratch().join("bpf/foreign");
    while_knocking(&site, || {
        let pin = links(&site).into_iter().next().expect("a link");
        let mut attempts = 0;
        // The daemon puts its own back within a second, so being first may need more than one try.
        while xdp::attached(&site.net.gateway, PUBLIC).is_none_or(|link| link.name != "foreign") {
            attempts += 1;
            assert!(attempts < 20, "the daemon is always first");
            let mut detach = site.net.gateway.command("bpftool");
            let detach = detach.args(["link", "detach", "pinned", &pin.to_string_lossy()]);
            let _ = harness::process::run(detach, Duration::from_secs(10));
            let _ = std::fs::remove_file(&foreign);
            let attached = xdp::attached(&site.net.gateway, PUBLIC);
            if attached.is_none() {
                xdp::attach_foreign(&site.net.gateway, PUBLIC, &foreign);
            }
        }
        until("the status", || row(&site, "filter", "interface", PUBLIC)["mode"] == "detached");
    });
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Cut, "refused at accept");
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Open, "sockets that were bound stay");
    let status = site.gateway.cli(&["status"]).ok();
    assert!(status["warnings"].to_string().contains("foreign"), "{status}");
    xdp::detach_foreign(&site.net.gateway, PUBLIC);
    until("the filter", || is_native(&site));
    until("the status", || row(&site, "filter", "interface", PUBLIC)["mode"] == "native");
    assert_whole(&site);
}

/// The interface goes and comes back.
#[test]
fn fs_7_the_interface_is_removed_and_added_again() {
    let site = Site::bare();
    lan(&site);
    let stranger = || reach_from(&site.net.office, Ipv4Addr::new(10, 7, 0, 66).into(), LAN_HTTPS);
    for _ in 0..2 {
        site.net.office.ip(&["addr", "add", "10.7.0.66/24", "dev", "eth0"]);
        until("the listener", || reach(&site.net.office, LAN_HTTPS) == Reach::Open);
        assert_eq!(stranger(), Reach::Timeout);
        assert_eq!(row(&site, "filter", "interface", LAN)["mode"], "native");
        site.net.gateway.ip(&["link", "del", LAN]);
        until("the status", || row(&site, "filter", "interface", LAN)["mode"] == "detached");
        site.net.restore_lan();
        site.net.office.ip(&["addr", "add", "10.7.0.66/24", "dev", "eth0"]);
        // Until the filter is on, nothing is bound there.
        assert_ne!(stranger(), Reach::Open);
        site.net.office.ip(&["addr", "del", "10.7.0.66/24", "dev", "eth0"]);
    }
    until("the listener", || reach(&site.net.office, LAN_HTTPS) == Reach::Open);
}

/// A renamed interface is another one: its listeners are let go, and are back with the name.
#[test]
fn fs_8_the_interface_is_renamed() {
    let site = open();
    let rename = |from: &str, to: &str| {
        site.net.gateway.ip_batch(&format!(
            "link set {from} down\nlink set {from} name {to}\nlink set {to} up\n\
             addr replace 2001:db8:100::1/64 dev {to} nodad\n"
        ));
    };
    while_knocking(&site, || {
        rename(PUBLIC, "other0");
        until("the status", || row(&site, "filter", "interface", PUBLIC)["mode"] == "detached");
        until("the listener to be let go", || {
            row(&site, "listeners", "listener", "public")["state"] == "failed"
        });
        assert_ne!(reach(&site.net.client, HTTPS_V4), Reach::Open);
        rename("other0", PUBLIC);
        until("the listener", || reach(&site.net.client, HTTPS_V4) == Reach::Open);
    });
    until("the status", || row(&site, "filter", "interface", PUBLIC)["mode"] == "native");
    assert_whole(&site);
}

/// Jumbo frames are switched on under the filter.
#[test]
fn fs_9_the_mtu_changes() {
    let mut site = open();
    while_knocking(&site, || {
        site.net.gateway.ip(&["link", "set", PUBLIC, "mtu", "9000"]);
        site.net.wire.ip(&["link", "set", "gate", "mtu", "9000"]);
        assert_whole(&site);
        site.gateway.cli(&["allow", "add", "public", "198.51.100.11"]).ok();
    });
    assert_whole(&site);
    site.gateway.kill();
    assert_closed(&site, "no daemon");
    site.gateway.run();
    assert_whole(&site);
}

/// The program's file is missing or damaged at a start: the start is refused, what is attached stays.
#[test]
fn fs_11_the_object_is_missing() {
    let mut site = open();
    site.gateway.stop();
    let damaged = site.gateway.scratch().write("damaged", "not an object");
    for object in ["/no/such/object", &damaged.to_string_lossy()] {
        site.gateway.set_environment("GATEWAY_FILTER_OBJECT", object);
        let finished = site.gateway.run_to_end(UPKEEP);
        assert_eq!(finished.code, Some(1), "{}", finished.framed());
        assert!(is_native(&site));
        assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Timeout);
        assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Refused);
    }
    site.gateway.set_environment("GATEWAY_FILTER_OBJECT", &built_object().to_string_lossy());
    site.gateway.run();
    assert_whole(&site);
}

/// No kernel tier at all, in the mode `auto`: the check at accept is the filter.
#[test]
fn fs_12_the_check_at_accept_alone() {
    let net = Net::new();
    let mut gateway = Gateway::prepare(Some(&net.gateway));
    gateway.set_config("filter = \"auto\"\n");
    let foreign = gateway.scratch().join("bpf/foreign");
    xdp::attach_foreign(&net.gateway, PUBLIC, &foreign);
    gateway.run();
    let site = Site { gateway, net };
    site.add_public(&["--open"]);
    site.allow("198.51.100.10");
    assert_eq!(row(&site, "filter", "interface", PUBLIC)["mode"], "accept");
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Cut);
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Open);
    let status = site.gateway.cli(&["status"]).ok();
    assert!(status["warnings"].to_string().contains("foreign"), "{status}");
}

/// Does something to the site's gateway and gives the site back, for a call chain.
fn site_after(site: &mut Site, change: impl FnOnce(&mut Gateway)) -> &Site {
    change(&mut site.gateway);
    site
}

/// The object that the daemon has in it.
fn built_object() -> PathBuf {
    gateway::target_dir().join("bpf/gateway-ebpf").canonicalize().expect("`cargo xtask build-ebpf` makes it")
}

/// The daemon's object with every entry point beginning with a read of a register that nobody wrote.
fn spoiled_object(site: &Site) -> PathBuf {
    const SPOILED: [u8; 8] = [0x79, 0x90, 0, 0, 0, 0, 0, 0];
    let built = built_object();
    let mut bytes = std::fs::read(&built).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
    let number = |bytes: &[u8], at: usize, length: usize| {
        bytes[at..at + length].iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte))
    };
    // ELF64: the section table; each section's type at 4, offset at 24, size at 32.
    let (table, count) = (number(&bytes, 0x28, 8), number(&bytes, 0x3c, 2));
    let sections: Vec<usize> = (0..count).map(|index| table + index * 64).collect();
    let symbols = sections.iter().find(|at| number(&bytes, **at + 4, 4) == 2).expect("a symbol table");
    let (start, size) = (number(&bytes, symbols + 24, 8), number(&bytes, symbols + 32, 8));
    let mut spoiled = 0;
    for symbol in (start..start + size).step_by(24) {
        // Type in the low half of the byte at 4 (2: function), section at 6, value at 8.
        let section = number(&bytes, symbol + 6, 2);
        let executable = sections.get(section).is_some_and(|at| number(&bytes, at + 8, 8) & 4 != 0);
        if bytes[symbol + 4] & 0xf == 2 && executable {
            let at = number(&bytes, sections[section] + 24, 8) + number(&bytes, symbol + 8, 8);
            bytes[at..at + 8].copy_from_slice(&SPOILED);
            spoiled += 1;
        }
    }
    assert!(spoiled > 2, "the object has entry points");
    site.gateway.scratch().write("spoiled", bytes)
}
