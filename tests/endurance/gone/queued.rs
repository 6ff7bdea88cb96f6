//! A client that goes while its request waits for a place at the instance: it leaves the queue at once, whoever waits
//! behind it moves up, and the instance never sees it.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{sleep, timeout},
};

use super::{CEILING, Held, Phase, QUIET, Seen, WAYS, Way, Witness, raw, wait_for, witness::Event};
use crate::{
    control::{Control, Edit},
    figures::Figures,
    link::{End, PATIENCE},
    scene::{Door, Scene},
    size,
};

#[test]
fn a_client_that_goes_leaves_the_queue_at_once() {
    let scene = Scene::new();
    scene.run(async || {
        let (mut witness, mut events) = Witness::start().await;
        let control = scene.control();
        let bounds = ["--max-in-flight", "1", "--queue", "2", "--queue-wait", "60s"];
        scene.serve("one", &[witness.http], &bounds);
        let mut figures = Figures::default();
        for _ in 0..size::of(2, 25) {
            for door in [scene.plain(), scene.tls()] {
                for way in WAYS {
                    let what = format!("{way:?}, tls {}", door.tls.is_some());
                    let time = go(&door, way, &control, &mut witness, &mut events).await;
                    let time = time.unwrap_or_else(|error| panic!("{what}: {error}"));
                    let ceiling = if size::is_full() { QUIET } else { CEILING };
                    assert!(time < ceiling, "{what}: left after {time:?}");
                    figures.add(time);
                }
            }
        }
        println!("Queued: {figures}");
    });
}

/// One request is worked on, one goes from the queue, one waits behind it. Returns how long it took until the gateway
/// counted one less that waits; asking it is a part of that.
async fn go(
    door: &Door,
    way: Way,
    control: &Control,
    witness: &mut Witness,
    events: &mut UnboundedReceiver<Seen>,
) -> io::Result<Duration> {
    let [first, gone, next] = [(); 3].map(|()| witness.next());
    let path = |number| format!("/waiting/n{number}");
    let busy = raw(door, "one", Phase::Waiting, End::Fin, &path(first)).await?;
    wait_for(events, first, Event::Head).await?;
    let held = Held::begin(door, "one", Phase::Waiting, way, &path(gone)).await?;
    until_waiting(control, 1).await;
    let behind = raw(door, "one", Phase::Waiting, End::Fin, &path(next)).await?;
    until_waiting(control, 2).await;
    let start = Instant::now();
    let _rest = held.go(way);
    until_waiting(control, 1).await;
    let time = start.elapsed();
    // The place at the instance goes to the one behind.
    drop(busy);
    let mut missing = vec![(first, Event::End), (next, Event::Head)];
    while !missing.is_empty() {
        let seen = timeout(PATIENCE, events.recv()).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        assert_ne!(seen.number, gone, "{way:?}: the instance saw who had gone");
        missing.retain(|wanted| *wanted != (seen.number, seen.event));
    }
    drop(behind);
    wait_for(events, next, Event::End).await?;
    until_waiting(control, 0).await;
    Ok(time)
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
        sleep(Duration::from_millis(1)).await;
    }
}
