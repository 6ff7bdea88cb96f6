//! The name server, asked by `dig` and by unbound in front of it: who is told which names (PA-6, PV-4, CD-5, AD-1), that
//! answers follow changes (AD-3), and the protocol's corners.

#![expect(
    clippy::indexing_slicing,
    reason = "a missing field of a JSON value fails the test where it is read"
)]

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use harness::{
    Gateway, Net,
    netns::NetNs,
    process::{self, Running},
    topology::{PUBLIC_V4, UPSTREAM_V4},
    wait,
};

/// The endpoint of the network `s1`, which the office is in, and that of `s2`, which the upstream is in.
const FIRST: &str = "10.7.0.5";
const SECOND: &str = "10.9.0.5";
const PUBLIC: &str = "198.51.100.1";

const PORTAL: &str = "gw-default.eu.gw.example";
const PRIVATE: &str = "gw-default-vpc.eu.gw.example";
const FIRST_ENDPOINT: &str = "ep-s1.epsrv-default.eu.privatelink.gw.example";
const SECOND_ENDPOINT: &str = "ep-s2.epsrv-default.eu.privatelink.gw.example";

struct Site {
    gateway: Gateway,
    net: Net,
}

/// What `dig` printed.
#[derive(Debug)]
struct Dug {
    text: String,
    status: String,
    flags: Vec<String>,
    /// Type and data.
    answer: Vec<String>,
    ttl: Vec<String>,
    /// All fields.
    authority: Vec<String>,
    additional: Vec<String>,
}

// === impl Site ===

impl Site {
    /// A gateway with a zone, a public portal, and names for outsiders; `more` is of the settings file.
    #[track_caller]
    fn with(more: &str) -> Self {
        let net = Net::new();
        let mut gateway = Gateway::prepare(Some(&net.gateway));
        gateway.set_config(&format!(
            "region = 'eu'\ndns_zone = 'gw.example'\n\
             dns = ['198.51.100.1:53', '[2001:db8:100::1]:53']\n{more}"
        ));
        gateway.run();
        let site = Self { gateway, net };
        let public = ["--exposure", "public", "--interface", "pub0", "--open"];
        let addresses = ["--address", PUBLIC, "--address", "2001:db8:100::1"];
        site.cli(&[&["listener", "add", "public"][..], &public, &addresses].concat());
        site
    }

    /// As [`Self::with`], with the networks `s1` and `s2`.
    #[track_caller]
    fn new() -> Self {
        let site = Self::with("dns_ttl = 2");
        site.attach("s1", "lan0", "10.7.0.5/24", &[]);
        site.attach("s2", "up0", "10.9.0.5/24", &[]);
        site
    }

    #[track_caller]
    fn attach(&self, name: &str, interface: &str, address: &str, more: &[&str]) {
        let words = ["vpc", "add", name, "--interface", interface, "--address", address, "--zone", "i"];
        self.cli(&[&words[..], more].concat());
    }

    #[track_caller]
    fn cli(&self, words: &[&str]) -> serde_json::Value {
        self.gateway.cli(words).ok()
    }

    #[track_caller]
    fn outside(&self, name: &str, kind: &str) -> Dug {
        dig(&self.net.outsider, PUBLIC, &[name, kind])
    }

    #[track_caller]
    fn first(&self, name: &str, kind: &str) -> Dug {
        dig(&self.net.office, FIRST, &[name, kind])
    }

    #[track_caller]
    fn second(&self, name: &str, kind: &str) -> Dug {
        dig(&self.net.upstream, SECOND, &[name, kind])
    }

