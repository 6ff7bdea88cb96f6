//! One change after another on one interface.

use gateway_user::{
    base::Generation,
    kernel::{Filter, FilterMode},
    observe::filter::{FilterSource as _, Mode},
    snapshot::{
        Subscriber as _,
        filter::{FilterListener, ListenAddress},
    },
};
use harness::{
    Net, Reach, reach,
    scratch::Scratch,
    topology::{LAN, LAN_V4, OUTSIDER_V4, PUBLIC, PUBLIC_V4},
    xdp,
};

use crate::policy::{config, listener, open, pins, publish, snapshot};

const CLIENT: &str = "198.51.100.10/32";
const OUTSIDER: &str = "198.51.100.66/32";

/// Nothing listens behind the filter, so what passes is refused by the kernel, and what is dropped times out.
const PASSES: Reach = Reach::Refused;
const DROPPED: Reach = Reach::Timeout;

fn packets(filter: &Filter, listener: u16, reason: &str) -> u64 {
    let report = filter.report();
    let counts = report.listeners.iter().find(|counts| counts.id == listener).unwrap();
    counts.reasons.iter().find(|counted| counted.reason == reason).map_or(0, |counted| counted.count.packets)
}

fn entry(filter: &Filter, listener: u16, cidr: &str) -> u64 {
    let report = filter.report();
    let counts = report.listeners.iter().find(|counts| counts.id == listener).unwrap();
    counts.entries.iter().find(|entry| entry.cidr == cidr.parse().unwrap()).unwrap().count.packets
}

#[test]
fn generations_follow_one_another_and_are_counted() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let mut filter = open(&scratch, "a");
        publish(&mut filter, 1, vec![listener(1, PUBLIC, &[CLIENT])]);
        assert_eq!(xdp::attached(&net.gateway, PUBLIC).unwrap().mode, xdp::Mode::Native);
        assert_eq!(xdp::attached(&net.gateway, LAN), None);
        let status = filter.status();
        assert_eq!((status.wanted, status.generation, status.warnings.len()), ("required", Generation(1), 0));
        assert_eq!(status.interfaces[0].mode, Mode::Native);

        // The first poll fills the budget of events.
        filter.poll();
        assert_eq!(reach(&net.client, (PUBLIC_V4, 443)), PASSES);
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), DROPPED);
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 22)), PASSES, "a port of nobody");
        let allowed = packets(&filter, 1, "allowed");
        assert!(allowed >= 1 && packets(&filter, 1, "not_allowed") >= 1);
        assert_eq!(entry(&filter, 1, CLIENT), allowed);

        filter.poll();
        let drops = filter.drops(0);
        let drop = drops.iter().find(|drop| drop.source == Some(OUTSIDER_V4.into())).unwrap();
        assert_eq!((drop.reason, drop.interface.as_str()), ("not_allowed", PUBLIC));
        assert_eq!((drop.destination_port, drop.generation), (443, Generation(1)));
        assert_eq!(drop.listener.as_deref(), Some("listener-1"));
        assert!(filter.drops(drops.last().unwrap().sequence + 1).is_empty());

        // Another list at the same listener: verdicts turn at once, its counters go on, its new entry begins at 0.
        let program = xdp::attached(&net.gateway, PUBLIC).unwrap().id;
        publish(&mut filter, 2, vec![listener(1, PUBLIC, &[OUTSIDER])]);
        assert_eq!(
            xdp::attached(&net.gateway, PUBLIC).unwrap().id,
            program,
            "an edit does not touch the program"
        );
        assert_eq!(reach(&net.client, (PUBLIC_V4, 443)), DROPPED);
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), PASSES);
        assert!(packets(&filter, 1, "allowed") > allowed);
        assert_eq!(
            entry(&filter, 1, OUTSIDER),
            packets(&filter, 1, "allowed") - allowed,
            "the entry's position was another's"
        );

        // Many generations through both banks.
        for generation in 3..30 {
            let cidr = if generation % 2 == 0 { CLIENT } else { OUTSIDER };
            publish(&mut filter, generation, vec![listener(1, PUBLIC, &[cidr])]);
        }
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), PASSES);
        assert_eq!(reach(&net.client, (PUBLIC_V4, 443)), DROPPED);

        // A new listener id begins at 0, also where a deleted one has counted.
        publish(&mut filter, 30, Vec::new());
        assert_eq!(xdp::attached(&net.gateway, PUBLIC), None, "no listener needs the interface");
        assert_eq!(reach(&net.client, (PUBLIC_V4, 443)), PASSES);
        publish(&mut filter, 31, vec![listener(1, PUBLIC, &[CLIENT])]);
        assert_eq!(packets(&filter, 1, "allowed"), 0);
    });
}

#[test]
fn an_abandoned_change_leaves_everything_as_it_was() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let mut filter = open(&scratch, "a");
        publish(&mut filter, 1, vec![listener(1, PUBLIC, &[CLIENT])]);
        filter.stage(&snapshot(2, vec![listener(1, PUBLIC, &[OUTSIDER]), listener(2, LAN, &[])])).unwrap();
        assert!(xdp::attached(&net.gateway, LAN).is_some(), "staged means attached");
        assert_eq!(reach(&net.client, (PUBLIC_V4, 443)), PASSES, "staged is not live");
        filter.abandon();
        assert_eq!(xdp::attached(&net.gateway, LAN), None);
        assert_eq!(reach(&net.client, (PUBLIC_V4, 443)), PASSES);
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), DROPPED);
        assert_eq!(filter.generation(), Generation(1));
        // The number may be used again, with other rows.
        publish(&mut filter, 2, vec![listener(1, PUBLIC, &[OUTSIDER])]);
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), PASSES);

        // A refused change is an abandoned one.
        let refusal =
            filter.stage(&snapshot(3, vec![listener(1, PUBLIC, &[]), listener(2, "eth9", &[])])).unwrap_err();
        assert_eq!((refusal.code.as_str(), refusal.value.as_deref()), ("interface_not_found", Some("eth9")));
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), PASSES);
    });
}

