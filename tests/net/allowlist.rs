//! The allowlist of a public listener: what is written is who gets in.

use harness::{
    Reach, curl,
    proof::{Side, Witness},
    reach, reach_from,
    topology::{CLIENT_V4, GHOST_V4, GHOST_V6, PUBLIC_V4, PUBLIC_V6},
};

use super::site::{HTTPS_V4, HTTPS_V6, Site};

/// PA-2: nobody is allowed before somebody is named, even though the portal is open.
#[test]
fn pa_2_an_empty_list_means_nobody() {
    let site = Site::open();
    assert!(site.list("public").is_empty());
    let witness = Witness::new(&site.net);
    let before = site.drops("public", "not_allowed");
    for (case, source, target) in
        [("v4", (GHOST_V4, 4000).into(), HTTPS_V4), ("v6", (GHOST_V6, 4000).into(), HTTPS_V6)]
    {
        let syn = harness::frame::syn(&harness::frame::Link::default(), source, target);
        witness.assert_dropped_in_kernel(case, Side::Public, &[syn]);
    }
    assert_eq!(site.drops("public", "not_allowed"), before + 2);
    for target in [HTTPS_V4, HTTPS_V6, (PUBLIC_V4, 80).into(), (PUBLIC_V6, 80).into()] {
        assert_eq!(reach(&site.net.client, target), Reach::Timeout, "{target}");
    }
    assert_eq!(witness.behind().packets("client_syn"), 0);
}

/// PA-3: commas and newlines separate, a bare address is a host, duplicates are one, the order does not matter.
#[test]
fn pa_3_entries_come_by_comma_and_by_newline() {
    let site = Site::open();
    let typed = "192.0.2.0/24,198.51.100.10\n203.0.113.0/25";
    let reply = site.gateway.cli(&["allow", "add", "public", typed]).ok();
    assert_eq!(reply["changed"], true);
    let mut list = site.list("public");
    list.sort();
    assert_eq!(list, ["192.0.2.0/24", "198.51.100.10/32", "203.0.113.0/25"]);

    let piped = "2001:db8:100::10\n 192.0.2.0/24,\r\n\n198.51.100.10/32\t10.0.0.0/8";
    let reply = site.gateway.cli_with_input(&["allow", "add", "public", "-"], piped).ok();
    assert_eq!(reply["changed"], true);
    let list = site.list("public");
    assert_eq!(list.len(), 5, "{list:?}");
    assert!(list.contains(&"2001:db8:100::10/128".to_owned()), "{list:?}");

    let again = site.gateway.cli(&["allow", "add", "public", "10.0.0.0/8"]).ok();
    assert_eq!(again["changed"], false);

    // Host bits are a mistake that the error corrects; what came beside the mistake is not taken.
    let error = site.gateway.cli(&["allow", "add", "public", "198.51.100.66,192.0.2.77/24"]).refused();
    assert!(error.to_string().contains("192.0.2.0/24"), "{error}");
    assert_eq!(site.list("public"), list);

    for target in [HTTPS_V4, HTTPS_V6, (PUBLIC_V4, 80).into(), (PUBLIC_V6, 80).into()] {
        assert_eq!(reach(&site.net.client, target), Reach::Open, "{target}");
        assert_eq!(reach(&site.net.outsider, target), Reach::Timeout, "{target}");
    }
}

/// PA-4: fifteen pass, the sixteenth is refused with everything that came beside it.
#[test]
fn pa_4_the_sixteenth_entry_is_refused_whole() {
    let site = Site::open();
    let fourteen: Vec<String> = (0..14).map(|number| format!("203.0.113.{number}")).collect();
    site.allow(&fourteen.join(","));
    // Two more are sixteen; the one that would still fit is not taken either.
    let before = (site.gateway.generation(), site.gateway.export());
    let error = site.gateway.cli(&["allow", "add", "public", "198.51.100.10,192.0.2.9"]).refused();
    assert!(error["limit"].to_string().contains("15"), "{error}");
    assert_eq!(before, (site.gateway.generation(), site.gateway.export()));
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Timeout);

    // The fifteenth may be IPv6 (they count too), then it is full; what is there already may be named again.
    site.allow("2001:db8:100::10");
    assert_eq!(site.list("public").len(), 15);
    assert_eq!(reach(&site.net.client, HTTPS_V6), Reach::Open);
    site.gateway.cli(&["allow", "add", "public", "198.51.100.10"]).refused();
    assert_eq!(site.gateway.cli(&["allow", "add", "public", "203.0.113.5"]).ok()["changed"], false);
    // An overlap counts.
    site.gateway.cli(&["allow", "add", "public", "203.0.113.0/24"]).refused();
    assert_eq!(site.list("public").len(), 15);

    // All fifteen work, the last as the first.
    site.disallow("203.0.113.0");
    site.allow("198.51.100.10");
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Open);
    site.net.client_address("203.0.113.13/32");
    let thirteen = "203.0.113.13".parse().expect("an address");
    site.net.gateway.ip(&["route", "add", "203.0.113.0/24", "via", "198.51.100.10"]);
    assert_eq!(reach_from(&site.net.client, thirteen, HTTPS_V4), Reach::Open);
}