    /// The counter of a view and outcome.
    #[track_caller]
    fn counted(&self, view: &str, outcome: &str) -> u64 {
        let text = self.net.gateway.check("curl", &["-s", "http://127.0.0.1:9145/metrics"]);
        let wanted = format!("gateway_dns_queries_total{{view=\"{view}\",outcome=\"{outcome}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&wanted));
        value.map_or(0, |value| value.parse().expect("a number"))
    }

    #[track_caller]
    fn serial(&self) -> u64 {
        let soa = self.outside("gw.example", "SOA");
        let serial = soa.answer[0].split(' ').nth(3).map(str::parse);
        serial.expect("a serial").expect("a number")
    }
}

// === dig ===

fn run_dig(from: &NetNs, server: &str, words: &[&str]) -> process::Finished {
    let mut command = from.command("dig");
    command.args(["-r", "+time=2", "+tries=1", "+norecurse", &format!("@{server}")]).args(words);
    process::run(&mut command, Duration::from_secs(20))
}

/// An answer of `server`, which must come.
#[track_caller]
fn dig(from: &NetNs, server: &str, words: &[&str]) -> Dug {
    Dug::read(run_dig(from, server, words).success())
}

/// Nobody answers.
#[track_caller]
fn assert_silent(from: &NetNs, server: &str, words: &[&str]) {
    let finished = run_dig(from, server, words);
    assert_eq!(finished.code, Some(9), "{}", finished.framed());
}

impl Dug {
    #[track_caller]
    fn read(text: String) -> Self {
        let start = text.rfind(";; ->>HEADER<<-").unwrap_or_else(|| panic!("no message:\n{text}"));
        let message = &text[start..];
        let after = |mark: &str, end: char| {
            let rest = message.split_once(mark).map(|(_, rest)| rest);
            rest.and_then(|rest| rest.split(end).next()).unwrap_or_default().trim().to_owned()
        };
        let section = |name: &str| {
            let rest = message.split_once(&format!(";; {name} SECTION:\n")).map(|(_, rest)| rest);
            let lines = rest.unwrap_or_default().lines().take_while(|line| !line.is_empty());
            lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
        };
        // Name, TTL, class, type, data.
        let data = |line: String| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned();
        let ttl = |line: String| line.split(' ').nth(1).unwrap_or_default().to_owned();
        Self {
            status: after("status: ", ','),
            flags: after(";; flags:", ';').split(' ').map(str::to_owned).collect(),
            answer: section("ANSWER").into_iter().map(data).collect(),
            ttl: section("ANSWER").into_iter().map(ttl).collect(),
            authority: section("AUTHORITY"),
            additional: section("ADDITIONAL"),
            text,
        }
    }

    #[track_caller]
    fn is(&self, answer: &[&str]) {
        assert_eq!(self.status, "NOERROR", "{}", self.text);
        assert!(self.has("aa") && !self.has("ra"), "{}", self.text);
        assert_eq!(self.answer, answer, "{}", self.text);
    }

    /// Denied, with the SOA that says for how long.
    #[track_caller]
    fn is_denied(&self, status: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert!(self.has("aa") && self.answer.is_empty(), "{}", self.text);
        assert!(self.authority[0].contains(" SOA "), "{}", self.text);
    }

    #[track_caller]
    fn is_refused(&self) {
        assert_eq!(self.status, "REFUSED", "{}", self.text);
        assert!(!self.has("aa") && self.answer.is_empty() && self.authority.is_empty(), "{}", self.text);
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|one| one == flag)
    }
}

// === unbound ===

/// A real recursive resolver in a client's namespace that asks `server` for `zones`.
struct Resolver<'a> {
    _running: Running,
    home: &'a NetNs,
}

impl<'a> Resolver<'a> {
    #[track_caller]
    fn start(site: &Site, home: &'a NetNs, server: &str, zones: &[&str]) -> Self {
        // 0x20 (use-caps-for-id), one label at a time (qname-minimisation) and nothing below a denied name
        // (harden-below-nxdomain): a server that is careless with any of them fails here.
        let mut config =
            "server:\n interface: 127.0.0.1\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n \
             directory: \"/tmp\"\n pidfile: \"\"\n use-syslog: no\n do-not-query-localhost: no\n \
             module-config: \"iterator\"\n use-caps-for-id: yes\n qname-minimisation: yes\n \
             qname-minimisation-strict: yes\n harden-below-nxdomain: yes\n cache-min-ttl: 0\n do-ip6: no\n\
             remote-control:\n control-enable: no\n"
                .to_owned();
        for zone in zones {
            config += &format!("stub-zone:\n name: {zone}\n stub-addr: {server}\n");
        }
        let file = site.gateway.scratch().write(&format!("unbound-{}.conf", home.name()), &config);
        let mut command = home.command("unbound");
        command.arg("-d").arg("-c").arg(file).stdout(std::process::Stdio::null());
        let running = Running::spawn(command.stderr(std::process::Stdio::null()));
        let resolver = Self { _running: running, home };
        wait::until("unbound to answer", || {
            let finished = run_dig(home, "127.0.0.1", &["version.bind", "TXT", "CH"]);
            (finished.code == Some(0)).then_some(())
        });
        resolver
    }

