//! Seeded random edits: invariants hold (they are swept inside), replay is the identity, a refusal changes nothing.

use serde_json::json;

use super::world::{self, World, certificate, cidrs, domain, listener_ports, n, patch, route, service, told};
use crate::{
    base::{Generation, Name},
    control::{Edit, FirstStart, Options},
    resource::{Account, Endpoint, Grant, Mirror, Route, Vpc},
};

/// xorshift64*: enough to pick edits, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    }
}

fn edit(dice: &mut Dice, world: &World) -> Edit {
    let listener = n(&format!("l{}", dice.roll(4)));
    // Every third edit of a listener is about a private network's.
    let vpc = n(&format!("v{}", dice.roll(3)));
    let own = listener.clone();
    let endpoint = n(&format!("e{}", dice.roll(2)));
    let listener = match dice.roll(4) {
        0 => Name::of_vpc_listener(&vpc),
        // The second listener of an endpoint is there only now and then.
        1 => Name::of_endpoint_listener(&endpoint, (dice.roll(2) == 0).then_some(&n("b"))),
        _ => listener,
    };
    let service_name = format!("s{}", dice.roll(4));
    let list = |dice: &mut Dice| {
        let count = dice.roll(6);
        let one = |dice: &mut Dice| format!("10.{}.0.0/16", dice.roll(40));
        cidrs(&(0..count).map(|_| one(dice)).collect::<Vec<_>>().join(","))
    };
    match dice.roll(31) {
        0 => {
            let address = format!("192.0.2.{}", dice.roll(3));
            Edit::ListenerAdd(listener_ports(&own, "eth9", &address, 80 + dice.roll(3) as u16))
        }
        1 => Edit::ListenerOpen { listener },
        2 => Edit::ListenerClose { listener },
        3 if dice.roll(3) == 0 => Edit::ListenerDelete { listener },
        3..=5 => Edit::AllowAdd { listener, cidrs: list(dice) },
        6..=7 => {
            let held =
                world.control.allowlist(&listener, 0, usize::MAX).map(|list| list.items).unwrap_or_default();
            let some = held.iter().filter(|_| dice.roll(2) == 0).map(|entry| entry.cidr.clone());
            let cidrs = cidrs(&some.collect::<Vec<_>>().join(","));
            let drain = (dice.roll(2) == 0).then(|| std::time::Duration::from_secs(dice.roll(100)));
            Edit::AllowRemove { listener, cidrs, drain }
        }
        8 if dice.roll(3) == 0 => {
            let count = 14 + dice.roll(5);
            let long = (0..count).map(|i| format!("10.77.{i}.0/24")).collect::<Vec<_>>().join(",");
            Edit::AllowSet { listener, cidrs: cidrs(&long), allow_empty: false }
        }
        8 => Edit::AllowSet { listener, cidrs: list(dice), allow_empty: dice.roll(2) == 0 },
        9 => Edit::ServiceAdd(Box::new(service(&service_name, "10.9.9.9:80"))),
        10 => Edit::ServiceUpdate {
            service: n(&service_name),
            patch: patch(json!({ "qps": dice.roll(9), "no_auth": dice.roll(2) == 0 })),
        },
        11 => Edit::ServiceDelete { service: n(&service_name) },
        12 => Edit::TokenRotate { service: n(&service_name), token: None },
        13 => {
            let added = route(&format!("r{}", dice.roll(3)), &format!("/{}", dice.roll(3)), &service_name);
            let mirror = format!("s{}", dice.roll(4));
            let mirror = (dice.roll(2) == 0).then(|| Mirror { service: n(&mirror), percent: 10 });
            Edit::RouteAdd(Route { mirror, ..added })
        }
        14 if dice.roll(2) == 0 => {
            let mirror = if dice.roll(2) == 0 { json!(null) } else { json!({ "percent": dice.roll(120) }) };
            let fields = json!({ "mirror": mirror, "retry_unsafe": dice.roll(2) == 0 });
            Edit::RouteUpdate { route: n(&format!("r{}", dice.roll(3))), patch: patch(fields) }
        }
        14 => Edit::RouteDelete { route: n(&format!("r{}", dice.roll(3))) },
        15 => {
            let name = format!("c{}", dice.roll(2));
            if dice.roll(2) == 0 {
                Edit::CertificateAdd {
                    certificate: certificate(&name, &["a.org"]),
                    replace: dice.roll(2) == 0,
                }
            } else {
                Edit::CertificateDelete { certificate: n(&name) }
            }
        }
        16 => Edit::DomainAdd { domain: domain("a.org", (dice.roll(2) == 0).then_some("c0")), replace: true },
        17 => Edit::DomainDelete { host: "a.org".parse().unwrap() },
        18 | 19 => {
            let address = format!("192.0.2.{}/24", 1 + dice.roll(4));
            let account = n(["default", "default", "a0", "a1"][dice.roll(4) as usize]);
            let added =
                Vpc { account, authoritative_dns: dice.roll(3) == 0, ..world::vpc(&vpc, "eth9", &address) };
            Edit::VpcAdd(added)
        }
        20 => Edit::VpcDelete { vpc },
        21 => {
            let account = n(&format!("a{}", dice.roll(2)));
            let grants = Grant::ALL.into_iter().filter(|_| dice.roll(3) > 0).collect();
            match dice.roll(5) {
                0 => Edit::AccountAdd(Account { name: account, cross_account: dice.roll(4) > 0, grants }),
                1 => Edit::AccountDelete { account },
                2 => Edit::GrantRemove { account, grants },
                3 => Edit::AccountUpdate { account, cross_account: dice.roll(3) > 0 },
                _ => Edit::GrantAdd { account, grants },
            }
        }
        25 => {
            let service = world::offer(&format!("o{}", dice.roll(2)), &service_name);
            Edit::EndpointServiceAdd { service, replace: dice.roll(2) == 0 }
        }
        26 if dice.roll(3) == 0 => Edit::EndpointServiceDelete { service: n(&format!("o{}", dice.roll(2))) },
        26 | 27 => {
            let subnets = ["a=192.0.2.5/24", "a=192.0.2.6/24,b=192.0.3.6/24@eth8"][dice.roll(2) as usize];
            let token = (dice.roll(2) == 0).then(|| format!("t{}", dice.roll(3)));
            let added = world::endpoint(&endpoint, &format!("o{}", dice.roll(2)), &vpc, subnets);
            Edit::EndpointAdd(Endpoint { client_token: token, ..added })
        }
        28 => Edit::EndpointDelete { endpoint },
        // Also what is not of a network's or an endpoint's listener is tried: it is refused, and nothing moves.
        29 => {
            let fields = [
                json!({ "proxy_protocol": dice.roll(2) == 0 }),
                json!({ "trusted_forwarders": if dice.roll(2) == 0 { json!("10.0.0.0/8") } else { json!(null) } }),
                json!({ "limits": { "max_connections": dice.roll(3) } }),
                json!({ "wait_address": dice.roll(2) == 0 }),
            ];
            let fields = fields[dice.roll(4) as usize].clone();
            Edit::ListenerUpdate { listener, patch: patch(fields) }
        }
        30 => {
            let fields = [
                json!({ "address": format!("192.0.2.{}/24", 1 + dice.roll(4)) }),
                json!({ "trusted_forwarders": ["192.0.2.0/28"], "open": dice.roll(2) == 0 }),
                json!({ "http": 80 + dice.roll(2), "account": format!("a{}", dice.roll(2)) }),
            ];
            let fields = fields[dice.roll(3) as usize].clone();
            Edit::VpcUpdate { vpc, patch: patch(fields) }
        }
        _ => Edit::Rollback {
            generation: Generation(1 + dice.roll(world.control.generation().0)),
            yes: dice.roll(2) == 0,
        },
    }
}

