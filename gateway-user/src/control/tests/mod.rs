//! The control plane as a whole, with enforcers that record and fail on request.

mod documents;
mod endpoints;
mod failures;
mod history;
mod identity;
mod large;
mod simulation;
mod storage;
mod undoing;
mod upstreams;
mod vpcs;
pub(crate) mod world;

use std::time::Duration;

use serde_json::json;
use world::{World, cidrs, listener, n, patch, service};

use super::{Edit, FirstStart, Options};
use crate::base::Generation;

#[test]
fn a_first_start_without_root_serves_loopback_and_as_root_nobody() {
    let world = World::new(FirstStart::Local);
    let local = world.control.listener("local").unwrap();
    assert_eq!((local.http, local.https, local.open), (Some(8080), Some(8443), true));
    assert_eq!(local.allow, ["127.0.0.0/8"]);
    assert_eq!(world.control.generation(), Generation(1));
    assert_eq!(world.live("filter").generation, Generation(1));
    assert_eq!(world.live("proxy").listeners.len(), 1);

    let world = World::new(FirstStart::Empty);
    assert!(world.control.listeners().items.is_empty());
    assert_eq!(world.control.gateways().items[0].name.as_str(), "default");
}

#[test]
fn the_sixteenth_entry_refuses_the_whole_request() {
    let mut world = World::new(FirstStart::Empty);
    world.ok(Edit::ListenerAdd(listener("edge", "192.0.2.1")));
    let fifteen: Vec<String> = (0..15).map(|i| format!("198.51.{i}.0/24")).collect();
    let outcome = world.ok(Edit::AllowAdd { listener: n("edge"), cidrs: cidrs(&fifteen.join("\n")) });
    assert!(outcome.changed);
    let before = world.control.generation();
    let refusal =
        world.refused(Edit::AllowAdd { listener: n("edge"), cidrs: cidrs("203.0.113.7, 203.0.113.8") });
    assert_eq!((refusal.code.as_str(), refusal.limit.as_deref()), ("limit", Some("15")));
    assert!(refusal.message.contains("17 entries"), "{refusal}");
    assert_eq!(world.control.allowlist("edge", 0, usize::MAX).unwrap().items.len(), 15);
    assert_eq!(world.control.generation(), before);

    let pasted: Vec<String> = (0..10_000).map(|i| format!("10.{}.{}.0/24", i / 250, i % 250)).collect();
    let refusal = world.refused(Edit::AllowSet {
        listener: n("edge"),
        cidrs: cidrs(&pasted.join(",")),
        allow_empty: false,
    });
    assert!(refusal.message.contains("10000 entries"), "{refusal}");
}

#[test]
fn what_is_there_already_makes_no_generation_and_what_is_not_is_not_found() {
    let mut world = World::new(FirstStart::Empty);
    world.ok(Edit::ListenerAdd(listener("edge", "192.0.2.1")));
    world.ok(Edit::AllowAdd { listener: n("edge"), cidrs: cidrs("198.51.100.7") });
    let before = world.control.generation();
    let again = world.ok(Edit::AllowAdd { listener: n("edge"), cidrs: cidrs("198.51.100.7/32") });
    assert!(!again.changed);
    assert_eq!((again.generation, world.control.generation()), (before, before));
    let refusal =
        world.refused(Edit::AllowRemove { listener: n("edge"), cidrs: cidrs("198.51.100.8"), drain: None });
    assert_eq!(refusal.code, "not_found");
    let refusal =
        world.refused(Edit::AllowSet { listener: n("edge"), cidrs: cidrs(" \n"), allow_empty: false });
    assert_eq!(refusal.code, "empty_list");
    assert!(world.ok(Edit::AllowSet { listener: n("edge"), cidrs: cidrs(""), allow_empty: true }).changed);
}

