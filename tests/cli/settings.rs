//! Every setting of services, routes and listeners, through the command line and back.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use harness::desk::{Desk, assert_names};
use serde_json::{Value, json};

/// The fields of an item that are named in `expected`.
#[track_caller]
fn assert_has(item: &Value, expected: &Value) {
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!(item.get(field), Some(value), "{field} of {item}");
    }
}

/// Exporting, emptying, applying: everything is as it was.
#[track_caller]
fn assert_round_trip(desk: &Desk) {
    let before = desk.whole();
    let file = desk.file("same.toml", &before.1);
    assert_eq!(desk.ok(&["apply", "-f", &file]).get("changed"), Some(&false.into()), "{}", before.1);
    let changed = desk.file("other.toml", before.1.replace("attempts = 2", "attempts = 4"));
    desk.ok(&["apply", "-f", &changed]);
    desk.ok(&["apply", "-f", &file]);
    assert_eq!(desk.gateway.export(), before.1);
    let back = desk.ok(&["rollback", &before.0.to_string(), "--yes"]);
    assert_eq!(desk.gateway.export(), before.1, "{back}");
}

#[test]
fn a_services_way_to_its_instances_can_be_set_and_taken_back() {
    let desk = Desk::with_front();
    let authority = harness::Authority::new();
    let ca = desk.file("ca.pem", &authority.pem);
    let words = "service add chat --instance 127.0.0.1:9=3 --instance models.internal:8000 --protocol http2 \
        --tls verify --tls-server-name models.internal --balance hash --hash-on header:X-Session \
        --health /healthz --health-interval 3s --health-timeout 1s --healthy 1 --unhealthy 4 \
        --outlier-failures 7 --outlier-ejection 20s --max-ejected-percent 30 --retry-attempts 2 --retry-budget 10 \
        --max-in-flight 8 --queue 5 --queue-wait 2s --slow-start 30s --compression br,gzip --decompress --tls-ca";
    let added = desk.ok(&words.split_whitespace().chain([ca.as_str()]).collect::<Vec<_>>());
    assert!(added["token"].is_string(), "{added}");
    let full = json!({
        "instances": ["127.0.0.1:9=3", "models.internal:8000"], "protocol": "http2",
        "tls": "verify", "tls_server_name": "models.internal", "balance": "hash", "hash_on": "header:x-session",
        "health": { "probe": "/healthz", "interval": "3s", "timeout": "1s", "healthy": 1, "unhealthy": 4 },
        "outlier": { "failures": 7, "ejection": "20s", "max_ejected_percent": 30 },
        "retry": { "attempts": 2, "budget_percent": 10 },
        "bounds": { "in_flight": 8, "queue": 5, "queue_wait": "2s" },
        "slow_start": "30s", "compression": ["br", "gzip"], "decompress": true,
    });
    let shown = desk.ok(&["service", "show", "chat"]);
    assert_has(&shown, &full);
    assert_eq!(shown["tls_ca_subjects"].as_array().map(Vec::len), Some(1), "{shown}");
    assert_round_trip(&desk);

    // One field of a table leaves the others alone, and says which one it was.
    let update = |words: &str| {
        let words: Vec<&str> = ["service", "update", "chat"].into_iter().chain(words.split(' ')).collect();
        desk.ok(&words)
    };
    let reply = update("--health-interval 9s --connect-timeout 1s");
    let fields: Vec<&Value> =
        reply["changes"].as_array().expect("changes").iter().map(|one| &one["field"]).collect();
    assert_eq!(fields, ["health", "timeouts"], "{reply}");
    assert_has(
        &desk.ok(&["service", "show", "chat"]),
        &json!({
            "health": { "probe": "/healthz", "interval": "9s", "timeout": "1s", "healthy": 1, "unhealthy": 4 },
            "timeouts": { "connect": "1s", "first_byte": "60s", "idle": "60s" },
        }),
    );
    assert_eq!(update("--health-interval 9s")["changed"], false);
    // What only makes sense together is refused by its name.
    assert_names(
        &desk.refused(&["service", "update", "chat", "--tls", "off"]),
        &[("field", "tls_server_name")],
    );
    assert_names(&desk.refused(&["service", "update", "chat", "--tls", "insecure"]), &[("field", "tls_ca")]);
    assert_names(
        &desk.refused(&["service", "update", "chat", "--balance", "round_robin"]),
        &[("field", "hash_on")],
    );

    update("--tls off --tls-ca off --tls-server-name off --balance least_request --hash-on off --health off");
    update("--max-in-flight off --compression off --decompress=false --slow-start 0s --outlier-failures 5");
    let plain = desk.ok(&["service", "show", "chat"]);
    assert_has(
        &plain,
        &json!({
            "tls": "off", "tls_server_name": null, "tls_ca_subjects": [], "balance": "least_request", "hash_on": null,
            "health": null, "slow_start": "0s", "compression": [], "decompress": false,
            "bounds": { "queue": 5, "queue_wait": "2s" },
        }),
    );
    let human = desk.gateway.human(&["service", "show", "chat"]).success();
    assert!(human.contains("least_request") && human.contains("queue_wait=2s"), "{human}");
}

