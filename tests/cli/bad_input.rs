//! One row per bad input: a clear error that names field, value, limit and remedy, and everything stays as it was.

use harness::desk::{Desk, add_front, assert_names};

/// Words of the command, and what the error must say in which field.
type Row<'a> = (Vec<&'a str>, &'a [(&'a str, &'a str)]);

#[test]
fn bad_cidrs_are_refused() {
    let desk = Desk::with_front();
    desk.ok(&["allow", "add", "front", "192.0.2.1"]);
    let rows: &[Row<'_>] = &[
        // Host bits: the corrected form is named.
        (vec!["192.0.2.1/24"], &[("value", "192.0.2.1/24"), ("remedy", "192.0.2.0/24")]),
        (vec!["2001:db8::1/32"], &[("value", "2001:db8::1/32"), ("remedy", "2001:db8::/32")]),
        // Bad masks.
        (vec!["192.0.2.0/33"], &[("value", "192.0.2.0/33")]),
        (vec!["192.0.2.0/-1"], &[("value", "192.0.2.0/-1")]),
        (vec!["192.0.2.0/255.255.255.0"], &[("value", "192.0.2.0/255.255.255.0")]),
        (vec!["2001:db8::/129"], &[("value", "2001:db8::/129")]),
        (vec!["192.0.2.0/"], &[("value", "192.0.2.0/")]),
        (vec!["192.0.2.0/024"], &[("value", "192.0.2.0/024")]),
        // Garbage.
        (vec!["nonsense"], &[("value", "nonsense")]),
        (vec!["192.0.2"], &[("value", "192.0.2")]),
        (vec!["192.0.2.256"], &[("value", "192.0.2.256")]),
        (vec!["010.0.0.1"], &[("value", "010.0.0.1")]),
        (vec!["*"], &[("value", "*")]),
        (vec!["localhost"], &[("value", "localhost")]),
        (vec!["2001:db8::/32::"], &[("value", "2001:db8::/32::")]),
        // An IPv4-mapped address is IPv4 on the wire; as IPv6 it would never match.
        (vec!["::ffff:192.0.2.1"], &[("value", "::ffff:192.0.2.1")]),
        (vec!["::ffff:0.0.0.0/96"], &[("value", "::ffff:0.0.0.0/96")]),
        (vec!["fe80::1%eth0"], &[("value", "fe80::1%eth0")]),
        // One bad entry spoils the good ones beside it.
        (vec!["198.51.100.0/24,nonsense,203.0.113.0/24"], &[("value", "nonsense")]),
        (vec!["198.51.100.0/24", "192.0.2.1/24"], &[("value", "192.0.2.1/24")]),
    ];
    for (cidrs, fields) in rows {
        for verb in ["add", "set"] {
            let error = desk.refused(&[&["allow", verb, "front"], &cidrs[..]].concat());
            assert_names(&error, &[("code", ""), ("message", ""), ("field", "")]);
            assert_names(&error, fields);
        }
    }
    // Nothing at all is not an empty list.
    let error = desk.gateway.cli_with_input(&["allow", "set", "front", "-"], " \n").refused();
    assert!(
        error.to_string().contains("allow-empty") || error.to_string().contains("allow_empty"),
        "{error}"
    );
    assert_eq!(desk.ok(&["allow", "list", "front"])["items"][0]["cidr"], "192.0.2.1/32");
    let empty = desk.gateway.cli_with_input(&["allow", "set", "front", "-", "--allow-empty"], "").ok();
    assert_eq!(empty["changed"], true);
}

#[test]
fn the_sixteenth_entry_and_ten_thousand_are_refused() {
    let desk = Desk::with_front();
    let many =
        |count: usize| (0..count).map(|n| format!("10.{}.{}.0/24", n / 256, n % 256)).collect::<Vec<_>>();
    desk.ok(&["allow", "add", "front", &many(15).join(",")]);
    let error = desk.refused(&["allow", "add", "front", "192.0.2.1"]);
    assert_names(&error, &[("limit", "15"), ("remedy", ""), ("field", ""), ("message", "")]);
    let before = desk.whole();
    let pasted = many(10_000).join("\n");
    let start = std::time::Instant::now();
    for verb in ["add", "set"] {
        let error = desk.gateway.cli_with_input(&["allow", verb, "front", "-"], &pasted).refused();
        assert_names(&error, &[("limit", "15")]);
        // An answer for people: not ten thousand entries back.
        assert!(error.to_string().len() < 2000, "{} bytes of error", error.to_string().len());
    }
    println!("two pastes of 10,000 entries refused in {:?}", start.elapsed());
    assert_eq!(desk.whole(), before);
    // Exactly fifteen distinct ones pass, in whatever number of copies.
    let copies = [many(15), many(15)].concat().join(" ");
    assert_eq!(desk.ok(&["allow", "set", "front", &copies])["changed"], false);
}

