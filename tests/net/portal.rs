//! The portal: the open or closed switch of the public listener.

use std::time::{Duration, Instant};

use harness::{
    Reach, client, frame,
    frame::Link,
    proof::{Side, Witness},
    reach,
    topology::{CLIENT_V4, GHOST_V4, PUBLIC_V4, PUBLIC_V6},
    xdp,
};

use super::site::{HTTPS_V4, HTTPS_V6, Site};

/// PA-1: the portal decides whether there is a handshake, also for allowed sources; and with it closed ping still answers
/// everybody (PA-8).
#[test]
fn pa_1_the_portal_opens_and_closes_the_channel() {
    let site = Site::bare();
    site.add_public(&[]);
    site.allow("198.51.100.10,2001:db8:100::10");
    let shown = site.gateway.cli(&["listener", "show", "public"]).ok();
    assert_eq!(shown["open"], false, "{shown}");

    let closed = |site: &Site| {
        for target in [HTTPS_V4, HTTPS_V6, (PUBLIC_V4, 80).into(), (PUBLIC_V6, 80).into()] {
            assert_eq!(reach(&site.net.client, target), Reach::Timeout, "{target}");
        }
        for source in [&site.net.client, &site.net.outsider] {
            assert!(client::ping(source, PUBLIC_V4.into()), "ping v4");
            assert!(client::ping(source, PUBLIC_V6.into()), "ping v6");
        }
    };
    let witness = Witness::new(&site.net);
    closed(&site);
    assert_eq!(witness.behind().packets("client_syn"), 0, "a SYN got past a closed portal");
    assert!(site.drops("public", "closed") >= 4);
    assert_eq!(site.gateway.cli(&["explain", "198.51.100.10", "198.51.100.1:443"]).ok()["reason"], "closed");

    let opened = site.gateway.cli(&["listener", "open", "public"]).ok();
    assert_eq!(opened["changed"], true);
    for target in [HTTPS_V4, HTTPS_V6] {
        assert_eq!(reach(&site.net.client, target), Reach::Open, "{target}");
        assert_eq!(reach(&site.net.outsider, target), Reach::Timeout, "{target}");
    }
    assert_eq!(site.gateway.cli(&["listener", "open", "public"]).ok()["changed"], false);

    site.gateway.cli(&["listener", "close", "public"]).ok();
    closed(&site);

    // When the command returns the change holds, every time; how long that took is printed, not asserted.
    let mut slowest = Duration::ZERO;
    for round in 0..10 {
        for (verb, expected) in [("open", Reach::Open), ("close", Reach::Timeout)] {
            let start = Instant::now();
            site.gateway.cli(&["listener", verb, "public"]).ok();
            slowest = slowest.max(start.elapsed());
            assert_eq!(reach(&site.net.client, HTTPS_V4), expected, "{verb} in round {round}");
        }
    }
    println!("opening and closing: the slowest of 20 commands took {slowest:?} with its process");
}

/// PA-8: a closed portal drops TCP in the kernel and leaves ping alone.
#[test]
fn pa_8_a_closed_portal_drops_tcp_in_the_kernel_and_answers_ping() {
    let site = Site::bare();
    site.add_public(&[]);
    site.allow("0.0.0.0/0");
    let witness = Witness::new(&site.net);
    let syn = frame::syn(&Link::default(), (GHOST_V4, 4000).into(), HTTPS_V4);
    witness.assert_dropped_in_kernel("closed", Side::Public, std::slice::from_ref(&syn));
    let http = frame::syn(&Link::default(), (GHOST_V4, 4001).into(), (PUBLIC_V4, 80).into());
    witness.assert_dropped_in_kernel("closed, port 80", Side::Public, &[http]);
    for source in [&site.net.client, &site.net.outsider] {
        assert!(client::ping(source, PUBLIC_V4.into()));
        assert!(client::ping(source, PUBLIC_V6.into()));
    }
    site.gateway.cli(&["listener", "open", "public"]).ok();
    witness.assert_passed("open", Side::Public, &[syn]);
}

/// PA-7: ping is the connectivity check of an allowed source, at either family, with the list as narrow as can be.
#[test]
fn pa_7_ping_answers_an_allowed_source() {
    let site = Site::open();
    site.allow("198.51.100.10,2001:db8:100::10");
    let witness = Witness::new(&site.net);
    for target in [PUBLIC_V4.into(), PUBLIC_V6.into()] {
        assert!(client::ping(&site.net.client, target), "{target}");
    }
    // The check tells the truth: who gets an answer gets in.
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Open);
    assert_eq!(reach(&site.net.client, HTTPS_V6), Reach::Open);
    // And not only one of the system's ping: a bare echo request gets past the filter.
    let mut echo = vec![8, 0, 0, 0, 0, 7, 0, 1];
    frame::seal_icmp(&mut echo);
    let echo = Link::default().around(GHOST_V4.into(), PUBLIC_V4.into(), 1, &echo);
    site.allow(&GHOST_V4.to_string());
    witness.assert_passed("an echo request", Side::Public, &[echo]);
}

/// A deleted listener leaves the port to the host, and a host without listeners is not filtered.
#[test]
fn a_deleted_listener_leaves_nothing_behind() {
    let site = Site::open();
    site.allow("198.51.100.10");
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Open);
    assert!(xdp::attached(&site.net.gateway, "pub0").is_some());
    site.gateway.cli(&["listener", "delete", "public"]).ok();
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Refused);
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Refused);
    // The port is free again, with a list of its own.
    site.add_public(&["--open"]);
    assert!(site.list("public").is_empty());
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Timeout);
}

/// Address resolution is nobody's to filter: it works while everything is denied.
#[test]
fn neighbours_are_found_while_all_is_denied() {
    let site = Site::open();
    site.net.client.ip(&["neigh", "flush", "dev", "eth0"]);
    site.net.gateway.ip(&["neigh", "del", &CLIENT_V4.to_string(), "dev", "pub0"]);
    assert!(client::ping(&site.net.client, PUBLIC_V4.into()));
    assert!(client::ping(&site.net.client, PUBLIC_V6.into()));
}
