//! Active checks of instances.

use std::{
    net::SocketAddr,
    thread::sleep,
    time::{Duration, Instant},
};

use gateway_user::{
    observe::instances::{InstanceStatus, InstanceTraffic},
    snapshot::{
        http::Protocol,
        upstream::{Balance, HealthCheck, Probe, Tls, Verify},
    },
};

use crate::support::{Fault, Faulty, Upstream, World, eventually, free_port};

fn check(probe: Probe) -> HealthCheck {
    HealthCheck {
        probe,
        interval: Duration::from_millis(100),
        timeout: Duration::from_millis(400),
        healthy: 2,
        unhealthy: 2,
    }
}

fn http(path: &str) -> HealthCheck {
    check(Probe::Http(path.to_owned()))
}

fn instances(world: &World) -> Vec<InstanceTraffic> {
    world.traffic().services[0].instances.clone()
}

fn states(world: &World) -> Vec<InstanceStatus> {
    instances(world).iter().map(|instance| instance.status).collect()
}

#[test]
fn an_unhealthy_instance_is_not_asked_until_it_is_well() {
    let (bad, good) = (Upstream::named("bad", false), Upstream::named("good", false));
    let relay = Faulty::new(bad.address, Fault::StallAfter(0));
    let mut world = World::new(&[relay.address, good.address]);
    world.edit(|service| {
        service.upstream.balance = Balance::RoundRobin;
        service.upstream.health = Some(http("/who"));
    });
    eventually("it is found out", || states(&world) == [InstanceStatus::Unhealthy, InstanceStatus::Up]);
    assert_eq!(instances(&world)[1].healthy, Some(true));
    for _ in 0..20 {
        assert_eq!(world.get("/api/predict/test/who").text(), "good");
    }
    let seen = instances(&world);
    assert_eq!((seen[0].requests, seen[0].failures), (0, 0), "{seen:?}");
    assert!(seen[0].checks_failed >= 2 && seen[1].checks_failed == 0, "{seen:?}");
    relay.set(Fault::None);
    eventually("it is well again", || states(&world) == [InstanceStatus::Up; 2]);
    eventually("and asked", || world.get("/api/predict/test/who").text() == "bad");
}

#[test]
fn a_status_other_than_2xx_is_bad_and_where_all_are_bad_all_are_asked() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    world.edit(|service| service.upstream.health = Some(http("/status/500")));
    eventually("500 is bad", || states(&world) == [InstanceStatus::Unhealthy]);
    assert_eq!(world.get("/api/predict/test/who").text(), "test", "it is the only one");
    world.edit(|service| service.upstream.health = Some(http("/status/204")));
    eventually("204 is good", || states(&world) == [InstanceStatus::Up]);
    world.edit(|service| service.upstream.health = Some(http("/status/404")));
    eventually("404 is bad", || states(&world) == [InstanceStatus::Unhealthy]);
    world.edit(|service| service.upstream.health = None);
    eventually("nothing is known without checks", || instances(&world)[0].healthy.is_none());
    assert_eq!(states(&world), [InstanceStatus::Up]);
}

#[test]
fn checks_speak_the_services_protocol() {
    let mut world = World::new(&[]);
    let leaf = world.authority.leaf(&["model.example"]);
    let plain = Upstream::grpc();
    let secure = Upstream::tls("secure", &leaf, &[b"h2", b"http/1.1"]);
    let closed: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    for (upstream, protocol, tls) in [
        (plain.address, Protocol::Grpc, None),
        (secure.address, Protocol::Http, Some(Verify::Insecure)),
        (secure.address, Protocol::Http2, Some(Verify::Insecure)),
    ] {
        for probe in [http("/who"), check(Probe::Tcp)] {
            world.edit(|service| {
                service.instances = crate::support::service("x", &[upstream, closed]).instances;
                service.protocol = protocol;
                service.upstream.tls = tls.clone().map(|verify| Tls { server_name: None, verify });
                service.upstream.health = Some(probe.clone());
            });
            eventually("the closed port is found out", || {
                instances(&world).iter().map(|one| one.healthy).eq([Some(true), Some(false)])
            });
            // The next round begins without a verdict.
            world.edit(|service| service.instances.clear());
        }
    }
    // A certificate that is not believed is a bad answer, too.
    world.edit(|service| {
        service.instances = crate::support::service("x", &[secure.address]).instances;
        service.upstream.tls = Some(Tls { server_name: None, verify: Verify::System });
    });
    eventually("nobody vouches for it", || instances(&world)[0].healthy == Some(false));
}

#[test]
fn an_instance_is_checked_once_for_all_workers_and_edits_elsewhere_change_nothing() {
    let (bad, good) = (Upstream::named("bad", false), Upstream::named("good", false));
    let relay = Faulty::new(bad.address, Fault::StallAfter(0));
    let mut world = World::new(&[relay.address, good.address]);
    let start = Instant::now();
    world.edit(|service| service.upstream.health = Some(http("/who")));
    eventually("it is found out", || states(&world)[0] == InstanceStatus::Unhealthy);
    for turn in 0..50 {
        world.edit(|service| {
            service.body_limit += 1;
            service.instances[0].weight = 1 + turn % 3;
        });
        assert_eq!(states(&world)[0], InstanceStatus::Unhealthy, "turn {turn}");
        sleep(Duration::from_millis(10));
    }
    let checks = good.connections();
    let most = start.elapsed().as_millis() / 90 + 2;
    assert!(checks >= 3 && (checks as u128) <= most, "{checks} checks, {most} at most");
    // A removed instance is left alone.
    world.edit(|service| drop(service.instances.pop()));
    sleep(Duration::from_millis(200));
    let after = good.connections();
    sleep(Duration::from_millis(500));
    assert_eq!(good.connections(), after);
}