#[test]
fn bad_listeners_are_refused() {
    let desk = Desk::with_front();
    let add = add_front;
    let long = "x".repeat(64);
    let rows: &[Row<'_>] = &[
        (add("front", "127.0.0.3", "9081", "9444"), &[("value", "front")]),
        (add("Front", "127.0.0.3", "9081", "9444"), &[("value", "Front")]),
        (add("-x", "127.0.0.3", "9081", "9444"), &[]),
        (add(&long, "127.0.0.3", "9081", "9444"), &[("limit", "63")]),
        // The endpoint of another listener.
        (add("second", "127.0.0.2", "9081", "9443"), &[("value", "127.0.0.2")]),
        (add("second", "127.0.0.3", "9081", "9081"), &[("value", "9081")]),
        (add("second", "127.0.0.300", "9081", "9444"), &[("value", "127.0.0.300")]),
        // An address that the interface does not have.
        (
            add("second", "192.0.2.77", "9081", "9444"),
            &[("value", "192.0.2.77"), ("remedy", "--wait-address")],
        ),
        (
            vec!["listener", "add", "second", "--interface", "absent0", "--address", "192.0.2.77"],
            &[("field", "interface"), ("value", "absent0"), ("remedy", "")],
        ),
        (
            vec![
                "listener",
                "add",
                "second",
                "--interface",
                "an-interface-name-that-is-long",
                "--address",
                "*",
            ],
            &[("field", "interface")],
        ),
        (
            vec![
                "listener",
                "add",
                "second",
                "--exposure",
                "moon",
                "--interface",
                "lo",
                "--address",
                "127.0.0.3",
            ],
            &[("field", "exposure"), ("value", "moon")],
        ),
    ];
    for (words, fields) in rows {
        // The parser of the command line may refuse what it can see for itself: that is usage.
        if words.get(2) == Some(&"-x") {
            assert_ne!(desk.gateway.cli(words).code, 0);
            continue;
        }
        assert_names(&desk.refused(words), fields);
    }
}

/// A port that somebody else has.
#[test]
fn a_port_in_use_is_refused() {
    let desk = Desk::with_front();
    let bind = || std::net::TcpListener::bind("127.0.0.4:9555").expect("a port");
    let holder = match &desk.namespace {
        Some(namespace) => namespace.within(bind),
        None => bind(),
    };
    let words = add_front("second", "127.0.0.4", "9081", "9555");
    let error = desk.refused(&words);
    assert!(error.to_string().contains("9555"), "{error}");
    assert!(error["remedy"].is_string(), "{error}");
    // Also a port of a whole address.
    let error = desk.refused(&add_front("second", "*", "9081", "9555"));
    assert!(error.to_string().contains("9555"), "{error}");
    drop(holder);
    desk.ok(&words);
}