#[test]
fn a_foreign_program_is_refused_by_name_and_left_alone() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let mut theirs = open(&scratch, "theirs");
        publish(&mut theirs, 1, vec![listener(1, PUBLIC, &[CLIENT])]);
        let program = xdp::attached(&net.gateway, PUBLIC).unwrap();

        let mut ours = open(&scratch, "ours");
        publish(&mut ours, 1, Vec::new());
        let refusal =
            ours.stage(&snapshot(2, vec![listener(1, PUBLIC, &[]), listener(2, LAN, &[])])).unwrap_err();
        assert_eq!(refusal.code, "filter_foreign_program");
        assert!(
            refusal.message.contains(&program.id.to_string()) && refusal.message.contains("gateway_frags"),
            "{refusal}"
        );
        assert_eq!(xdp::attached(&net.gateway, PUBLIC), Some(program.clone()));
        assert_eq!(xdp::attached(&net.gateway, LAN), None);

        // Where the filter is not required, the check at accept is enough, and status says so.
        let mut relaxed = Filter::open(config(&scratch, "relaxed", FilterMode::Auto)).unwrap();
        publish(&mut relaxed, 1, vec![listener(1, PUBLIC, &[]), listener(2, LAN, &[])]);
        let status = relaxed.status();
        let modes: Vec<_> =
            status.interfaces.iter().map(|status| (status.interface.as_str(), status.mode)).collect();
        assert_eq!(modes, [(LAN, Mode::Native), (PUBLIC, Mode::Accept)]);
        assert!(status.warnings[0].contains("gateway_frags"), "{:?}", status.warnings);
        assert_eq!(xdp::attached(&net.gateway, PUBLIC), Some(program));
    });
}

#[test]
fn the_filter_can_be_off() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let mut filter = open(&scratch, "a");
        publish(&mut filter, 1, vec![listener(1, PUBLIC, &[CLIENT])]);
        drop(filter);
        // What an earlier run left is taken off, but only by the first publication.
        let mut filter = Filter::open(config(&scratch, "a", FilterMode::Off)).unwrap();
        assert!(xdp::attached(&net.gateway, PUBLIC).is_some());
        publish(&mut filter, 2, vec![listener(1, PUBLIC, &[CLIENT])]);
        assert_eq!(xdp::attached(&net.gateway, PUBLIC), None);
        assert_eq!(filter.status().interfaces[0].mode, Mode::Off);
        assert_eq!(filter.report().listeners[0].entries[0].count.packets, 0);
        // Nothing pinned and nothing made for it.
        let mut fresh = Filter::open(config(&scratch, "b", FilterMode::Off)).unwrap();
        publish(&mut fresh, 1, vec![listener(1, PUBLIC, &[CLIENT])]);
        assert!(!pins(&scratch, "b").exists());
    });
}

#[test]
fn the_kernel_says_what_it_would_do_and_counts_nothing() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let mut filter = open(&scratch, "a");
        let asked = |filter: &Filter, interface: &str, source: &str, destination: &str| {
            let explained =
                filter.judge(interface, None, source.parse().unwrap(), destination.parse().unwrap())?;
            Some((
                explained.reason.name(),
                explained.entry.map(|entry| entry.to_string()),
                explained.generation,
            ))
        };
        assert_eq!(asked(&filter, PUBLIC, "192.0.2.1", "198.51.100.1:443"), None, "no policy yet");
        for generation in 1..4 {
            let list = ["192.0.2.0/24", "10.0.0.0/8"][generation as usize % 2];
            publish(&mut filter, generation, vec![listener(1, PUBLIC, &[list])]);
            let entry = (generation % 2 == 0).then(|| "192.0.2.0/24".to_owned());
            let reason = if entry.is_some() { "allowed" } else { "not_allowed" };
            let verdict = asked(&filter, PUBLIC, "192.0.2.1", "198.51.100.1:443");
            assert_eq!(verdict, Some((reason, entry, Generation(generation))));
            let other = asked(&filter, PUBLIC, "192.0.2.1", "198.51.100.1:22").unwrap();
            assert_eq!(other.0, "not_listener");
            assert_eq!(asked(&filter, LAN, "192.0.2.1", "198.51.100.1:443"), None, "nothing judges there");
        }
        assert_eq!(packets(&filter, 1, "allowed") + packets(&filter, 1, "not_allowed"), 0);
        filter.poll();
        assert!(filter.drops(0).is_empty());
        // On another interface with the program, the listener's address is out of place.
        publish(&mut filter, 4, vec![listener(1, PUBLIC, &[CLIENT]), elsewhere(2)]);
        let verdict = asked(&filter, LAN, "198.51.100.10", "198.51.100.1:443").unwrap();
        assert_eq!(verdict.0, "wrong_interface");
    });
}

/// A listener of the second interface.
fn elsewhere(id: u16) -> FilterListener {
    FilterListener { addresses: vec![ListenAddress::Ip(LAN_V4.into())], ..listener(id, LAN, &[]) }
}
