//! Defence against sources that the allowlist admits: bans, budgets of new connections, caps of open ones; and
//! monitoring, which lets pass what the allowlist would drop.

#![expect(
    clippy::indexing_slicing,
    reason = "a missing field of a JSON value fails the test where it is read"
)]

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use harness::{
    Gateway, Net, Reach,
    client::connect,
    curl,
    frame::{self, ACK, Link, Tcp},
    reach, reach_from,
    topology::{CLIENT_V4, GATE, GHOST_V4, PUBLIC_V4},
    wait,
    wire::Wire,
};
use serde_json::Value;

use super::site::{HTTPS_V4, Served, Site};

const CLIENT: &str = "198.51.100.10";
const HTTP_V4: SocketAddr = SocketAddr::new(IpAddr::V4(PUBLIC_V4), 80);
/// A second address of the client.
const OTHER: &str = "198.51.100.11";

/// A site whose daemon has these settings, with the service and both client addresses allowed.
fn site(settings: &str) -> (Site, Served) {
    let net = Net::new();
    let mut gateway = Gateway::prepare(Some(&net.gateway));
    gateway.set_config(settings);
    gateway.run();
    let site = Site { gateway, net };
    site.add_public(&["--open"]);
    site.net.client_address("198.51.100.11/24");
    site.allow("198.51.100.10,198.51.100.11,198.51.100.99");
    let served = site.serve();
    (site, served)
}

/// Twenty-five requests with a wrong token from the client's first address.
fn guess(site: &Site) {
    for _ in 0..25 {
        let url = "http://198.51.100.1/api/predict/echo/seed";
        let answer = curl(&site.net.client, url).header("Authorization: wrong").run();
        // The last ones may meet the ban.
        assert!(answer.status == 401 || answer.status == 0, "{}", answer.framed);
        if answer.status == 0 {
            break;
        }
    }
}

fn bans(site: &Site) -> Value {
    site.gateway.cli(&["ban", "list"]).ok()
}

/// Waits until the desk says `wanted` of the client.
#[track_caller]
fn await_event(site: &Site, wanted: &str) -> Value {
    wait::until(wanted, || {
        let reply = bans(site);
        let history = reply["history"].as_array()?;
        history.iter().any(|event| event["action"] == wanted).then_some(reply.clone())
    })
}

#[track_caller]
fn await_reach(site: &Site, source: &str, wanted: Reach) {
    let source: IpAddr = source.parse().expect("an address");
    wait::until(&format!("{source}: {wanted:?}"), || {
        (reach_from(&site.net.client, source, HTTPS_V4) == wanted).then_some(())
    });
}

/// Packets of the listener with this verdict, dropped or not.
fn counted(site: &Site, reason: &str) -> u64 {
    let reply = site.gateway.cli(&["stats"]).ok();
    let items = reply["filter"].as_array().expect("stats has the filter's counters");
    let matching = items.iter().filter(|item| item["listener"] == "public" && item["reason"] == reason);
    matching.filter_map(|item| item["packets"].as_u64()).sum()
}

#[test]
fn monitoring_lets_pass_what_the_list_would_drop_counts_it_and_ends_by_itself() {
    let mut site = Site::open();
    site.allow("192.0.2.1");
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Timeout);
    for bad in ["25h", "0s"] {
        let error = site.gateway.cli(&["monitor", "public", "--for", bad]).refused();
        assert_eq!(error["code"], "limit", "{error}");
    }
    site.gateway.cli(&["monitor", "public", "--for", "1h"]).ok();
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Open);
    assert!(counted(&site, "monitored") > 0);
    let human = site.gateway.human(&["status"]).success();
    assert!(human.contains("MONITORED"), "{human}");
    // It outlives the daemon, is never exported, and can be ended.
    site.gateway.kill();
    site.gateway.run();
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Open);
    assert!(!site.gateway.export().contains("monitor"));
    site.gateway.cli(&["monitor", "public", "--off"]).ok();
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Timeout);
    // By itself, also a connection that is open then.
    site.gateway.cli(&["monitor", "public", "--for", "2s"]).ok();
    let mut stream = connect(&site.net.client, HTTPS_V4);
    await_reach(&site, CLIENT, Reach::Timeout);
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    assert!(site.gateway.cli(&["listener", "show", "public"]).ok().get("monitor_until").is_none());
}