#[test]
fn bad_certificates_are_refused() {
    let desk = Desk::with_front();
    let authority = harness::Authority::new();
    let good = authority.leaf(&["a.example.org"]);
    let other = authority.leaf(&["b.example.org"]);
    let expired = authority.expired(&["a.example.org"]);
    let chain = desk.file("good.pem", &good.chain);
    let key = desk.file("good.key", &good.key);
    let cases = [
        ("the key of another", chain.clone(), desk.file("other.key", &other.key)),
        ("expired", desk.file("expired.pem", &expired.chain), desk.file("expired.key", &expired.key)),
        (
            "wrong order",
            desk.file("order.pem", format!("{}{}", authority.pem, good.certificate)),
            key.clone(),
        ),
        ("no certificate", desk.file("empty.pem", ""), key.clone()),
        ("no key", chain.clone(), desk.file("empty.key", "")),
        (
            "garbage",
            desk.file("garbage.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            key.clone(),
        ),
        ("binary", desk.file("binary.pem", [0_u8, 255, 7, 9].repeat(100)), key.clone()),
        ("swapped", key.clone(), chain.clone()),
        ("absent", "/nonexistent.pem".to_owned(), key.clone()),
    ];
    for (what, chain, key) in &cases {
        let error = desk.refused(&["cert", "add", "a", "--chain", chain, "--key", key]);
        assert_names(&error, &[("code", ""), ("field", "")]);
        let secret = good.key.lines().nth(1).expect("a PEM has lines");
        assert!(!error.to_string().contains(secret), "{what}: a key in an error");
        println!("{what}: {}", error["message"]);
    }
    desk.ok(&["cert", "add", "a", "--chain", &chain, "--key", &key]);
    desk.refused(&["cert", "add", "a", "--chain", &chain, "--key", &key]);
    // A domain that the certificate does not cover.
    let error = desk.refused(&["domain", "add", "c.example.org", "--exposure", "public", "--cert", "a"]);
    assert!(
        error.to_string().contains("a.example.org") || error.to_string().contains("c.example.org"),
        "{error}"
    );
}

/// One more than a listener may trust.
const FORWARDERS: &str = "10.0.0.0,10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4,10.0.0.5,10.0.0.6,10.0.0.7,10.0.0.8,10.0.0.9,\
    10.0.1.0,10.0.1.1,10.0.1.2,10.0.1.3,10.0.1.4,10.0.1.5,10.0.1.6,10.0.1.7,10.0.1.8,10.0.1.9,\
    10.0.2.0,10.0.2.1,10.0.2.2,10.0.2.3,10.0.2.4,10.0.2.5,10.0.2.6,10.0.2.7,10.0.2.8,10.0.2.9,\
    10.0.3.0,10.0.3.1,10.0.3.2,10.0.3.3,10.0.3.4,10.0.3.5,10.0.3.6,10.0.3.7,10.0.3.8,10.0.3.9,\
    10.0.4.0,10.0.4.1,10.0.4.2,10.0.4.3,10.0.4.4,10.0.4.5,10.0.4.6,10.0.4.7,10.0.4.8,10.0.4.9,\
    10.0.5.0,10.0.5.1,10.0.5.2,10.0.5.3,10.0.5.4,10.0.5.5,10.0.5.6,10.0.5.7,10.0.5.8,10.0.5.9,\
    10.0.6.0,10.0.6.1,10.0.6.2,10.0.6.3,10.0.6.4";

#[test]
fn bad_services_and_routes_are_refused() {
    let desk = Desk::with_front();
    desk.ok(&["service", "add", "echo", "--instance", "127.0.0.1:9"]);
    let service = |more: &'static [&'static str]| [&["service", "add", "other"], more].concat();
    let rows: &[Row<'_>] = &[
        (vec!["service", "add", "echo", "--instance", "127.0.0.1:9"], &[("value", "echo")]),
        (service(&["--instance", "127.0.0.1"]), &[("value", "127.0.0.1")]),
        (service(&["--instance", "127.0.0.1:0"]), &[("value", "127.0.0.1:0")]),
        (service(&["--instance", "127.0.0.1:70000"]), &[("value", "127.0.0.1:70000")]),
        (service(&["--instance", "127.0.0.1:9,127.0.0.1:9"]), &[("value", "127.0.0.1:9")]),
        (service(&["--instance", "0.0.0.0:9"]), &[]),
        // No loops: an instance at the gateway's own listener.
        (service(&["--instance", "127.0.0.2:9443"]), &[("value", "127.0.0.2:9443")]),
        (service(&["--instance", "127.0.0.1:9", "--protocol", "smtp"]), &[("value", "smtp")]),
        (service(&["--instance", "127.0.0.1:9", "--body-limit", "many"]), &[("value", "many")]),
        (
            service(&["--instance", "127.0.0.1:9=0"]),
            &[("field", "weight"), ("value", "0"), ("limit", "1 to 256")],
        ),
        (service(&["--instance", "127.0.0.1:9=x"]), &[("field", "instance"), ("value", "127.0.0.1:9=x")]),
        (
            service(&["--instance", "127.0.0.1:9", "--tls", "maybe"]),
            &[("value", "maybe"), ("limit", "insecure")],
        ),
        (
            service(&["--instance", "127.0.0.1:9", "--tls-server-name", "a.org"]),
            &[("field", "tls_server_name"), ("value", "a.org"), ("limit", "verify")],
        ),
        (service(&["--instance", "127.0.0.1:9", "--tls-ca", "/nonexistent.pem"]), &[("field", "tls_ca")]),
        (
            service(&["--instance", "127.0.0.1:9", "--hash-on", "path"]),
            &[("field", "hash_on"), ("remedy", "balance")],
        ),
        (
            service(&["--instance", "127.0.0.1:9", "--balance", "hash", "--hash-on", "cookie"]),
            &[("field", "hash_on"), ("limit", "header:NAME")],
        ),
        (
            service(&["--instance", "127.0.0.1:9", "--health", "healthz"]),
            &[("field", "health.probe"), ("value", "healthz"), ("remedy", "/healthz")],
        ),
        (service(&["--instance", "127.0.0.1:9", "--health-interval", "5s"]), &[("value", "probe")]),
        (
            service(&["--instance", "127.0.0.1:9", "--health", "tcp", "--health-interval", "1ms"]),
            &[("field", "health.interval"), ("value", "1ms"), ("limit", "1s to 3600s")],
        ),
        (
            service(&["--instance", "127.0.0.1:9", "--retry-attempts", "11"]),
            &[("field", "retry.attempts"), ("limit", "1 to 10")],
        ),
        (
            service(&["--instance", "127.0.0.1:9", "--retry-budget", "101"]),
            &[("field", "retry.budget_percent"), ("limit", "0 to 100")],
        ),
        (
            service(&["--instance", "127.0.0.1:9", "--max-ejected-percent", "101"]),
            &[("field", "outlier.max_ejected_percent"), ("limit", "0 to 100")],
        ),
        (service(&["--instance", "127.0.0.1:9", "--queue-wait", "0s"]), &[("field", "bounds.queue_wait")]),
        (service(&["--instance", "127.0.0.1:9", "--slow-start", "2h"]), &[("field", "slow_start")]),
        (service(&["--instance", "127.0.0.1:9", "--compression", "deflate"]), &[("value", "deflate")]),
        (
            service(&["--instance", "127.0.0.1:9", "--compression", "br,br"]),
            &[("field", "compression"), ("value", "br")],
        ),
        (vec!["service", "update", "echo", "--balance", "random"], &[("value", "random")]),
        (
            vec!["route", "add", "r", "--path-prefix", "/", "--service", "echo", "--mirror", "echo=101"],
            &[("field", "mirror.percent"), ("value", "101"), ("limit", "0 to 100")],
        ),
        (
            vec!["route", "add", "r", "--path-prefix", "/", "--service", "echo", "--mirror", "absent"],
            &[("value", "absent"), ("remedy", "add it")],
        ),
        (vec!["route", "update", "absent", "--mirror", "echo"], &[("code", "not_found")]),
        (
            vec!["listener", "update", "front", "--trusted-forwarders", "192.0.2.1/24"],
            &[("value", "192.0.2.1/24"), ("remedy", "192.0.2.0/24")],
        ),
        (
            vec!["listener", "update", "front", "--trusted-forwarders", FORWARDERS],
            &[("field", "trusted_forwarders"), ("value", "65"), ("limit", "64")],
        ),
        (vec!["listener", "update", "absent", "--proxy-protocol"], &[("code", "not_found")]),
        (vec!["route", "add", "r", "--path-prefix", "m", "--service", "echo"], &[]),
        (vec!["route", "add", "r", "--path-prefix", "/", "--service", "echo=0"], &[]),
        (vec!["route", "add", "r", "--path-prefix", "/", "--service", "echo=x"], &[]),
        (
            vec!["route", "add", "r", "--host", "not a host", "--path-prefix", "/", "--service", "echo"],
            &[("value", "not a host")],
        ),
        (vec!["domain", "add", "not a host", "--exposure", "public"], &[("value", "not a host")]),
        (vec!["domain", "add", "192.0.2.1", "--exposure", "public"], &[("value", "192.0.2.1")]),
    ];
    for (words, fields) in rows {
        assert_names(&desk.refused(words), fields);
    }
}