    #[track_caller]
    fn ask(&self, name: &str, kind: &str) -> Dug {
        dig(self.home, "127.0.0.1", &["+recurse", name, kind])
    }
}

// === who is told what ===

/// PA-6: the portal's name is an alias of the balancer's, and that has the addresses of the public listeners.
#[test]
fn pa_6_the_public_name_leads_to_the_balancer_and_its_addresses() {
    let site = Site::new();
    for from in [Site::outside, Site::first, Site::second] {
        from(&site, PORTAL, "A").is(&["CNAME nlb-default.eu.gw.example.", "A 198.51.100.1"]);
        from(&site, PORTAL, "AAAA").is(&["CNAME nlb-default.eu.gw.example.", "AAAA 2001:db8:100::1"]);
    }
    let v6 = dig(&site.net.outsider, "2001:db8:100::1", &[PORTAL, "A"]);
    v6.is(&["CNAME nlb-default.eu.gw.example.", "A 198.51.100.1"]);
    let told = site.cli(&["dns", "query", PORTAL]);
    assert_eq!((&told["status"], &told["authoritative"]), (&"NOERROR".into(), &true.into()), "{told}");
    assert_eq!(told["answer"].as_array().map(Vec::len), Some(2), "{told}");
}

/// PV-4: within its own network the private name leads to the endpoint; from another network it is not that, and from
/// outside there is no such name.
#[test]
fn pv_4_the_private_name_leads_to_the_endpoint_of_the_askers_network() {
    let site = Site::new();
    let first = [format!("CNAME {FIRST_ENDPOINT}."), format!("A {FIRST}")];
    let second = [format!("CNAME {SECOND_ENDPOINT}."), format!("A {SECOND}")];
    site.first(PRIVATE, "A").is(&first.each_ref().map(String::as_str));
    site.second(PRIVATE, "A").is(&second.each_ref().map(String::as_str));
    site.second(FIRST_ENDPOINT, "A").is_denied("NXDOMAIN");
    site.first(SECOND_ENDPOINT, "A").is_denied("NXDOMAIN");
    for name in [PRIVATE, FIRST_ENDPOINT, SECOND_ENDPOINT] {
        site.outside(name, "A").is_denied("NXDOMAIN");
    }
    // The view is that of the interface: another network's endpoint does not answer, whoever routes it there.
    site.net.upstream.ip(&["route", "add", "10.7.0.0/24", "via", "10.9.0.1"]);
    for transport in ["+notcp", "+tcp"] {
        assert_silent(&site.net.upstream, FIRST, &[transport, PRIVATE, "A"]);
        assert_silent(&site.net.outsider, FIRST, &[transport, PRIVATE, "A"]);
    }
    // The same through a resolver, letter case, label by label and all.
    let resolver = Resolver::start(&site, &site.net.office, FIRST, &["gw.example"]);
    let dug = resolver.ask(PRIVATE, "A");
    assert_eq!((dug.status.as_str(), &dug.answer[..]), ("NOERROR", &first[..]), "{}", dug.text);
    assert_eq!(resolver.ask(SECOND_ENDPOINT, "A").status, "NXDOMAIN");
}

