//! What an operator is told before and after a change, and what he is kept from doing by mistake.

use std::{
    io::{BufRead as _, Read as _},
    net::{IpAddr, SocketAddr},
};

use harness::{
    Gateway, Net, NetNs, Segment,
    client::{Reach, connect, ping, reach},
    desk::assert_names,
    frame::{self, Link},
    process::Running,
    topology::{CLIENT_V4, GHOST_V4, LAN_V4, OFFICE_V4, OUTSIDER_V4, PUBLIC_V6},
    wait,
};
use serde_json::Value;

use super::{
    private::Private,
    site::{HTTPS_V4, Site},
};

/// A shell on the gateway host, from the client's machine.
fn shell() -> String {
    format!("{CLIENT_V4} 51000 {} 22", HTTPS_V4.ip())
}

fn rows(reply: &Value) -> Vec<(String, u64, bool)> {
    let rows = reply["would_cut"].as_array().expect("who would be cut");
    assert_eq!(reply["would_cut_total"], rows.len());
    rows.iter()
        .map(|row| {
            assert_eq!(row["listener"], "public");
            assert!(row["last_seen"].as_u64().expect("a time") > 1_700_000_000, "{row}");
            let source = row["source"].as_str().expect("a source").to_owned();
            (source, row["connections"].as_u64().expect("a number"), row["cut"] == true)
        })
        .collect()
}

/// A change that cuts connections of the machine that the operator sits at is refused, unless he says --force.
#[test]
fn nobody_cuts_off_himself_by_mistake() {
    let site = Site::open();
    site.allow("198.51.100.0/24");
    let ssh = shell();
    // Nothing of the caller's goes through the gateway yet, so nothing of his is cut.
    site.gateway.cli_over_ssh(&ssh, &["listener", "close", "public"]).ok();
    site.gateway.cli_over_ssh(&ssh, &["listener", "open", "public"]).ok();
    let mine = connect(&site.net.client, HTTPS_V4);
    let file = site.gateway.scratch().write("empty.toml", "");
    let file = file.to_str().expect("UTF-8");
    for words in [
        &["listener", "close", "public"][..],
        &["listener", "delete", "public"],
        &["allow", "remove", "public", "198.51.100.0/24"],
        &["allow", "set", "public", "198.51.100.66"],
        &["apply", "-f", file],
    ] {
        let before = (site.gateway.generation(), site.gateway.export());
        let error = site.gateway.cli_over_ssh(&ssh, words).refused();
        assert_names(&error, &[("code", "would_cut_caller"), ("remedy", "--force")]);
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains("1 connection of your address 198.51.100.10 to listener public"), "{error}");
        assert_eq!((site.gateway.generation(), site.gateway.export()), before, "{words:?}");
        // A dry run says the same as a note.
        let dry = site.gateway.cli_over_ssh(&ssh, &[words, &["--dry-run"]].concat()).ok();
        assert!(dry["notes"].to_string().contains("198.51.100.10"), "{words:?}: {dry}");
        assert_eq!(rows(&dry), [(CLIENT_V4.to_string(), 1, true)]);
    }
    // What leaves him in, others' changes, and a change that is meant.
    site.gateway.cli_over_ssh(&ssh, &["allow", "set", "public", "198.51.100.10"]).ok();
    site.gateway.cli_over_ssh(&format!("{OFFICE_V4} 5 10.7.0.1 22"), &["listener", "close", "public"]).ok();
    site.gateway.cli(&["listener", "open", "public"]).ok();
    drop(mine);
    let _mine = connect(&site.net.client, HTTPS_V4);
    site.gateway.cli_over_ssh(&ssh, &["listener", "close", "public"]).refused();
    site.gateway.cli_over_ssh(&ssh, &["listener", "close", "public", "--force", "--confirm", "60s"]).ok();
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Timeout);
}

/// A new listener on the port of the operator's own shell would cut it: the filter would judge its packets.
#[test]
fn a_listener_on_the_shells_port_is_refused() {
    let site = Site::open();
    let add = [
        "listener",
        "add",
        "two",
        "--interface",
        "pub0",
        "--address",
        "198.51.100.1",
        "--no-http",
        "--https",
        "22",
    ];
    let error = site.gateway.cli_over_ssh(&shell(), &[&add[..], &["--open"]].concat()).refused();
    assert_names(&error, &[("code", "would_cut_caller"), ("message", "SSH connection from 198.51.100.10")]);
    site.gateway.cli_over_ssh(&shell(), &[&add[..], &["--open", "--force"]].concat()).ok();
    // Once he is on its list, closing it is what would cut him.
    site.gateway.cli(&["allow", "add", "two", "198.51.100.10"]).ok();
    let error = site.gateway.cli_over_ssh(&shell(), &["listener", "close", "two"]).refused();
    assert_names(&error, &[("code", "would_cut_caller"), ("message", "(closed)")]);
}

