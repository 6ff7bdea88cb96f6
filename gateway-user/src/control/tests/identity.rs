//! `export | apply` is the identity for any configuration, on the same state and, with secrets, on an empty one.

use std::{num::NonZeroU32, time::Duration};

use proptest::{prelude::*, sample::Index};

use super::{upstreams::upstream, world::n};
use crate::{
    base::{Generation, Refusal},
    control::{
        Document, Edit, State,
        compile::compile,
        diff::diff,
        state::{Context, export::Secrets},
    },
    resource::{
        Account, Address, Allowlist, Domain, Exposure, Grant, Host, Limits, Listener, Mirror, Protocol,
        Route, Secret, Service, Timeouts, Vpc, WeightedService, allowlist::cidr, gateway, vpc::vip,
    },
    snapshot::Snapshot,
};

fn context<T>(work: impl FnOnce(&Context<'_>) -> T) -> T {
    let seed = std::cell::Cell::new(0_u8);
    work(&Context {
        now: Duration::from_secs(1_700_000_000),
        own: &[],
        site: &crate::base::Site::default(),
        random: &|| {
            seed.set(seed.get() + 1);
            Ok([seed.get(); 32])
        },
        history: &|_: Generation| Err(Refusal::new("not_found", "no history")),
        key: &|_| None,
    })
}

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9][a-z0-9-]{0,10}"
}

fn host() -> impl Strategy<Value = Host> {
    "(\\*\\.)?[a-z][a-z0-9]{0,5}\\.[a-z]{2,4}\\.org".prop_map(|text| text.parse().unwrap())
}

fn exposure() -> impl Strategy<Value = Exposure> {
    prop_oneof![
        Just(Exposure::Public),
        Just(Exposure::Vpc),
        name().prop_map(|vpc| Exposure::VpcNamed(n(&vpc)))
    ]
}

fn allow() -> impl Strategy<Value = Allowlist> {
    let v4 = (any::<u8>(), any::<u8>()).prop_map(|(a, b)| cidr(&format!("{a}.{b}.0.0/16")).unwrap());
    let v6 = any::<u16>().prop_map(|a| cidr(&format!("2001:{a:x}::/32")).unwrap());
    proptest::collection::vec(prop_oneof![v4, v6], 0..=15).prop_map(Allowlist::from_cidrs)
}

fn long() -> impl Strategy<Value = Allowlist> {
    (10..100_u8, 16..40_u8).prop_map(|(a, count)| {
        Allowlist::from_cidrs((0..count).map(|b| cidr(&format!("{a}.{b}.0.0/16")).unwrap()))
    })
}

prop_compose! {
    fn listener(place: usize)(
        name in name(),
        address in prop_oneof![
            Just(Address::Any),
            any::<[u8; 2]>().prop_map(|[a, b]| Address::Ip([10, 1, a, b].into())),
            any::<u16>().prop_map(|a| format!("2001:db8::{a:x}").parse().unwrap()),
        ],
        http in proptest::option::of(1_u16..1000),
        https in 1000_u16..,
        open: bool, wait_address: bool, proxy_protocol: bool, trusted_forwarders in allow(),
        allow in allow(), limits in limits(),
    ) -> Listener {
        Listener {
            name: n(&name), gateway: gateway::default_name(), exposure: Exposure::Public,
            // An interface each, so that no two share an endpoint.
            interface: format!("if{place}"), addresses: vec![address], http, https: Some(https), open, wait_address, limits,
            proxy_protocol, trusted_forwarders, allow,
        }
    }
}

prop_compose! {
    fn limits()(syn_rate in proptest::option::of(1_u32..1000), max_connections in proptest::option::of(1_u32..1000)) -> Limits {
        Limits {
            syn_rate: syn_rate.and_then(NonZeroU32::new),
            max_connections: max_connections.and_then(NonZeroU32::new),
            ..Limits::default()
        }
    }
}

prop_compose! {
    fn vpc(place: usize)(
        name in name(),
        v6: bool, octet in 1_u8..255, length in 8_u8..=24,
        vswitch in proptest::option::of("vsw-[a-z0-9]{1,6}"),
        region in proptest::option::of(name()),
        probe: bool, http in proptest::option::of(1_u16..1000), https in 1000_u16.., open: bool,
        allow in proptest::option::of(prop_oneof![allow(), long()]),
        (trusted_forwarders, limits, proxy_protocol) in (allow(), limits(), any::<bool>()),
    ) -> Vpc {
        let address = if v6 { format!("2001:db8:1::{octet:x}/64") } else { format!("10.2.3.{octet}/{length}") };
        let probe = probe.then(|| if v6 { "2001:db8:9::9" } else { "10.9.9.9" }.parse().unwrap());
        Vpc {
            name: n(&name), gateway: gateway::default_name(), account: gateway::default_name(),
            interface: format!("net{place}"), address: vip(&address).unwrap(), zone: n("i"), vswitch,
            region: region.map(|region| n(&region)), probe, authoritative_dns: place == 0,
            http, https: Some(https), open, limits, proxy_protocol, trusted_forwarders, allow,
        }
    }
}