/// PV-6: with the network its view goes: nobody answers there any more.
#[test]
fn pv_6_a_deleted_networks_names_are_gone() {
    let site = Site::new();
    site.first(PRIVATE, "A").is(&[&format!("CNAME {FIRST_ENDPOINT}."), &format!("A {FIRST}")]);
    site.cli(&["vpc", "delete", "s1"]);
    for transport in ["+notcp", "+tcp"] {
        assert_silent(&site.net.office, FIRST, &[transport, PRIVATE, "A"]);
    }
    assert_eq!(site.gateway.cli(&["dns", "query", PRIVATE, "--vpc", "s1"]).refused()["code"], "not_found");
    site.second(FIRST_ENDPOINT, "A").is_denied("NXDOMAIN");
    site.second(PRIVATE, "A").is(&[&format!("CNAME {SECOND_ENDPOINT}."), &format!("A {SECOND}")]);
}

/// CD-5: a custom domain of a network is answered inside it without any other DNS, and is nobody's outside.
#[test]
fn cd_5_a_private_custom_domain_is_answered_inside_its_networks() {
    let site = Site::new();
    site.cli(&["domain", "add", "one.example.org", "--exposure", "vpc:s1"]);
    site.cli(&["domain", "add", "all.example.org", "--exposure", "vpc"]);
    site.cli(&["domain", "add", "*.wild.example.org", "--exposure", "vpc:s1"]);
    site.first("one.example.org", "A").is(&[&format!("A {FIRST}")]);
    site.first("all.example.org", "A").is(&[&format!("A {FIRST}")]);
    site.first("any.wild.example.org", "A").is(&[&format!("A {FIRST}")]);
    site.second("all.example.org", "A").is(&[&format!("A {SECOND}")]);
    // It is a zone, with the absence of other types and of names below it, and no say about its neighbours.
    site.first("one.example.org", "AAAA").is_denied("NOERROR");
    site.first("below.one.example.org", "A").is_denied("NXDOMAIN");
    assert!(site.first("one.example.org", "SOA").answer[0].starts_with("SOA ns.gw.example. "));
    for name in ["example.org", "www.example.org", "wild.example.org"] {
        site.first(name, "A").is_refused();
    }
    site.second("one.example.org", "A").is_refused();
    site.outside("all.example.org", "A").is_refused();
    let resolver = Resolver::start(&site, &site.net.office, FIRST, &["one.example.org"]);
    assert_eq!(resolver.ask("one.example.org", "A").answer, [format!("A {FIRST}")]);
    assert_eq!(resolver.ask("below.one.example.org", "A").status, "NXDOMAIN");
}

/// AD-1: the one network that says so is answered to outsiders too, by us, with authority.
#[test]
fn ad_1_outsiders_are_told_the_names_of_the_one_network_that_allows_it() {
    let site = Site::with("dns_ttl = 1");
    site.attach("s1", "lan0", "10.7.0.5/24", &[]);
    site.attach("s2", "up0", "10.9.0.5/24", &[]);
    site.cli(&["domain", "add", "one.example.org", "--exposure", "vpc:s1"]);
    site.outside(PRIVATE, "A").is_denied("NXDOMAIN");
    site.outside("one.example.org", "A").is_refused();
    let resolver = Resolver::start(&site, &site.net.outsider, PUBLIC, &["gw.example", "one.example.org"]);
    assert_eq!(resolver.ask(PRIVATE, "A").status, "NXDOMAIN");

    site.cli(&["vpc", "delete", "s1"]);
    site.cli(&["domain", "delete", "one.example.org"]);
    site.attach("s1", "lan0", "10.7.0.5/24", &["--authoritative-dns"]);
    site.cli(&["domain", "add", "one.example.org", "--exposure", "vpc:s1"]);
    let chain = [format!("CNAME {FIRST_ENDPOINT}."), format!("A {FIRST}")];
    site.outside(PRIVATE, "A").is(&chain.each_ref().map(String::as_str));
    site.outside("one.example.org", "A").is(&[&format!("A {FIRST}")]);
    // The other network's names stay its own, and another network is no outsider.
    site.outside(SECOND_ENDPOINT, "A").is_denied("NXDOMAIN");
    site.second(FIRST_ENDPOINT, "A").is_denied("NXDOMAIN");
    // A resolver elsewhere forgets what it was told after the TTL.
    wait::until("the resolver to ask again", || (resolver.ask(PRIVATE, "A").answer == chain).then_some(()));
    assert_eq!(resolver.ask("one.example.org", "A").answer, [format!("A {FIRST}")]);
}

