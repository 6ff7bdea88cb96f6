//! Endpoint services and endpoints: every field is judged, repetitions are known, and what is published fits together.

use super::world::{self, World, certificate, cidrs, listener_on, n, service, told, vpc};
use crate::{
    base::{Name, Refusal, Site},
    control::{Edit, FirstStart, Options},
    resource::{Endpoint, EndpointService, Exposure, Service, Vpc, from_toml},
    snapshot::{self, OwnedAddress, filter::Echo},
};

/// A site in cn-a, a network `s1`, a service `dsw` that answers, and an endpoint service `dsw` in two regions.
fn world() -> World {
    let mut world = World::new(FirstStart::Empty);
    world.control.site =
        Site { region: Some(n("cn-a")), dns_zone: Some("gw.example".to_owned()), ..Site::default() };
    world.ok(Edit::VpcAdd(vpc("s1", "if1", "10.0.0.10/24")));
    world.ok(Edit::ServiceAdd(Box::new(Service { no_auth: true, ..service("dsw", "10.9.9.9:80") })));
    world.ok(Edit::EndpointServiceAdd { service: offer(), replace: false });
    world
}

fn offer() -> EndpointService {
    from_toml(
        "name='dsw'\nservice_name='com.example.privatelink.{region}.dsw'\n\
         dns='dsw-vpc.{region}.example.com'\nregions=['cn-a', 'cn-b']\nservice='dsw'\n",
    )
    .unwrap()
}

fn endpoint(subnets: &str) -> Endpoint {
    world::endpoint("e", "dsw", "s1", subnets)
}

const TWO: &str = "a=10.0.0.20/24,b=10.0.1.20/24@if2";

fn parsed(more: &str) -> Result<Endpoint, Refusal> {
    from_toml(&format!("name='e'\nservice='dsw'\nvpc='s1'\n{more}\n"))
}

#[test]
fn pl_1_an_endpoint_has_addresses_listeners_and_a_name_in_its_network_only() {
    let mut world = world();
    let outcome = world.ok(Edit::EndpointAdd(endpoint(TWO)));
    assert!(outcome.notes.is_empty(), "{:?}", outcome.notes);
    assert_eq!(outcome.item["fqdn"], "dsw-vpc.cn-a.example.com");
    assert_eq!(outcome.item["service_name"], "com.example.privatelink.cn-a.dsw");
    assert_eq!(outcome.item["zone_redundancy"], true);
    let live = world.live("filter");
    let own = |interface: &str, address: &str| OwnedAddress {
        interface: interface.to_owned(),
        address: address.parse().unwrap(),
    };
    assert_eq!(
        live.addresses,
        [own("if1", "10.0.0.10/24"), own("if1", "10.0.0.20/24"), own("if2", "10.0.1.20/24")]
    );
    let [endpoint] = live.endpoints.as_slice() else { panic!("{live:?}") };
    assert_eq!((endpoint.fqdn.as_str(), endpoint.vpc.as_str()), ("dsw-vpc.cn-a.example.com", "s1"));
    assert_eq!((endpoint.service.as_str(), endpoint.region.as_str()), ("dsw", "cn-a"));
    let listeners: Vec<_> = live
        .listeners
        .iter()
        .filter(|one| one.exposure == snapshot::Exposure::Endpoint(n("e")))
        .map(|one| (one.name.as_str(), one.interface.as_str(), one.http, one.https, one.wait_address))
        .collect();
    assert_eq!(
        listeners,
        [
            ("endpoint:e", "if1", Some(80), Some(443), true),
            ("endpoint:e:b", "if2", Some(80), Some(443), true)
        ]
    );
    for name in ["endpoint:e", "endpoint:e:b"] {
        let policy = live.filter.listeners.iter().find(|one| one.name.as_str() == name).unwrap();
        assert_eq!((policy.echo, policy.open), (Echo::Allowlist, true));
        let entries: Vec<String> = policy.entries.iter().map(|entry| entry.cidr.to_string()).collect();
        assert_eq!(entries, ["10.0.0.0/16"]);
    }
    // All of it survives a restart, and an export that is applied changes nothing.
    let before = told(&world.live("proxy"));
    let site = world.control.site.clone();
    world.reopen();
    world.control.site = site;
    world.control.republish().unwrap();
    assert_eq!(told(&world.live("proxy")), before);
    let same = world.control.export(false);
    assert_eq!((same.listener.len(), same.endpoint.len(), same.endpoint_service.len()), (0, 1, 1));
    let text = same.text().unwrap();
    let read = crate::control::Document::parse(&text).unwrap();
    assert!(!world.ok(Edit::Apply(Box::new(read))).changed, "{text}");
}