#[test]
fn bad_files_are_refused_whole() {
    let desk = Desk::with_front();
    desk.ok(&["allow", "add", "front", "192.0.2.1"]);
    let good = desk.gateway.export();
    let cases = [
        ("an unknown key", format!("{good}\ncolour = \"red\"\n"), "colour"),
        ("an unknown kind", format!("{good}\n[[listner]]\nname = \"x\"\n"), "listner"),
        ("an unknown key of a listener", good.replace("interface = ", "color = 1\ninterface = "), "color"),
        ("not TOML", format!("{good}\n]]["), ""),
        ("a number for a text", good.replace("interface = \"lo\"", "interface = 7"), "interface"),
        ("a bad CIDR", good.replace("192.0.2.1/32", "192.0.2.1/24"), "192.0.2.1/24"),
        ("a name twice", format!("{good}\n{good}"), "front"),
        ("a missing field", "[[service]]\nname = \"x\"\n".to_owned(), "instance"),
    ];
    for (what, text, named) in &cases {
        let file = desk.file("bad.toml", text);
        for words in [&["apply", "-f", &file][..], &["apply", "-f", &file, "--dry-run"]] {
            let error = desk.gateway.cli(words).refused();
            assert!(error.to_string().contains(named), "{what}: {error}");
        }
        assert_eq!(desk.gateway.export(), good, "{what}");
    }
    let file = desk.file("binary.toml", [0xff_u8, 0xfe, 0, 1]);
    desk.refused(&["apply", "-f", &file]);
    desk.refused(&["apply", "-f", "/nonexistent.toml"]);
    // Without root only one daemon at a time has its turn.
    drop(desk);
    // Settings of the process are no resources, and the other way round.
    let mut other = Desk::prepare();
    other.gateway.set_config("filter = \"off\"\ncolour = \"red\"\n");
    let finished = other.gateway.run_to_end(std::time::Duration::from_secs(20));
    assert_ne!(finished.code, Some(0));
    assert!(finished.stderr.contains("colour"), "{}", finished.framed());
}