#[test]
fn a_source_that_guesses_tokens_is_banned_and_nobody_else() {
    let (mut site, served) = site("ban = \"enforce\"\n");
    guess(&site);
    let reply = await_event(&site, "ban");
    assert_eq!(reply["items"][0]["source"], CLIENT);
    assert_eq!(
        (&reply["items"][0]["cause"], &reply["items"][0]["enforced"]),
        (&"unauthorized".into(), &true.into())
    );
    let seconds = reply["items"][0]["until"].as_u64().zip(reply["items"][0]["since"].as_u64());
    assert_eq!(seconds.map(|(until, since)| until - since), Some(60));
    await_reach(&site, CLIENT, Reach::Timeout);
    assert!(counted(&site, "banned") > 0);
    await_reach(&site, OTHER, Reach::Open);
    // The kernel keeps it while the daemon is away, and the next daemon knows of it.
    site.gateway.kill();
    site.gateway.run();
    assert_eq!(bans(&site)["items"][0]["source"], CLIENT);
    await_reach(&site, CLIENT, Reach::Timeout);
    site.gateway.cli(&["ban", "lift", CLIENT]).ok();
    await_reach(&site, CLIENT, Reach::Open);
    assert_eq!(site.gateway.cli(&["ban", "lift", CLIENT]).refused()["code"], "not_found");

    // Who was served well of late is spared.
    assert_eq!(served.call(&site, "/seed").run().expect(200).body, "True");
    guess(&site);
    let reply = await_event(&site, "spared");
    assert_eq!(reply["items"].as_array().map(Vec::len), Some(0), "{reply}");
    await_reach(&site, CLIENT, Reach::Open);
}

#[test]
fn by_default_bans_are_observed_and_a_trusted_proxy_is_not_even_that() {
    let (site, _served) = site("trusted_proxies = [\"198.51.100.11/32\"]\n");
    let garbage = |source: &str| {
        let source: IpAddr = source.parse().expect("an address");
        for _ in 0..25 {
            let mut stream = connect_from(&site.net, source, HTTPS_V4);
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
            let _ = stream.read(&mut [0; 64]);
        }
    };
    garbage(CLIENT);
    let reply = await_event(&site, "would_ban");
    assert_eq!((&reply["mode"], &reply["banned"]), (&"observe".into(), &0.into()), "{reply}");
    let item = &reply["items"][0];
    assert_eq!((&item["cause"], &item["enforced"]), (&"handshake".into(), &false.into()), "{reply}");
    await_reach(&site, CLIENT, Reach::Open);
    garbage(OTHER);
    let reply = await_event(&site, "spared");
    assert_eq!(reply["items"].as_array().map(Vec::len), Some(1), "{reply}");
}

