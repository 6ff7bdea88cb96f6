//! Interfaces that are not plain Ethernet, and interfaces that come and go.

use gateway_user::{
    kernel::{Filter, FilterMode, Level, probe},
    observe::filter::{FilterSource as _, Mode},
    snapshot::Subscriber as _,
};
use harness::{
    Net, Reach,
    frame::{self, DOT1Q},
    proof::{Side, Witness},
    reach,
    scratch::Scratch,
    topology::{GHOST_V4, LAN, PUBLIC, PUBLIC_V4},
    xdp,
};

use crate::policy::{config, listener, open, pins, publish, snapshot};

const CLIENT: &str = "198.51.100.10/32";

#[test]
fn loopback_has_no_native_xdp() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let mut filter = open(&scratch, "a");
        publish(&mut filter, 1, vec![listener(1, "lo", &[]), listener(2, PUBLIC, &[CLIENT])]);
        let modes: Vec<_> = filter.status().interfaces.iter().map(|status| status.mode).collect();
        assert_eq!(modes, [Mode::Tcx, Mode::Native]);
        assert!(filter.status().interfaces[0].detail.as_ref().unwrap().contains("no native XDP"));
        assert_eq!(filter.status().warnings, [""; 0]);
        // Generic XDP is never taken instead.
        assert_eq!(xdp::attached(&net.gateway, "lo"), None);
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), Reach::Timeout);
    });
}

#[test]
#[ignore = "this kernel may have no VLAN interfaces (8021q): `cargo xtask test` runs it where it has them"]
fn a_vlan_is_guarded_at_its_parent() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.ip(&["link", "add", "link", PUBLIC, "name", "pub0.7", "type", "vlan", "id", "7"]);
    net.gateway.within(|| {
        let mut filter = open(&scratch, "a");
        publish(&mut filter, 1, Vec::new());
        let refusal = filter.stage(&snapshot(2, vec![listener(1, "pub0.7", &[])])).unwrap_err();
        assert_eq!(refusal.code, "vlan_stripped");
        assert!(refusal.remedy.unwrap().contains("ethtool -K pub0 rxvlan off"));
        assert_eq!(xdp::attached(&net.gateway, PUBLIC), None);

        net.gateway.check("ethtool", &["-K", PUBLIC, "rxvlan", "off"]);
        publish(&mut filter, 1, vec![listener(1, "pub0.7", &["198.51.100.99/32"])]);
        let status = filter.status();
        assert_eq!((status.interfaces[0].device.as_str(), status.interfaces[0].vlan), (PUBLIC, 7));
        assert!(xdp::attached(&net.gateway, PUBLIC).is_some());

        let witness = Witness::new(&net);
        let syn = |tags: &[_]| {
            frame::syn(&frame::Link::tagged(tags), (GHOST_V4, 4000).into(), (PUBLIC_V4, 443).into())
        };
        witness.assert_passed("the listener's tag", Side::Public, &[syn(&[(DOT1Q, 7)])]);
        witness.assert_dropped_in_kernel("another tag", Side::Public, &[syn(&[(DOT1Q, 8)])]);
        witness.assert_dropped_in_kernel("no tag", Side::Public, &[syn(&[])]);
    });
}

#[test]
fn jumbo_frames_are_taken_in_fragments() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.ip(&["link", "set", PUBLIC, "mtu", "9000"]);
    net.wire.ip(&["link", "set", "gate", "mtu", "9000"]);
    net.gateway.within(|| {
        let mut filter = open(&scratch, "a");
        publish(&mut filter, 1, vec![listener(1, PUBLIC, &[CLIENT])]);
        assert_eq!(reach(&net.client, (PUBLIC_V4, 443)), Reach::Refused);
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), Reach::Timeout);
    });
}

#[test]
fn an_interface_that_comes_back_is_guarded_again() {
    let (net, scratch) = (Net::new(), Scratch::new());
    let plug = || {
        net.gateway.ip_batch(&format!(
            "link add gone0 type veth peer name far0 netns {}\nlink set gone0 up\n",
            net.office.name()
        ));
    };
    plug();
    net.gateway.within(|| {
        let mut filter = open(&scratch, "a");
        let listeners = || vec![listener(1, PUBLIC, &[CLIENT]), listener(2, "gone0", &[])];
        publish(&mut filter, 1, listeners());
        assert!(!filter.refresh(), "nothing changed");
        let mode = |filter: &Filter, name: &str| {
            filter.status().interfaces.iter().find(|status| status.interface == name).unwrap().mode
        };

        net.gateway.ip(&["link", "del", "gone0"]);
        assert!(filter.refresh());
        assert_eq!((mode(&filter, "gone0"), mode(&filter, PUBLIC)), (Mode::Detached, Mode::Native));
        // Edits elsewhere go on.
        publish(&mut filter, 2, listeners());
        assert_eq!(mode(&filter, "gone0"), Mode::Detached);

        plug();
        assert!(filter.refresh());
        assert_eq!(mode(&filter, "gone0"), Mode::Native);
        assert!(xdp::attached(&net.gateway, "gone0").is_some());
        assert!(!filter.refresh(), "settled");
        assert_eq!(reach(&net.client, (PUBLIC_V4, 443)), Reach::Refused);
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), Reach::Timeout);

        // A daemon that starts while it is gone starts all the same.
        net.gateway.ip(&["link", "del", "gone0"]);
        drop(filter);
        let mut filter = open(&scratch, "a");
        publish(&mut filter, 2, listeners());
        assert_eq!(mode(&filter, "gone0"), Mode::Detached);
        plug();
        assert!(filter.refresh());
        assert_eq!(mode(&filter, "gone0"), Mode::Native);
    });
}

