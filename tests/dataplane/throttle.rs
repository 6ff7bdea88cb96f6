//! A service's rate holds over all workers and outlives edits.

use std::thread;

use crate::support::{TOKEN, Upstream, World};

fn admitted(world: &World, requests: usize) -> usize {
    thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = world.plain();
                    (0..requests)
                        .filter(|_| {
                            let reply = client.call(&format!(
                                "GET /api/predict/test HTTP/1.1\r\nHost: {}\r\nAuthorization: {TOKEN}\r\n\r\n",
                                world.http
                            ));
                            match reply.status {
                                200 => true,
                                429 => {
                                    assert_eq!(reply.refusal(), (429, "throttled"));
                                    assert!(reply.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
                                    false
                                }
                                other => panic!("{other}"),
                            }
                        })
                        .count()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    })
}

#[test]
fn one_rate_for_all_workers_and_connections() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    world.edit(|service| service.qps = Some(20));
    let start = std::time::Instant::now();
    let count = admitted(&world, 50);
    let most = 20 + (start.elapsed().as_secs_f64() * 20.0).ceil() as usize;
    assert!((20..=most).contains(&count), "{count} of at most {most}");
}

#[test]
fn an_edit_does_not_refill() {
    let upstream = Upstream::new();
    let mut world = World::new(&[upstream.address]);
    world.edit(|service| service.qps = Some(2));
    let start = std::time::Instant::now();
    let mut admitted = 0;
    for turn in 0..100 {
        world.edit(|service| service.body_limit = 5 + turn);
        let reply = world.get("/api/predict/test");
        if reply.status != 200 {
            assert_eq!(reply.refusal(), (429, "throttled"));
            continue;
        }
        admitted += 1;
    }
    // What time gives, and not what edits would: one that refills lets every one of them pass.
    let most = 2 + (start.elapsed().as_secs_f64() * 2.0).ceil() as usize;
    assert!((2..=most).contains(&admitted), "{admitted} of at most {most}");
}