/// AD-2: one network at most speaks for outsiders; a second one is refused, and the first is named.
#[test]
fn ad_2_a_second_network_for_outsiders_is_refused() {
    let site = Site::with("");
    site.attach("s1", "lan0", "10.7.0.5/24", &["--authoritative-dns"]);
    let before = site.gateway.generation();
    let words = ["vpc", "add", "s3", "--interface", "pub0", "--address", "198.51.100.7/24", "--zone", "i"];
    let refused = site.gateway.cli(&[&words[..], &["--authoritative-dns"]].concat()).refused();
    assert!(refused["message"].as_str().expect("a message").contains("s1"), "{refused}");
    assert_eq!(site.gateway.generation(), before);
    // Once the first one is gone, another may.
    site.cli(&["vpc", "delete", "s1"]);
    site.attach("s2", "up0", "10.9.0.5/24", &["--authoritative-dns"]);
    site.outside(SECOND_ENDPOINT, "A").is(&[&format!("A {SECOND}")]);
}

/// Clients in a network that may call a service are told its instances.
#[test]
fn instances_have_names_inside_networks() {
    let site = Site::new();
    let instance = format!("{UPSTREAM_V4}:8000");
    site.cli(&[
        "service",
        "add",
        "chat",
        "--instance",
        &instance,
        "--instance",
        "[fd00::2]:8000",
        "--no-auth",
    ]);
    let name = "chat.direct-default.eu.gw.example";
    site.first(name, "A").is(&[&format!("A {UPSTREAM_V4}")]);
    site.first(name, "AAAA").is(&["AAAA fd00::2"]);
    site.outside(name, "A").is_denied("NXDOMAIN");
}

// === answers follow changes ===

/// AD-3: an endpoint that moves is found at its new address after the TTL, and the serial rises with every change.
#[test]
fn ad_3_answers_follow_changes_and_the_serial_rises() {
    let site = Site::new();
    let resolver = Resolver::start(&site, &site.net.office, "10.7.0.6", &["gw.example"]);
    let upstream = Resolver::start(&site, &site.net.client, PUBLIC, &["gw.example"]);
    assert_eq!(upstream.ask(PORTAL, "A").status, "NOERROR");
    let before = site.serial();
    assert_eq!(before, site.gateway.generation());
    site.cli(&["vpc", "delete", "s1"]);
    site.attach("s1", "lan0", "10.7.0.6/24", &[]);
    assert_eq!(site.serial(), before + 2);
    assert_silent(&site.net.office, FIRST, &[PRIVATE, "A"]);
    let moved = [format!("CNAME {FIRST_ENDPOINT}."), "A 10.7.0.6".to_owned()];
    let dug = dig(&site.net.office, "10.7.0.6", &[PRIVATE, "A"]);
    dug.is(&moved.each_ref().map(String::as_str));
    assert_eq!(dug.ttl, ["2", "2"], "{}", dug.text);
    assert_eq!(resolver.ask(PRIVATE, "A").answer, moved);
    // What an outside resolver holds of the portal is replaced after the TTL.
    site.cli(&["listener", "delete", "public"]);
    wait::until("the resolver to forget", || (upstream.ask(PORTAL, "A").status == "NXDOMAIN").then_some(()));
}