#[test]
fn a_drain_keeps_its_id_ends_in_time_and_comes_back_on_request() {
    let mut world = World::new(FirstStart::Empty);
    world.ok(Edit::ListenerAdd(listener("edge", "192.0.2.1")));
    world.ok(Edit::AllowAdd { listener: n("edge"), cidrs: cidrs("198.51.100.7 198.51.100.8") });
    let id = world.control.allowlist("edge", 0, usize::MAX).unwrap().items[0].id;
    let drain = Some(Duration::from_secs(30));
    let outcome = world.ok(Edit::AllowRemove { listener: n("edge"), cidrs: cidrs("198.51.100.7"), drain });
    assert!(outcome.changed);
    let list = world.control.allowlist("edge", 0, usize::MAX).unwrap();
    assert_eq!((list.items[1].draining, list.items[1].id), (true, id));
    assert!(world.live("filter").filter.listeners[0].entries[1].draining);
    let until = world.control.next_deadline().unwrap();
    world.control.tick(until - Duration::from_secs(1)).unwrap();
    assert_eq!(world.control.allowlist("edge", 0, usize::MAX).unwrap().items.len(), 2);
    // Taken back: the same counter goes on.
    world.ok(Edit::AllowAdd { listener: n("edge"), cidrs: cidrs("198.51.100.7") });
    assert_eq!(world.control.allowlist("edge", 0, usize::MAX).unwrap().items[0].id, id);
    assert_eq!(world.control.next_deadline(), None);
    world.ok(Edit::AllowRemove { listener: n("edge"), cidrs: cidrs("198.51.100.7"), drain });
    world.control.tick(world.control.next_deadline().unwrap()).unwrap();
    assert_eq!(world.control.allowlist("edge", 0, usize::MAX).unwrap().items.len(), 1);
    assert_eq!(world.live("proxy").filter.listeners[0].entries.len(), 1);
}

#[test]
fn a_token_is_shown_once_kept_as_a_hash_and_rotated() {
    let mut world = World::new(FirstStart::Empty);
    let outcome = world.ok(Edit::ServiceAdd(Box::new(service("chat", "10.0.0.7:8000"))));
    let token = outcome.tokens[0].token.clone();
    assert_eq!(token.reveal().len(), 64);
    assert!(!outcome.item.to_string().contains(token.reveal()));
    let hash = token.hash().0;
    assert_eq!(world.live("proxy").services[0].access, crate::snapshot::http::Access::Tokens(vec![hash]));
    let files = world.bytes();
    assert!(
        !files.windows(64).any(|window| window == token.reveal().as_bytes()),
        "the plain token is on the disk"
    );
    let rotated = world.ok(Edit::TokenRotate { service: n("chat"), token: None });
    assert_ne!(rotated.tokens[0].token, token);
    // An update keeps the token, and going without authentication and back does too.
    for fields in [json!({"qps": 5, "no_auth": true}), json!({"qps": null, "no_auth": false})] {
        let edit = Edit::ServiceUpdate { service: n("chat"), patch: patch(fields) };
        assert!(world.ok(edit).tokens.is_empty());
    }
    let view = world.control.service("chat").unwrap();
    assert_eq!((view.qps, view.tokens.len()), (None, 1));
    assert_eq!(view.tokens[0].fingerprint, rotated.tokens[0].token.hash().fingerprint());
}

