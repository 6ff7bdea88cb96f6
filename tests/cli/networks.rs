//! Private networks, accounts and grants: shapes, refusals by name, long lists in pages.
//!
//! The networks stand on loopback, where the gateway adds an address, which needs rights; the suite `net` has real ones.

use std::fmt::Write as _;

use harness::desk::{Desk, assert_names};

const ZONES: &str = "filter = \"off\"\nregion = \"eu-1\"\nzones = [\"i\", \"l\", \"k\"]\n";

fn desk() -> Desk {
    let mut desk = Desk::prepare();
    desk.gateway.set_config(ZONES);
    desk.gateway.run();
    desk
}

fn add(name: &str) -> Vec<&str> {
    vec![
        "vpc",
        "add",
        name,
        "--interface",
        "lo",
        "--address",
        "10.99.0.1/24",
        "--zone",
        "i",
        "--http",
        "9180",
        "--https",
        "9543",
    ]
}

#[test]
fn a_network_is_added_shown_and_deleted_with_its_listener() {
    let desk = desk();
    let added = desk.ok(&add("s1"));
    assert_eq!((&added["name"], &added["changed"]), (&"s1".into(), &true.into()), "{added}");
    assert_eq!(
        (&added["endpoint"], &added["address"]),
        (&"vpc:s1".into(), &"10.99.0.1/24".into()),
        "{added}"
    );
    let shown = desk.ok(&["vpc", "show", "s1"]);
    for (field, value) in [
        ("account", "default"),
        ("vswitch", "vsw-s1"),
        ("region", "eu-1"),
        ("channel", "private"),
        ("listener", "vpc:s1"),
    ] {
        assert_eq!(shown[field], value, "{shown}");
    }
    assert!(shown["state"].is_string(), "{shown}");
    let list = desk.ok(&["vpc", "list"]);
    assert_eq!(list["items"][0]["name"], "s1", "{list}");
    assert!(desk.ok(&["status"])["vpcs"][0]["state"].is_string());
    assert_eq!(desk.ok(&["allow", "list", "vpc:s1"])["items"][0]["cidr"], "0.0.0.0/0");
    desk.ok(&["listener", "close", "vpc:s1"]);
    assert_eq!(desk.ok(&["listener", "show", "vpc:s1"])["open"], false);
    let error = desk.refused(&["listener", "delete", "vpc:s1"]);
    assert!(error["remedy"].to_string().contains("vpc delete s1"), "{error}");
    assert_names(&desk.refused(&add("s1")), &[("code", "exists"), ("value", "s1")]);
    desk.ok(&["vpc", "delete", "s1"]);
    assert_names(&desk.refused(&["vpc", "show", "s1"]), &[("code", "not_found")]);
    assert_names(&desk.refused(&["allow", "list", "vpc:s1"]), &[("code", "not_found")]);
}

#[test]
fn pv_2_the_refusal_of_a_zone_lists_the_supported_ones() {
    let desk = desk();
    let before = desk.whole();
    let mut words = add("s1");
    words[8] = "g";
    let error = desk.refused(&words);
    assert_names(&error, &[("code", "unsupported_zone"), ("value", "g"), ("limit", "[i l k]")]);
    assert_eq!(error["message"], "vswitch vsw-s1 in zone g is not supported, supported zones: [i l k]");
    assert_eq!(desk.whole(), before);
}

#[test]
fn xa_2_accounts_and_grants_are_shown_and_missing_ones_named() {
    let desk = desk();
    desk.ok(&["account", "add", "b", "--cross-account", "--grant", "gateway"]);
    let mut words = add("s1");
    words.extend(["--account", "b"]);
    let error = desk.refused(&words);
    assert_names(&error, &[("code", "missing_grants"), ("value", "private_link, private_zone")]);
    desk.ok(&["grant", "add", "b", "private_link", "private-zone"]);
    let grants = desk.ok(&["grant", "list", "b"]);
    assert!(
        grants["items"].as_array().is_some_and(|all| all.iter().all(|one| one["granted"] == true)),
        "{grants}"
    );
    desk.ok(&words);
    assert_eq!(desk.ok(&["account", "show", "b"])["vpcs"][0], "s1");
    assert_names(&desk.refused(&["account", "delete", "b"]), &[("code", "in_use")]);
    desk.ok(&["grant", "remove", "b", "gateway"]);
    let shown = desk.ok(&["vpc", "show", "s1"]);
    assert_eq!(shown["state"], "revoked", "{shown}");
    assert!(shown["detail"].to_string().contains("gateway"), "{shown}");
    desk.ok(&["grant", "add", "b", "gateway"]);
    assert_ne!(desk.ok(&["vpc", "show", "s1"])["state"], "revoked");
    assert_names(&desk.refused(&["grant", "add", "b", "everything"]), &[("code", "invalid_grant")]);
    assert_eq!(desk.ok(&["account", "list"])["items"][0]["name"], "default");
}

#[test]
fn a_long_list_is_set_at_once_and_printed_in_pages() {
    let desk = desk();
    desk.ok(&add("s1"));
    let mut text = String::new();
    for entry in 0..100_000_u32 {
        let _ = writeln!(text, "{}", std::net::Ipv4Addr::from(0x0a00_0000 + 2 * entry));
    }
    let before = desk.gateway.generation();
    let started = std::time::Instant::now();
    desk.gateway.cli_with_input(&["allow", "set", "vpc:s1", "-"], &text).ok();
    println!("100,000 entries by `allow set -` in {:?}", started.elapsed());
    assert_eq!(desk.gateway.generation(), before + 1);
    let page = desk.ok(&["allow", "list", "vpc:s1", "--limit", "2", "--offset", "3"]);
    assert_eq!((&page["total"], &page["items"][0]["cidr"]), (&100_000.into(), &"10.0.0.6/32".into()));
    assert_eq!(page["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(desk.ok(&["allow", "list", "vpc:s1"])["items"].as_array().map(Vec::len), Some(100_000));
    let human = desk.gateway.human(&["allow", "list", "vpc:s1"]);
    assert!(human.stdout.contains("1000 of 100000 entries"), "{}", human.framed());
    let started = std::time::Instant::now();
    desk.ok(&["listener", "close", "vpc:s1"]);
    println!("another edit beside it in {:?}", started.elapsed());
    desk.ok(&["allow", "add", "vpc:s1", "11.9.9.9"]);
    desk.ok(&["allow", "remove", "vpc:s1", "10.0.0.0,10.0.0.2"]);
    assert_eq!(desk.ok(&["vpc", "show", "s1"])["entries"], 99_999);
    // An export that is applied is the same, long list and all.
    let file = desk.file("whole.toml", desk.gateway.export());
    assert_eq!(desk.ok(&["apply", "-f", &file])["changed"], false);
    let error = desk
        .gateway
        .cli_with_input(&["allow", "set", "vpc:s1", "-"], &format!("{text}10.0.0.1/33"))
        .refused();
    assert!(error.to_string().contains("10.0.0.1/33"), "{error}");
}
