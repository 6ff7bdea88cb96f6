//! Who is told which names.

use std::sync::Arc;

use super::plan;
use crate::{
    base::{Generation, Name, Site},
    snapshot::{
        Endpoint, EndpointSubnet, Exposure, Listener, Snapshot, Visibility, Vpc,
        dns::{DnsData, DnsPlan, DnsView},
        filter::ListenAddress,
        http::{Access, Domain, Instance, Protocol, Service, Timeouts},
    },
};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn site() -> Site {
    Site {
        region: Some(name("eu")),
        dns_zone: Some("gw.example".to_owned()),
        dns: vec!["198.51.100.1:53".parse().unwrap()],
        dns_ttl: 30,
        ..Site::default()
    }
}

fn vpc(text: &str, address: &str) -> Arc<Vpc> {
    Arc::new(Vpc {
        gateway: name("default"),
        name: name(text),
        account: name("a"),
        interface: format!("{text}0"),
        address: address.parse().unwrap(),
        zone: name("i"),
        region: name("eu"),
        remote: false,
        probe: None,
        authoritative_dns: false,
    })
}

fn domain(host: &str, visibility: Visibility) -> Arc<Domain> {
    let (gateway, host) = (name("default"), host.to_owned());
    Arc::new(Domain { gateway, host, visibility, certificate: None, https_only: false })
}

fn service(text: &str, visibility: Visibility, hosts: &[&str]) -> Arc<Service> {
    let instance = |host: &&str| Instance { host: (*host).to_owned(), port: 8000, weight: 1 };
    Arc::new(Service {
        gateway: name("default"),
        name: name(text),
        visibility,
        protocol: Protocol::Http,
        instances: hosts.iter().map(instance).collect(),
        access: Access::Open,
        forward_token: false,
        body_limit: 1,
        qps: None,
        timeouts: Timeouts::default(),
        upstream: crate::snapshot::upstream::Upstream::default(),
        compression: vec![],
        decompress: false,
    })
}

fn snapshot() -> Snapshot {
    let public = Listener {
        gateway: name("default"),
        name: name("public"),
        id: 1,
        exposure: Exposure::Public,
        interface: "pub0".to_owned(),
        addresses: vec![ListenAddress::Ip("198.51.100.1".parse().unwrap()), ListenAddress::Any],
        http: None,
        https: Some(443),
        open: true,
        wait_address: false,
        caps: crate::snapshot::Caps::default(),
        proxy_protocol: false,
        forwarders: Arc::default(),
    };
    let subnet = |zone: &str, address: &str| EndpointSubnet {
        zone: name(zone),
        interface: "s10".to_owned(),
        address: address.parse().unwrap(),
    };
    let endpoint = Endpoint {
        gateway: name("default"),
        name: name("e1"),
        vpc: name("s1"),
        region: name("eu"),
        endpoint_service: name("dsw"),
        service_name: "dsw.eu".to_owned(),
        fqdn: "dsw.eu.example.com".to_owned(),
        service: name("chat"),
        certificate: None,
        subnets: vec![subnet("i", "10.1.0.8/24"), subnet("k", "10.1.1.8/24")],
    };
    Snapshot {
        generation: Generation((3 << 32) + 9),
        listeners: vec![Arc::new(public)],
        vpcs: vec![vpc("s1", "10.1.0.5/24"), vpc("s2", "10.2.0.5/24")],
        endpoints: vec![Arc::new(endpoint)],
        domains: vec![
            domain("*.wild.example.org", Visibility::AnyVpc),
            domain("both.example.org", Visibility::AnyVpc),
            domain("gw.example", Visibility::AnyVpc),
            domain("one.example.org", Visibility::Vpc(name("s1"))),
            domain("open.example.org", Visibility::Public),
        ],
        services: vec![
            service("chat", Visibility::All, &["10.9.0.2", "model.internal", "10.9.0.2", "fd00::2"]),
            service("hidden", Visibility::Public, &["10.9.0.3"]),
            service("named", Visibility::All, &["model.internal"]),
        ],
        ..Snapshot::default()
    }
}

/// What a view has under a name, as text; nothing for a name that is not there.
fn told(view: &DnsView, name: &str) -> Vec<String> {
    let data = view.zones.iter().filter_map(|zone| zone.records.get(name)).flatten();
    data.map(|data| match data {
        DnsData::Address(ip) | DnsData::Watched { address: ip, .. } => ip.to_string(),
        DnsData::Interface { interface, v4, v6 } => format!("{interface} {v4} {v6}"),
        DnsData::Alias(target) => target.clone(),
    })
    .collect()
}

fn origins(view: &DnsView) -> Vec<&str> {
    view.zones.iter().map(|zone| zone.origin.as_str()).collect()
}

fn views(snapshot: &Snapshot) -> [Arc<DnsView>; 3] {
    let plan = plan(snapshot, &site(), &DnsPlan::default());
    assert_eq!((plan.serial, plan.ttl), (9, 30));
    let view = |vpc: Option<&str>| Arc::clone(plan.view(vpc.map(name).as_ref()).unwrap());
    [view(None), view(Some("s1")), view(Some("s2"))]
}

