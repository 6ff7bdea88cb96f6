//! What goes back: changes that nobody confirms, and generations that somebody returns to.

use std::time::Duration;

use super::world::{World, cidrs, n, service, vpc};
use crate::{
    base::{Generation, Name, Refusal},
    control::{Edit, FirstStart, Options},
    resource::{Account, Endpoint, EndpointService, Service, Vpc, account::Grant, from_toml},
};

fn refused_rollback(world: &mut World, generation: Generation) -> Refusal {
    let refusal = world.refused(Edit::Rollback { generation, yes: false });
    assert_eq!(refusal.code, "needs_yes", "{refusal}");
    world.ok(Edit::Rollback { generation, yes: true });
    refusal
}

fn with(world: &mut World, change: impl FnOnce(&mut crate::control::Document)) {
    let mut document = world.control.export(false);
    change(&mut document);
    world.ok(Edit::Apply(Box::new(document)));
}

/// A drain is in no document, so going back to before its end leaves nothing to change; the waiting ends all the same.
#[test]
fn an_unconfirmed_end_of_a_drain_does_not_wait_for_ever() {
    let mut world = World::new(FirstStart::Local);
    let (listener, cidr) = (n("local"), cidrs("127.0.0.0/8"));
    let drain = Some(Duration::from_secs(3600));
    world.ok(Edit::AllowRemove { listener: listener.clone(), cidrs: cidr.clone(), drain });
    let confirm = Options { confirm: Some(Duration::from_secs(30)), ..Options::default() };
    world
        .control
        .edit(Edit::AllowRemove { listener: listener.clone(), cidrs: cidr, drain: None }, confirm)
        .unwrap();
    let deadline = world.control.next_deadline().unwrap();
    world.control.tick(deadline).unwrap();
    assert_eq!(world.control.status().confirm, None);
    assert_eq!(world.control.next_deadline(), None, "the daemon would ask again and again");
    world.ok(Edit::ListenerClose { listener });
    world.reopen();
    assert_eq!(world.control.status().confirm, None);
}

/// Returning to what waits is no confirmation of it.
#[test]
fn a_rollback_to_the_change_that_waits_does_not_confirm_it() {
    let mut world = World::new(FirstStart::Local);
    let confirm = Options { confirm: Some(Duration::from_secs(30)), ..Options::default() };
    let waiting =
        world.control.edit(Edit::ListenerClose { listener: n("local") }, confirm).unwrap().generation;
    world.ok(Edit::Rollback { generation: waiting, yes: true });
    assert!(world.control.status().confirm.is_some());
    let deadline = world.control.next_deadline().unwrap();
    world.control.tick(deadline).unwrap();
    assert!(world.control.listener("local").unwrap().open);
}

#[test]
fn a_rollback_names_the_network_whose_names_outsiders_would_be_told_again() {
    let mut world = World::new(FirstStart::Empty);
    world.ok(Edit::VpcAdd(Vpc { authoritative_dns: true, ..vpc("s1", "if1", "10.0.0.10/24") }));
    let told = world.control.generation();
    with(&mut world, |document| document.vpc[0].authoritative_dns = false);
    let refusal = refused_rollback(&mut world, told);
    assert!(refusal.message.contains("vpc s1"), "{refusal}");
}

#[test]
fn a_rollback_names_the_network_that_another_account_had_given_up() {
    let mut world = World::new(FirstStart::Empty);
    let account = Account { name: n("a"), cross_account: true, grants: Grant::ALL.into() };
    world.ok(Edit::AccountAdd(account));
    world.ok(Edit::VpcAdd(vpc("s1", "if1", "10.0.0.10/24")));
    let own = world.control.generation();
    with(&mut world, |document| document.vpc[0].account = n("a"));
    world.ok(Edit::AllowSet {
        listener: Name::of_vpc_listener(&n("s1")),
        cidrs: cidrs("0.0.0.0/0"),
        allow_empty: false,
    });
    let refusal = refused_rollback(&mut world, own);
    assert!(refusal.message.contains("vpc s1") && refusal.message.contains("account default"), "{refusal}");
}

#[test]
fn a_rollback_names_the_endpoint_that_led_to_another_service() {
    let mut world = World::new(FirstStart::Empty);
    world.ok(Edit::VpcAdd(vpc("s1", "if1", "10.0.0.10/24")));
    for name in ["one", "two"] {
        world.ok(Edit::ServiceAdd(Box::new(Service { no_auth: true, ..service(name, "10.9.9.9:80") })));
        let offer: EndpointService = from_toml(&format!(
            "name='{name}'\nservice_name='com.example.{name}'\ndns='{name}.example.com'\nservice='{name}'\n"
        ))
        .unwrap();
        world.ok(Edit::EndpointServiceAdd { service: offer, replace: false });
    }
    let endpoint: Endpoint = from_toml(
        "name='e'\nservice='one'\nvpc='s1'\nsubnets='a=10.0.0.20/24'\nsecurity_group='10.0.0.0/16'\n",
    )
    .unwrap();
    world.ok(Edit::EndpointAdd(endpoint));
    let one = world.control.generation();
    with(&mut world, |document| document.endpoint[0].service = n("two"));
    let refusal = refused_rollback(&mut world, one);
    assert!(refusal.message.contains("endpoint e"), "{refusal}");
}

fn monitored(world: &World) -> bool {
    world.live("filter").filter.listeners.iter().any(|listener| listener.options.monitor)
}

fn monitor(wait: u64) -> Edit {
    Edit::Monitor { listener: n("local"), wait: Some(Duration::from_secs(wait)) }
}

/// No document has it, so undoing the change would leave the listener monitored.
#[test]
fn monitoring_does_not_wait_for_a_confirmation() {
    let mut world = World::new(FirstStart::Local);
    let confirm = Options { confirm: Some(Duration::from_secs(30)), ..Options::default() };
    let refusal = world.control.edit(monitor(3600), confirm).unwrap_err();
    assert_eq!(refusal.field.as_deref(), Some("confirm"), "{refusal}");
    assert!(!monitored(&world));
}

#[test]
fn monitoring_ends_although_an_unconfirmed_change_cannot_be_undone() {
    let mut world = World::new(FirstStart::Local);
    world.ok(Edit::VpcAdd(vpc("s1", "if1", "10.0.0.10/24")));
    world.ok(monitor(60));
    let confirm = Options { confirm: Some(Duration::from_secs(30)), ..Options::default() };
    world.control.edit(Edit::VpcDelete { vpc: n("s1") }, confirm).unwrap();
    world.control.site.zones = vec![n("elsewhere")];
    let late = crate::base::clock::unix() + Duration::from_secs(120);
    assert_eq!(world.control.tick(late).unwrap_err().code, "unsupported_zone");
    assert!(!monitored(&world));
}

#[test]
fn monitoring_that_ended_while_the_daemon_was_away_is_never_live_again() {
    let mut world = World::new(FirstStart::Local);
    world.ok(monitor(60));
    assert!(monitored(&world));
    world.reopen_at(|| crate::base::clock::unix() + Duration::from_secs(120));
    assert_eq!(world.enforcer("filter").calls, ["stage", "commit"], "the monitored listener was live first");
    assert!(!monitored(&world));
}
