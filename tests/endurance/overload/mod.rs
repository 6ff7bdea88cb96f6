//! Four times as much of everything as the gateway is set to take, at once: connections, handshakes, slow clients, large
//! bodies, and requests beyond a service's rate. What it cannot carry it refuses with 503 and 429, it holds no more memory
//! than it was given, and who is served is served as before.
//!
//! **Once** is what the settings say: as many clients that connect as there are places; as many handshakes as may wait; and
//! as many slow requests, and as many uploads besides, as the byte budget has room for by docs/overload.md. Since each kind
//! alone takes all of one bound, the gateway is at its limits, and refuses, already then. **Four times** is four clients for
//! each of those, and nothing else is changed. Beside them steady clients ask for a few bytes, at a rate far below what the
//! gateway can serve; their answers are what is timed.
//!
//! The whole size compares the steady clients' p99 under four times with that at once: with a machine that is as busy, by
//! somebody who is as hard to serve. Against a gateway with nothing else to do any full core would look slow, whatever it
//! refuses; that figure is printed too. See `cores` for who computes where meanwhile.

mod cores;
mod flood;
mod guest;
mod origin;
mod steady;
mod tally;
mod watch;

use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{sleep, sleep_until},
};

use crate::{
    control::{Control, Edit},
    figures::Figures,
    link::PATIENCE,
    scene::Scene,
    size,
};
use cores::Cores;
use flood::Flood;
use guest::Place;
use steady::Party;
use tally::{Counts, Kind, Outcome, Tally};
use watch::{Quarter, Resident, State};

/// What the gateway is set to take.
const MEMORY: usize = 16 << 20;
const CONNECTIONS: usize = 512;
/// Of all workers.
const HANDSHAKES: usize = 128;
const QPS: u32 = 50;
/// Slow clients are cut so soon that many generations of them come and go.
const DEADLINE: &str = "3s";

/// What the budget charges (docs/overload.md).
const CONNECTION: usize = 16 << 10;
const REQUEST: usize = 64 << 10;
/// Requests that the budget has room for, each on a connection of its own.
const REQUESTS: usize = MEMORY / (CONNECTION + REQUEST);
/// What workers may hold in advance: twice one part in 128, all together.
const SPARE: usize = MEMORY / 64;

const STEADY: Party =
    Party { kind: Kind::Steady, service: "steady", clients: 8, pace: Duration::from_millis(20) };
/// Four times its service's rate.
const RATE: Party = Party { kind: Kind::Rate, service: "rate", clients: 2, pace: Duration::from_millis(10) };

/// Between two edits, and two looks at the daemon's own figures.
const EDIT: Duration = Duration::from_millis(500);

/// What happened in a phase.
struct Phase {
    counts: Counts,
    memory: [Quarter; 4],
    state: State,
}

/// Everything that runs beside the flood.
struct Watch<'s> {
    control: Control,
    /// Of the steady clients, and of the flood.
    tallies: [&'s Tally; 2],
    resident: Resident,
    edits: u32,
}

/// Everybody of the flood.
const ALL: &[Kind] =
    &[Kind::Connection, Kind::Handshake, Kind::SlowHead, Kind::SlowBody, Kind::SlowReader, Kind::Upload];

#[test]
fn four_times_too_much_is_refused_and_changes_nothing_for_who_is_served() {
    flooded(async |flood, watch, quiet| {
        flood.rise(ALL, 1);
        sleep(Duration::from_secs(size::of(1, 5))).await;
        let once = watch.phase("once", size::of(1, 20)).await;
        flood.rise(ALL, 4);
        let seconds = size::of(8, 60);
        let over = watch.phase("four times", seconds).await;
        flood.ebb();
        watch.settle("the flood is gone", STEADY.clients + RATE.clients).await;
        refused_and_nothing_else(&over.counts, seconds);
        assert!(over.state.pauses > quiet.state.pauses && over.state.evicted > 0, "it never had no room");
        bounded(quiet, &over);
        timely(&once.counts.served, &over.counts.served);
    });
}

