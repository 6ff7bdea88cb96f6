//! History and rollback: nothing comes back unasked.

use super::world::{World, certificate, cidrs, domain, n, route, service};
use crate::{
    base::Generation,
    control::{Edit, FirstStart, Options},
};

#[test]
fn every_change_has_a_line_with_its_author() {
    let mut world = World::new(FirstStart::Local);
    let options = Options { actor: Some(1000), ..Options::default() };
    world.control.edit(Edit::ListenerClose { listener: n("local") }, options).unwrap();
    let history = world.control.history().unwrap().items;
    assert_eq!(history.len(), 2);
    assert_eq!((history[0].generation.0, history[0].actor), (2, Some(1000)));
    assert_eq!(history[0].summary, "listener close local");
}

#[test]
fn a_rollback_that_narrows_needs_no_yes() {
    let mut world = World::new(FirstStart::Local);
    world.ok(Edit::AllowAdd { listener: n("local"), cidrs: cidrs("10.0.0.0/8") });
    let outcome = world.ok(Edit::Rollback { generation: Generation(1), yes: false });
    assert!(outcome.changed);
    assert_eq!(outcome.generation, Generation(3));
    assert_eq!(world.control.listener("local").unwrap().allow, ["127.0.0.0/8"]);
}

#[test]
fn a_rollback_lists_what_it_would_widen_and_wants_yes() {
    let mut world = World::new(FirstStart::Local);
    let first = world.ok(Edit::ServiceAdd(Box::new(service("chat", "10.0.0.7:80")))).tokens[0]
        .token
        .hash()
        .fingerprint();
    world.ok(Edit::ServiceAdd(Box::new(service("gone", "10.0.0.8:80"))));
    world.ok(Edit::RouteAdd(route("r", "/r", "chat")));
    let target = world.ok(Edit::DomainAdd { domain: domain("a.org", None), replace: false }).generation;
    world.ok(Edit::AllowRemove { listener: n("local"), cidrs: cidrs("127.0.0.0/8"), drain: None });
    world.ok(Edit::ListenerClose { listener: n("local") });
    world.ok(Edit::TokenRotate { service: n("chat"), token: None });
    world.ok(Edit::ServiceDelete { service: n("gone") });
    world.ok(Edit::RouteDelete { route: n("r") });
    world.ok(Edit::DomainDelete { host: "a.org".parse().unwrap() });
    let refusal = world.refused(Edit::Rollback { generation: target, yes: false });
    assert_eq!(refusal.code, "needs_yes");
    for named in
        ["local admits 127.0.0.0/8", "local opens", first.as_str(), "service gone", "route r", "domain a.org"]
    {
        assert!(refusal.message.contains(named), "{named}: {refusal}");
    }
    world.ok(Edit::Rollback { generation: target, yes: true });
    let chat = world.control.service("chat").unwrap();
    assert_eq!(chat.tokens[0].fingerprint, first);
    assert!(world.control.listener("local").unwrap().open);
}

#[test]
fn a_deleted_key_never_comes_back() {
    let mut world = World::new(FirstStart::Local);
    let before = world.control.generation();
    let held = certificate("c", &["a.org"]);
    let key = held.key.clone().unwrap().0;
    let target = world.ok(Edit::CertificateAdd { certificate: held, replace: false }).generation;
    world.ok(Edit::CertificateDelete { certificate: n("c") });
    let refusal = world.refused(Edit::Rollback { generation: target, yes: true });
    assert_eq!(refusal.code, "missing_secret");
    assert!(refusal.to_string().contains("`c`"), "{refusal}");
    world.ok(Edit::Rollback { generation: before, yes: true });
    // Renewed since: the certificate that is there stays.
    world.ok(Edit::CertificateAdd { certificate: certificate("c", &["a.org"]), replace: false });
    let target = world.control.generation();
    world.ok(Edit::CertificateAdd { certificate: certificate("c", &["a.org"]), replace: true });
    world.ok(Edit::ListenerClose { listener: n("local") });
    let held = world.control.certificate("c").unwrap();
    let outcome = world.ok(Edit::Rollback { generation: target, yes: true });
    assert!(outcome.notes.iter().any(|note| note.contains("`c`")), "{:?}", outcome.notes);
    assert_eq!(world.control.certificate("c").unwrap(), held);
    // Not in the pages either that the history is made of.
    let body = key.lines().nth(1).unwrap();
    assert!(!world.control.export(false).text().unwrap().contains(body));
}

#[test]
fn a_generation_that_is_not_there_is_named_with_the_range() {
    let mut world = World::new(FirstStart::Local);
    let refusal = world.refused(Edit::Rollback { generation: Generation(77), yes: true });
    assert_eq!((refusal.code.as_str(), refusal.limit.as_deref()), ("not_found", Some("1 to 1")));
}

#[test]
fn the_history_is_bounded_and_what_it_keeps_stays_whole() {
    let mut world = World::new(FirstStart::Local);
    world.ok(Edit::ServiceAdd(Box::new(service("old", "10.0.0.7:80"))));
    world.ok(Edit::ServiceAdd(Box::new(service("gone", "10.0.0.8:80"))));
    world.ok(Edit::ServiceDelete { service: n("gone") });
    let mut expected = std::collections::BTreeMap::new();
    for round in 0..1010_u32 {
        let name = format!("s{}", round % 7);
        let edit = if world.control.service(&name).is_ok() {
            Edit::ServiceDelete { service: n(&name) }
        } else {
            Edit::ServiceAdd(Box::new(service(&name, "10.0.0.7:80")))
        };
        world.ok(edit);
        let names: Vec<_> = world.control.services().items.into_iter().map(|one| one.name).collect();
        expected.insert(world.control.generation(), names);
    }
    for reopened in [false, true] {
        if reopened {
            world.reopen();
        }
        let history = world.control.history().unwrap().items;
        assert_eq!(history.len(), crate::control::store::HISTORY_ROWS);
        assert_eq!(history[0].generation, world.control.generation());
        let oldest = history[999].generation;
        for generation in
            [oldest, Generation(oldest.0 + 1), Generation(oldest.0 + 500), history[1].generation]
        {
            let options = Options { dry_run: true, ..Options::default() };
            world.control.edit(Edit::Rollback { generation, yes: true }, options).unwrap();
            let document = world.control.document(generation).unwrap();
            let names: Vec<_> = document.service.into_iter().map(|one| one.name).collect();
            assert_eq!(names, expected[&generation], "{generation}");
        }
        let refusal = world.refused(Edit::Rollback { generation: Generation(oldest.0 - 1), yes: true });
        assert_eq!(refusal.limit.unwrap(), format!("{oldest} to {}", world.control.generation()));
    }
    let size = world.bytes().len();
    assert!(size < 8 << 20, "{size} bytes for a thousand small changes");
}
