//! What scripts outside the repository rely on (DESIGN §6): the shapes of answers, and that a dry run changes nothing.

use std::{
    net::{IpAddr, SocketAddr},
    ops::ControlFlow,
    rc::Rc,
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};

use super::Daemon;
use crate::{
    api::{Sources, client::Call},
    base::{Generation, Name},
    observe::{
        filter::{
            Count, DropRecord, EntryCount, FilterReport, FilterSource, FilterStatus, InterfaceStatus,
            ListenerCounts, Mode, ReasonCount,
        },
        top::{Top, TopRow},
    },
    snapshot::filter::{Explanation, Reason},
};

/// A daemon with a closed listener `edge` on the loopback interface.
fn with_edge() -> Daemon {
    let daemon = Daemon::start();
    add_edge(&daemon);
    daemon
}

fn add_edge(daemon: &Daemon) -> Value {
    let listener = json!({"name": "edge", "exposure": "public", "interface": "lo", "addresses": "127.0.0.2"});
    daemon.send(Call::post(&["listeners"]).json(&listener))
}

fn entries(method: Method, cidrs: &str) -> Call {
    Call::new(method, &["listeners", "edge", "allow"]).json(&json!({ "cidrs": cidrs }))
}

fn cidrs(daemon: &Daemon) -> Vec<String> {
    let reply = daemon.send(Call::get(&["listeners", "edge", "allow"]));
    assert_eq!(reply["listener"], "edge");
    assert!(reply["generation"].is_u64());
    reply["items"].as_array().unwrap().iter().map(|item| item["cidr"].as_str().unwrap().to_owned()).collect()
}

fn whole(daemon: &Daemon) -> (Value, Value) {
    let reply = daemon.send(Call::get(&["export"]));
    (reply["generation"].clone(), reply["toml"].clone())
}

#[test]
fn a_listener_lives_and_dies() {
    let daemon = Daemon::start();
    let added = add_edge(&daemon);
    assert_eq!((&added["changed"], &added["item"]["name"]), (&json!(true), &json!("edge")));
    let first = added["generation"].as_u64().unwrap();
    let shown = daemon.send(Call::get(&["listeners", "edge"]));
    assert_eq!(
        (&shown["name"], &shown["open"], &shown["http"], &shown["https"], &shown["allow"]),
        (&json!("edge"), &json!(false), &json!(80), &json!(443), &json!([]))
    );
    assert_eq!(
        daemon
            .refused(Call::post(&["listeners"]).json(&json!({"name": "edge", "exposure": "public",
        "interface": "lo", "addresses": ["127.0.0.3"]})))
            .value
            .as_deref(),
        Some("edge")
    );
    let opened = daemon.send(Call::post(&["listeners", "edge", "open"]));
    assert_eq!((&opened["changed"], opened["generation"].as_u64()), (&json!(true), Some(first + 1)));
    let again = daemon.send(Call::post(&["listeners", "edge", "open"]));
    assert_eq!((&again["changed"], again["generation"].as_u64()), (&json!(false), Some(first + 1)));
    let listed = daemon.send(Call::get(&["listeners"]));
    assert_eq!(
        (&listed["items"][0]["name"], listed["generation"].as_u64()),
        (&json!("edge"), Some(first + 1))
    );
    let status = daemon.send(Call::get(&["status"]));
    assert_eq!(
        (&status["listeners"][0]["listener"], &status["listeners"][0]["open"]),
        (&json!("edge"), &json!(true))
    );
    assert_eq!(daemon.send(Call::post(&["listeners", "edge", "close"]))["changed"], true);
    assert_eq!(daemon.send(Call::delete(&["listeners", "edge"]))["changed"], true);
    assert_eq!(daemon.refused(Call::get(&["listeners", "edge"])).code, "not_found");
}