/// Where only one bound is reached, no other one keeps the flood away from it.
#[test]
fn four_times_too_much_of_one_kind_does_not_either() {
    flooded(async |flood, watch, quiet| {
        let mut refused = 0;
        for kinds in [
            &[Kind::Connection][..],
            &[Kind::Handshake],
            &[Kind::SlowHead],
            &[Kind::SlowBody, Kind::SlowReader],
            &[Kind::Upload],
        ] {
            println!("--- {kinds:?}");
            flood.rise(kinds, 1);
            sleep(Duration::from_secs(size::of(0, 2))).await;
            let once = watch.phase("once", size::of(1, 6)).await;
            flood.rise(kinds, 4);
            let over = watch.phase("four times", size::of(2, 10)).await;
            flood.ebb();
            watch.settle("the flood is gone", STEADY.clients + RATE.clients).await;
            assert_eq!(over.counts.failures, 0, "{:#?}", over.counts.told);
            bounded(quiet, &over);
            refused += over.counts.overloaded();
            // Slow requests alone may fill the whole budget for long; then there is hardly anybody else to time.
            if !kinds.contains(&Kind::SlowBody) {
                timely(&once.counts.served, &over.counts.served);
            }
        }
        assert!(refused > 0, "there was room for everybody");
    });
}