/// AD-3: the zone is not given away as a whole, by either way of asking.
#[test]
fn ad_3_transfers_are_refused() {
    let site = Site::new();
    for (from, server) in [(&site.net.outsider, PUBLIC), (&site.net.office, FIRST)] {
        let finished = run_dig(from, server, &["gw.example", "AXFR"]);
        assert!(finished.stdout.contains("Transfer failed"), "{}", finished.framed());
        for transport in ["+notcp", "+tcp"] {
            let finished = run_dig(from, server, &[transport, "gw.example", "IXFR=1"]);
            assert!(!finished.stdout.contains("gw-default"), "{}", finished.framed());
        }
    }
    for kind in ["AXFR", "IXFR=1"] {
        let mut kdig = site.net.outsider.command("kdig");
        kdig.args([&format!("@{PUBLIC}"), "gw.example", kind, "+time=2", "+retry=0"]);
        let finished = process::run(&mut kdig, Duration::from_secs(20));
        assert!(
            format!("{}{}", finished.stdout, finished.stderr).contains("REFUSED"),
            "{}",
            finished.framed()
        );
    }
}

/// AD-3: what a datagram does not hold is marked, and comes whole over TCP; several queries on one connection too.
#[test]
fn ad_3_a_long_answer_is_truncated_and_comes_whole_over_tcp() {
    let site = Site::new();
    let instances: Vec<String> = (1..=120).map(|last| format!("10.9.1.{last}:8000")).collect();
    let mut words = vec!["service", "add", "many", "--no-auth"];
    for instance in &instances {
        words.extend(["--instance", instance]);
    }
    site.cli(&words);
    let name = "many.direct-default.eu.gw.example";
    for size in ["+noedns", "+bufsize=512", "+bufsize=4096"] {
        let short = dig(&site.net.office, FIRST, &["+ignore", size, name, "A"]);
        assert!(short.has("tc") && short.has("aa") && short.answer.is_empty(), "{}", short.text);
        let whole = dig(&site.net.office, FIRST, &[size, name, "A"]);
        assert_eq!(whole.answer.len(), 120, "{}", whole.text);
        assert!(!whole.has("tc"), "{}", whole.text);
    }
    let resolver = Resolver::start(&site, &site.net.office, FIRST, &["gw.example"]);
    assert_eq!(resolver.ask(name, "A").answer.len(), 120);
    // One connection, several queries.
    let mut kdig = site.net.office.command("kdig");
    kdig.args(["+tcp", "+keepopen", &format!("@{FIRST}"), PORTAL, "A", PRIVATE, "A", name, "A"]);
    let text = process::run(&mut kdig, Duration::from_secs(20)).success();
    assert_eq!(text.matches("status: NOERROR").count(), 3, "{text}");
    assert!(site.counted("vpc:s1", "NOERROR") >= 10);
}

/// AD-3: EDNS is answered with our size, other versions are not spoken, other questions are refused as they should be.
#[test]
fn ad_3_edns_and_the_corners_of_the_protocol() {
    let site = Site::new();
    let ask = |words: &[&str]| dig(&site.net.outsider, PUBLIC, words);
    let edns = ask(&["+edns=0", "+bufsize=4096", "+dnssec", "+nsid", PORTAL, "A"]);
    edns.is(&["CNAME nlb-default.eu.gw.example.", "A 198.51.100.1"]);
    let spoken = edns.text.rsplit("EDNS: version: 0").next().unwrap_or_default();
    assert!(spoken.contains("udp: 1232") && spoken.starts_with(", flags: do;"), "{}", edns.text);
    let none = ask(&["+noedns", PORTAL, "A"]);
    assert!(!none.text.rsplit(";; ->>HEADER").next().unwrap_or_default().contains("EDNS"), "{}", none.text);
    let version = ask(&["+edns=1", "+noednsnegotiation", PORTAL, "A"]);
    assert_eq!(version.status, "BADVERS", "{}", version.text);
    // dig falls back to version 0 by itself.
    assert_eq!(ask(&["+edns=1", PORTAL, "A"]).status, "NOERROR");
    let soa = ask(&["gw.example", "SOA"]);
    assert!(soa.answer[0].starts_with("SOA ns.gw.example. hostmaster.gw.example. "), "{}", soa.text);
    let ns = ask(&["gw.example", "NS"]);
    ns.is(&["NS ns.gw.example."]);
    assert!(ns.additional.iter().any(|line| line.ends_with(" A 198.51.100.1")), "{}", ns.text);
    ask(&["eu.gw.example", "A"]).is_denied("NOERROR");
    ask(&["nothing.gw.example", "A"]).is_denied("NXDOMAIN");
    ask(&[PORTAL, "MX"]).is_denied_after("CNAME nlb-default.eu.gw.example.");
    assert_eq!(ask(&["+notcp", "nlb-default.eu.gw.example", "ANY"]).answer.len(), 1);
    for words in [&["version.bind", "TXT", "CH"][..], &["www.example.org", "A"], &[".", "NS"]] {
        ask(words).is_refused();
    }
    for code in ["status", "notify", "update"] {
        assert_eq!(ask(&[&format!("+opcode={code}"), "gw.example", "SOA"]).status, "NOTIMP", "{code}");
    }
    assert_eq!(ask(&["+header-only"]).status, "FORMERR");
    let letters = ask(&["gW-DeFault.EU.gw.eXample", "A"]);
    assert!(letters.text.contains("\ngW-DeFault.EU.gw.eXample."), "{}", letters.text);
    assert_eq!(letters.answer.len(), 2);
}

