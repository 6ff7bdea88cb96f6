//! Private networks: their listeners, their limits, and what is left of them when they are gone.

use std::time::Duration;

use super::world::{World, cidrs, listener_on, n, vpc};
use crate::{
    base::{Name, Site},
    control::{Edit, FirstStart, state::silent},
    resource::{Account, Grant, Vpc},
    snapshot::{Exposure, OwnedAddress, filter::Echo},
};

fn own(vpc: &str) -> Name {
    Name::of_vpc_listener(&n(vpc))
}

#[test]
fn pv_1_an_attached_network_has_a_listener_an_address_and_a_row_of_its_own() {
    let mut world = World::new(FirstStart::Empty);
    let outcome = world.ok(Edit::VpcAdd(vpc("s1", "if1", "10.0.0.10/24")));
    assert_eq!(outcome.item["listener"], "vpc:s1");
    assert_eq!(outcome.item["vswitch"], "vsw-s1");
    let live = world.live("filter");
    let [listener] = live.listeners.as_slice() else { panic!("{live:?}") };
    assert_eq!((listener.name.as_str(), &listener.exposure), ("vpc:s1", &Exposure::Vpc(n("s1"))));
    assert_eq!((listener.http, listener.https, listener.open), (Some(80), Some(443), true));
    let [policy] = live.filter.listeners.as_slice() else { panic!("{live:?}") };
    assert_eq!((policy.echo, policy.interface.as_str(), policy.id), (Echo::Allowlist, "if1", listener.id));
    assert_eq!(policy.entries.iter().map(|entry| entry.cidr.to_string()).collect::<Vec<_>>(), ["0.0.0.0/0"]);
    let address = "10.0.0.10/24".parse().unwrap();
    assert_eq!(live.addresses, [OwnedAddress { interface: "if1".to_owned(), address }]);
    assert_eq!(live.vpcs[0].region.as_str(), "local");
    assert!(!live.vpcs[0].remote);

    // The verbs of listeners take it; only its deletion has a verb of its own.
    world.ok(Edit::AllowSet { listener: own("s1"), cidrs: cidrs("10.0.0.7"), allow_empty: false });
    world.ok(Edit::ListenerClose { listener: own("s1") });
    assert_eq!(world.control.listener("vpc:s1").unwrap().allow, ["10.0.0.7/32"]);
    assert!(!world.control.vpc("s1").unwrap().open);
    let refusal = world.refused(Edit::ListenerDelete { listener: own("s1") });
    assert!(refusal.remedy.unwrap().contains("vpc delete s1"));

    // All of it survives a restart, and an export that is applied changes nothing.
    let before = super::world::told(&world.live("proxy"));
    world.reopen();
    assert_eq!(super::world::told(&world.live("proxy")), before);
    let same = world.control.export(false);
    assert_eq!((same.listener.len(), same.vpc.len()), (0, 1));
    assert!(!world.ok(Edit::Apply(Box::new(same))).changed);
}

#[test]
fn pv_3_the_default_allowlist_is_everybody_of_the_endpoints_family() {
    let mut world = World::new(FirstStart::Empty);
    world.ok(Edit::VpcAdd(vpc("six", "if1", "2001:db8::10/64")));
    assert_eq!(world.control.listener("vpc:six").unwrap().allow, ["::/0"]);
}

#[test]
fn one_address_belongs_to_one_endpoint_of_an_interface_and_overlapping_networks_are_apart() {
    let mut world = World::new(FirstStart::Empty);
    world.ok(Edit::VpcAdd(vpc("s1", "if1", "10.0.0.10/24")));
    world.ok(Edit::VpcAdd(vpc("s2", "if2", "10.0.0.10/24")));
    let refusal = world.refused(Edit::VpcAdd(vpc("s3", "if1", "10.0.0.10/16")));
    assert!(refusal.code == "conflict" && refusal.message.contains("`s1`"), "{refusal}");
    // Also a listener with other ports may not have it.
    let mut public = listener_on("edge", "if1", "10.0.0.10");
    (public.http, public.https) = (Some(8080), None);
    let refusal = world.refused(Edit::ListenerAdd(public));
    assert!(refusal.code == "conflict" && refusal.message.contains("`s1`"), "{refusal}");
    world.ok(Edit::ListenerAdd(listener_on("edge", "if3", "10.0.0.10")));
}

#[test]
fn ad_2_a_second_authoritative_network_is_refused_naming_the_first() {
    let mut world = World::new(FirstStart::Empty);
    let with =
        |name: &str, interface: &str| Vpc { authoritative_dns: true, ..vpc(name, interface, "10.0.0.10/24") };
    world.ok(Edit::VpcAdd(with("s1", "if1")));
    let refusal = world.refused(Edit::VpcAdd(with("s2", "if2")));
    assert!(refusal.code == "conflict" && refusal.message.contains("`s1`"), "{refusal}");
}

