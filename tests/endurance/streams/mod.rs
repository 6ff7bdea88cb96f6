//! A thousand live streams of every kind beside a thousand random edits of other objects: not one is disturbed. Edits of
//! what they stand on themselves are in `drains`.
//!
//! Every message has a number, both ends count, and the peer answers with the number that it got: a gap, a close, a
//! reset or silence is a disturbance. At the end both sides finish in order and say how many messages they saw.

mod drains;
mod edits;
mod kinds;
mod origin;

use std::{cell::RefCell, rc::Rc, time::Instant};

use harness::random::{self, Random};
use tokio::{
    sync::watch,
    task::{JoinSet, LocalSet},
};

use crate::scene::Scene;
use edits::Edits;
use kinds::{Home, KINDS, Stream};
use origin::Origin;

/// The services of the streams.
const LIVE: Home = Home { plain: "/api/predict/live", grpc: "/api/predict/call" };
const STREAMS: usize = 1000;
const EDITS: usize = 1000;
/// Streams of one HTTP/2 connection.
pub(crate) const SHARED: usize = 8;

#[test]
fn edits_of_other_objects_disturb_no_stream() {
    let seed = random::seed();
    println!("GATEWAY_SEED={seed}");
    let scene = Scene::new();
    scene.run(async || {
        let (finish, finishing) = watch::channel(false);
        let origin = Origin::start(finishing.clone()).await;
        scene.serve("live", &[origin.http], &["--body-limit", "1GiB"]);
        scene.serve("call", &[origin.grpc], &["--protocol", "grpc", "--body-limit", "1GiB"]);
        let _ = LocalSet::new().run_until(run(&scene, seed, finish)).await;
    });
}

async fn run(scene: &Scene, seed: u64, finish: watch::Sender<bool>) {
    let mut random = Random::new(seed);
    let counted = Rc::new(RefCell::new(0));
    let mut running = JoinSet::new();
    for index in 0..STREAMS.div_ceil(SHARED) {
        let kind = KINDS[index % KINDS.len()];
        let doors = [scene.plain(), scene.tls()];
        let homes = [LIVE; SHARED];
        let homes = &homes[..SHARED.min(STREAMS - index * SHARED)];
        for stream in Stream::open(kind, &doors[usize::from(kind.tls)], homes).await {
            let (finishing, counted, phase) = (finish.subscribe(), Rc::clone(&counted), random.next());
            running.spawn_local(async move { stream.run(phase, finishing, &counted).await });
        }
    }
    assert_eq!(running.len(), STREAMS);
    // Every stream has had its first answer before the first edit.
    while *counted.borrow() < STREAMS as u64 {
        assert!(running.try_join_next().is_none(), "a stream ended before the first edit");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }

    let start = Instant::now();
    let control = scene.control();
    let mut source = Edits::new(random);
    for number in 0..EDITS {
        let edit = source.next();
        let (status, answer) = control.ask(&edit).await;
        assert_eq!(status, 200, "edit {number}: {edit:?}\n{answer}");
        assert_eq!(answer["changed"], true, "edit {number} changed nothing: {edit:?}\n{answer}");
        if let Some(early) = running.try_join_next() {
            panic!("after edit {number} {edit:?} a stream ended: {early:?}");
        }
    }
    let elapsed = start.elapsed();
    finish.send(true).unwrap();
    let mut disturbed = Vec::new();
    while let Some(ended) = running.join_next().await {
        disturbed.extend(ended.unwrap().err());
    }
    println!(
        "{EDITS} edits in {elapsed:.1?} ({}); {STREAMS} streams, {} messages each way, {} disturbed",
        source.told(),
        counted.borrow(),
        disturbed.len()
    );
    assert!(disturbed.is_empty(), "{} of {STREAMS} disturbed: {disturbed:#?}", disturbed.len());
}