#[test]
fn pl_2_a_region_that_is_not_offered_is_refused_with_the_list() {
    let mut world = world();
    world.ok(Edit::VpcAdd(Vpc { region: Some(n("cn-x")), ..vpc("far", "if7", "10.7.0.10/24") }));
    let far = Endpoint { vpc: n("far"), ..endpoint("a=10.7.0.20/24") };
    let refusal = world.refused(Edit::EndpointAdd(far.clone()));
    assert_eq!((refusal.code.as_str(), refusal.limit.as_deref()), ("unsupported_region", Some("cn-a, cn-b")));
    // Where it is offered, the region stands in both names.
    let mut wider = offer();
    wider.regions.push(n("cn-x"));
    world.ok(Edit::EndpointServiceAdd { service: wider, replace: true });
    let outcome = world.ok(Edit::EndpointAdd(far));
    assert_eq!(outcome.item["fqdn"], "dsw-vpc.cn-x.example.com");
    // It is in use there now.
    let refusal = world.refused(Edit::EndpointServiceAdd { service: offer(), replace: true });
    assert_eq!(refusal.code, "unsupported_region");
    assert!(refusal.message.contains("endpoint `e`"), "{refusal}");
}

#[test]
fn pl_2_services_are_found_by_a_part_of_any_of_their_names() {
    let mut world = world();
    let other = EndpointService { name: n("dlc"), dns: "pai-DLC.{region}.example.com".to_owned(), ..offer() };
    world.ok(Edit::EndpointServiceAdd { service: other, replace: false });
    let found = |text: &str| {
        let all = world.control.endpoint_services(Some(text)).items;
        all.iter().map(|one| one.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(found("dsw-vpc"), ["dsw"]);
    assert_eq!(found("PAI-dlc"), ["dlc"]);
    assert_eq!(found("privatelink"), ["dlc", "dsw"]);
    assert!(found("nothing").is_empty());
}

#[test]
fn pl_3_each_field_is_judged_and_the_refusal_names_it() {
    for (form, code, field) in [
        ("subnets=[]", "missing_field", "subnets"),
        ("subnets='a=10.0.0.20'", "invalid_address", "address"),
        ("subnets='a=10.0.0.0/24'", "invalid_address", "address"),
        ("subnets='a=127.0.0.9/8'", "invalid_address", "subnets"),
        ("subnets='10.0.0.20/24'", "invalid_subnet", "subnets"),
        ("subnets='A=10.0.0.20/24'", "invalid_name", "zone"),
        ("subnets='a=10.0.0.20/24@no such'", "invalid_interface", "interface"),
        ("subnets='a:v/s=10.0.0.20/24'", "invalid_vswitch", "vswitch"),
        ("subnets='a=10.0.0.20/24,a=10.0.0.21/24'", "duplicate", "subnets"),
        ("subnets='a=10.0.0.20/24,b=10.0.0.20/24@if2'", "duplicate", "subnets"),
        ("subnets='a=2001:db8::20/64'", "ipv4_only", "subnets"),
        ("subnets='a=10.0.0.20/24'\nip_version='ipv6'", "ipv4_only", "ip_version"),
        ("subnets='a=10.0.0.20/24'\nip_version='ipv5'", "invalid", "value"),
        ("subnets='a=10.0.0.20/24'\nkind='gateway'", "invalid", "value"),
        ("subnets='a=10.0.0.20/24'\nsecurity_group='2001:db8::/64'", "ipv4_only", "security_group"),
        ("subnets='a=10.0.0.20/24'\nsecurity_group='10.0.0.1/16'", "host_bits", "cidr"),
        ("subnets='a=10.0.0.20/24'\nhttp=false\nhttps=false", "missing_field", "https"),
        ("subnets='a=10.0.0.20/24'\nclient_token=''", "invalid_client_token", "client_token"),
        ("subnets='a=10.0.0.20/24'\nclient_token='a b'", "invalid_client_token", "client_token"),
        ("subnets='a=10.0.0.20/24'\ncolour='red'", "unknown_field", "key"),
        ("subnets=[{ zone = 'a', address = '10.0.0.20/24', colour = 'red' }]", "unknown_field", "key"),
    ] {
        let refusal = parsed(form).and_then(|one| one.validate()).unwrap_err();
        assert_eq!(
            (refusal.code.as_str(), refusal.field.as_deref()),
            (code, Some(field)),
            "{form}: {refusal}"
        );
        assert!(refusal.remedy.is_some(), "{form}");
    }
    // Both forms of a subnet are one.
    let table = "subnets=[{ zone='a', vswitch='vsw-1', address='10.0.0.20/24', interface='if2' }]";
    assert_eq!(parsed(table).unwrap(), parsed("subnets='a:vsw-1=10.0.0.20/24@if2'").unwrap());
}

#[test]
fn pl_3_the_network_is_of_the_same_region_and_the_zones_are_the_sites() {
    let mut world = world();
    let refusal = world.refused(Edit::EndpointAdd(Endpoint { region: Some(n("cn-b")), ..endpoint(TWO) }));
    assert_eq!((refusal.code.as_str(), refusal.limit.as_deref()), ("other_region", Some("cn-a")));
    let refusal = world.refused(Edit::EndpointAdd(Endpoint { vpc: n("s9"), ..endpoint(TWO) }));
    assert_eq!((refusal.code.as_str(), refusal.field.as_deref()), ("not_found", Some("vpc")));
    let refusal = world.refused(Edit::EndpointAdd(Endpoint { service: n("dlc"), ..endpoint(TWO) }));
    assert_eq!((refusal.code.as_str(), refusal.field.as_deref()), ("not_found", Some("endpoint_service")));
    world.control.site.zones = vec![n("i"), n("a")];
    let refusal = world.refused(Edit::EndpointAdd(endpoint(TWO)));
    assert_eq!(refusal.message, "subnet 10.0.1.20/24 in zone b is not supported, supported zones: [i a]");
    world.ok(Edit::EndpointAdd(endpoint("a=10.0.0.20/24")));
}

#[test]
fn pl_3_one_zone_is_taken_with_a_warning_and_an_empty_security_group_with_another() {
    let mut world = world();
    let outcome = world.ok(Edit::EndpointAdd(endpoint("a=10.0.0.20/24")));
    let [note] = outcome.notes.as_slice() else { panic!("{:?}", outcome.notes) };
    assert!(note.starts_with("no zone redundancy"), "{note}");
    assert_eq!(outcome.item["zone_redundancy"], false);
    world.ok(Edit::EndpointDelete { endpoint: n("e") });
    let closed = Endpoint { security_group: cidrs(""), ..endpoint(TWO) };
    let outcome = world.ok(Edit::EndpointAdd(closed));
    assert!(outcome.notes[0].contains("endpoint allow add e"), "{:?}", outcome.notes);
    let policy = world.live("filter").filter.listeners.clone();
    assert!(policy.iter().filter(|one| one.name.endpoint() == Some("e")).all(|one| one.entries.is_empty()));
}

#[test]
fn pl_4_a_repetition_with_the_same_token_changes_nothing_and_other_parameters_are_refused() {
    let mut world = world();
    let asked = Endpoint { client_token: Some("t-1".to_owned()), ..endpoint(TWO) };
    assert!(world.ok(Edit::EndpointAdd(asked.clone())).changed);
    let again = world.ok(Edit::EndpointAdd(asked.clone()));
    assert!(!again.changed && again.item["name"] == "e");
    // Also after the security group was changed, an export was applied, and the daemon was started again.
    let listener = Name::of_endpoint_listener(&n("e"), None);
    world.ok(Edit::AllowAdd { listener, cidrs: cidrs("10.1.0.0/16") });
    let export = world.control.export(false);
    world.ok(Edit::Apply(Box::new(export)));
    let site = world.control.site.clone();
    world.reopen();
    world.control.site = site;
    assert!(!world.ok(Edit::EndpointAdd(asked.clone())).changed);
    for other in [
        Endpoint { name: n("f"), ..asked.clone() },
        Endpoint { security_group: cidrs("10.3.0.0/16"), ..asked.clone() },
        Endpoint { http: None, ..asked.clone() },
    ] {
        let refusal = world.refused(Edit::EndpointAdd(other));
        assert_eq!(
            (refusal.code.as_str(), refusal.field.as_deref()),
            ("client_token_used", Some("client_token"))
        );
    }
    // Without a token the name decides.
    let refusal = world.refused(Edit::EndpointAdd(endpoint(TWO)));
    assert_eq!(refusal.code, "exists");
    // A deleted endpoint's token is free again.
    world.ok(Edit::EndpointDelete { endpoint: n("e") });
    assert!(world.ok(Edit::EndpointAdd(asked)).changed);
}

#[test]
fn the_security_group_and_the_switch_are_the_same_on_every_interface() {
    let mut world = world();
    world.ok(Edit::EndpointAdd(endpoint(TWO)));
    let lists = |world: &World| -> Vec<(Vec<String>, bool)> {
        let all = world.live("filter").filter.listeners.clone();
        let own = all.iter().filter(|one| one.name.endpoint() == Some("e"));
        own.map(|one| (one.entries.iter().map(|entry| entry.cidr.to_string()).collect(), one.open)).collect()
    };
    let second = Name::of_endpoint_listener(&n("e"), Some(&n("b")));
    let outcome = world.ok(Edit::AllowSet {
        listener: second.clone(),
        cidrs: cidrs("10.5.0.0/16"),
        allow_empty: false,
    });
    assert_eq!(outcome.item["security_group"], serde_json::json!(["10.5.0.0/16"]));
    world.ok(Edit::ListenerClose { listener: Name::of_endpoint_listener(&n("e"), None) });
    assert_eq!(lists(&world), vec![(vec!["10.5.0.0/16".to_owned()], false); 2]);
    assert!(!world.control.endpoint("e").unwrap().open);
    // A refused entry changes neither.
    let refusal = world.refused(Edit::AllowAdd { listener: second.clone(), cidrs: cidrs("2001:db8::/32") });
    assert_eq!(refusal.code, "ipv4_only");
    let refusal = world.refused(Edit::AllowRemove {
        listener: second.clone(),
        cidrs: cidrs("10.6.0.0/16"),
        drain: None,
    });
    assert_eq!(refusal.code, "not_found");
    let refusal = world.refused(Edit::ListenerDelete { listener: second });
    assert!(refusal.remedy.unwrap().contains("endpoint delete e"));
    // The difference is told of the endpoint, not of its listeners.
    let listener = Name::of_endpoint_listener(&n("e"), None);
    let outcome = world.ok(Edit::AllowAdd { listener, cidrs: cidrs("10.8.0.0/16") });
    let lines: Vec<String> = outcome.diff.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["+ endpoint e.security_group: \"10.8.0.0/16\""]);
}

#[test]
fn an_address_is_one_endpoints_and_its_interface_of_no_other_network() {
    let mut world = world();
    world.ok(Edit::EndpointAdd(endpoint("a=10.0.0.20/24")));
    let mut other = offer();
    (other.name, other.dns) = (n("dlc"), "dlc-vpc.{region}.example.com".to_owned());
    world.ok(Edit::EndpointServiceAdd { service: other, replace: false });
    let second = |subnets: &str| Endpoint { name: n("f"), service: n("dlc"), ..endpoint(subnets) };
    for taken in ["a=10.0.0.20/24", "a=10.0.0.10/24"] {
        let refusal = world.refused(Edit::EndpointAdd(second(taken)));
        assert_eq!(refusal.code, "conflict", "{taken}: {refusal}");
    }
    // Other ports do not help.
    let refusal = world.refused(Edit::EndpointAdd(Endpoint {
        http: Some(8080),
        https: None,
        ..second("a=10.0.0.20/24")
    }));
    assert_eq!(refusal.code, "conflict");
    let mut public = listener_on("edge", "if1", "10.0.0.20");
    (public.http, public.https) = (Some(8080), None);
    let refusal = world.refused(Edit::ListenerAdd(public));
    assert!(refusal.code == "conflict" && refusal.message.contains("endpoint `e`"), "{refusal}");
    // Overlapping networks are apart: the same address on another network's interface is another address.
    world.ok(Edit::VpcAdd(vpc("s2", "if2", "10.0.0.10/24")));
    world.ok(Edit::EndpointAdd(Endpoint { vpc: n("s2"), ..second("a=10.0.0.20/24") }));
    let refusal = world.refused(Edit::EndpointAdd(Endpoint {
        name: n("g"),
        service: n("dlc"),
        ..endpoint("a=10.0.0.30/24,b=10.0.1.30/24@if2")
    }));
    assert!(refusal.code == "foreign_interface" && refusal.message.contains("`s2`"), "{refusal}");
    // One endpoint of a service per network: their host names would be one.
    let refusal = world.refused(Edit::EndpointAdd(Endpoint { name: n("g"), ..endpoint("b=10.0.0.30/24") }));
    assert!(refusal.code == "conflict" && refusal.field.as_deref() == Some("service"), "{refusal}");
}

#[test]
fn what_an_endpoint_uses_stays() {
    let mut world = world();
    world.ok(Edit::CertificateAdd { certificate: certificate("c", &["*.cn-a.example.com"]), replace: false });
    let certified = EndpointService { cert: Some(n("c")), ..offer() };
    world.ok(Edit::EndpointServiceAdd { service: certified, replace: true });
    world.ok(Edit::EndpointAdd(endpoint(TWO)));
    for edit in [
        Edit::VpcDelete { vpc: n("s1") },
        Edit::EndpointServiceDelete { service: n("dsw") },
        Edit::ServiceDelete { service: n("dsw") },
        Edit::CertificateDelete { certificate: n("c") },
    ] {
        let refusal = world.refused(edit);
        assert_eq!(refusal.code, "in_use", "{refusal}");
    }
    let wrong = certificate("w", &["other.example.com"]);
    world.ok(Edit::CertificateAdd { certificate: wrong, replace: false });
    let refusal = world.refused(Edit::EndpointServiceAdd {
        service: EndpointService { cert: Some(n("w")), ..offer() },
        replace: true,
    });
    assert_eq!(refusal.code, "not_covered");
    // A service that does not answer in the network cannot be what answers at its endpoint.
    let hidden = Service { no_auth: true, exposure: Exposure::Public, ..service("hidden", "10.9.9.9:80") };
    world.ok(Edit::ServiceAdd(Box::new(hidden)));
    let refusal = world.refused(Edit::EndpointServiceAdd {
        service: EndpointService { service: n("hidden"), ..offer() },
        replace: true,
    });
    assert_eq!(refusal.code, "not_visible");
}

#[test]
fn a_deleted_endpoint_leaves_silent_addresses_behind() {
    let mut world = world();
    world.ok(Edit::EndpointAdd(endpoint(TWO)));
    world.ok(Edit::EndpointDelete { endpoint: n("e") });
    let live = world.live("filter");
    assert!(live.endpoints.is_empty() && live.addresses.len() == 1, "{live:?}");
    let silent: Vec<&str> = live
        .filter
        .listeners
        .iter()
        .filter(|one| one.echo == Echo::Silent && !one.open)
        .map(|one| one.interface.as_str())
        .collect();
    assert_eq!(silent, ["if1", "if2"]);
    let ids: std::collections::BTreeSet<u16> = live.filter.listeners.iter().map(|one| one.id).collect();
    assert_eq!(ids.len(), live.filter.listeners.len());
}

#[test]
fn an_applied_document_moves_an_endpoint_and_a_rollback_brings_it_back_only_with_yes() {
    let mut world = world();
    world.ok(Edit::EndpointAdd(endpoint(TWO)));
    let generation = world.control.generation();
    let mut document = world.control.export(false);
    document.endpoint[0].subnets.pop();
    world.ok(Edit::Apply(Box::new(document)));
    let live = world.live("filter");
    assert_eq!(live.endpoints[0].subnets.len(), 1);
    assert!(live.listeners.iter().all(|one| one.name.as_str() != "endpoint:e:b"));
    let refusal = world.refused(Edit::Rollback { generation, yes: false });
    assert!(refusal.code == "needs_yes" && refusal.message.contains("endpoint:e"), "{refusal}");
    world.ok(Edit::Rollback { generation, yes: true });
    assert_eq!(world.live("filter").endpoints[0].subnets.len(), 2);
}

#[test]
fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let mut world = world();
    let before = world.bytes();
    let options = Options { dry_run: true, ..Options::default() };
    let outcome = world.control.edit(Edit::EndpointAdd(endpoint(TWO)), options).unwrap();
    assert!(outcome.changed && outcome.item["fqdn"] == "dsw-vpc.cn-a.example.com");
    assert_eq!(world.bytes(), before);
    assert!(world.live("filter").endpoints.is_empty());
}

