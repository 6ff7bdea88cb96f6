//! Declarative files: `export | apply` is the identity, absent means removed, secrets are never lost or invented.

use super::{
    upstreams::AUTHORITY,
    world::{World, certificate, cidrs, domain, listener, n, route, service, told},
};
use crate::control::{Document, Edit, FirstStart};

fn full() -> World {
    let mut world = World::new(FirstStart::Local);
    world.ok(Edit::ListenerAdd(listener("edge", "192.0.2.1")));
    world.ok(Edit::AllowAdd { listener: n("edge"), cidrs: cidrs("2001:db8::/32, 198.51.100.7") });
    world.ok(Edit::CertificateAdd { certificate: certificate("c", &["a.org", "*.a.org"]), replace: false });
    world.ok(Edit::DomainAdd { domain: domain("a.org", Some("c")), replace: false });
    world.ok(Edit::DomainAdd { domain: domain("*.a.org", Some("c")), replace: false });
    world.ok(Edit::ServiceAdd(Box::new(service("chat", "[2001:db8::7]:8000"))));
    world.ok(Edit::ServiceAdd(Box::new(service("embed", "embed.internal:8000"))));
    world.ok(Edit::RouteAdd(route("r", "/v1", "chat")));
    world
}

fn apply(world: &World, secrets: bool) -> Edit {
    let text = world.control.export(secrets).text().unwrap();
    Edit::Apply(Box::new(Document::parse(&text).unwrap_or_else(|refusal| panic!("{refusal}\n{text}"))))
}

#[test]
fn export_and_apply_are_the_identity() {
    for secrets in [false, true] {
        let mut world = full();
        let (before, bytes) = (told(&world.control.snapshot()), world.bytes());
        let outcome = world.ok(apply(&world, secrets));
        assert!(!outcome.changed, "{:?}", outcome.diff);
        assert!(outcome.tokens.is_empty());
        assert_eq!((told(&world.control.snapshot()), world.bytes()), (before, bytes));
    }
}

#[test]
fn on_another_state_secrets_are_missed_by_name_or_brought_along() {
    let source = full();
    let mut other = World::new(FirstStart::Empty);
    let refusal = other.refused(apply(&source, false));
    assert_eq!(refusal.code, "missing_secret");
    assert!(refusal.message.contains("`c`"), "{refusal}");
    other.ok(apply(&source, true));
    assert_eq!(other.control.export(true), source.control.export(true));
    assert_eq!(other.live("proxy").services, source.live("proxy").services);
    assert_eq!(other.live("proxy").certificates, source.live("proxy").certificates);
}

#[test]
fn what_the_document_does_not_have_is_removed() {
    let mut world = full();
    let text = "[[service]]\nname = 'chat'\ninstance = '[2001:db8::7]:8000'\n";
    let diff = world.control.diff(Document::parse(text).unwrap(), None).unwrap().changes;
    assert!(diff.iter().any(|change| change.name == "edge" && change.new.is_none()), "{diff:?}");
    let outcome = world.ok(Edit::Apply(Box::new(Document::parse(text).unwrap())));
    assert_eq!(outcome.diff, diff);
    assert!(outcome.tokens.is_empty(), "chat keeps its token");
    assert!(world.control.listeners().items.is_empty());
    assert_eq!(world.control.services().items.len(), 1);
    // A new service gets a token, a listener of the same name its counters.
    let text = "[[service]]\nname = 'new'\ninstance = '10.0.0.1:80'\n";
    let outcome = world.ok(Edit::Apply(Box::new(Document::parse(text).unwrap())));
    assert_eq!(outcome.tokens[0].service.as_str(), "new");
}

#[test]
fn a_differing_field_is_named_with_old_and_new() {
    let mut world = full();
    let mut document = world.control.export(false);
    document.service[0].qps = Some(7);
    document.listener[0].allow = cidrs("198.51.100.7 203.0.113.0/24");
    let diff = world.control.diff(document.clone(), None).unwrap().changes;
    let lines: Vec<String> = diff.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "- listener edge.allow: \"2001:db8::/32\"",
            "+ listener edge.allow: \"203.0.113.0/24\"",
            "+ service chat.qps: 7",
        ]
    );
    world.ok(Edit::Apply(Box::new(document.clone())));
    assert!(world.control.diff(document, None).unwrap().changes.is_empty());
}

#[test]
fn bad_documents_are_refused_with_key_line_and_name() {
    let mut world = full();
    let cases = [
        (
            "[[listener]]\nname='a'\nexposure='public'\ninterface='e'\naddress='*'\nport=1\n",
            "unknown_field",
            "port",
        ),
        (
            "[[service]]\nname='a'\ninstance='h:1'\n[[service]]\nname='a'\ninstance='h:1'\n",
            "duplicate",
            "`a`",
        ),
        (
            "[[listener]]\nname='a'\nexposure='public'\ninterface='e'\naddress='*'\nallow=['10.0.0.1/8']\n",
            "host_bits",
            "10.0.0.0/8",
        ),
        ("[[service]]\nname='a'\ninstance='h:0'\n", "invalid_instance", "h:0"),
        ("[[service]]\nname='A'\ninstance='h:1'\n", "invalid_name", "A"),
        ("[[service]]\ninstance='h:1'\n", "missing_field", "name"),
        ("[[route]]\nname='a'\nservice='nobody'\n", "not_found", "nobody"),
        ("[[gateway]]\nname='second'\n", "not_found", "second"),
        (
            "[[service]]\nname='a'\ninstance='h:1'\ntoken_fingerprints=['fp:0123456789abcdef']\n",
            "missing_secret",
            "fp:0123456789abcdef",
        ),
        ("[[service]]\nname='a'\ninstance='h:1'\nbody_limit='1Mib'\n", "invalid_size", "1Mib"),
        ("what", "invalid", "line 1"),
    ];
    for (text, code, named) in cases {
        let refusal = match Document::parse(text) {
            Err(refusal) => refusal,
            Ok(document) => world.refused(Edit::Apply(Box::new(document))),
        };
        assert_eq!(refusal.code, code, "{text}: {refusal}");
        assert!(format!("{refusal:?}").contains(named), "{text}: {refusal:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC*") {
        let _ = Document::parse(&text);
    }
}

/// The manual's example is a document, and every field that it shows is one.
#[test]
fn the_manuals_example_is_read_whole() {
    let manual = include_str!("../../../../docs/configuration.md");
    let (_, example) = manual.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let text = example
        .replace(
            "tls_ca = \"\"\"-----BEGIN CERTIFICATE-----\n…\"\"\"",
            &format!("tls_ca = '''{}'''", *AUTHORITY),
        )
        .replace("\"…\"", "\"fp:0123456789abcdef\"");
    let document = Document::parse(&text).unwrap_or_else(|refusal| panic!("{refusal}\n{text}"));
    document.listener.iter().for_each(|one| one.validate().unwrap());
    document.service.iter().for_each(|one| one.validate().unwrap());
    document.route.iter().for_each(|one| one.validate().unwrap());
    let chat = &document.service[0];
    assert!(chat.tls_ca.is_some() && chat.health.is_some() && chat.instances[1].weight == 2);
    // What the tables of the manual call a field of a service is one.
    let shown = serde_json::to_value(chat).unwrap();
    for field in ["tls", "balance", "hash_on", "health", "retry", "bounds", "slow_start", "compression"] {
        assert!(shown.get(field).is_some() && manual.contains(&format!("| `{field}")), "{field}");
    }
}
