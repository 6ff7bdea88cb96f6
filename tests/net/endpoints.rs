//! Endpoints of platform services in a private network (PL-1 … PL-7), and the gateway's public name (PA-6).
//!
//! ```text
//!   inside  10.40.0.10 ── za0 ┐
//!           10.40.1.10 ── zb0 ┤ gateway host: network `s1` is za0 and zb0, network `s2` is lan0 (the office)
//! ```

#![expect(
    clippy::indexing_slicing,
    reason = "a missing field of a JSON value fails the test where it is read"
)]

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use harness::{
    Authority, Gateway, Net, NetNs, Reach, Upstream,
    client::{self, Curl, curl},
    netns, process, reach, reach_from,
    topology::{PUBLIC_V4, UPSTREAM_V4},
    wait,
};
use serde_json::Value;

const FQDN: &str = "dsw-vpc.cn-a.example.com";
/// The endpoint's addresses in the zones a and b.
const ZONE_A: Ipv4Addr = Ipv4Addr::new(10, 40, 0, 20);
const ZONE_B: Ipv4Addr = Ipv4Addr::new(10, 40, 1, 20);
/// The network's own address, where its names are asked for.
const VIP: Ipv4Addr = Ipv4Addr::new(10, 40, 0, 5);
const SUBNETS: [&str; 4] = ["--subnet", "a=10.40.0.20/24", "--subnet", "b=10.40.1.20/24@zb0"];

/// The daemon goes before the namespaces it lives in.
struct Site {
    gateway: Gateway,
    inside: NetNs,
    net: Net,
    /// The platform's service.
    upstream: Upstream,
    trust: PathBuf,
}

impl Site {
    /// The network `s1` with the endpoint service `dsw`, and no endpoint yet.
    #[track_caller]
    fn new() -> Self {
        let net = Net::new();
        let inside = NetNs::new("inside");
        for (name, peer) in [("za0", "eth0"), ("zb0", "eth1")] {
            let (host, client) = (net.gateway.name(), inside.name());
            netns::batch(
                None,
                &format!("link add {name} netns {host} type veth peer name {peer} netns {client}\n"),
            );
        }
        net.gateway.ip_batch("link set za0 up\nlink set zb0 up\n");
        inside.ip_batch(
            "addr add 10.40.0.10/24 dev eth0\naddr add 10.40.0.66/24 dev eth0\nlink set eth0 up\n\
             addr add 10.40.1.10/24 dev eth1\nlink set eth1 up\n",
        );
        let mut gateway = Gateway::prepare(Some(&net.gateway));
        gateway
            .set_config("region = 'cn-a'\ndns_zone = 'gw.example'\ndns = ['198.51.100.1:53']\ndns_ttl = 1\n");
        gateway.run();
        let upstream = Upstream::start(&net.upstream, UPSTREAM_V4.into(), 0, "platform");
        let authority = Authority::new();
        let files = authority.leaf(&[FQDN]).write(gateway.scratch(), "dsw");
        let trust = authority.write(gateway.scratch());
        let site = Self { gateway, inside, net, upstream, trust };
        site.ok(&["vpc", "add", "s1", "--interface", "za0", "--address", "10.40.0.5/24", "--zone", "a"]);
        site.ok(&["vpc", "add", "s2", "--interface", "lan0", "--address", "10.7.0.5/24", "--zone", "a"]);
        let instance = site.upstream.instance();
        let service = ["service", "add", "dsw", "--instance", &instance, "--no-auth"];
        site.ok(&[&service[..], &["--exposure", "endpoint"]].concat());
        site.ok(&["cert", "add", "dsw", "--chain", files.chain(), "--key", files.key()]);
        let offer = ["endpoint-service", "add", "dsw", "--service", "dsw", "--cert", "dsw"];
        let names = ["--service-name", "com.example.privatelink.{region}.dsw"];
        let dns = ["--dns", "dsw-vpc.{region}.example.com", "--region", "cn-a,cn-b"];
        site.ok(&[&offer[..], &names, &dns].concat());
        site
    }