/// At a start an interface that cannot be guarded costs its own listeners, not the others.
#[test]
fn a_start_bars_an_interface_that_cannot_be_guarded_and_goes_on() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let mut filter = open(&scratch, "a");
        xdp::attach_foreign(&net.gateway, LAN, &scratch.join("bpf/foreign"));
        publish(&mut filter, 1, vec![listener(1, PUBLIC, &[CLIENT]), listener(2, LAN, &[])]);
        let barred = filter.barred();
        assert_eq!(barred.why(LAN).unwrap().code, "filter_foreign_program");
        assert_eq!(barred.why(PUBLIC), None);
        let status = filter.status();
        assert_eq!(
            (status.interfaces[0].interface.as_str(), status.interfaces[0].mode),
            (LAN, Mode::Detached)
        );
        assert!(status.warnings[0].contains("foreign"), "{:?}", status.warnings);
        assert_eq!(reach(&net.client, (PUBLIC_V4, 443)), Reach::Refused);
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), Reach::Timeout);
        // An abandoned change leaves what is barred as it was.
        filter.stage(&snapshot(2, vec![listener(1, PUBLIC, &[CLIENT])])).unwrap();
        assert_eq!(barred.why(LAN), None);
        filter.abandon();
        assert!(barred.why(LAN).is_some());
    });
}

/// A required filter that was there and cannot be put back must not stop edits: they may be revocations.
#[test]
fn an_interface_that_somebody_took_does_not_stop_edits() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let listeners = |cidr| vec![listener(1, PUBLIC, &[cidr]), listener(2, LAN, &[])];
        let mut filter = open(&scratch, "a");
        publish(&mut filter, 1, listeners(CLIENT));
        let links = pins(&scratch, "a").join("links");
        let pin = std::fs::read_dir(links).unwrap().flatten().map(|entry| entry.path());
        let pin = pin.into_iter().find(|path| path.to_string_lossy().ends_with(LAN)).unwrap();
        std::fs::remove_file(pin).unwrap();
        harness::wait::until("the kernel to release the link", || {
            xdp::attached(&net.gateway, LAN).is_none().then_some(())
        });
        let mut thief = open(&scratch, "thief");
        publish(&mut thief, 1, vec![listener(1, LAN, &[])]);
        let taken = xdp::attached(&net.gateway, LAN);

        publish(&mut filter, 2, listeners("198.51.100.66/32"));
        assert_eq!(reach(&net.client, (PUBLIC_V4, 443)), Reach::Timeout, "revoked");
        let status = filter.status();
        assert_eq!(
            (status.interfaces[0].interface.as_str(), status.interfaces[0].mode),
            (LAN, Mode::Detached)
        );
        assert!(status.warnings[0].contains("not this gateway's"), "{:?}", status.warnings);
        assert!(filter.refresh());
        assert_eq!(xdp::attached(&net.gateway, LAN), taken, "never replaced");

        publish(&mut thief, 2, Vec::new());
        harness::wait::until("the filter to be put back", || {
            filter.refresh();
            (filter.status().interfaces[0].mode == Mode::Native).then_some(())
        });
        assert!(xdp::attached(&net.gateway, LAN).is_some());
        assert!(!filter.refresh());
    });
}

#[test]
fn the_doctor_looks_at_everything() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.ip(&["link", "set", LAN, "mtu", "9000"]);
    net.gateway.ip(&["link", "add", "br9", "type", "bridge"]);
    net.gateway.within(|| {
        let checks = probe(&config(&scratch, "a", FilterMode::Required));
        let check = |name: &str, word: &str| {
            checks.iter().find(|check| check.check == name && check.detail.contains(word)).unwrap().clone()
        };
        for name in [
            "kernel",
            "bpffs",
            "object",
            "native",
            "native_frags",
            "ingress",
            "tcx",
            "cap_bpf",
            "cap_net_admin",
        ] {
            assert_eq!(check(name, "").level, Level::Ok, "{:?}", check(name, ""));
        }
        assert!(check("driver pub0", "veth, native XDP").ok);
        assert_eq!(check("mtu lan0", "MTU 9000").level, Level::Ok, "in several buffers");
        let bridge = check("driver br9", "TCX at ingress takes its place");
        assert_eq!((bridge.ok, bridge.level), (true, Level::Note));
        // What was loaded to try it is gone, and nothing was pinned.
        assert!(!pins(&scratch, "a").exists());
        assert_eq!(xdp::attached(&net.gateway, PUBLIC), None);
        let mut elsewhere = config(&scratch, "a", FilterMode::Required);
        elsewhere.pin_dir = "/tmp/x".into();
        assert!(
            probe(&elsewhere).iter().any(|check| check.check == "bpffs" && !check.ok && check.cure.is_some())
        );
    });
}