/// `--dry-run` and `diff` say from live connections and recent sources who would be kept out.
#[test]
fn diff_and_dry_run_say_who_would_be_cut() {
    let site = Site::open();
    site.allow("198.51.100.10,198.51.100.66");
    let (_open, second) = (connect(&site.net.client, HTTPS_V4), connect(&site.net.client, HTTPS_V4));
    // The outsider was in, and has no connection any more.
    drop(connect(&site.net.outsider, HTTPS_V4));
    wait::until("the outsider's connection to end", || {
        let dry = site.gateway.cli(&["listener", "close", "public", "--dry-run"]).ok();
        (rows(&dry) == [(CLIENT_V4.to_string(), 2, true), (OUTSIDER_V4.to_string(), 0, false)]).then_some(())
    });
    let remove = |cidr: &str, more: &[&str]| {
        site.gateway.cli(&[&["allow", "remove", "public", cidr, "--dry-run"], more].concat()).ok()
    };
    assert_eq!(rows(&remove("198.51.100.66", &[])), [(OUTSIDER_V4.to_string(), 0, false)]);
    // A drain lets connections finish; new ones are refused.
    assert_eq!(rows(&remove("198.51.100.10", &["--drain", "30s"])), [(CLIENT_V4.to_string(), 2, false)]);
    assert!(rows(&site.gateway.cli(&["allow", "add", "public", "192.0.2.1", "--dry-run"]).ok()).is_empty());
    let narrow =
        site.gateway.export().replace("\"198.51.100.10/32\",", "").replace("\"198.51.100.10/32\"", "");
    let file = site.gateway.scratch().write("narrow.toml", narrow);
    let file = file.to_str().expect("UTF-8");
    let diff = site.gateway.cli(&["diff", "-f", file]);
    assert_eq!(
        (diff.code, rows(&diff.json)),
        (1, vec![(CLIENT_V4.to_string(), 2, true)]),
        "{}",
        diff.framed()
    );
    let told = site.gateway.human(&["diff", "-f", file]).stdout;
    assert!(told.contains("198.51.100.10") && told.contains("would be kept out"), "{told}");
    drop(second);
}

/// `explain` asks the kernel's program over its live tables, counts nothing, and says what is known of the source.
#[test]
fn explain_names_tier_entry_reason_count_and_last_seen() {
    let site = Site::open();
    site.allow("198.51.100.10");
    let explain = |words: &[&str]| site.gateway.cli(&[&["explain"], words].concat()).ok();
    let denied = || explain(&["198.51.100.66", "198.51.100.1:443"]);
    let fresh = denied();
    assert_eq!(
        (&fresh["verdict"], &fresh["reason"], &fresh["tier"]),
        (&"drop".into(), &"not_allowed".into(), &"xdp".into())
    );
    assert_eq!(
        (&fresh["kernel"]["reason"], &fresh["host"]["reason"]),
        (&"not_allowed".into(), &"not_allowed".into())
    );
    assert!(fresh["last_seen"].is_null() && fresh["warnings"] == serde_json::json!([]), "{fresh}");
    // Asking is not counting.
    assert_eq!((&fresh["count"]["of"], fresh["count"]["packets"].as_u64()), (&"reason".into(), Some(0)));
    assert_eq!(denied()["count"], fresh["count"]);
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Timeout);
    let told = wait::until("the sampled drop", || Some(denied()).filter(|told| told["last_seen"].is_u64()));
    assert!(told["count"]["packets"].as_u64() >= Some(1), "{told}");

    let _open = connect(&site.net.client, HTTPS_V4);
    let told = explain(&["198.51.100.10", "198.51.100.1:443", "--interface", "pub0"]);
    assert_eq!((&told["verdict"], &told["entry"]), (&"pass".into(), &"198.51.100.10/32".into()), "{told}");
    assert_eq!((&told["count"]["of"], &told["connections"]), (&"entry".into(), &1.into()), "{told}");
    assert!(told["count"]["packets"].as_u64() >= Some(2) && told["last_seen"].is_u64(), "{told}");
    // A listener without a VLAN takes tagged frames too; one with three VLANs would be another matter.
    let tagged = explain(&["198.51.100.10", "198.51.100.1:443", "--interface", "pub0", "--vlan", "7"]);
    assert_eq!((&tagged["verdict"], &tagged["kernel"]), (&told["verdict"], &told["kernel"]));
    assert_eq!(site.gateway.cli(&["explain", "198.51.100.10", "198.51.100.1:443", "--vlan", "7"]).code, 2);

    // Where no program judges, that is said, and the check at accept names itself.
    let other = explain(&["198.51.100.10", "198.51.100.1:443", "--interface", "up0"]);
    assert_eq!((&other["tier"], &other["reason"]), (&"accept".into(), &"wrong_interface".into()), "{other}");
    assert!(other["kernel"].is_null() && other["warnings"][0].to_string().contains("up0"), "{other}");
    let people = site.gateway.human(&["explain", "198.51.100.66", "198.51.100.1:443"]).success();
    for part in ["drop: not_allowed", "in the kernel: drop", "last seen 20", "packets of this listener"] {
        assert!(people.contains(part), "no `{part}` in\n{people}");
    }
}