#[test]
fn random_edits_keep_every_promise() {
    let seeds = std::env::var("CONTROL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds: Vec<u64> = seeds.map_or_else(|| (1..=6).collect(), |seed| vec![seed]);
    for seed in seeds {
        println!("CONTROL_SEED={seed}");
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut world = World::new(FirstStart::Local);
        // What endpoints need is there from the first, else they would hardly ever come about.
        world.ok(Edit::ServiceAdd(Box::new(service("s0", "10.9.9.9:80"))));
        world.ok(Edit::VpcAdd(world::vpc("v0", "eth9", "192.0.2.1/24")));
        world.ok(Edit::EndpointServiceAdd { service: world::offer("o0", "s0"), replace: false });
        let (mut taken, mut refused) = (0, 0);
        for step in 0..320 {
            let next = edit(&mut dice, &world);
            let failing = dice.roll(12);
            world.enforcer("filter").fail_stage = failing == 0;
            world.enforcer("proxy").fail_commit = failing == 1;
            let (before, generation) = (world.control.export(true), world.control.generation());
            let live = told(&world.live("filter"));
            match world.control.edit(next, Options::default()) {
                Ok(outcome) => {
                    taken += 1;
                    assert_eq!(outcome.changed, outcome.generation != generation, "seed {seed} step {step}");
                    if outcome.changed {
                        assert!(outcome.generation > generation);
                    }
                }
                Err(_) => {
                    refused += 1;
                    assert_eq!(world.control.export(true), before, "seed {seed} step {step}");
                    assert_eq!(world.control.generation(), generation, "seed {seed} step {step}");
                    assert_eq!(told(&world.live("filter")), live, "seed {seed} step {step}");
                }
            }
            assert_eq!(told(&world.live("filter")), told(&world.live("proxy")), "seed {seed} step {step}");
            assert_eq!(
                told(&world.live("filter")),
                told(&world.control.snapshot()),
                "seed {seed} step {step}"
            );
            if step % 10 == 9 {
                world.enforcer("filter").fail_stage = false;
                world.enforcer("proxy").fail_commit = false;
                for secrets in [false, true] {
                    let same = world.control.export(secrets);
                    assert!(
                        !world.ok(Edit::Apply(Box::new(same))).changed,
                        "identity, seed {seed} step {step}"
                    );
                }
                let snapshot = told(&world.control.snapshot());
                let history = world.control.history().unwrap().items;
                let lists = serde_json::to_string(&world.control.listeners()).unwrap();
                world.reopen();
                assert_eq!(told(&world.control.snapshot()), snapshot, "replay, seed {seed} step {step}");
                assert_eq!(told(&world.live("proxy")), snapshot, "replay, seed {seed} step {step}");
                assert_eq!(world.control.history().unwrap().items, history);
                assert_eq!(serde_json::to_string(&world.control.listeners()).unwrap(), lists);
            }
        }
        assert!(taken > 30 && refused > 20, "seed {seed}: {taken} taken, {refused} refused");
    }
}