#[test]
fn a_route_can_be_changed_and_mirrored() {
    let desk = Desk::with_front();
    for name in ["a", "b", "shadow"] {
        desk.ok(&["service", "add", name, "--instance", "127.0.0.1:9", "--no-auth"]);
    }
    desk.ok(&["route", "add", "r", "--path-prefix", "/v1", "--service", "a=9,b=1", "--header", "x-a=1"]);
    assert_has(&desk.ok(&["route", "show", "r"]), &json!({ "mirror": null, "retry_unsafe": false }));
    desk.ok(&["route", "update", "r", "--mirror", "shadow=10", "--retry-unsafe", "--service", "a=1,b=1"]);
    let route = desk.ok(&["route", "show", "r"]);
    assert_has(
        &route,
        &json!({
            "mirror": { "service": "shadow", "percent": 10 }, "retry_unsafe": true, "path_prefix": "/v1",
            "headers": { "x-a": "1" },
            "services": [{ "service": "a", "weight": 1 }, { "service": "b", "weight": 1 }],
        }),
    );
    assert_has(&desk.ok(&["service", "show", "shadow"]), &json!({ "routes": [], "mirrored_by": ["r"] }));
    assert_round_trip(&desk);
    // A mirrored service is in use; one that the route leads to may be mirrored, too.
    let error = desk.refused(&["service", "delete", "shadow"]);
    assert_names(&error, &[("code", "in_use")]);
    assert!(error.to_string().contains("route `r`"), "{error}");
    desk.ok(&["route", "update", "r", "--mirror", "a"]);
    desk.ok(&["service", "delete", "shadow"]);
    desk.ok(&["route", "update", "r", "--mirror", "off", "--retry-unsafe=false"]);
    assert_has(&desk.ok(&["route", "show", "r"]), &json!({ "mirror": null, "retry_unsafe": false }));
}

#[test]
fn what_a_route_or_service_asks_for_can_be_taken_off() {
    let desk = Desk::with_front();
    desk.ok(&["service", "add", "a", "--instance", "127.0.0.1:9", "--no-auth", "--qps", "5"]);
    let add = ["route", "add", "r", "--service", "a", "--method", "GET,POST", "--header", "x-a=1"];
    desk.ok(&[&add[..], &["--header", "x-b=off", "--header", "x-c="]].concat());
    let headers = || desk.ok(&["route", "show", "r"])["headers"].clone();
    assert_eq!(headers(), json!({ "x-a": "1", "x-b": "off", "x-c": "" }));
    desk.ok(&["route", "update", "r", "--header", "x-d=2", "--without-header", "x-a,x-c"]);
    assert_eq!(headers(), json!({ "x-b": "off", "x-d": "2" }));
    // It is not there any more, so nothing changes.
    assert_eq!(desk.ok(&["route", "update", "r", "--without-header", "x-a"])["changed"], false);
    assert_names(&desk.refused(&["route", "update", "r", "--header", "x-e"]), &[("field", "header")]);
    desk.ok(&["route", "update", "r", "--header", "off", "--method", "off"]);
    assert_has(&desk.ok(&["route", "show", "r"]), &json!({ "headers": {}, "methods": [] }));
    let qps = || desk.ok(&["service", "show", "a"])["qps"].clone();
    for none in [&["--qps", "off"][..], &["--no-qps"]] {
        desk.ok(&["service", "update", "a", "--qps", "7"]);
        assert_eq!(qps(), 7);
        desk.ok(&[&["service", "update", "a"][..], none].concat());
        assert_eq!(qps(), json!(null));
    }
    assert_round_trip(&desk);
}

