//! Large allowlists: their limits, what an edit costs, and what is stored of them.

use std::sync::Arc;

use super::world::{World, cidrs, n, vpc};
use crate::{
    base::{Generation, Name},
    control::{Edit, FirstStart, state::entries::Large},
    resource::{
        Allowlist,
        allowlist::{MAX_PRIVATE, MAX_PUBLIC},
    },
    snapshot::filter::LargeList,
};

fn own() -> Name {
    Name::of_vpc_listener(&n("s1"))
}

fn many(count: u32, first: u8) -> Allowlist {
    let address = |i: u32| std::net::Ipv4Addr::from((u32::from(first) << 24) + i * 2);
    Allowlist::from_sorted((0..count).map(|i| std::net::IpAddr::from(address(i)).into()).collect())
}

fn set(count: u32, first: u8) -> Edit {
    Edit::AllowSet { listener: own(), cidrs: many(count, first), allow_empty: false }
}

fn live(world: &World) -> Arc<LargeList> {
    world.live("filter").filter.listeners[0].large.clone().unwrap()
}

#[test]
fn a_private_list_may_be_long_and_a_public_one_may_not() {
    let mut world = World::new(FirstStart::Local);
    world.ok(Edit::VpcAdd(vpc("s1", "if1", "10.0.0.10/24")));
    let refusal =
        world.refused(Edit::AllowSet { listener: n("local"), cidrs: many(16, 10), allow_empty: false });
    assert_eq!(refusal.limit, Some(MAX_PUBLIC.to_string()));
    let before = world.control.generation();
    let outcome = world.ok(set(100_000, 10));
    assert_eq!(outcome.generation, before.next());
    assert_eq!(outcome.diff.len(), 1, "{:?}", outcome.diff.len());
    let listener = world.control.listener("vpc:s1").unwrap();
    assert_eq!((listener.entries, listener.allow.len()), (100_000, 15));
    let refusal = world.refused(set(1_000_001, 10));
    assert_eq!((refusal.code.as_str(), refusal.limit), ("limit", Some(MAX_PRIVATE.to_string())));
    assert!(refusal.message.contains("1000001"), "{}", refusal.message);
}

#[test]
fn entries_come_and_go_one_by_one_and_short_lists_have_counters_again() {
    let mut world = World::new(FirstStart::Empty);
    world.ok(Edit::VpcAdd(vpc("s1", "if1", "10.0.0.10/24")));
    world.ok(set(20, 10));
    assert!(!world.ok(set(20, 10)).changed);
    let add = |text: &str| Edit::AllowAdd { listener: own(), cidrs: cidrs(text) };
    let remove = |text: &str, drain| Edit::AllowRemove { listener: own(), cidrs: cidrs(text), drain };
    assert!(!world.ok(add("10.0.0.2")).changed);
    world.ok(add("10.0.0.3 2001:db8::/32"));
    assert_eq!(live(&world).len(), 22);
    assert_eq!(world.refused(remove("10.0.0.2,10.0.0.99", None)).code, "not_found");
    let wait = Some(std::time::Duration::from_secs(60));
    world.ok(remove("10.0.0.2", wait));
    let list = world.control.allowlist("vpc:s1", 0, 1000).unwrap();
    assert_eq!((list.total, list.counted, list.items.len()), (21, false, 22));
    assert_eq!((list.items[21].draining, list.items[21].cidr.as_str()), (true, "10.0.0.2/32"));
    assert!(list.items[0].id.is_none());
    let page = world.control.allowlist("vpc:s1", 5, 3).unwrap();
    assert_eq!(
        page.items.iter().map(|one| one.cidr.as_str()).collect::<Vec<_>>(),
        ["10.0.0.10/32", "10.0.0.12/32", "10.0.0.14/32"]
    );
    // Down to fifteen: each has a counter, the draining one keeps its own.
    let gone: Vec<String> = (5..11).map(|i| format!("10.0.0.{}", i * 2)).collect();
    world.ok(remove(&gone.join(","), None));
    let policy = world.live("filter").filter.listeners[0].clone();
    assert!(policy.large.is_none());
    assert_eq!(policy.entries.len(), 16);
    let ids: std::collections::BTreeSet<u8> = policy.entries.iter().map(|entry| entry.id).collect();
    assert_eq!(ids.len(), 16);
    world.reopen();
    assert_eq!(world.live("filter").filter.listeners[0], policy);
}

#[test]
fn a_list_is_shared_between_generations_and_stored_once() {
    let mut world = World::new(FirstStart::Empty);
    world.ok(Edit::VpcAdd(vpc("s1", "if1", "10.0.0.10/24")));
    world.ok(set(100_000, 10));
    let (first, at) = (live(&world), world.control.generation());
    let size = world.bytes().len();
    // What does not touch the list neither copies nor stores it again.
    for _ in 0..20 {
        world.ok(Edit::ListenerClose { listener: own() });
        world.ok(Edit::ListenerOpen { listener: own() });
    }
    assert!(Arc::ptr_eq(&first, &live(&world)));
    assert!(world.bytes().len() < size + 2_000_000, "{size} became {}", world.bytes().len());
    world.reopen();
    assert_eq!(first, live(&world));

    world.ok(set(50_000, 20));
    world.reopen();
    assert_eq!(live(&world).len(), 50_000);
    world.ok(Edit::Rollback { generation: at, yes: true });
    assert_eq!(first, live(&world));
    let document = world.control.document(at).unwrap();
    assert_eq!(document.vpc[0].allow.as_ref().unwrap().len(), 100_000);
    let same = world.control.export(false);
    assert!(!world.ok(Edit::Apply(Box::new(same))).changed);
}

#[test]
fn the_stored_form_of_a_million_entries_is_small() {
    let list = many(1_000_000, 10);
    let large = Large::new(list.iter().collect());
    assert_eq!(large.bytes().len(), 4 + 5_000_000);
}

#[test]
fn lists_that_no_generation_names_any_more_are_forgotten() {
    let mut world = World::new(FirstStart::Empty);
    world.ok(Edit::VpcAdd(vpc("s1", "if1", "10.0.0.10/24")));
    world.ok(set(20, 11));
    let held = |world: &World, first: u8| {
        let bytes = world.control.document(Generation(3)).ok();
        bytes.and_then(|document| document.vpc[0].allow.clone()) == Some(many(20, first))
    };
    assert!(held(&world, 11));
    // A change that fails on its way takes its list along, and the next one is not disturbed by it.
    world.enforcer("proxy").fail_commit = true;
    assert!(world.control.edit(set(30, 12), crate::control::Options::default()).is_err());
    world.enforcer("proxy").fail_commit = false;
    world.ok(set(40, 13));
    world.reopen();
    assert_eq!(live(&world).len(), 40);
    assert!(held(&world, 11));
}