#[test]
fn pv_6_a_deleted_endpoint_is_silent_until_its_address_is_used_again() {
    let mut world = World::new(FirstStart::Empty);
    world.ok(Edit::VpcAdd(vpc("s1", "if1", "10.0.0.10/24")));
    let id = world.live("filter").filter.listeners[0].id;
    world.ok(Edit::VpcDelete { vpc: n("s1") });
    world.reopen();
    let live = world.live("filter");
    assert!(live.listeners.is_empty() && live.vpcs.is_empty() && live.addresses.is_empty(), "{live:?}");
    let [policy] = live.filter.listeners.as_slice() else { panic!("{live:?}") };
    assert_eq!((policy.echo, policy.open, policy.id), (Echo::Silent, false, id));
    assert_eq!(policy.ports, [80, 443]);
    // Another address or interface has nothing to do with it; the counters' id is not handed out meanwhile.
    world.ok(Edit::VpcAdd(vpc("s1", "if2", "10.0.0.10/24")));
    world.ok(Edit::VpcAdd(vpc("s2", "if1", "10.0.0.11/24")));
    let silent = |world: &World| {
        let all = world.live("filter").filter.listeners.clone();
        all.iter().filter(|one| one.echo == Echo::Silent).count()
    };
    assert_eq!(silent(&world), 1);
    world.ok(Edit::ListenerAdd(listener_on("edge", "if1", "10.0.0.10")));
    assert_eq!(silent(&world), 0);
}

#[test]
fn pv_6_a_silent_endpoint_is_forgotten_in_time_and_their_number_is_bounded() {
    let mut world = World::new(FirstStart::Empty);
    for round in 0..silent::MOST + 3 {
        world.ok(Edit::VpcAdd(vpc("s1", "if1", &format!("10.0.1.{}/16", round + 1))));
        world.ok(Edit::VpcDelete { vpc: n("s1") });
    }
    assert_eq!(world.live("filter").filter.listeners.len(), silent::MOST);
    let end = world.control.next_deadline().unwrap();
    assert!(end > crate::base::clock::unix() + silent::KEPT - Duration::from_secs(60));
    world.control.tick(end - Duration::from_secs(1)).unwrap();
    assert_eq!(world.live("filter").filter.listeners.len(), silent::MOST);
    world.control.tick(end + Duration::from_secs(60)).unwrap();
    assert_eq!(world.live("filter").filter.listeners.len(), 0);
    assert_eq!(world.control.next_deadline(), None);
}

#[test]
fn a_moved_endpoint_leaves_a_silent_one_behind() {
    let mut world = World::new(FirstStart::Empty);
    world.ok(Edit::VpcAdd(vpc("s1", "if1", "10.0.0.10/24")));
    let mut document = world.control.export(false);
    document.vpc[0].address = "10.0.0.20/24".parse().unwrap();
    world.ok(Edit::Apply(Box::new(document)));
    let live = world.live("filter");
    assert_eq!(live.filter.listeners.len(), 2);
    let ids: std::collections::BTreeSet<u16> = live.filter.listeners.iter().map(|one| one.id).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(live.filter.listeners[1].echo, Echo::Silent);
}

#[test]
fn a_rollback_brings_a_network_back_only_with_yes() {
    let mut world = World::new(FirstStart::Empty);
    world.ok(Edit::VpcAdd(vpc("s1", "if1", "10.0.0.10/24")));
    let generation = world.control.generation();
    world.ok(Edit::VpcDelete { vpc: n("s1") });
    let refusal = world.refused(Edit::Rollback { generation, yes: false });
    assert!(refusal.code == "needs_yes" && refusal.message.contains("vpc:s1"), "{refusal}");
    world.ok(Edit::Rollback { generation, yes: true });
    assert_eq!(world.control.listener("vpc:s1").unwrap().allow, ["0.0.0.0/0"]);
    assert_eq!(world.live("filter").filter.listeners.len(), 1);
}

fn account(name: &str, grants: &[Grant]) -> Edit {
    Edit::AccountAdd(Account { name: n(name), cross_account: true, grants: grants.iter().copied().collect() })
}

fn of(owner: &str, name: &str) -> Vpc {
    Vpc { account: n(owner), ..vpc(name, "if1", "10.0.0.10/24") }
}

