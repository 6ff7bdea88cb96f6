//! The way to a service's instances: every field, what is taken and what is refused.

use rcgen::{CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};

use super::super::{
    Instance, Patch, Route, Service, from_json, from_toml,
    upstream::{Authorities, Balance, Encoding, HashKey, Probe, Tls},
};
use crate::base::Refusal;

fn service(fields: Value) -> Result<Service, Refusal> {
    let mut whole = json!({ "name": "a", "instances": ["a:1"] });
    whole.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let service: Service = from_json(whole.to_string().as_bytes())?;
    service.validate().map(|()| service)
}

fn route(fields: Value) -> Result<Route, Refusal> {
    let mut whole = json!({ "name": "r", "services": "a" });
    whole.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let route: Route = from_json(whole.to_string().as_bytes())?;
    route.validate().map(|()| route)
}

fn issued(authority: bool) -> String {
    let mut params = CertificateParams::new(vec!["a.org".to_owned()]).unwrap();
    if authority {
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    }
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

#[test]
fn instances_have_weights_in_every_form_and_one_text() {
    for (given, shown) in [
        (json!("a:1"), json!(["a:1"])),
        (json!("a:1=3, b:2"), json!(["a:1=3", "b:2"])),
        (json!(["a:1=1", "b:2=256"]), json!(["a:1", "b:2=256"])),
        (
            json!([{"address": "a:1", "weight": 2}, "[2001:db8::1]:2=5"]),
            json!(["a:1=2", "[2001:db8::1]:2=5"]),
        ),
        (json!([{"address": "a:1=2"}]), json!(["a:1=2"])),
        (json!({"address": "a:1", "weight": 1}), json!(["a:1"])),
    ] {
        let service = service(json!({ "instances": given })).unwrap();
        assert_eq!(serde_json::to_value(&service.instances).unwrap(), shown);
    }
    let toml = "name='a'\ninstances=[{address='a:1', weight=2}, 'b:1=3']";
    assert_eq!(from_toml::<Service>(toml).unwrap().instances[0].weight, 2);
    for (given, code, value) in [
        (json!(["a:1=0"]), "limit", "0"),
        (json!(["a:1=257"]), "limit", "257"),
        (json!(["a:1=x"]), "invalid_instance", "a:1=x"),
        (json!(["a:1="]), "invalid_instance", "a:1="),
        (json!(["a:1=1=1"]), "invalid_instance", "a:1=1=1"),
        (json!(["a:1=+1"]), "invalid_instance", "a:1=+1"),
        (json!(["a:1", "a:1=2"]), "duplicate", "a:1=2"),
        (json!([]), "missing_field", "[]"),
        (json!([{"address": "a:1", "wieght": 2}]), "unknown_field", "wieght"),
        (json!([{"weight": 2}]), "missing_field", "address"),
    ] {
        let refusal = service(json!({ "instances": given })).unwrap_err();
        assert_eq!((refusal.code.as_str(), refusal.value.as_deref()), (code, Some(value)), "{refusal}");
    }
    assert_eq!("a:1=7".parse::<Instance>().unwrap().weight, 7);
}

#[test]
fn every_field_is_read() {
    let service = service(json!({
        "protocol": "http2",
        "tls": "verify", "tls_server_name": "Models.internal", "tls_ca": issued(true),
        "balance": "hash", "hash_on": "header:X-Session",
        "health": { "probe": "/healthz?full=1", "interval": "3s", "unhealthy": 5 },
        "outlier": { "failures": 0 }, "retry": { "attempts": 1, "budget_percent": 0 },
        "bounds": { "in_flight": 8, "queue": 0 },
        "slow_start": "30s", "compression": ["br", "gzip"], "decompress": true,
    }))
    .unwrap();
    assert_eq!((service.tls, service.balance), (Tls::Verify, Balance::Hash));
    assert_eq!(service.tls_server_name.as_ref().unwrap().as_str(), "models.internal");
    assert_eq!(service.hash_on, Some(HashKey::Header("x-session".to_owned())));
    let health = service.health.as_ref().unwrap();
    assert_eq!((&health.probe, health.healthy), (&Probe::Http("/healthz?full=1".to_owned()), 2));
    assert_eq!((service.outlier.failures, service.outlier.max_ejected_percent), (0, 50));
    assert_eq!((service.bounds.in_flight, service.bounds.queue_wait.as_secs()), (Some(8), 5));
    assert_eq!(service.compression, [Encoding::Br, Encoding::Gzip]);
    let again: Service = from_toml(&toml::to_string(&service).unwrap()).unwrap();
    assert_eq!(again, service);
}

/// A form that says nothing of the way to the instances is written as it was before there was anything to say.
#[test]
fn defaults_are_not_written() {
    let plain = serde_json::to_value(service(json!({})).unwrap()).unwrap();
    let keys: Vec<&str> = plain.as_object().unwrap().keys().map(String::as_str).collect();
    let known =
        ["body_limit", "exposure", "forward_token", "gateway", "instances", "name", "no_auth", "protocol"];
    assert_eq!(keys, [&known[..], &["timeouts"]].concat());
    let plain = serde_json::to_value(route(json!({})).unwrap()).unwrap();
    assert!(plain.get("mirror").is_none() && plain.get("retry_unsafe").is_none(), "{plain}");
}

#[test]
fn each_bad_value_is_refused_by_its_field() {
    for (fields, field, value) in [
        (json!({ "tls_server_name": "a.org" }), "tls_server_name", "a.org"),
        (json!({ "tls": "verify", "tls_server_name": "*.a.org" }), "tls_server_name", "*.a.org"),
        (json!({ "tls": "verify", "tls_ca": "nothing" }), "tls_ca", "7 bytes"),
        (json!({ "tls": "verify", "tls_ca": issued(false) }), "tls_ca", ""),
        (json!({ "tls": "insecure", "tls_ca": issued(true) }), "tls_ca", ""),
        (json!({ "tls_ca": issued(true) }), "tls_ca", ""),
        (json!({ "tls": "maybe" }), "value", "maybe"),
        (json!({ "hash_on": "path" }), "hash_on", "path"),
        (json!({ "balance": "round_robin", "hash_on": "source" }), "hash_on", "source"),
        (json!({ "balance": "hash", "hash_on": "cookie:a" }), "hash_on", "cookie:a"),
        (json!({ "balance": "hash", "hash_on": "header:a b" }), "hash_on", "header:a b"),
        (json!({ "balance": "random" }), "value", "random"),
        (json!({ "health": {} }), "key", "probe"),
        (json!({ "health": { "probe": "healthz" } }), "health.probe", "healthz"),
        (json!({ "health": { "probe": "/a b" } }), "health.probe", "/a b"),
        (json!({ "health": { "probe": "tcp", "interval": "999ms" } }), "health.interval", "999ms"),
        (json!({ "health": { "probe": "tcp", "timeout": "61s" } }), "health.timeout", "61s"),
        (json!({ "health": { "probe": "tcp", "healthy": 0 } }), "health.healthy", "0"),
        (json!({ "health": { "probe": "tcp", "unhealthy": 101 } }), "health.unhealthy", "101"),
        (json!({ "outlier": { "ejection": "0s" } }), "outlier.ejection", "0s"),
        (json!({ "outlier": { "failures": 1001 } }), "outlier.failures", "1001"),
        (json!({ "outlier": { "max_ejected_percent": 101 } }), "outlier.max_ejected_percent", "101"),
        (json!({ "retry": { "attempts": 0 } }), "retry.attempts", "0"),
        (json!({ "retry": { "attempts": 11 } }), "retry.attempts", "11"),
        (json!({ "retry": { "budget_percent": 101 } }), "retry.budget_percent", "101"),
        (json!({ "bounds": { "in_flight": 0 } }), "bounds.in_flight", "0"),
        (json!({ "bounds": { "queue": 100_001 } }), "bounds.queue", "100001"),
        (json!({ "bounds": { "queue_wait": "0s" } }), "bounds.queue_wait", "0s"),
        (json!({ "slow_start": "2h" }), "slow_start", "7200s"),
        (json!({ "compression": ["gzip", "gzip"] }), "compression", "gzip"),
        (json!({ "compression": ["deflate"] }), "value", "deflate"),
        (json!({ "timeouts": { "connect": "0s" } }), "timeouts.connect", "0s"),
        (json!({ "qps": 0 }), "qps", "0"),
        (json!({ "outlier": { "failure": 1 } }), "key", "failure"),
    ] {
        let refusal = service(fields.clone()).unwrap_err();
        let found = (refusal.field.as_deref(), refusal.value.as_deref().unwrap_or_default());
        assert!(found.0 == Some(field) && found.1.contains(value), "{fields}: {refusal:?}");
        assert!(refusal.remedy.is_some(), "{refusal:?}");
    }
}

#[test]
fn authorities_are_authorities() {
    let (one, two) = (issued(true), issued(true));
    let authorities: Authorities = format!("a comment\n{one}\n{two}").parse().unwrap();
    assert_eq!((authorities.der().len(), authorities.subjects().len()), (2, 2));
    for (text, code) in [
        (String::new(), "invalid_certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(), "invalid_certificate"),
        (KeyPair::generate().unwrap().serialize_pem(), "invalid_certificate"),
        (format!("{one}{}", issued(false)), "not_an_authority"),
        (one.repeat(65), "limit"),
        ("x".repeat(300_000), "limit"),
    ] {
        let refusal = text.parse::<Authorities>().unwrap_err();
        assert_eq!((refusal.code.as_str(), refusal.field.as_deref()), (code, Some("tls_ca")), "{refusal}");
    }
}

#[test]
fn mirrors_have_a_share() {
    for (given, service, percent) in [
        (json!("next"), "next", 100),
        (json!("next=0"), "next", 0),
        (json!({"service": "next", "percent": 7}), "next", 7),
        (json!({"service": "next"}), "next", 100),
    ] {
        let mirror = route(json!({ "mirror": given })).unwrap().mirror.unwrap();
        assert_eq!((mirror.service.as_str(), mirror.percent), (service, percent));
    }
    assert_eq!(route(json!({ "mirror": null })).unwrap().mirror, None);
    for given in
        [json!("next=101"), json!("next=-1"), json!("a,b"), json!("A"), json!({"percent": 1}), json!(7)]
    {
        assert!(route(json!({ "mirror": given })).is_err(), "{given}");
    }
}

#[test]
fn a_patch_names_what_changes_and_null_takes_back() {
    let held =
        service(json!({ "qps": 5, "health": { "probe": "tcp" }, "timeouts": { "idle": "9s" } })).unwrap();
    let patched = |fields: Value| serde_json::from_value::<Patch>(fields).unwrap().apply(&held);
    assert_eq!(patched(json!({})).unwrap(), held);
    let next = patched(json!({
        "qps": null, "body_limit": "1KiB", "instance": "b:1", "health": { "interval": "9s" },
        "timeouts": { "connect": "1s" }, "retry": { "attempts": 2 },
    }))
    .unwrap();
    assert_eq!((next.qps, next.body_limit, next.instances[0].host.as_str()), (None, 1024, "b"));
    let health = next.health.unwrap();
    assert_eq!((health.probe, health.interval.as_secs()), (Probe::Tcp, 9));
    // What is not named within a table stays, too.
    assert_eq!((next.timeouts.idle.as_secs(), next.timeouts.connect.as_secs()), (9, 1));
    assert_eq!((next.retry.attempts, next.retry.budget_percent), (2, 20));
    assert_eq!(patched(json!({ "health": null })).unwrap().health, None);
    for (fields, code, value) in [
        (json!({ "colour": 1 }), "unknown_field", "colour"),
        (json!({ "instances": null }), "missing_field", "instances"),
        (json!({ "name": "b" }), "fixed_field", "name"),
        (json!({ "token": "x" }), "fixed_field", "token"),
        (json!({ "tls": "maybe" }), "invalid", "maybe"),
    ] {
        let refusal = patched(fields).unwrap_err();
        assert_eq!((refusal.code.as_str(), refusal.value.as_deref()), (code, Some(value)), "{refusal}");
    }
}