#[test]
fn references_loops_and_shared_endpoints_are_refused_by_name() {
    let mut world = World::new(FirstStart::Local);
    let cases: Vec<(Edit, &str, &str)> = vec![
        (Edit::ServiceAdd(Box::new(service("self", "127.0.0.1:8080"))), "loop", "local"),
        (Edit::ServiceAdd(Box::new(service("self", "localhost:8443"))), "loop", "local"),
        (Edit::ServiceAdd(Box::new(service("admin", "127.0.0.1:9145"))), "loop", "admin"),
        (Edit::RouteAdd(world::route("r", "/x", "nobody")), "not_found", "nobody"),
        (Edit::ListenerAdd(world::listener_on("local", "lo", "127.0.0.9")), "exists", "local"),
        (Edit::ListenerAdd(world::listener_ports("other", "lo", "127.0.0.1", 8080)), "conflict", "local"),
        (Edit::ListenerOpen { listener: n("nobody") }, "not_found", "nobody"),
        (Edit::ServiceDelete { service: n("nobody") }, "not_found", "nobody"),
    ];
    for (edit, code, named) in cases {
        let what = format!("{edit:?}");
        let refusal = world.refused(edit);
        assert_eq!(refusal.code, code, "{what}");
        assert!(refusal.to_string().contains(named), "{refusal}");
    }
    world.ok(Edit::ServiceAdd(Box::new(service("chat", "127.0.0.1:8081"))));
    world.ok(Edit::RouteAdd(world::route("r", "/x", "chat")));
    let refusal = world.refused(Edit::ServiceDelete { service: n("chat") });
    assert_eq!(refusal.code, "in_use");
    assert!(refusal.message.contains("route `r`"), "{refusal}");
    // A listener that would catch an instance is refused as well.
    let refusal = world.refused(Edit::ListenerAdd(world::listener_ports("late", "lo", "*", 8081)));
    assert_eq!(refusal.code, "loop");
}

#[test]
fn certificates_are_checked_and_domains_must_be_covered() {
    let mut world = World::new(FirstStart::Empty);
    let (good, other) =
        (world::certificate("a", &["a.example.org", "*.b.example.org"]), world::certificate("b", &["c.org"]));
    let mut mismatched = good.clone();
    mismatched.key = other.key.clone();
    assert_eq!(
        world.refused(Edit::CertificateAdd { certificate: mismatched, replace: false }).code,
        "key_mismatch"
    );
    world.ok(Edit::CertificateAdd { certificate: good.clone(), replace: false });
    assert_eq!(world.refused(Edit::CertificateAdd { certificate: good, replace: false }).code, "exists");
    assert_eq!(
        world.refused(Edit::DomainAdd { domain: world::domain("d.org", Some("a")), replace: false }).code,
        "not_covered"
    );
    for host in ["a.example.org", "x.b.example.org", "*.b.example.org"] {
        world.ok(Edit::DomainAdd { domain: world::domain(host, Some("a")), replace: false });
    }
    for host in ["b.example.org", "x.y.b.example.org"] {
        assert_eq!(
            world.refused(Edit::DomainAdd { domain: world::domain(host, Some("a")), replace: false }).code,
            "not_covered"
        );
    }
    let refusal = world.refused(Edit::CertificateDelete { certificate: n("a") });
    assert!(refusal.code == "in_use" && refusal.message.contains("a.example.org"), "{refusal}");
    // Renewal in place: domains stay, a certificate that no longer covers them is refused.
    let renewed = world::certificate("a", &["a.example.org", "*.b.example.org"]);
    world.ok(Edit::CertificateAdd { certificate: renewed, replace: true });
    let narrower = world::certificate("a", &["a.example.org"]);
    assert_eq!(
        world.refused(Edit::CertificateAdd { certificate: narrower, replace: true }).code,
        "not_covered"
    );
    assert_eq!(world.live("proxy").certificates.len(), 1);
}

#[test]
fn a_dry_run_checks_with_the_enforcers_and_changes_nothing() {
    let mut world = World::new(FirstStart::Empty);
    let before = world.bytes();
    let options = Options { dry_run: true, ..Options::default() };
    let outcome = world
        .control
        .edit(Edit::ServiceAdd(Box::new(service("chat", "10.0.0.7:80"))), options.clone())
        .unwrap();
    assert!(outcome.changed && outcome.tokens.is_empty());
    assert_eq!(outcome.generation, Generation(1));
    assert_eq!(outcome.diff.len(), 1);
    assert!(world.control.service("chat").is_err());
    assert_eq!(world.bytes(), before);
    world.enforcer("filter").fail_stage = true;
    let refusal = world.control.edit(Edit::ListenerAdd(listener("x", "192.0.2.1")), options).unwrap_err();
    assert_eq!(refusal.code, "fake_stage");
}