#[test]
fn a_listeners_proxies_and_place_can_be_changed_while_it_is_open() {
    let desk = Desk::with_open_front();
    let shown = || desk.ok(&["listener", "show", "front"]);
    assert_has(&shown(), &json!({ "proxy_protocol": false, "trusted_forwarders": [] }));
    let changed = desk.ok(&[
        "listener",
        "update",
        "front",
        "--proxy-protocol",
        "--trusted-forwarders",
        "10.0.0.0/8,2001:db8::/32",
    ]);
    assert_eq!(changed["changed"], true);
    assert_has(
        &shown(),
        &json!({
            "proxy_protocol": true, "trusted_forwarders": ["10.0.0.0/8", "2001:db8::/32"], "open": true, "entries": 1,
        }),
    );
    assert_round_trip(&desk);
    // To believe more is to widen access: a rollback asks for that.
    desk.ok(&["listener", "update", "front", "--proxy-protocol=false", "--trusted-forwarders", "off"]);
    assert_has(&shown(), &json!({ "proxy_protocol": false, "trusted_forwarders": [] }));
    let error = desk.refused(&["rollback", &changed["generation"].to_string()]);
    assert!(error.to_string().contains("10.0.0.0/8"), "{error}");

    // Where it is reached changes, too, and its entries and limits stay.
    desk.ok(&["listener", "limit", "front", "--max-connections", "7"]);
    desk.ok(&["listener", "update", "front", "--no-http", "--https", "9555"]);
    assert_has(
        &shown(),
        &json!({
            "http": false, "https": 9555, "limits": { "max_connections": 7 }, "entries": 1, "open": true,
        }),
    );
    desk.ok(&["listener", "limit", "front", "--max-connections", "off"]);
    assert_has(&shown(), &json!({ "limits": {} }));
    let error = desk.refused(&["listener", "update", "front", "--address", "192.0.2.77"]);
    assert_names(&error, &[("value", "192.0.2.77"), ("remedy", "--wait-address")]);
}

/// What a plain HTTP port answers to these bytes before it closes or a second has passed.
fn answer(desk: &Desk, bytes: &str) -> String {
    desk.within(|| {
        let mut stream = TcpStream::connect("127.0.0.2:9080").expect("a listener");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        stream.write_all(bytes.as_bytes()).expect("room for a request");
        let mut text = String::new();
        // A connection that is refused may end with a reset: then there is nothing to read.
        let _ = stream.read_to_string(&mut text);
        text
    })
}

/// The setting is in force for the next connection, both ways, and the sockets stay.
#[test]
fn the_proxy_protocol_is_demanded_from_the_next_connection_on() {
    let desk = Desk::with_open_front();
    let request = "GET / HTTP/1.1\r\nHost: 127.0.0.2\r\nConnection: close\r\n\r\n";
    let behind = format!("PROXY TCP4 192.0.2.9 127.0.0.2 4711 9080\r\n{request}");
    let refused = |text: &str| assert!(!text.contains("no_route"), "{text}");
    let taken = |text: &str| assert!(text.contains("x-gateway-error: no_route"), "{text}");
    taken(&answer(&desk, request));
    refused(&answer(&desk, &behind));
    desk.ok(&["listener", "update", "front", "--proxy-protocol"]);
    refused(&answer(&desk, request));
    taken(&answer(&desk, &behind));
    desk.ok(&["listener", "update", "front", "--proxy-protocol=false"]);
    taken(&answer(&desk, request));
}

/// `memory` and `connections` of the settings file are what the data plane goes by.
#[test]
fn the_settings_files_bounds_are_in_force() {
    let mut desk = Desk::prepare();
    desk.gateway.set_config(
        "filter = \"off\"\nmemory = \"64MiB\"\nconnections = 1234\n[limits]\nhead_bytes = 8192\n",
    );
    desk.gateway.run();
    assert!(!desk.gateway.log().contains("memory is set to"));
    let load = desk.ok(&["stats"])["load"].clone();
    assert_has(&load, &json!({ "memory_limit": 64 << 20, "connections_limit": 1234 }));
    desk.gateway.stop();
    desk.gateway.set_config("filter = \"off\"\n[limits]\nhead_bytes = 8191\n");
    let finished = desk.gateway.run_to_end(Duration::from_secs(20));
    assert_ne!(finished.code, Some(0));
    assert!(finished.stderr.contains("limits.head_bytes"), "{}", finished.framed());
    // Nothing refuses before the kernel kills, so it is said, and said again to whoever asks.
    let warned = |desk: &Desk| {
        let warnings = desk.ok(&["status"])["warnings"].to_string();
        (warnings.contains("memory is set to"), desk.gateway.log().contains("memory is set to"))
    };
    desk.gateway.set_config("filter = \"off\"\nmemory = \"1000000GiB\"\n");
    desk.gateway.run();
    assert_eq!(warned(&desk), (true, true), "{}", desk.gateway.log());
}