/// A gateway with steady clients, before, under and after a flood.
#[track_caller]
fn flooded(course: impl AsyncFnOnce(&Flood, &mut Watch<'_>, &Phase) + Send) {
    // A descriptor for each client of the flood and one for each request at the instance.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    assert!(most > 2 * Flood::clients(4) as u64, "{most} open files do not do");
    let cores = Cores::split(size::is_full());
    cores.enter_gateways();
    let workers = cores.gateways();
    let handshakes = HANDSHAKES / workers;
    let mut scene = Scene::with_settings(&format!(
        "workers = {workers}\nmemory = \"{MEMORY}\"\nconnections = {CONNECTIONS}\n[limits]\nhandshakes = {handshakes}\n\
         handshake = \"{DEADLINE}\"\nheader = \"{DEADLINE}\"\nbody_idle = \"{DEADLINE}\"\nwrite_stall = \"{DEADLINE}\"\n"
    ));
    cores.enter_others();
    scene.run(async || run(&scene, &cores, course).await);
    scene.desk.gateway.stop();
    assert!(!scene.desk.gateway.log().contains("panicked"), "a worker or a connection panicked");
}

async fn run(scene: &Scene, cores: &Cores, course: impl AsyncFnOnce(&Flood, &mut Watch<'_>, &Phase)) {
    // Two, since who counts on the flood's thread may have to wait for the core with the lock in hand.
    let (tally, other) = (Tally::default(), Tally::default());
    let flood = Flood::start(Place::new(scene, &other), cores);
    let origin = origin::start().await;
    scene.serve("steady", &[origin], &[]);
    scene.serve("rate", &[origin], &["--qps", &QPS.to_string()]);
    scene.serve("bulk", &[flood.origin], &["--body-limit", "64MiB"]);
    scene.serve("spare", &[origin], &[]);
    let mut running = JoinSet::new();
    STEADY.start(&scene.tls(), &tally, &mut running).await;
    RATE.start(&scene.tls(), &tally, &mut running).await;
    let resident = Resident::of(scene.desk.gateway.id(), &mut running);
    let mut watch = Watch { control: scene.control(), tallies: [&tally, &other], resident, edits: 0 };
    let quiet = watch.phase("without a flood", size::of(1, 5)).await;
    course(&flood, &mut watch, &quiet).await;
    let after = watch.phase("afterwards", size::of(1, 5)).await;
    let served = after.counts.of(Kind::Steady, &Outcome::Served);
    assert_eq!(after.counts.failures, 0, "{:#?}", after.counts.told);
    assert_eq!(after.counts.all(Kind::Steady), served, "somebody is refused although there is room");
    assert!(served > 0);
    running.shutdown().await;
    watch.settle("nobody is there", 0).await;
    assert_eq!(watch.state().await.active, 0, "requests in flight of nobody");
}

/// Everybody was told what the documents say, and whoever is sure to be refused was.
fn refused_and_nothing_else(counts: &Counts, seconds: u64) {
    assert_eq!(counts.failures, 0, "{:#?}", counts.told);
    let ways = [
        (Kind::Rate, 429, "throttled"),
        (Kind::SlowHead, 408, "head_timeout"),
        (Kind::SlowBody, 408, "client_timeout"),
    ];
    for (kind, status, reason) in ways {
        assert!(counts.refused(kind, status, reason) > 0, "{kind:?} never got {status} {reason}:{counts}");
    }
    for kind in [Kind::Steady, Kind::Connection, Kind::Handshake, Kind::Upload] {
        assert!(counts.of(kind, &Outcome::Served) > 0, "{kind:?} was never served:{counts}");
    }
    let (passed, most) = (counts.of(Kind::Rate, &Outcome::Served), u64::from(QPS) * (seconds + 2));
    assert!(passed <= most, "{passed} in {seconds} s at {QPS} a second");
}

/// The memory that it was given bounds what it holds, and it does not grow.
fn bounded(quiet: &Phase, over: &Phase) {
    // The estimates are from above; what is between the pieces of memory in use (a heap's slack) is in none of them.
    let most = quiet.memory[3].median + MEMORY as u64 * 5 / 4;
    for quarter in over.memory {
        assert!(quarter.max <= most, "{quarter}, more than {} MiB", most >> 20);
    }
    // Slow clients come and go in waves of their deadlines, so what is held at one moment says little; what grows, grows
    // at its highest, too. Of a few seconds most is warm-up.
    let [_, second, _, last] = over.memory;
    let slack = size::of(25, 10);
    assert!(last.max * 100 <= second.max * (100 + slack), "it grew from {second} to {last}");
}

/// Who is served waits no more than twice as long.
fn timely(once: &Figures, over: &Figures) {
    if !size::is_full() {
        return;
    }
    // Of fewer a p99 says nothing.
    assert!(once.count() >= 1000 && over.count() >= 1000, "{} and {} served", once.count(), over.count());
    let [before, now] = [once, over].map(|figures| figures.quantile(0.99));
    assert!(now <= 2.0 * before, "p99 {now:.2} ms, {before:.2} ms before");
}

// === impl Watch ===

impl Watch<'_> {
    /// Looks on for so many seconds, with an edit now and then, and tells what happened.
    async fn phase(&mut self, name: &str, seconds: u64) -> Phase {
        let end = tokio::time::Instant::now() + Duration::from_secs(seconds);
        drop((self.take(), self.resident.take()));
        let mut edits = Figures::default();
        let mut next = tokio::time::Instant::now();
        let state = loop {
            edits.add(self.edit().await);
            let state = self.state().await;
            next += EDIT;
            sleep_until(next.min(end)).await;
            if next >= end {
                break state;
            }
        };
        let (counts, memory) = (self.take(), Quarter::of(&self.resident.take()));
        let [first, second, third, last] = memory;
        println!("{name}, {seconds} s: steady {}{counts}", counts.served);
        println!("    memory by quarters {first}, {second}, {third}, {last}");
        println!("    edits {edits}; {state:?}");
        Phase { counts, memory, state }
    }

    /// What happened since the last call.
    fn take(&self) -> Counts {
        let [mut counts, other] = self.tallies.map(Tally::take);
        counts.add(other);
        counts
    }

    /// The daemon's figures, which are within its settings at any time.
    async fn state(&self) -> State {
        let state = State::read(&self.control).await;
        assert_eq!(state.panics, 0, "{state:?}");
        assert!(state.live <= CONNECTIONS as u64 && state.used <= MEMORY as u64, "{state:?}");
        state
    }

    /// Changes a service that nobody uses. An operator has to get through whatever clients do.
    async fn edit(&mut self) -> Duration {
        self.edits += 1;
        let body = json!({ "body_limit": 1_000_000 + self.edits });
        let start = Instant::now();
        let edit = Edit { method: "PATCH", path: "/v1/services/spare".to_owned(), body };
        let (status, answer) = self.control.ask(&edit).await;
        assert_eq!((status, &answer["changed"]), (200, &json!(true)), "{answer}");
        start.elapsed()
    }

    /// Waits until so many clients are there, and nothing is held but what they may hold.
    async fn settle(&self, what: &str, clients: u32) {
        let start = Instant::now();
        loop {
            let state = self.state().await;
            let held = clients as usize * (CONNECTION + REQUEST) + SPARE;
            if state.live == u64::from(clients) && state.used <= held as u64 && state.paused == 0 {
                println!("{what} after {:.1?}", start.elapsed());
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{what}, and still {state:?}");
            sleep(EDIT / 5).await;
        }
    }
}