#[test]
fn unchanged_objects_stay_the_same_objects() {
    let mut world = World::new(FirstStart::Local);
    world.ok(Edit::ServiceAdd(Box::new(service("a", "10.0.0.7:80"))));
    world.ok(Edit::ServiceAdd(Box::new(service("b", "10.0.0.8:80"))));
    let before = world.control.snapshot();
    world.ok(Edit::AllowAdd { listener: n("local"), cidrs: cidrs("10.0.0.0/8") });
    world.ok(Edit::ServiceUpdate { service: n("b"), patch: patch(json!({"qps": 3})) });
    let after = world.control.snapshot();
    assert!(std::sync::Arc::ptr_eq(&before.listeners[0], &after.listeners[0]));
    assert!(std::sync::Arc::ptr_eq(&before.services[0], &after.services[0]));
    assert!(!std::sync::Arc::ptr_eq(&before.services[1], &after.services[1]));
}

#[test]
fn an_unconfirmed_change_is_undone_and_a_confirmed_one_stays() {
    let mut world = World::new(FirstStart::Local);
    let options = Options { confirm: Some(Duration::from_secs(30)), ..Options::default() };
    world.control.edit(Edit::ListenerClose { listener: n("local") }, options.clone()).unwrap();
    assert_eq!(world.refused(Edit::ListenerOpen { listener: n("local") }).code, "confirm_pending");
    world.reopen();
    let deadline = world.control.next_deadline().unwrap();
    world.control.tick(deadline).unwrap();
    assert!(world.control.listener("local").unwrap().open);
    assert_eq!(world.control.status().confirm, None);

    world.control.edit(Edit::ListenerClose { listener: n("local") }, options).unwrap();
    world.control.confirm().unwrap();
    assert_eq!(world.control.next_deadline(), None);
    assert!(!world.control.listener("local").unwrap().open);
    assert_eq!(world.control.confirm().unwrap_err().code, "not_found");
}

#[test]
fn a_change_that_nobody_confirmed_is_undone_at_the_start_and_never_live_again() {
    let mut world = World::new(FirstStart::Local);
    let before = world.control.generation();
    let options = Options { confirm: Some(Duration::from_secs(30)), ..Options::default() };
    let outcome = world.control.edit(Edit::ListenerClose { listener: n("local") }, options).unwrap();
    let waiting = world.control.status().confirm.unwrap();
    assert_eq!((outcome.confirm_by, waiting.back_to), (Some(waiting.by), before));
    assert!((29..=30).contains(&waiting.left), "{waiting:?}");
    world.reopen_at(|| crate::base::clock::unix() + Duration::from_secs(60));
    assert!(world.control.listener("local").unwrap().open);
    assert_eq!(world.enforcer("filter").calls, ["stage", "commit"], "the closed listener was live first");
    assert!(world.live("filter").listeners[0].open);
    assert_eq!(world.control.status().confirm, None);
}

#[test]
fn endpoints_are_named_with_scheme_port_and_family() {
    let mut world = World::new(FirstStart::Empty);
    world.ok(Edit::ListenerAdd(world::from_toml_listener(
        "name='edge'\nexposure='public'\ninterface='eth9'\naddress=['192.0.2.1','2001:db8::1']\nhttps=8443\n",
    )));
    world.ok(Edit::CertificateAdd {
        certificate: world::certificate("c", &["a.example.org"]),
        replace: false,
    });
    world.ok(Edit::DomainAdd { domain: world::domain("a.example.org", Some("c")), replace: false });
    let outcome = world.ok(Edit::ServiceAdd(Box::new(service("chat", "10.0.0.7:80"))));
    assert_eq!(
        outcome.item["endpoints"],
        json!([
            "https://a.example.org:8443/api/predict/chat",
            "http://a.example.org/api/predict/chat",
            "https://192.0.2.1:8443/api/predict/chat",
            "http://192.0.2.1/api/predict/chat",
            "https://[2001:db8::1]:8443/api/predict/chat",
            "http://[2001:db8::1]/api/predict/chat",
        ])
    );
}