#[test]
fn xa_2_each_missing_grant_is_named_and_revoking_one_tears_the_endpoint_down() {
    let mut world = World::new(FirstStart::Empty);
    assert_eq!(world.refused(Edit::VpcAdd(of("b", "s1"))).code, "not_found");
    world.ok(account("b", &[Grant::PrivateLink]));
    let refusal = world.refused(Edit::VpcAdd(of("b", "s1")));
    assert_eq!(refusal.code, "missing_grants");
    assert!(refusal.message.contains("gateway, private_zone") && !refusal.message.contains("private_link"));
    let grants = |grants: &[Grant]| grants.iter().copied().collect::<std::collections::BTreeSet<_>>();
    let two = [Grant::Gateway, Grant::PrivateZone];
    world.ok(Edit::GrantAdd { account: n("b"), grants: grants(&two) });
    world.ok(Edit::VpcAdd(of("b", "s1")));
    world.ok(Edit::AllowSet { listener: own("s1"), cidrs: cidrs("10.0.0.0/25"), allow_empty: false });
    let before = super::world::told(&world.live("filter")).split_once("listeners").unwrap().1.to_owned();
    assert_eq!(world.refused(Edit::AccountDelete { account: n("b") }).code, "in_use");

    world.ok(Edit::GrantRemove { account: n("b"), grants: grants(&[Grant::PrivateZone]) });
    world.reopen();
    let live = world.live("filter");
    assert!(live.listeners.is_empty() && live.vpcs.is_empty() && live.addresses.is_empty(), "{live:?}");
    assert_eq!(live.filter.listeners.len(), 1);
    assert_eq!(live.filter.listeners[0].echo, Echo::Silent);
    let revoked = world.control.vpc("s1").unwrap().revoked.unwrap();
    assert!(revoked.contains("private_zone"), "{revoked}");
    // What else is changed meanwhile is not in the way, and an export is still taken.
    world.ok(Edit::AllowAdd { listener: own("s1"), cidrs: cidrs("10.0.0.200") });
    world.ok(Edit::AllowRemove { listener: own("s1"), cidrs: cidrs("10.0.0.200"), drain: None });
    let same = world.control.export(false);
    assert!(!world.ok(Edit::Apply(Box::new(same))).changed);
    let refusal = world.refused(Edit::GrantRemove { account: n("b"), grants: grants(&[Grant::PrivateZone]) });
    assert_eq!(refusal.code, "not_found");

    world.ok(Edit::GrantAdd { account: n("b"), grants: grants(&[Grant::PrivateZone]) });
    let after = super::world::told(&world.live("filter")).split_once("listeners").unwrap().1.to_owned();
    assert_eq!(
        before.replace(|char: char| char.is_ascii_digit(), ""),
        after.replace(|char: char| char.is_ascii_digit(), "")
    );
}

#[test]
fn xa_3_the_feature_is_off_until_the_site_or_the_account_has_it() {
    let mut world = World::new(FirstStart::Empty);
    world.ok(account("b", &Grant::ALL));
    world.ok(Edit::AccountUpdate { account: n("b"), cross_account: false });
    let refusal = world.refused(Edit::VpcAdd(of("b", "s1")));
    assert_eq!(refusal.code, "cross_account_off");
    let remedy = refusal.remedy.unwrap();
    assert!(remedy.contains("account update b") && remedy.contains("cross_account = true"), "{remedy}");
    world.ok(Edit::AccountUpdate { account: n("b"), cross_account: true });
    world.ok(Edit::VpcAdd(of("b", "s1")));
    world.ok(Edit::AccountUpdate { account: n("b"), cross_account: false });
    assert!(world.live("proxy").vpcs.is_empty());
}

#[test]
fn xa_4_and_xr_1_another_region_is_for_networks_of_the_own_account() {
    let site = Site { region: Some(n("eu-1")), zones: vec![n("i"), n("l"), n("k")], ..Site::default() };
    let mut world = World::at(FirstStart::Empty, site);
    world.ok(account("b", &Grant::ALL));
    let elsewhere = |vpc: Vpc| Vpc { region: Some(n("us-1")), zone: n("z"), ..vpc };
    let refusal = world.refused(Edit::VpcAdd(elsewhere(of("b", "s1"))));
    assert_eq!(refusal.code, "cross_account_region");
    assert!(refusal.remedy.unwrap().contains("XR-1"));
    world.ok(Edit::VpcAdd(elsewhere(vpc("s1", "if1", "10.0.0.10/24"))));
    let live = world.live("proxy");
    assert_eq!((live.vpcs[0].region.as_str(), live.vpcs[0].remote), ("us-1", true));
    world.ok(Edit::VpcAdd(vpc("s2", "if2", "10.0.0.10/24")));
    assert!(!world.live("proxy").vpcs[1].remote);
}

#[test]
fn pv_2_an_unsupported_zone_is_refused_with_the_supported_ones() {
    let site = Site { zones: vec![n("i"), n("l"), n("k")], ..Site::default() };
    let mut world = World::at(FirstStart::Empty, site);
    let wrong = Vpc { zone: n("g"), ..vpc("s1", "if1", "10.0.0.10/24") };
    let refusal = world.refused(Edit::VpcAdd(wrong));
    assert_eq!(refusal.code, "unsupported_zone");
    assert_eq!(refusal.message, "vswitch vsw-s1 in zone g is not supported, supported zones: [i l k]");
    world.ok(Edit::VpcAdd(vpc("s1", "if1", "10.0.0.10/24")));
}