/// PA-5: `0.0.0.0/0` is everybody of IPv4 and nobody of IPv6; `::/0` the other way round.
#[test]
fn pa_5_everybody_is_said_for_each_family() {
    let site = Site::open();
    site.allow("0.0.0.0/0");
    for source in [&site.net.client, &site.net.outsider] {
        assert_eq!(reach(source, HTTPS_V4), Reach::Open);
        assert_eq!(reach(source, HTTPS_V6), Reach::Timeout);
    }
    site.gateway.cli(&["allow", "set", "public", "::/0"]).ok();
    for source in [&site.net.client, &site.net.outsider] {
        assert_eq!(reach(source, HTTPS_V4), Reach::Timeout);
        assert_eq!(reach(source, HTTPS_V6), Reach::Open);
    }
}

/// The longest prefix that holds an address decides which entry is counted; the list shows it.
#[test]
fn every_entry_counts_its_own_packets() {
    let site = Site::open();
    site.allow("198.51.100.0/24,198.51.100.10,192.0.2.0/24");
    let packets = |cidr: &str| {
        let reply = site.gateway.cli(&["allow", "list", "public"]).ok();
        let items = reply["items"].as_array().expect("items");
        let item = items.iter().find(|item| item["cidr"] == cidr).expect("the entry");
        item["packets"].as_u64().expect("a number")
    };
    assert_eq!(packets("198.51.100.10/32"), 0);
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Open);
    let (narrow, wide) = (packets("198.51.100.10/32"), packets("198.51.100.0/24"));
    assert!(narrow >= 2 && wide == 0, "{narrow} and {wide}");
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Open);
    assert!(packets("198.51.100.0/24") >= 2);
    assert_eq!(packets("192.0.2.0/24"), 0);

    // Counters belong to the entry: they survive an edit beside it.
    site.allow("203.0.113.1");
    assert!(packets("198.51.100.10/32") >= narrow);
}

/// What the filter would do and what it does are the same, and `explain` says why.
#[test]
fn explain_agrees_with_the_wire() {
    let site = Site::open();
    site.allow("198.51.100.10,198.51.100.0/28");
    let explain = |source: &str, target: &str, more: &[&str]| {
        let mut words = vec!["explain", source, target];
        words.extend(more);
        site.gateway.cli(&words).ok()
    };
    let passed = explain("198.51.100.10", "198.51.100.1:443", &["--interface", "pub0"]);
    assert_eq!((&passed["verdict"], &passed["reason"]), (&"pass".into(), &"allowed".into()), "{passed}");
    assert_eq!((&passed["listener"], &passed["entry"]), (&"public".into(), &"198.51.100.10/32".into()));
    assert_eq!(passed["tier"], "xdp", "{passed}");
    assert_eq!(passed["generation"].as_u64(), Some(site.gateway.generation()));
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Open);
    let dropped = explain("198.51.100.66", "198.51.100.1:443", &[]);
    assert_eq!(
        (&dropped["verdict"], &dropped["reason"]),
        (&"drop".into(), &"not_allowed".into()),
        "{dropped}"
    );
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Timeout);
    let other = explain("198.51.100.10", "198.51.100.1:443", &["--interface", "lan0"]);
    assert_eq!(other["reason"], "wrong_interface", "{other}");
    let none = explain("198.51.100.66", "198.51.100.1:22", &[]);
    assert_eq!((&none["verdict"], &none["reason"]), (&"pass".into(), &"not_listener".into()), "{none}");
}

/// A request over plain HTTP from an allowed source reaches the proxy, which knows no such route.
#[test]
fn an_allowed_source_reaches_the_proxy() {
    let site = Site::open();
    site.allow(&CLIENT_V4.to_string());
    let answer = curl(&site.net.client, "http://198.51.100.1/nothing/here").run();
    answer.expect_refusal(404, "no_route");
    assert!(answer.header("x-request-id").is_some(), "{}", answer.framed);
    let answer = curl(&site.net.client, "https://198.51.100.1/nothing/here").insecure().run();
    answer.expect_refusal(404, "no_route");
}