prop_compose! {
    fn service()(
        name in name(),
        protocol in prop_oneof![Just(Protocol::Http), Just(Protocol::Http2), Just(Protocol::Grpc)],
        exposure in prop_oneof![Just(Exposure::All), exposure()],
        body_limit in 0_u64..1 << 40,
        qps in proptest::option::of(1_u32..1_000_000),
        no_auth: bool, forward_token: bool,
        millis in 1_u64..100_000,
        token in proptest::option::of("[!-~]{1,40}"),
    ) -> Service {
        let timeouts = Timeouts { idle: Duration::from_millis(millis), ..Timeouts::default() };
        let token = token.filter(|_| !no_auth).map(|token| Secret::new(&token).unwrap());
        Service {
            protocol, exposure, body_limit, qps, no_auth, forward_token, timeouts, token,
            ..Service::new(n(&name))
        }
    }
}

prop_compose! {
    fn document()(
        listener in (0..6_usize).prop_flat_map(|count| (0..count).map(listener).collect::<Vec<_>>()),
        vpc in (0..4_usize).prop_flat_map(|count| (0..count).map(vpc).collect::<Vec<_>>()),
        account in proptest::collection::btree_map(name(), any::<[bool; 4]>(), 0..3),
        service in proptest::collection::vec(service().prop_flat_map(upstream), 1..6),
        domain in proptest::collection::vec((host(), exposure(), any::<bool>()), 0..5),
        route in proptest::collection::vec(
            (
                name(), proptest::option::of(host()), "(/[a-z0-9]{1,4}){1,3}", any::<[bool; 2]>(),
                any::<[Index; 2]>(), 1..9_u32, proptest::option::of(0_u8..=100),
            ),
            0..6
        ),
    ) -> Document {
        let mut document = Document { listener, vpc, service, ..Document::default() };
        document.account = account.into_iter().map(|(name, [cross_account, grants @ ..])| Account {
            name: n(&name), cross_account,
            grants: Grant::ALL.into_iter().zip(grants).filter(|(_, given)| *given).map(|(grant, _)| grant).collect(),
        }).collect();
        // Whoever has granted everything owns a network.
        let owner = document.account.iter().find(|one| one.cross_account && one.grants.len() == 3);
        if let (Some(owner), Some(vpc)) = (owner, document.vpc.first_mut()) {
            vpc.account = owner.name.clone();
        }
        document.domain = domain.into_iter().map(|(host, exposure, https_only)| Domain {
            host, gateway: gateway::default_name(), exposure, cert: None, https_only,
        }).collect();
        let services: Vec<_> = document.service.iter().map(|service| service.name.clone()).collect();
        document.route = route.into_iter().map(|(name, host, path_prefix, [strip_prefix, retry_unsafe], places, weight, percent)| {
            let [service, copied] = places.map(|place| place.get(&services).clone());
            Route {
                name: n(&name), gateway: gateway::default_name(), host, path_prefix,
                methods: vec!["GET".to_owned()], headers: [("x-a".to_owned(), "b c".to_owned())].into(), strip_prefix,
                services: vec![WeightedService { service, weight }],
                // A mirror to a service that the route leads to already is one, too.
                mirror: percent.map(|percent| Mirror { service: copied, percent }), retry_unsafe,
            }
        }).collect();
        document
    }
}

proptest! {
    #[test]
    fn export_then_apply_changes_nothing(document in document()) {
        let mut state = State::default();
        // Names and hosts at random collide now and then; that is refused, and another test's matter.
        let applied = context(|context| state.edit(Edit::Apply(Box::new(document)), context));
        prop_assume!(applied.is_ok());
        for secrets in [Secrets::Fingerprints, Secrets::Hashes, Secrets::Whole] {
            let text = state.export(secrets).text().unwrap();
            let read = Document::parse(&text).unwrap();
            prop_assert_eq!(&read, &state.export(secrets));
            let mut same = state.clone();
            let effect = context(|context| same.edit(Edit::Apply(Box::new(read.clone())), context)).unwrap();
            prop_assert!(effect.tokens.is_empty());
            prop_assert!(same.same(&state));
            prop_assert!(diff(&state, &same).is_empty());
            // JSON is the same form.
            let json: Document = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
            prop_assert_eq!(json, read);
        }
        let mut other = State::default();
        let whole = Edit::Apply(Box::new(state.export(Secrets::Whole)));
        context(|context| other.edit(whole, context)).unwrap();
        prop_assert_eq!(other.export(Secrets::Whole), state.export(Secrets::Whole));
        // The same state gives the same snapshot.
        let compiled = |state| compile(state, &crate::base::Site::default(), Generation(7), &Snapshot::default()).map(|snapshot| format!("{snapshot:?}"));
        prop_assert_eq!(compiled(&state), compiled(&state.clone()));
    }
}