/// The ruleset of `export --nft` loads, and gives the verdicts that the filter gave.
#[test]
fn the_nftables_ruleset_gives_the_filters_verdicts() {
    let private = Private::attached();
    let (net, red, blue) = (&private.site.net, &private.red, &private.blue);
    let cli = |words: &[&str]| private.site.gateway.cli(words).ok();
    cli(&["allow", "add", "public", "198.51.100.10,198.51.100.0/28,2001:db8:100::10"]);
    cli(&["allow", "set", "vpc:red", &format!("{}/32", red_host(red))]);
    cli(&[
        "listener",
        "add",
        "shut",
        "--interface",
        "lan0",
        "--address",
        "10.7.0.1",
        "--no-http",
        "--https",
        "9443",
    ]);
    cli(&["allow", "add", "shut", "10.7.0.0/24"]);
    net.office.ip(&["route", "replace", "198.51.100.1", "via", "10.7.0.1"]);
    private.route_to(&net.office, LAN_V4.into(), blue);
    let v6 = SocketAddr::new(PUBLIC_V6.into(), 443);
    let connections: [(&NetNs, SocketAddr); 9] = [
        (&net.client, HTTPS_V4),
        (&net.outsider, HTTPS_V4),
        (&net.client, v6),
        (&net.outsider, v6),
        // On another interface than the listener's, and a closed listener.
        (&net.office, HTTPS_V4),
        (&net.office, (LAN_V4, 9443).into()),
        (&red.i, (red.vip(), 443).into()),
        (&red.k, (red.vip(), 443).into()),
        (&blue.k, (blue.vip(), 443).into()),
    ];
    let pings: [(&NetNs, IpAddr); 6] = [
        (&net.outsider, HTTPS_V4.ip()),
        (&net.office, HTTPS_V4.ip()),
        (&net.office, LAN_V4.into()),
        (&red.i, red.vip().into()),
        (&red.k, red.vip().into()),
        (&net.office, blue.vip().into()),
    ];
    let verdicts = || -> (Vec<bool>, Vec<bool>) {
        (
            connections.iter().map(|(from, to)| reach(from, *to) == Reach::Open).collect(),
            pings.iter().map(|(from, to)| ping(from, *to)).collect(),
        )
    };
    let filter = verdicts();
    assert_eq!(filter.0, [true, false, true, false, false, false, true, false, true]);
    assert_eq!(filter.1, [true, false, true, true, false, false]);
    cli(&["vpc", "delete", "blue"]);

    let rules = private.site.gateway.human(&["export", "--nft"]).success();
    let file = private.site.gateway.scratch().write("rules.nft", &rules);
    let file = file.to_str().expect("UTF-8").to_owned();
    let mut gateway = private.site.gateway;
    gateway.stop();
    gateway.detach().success();
    // Only the host's stack is left, with the same addresses and plain servers on the same ports.
    for segment in [red, blue] {
        net.gateway.ip(&["addr", "replace", &segment.address(), "dev", segment.interface]);
    }
    let servers = net.gateway.within(|| {
        ["[::]:443", "[::]:9443"].map(|address| std::net::TcpListener::bind(address).expect("a server"))
    });
    let (all, pinged) = verdicts();
    assert!(all.iter().all(|open| *open) && pinged.iter().all(|answer| *answer), "{all:?} {pinged:?}");
    net.gateway.check("nft", &["-f", &file]);
    let (connected, pinged) = verdicts();
    // The deleted network's endpoint is dark: its ninth connection no longer gets through.
    assert_eq!(connected[..8], filter.0[..8], "{rules}");
    assert!(!connected[8], "{rules}");
    assert_eq!(pinged, filter.1, "{rules}");
    // Loading it again replaces it.
    net.gateway.check("nft", &["-f", &file]);
    drop(servers);
}