impl Dug {
    /// The alias exists, its target has none of what was asked for.
    #[track_caller]
    fn is_denied_after(&self, alias: &str) {
        assert_eq!(
            (self.status.as_str(), &self.answer[..]),
            ("NOERROR", &[alias.to_owned()][..]),
            "{}",
            self.text
        );
        assert!(self.authority[0].contains(" SOA "), "{}", self.text);
    }
}

// === the host ===

/// A flood of queries from one network is answered at its rate; of the rest every second one is sent to TCP, which works.
#[test]
fn a_flood_of_queries_is_limited_and_tcp_goes_on() {
    const QUERIES: u64 = 400;
    let site = Site::with("dns_rate = 5");
    let dug = site.outside(PORTAL, "A");
    assert_eq!(dug.answer.len(), 2);
    let mut query = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0".to_vec();
    for label in PORTAL.split('.') {
        query.push(u8::try_from(label.len()).expect("a label"));
        query.extend(label.bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    let server = SocketAddr::from((PUBLIC_V4, 53));
    let (whole, short) = site.net.outsider.within(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        for _ in 0..QUERIES {
            socket.send_to(&query, server).expect("a query sent");
        }
        let (mut whole, mut short, mut buffer) = (0, 0, [0; 2048]);
        while let Ok(length) = socket.recv(&mut buffer) {
            if buffer[2] & 2 == 0 {
                whole += 1;
            } else {
                short += 1;
                assert!(length <= query.len(), "a slipped answer amplifies");
            }
        }
        (whole, short)
    });
    let limited = site.counted("public", "rate_limited");
    assert_eq!(site.counted("public", "NOERROR"), whole + 1, "{short} short, {limited} limited");
    assert_eq!(whole + limited, QUERIES);
    assert_eq!(short, limited.div_ceil(2), "every second one");
    assert!(limited > QUERIES / 2, "{limited}");
    let tcp = dig(&site.net.outsider, PUBLIC, &["+tcp", PORTAL, "A"]);
    assert_eq!(tcp.answer.len(), 2, "{}", tcp.text);
}

/// A port in use refuses the change that needs it, and names it; nothing is different then.
#[test]
fn a_port_in_use_is_named() {
    let site = Site::with("");
    site.net.gateway.check("sysctl", &["-w", "net.ipv4.ip_nonlocal_bind=1"]);
    let squatter = site.net.gateway.within(|| UdpSocket::bind("10.7.0.5:53")).expect("a socket");
    let words = ["vpc", "add", "s1", "--interface", "lan0", "--address", "10.7.0.5/24", "--zone", "i"];
    let before = site.gateway.generation();
    let refused = site.gateway.cli(&words).refused();
    assert_eq!(refused["code"], "address_in_use", "{refused}");
    assert!(refused["message"].as_str().expect("a message").contains("10.7.0.5:53"), "{refused}");
    assert_eq!(site.gateway.generation(), before);
    drop(squatter);
    site.cli(&words);
    assert_eq!(site.first(PRIVATE, "A").answer.len(), 2);

    let mut site = site;
    site.gateway.stop();
    let _squatter = site.net.gateway.within(|| UdpSocket::bind("198.51.100.1:53")).expect("a socket");
    let ended = site.gateway.run_to_end(Duration::from_secs(20));
    assert_ne!(ended.code, Some(0), "{}", ended.framed());
    assert!(ended.stderr.contains("198.51.100.1:53"), "{}", ended.framed());
}

/// An interface that goes and comes back is answered at again, also under another number.
#[test]
fn a_network_whose_interface_comes_back_is_answered_again() {
    let site = Site::new();
    let answer = [format!("CNAME {FIRST_ENDPOINT}."), format!("A {FIRST}")];
    site.first(PRIVATE, "A").is(&answer.each_ref().map(String::as_str));
    site.net.gateway.ip(&["link", "del", "lan0"]);
    let state = |wanted: &str| {
        let status = site.cli(&["status"]);
        let sockets = status["dns"].as_array().expect("sockets").clone();
        sockets.iter().any(|socket| socket["view"] == "vpc:s1" && socket["state"] == wanted).then_some(())
    };
    wait::until("the loss to be noticed", || state("failed"));
    site.second(PRIVATE, "A").is(&[&format!("CNAME {SECOND_ENDPOINT}."), &format!("A {SECOND}")]);
    site.net.restore_lan();
    wait::until("the return to be noticed", || state("answering"));
    wait::until("an answer", || {
        (run_dig(&site.net.office, FIRST, &[PRIVATE, "A"]).code == Some(0)).then_some(())
    });
    site.first(PRIVATE, "A").is(&answer.each_ref().map(String::as_str));
}

/// A network that takes another's place in one change takes over its port.
#[test]
fn a_place_that_changes_hands_is_answered_by_its_new_owner() {
    let site = Site::new();
    let other = site.gateway.export().replace("name = \"s1\"", "name = \"s9\"");
    let file = site.gateway.scratch().write("other.toml", &other);
    site.cli(&["apply", "-f", file.to_str().expect("UTF-8")]);
    let endpoint = FIRST_ENDPOINT.replace("ep-s1", "ep-s9");
    site.first(PRIVATE, "A").is(&[&format!("CNAME {endpoint}."), &format!("A {FIRST}")]);
    site.first(FIRST_ENDPOINT, "A").is_denied("NXDOMAIN");
    let status = site.cli(&["status"]);
    let views = status["dns"].as_array().expect("sockets").iter();
    assert!(views.clone().any(|socket| socket["view"] == "vpc:s9"), "{status}");
    assert!(views.clone().all(|socket| socket["state"] == "answering"), "{status}");
}

/// The sockets are in `status`, come back after a restart, and answer the stored generation.
#[test]
fn a_restart_answers_the_same_names() {
    let mut site = Site::new();
    let seen = |site: &Site| {
        let status = site.cli(&["status"]);
        let sockets = status["dns"].as_array().expect("sockets").clone();
        assert_eq!(sockets.len(), 4, "{status}");
        for socket in &sockets {
            assert_eq!(
                (&socket["state"], &socket["generation"]),
                (&"answering".into(), &status["generation"])
            );
        }
        sockets
    };
    let before = seen(&site);
    let records = site.cli(&["dns", "records", "--vpc", "s1"]);
    let data = records["items"].as_array().expect("items").iter();
    assert!(data.clone().any(|row| row["name"] == FIRST_ENDPOINT && row["data"] == FIRST), "{records}");
    site.gateway.kill();
    site.gateway.run();
    assert_eq!(seen(&site), before);
    assert_eq!(site.cli(&["dns", "records", "--vpc", "s1"])["items"], records["items"]);
    site.first(PRIVATE, "A").is(&[&format!("CNAME {FIRST_ENDPOINT}."), &format!("A {FIRST}")]);
    assert!(site.gateway.human(&["dns", "query", PORTAL]).success().contains("NOERROR"));
    assert!(site.gateway.human(&["dns", "records"]).success().contains(FIRST_ENDPOINT));
}
