//! A failure at any step leaves enforcers, memory and disk as they were.

use super::world::{World, cidrs, listener, n, service, told};
use crate::control::{Control, Edit, FirstStart};

#[test]
fn a_failed_stage_abandons_those_that_staged_before() {
    let mut world = World::new(FirstStart::Local);
    let bytes = world.bytes();
    world.enforcer("proxy").fail_stage = true;
    world.enforcer("filter").calls.clear();
    let refusal = world.refused(Edit::ServiceAdd(Box::new(service("chat", "10.0.0.7:80"))));
    assert_eq!(refusal.code, "fake_stage");
    assert_eq!(world.enforcer("filter").calls, ["stage", "abandon"]);
    assert_eq!(world.bytes(), bytes);
    world.enforcer("proxy").fail_stage = false;
    world.ok(Edit::ServiceAdd(Box::new(service("chat", "10.0.0.7:80"))));
    assert_eq!(world.control.generation().0, 2);
}

#[test]
fn a_failed_commit_takes_everything_back_and_burns_the_number() {
    for failing in ["filter", "proxy"] {
        let mut world = World::new(FirstStart::Local);
        world.enforcer(failing).fail_commit = true;
        let before = told(&world.live("filter"));
        let refusal = world.refused(Edit::AllowAdd { listener: n("local"), cidrs: cidrs("10.0.0.0/8") });
        assert_eq!(refusal.code, "fake_commit");
        assert_eq!(told(&world.live("filter")), before);
        assert_eq!(told(&world.live("proxy")), before);
        assert!(world.control.history().unwrap().items.iter().all(|row| row.generation.0 == 1));
        assert!(world.control.failure().is_none(), "everything is back");
        world.reopen();
        assert_eq!(world.control.listener("local").unwrap().allow, ["127.0.0.0/8"]);
        world.ok(Edit::AllowAdd { listener: n("local"), cidrs: cidrs("10.0.0.0/8") });
        assert_eq!(world.control.generation().0, 3, "generation 2 was live for a moment");
    }
}

#[test]
fn a_store_that_was_removed_refuses_changes_and_the_rest_goes_on() {
    let mut world = World::new(FirstStart::Local);
    let file = world.state().join("gateway.redb");
    let aside = world.state().join("aside");
    std::fs::rename(&file, &aside).unwrap();
    let refusal = world.refused(Edit::AllowAdd { listener: n("local"), cidrs: cidrs("10.0.0.0/8") });
    assert_eq!(refusal.code, "state_gone");
    assert!(refusal.to_string().contains("gateway.redb"), "{refusal}");
    std::fs::rename(&aside, &file).unwrap();
    world.ok(Edit::AllowAdd { listener: n("local"), cidrs: cidrs("10.0.0.0/8") });
    world.reopen();
    assert_eq!(world.control.listener("local").unwrap().allow.len(), 2);
}

#[test]
fn a_second_daemon_is_refused_with_the_first_ones_number() {
    let world = World::new(FirstStart::Local);
    let Err(refusal) = Control::open(super::world::config(world.state(), FirstStart::Local), Vec::new())
    else {
        panic!("two daemons on one state");
    };
    assert_eq!(refusal.code, "state_in_use");
    assert!(refusal.message.contains(&std::process::id().to_string()), "{refusal}");
}

#[test]
fn a_restart_starts_although_an_enforcer_fails_and_tries_again() {
    let mut world = World::new(FirstStart::Local);
    world.ok(Edit::ListenerAdd(listener("edge", "192.0.2.1")));
    world.enforcer("proxy").fail_stage = true;
    assert!(world.control.republish().is_err());
    assert!(world.control.status().failure.is_some());
    let retry = world.control.next_deadline().unwrap();
    assert!(world.control.tick(retry).is_err());
    world.enforcer("proxy").fail_stage = false;
    let retry = world.control.next_deadline().unwrap();
    world.control.tick(retry).unwrap();
    assert!(world.control.status().failure.is_none());
    assert_eq!(world.control.next_deadline(), None);
    assert_eq!(world.live("proxy").generation.0, 2);
}