    /// As [`Self::new`], with an endpoint `e` in both zones that the whole network may use.
    #[track_caller]
    fn connected() -> Self {
        let site = Self::new();
        site.endpoint(&["--allow", "10.40.0.0/16"]);
        site
    }

    #[track_caller]
    fn endpoint(&self, more: &[&str]) -> Value {
        let words = ["endpoint", "add", "e", "--service", "dsw", "--vpc", "s1"];
        self.ok(&[&words[..], &SUBNETS, more].concat())
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> Value {
        self.gateway.cli(words).ok()
    }

    /// A verified HTTPS request from within the network to the endpoint at `address`.
    fn call(&self, address: Ipv4Addr, path: &str) -> Curl {
        curl(&self.inside, &format!("https://{FQDN}{path}"))
            .at(FQDN, SocketAddr::new(address.into(), 443))
            .trust(&self.trust)
    }

    /// Packets that the listener dropped for `reason`.
    #[track_caller]
    fn drops(&self, listener: &str, reason: &str) -> u64 {
        let reply = self.ok(&["drops"]);
        let items = reply["items"].as_array().expect("drops has items").iter();
        items
            .filter(|item| item["listener"] == listener && item["reason"] == reason)
            .filter_map(|item| item["packets"].as_u64())
            .sum()
    }

    /// What the network's view of DNS says, sorted.
    #[track_caller]
    fn resolve(&self, from: &NetNs, server: IpAddr, name: &str) -> Vec<String> {
        let mut command = from.command("dig");
        command.args(["-r", "+short", "+time=2", "+tries=2", &format!("@{server}"), name, "A"]);
        let text = process::run(&mut command, Duration::from_secs(20)).success();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[track_caller]
    fn wait_for_addresses(&self, expected: &[&str]) {
        wait::until(&format!("DNS to answer {expected:?}"), || {
            (self.resolve(&self.inside, VIP.into(), FQDN) == expected).then_some(())
        });
    }
}

/// PL-1: the platform's API is had at an address of the network, by its name and certificate, without a default route;
/// and nothing else is had there.
#[test]
fn pl_1_an_endpoint_gives_private_access_to_a_platform_service() {
    let site = Site::connected();
    assert!(site.inside.ip(&["route", "show", "default"]).trim().is_empty());
    let addresses = site.net.gateway.ip(&["-4", "-o", "addr", "show"]);
    assert!(addresses.contains("10.40.0.20/24") && addresses.contains("10.40.1.20/24"), "{addresses}");
    for address in [ZONE_A, ZONE_B] {
        let answer = site.call(address, "/api/predict/other/v1/models?x=1").run();
        answer.expect(200);
        assert_eq!(answer.header("x-instance"), Some("platform"));
        // The whole path is the service's: there is no `/api/predict` of others here.
        assert_eq!(answer.json()["target"], "/api/predict/other/v1/models?x=1", "{}", answer.framed);
        let plain = curl(&site.inside, &format!("http://{address}/v1")).run();
        plain.expect(200);
    }
    // The platform's service is nowhere else: neither at the network's own address nor by its name in public.
    let own = curl(&site.inside, &format!("http://{VIP}/api/predict/dsw")).run();
    own.expect_refusal(404, "no_route");
    let listener = ["--interface", "pub0", "--address", "198.51.100.1", "--open"];
    site.ok(&[&["listener", "add", "public"][..], &listener].concat());
    site.ok(&["allow", "add", "public", "0.0.0.0/0"]);
    for host in [FQDN, "198.51.100.1"] {
        let public = curl(&site.net.client, "http://198.51.100.1/api/predict/dsw");
        assert_eq!(public.header(&format!("Host: {host}")).run().status, 404, "{host}");
    }
    // Gone is gone: the addresses are silent and leave the interfaces.
    site.ok(&["endpoint", "delete", "e"]);
    for address in [ZONE_A, ZONE_B] {
        assert_eq!(reach(&site.inside, (address, 443)), Reach::Timeout, "{address}");
        assert!(!client::ping(&site.inside, address.into()));
    }
    let addresses = site.net.gateway.ip(&["-4", "-o", "addr", "show"]);
    assert!(!addresses.contains("10.40.0.20/24") && addresses.contains("10.40.0.5/24"), "{addresses}");
}

/// PL-2: names come from templates by region, and a region that the service is not offered in is refused with the list.
#[test]
fn pl_2_services_are_named_by_region_and_refused_elsewhere_with_the_list() {
    let site = Site::new();
    let far = ["vpc", "add", "far", "--interface", "up0", "--address", "10.9.0.5/24", "--zone", "z"];
    site.ok(&[&far[..], &["--region", "cn-x"]].concat());
    let words = ["endpoint", "add", "f", "--service", "dsw", "--vpc", "far", "--subnet", "z=10.9.0.20/24"];
    let refusal = site.gateway.cli(&words).refused();
    assert_eq!((&refusal["code"], &refusal["limit"]), (&"unsupported_region".into(), &"cn-a, cn-b".into()));
    let added = site.endpoint(&[]);
    assert_eq!(added["fqdn"], FQDN);
    assert_eq!(added["service_name"], "com.example.privatelink.cn-a.dsw");
    let found = |text: &str| site.ok(&["endpoint-service", "list", "--search", text])["items"].clone();
    assert_eq!(found("PRIVATELINK")[0]["name"], "dsw");
    assert_eq!(found("nothing"), serde_json::json!([]));
}

/// PL-3: one zone is taken with a warning, IPv6 is refused, and the security group is enforced at the endpoint.
#[test]
fn pl_3_the_form_is_judged_and_the_security_group_enforced() {
    let site = Site::new();
    let one = ["endpoint", "add", "e", "--service", "dsw", "--vpc", "s1", "--subnet", "a=10.40.0.20/24"];
    let refusal = site.gateway.cli(&[&one[..], &["--ip-version", "ipv6"]].concat()).refused();
    assert_eq!((&refusal["code"], &refusal["field"]), (&"ipv4_only".into(), &"ip_version".into()));
    let refusal = site.gateway.cli(&[&one[..], &["--region", "cn-b"]].concat()).refused();
    assert_eq!((&refusal["code"], &refusal["limit"]), (&"other_region".into(), &"cn-a".into()));
    let added = site.ok(&[&one[..], &["--allow", "10.40.0.10"]].concat());
    let note = added["notes"][0].as_str().expect("a note");
    assert!(note.starts_with("no zone redundancy"), "{note}");
    let text = site.gateway.human(&["endpoint", "show", "e"]).success();
    assert!(text.contains(FQDN), "{text}");

    let (allowed, other) = (IpAddr::from([10, 40, 0, 10]), IpAddr::from([10, 40, 0, 66]));
    assert_eq!(reach_from(&site.inside, allowed, (ZONE_A, 443)), Reach::Open);
    assert_eq!(reach_from(&site.inside, other, (ZONE_A, 443)), Reach::Timeout);
    assert!(site.drops("endpoint:e", "not_allowed") >= 1);
    site.ok(&["endpoint", "allow", "add", "e", "10.40.0.66"]);
    site.ok(&["endpoint", "allow", "remove", "e", "10.40.0.10"]);
    assert_eq!(reach_from(&site.inside, other, (ZONE_A, 443)), Reach::Open);
    assert_eq!(reach_from(&site.inside, allowed, (ZONE_A, 443)), Reach::Timeout);
    assert_eq!(site.ok(&["endpoint", "show", "e"])["security_group"], serde_json::json!(["10.40.0.66/32"]));
}

/// PL-4: the API creates endpoints, and a client token makes a repeated creation one.
#[test]
fn pl_4_the_api_creates_an_endpoint_once_per_client_token() {
    let site = Site::new();
    let post = |body: &str| -> (u64, Value) {
        let socket = site.gateway.socket();
        let socket = socket.to_str().expect("test paths are UTF-8");
        let text = site.net.gateway.check(
            "curl",
            &[
                "-s",
                "-w",
                "\n%{http_code}",
                "--unix-socket",
                socket,
                "-d",
                body,
                "http://gateway/v1/endpoints",
            ],
        );
        let (reply, status) = text.trim_end().rsplit_once('\n').expect("a status");
        (status.parse().expect("a number"), serde_json::from_str(reply).expect("JSON"))
    };
    let body = r#"{"name":"e","service":"dsw","vpc":"s1","client_token":"c0ffee","security_group":"10.40.0.0/16",
        "subnets":[{"zone":"a","address":"10.40.0.20/24"},{"zone":"b","address":"10.40.1.20/24","interface":"zb0"}]}"#;
    let (status, first) = post(body);
    assert_eq!((status, &first["changed"]), (200, &true.into()), "{first}");
    let (status, again) = post(body);
    assert_eq!((status, &again["changed"]), (200, &false.into()), "{again}");
    assert_eq!((&again["item"], &again["generation"]), (&first["item"], &first["generation"]));
    let (status, other) = post(&body.replace("10.40.0.0/16", "10.40.0.0/24"));
    assert!(status >= 400 && other["error"]["code"] == "client_token_used", "{status} {other}");
    let listed = site.ok(&["endpoint", "list"]);
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    site.call(ZONE_B, "/fixed").run().expect(200);
}

/// PL-5: the documented check: ping the address, then `curl -sI` the name, which DNS answers within the network.
#[test]
fn pl_5_ping_and_head_over_tls_answer() {
    let site = Site::connected();
    for address in [ZONE_A, ZONE_B] {
        assert!(client::ping(&site.inside, address.into()), "{address}");
    }
    site.wait_for_addresses(&["10.40.0.20", "10.40.1.20"]);
    let head = site.call(ZONE_A, "/fixed").with(&["-I"]).run();
    head.expect(200);
    assert!(head.body.is_empty());
    assert_eq!(site.upstream.last()["method"], "HEAD");
    // Without the right name there is no certificate for it.
    let stranger = curl(&site.inside, "https://other.example.com/")
        .at("other.example.com", SocketAddr::new(ZONE_A.into(), 443))
        .trust(&site.trust);
    assert_eq!(stranger.run().exit, 60);
}

/// PL-6: callers of other networks get no answer, whatever their lists say.
#[test]
fn pl_6_a_caller_in_another_network_is_dropped_in_silence() {
    let site = Site::connected();
    site.ok(&["endpoint", "allow", "add", "e", "0.0.0.0/0"]);
    site.call(ZONE_A, "/fixed").run().expect(200);
    let listener = ["--interface", "pub0", "--address", "198.51.100.1", "--open"];
    site.ok(&[&["listener", "add", "public"][..], &listener].concat());
    site.ok(&["allow", "add", "public", "0.0.0.0/0"]);
    for (place, caller) in [("s2", &site.net.office), ("the public network", &site.net.client)] {
        for address in [ZONE_A, ZONE_B] {
            for port in [443, 80] {
                assert_eq!(reach(caller, (address, port)), Reach::Timeout, "{place} at {address}:{port}");
            }
            assert!(!client::ping(caller, address.into()), "{place} at {address}");
        }
    }
    // An interface without any listener has no filter; the sockets belong to their interface all the same.
    site.net.upstream.ip(&["route", "add", "default", "via", "10.9.0.1"]);
    for address in [ZONE_A, ZONE_B] {
        assert_eq!(reach(&site.net.upstream, (address, 443)), Reach::Refused, "{address}");
    }
    // By the networks' own interfaces it was the filter that dropped them.
    assert!(site.drops("endpoint:e", "wrong_interface") >= 2);
    // Nor is the name known there.
    let elsewhere = site.resolve(&site.net.office, IpAddr::from([10, 7, 0, 5]), FQDN);
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

/// PL-7: when a zone dies its address leaves the name within the health interval, and new connections succeed.
#[test]
fn pl_7_a_dead_zone_is_withdrawn_and_new_connections_succeed() {
    let site = Site::connected();
    site.wait_for_addresses(&["10.40.0.20", "10.40.1.20"]);
    let states = |site: &Site| -> Vec<String> {
        let zones = site.ok(&["endpoint", "show", "e"])["zones"].clone();
        let zones = zones.as_array().expect("zones").iter();
        zones.map(|zone| format!("{} {}", zone["zone"].as_str().unwrap_or_default(), zone["state"])).collect()
    };
    assert_eq!(states(&site), ["a \"up\"", "b \"up\""]);
    // The cable of zone b is cut at the network's end: the gateway's interface has no carrier any more.
    site.inside.ip(&["link", "set", "eth1", "down"]);
    site.wait_for_addresses(&["10.40.0.20"]);
    assert_eq!(states(&site), ["a \"up\"", "b \"down\""]);
    for address in site.resolve(&site.inside, VIP.into(), FQDN) {
        let address: Ipv4Addr = address.parse().expect("an address");
        site.call(address, "/fixed").run().expect(200);
    }
    // An edit meanwhile is an edit of the whole endpoint.
    site.ok(&["endpoint", "allow", "add", "e", "10.41.0.0/16"]);
    site.inside.ip(&["link", "set", "eth1", "up"]);
    site.wait_for_addresses(&["10.40.0.20", "10.40.1.20"]);
    site.call(ZONE_B, "/fixed").run().expect(200);
    // And when the gateway's own interface is taken down.
    site.net.gateway.ip(&["link", "set", "zb0", "down"]);
    site.wait_for_addresses(&["10.40.0.20"]);
    site.call(ZONE_A, "/fixed").run().expect(200);
}

/// PA-6: the gateway shows its public name, DNS leads from it to the portal, and services are called by it.
#[test]
fn pa_6_the_public_name_is_shown_resolves_and_is_called() {
    let site = Site::new();
    let listener = ["--interface", "pub0", "--address", "198.51.100.1", "--open"];
    site.ok(&[&["listener", "add", "public"][..], &listener].concat());
    site.ok(&["allow", "add", "public", "0.0.0.0/0"]);
    let shown = site.ok(&["show"]);
    let public = "gw-default.cn-a.gw.example";
    assert_eq!(shown["public_name"], public);
    assert_eq!(shown["public_target"], "nlb-default.cn-a.gw.example");
    assert_eq!(shown["private_names"][0]["name"], "gw-default-vpc.cn-a.gw.example");
    let text = site.gateway.human(&["show"]).success();
    assert!(text.contains("CNAME nlb-default.cn-a.gw.example"), "{text}");
    let answer = site.resolve(&site.net.client, PUBLIC_V4.into(), public);
    assert_eq!(answer, ["198.51.100.1", "nlb-default.cn-a.gw.example."]);

    let instance = site.upstream.instance();
    let added = site.ok(&["service", "add", "chat", "--instance", &instance, "--no-auth"]);
    let url = format!("http://{public}/api/predict/chat");
    assert!(added["endpoints"].as_array().is_some_and(|all| all.iter().any(|one| *one == url)), "{added}");
    let call =
        curl(&site.net.client, &format!("{url}/fixed")).at(public, SocketAddr::new(PUBLIC_V4.into(), 80));
    call.run().expect(200);
    // The private name answers in the network and is unknown in public.
    let private = "gw-default-vpc.cn-a.gw.example";
    let inside = curl(&site.inside, &format!("http://{private}/api/predict/chat/fixed"));
    inside.at(private, SocketAddr::new(VIP.into(), 80)).run().expect(200);
    let outside = curl(&site.net.client, &format!("http://{private}/api/predict/chat/fixed"));
    outside.at(private, SocketAddr::new(PUBLIC_V4.into(), 80)).run().expect_refusal(404, "unknown_host");
}