#[test]
fn an_allowlist_is_added_to_removed_from_and_set() {
    let daemon = with_edge();
    assert_eq!(
        daemon.send(entries(Method::POST, "192.0.2.0/24, 198.51.100.7\n2001:db8::1"))["changed"],
        true
    );
    assert_eq!(cidrs(&daemon), ["192.0.2.0/24", "198.51.100.7/32", "2001:db8::1/128"]);
    assert_eq!(daemon.send(entries(Method::POST, "198.51.100.7/32"))["changed"], false);
    let item = daemon.send(Call::get(&["listeners", "edge", "allow"]))["items"][0].clone();
    assert_eq!(item, json!({"cidr": "192.0.2.0/24", "packets": 0, "bytes": 0}));

    assert_eq!(daemon.refused(entries(Method::DELETE, "203.0.113.1")).code, "not_found");
    assert_eq!(daemon.send(entries(Method::DELETE, "2001:db8::1"))["changed"], true);
    let bits = daemon.refused(entries(Method::POST, "192.0.2.1/24"));
    assert_eq!(bits.value.as_deref(), Some("192.0.2.1/24"));
    assert!(bits.remedy.unwrap().contains("192.0.2.0/24"));
    let many: Vec<String> = (0..14).map(|last| format!("10.0.0.{last}")).collect();
    let sixteenth = daemon.refused(entries(Method::POST, &many.join(",")));
    assert!(sixteenth.limit.unwrap().contains("15"));
    assert_eq!(cidrs(&daemon), ["192.0.2.0/24", "198.51.100.7/32"]);

    let empty = Call::new(Method::PUT, &["listeners", "edge", "allow"]);
    assert!(daemon.refused(empty.clone().json(&json!({"cidrs": []}))).remedy.is_some());
    let empty = empty.json(&json!({"cidrs": [], "allow_empty": true}));
    assert_eq!(daemon.send(empty)["changed"], true);
    assert_eq!(cidrs(&daemon), Vec::<String>::new());
    assert_eq!(daemon.send(entries(Method::PUT, "10.0.0.0/8"))["changed"], true);
    let drain = json!({"cidrs": "10.0.0.0/8", "drain": "1h"});
    let drain = Call::delete(&["listeners", "edge", "allow"]).json(&drain);
    assert_eq!(daemon.send(drain)["changed"], true);
    let draining = daemon.send(Call::get(&["listeners", "edge", "allow"]))["items"][0].clone();
    assert_eq!((&draining["cidr"], &draining["draining"]), (&json!("10.0.0.0/8"), &json!(true)));
}