#[test]
fn templates_of_endpoint_services_make_host_names() {
    let form = |service_name: &str, dns: &str| {
        let text = format!("name='x'\nservice='dsw'\nservice_name='{service_name}'\ndns='{dns}'\n");
        from_toml::<EndpointService>(&text).and_then(|one| one.validate().map(|()| one))
    };
    let good = form("com.example.privatelink.{region}.x", "X-vpc.{region}.Example.com").unwrap();
    assert_eq!(good.host("cn-a").unwrap().as_str(), "x-vpc.cn-a.example.com");
    assert!(good.offered_in("anywhere"));
    assert!(form("a.b", "x.example.com").is_ok(), "a template may do without the region");
    for (service_name, dns, field) in [
        ("a.b", "", "dns"),
        ("a.b", "x", "dns"),
        ("a.b", "*.{region}.example.com", "dns"),
        ("a.b", "x.{zone}.example.com", "dns"),
        ("a.b", "x.{region}.{region}.example.com", "dns"),
        ("a.b", "x_{region}.example.com", "dns"),
        ("a b.{region}", "x.{region}.example.com", "service_name"),
    ] {
        let refusal = form(service_name, dns).unwrap_err();
        assert_eq!(
            (refusal.code.as_str(), refusal.field.as_deref()),
            ("invalid_template", Some(field)),
            "{dns}"
        );
    }
    // A region that makes the name too long is refused where it is named.
    let mut long = good;
    long.dns = format!("x.{{region}}.{}.example.com", ["a".repeat(60).as_str(); 3].join("."));
    long.regions = vec![n(&"r".repeat(63))];
    assert_eq!(long.validate().unwrap_err().code, "invalid_template");
}