/// Floods of 100 connections: an empty SETTINGS frame is cheap to send, and 500 are more than a connection may send at once.
/// The daemon reports a flood before it closes the connection, so that all of them are reported afterwards.
#[test]
fn http2_floods_are_blamed_on_who_makes_them_and_on_no_balancer_that_passes_them_on() {
    let (site, _served) = site("");
    let update = |words: &[&str]| {
        site.gateway.cli(&[&["listener", "update", "public"][..], words].concat()).ok();
    };
    let mut made = 0;
    let mut flood = |source: &str, header: &str| {
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0].repeat(500));
        for _ in 0..100 {
            let mut stream = connect_from(&site.net, source.parse().expect("an address"), HTTP_V4);
            // Whoever still sends is told by a reset; only silence is wrong.
            let _ = stream.write_all(&bytes);
            let end = stream.read_to_end(&mut Vec::new());
            assert!(!matches!(&end, Err(error) if error.kind() == ErrorKind::WouldBlock), "not closed");
        }
        made += 100;
        let stats = site.gateway.cli(&["stats"]).ok();
        let listeners = stats["listeners"].as_array().expect("stats has the listeners");
        let public = listeners.iter().find(|item| item["name"] == "public").expect("it is among them");
        assert_eq!(public["floods"]["overhead"], made, "{public}");
    };

    update(&["--trusted-forwarders", "198.51.100.11/32"]);
    flood(OTHER, "");
    update(&["--trusted-forwarders", "off", "--proxy-protocol"]);
    flood(OTHER, "PROXY TCP4 192.0.2.7 198.51.100.1 56324 80\r\n");
    // Who speaks for nobody is noticed, which shows that those before were passed over.
    update(&["--proxy-protocol=false"]);
    flood(CLIENT, "");
    let reply = await_event(&site, "would_ban");
    let item = &reply["items"][0];
    assert_eq!((&item["source"], &item["cause"]), (&CLIENT.into(), &"limit".into()), "{reply}");
    assert_eq!(reply["history"].as_array().map(Vec::len), Some(1), "{reply}");
}

fn connect_from(net: &Net, source: IpAddr, target: SocketAddr) -> TcpStream {
    net.client.within(|| {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
        socket.bind(&SocketAddr::new(source, 0).into()).expect("bind");
        socket.connect_timeout(&target.into(), Duration::from_secs(5)).expect("connect");
        let stream: TcpStream = socket.into();
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        stream
    })
}

/// Frames with the client's address that the client never sent: SYNs, and segments with bytes that are no TLS.
#[test]
fn a_forged_source_gets_nobody_banned() {
    let (site, _served) = site("ban = \"enforce\"\n");
    let wire = Wire::open(&site.net.wire, GATE);
    for source in [CLIENT_V4, GHOST_V4] {
        for number in 0..2000_u16 {
            let from = SocketAddr::new(source.into(), 10_000 + number);
            wire.send(&frame::syn(&Link::default(), from, HTTPS_V4));
            let segment = Tcp { flags: ACK, ..Tcp::syn() }.segment(from, HTTPS_V4, b"no TLS at all\r\n\r\n");
            wire.send(&Link::default().around(from.ip(), HTTPS_V4.ip(), 6, &segment));
        }
    }
    // What a real client does is seen after all that, so all that was looked at.
    let mut stream = connect(&site.net.client, HTTPS_V4);
    stream.write_all(b"no TLS either\r\n\r\n").expect("sent");
    let _ = stream.read(&mut [0; 64]);
    assert!(counted(&site, "allowed") >= 8000);
    let reply = bans(&site);
    assert_eq!(reply["items"].as_array().map(Vec::len), Some(0), "{reply}");
    assert_eq!(reply["history"].as_array().map(Vec::len), Some(0), "{reply}");
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Open);
}