#[test]
fn pa_6_everybody_is_told_where_the_portal_is() {
    for view in views(&snapshot()) {
        assert_eq!(told(&view, "gw-default.eu.gw.example"), ["nlb-default.eu.gw.example"]);
        assert_eq!(told(&view, "nlb-default.eu.gw.example"), ["198.51.100.1", "pub0 true true"]);
    }
    let mut closed = snapshot();
    closed.listeners.clear();
    assert!(told(&views(&closed)[0], "gw-default.eu.gw.example").is_empty(), "no portal, no name");
}

#[test]
fn pv_4_each_network_is_told_its_own_endpoint() {
    let [outside, first, second] = views(&snapshot());
    let (private, chain) =
        ("gw-default-vpc.eu.gw.example", |vpc| format!("ep-{vpc}.epsrv-default.eu.privatelink.gw.example"));
    for (view, own, other, address) in [(&first, "s1", "s2", "10.1.0.5"), (&second, "s2", "s1", "10.2.0.5")] {
        assert_eq!(told(view, private), [chain(own)]);
        assert_eq!(told(view, &chain(own)), [address]);
        assert!(told(view, &chain(other)).is_empty());
        assert_eq!(told(view, "ns.gw.example"), [address]);
        let place = view.place.as_ref().unwrap();
        assert_eq!(
            (place.interface.as_str(), place.address.to_string()),
            (&*format!("{own}0"), address.to_owned())
        );
    }
    assert!(told(&outside, private).is_empty());
    assert_eq!(told(&outside, "ns.gw.example"), ["198.51.100.1"]);
    assert_eq!(outside.place, None);
}

#[test]
fn cd_5_domains_of_a_network_are_zones_there_and_nowhere_else() {
    let [outside, first, second] = views(&snapshot());
    assert_eq!(origins(&outside), ["gw.example"]);
    assert_eq!(
        origins(&first),
        ["*.wild.example.org", "both.example.org", "dsw.eu.example.com", "gw.example", "one.example.org"]
    );
    assert_eq!(origins(&second), ["*.wild.example.org", "both.example.org", "gw.example"]);
    assert_eq!(told(&first, "one.example.org"), ["10.1.0.5"]);
    assert_eq!(told(&second, "both.example.org"), ["10.2.0.5"]);
}

#[test]
fn pl_7_an_endpoint_has_an_address_in_each_zone() {
    let [_, first, second] = views(&snapshot());
    assert_eq!(told(&first, "dsw.eu.example.com"), ["10.1.0.8", "10.1.1.8"]);
    assert!(told(&second, "dsw.eu.example.com").is_empty());
}

#[test]
fn instances_are_named_to_networks_that_may_see_the_service() {
    let [outside, first, _] = views(&snapshot());
    assert_eq!(told(&first, "chat.direct-default.eu.gw.example"), ["10.9.0.2", "fd00::2"]);
    for absent in ["hidden.direct-default.eu.gw.example", "named.direct-default.eu.gw.example"] {
        assert!(told(&first, absent).is_empty(), "{absent}");
    }
    assert!(told(&outside, "chat.direct-default.eu.gw.example").is_empty());
}

#[test]
fn ad_1_one_network_may_speak_for_outsiders_too() {
    let mut snapshot = snapshot();
    let mut open = (*snapshot.vpcs[0]).clone();
    open.authoritative_dns = true;
    snapshot.vpcs[0] = Arc::new(open);
    let [outside, first, second] = views(&snapshot);
    assert_eq!(told(&outside, "ep-s1.epsrv-default.eu.privatelink.gw.example"), ["10.1.0.5"]);
    assert_eq!(told(&outside, "gw-default-vpc.eu.gw.example"), told(&first, "gw-default-vpc.eu.gw.example"));
    assert_eq!(told(&outside, "one.example.org"), ["10.1.0.5"]);
    assert_eq!(told(&outside, "ns.gw.example"), ["198.51.100.1"], "outsiders go on asking where they ask");
    assert!(told(&second, "one.example.org").is_empty(), "another network is no outsider");
}

#[test]
fn without_a_zone_there_are_only_custom_domains() {
    let plan = plan(&snapshot(), &Site::default(), &DnsPlan::default());
    assert!(plan.view(None).unwrap().zones.is_empty());
    let first = plan.view(Some(&name("s1"))).unwrap();
    assert_eq!(
        origins(first),
        ["*.wild.example.org", "both.example.org", "dsw.eu.example.com", "gw.example", "one.example.org"]
    );
    for zone in &first.zones {
        let host = zone.origin.trim_start_matches("*.");
        assert_eq!(zone.name_server, format!("ns.{host}"));
        assert_eq!(zone.records.contains_key(&zone.name_server), !zone.wildcard, "{}", zone.origin);
    }
}

#[test]
fn views_that_did_not_change_are_the_same_object() {
    let (mut snapshot, site) = (snapshot(), site());
    let before = plan(&snapshot, &site, &DnsPlan::default());
    snapshot.generation = snapshot.generation.next();
    snapshot.domains.retain(|domain| domain.host != "one.example.org");
    let after = plan(&snapshot, &site, &before);
    assert_eq!(after.serial, before.serial + 1);
    let same = |vpc: Option<&str>| {
        let vpc = vpc.map(name);
        Arc::ptr_eq(before.view(vpc.as_ref()).unwrap(), after.view(vpc.as_ref()).unwrap())
    };
    assert!(same(None) && same(Some("s2")) && !same(Some("s1")));
}
