//! Forms of resources: what is taken, what is refused, and with which words. No text may make the parsers panic.

mod cidrs;
mod pem;
mod upstream;

use proptest::prelude::*;

use super::{
    Address, Domain, Exposure, Host, Instance, Listener, Route, Secret, Service, duration, from_json,
    from_toml, size, token::Fingerprint, token::TokenHash,
};

#[test]
fn hosts_follow_rfc_1123() {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    for (text, host) in [
        ("a.example.org", "a.example.org"),
        ("A.Example.ORG.", "a.example.org"),
        ("*.example.org", "*.example.org"),
        ("localhost", "localhost"),
        ("3com.net", "3com.net"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        (longest.as_str(), longest.as_str()),
    ] {
        assert_eq!(text.parse::<Host>().unwrap().as_str(), host);
    }
    let long = format!("{label}a.org");
    let too_long = format!("a{longest}");
    for text in [
        "",
        ".",
        "*",
        "*.org",
        "a.*.org",
        "*a.org",
        "a..b",
        ".a",
        "-a.org",
        "a-.org",
        "a_b.org",
        "a b",
        "a.org:80",
        "192.0.2.1",
        "[::1]",
        "::1",
        "1.2.3",
        "bücher.example",
        "a/b",
        &long,
        &too_long,
        "a.org..",
    ] {
        assert!(text.parse::<Host>().is_err(), "{text}");
    }
}

#[test]
fn a_wildcard_stands_for_one_label() {
    let covered = |host: &str, certified: &str| host.parse::<Host>().unwrap().is_covered_by(certified);
    assert!(covered("a.b.org", "*.b.org") && covered("*.b.org", "*.b.org") && covered("a.b.org", "a.b.org"));
    assert!(
        !covered("b.org", "*.b.org") && !covered("x.a.b.org", "*.b.org") && !covered("*.b.org", "a.b.org")
    );
    assert!(!covered("*.a.org", "*.org"), "a wildcard of the host is not one label of the certificate");
}

#[test]
fn sizes_have_exact_units() {
    for (text, bytes) in
        [("1MiB", 1 << 20), ("512 KiB", 512 << 10), ("0", 0), ("7", 7), ("2MB", 2_000_000), ("3B", 3)]
    {
        assert_eq!(size::parse(text).unwrap(), bytes, "{text}");
    }
    for text in ["", "MiB", "1.5MiB", "-1", "1mib", "1Mib", "1M", "+1", "99999999999GiB", "1 2", "１MiB"] {
        assert!(size::parse(text).is_err(), "{text}");
    }
    let service: Service = from_toml("name='a'\ninstances=['h:1']\nbody_limit='2MiB'").unwrap();
    assert_eq!(service.body_limit, 2 << 20);
    let service: Service = from_toml("name='a'\ninstances=['h:1']\nbody_limit=5").unwrap();
    assert_eq!(service.body_limit, 5);
    assert!(from_toml::<Service>("name='a'\ninstances=['h:1']\nbody_limit=-5").is_err());
}

#[test]
fn instances_have_one_spelling() {
    for (text, shown) in [
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("Embed.Internal.:8000", "embed.internal:8000"),
        ("[2001:DB8::0:1]:80", "[2001:db8::1]:80"),
        ("vllm_1:8000", "vllm_1:8000"),
        ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"),
    ] {
        assert_eq!(text.parse::<Instance>().unwrap().to_string(), shown);
    }
    for text in [
        "",
        ":",
        "a",
        "a:",
        ":80",
        "a:0",
        "a:65536",
        "a:+80",
        "a:-1",
        "::1:80",
        "[::1]",
        "[a]:80",
        "[10.0.0.1]:80",
        "http://a:80",
        "a b:80",
        "0.0.0.0:80",
        "[::]:80",
        "224.0.0.1:80",
        "1.2.3:80",
        "a:80:90",
        "a/b:80",
    ] {
        assert!(text.parse::<Instance>().is_err(), "{text}");
    }
}

#[test]
fn a_listener_has_defaults_and_its_ports_can_be_switched_off() {
    let base = "name='a'\nexposure='public'\ninterface='eth0'\naddress='*'\n";
    let listener: Listener = from_toml(base).unwrap();
    assert_eq!((listener.http, listener.https, listener.open), (Some(80), Some(443), false));
    assert_eq!(listener.addresses, [Address::Any]);
    let listener: Listener = from_toml(&format!("{base}http=false\nhttps=8443\n")).unwrap();
    assert_eq!((listener.http, listener.https), (None, Some(8443)));
    let again: Listener = from_toml(&toml::to_string(&listener).unwrap()).unwrap();
    assert_eq!(again, listener);
    let json =
        br#"{"name":"a","exposure":"public","interface":"eth0","addresses":["192.0.2.1"],"http":null}"#;
    let listener: Listener = from_json(json).unwrap();
    assert_eq!(listener.http, None);
    for port in ["0", "65536", "-1", "true", "'80'", "1.5"] {
        assert!(from_toml::<Listener>(&format!("{base}http={port}\n")).is_err(), "{port}");
    }
}

#[test]
fn a_listener_is_checked_field_by_field() {
    let base = "name='a'\nexposure='public'\ninterface='eth0'\naddress=['192.0.2.1']\n";
    let good: Listener = from_toml(base).unwrap();
    good.validate().unwrap();
    type Spoil = fn(&mut Listener);
    let cases: [(&str, Spoil); 8] = [
        ("exposure", |one| one.exposure = Exposure::Vpc),
        ("interface", |one| one.interface = "a/b".to_owned()),
        ("interface", |one| one.interface = "x".repeat(16)),
        ("addresses", |one| one.addresses.clear()),
        ("addresses", |one| one.addresses.push(one.addresses[0])),
        ("http", |one| one.http = Some(0)),
        ("https", |one| one.https = one.http),
        ("https", |one| (one.http, one.https) = (None, None)),
    ];
    for (field, spoil) in cases {
        let mut bad = good.clone();
        spoil(&mut bad);
        let refusal = bad.validate().unwrap_err();
        assert_eq!(refusal.field.as_deref(), Some(field), "{refusal}");
    }
    for address in ["::ffff:192.0.2.1", "224.0.0.1", "255.255.255.255", "192.0.2.1/24", "eth0", ""] {
        assert!(address.parse::<Address>().is_err(), "{address}");
    }
}

#[test]
fn routes_are_checked_and_written_in_one_case() {
    let route: Route = from_toml(
        "name='r'\nhost='A.org'\npath_prefix='/v1'\nmethods=['post']\nheaders={X-Model='a b'}\nservices=['a=3', {service='b'}]",
    )
    .unwrap();
    let route = route.normalized();
    route.validate().unwrap();
    assert_eq!(
        (route.methods[0].as_str(), route.headers.keys().next().unwrap().as_str()),
        ("POST", "x-model")
    );
    assert_eq!((route.services[0].weight, route.services[1].weight), (3, 1));
    for prefix in ["", "v1", "/a b", "/a?b", "/a#b", "//", "/a/../b", "/./a", "/\u{e9}"] {
        let bad = Route { path_prefix: prefix.to_owned(), ..route.clone() };
        assert_eq!(bad.validate().unwrap_err().code, "invalid_path", "{prefix}");
    }
    for services in ["'a=0'", "'a=x'", "'a=-1'", "'a,a'", "[]", "'A'", "'a=1=2'", "'a=1000001'"] {
        let read = from_toml::<Route>(&format!("name='r'\nservices={services}"));
        assert!(read.and_then(|route| route.validate()).is_err(), "{services}");
    }
    let bad = Route { headers: [("a".to_owned(), "b\r\nc".to_owned())].into(), ..route.clone() };
    assert_eq!(bad.validate().unwrap_err().code, "invalid_header");
    let bad = Route { methods: vec!["GET /".to_owned()], ..route };
    assert_eq!(bad.validate().unwrap_err().code, "invalid_method");
}

#[test]
fn secrets_stay_out_of_refusals_and_debug_output() {
    let refusal = Secret::new("top secret").unwrap_err();
    assert!(!format!("{refusal:?}").contains("top secret"));
    let secret = Secret::new("s3cret-token\n").unwrap();
    assert_eq!(secret.reveal(), "s3cret-token");
    assert!(!format!("{secret:?}").contains("s3cret"));
    assert!(Secret::new("").is_err() && Secret::new(&"x".repeat(513)).is_err());
    let text = secret.hash().to_string();
    assert_eq!(text.parse::<TokenHash>().unwrap(), secret.hash());
    assert!(!text.contains(secret.hash().fingerprint().as_str().trim_start_matches("fp:")));
}

#[test]
fn a_refusal_survives_serde_whole() {
    let refusal = from_json::<Domain>(br#"{"host":"a b","exposure":"public"}"#).unwrap_err();
    assert_eq!((refusal.code.as_str(), refusal.field.as_deref()), ("invalid_host", Some("host")));
    assert_eq!(refusal.value.as_deref(), Some("a b"));
    let refusal = from_toml::<Domain>("exposure='public'\nhost='a b'").unwrap_err();
    assert!(refusal.message.starts_with("line 2 (`host`): "), "{refusal}");
    assert!(refusal.limit.is_some());
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC*", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = text.parse::<Host>();
        let _ = text.parse::<Instance>();
        let _ = text.parse::<Address>();
        let _ = text.parse::<Exposure>();
        let _ = text.parse::<super::WeightedService>();
        let _ = text.parse::<super::Mirror>();
        let _ = text.parse::<super::upstream::HashKey>();
        let _ = text.parse::<super::upstream::Probe>();
        let _ = text.parse::<super::upstream::Authorities>();
        let _ = text.parse::<TokenHash>();
        let _ = text.parse::<Fingerprint>();
        let _ = size::parse(&text);
        let _ = duration::parse(&text);
        let _ = Secret::new(&text);
        let _ = from_json::<Listener>(&bytes);
        let _ = from_json::<Service>(&bytes);
        let _ = from_json::<Route>(&bytes);
        let _ = super::read::recover(&text);
        let _ = super::certificate::Chain::parse(&text);
        let _ = super::certificate::Key::parse(&super::certificate::KeyPem(text));
    }

    #[test]
    fn near_misses_do_not_panic_either(
        text in "[0-9a-fA-F:./\\[\\]*%+\\- ,=kKMGiBmsh_é]{0,40}",
    ) {
        let _ = super::Allowlist::parse(&text);
        let _ = text.parse::<Host>();
        let _ = text.parse::<Instance>().map(|one| one.to_string());
        let _ = size::parse(&text);
        let _ = duration::parse(&text);
    }

    #[test]
    fn durations_and_sizes_come_back(millis in 0..u64::from(u32::MAX), bytes: u64) {
        let duration = std::time::Duration::from_millis(millis);
        prop_assert_eq!(duration::parse(&duration::text(duration)).unwrap(), duration);
        prop_assert_eq!(size::parse(&bytes.to_string()).unwrap(), bytes);
    }
}