/// The first host of a segment.
fn red_host(segment: &Segment) -> IpAddr {
    let reply = segment.i.ip(&["-j", "-4", "addr", "show", "dev", "eth0"]);
    let links: Value = serde_json::from_str(&reply).expect("ip speaks JSON");
    links[0]["addr_info"][0]["local"].as_str().expect("an address").parse().expect("an address")
}

/// `drops` with real drops: followed lines with their fields, the heaviest sources, filters.
#[test]
fn drops_are_followed_and_the_heaviest_sources_named() {
    let site = Site::open();
    let mut follow = site.gateway.cli_command(&["drops", "--follow", "--json", "--listener", "public"]);
    let mut follow = Running::spawn(follow.stdout(std::process::Stdio::piped()));
    let pipe = follow.child().stdout.take().expect("a pipe");
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    // It has begun when the first drop is told; before that there is nothing to tell from.
    let line = wait::until("a followed drop", || {
        assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Timeout);
        lines.try_recv().ok()
    });
    let line: Value = serde_json::from_str(&line).expect("a line of JSON");
    for (key, value) in [
        ("listener", "public"),
        ("reason", "not_allowed"),
        ("source", "198.51.100.66"),
        ("destination", "198.51.100.1"),
        ("interface", "pub0"),
    ] {
        assert_eq!(line[key], value, "{line}");
    }
    assert_eq!(
        (&line["destination_port"], line["generation"].as_u64()),
        (&443.into(), Some(site.gateway.generation()))
    );
    assert!(line["weight"].as_u64() >= Some(1) && line["lost"].is_u64(), "{line}");

    let wire = site.net.attacker();
    let heavy = frame::syn(&Link::default(), (GHOST_V4, 2000).into(), HTTPS_V4);
    for _ in 0..400 {
        wire.send(&heavy);
    }
    let top = |words: &[&str]| site.gateway.cli(&[&["drops", "--top"], words].concat()).ok();
    let told = wait::until("the heavy source", || {
        Some(top(&[])).filter(|told| told["items"][0]["source"] == GHOST_V4.to_string())
    });
    assert!(
        told["items"].as_array().expect("items").iter().any(|row| row["source"] == "198.51.100.66"),
        "{told}"
    );
    assert_eq!(told["items"][0]["reason"], "not_allowed");
    assert_eq!(
        top(&["1", "--listener", "public", "--reason", "not_allowed"])["items"].as_array().map(Vec::len),
        Some(1)
    );
    assert_eq!(top(&["--reason", "closed"])["items"], serde_json::json!([]));
    let people = site.gateway.human(&["drops", "--top", "--window", "5m"]).success();
    assert!(people.contains("PACKETS (ABOUT)") && people.contains("198.51.100.99"), "{people}");
    follow.kill();
}

/// Where only the check at accept is in force, a closed listener is silent, or resets so many connections per second.
#[test]
fn a_closed_listener_is_silent_without_a_filter_too_or_resets_by_choice() {
    let net = Net::new();
    let mut gateway = Gateway::prepare(Some(&net.gateway));
    gateway.set_config("filter = \"off\"\nworkers = 1\n");
    gateway.run();
    let mut site = Site { gateway, net };
    site.add_public(&[]);
    site.allow("198.51.100.10");
    let seen = |site: &Site| reach(&site.net.client, HTTPS_V4);
    assert_eq!(seen(&site), Reach::Timeout);
    site.gateway.cli(&["listener", "open", "public"]).ok();
    let mut open = connect(&site.net.client, HTTPS_V4);
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Cut, "who is not allowed is reset at accept");
    site.gateway.cli(&["listener", "close", "public"]).ok();
    assert!(open.read(&mut [0]).is_err(), "a closed portal cuts what is connected");
    assert_eq!(seen(&site), Reach::Timeout);

    site.gateway.stop();
    site.gateway.set_config("filter = \"off\"\nworkers = 1\nclosed_mode = \"reset\"\n");
    site.gateway.run();
    assert_eq!(seen(&site), Reach::Cut);
    // A flood is not answered: beyond the limit there is silence, and after a while people get their answer again.
    let silent = (0..5000).any(|_| seen(&site) == Reach::Timeout);
    assert!(silent, "5,000 resets and no limit");
    wait::until("resets again", || (seen(&site) == Reach::Cut).then_some(()));
    site.gateway.cli(&["listener", "open", "public"]).ok();
    assert_eq!(wait::until("open", || Some(seen(&site)).filter(|seen| *seen == Reach::Open)), Reach::Open);
    assert!(site.drops("public", "closed") >= 100);
}
