//! The flood: all its clients on one thread, with the instance that they are served by.

use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

use tokio::{sync::watch, task::JoinSet, time::sleep};

use super::{CONNECTIONS, HANDSHAKES, REQUESTS, cores::Cores, guest::Place, origin, tally::Kind};

/// How many clients of each kind are what the gateway is set to take.
const ONCE: [(Kind, usize); 6] = [
    (Kind::Connection, CONNECTIONS),
    (Kind::Handshake, HANDSHAKES),
    // No request yet: it needs a place like any connection.
    (Kind::SlowHead, CONNECTIONS),
    (Kind::SlowBody, REQUESTS / 2),
    (Kind::SlowReader, REQUESTS / 2),
    (Kind::Upload, REQUESTS),
];

/// Before a client comes back. Who wants to overload others has no patience.
const BACK: Duration = Duration::from_millis(100);
const BACK_AT_ONCE: Duration = Duration::from_millis(20);

/// Who comes, and how many times as many as once.
#[derive(Clone, Copy, Debug, Default)]
struct Tide {
    kinds: &'static [Kind],
    times: usize,
}

/// A flood that can be turned up and down.
pub(super) struct Flood {
    /// The instance of its requests: what they do to it must not be what steady clients wait for.
    pub(super) origin: SocketAddr,
    tide: Option<watch::Sender<Tide>>,
    thread: Option<thread::JoinHandle<()>>,
}

// === impl Flood ===

impl Flood {
    /// A flood of nobody.
    pub(super) fn start(place: Place, cores: &Cores) -> Self {
        let (tide, changes) = watch::channel(Tide::default());
        let (sender, receiver) = std::sync::mpsc::channel();
        let cores = cores.clone();
        let thread = thread::spawn(move || {
            cores.yield_to_others();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                sender.send(origin::start().await).unwrap();
                run(&Arc::new(place), changes).await;
            });
        });
        let origin = receiver.recv().expect("the flood's thread runs");
        Self { origin, tide: Some(tide), thread: Some(thread) }
    }

    /// Lets so many times come whom the gateway is set to take.
    pub(super) fn rise(&self, kinds: &'static [Kind], times: usize) {
        self.turn(Tide { kinds, times });
    }

    /// Has all of them go at once.
    pub(super) fn ebb(&self) {
        self.turn(Tide::default());
    }

    fn turn(&self, tide: Tide) {
        self.tide.as_ref().expect("it runs").send_replace(tide);
    }

    /// Clients of all kinds at `times`.
    pub(super) fn clients(times: usize) -> usize {
        ONCE.iter().map(|(_, count)| times * count).sum()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.tide = None;
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the flood's thread panicked");
        }
    }
}

async fn run(place: &Arc<Place>, mut changes: watch::Receiver<Tide>) {
    let (mut running, mut now) = (JoinSet::new(), 0);
    loop {
        let Tide { kinds, times } = *changes.borrow_and_update();
        if times < now {
            running.shutdown().await;
            now = 0;
        }
        for (kind, count) in ONCE.into_iter().filter(|(kind, _)| kinds.contains(kind)) {
            for index in count * now..count * times {
                running.spawn(come(Arc::clone(place), kind, index));
            }
        }
        now = times;
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Visits again and again. Clients do not come all in the same moment.
async fn come(place: Arc<Place>, kind: Kind, index: usize) {
    sleep(Duration::from_millis(index as u64 % 1000)).await;
    loop {
        let result = place.visit(kind, index).await;
        place.tally.note(kind, result);
        sleep(if kind == Kind::Handshake { BACK_AT_ONCE } else { BACK }).await;
    }
}