#[test]
fn pa_6_the_gateway_shows_its_names_and_services_their_urls_below_the_zone() {
    let mut world = world();
    world.ok(Edit::ListenerAdd(listener_on("edge", "eth0", "203.0.113.10")));
    world.ok(Edit::EndpointAdd(endpoint(TWO)));
    let gateway = world.control.gateway("default").unwrap();
    assert_eq!(gateway.public_name.as_deref(), Some("gw-default.cn-a.gw.example"));
    assert_eq!(gateway.public_target.as_deref(), Some("nlb-default.cn-a.gw.example"));
    let [own] = gateway.private_names.as_slice() else { panic!("{gateway:?}") };
    assert_eq!(own.name, "gw-default-vpc.cn-a.gw.example");
    assert_eq!(own.target, "ep-s1.epsrv-default.cn-a.privatelink.gw.example");
    assert_eq!(world.control.gateway("other").unwrap_err().code, "not_found");
    let urls = world.control.service("dsw").unwrap().endpoints;
    for url in [
        "https://gw-default.cn-a.gw.example/api/predict/dsw",
        "https://gw-default-vpc.cn-a.gw.example/api/predict/dsw",
        "https://dsw-vpc.cn-a.example.com",
        "https://203.0.113.10/api/predict/dsw",
    ] {
        assert!(urls.iter().any(|one| one == url), "{url} is not among {urls:?}");
    }
    // What the data path answers to is the same.
    let live = world.live("proxy");
    let hosts: Vec<_> = live.own_hosts.iter().map(|own| (own.host.as_str(), &own.exposure)).collect();
    let (public, private) = (&snapshot::Exposure::Public, &snapshot::Exposure::Vpc(n("s1")));
    assert_eq!(
        hosts,
        [
            ("ep-s1.epsrv-default.cn-a.privatelink.gw.example", private),
            ("gw-default-vpc.cn-a.gw.example", private),
            ("gw-default.cn-a.gw.example", public),
            ("nlb-default.cn-a.gw.example", public),
        ]
    );
    // Without a zone there are no names.
    world.control.site.dns_zone = None;
    world.control.republish().unwrap();
    let gateway = world.control.gateway("default").unwrap();
    assert_eq!((gateway.public_name, gateway.private_names.len()), (None, 0));
    assert!(world.live("proxy").own_hosts.is_empty());
}
