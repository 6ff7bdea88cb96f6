//! What outlives the daemon, and how the next one takes it over.

use gateway_user::{
    base::Generation,
    kernel::{Filter, FilterMode, detach},
    observe::filter::FilterSource as _,
    snapshot::Subscriber as _,
};
use harness::{
    Net, Reach,
    behind::Behind,
    flood::Flood,
    frame::{self, Link},
    reach,
    scratch::Scratch,
    topology::{GHOST_V4, LAN, PUBLIC, PUBLIC_V4},
    xdp,
};

use crate::policy::{config, listener, open, pins, publish, snapshot};

const CLIENT: &str = "198.51.100.10/32";

/// A flood from a source that is not listed, and the count of what came past the filter.
fn flood(net: &Net) -> Flood {
    let syn = |port| frame::syn(&Link::default(), (GHOST_V4, port).into(), (PUBLIC_V4, 443).into());
    Flood::start(net.attacker(), (1024..1152).map(syn).collect(), 20_000)
}

#[test]
fn no_packet_passes_while_daemons_come_and_go() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let mut filter = open(&scratch, "a");
        publish(&mut filter, 1, vec![listener(1, PUBLIC, &[CLIENT])]);
        let behind = Behind::install(&net.gateway);
        let flood = flood(&net);
        let mut program = xdp::attached(&net.gateway, PUBLIC).unwrap().id;
        for generation in [1, 1, 2, 2, 3] {
            drop(filter);
            assert_eq!(xdp::attached(&net.gateway, PUBLIC).map(|attached| attached.id), Some(program));
            filter = open(&scratch, "a");
            assert_eq!(filter.generation(), Generation(0), "nothing is served before the first publication");
            filter.stage(&snapshot(generation, vec![listener(1, PUBLIC, &[CLIENT])])).unwrap();
            assert_eq!(xdp::attached(&net.gateway, PUBLIC).map(|attached| attached.id), Some(program));
            filter.commit().unwrap();
            let swapped = xdp::attached(&net.gateway, PUBLIC).unwrap();
            assert_eq!(swapped.mode, xdp::Mode::Native);
            assert_ne!(swapped.id, program, "the new daemon's program is in place");
            program = swapped.id;
        }
        assert_eq!(reach(&net.client, (PUBLIC_V4, 443)), Reach::Refused);
        // Counters go on over restarts.
        let report = filter.report();
        let dropped =
            report.listeners[0].reasons.iter().find(|counted| counted.reason == "not_allowed").unwrap();
        let sent = flood.stop();
        assert!(sent > 1000, "{sent} frames are not a flood");
        assert!(dropped.count.packets > 1000, "{dropped:?}");
        assert_eq!(behind.packets("ghost_ip"), 0, "of {sent}");
    });
}

#[test]
fn another_layout_is_filled_before_it_takes_over() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let mut filter = open(&scratch, "a");
        publish(&mut filter, 1, vec![listener(1, PUBLIC, &[CLIENT]), listener(2, LAN, &[])]);
        drop(filter);
        let layouts = || std::fs::read_dir(pins(&scratch, "a").join("maps")).unwrap().count();
        assert_eq!(layouts(), 1);

        let behind = Behind::install(&net.gateway);
        let flood = flood(&net);
        let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/gateway-ebpf-layout-b");
        let object = std::env::var_os("GATEWAY_EBPF_LAYOUT_B").unwrap_or_else(|| default.into());
        let other = gateway_user::kernel::Config {
            object: Some(object.into()),
            ..config(&scratch, "a", FilterMode::Required)
        };
        let before = xdp::attached(&net.gateway, PUBLIC).unwrap().id;
        let mut filter = Filter::open(other).unwrap();
        filter.stage(&snapshot(1, vec![listener(1, PUBLIC, &[CLIENT])])).unwrap();
        assert_eq!(layouts(), 2, "both while the old program is on");
        filter.abandon();
        assert_eq!(xdp::attached(&net.gateway, PUBLIC).unwrap().id, before);
        publish(&mut filter, 1, vec![listener(1, PUBLIC, &[CLIENT])]);
        assert_eq!(layouts(), 1);
        assert_ne!(xdp::attached(&net.gateway, PUBLIC).unwrap().id, before);
        assert_eq!(xdp::attached(&net.gateway, LAN), None, "no longer in the plan");
        assert_eq!(reach(&net.client, (PUBLIC_V4, 443)), Reach::Refused);
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), Reach::Timeout);
        // And back.
        drop(filter);
        let mut filter = open(&scratch, "a");
        publish(&mut filter, 1, vec![listener(1, PUBLIC, &[CLIENT])]);
        assert_eq!(layouts(), 1);
        let sent = flood.stop();
        assert!(sent > 1000);
        assert_eq!(behind.packets("ghost_ip"), 0, "of {sent}");
    });
}

#[test]
fn damaged_pins_are_built_anew_under_the_running_filter() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let mut filter = open(&scratch, "a");
        publish(&mut filter, 5, vec![listener(1, PUBLIC, &[CLIENT])]);
        drop(filter);
        let layout =
            std::fs::read_dir(pins(&scratch, "a").join("maps")).unwrap().next().unwrap().unwrap().path();
        let behind = Behind::install(&net.gateway);
        let flood = flood(&net);
        for missing in ["SLOTS", "LIVE", "MARKS"] {
            std::fs::remove_file(layout.join(missing)).unwrap();
            let mut filter = open(&scratch, "a");
            publish(&mut filter, 5, vec![listener(1, PUBLIC, &[CLIENT])]);
            assert_eq!(reach(&net.client, (PUBLIC_V4, 443)), Reach::Refused);
        }
        assert!(flood.stop() > 100);
        assert_eq!(behind.packets("ghost_ip"), 0);
    });
}

#[test]
fn one_process_holds_the_filter_and_detach_works_without_it() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let mut filter = open(&scratch, "a");
        publish(&mut filter, 1, vec![listener(1, PUBLIC, &[CLIENT]), listener(2, LAN, &[])]);
        for mode in [FilterMode::Required, FilterMode::Auto] {
            let refusal = Filter::open(config(&scratch, "a", mode)).map(drop).unwrap_err();
            assert_eq!(refusal.code, "filter_in_use");
        }
        assert_eq!(detach(&pins(&scratch, "a"), None).unwrap_err().code, "filter_in_use");
        assert!(xdp::attached(&net.gateway, PUBLIC).is_some());
        drop(filter);

        let done = detach(&pins(&scratch, "a"), Some(LAN)).unwrap();
        assert_eq!((done.devices, done.layouts), (vec![LAN.to_owned()], 0));
        assert_eq!(xdp::attached(&net.gateway, LAN), None);
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), Reach::Timeout);
        let done = detach(&pins(&scratch, "a"), None).unwrap();
        assert_eq!((done.devices, done.layouts), (vec![PUBLIC.to_owned()], 1));
        assert_eq!((xdp::attached(&net.gateway, PUBLIC), xdp::attached(&net.gateway, LAN)), (None, None));
        assert!(!pins(&scratch, "a").exists());
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), Reach::Refused);
        assert_eq!(detach(&pins(&scratch, "a"), None).unwrap(), gateway_user::kernel::Detached::default());
    });
}
