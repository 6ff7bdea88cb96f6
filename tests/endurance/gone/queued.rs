//! A client that goes while its request waits for a place at the instance: the instance never sees it, and its place in
//! the queue is free for another.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{CEILING, Held, Phase, Witness, begin, raw, wait_for, witness::Event};
use crate::{
    control::{Control, Edit},
    link::{End, Version},
    scene::Scene,
};

#[test]
fn a_client_that_goes_from_the_queue_leaves_its_place() {
    let scene = Scene::new();
    scene.run(async || {
        let (mut witness, mut events) = Witness::start().await;
        let control = scene.control();
        let bounds = ["--max-in-flight", "1", "--queue", "1", "--queue-wait", "60s"];
        scene.serve("one", &[witness.http], &bounds);
        for door in [scene.plain(), scene.tls()] {
            for version in [Version::H1, Version::H2] {
                for end in [End::Fin, End::Reset] {
                    let first = witness.next();
                    let busy = raw(&door, "one", Phase::Waiting, End::Fin, &format!("/waiting/n{first}"))
                        .await
                        .unwrap();
                    wait_for(&mut events, first, Event::Head).await.unwrap();
                    let queued = witness.next();
                    let path = format!("/waiting/n{queued}");
                    let held = match version {
                        Version::H1 => {
                            Held::Wire(raw(&door, "one", Phase::Waiting, end, &path).await.unwrap())
                        }
                        Version::H2 => begin(&door, "one", Phase::Waiting, end, &path).await.unwrap(),
                    };
                    until_waiting(&control, 1).await;
                    drop(held);
                    until_waiting(&control, 0).await;
                    // The place at the instance goes to nobody who is gone.
                    drop(busy);
                    wait_for(&mut events, first, Event::End).await.unwrap();
                    let next = witness.next();
                    let last = raw(&door, "one", Phase::Headed, End::Fin, &format!("/headed/n{next}"))
                        .await
                        .unwrap();
                    while let Ok(seen) = events.try_recv() {
                        assert_ne!(seen.number, queued, "{version:?} {end:?}: the instance saw who had gone");
                    }
                    drop(last);
                    wait_for(&mut events, next, Event::End).await.unwrap();
                }
            }
        }
    });
}

/// Waits until so many requests wait for a place, as the gateway tells.
async fn until_waiting(control: &Control, count: u64) {
    let start = Instant::now();
    let ask = Edit { method: "GET", path: "/v1/stats".to_owned(), body: serde_json::Value::Null };
    loop {
        let (_, stats) = control.ask(&ask).await;
        let services = stats["services"].as_array().expect("services");
        let one = services.iter().find(|service| service["name"] == "one").expect("the service");
        if one["queue"]["waiting"] == count {
            return;
        }
        assert!(start.elapsed() < CEILING, "{count} never wait: {one}");
        sleep(Duration::from_millis(5)).await;
    }
}