#[test]
fn a_ban_by_hand_cuts_what_is_open_and_holds_at_accept_too() {
    for (settings, kept_out) in
        [("filter = \"required\"\n", Reach::Timeout), ("filter = \"off\"\n", Reach::Cut)]
    {
        let (site, _served) = site(settings);
        let mut stream = connect(&site.net.client, HTTPS_V4);
        let dry = site.gateway.cli(&["ban", "add", CLIENT, "--for", "10m", "--dry-run"]).ok();
        assert_eq!(dry["dry_run"], true);
        assert_eq!(bans(&site)["items"].as_array().map(Vec::len), Some(0));
        let added = site.gateway.cli(&["ban", "add", CLIENT, "--for", "10m", "--reason", "a test"]).ok();
        assert_eq!((&added["changed"], &added["item"]["note"]), (&true.into(), &"a test".into()));
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let read = stream.read(&mut [0]);
        assert!(!matches!(&read, Err(error) if error.kind() == ErrorKind::WouldBlock), "{read:?}");
        await_reach(&site, CLIENT, kept_out);
        await_reach(&site, OTHER, Reach::Open);
        for (source, reason) in [(CLIENT, "banned"), (OTHER, "allowed")] {
            let explained = site.gateway.cli(&["explain", source, &HTTPS_V4.to_string()]).ok();
            assert_eq!(explained["reason"], reason, "{explained}");
        }
        let listed = bans(&site);
        assert_eq!(
            (&listed["items"][0]["cause"], &listed["items"][0]["actor"]),
            (&"manual".into(), &0.into())
        );
        for (bad, code) in [("198.51.100.0/24", "invalid_source"), ("nobody", "invalid_source")] {
            assert_eq!(site.gateway.cli(&["ban", "add", bad]).refused()["code"], code);
        }
        site.gateway.cli(&["ban", "lift", CLIENT]).ok();
        await_reach(&site, CLIENT, Reach::Open);
        let history = site.gateway.human(&["ban", "history"]).success();
        assert!(history.contains("lift") && history.contains("a test"), "{history}");
        // And one that ends by itself.
        site.gateway.cli(&["ban", "add", CLIENT, "--for", "2s"]).ok();
        await_reach(&site, CLIENT, Reach::Open);
        await_event(&site, "end");
    }
}

#[test]
fn a_budget_of_new_connections_bites_only_who_is_over_its_share() {
    let (site, _served) = site("");
    site.gateway
        .cli(&["listener", "limit", "public", "--syn-rate", "20/s", "--syn-rate-per-source", "5"])
        .ok();
    let shown = site.gateway.cli(&["listener", "show", "public"]).ok();
    assert_eq!(shown["limits"]["syn_rate"], 20);
    let wire = Wire::open(&site.net.wire, GATE);
    for number in 0..500_u16 {
        wire.send(&frame::syn(&Link::default(), SocketAddr::new(GHOST_V4.into(), 10_000 + number), HTTPS_V4));
    }
    wait::until("drops", || (site.drops("public", "syn_budget") > 0).then_some(()));
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Open);
    // Off again: a limit of the configuration, so it is exported and can be taken off.
    assert!(site.gateway.export().contains("syn_rate = 20"));
    site.gateway
        .cli(&["listener", "limit", "public", "--syn-rate", "off", "--syn-rate-per-source", "off"])
        .ok();
    let before = site.drops("public", "syn_budget");
    for number in 0..500_u16 {
        wire.send(&frame::syn(&Link::default(), SocketAddr::new(GHOST_V4.into(), 20_000 + number), HTTPS_V4));
    }
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Open);
    assert_eq!(site.drops("public", "syn_budget"), before);
}

#[test]
fn open_connections_are_capped_by_source_and_by_listener() {
    let (site, _served) = site("");
    let limit = |words: &[&str]| {
        site.gateway.cli(&[&["listener", "limit", "public"][..], words].concat()).ok();
    };
    limit(&["--max-connections-per-source", "2"]);
    let first = connect(&site.net.client, HTTPS_V4);
    let second = connect(&site.net.client, HTTPS_V4);
    await_reach(&site, CLIENT, Reach::Cut);
    await_reach(&site, OTHER, Reach::Open);
    drop(first);
    await_reach(&site, CLIENT, Reach::Open);
    // What is open stays under a lower cap, and keeps others out.
    limit(&["--max-connections", "1", "--max-connections-per-source", "off"]);
    await_reach(&site, OTHER, Reach::Cut);
    drop(second);
    await_reach(&site, OTHER, Reach::Open);
    site.gateway.wait_for_log("connection_cap");
    let refused = site.gateway.human(&["drops"]).success();
    assert!(refused.contains("connection_cap"), "{refused}");
}