#[test]
fn a_service_shows_its_token_once() {
    let daemon = with_edge();
    daemon.send(Call::post(&["listeners", "edge", "open"]));
    let service = json!({"name": "chat", "instances": "127.0.0.1:9000", "body_limit": "1MiB"});
    let add = Call::post(&["services"]).json(&service);
    assert!(daemon.send(add.clone().query("dry_run", true)).get("token").is_none());
    let added = daemon.send(add);
    assert_eq!((&added["name"], &added["changed"]), (&json!("chat"), &json!(true)));
    assert!(
        added["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .all(|url| url.as_str().unwrap().contains("/api/predict/chat"))
    );
    let token = added["token"].as_str().unwrap().to_owned();
    for call in [
        Call::get(&["services"]),
        Call::get(&["services", "chat"]),
        Call::get(&["export"]),
        Call::get(&["history"]),
    ] {
        assert!(!daemon.send(call).to_string().contains(&token));
    }
    let shown = daemon.send(Call::get(&["services", "chat"]).query("examples", true));
    assert!(shown["examples"][0]["command"].as_str().unwrap().starts_with("curl "), "{shown}");
    let rotated = daemon.send(Call::post(&["services", "chat", "token"]));
    assert_ne!(rotated["token"].as_str().unwrap(), token);
    let chosen = Call::post(&["services", "chat", "token"]).json(&json!({"token": "mine\n"}));
    assert_eq!(daemon.send(chosen)["token"], "mine");
    let patch = Call::new(Method::PATCH, &["services", "chat"]).json(&json!({"qps": 7}));
    assert_eq!(daemon.send(patch)["item"]["qps"], 7);
    let patch = Call::new(Method::PATCH, &["services", "chat"]).json(&json!({"qps": null}));
    assert_eq!(daemon.send(patch)["item"]["qps"], Value::Null);
    let route = json!({"name": "all", "services": ["chat=3"]});
    assert_eq!(daemon.send(Call::post(&["routes"]).json(&route))["item"]["services"][0]["weight"], 3);
    assert!(daemon.refused(Call::delete(&["services", "chat"])).to_string().contains("all"));
    let other = Call::new(Method::PUT, &["routes", "other"]).json(&route);
    assert_eq!(daemon.refused(other).field.as_deref(), Some("name"));
}

#[test]
fn a_dry_run_changes_nothing() {
    let daemon = with_edge();
    daemon.send(entries(Method::POST, "192.0.2.1"));
    let before = whole(&daemon);
    let toml = before.1.as_str().unwrap().replace("192.0.2.1/32", "192.0.2.2/32");
    for call in [
        entries(Method::POST, "10.0.0.0/8"),
        entries(Method::DELETE, "192.0.2.1"),
        entries(Method::PUT, "10.0.0.0/8"),
        Call::post(&["listeners", "edge", "open"]),
        Call::delete(&["listeners", "edge"]),
        Call::post(&["apply"]).toml(toml),
    ] {
        let reply = daemon.send(call.query("dry_run", true));
        assert_eq!((&reply["changed"], &reply["dry_run"]), (&json!(true), &json!(true)), "{reply}");
        assert!(!reply["changes"].as_array().unwrap().is_empty());
        assert_eq!(whole(&daemon), before);
    }
}

#[test]
fn export_and_apply_are_the_identity_and_rollback_returns() {
    let daemon = with_edge();
    daemon.send(entries(Method::POST, "192.0.2.1"));
    let (generation, toml) = whole(&daemon);
    let toml = toml.as_str().unwrap();
    let same = daemon.send(Call::post(&["diff"]).toml(toml.to_owned()));
    assert_eq!((&same["changed"], &same["changes"]), (&json!(false), &json!([])));
    assert_eq!(daemon.send(Call::post(&["apply"]).toml(toml.to_owned()))["changed"], false);
    let other = toml.replace("192.0.2.1/32", "192.0.2.2/32");
    let diff = daemon.send(Call::post(&["diff"]).toml(other.clone()));
    assert_eq!((&diff["changed"], &diff["changes"][0]["name"]), (&json!(true), &json!("edge")));
    assert_eq!(daemon.send(Call::post(&["apply"]).toml(other))["changed"], true);
    let history = daemon.send(Call::get(&["history"]));
    assert_eq!(history["items"][0]["summary"], "apply");
    let back = json!({ "generation": generation });
    let refusal = daemon.refused(Call::post(&["rollback"]).json(&back));
    assert!(refusal.to_string().contains("--yes"), "{refusal}");
    let back = json!({ "generation": generation, "yes": true });
    assert_eq!(daemon.send(Call::post(&["rollback"]).json(&back))["changed"], true);
    assert_eq!(whole(&daemon).1, toml);
    assert!(daemon.send(Call::get(&["export"]).query("with_secrets", true))["toml"].is_string());
    assert!(
        daemon.send(Call::get(&["export"]).query("nft", true))["nft"]
            .as_str()
            .unwrap()
            .contains("chain listener-edge")
    );
}

/// A filter that saw three packets.
struct Filter;

impl FilterSource for Filter {
    fn report(&self) -> FilterReport {
        let count = Count { packets: 3, bytes: 180 };
        FilterReport {
            generation: Generation(9),
            listeners: vec![ListenerCounts {
                id: 1,
                listener: Name::new("edge").unwrap(),
                reasons: vec![
                    ReasonCount { reason: "allowed", dropped: false, count },
                    ReasonCount { reason: "not_allowed", dropped: true, count },
                ],
                entries: vec![EntryCount { cidr: "192.0.2.0/24".parse().unwrap(), draining: false, count }],
            }],
            drops_lost: 2,
            ..FilterReport::default()
        }
    }

    fn status(&self) -> FilterStatus {
        FilterStatus {
            wanted: "required",
            interfaces: vec![InterfaceStatus {
                interface: "lo".to_owned(),
                device: "lo".to_owned(),
                ifindex: 1,
                vlan: 0,
                mode: Mode::Native,
                generation: Generation(9),
                detail: None,
            }],
            ..FilterStatus::default()
        }
    }

    fn top(&self, _: Duration, limit: usize, wanted: &dyn Fn(Option<&Name>, &str) -> bool) -> Vec<TopRow> {
        let mut top = Top::default();
        self.drops(0).iter().for_each(|record| top.add(record));
        top.rows(Duration::from_secs(2), Duration::from_secs(60), limit, wanted)
    }

    /// Judges HTTPS only, and lets nobody in but one.
    fn judge(&self, _: &str, _: Option<u16>, source: IpAddr, to: SocketAddr) -> Option<Explanation> {
        let allowed = source == IpAddr::from([192, 0, 2, 7]);
        (to.port() == 443).then(|| Explanation {
            reason: if allowed { Reason::Allowed } else { Reason::NotAllowed },
            listener: Some(Name::new("edge").unwrap()),
            entry: allowed.then(|| "192.0.2.0/24".parse().unwrap()),
            interface: Some("lo".to_owned()),
            generation: Generation(4),
        })
    }

    fn drops(&self, after: u64) -> Vec<DropRecord> {
        let record = |sequence| DropRecord {
            sequence,
            at: Duration::from_millis(1500),
            generation: Generation(9),
            interface: "lo".to_owned(),
            source: Some(IpAddr::from([203, 0, 113, 9])),
            destination: Some(IpAddr::from([127, 0, 0, 2])),
            source_port: 4000,
            destination_port: 443,
            vlan: 0,
            length: 60,
            listener: Some(Name::new("edge").unwrap()),
            reason: "not_allowed",
            weight: 4,
        };
        (0..3).filter(|sequence| *sequence >= after).map(record).collect()
    }
}

#[test]
fn what_the_filter_says_is_shown() {
    let daemon = Daemon::with(|| Sources { filter: Some(Rc::new(Filter)), ..Sources::default() });
    add_edge(&daemon);
    daemon.send(entries(Method::POST, "192.0.2.0/24,10.0.0.0/8"));
    daemon.send(Call::post(&["listeners", "edge", "open"]));
    let items = daemon.send(Call::get(&["listeners", "edge", "allow"]))["items"].clone();
    assert_eq!(items[0], json!({"cidr": "10.0.0.0/8", "packets": 0, "bytes": 0}));
    assert_eq!(items[1], json!({"cidr": "192.0.2.0/24", "packets": 3, "bytes": 180}));
    let status = daemon.send(Call::get(&["status"]));
    assert_eq!(
        status["filter"],
        json!([{"interface": "lo", "device": "lo", "vlan": 0, "mode": "native", "generation": 9}])
    );
    let drops = daemon.send(Call::get(&["drops"]));
    assert_eq!(
        drops["items"],
        json!([{"listener": "edge", "channel": "public", "reason": "not_allowed", "verdict": "drop", "tier": "filter", "packets": 3,
            "bytes": 180}])
    );
    assert_eq!((&drops["lost"], drops["events"].as_array().unwrap().len()), (&json!(2), 3));
    assert_eq!(drops["events"][0]["source"], "203.0.113.9");
    assert_eq!(daemon.send(Call::get(&["stats"]))["filter"].as_array().unwrap().len(), 2);
    let mut lines = Vec::new();
    let follow = Call::get(&["drops"]).query("follow", true).query("after", 1);
    daemon
        .client
        .follow(follow, |line| {
            lines.push(line["sequence"].clone());
            if lines.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!(lines, [1, 2]);
    let top = |more: &[(&'static str, &str)]| {
        let call =
            more.iter().fold(Call::get(&["drops", "top"]), |call, (key, value)| call.query(key, value));
        daemon.send(call)["items"].clone()
    };
    let row = json!([{"source": "203.0.113.9", "listener": "edge", "reason": "not_allowed", "packets": 12,
        "last_seen": 1}]);
    assert_eq!((top(&[]), top(&[("listener", "edge"), ("window", "10s")])), (row.clone(), row));
    assert_eq!((top(&[("listener", "other")]), top(&[("reason", "closed")])), (json!([]), json!([])));
    for (key, value) in [("reason", "forbidden"), ("window", "1h"), ("limit", "0")] {
        assert_eq!(
            daemon.refused(Call::get(&["drops", "top"]).query(key, value)).field.as_deref(),
            Some(key)
        );
    }
    let closed = daemon.send(Call::get(&["drops"]).query("reason", "closed"));
    assert_eq!((&closed["items"], &closed["events"]), (&json!([]), &json!([])));
}

#[test]
fn explain_tells_verdict_reason_tier_and_entry() {
    let daemon = Daemon::with(|| Sources { filter: Some(Rc::new(Filter)), ..Sources::default() });
    add_edge(&daemon);
    daemon.send(entries(Method::POST, "192.0.2.0/24"));
    daemon.send(Call::post(&["listeners", "edge", "open"]));
    let explain = |source: &str, destination: &str| {
        daemon.send(Call::get(&["explain"]).query("source", source).query("destination", destination))
    };
    assert_eq!(daemon.send(Call::get(&["status"]))["generation"], 4);
    let judged = json!({"verdict": "pass", "reason": "allowed", "listener": "edge", "entry": "192.0.2.0/24",
        "generation": 4});
    assert_eq!(
        explain("192.0.2.7", "127.0.0.2:443"),
        json!({"verdict": "pass", "reason": "allowed", "tier": "xdp", "listener": "edge", "entry": "192.0.2.0/24",
            "interface": "lo", "generation": 4, "kernel": judged, "host": judged, "warnings": [], "last_seen": null,
            "connections": 0, "count": {"of": "entry", "packets": 3, "bytes": 180}})
    );
    let dropped = explain("203.0.113.9", "127.0.0.2:443");
    assert_eq!((&dropped["last_seen"], &dropped["count"]["of"]), (&json!(1), &json!("reason")));
    // The two tiers differ: the stricter one holds, and that is said.
    let differs = explain("192.0.2.8", "127.0.0.2:443");
    assert_eq!((&differs["verdict"], &differs["host"]["verdict"]), (&json!("drop"), &json!("pass")));
    assert!(differs["warnings"][0].to_string().contains("do not agree"), "{differs}");
    // Nobody in the kernel judges the other port here.
    let dropped = explain("203.0.113.9", "127.0.0.2:80");
    assert_eq!((&dropped["verdict"], &dropped["reason"]), (&json!("drop"), &json!("not_allowed")));
    assert_eq!((&dropped["tier"], &dropped["kernel"]), (&json!("accept"), &json!(null)));
    let other = explain("203.0.113.9", "127.0.0.2:22");
    assert_eq!((&other["verdict"], &other["reason"]), (&json!("pass"), &json!("not_listener")));
}

#[test]
fn a_domain_is_checked() {
    let daemon = with_edge();
    let domain = json!({"host": "*.example.org", "exposure": "public"});
    assert_eq!(daemon.send(Call::post(&["domains"]).json(&domain))["changed"], true);
    let check = || daemon.send(Call::get(&["domains", "*.example.org", "check"]));
    let closed = check();
    assert_eq!(
        (&closed["ok"], &closed["checks"][1]["name"]),
        (&json!(false), &json!("listener")),
        "{closed}"
    );
    daemon.send(Call::post(&["listeners", "edge", "open"]));
    assert_eq!(check()["ok"], true);
    assert_eq!(daemon.refused(Call::get(&["domains", "b.example.net", "check"])).code, "not_found");
}
